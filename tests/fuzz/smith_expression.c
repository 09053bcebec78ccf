/*
 * Expressions of the smith: code that leaves one value of a wanted type, made from the rows of
 * opcodes.def, so that every instruction with a fixed signature comes up. What would trap
 * nearly always (divisors, addresses, conversions) is kept tame nearly always. A float that may
 * be NaN is made zero on the spot: engines differ in NaN bits.
 */
#include "tests/fuzz/smith.h"

static const struct row {
    uint32_t code;
    enum immediate immediate;
    const char *text, *params, *results;
    uint8_t access;
} rows[] = {
#define OP(code, name, text, immediate, params, results, access)                               \
    {code, immediate, text, params, results, access},
#include "compiler/opcodes.def"
};

void smith_constant(struct smith *s, char letter) {
    static const int64_t integers[] = {0,         1,         -1,        2,        31,    32,
                                       63,        64,        255,       -128,     65535, 65536,
                                       INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX};
    static const double floats[] = {0.0,           -0.0,  1.0,          -1.5,
                                    0.5,           1e10,  -3e-40,       2147483647.0,
                                    -2147483649.0, 1e308, 4294967296.0, 0.1};
    int64_t integer = integers[smith_choose(s, countof(integers))];
    double number = floats[smith_choose(s, countof(floats))];
    if (smith_choose(s, 4) == 0) integer = (int64_t)smith_choose(s, 256) * 0x0123456789abcdLL;
    switch (letter) {
    case 'i':
        smith_opcode(s->code, OP_I32_CONST);
        smith_sleb(s->code, (int32_t)integer);
        break;
    case 'I':
        smith_opcode(s->code, OP_I64_CONST);
        smith_sleb(s->code, integer);
        break;
    case 'f': {
        float value = number > 1e38 ? 3e38f : (float)number;
        smith_opcode(s->code, OP_F32_CONST);
        buffer_put(s->code, &value, sizeof value);
        break;
    }
    case 'F':
        smith_opcode(s->code, OP_F64_CONST);
        buffer_put(s->code, &number, sizeof number);
        break;
    case 'V':
        smith_opcode(s->code, OP_V128_CONST);
        for (unsigned i = 0; i < 16; i++)
            buffer_put_u8(s->code, (uint8_t)((uint64_t)integer >> (8 * (i % 8)) ^ i));
        break;
    case 'r':
        if (smith_choose(s, 2)) {
            smith_opcode(s->code, OP_REF_FUNC);
            smith_leb(s->code, smith_choose(s, SMITH_FUNCTIONS));
            break;
        }
        smith_opcode(s->code, OP_REF_NULL);
        buffer_put_u8(s->code, ABI_FUNCREF);
        break;
    default:
        smith_opcode(s->code, OP_REF_NULL);
        buffer_put_u8(s->code, ABI_EXTERNREF);
        break;
    }
}

/* x, with NaN (in a lane) as zero. */
static void no_nan(struct smith *s, const struct row *row) {
    char letter = row->results[0];
    uint32_t local = smith_local(s, letter, 2);
    bool lanes = letter == 'V';
    if (lanes && strncmp(row->text, "f32x4", 5) != 0 && strncmp(row->text, "f64x2", 5) != 0)
        return;
    if (!lanes && letter != 'f' && letter != 'F') return;
    smith_opcode(s->code, OP_LOCAL_TEE);
    smith_leb(s->code, local);
    if (!lanes) smith_opcode(s->code, letter == 'f' ? OP_F32_CONST : OP_F64_CONST);
    if (!lanes) buffer_put_zero(s->code, letter == 'f' ? 4 : 8);
    for (unsigned i = 0; i < 2; i++) {
        smith_opcode(s->code, OP_LOCAL_GET);
        smith_leb(s->code, local);
    }
    if (!lanes) {
        smith_opcode(s->code, letter == 'f' ? OP_F32_EQ : OP_F64_EQ);
        smith_opcode(s->code, OP_SELECT);
        return;
    }
    smith_opcode(s->code, row->text[1] == '3' ? OP_F32X4_EQ : OP_F64X2_EQ);
    smith_opcode(s->code, OP_V128_AND);
}

