/*
 * Element and data segments, the code section and constant expressions to struct module (spec
 * core 5.5.12 to 5.5.14). Of a function's body only the local declarations are read: runs of
 * one type, kept as runs, since a run of a few bytes may stand for 50,000 locals.
 */
#include "compiler/decode.h"

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory for the decoded module");
}

enum status decode_expr(struct decoder *d, struct reader *r, struct module_expr *ret) {
    const uint8_t *start = r->at;
    struct instruction in;
    uint32_t depth = 0; /* of blocks: not constant, but well-formed; validation refuses them */
    do {
        TRY(instruction_decode(r, &in, d->err));
        if (opcode_opens(in.opcode)) depth++;
    } while (!opcode_closes(in.opcode) || depth-- > 0);
    *ret = (struct module_expr){.offset = (uint64_t)(start - r->start),
                                .size = (uint32_t)(r->at - start)};
    return ST_OK;
}

/* ---- element segments (5.5.12) ---- */

/* Bits of the segment's kind. */
enum {
    ELEM_NOT_ACTIVE = 1,
    ELEM_EXPLICIT = 2,
    ELEM_EXPRS = 4
};

static enum status decode_elem_funcs(struct decoder *d, struct reader *r,
                                     struct module_elem *elem) {
    TRY(read_count(r, "number of elements", MODULE_MAX_TABLE_SIZE, &elem->count, d->err));
    uint32_t *funcs = arena_array(&d->module->arena, elem->count, sizeof *funcs);
    if (!funcs) return no_memory(d->err);
    for (uint32_t i = 0; i < elem->count; i++)
        TRY(read_u32(r, "function index", &funcs[i], d->err));
    elem->funcs = funcs;
    return ST_OK;
}

static enum status decode_elem_exprs(struct decoder *d, struct reader *r,
                                     struct module_elem *elem) {
    TRY(read_count(r, "number of elements", MODULE_MAX_TABLE_SIZE, &elem->count, d->err));
    elem->exprs = arena_array(&d->module->arena, elem->count, sizeof *elem->exprs);
    if (!elem->exprs) return no_memory(d->err);
    for (uint32_t i = 0; i < elem->count; i++) TRY(decode_expr(d, r, &elem->exprs[i]));
    return ST_OK;
}

static enum status decode_elem(struct decoder *d, struct reader *r, struct module_elem *elem) {
    elem->at = reader_offset(r);
    uint32_t kind;
    TRY(read_u32(r, "elem segment's kind", &kind, d->err));
    if (kind > 7)
        return error_set_at(d->err, ST_MALFORMED, elem->at,
                            "malformed elements segment kind %u", kind);
    bool explicit = kind & ELEM_EXPLICIT;
    if (!(kind & ELEM_NOT_ACTIVE))
        elem->mode = ABI_SEGMENT_ACTIVE;
    else
        elem->mode = explicit ? ABI_SEGMENT_DECLARED : ABI_SEGMENT_PASSIVE;
    if (elem->mode == ABI_SEGMENT_ACTIVE) {
        if (explicit) TRY(read_u32(r, "table index", &elem->table, d->err));
        TRY(decode_expr(d, r, &elem->offset));
    }
    elem->type = (struct valtype){.code = ABI_FUNCREF};
    if (kind & (ELEM_NOT_ACTIVE | ELEM_EXPLICIT)) { /* the others say nothing: funcref */
        if (kind & ELEM_EXPRS) {
            TRY(read_reftype(r, &elem->type, d->err));
        } else {
            uint64_t at = reader_offset(r);
            uint8_t what;
            TRY(read_byte(r, "element kind", &what, d->err));
            if (what != 0)
                return error_set_at(d->err, ST_MALFORMED, at, "malformed element kind 0x%02x",
                                    what);
        }
    }
    return kind & ELEM_EXPRS ? decode_elem_exprs(d, r, elem) : decode_elem_funcs(d, r, elem);
}

enum status decode_elems(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of elem segments", MODULE_MAX_SEGMENTS, &count, d->err));
    m->elems = arena_array(&m->arena, count, sizeof *m->elems);
    if (!m->elems) return no_memory(d->err);
    for (uint32_t i = 0; i < count; i++) {
        if (decode_elem(d, r, &m->elems[i]) != ST_OK)
            return error_wrap(d->err, "elem segment %u", i);
        m->elem_count++;
    }
    return ST_OK;
}

/* ---- data segments (5.5.14, 5.5.15) ---- */

