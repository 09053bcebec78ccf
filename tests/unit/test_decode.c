/*
 * Decoding: what a module's bytes become, and for broken bytes the status, the words and the
 * offset of the error. Cases are whole modules in hexadecimal behind the 8 bytes of the header.
 */
#include "compiler/module.h"
#include "compiler/opcodes.h"
#include "tests/unit/module_builder.h"
#include "tests/unit/test.h"

#define NO_OFFSET UINT64_MAX

struct decode_case {
    const char *what, *hex;
    enum status status;
    const char *text; /* in the message */
    uint64_t offset;  /* NO_OFFSET: any */
};

/* clang-format off */
static const struct decode_case cases[] = {
    {"empty", "", ST_OK, "", 0},
    {"unknown section", "0e 00", ST_MALFORMED, "malformed section id 14", 8},
    {"section beyond the end", "01 05 00", ST_MALFORMED, "length out of bounds", 8},
    {"section size cut", "01 80", ST_MALFORMED, "unexpected end", 10},
    {"section twice", "01 01 00 01 01 00", ST_MALFORMED, "unexpected content after last section: the type section is there twice", 11},
    {"sections out of order", "02 01 00 01 01 00", ST_MALFORMED, "out of order", 11},
    {"data count before code", "0c 01 00 0a 01 00 0b 01 00", ST_OK, "", 0},
    {"data count after code", "0a 01 00 0c 01 00", ST_MALFORMED, "unexpected content after last section", 11},
    {"content longer than items", "01 02 00 00", ST_MALFORMED, "section size mismatch", 11},
    {"items longer than content", "01 03 01 60 00", ST_MALFORMED, "unexpected end", 13},
    {"count beyond the bytes", "01 05 ff ff ff ff 0f", ST_MALFORMED, "number of types is 4294967295", 10},
    {"LEB too long", "01 06 80 80 80 80 80 00", ST_MALFORMED, "integer representation too long", 10},
    {"LEB too large", "01 05 80 80 80 80 70", ST_MALFORMED, "integer too large", 10},
    {"custom, no name", "00 00", ST_MALFORMED, "unexpected end", 10},
    {"custom, name beyond it", "00 02 05 61", ST_MALFORMED, "length out of bounds", 10},
    {"custom, bad UTF-8", "00 02 01 ff", ST_MALFORMED, "malformed UTF-8 encoding", 10},
    {"customs anywhere", "00 02 01 61 01 01 00 00 01 00", ST_OK, "", 0},
    {"type form", "01 02 01 61", ST_MALFORMED, "type 0", 11},
    {"value type", "01 04 01 60 01 40", ST_MALFORMED, "malformed value type 0x40", NO_OFFSET},
    {"import kind", "02 04 01 00 00 05", ST_MALFORMED, "malformed import kind 0x05", 13},
    {"table of i32", "04 04 01 7f 00 00", ST_MALFORMED, "malformed reference type 0x7f", 11},
    {"limits flags", "05 03 01 08 00", ST_MALFORMED, "malformed limits flags", 11},
    {"mutability", "06 06 01 7f 02 41 00 0b", ST_MALFORMED, "malformed mutability 0x02", 12},
    {"global without end", "06 05 01 7f 00 41 00", ST_MALFORMED, "unexpected end", 15},
    {"global, illegal opcode", "06 05 01 7f 00 ff 0b", ST_MALFORMED, "illegal opcode ff", 13},
    {"tag's attribute", "0d 03 01 01 00", ST_MALFORMED, "malformed tag attribute 0x01", 11},
    {"tag import's attribute", "02 06 01 00 00 04 01 00", ST_MALFORMED, "malformed tag attribute 0x01", 14},
    {"tags without types", "0d 03 02 00 00", ST_MALFORMED, "unexpected end", NO_OFFSET},
    {"export kind", "07 04 01 00 05 00", ST_MALFORMED, "malformed export kind", 12},
    {"elem kind", "09 02 01 08", ST_MALFORMED, "malformed elements segment kind 8", 11},
    {"element kind", "09 04 01 01 01 00", ST_MALFORMED, "malformed element kind", 12},
    {"data kind", "0b 02 01 03", ST_MALFORMED, "malformed data segment kind 3", 11},
    {"data beyond section", "0b 03 01 01 05", ST_MALFORMED, "unexpected end", 12},
    {"function without code", "01 04 01 60 00 00 03 02 01 00", ST_MALFORMED, "function and code section have inconsistent lengths: 1 and 0", 18},
    {"code without function", "0a 04 01 02 00 0b", ST_MALFORMED, "function and code section have inconsistent lengths: 0 and 1", NO_OFFSET},
    {"data count, no data", "0c 01 01", ST_MALFORMED, "data count and data section have inconsistent lengths: 1 and 0", 11},
    {"body beyond section", "01 04 01 60 00 00 03 02 01 00 0a 04 01 08 00 0b", ST_MALFORMED, "function 0", 21},
    {"2^32 locals", "01 04 01 60 00 00 03 02 01 00 0a 0d 01 0b 02 ff ff ff ff 0f 7f 01 7e 0b 00", ST_MALFORMED, "too many locals", NO_OFFSET},
    {"a billion locals", "01 04 01 60 00 00 03 02 01 00 0a 0a 01 08 01 80 94 eb dc 03 7f 0b", ST_LIMIT, "too many locals: 1000000000", NO_OFFSET},
    /* what other versions have, by name */
    {"rec group", "01 02 01 4e", ST_UNSUPPORTED, "Wasm 3.0 garbage collection", 11},
    {"typed reference", "01 05 01 60 01 63 70", ST_UNSUPPORTED, "Wasm 3.0 typed function references", 13},
    {"anyref", "01 04 01 60 01 6e", ST_UNSUPPORTED, "Wasm 3.0 garbage collection", 13},
    {"noexn", "01 04 01 60 01 74", ST_UNSUPPORTED, "Wasm 3.0 garbage collection", 13},
    {"two memories", "05 05 02 00 00 00 00", ST_UNSUPPORTED, "Wasm 3.0 multi-memory", 13},
    {"64-bit memory", "05 03 01 04 00", ST_UNSUPPORTED, "Wasm 3.0 memory64", 11},
    {"64-bit table", "04 04 01 70 04 00", ST_UNSUPPORTED, "Wasm 3.0 memory64", 12},
    {"shared memory", "05 04 01 03 00 01", ST_UNSUPPORTED, "threads", 11},
    {"table initialiser", "04 09 01 40 00 70 00 01 d0 70 0b", ST_UNSUPPORTED, "Wasm 3.0", 11},
    {"struct.new", "06 08 01 7f 00 fb 00 00 0b 00", ST_UNSUPPORTED, "Wasm 3.0 garbage collection", 13},
};
/* clang-format on */

