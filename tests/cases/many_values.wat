;; Many parameters and results: past what registers hold, both are passed through memory.
;; invoke sum => 210
;; invoke pick => 12
;; invoke through_table => 210
;; invoke mixed => 15
(module
  (type $twenty (func (result i32 i32 i32 i32 i32 i32 i32 i32 i32 i32
                              i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (type $add (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32
                          i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (table funcref (elem $values $add))
  (func $values (type $twenty)
    (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5)
    (i32.const 6) (i32.const 7) (i32.const 8) (i32.const 9) (i32.const 10)
    (i32.const 11) (i32.const 12) (i32.const 13) (i32.const 14) (i32.const 15)
    (i32.const 16) (i32.const 17) (i32.const 18) (i32.const 19) (i32.const 20))
  (func $add (type $add)
    (local.get 0) (local.get 1) (i32.add) (local.get 2) (i32.add) (local.get 3) (i32.add)
    (local.get 4) (i32.add) (local.get 5) (i32.add) (local.get 6) (i32.add)
    (local.get 7) (i32.add) (local.get 8) (i32.add) (local.get 9) (i32.add)
    (local.get 10) (i32.add) (local.get 11) (i32.add) (local.get 12) (i32.add)
    (local.get 13) (i32.add) (local.get 14) (i32.add) (local.get 15) (i32.add)
    (local.get 16) (i32.add) (local.get 17) (i32.add) (local.get 18) (i32.add)
    (local.get 19) (i32.add))
  (func (export "sum") (result i32) (call $values) (call $add))
  (func (export "pick") (result i32) (local i32 i32)
    (call $values)
    (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (local.set 0)
    (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)
    (local.get 0))
  (func (export "through_table") (result i32)
    (call_indirect (type $twenty) (i32.const 0))
    (call_indirect (type $add) (i32.const 1)))
  (func $mix (param i32 f32 i64 f64 v128) (result f64 i32 v128 i64 f32)
    (local.get 3) (local.get 0) (local.get 4) (local.get 2) (local.get 1))
  (func (export "mixed") (result i32) (local f32 i64 v128 i32 f64)
    (call $mix (i32.const 1) (f32.const 2) (i64.const 3) (f64.const 4)
               (v128.const i32x4 5 0 0 0))
    (local.set 0) (local.set 1) (local.set 2) (local.set 3) (local.set 4)
    (i32.add (i32.trunc_f32_s (local.get 0))
      (i32.add (i32.wrap_i64 (local.get 1))
        (i32.add (i32x4.extract_lane 0 (local.get 2))
          (i32.add (local.get 3) (i32.trunc_f64_s (local.get 4))))))))
