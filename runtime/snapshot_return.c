/*
 * Memory given back while the guest waits and nobody asks for it. A page that the kernel made
 * private, because a request wrote to it or it was made present for that, often holds what the
 * snapshot holds there again: a reference count that went up and down, a buffer cleared. Such
 * pages are dropped, and are the file's once more, shared with every other process of the app;
 * the next request that writes to one gets its copy then.
 */
#include "runtime/snapshot_pages.h"

#include <sys/mman.h>

struct returning {
    const struct code *code;
    const struct snapshot *snapshot;
    uint64_t start, end; /* pages found equal that lie together, not dropped yet */
};

static enum status drop_found(struct returning *r, struct error *err) {
    uint64_t size = r->end - r->start;
    if (size > 0 && madvise((void *)r->start, size, MADV_DONTNEED) != 0)
        return error_set_errno(err, ST_IO, "cannot give memory back");
    r->start = r->end = 0;
    return ST_OK;
}

static enum status compare(void *context, uint64_t start, uint64_t size, bool is_private,
                           struct error *err) {
    static const uint8_t zeros[ABI_HOST_PAGE];
    struct returning *r = context;
    enum status status = ST_OK;
    (void)is_private;
    while (size > 0 && status == ST_OK) {
        const uint8_t *from;
        uint64_t bytes = snapshot_original(r->snapshot, r->code, start, size, &from);
        for (uint64_t at = 0; at < bytes && status == ST_OK; at += ABI_HOST_PAGE) {
            uint64_t page = start + at;
            if (memcmp((void *)page, from ? from + at : zeros, ABI_HOST_PAGE) != 0) continue;
            if (page != r->end) {
                status = drop_found(r, err);
                r->start = page;
            }
            r->end = page + ABI_HOST_PAGE;
        }
        start += bytes;
        size -= bytes;
    }
    return status;
}

enum status snapshot_give_back(struct instance *i, struct snapshot *base, struct error *err) {
    CHECK(!base->copied);
    if (!i->object->memory_count) return ST_OK;
    struct returning r = {.code = i->code, .snapshot = base};
    uint64_t size = i->memories[0]->abi->size_bytes, most = base->header.memory_bytes;
    enum status status = snapshot_map_original(base, err);
    if (status == ST_OK)
        status = pages_scan(ABI_MEMORY_BASE, ABI_MEMORY_BASE + (size < most ? size : most),
                            true, compare, &r, err);
    if (status == ST_OK) status = drop_found(&r, err);
    pages_give_back();
    return status;
}
