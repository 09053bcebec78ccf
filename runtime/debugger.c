/*
 * Tells a debugger about mapped objects, by gdb's interface for code made at run time (gdb
 * manual, "JIT Compilation Interface"): the file in memory is its own symbol file, so names,
 * lines and unwind rules of a pinned object are there without being asked for, in a core dump
 * too. A relocatable object is not at the addresses its file says; `add-symbol-file FILE -o
 * BIAS` does it.
 */
#include "runtime/trap.h"

enum {
    JIT_NOTHING,
    JIT_REGISTER,
    JIT_UNREGISTER
};

struct jit_entry {
    struct jit_entry *next, *previous;
    const void *file;
    uint64_t file_size;
};

struct jit_descriptor {
    uint32_t version, action;
    struct jit_entry *relevant, *first;
};

/* gdb looks for both names and puts a breakpoint on the function. */
extern struct jit_descriptor __jit_debug_descriptor;
void __jit_debug_register_code(void);

struct jit_descriptor __jit_debug_descriptor = {.version = 1};

__attribute__((noinline)) void __jit_debug_register_code(void) {
    __asm__ volatile("" ::: "memory");
}

static void tell(uint32_t action, struct jit_entry *entry) {
    __jit_debug_descriptor.action = action;
    __jit_debug_descriptor.relevant = entry;
    __jit_debug_register_code();
    __jit_debug_descriptor.action = JIT_NOTHING;
    __jit_debug_descriptor.relevant = NULL;
}

void debugger_add(const struct code *code) {
    if (code->bias != 0 || !code->file) return;
    struct jit_entry *entry = malloc(sizeof *entry);
    if (!entry) return; /* a debugger will know less */
    struct jit_entry *first = __jit_debug_descriptor.first;
    *entry =
        (struct jit_entry){.next = first, .file = code->file, .file_size = code->file_size};
    if (first) first->previous = entry;
    __jit_debug_descriptor.first = entry;
    tell(JIT_REGISTER, entry);
}

void debugger_remove(const struct code *code) {
    for (struct jit_entry *e = __jit_debug_descriptor.first; e; e = e->next) {
        if (e->file != code->file) continue;
        if (e->previous)
            e->previous->next = e->next;
        else
            __jit_debug_descriptor.first = e->next;
        if (e->next) e->next->previous = e->previous;
        tell(JIT_UNREGISTER, e);
        free(e);
        return;
    }
}
