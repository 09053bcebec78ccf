/*
 * The counters of an instrumented object, and the profile that they make. Counters lie in a
 * mapping of their own, outside of anything the guest can reach; the tables that say what they
 * count come with the object, so a profile is those tables, the counts, and a checksum
 * (docs/profile.md). A profile of the same object that is there already is added to.
 */
#include "runtime/instance.h"

#include <sys/mman.h>

static const uint8_t *tables_of(const struct instance *i) {
    return i->code->file + i->object->profile_offset;
}

enum status profile_map(struct instance *i, struct error *err) {
    if (i->object->profile_size == 0) return ST_OK;
    struct abi_profile_shape shape;
    enum status st = abi_profile_shape(tables_of(i), i->object->profile_size, &shape, err);
    if (st != ST_OK) return st;
    bool pinned = i->placement == ABI_PINNED;
    if (shape.tables_size != i->object->profile_size || shape.counters_size == 0 ||
        shape.counters_size > ABI_PROFILE_SIZE)
        return error_set(err, ST_DAMAGED, "the object's tables of counters do not agree");
    size_t size = align_up(shape.counters_size, ABI_HOST_PAGE);
    void *want = pinned ? (void *)(uintptr_t)ABI_PROFILE_BASE : NULL;
    void *at =
        mmap(want, size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (pinned ? MAP_FIXED_NOREPLACE : 0),
             -1, 0);
    if (at != MAP_FAILED && want && at != want) { /* a kernel before 4.17 */
        munmap(at, size);
        return error_set(err, ST_NO_MEMORY, "the address range of the counters is in use");
    }
    if (at == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY, "cannot map %zu bytes of counters", size);
    i->block->profile = (uint64_t)at;
    i->counters = at;
    i->counters_bytes = size;
    return ST_OK;
}

void profile_unmap(struct instance *i) {
    if (i->counters) munmap(i->counters, i->counters_bytes);
    i->counters = NULL;
}

bool instance_counts(const struct instance *i) { return i->counters != NULL; }

static uint64_t sum(uint64_t a, uint64_t b) {
    uint64_t c;
    return add_overflows(a, b, &c) ? UINT64_MAX : c;
}

/* Counters, and what it takes to read them. */
struct source {
    const struct abi_object *object;
    const uint8_t *tables;
    const uint64_t *counters;
    uint64_t funcs; /* address of the first function's record */
};

/* A row of targets as the file has it: function of the tables, or ~0. */
struct target {
    uint32_t function;
    uint64_t count;
};

/* Counted targets and those of `before` (may be NULL) to the ones with most calls, most first.
 */
static void gather(const struct source *s, const struct abi_profile_target *counted,
                   struct reader *before, struct target ret[ABI_PROFILE_TARGETS]) {
    struct target all[2 * ABI_PROFILE_TARGETS];
    uint32_t count = 0;
    uint64_t first = s->funcs;
    uint32_t imported = s->object->imported_functions;
    uint64_t own = (s->object->function_count - imported);
    for (uint32_t k = 0; k < 2 * ABI_PROFILE_TARGETS; k++) {
        struct target t = {UINT32_MAX, 0};
        if (k < ABI_PROFILE_TARGETS) {
            uint64_t index = (counted[k].value - first) / ABI_FUNC_SIZE - imported;
            if (counted[k].value < first || index >= own) continue; /* another's, or a host's */
            t = (struct target){(uint32_t)index, counted[k].count};
        } else if (before) {
            t.function = reader_u32(before);
            t.count = reader_u64(before);
        }
        if (t.function == UINT32_MAX || t.count == 0) continue;
        uint32_t at = 0;
        while (at < count && all[at].function != t.function) at++;
        if (at < count) t.count = sum(t.count, all[at].count);
        if (at == count) count++;
        for (; at && all[at - 1].count < t.count; at--) all[at] = all[at - 1];
        all[at] = t;
    }
    for (uint32_t k = 0; k < ABI_PROFILE_TARGETS; k++)
        ret[k] = k < count ? all[k] : (struct target){UINT32_MAX, 0};
}

