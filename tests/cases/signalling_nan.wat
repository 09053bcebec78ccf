;; Arithmetic makes a signalling NaN quiet even where it would change nothing else, and what moves
;; or flips bits leaves it alone. 0x7fa00000 is 2141192192, its quiet bit 0x400000 4194304.
;; invoke times_one 2141192192 => 4194304
;; invoke by_minus_one 2141192192 => 4194304
;; invoke minus_zero 2141192192 => 4194304
;; invoke plus_negative_zero 2141192192 => 4194304
;; invoke from_negative_zero 2141192192 => 4194304
;; invoke absolute_plus_zero 2141192192 => 4194304
;; invoke absolute_minus_negative_zero 2141192192 => 4194304
;; invoke min_infinity 2141192192 => 4194304
;; invoke max_constant 2141192192 => 4194304
;; invoke min 2141192192 0 => 4194304
;; invoke max 0 2141192192 => 4194304
;; invoke floor 2141192192 => 4194304
;; invoke nearest 2141192192 => 4194304
;; invoke sqrt 2141192192 => 4194304
;; invoke demote_promote 2141192192 => 4194304
;; invoke demote_negated_promote 2141192192 => 4194304
;; invoke demote_chosen_promote 2141192192 => 4194304
;; invoke demote_promote_by_local 2141192192 => 4194304
;; invoke splat_times_one 2141192192 => 4194304
;; invoke splat_minus_zero 2141192192 => 4194304
;; invoke splat_min 2141192192 0 => 4194304
;; invoke splat_demote_promote 2141192192 => 4194304
;; invoke promote 2141192192 => 1
;; invoke negate 2141192192 => -6291456
;; invoke absolute -6291456 => 2141192192
;; invoke copysign 2141192192 => -6291456
;; invoke chosen 2141192192 => 2141192192
;; invoke pseudo_min 2141192192 => 2141192192
;; invoke through_memory 2141192192 => 2141192192
;; invoke constant => 2141192192
;; invoke constant_64 => 9218868437227405313
;; invoke min_zeros 0 -2147483648 => -2147483648
;; invoke min_zeros -2147483648 0 => -2147483648
;; invoke max_zeros 0 -2147483648 => 0
;; invoke max_zeros -2147483648 0 => 0
;; invoke canonical 1065353216 2143289344 => 2143289344
;; invoke canonical 2143289344 -1082130432 => 2143289344
(module
  (memory 1)
  (func $f (param i32) (result f32) (f32.reinterpret_i32 (local.get 0)))
  (func $quiet (param f32) (result i32)
    (i32.and (i32.reinterpret_f32 (local.get 0)) (i32.const 0x400000)))
  (func $splat (param i32) (result v128) (f32x4.splat (f32.reinterpret_i32 (local.get 0))))
  (func $quiet_lane (param v128) (result i32)
    (call $quiet (f32x4.extract_lane 1 (local.get 0))))
  (func (export "times_one") (param i32) (result i32)
    (call $quiet (f32.mul (call $f (local.get 0)) (f32.const 1))))
  (func (export "by_minus_one") (param i32) (result i32)
    (call $quiet (f32.div (call $f (local.get 0)) (f32.const -1))))
  (func (export "minus_zero") (param i32) (result i32)
    (call $quiet (f32.sub (call $f (local.get 0)) (f32.const 0))))
  (func (export "plus_negative_zero") (param i32) (result i32)
    (call $quiet (f32.add (f32.const -0) (call $f (local.get 0)))))
  (func (export "from_negative_zero") (param i32) (result i32)
    (call $quiet (f32.sub (f32.const -0) (call $f (local.get 0)))))
  (func (export "absolute_plus_zero") (param i32) (result i32)
    (call $quiet (f32.add (f32.abs (call $f (local.get 0))) (f32.const 0))))
  (func (export "absolute_minus_negative_zero") (param i32) (result i32)
    (call $quiet (f32.sub (f32.abs (call $f (local.get 0))) (f32.const -0))))
  (func (export "min_infinity") (param i32) (result i32)
    (call $quiet (f32.min (call $f (local.get 0)) (f32.const inf))))
  (func (export "max_constant") (param i32) (result i32)
    (call $quiet (f32.max (f32.const 2) (call $f (local.get 0)))))
  (func (export "min") (param i32 i32) (result i32)
    (call $quiet (f32.min (call $f (local.get 0)) (call $f (local.get 1)))))
  (func (export "max") (param i32 i32) (result i32)
    (call $quiet (f32.max (call $f (local.get 0)) (call $f (local.get 1)))))
  (func (export "floor") (param i32) (result i32)
    (call $quiet (f32.floor (call $f (local.get 0)))))
  (func (export "nearest") (param i32) (result i32)
    (call $quiet (f32.nearest (call $f (local.get 0)))))
  (func (export "sqrt") (param i32) (result i32)
    (call $quiet (f32.sqrt (call $f (local.get 0)))))
  (func (export "demote_promote") (param i32) (result i32)
    (call $quiet (f32.demote_f64 (f64.promote_f32 (call $f (local.get 0))))))
  (func (export "demote_negated_promote") (param i32) (result i32)
    (call $quiet (f32.demote_f64 (f64.neg (f64.promote_f32 (call $f (local.get 0)))))))
  (func (export "demote_chosen_promote") (param i32) (result i32)
    (call $quiet (f32.demote_f64
      (select (f64.promote_f32 (call $f (local.get 0))) (f64.const 3) (local.get 0)))))
  (func (export "demote_promote_by_local") (param i32) (result i32) (local f64)
    (local.set 1 (f64.promote_f32 (call $f (local.get 0))))
    (call $quiet (f32.demote_f64 (local.get 1))))
  (func (export "splat_times_one") (param i32) (result i32)
    (call $quiet_lane (f32x4.mul (call $splat (local.get 0)) (f32x4.splat (f32.const 1)))))
  (func (export "splat_minus_zero") (param i32) (result i32)
    (call $quiet_lane (f32x4.sub (call $splat (local.get 0)) (v128.const f32x4 0 0 0 0))))
  (func (export "splat_min") (param i32 i32) (result i32)
    (call $quiet_lane (f32x4.min (call $splat (local.get 0)) (call $splat (local.get 1)))))
  (func (export "splat_demote_promote") (param i32) (result i32)
    (call $quiet_lane (f32x4.demote_f64x2_zero
      (f64x2.promote_low_f32x4 (call $splat (local.get 0))))))
  (func (export "promote") (param i32) (result i32)
    (i32.wrap_i64 (i64.and (i64.const 1) (i64.shr_u
      (i64.reinterpret_f64 (f64.promote_f32 (call $f (local.get 0)))) (i64.const 51)))))
  (func (export "negate") (param i32) (result i32)
    (i32.reinterpret_f32 (f32.neg (call $f (local.get 0)))))
  (func (export "absolute") (param i32) (result i32)
    (i32.reinterpret_f32 (f32.abs (call $f (local.get 0)))))
  (func (export "copysign") (param i32) (result i32)
    (i32.reinterpret_f32 (f32.copysign (call $f (local.get 0)) (f32.const -1))))
  (func (export "chosen") (param i32) (result i32)
    (i32.reinterpret_f32 (select (call $f (local.get 0)) (f32.const 1) (local.get 0))))
  ;; the first operand where they do not compare
  (func (export "pseudo_min") (param i32) (result i32)
    (i32x4.extract_lane 2
      (f32x4.pmin (call $splat (local.get 0)) (f32x4.splat (f32.const 1)))))
  (func (export "through_memory") (param i32) (result i32)
    (f32.store (i32.const 8) (call $f (local.get 0)))
    (f32.store (i32.const 12) (f32.load (i32.const 8)))
    (i32.load (i32.const 12)))
  (func (export "constant") (result i32) (i32.reinterpret_f32 (f32.const nan:0x200000)))
  (func (export "constant_64") (result i64) (i64.reinterpret_f64 (f64.const nan:0x1)))
  (func (export "min_zeros") (param i32 i32) (result i32)
    (i32.reinterpret_f32 (f32.min (call $f (local.get 0)) (call $f (local.get 1)))))
  (func (export "max_zeros") (param i32 i32) (result i32)
    (i32.reinterpret_f32 (f32.max (call $f (local.get 0)) (call $f (local.get 1)))))
  ;; one canonical NaN among the operands: the result is canonical, of either sign
  (func (export "canonical") (param i32 i32) (result i32)
    (i32.reinterpret_f32 (f32.abs
      (f32.min (call $f (local.get 0)) (call $f (local.get 1)))))))
