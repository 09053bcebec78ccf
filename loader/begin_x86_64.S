/*
 * begin_at(stack, entry, argument): goes on at entry with another stack, and leaves nothing on
 * the one before. rdx and rbp are 0, as the ABI wants them where a program begins (3.4.1).
 */
    .text
    .globl begin_at
    .hidden begin_at
    .type begin_at, @function
begin_at:
    mov %rdi, %rsp
    mov %rsi, %rax
    mov %rdx, %rdi
    xor %edx, %edx
    xor %ebp, %ebp
    jmp *%rax
    .size begin_at, . - begin_at

    .section .note.GNU-stack, "", @progbits
