/*
 * Validation of a decoded module (spec core 3.4.15 and appendix A.3): all that is not code
 * here, function bodies in validate_function.c. Fills the fields of struct module that later
 * steps read: canonical types, which functions are declared as references, which tables are
 * written, grown and exported, and the programs of constant expressions.
 *
 * The order matters: exports, globals and segments declare functions, which bodies then name.
 */
#include "compiler/validate.h"

#define I32 ((struct valtype){.code = ABI_I32})

/* ---- types of entities (3.2) ---- */

static enum status check_limits(const struct abi_limits *limits, uint64_t most,
                                const char *message, uint64_t at, struct error *err) {
    if (limits->min > most || (limits->has_max && limits->max > most))
        return error_set_at(err, ST_INVALID, at, "%s: limits are %llu to %llu", message,
                            (unsigned long long)limits->min, (unsigned long long)limits->max);
    if (limits->has_max && limits->min > limits->max)
        return error_set_at(err, ST_INVALID, at,
                            "size minimum must not be greater than maximum: %llu and %llu",
                            (unsigned long long)limits->min, (unsigned long long)limits->max);
    return ST_OK;
}

static enum status check_function_types(const struct module *m, struct error *err) {
    for (uint32_t i = 0; i < m->function_count; i++)
        if (m->functions[i].type >= m->type_count)
            return error_set(err, ST_INVALID, "function %u: unknown type %u: the module has %u",
                             i, m->functions[i].type, m->type_count);
    return ST_OK;
}

static enum status check_tables(const struct module *m, struct error *err) {
    for (uint32_t i = 0; i < m->table_count; i++) {
        const struct module_table *table = &m->tables[i];
        if (check_limits(&table->type.limits, UINT32_MAX,
                         "table size must be at most 2^32-1 entries", table->offset,
                         err) != ST_OK)
            return error_wrap(err, "table %u", i);
    }
    return ST_OK;
}

static enum status check_memories(const struct module *m, struct error *err) {
    for (uint32_t i = 0; i < m->memory_count; i++) {
        const struct module_memory *memory = &m->memories[i];
        if (check_limits(&memory->limits, ABI_MEMORY32_MAX_PAGES,
                         "memory size must be at most 65536 pages (4GiB)", memory->offset,
                         err) != ST_OK)
            return error_wrap(err, "memory %u", i);
    }
    return ST_OK;
}

static enum status check_tags(struct module *m, struct error *err) {
    if (m->tag_count) m->has_exceptions = true;
    for (uint32_t i = 0; i < m->tag_count; i++) {
        const struct module_tag *tag = &m->tags[i];
        if (tag->type >= m->type_count)
            return error_set_at(err, ST_INVALID, tag->offset,
                                "tag %u: unknown type %u: the module has %u", i, tag->type,
                                m->type_count);
        if (m->types[tag->type].func.result_count)
            return error_set_at(err, ST_INVALID, tag->offset,
                                "tag %u: non-empty tag result type", i);
    }
    return ST_OK;
}

static enum status check_globals(struct module *m, struct error *err) {
    for (uint32_t i = m->imported_globals; i < m->global_count; i++) {
        struct module_global *global = &m->globals[i];
        if (validate_expr(m, &global->init, global->type.type, i, err) != ST_OK)
            return error_wrap(err, "global %u", i);
    }
    return ST_OK;
}

/* ---- exports and start ---- */

static int compare_names(const void *a_, const void *b_, void *exports_) {
    const struct module_export *exports = exports_;
    const struct module_export *a = &exports[*(const uint32_t *)a_];
    const struct module_export *b = &exports[*(const uint32_t *)b_];
    if (a->name_length != b->name_length) return a->name_length < b->name_length ? -1 : 1;
    int order = a->name_length ? memcmp(a->name, b->name, a->name_length) : 0;
    return order ? order : a->offset < b->offset ? -1 : a->offset > b->offset;
}

static enum status check_export_names(const struct module *m, struct arena *scratch,
                                      struct error *err) {
    uint32_t *order = arena_array(scratch, m->export_count, sizeof *order);
    if (!order) return error_set(err, ST_NO_MEMORY, "out of memory for validation");
    for (uint32_t i = 0; i < m->export_count; i++) order[i] = i;
    qsort_r(order, m->export_count, sizeof *order, compare_names, m->exports);
    for (uint32_t i = 1; i < m->export_count; i++) {
        const struct module_export *a = &m->exports[order[i - 1]], *b = &m->exports[order[i]];
        if (a->name_length == b->name_length &&
            (a->name_length == 0 || memcmp(a->name, b->name, a->name_length) == 0))
            return error_set_at(err, ST_INVALID, b->offset,
                                "duplicate export name: exports %u and %u are named alike",
                                order[i - 1], order[i]);
    }
    return ST_OK;
}

