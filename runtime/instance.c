/*
 * Instances (spec core 4.5.4): a mapped object and what satisfies its imports become an
 * instance block, memories and tables. instance_create does everything that cannot trap, up to
 * the values of globals; instance_initialise copies the active segments and runs the start
 * function.
 *
 * Element and data segments stay in the object; a segment that is dropped is one whose flag is
 * set. Expressions in element segments read only immutable globals, so they are evaluated when
 * an element is used.
 */
#include "runtime/instance.h"
#include "runtime/gate.h"
#include "runtime/reserve.h"
#include "runtime/trap.h"

#include <sys/mman.h>

static near_data struct instance *pinned_instance;
near_data struct instance *instances;

/* ---- the process ------------------------------------------------------------------------- */

static bool running;

enum status runtime_init(enum abi_placement placement, uint64_t stack_bytes,
                         struct error *err) {
    if (running) return error_set(err, ST_USAGE, "the runtime is initialised already");
    (void)abi_cpu_features(); /* before any fork */
    (void)abi_fingerprint();
    enum status st = gate_stack_create(placement, stack_bytes, err);
    if (st == ST_OK) st = trap_install(err);
    if (st == ST_OK) st = interrupt_install(err);
    running = true;
    if (st != ST_OK) runtime_finish();
    return st;
}

void runtime_finish(void) {
    if (!running) return;
    CHECK(!gate_current);
    interrupt_uninstall();
    trap_uninstall();
    gate_stack_destroy();
    type_ids_finish();
    running = false;
}

/* ---- the object -------------------------------------------------------------------------- */

enum status code_complete(const struct code *code, struct error *err) {
    if (!code->complete) return ST_OK;
    /* whoever has the struct may fill it in: to everyone it says the same before and after */
    struct code *owned = (struct code *)(uintptr_t)code;
    return owned->complete(owned, err);
}

/* For callers that have no way to fail: the object was checked when it was made, and it is out
 * of memory, or damaged since. */
void code_completed(const struct code *code) {
    struct error err = {0};
    if (code->complete) CHECK(code_complete(code, &err) == ST_OK);
}

/* ---- the block --------------------------------------------------------------------------- */

static void *block_at(const struct instance *i, uint64_t offset) {
    return (char *)i->block + offset;
}

struct abi_func *instance_func(struct instance *instance, uint32_t index) {
    CHECK(index < instance->object->function_count);
    return (struct abi_func *)block_at(instance, instance->layout.funcs) + index;
}

struct instance *instance_of_block(const struct abi_instance *block) {
    CHECK(block && block->host);
    struct instance *instance = (struct instance *)block->host;
    CHECK(instance->magic == INSTANCE_MAGIC && instance->block == block);
    return instance;
}

/* Pinned: the whole range of the address map. */
enum status instance_reserve_block(struct instance *i, struct error *err) {
    uint64_t used = align_up(i->layout.size_bytes, ABI_HOST_PAGE);
    bool pinned = i->placement == ABI_PINNED;
    i->block_bytes = pinned ? ABI_INSTANCE_SIZE : used;
    void *want = pinned ? (void *)(uintptr_t)ABI_INSTANCE_BASE : NULL;
    int flags =
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (pinned ? MAP_FIXED_NOREPLACE : 0);
    void *at = pinned && reserve_take(RESERVED_BLOCK)
                   ? want
                   : mmap(want, i->block_bytes, PROT_NONE, flags, -1, 0);
    if (at != MAP_FAILED && want && at != want) {
        munmap(at, i->block_bytes);
        return error_set(err, ST_NO_MEMORY,
                         "the address range of the instance block is in use");
    }
    if (at == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY, "cannot map an instance block of %llu bytes",
                               (unsigned long long)i->block_bytes);
    i->block = at;
    return ST_OK;
}

/* The used part of it becomes accessible. */
static enum status map_block(struct instance *i, struct error *err) {
    uint64_t used = align_up(i->layout.size_bytes, ABI_HOST_PAGE);
    enum status status = instance_reserve_block(i, err);
    if (status != ST_OK) return status;
    if (mprotect(i->block, used, PROT_READ | PROT_WRITE) != 0)
        return error_set_errno(err, ST_NO_MEMORY, "cannot map an instance block of %llu bytes",
                               (unsigned long long)used);
    *i->block = (struct abi_instance){0};
    instance_attach(i);
    return ST_OK;
}

void instance_attach(struct instance *i) {
    i->block->gate = (uint64_t)gate_call_host;
    i->block->stack_low = guest_stack.low;
    i->block->host = (uint64_t)i;
    i->block->cpu_level = abi_cpu_level();
}

