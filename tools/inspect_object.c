/*
 * A decoded code object to a JSON value: what docs/object-format.md has in bytes, in words.
 * Names are UTF-8 (object_read checked) and may hold anything else.
 */
#include "tools/inspect.h"

static json_t *hex(const struct digest *digest) {
    char text[DIGEST_HEX_SIZE];
    digest_hex(digest, text);
    return json_string(text);
}

static json_t *hex64(uint64_t value) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    return json_string(text);
}

static json_t *integer(uint64_t value) {
    return json_integer((json_int_t)value); /* all of them are far below 2^63 */
}

static json_t *name_of(const char *bytes, uint32_t length) {
    return length ? json_stringn(bytes, length) : json_string("");
}

/* jansson's setters take NULL for a value that could not be made, and fail. */
static void set(json_t *object, const char *key, json_t *value, bool *failed) {
    if (json_object_set_new(object, key, value) != 0) *failed = true;
}

static void append(json_t *array, json_t *value, bool *failed) {
    if (json_array_append_new(array, value) != 0) *failed = true;
}

static json_t *type_text(const struct functype *type) {
    char text[512];
    functype_print(type, text, sizeof text);
    return json_string(text);
}

static json_t *limits_value(const struct abi_limits *limits, bool *failed) {
    json_t *v = json_object();
    set(v, "min", integer(limits->min), failed);
    if (limits->has_max) set(v, "max", integer(limits->max), failed);
    if (limits->is_64) set(v, "is_64", json_true(), failed);
    if (limits->shared) set(v, "shared", json_true(), failed);
    return v;
}

static json_t *table_value(const struct abi_table_type *type, bool *failed) {
    json_t *v = limits_value(&type->limits, failed);
    set(v, "element", json_string(valtype_name(type->element)), failed);
    return v;
}

static json_t *global_value(const struct abi_global_type *type, bool *failed) {
    json_t *v = json_object();
    set(v, "type", json_string(valtype_name(type->type)), failed);
    set(v, "mutable", json_boolean(type->mutable), failed);
    return v;
}

/* The type of an import or export, by kind. */
static void set_extern(json_t *v, const struct abi_object *o, enum abi_extern_kind kind,
                       uint32_t index, bool *failed) {
    set(v, "kind", json_string(abi_extern_kind_name(kind)), failed);
    set(v, "index", integer(index), failed);
    switch (kind) {
    case ABI_EXTERN_FUNC:
        set(v, "type", type_text(&o->types[o->functions[index].type].func), failed);
        break;
    case ABI_EXTERN_TABLE:
        set(v, "table", table_value(&o->tables[index], failed), failed);
        break;
    case ABI_EXTERN_MEMORY:
        set(v, "memory", limits_value(&o->memories[index], failed), failed);
        break;
    case ABI_EXTERN_GLOBAL:
        set(v, "global", global_value(&o->globals[index].type, failed), failed);
        break;
    case ABI_EXTERN_TAG:
        set(v, "type", type_text(&o->types[o->tags[index]].func), failed);
        break;
    }
}