enum status decode_data_count(struct decoder *d, struct reader *r) {
    d->module->has_data_count = true;
    return read_u32(r, "data count", &d->module->data_count_declared, d->err);
}

static enum status decode_data(struct decoder *d, struct reader *r, struct module_data *data) {
    data->at = reader_offset(r);
    uint32_t kind, size;
    TRY(read_u32(r, "data segment's kind", &kind, d->err));
    if (kind > 2)
        return error_set_at(d->err, ST_MALFORMED, data->at, "malformed data segment kind %u",
                            kind);
    data->mode = kind == 1 ? ABI_SEGMENT_PASSIVE : ABI_SEGMENT_ACTIVE;
    if (kind == 2) TRY(read_u32(r, "memory index", &data->memory, d->err));
    if (kind != 1) TRY(decode_expr(d, r, &data->offset));
    TRY(read_count(r, "size of the data", UINT32_MAX, &size, d->err));
    data->size = size;
    return read_bytes(r, "data", size, &data->bytes, d->err);
}

enum status decode_datas(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint32_t count;
    TRY(read_count(r, "number of data segments", MODULE_MAX_SEGMENTS, &count, d->err));
    m->datas = arena_array(&m->arena, count, sizeof *m->datas);
    if (!m->datas) return no_memory(d->err);
    for (uint32_t i = 0; i < count; i++) {
        if (decode_data(d, r, &m->datas[i]) != ST_OK)
            return error_wrap(d->err, "data segment %u", i);
        m->data_count++;
    }
    return ST_OK;
}

/* ---- code (5.5.13) ---- */

/* The local declarations at r. Parameters are known only where the type index is good. */
static enum status decode_locals(struct decoder *d, struct reader *r,
                                 struct module_function *function) {
    struct module *m = d->module;
    uint32_t params =
        function->type < m->type_count ? m->types[function->type].func.param_count : 0;
    uint64_t total = params, start = reader_offset(r);
    uint32_t count;
    TRY(read_count(r, "number of local declarations", UINT32_MAX, &count, d->err));
    struct local_run *runs = NULL;
    if (count) {
        runs = arena_array(&m->arena, count, sizeof *runs);
        if (!runs) return no_memory(d->err);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct local_run run;
        TRY(read_u32(r, "number of locals", &run.count, d->err));
        TRY(valtype_decode(r, &run.type, d->err));
        total += run.count;
        if (total > UINT32_MAX)
            return error_set_at(d->err, ST_MALFORMED, start,
                                "too many locals: 2^32 or more in one function");
        if (run.count) runs[kept++] = run;
    }
    if (total > MODULE_MAX_LOCALS)
        return error_set_at(d->err, ST_LIMIT, start,
                            "too many locals: %llu, at most %u are supported",
                            (unsigned long long)total, MODULE_MAX_LOCALS);
    function->local_runs = runs;
    function->local_run_count = kept;
    function->local_count = (uint32_t)total;
    return ST_OK;
}

static enum status decode_body(struct decoder *d, struct reader *r,
                               struct module_function *function) {
    uint64_t at = reader_offset(r);
    uint32_t size;
    TRY(read_u32(r, "body's size", &size, d->err));
    if (size > reader_left(r))
        return error_set_at(d->err, ST_MALFORMED, at,
                            "unexpected end of section or function: the body has %u bytes, but "
                            "%zu are left",
                            size, reader_left(r));
    if (size > MODULE_MAX_BODY_BYTES)
        return error_set_at(d->err, ST_LIMIT, at,
                            "the body has %u bytes, at most %u are supported", size,
                            MODULE_MAX_BODY_BYTES);
    struct reader body = *r;
    body.end = body.at + size;
    function->body_offset = reader_offset(&body);
    function->body_size = size;
    TRY(decode_locals(d, &body, function));
    function->code_offset = reader_offset(&body);
    r->at = body.end;
    return ST_OK;
}

enum status decode_code(struct decoder *d, struct reader *r) {
    struct module *m = d->module;
    uint64_t at = reader_offset(r);
    uint32_t count, own = m->function_count - m->imported_functions;
    TRY(read_count(r, "number of bodies", UINT32_MAX, &count, d->err));
    if (count != own)
        return error_set_at(d->err, ST_MALFORMED, at,
                            "function and code section have inconsistent lengths: %u and %u",
                            own, count);
    d->code_count = count;
    d->has_code = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = m->imported_functions + i;
        if (decode_body(d, r, &m->functions[index]) != ST_OK)
            return error_wrap(d->err, "function %u", index);
    }
    return ST_OK;
}
