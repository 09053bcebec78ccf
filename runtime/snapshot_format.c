/*
 * A snapshot's header and tables to bytes and back (docs/snapshot.md). Encoder and decoder
 * stand side by side, field by field in the same order. The decoder trusts nothing: whatever it
 * gives out lies within the file and within the regions of the address map, in order and
 * without overlap.
 */
#include "runtime/near.h"
#include "runtime/snapshot.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN_BYTES 24u
#define RANGE_BYTES 16u
#define TABLES_BYTES_OFFSET 12u

uint64_t snapshot_tables_bytes(const struct snapshot_header *h) {
    return SNAPSHOT_HEADER_BYTES + (uint64_t)h->run_count * RUN_BYTES + h->elem_count +
           h->data_count + h->config_bytes + 1 + h->wasi_bytes;
}

/* ---- encoding ---------------------------------------------------------------------------- */

static void put_header(struct buffer *b, const struct snapshot_header *h) {
    buffer_put(b, h->hibernated ? HIBERNATED_MAGIC : SNAPSHOT_MAGIC, 8);
    buffer_put_u32(b, h->hibernated ? HIBERNATED_VERSION : SNAPSHOT_VERSION);
    buffer_put_u32(b, h->tables_bytes);
    buffer_put_u64(b, h->file_bytes);
    buffer_put_u64(b, h->abi_fingerprint);
    buffer_put(b, h->base.bytes, 32); /* of a snapshot: the file's digest, for now zeros */
    buffer_put_u32(b, 0);             /* crc of header and tables */
    buffer_put_u32(b, h->import);
    buffer_put(b, h->module.bytes, 32);
    buffer_put(b, h->object.bytes, 32);
    buffer_put_u64(b, h->created_ns);
    buffer_put_u64(b, h->guest_sp);
    buffer_put_u64(b, h->enter_sp);
    buffer_put_u64(b, h->slots);
    buffer_put_u64(b, h->block_bytes);
    buffer_put_u64(b, h->memory_bytes);
    buffer_put_u64(b, h->files_bytes);
    buffer_put_u32(b, h->run_count);
    buffer_put_u32(b, h->elem_count);
    buffer_put_u32(b, h->data_count);
    buffer_put_u32(b, h->config_bytes);
    buffer_put_u32(b, h->wasi_bytes);
    buffer_put_u32(b, h->warm_count);
    buffer_put_u64(b, h->warm_offset);
    buffer_put_u32(b, h->warm_crc);
    buffer_put_u32(b, h->pages_crc);
    buffer_put_u32(b, h->patch_bytes);
    buffer_put_zero(b, SNAPSHOT_HEADER_BYTES - (b->size % SNAPSHOT_HEADER_BYTES));
}

static void take_header(struct reader *r, struct snapshot_header *h) {
    reader_bytes(r, 8 + 4);
    h->tables_bytes = reader_u32(r);
    h->file_bytes = reader_u64(r);
    h->abi_fingerprint = reader_u64(r);
    const uint8_t *base = reader_bytes(r, 32);
    reader_bytes(r, 4);
    h->import = reader_u32(r);
    const uint8_t *module = reader_bytes(r, 32), *object = reader_bytes(r, 32);
    if (base && h->hibernated) memcpy(h->base.bytes, base, 32);
    if (module) memcpy(h->module.bytes, module, 32);
    if (object) memcpy(h->object.bytes, object, 32);
    h->created_ns = reader_u64(r);
    h->guest_sp = reader_u64(r);
    h->enter_sp = reader_u64(r);
    h->slots = reader_u64(r);
    h->block_bytes = reader_u64(r);
    h->memory_bytes = reader_u64(r);
    h->files_bytes = reader_u64(r);
    h->run_count = reader_u32(r);
    h->elem_count = reader_u32(r);
    h->data_count = reader_u32(r);
    h->config_bytes = reader_u32(r);
    h->wasi_bytes = reader_u32(r);
    h->warm_count = reader_u32(r);
    h->warm_offset = reader_u64(r);
    h->warm_crc = reader_u32(r);
    h->pages_crc = reader_u32(r);
    h->patch_bytes = reader_u32(r);
}

/* Over header and tables as they are, the field of the checksum taken for zero; and the digest
 * of a snapshot, which is filled in later. */
