;; Loops that LLVM turns into its own calls of memset and memcpy: results, and traps from within.
;; invoke fill 0 65536 => 65536
;; invoke fill 0 65537 => trap out of bounds memory access
;; invoke fill 60000 65536 => trap out of bounds memory access
;; invoke fill 65535 1 => 1
;; invoke fill 65536 1 => trap out of bounds memory access
;; invoke fill 100 0 => 0
;; invoke copy 0 32768 32768 => 32768
;; invoke copy 0 32769 32768 => trap out of bounds memory access
;; invoke copy 32769 0 32768 => trap out of bounds memory access
;; invoke overlap 5000 => 5000
;; invoke bulk_copy 1 0 65535 => 65535
;; invoke bulk_copy 0 1 65535 => 65535
;; invoke bulk_copy 65530 3 6 => 6
;; invoke bulk_fill 65521 15 => 15
(module
  (memory 1 1)
  ;; how many of the `count` bytes at `at` are 7
  (func $count (param $at i32) (param $left i32) (result i32) (local $found i32)
    (block $end
      (loop $more
        (br_if $end (i32.eqz (local.get $left)))
        (local.set $found (i32.add (local.get $found)
          (i32.eq (i32.load8_u (local.get $at)) (i32.const 7))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $more)))
    (local.get $found))
  (func $fill (export "fill") (param $at i32) (param $size i32) (result i32) (local $end i32) (local $p i32)
    (local.set $p (local.get $at))
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
        (i32.store8 (local.get $p) (i32.const 7))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $more)))
    (call $count (local.get $at) (local.get $size)))
  (func $copy (param $to i32) (param $from i32) (param $size i32) (local $i i32)
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $i) (local.get $size)))
        (i32.store8 (i32.add (local.get $to) (local.get $i))
          (i32.load8_u (i32.add (local.get $from) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $more))))
  (func (export "copy") (param $to i32) (param $from i32) (param $size i32) (result i32)
    (memory.fill (local.get $from)
      (i32.const 7)
      (select (local.get $size) (i32.sub (i32.const 65536) (local.get $from))
        (i32.le_u (i32.add (local.get $from) (local.get $size)) (i32.const 65536))))
    (call $copy (local.get $to) (local.get $from) (local.get $size))
    (call $count (local.get $to) (local.get $size)))
  ;; each byte from the one before: not a memmove
  (func (export "overlap") (param $size i32) (result i32)
    (i32.store8 (i32.const 99) (i32.const 7))
    (call $copy (i32.const 100) (i32.const 99) (local.get $size))
    (call $count (i32.const 100) (local.get $size)))
  (func (export "bulk_copy") (param $to i32) (param $from i32) (param $size i32) (result i32)
    (memory.fill (local.get $from) (i32.const 7) (local.get $size))
    (memory.copy (local.get $to) (local.get $from) (local.get $size))
    (call $count (local.get $to) (local.get $size)))
  (func (export "bulk_fill") (param $to i32) (param $size i32) (result i32)
    (memory.fill (local.get $to) (i32.const 0x107) (local.get $size))
    (call $count (local.get $to) (local.get $size))))