/* Marks what is exported. */
static enum status check_export(struct module *m, const struct module_export *export,
                                struct error *err) {
    uint32_t count = 0;
    switch (export->kind) {
    case ABI_EXTERN_FUNC: count = m->function_count; break;
    case ABI_EXTERN_TABLE: count = m->table_count; break;
    case ABI_EXTERN_MEMORY: count = m->memory_count; break;
    case ABI_EXTERN_GLOBAL: count = m->global_count; break;
    case ABI_EXTERN_TAG: count = m->tag_count; break;
    }
    if (export->index >= count)
        return error_set_at(err, ST_INVALID, export->offset, "unknown %s %u: the module has %u",
                            abi_extern_kind_name(export->kind), export->index, count);
    switch (export->kind) {
    case ABI_EXTERN_FUNC: m->functions[export->index].declared = true; break;
    case ABI_EXTERN_TABLE: m->tables[export->index].exported = true; break;
    case ABI_EXTERN_MEMORY: m->memories[export->index].exported = true; break;
    case ABI_EXTERN_GLOBAL: m->globals[export->index].exported = true; break;
    case ABI_EXTERN_TAG: break;
    }
    return ST_OK;
}

static enum status check_exports(struct module *m, struct arena *scratch, struct error *err) {
    for (uint32_t i = 0; i < m->export_count; i++)
        if (check_export(m, &m->exports[i], err) != ST_OK)
            return error_wrap(err, "export %u", i);
    return check_export_names(m, scratch, err);
}

static enum status check_start(const struct module *m, struct error *err) {
    if (!m->has_start) return ST_OK;
    if (m->start_function >= m->function_count)
        return error_set(err, ST_INVALID,
                         "start section: unknown function %u: the module has %u",
                         m->start_function, m->function_count);
    const struct functype *type = module_functype(m, m->start_function);
    if (type->param_count || type->result_count)
        return error_set(err, ST_INVALID,
                         "start function %u must have no parameters and no results",
                         m->start_function);
    return ST_OK;
}

/* ---- segments (3.4.9, 3.4.10) ---- */

static enum status check_elem_items(struct module *m, struct module_elem *elem,
                                    struct error *err) {
    for (uint32_t i = 0; i < elem->count; i++) {
        if (elem->exprs) {
            if (validate_expr(m, &elem->exprs[i], elem->type, m->global_count, err) != ST_OK)
                return error_wrap(err, "element %u", i);
            continue;
        }
        if (elem->funcs[i] >= m->function_count)
            return error_set_at(err, ST_INVALID, elem->at,
                                "element %u: unknown function %u: the module has %u", i,
                                elem->funcs[i], m->function_count);
        m->functions[elem->funcs[i]].declared = true;
    }
    return ST_OK;
}

static enum status check_elem(struct module *m, struct module_elem *elem, struct error *err) {
    if (elem->mode == ABI_SEGMENT_ACTIVE) {
        if (elem->table >= m->table_count)
            return error_set_at(err, ST_INVALID, elem->at,
                                "unknown table %u: the module has %u", elem->table,
                                m->table_count);
        struct valtype type = m->tables[elem->table].type.element;
        if (!valtype_equal(type, elem->type))
            return error_set_at(err, ST_INVALID, elem->at,
                                "type mismatch: elements of %s for table %u of %s",
                                valtype_name(elem->type), elem->table, valtype_name(type));
        TRY(validate_expr(m, &elem->offset, I32, m->global_count, err));
    }
    return check_elem_items(m, elem, err);
}

static enum status check_elems(struct module *m, struct error *err) {
    for (uint32_t i = 0; i < m->elem_count; i++)
        if (check_elem(m, &m->elems[i], err) != ST_OK)
            return error_wrap(err, "elem segment %u", i);
    return ST_OK;
}

static enum status check_data(struct module *m, struct module_data *data, struct error *err) {
    if (data->mode != ABI_SEGMENT_ACTIVE) return ST_OK;
    if (data->memory >= m->memory_count)
        return error_set_at(err, ST_INVALID, data->at, "unknown memory %u: the module has %u",
                            data->memory, m->memory_count);
    return validate_expr(m, &data->offset, I32, m->global_count, err);
}

static enum status check_datas(struct module *m, struct error *err) {
    for (uint32_t i = 0; i < m->data_count; i++)
        if (check_data(m, &m->datas[i], err) != ST_OK)
            return error_wrap(err, "data segment %u", i);
    return ST_OK;
}

/* ---- bodies ---- */

static enum status check_bodies(struct module *m, struct arena *scratch, struct error *err) {
    struct validator v = {.module = m, .err = err, .scratch = scratch};
    for (uint32_t i = m->imported_functions; i < m->function_count; i++) {
        if (validate_function(&v, i) == ST_OK) continue;
        const char *name = m->functions[i].name;
        if (!name) return error_wrap(err, "function %u", i);
        return error_wrap(err, "function %u (%.80s%s)", i, name,
                          strlen(name) > 80 ? "..." : "");
    }
    return ST_OK;
}

enum status module_validate(struct module *module, struct error *err) {
    auto_arena struct arena scratch = {0};
    TRY(canonicalise_types(module, &scratch, err));
    TRY(check_function_types(module, err));
    TRY(check_tables(module, err));
    TRY(check_memories(module, err));
    TRY(check_tags(module, err));
    TRY(check_globals(module, err));
    TRY(check_exports(module, &scratch, err));
    TRY(check_start(module, err));
    TRY(check_elems(module, err));
    TRY(check_datas(module, err));
    return check_bodies(module, &scratch, err);
}
