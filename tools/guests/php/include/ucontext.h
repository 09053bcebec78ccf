/* Fibers need a second stack, which WebAssembly does not have: this is what PHP wants to be
 * there. Making a fiber fails before any of it is called, for want of a stack (wasi.c). */
#ifndef HUTCH_GUESTS_UCONTEXT_H
#define HUTCH_GUESTS_UCONTEXT_H
#include <stddef.h>
typedef struct ucontext {
    struct ucontext *uc_link;
    struct {
        void *ss_sp;
        size_t ss_size;
        int ss_flags;
    } uc_stack;
} ucontext_t;
int getcontext(ucontext_t *context);
void makecontext(ucontext_t *context, void (*function)(void), int count, ...);
int swapcontext(ucontext_t *save, const ucontext_t *next);
#endif
