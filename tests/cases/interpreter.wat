;; An interpreter: one br_table that every operation jumps back to, which the optimiser turns into
;; indirect branches. Programs lie in memory, a byte an operation: 0 end, 1 push 1, 2 double, 3 add,
;; 4 negate, 5 square, 6 xor with 0x55, 7 swap with the second register, 8 shift right, 9 rewind by two
;; while the count lasts; all else is the default: nothing.
;; invoke run 0 0 => 4
;; invoke run 16 0 => 112943
;; invoke run 32 0 => 93
;; invoke run 32 5 => 341
;; invoke run 32 40 => 85
;; invoke run 48 0 => 2
;; invoke run 64 0 => 0
;; invoke run 18 0 => 80960
;; invoke run 26 3 => 0
;; invoke run 65535 1 => trap out of bounds memory access
(module
  (memory 1 1)
  (data (i32.const 0) "\01\02\02\03\00")
  (data (i32.const 16) "\01\02\07\01\03\02\05\06\07\03\08\04\00")
  (data (i32.const 32) "\01\02\02\02\09\06\00")
  (data (i32.const 48) "\0a\ff\80\01\0b\fe\02\7f\00")
  (data (i32.const 64) "\00")
  ;; runs off the end of memory
  (data (i32.const 65532) "\01\02\03\05")
  (func $step (export "run") (param $pc i32) (param $count i32) (result i32)
    (local $a i32) (local $b i32) (local $op i32)
    (block $end
      (loop $next
        (local.set $op (i32.load8_u (local.get $pc)))
        (local.set $pc (i32.add (local.get $pc) (i32.const 1)))
        (block $9 (block $8 (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1
        (block $default
          (br_table $end $1 $2 $3 $4 $5 $6 $7 $8 $9 $default (local.get $op)))
          (br $next))
          (local.set $a (i32.const 1)) (br $next))
          (local.set $a (i32.shl (local.get $a) (i32.const 1))) (br $next))
          (local.set $a (i32.add (local.get $a) (local.get $b))) (br $next))
          (local.set $a (i32.sub (i32.const 0) (local.get $a))) (br $next))
          (local.set $a (i32.mul (local.get $a) (local.get $a))) (br $next))
          (local.set $a (i32.xor (local.get $a) (i32.const 0x55))) (br $next))
          (local.set $op (local.get $a))
          (local.set $a (local.get $b))
          (local.set $b (local.get $op)) (br $next))
          (local.set $a (i32.shr_u (local.get $a) (i32.const 1))) (br $next))
        (if (local.get $count)
          (then
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (local.set $pc (i32.sub (local.get $pc) (i32.const 2)))))
        (br $next)))
    (i32.add (local.get $a) (i32.mul (local.get $b) (i32.const 1000)))))
