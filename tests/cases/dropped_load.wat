;; A load whose value nobody needs still traps, wherever the value goes.
;; invoke drop 65535 => trap out of bounds memory access
;; invoke drop 65532 => ok
;; invoke dead_local 65533 => trap out of bounds memory access
;; invoke overwritten 65533 => trap out of bounds memory access
;; invoke dropped_call 65533 => trap out of bounds memory access
;; invoke dropped_indirect 65533 => trap out of bounds memory access
;; invoke void_call 65533 => trap out of bounds memory access
;; invoke dropped_multi 65533 => trap out of bounds memory access
;; invoke dropped_sum 70000 => trap out of bounds memory access
;; invoke dropped_float 65533 => trap out of bounds memory access
;; invoke dropped_vector 65521 => trap out of bounds memory access
;; invoke dropped_vector 65520 => ok
;; invoke dropped_narrow 65536 => trap out of bounds memory access
(module
  (memory 1 1)
  (type $get (func (param i32) (result i32)))
  (table funcref (elem $read))
  (func $read (param i32) (result i32) (i32.load (local.get 0)))
  (func $two (param i32) (result i32 i32) (i32.load (local.get 0)) (i32.const 1))
  (func $nothing (param i32) (drop (i32.load (local.get 0))))
  (func (export "drop") (param i32) (drop (i32.load (local.get 0))))
  (func (export "dead_local") (param i32) (local i32) (local.set 1 (i32.load (local.get 0))))
  (func (export "overwritten") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load (local.get 0)))
    (local.set 1 (i32.const 7))
    (local.get 1))
  (func (export "dropped_call") (param i32) (drop (call $read (local.get 0))))
  (func (export "dropped_indirect") (param i32)
    (drop (call_indirect (type $get) (local.get 0) (i32.const 0))))
  (func (export "void_call") (param i32) (call $nothing (local.get 0)))
  (func (export "dropped_multi") (param i32) (call $two (local.get 0)) (drop) (drop))
  ;; the sum of all words below the parameter, and nobody asks for it
  (func (export "dropped_sum") (param i32) (local $at i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $more (i32.lt_u (local.get $at) (local.get 0)))))
  (func (export "dropped_float") (param i32) (drop (f32.neg (f32.load (local.get 0)))))
  (func (export "dropped_vector") (param i32)
    (drop (v128.not (v128.load (local.get 0)))))
  (func (export "dropped_narrow") (param i32) (drop (i64.load8_s (local.get 0)))))
