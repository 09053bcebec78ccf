/*
 * Validation: what it refuses, with the words of the official scripts and the offset; what it
 * accepts in unreachable code; and the fields it fills for the compiler.
 */
#include "compiler/module.h"
#include "compiler/opcodes.h"
#include "tests/unit/module_builder.h"
#include "tests/unit/test.h"

/* What the bodies below may use: types 0: [] -> [], 1: [i32] -> [i32], 2: [i32 i64] -> [f32
 * f64]; function 0 of type 0; a table of funcref, one of externref, a memory, a mutable i32
 * global and an immutable i64 one, a passive data and elem segment. */
#define TYPES "03 60 00 00 60 01 7f 01 7f 60 02 7f 7e 02 7d 7c"

static void build_context(struct buffer *before) {
    build_section_hex(before, 4, "02 70 00 01 6f 00 01");
    build_section_hex(before, 5, "01 00 01");
    build_section_hex(before, 6, "02 7f 01 41 00 0b 7e 00 42 00 0b");
    build_section_hex(before, 9, "02 01 00 00 05 6f 00");
    build_section_hex(before, 12, "01");
}

static enum status check_body(const char *hex, bool with_context, struct error *err) {
    auto_buffer struct buffer before = {0}, body = {0}, m = {0};
    if (with_context) build_context(&before);
    build_hex(&body, hex);
    build_function_module(&m, TYPES, &before, &body);
    if (with_context) build_section_hex(&m, 11, "01 01 00");
    return compile_check(m.bytes, m.size, err);
}