static uint32_t tables_crc(const uint8_t *bytes, size_t size, bool hibernated) {
    static const uint8_t zero[36];
    uint32_t crc = crc32c(~UINT32_C(0), bytes, SNAPSHOT_DIGEST_OFFSET);
    crc = crc32c(crc, hibernated ? bytes + SNAPSHOT_DIGEST_OFFSET : zero, 32);
    crc = crc32c(crc, zero, 4);
    return ~crc32c(crc, bytes + SNAPSHOT_CRC_OFFSET + 4, size - SNAPSHOT_CRC_OFFSET - 4);
}

static void store_crc(uint8_t *bytes, uint32_t crc) {
    for (unsigned i = 0; i < 4; i++) bytes[SNAPSHOT_CRC_OFFSET + i] = (uint8_t)(crc >> (8 * i));
}

enum status snapshot_encode(const struct snapshot_header *h, const struct snapshot_run *runs,
                            const bool *elem_dropped, const bool *data_dropped,
                            const char *config, const struct buffer *wasi, struct buffer *b,
                            struct error *err) {
    CHECK(b->size == 0 && snapshot_tables_bytes(h) == h->tables_bytes);
    put_header(b, h);
    for (uint32_t i = 0; i < h->run_count; i++) {
        buffer_put_u64(b, runs[i].address);
        buffer_put_u64(b, runs[i].offset);
        buffer_put_u64(b, runs[i].size_bytes);
    }
    for (uint32_t i = 0; i < h->elem_count; i++) buffer_put_u8(b, elem_dropped[i]);
    for (uint32_t i = 0; i < h->data_count; i++) buffer_put_u8(b, data_dropped[i]);
    buffer_put(b, config, (size_t)h->config_bytes + 1);
    buffer_put(b, wasi->bytes, h->wasi_bytes);
    enum status status = buffer_status(b, err);
    if (status != ST_OK) return status;
    CHECK(b->size == h->tables_bytes);
    store_crc(b->bytes, tables_crc(b->bytes, b->size, h->hibernated));
    return ST_OK;
}

/* ---- decoding ---------------------------------------------------------------------------- */

static enum status damaged(struct error *err, const char *what) {
    return error_set(err, ST_DAMAGED, "damaged snapshot: %s", what);
}

static bool aligned(uint64_t value) { return value % ABI_HOST_PAGE == 0; }

static bool lies_in(uint64_t address, uint64_t size, uint64_t base, uint64_t limit) {
    return address >= base && address - base <= limit && size <= limit - (address - base);
}

bool snapshot_run_fits(const struct snapshot_header *h, uint64_t address, uint64_t size) {
    const uint64_t stack = UINT64_C(1) << 30;
    return lies_in(address, size, ABI_INSTANCE_BASE, h->block_bytes) ||
           lies_in(address, size, ABI_MEMORY_BASE, h->memory_bytes) ||
           lies_in(address, size, ABI_STACK_TOP - stack, stack) ||
           lies_in(address, size, ABI_TABLES_BASE, ABI_TABLE_SPACING * 16) ||
           lies_in(address, size, ABI_FILES_BASE, h->files_bytes);
}

static enum status check_header(const struct snapshot_header *h, uint64_t size,
                                struct error *err) {
    if (h->file_bytes != size)
        return error_set(err, ST_DAMAGED, "damaged snapshot: it has %llu bytes, not %llu",
                         (unsigned long long)size, (unsigned long long)h->file_bytes);
    if (h->run_count > SNAPSHOT_MAX_RUNS || snapshot_tables_bytes(h) != h->tables_bytes)
        return damaged(err, "sizes that do not agree");
    if (!aligned(h->block_bytes) || h->block_bytes == 0 ||
        h->block_bytes > ABI_INSTANCE_SIZE - ABI_INSTANCE_GUARD)
        return damaged(err, "the size of the instance block");
    if (h->memory_bytes % ABI_WASM_PAGE || h->memory_bytes > UINT64_C(1) << 32)
        return damaged(err, "the size of memory");
    if (!aligned(h->files_bytes) || h->files_bytes > ABI_FILES_RESERVE)
        return damaged(err, "the size of files");
    if (h->enter_sp > ABI_STACK_TOP || h->enter_sp % 16 || h->guest_sp % 8 ||
        h->guest_sp >= h->enter_sp || ABI_STACK_TOP - h->guest_sp > UINT64_C(1) << 30 ||
        h->slots < h->guest_sp || h->slots >= ABI_STACK_TOP || h->slots % 8)
        return damaged(err, "the stack");
    static const struct digest none;
    if (h->hibernated ? h->warm_count || h->warm_offset : h->pages_crc || h->patch_bytes)
        return damaged(err, "fields that it has no use for");
    if (h->patch_bytes > size || (h->patch_bytes && memcmp(&h->base, &none, sizeof none) == 0))
        return damaged(err, "changed pages");
    if (h->warm_count > SNAPSHOT_MAX_RANGES || (h->warm_count > 0) != (h->warm_offset > 0) ||
        (h->warm_count && (h->warm_offset > size ||
                           (uint64_t)h->warm_count * RANGE_BYTES > size - h->warm_offset)))
        return damaged(err, "the working set");
    return ST_OK;
}

