/*
 * Sections of entities to their arrays in struct module (spec core 5.5.4 to 5.5.11): types,
 * imports, functions, tables, memories, tags, globals, exports, start. Indices are not checked
 * here: that is validation. Imported entities come first in their index space, and since the
 * import section comes before the others, arrays grow by imports and then by own entities.
 */
#include "compiler/decode.h"

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory for the decoded module");
}

/*
 * Room for `more` items behind the `count` that *array has. Imports come one at a time, so room
 * doubles at powers of two; what an array leaves behind in the arena is at most its own size.
 */
static enum status make_room(struct decoder *d, void **array, uint32_t count, uint32_t more,
                             size_t item_bytes) {
    bool full = (count & (count - 1)) == 0; /* 0, 1, 2, 4, 8 ... */
    if (more == 1 && !full) return ST_OK;
    size_t room = more == 1 && count ? (size_t)count * 2 : (size_t)count + more;
    void *grown = arena_array(&d->module->arena, room, item_bytes);
    if (!grown) return no_memory(d->err);
    if (count) memcpy(grown, *array, count * item_bytes);
    *array = grown;
    return ST_OK;
}

/* make_room for an array of any type. */
#define ROOM(d, array, count, more)                                                            \
    do {                                                                                       \
        void *room_ = (array);                                                                 \
        TRY(make_room(d, &room_, count, more, sizeof *(array)));                               \
        (array) = room_;                                                                       \
    } while (0)

static enum status over_limit(struct decoder *d, uint64_t at, const char *what,
                              uint32_t limit) {
    return error_set_at(d->err, ST_LIMIT, at, "too many %s: at most %u are supported", what,
                        limit);
}

/* ---- types (5.5.4) ---- */

static enum status decode_result_type(struct decoder *d, struct reader *r, const char *what,
                                      uint32_t limit, uint32_t *ret_count,
                                      const struct valtype **ret_types) {
    uint32_t count;
    TRY(read_count(r, what, limit, &count, d->err));
    struct valtype *types = NULL;
    if (count) {
        types = arena_array(&d->module->arena, count, sizeof *types);
        if (!types) return no_memory(d->err);
    }
    for (uint32_t i = 0; i < count; i++) TRY(valtype_decode(r, &types[i], d->err));
    *ret_count = count;
    *ret_types = types;
    return ST_OK;
}

static enum status decode_type(struct decoder *d, struct reader *r, struct module_type *type) {
    uint64_t at = reader_offset(r);
    uint8_t form;
    TRY(read_byte(r, "type", &form, d->err));
    switch (form) {
    case 0x60: break;
    case 0x5f: /* struct */
    case 0x5e: /* array */
    case 0x50: /* sub */
    case 0x4f: /* sub final */
    case 0x4e: /* rec */
    case 0x4d: /* descriptor types, and describes */
    case 0x4c:
        return error_set_at(d->err, ST_UNSUPPORTED, at,
                            "type form 0x%02x needs Wasm 3.0 garbage collection", form);
    case 0x5d:
        return error_set_at(d->err, ST_UNSUPPORTED, at, "type form 0x5d needs stack switching");
    default:
        return error_set_at(d->err, ST_MALFORMED, at,
                            "integer representation too long: 0x%02x is no form of a type",
                            form);
    }
    type->kind = COMPOSITE_FUNC;
    TRY(decode_result_type(d, r, "number of parameters", MODULE_MAX_PARAMS,
                           &type->func.param_count, &type->func.params));
    return decode_result_type(d, r, "number of results", MODULE_MAX_RESULTS,
                              &type->func.result_count, &type->func.results);
}

enum status decode_types(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of types", MODULE_MAX_TYPES, &count, d->err));
    m->types = arena_array(&m->arena, count, sizeof *m->types);
    if (!m->types) return no_memory(d->err);
    for (uint32_t i = 0; i < count; i++) {
        m->types[i] = (struct module_type){.canonical = i, .recursion_group = i};
        m->types[i].supertype = UINT32_MAX;
        m->types[i].is_final = true;
        if (decode_type(d, r, &m->types[i]) != ST_OK) return error_wrap(d->err, "type %u", i);
        m->type_count++;
    }
    return ST_OK;
}

