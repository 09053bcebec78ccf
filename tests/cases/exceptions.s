# Exceptions of Wasm 3.0, which the text tools of Debian 12 do not know: what a handler gets and
# sees of the locals, which handler it is, references that outlive their handler.
# invoke payload 7 => 7 8 1.5 2.5
# invoke nested 0 => 100
# invoke nested 1 => 211
# invoke nested 2 => 322
# invoke nested 3 => trap uncaught exception
# invoke deep 10 => 10
# invoke deep 5000 => 5000
# invoke locals 5 => 174
# invoke many 300000 => 300000
# invoke many_held 100000 => 100000
# invoke held 1000 => 1000
# invoke held 3000 => trap exceptions exhausted
# invoke sum 1000 => 500500
# invoke indirect 0 => 45
# invoke indirect 9 => trap undefined element
# invoke again 41 => 42
# invoke null => trap null reference
# invoke through 9 => trap uncaught exception
# invoke trap_inside 0 => trap integer divide by zero
# invoke trap_inside 4 => 25
# invoke arguments 3 => 45
# invoke kept_in_table 11 => 22
# invoke dropped => trap uncaught exception

        .tabletype references, exnref, 4
        .functype deep_inner (i32, i32) -> (i32)
        .functype hold (i32) -> (i32)

.macro function name, type:vararg
        .section .text.\name,"",@
        .globl \name
        .export_name \name, \name
        .type \name,@function
\name:
        .functype \name \type
.endm

        .globl one
one:    .tagtype one i32
        .globl two
two:    .tagtype two i32
        .globl none
none:   .tagtype none
        .globl all
all:    .tagtype all i32, i64, f32, f64
        .globl references
references:

function throw_all, (i32) -> ()
        local.get 0
        local.get 0
        i32.const 1
        i32.add
        i64.extend_i32_u
        f32.const 1.5
        f64.const 2.5
        throw all
        end_function

function payload, (i32) -> (i32, i64, f32, f64)
        block () -> (i32, i64, f32, f64)
        try_table (catch all 0)
        local.get 0
        call throw_all
        end_try_table
        unreachable
        end_block
        end_function

# 0: nothing, 1: one, 2: two, 3: none
function throw_which, (i32) -> ()
        block
        block
        block
        block
        local.get 0
        br_table {3, 0, 1, 2}
        end_block
        i32.const 11
        throw one
        end_block
        i32.const 22
        throw two
        end_block
        throw none
        end_block
        end_function

function nested, (i32) -> (i32)
        block i32
        try_table (catch two 0)
        block i32
        try_table (catch one 0)
        local.get 0
        call throw_which
        end_try_table
        i32.const 100
        return
        end_block
        i32.const 200
        i32.add
        return
        end_try_table
        unreachable
        end_block
        i32.const 300
        i32.add
        end_function

function deep_inner, (i32, i32) -> (i32)
        block
        local.get 0
        br_if 0
        local.get 1
        throw one
        end_block
        local.get 0
        i32.const 1
        i32.sub
        local.get 1
        i32.const 1
        i32.add
        call deep_inner
        local.get 0
        i32.add
        end_function

function deep, (i32) -> (i32)
        block i32
        try_table i32 (catch one 0)
        local.get 0
        i32.const 0
        call deep_inner
        end_try_table
        drop
        i32.const -1
        end_block
        end_function

# The handler sees what locals were when the call was made, also in a loop.
function locals, (i32) -> (i32)
        .local i32, i32, i32
        i32.const 1
        local.set 1
        loop
        block i32
        try_table (catch one 0)
        local.get 1
        i32.const 3
        i32.mul
        local.set 1
        local.get 2
        i32.const 2
        i32.rem_u
        i32.const 1
        i32.eq
        call throw_which
        local.get 1
        i32.const 1
        i32.sub
        local.set 1
        end_try_table
        i32.const 0
        end_block
        local.get 3
        i32.add
        local.set 3
        local.get 2
        i32.const 1
        i32.add
        local.tee 2
        local.get 0
        i32.lt_u
        br_if 0
        end_loop
        local.get 1
        local.get 3
        i32.add
        end_function

function many, (i32) -> (i32)
        .local i32
        loop
        block i32
        try_table (catch one 0)
        i32.const 1
        call throw_which
        end_try_table
        unreachable
        end_block
        drop
        local.get 1
        i32.const 1
        i32.add
        local.tee 1
        local.get 0
        i32.lt_u
        br_if 0
        end_loop
        local.get 1
        end_function

# Each is thrown again through its reference, and then forgotten.
function many_held, (i32) -> (i32)
        .local i32, exnref
        loop
        block
        try_table (catch_all 0)
        block exnref
        try_table (catch_all_ref 0)
        i32.const 1
        call throw_which
        end_try_table
        unreachable
        end_block
        local.tee 2
        throw_ref
        end_try_table
        unreachable
        end_block
        local.get 1
        i32.const 1
        i32.add
        local.tee 1
        local.get 0
        i32.lt_u
        br_if 0
        end_loop
        local.get 2
        drop
        local.get 1
        end_function

