/*
 * The address ranges of a pinned instance, reserved before anybody knows which: a process that
 * waits for its app maps them, and makes present what every instance touches of them (the first
 * page of its block, the page tables of its memory), so that this does not lie between a
 * request and its answer. Whoever makes the instance takes them from here.
 */
#include "runtime/reserve.h"

#include <sys/mman.h>

static const struct {
    uint64_t base, size_bytes;
} ranges[] = {
    [RESERVED_BLOCK] = {ABI_INSTANCE_BASE, ABI_INSTANCE_SIZE},
    [RESERVED_MEMORY] = {ABI_MEMORY_BASE, ABI_MEMORY_RESERVE},
};
static near_data bool reserved[countof(ranges)];

enum status runtime_reserve(struct error *err) {
    for (size_t i = 0; i < countof(ranges); i++) {
        void *want = (void *)(uintptr_t)ranges[i].base;
        void *at =
            mmap(want, ranges[i].size_bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (at == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY, "cannot reserve address space");
        if (at != want) { /* a kernel before 4.17 takes the flag for a hint */
            munmap(at, ranges[i].size_bytes);
            return error_set(err, ST_NO_MEMORY, "the address range of an instance is in use");
        }
        reserved[i] = true;
    }
    return ST_OK;
}

void reserve_touch(void) {
    static const struct {
        uint64_t bytes;
        int advice;
    } first[] = {[RESERVED_BLOCK] = {ABI_HOST_PAGE, MADV_POPULATE_WRITE},
                 [RESERVED_MEMORY] = {RESERVED_OPEN_BYTES, MADV_POPULATE_READ}};
    for (size_t i = 0; i < countof(ranges); i++) {
        void *at = (void *)(uintptr_t)ranges[i].base;
        if (!reserved[i] || mprotect(at, first[i].bytes, PROT_READ | PROT_WRITE) != 0) continue;
        (void)madvise(at, ABI_HOST_PAGE, first[i].advice);
    }
}

bool reserve_take(enum reserved range) {
    bool was = reserved[range];
    reserved[range] = false;
    return was;
}