static json_t *imports(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    uint32_t next[ABI_EXTERN_TAG + 1] = {0}; /* in each index space, imported ones come first */
    for (uint32_t i = 0; i < o->import_count; i++) {
        const struct abi_import *import = &o->imports[i];
        json_t *v = json_object();
        set(v, "module", name_of(import->module, import->module_length), failed);
        set(v, "name", name_of(import->name, import->name_length), failed);
        set_extern(v, o, import->kind, next[import->kind]++, failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *exports(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->export_count; i++) {
        json_t *v = json_object();
        set(v, "name", name_of(o->exports[i].name, o->exports[i].name_length), failed);
        set_extern(v, o, o->exports[i].kind, o->exports[i].index, failed);
        append(all, v, failed);
    }
    return all;
}

/* A constant expression, as the text format would have it. */
static json_t *expr_text(const struct abi_const_expr *expr, struct valtype type) {
    static const char *const operations[] = {
        [ABI_CONST_I32_ADD] = "i32.add", [ABI_CONST_I32_SUB] = "i32.sub",
        [ABI_CONST_I32_MUL] = "i32.mul", [ABI_CONST_I64_ADD] = "i64.add",
        [ABI_CONST_I64_SUB] = "i64.sub", [ABI_CONST_I64_MUL] = "i64.mul",
    };
    auto_buffer struct buffer b = {0};
    for (uint32_t i = 0; i < expr->count && i < 16; i++) {
        const struct abi_const_step *step = &expr->steps[i];
        if (i) buffer_put_u8(&b, ' ');
        if (step->op == ABI_CONST_GLOBAL_GET)
            buffer_printf(&b, "global.get %u", step->index);
        else if (step->op == ABI_CONST_REF_FUNC)
            buffer_printf(&b, "ref.func %u", step->index);
        else if (step->op != ABI_CONST_VALUE)
            buffer_printf(&b, "%s", operations[step->op]);
        else if (valtype_is_ref(type))
            buffer_printf(&b, "ref.null");
        else if (type.code == ABI_I32)
            buffer_printf(&b, "i32.const %d", (int)step->value.i32);
        else if (type.code == ABI_I64)
            buffer_printf(&b, "i64.const %lld", (long long)step->value.i64);
        else if (type.code == ABI_F32)
            buffer_printf(&b, "f32.const %a", (double)step->value.f32);
        else if (type.code == ABI_F64)
            buffer_printf(&b, "f64.const %a", step->value.f64);
        else
            buffer_printf(&b, "%s.const", valtype_name(type));
    }
    return b.failed ? NULL : json_stringn((const char *)b.bytes, b.size);
}

static json_t *globals(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->global_count; i++) {
        json_t *v = global_value(&o->globals[i].type, failed);
        if (i >= o->imported_globals)
            set(v, "init", expr_text(&o->globals[i].init, o->globals[i].type.type), failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *tables(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->table_count; i++) {
        json_t *v = table_value(&o->tables[i], failed);
        set(v, "fixed", json_boolean(o->table_fixed[i]), failed);
        set(v, "capacity", integer(o->table_capacities[i]), failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *memories(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->memory_count; i++)
        append(all, limits_value(&o->memories[i], failed), failed);
    return all;
}

static const char *mode_name(enum abi_segment_mode mode) {
    switch (mode) {
    case ABI_SEGMENT_ACTIVE: return "active";
    case ABI_SEGMENT_PASSIVE: return "passive";
    case ABI_SEGMENT_DECLARED: return "declared";
    default: return "?";
    }
}

static json_t *elems(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->elem_count; i++) {
        const struct abi_elem *elem = &o->elems[i];
        json_t *v = json_object();
        set(v, "mode", json_string(mode_name(elem->mode)), failed);
        set(v, "type", json_string(valtype_name(elem->type)), failed);
        set(v, "count", integer(elem->count), failed);
        if (elem->mode == ABI_SEGMENT_ACTIVE) {
            bool is_64 = o->tables[elem->table].limits.is_64;
            struct valtype type = {.code = is_64 ? ABI_I64 : ABI_I32};
            set(v, "table", integer(elem->table), failed);
            set(v, "offset", expr_text(&elem->offset, type), failed);
        }
        append(all, v, failed);
    }
    return all;
}

static json_t *datas(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->data_count; i++) {
        const struct abi_data *data = &o->datas[i];
        json_t *v = json_object();
        set(v, "mode", json_string(mode_name(data->mode)), failed);
        set(v, "in_image", json_boolean(data->in_image), failed);
        if (!data->in_image) set(v, "size_bytes", integer(data->size), failed);
        if (data->mode == ABI_SEGMENT_ACTIVE) {
            bool is_64 = o->memories[data->memory].is_64;
            struct valtype type = {.code = is_64 ? ABI_I64 : ABI_I32};
            set(v, "memory", integer(data->memory), failed);
            set(v, "offset", expr_text(&data->offset, type), failed);
        }
        append(all, v, failed);
    }
    return all;
}

static json_t *types(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->type_count; i++)
        append(all, type_text(&o->types[i].func), failed);
    return all;
}

/* The name of a function: .hutch.names, whose offsets object_read has checked. */
static json_t *function_name(const struct inspect_file *file, const struct abi_object *o,
                             uint32_t index) {
    struct reader r = reader_over(file->bytes + o->names_offset, o->names_size);
    uint32_t count = reader_u32(&r);
    if (index >= count) return json_null();
    reader_bytes(&r, (size_t)index * 4);
    uint32_t start = reader_u32(&r), end = reader_u32(&r);
    if (r.failed || start >= end) return json_null();
    const uint8_t *strings = file->bytes + o->names_offset + 4 + 4 * ((size_t)count + 1);
    json_t *name = json_stringn((const char *)strings + start, end - start);
    return name ? name : json_string("(not UTF-8)");
}

static json_t *functions(const struct inspect_file *file, const struct abi_object *o,
                         bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->function_count; i++) {
        const struct abi_function *f = &o->functions[i];
        json_t *v = json_object();
        set(v, "name", function_name(file, o, i), failed);
        set(v, "type", integer(f->type), failed);
        set(v, "imported", json_boolean(i < o->imported_functions), failed);
        set(v, "address", integer(o->text_address + f->code_offset), failed);
        set(v, "code_bytes", integer(f->code_size), failed);
        if (i >= o->imported_functions) set(v, "wasm_offset", integer(f->wasm_offset), failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *traps(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->trap_stub_count; i++) {
        json_t *v = json_object();
        set(v, "address", integer(o->text_address + o->trap_stubs[i].code_offset), failed);
        set(v, "message", json_string(abi_trap_message(o->trap_stubs[i].trap)), failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *runs(const struct abi_object *o, bool *failed) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        json_t *v = json_object();
        set(v, "guest_page", integer(o->page_runs[i].guest_page), failed);
        set(v, "image_page", integer(o->page_runs[i].image_page), failed);
        set(v, "count", integer(o->page_runs[i].count), failed);
        append(all, v, failed);
    }
    return all;
}

static json_t *features(uint64_t bits, bool *failed) {
    json_t *all = json_array();
    for (unsigned i = 0; i < 64; i++)
        if (bits >> i & 1) append(all, json_string(abi_cpu_feature_name(i)), failed);
    return all;
}

struct section_list {
    json_t *all;
    bool failed;
};

static void add_section(void *context, const char *name, uint64_t offset, uint64_t size_bytes,
                        bool loaded) {
    struct section_list *list = context;
    json_t *v = json_object();
    json_t *text = json_string(name); /* NULL where it is not UTF-8 */
    set(v, "name", text ? text : json_string("?"), &list->failed);
    set(v, "offset", integer(offset), &list->failed);
    set(v, "size_bytes", integer(size_bytes), &list->failed);
    set(v, "loaded", json_boolean(loaded), &list->failed);
    append(list->all, v, &list->failed);
}

static json_t *compat(const struct abi_compat *c, bool *failed) {
    json_t *v = json_object();
    set(v, "format_version", integer(c->format_version), failed);
    set(v, "architecture", json_string(abi_arch_name(c->arch)), failed);
    set(v, "placement", json_string(abi_placement_name(c->placement)), failed);
    set(v, "target", json_string(c->target), failed);
    set(v, "cpu_features", features(c->cpu_features, failed), failed);
    char level[16] = "fast";
    if (c->opt_level != UINT32_MAX) snprintf(level, sizeof level, "%u", c->opt_level);
    set(v, "level", json_string(level), failed);
    set(v, "abi_fingerprint", hex64(c->abi_fingerprint), failed);
    set(v, "module_sha256", hex(&c->module), failed);
    set(v, "compiler_sha256", hex(&c->compiler), failed);
    return v;
}

json_t *inspect_object(const struct inspect_file *file, const struct abi_object *object,
                       const char *verify, const char *host) {
    bool failed = false;
    const struct abi_object *o = object;
    json_t *v = json_object();
    struct digest whole = digest_of(file->bytes, file->size);
    set(v, "kind", json_string("code object"), &failed);
    set(v, "size_bytes", integer(file->size), &failed);
    set(v, "sha256", hex(&whole), &failed);
    set(v, "digest_matches", json_boolean(!verify), &failed);
    set(v, "runs_here", json_boolean(!host), &failed);
    if (host) set(v, "why_not", json_string(host), &failed);
    set(v, "compatibility", compat(&o->compat, &failed), &failed);
    struct section_list list = {.all = json_array()};
    if (object_sections(file->bytes, file->size, add_section, &list, NULL) != ST_OK)
        failed = true; /* object_read has read them before */
    set(v, "sections", list.all, &failed);
    set(v, "types", types(o, &failed), &failed);
    set(v, "imports", imports(o, &failed), &failed);
    set(v, "exports", exports(o, &failed), &failed);
    set(v, "memories", memories(o, &failed), &failed);
    set(v, "tables", tables(o, &failed), &failed);
    set(v, "globals", globals(o, &failed), &failed);
    set(v, "element_segments", elems(o, &failed), &failed);
    set(v, "data_segments", datas(o, &failed), &failed);
    set(v, "image_runs", runs(o, &failed), &failed);
    set(v, "trap_stubs", traps(o, &failed), &failed);
    set(v, "function_count", integer(o->function_count), &failed);
    set(v, "imported_function_count", integer(o->imported_functions), &failed);
    if (o->has_start) set(v, "start", integer(o->start_function), &failed);
    if (file->functions) set(v, "functions", functions(file, o, &failed), &failed);
    if (failed || list.failed) {
        json_decref(v);
        return NULL;
    }
    return v;
}
