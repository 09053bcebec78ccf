/*
 * The metadata sections of a code object to the arrays of struct abi_object
 * (docs/object-format.md; compiler/object_encode.c writes them). Every count is bounded by the
 * bytes that are left before anything is allocated for it, every index by what it points into,
 * so that the runtime uses them without looking again. Work is linear in the file, but for one
 * sort of the export names.
 *
 * The code itself is not judged: who wrote it is a matter of digests and signatures.
 */
#include "loader/object.h"

#include <stdarg.h>

/* One section being read. The first failure is kept; after it, reads give zeros. */
struct decoder {
    struct reader r;
    enum abi_section section;
    struct arena *arena;
    struct abi_object *o;
    struct error *err;
    enum status status;
};

#define MAX_CONST_DEPTH 64u /* of a constant expression's stack */

__attribute__((format(printf, 2, 3))) static bool fail(struct decoder *d, const char *format,
                                                       ...) {
    if (d->status != ST_OK) return false;
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->r.failed = true;
    d->status = error_set(d->err, ST_DAMAGED, "damaged section %s: %s",
                          abi_section_name(d->section), text);
    return false;
}

static bool no_memory(struct decoder *d) {
    if (d->status == ST_OK) d->status = error_set(d->err, ST_NO_MEMORY, "out of memory");
    d->r.failed = true;
    return false;
}

static bool ok(struct decoder *d) {
    if (d->r.failed && d->status == ST_OK) fail(d, "it ends too early");
    return d->status == ST_OK;
}

/* A count of things that take at least min_bytes each, and a zeroed array for them. */
static void *array(struct decoder *d, uint32_t count, size_t min_bytes, size_t size) {
    if (!ok(d)) return NULL;
    if (count > reader_left(&d->r) / min_bytes) {
        fail(d, "a count of %u, with %zu bytes left", count, reader_left(&d->r));
        return NULL;
    }
    void *result = arena_array(d->arena, count, size);
    if (!result) no_memory(d);
    return result;
}

static bool flag(struct decoder *d) {
    uint8_t v = reader_u8(&d->r);
    if (v > 1) fail(d, "a flag of value %u", v);
    return v == 1;
}

/* An index below count. */
static uint32_t indexed(struct decoder *d, uint32_t count, const char *what) {
    uint32_t index = reader_u32(&d->r);
    if (!d->r.failed && index >= count) fail(d, "%s %u of %u", what, index, count);
    return d->r.failed ? 0 : index;
}

static const char *string(struct decoder *d, uint32_t *ret_length) {
    *ret_length = reader_u32(&d->r);
    const uint8_t *bytes = reader_bytes(&d->r, *ret_length);
    if (bytes && !utf8_valid(bytes, *ret_length)) fail(d, "a name that is not UTF-8");
    return (const char *)bytes;
}

static struct valtype valtype(struct decoder *d) {
    struct valtype type = {.code = reader_u8(&d->r)};
    switch (type.code) {
    case ABI_I32:
    case ABI_I64:
    case ABI_F32:
    case ABI_F64:
    case ABI_V128:
    case ABI_FUNCREF:
    case ABI_EXTERNREF:
    case ABI_EXNREF: break;
    case ABI_REF:
    case ABI_REF_NULL: type.heap = reader_u32(&d->r); break;
    default: fail(d, "the value type 0x%02x", type.code);
    }
    return type;
}

static struct abi_limits limits(struct decoder *d) {
    uint8_t flags = reader_u8(&d->r);
    if (flags > 7) fail(d, "limits with flags 0x%02x", flags);
    struct abi_limits l = {.min = reader_u64(&d->r),
                           .has_max = flags & 1,
                           .shared = flags & 2,
                           .is_64 = flags & 4};
    if (l.has_max) l.max = reader_u64(&d->r);
    if (l.has_max && l.max < l.min) fail(d, "limits with a maximum below the minimum");
    return l;
}

