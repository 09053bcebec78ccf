/*
 * A guest that waits for its next request to the pages that differ from the snapshot it began
 * with, and back. The process that writes is sealed: it may write to a descriptor it was given
 * with writev and nothing else, so the file comes out from its first byte to its last, header
 * and tables first, pages behind them, all sizes and the checksum of the pages known before.
 *
 * Which pages are looked at the kernel says (those private to the process); of these, the ones
 * that hold what they held at first are left out: made present for writing, or written back; of
 * those that differ from the snapshot in a few words, the words are kept (hibernate_patch.c).
 *
 * Back: the pages are read to where they lie. They are the guest's own from then on, and of the
 * file nothing is mapped: it can go, and no page of it is in memory twice.
 */
#include "runtime/snapshot_pages.h"
#include "runtime/wasi.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* More are joined, pages between them included: each is a mapping's worth of work at most. */
#define MAX_RUNS 2048u
#define MAX_PARTS 1024u /* of one writev or readv: IOV_MAX */
_Static_assert(MAX_RUNS <= SNAPSHOT_MAX_RUNS, "a hibernated guest has a snapshot's tables");

/* ---- which pages ------------------------------------------------------------------------- */

struct difference {
    const struct instance *instance;
    const struct snapshot *base;
    const struct snapshot_header *header;
    bool all; /* look at pages that are shared, too */
    struct snapshot_runs runs;
    struct buffer patches;
    bool no_patches; /* whole pages alone */
};

static enum status look_at(void *context, uint64_t start, uint64_t size, bool is_private,
                           struct error *err) {
    static const uint8_t zeros[ABI_HOST_PAGE];
    struct difference *d = context;
    (void)is_private;
    while (size > 0) {
        const uint8_t *from;
        uint64_t same = snapshot_original(d->base, d->instance->code, start, size, &from);
        for (uint64_t at = 0; at < same; at += ABI_HOST_PAGE) {
            uint8_t copy[ABI_HOST_PAGE];
            const uint8_t *page = (const uint8_t *)(start + at);
            const uint8_t *first = from ? from + at : zeros;
            bool cleaned = snapshot_cleaned(d->header, start + at, copy);
            if (cleaned) page = copy;
            if (memcmp(page, first, ABI_HOST_PAGE) == 0) continue;
            if (!cleaned && d->base && !d->no_patches &&
                patch_add(&d->patches, start + at, page, first))
                continue;
            snapshot_runs_add(&d->runs, start + at);
        }
        start += same;
        size -= same;
    }
    return d->runs.failed || d->patches.failed ? error_set(err, ST_NO_MEMORY, "out of memory")
                                               : ST_OK;
}

static enum status look_through(struct difference *d, uint64_t start, uint64_t size,
                                struct error *err) {
    if (size == 0) return ST_OK;
    if (d->all) return look_at(d, start, size, true, err);
    enum status status = pages_scan(start, start + size, true, look_at, d, err);
    return status == ST_UNSUPPORTED ? look_at(d, start, size, true, err) : status;
}

static enum status collect_once(struct difference *d, struct error *err) {
    const struct instance *i = d->instance;
    const struct snapshot_header *h = d->header;
    uint64_t low = h->guest_sp & ~(ABI_HOST_PAGE - 1);
    enum status status = look_through(d, ABI_INSTANCE_BASE, h->block_bytes, err);
    if (status == ST_OK) status = look_through(d, ABI_MEMORY_BASE, h->memory_bytes, err);
    if (status == ST_OK) status = look_through(d, low, ABI_STACK_TOP - low, err);
    for (uint32_t k = 0; status == ST_OK && k < i->object->table_count; k++)
        status = look_through(d, (uint64_t)i->own_tables[k].mapping,
                              i->own_tables[k].mapping_bytes, err);
    if (status == ST_OK) status = look_through(d, ABI_FILES_BASE, h->files_bytes, err);
    return status;
}

