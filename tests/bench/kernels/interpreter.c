/* A dispatch loop: a stack machine runs a program that counts Collatz steps. */
#include "kernel.h"

enum op {
    PUSH,
    LOAD,
    STORE,
    ADD,
    MUL,
    SHR,
    AND,
    LESS,
    JUMP,
    JUMP_ZERO,
    HALT
};

enum {
    N,
    STEPS,
    X,
    COUNT = 60000
};
/* clang-format off */
static const int32_t program[] = {
    /*  0 */ PUSH, 1, STORE, N,
    /*  4 */ LOAD, N, STORE, X,
    /*  8 */ PUSH, 1, LOAD, X, LESS, JUMP_ZERO, 51,
    /* 15 */ LOAD, STEPS, PUSH, 1, ADD, STORE, STEPS,
    /* 22 */ LOAD, X, PUSH, 1, AND, JUMP_ZERO, 42,
    /* 29 */ LOAD, X, PUSH, 3, MUL, PUSH, 1, ADD, STORE, X,
    /* 39 */ JUMP, 8, HALT,
    /* 42 */ LOAD, X, PUSH, 1, SHR, STORE, X, JUMP, 8,
    /* 51 */ LOAD, N, PUSH, 1, ADD, STORE, N,
    /* 58 */ LOAD, N, PUSH, COUNT, LESS, JUMP_ZERO, 67,
    /* 65 */ JUMP, 4,
    /* 67 */ HALT,
};
/* clang-format on */
static const int32_t *volatile code = program;

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    const int32_t *p = code;
    uint32_t variables[4] = {0}, stack[16], at = 0, executed = 0;
    uint32_t *top = stack;
    for (;;) {
        executed++;
        switch (p[at++]) {
        case PUSH: *top++ = (uint32_t)p[at++]; break;
        case LOAD: *top++ = variables[p[at++]]; break;
        case STORE: variables[p[at++]] = *--top; break;
        case ADD: top--, top[-1] += top[0]; break;
        case MUL: top--, top[-1] *= top[0]; break;
        case SHR: top--, top[-1] >>= top[0]; break;
        case AND: top--, top[-1] &= top[0]; break;
        case LESS: top--, top[-1] = top[-1] < top[0]; break;
        case JUMP: at = (uint32_t)p[at]; break;
        case JUMP_ZERO: at = *--top ? at + 1 : (uint32_t)p[at]; break;
        default: return kernel_mix(executed, variables[STEPS]);
        }
    }
}
