/*
 * A snapshot file to an instance in this process, waiting in the same host call, and on from
 * there. Regions are reserved as for a fresh instance; then each run of the file is mapped over
 * its place, private and copy-on-write, so that nothing is read before it is touched and what
 * is not written is shared with every other resume of the file.
 *
 * Nothing here takes time in proportion to the program: the number of runs is bounded, and the
 * object's functions, segments and initial values are not looked at.
 *
 * What the host reads out of the mapped block afterwards (sizes and addresses of memories and
 * tables) is compared with what this process made room for.
 */
#include "runtime/snapshot.h"
#include "runtime/table.h"
#include "runtime/trap.h"
#include "runtime/wasi.h"

#include <errno.h>
#include <sys/mman.h>

static const char *line_end(const char *text) {
    const char *end = strchr(text, '\n');
    return end ? end : text + strlen(text);
}

/* The first line that differs, as a reason. */
static enum status compare_config(const char *was, const char *now, struct error *err) {
    for (;;) {
        const char *was_end = line_end(was), *now_end = line_end(now);
        size_t was_length = (size_t)(was_end - was), now_length = (size_t)(now_end - now);
        if (was_length != now_length || memcmp(was, now, was_length) != 0)
            return error_set(err, ST_INCOMPATIBLE,
                             "the snapshot was made with another configuration: '%.*s' then, "
                             "'%.*s' now",
                             was_length < 100 ? (int)was_length : 100, was,
                             now_length < 100 ? (int)now_length : 100, now);
        if (!*was_end && !*now_end) return ST_OK;
        was = *was_end ? was_end + 1 : was_end;
        now = *now_end ? now_end + 1 : now_end;
    }
}

enum status snapshot_check(const struct snapshot *s, const struct code *code,
                           const char *config, struct error *err) {
    const struct snapshot_header *h = &s->header;
    const struct abi_object *o = code->object;
    if (h->abi_fingerprint != abi_fingerprint())
        return error_set(
            err, ST_INCOMPATIBLE,
            "the snapshot was made under ABI fingerprint %016llx, this program has "
            "%016llx: make it again",
            (unsigned long long)h->abi_fingerprint, (unsigned long long)abi_fingerprint());
    if (memcmp(&h->module, &o->compat.module, sizeof h->module) != 0)
        return error_set(err, ST_INCOMPATIBLE, "the snapshot is of another module");
    if (memcmp(&h->object, &o->compat.content, sizeof h->object) != 0)
        return error_set(err, ST_INCOMPATIBLE,
                         "the snapshot was made with another code object of this module");
    struct abi_layout layout;
    enum status status = abi_layout_compute(ABI_PINNED, &o->counts, &layout, err);
    if (status != ST_OK) return status;
    if (o->compat.placement != ABI_PINNED || h->import >= o->imported_functions ||
        h->block_bytes != align_up(layout.size_bytes, ABI_HOST_PAGE) ||
        h->elem_count != o->elem_count || h->data_count != o->data_count ||
        (h->memory_bytes && !o->memory_count))
        return error_set(err, ST_DAMAGED, "damaged snapshot: it does not fit its object");
    return config ? compare_config(s->config, config, err) : ST_OK;
}

/* ---- regions ----------------------------------------------------------------------------- */