/* Bodies: local declarations and code without the final end. text NULL: valid. */
/* clang-format off */
static const struct {
    const char *what, *hex, *text;
} bodies[] = {
    {"nop", "00 01", NULL},
    {"value left", "00 41 00", "type mismatch"},
    {"drop nothing", "00 1a", "type mismatch: drop needs an operand"},
    {"i32.add of i64", "00 41 00 42 00 6a 1a", "type mismatch: i32.add needs i32, found i64"},
    {"i32.add of one", "00 41 00 6a 1a", "type mismatch: i32.add needs i32, but the block's stack is empty"},
    {"below the block", "00 41 00 02 40 1a 0b", "type mismatch"},
    {"block without its result", "00 02 7f 0b 1a", "type mismatch"},
    {"block with more", "00 02 40 41 00 0b 1a", "type mismatch: 1 more values"},
    {"block of a type", "00 41 00 02 01 0b 1a", NULL},
    {"block of unknown type", "00 02 03 0b", "unknown type 3"},
    {"if without else, result", "00 41 00 04 7f 41 00 0b 1a", "type mismatch: the if"},
    {"if without else, same", "00 41 00 41 01 04 01 0b 1a", NULL},
    {"if else", "00 41 00 04 7f 41 00 05 41 01 0b 1a", NULL},
    {"else of another type", "00 41 00 04 7f 41 00 05 42 01 0b 1a", "type mismatch"},
    {"else twice", "00 41 00 04 40 05 05 0b", "END opcode expected"},
    {"else in a block", "00 02 40 05 0b", "END opcode expected"},
    {"code behind the end", "00 0b 01", "section size mismatch"},
    {"no end", "00 02 40", "END opcode expected"},
    {"br to the body", "00 0c 00", NULL},
    {"br beyond", "00 0c 01", "unknown label 1"},
    {"br to a loop takes its parameters", "00 41 00 03 01 0c 00 0b 1a", NULL},
    {"br_if keeps", "00 02 7f 41 00 41 00 0d 00 0b 1a", NULL},
    {"br_table of two arities", "00 02 7f 02 40 41 00 41 00 0e 01 00 01 0b 41 00 0b 1a", "type mismatch: br_table's label"},
    {"br_table beyond", "00 41 00 0e 00 05", "unknown label 5"},
    {"br_table in dead code", "00 02 7f 02 7f 00 0e 01 00 01 0b 0b 1a", NULL},
    {"dead code", "00 00 6a 1a 1b 1a", NULL},
    {"dead code has types", "00 00 42 00 6a 1a", "type mismatch: i32.add needs i32, found i64"},
    {"dead select", "00 00 42 00 41 00 1b 50 1a", NULL},
    {"dead select of two types", "00 00 42 00 43 00 00 00 00 41 00 1b 1a", "type mismatch: select"},
    {"dead code ends with its block", "00 02 40 00 0b 1a", "type mismatch"},
    {"end needs dead results", "00 02 7f 00 0b 1a", NULL},
    {"select of references", "00 d0 70 d0 70 41 00 1b 1a", "type mismatch: select"},
    {"select, typed", "00 d0 70 d0 70 41 00 1c 01 70 1a", NULL},
    {"select of no type", "00 1c 00", "invalid result arity"},
    {"select of two", "00 1c 02 7f 7f", "invalid result arity"},
    {"local", "01 02 7e 20 01 1a", NULL},
    {"unknown local", "01 02 7e 20 02 1a", "unknown local 2"},
    {"unknown local, none", "00 20 00 1a", "unknown local 0"},
    {"runs of locals", "03 02 7e 00 7f 01 7d 20 01 21 00 43 00 00 00 00 22 02 21 02", NULL},
    {"runs of locals, wrong", "03 02 7e 00 7f 01 7d 20 02 21 01", "type mismatch: local.set needs i64, found f32"},
    {"immutable global", "00 42 00 24 01", "immutable global 1"},
    {"unknown global", "00 23 02 1a", "unknown global 2"},
    {"call", "00 10 00", NULL},
    {"unknown function", "00 10 01", "unknown function 1"},
    {"call_indirect", "00 41 00 42 00 41 00 11 02 00 1a 1a", NULL},
    {"call_indirect, externref", "00 41 00 11 00 01", "type mismatch: call_indirect"},
    {"call_indirect, unknown type", "00 41 00 11 03 00", "unknown type 3"},
    {"call_indirect, unknown table", "00 41 00 11 00 02", "unknown table 2"},
    {"ref.func undeclared", "00 d2 00 1a", "undeclared function reference"},
    {"ref.is_null of a number", "00 41 00 d1 1a", "type mismatch: ref.is_null"},
    {"table.get", "00 41 00 25 01 d1 1a", NULL},
    {"table.set of another type", "00 41 00 d0 70 26 01", "type mismatch: table.set needs externref, found funcref"},
    {"table.grow", "00 d0 6f 41 00 fc 0f 01 1a", NULL},
    {"table.fill", "00 41 00 d0 70 41 00 fc 11 00", NULL},
    {"table.size", "00 fc 10 01 1a", NULL},
    {"table.copy of two types", "00 41 00 41 00 41 00 fc 0e 00 01", "type mismatch: table.copy"},
    {"table.init of two types", "00 41 00 41 00 41 00 fc 0c 00 01", "type mismatch: table.init"},
    {"table.init", "00 41 00 41 00 41 00 fc 0c 01 01", NULL},
    {"elem.drop unknown", "00 fc 0d 02", "unknown elem segment 2"},
    {"data.drop unknown", "00 fc 09 01", "unknown data segment 1"},
    {"memory.init", "00 41 00 41 00 41 00 fc 08 00 00", NULL},
    {"memory.copy, unknown", "00 41 00 41 00 41 00 fc 0a 00 01", "unknown memory 1"},
    {"alignment", "00 41 00 28 03 00 1a", "alignment must not be larger than natural"},
    {"alignment 2^32", "00 41 00 28 20 00 1a", "alignment must not be larger than natural"},
    {"memory index of an access", "00 41 00 28 42 00 00 1a", NULL},
    {"unknown memory of an access", "00 41 00 28 42 01 00 1a", "unknown memory 1"},
    {"offset 2^32-1", "00 41 00 28 02 ff ff ff ff 0f 1a", NULL},
    {"offset 2^32", "00 41 00 28 02 80 80 80 80 10 1a", "offset out of range"},
    {"lane 15", "00 41 00 fd 0f fd 15 0f 1a", NULL},
    {"lane 16", "00 41 00 fd 0f fd 15 10 1a", "invalid lane index 16"},
    {"lane 2 of f64x2", "00 44 00 00 00 00 00 00 00 00 fd 14 fd 21 02 1a", "invalid lane index 2"},
    {"lane of load64_lane", "00 41 00 41 00 fd 0f fd 57 03 00 02 1a", "invalid lane index 2"},
    {"shuffle", "00 41 00 fd 0f 41 00 fd 0f fd 0d 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 1f 1a", NULL},
    {"shuffle 32", "00 41 00 fd 0f 41 00 fd 0f fd 0d 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 20 1a", "invalid lane index 32"},
};
/* clang-format on */