/* Whether a file was made from these tables and is whole. */
static bool same_tables(const uint8_t *tables, const struct abi_profile_shape *shape,
                        const uint8_t *file, size_t size) {
    const size_t runs_end = ABI_PROFILE_RUNS_OFFSET + 4;
    if (size != shape->file_size || memcmp(file, tables, ABI_PROFILE_RUNS_OFFSET) != 0 ||
        memcmp(file + runs_end, tables + runs_end, shape->tables_size - runs_end) != 0)
        return false;
    size_t checked = size - ABI_PROFILE_CHECKSUM_SIZE;
    struct reader checksum = reader_over(file + checked, ABI_PROFILE_CHECKSUM_SIZE);
    return reader_u32(&checksum) == ~crc32c(~UINT32_C(0), file, checked);
}

static enum status make_profile(const struct source *s, const uint8_t *before,
                                size_t before_size, struct buffer *b, struct error *err) {
    const uint8_t *tables = s->tables;
    struct abi_profile_shape shape, old = {0};
    enum status st = abi_profile_shape(tables, s->object->profile_size, &shape, err);
    if (st != ST_OK) return st;
    if (before_size) {
        st = abi_profile_shape(before, before_size, &old, err);
        if (st != ST_OK) return st;
        if (!same_tables(tables, &shape, before, before_size))
            return error_set(err, ST_INCOMPATIBLE,
                             "the profile there is damaged or of another program");
    }
    size_t start = b->size;
    uint32_t runs;
    if (add_overflows(old.run_count, UINT32_C(1), &runs)) runs = UINT32_MAX;
    buffer_put(b, tables, ABI_PROFILE_RUNS_OFFSET);
    buffer_put_u32(b, runs);
    buffer_put(b, tables + ABI_PROFILE_RUNS_OFFSET + 4,
               shape.tables_size - ABI_PROFILE_RUNS_OFFSET - 4);
    struct reader counts = reader_over(before ? before : tables, before ? before_size : 0);
    if (before_size) reader_bytes(&counts, shape.tables_size);
    const uint64_t *counters = s->counters;
    for (uint32_t k = 0; k < shape.site_count; k++)
        buffer_put_u64(b, sum(counters[k], before_size ? reader_u64(&counts) : 0));
    const struct abi_profile_target *targets =
        (const struct abi_profile_target *)(counters + shape.site_count);
    for (uint32_t k = 0; k < shape.call_count; k++) {
        struct target kept[ABI_PROFILE_TARGETS];
        gather(s, targets + (uint64_t)k * ABI_PROFILE_TARGETS, before_size ? &counts : NULL,
               kept);
        for (uint32_t t = 0; t < ABI_PROFILE_TARGETS; t++) {
            buffer_put_u32(b, kept[t].function);
            buffer_put_u64(b, kept[t].count);
        }
    }
    if ((st = buffer_status(b, err)) != ST_OK) return st;
    buffer_put_u32(b, ~crc32c(~UINT32_C(0), b->bytes + start, b->size - start));
    return buffer_status(b, err);
}

enum status instance_profile(const struct instance *i, const uint8_t *before,
                             size_t before_size, struct buffer *b, struct error *err) {
    if (!i->counters) return error_set(err, ST_USAGE, "the object has no counters");
    struct source source = {.object = i->object,
                            .tables = tables_of(i),
                            .counters = i->counters,
                            .funcs = (uint64_t)i->block + i->layout.funcs};
    return make_profile(&source, before, before_size, b, err);
}

/* ---- counters of several processes ------------------------------------------------------- */

enum status instance_share_counters(struct instance *i, int fd, struct error *err) {
    if (!i->counters) return error_set(err, ST_USAGE, "the object has no counters");
    void *at = mmap(i->counters, i->counters_bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_FIXED, fd, 0);
    if (at == MAP_FAILED) return error_set_errno(err, ST_NO_MEMORY, "cannot map the counters");
    return ST_OK;
}

enum status counters_profile(const struct abi_object *object, const uint8_t *tables,
                             const void *counters, const uint8_t *before, size_t before_size,
                             struct buffer *b, struct error *err) {
    struct abi_layout layout;
    enum status st = abi_layout_compute(ABI_PINNED, &object->counts, &layout, err);
    if (st != ST_OK) return st;
    struct source source = {.object = object,
                            .tables = tables,
                            .counters = counters,
                            .funcs = ABI_INSTANCE_BASE + layout.funcs};
    return make_profile(&source, before, before_size, b, err);
}