static enum status take_runs(struct reader *r, struct snapshot *s, struct error *err) {
    const struct snapshot_header *h = &s->header;
    struct snapshot_run *runs = arena_array(&s->arena, h->run_count, sizeof *runs);
    if (!runs) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint64_t address = 0, offset = align_up(h->tables_bytes, ABI_HOST_PAGE);
    for (uint32_t i = 0; i < h->run_count; i++) {
        struct snapshot_run *run = &runs[i];
        run->address = reader_u64(r);
        run->offset = reader_u64(r);
        run->size_bytes = reader_u64(r);
        if (!aligned(run->address) || !aligned(run->size_bytes) || run->size_bytes == 0 ||
            run->address < address || run->offset != offset ||
            run->size_bytes > h->file_bytes - offset ||
            !snapshot_run_fits(h, run->address, run->size_bytes))
            return damaged(err, "a run of pages that does not fit");
        address = run->address + run->size_bytes;
        offset += run->size_bytes;
    }
    if (h->hibernated && offset != h->file_bytes - h->patch_bytes)
        return damaged(err, "sizes that do not agree");
    s->runs = runs;
    return ST_OK;
}

static const uint8_t *take_flags(struct reader *r, uint32_t count) {
    const uint8_t *flags = reader_bytes(r, count);
    for (uint32_t i = 0; flags && i < count; i++)
        if (flags[i] > 1) r->failed = true;
    return flags;
}

static enum status take_tables(struct snapshot *s, const uint8_t *bytes, size_t size,
                               struct error *err) {
    struct reader r = reader_over(bytes, size);
    reader_bytes(&r, SNAPSHOT_HEADER_BYTES);
    enum status status = take_runs(&r, s, err);
    if (status != ST_OK) return status;
    s->elem_dropped = take_flags(&r, s->header.elem_count);
    s->data_dropped = take_flags(&r, s->header.data_count);
    s->config = (const char *)reader_bytes(&r, (size_t)s->header.config_bytes + 1);
    s->wasi = reader_bytes(&r, s->header.wasi_bytes);
    if (r.failed || strnlen(s->config, s->header.config_bytes + 1) != s->header.config_bytes)
        return damaged(err, "its tables");
    return ST_OK;
}

