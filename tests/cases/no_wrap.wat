;; Sums that were found not to wrap, and those like them that do (compiler/nowrap.c). Memory is one
;; page: what wraps to a low address is read there, what does not traps.
;; invoke after 16 => 21
;; invoke after -4 => trap out of bounds memory access
;; invoke after 65532 => trap out of bounds memory access
;; invoke never -4 => 11
;; invoke never 4 => 13
;; invoke one_way -4 0 => 11
;; invoke one_way 8 1 => 29
;; invoke one_way -4 1 => trap out of bounds memory access
;; invoke before -4 => 11
;; invoke before 4 => 33
;; invoke joined -8 0 => 11
;; invoke joined -8 1 => trap out of bounds memory access
;; invoke other -4 => 23
;; invoke large 4 => 35
;; invoke large -65532 => trap out of bounds memory access
;; invoke walk 0 5 => 65
;; invoke walk 65528 2 => 0
;; invoke walk 65528 3 => trap out of bounds memory access
;; invoke walk -8 4 => trap out of bounds memory access
;; invoke skip -8 4 => 30
;; invoke changed 4 -4 => 24
;; invoke offset -4 => trap out of bounds memory access
;; invoke soon 4 => 25
;; invoke soon -4 => trap out of bounds memory access
;; invoke soon_stored 4 => 25
;; invoke soon_stored -4 => trap out of bounds memory access
;; invoke soon_divided 4 1 => 26
;; invoke soon_divided -4 1 => trap out of bounds memory access
;; invoke soon_divided -4 0 => trap integer divide by zero
;; invoke soon_called -4 => trap unreachable
;; invoke soon_not_always 4 1 => 25
;; invoke soon_not_always -4 0 => 11
;; invoke soon_told -4 => trap unreachable
;; invoke soon_told 4 => 25
(module
  (memory 1)
  (data (i32.const 0) "\0b\00\00\00\0c\00\00\00\0d\00\00\00\0e\00\00\00\0f\00\00\00\15\00\00\00\10\00\00\00\11\00\00\00\12\00\00\00")
  (data (i32.const 16384) "\16\00\00\00\17\00\00\00")
  ;; the access at x comes first
  (func (export "after") (param $x i32) (result i32)
    (i32.store offset=1024 (local.get $x) (i32.const 1))
    (i32.load (i32.add (local.get $x) (i32.const 4))))
  ;; no access at x
  (func (export "never") (param $x i32) (result i32)
    (i32.load (i32.add (local.get $x) (i32.const 4))))
  ;; an access at x on one way only
  (func (export "one_way") (param $x i32) (param $first i32) (result i32) (local $sum i32)
    (if (local.get $first) (then (local.set $sum (i32.add (i32.const 2) (i32.load (local.get $x))))))
    (i32.add (local.get $sum) (i32.load (i32.add (local.get $x) (i32.const 4)))))
  ;; the access at x comes after the sum's, and not always
  (func (export "before") (param $x i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (i32.add (local.get $x) (i32.const 4))))
    (if (i32.eq (local.get $sum) (i32.const 13))
      (then (local.set $sum (i32.add (i32.const 8) (i32.add (local.get $sum) (i32.load (local.get $x)))))))
    (local.get $sum))
  ;; a way that leads around the access joins below it
  (func (export "joined") (param $x i32) (param $which i32) (result i32)
    (block $join
      (br_if $join (i32.eqz (local.get $which)))
      (i32.store (local.get $x) (i32.const 5)))
    (i32.load (i32.add (local.get $x) (i32.const 8))))
  ;; an access at another value
  (func (export "other") (param $x i32) (result i32)
    (i32.add (i32.load (i32.and (local.get $x) (i32.const 4)))
      (i32.load (i32.add (local.get $x) (i32.const 4)))))
  ;; more than is marked
  (func (export "large") (param $x i32) (result i32)
    (i32.add (i32.load (local.get $x)) (i32.load (i32.add (local.get $x) (i32.const 16384)))))
  ;; a pointer that walks, over the end of memory too
  (func (export "walk") (param $p i32) (param $n i32) (result i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 1)) (i32.load (local.get $p))))
      (local.set $p (i32.add (local.get $p) (i32.const 4)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $sum) (i32.load8_u (i32.const 100))))
  ;; one that walks from below 0 over it, and reads only above
  (func (export "skip") (param $p i32) (param $n i32) (result i32) (local $sum i32)
    (loop $more
      (if (i32.ge_s (local.get $p) (i32.const 0))
        (then (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $p))))))
      (local.set $p (i32.add (local.get $p) (i32.const 4)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $sum) (i32.const 7)))
  ;; the local that was accessed has another value since
  (func (export "changed") (param $x i32) (param $y i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (local.get $x)))
    (local.set $x (local.get $y))
    (i32.add (i32.add (local.get $sum) (i32.const 1)) (i32.load (i32.add (local.get $x) (i32.const 4)))))
  ;; an offset does not make an access of less
  (func (export "offset") (param $x i32) (result i32)
    (i32.add (i32.load offset=8 (local.get $x)) (i32.load (i32.add (local.get $x) (i32.const 4)))))
  ;; the access at x comes right after the sum's
  (func (export "soon") (param $x i32) (result i32)
    (i32.add (i32.load (i32.add (local.get $x) (i32.const 4))) (i32.load (local.get $x))))
  ;; the same, and the access is a store
  (func (export "soon_stored") (param $x i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (i32.add (local.get $x) (i32.const 4))))
    (i32.store (local.get $x) (i32.const 12))
    (i32.add (local.get $sum) (i32.load (i32.const 4))))
  ;; between them another trap
  (func (export "soon_divided") (param $x i32) (param $by i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (i32.add (local.get $x) (i32.const 4))))
    (local.set $sum (i32.add (local.get $sum) (i32.div_u (i32.const 1) (local.get $by))))
    (i32.add (local.get $sum) (i32.load (local.get $x))))
  (func $ends (param $sum i32) (if (i32.eq (local.get $sum) (i32.const 11)) (then (unreachable))))
  (func (export "soon_called") (param $x i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (i32.add (local.get $x) (i32.const 4))))
    (call $ends (local.get $sum))
    (i32.add (local.get $sum) (i32.load (local.get $x))))
  ;; only on one way
  (func (export "soon_not_always") (param $x i32) (param $more i32) (result i32) (local $sum i32)
    (local.set $sum (i32.load (i32.add (local.get $x) (i32.const 4))))
    (if (local.get $more) (then (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $x))))))
    (local.get $sum))
  ;; that x + 4 wraps is found out before
  (func (export "soon_told") (param $x i32) (result i32)
    (if (i32.lt_u (i32.add (local.get $x) (i32.const 4)) (local.get $x)) (then (unreachable)))
    (i32.add (i32.load (i32.add (local.get $x) (i32.const 4))) (i32.load (local.get $x)))))
