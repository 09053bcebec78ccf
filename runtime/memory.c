/*
 * Linear memories (spec core 4.2.8). A memory is reserved whole, 4 GiB and a guard above that
 * covers every 32-bit index plus 32-bit offset, all PROT_NONE; its first pages are made
 * accessible and growing makes more so, in place. No access of generated code needs a
 * comparison: what is out of bounds faults, and trap.c finds the memory by the address.
 *
 * Pinned, memory 0 lies at ABI_MEMORY_BASE, and the guard below it is the instance block's.
 * Where the object holds initial pages they are mapped copy-on-write from its file.
 */
#include "runtime/instance.h"
#include "runtime/reserve.h"

#include <sys/mman.h>
#include <unistd.h>

/* Shorter runs are copied: a mapping costs the kernel more than the copy, and there is a limit
 * on how many a process may have. */
#define IMAGE_MAP_MIN_PAGES 4u
#define IMAGE_MAX_MAPPINGS 4096u

static near_data struct memory *volatile memories;

static void *address_of(uint64_t address) { return (void *)(uintptr_t)address; }

enum status memory_create(struct memory *memory, struct abi_memory *abi,
                          enum abi_placement placement, uint32_t index,
                          const struct abi_limits *limits, uint64_t max_bytes,
                          struct error *err) {
    if (limits->is_64 || limits->shared)
        return error_set(err, ST_UNSUPPORTED, "memory %u is %s", index,
                         limits->is_64 ? "64-bit" : "shared");
    if (limits->min > ABI_MEMORY32_MAX_PAGES)
        return error_set(err, ST_LIMIT, "memory %u begins with %llu pages, more than 65536",
                         index, (unsigned long long)limits->min);
    uint64_t max = limits->has_max && limits->max < ABI_MEMORY32_MAX_PAGES
                       ? limits->max
                       : ABI_MEMORY32_MAX_PAGES;
    if (max > ABI_MEMORY32_GROW_PAGES && limits->min <= ABI_MEMORY32_GROW_PAGES)
        max = ABI_MEMORY32_GROW_PAGES;
    if (max_bytes && max > max_bytes / ABI_WASM_PAGE) max = max_bytes / ABI_WASM_PAGE;
    if (limits->min > max)
        return error_set(err, ST_LIMIT,
                         "memory %u begins with %llu bytes, more than the limit of %llu", index,
                         (unsigned long long)(limits->min * ABI_WASM_PAGE),
                         (unsigned long long)max_bytes);

    bool fixed = placement == ABI_PINNED && index == 0;
    uint64_t below = fixed ? 0 : MEMORY_GUARD_BELOW;
    uint64_t total = below + ABI_MEMORY_RESERVE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (fixed) flags |= MAP_FIXED_NOREPLACE;
    void *want = fixed ? address_of(ABI_MEMORY_BASE) : NULL;
    bool reserved = fixed && reserve_take(RESERVED_MEMORY);
    void *at = reserved ? want : mmap(want, total, PROT_NONE, flags, -1, 0);
    if (at != MAP_FAILED && want && at != want) {
        munmap(at, total);
        return error_set(err, ST_NO_MEMORY, "the address range of memory 0 is in use");
    }
    if (at == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY,
                               "cannot reserve %llu MiB of address space for memory %u (is it "
                               "limited, as by ulimit -v?)",
                               (unsigned long long)(total >> 20), index);
    uint64_t base = (uint64_t)at + below;
    uint64_t size = limits->min * ABI_WASM_PAGE;
    bool shut = reserved && !size; /* some of it may be accessible already */
    if ((size && mprotect(address_of(base), size, PROT_READ | PROT_WRITE) != 0) ||
        (shut && mprotect(address_of(base), RESERVED_OPEN_BYTES, PROT_NONE) != 0)) {
        enum status st =
            error_set_errno(err, ST_NO_MEMORY, "cannot get %llu bytes for memory %u",
                            (unsigned long long)(limits->min * ABI_WASM_PAGE), index);
        munmap(at, total);
        return st;
    }
    *abi = (struct abi_memory){.base = base,
                               .size_bytes = limits->min * ABI_WASM_PAGE,
                               .size_pages = limits->min,
                               .max_pages = max};
    *memory = (struct memory){.abi = abi,
                              .declared = *limits,
                              .mapping = at,
                              .mapping_bytes = total,
                              .guard_low = base - MEMORY_GUARD_BELOW,
                              .guard_high = base + ABI_MEMORY_RESERVE,
                              .next = memories};
    memories = memory;
    return ST_OK;
}

void memory_destroy(struct memory *memory) {
    if (!memory->abi) return;
    if (memories == memory) {
        memories = memory->next;
    } else {
        for (struct memory *m = memories; m; m = m->next) {
            if (m->next != memory) continue;
            m->next = memory->next;
            break;
        }
    }
    munmap(memory->mapping, memory->mapping_bytes);
    memory->abi = NULL;
}

const struct memory *memory_find(uint64_t address) {
    for (const struct memory *m = memories; m; m = m->next)
        if (address >= m->guard_low && address < m->guard_high) return m;
    return NULL;
}

enum status memory_map_image(struct memory *memory, const struct code *code,
                             struct error *err) {
    const struct abi_object *o = code->object;
    const struct abi_memory *abi = memory->abi;
    uint32_t mappings = 0;
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        const struct abi_page_run *run = &o->page_runs[i];
        uint64_t to = run->guest_page * ABI_HOST_PAGE, size = run->count * ABI_HOST_PAGE;
        uint64_t from = o->image_offset + run->image_page * ABI_HOST_PAGE;
        if (to > abi->size_bytes || size > abi->size_bytes - to || from > code->file_size ||
            size > code->file_size - from)
            return error_set(err, ST_DAMAGED, "initial page run %u does not fit", i);
        if (run->count >= IMAGE_MAP_MIN_PAGES && mappings < IMAGE_MAX_MAPPINGS &&
            from % ABI_HOST_PAGE == 0 && code->fd >= 0) {
            void *at = mmap(address_of(abi->base + to), size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, code->fd, (off_t)from);
            if (at != MAP_FAILED) {
                mappings++;
                continue;
            }
        }
        memcpy(address_of(abi->base + to), code->file + from, size);
    }
    return ST_OK;
}

int32_t memory_grow(struct memory *memory, uint32_t delta_pages) {
    struct abi_memory *abi = memory->abi;
    uint64_t old = abi->size_pages;
    if (delta_pages > abi->max_pages - old) {
        memory->refused = true;
        return -1;
    }
    uint64_t bytes = delta_pages * ABI_WASM_PAGE;
    if (bytes &&
        mprotect(address_of(abi->base + abi->size_bytes), bytes, PROT_READ | PROT_WRITE) != 0) {
        memory->refused = true;
        return -1;
    }
    abi->size_pages += delta_pages;
    abi->size_bytes += bytes;
    return (int32_t)old;
}

enum abi_trap memory_init(struct instance *instance, uint32_t memory, uint32_t segment,
                          uint64_t to, uint64_t from, uint64_t length) {
    CHECK(memory < instance->object->memory_count && segment < instance->object->data_count);
    const struct abi_memory *abi = instance->memories[memory]->abi;
    code_completed(instance->code);
    const struct abi_data *data = &instance->object->datas[segment];
    uint64_t size = instance->data_dropped[segment] ? 0 : data->size;
    if (from > size || length > size - from || to > abi->size_bytes ||
        length > abi->size_bytes - to)
        return TRAP_MEMORY_OUT_OF_BOUNDS;
    if (length) memcpy(address_of(abi->base + to), data->bytes + from, length);
    return TRAP_NONE;
}
