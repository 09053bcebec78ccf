/*
 * The smith: bytes of chance to a valid module. This file makes everything around the code, and
 * "run", whose result is a digest of all that the other functions did.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/smith.h"

const struct smith_type smith_types[SMITH_TYPE_COUNT] = {
#define X(params, results) {params, results},
    SMITH_TYPES(X)
#undef X
};

const char *const smith_tags[SMITH_TAG_COUNT] = {
#define X(params) params,
    SMITH_TAGS(X)
#undef X
};

unsigned smith_choose(struct smith *s, unsigned n) {
    if (s->at == s->end || n < 2) return 0;
    unsigned value = *s->at++;
    if (n > 256 && s->at < s->end) value = value << 8 | *s->at++;
    return value % n;
}

void smith_leb(struct buffer *b, uint64_t value) {
    do {
        uint8_t byte = value & 0x7f;
        value >>= 7;
        buffer_put_u8(b, byte | (value ? 0x80 : 0));
    } while (value);
}

void smith_sleb(struct buffer *b, int64_t value) {
    for (;;) {
        uint8_t byte = (uint8_t)(value & 0x7f);
        value >>= 7; /* arithmetic on every compiler we use */
        bool last = (value == 0 && !(byte & 0x40)) || (value == -1 && (byte & 0x40));
        buffer_put_u8(b, byte | (last ? 0 : 0x80));
        if (last) return;
    }
}

void smith_opcode(struct buffer *code, uint32_t opcode) {
    if (opcode <= 0xff) {
        buffer_put_u8(code, (uint8_t)opcode);
        return;
    }
    buffer_put_u8(code, (uint8_t)(opcode >> 16));
    smith_leb(code, opcode & 0xffff);
}

uint8_t smith_valtype(char letter) {
    static const uint8_t codes[] = {ABI_I32,  ABI_I64,     ABI_F32,      ABI_F64,
                                    ABI_V128, ABI_FUNCREF, ABI_EXTERNREF};
    return codes[strchr(SMITH_LETTERS, letter) - SMITH_LETTERS];
}

static uint32_t param_count(const struct smith *s) {
    return (uint32_t)strlen(smith_types[s->function].params);
}

/* Two of each letter, then one more of each, then the counters. */
uint32_t smith_local(const struct smith *s, char letter, unsigned nth) {
    uint32_t place = (uint32_t)(strchr(SMITH_LETTERS, letter) - SMITH_LETTERS);
    uint32_t letters = sizeof SMITH_LETTERS - 1;
    return param_count(s) + (nth < 2 ? 2 * place + nth : 2 * letters + place);
}

uint32_t smith_counter(const struct smith *s) {
    return param_count(s) + 3 * (uint32_t)(sizeof SMITH_LETTERS - 1) + s->loops;
}

uint32_t smith_exnref(const struct smith *s) {
    return param_count(s) + 3 * (uint32_t)(sizeof SMITH_LETTERS - 1) + SMITH_LOOPS;
}

void smith_declare_locals(const struct smith *s) {
    struct buffer *code = s->code;
    uint32_t letters = sizeof SMITH_LETTERS - 1;
    smith_leb(code, 2 * letters + 1 + s->throwing);
    for (unsigned copies = 2; copies > 0; copies--)
        for (const char *p = SMITH_LETTERS; *p; p++) {
            smith_leb(code, copies);
            buffer_put_u8(code, smith_valtype(*p));
        }
    smith_leb(code, SMITH_LOOPS);
    buffer_put_u8(code, ABI_I32);
    if (s->throwing) {
        smith_leb(code, 1);
        buffer_put_u8(code, ABI_EXNREF);
    }
}

static void put_section(struct buffer *b, uint8_t id, struct buffer *content) {
    buffer_put_u8(b, id);
    smith_leb(b, content->size);
    buffer_put(b, content->bytes, content->size);
    buffer_finish(content);
}

static void put_letters(struct buffer *b, const char *letters) {
    smith_leb(b, strlen(letters));
    for (; *letters; letters++) buffer_put_u8(b, smith_valtype(*letters));
}

/* digest = rotl(digest, 7) ^ the i64 on the stack; the digest is the second i64 local. */
static void mix(struct smith *s) {
    uint32_t digest = smith_local(s, 'I', 1);
    smith_opcode(s->code, OP_LOCAL_GET);
    smith_leb(s->code, digest);
    smith_opcode(s->code, OP_I64_CONST);
    smith_sleb(s->code, 7);
    smith_opcode(s->code, OP_I64_ROTL);
    smith_opcode(s->code, OP_I64_XOR);
    smith_opcode(s->code, OP_LOCAL_SET);
    smith_leb(s->code, digest);
}