/* An address that is in memory, but for one in 64. */
static void address(struct smith *s) {
    smith_expression(s, 'i');
    if (smith_choose(s, 64) == 63) return;
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, 0xffff);
    smith_opcode(s->code, OP_I32_AND);
}

static void immediates(struct smith *s, const struct row *row) {
    unsigned lanes = 16;
    switch ((unsigned)row->immediate) {
    case IMM_MEMARG:
    case IMM_MEMARG_LANE: {
        unsigned natural = 0;
        while (1u << natural < row->access) natural++;
        smith_leb(s->code, smith_choose(s, natural + 1));
        smith_leb(s->code, smith_choose(s, 8) ? smith_choose(s, 256) : 0xfff0);
        if (row->immediate == IMM_MEMARG_LANE)
            buffer_put_u8(s->code, (uint8_t)smith_choose(s, 16u / row->access));
        break;
    }
    case IMM_LANE: {
        const char *x = strchr(row->text, 'x');
        if (x) lanes = (unsigned)strtoul(x + 1, NULL, 10);
        buffer_put_u8(s->code, (uint8_t)smith_choose(s, lanes));
        break;
    }
    case IMM_SHUFFLE:
        for (unsigned i = 0; i < 16; i++) buffer_put_u8(s->code, (uint8_t)smith_choose(s, 32));
        break;
    default: break;
    }
}

/* clang-format off */
static bool fits(const struct row *row, char letter) {
    if (row->results[0] != letter || row->params[0] == '*' || !row->params[0]) return false;
    if (row->code == OP_MEMORY_GROW) return false; /* may fail where memory is short */
    return row->immediate == IMM_NONE || row->immediate == IMM_MEMARG ||
           row->immediate == IMM_MEMARG_LANE || row->immediate == IMM_LANE ||
           row->immediate == IMM_SHUFFLE;
}
/* clang-format on */

static bool traps_often(const struct row *row) {
    return strstr(row->text, ".trunc_f") != NULL; /* not trunc_sat: that has no trap */
}

static void operation(struct smith *s, char letter) {
    unsigned count = 0;
    for (size_t i = 0; i < countof(rows); i++) count += fits(&rows[i], letter);
    unsigned wanted = smith_choose(s, count ? count : 1);
    const struct row *row = NULL;
    for (size_t i = 0; i < countof(rows) && !row; i++)
        if (fits(&rows[i], letter) && wanted-- == 0) row = &rows[i];
    if (!row || (traps_often(row) && smith_choose(s, 16) != 15)) {
        smith_constant(s, letter);
        return;
    }
    bool memory = row->immediate == IMM_MEMARG || row->immediate == IMM_MEMARG_LANE;
    bool divides = strstr(row->text, ".div_") || strstr(row->text, ".rem_");
    for (const char *p = row->params; *p; p++) {
        if (memory && p == row->params)
            address(s);
        else
            smith_expression(s, *p);
    }
    if (divides && smith_choose(s, 32) != 31) {
        smith_opcode(s->code, letter == 'i' ? OP_I32_CONST : OP_I64_CONST);
        smith_sleb(s->code, 1);
        smith_opcode(s->code, letter == 'i' ? OP_I32_OR : OP_I64_OR);
    }
    smith_opcode(s->code, row->code);
    immediates(s, row);
    no_nan(s, row);
}

static void open_block(struct smith *s, uint32_t opcode, char letter) {
    smith_opcode(s->code, opcode);
    buffer_put_u8(s->code, smith_valtype(letter));
    s->labels[s->label_count++] = letter;
}

/* A block or an if with a value, and perhaps a branch out of it. */
static void block(struct smith *s, char letter) {
    bool is_if = smith_choose(s, 2) == 0;
    if (is_if) smith_expression(s, 'i');
    open_block(s, is_if ? OP_IF : OP_BLOCK, letter);
    smith_statements(s, smith_choose(s, 3));
    smith_expression(s, letter);
    if (smith_choose(s, 2) == 0) {
        smith_expression(s, 'i');
        smith_opcode(s->code, OP_BR_IF);
        smith_leb(s->code, 0);
    }
    if (is_if) {
        smith_opcode(s->code, OP_ELSE);
        smith_expression(s, letter);
    }
    smith_opcode(s->code, OP_END);
    s->label_count--;
}