static struct abi_limits memory_type(struct decoder *d) {
    struct abi_limits l = limits(d);
    if (!l.is_64 && (l.min > ABI_MEMORY32_MAX_PAGES || l.max > ABI_MEMORY32_MAX_PAGES))
        fail(d, "a memory of more than 65536 pages");
    return l;
}

static struct abi_table_type table_type(struct decoder *d) {
    struct abi_table_type t = {.element = valtype(d)};
    t.limits = limits(d);
    if (!valtype_is_ref(t.element)) fail(d, "a table of %s", valtype_name(t.element));
    if (t.limits.min > UINT32_MAX || (!t.limits.is_64 && t.limits.max > UINT32_MAX))
        fail(d, "a table that is too large");
    return t;
}

static struct abi_global_type global_type(struct decoder *d) {
    struct abi_global_type g = {.type = valtype(d)};
    g.mutable = flag(d);
    return g;
}

/* ---- constant expressions ---------------------------------------------------------------- */

static bool holds_functions(struct valtype type) {
    return type.code != ABI_EXTERNREF && type.code != ABI_EXNREF;
}

static bool const_step(struct decoder *d, struct abi_const_step *step, struct valtype type,
                       uint32_t global_count, uint32_t *depth) {
    static const struct abi_const_step null_step;
    uint8_t op = reader_u8(&d->r);
    bool reference = valtype_is_ref(type);
    step->op = op;
    if (op <= ABI_CONST_REF_FUNC) {
        ++*depth;
    } else if (op <= ABI_CONST_I64_MUL) {
        uint8_t of = op <= ABI_CONST_I32_MUL ? ABI_I32 : ABI_I64;
        if (type.code != of || *depth < 2) return fail(d, "a malformed constant expression");
        --*depth;
        return ok(d);
    } else {
        return fail(d, "the constant operation %u", op);
    }
    if (op == ABI_CONST_VALUE) {
        const uint8_t *bytes = reader_bytes(&d->r, sizeof step->value);
        if (!bytes) return ok(d);
        memcpy(&step->value, bytes, sizeof step->value);
        /* A reference is an address: the only one that a file can hold is null. */
        if (reference && memcmp(&step->value, &null_step.value, sizeof step->value) != 0)
            return fail(d, "a reference that is not null");
    } else if (op == ABI_CONST_GLOBAL_GET) {
        step->index = indexed(d, global_count, "global");
        if (ok(d) && !valtype_equal(d->o->globals[step->index].type.type, type))
            return fail(d, "a constant expression of another type");
    } else {
        step->index = indexed(d, d->o->function_count, "function");
        if (!reference || !holds_functions(type))
            return fail(d, "a function where %s is due", valtype_name(type));
    }
    return ok(d);
}

/* An expression of this type that may name the first global_count globals. */
static struct abi_const_expr const_expr(struct decoder *d, struct valtype type,
                                        uint32_t global_count) {
    uint32_t count = reader_u32(&d->r), depth = 0;
    struct abi_const_step *steps = array(d, count, 1, sizeof *steps);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        const_step(d, &steps[i], type, global_count, &depth);
        if (depth > MAX_CONST_DEPTH) fail(d, "a constant expression that is too deep");
    }
    if (ok(d) && depth != 1) fail(d, "a malformed constant expression");
    return ok(d) ? (struct abi_const_expr){.count = count, .steps = steps}
                 : (struct abi_const_expr){0};
}

static struct abi_const_expr offset_expr(struct decoder *d, const struct abi_limits *of) {
    struct valtype type = {.code = of->is_64 ? ABI_I64 : ABI_I32};
    return const_expr(d, type, d->o->global_count);
}

/* ---- sections ---------------------------------------------------------------------------- */