/* Mixes the value of this letter on the stack into the digest. */
static void mix_value(struct smith *s, char letter) {
    switch (letter) {
    case 'f': smith_opcode(s->code, OP_I32_REINTERPRET_F32); break;
    case 'F': smith_opcode(s->code, OP_I64_REINTERPRET_F64); break;
    case 'r':
    case 'x': smith_opcode(s->code, OP_REF_IS_NULL); break;
    default: break;
    }
    if (letter == 'V') {
        uint32_t local = smith_local(s, 'V', 2);
        smith_opcode(s->code, OP_LOCAL_SET);
        smith_leb(s->code, local);
        for (uint8_t lane = 0; lane < 2; lane++) {
            smith_opcode(s->code, OP_LOCAL_GET);
            smith_leb(s->code, local);
            smith_opcode(s->code, OP_I64X2_EXTRACT_LANE);
            buffer_put_u8(s->code, lane);
            mix(s);
        }
        return;
    }
    if (letter != 'I' && letter != 'F') smith_opcode(s->code, OP_I64_EXTEND_I32_U);
    mix(s);
}

/* for (counter = 0; counter != memory; counter += 8) mix(memory[counter]) */
static void mix_memory(struct smith *s) {
    uint32_t counter = smith_counter(s);
    smith_opcode(s->code, OP_LOOP);
    buffer_put_u8(s->code, 0x40);
    smith_opcode(s->code, OP_LOCAL_GET);
    smith_leb(s->code, counter);
    smith_opcode(s->code, OP_I64_LOAD);
    smith_leb(s->code, 3);
    smith_leb(s->code, 0);
    mix(s);
    smith_opcode(s->code, OP_LOCAL_GET);
    smith_leb(s->code, counter);
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, 8);
    smith_opcode(s->code, OP_I32_ADD);
    smith_opcode(s->code, OP_LOCAL_TEE);
    smith_leb(s->code, counter);
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, SMITH_MEMORY_BYTES);
    smith_opcode(s->code, OP_I32_NE);
    smith_opcode(s->code, OP_BR_IF);
    smith_leb(s->code, 0);
    smith_opcode(s->code, OP_END);
}

static void make_run(struct smith *s) {
    for (unsigned f = 0; f < SMITH_FUNCTIONS; f++) {
        const struct smith_type *type = &smith_types[f];
        if (s->throwing) { /* what leaves the function ends here, and its results are not had */
            smith_opcode(s->code, OP_BLOCK);
            buffer_put_u8(s->code, 0x40);
            smith_opcode(s->code, OP_TRY_TABLE);
            buffer_put(s->code, "\x40\1\2\0", 4);
        }
        for (const char *p = type->params; *p; p++) smith_constant(s, *p);
        smith_opcode(s->code, OP_CALL);
        smith_leb(s->code, f);
        for (size_t i = strlen(type->results); i-- > 0;) mix_value(s, type->results[i]);
        if (s->throwing) {
            smith_opcode(s->code, OP_END);
            smith_opcode(s->code, OP_END);
        }
    }
    for (const char *p = SMITH_LETTERS; *p; p++) {
        smith_opcode(s->code, OP_GLOBAL_GET);
        smith_leb(s->code, (uint64_t)(p - SMITH_LETTERS));
        mix_value(s, *p);
    }
    mix_memory(s);
    smith_opcode(s->code, OP_LOCAL_GET);
    smith_leb(s->code, smith_local(s, 'I', 1));
}

static void make_function(struct smith *s, struct buffer *section, unsigned index,
                          const uint8_t *bytes, size_t size) {
    struct buffer code = {0};
    s->code = &code;
    s->function = index;
    s->at = bytes;
    s->end = bytes + size;
    s->budget = 200;
    s->depth = s->loops = s->calls = s->label_count = 0;
    smith_declare_locals(s);
    if (index == SMITH_FUNCTIONS) {
        make_run(s);
    } else {
        smith_statements(s, 1 + smith_choose(s, 8));
        for (const char *p = smith_types[index].results; *p; p++) smith_expression(s, *p);
    }
    smith_opcode(&code, OP_END);
    smith_leb(section, code.size);
    buffer_put(section, code.bytes, code.size);
    buffer_finish(&code);
}

/* () -> the values of a tag, and an exnref. */
static void put_handler_type(struct buffer *b, const char *values, bool ref) {
    buffer_put_u8(b, 0x60);
    smith_leb(b, 0);
    smith_leb(b, strlen(values) + ref);
    for (; *values; values++) buffer_put_u8(b, smith_valtype(*values));
    if (ref) buffer_put_u8(b, ABI_EXNREF);
}

