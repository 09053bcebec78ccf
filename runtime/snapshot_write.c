/*
 * A guest that waits in a host call to a file: which pages differ from what a fresh process
 * would have there, joined to runs, and those runs written one after the other.
 *
 * What is left out is what need not be there: pages of zeros, and pages that are as the
 * object's own initial image (where the object's image is mapped, not copied). A resume maps
 * one run with one call, so runs that lie close together are joined, pages between them
 * included, until there are few. Pages of zeros within a run are holes of the file.
 *
 * What in the instance block is the host's or the process's (instance_detach) is written as
 * zero, and so is what lies on the stack below guest_sp.
 */
#include "runtime/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define GAP_PAGES 8u
#define WANTED_RUNS 24u

struct page_writer {
    struct snapshot_runs runs;
    uint64_t memory_bytes;
    const struct code *code;
};

static const uint8_t *page_at(uint64_t address) { return (const uint8_t *)address; }

static bool is_zero(const uint8_t *page) {
    static const uint8_t zeros[ABI_HOST_PAGE];
    return memcmp(page, zeros, ABI_HOST_PAGE) == 0;
}

/* The object's own page for a page of memory 0, where a resume leaves it to the object. */
static const uint8_t *image_page(const struct code *code, uint64_t page) {
    const struct abi_object *o = code->object;
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        const struct abi_page_run *run = &o->page_runs[i];
        if (page < run->guest_page || page - run->guest_page >= run->count) continue;
        if (!snapshot_leaves_image(run)) return NULL;
        return code->file + o->image_offset +
               (run->image_page + page - run->guest_page) * ABI_HOST_PAGE;
    }
    return NULL;
}

static bool differs(const struct page_writer *w, uint64_t address) {
    const uint8_t *image = NULL;
    if (address >= ABI_MEMORY_BASE && address - ABI_MEMORY_BASE < w->memory_bytes)
        image = image_page(w->code, (address - ABI_MEMORY_BASE) / ABI_HOST_PAGE);
    if (image) return memcmp(page_at(address), image, ABI_HOST_PAGE) != 0;
    return !is_zero(page_at(address));
}

/* all: every page, whatever it holds. */
static void add_region(struct page_writer *w, uint64_t address, uint64_t size, bool all) {
    for (uint64_t at = 0; at < size && !w->runs.failed; at += ABI_HOST_PAGE)
        if (all || differs(w, address + at)) snapshot_runs_add(&w->runs, address + at);
}

/* ---- the file ---------------------------------------------------------------------------- */

