;; Accesses below a pointer, in the displacement of the instruction (compiler/below.c). Memory is one
;; page: what lies below address 0 wraps to the end of 4 GiB and traps; but for a static offset, which
;; leads back into memory.
;; invoke back 8 => 11
;; invoke back 11 => 3072
;; invoke back 7 => trap out of bounds memory access
;; invoke back 0 => trap out of bounds memory access
;; invoke back 65544 => trap out of bounds memory access
;; invoke far_back 32768 => 11
;; invoke far_back 32767 => trap out of bounds memory access
;; invoke far_back 0 => trap out of bounds memory access
;; invoke farther 65536 => 11
;; invoke farther 65535 => trap out of bounds memory access
;; invoke farther 0 => trap out of bounds memory access
;; invoke offset 8 => 12
;; invoke offset 4 => trap out of bounds memory access
;; invoke offset 0 => trap out of bounds memory access
;; invoke put 8 7 => 7
;; invoke put 7 7 => trap out of bounds memory access
;; invoke wide_put 16 => 3
;; invoke wide_put 8 => trap out of bounds memory access
;; invoke address 4 => -4
;; invoke sum 24 3 => 36
;; invoke sum 12 4 => trap out of bounds memory access
(module
  (memory 1)
  (global $none (export "none") (mut i32) (i32.const 0)) ;; so that x is a number of 32 bits, no parameter
  (data (i32.const 0) "\0b\00\00\00\0c\00\00\00\0d\00\00\00\0e\00\00\00\0f\00\00\00")
  (func (export "back") (param $x i32) (result i32)
    (i32.load (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -8))))
  (func (export "far_back") (param $x i32) (result i32)
    (i32.load (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -32768))))
  ;; more than is folded
  (func (export "farther") (param $x i32) (result i32)
    (i32.load (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -65536))))
  (func (export "offset") (param $x i32) (result i32)
    (i32.load offset=4 (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -8))))
  (func (export "put") (param $x i32) (param $value i32) (result i32)
    (i32.store (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -8)) (local.get $value))
    (i32.load (i32.sub (i32.rotl (local.get $x) (global.get $none)) (i32.const 8))))
  (func (export "wide_put") (param $x i32) (result i32)
    (v128.store (i32.add (i32.rotl (local.get $x) (global.get $none)) (i32.const -16)) (v128.const i32x4 3 3 3 3))
    (i32.load offset=12 (i32.const 0)))
  ;; the sum is wanted as a number as well
  (func (export "address") (param $x i32) (result i32) (local $at i32)
    (local.set $at (i32.add (local.get $x) (i32.const -8)))
    (if (i32.gt_s (local.get $at) (i32.const 0)) (then (drop (i32.load (local.get $at)))))
    (local.get $at))
  ;; a pointer that walks down, over address 0 too
  (func (export "sum") (param $p i32) (param $n i32) (result i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load (i32.add (local.get $p) (i32.const -16)))))
      (local.set $p (i32.add (local.get $p) (i32.const -4)))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
