;; Calls through tables that nobody changes (compiler/constant_table.c) and through such as are.
;; invoke many 0 5 => 6
;; invoke many 1 5 => 10
;; invoke many 2 5 => trap indirect call type mismatch
;; invoke many 3 5 => trap uninitialized element
;; invoke many 4 5 => 6
;; invoke many 5 5 => trap undefined element
;; invoke many -1 5 => trap undefined element
;; invoke one 2 7 => 77
;; invoke one 0 7 => trap indirect call type mismatch
;; invoke one 3 7 => trap uninitialized element
;; invoke one 5 7 => trap undefined element
;; invoke none 0 => trap indirect call type mismatch
;; invoke none 3 => trap uninitialized element
;; invoke none 9 => trap undefined element
;; invoke constant 5 => 10
;; invoke constant_wrong => trap indirect call type mismatch
;; invoke constant_null 5 => trap uninitialized element
;; invoke constant_out 5 => trap undefined element
;; invoke written 0 1 5 => 10
;; invoke written 1 2 5 => trap indirect call type mismatch
;; invoke written 1 0 5 => 6
;; invoke overlaid 0 5 => 10
(module
  (type $unary (func (param i32) (result i32)))
  (type $binary (func (param i64 i32) (result i32)))
  (type $nothing (func))
  (table $fixed 5 5 funcref)
  (table $written 3 3 funcref)
  (table $overlaid 1 1 funcref)
  (elem (table $fixed) (i32.const 0) func $inc $double $mixed)
  (elem (table $fixed) (i32.const 4) funcref (ref.func $inc))
  (elem (table $written) (i32.const 0) func $inc $double $mixed)
  (elem (table $overlaid) (i32.const 0) func $inc)
  (elem (table $overlaid) (i32.const 0) func $double)
  (func $inc (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $double (type $unary) (i32.shl (local.get 0) (i32.const 1)))
  (func $mixed (type $binary) (i32.add (i32.wrap_i64 (local.get 0)) (local.get 1)))
  (func (export "many") (param $i i32) (param $x i32) (result i32)
    (call_indirect $fixed (type $unary) (local.get $x) (local.get $i)))
  (func (export "one") (param $i i32) (param $x i32) (result i32)
    (call_indirect $fixed (type $binary) (i64.const 70) (local.get $x) (local.get $i)))
  (func (export "none") (param $i i32)
    (call_indirect $fixed (type $nothing) (local.get $i)))
  (func (export "constant") (param $x i32) (result i32)
    (call_indirect $fixed (type $unary) (local.get $x) (i32.const 1)))
  (func (export "constant_wrong") (result i32)
    (call_indirect $fixed (type $binary) (i64.const 1) (i32.const 2) (i32.const 1)))
  (func (export "constant_null") (param $x i32) (result i32)
    (call_indirect $fixed (type $unary) (local.get $x) (i32.const 3)))
  (func (export "constant_out") (param $x i32) (result i32)
    (call_indirect $fixed (type $unary) (local.get $x) (i32.const 5)))
  (func (export "written") (param $to i32) (param $from i32) (param $x i32) (result i32)
    (table.set $written (local.get $to) (table.get $written (local.get $from)))
    (call_indirect $written (type $unary) (local.get $x) (local.get $to)))
  (func (export "overlaid") (param $i i32) (param $x i32) (result i32)
    (call_indirect $overlaid (type $unary) (local.get $x) (local.get $i))))