void instance_detach(struct abi_instance *block) {
    block->gate = block->stack_low = block->host = block->cpu_level = 0;
}

struct abi_func instance_own_func(const struct instance *i, uint32_t index) {
    code_completed(i->code);
    const struct abi_function *f = &i->object->functions[index];
    uint64_t text = (uint64_t)i->code->text;
    bool pinned = i->placement == ABI_PINNED;
    const uint32_t *ids = block_at(i, i->layout.type_ids);
    return (struct abi_func){.code = text + f->code_offset,
                             .instance = pinned ? 0 : (uint64_t)i->block,
                             .type_id = pinned ? f->type + 1 : ids[f->type],
                             .index = index,
                             .entry = text + i->object->types[f->type].entry_offset};
}

enum status instance_make_memory(struct instance *i, uint32_t index,
                                 const struct abi_limits *limits, struct error *err) {
    struct abi_memory *abi = (struct abi_memory *)block_at(i, i->layout.memories) + index;
    enum status st = memory_create(&i->own_memories[index], abi, i->placement, index, limits,
                                   i->limits.max_memory_bytes, err);
    if (st == ST_OK) i->memories[index] = &i->own_memories[index];
    return st;
}

enum status instance_make_table(struct instance *i, uint32_t index,
                                const struct abi_table_type *type, struct error *err) {
    struct abi_table *abi = (struct abi_table *)block_at(i, i->layout.tables) + index;
    uint64_t address = 0;
    if (i->placement == ABI_PINNED)
        address = abi_table_address(&i->layout, i->object->table_capacities, index);
    enum status st =
        table_create(&i->own_tables[index], abi, address, i->object->table_capacities[index],
                     type, i->limits.max_table_entries, err);
    if (st == ST_OK) i->tables[index] = &i->own_tables[index];
    return st;
}

/* ---- creating ---------------------------------------------------------------------------- */

/* Whether the loader's checks hold as far as this file relies on them. */
static enum status check_object(const struct abi_object *o, struct error *err) {
    if (o->counts.memories != o->memory_count || o->counts.tables != o->table_count ||
        o->counts.globals != o->global_count || o->counts.funcs != o->function_count ||
        o->counts.types != o->type_count || o->counts.tags != o->tag_count)
        return error_set(err, ST_DAMAGED, "the object's counts do not agree");
    enum status st = ST_OK;
    for (uint32_t i = o->imported_globals; st == ST_OK && i < o->global_count; i++)
        st = const_expr_check(o, &o->globals[i].init, err);
    for (uint32_t i = 0; st == ST_OK && i < o->elem_count; i++) {
        const struct abi_elem *e = &o->elems[i];
        if (e->mode == ABI_SEGMENT_ACTIVE) st = const_expr_check(o, &e->offset, err);
        for (uint32_t k = 0; st == ST_OK && !e->funcs && k < e->count; k++)
            st = const_expr_check(o, &e->exprs[k], err);
    }
    for (uint32_t i = 0; st == ST_OK && i < o->data_count; i++)
        if (o->datas[i].mode == ABI_SEGMENT_ACTIVE && !o->datas[i].in_image)
            st = const_expr_check(o, &o->datas[i].offset, err);
    return st;
}

static enum status allocate(struct instance *i, struct error *err) {
    const struct abi_object *o = i->object;
    struct arena *a = &i->arena;
    i->imports = arena_array(a, o->imported_functions, sizeof *i->imports);
    i->memories = arena_array(a, o->memory_count, sizeof *i->memories);
    i->tables = arena_array(a, o->table_count, sizeof *i->tables);
    i->globals = arena_array(a, o->global_count, sizeof *i->globals);
    i->own_memories = arena_array(a, o->memory_count, sizeof *i->own_memories);
    i->own_tables = arena_array(a, o->table_count, sizeof *i->own_tables);
    i->elem_dropped = arena_array(a, o->elem_count, sizeof *i->elem_dropped);
    i->data_dropped = arena_array(a, o->data_count, sizeof *i->data_dropped);
    if (!i->imports || !i->memories || !i->tables || !i->globals || !i->own_memories ||
        !i->own_tables || !i->elem_dropped || !i->data_dropped)
        return error_set(err, ST_NO_MEMORY, "out of memory for an instance");
    return ST_OK;
}

