;; memory.copy and memory.fill check their whole range before they write a byte.
;; invoke fill 65530 6 => ok
;; invoke fill 65530 7 => trap out of bounds memory access
;; invoke fill 65536 0 => ok
;; invoke fill 65537 0 => trap out of bounds memory access
;; invoke fill -1 -1 => trap out of bounds memory access
;; invoke copy 0 65530 7 => trap out of bounds memory access
;; invoke copy 65530 0 7 => trap out of bounds memory access
;; invoke copy -1 -1 -1 => trap out of bounds memory access
;; invoke overlap_up => 84148994
;; invoke overlap_down => 100992003
;; invoke init 0 0 4 => 1684234849
;; invoke init 0 1 4 => trap out of bounds memory access
;; invoke init 65533 0 4 => trap out of bounds memory access
(module
  (memory 1 1)
  (data $d "abcd")
  (data (i32.const 100) "\01\02\03\04\05\06\07\08")
  (func (export "fill") (param i32 i32)
    (memory.fill (local.get 0) (i32.const 255) (local.get 1)))
  (func (export "copy") (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  ;; 01 02 03 04 05 06 07 08 moved up by one: bytes 102.. are 02 03 04 05
  (func (export "overlap_up") (result i32)
    (memory.copy (i32.const 101) (i32.const 100) (i32.const 7))
    (i32.load (i32.const 102)))
  (func (export "overlap_down") (result i32)
    (memory.copy (i32.const 100) (i32.const 101) (i32.const 7))
    (i32.load (i32.const 101)))
  (func (export "init") (param i32 i32 i32) (result i32)
    (memory.init $d (local.get 0) (local.get 1) (local.get 2))
    (i32.load (local.get 0))))
