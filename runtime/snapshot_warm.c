/*
 * The working set of a snapshot's first request: recorded once, in a process that resumed it
 * and answered a request, as what is present there; and made present, in a later process, by as
 * few system calls as the kernel allows. Pages that were written are populated for writing,
 * which is one copy instead of two faults; pages of code and data that were read are mapped.
 */
#include "runtime/snapshot_pages.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIDFD_SELF_THREAD (-10000) /* Linux 6.14 */
/* Stretches that were read and lie this close together are mapped as one. */
#define READ_GAP_PAGES 4u
#define BATCH 64u /* on the stack, in a page that is there */
/* What the kernel maps around a page of a file that is read, where it is in memory: one page of
 * such a block brings the others with it. */
#define FAULT_AROUND_BYTES UINT64_C(65536)

struct recorder {
    struct buffer *b;
    uint64_t address, size_bytes; /* not yet written out */
    bool written;
    uint32_t count;
};

static void put_range(struct recorder *r) {
    if (r->size_bytes == 0) return;
    buffer_put_u64(r->b, r->address);
    buffer_put_u32(r->b, (uint32_t)(r->size_bytes / ABI_HOST_PAGE));
    buffer_put_u32(r->b, r->written);
    r->count++;
    r->size_bytes = 0;
}

static enum status record_range(void *context, uint64_t start, uint64_t size, bool is_private,
                                struct error *err) {
    (void)err;
    struct recorder *r = context;
    uint64_t gap = r->written || is_private ? 0 : READ_GAP_PAGES * ABI_HOST_PAGE;
    uint64_t end = r->address + r->size_bytes;
    if (r->size_bytes && r->written == is_private && start - end <= gap) {
        r->size_bytes = start + size - r->address;
        return ST_OK;
    }
    put_range(r);
    r->address = start;
    r->size_bytes = size;
    r->written = is_private;
    return ST_OK;
}

enum status snapshot_record(const struct snapshot *s, const struct instance *i,
                            struct buffer *b, struct error *err) {
    const struct snapshot_header *h = &s->header;
    const struct abi_object *o = i->object;
    struct recorder r = {.b = b};
    uint64_t memory = o->memory_count ? i->memories[0]->abi->size_bytes : 0;
    if (memory > h->memory_bytes) memory = h->memory_bytes;
    const struct {
        uint64_t start, size;
    } regions[] = {
        {ABI_CODE_BASE, o->span & ~(ABI_HOST_PAGE - 1)},
        {ABI_INSTANCE_BASE, h->block_bytes},
        {ABI_MEMORY_BASE, memory},
        {guest_stack.low, guest_stack.top - guest_stack.low},
        {ABI_FILES_BASE, h->files_bytes},
    };
    for (size_t k = 0; k < countof(regions); k++) {
        enum status status = pages_scan(regions[k].start, regions[k].start + regions[k].size,
                                        false, record_range, &r, err);
        if (status != ST_OK) return status;
        put_range(&r);
    }
    if (r.count > SNAPSHOT_MAX_RANGES) return error_set(err, ST_LIMIT, "%u ranges", r.count);
    return buffer_status(b, err);
}

/* ---- populating -------------------------------------------------------------------------- */

void snapshot_populate(const struct iovec *list, size_t count, int advice) {
    static bool alone; /* the kernel does not take a list */
    if (count == 0) return;
    if (!alone &&
        syscall(SYS_process_madvise, (long)PIDFD_SELF_THREAD, list, count, advice, 0) >= 0)
        return;
    alone = true;
    for (size_t i = 0; i < count; i++) madvise(list[i].iov_base, list[i].iov_len, advice);
}

struct batch {
    struct iovec list[BATCH];
    size_t count;
    int advice;
};

static void add(struct batch *b, uint64_t address, uint64_t size) {
    b->list[b->count++] = (struct iovec){.iov_base = (void *)address, .iov_len = size};
    if (b->count < BATCH) return;
    snapshot_populate(b->list, b->count, b->advice);
    b->count = 0;
}

void snapshot_prefault(struct snapshot *s) {
    struct error ignored = {0};
    struct batch reads = {.advice = MADV_POPULATE_READ},
                 writes = {.advice = MADV_POPULATE_WRITE};
    uint64_t next_block = 0;
    if (s->copied) return; /* the handful of other pages come when they are needed */
    if (s->header.warm_count == 0 || snapshot_read_ranges(s, &ignored) != ST_OK) return;
    for (uint32_t i = 0; i < s->header.warm_count; i++) {
        const struct snapshot_range *range = &s->ranges[i];
        uint64_t at = range->address, end = at + range->pages * ABI_HOST_PAGE;
        /* the stack may be smaller here than where this was recorded */
        if (at < guest_stack.low && at >= ABI_STACK_TOP - (UINT64_C(1) << 30)) continue;
        if (range->written) {
            add(&writes, at, end - at);
            continue;
        }
        if (at < next_block) at = next_block;
        for (; at < end; at = next_block) {
            add(&reads, at, ABI_HOST_PAGE);
            next_block = (at | (FAULT_AROUND_BYTES - 1)) + 1;
        }
    }
    snapshot_populate(writes.list, writes.count, writes.advice);
    snapshot_populate(reads.list, reads.count, reads.advice);
}
