;; Loops with several entries, as producers write goto: a local says at the head which one it is, and
;; ways on which it is a constant go straight on. Constants come by an if whose arms meet, by two
;; arms that both jump to the head, and from before a head that leads to another; what is no constant at
;; the end, or was one only before, must still be looked at.
;; invoke switch 1 => 7
;; invoke switch 2 => 84
;; invoke switch 3 => 89
;; invoke switch 10 => 2636
;; invoke switch 25 => 54583
;; invoke branch 0 0 => 1000
;; invoke branch 0 1 => 0
;; invoke branch 5 0 => 9004
;; invoke branch 9 1 => 40479
;; invoke branch 20 7 => 72101114
(module
  (func (export "switch") (param $n i32) (result i32)
    (local $way i32) (local $s i32)
    (if (i32.and (local.get $n) (i32.const 1))
      (then (local.set $way (i32.const 1)))
      (else (local.set $way (i32.const 0))))
    (loop $head
      (block $2
        (block $1
          (block $0 (br_table $0 $1 $2 (local.get $way)))
          (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 3)) (i32.const 1)))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (if (i32.le_s (local.get $n) (i32.const 0)) (then (return (local.get $s))))
          (if (i32.and (local.get $n) (i32.const 2))
            (then (local.set $way (i32.const 1)) (br $head)))
          (local.set $way (i32.const 2))
          (br $head))
        (local.set $s (i32.add (local.get $s) (i32.const 7)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (if (i32.le_s (local.get $n) (i32.const 0)) (then (return (local.get $s))))
        (local.set $way (i32.rem_u (local.get $n) (i32.const 3)))
        (br $head))
      (local.set $s (i32.xor (local.get $s) (i32.const 0x55)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (if (i32.le_s (local.get $n) (i32.const 0)) (then (return (local.get $s))))
      (local.set $way (i32.const 0))
      (local.set $way (i32.add (local.get $way) (i32.and (local.get $n) (i32.const 1))))
      (br $head))
    (unreachable))

  ;; the second head comes before the first, and asks with i32.eqz
  (func (export "branch") (param $n i32) (param $way i32) (result i32)
    (local $s i32)
    (loop $first
      (loop $head
        (block $zero
          (br_if $zero (i32.eqz (local.get $way)))
          (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 5)) (local.get $n)))
          (if (i32.eqz (local.get $n)) (then (return (local.get $s))))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (if (i32.and (local.get $n) (i32.const 1))
            (then (local.set $way (i32.const 0)))
            (else
              (local.set $way (i32.const 1))
              (local.set $way (i32.xor (local.get $way) (i32.and (local.get $n) (i32.const 3))))))
          (block $not
            (br_if $not (local.get $way))
            (local.set $s (i32.xor (local.get $s) (i32.const 0x100))))
          (br $head))
        (local.set $s (i32.add (local.get $s) (i32.const 1000)))
        (if (i32.eqz (local.get $n)) (then (return (local.get $s))))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (if (i32.and (local.get $n) (i32.const 4))
          (then (local.set $way (i32.const 1)) (br $first)))
        (local.set $way (i32.const 0))
        (local.set $s (i32.xor (local.get $s) (i32.const 0x100)))
        (br $first)))
    (unreachable)))
