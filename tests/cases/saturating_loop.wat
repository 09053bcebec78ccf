;; Saturating conversions in loops that become vectors (compiler/saturate_x86.c): at 32 floats from 64
;; on, all kinds in every lane.
;; invoke f32 0 => 2147483647
;; invoke f32 1 => 2147483647
;; invoke f32 2 => -2147483648
;; invoke f32 3 => 0
;; invoke f32 4 => 2147483520
;; invoke f32 5 => -2147483648
;; invoke f32 6 => -7
;; invoke f32 7 => -2147483648
;; invoke f32 32 => 0
;; invoke f64 0 => 2147483647
;; invoke f64 1 => 2147483647
;; invoke f64 2 => -2147483648
;; invoke f64 3 => 0
;; invoke f64 4 => 2147483647
;; invoke f64 5 => -2147483648
;; invoke f64 6 => -7
;; invoke f64 7 => -2147483648
;; invoke sum => 2042
;; invoke one 0 2147483647 => 32
;; invoke one 1 2147483647 => 32
;; invoke one 2 -2147483648 => 32
;; invoke one 3 0 => 32
;; invoke one 4 2147483520 => 32
;; invoke one 7 -2147483648 => 32
(module
  (memory 1 1)
  ;; inf, 2^31, -inf, nan, the last below 2^31, the first above -2^31, -7.9, -2^31
  (data (i32.const 0) "\00\00\80\7f\00\00\00\4f\00\00\80\ff\00\00\c0\7f\ff\ff\ff\4e\00\00\00\cf\cd\cc\fc\c0\01\00\00\cf")
  (data (i32.const 8192) "\00\00\00\00\00\00\f0\7f\00\00\00\00\00\00\e0\41\00\00\00\00\00\00\f0\ff\00\00\00\00\00\00\f8\7f\00\00\c0\ff\ff\ff\df\41\00\00\00\00\00\00\e0\c1\9a\99\99\99\99\99\1f\c0\00\00\20\00\00\00\e0\c1")
  (data (i32.const 2048) "\00\00\80\3f\00\00\00\40\00\00\40\40\00\00\80\40")
  ;; element $at of 32 that begin with element $at: each kind is in each lane once
  (func (export "f32") (param $at i32) (result i32) (local $i i32)
    (loop $fill
      (i32.store offset=64 (i32.shl (local.get $i) (i32.const 2))
        (i32.load (i32.shl (i32.and (i32.add (local.get $i) (local.get $at)) (i32.const 7)) (i32.const 2))))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32))))
    (local.set $i (i32.const 0))
    (loop $convert
      (i32.store offset=1024 (local.get $i)
        (i32.trunc_sat_f32_s (f32.load offset=64 (local.get $i))))
      (br_if $convert (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 128))))
    ;; lanes of one kind agree; 32 past the end of what was written
    (if (i32.ne (i32.load offset=1024 (i32.const 0)) (i32.load offset=1120 (i32.const 0)))
      (then (unreachable)))
    (if (result i32) (i32.eq (local.get $at) (i32.const 32))
      (then (i32.load offset=1152 (i32.const 0)))
      (else (i32.load offset=1024 (i32.const 0)))))
  (func (export "f64") (param $at i32) (result i32) (local $i i32)
    (loop $fill
      (i64.store offset=12288 (i32.shl (local.get $i) (i32.const 3))
        (i64.load offset=8192 (i32.shl (i32.and (i32.add (local.get $i) (local.get $at)) (i32.const 7)) (i32.const 3))))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32))))
    (local.set $i (i32.const 0))
    (loop $convert
      (i32.store offset=16384 (i32.shl (local.get $i) (i32.const 2))
        (i32.trunc_sat_f64_s (f64.load offset=12288 (i32.shl (local.get $i) (i32.const 3)))))
      (br_if $convert (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32))))
    (if (i32.ne (i32.load offset=16384 (i32.const 0)) (i32.load offset=16480 (i32.const 0)))
      (then (unreachable)))
    (i32.load offset=16384 (i32.const 0)))
  ;; four a turn, as producers unroll: 4 * 255.25 * 2 without the fractions
  (func (export "sum") (result i32) (local $i i32) (local $sum i32)
    (loop $fill
      (f32.store offset=4096 (local.get $i) (f32.const 255.25))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 32))))
    (local.set $i (i32.const 0))
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_sat_f32_s (f32.load offset=4096 (local.get $i)))))
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_sat_f32_s (f32.load offset=4100 (local.get $i)))))
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_sat_f32_s (f32.load offset=4104 (local.get $i)))))
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_sat_f32_s (f32.load offset=4108 (local.get $i)))))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const 32))))
    (i32.add (local.get $sum) (i32.const 2)))
  ;; 31 of 32 that fit and one of a kind, at each place: how often it came to what is wanted
  (func (export "one") (param $kind i32) (param $wanted i32) (result i32)
    (local $at i32) (local $i i32) (local $sum i32) (local $right i32)
    (loop $place
      (local.set $i (i32.const 0))
      (loop $fill
        (f32.store offset=20480 (local.get $i) (f32.const 2.5))
        (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 128))))
      (i32.store offset=20480 (i32.shl (local.get $at) (i32.const 2))
        (i32.load (i32.shl (local.get $kind) (i32.const 2))))
      (local.set $i (i32.const 0))
      (loop $convert
        (i32.store offset=20992 (local.get $i)
          (i32.trunc_sat_f32_s (f32.load offset=20480 (local.get $i))))
        (br_if $convert (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 128))))
      (local.set $right (i32.add (local.get $right)
        (i32.eq (i32.load offset=20992 (i32.shl (local.get $at) (i32.const 2))) (local.get $wanted))))
      (i32.store offset=20992 (i32.shl (local.get $at) (i32.const 2)) (i32.const 2))
      (local.set $i (i32.const 0))
      (local.set $sum (i32.const 0))
      (loop $add
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=20992 (local.get $i))))
        (br_if $add (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 128))))
      (if (i32.ne (local.get $sum) (i32.const 64)) (then (unreachable)))
      (br_if $place (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 32))))
    (local.get $right)))