static enum status reserve_memory(struct instance *i, const struct snapshot_header *h,
                                  bool whole_image, struct abi_memory *temporary,
                                  struct error *err) {
    if (!i->object->memory_count) return ST_OK;
    struct abi_limits limits = i->object->memories[0];
    if (h->memory_bytes < limits.min * ABI_WASM_PAGE)
        return error_set(err, ST_DAMAGED, "damaged snapshot: its memory is too small");
    limits.min = h->memory_bytes / ABI_WASM_PAGE;
    enum status status = memory_create(&i->own_memories[0], temporary, ABI_PINNED, 0, &limits,
                                       i->limits.max_memory_bytes, err);
    if (status != ST_OK) return error_wrap(err, "snapshot");
    i->memories[0] = &i->own_memories[0];
    if (whole_image) return memory_map_image(&i->own_memories[0], i->code, err);
    const struct abi_object *o = i->object;
    for (uint32_t k = 0; k < o->page_run_count; k++) {
        const struct abi_page_run *run = &o->page_runs[k];
        if (!snapshot_leaves_image(run)) continue;
        uint64_t to = run->guest_page * ABI_HOST_PAGE, size = run->count * ABI_HOST_PAGE;
        uint64_t from = o->image_offset + run->image_page * ABI_HOST_PAGE;
        if (to > h->memory_bytes || size > h->memory_bytes - to || from > i->code->file_size ||
            size > i->code->file_size - from)
            return error_set(err, ST_DAMAGED, "initial page run %u does not fit", k);
        if (mmap((void *)(ABI_MEMORY_BASE + to), size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, i->code->fd,
                 (off_t)from) == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY, "cannot map initial pages");
    }
    return ST_OK;
}

static enum status reserve_tables(struct instance *i, struct abi_table *temporary,
                                  struct error *err) {
    const struct abi_object *o = i->object;
    for (uint32_t k = 0; k < o->table_count; k++) {
        uint64_t address = abi_table_address(&i->layout, o->table_capacities, k);
        enum status status =
            table_create(&i->own_tables[k], &temporary[k], address, o->table_capacities[k],
                         &o->tables[k], i->limits.max_table_entries, err);
        if (status != ST_OK) return status;
        i->tables[k] = &i->own_tables[k];
    }
    return ST_OK;
}

static bool in_table_mapping(const struct instance *i, const struct snapshot_run *run) {
    for (uint32_t k = 0; k < i->object->table_count; k++) {
        uint64_t base = (uint64_t)i->own_tables[k].mapping;
        uint64_t size = i->own_tables[k].mapping_bytes;
        if (base && run->address >= base && run->address - base <= size &&
            run->size_bytes <= size - (run->address - base))
            return true;
    }
    return false;
}

enum status snapshot_check_run(const struct instance *i, const struct snapshot_run *run,
                               struct error *err) {
    if (run->address < ABI_STACK_TOP && run->address >= ABI_STACK_TOP - (1u << 30) &&
        run->address < guest_stack.low)
        return error_set(err, ST_LIMIT,
                         "the snapshot has %llu bytes of stack, more than the limit",
                         (unsigned long long)(ABI_STACK_TOP - run->address));
    if (run->address >= ABI_TABLES_BASE && run->address < ABI_FILES_BASE &&
        !in_table_mapping(i, run))
        return error_set(err, ST_DAMAGED, "damaged snapshot: a table that is not there");
    return ST_OK;
}

static enum status map_runs(struct instance *i, const struct snapshot *s, struct error *err) {
    for (uint32_t k = 0; k < s->header.run_count; k++) {
        const struct snapshot_run *run = &s->runs[k];
        enum status status = snapshot_check_run(i, run, err);
        if (status != ST_OK) return status;
        if (mmap((void *)run->address, run->size_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->fd,
                 (off_t)run->offset) == MAP_FAILED)
            return error_set_errno(err, errno == ENOMEM ? ST_NO_MEMORY : ST_IO,
                                   "cannot map %llu bytes of the snapshot",
                                   (unsigned long long)run->size_bytes);
    }
    return ST_OK;
}

/* A small snapshot is copied: less than to map its runs, page tables and all, and to fault on
 * them. What is mapped can be put back and given back, what is copied cannot. */
#define COPY_MAX_BYTES UINT64_C(65536)
static bool is_small(const struct snapshot *s) {
    uint64_t size = 0;
    for (uint32_t k = 0; k < s->header.run_count; k++) size += s->runs[k].size_bytes;
    return size <= COPY_MAX_BYTES;
}