/* ---- the types of entities (5.3.7 to 5.3.11) ---- */

/* In 3.0 both bounds are u64 whatever the address type; validation compares them. */
static enum status decode_limits(struct decoder *d, struct reader *r, bool memory,
                                 struct abi_limits *ret) {
    uint64_t at = reader_offset(r);
    const char *kind = memory ? "memory" : "table";
    uint8_t flags;
    TRY(read_byte(r, "limits flags", &flags, d->err));
    if (flags > 0x07 || (!memory && (flags & 0x02) != 0))
        return error_set_at(d->err, ST_MALFORMED, at, "malformed limits flags 0x%x of a %s",
                            flags, kind);
    if (flags & 0x04)
        return error_set_at(d->err, ST_UNSUPPORTED, at, "64-bit %s needs Wasm 3.0 memory64",
                            kind);
    if (flags & 0x02)
        return error_set_at(d->err, ST_UNSUPPORTED, at, "shared memory needs threads");
    *ret = (struct abi_limits){.has_max = flags & 1};
    TRY(read_u64(r, "minimum size", &ret->min, d->err));
    if (ret->has_max) TRY(read_u64(r, "maximum size", &ret->max, d->err));
    return ST_OK;
}

static enum status decode_table_type(struct decoder *d, struct reader *r,
                                     struct abi_table_type *ret) {
    TRY(read_reftype(r, &ret->element, d->err));
    return decode_limits(d, r, false, &ret->limits);
}

static enum status decode_global_type(struct decoder *d, struct reader *r,
                                      struct abi_global_type *ret) {
    TRY(valtype_decode(r, &ret->type, d->err));
    uint64_t at = reader_offset(r);
    uint8_t mutability;
    TRY(read_byte(r, "mutability", &mutability, d->err));
    if (mutability > 1)
        return error_set_at(d->err, ST_MALFORMED, at, "malformed mutability 0x%02x of a global",
                            mutability);
    ret->mutable = mutability == 1;
    return ST_OK;
}

/* An attribute, of which there is but one, and a type (spec core 3.0 5.3.12). */
static enum status decode_tag_type(struct decoder *d, struct reader *r,
                                   struct module_tag *ret) {
    uint64_t at = reader_offset(r);
    uint8_t attribute;
    TRY(read_byte(r, "tag's attribute", &attribute, d->err));
    if (attribute != 0)
        return error_set_at(d->err, ST_MALFORMED, at, "malformed tag attribute 0x%02x",
                            attribute);
    *ret = (struct module_tag){.offset = at};
    return read_u32(r, "type index", &ret->type, d->err);
}

/* More than one memory is 3.0, and well-formed. */
static enum status check_memory_count(struct decoder *d, uint64_t at, uint32_t count) {
    if (count <= MODULE_MAX_MEMORIES) return ST_OK;
    return error_set_at(d->err, ST_UNSUPPORTED, at, "%u memories need Wasm 3.0 multi-memory",
                        count);
}

/* ---- imports (5.5.5) ---- */

