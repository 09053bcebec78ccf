;; Loops that a producer unrolled, which are rolled up again (compiler/reroll.c), and such as must
;; not be. Memory holds 7, 10, 13 ... in words from 0 on.
;; invoke sum 16 => 1442
;; invoke sum 256 => 201632
;; invoke sum 250 => 177870
;; invoke passes 64 => 472
;; invoke passes 60 => trap out of bounds memory access
;; invoke minus => 98760
;; invoke down => 128
;; invoke chain => 167
;; invoke together => 105
;; invoke swapped => 1272
;; invoke bits => 520
;; invoke unlike => 1912
;; invoke middle => 616
;; invoke three => 1635
;; invoke two 2 => 15468
;; invoke two 40 => 206000
;; invoke two 41 => 206000
;; invoke top => trap out of bounds memory access
;; invoke over => trap out of bounds memory access
(module
  (memory 1 1)
  (func $fill (local $i i32)
    (loop $more
      (i32.store (i32.shl (local.get $i) (i32.const 2))
        (i32.add (i32.const 7) (i32.mul (local.get $i) (i32.const 3))))
      (br_if $more (i32.ne (i32.const 1000)
        (local.tee $i (i32.add (local.get $i) (i32.const 1)))))))
  (start $fill)
  ;; four a turn, static offsets; the bound is a multiple of the turn
  (func (export "sum") (param $n i32) (result i32) (local $i i32) (local $sum i32)
    (local.set $n (i32.and (local.get $n) (i32.const -16)))
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=8 (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=12 (local.get $i))))
      (br_if $more (i32.ne (local.get $n) (local.tee $i (i32.add (local.get $i) (i32.const 16))))))
    (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $i)))
  ;; a bound that turns may pass: on to the end of memory
  (func (export "passes") (param $n i32) (result i32) (local $i i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $i))))
      (br_if $more (i32.ne (local.get $n) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (local.get $sum))
  ;; the order of subtractions; the index in 32 bits, from -64 up to 0, two a turn
  (func (export "minus") (result i32) (local $i i32) (local $rest i32)
    (local.set $i (i32.const -64))
    (local.set $rest (i32.const 100000))
    (loop $more
      (local.set $rest (i32.sub (local.get $rest) (i32.load (i32.add (local.get $i) (i32.const 128)))))
      (local.set $rest (i32.sub (local.get $rest) (i32.load (i32.add (local.get $i) (i32.const 132)))))
      (br_if $more (local.tee $i (i32.add (local.get $i) (i32.const 8)))))
    (local.get $rest))
  ;; downwards
  (func (export "down") (result i32) (local $i i32) (local $sum i32)
    (local.set $i (i32.const 256))
    (loop $more
      (local.set $sum (i32.xor (local.get $sum) (i32.mul (i32.const 3) (i32.load (local.get $i)))))
      (local.set $sum (i32.xor (local.get $sum) (i32.mul (i32.const 3) (i32.load (i32.sub (local.get $i) (i32.const 4))))))
      (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 8)))))
    (local.get $sum))
  ;; each copy reads what the one before it stored
  (func (export "chain") (result i32) (local $i i32)
    (loop $more
      (i32.store offset=4 (local.get $i) (i32.add (i32.load (local.get $i)) (i32.const 5)))
      (i32.store offset=8 (local.get $i) (i32.add (i32.load offset=4 (local.get $i)) (i32.const 5)))
      (br_if $more (i32.ne (i32.const 128) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (i32.load (i32.const 128)))
  ;; both are read before one is stored
  (func (export "together") (result i32) (local $i i32) (local $a i32) (local $b i32)
    (loop $more
      (local.set $a (i32.load (local.get $i)))
      (local.set $b (i32.load offset=4 (local.get $i)))
      (i32.store offset=4 (local.get $i) (i32.add (local.get $a) (i32.const 5)))
      (i32.store offset=8 (local.get $i) (i32.add (local.get $b) (i32.const 5)))
      (br_if $more (i32.ne (i32.const 128) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (i32.load (i32.const 128)))
  ;; the second copy stores before it reads
  (func (export "swapped") (result i32) (local $i i32)
    (loop $more
      (i32.store offset=512 (local.get $i) (i32.load offset=516 (local.get $i)))
      (i32.store offset=1024 (local.get $i) (local.get $i))
      (i32.store offset=1028 (local.get $i) (i32.add (local.get $i) (i32.const 4)))
      (i32.store offset=516 (local.get $i) (i32.load offset=520 (local.get $i)))
      (br_if $more (i32.ne (i32.const 1024) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (i32.add (i32.load (i32.const 1000)) (i32.load (i32.const 1532))))
  ;; the first copy's addition may be an `or`, the second's not
  (func (export "bits") (result i32) (local $i i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (i32.add (local.get $i) (i32.const 4)))))
      (local.set $sum (i32.add (local.get $sum) (i32.load (i32.add (local.get $i) (i32.const 8)))))
      (br_if $more (i32.ne (i32.const 64) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (local.get $sum))
  ;; copies that are not alike
  (func (export "unlike") (result i32) (local $i i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.mul (i32.const 3) (i32.load (local.get $i)))))
      (local.set $sum (i32.add (local.get $sum) (i32.mul (i32.const 5) (i32.load offset=4 (local.get $i)))))
      (br_if $more (i32.ne (i32.const 64) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (local.get $sum))
  ;; a sum that is used in the middle too
  (func (export "middle") (result i32) (local $i i32) (local $sum i32) (local $half i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
      (local.set $half (i32.xor (local.get $half) (local.get $sum)))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $i))))
      (br_if $more (i32.ne (i32.const 64) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (i32.add (local.get $sum) (local.get $half)))
  ;; three a turn of 12; two counters, one of which counts
  (func (export "three") (result i32) (local $i i32) (local $n i32) (local $sum i32)
    (local.set $n (i32.const 30))
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=8 (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 12)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 3)))))
    (i32.add (local.get $sum) (local.get $i)))
  (func (export "two") (param $n i32) (result i32) (local $p i32) (local $q i32) (local $k i32)
    (local.set $n (i32.and (local.get $n) (i32.const -2)))
    (local.set $q (i32.const 2048))
    (loop $more
      (i32.store (local.get $q) (i32.mul (i32.load (local.get $p)) (i32.load (local.get $q))))
      (i32.store offset=4 (local.get $q) (i32.mul (i32.load offset=4 (local.get $p)) (i32.load offset=4 (local.get $q))))
      (local.set $p (i32.add (local.get $p) (i32.const 8)))
      (local.set $q (i32.add (local.get $q) (i32.const 8)))
      (br_if $more (i32.ne (local.get $n) (local.tee $k (i32.add (local.get $k) (i32.const 2))))))
    (i32.add (i32.load offset=2044 (i32.shl (local.get $n) (i32.const 2))) (local.get $p)))
  ;; from the last addresses of all; over the end of memory with stores before it
  (func (export "top") (result i32) (local $i i32) (local $sum i32)
    (local.set $i (i32.const -8))
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $i))))
      (br_if $more (i32.ne (i32.const 64) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))
    (local.get $sum))
  (func (export "over") (local $i i32)
    (local.set $i (i32.const 65520))
    (loop $more
      (i32.store (local.get $i) (i32.const 1))
      (i32.store offset=4 (local.get $i) (i32.const 1))
      (br_if $more (i32.ne (i32.const 65600) (local.tee $i (i32.add (local.get $i) (i32.const 8))))))))
