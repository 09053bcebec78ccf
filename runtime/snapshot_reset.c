/*
 * Back to the snapshot in the same process, between two requests: every page that is private to
 * this process (it was written, or made present for writing) gets the contents it had, memory
 * and files shrink to their size, descriptors are those of the snapshot. What the guest did
 * since is then nowhere: not in its memory, nor on its stack below guest_sp, nor in what the
 * runtime keeps between calls.
 *
 * Pages that come back are copied where they lie, so that the next request does not fault on
 * them; long stretches are dropped instead, and are the file's (or zero) again. Where the
 * kernel does not say which pages are private, all are dropped.
 */
#include "runtime/snapshot_pages.h"
#include "runtime/wasi.h"

#include <sys/mman.h>

/* Stretches of at least so many pages are dropped: copying would keep their memory. */
#define DROP_FILE_PAGES 64u
#define DROP_ZERO_PAGES 16u

struct resetting {
    struct instance *instance;
    const struct snapshot *snapshot;
};

static enum status drop(uint64_t address, uint64_t size, struct error *err) {
    if (size == 0 || madvise((void *)address, size, MADV_DONTNEED) == 0) return ST_OK;
    return error_set_errno(err, ST_IO, "cannot drop pages");
}

static enum status put_back(void *context, uint64_t start, uint64_t size, bool is_private,
                            struct error *err) {
    const struct resetting *r = context;
    (void)is_private;
    while (size > 0) {
        const uint8_t *from;
        uint64_t bytes = snapshot_original(r->snapshot, r->instance->code, start, size, &from);
        uint64_t limit = (from ? DROP_FILE_PAGES : DROP_ZERO_PAGES) * ABI_HOST_PAGE;
        if (bytes >= limit) {
            enum status status = drop(start, bytes, err);
            if (status != ST_OK) return status;
        } else if (from) {
            memcpy((void *)start, from, bytes);
        } else {
            memset((void *)start, 0, bytes);
        }
        start += bytes;
        size -= bytes;
    }
    return ST_OK;
}

static enum status reset_region(struct resetting *r, uint64_t start, uint64_t size,
                                struct error *err) {
    if (size == 0) return ST_OK;
    enum status status = pages_scan(start, start + size, true, put_back, r, err);
    return status == ST_UNSUPPORTED ? drop(start, size, err) : status;
}

/* What lies beyond the snapshot's memory is inaccessible again, and gone. */
static enum status shrink_memory(struct instance *i, const struct snapshot_header *h,
                                 struct error *err) {
    if (!i->object->memory_count) return ST_OK;
    uint64_t now = i->memories[0]->abi->size_bytes;
    if (now <= h->memory_bytes) return ST_OK;
    uint64_t at = ABI_MEMORY_BASE + h->memory_bytes, size = now - h->memory_bytes;
    enum status status = drop(at, size, err);
    if (status == ST_OK && mprotect((void *)at, size, PROT_NONE) != 0)
        status = error_set_errno(err, ST_NO_MEMORY, "cannot shrink memory");
    return status;
}

enum status snapshot_reset(struct instance *i, struct wasi *wasi, struct error *err) {
    struct snapshot *s = i->snapshot;
    const struct snapshot_header *h = &s->header;
    struct resetting r = {.instance = i, .snapshot = s};
    CHECK(!s->copied);
    uint64_t max_pages = i->object->memory_count ? i->memories[0]->abi->max_pages : 0;
    enum status status = snapshot_map_original(s, err);
    if (status == ST_OK) status = shrink_memory(i, h, err);
    if (status == ST_OK) status = reset_region(&r, ABI_INSTANCE_BASE, h->block_bytes, err);
    if (status == ST_OK) status = reset_region(&r, ABI_MEMORY_BASE, h->memory_bytes, err);
    if (status == ST_OK)
        status = reset_region(&r, guest_stack.low, guest_stack.top - guest_stack.low, err);
    for (uint32_t k = 0; status == ST_OK && k < i->object->table_count; k++)
        status = reset_region(&r, (uint64_t)i->own_tables[k].mapping,
                              i->own_tables[k].mapping_bytes, err);
    if (status == ST_OK && wasi_files_region(wasi).base)
        status = wasi_files_resize(wasi, h->files_bytes, err);
    if (status == ST_OK) status = reset_region(&r, ABI_FILES_BASE, h->files_bytes, err);
    if (status == ST_OK) status = wasi_state_restore(wasi, s->wasi, h->wasi_bytes, false, err);
    if (status != ST_OK) return status;
    wasi_forget(wasi);
    instance_attach(i);
    if (i->object->memory_count && i->memories[0]->abi->max_pages != max_pages)
        i->memories[0]->abi->max_pages = max_pages;
    for (uint32_t k = 0; k < h->elem_count; k++) i->elem_dropped[k] = s->elem_dropped[k];
    for (uint32_t k = 0; k < h->data_count; k++) i->data_dropped[k] = s->data_dropped[k];
    return ST_OK;
}
