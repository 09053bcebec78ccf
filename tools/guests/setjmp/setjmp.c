/*
 * What clang's lowering of setjmp and longjmp calls. A function that calls setjmp gets a
 * variable whose address names this invocation of it, a number (label) for each place it calls
 * setjmp at, and a handler around the calls it makes: longjmp throws, the handler asks which of
 * its places the jmp_buf is of, and goes there, or throws on where it is of none.
 *
 * The thrown value is the address of two words, the jmp_buf and what setjmp is to return; they
 * lie in the jmp_buf, so that nothing needs to be allocated.
 */
#include "setjmp.h"

/* Tag 1 of __builtin_wasm_throw; the lowering names it so. */
__asm__(".globl __c_longjmp\n"
        ".tagtype __c_longjmp i32\n"
        "__c_longjmp:\n");

void __wasm_setjmp(void *env, unsigned label, void *invocation);
unsigned __wasm_setjmp_test(void *env, void *invocation);
_Noreturn void __wasm_longjmp(void *env, int value);

void __wasm_setjmp(void *env, unsigned label, void *invocation) {
    if (label == 0 || invocation == 0) __builtin_trap();
    (*(jmp_buf *)env)->invocation = invocation;
    (*(jmp_buf *)env)->label = label;
}

/* The place in this invocation that env is of, or 0. */
unsigned __wasm_setjmp_test(void *env, void *invocation) {
    return (*(jmp_buf *)env)->invocation == invocation ? (*(jmp_buf *)env)->label : 0;
}

_Noreturn void __wasm_longjmp(void *env, int value) {
    (*(jmp_buf *)env)->thrown_env = env;
    (*(jmp_buf *)env)->thrown_value = value ? value : 1;
    __builtin_wasm_throw(1, &(*(jmp_buf *)env)->thrown_env);
}