static enum status write_at(int fd, const void *bytes, size_t size, uint64_t offset,
                            struct error *err) {
    for (size_t at = 0; at < size;) {
        ssize_t n = pwrite(fd, (const char *)bytes + at, size - at, (off_t)(offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write the snapshot");
        at += (size_t)n;
    }
    return ST_OK;
}

/* The two pages that are not written as they are. */
bool snapshot_cleaned(const struct snapshot_header *h, uint64_t address,
                      uint8_t ret_page[ABI_HOST_PAGE]) {
    bool stack = h->guest_sp > address && h->guest_sp < address + ABI_HOST_PAGE;
    if (address != ABI_INSTANCE_BASE && !stack) return false;
    memcpy(ret_page, page_at(address), ABI_HOST_PAGE);
    if (stack) {
        memset(ret_page, 0, h->guest_sp - address);
        return true;
    }
    struct abi_instance block;
    memcpy(&block, ret_page, sizeof block);
    instance_detach(&block);
    memcpy(ret_page, &block, sizeof block);
    return true;
}

static enum status write_run(int fd, const struct snapshot_header *h,
                             const struct snapshot_run *run, struct error *err) {
    uint64_t start = 0, at = 0;
    enum status status = ST_OK;
    /* [start, at) is to be written in one piece */
    for (; at <= run->size_bytes && status == ST_OK; at += ABI_HOST_PAGE) {
        uint8_t copy[ABI_HOST_PAGE];
        bool end = at == run->size_bytes;
        bool other = !end && snapshot_cleaned(h, run->address + at, copy);
        if (!end && !other && !is_zero(page_at(run->address + at))) continue;
        if (at > start)
            status = write_at(fd, page_at(run->address + start), at - start,
                              run->offset + start, err);
        if (other && status == ST_OK)
            status = write_at(fd, copy, sizeof copy, run->offset + at, err);
        start = at + ABI_HOST_PAGE;
    }
    return status;
}

/* ---- what can be written ----------------------------------------------------------------- */

static enum status check_writable(const struct instance *i, struct error *err) {
    const struct crossing *c = gate_current;
    const struct abi_object *o = i->object;
    if (!c || c->instance != i)
        return error_set(err, ST_USAGE, "a snapshot is written from within a host call");
    if (i->placement != ABI_PINNED)
        return error_set(err, ST_UNSUPPORTED, "relocatable code cannot be written out");
    if (i->counters) return error_set(err, ST_UNSUPPORTED, "the object counts for a profile");
    if (c->previous)
        return error_set(err, ST_UNSUPPORTED, "the guest waits in a call within a call");
    if (i->starting)
        return error_set(err, ST_UNSUPPORTED, "the guest waits in its start function");
    if (c->pending_index >= o->imported_functions)
        return error_set(err, ST_UNSUPPORTED, "the guest waits in no imported function");
    if (o->imported_memories || o->imported_tables || o->imported_globals)
        return error_set(err, ST_UNSUPPORTED, "the module imports more than functions");
    if (o->memory_count > 1)
        return error_set(err, ST_UNSUPPORTED, "the guest has %u memories", o->memory_count);
    if (o->table_count > 16)
        return error_set(err, ST_UNSUPPORTED, "the guest has %u tables", o->table_count);
    for (uint32_t k = 0; k < o->table_count; k++) {
        const struct abi_table *t = i->tables[k]->abi;
        const struct abi_table_entry *entries = (const struct abi_table_entry *)t->entries;
        for (uint32_t n = 0; t->type_code == ABI_EXTERNREF && n < t->size; n++)
            if (entries[n].word)
                return error_set(err, ST_UNSUPPORTED, "the guest holds references of the host");
    }
    return ST_OK;
}

static uint64_t now_ns(void) {
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void collect(struct page_writer *w, const struct instance *i,
                    struct snapshot_header *h) {
    add_region(w, ABI_INSTANCE_BASE, h->block_bytes, true);
    add_region(w, ABI_MEMORY_BASE, h->memory_bytes, false);
    uint64_t low = h->guest_sp & ~(ABI_HOST_PAGE - 1);
    add_region(w, low, ABI_STACK_TOP - low, true);
    for (uint32_t k = 0; k < i->object->table_count; k++)
        if (i->own_tables[k].mapping)
            add_region(w, (uint64_t)i->own_tables[k].mapping, i->own_tables[k].mapping_bytes,
                       false);
    add_region(w, ABI_FILES_BASE, h->files_bytes, false);
    snapshot_runs_join(&w->runs, h, GAP_PAGES * ABI_HOST_PAGE);
    for (uint64_t gap = GAP_PAGES * 2; w->runs.count > WANTED_RUNS && gap < 1u << 20; gap *= 2)
        snapshot_runs_join(&w->runs, h, gap * ABI_HOST_PAGE);
}

static enum status write_file(const struct instance *i, const struct snapshot_header *header,
                              struct page_writer *w, const char *config,
                              const struct buffer *wasi, int fd, struct error *err) {
    struct snapshot_header h = *header;
    auto_buffer struct buffer tables = {0};
    struct snapshot_run *runs = w->runs.at;
    h.run_count = w->runs.count;
    if (h.run_count > SNAPSHOT_MAX_RUNS)
        return error_set(err, ST_LIMIT, "%u runs of pages", h.run_count);
    uint64_t size = snapshot_tables_bytes(&h);
    if (size > SNAPSHOT_MAX_TABLE_BYTES)
        return error_set(err, ST_LIMIT, "the configuration is too large for a snapshot");
    h.tables_bytes = (uint32_t)size;
    h.file_bytes = align_up(size, ABI_HOST_PAGE);
    for (uint32_t k = 0; k < h.run_count; k++) {
        runs[k].offset = h.file_bytes;
        h.file_bytes += runs[k].size_bytes;
    }
    enum status status =
        snapshot_encode(&h, runs, i->elem_dropped, i->data_dropped, config, wasi, &tables, err);
    if (status == ST_OK && ftruncate(fd, (off_t)h.file_bytes) != 0)
        status = error_set_errno(err, ST_IO, "cannot write the snapshot");
    for (uint32_t k = 0; k < h.run_count && status == ST_OK; k++)
        status = write_run(fd, &h, &runs[k], err);
    /* The tables last: a file that was not finished is none. */
    return status == ST_OK ? write_at(fd, tables.bytes, tables.size, 0, err) : status;
}

enum status snapshot_begin(const struct instance *i, const struct wasi *wasi,
                           const char *config, struct buffer *wasi_record,
                           struct snapshot_header *ret_header, struct error *err) {
    enum status status = check_writable(i, err);
    if (status == ST_OK) status = wasi_state_save(wasi, wasi_record, err);
    if (status != ST_OK) return status;
    const struct crossing *c = gate_current;
    *ret_header = (struct snapshot_header){
        .abi_fingerprint = abi_fingerprint(),
        .module = i->object->compat.module,
        .object = i->object->compat.content,
        .created_ns = now_ns(),
        .import = c->pending_index,
        .slots = c->pending_slots,
        .guest_sp = c->guest_sp,
        .enter_sp = c->enter_sp,
        .block_bytes = align_up(i->layout.size_bytes, ABI_HOST_PAGE),
        .memory_bytes = i->object->memory_count ? i->memories[0]->abi->size_bytes : 0,
        .files_bytes = wasi_files_region(wasi).used_bytes,
        .elem_count = i->object->elem_count,
        .data_count = i->object->data_count,
        .config_bytes = (uint32_t)strlen(config),
        .wasi_bytes = (uint32_t)wasi_record->size,
    };
    return ST_OK;
}

enum status snapshot_write(const struct instance *i, const struct wasi *wasi,
                           const char *config, int fd, struct error *err) {
    auto_buffer struct buffer state = {0};
    struct snapshot_header h;
    enum status status = snapshot_begin(i, wasi, config, &state, &h, err);
    if (status != ST_OK) return status;
    struct page_writer w = {.memory_bytes = h.memory_bytes, .code = i->code};
    collect(&w, i, &h);
    status = w.runs.failed ? error_set(err, ST_NO_MEMORY, "out of memory")
                           : write_file(i, &h, &w, config, &state, fd, err);
    snapshot_runs_finish(&w.runs);
    return status;
}