enum status snapshot_read(int fd, uint64_t offset, void *to, size_t size, struct error *err) {
    for (size_t at = 0; at < size;) {
        ssize_t n = pread(fd, (uint8_t *)to + at, size - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
        if (n == 0) return damaged(err, "it is cut short");
        at += (size_t)n;
    }
    return ST_OK;
}

/* Mapped they are shared by all processes of the app. Those of a small program are sooner read;
 * *ret_bytes is NULL where they are not of one. */
static enum status read_small_tables(struct snapshot *s, size_t limit,
                                     const uint8_t **ret_bytes, struct error *err) {
    uint8_t first[1024];
    size_t size = limit < sizeof first ? limit : sizeof first;
    enum status status = snapshot_read(s->fd, 0, first, size, err);
    if (status != ST_OK) return status;
    struct reader r = reader_over(first + TABLES_BYTES_OFFSET, 4);
    if (reader_u32(&r) > size) return ST_OK;
    uint8_t *copy = arena_array(&s->arena, size, 1);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    memcpy(copy, first, size);
    s->tables = *ret_bytes = copy;
    return ST_OK;
}

static enum status read_tables(struct snapshot *s, size_t limit, const uint8_t **ret_bytes,
                               struct error *err) {
    *ret_bytes = NULL;
    if (s->once) {
        enum status status = read_small_tables(s, limit, ret_bytes, err);
        if (status != ST_OK || *ret_bytes) return status;
    }
    void *mapping = mmap(near_hint(limit), limit, PROT_READ, MAP_PRIVATE, s->fd, 0);
    if (mapping == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot map the snapshot");
    s->tables = *ret_bytes = mapping;
    s->tables_mapped = limit;
    return ST_OK;
}

static enum status read_snapshot(struct snapshot *s, struct error *err) {
    struct stat st;
    bool hibernated = s->header.hibernated;
    const char *what = hibernated ? "hibernated guest" : "snapshot";
    const uint8_t *bytes = NULL;
    if (fstat(s->fd, &st) != 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)SNAPSHOT_HEADER_BYTES)
        return error_set(err, ST_DAMAGED, "not a %s", what);
    uint64_t limit = (uint64_t)st.st_size;
    if (limit > SNAPSHOT_MAX_TABLE_BYTES) limit = SNAPSHOT_MAX_TABLE_BYTES;
    enum status status = read_tables(s, (size_t)limit, &bytes, err);
    if (status != ST_OK) return status;
    if (memcmp(bytes, hibernated ? HIBERNATED_MAGIC : SNAPSHOT_MAGIC, 8) != 0)
        return error_set(err, ST_DAMAGED, "not a %s", what);
    struct reader r = reader_over(bytes + 8, 4);
    uint32_t version = reader_u32(&r),
             known = hibernated ? HIBERNATED_VERSION : SNAPSHOT_VERSION;
    if (version != known)
        return error_set(err, ST_INCOMPATIBLE, "a %s of format %u; this is %u", what, version,
                         known);
    r = reader_over(bytes, SNAPSHOT_HEADER_BYTES);
    take_header(&r, &s->header);
    uint32_t size = s->header.tables_bytes;
    if (size < SNAPSHOT_HEADER_BYTES || size > limit)
        return damaged(err, "the size of its tables");
    r = reader_over(bytes + SNAPSHOT_CRC_OFFSET, 4);
    if (reader_u32(&r) != tables_crc(bytes, size, s->header.hibernated))
        return damaged(err, "the checksum of its tables");
    if ((status = check_header(&s->header, (uint64_t)st.st_size, err)) != ST_OK) return status;
    return take_tables(s, bytes, size, err);
}

static enum status open_file(int fd, bool hibernated, bool once, struct snapshot **ret_snapshot,
                             struct error *err) {
    struct snapshot *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    s->fd = fd;
    s->header.hibernated = hibernated;
    s->once = once;
    enum status status = read_snapshot(s, err);
    if (status != ST_OK) {
        snapshot_close(s);
        return status;
    }
    *ret_snapshot = s;
    return ST_OK;
}

enum status snapshot_open(int fd, struct snapshot **ret_snapshot, struct error *err) {
    return open_file(fd, false, false, ret_snapshot, err);
}

enum status snapshot_open_once(int fd, struct snapshot **ret_snapshot, struct error *err) {
    return open_file(fd, false, true, ret_snapshot, err);
}

enum status hibernate_open(int fd, struct snapshot **ret_state, struct error *err) {
    return open_file(fd, true, false, ret_state, err);
}

void snapshot_let_go(struct snapshot *s) {
    if (s->fd >= 0) close(s->fd);
    if (s->tables_mapped) munmap((void *)(uintptr_t)s->tables, s->tables_mapped);
    s->tables_mapped = 0;
    s->fd = -1;
    s->tables = NULL;
    s->elem_dropped = s->data_dropped = s->wasi = NULL;
    s->config = "";
}

void snapshot_close(struct snapshot *s) {
    if (!s) return;
    snapshot_let_go(s);
    if (s->original) munmap((void *)(uintptr_t)s->original, s->header.file_bytes);
    arena_finish(&s->arena);
    free(s);
}

void snapshot_describe(const struct snapshot *s, struct snapshot_facts *ret_facts) {
    const struct snapshot_header *h = &s->header;
    *ret_facts = (struct snapshot_facts){.module = h->module,
                                         .object = h->object,
                                         .abi_fingerprint = h->abi_fingerprint,
                                         .created_ns = h->created_ns,
                                         .file_bytes = h->file_bytes,
                                         .memory_bytes = h->memory_bytes,
                                         .files_bytes = h->files_bytes,
                                         .stack_bytes = ABI_STACK_TOP - h->guest_sp,
                                         .run_count = h->run_count,
                                         .warm_ranges = h->warm_count,
                                         .config = s->config};
    for (uint32_t i = 0; i < h->run_count; i++)
        ret_facts->stored_bytes += s->runs[i].size_bytes;
}

/* ---- the working set --------------------------------------------------------------------- */

static enum status take_ranges(const struct snapshot_header *h, const uint8_t *bytes,
                               size_t size, struct snapshot_range *ranges, struct error *err) {
    if (~crc32c(~UINT32_C(0), bytes, size) != h->warm_crc)
        return damaged(err, "the checksum of its working set");
    struct reader r = reader_over(bytes, size);
    uint64_t end = 0;
    for (uint32_t i = 0; i < h->warm_count; i++) {
        ranges[i].address = reader_u64(&r);
        ranges[i].pages = reader_u32(&r);
        uint32_t flags = reader_u32(&r);
        ranges[i].written = flags;
        uint64_t bytes_of = ranges[i].pages * ABI_HOST_PAGE;
        bool code = lies_in(ranges[i].address, bytes_of, ABI_CODE_BASE,
                            ABI_PROFILE_BASE - ABI_CODE_BASE);
        if (flags > 1 || !aligned(ranges[i].address) || ranges[i].pages == 0 ||
            ranges[i].address < end || (code && flags) ||
            (!code && !snapshot_run_fits(h, ranges[i].address, bytes_of)))
            return damaged(err, "its working set");
        end = ranges[i].address + bytes_of;
    }
    return ST_OK;
}

enum status snapshot_read_ranges(struct snapshot *s, struct error *err) {
    const struct snapshot_header *h = &s->header;
    if (s->ranges) return ST_OK;
    size_t size = (size_t)h->warm_count * RANGE_BYTES;
    struct snapshot_range *ranges = arena_array(&s->arena, h->warm_count, sizeof *ranges);
    if (size == 0) return ST_OK;
    if (!ranges) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint8_t few[1024]; /* no room in the heap, which stays */
    enum status status;
    if (size <= sizeof few) {
        status = snapshot_read(s->fd, h->warm_offset, few, size, err);
        if (status == ST_OK) status = take_ranges(h, few, size, ranges, err);
    } else {
        uint64_t before = h->warm_offset % ABI_HOST_PAGE;
        size_t mapped = (size_t)before + size;
        void *at = mmap(near_hint(mapped), mapped, PROT_READ, MAP_PRIVATE, s->fd,
                        (off_t)(h->warm_offset - before));
        if (at == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot map the snapshot");
        status = take_ranges(h, (const uint8_t *)at + before, size, ranges, err);
        munmap(at, mapped);
    }
    if (status == ST_OK) s->ranges = ranges;
    return status;
}

enum status snapshot_add_ranges(int fd, const void *record, size_t size_bytes,
                                struct error *err) {
    struct snapshot *s = NULL;
    int copy = dup(fd);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
    enum status status = snapshot_open(copy, &s, err);
    if (status != ST_OK) return status;
    if (s->header.warm_count || size_bytes % RANGE_BYTES ||
        size_bytes / RANGE_BYTES > SNAPSHOT_MAX_RANGES) {
        snapshot_close(s);
        return error_set(err, ST_USAGE, "no place for this working set");
    }
    auto_buffer struct buffer tables = {0};
    struct snapshot_header h = s->header;
    uint64_t offset = h.file_bytes;
    if (size_bytes) {
        h.warm_offset = offset;
        h.warm_count = (uint32_t)(size_bytes / RANGE_BYTES);
        h.warm_crc = ~crc32c(~UINT32_C(0), record, size_bytes);
        h.file_bytes += size_bytes;
    }
    struct buffer wasi = {.bytes = (uint8_t *)(uintptr_t)s->wasi, .size = h.wasi_bytes};
    status = snapshot_encode(&h, s->runs, (const bool *)s->elem_dropped,
                             (const bool *)s->data_dropped, s->config, &wasi, &tables, err);
    if (status == ST_OK &&
        (pwrite(fd, record, size_bytes, (off_t)offset) != (ssize_t)size_bytes ||
         pwrite(fd, tables.bytes, tables.size, 0) != (ssize_t)tables.size))
        status = error_set_errno(err, ST_IO, "cannot write the snapshot");
    snapshot_close(s);
    return status;
}
