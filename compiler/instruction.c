/*
 * Bytes of code to one struct instruction (spec core 5.4), with its immediates checked for
 * their form only: indices, alignments and lanes are for validation to judge. Used by the
 * decoder to find the end of constant expressions, by the validator and, again, by the
 * lowering.
 */
#include "compiler/decode.h"

static enum status unsupported(uint64_t at, const char *feature, const char *what,
                               unsigned code, struct error *err) {
    return error_set_at(err, ST_UNSUPPORTED, at, "%s 0x%02x needs %s", what, code, feature);
}

static bool is_reference(uint8_t code) {
    return code == ABI_FUNCREF || code == ABI_EXTERNREF || code == ABI_EXNREF;
}

enum status valtype_decode(struct reader *r, struct valtype *ret, struct error *err) {
    uint64_t at = reader_offset(r);
    uint8_t code;
    TRY(read_byte(r, "value type", &code, err));
    if ((code >= ABI_V128 && code <= ABI_I32) || is_reference(code)) {
        *ret = (struct valtype){.code = code};
        return ST_OK;
    }
    const char *feature = type_feature(code);
    if (feature) return unsupported(at, feature, "type", code, err);
    return error_set_at(err, ST_MALFORMED, at, "malformed value type 0x%02x", code);
}

enum status read_reftype(struct reader *r, struct valtype *ret, struct error *err) {
    uint64_t at = reader_offset(r);
    uint8_t code;
    TRY(read_byte(r, "reference type", &code, err));
    const char *feature = type_feature(code);
    if (feature) return unsupported(at, feature, "type", code, err);
    if (!is_reference(code))
        return error_set_at(err, ST_MALFORMED, at, "malformed reference type 0x%02x", code);
    *ret = (struct valtype){.code = code};
    return ST_OK;
}

/* A heap type is an s33: a type index, or the code of an abstract one (spec core 3.0 5.3.3). */
static enum status read_heap_type(struct reader *r, struct valtype *ret, struct error *err) {
    uint64_t at = reader_offset(r);
    int64_t heap;
    TRY(read_s33(r, "heap type", &heap, err));
    uint8_t code = (uint8_t)(heap & 0x7f);
    if (heap >= 0)
        return error_set_at(err, ST_UNSUPPORTED, at,
                            "null of type %lld needs Wasm 3.0 typed function references",
                            (long long)heap);
    if (heap >= -64 && is_reference(code)) {
        *ret = (struct valtype){.code = code};
        return ST_OK;
    }
    const char *feature =
        heap >= -64 && code != 0x63 && code != 0x64 ? type_feature(code) : NULL;
    if (feature) return unsupported(at, feature, "heap type", code, err);
    return error_set_at(err, ST_MALFORMED, at, "malformed heap type");
}

static enum status read_block_type(struct reader *r, struct instruction *in,
                                   struct error *err) {
    if (r->at < r->end && *r->at == 0x40) {
        r->at++;
        in->block_kind = BLOCK_EMPTY;
        return ST_OK;
    }
    if (r->at < r->end && (*r->at & 0xc0) == 0x40) { /* a negative number of one byte */
        in->block_kind = BLOCK_VALUE;
        return valtype_decode(r, &in->block_value, err);
    }
    uint64_t at = reader_offset(r);
    int64_t index;
    TRY(read_s33(r, "block type", &index, err));
    if (index < 0) return error_set_at(err, ST_MALFORMED, at, "malformed block type");
    in->block_kind = BLOCK_TYPE;
    in->index = (uint32_t)index; /* 33 bits and not negative: at most 2^32-1 */
    return ST_OK;
}

/* Alignment and offset; bit 6 of the alignment says that a memory index follows (3.0). */
static enum status read_memarg(struct reader *r, struct instruction *in, struct error *err) {
    uint64_t at = reader_offset(r);
    uint32_t flags;
    TRY(read_u32(r, "alignment", &flags, err));
    if (flags >= 0x80)
        return error_set_at(err, ST_MALFORMED, at, "malformed memop flags 0x%x", flags);
    in->align_log2 = flags & 0x3f;
    if (flags & 0x40) TRY(read_u32(r, "memory index", &in->index, err));
    return read_u64(r, "memory offset", &in->memory_offset, err);
}

static enum status read_labels(struct reader *r, struct instruction *in, struct error *err) {
    TRY(read_count(r, "number of labels", UINT32_MAX - 1, &in->count, err));
    in->labels = *r;
    for (uint32_t i = 0; i <= in->count; i++) {
        uint32_t label;
        TRY(read_u32(r, "label", &label, err));
    }
    in->labels.end = r->at;
    return ST_OK;
}

enum status catch_decode(struct reader *r, struct catch_clause *ret, struct error *err) {
    uint64_t at = reader_offset(r);
    uint8_t kind;
    TRY(read_byte(r, "kind of catch", &kind, err));
    if (kind > CATCH_ALL_REF)
        return error_set_at(err, ST_MALFORMED, at, "malformed catch clause 0x%02x", kind);
    *ret = (struct catch_clause){.kind = (enum catch_kind)kind};
    if (catch_has_tag(ret)) TRY(read_u32(r, "tag index", &ret->tag, err));
    return read_u32(r, "label", &ret->label, err);
}

static enum status read_catches(struct reader *r, struct instruction *in, struct error *err) {
    TRY(read_block_type(r, in, err));
    TRY(read_count(r, "number of catch clauses", UINT32_MAX, &in->count, err));
    in->labels = *r;
    for (uint32_t i = 0; i < in->count; i++) {
        struct catch_clause clause;
        TRY(catch_decode(r, &clause, err));
    }
    in->labels.end = r->at;
    return ST_OK;
}