static void test_bodies(void) {
    for (size_t i = 0; i < countof(bodies); i++) {
        struct error err = {0};
        enum status status = check_body(bodies[i].hex, true, &err);
        bool good = bodies[i].text ? status != ST_OK && strstr(err.message, bodies[i].text) &&
                                         strstr(err.message, "function 0") && err.has_offset
                                   : status == ST_OK;
        if (!good) printf("%s: %s: %s\n", bodies[i].what, status_text(status), err.message);
        EXPECT(good);
    }
    struct error err = {0};
    EXPECT(check_body("00 fc 09 00", false, &err) == ST_MALFORMED);
    EXPECT(strstr(err.message, "data count section required") != NULL);
    EXPECT(check_body("00 41 00 28 02 00 1a", false, &err) == ST_INVALID);
    EXPECT(strstr(err.message, "unknown memory 0") != NULL);
    /* the offset is the instruction's: header 8, types 18, function 4, code 3 + 2 + ... */
    EXPECT(check_body("00 01 01 6a 1a", false, &err) == ST_INVALID);
    EXPECT(err.wasm_offset == 8 + 18 + 4 + 4 + 3);
}

/* Every instruction with a fixed signature: its parameters on the stack make it valid, one
 * value of another type does not. */
static void test_fixed_signatures(void) {
    static const struct {
        uint32_t code;
        enum immediate immediate;
        const char *text, *params, *results;
    } rows[] = {
#define OP(code, name, text, immediate, params, results, access)                               \
    {code, immediate, text, params, results},
#include "compiler/opcodes.def"
    };
    unsigned tried = 0;
    for (size_t i = 0; i < countof(rows); i++) {
        enum immediate immediate = rows[i].immediate;
        bool memory = immediate == IMM_MEMARG || immediate == IMM_MEMARG_LANE;
        bool lane = immediate == IMM_LANE, shuffle = immediate == IMM_SHUFFLE;
        if (rows[i].params[0] == '*' || !rows[i].params[0]) continue;
        if (immediate != IMM_NONE && !memory && !lane && !shuffle) continue;
        tried++;
        for (int wrong = 0; wrong < 2; wrong++) {
            auto_buffer struct buffer before = {0}, body = {0}, m = {0};
            build_context(&before);
            buffer_put_u8(&body, 0);
            for (const char *p = rows[i].params; *p; p++) {
                char c = *p;
                if (wrong && !p[1]) c = c == 'i' ? 'I' : 'i';
                build_hex(&body, c == 'i'   ? "41 00"
                                 : c == 'I' ? "42 00"
                                 : c == 'f' ? "43 00 00 00 00"
                                 : c == 'F' ? "44 00 00 00 00 00 00 00 00"
                                            : "41 00 fd 0f");
            }
            if (rows[i].code > 0xff) {
                buffer_put_u8(&body, (uint8_t)(rows[i].code >> 16));
                build_leb(&body, rows[i].code & 0xffff);
            } else {
                buffer_put_u8(&body, (uint8_t)rows[i].code);
            }
            if (memory) build_hex(&body, "00 00");
            if (lane || immediate == IMM_MEMARG_LANE) buffer_put_u8(&body, 0);
            if (shuffle) buffer_put_zero(&body, 16);
            for (const char *p = rows[i].results; *p; p++) buffer_put_u8(&body, 0x1a);
            build_function_module(&m, TYPES, &before, &body);
            build_section_hex(&m, 11, "01 01 00");
            struct error err = {0};
            enum status status = compile_check(m.bytes, m.size, &err);
            bool good = status == (wrong ? ST_INVALID : ST_OK);
            if (!good) printf("%s: %s\n", rows[i].text, err.message);
            EXPECT(good);
        }
    }
    EXPECT(tried > 380);
}