static void decode_types(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_type *types = array(d, count, 12, sizeof *types);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct functype *f = &types[i].func;
        f->param_count = reader_u32(&d->r);
        f->result_count = reader_u32(&d->r);
        types[i].entry_offset = reader_u32(&d->r);
        if (types[i].entry_offset != OBJECT_NO_ENTRY && types[i].entry_offset >= o->text_size)
            fail(d, "type %u: an entry thunk outside .text", i);
        struct valtype *params = array(d, f->param_count, 1, sizeof *params);
        for (uint32_t k = 0; k < f->param_count && ok(d); k++) params[k] = valtype(d);
        struct valtype *results = array(d, f->result_count, 1, sizeof *results);
        for (uint32_t k = 0; k < f->result_count && ok(d); k++) results[k] = valtype(d);
        f->params = params;
        f->results = results;
    }
    o->types = types;
    o->type_count = count;
}

/* Of a tag: a type without results. */
static uint32_t tag_type(struct decoder *d) {
    uint32_t type = indexed(d, d->o->type_count, "type");
    if (ok(d) && d->o->types[type].func.result_count) fail(d, "a tag with results");
    return type;
}

static void decode_imports(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_import *imports = array(d, count, 13, sizeof *imports);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct abi_import *import = &imports[i];
        import->module = string(d, &import->module_length);
        import->name = string(d, &import->name_length);
        uint8_t kind = reader_u8(&d->r);
        switch (kind) {
        case ABI_EXTERN_FUNC:
            import->type = indexed(d, o->type_count, "type");
            o->imported_functions++;
            break;
        case ABI_EXTERN_TABLE:
            import->table = table_type(d);
            o->imported_tables++;
            break;
        case ABI_EXTERN_MEMORY:
            import->memory = memory_type(d);
            o->imported_memories++;
            break;
        case ABI_EXTERN_GLOBAL:
            import->global = global_type(d);
            o->imported_globals++;
            break;
        case ABI_EXTERN_TAG:
            import->type = tag_type(d);
            o->imported_tags++;
            break;
        default: fail(d, "import %u: the kind %u", i, kind);
        }
        import->kind = kind;
    }
    o->imports = imports;
    o->import_count = count;
}

static void decode_funcs(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t imported = reader_u32(&d->r), count = reader_u32(&d->r);
    struct abi_function *functions = array(d, count, 16, sizeof *functions);
    if (ok(d) && (imported != o->imported_functions || imported > count))
        fail(d, "%u imported functions where there are %u", imported, o->imported_functions);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct abi_function *f = &functions[i];
        f->type = indexed(d, o->type_count, "type");
        f->code_offset = reader_u32(&d->r);
        f->code_size = reader_u32(&d->r);
        f->wasm_offset = reader_u32(&d->r);
        if (!ok(d)) break;
        if (f->code_offset >= o->text_size || f->code_size > o->text_size - f->code_offset)
            fail(d, "function %u lies outside .text", i);
        if (o->types[f->type].entry_offset == OBJECT_NO_ENTRY)
            fail(d, "function %u: type %u has no entry thunk", i, f->type);
        if (i < imported && f->wasm_offset != 0) fail(d, "import %u has a body", i);
    }
    uint32_t index = 0;
    for (uint32_t i = 0; i < o->import_count && ok(d); i++)
        if (o->imports[i].kind == ABI_EXTERN_FUNC &&
            functions[index++].type != o->imports[i].type)
            fail(d, "imported function %u is of another type", index - 1);
    o->functions = functions;
    o->function_count = count;
}

/* Imported ones first, then `own` more. The count goes to ret_count. */
static void *with_imported(struct decoder *d, uint32_t imported, uint32_t own, size_t min_bytes,
                           size_t size, uint32_t *ret_count) {
    if (!ok(d)) return NULL;
    uint32_t count;
    if (own > reader_left(&d->r) / min_bytes || add_overflows(imported, own, &count)) {
        fail(d, "a count of %u, with %zu bytes left", own, reader_left(&d->r));
        return NULL;
    }
    void *result = arena_array(d->arena, count, size);
    if (!result) no_memory(d);
    *ret_count = count;
    return result;
}

