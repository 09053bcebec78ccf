/*
 * Opcodes as numbers: OP_ and the name of the spec in capitals with '.' as '_', from
 * opcodes.def. A prefixed opcode is prefix << 16 | number, for example OP_MEMORY_COPY =
 * 0xfc000a.
 */
#ifndef HUTCH_COMPILER_OPCODES_H
#define HUTCH_COMPILER_OPCODES_H

#include "abi/abi.h"

/* What follows the opcode in the code (spec core 5.4). */
enum immediate {
    IMM_NONE,
    IMM_BLOCK,    /* block type */
    IMM_CATCHES,  /* block type, vector of catch clauses */
    IMM_TAG,      /* tag index */
    IMM_LABEL,    /* label index */
    IMM_LABELS,   /* br_table: vector of labels and a default */
    IMM_FUNC,     /* function index */
    IMM_INDIRECT, /* type index, table index */
    IMM_LOCAL,    /* local index */
    IMM_GLOBAL,   /* global index */
    IMM_TABLE,    /* table index */
    IMM_TYPES,    /* select: vector of value types */
    IMM_MEMARG,   /* align, offset */
    IMM_MEMORY,   /* memory index */
    IMM_I32,
    IMM_I64,
    IMM_F32,
    IMM_F64,
    IMM_V128,          /* 16 bytes */
    IMM_HEAP_TYPE,     /* ref.null */
    IMM_DATA_MEMORY,   /* memory.init: segment, memory */
    IMM_DATA,          /* data.drop */
    IMM_MEMORY_MEMORY, /* memory.copy: destination, source */
    IMM_ELEM_TABLE,    /* table.init: segment, table */
    IMM_ELEM,          /* elem.drop */
    IMM_TABLE_TABLE,   /* table.copy: destination, source */
    IMM_LANE,          /* lane index */
    IMM_MEMARG_LANE,   /* align, offset, lane index */
    IMM_SHUFFLE,       /* 16 lane indices */
};

enum opcode {
#define OP(code, name, text, immediate, params, results, access) OP_##name = code,
#include "compiler/opcodes.def"
};

/*
 * One row of the table. params and results are one letter a value: i = i32, I = i64, f = f32,
 * F = f64, V = v128; "*" where the types depend on context and validate.c has a function of its
 * own. access_bytes: of a load or store, 0 elsewhere (so its natural alignment too).
 */
struct opcode_info {
    const char *text; /* "i32.add" */
    enum immediate immediate;
    const char *params, *results;
    uint8_t access_bytes;
};
/* NULL where there is no such opcode. */
const struct opcode_info *opcode_info(uint32_t opcode);

enum block_kind {
    BLOCK_EMPTY,
    BLOCK_VALUE,
    BLOCK_TYPE
};

/* A clause of try_table (spec core 3.0 5.4.1). */
enum catch_kind {
    CATCH,
    CATCH_REF,
    CATCH_ALL,
    CATCH_ALL_REF
};
struct catch_clause {
    enum catch_kind kind;
    uint32_t tag; /* 0 for the last two */
    uint32_t label;
};
static inline bool catch_has_tag(const struct catch_clause *c) { return c->kind < CATCH_ALL; }
static inline bool catch_has_ref(const struct catch_clause *c) {
    return c->kind == CATCH_REF || c->kind == CATCH_ALL_REF;
}

/* One decoded instruction. Which fields hold depends on its immediate kind. */
struct instruction {
    uint32_t opcode;
    const struct opcode_info *info;
    uint64_t offset;        /* of the opcode in the module */
    uint32_t index, index2; /* label, function, local, type and table, segment and memory... */
    uint64_t bits;          /* IMM_I32 (sign-extended), IMM_I64, IMM_F32, IMM_F64 */
    uint8_t bytes[16];      /* IMM_V128, IMM_SHUFFLE */
    uint32_t align_log2;    /* IMM_MEMARG, IMM_MEMARG_LANE; index is the memory */
    uint64_t memory_offset;
    uint8_t lane;
    enum block_kind block_kind;
    struct valtype block_value; /* BLOCK_VALUE; also IMM_HEAP_TYPE and IMM_TYPES of one type */
    uint32_t count; /* IMM_TYPES: types; IMM_LABELS: labels without the default; IMM_CATCHES */
    struct reader labels; /* IMM_LABELS: count + 1 LEB u32; IMM_CATCHES: clauses; whole */
};

/*
 * Reads one instruction at r, whose start must be the module's first byte so that offsets are
 * the module's. instruction.c; spec core 5.4. ST_MALFORMED with what is wrong, ST_UNSUPPORTED
 * where the opcode belongs to a proposal we know by name.
 */
enum status instruction_decode(struct reader *r, struct instruction *ret,
                               struct error *err) must_check;
/* The next clause of an instruction's. */
enum status catch_decode(struct reader *r, struct catch_clause *ret,
                         struct error *err) must_check;
/* Whether it begins a block, and whether it ends one: `delegate` is also the end of a `try`. */
static inline bool opcode_opens(uint32_t opcode) {
    return opcode == OP_BLOCK || opcode == OP_LOOP || opcode == OP_IF || opcode == OP_TRY ||
           opcode == OP_TRY_TABLE;
}
static inline bool opcode_closes(uint32_t opcode) {
    return opcode == OP_END || opcode == OP_DELEGATE;
}
/* A value type (spec core 5.3.5). */
enum status valtype_decode(struct reader *r, struct valtype *ret, struct error *err) must_check;

/* The instructions of a validated body, one after the other: instruction.c. */
struct module;
struct module_function;
struct code_walk {
    struct reader r;
    uint32_t depth, number; /* number: of the instruction in `in`, counted from 0 */
    struct instruction in;
};
struct code_walk code_walk_begin(const struct module *m, const struct module_function *f);
bool code_walk_next(struct code_walk *walk);

#endif