/* ---- modules ---- */

/* clang-format off */
static const struct {
    const char *what, *hex, *text;
} modules[] = {
    {"unknown type of a function", "02 05 01 00 00 00 03", "unknown type 3"},
    {"memory of 65537 pages", "05 05 01 00 81 80 04", "memory size must be at most 65536 pages (4GiB)"},
    {"memory of 65536 pages", "05 05 01 00 80 80 04", NULL},
    {"memory minimum", "05 04 01 01 02 01", "size minimum must not be greater than maximum"},
    {"table of 2^32", "04 08 01 70 00 80 80 80 80 10", "table size"},
    {"table of 2^32-1", "04 08 01 70 00 ff ff ff ff 0f", NULL},
    {"global of another type", "06 06 01 7f 00 42 00 0b", "type mismatch: constant expression must be i32, is i64"},
    {"global of two values", "06 08 01 7f 00 41 00 41 00 0b", "type mismatch: constant expression leaves 2 values"},
    {"global of none", "06 04 01 7f 00 0b", "type mismatch: constant expression leaves 0 values"},
    {"global with a call", "06 06 01 7f 00 10 00 0b", "constant expression required"},
    {"global with a block", "06 08 01 7f 00 02 7f 00 0b 0b", "constant expression required"},
    {"global of a later one", "06 0b 02 7f 00 23 01 0b 7f 00 41 00 0b", "unknown global 1"},
    {"global of an earlier one", "06 0b 02 7f 00 41 00 0b 7f 00 23 00 0b", NULL},
    {"global of a mutable one", "06 0b 02 7f 01 41 00 0b 7f 00 23 00 0b", "constant expression required"},
    {"extended constant", "06 09 01 7f 00 41 01 41 02 6a 0b", NULL},
    {"extended constant of one", "06 07 01 7f 00 41 01 6a 0b", "type mismatch: i32.add needs two operands"},
    {"extended constant of i64", "06 09 01 7f 00 41 01 42 02 6a 0b", "type mismatch: i32.add needs i32, found i64"},
    {"unknown function in a global", "06 06 01 70 00 d2 00 0b", "unknown function 0"},
    {"duplicate export", "06 06 01 7f 00 41 00 0b 07 09 02 01 61 03 00 01 61 03 00", "duplicate export name"},
    {"two exports", "06 06 01 7f 00 41 00 0b 07 09 02 01 61 03 00 01 62 03 00", NULL},
    {"duplicate empty export", "06 06 01 7f 00 41 00 0b 07 07 02 00 03 00 00 03 00", "duplicate export name"},
    {"export of an unknown memory", "07 05 01 01 61 02 00", "unknown memory 0"},
    {"export of an unknown table", "07 05 01 01 61 01 00", "unknown table 0"},
    {"start unknown", "08 01 00", "unknown function 0"},
    {"start with parameters", "02 05 01 00 00 00 01 08 01 00", "start function"},
    {"start", "02 05 01 00 00 00 00 08 01 00", NULL},
    {"elem, unknown table", "09 06 01 00 41 00 0b 00", "unknown table 0"},
    {"elem, unknown function", "04 04 01 70 00 00 09 07 01 00 41 00 0b 01 00", "unknown function 0"},
    {"elem, i64 offset", "04 04 01 70 00 00 09 06 01 00 42 00 0b 00", "type mismatch"},
    {"elem of externref for funcref", "04 04 01 70 00 00 09 08 01 06 00 41 00 0b 6f 00", "type mismatch: elements of externref"},
    {"elem expression of another type", "09 07 01 05 70 01 d0 6f 0b", "type mismatch"},
    {"data, unknown memory", "0b 06 01 00 41 00 0b 00", "unknown memory 0"},
};
/* clang-format on */

