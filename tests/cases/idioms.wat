;; Loops that LLVM would make a call of: an object has no such function (compiler/lower_call.c).
;; invoke length 16 => 5
;; invoke length 21 => 0
;; invoke length 65530 => trap out of bounds memory access
;; invoke wide 32 => 3
;; invoke wide 44 => 0
;; invoke equal 64 80 => 1
;; invoke equal 64 81 => 0
(module
  (memory 1 1)
  (data (i32.const 16) "hello\00")
  (data (i32.const 32) "a\00\00\00b\00\00\00c\00\00\00\00\00\00\00")
  (data (i32.const 64) "0123456789abcdef0123456789abcdef")
  (data (i32.const 65530) "abcdef")
  (func (export "length") (param $at i32) (result i32) (local $p i32)
    (local.set $p (local.get $at))
    (block $end
      (loop $more
        (br_if $end (i32.eqz (i32.load8_u (local.get $p))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $more)))
    (i32.sub (local.get $p) (local.get $at)))
  (func (export "wide") (param $at i32) (result i32) (local $p i32)
    (local.set $p (local.get $at))
    (block $end
      (loop $more
        (br_if $end (i32.eqz (i32.load (local.get $p))))
        (local.set $p (i32.add (local.get $p) (i32.const 4)))
        (br $more)))
    (i32.shr_u (i32.sub (local.get $p) (local.get $at)) (i32.const 2)))
  (func (export "equal") (param $a i32) (param $b i32) (result i32)
    (i32.and (i32.and
        (i64.eq (i64.load (local.get $a)) (i64.load (local.get $b)))
        (i32.eq (i32.load offset=8 (local.get $a)) (i32.load offset=8 (local.get $b))))
      (i32.and
        (i32.eq (i32.load16_u offset=12 (local.get $a)) (i32.load16_u offset=12 (local.get $b)))
        (i32.eq (i32.load8_u offset=14 (local.get $a)) (i32.load8_u offset=14 (local.get $b))))))
)
