/*
 * The gate: from the host's stack to the guest's and back (System V x86-64). Every register that
 * could carry a host pointer is cleared on the way to the guest, so that no guest frame can spill
 * one to the guest stack; the guest's callee-saved registers lie on its own stack while the host
 * runs. Generated code cannot change MXCSR, the x87 control word or the direction flag, but a host
 * may have: the host's are kept at [host_sp], the guest always has the ABI's.
 *
 * What lies at host_sp: mxcsr, x87 control word, then r15 r14 r13 r12 rbx rbp, return address.
 */
#include "runtime/gate.h"

    .text

/* rbx, rbp and the argument registers are left to the user of this macro. */
.macro clear_vectors
    cmpl $0, gate_has_avx(%rip)
    je 1f
    vzeroall
    jmp 2f
1:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pxor %xmm\n, %xmm\n
    .endr
2:
.endm

/* int gate_enter(crossing rdi, guest_sp rsi, entry rdx, slots rcx, code r8, instance r9) */
    .globl gate_enter
    .hidden gate_enter
    .type gate_enter, @function
    .balign 16
gate_enter:
    .cfi_startproc
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    push %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    push %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    push %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    push %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    sub $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    mov %rsp, CROSSING_HOST_SP(%rdi)
    mov %rdi, gate_current(%rip)

    .globl gate_enter_window
    .hidden gate_enter_window
gate_enter_window:
    cmpl $0, gate_interrupt(%rip)
    jne .Linterrupted
    ldmxcsr .Lmxcsr(%rip)
    fldcw .Lx87(%rip)
    cld
    /* From here on the frame is the guest's: an unwinder that comes from it stops. */
    .cfi_remember_state
    .cfi_undefined rip
    mov %rsi, %rsp
    mov %rdx, %rax
    mov %rcx, %rdi
    mov %r8, %rsi
    mov %r9, %rdx
    xor %ebx, %ebx
    xor %ebp, %ebp
    xor %ecx, %ecx
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    clear_vectors
    push $0
    jmp *%rax
    .globl gate_enter_window_end
    .hidden gate_enter_window_end
gate_enter_window_end:
    .cfi_restore_state
.Lreturned:
    mov gate_current(%rip), %rdi
    mov CROSSING_HOST_SP(%rdi), %rsp
    xor %eax, %eax
.Lback:
    cmpl $0, gate_has_avx(%rip)
    je 1f
    vzeroupper
1:
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    cld
    .cfi_remember_state
    add $8, %rsp
    .cfi_adjust_cfa_offset -8
    pop %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    pop %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    pop %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    pop %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    pop %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    pop %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    ret
    .cfi_restore_state

.Linterrupted:
    /* rsp is the host's, aligned to 16 */
    call gate_interrupted
    .globl gate_leave
    .hidden gate_leave
gate_leave:
    mov $1, %eax
    jmp .Lback
    .cfi_endproc
    .size gate_enter, . - gate_enter

/*
 * gate(index rdi, slots rsi, instance rdx), called on the guest stack. It is marked as a signal
 * frame so that gdb accepts that its caller's stack is another one.
 */
    .globl gate_call_host
    .hidden gate_call_host
    .type gate_call_host, @function
    .balign 16
gate_call_host:
    .cfi_startproc
    .cfi_signal_frame
    cmp $GATE_RETURN, %edi
    je .Lreturned
    mov %rsp, %r11
    .globl gate_push
    .hidden gate_push
gate_push:
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    push %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    push %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    push %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    push %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    .globl gate_push_end
    .hidden gate_push_end
gate_push_end:
    mov %rsp, %rbx
    .cfi_def_cfa_register rbx
    mov gate_current(%rip), %rax
    mov %rbx, CROSSING_GUEST_SP(%rax)
    mov CROSSING_HOST_SP(%rax), %rsp
    cmpl $0, gate_has_avx(%rip) /* generated code leaves it to the gate */
    je 1f
    vzeroupper
1:
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    xor %ebp, %ebp
.Ldispatch:
    call gate_dispatch
    test %eax, %eax
    jne gate_leave

    .globl gate_return_window
    .hidden gate_return_window
gate_return_window:
    cmpl $0, gate_interrupt(%rip)
    jne .Linterrupted
    ldmxcsr .Lmxcsr(%rip)
    fldcw .Lx87(%rip)
    cld
    clear_vectors
    mov gate_current(%rip), %rcx
    mov CROSSING_GUEST_SP(%rcx), %rbx
    mov CROSSING_GUEST_RAX(%rcx), %rax
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    mov %rbx, %rsp
    .cfi_def_cfa_register rsp
    pop %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    pop %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    pop %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    pop %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    pop %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    pop %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    ret
    .globl gate_return_window_end
    .hidden gate_return_window_end
gate_return_window_end:
    .cfi_endproc
    .size gate_call_host, . - gate_call_host

/* int gate_resume(crossing rdi, guest_sp rsi, index rdx, slots rcx, instance r8): the first half of
 * gate_enter, then the second of gate_call_host. */
    .globl gate_resume
    .hidden gate_resume
    .type gate_resume, @function
    .balign 16
gate_resume:
    .cfi_startproc
    .irp r, rbp, rbx, r12, r13, r14, r15
    push %\r
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \r, 0
    .endr
    sub $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    mov %rsp, CROSSING_HOST_SP(%rdi)
    mov %rsi, CROSSING_GUEST_SP(%rdi)
    mov %rdi, gate_current(%rip)
    mov %rsi, %rbx
    mov %rdx, %rdi
    mov %rcx, %rsi
    mov %r8, %rdx
    xor %ebp, %ebp
    jmp .Ldispatch
    .cfi_endproc
    .size gate_resume, . - gate_resume

    .section .rodata
    .balign 4
.Lmxcsr:
    .long GATE_MXCSR
.Lx87:
    .short 0x37f

    .section .note.GNU-stack, "", @progbits