static enum status copy_runs(struct instance *i, const struct snapshot *s, struct error *err) {
    if (mprotect(i->block, s->header.block_bytes, PROT_READ | PROT_WRITE) != 0)
        return error_set_errno(err, ST_NO_MEMORY, "cannot map the instance block");
    for (uint32_t k = 0; k < s->header.run_count; k++) {
        const struct snapshot_run *run = &s->runs[k];
        enum status status = snapshot_check_run(i, run, err);
        if (status == ST_OK)
            status = snapshot_read(s->fd, run->offset, (void *)run->address,
                                   (size_t)run->size_bytes, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

/* The block is there now: what it says must be what there is. */
static enum status adopt_block(struct instance *i, const struct snapshot_header *h,
                               const struct abi_memory *memory, const struct abi_table *tables,
                               struct error *err) {
    const struct abi_object *o = i->object;
    char *block = (char *)i->block;
    for (uint32_t k = 0; k < o->memory_count; k++) {
        struct abi_memory *m = (struct abi_memory *)(block + i->layout.memories) + k;
        if (m->base != ABI_MEMORY_BASE || m->size_bytes != h->memory_bytes ||
            m->size_pages != h->memory_bytes / ABI_WASM_PAGE)
            return error_set(err, ST_DAMAGED, "damaged snapshot: its memory");
        i->own_memories[k].abi = m;
        if (m->max_pages != memory->max_pages) m->max_pages = memory->max_pages;
    }
    for (uint32_t k = 0; k < o->table_count; k++) {
        struct abi_table *t = (struct abi_table *)(block + i->layout.tables) + k;
        if (t->entries != tables[k].entries || t->capacity != tables[k].capacity ||
            t->max != tables[k].max || t->size > t->capacity ||
            t->type_code != tables[k].type_code)
            return error_set(err, ST_DAMAGED, "damaged snapshot: its tables");
        i->own_tables[k].abi = t;
    }
    instance_attach(i);
    return ST_OK;
}

/* s is what goes on: the base, or a hibernated guest, which differs from base (NULL: from the
 * object) where it says so. */
static enum status restore(struct instance *i, struct snapshot *s, const struct snapshot *base,
                           import_resolver resolve, void *context, struct wasi *wasi,
                           struct error *err) {
    const struct snapshot_header *h = &s->header;
    const struct abi_object *o = i->object;
    /* not on the stack: a memory is linked to its record until the block is mapped */
    struct abi_memory *memory = arena_array(&i->arena, 1, sizeof *memory);
    struct abi_table *tables = arena_array(&i->arena, o->table_count, sizeof *tables);
    if (!memory || !tables) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = link_host_functions(i, resolve, context, err);
    if (status == ST_OK) status = instance_reserve_block(i, err);
    if (status == ST_OK) status = reserve_memory(i, h, !base, memory, err);
    if (status == ST_OK) status = reserve_tables(i, tables, err);
    if (status == ST_OK && h->files_bytes)
        status = wasi_files_resize(wasi, h->files_bytes, err);
    s->copied = s == base && s->once && is_small(s);
    if (status == ST_OK && base)
        status = s->copied ? copy_runs(i, s, err) : map_runs(i, base, err);
    if (status == ST_OK && !base &&
        mprotect(i->block, h->block_bytes, PROT_READ | PROT_WRITE) != 0)
        status = error_set_errno(err, ST_NO_MEMORY, "cannot map the instance block");
    if (status == ST_OK && s != base) status = hibernate_put_back(i, s, err);
    if (status == ST_OK) status = adopt_block(i, h, memory, tables, err);
    if (status == ST_OK) status = wasi_state_restore(wasi, s->wasi, h->wasi_bytes, false, err);
    if (status != ST_OK) return status;
    union abi_value *cells = (union abi_value *)((char *)i->block + i->layout.globals);
    for (uint32_t k = 0; k < o->global_count; k++)
        i->globals[k] = (struct global){.cell = &cells[k], .type = o->globals[k].type};
    for (uint32_t k = 0; k < h->elem_count; k++) i->elem_dropped[k] = s->elem_dropped[k];
    for (uint32_t k = 0; k < h->data_count; k++) i->data_dropped[k] = s->data_dropped[k];
    i->initialised = true;
    i->snapshot = s;
    i->wasi = wasi;
    wasi_renew(wasi);
    return ST_OK;
}

static enum status check_base(const struct snapshot *state, const struct snapshot *base,
                              struct error *err) {
    struct digest its_base;
    const struct snapshot_header *h = &state->header;
    if (!base && hibernate_base(state, &its_base))
        return error_set(err, ST_INCOMPATIBLE, "it is a difference to a snapshot");
    if (!base) return ST_OK;
    if (memcmp((const uint8_t *)base->tables + SNAPSHOT_DIGEST_OFFSET, h->base.bytes,
               sizeof h->base) != 0)
        return error_set(err, ST_INCOMPATIBLE, "it is a difference to another snapshot");
    if (h->memory_bytes < base->header.memory_bytes ||
        h->files_bytes < base->header.files_bytes)
        return error_set(err, ST_DAMAGED, "damaged: it is smaller than its snapshot");
    return ST_OK;
}

enum status hibernate_resume(struct snapshot *state, const struct snapshot *base,
                             const struct code *code, const struct instance_limits *limits,
                             import_resolver resolve, void *context, struct wasi *wasi,
                             struct instance **ret_instance, struct error *err) {
    struct instance *i = NULL;
    enum status status = snapshot_check(state, code, NULL, err);
    if (status == ST_OK && base) status = snapshot_check(base, code, NULL, err);
    if (status == ST_OK && base != state) status = check_base(state, base, err);
    if (status == ST_OK) status = instance_begin(code, limits, &i, err);
    if (status == ST_OK) status = restore(i, state, base, resolve, context, wasi, err);
    if (status != ST_OK) {
        instance_destroy(i);
        return status;
    }
    if (state != base) snapshot_let_go(state);
    *ret_instance = i;
    return ST_OK;
}

enum status snapshot_resume(struct snapshot *s, const struct code *code,
                            const struct instance_limits *limits, import_resolver resolve,
                            void *context, struct wasi *wasi, struct instance **ret_instance,
                            struct error *err) {
    return hibernate_resume(s, s, code, limits, resolve, context, wasi, ret_instance, err);
}

void instance_restart(struct instance *i) {
    CHECK(i->snapshot && !i->snapshot->header.hibernated && gate_current &&
          !gate_current->previous);
    i->restarting = true;
}

/* Until the guest is left for good. */
static int go_on(struct instance *i, struct crossing *c) {
    const struct snapshot_header *h = &i->snapshot->header;
    for (;;) {
        int left = gate_resume(c, h->guest_sp, h->import, h->slots, (uint64_t)i->block);
        gate_current = NULL;
        if (!left || !i->restarting || c->result != CALL_RETURNED) return left;
        i->restarting = false;
        struct error err = {0};
        if (snapshot_reset(i, i->wasi, &err) == ST_OK) continue;
        c->result = CALL_TRAPPED;
        c->trap = TRAP_HOST;
        snprintf(c->detail, sizeof c->detail, "reset: %.140s", err.message);
        return left;
    }
}

enum call_result instance_continue(struct instance *i, struct trap_report *ret_report) {
    CHECK(i->snapshot && !gate_current);
    struct crossing c = {.instance = i,
                         .depth = 1,
                         .enter_sp = i->snapshot->header.enter_sp,
                         .result = CALL_RETURNED,
                         .fault_address = UINT64_MAX};
    if (!go_on(i, &c)) return CALL_RETURNED;
    CHECK(c.result != CALL_RETURNED);
    if (c.trap == TRAP_INTERRUPT) trap_interrupt_done();
    trap_report_fill(&c, ret_report);
    return c.result;
}