static void check_case(const struct decode_case *c) {
    auto_buffer struct buffer b = {0};
    build_header(&b);
    build_hex(&b, c->hex);
    struct error err = {0};
    struct module m;
    enum status status = module_decode(b.bytes, b.size, &m, &err);
    module_finish(&m);
    bool good = status == c->status;
    if (status != ST_OK) {
        good = good && err.status == status && strstr(err.message, c->text);
        if (c->offset != NO_OFFSET)
            good = good && err.has_offset && err.wasm_offset == c->offset;
    }
    if (!good)
        printf("%s: %s at %llu: %s\n", c->what, status_text(status),
               (unsigned long long)err.wasm_offset, err.message);
    EXPECT(good);
}

static void test_header(void) {
    static const struct {
        const char *hex, *text;
        enum status status;
    } headers[] = {
        {"", "unexpected end", ST_MALFORMED},
        {"00 61 73", "unexpected end", ST_MALFORMED},
        {"00 61 73 6d 01", "unexpected end", ST_MALFORMED},
        {"7f 45 4c 46 01 00 00 00", "magic header not detected", ST_MALFORMED},
        {"00 61 73 6d 02 00 00 00", "unknown binary version", ST_MALFORMED},
        {"00 61 73 6d 0d 00 01 00", "component", ST_UNSUPPORTED},
    };
    for (size_t i = 0; i < countof(headers); i++) {
        auto_buffer struct buffer b = {0};
        build_hex(&b, headers[i].hex);
        struct error err = {0};
        EXPECT(compile_check(b.bytes, b.size, &err) == headers[i].status);
        EXPECT(strstr(err.message, headers[i].text) != NULL);
    }
}

/* A module with one of everything, and what it becomes. */
static const char everything[] =
    "01 0a 02 60 02 7f 7e 01 7d 60 00 00"                   /* two types */
    "02 1e 04 01 6d 01 66 00 00 01 6d 01 74 01 70 01 01 02" /* imports: m.f, m.t */
    "         01 6d 01 6d 02 00 01 01 6d 01 67 03 7f 01"    /* m.m, m.g */
    "03 03 02 01 01"                                        /* functions */
    "04 04 01 6f 00 05"                                     /* a table of externref */
    "06 06 01 7e 00 42 7f 0b"                               /* a global: i64 -1 */
    "07 0d 03 01 61 00 01 01 62 01 01 01 63 03 00"          /* exports */
    "08 01 02"                                              /* start */
    "09 10 02 00 41 00 0b 01 01 05 70 02 d2 00 0b d0 70 0b" /* segments */
    "0c 01 02"                                              /* data count */
    "0a 0d 02 02 00 0b 08 02 02 7f 03 7c 01 01 0b"          /* code */
    "0b 0b 02 00 41 03 0b 02 68 69 01 01 21"                /* data */
    "00 16 04 6e 61 6d 65 00 04 03 6d 6f 64 01 09 02 01 01 78 02 03 79 1b 7a"; /* names */