static enum status decode_import(struct decoder *d, struct reader *r,
                                 struct module_import *import) {
    struct module *m = d->module;
    import->offset = reader_offset(r);
    TRY(read_name(r, "import's module name", &import->module, &import->module_length, d->err));
    TRY(read_name(r, "import's name", &import->name, &import->name_length, d->err));
    uint64_t at = reader_offset(r);
    uint8_t kind;
    TRY(read_byte(r, "import kind", &kind, d->err));
    switch (kind) {
    case 0: {
        ROOM(d, m->functions, m->function_count, 1);
        struct module_function *function = &m->functions[m->function_count];
        *function = (struct module_function){.imported = true};
        TRY(read_u32(r, "type index", &function->type, d->err));
        import->kind = ABI_EXTERN_FUNC;
        import->index = m->function_count++;
        m->imported_functions++;
        return ST_OK;
    }
    case 1: {
        if (m->table_count == MODULE_MAX_TABLES)
            return over_limit(d, at, "tables", MODULE_MAX_TABLES);
        ROOM(d, m->tables, m->table_count, 1);
        struct module_table *table = &m->tables[m->table_count];
        *table = (struct module_table){.imported = true, .offset = at};
        TRY(decode_table_type(d, r, &table->type));
        import->kind = ABI_EXTERN_TABLE;
        import->index = m->table_count++;
        m->imported_tables++;
        return ST_OK;
    }
    case 2: {
        ROOM(d, m->memories, m->memory_count, 1);
        struct module_memory *memory = &m->memories[m->memory_count];
        *memory = (struct module_memory){.imported = true, .offset = at};
        TRY(decode_limits(d, r, true, &memory->limits));
        TRY(check_memory_count(d, at, m->memory_count + 1));
        import->kind = ABI_EXTERN_MEMORY;
        import->index = m->memory_count++;
        m->imported_memories++;
        return ST_OK;
    }
    case 3: {
        ROOM(d, m->globals, m->global_count, 1);
        struct module_global *global = &m->globals[m->global_count];
        *global = (struct module_global){.imported = true};
        TRY(decode_global_type(d, r, &global->type));
        import->kind = ABI_EXTERN_GLOBAL;
        import->index = m->global_count++;
        m->imported_globals++;
        return ST_OK;
    }
    case 4: {
        if (m->tag_count == MODULE_MAX_TAGS) return over_limit(d, at, "tags", MODULE_MAX_TAGS);
        ROOM(d, m->tags, m->tag_count, 1);
        struct module_tag *tag = &m->tags[m->tag_count];
        TRY(decode_tag_type(d, r, tag));
        tag->imported = true;
        import->kind = ABI_EXTERN_TAG;
        import->index = m->tag_count++;
        m->imported_tags++;
        return ST_OK;
    }
    default:
        return error_set_at(d->err, ST_MALFORMED, at, "malformed import kind 0x%02x", kind);
    }
}

enum status decode_imports(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of imports", MODULE_MAX_IMPORTS, &count, d->err));
    m->imports = arena_array(&m->arena, count, sizeof *m->imports);
    if (!m->imports) return no_memory(d->err);
    for (uint32_t i = 0; i < count; i++) {
        if (decode_import(d, r, &m->imports[i]) != ST_OK)
            return error_wrap(d->err, "import %u", i);
        m->import_count++;
    }
    return ST_OK;
}

/* ---- own entities (5.5.6 to 5.5.9) ---- */

enum status decode_functions(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint64_t at = reader_offset(r);
    uint32_t count;
    TRY(read_count(r, "number of functions", MODULE_MAX_FUNCTIONS, &count, d->err));
    if (count > MODULE_MAX_FUNCTIONS - m->function_count)
        return over_limit(d, at, "functions", MODULE_MAX_FUNCTIONS);
    if (count == 0) return ST_OK;
    ROOM(d, m->functions, m->function_count, count);
    for (uint32_t i = 0; i < count; i++) {
        struct module_function *function = &m->functions[m->function_count];
        *function = (struct module_function){0};
        TRY(read_u32(r, "type index", &function->type, d->err));
        m->function_count++;
    }
    return ST_OK;
}

enum status decode_tables(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint64_t at = reader_offset(r);
    uint32_t count;
    TRY(read_count(r, "number of tables", UINT32_MAX, &count, d->err));
    if (count > MODULE_MAX_TABLES - m->table_count)
        return over_limit(d, at, "tables", MODULE_MAX_TABLES);
    if (count == 0) return ST_OK;
    ROOM(d, m->tables, m->table_count, count);
    for (uint32_t i = 0; i < count; i++) {
        struct module_table *table = &m->tables[m->table_count];
        *table = (struct module_table){.offset = reader_offset(r)};
        if (r->at < r->end && *r->at == 0x40)
            return error_set_at(d->err, ST_UNSUPPORTED, reader_offset(r),
                                "table %u with an initial value needs Wasm 3.0 typed function "
                                "references",
                                m->table_count);
        if (decode_table_type(d, r, &table->type) != ST_OK)
            return error_wrap(d->err, "table %u", m->table_count);
        m->table_count++;
    }
    return ST_OK;
}

