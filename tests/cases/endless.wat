;; Loops without an end stay loops, and a time limit ends them. Recursion without an end exhausts
;; the stack, at every level, also where it could be turned into a loop.
;; flags: -W timeout=300ms
;; invoke empty => trap interrupt
;; invoke counting => trap interrupt
;; invoke after_side_effect => trap interrupt
;; invoke ping 1 => trap interrupt
;; invoke recursion => trap call stack exhausted
;; invoke mutual => trap call stack exhausted
;; invoke big_frames => trap call stack exhausted
;; invoke with_result 1 => trap call stack exhausted
(module
  (memory 1 1)
  (func (export "empty") (loop $l (br $l)))
  (func (export "counting") (local i32)
    (loop $l (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br $l)))
  (func (export "after_side_effect") (i32.store (i32.const 0) (i32.const 1)) (loop $l (br $l)))
  (func (export "ping") (param i32) (loop $l (br_if $l (local.get 0))))
  (func $recursion (export "recursion") (call $recursion))
  (func $mutual (export "mutual") (call $other))
  (func $other (call $mutual))
  (func $with_result (export "with_result") (param i32) (result i32)
    (i32.add (local.get 0) (call $with_result (i32.add (local.get 0) (i32.const 1)))))
  ;; frames of several kilobytes: the stack's guard must not be jumped over
  (func $big_frames (export "big_frames")
    (local v128 v128 v128 v128 v128 v128 v128 v128)
    (local.set 0 (v128.load (i32.const 0)))
    (local.set 1 (v128.load (i32.const 16)))
    (local.set 2 (v128.load (i32.const 32)))
    (call $big_frames)
    (v128.store (i32.const 48) (v128.or (local.get 0) (v128.or (local.get 1) (local.get 2))))))
