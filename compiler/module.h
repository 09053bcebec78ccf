/*
 * A decoded WebAssembly module: what decode.c makes of the bytes, what validate.c checks and
 * the lowering reads. Types leave room for Wasm 3.0: recursion groups and subtyping in struct
 * module_type, typed references in struct valtype, 64-bit limits, any number of memories, tags.
 * Everything lies in the module's arena or borrows the module's bytes.
 */
#ifndef HUTCH_COMPILER_MODULE_H
#define HUTCH_COMPILER_MODULE_H

#include "abi/abi.h"
#include "compiler/compiler.h"

/* Limits of ours beyond the spec's, as in the Wasm JavaScript API's list. */
#define MODULE_MAX_BYTES (UINT32_C(1) << 30)
#define MODULE_MAX_TYPES 1000000u
#define MODULE_MAX_FUNCTIONS 1000000u
#define MODULE_MAX_IMPORTS 1000000u
#define MODULE_MAX_EXPORTS 1000000u
#define MODULE_MAX_GLOBALS 1000000u
#define MODULE_MAX_TABLES 100u
#define MODULE_MAX_TAGS 100000u
#define MODULE_MAX_MEMORIES 1u
#define MODULE_MAX_SEGMENTS 100000u
#define MODULE_MAX_TABLE_SIZE 10000000u
#define MODULE_MAX_PARAMS 1000u
#define MODULE_MAX_RESULTS 1000u
#define MODULE_MAX_LOCALS 50000u
#define MODULE_MAX_TOTAL_LOCALS                                                                \
    (UINT64_C(1) << 26) /* of all functions; checked when compiling */
#define MODULE_MAX_BODY_BYTES 7654321u
#define MODULE_MAX_NESTING 10000u    /* of blocks in one function */
#define MODULE_MAX_OPERANDS 1000000u /* on the operand stack at one time, about */
/* Values that calls, blocks and branches of one body may move: a million, and 16 for each of
 * its bytes. Real code moves about one a byte; two bytes that call [i32 x 1000] -> [i32 x 1000]
 * move 2000, and each costs the lowering a value. */
#define MODULE_FREE_MOVES 1000000u
#define MODULE_MOVES_PER_BYTE 16u
#define MODULE_MAX_CONST_DEPTH 64u /* values on the stack of a constant expression */

enum composite_kind {
    COMPOSITE_FUNC,
    COMPOSITE_STRUCT,
    COMPOSITE_ARRAY
}; /* the latter: 3.0 */

struct module_type {
    enum composite_kind kind;
    struct functype func;
    uint32_t canonical; /* index of the first equal type: equal canonical, equal type */
    /* Wasm 3.0 */
    uint32_t recursion_group, supertype;
    bool is_final;
};

struct module_import {
    const uint8_t *module, *name;
    uint32_t module_length, name_length;
    enum abi_extern_kind kind;
    uint32_t index; /* in the index space of its kind */
    uint64_t offset;
};

struct module_export {
    const uint8_t *name;
    uint32_t name_length;
    enum abi_extern_kind kind;
    uint32_t index;
    uint64_t offset;
};

struct module_function {
    uint32_t type; /* index in types */
    bool imported;
    bool declared;        /* may be named by ref.func (spec core 3.4: refs) */
    uint64_t body_offset; /* of the body (after its size field) in the module's bytes */
    uint32_t body_size;
    const char *name; /* from the name section, valid UTF-8 without control bytes; or NULL */
    /* decoded local declarations: runs of one type; parameters are not among them */
    uint32_t local_run_count;
    const struct local_run *local_runs;
    uint32_t local_count; /* with parameters */
    uint64_t code_offset; /* of the first instruction in the module's bytes */
    uint32_t hint_count;  /* branch_hints.h */
    const struct branch_hint *hints;
};
struct local_run {
    uint32_t count;
    struct valtype type;
};

struct module_table {
    struct abi_table_type type;
    bool imported;
    uint64_t offset;
    /* found by validation: */
    bool grown;   /* some table.grow names it */
    bool written; /* some table.set, fill, copy, init or grow names it */
    bool exported;
};

struct module_memory {
    struct abi_limits limits;
    bool imported;
    bool exported;
    uint64_t offset;
};

struct module_tag {
    uint32_t type; /* index in types: no results */
    bool imported;
    uint64_t offset;
};

/* A constant expression, still as bytes (spec core 3.4.14), and its translation. */
struct module_expr {
    uint64_t offset;               /* in the module */
    uint32_t size;                 /* with the final end */
    struct abi_const_expr program; /* filled by validation */
};

struct module_global {
    struct abi_global_type type;
    bool imported;
    bool exported;
    struct module_expr init;
};

struct module_elem {
    enum abi_segment_mode mode;
    uint32_t table;
    struct module_expr offset;
    struct valtype type;
    uint32_t count;
    const uint32_t *funcs; /* or */
    struct module_expr *exprs;
    uint64_t at; /* offset in the module */
};

struct module_data {
    enum abi_segment_mode mode;
    uint32_t memory;
    struct module_expr offset;
    const uint8_t *bytes;
    uint64_t size;
    uint64_t at;
};

struct module {
    const uint8_t *bytes; /* borrowed */
    size_t size;
    struct arena arena;

    uint32_t type_count, import_count, export_count, function_count;
    uint32_t table_count, memory_count, global_count, elem_count, data_count;
    uint32_t imported_functions, imported_tables, imported_memories, imported_globals;
    uint32_t tag_count, imported_tags;
    struct module_type *types;
    struct module_import *imports;
    struct module_export *exports;
    struct module_function *functions; /* imported ones first; likewise below */
    struct module_table *tables;
    struct module_memory *memories;
    struct module_global *globals;
    struct module_tag *tags;
    struct module_elem *elems;
    struct module_data *datas;

    bool has_start, has_data_count;
    bool has_exceptions; /* it has tags, or some body throws or catches: by validation */
    uint32_t start_function, data_count_declared;
    const char *name;                   /* from the name section, or NULL */
    const struct profile_plan *profile; /* set by compile.c where there is one; profile.h */
};

/* decode.c: sections and entities (spec core 5.5). ret_module is finished by module_finish also
 * after a failure. err must not be NULL. */
enum status module_decode(const uint8_t *bytes, size_t size, struct module *ret_module,
                          struct error *err) must_check;
/* names.c: the name section, best effort: a damaged one is ignored (spec core 7.4). */
void module_decode_names(struct module *module, const uint8_t *bytes, size_t size);
/* validate.c: everything of spec core 3; fills the fields marked "by validation". */
enum status module_validate(struct module *module, struct error *err) must_check;
void module_finish(struct module *module);

static inline const struct functype *module_functype(const struct module *m,
                                                     uint32_t function) {
    return &m->types[m->functions[function].type].func;
}

#endif