function catch_one, (i32) -> (exnref)
        .local exnref
        block () -> (i32, exnref)
        try_table (catch_ref one 0)
        local.get 0
        throw one
        end_try_table
        unreachable
        end_block
        local.set 1
        drop
        local.get 1
        end_function

# Frames that each hold an exception, to be thrown on the way back.
function hold, (i32) -> (i32)
        .local exnref, i32
        local.get 0
        i32.eqz
        if
        i32.const 0
        return
        end_if
        local.get 0
        call catch_one
        local.set 1
        local.get 0
        i32.const 1
        i32.sub
        call hold
        local.set 2
        block i32
        try_table (catch one 0)
        local.get 1
        throw_ref
        end_try_table
        unreachable
        end_block
        local.get 0
        i32.ne
        local.get 2
        i32.const 1
        i32.add
        local.get 0
        i32.ne
        i32.or
        if
        unreachable
        end_if
        local.get 0
        end_function

function held, (i32) -> (i32)
        local.get 0
        call hold
        end_function

# A handler that goes back to the head of a loop.
function sum, (i32) -> (i32)
        .local i32
        i32.const 0
        loop (i32) -> (i32)
        local.get 1
        i32.add
        local.set 1
        local.get 0
        i32.eqz
        if
        local.get 1
        return
        end_if
        try_table (catch one 0)
        local.get 0
        local.get 0
        i32.const 1
        i32.sub
        local.set 0
        throw one
        end_try_table
        unreachable
        end_loop
        end_function

function add_and_throw, (i32, i32) -> (i32)
        local.get 0
        local.get 1
        i32.add
        throw two
        end_function

function indirect, (i32) -> (i32)
        block i32
        try_table i32 (catch two 0)
        i32.const 40
        i32.const 5
        local.get 0
        i32.const add_and_throw
        i32.add
        call_indirect (i32, i32) -> (i32)
        end_try_table
        end_block
        end_function

function again, (i32) -> (i32)
        block i32
        try_table (catch one 0)
        block () -> (i32, exnref)
        try_table (catch_ref one 0)
        local.get 0
        i32.const 1
        i32.add
        throw one
        end_try_table
        unreachable
        end_block
        throw_ref
        end_try_table
        unreachable
        end_block
        end_function

function null, () -> ()
        block
        try_table (catch_all 0)
        ref.null_exn
        throw_ref
        end_try_table
        unreachable
        end_block
        end_function

# Not what the handler is for: it goes on.
function through, (i32) -> (i32)
        block i32
        try_table (catch two 0)
        local.get 0
        throw one
        end_try_table
        unreachable
        end_block
        end_function

function trap_inside, (i32) -> (i32)
        block
        try_table (catch_all 0)
        i32.const 100
        local.get 0
        i32.div_u
        return
        end_try_table
        unreachable
        end_block
        i32.const -1
        end_function

# More arguments than registers: some are on the stack where the handler begins.
function nine, (i32, i32, i32, i32, i32, i32, i32, i32, i32) -> ()
        local.get 0
        local.get 1
        i32.add
        local.get 2
        i32.add
        local.get 3
        i32.add
        local.get 4
        i32.add
        local.get 5
        i32.add
        local.get 6
        i32.add
        local.get 7
        i32.add
        local.get 8
        i32.add
        throw one
        end_function

function arguments, (i32) -> (i32)
        .local i32
        loop
        block i32
        try_table (catch one 0)
        i32.const 1
        i32.const 2
        i32.const 3
        i32.const 4
        i32.const 5
        i32.const 6
        i32.const 7
        i32.const 8
        i32.const 9
        call nine
        end_try_table
        unreachable
        end_block
        local.set 1
        local.get 0
        i32.const 1
        i32.sub
        local.tee 0
        br_if 0
        end_loop
        local.get 1
        end_function

# Held by a table alone, while others come and go.
function kept_in_table, (i32) -> (i32)
        i32.const 2
        local.get 0
        call catch_one
        table.set references
        i32.const 3
        local.get 0
        call catch_one
        table.set references
        i32.const 5000
        call many_held
        drop
        block i32
        try_table (catch one 0)
        i32.const 2
        table.get references
        throw_ref
        end_try_table
        unreachable
        end_block
        block i32
        try_table (catch one 0)
        i32.const 3
        table.get references
        throw_ref
        end_try_table
        unreachable
        end_block
        i32.add
        end_function

# The call may not go away because nobody wants its result.
function only_throws, (i32) -> (i32)
        local.get 0
        i32.eqz
        if
        throw none
        end_if
        i32.const 1
        end_function
function dropped, () -> ()
        block i32
        try_table (catch one 0)
        i32.const 0
        call only_throws
        drop
        end_try_table
        return
        end_block
        drop
        end_function