static void test_everything(void) {
    auto_buffer struct buffer b = {0};
    build_header(&b);
    build_hex(&b, everything);
    struct error err = {0};
    struct module m;
    enum status status = module_decode(b.bytes, b.size, &m, &err);
    if (status != ST_OK) printf("%s\n", err.message);
    EXPECT(status == ST_OK);
    if (status == ST_OK) {
        EXPECT(m.type_count == 2 && m.types[0].func.param_count == 2);
        EXPECT(m.types[0].func.params[1].code == ABI_I64);
        EXPECT(m.types[0].func.results[0].code == ABI_F32);
        EXPECT(m.import_count == 4 && m.imports[3].kind == ABI_EXTERN_GLOBAL);
        EXPECT(m.imports[1].name_length == 1 && m.imports[1].name[0] == 't');
        EXPECT(m.function_count == 3 && m.imported_functions == 1 && m.functions[0].imported);
        EXPECT(m.table_count == 2 && m.tables[0].type.limits.max == 2);
        EXPECT(m.tables[1].type.element.code == ABI_EXTERNREF);
        EXPECT(m.memory_count == 1 && m.memories[0].imported && m.memories[0].limits.min == 1);
        EXPECT(m.global_count == 2 && m.globals[0].type.mutable && !m.globals[1].type.mutable);
        EXPECT(m.globals[1].init.size == 3 && b.bytes[m.globals[1].init.offset] == 0x42);
        EXPECT(m.export_count == 3 && m.exports[1].kind == ABI_EXTERN_TABLE);
        EXPECT(m.has_start && m.start_function == 2);
        EXPECT(m.elem_count == 2 && m.elems[0].funcs[0] == 1 && m.elems[1].count == 2);
        EXPECT(m.elems[1].mode == ABI_SEGMENT_PASSIVE && m.elems[1].exprs[0].size == 3);
        EXPECT(m.has_data_count && m.data_count == 2 && m.datas[0].size == 2);
        EXPECT(m.datas[1].mode == ABI_SEGMENT_PASSIVE && m.datas[1].bytes[0] == '!');
        EXPECT(m.functions[1].local_run_count == 0 && m.functions[1].body_size == 2);
        EXPECT(m.functions[2].local_run_count == 2 && m.functions[2].local_count == 5);
        EXPECT(m.functions[2].local_runs[1].count == 3);
        EXPECT(m.functions[2].local_runs[1].type.code == ABI_F64);
        EXPECT(b.bytes[m.functions[2].code_offset] == 0x01);
        EXPECT_STR(m.name ? m.name : "", "mod");
        EXPECT_STR(m.functions[1].name ? m.functions[1].name : "", "x");
        EXPECT_STR(m.functions[2].name ? m.functions[2].name : "", "y?z");
        EXPECT(m.functions[0].name == NULL);
    }
    module_finish(&m);
    EXPECT(compile_check(b.bytes, b.size, &err) == ST_OK);
    if (err.status != ST_OK) printf("%s\n", err.message);
}

/* ---- instructions ---- */

static const struct {
    uint32_t code;
    const char *text;
} rows[] = {
#define OP(code, name, text, immediate, params, results, access) {code, text},
#include "compiler/opcodes.def"
};

/* Bytes of immediates that are all zero (and the final end label for br_table). */
static const char *zero_immediate(enum immediate immediate) {
    switch (immediate) {
    case IMM_NONE: return "";
    case IMM_BLOCK: return "40";
    case IMM_CATCHES: return "40 00";
    case IMM_TAG:
    case IMM_HEAP_TYPE: return "70";
    case IMM_TYPES: return "01 7f";
    case IMM_LABELS:
    case IMM_INDIRECT:
    case IMM_MEMARG:
    case IMM_DATA_MEMORY:
    case IMM_MEMORY_MEMORY:
    case IMM_ELEM_TABLE:
    case IMM_TABLE_TABLE: return "00 00";
    case IMM_MEMARG_LANE: return "00 00 00";
    case IMM_F32: return "00 00 00 00";
    case IMM_F64: return "00 00 00 00 00 00 00 00";
    case IMM_V128:
    case IMM_SHUFFLE: return "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    case IMM_LABEL:
    case IMM_FUNC:
    case IMM_LOCAL:
    case IMM_GLOBAL:
    case IMM_TABLE:
    case IMM_MEMORY:
    case IMM_I32:
    case IMM_I64:
    case IMM_DATA:
    case IMM_ELEM:
    case IMM_LANE: return "00";
    }
    return "";
}