static void decode_tables(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t imported = reader_u32(&d->r), count = 0, index = 0;
    if (ok(d) && imported != o->imported_tables)
        fail(d, "%u imported tables where there are %u", imported, o->imported_tables);
    uint32_t *first = array(d, imported, 4, sizeof *first);
    for (uint32_t i = 0; i < imported && ok(d); i++) first[i] = reader_u32(&d->r);
    uint32_t own = reader_u32(&d->r);
    struct abi_table_type *tables = with_imported(d, imported, own, 15, sizeof *tables, &count);
    uint32_t *capacities = ok(d) ? arena_array(d->arena, count, sizeof *capacities) : NULL;
    bool *fixed = ok(d) ? arena_array(d->arena, count, sizeof *fixed) : NULL;
    if (ok(d) && (!capacities || !fixed)) no_memory(d);
    for (uint32_t i = 0; i < o->import_count && ok(d); i++) {
        if (o->imports[i].kind != ABI_EXTERN_TABLE) continue;
        capacities[index] = first[index];
        tables[index++] = o->imports[i].table;
    }
    for (uint32_t i = imported; i < count && ok(d); i++) {
        tables[i] = table_type(d);
        fixed[i] = flag(d);
        capacities[i] = reader_u32(&d->r);
    }
    for (uint32_t i = 0; i < count && ok(d); i++) {
        if (capacities[i] < tables[i].limits.min)
            fail(d, "table %u: room for %u entries, less than its minimum", i, capacities[i]);
    }
    if (ok(d)) o->counts.table_entries = abi_table_entries(capacities, count);
    o->tables = tables;
    o->table_fixed = fixed;
    o->table_capacities = capacities;
    o->table_count = count;
}

static void decode_state(struct decoder *d) {
    struct abi_object *o = d->o;
    decode_tables(d);

    uint32_t own = reader_u32(&d->r), index = 0;
    struct abi_limits *memories =
        with_imported(d, o->imported_memories, own, 9, sizeof *memories, &o->memory_count);
    for (uint32_t i = 0; i < o->import_count && ok(d); i++)
        if (o->imports[i].kind == ABI_EXTERN_MEMORY) memories[index++] = o->imports[i].memory;
    for (; index < o->memory_count && ok(d); index++) memories[index] = memory_type(d);
    o->memories = memories;

    own = reader_u32(&d->r);
    index = 0;
    struct abi_global *globals =
        with_imported(d, o->imported_globals, own, 6, sizeof *globals, &o->global_count);
    o->globals = globals; /* an initialiser may name those before its own */
    for (uint32_t i = 0; i < o->import_count && ok(d); i++)
        if (o->imports[i].kind == ABI_EXTERN_GLOBAL)
            globals[index++].type = o->imports[i].global;
    for (; index < o->global_count && ok(d); index++) {
        globals[index].type = global_type(d);
        globals[index].init = const_expr(d, globals[index].type.type, index);
    }

    own = reader_u32(&d->r);
    index = 0;
    uint32_t *tags = with_imported(d, o->imported_tags, own, 4, sizeof *tags, &o->tag_count);
    for (uint32_t i = 0; i < o->import_count && ok(d); i++)
        if (o->imports[i].kind == ABI_EXTERN_TAG) tags[index++] = o->imports[i].type;
    for (; index < o->tag_count && ok(d); index++) tags[index] = tag_type(d);
    o->tags = tags;

    o->has_start = flag(d);
    o->start_function = reader_u32(&d->r);
    if (!ok(d)) return;
    if (!o->has_start && o->start_function != 0) fail(d, "a start function that is not one");
    if (o->has_start && o->start_function >= o->function_count)
        fail(d, "start function %u of %u", o->start_function, o->function_count);
    if (o->has_start && ok(d)) {
        const struct functype *f = &o->types[o->functions[o->start_function].type].func;
        if (f->param_count || f->result_count) fail(d, "the start function takes arguments");
    }
}

