;; The first trap in program order is the one that is seen.
;; invoke load_then_unreachable -1 => trap out of bounds memory access
;; invoke load_then_unreachable 0 => trap unreachable
;; invoke div_then_load 0 -1 => trap integer divide by zero
;; invoke div_then_load 1 -1 => trap out of bounds memory access
;; invoke load_then_div -1 0 => trap out of bounds memory access
;; invoke load_then_div 0 0 => trap integer divide by zero
;; invoke store_then_div -1 0 => trap out of bounds memory access
;; invoke store_then_div 0 0 => trap integer divide by zero
;; invoke call_then_unreachable 0 => trap integer divide by zero
;; invoke call_then_unreachable 1 => trap unreachable
;; invoke convert_then_load -1 => trap out of bounds memory access
;; invoke loop_order 100 => trap integer divide by zero
;; invoke copy_then_load -1 => trap out of bounds memory access
;; invoke indirect_order 1 -1 => trap undefined element
;; invoke indirect_order 0 -1 => trap out of bounds memory access
(module
  (memory 1 1)
  (type $f (func (param i32) (result i32)))
  (table 1 1 funcref)
  (elem (i32.const 0) $load)
  (func $load (param i32) (result i32) (i32.load (local.get 0)))
  (func $div (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
  (func (export "load_then_unreachable") (param i32)
    (drop (i32.load (local.get 0))) (unreachable))
  (func (export "div_then_load") (param i32 i32) (result i32)
    (i32.add (i32.div_u (i32.const 7) (local.get 0)) (i32.load (local.get 1))))
  (func (export "load_then_div") (param i32 i32) (result i32)
    (i32.add (i32.load (local.get 0)) (i32.div_u (i32.const 7) (local.get 1))))
  (func (export "store_then_div") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 1))
    (i32.div_u (i32.const 7) (local.get 1)))
  (func (export "call_then_unreachable") (param i32)
    (drop (call $div (local.get 0))) (unreachable))
  (func (export "convert_then_load") (param i32) (result i32)
    (i32.add (i32.trunc_f32_s (f32.const 3)) (i32.load (local.get 0))))
  ;; divides by n, n-1, ... while it stores: the division by 0 comes before the store of that round
  (func (export "loop_order") (param i32) (result i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.div_u (i32.const 1000) (local.get 0))))
      (i32.store (i32.mul (local.get 0) (i32.const 4)) (local.get $sum))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br $more))
    (unreachable))
  (func (export "copy_then_load") (param i32) (result i32)
    (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
    (i32.load (local.get 0)))
  (func (export "indirect_order") (param i32 i32) (result i32)
    (call_indirect (type $f) (local.get 1) (local.get 0))))