static enum status collect(struct difference *d, struct error *err) {
    const struct snapshot_header *h = d->header;
    enum status status = collect_once(d, err);
    if (status == ST_OK && d->runs.count > MAX_RUNS && d->patches.size) {
        /* Runs that are joined hold the pages between them. */
        snapshot_runs_finish(&d->runs);
        buffer_finish(&d->patches);
        d->patches = (struct buffer){0};
        d->no_patches = true;
        status = collect_once(d, err);
    }
    for (uint64_t gap = 1; status == ST_OK && d->runs.count > MAX_RUNS && gap < 1u << 20;
         gap *= 2)
        snapshot_runs_join(&d->runs, h, gap * ABI_HOST_PAGE);
    if (status == ST_OK && d->runs.count > MAX_RUNS)
        status = error_set(err, ST_LIMIT, "%u runs of pages", d->runs.count);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------- */

/* All that is written, piece by piece. */
struct parts {
    /* tables, padding, runs, of which two pages are copies; patches */
    struct iovec at[2 + MAX_RUNS + 2 * 2 + 1];
    uint32_t count;
    uint8_t copies[2][ABI_HOST_PAGE];
    uint32_t copy_count;
};

static void add_part(struct parts *p, const void *bytes, size_t size) {
    if (size == 0) return;
    CHECK(p->count < countof(p->at));
    p->at[p->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
}

static void add_run(struct parts *p, const struct snapshot_header *h,
                    const struct snapshot_run *run) {
    const uint64_t special[] = {ABI_INSTANCE_BASE, h->guest_sp & ~(ABI_HOST_PAGE - 1)};
    uint64_t start = run->address, end = run->address + run->size_bytes;
    for (size_t k = 0; k < countof(special); k++) {
        if (special[k] < start || special[k] >= end) continue;
        uint8_t *copy = p->copies[p->copy_count];
        if (!snapshot_cleaned(h, special[k], copy)) continue;
        p->copy_count++;
        add_part(p, (const void *)start, special[k] - start);
        add_part(p, copy, ABI_HOST_PAGE);
        start = special[k] + ABI_HOST_PAGE;
    }
    add_part(p, (const void *)start, end - start);
}

/* Does the whole list with readv or writev; 0 at the end of the file. Changes the list. */
static enum status transfer(ssize_t (*call)(int, const struct iovec *, int), int fd,
                            struct iovec *list, uint32_t count, const char *what,
                            struct error *err) {
    while (count > 0) {
        uint32_t some = count < MAX_PARTS ? count : MAX_PARTS;
        ssize_t n = call(fd, list, (int)some);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot %s the hibernated guest", what);
        if (n == 0) return error_set(err, ST_DAMAGED, "the hibernated guest is cut off");
        size_t left = (size_t)n;
        for (; count > 0 && left >= list->iov_len; list++, count--) left -= list->iov_len;
        if (count == 0) break;
        list->iov_base = (char *)list->iov_base + left;
        list->iov_len -= left;
    }
    return ST_OK;
}

static enum status write_file(struct snapshot_header *h, const struct instance *i,
                              struct snapshot_runs *runs, const struct buffer *patches,
                              const char *config, const struct buffer *wasi, uint64_t max_bytes,
                              struct parts *p, int fd, struct error *err) {
    static const uint8_t zeros[ABI_HOST_PAGE];
    auto_buffer struct buffer tables = {0};
    h->run_count = runs->count;
    uint64_t size = snapshot_tables_bytes(h);
    if (size > SNAPSHOT_MAX_TABLE_BYTES)
        return error_set(err, ST_LIMIT, "the configuration is too large");
    h->tables_bytes = (uint32_t)size;
    h->file_bytes = align_up(size, ABI_HOST_PAGE);
    p->count = 2; /* for tables and padding */
    for (uint32_t k = 0; k < runs->count; k++) {
        runs->at[k].offset = h->file_bytes;
        h->file_bytes += runs->at[k].size_bytes;
        add_run(p, h, &runs->at[k]);
    }
    if (patches->size > UINT32_MAX) return error_set(err, ST_LIMIT, "too many pages differ");
    h->patch_bytes = (uint32_t)patches->size;
    h->file_bytes += patches->size;
    add_part(p, patches->bytes, patches->size);
    if (h->file_bytes > max_bytes)
        return error_set(err, ST_LIMIT, "it takes %llu bytes, more than the limit of %llu",
                         (unsigned long long)h->file_bytes, (unsigned long long)max_bytes);
    uint32_t crc = ~UINT32_C(0);
    for (uint32_t k = 2; k < p->count; k++)
        crc = crc32c(crc, p->at[k].iov_base, p->at[k].iov_len);
    h->pages_crc = ~crc;
    enum status status = snapshot_encode(h, runs->at, i->elem_dropped, i->data_dropped, config,
                                         wasi, &tables, err);
    if (status != ST_OK) return status;
    p->at[0] = (struct iovec){.iov_base = tables.bytes, .iov_len = tables.size};
    p->at[1] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros,
                              .iov_len = align_up(size, ABI_HOST_PAGE) - size};
    return transfer(writev, fd, p->at, p->count, "write", err);
}

bool hibernate_base(const struct snapshot *s, struct digest *ret_base) {
    static const struct digest none;
    *ret_base = s->header.base;
    return memcmp(&s->header.base, &none, sizeof none) != 0;
}

enum status hibernate_write(const struct instance *i, const struct wasi *wasi,
                            struct snapshot *base, const char *config, uint64_t max_bytes,
                            int fd, struct error *err) {
    auto_buffer struct buffer state = {0};
    struct snapshot_header h;
    struct parts *p = NULL;
    enum status status = snapshot_begin(i, wasi, config, &state, &h, err);
    h.hibernated = true;
    if (status == ST_OK && base) status = snapshot_map_original(base, err);
    if (status != ST_OK) return status;
    if (base) memcpy(h.base.bytes, (const uint8_t *)base->tables + SNAPSHOT_DIGEST_OFFSET, 32);
    /* What it shares with a snapshot that the file is not to depend on has to be in the file.
     */
    struct digest its_base;
    const struct snapshot *from = i->snapshot;
    bool all = !base && from && (!from->header.hibernated || hibernate_base(from, &its_base));
    struct difference d = {.instance = i, .base = base, .header = &h, .all = all};
    status = collect(&d, err);
    if (status == ST_OK && !(p = calloc(1, sizeof *p)))
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK)
        status = write_file(&h, i, &d.runs, &d.patches, config, &state, max_bytes, p, fd, err);
    free(p);
    snapshot_runs_finish(&d.runs);
    buffer_finish(&d.patches);
    return status;
}

