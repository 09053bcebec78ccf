;; The last bytes of memory, and the first ones beyond, for each size of access and kind of offset.
;; invoke load8 65535 => 0
;; invoke load8 65536 => trap out of bounds memory access
;; invoke load16 65534 => 0
;; invoke load16 65535 => trap out of bounds memory access
;; invoke load32 65532 => 0
;; invoke load32 65533 => trap out of bounds memory access
;; invoke load64 65528 => 0
;; invoke load64 65529 => trap out of bounds memory access
;; invoke load128 65520 => 0
;; invoke load128 65521 => trap out of bounds memory access
;; invoke load128 65535 => trap out of bounds memory access
;; invoke load128 4294967280 => trap out of bounds memory access
;; invoke load128 4294967295 => trap out of bounds memory access
;; invoke load8 -1 => trap out of bounds memory access
;; invoke far 0 => trap out of bounds memory access
;; invoke far -1 => trap out of bounds memory access
;; invoke far_vector 0 => trap out of bounds memory access
;; invoke far_vector -1 => trap out of bounds memory access
;; invoke offset 65531 => 0
;; invoke offset 65532 => trap out of bounds memory access
;; invoke offset -4 => trap out of bounds memory access
;; invoke store128 65521 => trap out of bounds memory access
;; invoke partial 65533 => trap out of bounds memory access
;; invoke grown 131068 => 0
;; invoke grown 131069 => trap out of bounds memory access
(module
  (memory 1)
  (func (export "load8") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "load16") (param i32) (result i32) (i32.load16_s (local.get 0)))
  (func (export "load32") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "load64") (param i32) (result i64) (i64.load (local.get 0)))
  (func (export "load128") (param i32) (result i32)
    (i32x4.extract_lane 3 (v128.load (local.get 0))))
  (func (export "far") (param i32) (result i32) (i32.load8_u offset=4294967295 (local.get 0)))
  (func (export "far_vector") (param i32) (result i32)
    (i8x16.extract_lane_u 0 (v128.load offset=4294967295 (local.get 0))))
  ;; index + offset must not wrap at 32 bits
  (func (export "offset") (param i32) (result i32) (i32.load8_u offset=4 (local.get 0)))
  (func (export "store128") (param i32)
    (v128.store (local.get 0) (v128.const i32x4 1 2 3 4)))
  (func (export "partial") (param i32) (i32.store (local.get 0) (i32.const -1)))
  (func (export "grown") (param i32) (result i32)
    (drop (memory.grow (i32.const 1)))
    (i32.load (local.get 0))))
