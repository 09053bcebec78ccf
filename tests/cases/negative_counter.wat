;; Counters that start at a negative constant, which the optimiser lets start at 0 (compiler/rebase.c).
;; invoke scale 2 => -3151872
;; invoke beyond => trap out of bounds memory access
;; invoke below => trap out of bounds memory access
;; invoke past 0 => -2147354198
;; invoke past 30 => -1024317139
;; invoke past -100 => -202517
;; invoke down 40 => 8801995423458493828
;; invoke down 1 => 4294967295
(module
  (memory 1 1)
  ;; scale: i runs from -4096 to 0 by 8; a at 16, b at 8192
  (func (export "scale") (param $k f32) (result f32) (local $i i32) (local $sum f32)
    (local.set $i (i32.const -4096))
    (loop $more
      (f32.store (i32.add (local.get $i) (i32.const 4112))
        (f32.convert_i32_s (local.get $i)))
      (f32.store (i32.add (local.get $i) (i32.const 4116))
        (f32.mul (local.get $k) (f32.load (i32.add (local.get $i) (i32.const 4112)))))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br_if $more (local.get $i)))
    (local.set $i (i32.const -4096))
    (loop $again
      (f32.store (i32.add (local.get $i) (i32.const 12288))
        (f32.add (f32.load (i32.add (local.get $i) (i32.const 4112)))
                 (f32.load (i32.add (local.get $i) (i32.const 12288)))))
      (local.set $sum (f32.add (local.get $sum)
        (f32.load (i32.add (local.get $i) (i32.const 12288)))))
      (local.set $i (i32.add (local.get $i) (i32.const 4)))
      (br_if $again (local.get $i)))
    (local.get $sum))
  ;; the index passes the end of memory in the middle of the loop: what was stored before stays
  (func (export "beyond") (local $i i32)
    (local.set $i (i32.const -8192))
    (loop $more
      (i32.store (i32.add (local.get $i) (i32.const 69632)) (i32.const 77))
      (local.set $i (i32.add (local.get $i) (i32.const 4)))
      (br_if $more (local.get $i))))
  ;; begins below 0, which is beyond the end
  (func (export "below") (result i32) (local $i i32)
    (local.set $i (i32.const -64))
    (loop $more
      (i32.store8 (i32.add (local.get $i) (i32.const 32)) (i32.const 1))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (local.get $i)))
    (i32.const 0))
  ;; passes 0 and goes on; the counter itself is an address, a value and a shift
  (func (export "past") (param $end i32) (result i32) (local $i i32) (local $x i32)
    (local.set $i (i32.const -5))
    (loop $more
      (local.set $x (i32.add (i32.rotl (local.get $x) (local.get $i))
        (i32.load8_u offset=16 (i32.and (local.get $i) (i32.const 255)))))
      (local.set $x (i32.xor (local.get $x) (i32.mul (local.get $i) (i32.const 40503))))
      (local.set $i (i32.add (local.get $i) (i32.const 3)))
      (br_if $more (i32.lt_s (local.get $i) (local.get $end))))
    (i32.add (local.get $x) (local.get $i)))
  ;; goes down from -1 and wraps
  (func (export "down") (param $step i32) (result i64) (local $i i32) (local $n i32) (local $sum i64)
    (local.set $i (i32.const -1))
    (loop $more
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31))
        (i64.extend_i32_u (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const -858993459)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (local.get $step))))
    (local.get $sum)))