static void test_modules(void) {
    for (size_t i = 0; i < countof(modules); i++) {
        auto_buffer struct buffer m = {0};
        build_header(&m);
        build_section_hex(&m, 1, TYPES);
        build_hex(&m, modules[i].hex);
        struct error err = {0};
        enum status status = compile_check(m.bytes, m.size, &err);
        bool good = modules[i].text
                        ? status == ST_INVALID && strstr(err.message, modules[i].text)
                        : status == ST_OK;
        if (!good) printf("%s: %s: %s\n", modules[i].what, status_text(status), err.message);
        EXPECT(good);
    }
}

/* ---- what validation finds out ---- */

static void test_types(void) {
    auto_buffer struct buffer m = {0};
    build_header(&m);
    build_section_hex(&m, 1,
                      "06 60 00 00 60 01 7f 00 60 00 00 60 00 01 7f 60 01 7f 00 60 00 00");
    struct error err = {0};
    struct module module;
    EXPECT(module_decode(m.bytes, m.size, &module, &err) == ST_OK);
    EXPECT(module_validate(&module, &err) == ST_OK);
    static const uint32_t expected[] = {0, 1, 0, 3, 1, 0};
    for (uint32_t i = 0; i < 6 && module.type_count == 6; i++)
        EXPECT(module.types[i].canonical == expected[i]);
    module_finish(&module);
}

static void test_found(void) {
    auto_buffer struct buffer before = {0}, body = {0}, m = {0};
    /* tables: 0 written, 1 grown, 2 only read, 3 exported; 4, 5: copied to, from */
    build_section_hex(&before, 4, "06 70 00 01 70 00 01 70 00 01 70 00 01 70 00 01 70 00 01");
    build_section_hex(&before, 6, "03 7f 00 41 07 0b 70 00 d2 00 0b 7f 00 23 00 41 7f 6c 0b");
    build_section_hex(&before, 7, "02 01 74 01 03 01 67 03 02");
    build_hex(&body, "00"
                     "41 00 d0 70 26 00"
                     "d0 70 41 00 fc 0f 01 1a"
                     "41 00 25 02 1a"
                     "41 00 41 00 41 00 fc 0e 04 05");
    build_function_module(&m, TYPES, &before, &body);
    struct error err = {0};
    struct module module;
    EXPECT(module_decode(m.bytes, m.size, &module, &err) == ST_OK);
    EXPECT(module_validate(&module, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    if (module.table_count == 6 && err.status == ST_OK) {
        const struct module_table *t = module.tables;
        EXPECT(t[0].written && !t[0].grown && !t[0].exported);
        EXPECT(t[1].written && t[1].grown);
        EXPECT(!t[2].written && !t[2].grown && !t[2].exported);
        EXPECT(!t[3].written && t[3].exported);
        EXPECT(t[4].written && !t[5].written);
        EXPECT(module.functions[0].declared);
        EXPECT(module.globals[2].exported && !module.globals[0].exported);
        const struct abi_const_expr *a = &module.globals[1].init.program;
        EXPECT(a->count == 1 && a->steps[0].op == ABI_CONST_REF_FUNC && a->steps[0].index == 0);
        const struct abi_const_expr *b = &module.globals[2].init.program;
        EXPECT(b->count == 3 && b->steps[0].op == ABI_CONST_GLOBAL_GET);
        EXPECT(b->steps[1].op == ABI_CONST_VALUE && b->steps[1].value.i32 == -1);
        EXPECT(b->steps[2].op == ABI_CONST_I32_MUL);
    }
    module_finish(&module);
}

int main(void) {
    test_bodies();
    test_fixed_signatures();
    test_modules();
    test_types();
    test_found();
    return test_end();
}
