/*
 * Runs of pages: pages one after the other joined to few stretches; and, the other way round,
 * what the pages of a stretch held when the process had just resumed: the snapshot's, the
 * object's initial image, or zeros.
 */
#include "runtime/near.h"
#include "runtime/snapshot.h"

#include <sys/mman.h>

void snapshot_runs_add(struct snapshot_runs *runs, uint64_t address) {
    if (runs->count > 0) {
        struct snapshot_run *last = &runs->at[runs->count - 1];
        if (last->address + last->size_bytes == address) {
            last->size_bytes += ABI_HOST_PAGE;
            return;
        }
    }
    if (runs->count == runs->capacity) {
        uint32_t capacity = runs->capacity ? runs->capacity * 2 : 256;
        struct snapshot_run *grown = realloc(runs->at, capacity * sizeof *grown);
        if (!grown) {
            runs->failed = true;
            return;
        }
        runs->at = grown;
        runs->capacity = capacity;
    }
    runs->at[runs->count++] =
        (struct snapshot_run){.address = address, .size_bytes = ABI_HOST_PAGE};
}

void snapshot_runs_join(struct snapshot_runs *runs, const struct snapshot_header *h,
                        uint64_t gap_bytes) {
    uint32_t kept = 0;
    for (uint32_t i = 1; i < runs->count; i++) {
        struct snapshot_run *last = &runs->at[kept], *next = &runs->at[i];
        uint64_t whole = next->address + next->size_bytes - last->address;
        if (next->address - (last->address + last->size_bytes) <= gap_bytes &&
            snapshot_run_fits(h, last->address, whole))
            last->size_bytes = whole;
        else
            runs->at[++kept] = *next;
    }
    if (runs->count) runs->count = kept + 1;
}

void snapshot_runs_finish(struct snapshot_runs *runs) {
    free(runs->at);
    *runs = (struct snapshot_runs){0};
}

/* ---- what was there at first ------------------------------------------------------------- */

enum status snapshot_map_original(struct snapshot *s, struct error *err) {
    if (s->original) return ST_OK;
    void *at = mmap(near_hint(s->header.file_bytes), s->header.file_bytes, PROT_READ,
                    MAP_PRIVATE, s->fd, 0);
    if (at == MAP_FAILED) return error_set_errno(err, ST_NO_MEMORY, "cannot map the snapshot");
    s->original = at;
    return ST_OK;
}

/* Pages of memory 0 that no snapshot holds. A fresh instance has all of the object's image, a
 * resumed one what the snapshot left to it. */
static uint64_t from_image(const struct code *code, bool all, uint64_t address, uint64_t size,
                           const uint8_t **ret_from) {
    const struct abi_object *o = code->object;
    uint64_t page = (address - ABI_MEMORY_BASE) / ABI_HOST_PAGE;
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        const struct abi_page_run *run = &o->page_runs[i];
        if ((!all && !snapshot_leaves_image(run)) ||
            page >= (uint64_t)run->guest_page + run->count)
            continue;
        if (page < run->guest_page) {
            uint64_t before = (run->guest_page - page) * ABI_HOST_PAGE;
            if (before < size) size = before;
            continue;
        }
        *ret_from = code->file + o->image_offset +
                    (run->image_page + page - run->guest_page) * ABI_HOST_PAGE;
        uint64_t rest = (run->guest_page + run->count - page) * ABI_HOST_PAGE;
        return size < rest ? size : rest;
    }
    return size;
}

uint64_t snapshot_original(const struct snapshot *base, const struct code *code,
                           uint64_t address, uint64_t size, const uint8_t **ret_from) {
    *ret_from = NULL;
    for (uint32_t i = 0; base && i < base->header.run_count; i++) {
        const struct snapshot_run *run = &base->runs[i];
        if (address < run->address) {
            if (run->address - address < size) size = run->address - address;
            break;
        }
        uint64_t at = address - run->address;
        if (at >= run->size_bytes) continue;
        *ret_from = base->original + run->offset + at;
        return size < run->size_bytes - at ? size : run->size_bytes - at;
    }
    uint64_t bytes = base ? base->header.memory_bytes : UINT64_C(1) << 32;
    if (address < ABI_MEMORY_BASE || address - ABI_MEMORY_BASE >= bytes) return size;
    return from_image(code, !base, address, size, ret_from);
}