/* A call of an earlier function, directly or through the table, for its result. */
static void call(struct smith *s, char letter) {
    for (unsigned f = 0; f < s->function && f < SMITH_FUNCTIONS; f++) {
        const struct smith_type *type = &smith_types[f];
        const char *at = strchr(type->results, letter);
        if (!at || (s->loops && f > 0) || s->calls > 2) continue;
        s->calls++;
        for (const char *p = type->params; *p; p++) smith_expression(s, *p);
        if (f == 0 && smith_choose(s, 2)) {
            smith_constant(s, 'i');
            smith_opcode(s->code, OP_I32_CONST);
            smith_sleb(s->code, 0);
            smith_opcode(s->code, OP_I32_AND); /* entry 0 is function 0 */
            smith_opcode(s->code, OP_CALL_INDIRECT);
            smith_leb(s->code, f);
            smith_leb(s->code, 0);
        } else {
            smith_opcode(s->code, OP_CALL);
            smith_leb(s->code, f);
        }
        for (const char *r = at + 1; *r; r++) smith_opcode(s->code, OP_DROP);
        for (const char *r = at; r > type->results; r--) { /* the wanted one is on top */
            smith_opcode(s->code, OP_LOCAL_SET);
            smith_leb(s->code, smith_local(s, letter, 2));
            smith_opcode(s->code, OP_DROP);
            smith_opcode(s->code, OP_LOCAL_GET);
            smith_leb(s->code, smith_local(s, letter, 2));
        }
        return;
    }
    smith_constant(s, letter);
}

static void selection(struct smith *s, char letter) {
    bool typed = letter == 'r' || letter == 'x' || smith_choose(s, 2);
    smith_expression(s, letter);
    smith_expression(s, letter);
    smith_expression(s, 'i');
    smith_opcode(s->code, typed ? OP_SELECT_T : OP_SELECT);
    if (typed) smith_leb(s->code, 1);
    if (typed) buffer_put_u8(s->code, smith_valtype(letter));
}

/* Expressions of i32 and references that the table of opcodes does not make. */
static void special(struct smith *s, char letter) {
    if (letter == 'i' && smith_choose(s, 2)) {
        smith_expression(s, smith_choose(s, 2) ? 'r' : 'x');
        smith_opcode(s->code, OP_REF_IS_NULL);
    } else if (letter == 'i') {
        smith_opcode(s->code, smith_choose(s, 2) ? OP_MEMORY_SIZE : OP_TABLE_SIZE);
        smith_leb(s->code, 0);
    } else if (letter == 'r' || letter == 'x') {
        smith_expression(s, 'i');
        smith_opcode(s->code, OP_I32_CONST);
        smith_sleb(s->code, SMITH_TABLE_SIZE - 1);
        smith_opcode(s->code, OP_I32_AND);
        smith_opcode(s->code, OP_TABLE_GET);
        smith_leb(s->code, letter == 'r' ? 0 : 1);
    } else {
        smith_expression(s, letter);
        smith_opcode(s->code, OP_LOCAL_TEE);
        smith_leb(s->code, smith_local(s, letter, smith_choose(s, 2)));
    }
}

void smith_expression(struct smith *s, char letter) {
    s->budget--;
    if (s->budget < 0 || s->depth > 8) {
        smith_constant(s, letter);
        return;
    }
    s->depth++;
    switch (smith_choose(s, 16)) {
    case 0: smith_constant(s, letter); break;
    case 1:
    case 2:
        smith_opcode(s->code, OP_LOCAL_GET);
        smith_leb(s->code, smith_local(s, letter, smith_choose(s, 2)));
        break;
    case 3:
        smith_opcode(s->code, OP_GLOBAL_GET);
        smith_leb(s->code, (uint64_t)(strchr(SMITH_LETTERS, letter) - SMITH_LETTERS));
        break;
    case 4: block(s, letter); break;
    case 5: call(s, letter); break;
    case 6: selection(s, letter); break;
    case 7: special(s, letter); break;
    default: operation(s, letter); break;
    }
    s->depth--;
}
