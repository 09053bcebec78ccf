;; A table that may grow without a maximum lies outside of the instance block and works alike.
;; invoke size => 2
;; invoke grow 100000 => 2
;; invoke call_after_grow 100000 => 42
;; invoke call 1 => trap uninitialized element
;; invoke call 2 => trap undefined element
;; invoke call 0 => 42
(module
  (type $f (func (result i32)))
  (table $small 1 1 funcref)
  (table $t (export "table") 2 funcref)
  (elem (table $t) (i32.const 0) func $answer)
  (func $answer (result i32) (i32.const 42))
  (func (export "size") (result i32) (table.size $t))
  (func (export "grow") (param i32) (result i32)
    (table.grow $t (ref.null func) (local.get 0)))
  (func (export "call") (param i32) (result i32) (call_indirect $t (type $f) (local.get 0)))
  (func (export "call_after_grow") (param i32) (result i32)
    (drop (table.grow $t (ref.null func) (local.get 0)))
    (table.set $t (local.get 0) (table.get $t (i32.const 0)))
    (call_indirect $t (type $f) (local.get 0))))