static enum status fill(struct instance *i, import_resolver resolve, void *context,
                        struct error *err) {
    const struct abi_object *o = i->object;
    bool relocatable = i->placement == ABI_RELOCATABLE;
    enum status st;
    uint32_t *ids = block_at(i, i->layout.type_ids);
    for (uint32_t k = 0; relocatable && k < o->type_count; k++) {
        st = type_id_of(&o->types[k].func, &ids[k], err);
        if (st != ST_OK) return st;
    }
    union abi_value *cells = block_at(i, i->layout.globals);
    for (uint32_t k = 0; k < o->global_count; k++)
        i->globals[k] = (struct global){.cell = &cells[k], .type = o->globals[k].type};

    st = link_imports(i, resolve, context, err);
    if (st != ST_OK) return st;
    for (uint32_t k = o->imported_functions; k < o->function_count; k++)
        *instance_func(i, k) = instance_own_func(i, k);
    for (uint32_t k = o->imported_memories; k < o->memory_count; k++) {
        st = instance_make_memory(i, k, &o->memories[k], err);
        if (st != ST_OK) return st;
    }
    for (uint32_t k = o->imported_tables; k < o->table_count; k++) {
        st = instance_make_table(i, k, &o->tables[k], err);
        if (st != ST_OK) return st;
    }
    for (uint32_t k = o->imported_tags; k < o->tag_count; k++)
        *exception_tag(i, k) = (uint64_t)exception_tag(i, k);
    for (uint32_t k = o->imported_globals; k < o->global_count; k++)
        cells[k] = const_expr_value(i, &o->globals[k].init);
    if (relocatable) {
        uint64_t *memory_refs = block_at(i, i->layout.memory_refs);
        uint64_t *table_refs = block_at(i, i->layout.table_refs);
        uint64_t *global_refs = block_at(i, i->layout.global_refs);
        for (uint32_t k = 0; k < o->memory_count; k++)
            memory_refs[k] = (uint64_t)i->memories[k]->abi;
        for (uint32_t k = 0; k < o->table_count; k++)
            table_refs[k] = (uint64_t)i->tables[k]->abi;
        for (uint32_t k = 0; k < o->global_count; k++)
            global_refs[k] = (uint64_t)i->globals[k].cell;
    }
    if (!o->page_run_count) return ST_OK;
    if (o->memory_count == 0 || o->imported_memories)
        return error_set(err, ST_DAMAGED,
                         "the object has initial pages but no memory for them");
    return memory_map_image(i->memories[0], i->code, err);
}

enum status instance_begin(const struct code *code, const struct instance_limits *limits,
                           struct instance **ret_instance, struct error *err) {
    const struct abi_object *o = code->object;
    enum abi_placement placement = (enum abi_placement)o->compat.placement;
    if (!running) return error_set(err, ST_USAGE, "the runtime is not initialised");
    if (placement == ABI_PINNED && guest_stack.top != ABI_STACK_TOP)
        return error_set(err, ST_USAGE, "pinned code in a process set up for relocatable code");
    if (placement == ABI_PINNED && pinned_instance)
        return error_set(err, ST_USAGE, "a pinned process holds one instance at a time");
    struct instance *i = calloc(1, sizeof *i);
    if (!i) return error_set(err, ST_NO_MEMORY, "out of memory for an instance");
    *i = (struct instance){
        .magic = INSTANCE_MAGIC, .code = code, .object = o, .placement = placement};
    if (limits) i->limits = *limits;
    if (placement == ABI_PINNED) pinned_instance = i;
    enum status st = abi_layout_compute(placement, &o->counts, &i->layout, err);
    if (st == ST_OK) st = allocate(i, err);
    if (st != ST_OK) {
        instance_destroy(i);
        return st;
    }
    i->next = instances;
    instances = i;
    *ret_instance = i;
    return ST_OK;
}

enum status instance_create(const struct code *code, const struct instance_limits *limits,
                            import_resolver resolve, void *context,
                            struct instance **ret_instance, struct error *err) {
    struct instance *i = NULL;
    enum status st = code_complete(code, err);
    if (st == ST_OK) st = check_object(code->object, err);
    if (st == ST_OK) st = instance_begin(code, limits, &i, err);
    if (st == ST_OK) st = map_block(i, err);
    if (st == ST_OK) st = profile_map(i, err);
    if (st == ST_OK) st = fill(i, resolve, context, err);
    if (st != ST_OK) {
        instance_destroy(i);
        return st;
    }
    *ret_instance = i;
    return ST_OK;
}

void instance_destroy(struct instance *i) {
    if (!i) return;
    for (uint32_t k = 0; i->own_memories && k < i->object->memory_count; k++)
        memory_destroy(&i->own_memories[k]);
    for (uint32_t k = 0; i->own_tables && k < i->object->table_count; k++)
        table_destroy(&i->own_tables[k]);
    profile_unmap(i);
    if (i->block) munmap(i->block, i->block_bytes);
    if (pinned_instance == i) pinned_instance = NULL;
    for (struct instance **at = &instances; *at; at = &(*at)->next)
        if (*at == i) {
            *at = i->next;
            break;
        }
    arena_finish(&i->arena);
    i->magic = 0;
    free(i);
}