struct name {
    const char *bytes;
    uint32_t length;
};
static int compare_names(const void *a, const void *b) {
    const struct name *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->length ? memcmp(x->bytes, y->bytes, x->length) : 0;
}

static void decode_exports(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_export *exports = array(d, count, 9, sizeof *exports);
    const uint32_t limit[] = {[ABI_EXTERN_FUNC] = o->function_count,
                              [ABI_EXTERN_TABLE] = o->table_count,
                              [ABI_EXTERN_MEMORY] = o->memory_count,
                              [ABI_EXTERN_GLOBAL] = o->global_count,
                              [ABI_EXTERN_TAG] = o->tag_count};
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct abi_export *export = &exports[i];
        export->name = string(d, &export->name_length);
        uint8_t kind = reader_u8(&d->r);
        if (ok(d) && kind > ABI_EXTERN_TAG) fail(d, "export %u: the kind %u", i, kind);
        if (!ok(d)) break;
        export->kind = kind;
        export->index = indexed(d, limit[kind], abi_extern_kind_name(kind));
    }
    o->exports = exports;
    o->export_count = count;
    if (!ok(d) || count < 2) return;
    auto_free struct name *names = calloc(count, sizeof *names);
    if (!names) {
        no_memory(d);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        names[i] = (struct name){exports[i].name, exports[i].name_length};
    qsort(names, count, sizeof *names, compare_names);
    for (uint32_t i = 1; i < count; i++)
        if (compare_names(&names[i - 1], &names[i]) == 0) {
            fail(d, "two exports of one name");
            return;
        }
}

static void decode_elems(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_elem *elems = array(d, count, 7, sizeof *elems);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct abi_elem *elem = &elems[i];
        uint8_t mode = reader_u8(&d->r);
        if (mode > ABI_SEGMENT_DECLARED) fail(d, "segment %u: the mode %u", i, mode);
        elem->mode = mode;
        elem->type = valtype(d);
        if (ok(d) && !valtype_is_ref(elem->type)) fail(d, "segment %u is of numbers", i);
        if (ok(d) && mode == ABI_SEGMENT_ACTIVE) {
            elem->table = indexed(d, o->table_count, "table");
            if (!ok(d)) break;
            elem->offset = offset_expr(d, &o->tables[elem->table].limits);
            if (ok(d) && !valtype_equal(elem->type, o->tables[elem->table].element))
                fail(d, "segment %u is of another type than its table", i);
        }
        bool by_expression = flag(d);
        elem->count = reader_u32(&d->r);
        if (by_expression) {
            struct abi_const_expr *exprs = array(d, elem->count, 5, sizeof *exprs);
            for (uint32_t k = 0; k < elem->count && ok(d); k++)
                exprs[k] = const_expr(d, elem->type, o->global_count);
            elem->exprs = exprs;
        } else {
            uint32_t *funcs = array(d, elem->count, 4, sizeof *funcs);
            if (elem->count && !holds_functions(elem->type))
                fail(d, "segment %u: functions where %s is due", i, valtype_name(elem->type));
            for (uint32_t k = 0; k < elem->count && ok(d); k++)
                funcs[k] = indexed(d, o->function_count, "function");
            elem->funcs = funcs;
        }
    }
    o->elems = elems;
    o->elem_count = count;
}