/* Every row is found, decodes to its last byte, and is malformed one byte shorter. */
static void test_every_opcode(void) {
    unsigned vectors = 0;
    for (size_t i = 0; i < countof(rows); i++) {
        const struct opcode_info *info = opcode_info(rows[i].code);
        EXPECT(info != NULL);
        if (!info) continue;
        EXPECT_STR(info->text, rows[i].text);
        vectors += rows[i].code >> 16 == 0xfd;
        auto_buffer struct buffer b = {0};
        if (rows[i].code > 0xff) buffer_put_u8(&b, (uint8_t)(rows[i].code >> 16));
        build_leb(&b, rows[i].code & 0xffff);
        if (rows[i].code <= 0xff) b.bytes[0] = (uint8_t)rows[i].code, b.size = 1;
        build_hex(&b, zero_immediate(info->immediate));
        struct reader r = reader_over(b.bytes, b.size);
        struct instruction in;
        struct error err = {0};
        EXPECT(instruction_decode(&r, &in, &err) == ST_OK && r.at == r.end);
        EXPECT(in.opcode == rows[i].code && in.info == info && in.offset == 0);
        r = reader_over(b.bytes, b.size - 1);
        EXPECT(instruction_decode(&r, &in, &err) == ST_MALFORMED);
    }
    EXPECT(vectors == 236);
    static const uint32_t none[] = {0x16,     0x27,     0xff,     0xfb0000,  0xfc0012,
                                    0xfd009a, 0xfd0100, 0xfe0000, UINT32_MAX};
    for (size_t i = 0; i < countof(none); i++) EXPECT(opcode_info(none[i]) == NULL);
}

static void test_immediates(void) {
    static const struct {
        const char *hex;
        uint32_t opcode;
        uint64_t bits;
    } constants[] = {
        {"41 7f", OP_I32_CONST, UINT64_MAX},
        {"41 80 80 80 80 78", OP_I32_CONST, (uint64_t)INT32_MIN},
        {"42 ff ff ff ff ff ff ff ff ff 00", OP_I64_CONST, INT64_MAX},
        {"43 00 00 80 3f", OP_F32_CONST, 0x3f800000},
        {"44 01 00 00 00 00 00 f8 7f", OP_F64_CONST, UINT64_C(0x7ff8000000000001)},
    };
    for (size_t i = 0; i < countof(constants); i++) {
        auto_buffer struct buffer b = {0};
        build_hex(&b, constants[i].hex);
        struct reader r = reader_over(b.bytes, b.size);
        struct instruction in;
        struct error err = {0};
        EXPECT(instruction_decode(&r, &in, &err) == ST_OK);
        EXPECT(in.opcode == constants[i].opcode && in.bits == constants[i].bits);
    }
    static const struct {
        const char *hex;
        enum status status;
        const char *text;
    } broken[] = {
        {"41 80 80 80 80 80 00", ST_MALFORMED, "integer representation too long"},
        {"41 ff ff ff ff 4f", ST_MALFORMED, "integer too large"},
        {"28 80 01 00", ST_MALFORMED, "malformed memop flags"},
        {"02 60", ST_MALFORMED, "malformed value type"},
        {"02 80 80 80 80 80 00", ST_MALFORMED, "integer representation too long"},
        {"d0 5f", ST_MALFORMED, "malformed heap type"},
        {"d0 6e", ST_UNSUPPORTED, "garbage collection"},
        {"d0 00", ST_UNSUPPORTED, "typed function references"},
        {"0e ff ff ff ff 0f 00", ST_MALFORMED, "number of labels"},
        {"1c ff ff ff ff 0f 7f", ST_MALFORMED, "number of types"},
        {"fc 80 80 80 80 10", ST_MALFORMED, "integer too large"},
        {"fc ff ff 7f", ST_MALFORMED, "illegal opcode"},
        {"fc 17", ST_MALFORMED, "illegal opcode"},
        {"fd 9a 01", ST_MALFORMED, "illegal opcode"},
        {"12 00", ST_UNSUPPORTED, "tail calls"},
        {"fd 80 02", ST_UNSUPPORTED, "relaxed SIMD"},
        {"fe 10 02 00", ST_UNSUPPORTED, "threads"},
    };
    for (size_t i = 0; i < countof(broken); i++) {
        auto_buffer struct buffer b = {0};
        build_hex(&b, broken[i].hex);
        struct reader r = reader_over(b.bytes, b.size);
        struct instruction in;
        struct error err = {0};
        enum status status = instruction_decode(&r, &in, &err);
        bool good = status == broken[i].status && strstr(err.message, broken[i].text);
        if (!good) printf("%s: %s\n", broken[i].hex, err.message);
        EXPECT(good);
    }
}

int main(void) {
    test_header();
    for (size_t i = 0; i < countof(cases); i++) check_case(&cases[i]);
    test_everything();
    test_every_opcode();
    test_immediates();
    return test_end();
}