/* ---- initialising and calling ------------------------------------------------------------ */

/* A trap outside of guest code. */
static enum call_result trap_in_segment(struct trap_report *ret_report, enum abi_trap trap,
                                        const char *kind, uint32_t segment) {
    if (ret_report) {
        *ret_report = (struct trap_report){.trap = trap, .fault_address = UINT64_MAX};
        snprintf(ret_report->detail, sizeof ret_report->detail, "%s segment %u does not fit",
                 kind, segment);
    }
    return CALL_TRAPPED;
}

enum call_result instance_initialise(struct instance *i, struct trap_report *ret_report) {
    const struct abi_object *o = i->object;
    CHECK(!i->initialised);
    i->initialised = true;
    for (uint32_t k = 0; k < o->elem_count; k++) {
        const struct abi_elem *e = &o->elems[k];
        if (e->mode == ABI_SEGMENT_PASSIVE) continue;
        enum abi_trap trap = TRAP_NONE;
        if (e->mode == ABI_SEGMENT_ACTIVE)
            trap = table_init(i, e->table, k, const_expr_value(i, &e->offset).u32, 0, e->count);
        if (trap != TRAP_NONE) return trap_in_segment(ret_report, trap, "element", k);
        i->elem_dropped[k] = true;
    }
    for (uint32_t k = 0; k < o->data_count; k++) {
        const struct abi_data *d = &o->datas[k];
        if (d->mode == ABI_SEGMENT_PASSIVE) continue;
        enum abi_trap trap = TRAP_NONE;
        if (!d->in_image)
            trap =
                memory_init(i, d->memory, k, const_expr_value(i, &d->offset).u32, 0, d->size);
        if (trap != TRAP_NONE) return trap_in_segment(ret_report, trap, "data", k);
        i->data_dropped[k] = true;
    }
    if (!o->has_start) return CALL_RETURNED;
    union abi_value none[1] = {{0}};
    i->starting = true;
    enum call_result result =
        instance_call(i, instance_func(i, o->start_function), none, ret_report);
    i->starting = false;
    return result;
}

enum call_result instance_call(struct instance *instance, const struct abi_func *func,
                               union abi_value *slots, struct trap_report *ret_report) {
    if (!func) {
        if (ret_report)
            *ret_report =
                (struct trap_report){.trap = TRAP_NULL_REFERENCE, .fault_address = UINT64_MAX};
        return CALL_TRAPPED;
    }
    /* the instance that the function belongs to: its index and type are meant there */
    struct instance *owner =
        func->instance ? instance_of_block((const struct abi_instance *)func->instance)
                       : instance;
    return gate_call_guest(owner, func, instance_functype(owner, func->index), slots,
                           ret_report);
}

/* ---- looking ----------------------------------------------------------------------------- */

const struct code *instance_code(const struct instance *instance) { return instance->code; }

const struct abi_export *instance_export(const struct instance *instance, const char *name,
                                         size_t name_length) {
    const struct abi_object *o = instance->object;
    code_completed(instance->code);
    for (uint32_t i = 0; i < o->export_count; i++)
        if (o->exports[i].name_length == name_length &&
            memcmp(o->exports[i].name, name, name_length) == 0)
            return &o->exports[i];
    return NULL;
}

const struct functype *instance_functype(const struct instance *instance, uint32_t index) {
    CHECK(index < instance->object->function_count);
    code_completed(instance->code);
    return &instance->object->types[instance->object->functions[index].type].func;
}

union abi_value instance_global(const struct instance *instance, uint32_t index) {
    CHECK(index < instance->object->global_count);
    return *instance->globals[index].cell;
}

struct guest_memory instance_memory(const struct instance *instance, uint32_t memory) {
    if (memory >= instance->object->memory_count) return (struct guest_memory){0};
    const struct abi_memory *abi = instance->memories[memory]->abi;
    return (struct guest_memory){.base = (uint8_t *)abi->base, .size_bytes = abi->size_bytes};
}

bool instance_memory_refused(const struct instance *instance) {
    for (uint32_t i = 0; i < instance->object->memory_count; i++)
        if (instance->memories[i]->refused) return true;
    return false;
}

void instance_set_trap(struct instance *instance, enum abi_trap trap, const char *detail) {
    instance->trap = trap;
    snprintf(instance->detail, sizeof instance->detail, "%s", detail ? detail : "");
}

void instance_set_exit(struct instance *instance, int code) { instance->exit_code = code; }