static void decode_datas(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_data *datas = array(d, count, 10, sizeof *datas);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        struct abi_data *data = &datas[i];
        uint8_t mode = reader_u8(&d->r);
        if (mode > ABI_SEGMENT_PASSIVE) fail(d, "segment %u: the mode %u", i, mode);
        data->mode = mode;
        data->in_image = flag(d);
        if (ok(d) && mode == ABI_SEGMENT_ACTIVE) {
            data->memory = indexed(d, o->memory_count, "memory");
            if (!ok(d)) break;
            data->offset = offset_expr(d, &o->memories[data->memory]);
        }
        data->size = reader_u64(&d->r);
        data->bytes = reader_bytes(&d->r, data->size);
        if (ok(d) && data->in_image &&
            (mode != ABI_SEGMENT_ACTIVE || data->memory != 0 || data->size != 0 ||
             o->imported_memories != 0))
            fail(d, "segment %u cannot be part of the image", i);
    }
    o->datas = datas;
    o->data_count = count;
}

static void decode_traps(struct decoder *d) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_trap_stub *stubs = array(d, count, 8, sizeof *stubs);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        stubs[i].code_offset = reader_u32(&d->r);
        uint32_t trap = reader_u32(&d->r);
        if (ok(d) && (trap == TRAP_NONE || trap >= TRAP_COUNT)) fail(d, "the trap %u", trap);
        if (ok(d) && stubs[i].code_offset >= o->text_size)
            fail(d, "stub %u lies outside .text", i);
        if (ok(d) && i && stubs[i].code_offset <= stubs[i - 1].code_offset)
            fail(d, "stub %u is out of order", i);
        if (ok(d)) stubs[i].trap = trap;
    }
    o->trap_stubs = stubs;
    o->trap_stub_count = count;
}

static void decode_pages(struct decoder *d, uint64_t image_bytes) {
    struct abi_object *o = d->o;
    uint32_t count = reader_u32(&d->r);
    struct abi_page_run *runs = array(d, count, 12, sizeof *runs);
    uint64_t guest = 0, image = 0; /* where the last run ended */
    uint64_t guest_pages = 0, image_pages = image_bytes / ABI_HOST_PAGE;
    if (o->memory_count && !o->imported_memories &&
        o->memories[0].min <= ABI_MEMORY32_MAX_PAGES)
        guest_pages = o->memories[0].min * (ABI_WASM_PAGE / ABI_HOST_PAGE);
    for (uint32_t i = 0; i < count && ok(d); i++) {
        runs[i].guest_page = reader_u32(&d->r);
        runs[i].image_page = reader_u32(&d->r);
        runs[i].count = reader_u32(&d->r);
        if (!ok(d)) break;
        if (runs[i].count == 0 || runs[i].guest_page < guest || runs[i].image_page < image)
            fail(d, "run %u is out of order", i);
        guest = (uint64_t)runs[i].guest_page + runs[i].count;
        image = (uint64_t)runs[i].image_page + runs[i].count;
        if (guest > guest_pages) fail(d, "run %u ends outside the memory", i);
        if (image > image_pages) fail(d, "run %u ends outside the image", i);
    }
    o->page_runs = runs;
    o->page_run_count = count;
}

/* Stays as it is in the file; only checked. */
static void check_names(struct decoder *d) {
    uint32_t count = reader_u32(&d->r);
    if (!ok(d) || count == 0) return;
    if (count != d->o->function_count) fail(d, "names of %u functions", count);
    if (reader_left(&d->r) / 4 <= count) fail(d, "it ends too early");
    uint32_t before = 0;
    for (uint32_t i = 0; i <= count && ok(d); i++) {
        uint32_t offset = reader_u32(&d->r);
        if (offset < before || (i == 0 && offset != 0)) fail(d, "name %u is out of order", i);
        before = offset;
    }
    const uint8_t *bytes = reader_bytes(&d->r, before);
    if (!bytes && ok(d)) fail(d, "it ends too early");
}