enum status decode_memories(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of memories", UINT32_MAX, &count, d->err));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = reader_offset(r);
        struct module_memory memory = {.offset = at};
        if (decode_limits(d, r, true, &memory.limits) != ST_OK)
            return error_wrap(d->err, "memory %u", m->memory_count);
        TRY(check_memory_count(d, at, m->memory_count + 1));
        ROOM(d, m->memories, m->memory_count, 1);
        m->memories[m->memory_count++] = memory;
    }
    return ST_OK;
}

enum status decode_tags(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint64_t at = reader_offset(r);
    uint32_t count;
    TRY(read_count(r, "number of tags", MODULE_MAX_TAGS, &count, d->err));
    if (count > MODULE_MAX_TAGS - m->tag_count)
        return over_limit(d, at, "tags", MODULE_MAX_TAGS);
    if (count == 0) return ST_OK;
    ROOM(d, m->tags, m->tag_count, count);
    for (uint32_t i = 0; i < count; i++) {
        if (decode_tag_type(d, r, &m->tags[m->tag_count]) != ST_OK)
            return error_wrap(d->err, "tag %u", m->tag_count);
        m->tag_count++;
    }
    return ST_OK;
}

enum status decode_globals(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint64_t at = reader_offset(r);
    uint32_t count;
    TRY(read_count(r, "number of globals", MODULE_MAX_GLOBALS, &count, d->err));
    if (count > MODULE_MAX_GLOBALS - m->global_count)
        return over_limit(d, at, "globals", MODULE_MAX_GLOBALS);
    if (count == 0) return ST_OK;
    ROOM(d, m->globals, m->global_count, count);
    for (uint32_t i = 0; i < count; i++) {
        struct module_global *global = &m->globals[m->global_count];
        *global = (struct module_global){0};
        if (decode_global_type(d, r, &global->type) != ST_OK ||
            decode_expr(d, r, &global->init) != ST_OK)
            return error_wrap(d->err, "global %u", m->global_count);
        m->global_count++;
    }
    return ST_OK;
}

/* ---- exports and start (5.5.10, 5.5.11) ---- */

static enum status decode_export(struct decoder *d, struct reader *r,
                                 struct module_export *export) {
    static const enum abi_extern_kind kinds[] = {ABI_EXTERN_FUNC, ABI_EXTERN_TABLE,
                                                 ABI_EXTERN_MEMORY, ABI_EXTERN_GLOBAL,
                                                 ABI_EXTERN_TAG};
    export->offset = reader_offset(r);
    TRY(read_name(r, "export's name", &export->name, &export->name_length, d->err));
    uint64_t at = reader_offset(r);
    uint8_t kind;
    TRY(read_byte(r, "export kind", &kind, d->err));
    if (kind >= countof(kinds))
        return error_set_at(d->err, ST_MALFORMED, at, "malformed export kind 0x%02x", kind);
    export->kind = kinds[kind];
    return read_u32(r, "export's index", &export->index, d->err);
}

enum status decode_exports(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of exports", MODULE_MAX_EXPORTS, &count, d->err));
    m->exports = arena_array(&m->arena, count, sizeof *m->exports);
    if (!m->exports) return no_memory(d->err);
    for (uint32_t i = 0; i < count; i++) {
        if (decode_export(d, r, &m->exports[i]) != ST_OK)
            return error_wrap(d->err, "export %u", i);
        m->export_count++;
    }
    return ST_OK;
}

enum status decode_start(struct decoder *d, struct reader *r) {
    d->module->has_start = true;
    return read_u32(r, "start function index", &d->module->start_function, d->err);
}