/* ---- and back ---------------------------------------------------------------------------- */

enum status hibernate_put_back(struct instance *i, const struct snapshot *s,
                               struct error *err) {
    const struct snapshot_header *h = &s->header;
    uint64_t before = align_up(h->tables_bytes, ABI_HOST_PAGE);
    auto_free uint8_t *tables = malloc(before);
    auto_free uint8_t *patches = malloc((size_t)h->patch_bytes + 1);
    auto_free struct iovec *list = calloc((size_t)h->run_count + 2, sizeof *list);
    if (!tables || !patches || !list) return error_set(err, ST_NO_MEMORY, "out of memory");
    list[0] = (struct iovec){.iov_base = tables, .iov_len = before};
    for (uint32_t k = 0; k < h->run_count; k++) {
        const struct snapshot_run *run = &s->runs[k];
        enum status status = snapshot_check_run(i, run, err);
        if (status != ST_OK) return status;
        list[k + 1] =
            (struct iovec){.iov_base = (void *)run->address, .iov_len = run->size_bytes};
    }
    uint32_t count = h->run_count + 1;
    if (h->patch_bytes)
        list[count++] = (struct iovec){.iov_base = patches, .iov_len = h->patch_bytes};
    for (uint32_t k = 0; k < h->run_count; k += MAX_PARTS / 2)
        snapshot_populate(list + 1 + k,
                          h->run_count - k < MAX_PARTS / 2 ? h->run_count - k : MAX_PARTS / 2,
                          MADV_POPULATE_WRITE);
    enum status status = transfer(readv, s->fd, list, count, "read", err);
    if (status != ST_OK) return status;
    uint32_t crc = ~UINT32_C(0);
    for (uint64_t at = h->tables_bytes; at < before; at++)
        if (tables[at]) return error_set(err, ST_DAMAGED, "damaged: behind its tables");
    for (uint32_t k = 0; k < h->run_count; k++)
        crc = crc32c(crc, (const void *)s->runs[k].address, s->runs[k].size_bytes);
    crc = crc32c(crc, patches, h->patch_bytes);
    if (~crc != h->pages_crc)
        return error_set(err, ST_DAMAGED, "damaged: the checksum of its pages");
    return patch_apply(i, s, patches, h->patch_bytes, err);
}
