;; Pairs of f32 side by side, which LLVM makes vectors of two: it cannot select llvm.canonicalize
;; of them (compiler/canonicalize.c).
;; invoke least 5 0.5 => 1.5
;; invoke least nan 0.5 => NaN
(module
  (memory 1 1)
  (func (export "least") (param $a f32) (param $b f32) (result f64)
    (f32.store (i32.const 16) (local.get $a))
    (f32.store (i32.const 20) (local.get $b))
    (call $pair (i32.const 16) (i32.const 32))
    (f64.add (f64.promote_f32 (f32.load (i32.const 32))) (f64.promote_f32 (f32.load (i32.const 36)))))
  (func $pair (export "pair") (param $from i32) (param $to i32)
    (local $x f32) (local $y f32)
    (local.set $x (f32.load (local.get $from)))
    (local.set $y (f32.load offset=4 (local.get $from)))
    (f32.store (local.get $to) (f32.min (local.get $x) (f32.const 1)))
    (f32.store offset=4 (local.get $to) (f32.min (local.get $y) (f32.const 1)))))
