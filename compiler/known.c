/* A function's body to the library routine that it is (known.h). Needs no LLVM. */
#include "compiler/known.h"
#include "compiler/opcodes.h"

#define CALLS_DEEP 3u  /* strstr calls strchr, that strchrnul, that strlen */
#define BODY_MAX 4096u /* bytes; the longest known one has half of that */

static const struct {
    const char *name;
    uint32_t params;
} routines[] = {
#define ROUTINE(name, params) {#name, params},
#define KNOWN(name, digest, source)
#include "compiler/known.def"
};

static const struct {
    enum known_routine routine;
    const char *digest;
} bodies[] = {
#define ROUTINE(name, params)
#define KNOWN(name, digest, source) {KNOWN_##name, digest},
#include "compiler/known.def"
    {KNOWN_COUNT, ""},
};

const char *known_name(enum known_routine routine) { return routines[routine].name; }
uint32_t known_param_count(enum known_routine routine) { return routines[routine].params; }

/* One to three parameters and one result, all i32. */
static bool has_their_type(const struct functype *type) {
    if (type->param_count < 1 || type->param_count > 3 || type->result_count != 1) return false;
    for (uint32_t i = 0; i < type->param_count; i++)
        if (type->params[i].code != ABI_I32) return false;
    return type->results[0].code == ABI_I32;
}

static bool digest_at(const struct module *m, uint32_t function, unsigned may_call,
                      uint8_t ret_digest[KNOWN_DIGEST_SIZE]);

static bool put_callee(struct buffer *b, const struct module *m, uint32_t function,
                       unsigned may_call) {
    uint8_t callee[KNOWN_DIGEST_SIZE];
    if (!digest_at(m, function, may_call, callee)) return false;
    buffer_put(b, callee, sizeof callee);
    return true;
}

static bool put_instruction(struct buffer *b, const struct module *m,
                            const struct instruction *in, unsigned may_call) {
    enum immediate kind = in->info->immediate;
    buffer_put_u32(b, in->opcode);
    if (kind == IMM_NONE) return true;
    if (kind == IMM_BLOCK) {
        buffer_put_u8(b, (uint8_t)in->block_kind);
        buffer_put_u8(b, in->block_kind == BLOCK_VALUE ? in->block_value.code : 0);
        return in->block_kind != BLOCK_TYPE;
    }
    if (kind == IMM_LABEL || kind == IMM_LOCAL || kind == IMM_GLOBAL) {
        buffer_put_u32(b, in->index);
        return true;
    }
    if (kind == IMM_LABELS) {
        struct reader labels = in->labels;
        buffer_put_u32(b, in->count);
        for (uint32_t i = 0; i <= in->count; i++) {
            uint32_t label = 0;
            CHECK(reader_leb_u32(&labels, &label) == LEB_OK); /* validated before */
            buffer_put_u32(b, label);
        }
        return true;
    }
    if (kind == IMM_I32 || kind == IMM_I64) {
        buffer_put_u64(b, in->bits);
        return true;
    }
    if (kind == IMM_MEMARG) {
        buffer_put_u32(b, in->align_log2);
        buffer_put_u64(b, in->memory_offset);
        return in->index == 0;
    }
    return in->opcode == OP_CALL && may_call > 0 && put_callee(b, m, in->index, may_call - 1);
}

static bool digest_at(const struct module *m, uint32_t function, unsigned may_call,
                      uint8_t ret_digest[KNOWN_DIGEST_SIZE]) {
    if (function < m->imported_functions) return false;
    const struct module_function *f = &m->functions[function];
    const struct functype *type = module_functype(m, function);
    if (f->body_size > BODY_MAX || !has_their_type(type)) return false;
    auto_buffer struct buffer text = {0};
    buffer_put_u32(&text, type->param_count);
    for (uint32_t i = 0; i < f->local_run_count; i++) {
        buffer_put_u32(&text, f->local_runs[i].count);
        buffer_put_u8(&text, f->local_runs[i].type.code);
    }
    struct reader r = reader_over(m->bytes, f->body_offset + (uint64_t)f->body_size);
    r.at = m->bytes + f->code_offset;
    for (uint32_t depth = 1; depth > 0;) {
        struct instruction in;
        struct error ignored = {0};
        CHECK(instruction_decode(&r, &in, &ignored) == ST_OK); /* validated before */
        if (opcode_opens(in.opcode)) depth++;
        if (opcode_closes(in.opcode)) depth--;
        if (!put_instruction(&text, m, &in, may_call)) return false;
    }
    if (text.failed) return false;
    struct digest digest = digest_of(text.bytes, text.size);
    memcpy(ret_digest, digest.bytes, KNOWN_DIGEST_SIZE);
    return true;
}

bool known_digest(const struct module *m, uint32_t function,
                  uint8_t ret_digest[KNOWN_DIGEST_SIZE]) {
    return digest_at(m, function, CALLS_DEEP, ret_digest);
}

enum known_routine known_find(const struct module *m, uint32_t function) {
    uint8_t digest[KNOWN_DIGEST_SIZE];
    if (m->memory_count == 0 || !known_digest(m, function, digest)) return KNOWN_COUNT;
    char hex[2 * KNOWN_DIGEST_SIZE + 1];
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    for (size_t i = 0; i + 1 < countof(bodies); i++)
        if (strcmp(bodies[i].digest, hex) == 0 &&
            routines[bodies[i].routine].params == module_functype(m, function)->param_count)
            return bodies[i].routine;
    return KNOWN_COUNT;
}
