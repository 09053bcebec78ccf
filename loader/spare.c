/*
 * A tenant that waits for an app: pages of its own that every start touches are made present
 * then, in few calls. Each would be a fault of a few microseconds between a request and its
 * answer: a fork leaves behind what the parent had mapped of the program's file, and shares
 * what it had written until the child writes to it.
 *
 * How much is written is what a start was seen to write: a page more than that would be memory
 * that each tenant holds for nothing. Where a call fails, the pages come when they are needed.
 * And the other way: pages whose contents nobody needs are dropped while nobody waits.
 */
#include "loader/sandbox.h"
#include "runtime/runtime.h"

#include <elf.h>
#include <sys/mman.h>

/* Where this program's file begins in memory: from the linker. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

#define PAGE ((uintptr_t)4096)
#define STACK_BYTES (2 * PAGE)
#define STACK_DROPPED (16 * PAGE)
#define HEAP_BYTES (3 * PAGE)

static void touch(uintptr_t from, uintptr_t to, int advice) {
    from &= ~(PAGE - 1);
    (void)madvise((void *)from, to - from, advice);
}

/* Code and constants of this program: shared with all others that run it. */
static void touch_program(void) {
    uintptr_t base = (uintptr_t)&__ehdr_start;
    const Elf64_Phdr *h = (const Elf64_Phdr *)(base + __ehdr_start.e_phoff);
    for (unsigned i = 0; i < __ehdr_start.e_phnum; i++)
        if (h[i].p_type == PT_LOAD && !(h[i].p_flags & PF_W))
            touch(base + h[i].p_vaddr, base + h[i].p_vaddr + h[i].p_memsz, MADV_POPULATE_READ);
}

void spare_drop(void *from, size_t size_bytes) {
    uintptr_t start = ((uintptr_t)from + PAGE - 1) & ~(PAGE - 1);
    uintptr_t end = ((uintptr_t)from + size_bytes) & ~(PAGE - 1);
    if (end > start) (void)madvise((void *)start, end - start, MADV_DONTNEED);
}

void spare_drop_stack(void) {
    /* but for the call of madvise itself */
    uintptr_t end = ((uintptr_t)__builtin_frame_address(0) - 64) & ~(PAGE - 1);
    (void)madvise((void *)(end - STACK_DROPPED), STACK_DROPPED, MADV_DONTNEED);
}

void spare_touch(void) {
    touch_program();
    runtime_touch();
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
    touch(stack - STACK_BYTES, stack, MADV_POPULATE_WRITE);
    /* what comes next from malloc */
    void *heap = malloc(HEAP_BYTES);
    if (heap) touch((uintptr_t)heap, (uintptr_t)heap + HEAP_BYTES, MADV_POPULATE_WRITE);
    free(heap);
}