static enum status read_select_types(struct reader *r, struct instruction *in,
                                     struct error *err) {
    TRY(read_count(r, "number of types", UINT32_MAX, &in->count, err));
    for (uint32_t i = 0; i < in->count; i++) TRY(valtype_decode(r, &in->block_value, err));
    return ST_OK;
}

static enum status read_fixed(struct reader *r, const char *what, unsigned size, uint64_t *ret,
                              struct error *err) {
    const uint8_t *p;
    TRY(read_bytes(r, what, size, &p, err));
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++) v |= (uint64_t)p[i] << (8 * i);
    *ret = v;
    return ST_OK;
}

static enum status read_sixteen(struct reader *r, struct instruction *in, struct error *err) {
    const uint8_t *p;
    TRY(read_bytes(r, "16 byte immediate", 16, &p, err));
    memcpy(in->bytes, p, 16);
    return ST_OK;
}

static enum status read_immediate(struct reader *r, struct instruction *in, struct error *err) {
    switch (in->info->immediate) {
    case IMM_NONE: return ST_OK;
    case IMM_BLOCK: return read_block_type(r, in, err);
    case IMM_CATCHES: return read_catches(r, in, err);
    case IMM_TAG: return read_u32(r, "tag index", &in->index, err);
    case IMM_LABEL: return read_u32(r, "label", &in->index, err);
    case IMM_LABELS: return read_labels(r, in, err);
    case IMM_FUNC: return read_u32(r, "function index", &in->index, err);
    case IMM_INDIRECT:
        TRY(read_u32(r, "type index", &in->index, err));
        return read_u32(r, "table index", &in->index2, err);
    case IMM_LOCAL: return read_u32(r, "local index", &in->index, err);
    case IMM_GLOBAL: return read_u32(r, "global index", &in->index, err);
    case IMM_TABLE: return read_u32(r, "table index", &in->index, err);
    case IMM_TYPES: return read_select_types(r, in, err);
    case IMM_MEMARG: return read_memarg(r, in, err);
    case IMM_MEMORY: return read_u32(r, "memory index", &in->index, err);
    case IMM_I32: {
        int32_t v;
        TRY(read_s32(r, "i32 constant", &v, err));
        in->bits = (uint64_t)(int64_t)v;
        return ST_OK;
    }
    case IMM_I64: {
        int64_t v;
        TRY(read_s64(r, "i64 constant", &v, err));
        in->bits = (uint64_t)v;
        return ST_OK;
    }
    case IMM_F32: return read_fixed(r, "f32 constant", 4, &in->bits, err);
    case IMM_F64: return read_fixed(r, "f64 constant", 8, &in->bits, err);
    case IMM_V128:
    case IMM_SHUFFLE: return read_sixteen(r, in, err);
    case IMM_HEAP_TYPE: return read_heap_type(r, &in->block_value, err);
    case IMM_DATA_MEMORY:
        TRY(read_u32(r, "data segment index", &in->index, err));
        return read_u32(r, "memory index", &in->index2, err);
    case IMM_DATA: return read_u32(r, "data segment index", &in->index, err);
    case IMM_MEMORY_MEMORY:
        TRY(read_u32(r, "memory index", &in->index, err));
        return read_u32(r, "memory index", &in->index2, err);
    case IMM_ELEM_TABLE:
        TRY(read_u32(r, "elem segment index", &in->index, err));
        return read_u32(r, "table index", &in->index2, err);
    case IMM_ELEM: return read_u32(r, "elem segment index", &in->index, err);
    case IMM_TABLE_TABLE:
        TRY(read_u32(r, "table index", &in->index, err));
        return read_u32(r, "table index", &in->index2, err);
    case IMM_LANE: return read_byte(r, "lane index", &in->lane, err);
    case IMM_MEMARG_LANE:
        TRY(read_memarg(r, in, err));
        return read_byte(r, "lane index", &in->lane, err);
    }
    return error_set(err, ST_INTERNAL, "immediate of %s", in->info->text);
}

enum status instruction_decode(struct reader *r, struct instruction *ret, struct error *err) {
    *ret = (struct instruction){.offset = reader_offset(r)};
    uint8_t byte;
    TRY(read_byte(r, "code", &byte, err));
    ret->opcode = byte;
    if (byte >= 0xfb && byte <= 0xfe) {
        uint32_t number;
        TRY(read_u32(r, "opcode", &number, err));
        if (number > 0xffff)
            return error_set_at(err, ST_MALFORMED, ret->offset, "illegal opcode %02x %u", byte,
                                number);
        ret->opcode = (uint32_t)byte << 16 | number;
    }
    ret->info = opcode_info(ret->opcode);
    if (!ret->info) {
        const char *feature = opcode_feature(ret->opcode);
        if (feature) return unsupported(ret->offset, feature, "opcode", ret->opcode, err);
        return error_set_at(err, ST_MALFORMED, ret->offset, "illegal opcode %02x", ret->opcode);
    }
    return read_immediate(r, ret, err);
}

/* ---- a whole body ------------------------------------------------------------------------ */

struct code_walk code_walk_begin(const struct module *m, const struct module_function *f) {
    struct code_walk w = {.r = reader_over(m->bytes, f->body_offset + (uint64_t)f->body_size),
                          .depth = 1,
                          .number = UINT32_MAX};
    w.r.at = m->bytes + f->code_offset;
    return w;
}

bool code_walk_next(struct code_walk *w) {
    struct error ignored = {0};
    if (w->depth == 0) return false;
    CHECK(instruction_decode(&w->r, &w->in, &ignored) == ST_OK); /* validated before */
    w->number++;
    if (opcode_opens(w->in.opcode)) w->depth++;
    if (opcode_closes(w->in.opcode)) w->depth--;
    return true;
}