/* How many there are, of what is left for later. */
static void count_only(struct decoder *d) {
    struct abi_object *o = d->o;
    if (d->section == ABI_SECTION_EXPORTS || d->section == ABI_SECTION_NAMES) return;
    uint32_t count = reader_u32(&d->r);
    if (ok(d) && count > reader_left(&d->r))
        fail(d, "a count of %u, with %zu bytes left", count, reader_left(&d->r));
    if (d->section == ABI_SECTION_ELEMS) o->elem_count = count;
    if (d->section == ABI_SECTION_DATAS) o->data_count = count;
    if (d->section == ABI_SECTION_FUNCS) {
        if (ok(d) && count != o->imported_functions)
            fail(d, "%u imported functions where there are %u", count, o->imported_functions);
        o->function_count = reader_u32(&d->r);
        if (ok(d) && o->function_count > reader_left(&d->r))
            fail(d, "%u functions, with %zu bytes left", o->function_count, reader_left(&d->r));
    }
    (void)ok(d);
}

static bool grows(enum abi_section section) {
    return section == ABI_SECTION_FUNCS || section == ABI_SECTION_EXPORTS ||
           section == ABI_SECTION_ELEMS || section == ABI_SECTION_DATAS ||
           section == ABI_SECTION_NAMES;
}

enum status object_decode(const struct object_section sections[ABI_SECTION_COUNT], bool brief,
                          struct arena *arena, struct abi_object *object, struct error *err) {
    static void (*const decode[ABI_SECTION_COUNT])(struct decoder *) = {
        [ABI_SECTION_TYPES] = decode_types,     [ABI_SECTION_IMPORTS] = decode_imports,
        [ABI_SECTION_FUNCS] = decode_funcs,     [ABI_SECTION_STATE] = decode_state,
        [ABI_SECTION_EXPORTS] = decode_exports, [ABI_SECTION_ELEMS] = decode_elems,
        [ABI_SECTION_DATAS] = decode_datas,     [ABI_SECTION_TRAPS] = decode_traps,
        [ABI_SECTION_NAMES] = check_names,
    };
    /* What a later one points into comes earlier. */
    static const enum abi_section order[] = {
        ABI_SECTION_TYPES,   ABI_SECTION_IMPORTS, ABI_SECTION_FUNCS, ABI_SECTION_STATE,
        ABI_SECTION_EXPORTS, ABI_SECTION_ELEMS,   ABI_SECTION_DATAS, ABI_SECTION_TRAPS,
        ABI_SECTION_PAGES,   ABI_SECTION_NAMES,
    };
    for (size_t i = 0; i < countof(order); i++) {
        const struct object_section *s = &sections[order[i]];
        struct decoder d = {.r = reader_over(s->bytes, s->size),
                            .section = order[i],
                            .arena = arena,
                            .o = object,
                            .err = err};
        if (brief && grows(order[i])) {
            count_only(&d);
            if (d.status != ST_OK) return d.status;
            continue;
        }
        if (order[i] == ABI_SECTION_PAGES)
            decode_pages(&d, sections[ABI_SECTION_IMAGE].size);
        else
            decode[order[i]](&d);
        if (ok(&d) && reader_left(&d.r) > 0) fail(&d, "%zu bytes too many", reader_left(&d.r));
        if (d.status != ST_OK) return d.status;
    }
    object->counts.memories = object->memory_count;
    object->counts.tables = object->table_count;
    object->counts.globals = object->global_count;
    object->counts.funcs = object->function_count;
    object->counts.types = object->type_count;
    object->counts.tags = object->tag_count;
    for (uint32_t i = 0; i < object->tag_count; i++) {
        uint32_t values = object->types[object->tags[i]].func.param_count;
        if (values > object->counts.exception_values) object->counts.exception_values = values;
    }
    if (object->tag_count)
        object->counts.exceptions = abi_exception_capacity(object->counts.exception_values);
    struct abi_layout layout;
    if (abi_layout_compute((enum abi_placement)object->compat.placement, &object->counts,
                           &layout, err) != ST_OK)
        return error_wrap(err, "damaged section %s", abi_section_name(ABI_SECTION_STATE));
    return ST_OK;
}