static void put_types(const struct smith *s, struct buffer *module) {
    struct buffer b = {0};
    smith_leb(&b, SMITH_TYPE_COUNT + (s->throwing ? 3 * SMITH_TAG_COUNT : 0));
    for (unsigned i = 0; i < SMITH_TYPE_COUNT; i++) {
        buffer_put_u8(&b, 0x60);
        put_letters(&b, smith_types[i].params);
        put_letters(&b, smith_types[i].results);
    }
    for (unsigned i = 0; s->throwing && i < SMITH_TAG_COUNT; i++) {
        buffer_put_u8(&b, 0x60);
        put_letters(&b, smith_tags[i]);
        smith_leb(&b, 0);
    }
    for (unsigned i = 0; s->throwing && i < 2 * SMITH_TAG_COUNT; i++)
        put_handler_type(&b, smith_tags[i / 2], i % 2);
    put_section(module, 1, &b);
    smith_leb(&b, SMITH_FUNCTIONS + 1);
    for (unsigned i = 0; i <= SMITH_FUNCTIONS; i++)
        smith_leb(&b, i < SMITH_FUNCTIONS ? i : SMITH_RUN_TYPE);
    put_section(module, 3, &b);
}

/* Tables of funcref and externref, a memory, a global of each letter, "run", two segments each.
 */
static void put_state(struct smith *s, struct buffer *module) {
    struct buffer b = {0};
    const uint8_t tables[] = {2,
                              ABI_FUNCREF,
                              0,
                              SMITH_TABLE_SIZE,
                              ABI_EXTERNREF,
                              1,
                              SMITH_TABLE_SIZE,
                              2 * SMITH_TABLE_SIZE};
    buffer_put(&b, tables, sizeof tables);
    put_section(module, 4, &b);
    const uint8_t memory[] = {1, 1, SMITH_MEMORY_BYTES >> 16, 4};
    buffer_put(&b, memory, sizeof memory);
    put_section(module, 5, &b);
    if (s->throwing) {
        smith_leb(&b, SMITH_TAG_COUNT);
        for (unsigned i = 0; i < SMITH_TAG_COUNT; i++) {
            buffer_put_u8(&b, 0);
            smith_leb(&b, SMITH_TAG_TYPE(i));
        }
        put_section(module, 13, &b);
    }
    s->code = &b;
    smith_leb(&b, sizeof SMITH_LETTERS - 1);
    for (const char *p = SMITH_LETTERS; *p; p++) {
        buffer_put_u8(&b, smith_valtype(*p));
        buffer_put_u8(&b, 1);
        smith_constant(s, *p);
        smith_opcode(&b, OP_END);
    }
    put_section(module, 6, &b);
    smith_leb(&b, 1);
    buffer_put(&b, "\3run\0", 5);
    smith_leb(&b, SMITH_FUNCTIONS);
    put_section(module, 7, &b);
    /* active at 0 and passive, each of all functions: entry 0 is function 0 */
    smith_leb(&b, 2);
    for (unsigned segment = 0; segment < 2; segment++) {
        if (segment == 0) buffer_put(&b, "\0\x41\0\x0b", 4);
        if (segment == 1) buffer_put(&b, "\1\0", 2);
        smith_leb(&b, SMITH_FUNCTIONS);
        for (unsigned i = 0; i < SMITH_FUNCTIONS; i++) smith_leb(&b, i);
    }
    put_section(module, 9, &b);
    smith_leb(&b, 2);
    put_section(module, 12, &b);
}

static void put_datas(struct buffer *module, const uint8_t *bytes, size_t size) {
    struct buffer b = {0};
    if (size > 64) size = 64;
    smith_leb(&b, 2);
    buffer_put(&b, "\0\x41\x10\x0b", 4);
    smith_leb(&b, size);
    buffer_put(&b, bytes, size);
    buffer_put(&b, "\1\x10sixteen letters.", 18);
    put_section(module, 11, &b);
}

static void make_module(const uint8_t *bytes, size_t size, bool throwing,
                        struct buffer *ret_module) {
    struct smith s = {.at = bytes, .end = bytes + size, .throwing = throwing};
    struct buffer code = {0};
    buffer_put(ret_module, "\0asm\1\0\0\0", 8);
    put_types(&s, ret_module);
    put_state(&s, ret_module);
    smith_leb(&code, SMITH_FUNCTIONS + 1);
    size_t share = size / SMITH_FUNCTIONS; /* of the chance, for each function */
    for (unsigned i = 0; i <= SMITH_FUNCTIONS; i++) {
        size_t start = i < SMITH_FUNCTIONS ? i * share : 0;
        make_function(&s, &code, i, bytes + start, share);
    }
    put_section(ret_module, 10, &code);
    put_datas(ret_module, bytes, size);
}

void smith_module(const uint8_t *bytes, size_t size, struct buffer *ret_module) {
    make_module(bytes, size, false, ret_module);
}

void smith_throwing_module(const uint8_t *bytes, size_t size, struct buffer *ret_module) {
    make_module(bytes, size, true, ret_module);
}
