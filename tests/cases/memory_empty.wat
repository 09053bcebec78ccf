;; A memory of no pages: every access traps, the bulk operations accept nothing but length 0 at 0.
;; invoke load 0 => trap out of bounds memory access
;; invoke store 0 => trap out of bounds memory access
;; invoke store -1 => trap out of bounds memory access
;; invoke fill 0 0 => ok
;; invoke fill 0 1 => trap out of bounds memory access
;; invoke fill 1 0 => trap out of bounds memory access
;; invoke copy 0 0 => ok
;; invoke copy 0 1 => trap out of bounds memory access
;; invoke size => 0
;; invoke grow 0 => 0
;; invoke grow 1 => -1
(module
  (memory 0 0)
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "store") (param i32) (i32.store (local.get 0) (i32.const 1)))
  (func (export "fill") (param i32 i32)
    (memory.fill (local.get 0) (i32.const 1) (local.get 1)))
  (func (export "copy") (param i32 i32)
    (memory.copy (local.get 0) (local.get 0) (local.get 1)))
  (func (export "size") (result i32) (memory.size))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
