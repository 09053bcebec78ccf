/*
 * setjmp for wasi-libc, which has none: clang's lowering of it onto exceptions of Wasm 3.0
 * (-mllvm -wasm-enable-sjlj -mllvm -wasm-use-legacy-eh=false), which calls what setjmp.c has.
 * There are no signals, so nothing of them is saved.
 */
#ifndef HUTCH_GUESTS_SETJMP_H
#define HUTCH_GUESTS_SETJMP_H

/* One word for each of: the call of setjmp, the function's invocation, what longjmp throws. */
typedef struct {
    void *invocation;
    unsigned label;
    void *thrown_env;
    int thrown_value;
} jmp_buf[1];
typedef jmp_buf sigjmp_buf;

#ifdef __cplusplus
extern "C" {
#endif
int setjmp(jmp_buf env) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf env, int value);
#ifdef __cplusplus
}
#endif

#define setjmp(env) setjmp(env)
#define _setjmp(env) setjmp(env)
#define _longjmp(env, value) longjmp(env, value)
#define sigsetjmp(env, mask) setjmp(env)
#define siglongjmp(env, value) longjmp(env, value)

#endif
