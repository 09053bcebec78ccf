/*
 * abi: the contract between compiled code, loader and runtime. The address map, the layout of
 * the instance block, the calls from generated code to the host, traps, and what a code object
 * holds. Nobody else writes an offset: the compiler takes them from here with offsetof, the
 * runtime uses the structs. docs/abi.md explains it, docs/object-format.md gives the bytes of
 * the object.
 *
 * Everything here is plain data; nothing allocates or fails except where a comment says so.
 */
#ifndef HUTCH_ABI_H
#define HUTCH_ABI_H

#include "base/base.h"

/* ---- placements and the address map ------------------------------------------------------ */

/*
 * PINNED: one instance in a process, everything the guest sees at an address of this map.
 * RELOCATABLE: instance blocks and memories lie anywhere; generated code takes the instance
 * pointer as its first argument.
 */
enum abi_placement {
    ABI_PINNED = 0,
    ABI_RELOCATABLE = 1
};

#define ABI_CODE_BASE                                                                          \
    UINT64_C(0x0000000001000000) /* the object's virtual addresses start here */
#define ABI_PROFILE_BASE                                                                       \
    UINT64_C(0x0000000037000000) /* counters of an instrumented object ... */
#define ABI_PROFILE_SIZE UINT64_C(0x0000000008000000)  /* ... at most 128 MiB */
#define ABI_INSTANCE_BASE UINT64_C(0x000000003f000000) /* instance block */
#define ABI_INSTANCE_SIZE UINT64_C(0x0000000001000000) /* 16 MiB ... */
#define ABI_INSTANCE_GUARD UINT64_C(0x10000) /* ... of which the last 64 KiB are a guard */
#define ABI_MEMORY_BASE UINT64_C(0x0000000040000000) /* linear memory 0 */
#define ABI_MEMORY_RESERVE                                                                     \
    (UINT64_C(0x200000000) + UINT64_C(0x10000)) /* 4 GiB, guard 4 GiB + 64 KiB */
#define ABI_TABLES_BASE                                                                        \
    UINT64_C(0x0000000500000000) /* tables too large for the instance block */
#define ABI_TABLE_SPACING                                                                      \
    UINT64_C(0x10000000) /* table i at base + i * spacing: 16 M entries                        \
                          */
#define ABI_FILES_BASE                                                                         \
    UINT64_C(0x0000001000000000) /* files in memory (runtime, not code) ... */
#define ABI_FILES_RESERVE UINT64_C(0x0000001000000000) /* ... at most 64 GiB */
#define ABI_STACK_TOP UINT64_C(0x0000000400000000)     /* guest stack grows down from here */
#define ABI_WASM_PAGE UINT64_C(65536)
#define ABI_MEMORY32_MAX_PAGES 65536u
/* A memory that begins with no more never gets more: 64 KiB below 4 GiB are out of bounds
 * always, and compiled code makes use of it (docs/compiler.md). */
#define ABI_MEMORY32_GROW_PAGES 65535u
#define ABI_HOST_PAGE UINT64_C(4096)

/* ---- values ------------------------------------------------------------------------------ */

/* Type codes as in the binary format (spec core 5.3). */
enum abi_type_code {
    ABI_I32 = 0x7f,
    ABI_I64 = 0x7e,
    ABI_F32 = 0x7d,
    ABI_F64 = 0x7c,
    ABI_V128 = 0x7b,
    ABI_FUNCREF = 0x70,
    ABI_EXTERNREF = 0x6f,
    ABI_EXNREF = 0x69,
    ABI_REF_NULL = 0x63, /* (ref null heap): Wasm 3.0, room left */
    ABI_REF = 0x64,      /* (ref heap) */
};
/* A value type. heap is 0 but for ABI_REF and ABI_REF_NULL: there a type index or a heap code.
 */
struct valtype {
    uint8_t code;
    uint32_t heap;
};
static inline bool valtype_equal(struct valtype a, struct valtype b) {
    return a.code == b.code && a.heap == b.heap;
}
static inline bool valtype_is_ref(struct valtype t) { return t.code < ABI_V128; }
/* "i32", "funcref"; "?" for a code that is not one. Static storage. */
const char *valtype_name(struct valtype t);

/*
 * One value in memory between host and guest: a slot. Smaller values are in the low bytes, the
 * rest of the slot is unspecified. ref: a funcref is the address of a struct abi_func or 0; an
 * externref is any 64-bit word of the embedder's, 0 for null; an exnref is the address of a
 * struct abi_exception or 0.
 */
union abi_value {
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
    uint64_t ref;
    uint8_t v128[16];
    uint32_t u32;
    uint64_t u64;
};
#define ABI_SLOT_SIZE 16
_Static_assert(sizeof(union abi_value) == ABI_SLOT_SIZE, "slot");

/* A function type. Borrowed arrays. */
struct functype {
    uint32_t param_count, result_count;
    const struct valtype *params, *results;
};
bool functype_equal(const struct functype *a, const struct functype *b);
/* "(i32, i64) -> (f32)", cut to size. */
void functype_print(const struct functype *type, char *ret_text, size_t size);

/* ---- the instance block ------------------------------------------------------------------ */

/*
 *   +0                struct abi_instance   fixed header
 *   layout.memories   struct abi_memory     one for each memory, imported ones first
 *   layout.tables     struct abi_table      one for each table
 *   layout.globals    union abi_value       one for each global
 *   layout.funcs      struct abi_func       one for each function, imported ones first
 *   layout.tags       uint64_t              one for each tag, imported ones first: who it is
 *   layout.exceptions struct abi_exception  exceptions thrown here, with their values
 *   layout.type_ids   uint32_t              one for each canonical type (relocatable only)
 *   layout.memory_refs, table_refs, global_refs
 *                     uint64_t              where imported ones really lie (relocatable only)
 *   layout.entries    struct abi_table_entry[]  contents of tables that are not too large, one
 *                     after the other (pinned only; relocatable tables lie anywhere)
 */
struct abi_instance {
    uint64_t gate;      /* host address: void gate(uint64_t index, slots, instance) */
    uint64_t guest_sp;  /* guest stack pointer while the host runs */
    uint64_t stack_low; /* lowest usable address of the guest stack */
    uint64_t host;      /* the runtime's struct instance; 0 in a snapshot */
    uint64_t profile;   /* address of the counters, 0 where the object has none */
    uint64_t cpu_level; /* abi_cpu_level of where it runs: code beyond its object's target */
    uint64_t spare[2];
};

/* Base is fixed for the life of a memory: it is reserved whole and grows in place. */
struct abi_memory {
    uint64_t base;
    uint64_t size_bytes;
    uint64_t size_pages; /* of 64 KiB */
    uint64_t max_pages;  /* growth beyond fails; from the type and the embedder's limit */
};

struct abi_table {
    uint64_t entries; /* address of struct abi_table_entry[capacity] */
    uint32_t size, max, capacity, type_code;
};

/*
 * Reading an entry of a funcref table, per placement:
 *   pinned       word = code address, type_id as in the callee, ref32 = address of its abi_func
 *   relocatable  word = address of its abi_func, type_id as in the callee, ref32 unused
 * A null entry is all zeros, and type id 0 belongs to no type, so one compare covers null and
 * mismatch. An externref table holds the reference in word.
 */
struct abi_table_entry {
    uint64_t word;
    uint32_t type_id;
    uint32_t ref32;
};
#define ABI_TABLE_ENTRY_SIZE 16
_Static_assert(sizeof(struct abi_table_entry) == ABI_TABLE_ENTRY_SIZE, "table entry");

/*
 * A function as a value: what a funcref points at. Calling an imported function loads code
 * (and, relocatable, instance) from here. Pinned: type_id is the canonical type index + 1,
 * known to the compiler. Relocatable: an id given by the runtime, equal for equal types in the
 * process.
 */
struct abi_func {
    uint64_t code;
    uint64_t instance; /* struct abi_instance to pass; pinned: 0 */
    uint32_t type_id;
    uint32_t index; /* function index in the module that defines it */
    uint64_t entry; /* entry thunk for its type */
};
#define ABI_FUNC_SIZE 32
_Static_assert(sizeof(struct abi_func) == ABI_FUNC_SIZE, "func record");

/*
 * An exception: an exnref is its address. It lies in the block of the instance that threw it,
 * values behind it in slots. tag: the word of layout.tags of the tag it was thrown with, which
 * for a tag of the instance's own is the address of that word; so equal words are equal tags
 * (spec core 4.2.11) in all of the process. The records of an instance are all of one size.
 */
struct abi_exception {
    uint64_t tag;
    uint32_t state; /* enum abi_exception_state */
    uint32_t spare;
};
#define ABI_EXCEPTION_HEADER 16
_Static_assert(sizeof(struct abi_exception) == ABI_EXCEPTION_HEADER, "exception");
enum abi_exception_state {
    ABI_EXCEPTION_FREE = 0,
    ABI_EXCEPTION_THROWN = 1, /* nobody has a reference to it: whoever catches it frees it */
    ABI_EXCEPTION_HELD = 2,   /* there may be references: the runtime finds out */
};
/* Records for exceptions of at most this many values. */
uint32_t abi_exception_capacity(uint32_t value_count);

/* How many of each an instance has, imported and own. */
struct abi_counts {
    uint32_t memories, tables, globals, funcs, types, tags;
    uint32_t exceptions, exception_values; /* records, and slots of each */
    uint64_t table_entries; /* of the tables in the block (pinned), see abi_table_entries */
};
struct abi_layout {
    uint64_t memories, tables, globals, funcs, type_ids;
    uint64_t memory_refs, table_refs, global_refs, entries;
    uint64_t tags, exceptions, exception_bytes; /* the latter: of a record */
    uint64_t size_bytes;                        /* of the whole block */
};
/* Offsets for these counts. ST_LIMIT where a pinned block would not fit its 16 MiB. */
enum status abi_layout_compute(enum abi_placement placement, const struct abi_counts *counts,
                               struct abi_layout *ret_layout, struct error *err) must_check;
/* Entries to reserve for a table of this type: its maximum, at most what ABI_TABLE_SPACING
 * holds. */
uint32_t abi_table_capacity(uint32_t min, bool has_max, uint32_t max, bool can_grow);
/*
 * Pinned: address of the entries of table `table`, given the capacities of tables 0 to `table`.
 * Tables lie in the instance block in order, but for those that would make it too large.
 */
uint64_t abi_table_address(const struct abi_layout *layout, const uint32_t *capacities,
                           uint32_t table);
/* How many entries lie in the block: abi_counts.table_entries. */
uint64_t abi_table_entries(const uint32_t *capacities, uint32_t table_count);

/* ---- calls between guest and host -------------------------------------------------------- */

/*
 * Guest to host: generated code puts arguments into slots on the guest stack and calls the
 * gate: gate(index, slots, instance)       rdi, rsi, rdx index below ABI_GATE_HELPER is an
 * imported function, above it a helper. Results come back in the slots. Each imported function
 * has an import thunk in the object that does this with the ordinary calling convention, so
 * that imported and own functions are called alike.
 *
 * Host to guest: each canonical function type has an entry thunk in the object:
 *     entry(slots, code, instance)       rdi, rsi, rdx
 * which loads parameters from the slots, calls code, stores results into the slots, and leaves
 * by calling the gate with ABI_GATE_RETURN, which does not come back. So the guest's stack
 * holds no return address into the host, and a guest can be resumed in another process.
 */
#define ABI_GATE_HELPER 0x80000000u
#define ABI_GATE_RETURN 0xffffffffu

enum abi_helper {
#define HELPER(name, params, results) ABI_HELPER_##name,
#include "abi/helpers.def"
    ABI_HELPER_COUNT
};
const char *abi_helper_name(enum abi_helper helper);

enum abi_trap {
#define TRAP(name, message) TRAP_##name,
#include "abi/traps.def"
    TRAP_COUNT
};
const char *abi_trap_message(enum abi_trap trap);

/* ---- code objects ------------------------------------------------------------------------ */

#define ABI_OBJECT_MAGIC "HUTCHOBJ"
#define ABI_OBJECT_VERSION 1u
/* Of everything above: lists, structs, addresses. An object from another fingerprint is
 * refused. */
uint64_t abi_fingerprint(void);

enum abi_arch {
    ABI_ARCH_X86_64 = 62,
    ABI_ARCH_AARCH64 = 183
}; /* the ELF machine numbers */

/* CPU features that code may need beyond x86-64-v1. FEATURE(bit, "name as in /proc/cpuinfo").
 */
/* clang-format off */
#define ABI_X86_FEATURES(FEATURE)                                                              \
    FEATURE(0, "cx16") FEATURE(1, "lahf_lm") FEATURE(2, "popcnt") FEATURE(3, "ssse3")          \
    FEATURE(4, "sse4_1") FEATURE(5, "sse4_2") FEATURE(6, "avx") FEATURE(7, "avx2")             \
    FEATURE(8, "bmi1") FEATURE(9, "bmi2") FEATURE(10, "f16c") FEATURE(11, "fma")               \
    FEATURE(12, "abm") FEATURE(13, "movbe") FEATURE(14, "avx512f") FEATURE(15, "avx512bw")     \
    FEATURE(16, "avx512cd") FEATURE(17, "avx512dq") FEATURE(18, "avx512vl")
/* clang-format on */
#define ABI_X86_64_V2 UINT64_C(0x3f)
#define ABI_X86_64_V3 UINT64_C(0x3fff)
#define ABI_X86_64_V4 UINT64_C(0x7ffff)
/* Features of the processor we run on, as bits of the list. Asked for once; a process that is
 * to be forked asks before. */
uint64_t abi_cpu_features(void);
/* The highest N for which it has all of x86-64-vN; below 2: 0. */
unsigned abi_cpu_level(void);
/* The architecture this program is built for, an enum abi_arch. */
uint16_t abi_host_arch(void);
/* The words for people: of a bit of the list, of an ELF machine number, of a placement. */
const char *abi_cpu_feature_name(unsigned bit);
const char *abi_arch_name(unsigned arch);
const char *abi_placement_name(unsigned placement);

enum abi_section {
#define SECTION(name, elf_name, flags) ABI_SECTION_##name,
#include "abi/sections.def"
    ABI_SECTION_COUNT
};
const char *abi_section_name(enum abi_section section);

/* The compatibility record, decoded. docs/object-format.md gives its bytes. */
struct abi_compat {
    uint32_t format_version;
    uint16_t arch, placement;
    uint64_t abi_fingerprint;
    uint64_t cpu_features;  /* needed */
    struct digest module;   /* of the Wasm bytes */
    struct digest compiler; /* of what the compiler is and was told: version, level, target */
    struct digest content;  /* of the whole file, these 32 bytes taken as zero */
    uint32_t opt_level;
    char target[32]; /* "x86-64-v3" */
};

enum abi_extern_kind {
    ABI_EXTERN_FUNC,
    ABI_EXTERN_TABLE,
    ABI_EXTERN_MEMORY,
    ABI_EXTERN_GLOBAL,
    ABI_EXTERN_TAG
};
const char *abi_extern_kind_name(enum abi_extern_kind kind);

struct abi_limits {
    uint64_t min, max; /* pages or entries */
    bool has_max, is_64, shared;
};
struct abi_table_type {
    struct valtype element;
    struct abi_limits limits;
};
struct abi_global_type {
    struct valtype type;
    bool mutable;
};

/*
 * A constant expression as a short program on a stack of slots. index: a global or a function.
 */
enum abi_const_op {
    ABI_CONST_VALUE,      /* push value */
    ABI_CONST_GLOBAL_GET, /* push global `index` */
    ABI_CONST_REF_FUNC,   /* push reference to function `index` */
    ABI_CONST_I32_ADD,
    ABI_CONST_I32_SUB,
    ABI_CONST_I32_MUL, /* Wasm 3.0 */
    ABI_CONST_I64_ADD,
    ABI_CONST_I64_SUB,
    ABI_CONST_I64_MUL,
};
struct abi_const_step {
    enum abi_const_op op;
    uint32_t index;
    union abi_value value;
};
struct abi_const_expr {
    uint32_t count;
    const struct abi_const_step *steps;
};

struct abi_import {
    const char *module, *name; /* UTF-8, may hold NUL: the lengths count */
    uint32_t module_length, name_length;
    enum abi_extern_kind kind;
    uint32_t type;                 /* func, tag: canonical type index */
    struct abi_table_type table;   /* table */
    struct abi_limits memory;      /* memory */
    struct abi_global_type global; /* global */
};
struct abi_export {
    const char *name;
    uint32_t name_length;
    enum abi_extern_kind kind;
    uint32_t index; /* in its index space */
};
struct abi_type {
    struct functype func;
    uint32_t entry_offset; /* of the entry thunk in .text */
};
struct abi_function {
    uint32_t type;        /* canonical type index */
    uint32_t code_offset; /* in .text; of the import thunk for an import */
    uint32_t code_size;
    uint64_t wasm_offset; /* of the body in the module; 0 for an import */
};
struct abi_global {
    struct abi_global_type type;
    struct abi_const_expr init; /* own globals only */
};
enum abi_segment_mode {
    ABI_SEGMENT_ACTIVE,
    ABI_SEGMENT_PASSIVE,
    ABI_SEGMENT_DECLARED
};
struct abi_elem {
    enum abi_segment_mode mode;
    uint32_t table;
    struct abi_const_expr offset;
    struct valtype type;
    uint32_t count;
    /* one of the two: function indices (the common case) or expressions */
    const uint32_t *funcs;
    const struct abi_const_expr *exprs;
};
struct abi_data {
    enum abi_segment_mode mode;
    bool in_image; /* active and already part of the image: bytes is empty, dropped at start */
    uint32_t memory;
    struct abi_const_expr offset;
    const uint8_t *bytes;
    uint64_t size;
};
/* count pages of the file, from image page `image_page`, are guest pages from `guest_page` on.
 */
struct abi_page_run {
    uint32_t guest_page, image_page, count; /* of 4 KiB */
};
struct abi_trap_stub {
    uint32_t code_offset; /* in .text: where the stub of this kind begins */
    enum abi_trap trap;
};

/*
 * A code object, decoded and checked, but not mapped. The loader fills it from a file; arrays
 * lie in the arena it was given; strings and segment bytes are borrowed from the file's bytes.
 */
struct abi_object {
    struct abi_compat compat;
    uint32_t type_count, import_count, export_count, function_count;
    uint32_t imported_functions, imported_tables, imported_memories, imported_globals;
    uint32_t imported_tags;
    uint32_t table_count, memory_count, global_count, tag_count, elem_count, data_count;
    uint32_t page_run_count, trap_stub_count;
    const struct abi_type *types;
    const struct abi_import *imports;
    const struct abi_export *exports;
    const struct abi_function *functions; /* all, imported ones first; likewise below */
    const struct abi_table_type *tables;
    const bool *table_fixed; /* size never changes and no one else writes: see docs/abi.md */
    const uint32_t *table_capacities; /* entries to reserve (pinned); from the compiler */
    const struct abi_limits *memories;
    const struct abi_global *globals;
    const uint32_t *tags; /* canonical type index of each */
    const struct abi_elem *elems;
    const struct abi_data *datas;
    const struct abi_page_run *page_runs;
    const struct abi_trap_stub *trap_stubs; /* by code_offset */
    bool has_start;
    uint32_t start_function;
    struct abi_counts counts; /* for abi_layout_compute */

    /* Where things lie in the file. Offsets and sizes in bytes. */
    uint64_t text_offset, text_size;         /* executable: maps at address text_address */
    uint64_t rodata_offset, rodata_size;     /* read-only: maps at rodata_address */
    uint64_t text_address, rodata_address;   /* in an object mapped at ABI_CODE_BASE */
    uint64_t span;                           /* of address space from ABI_CODE_BASE on */
    uint64_t image_offset;                   /* of .hutch.image in the file */
    uint64_t eh_frame_offset, eh_frame_size; /* in the file; for backtraces */
    uint64_t eh_frame_address;               /* in an object mapped at ABI_CODE_BASE */
    uint64_t eh_frame_hdr_offset, eh_frame_hdr_size; /* in the file: sorted search table */
    uint64_t eh_frame_hdr_address;                   /* in an object mapped at ABI_CODE_BASE */
    uint64_t lines_offset, lines_size;   /* .debug_line in the file; 0 where there is none */
    uint64_t info_offset, info_size;     /* .debug_info, .debug_abbrev and .debug_ranges in */
    uint64_t abbrev_offset, abbrev_size; /* the file, likewise: which calls were inlined */
    uint64_t ranges_offset, ranges_size;
    uint64_t names_offset, names_size; /* .hutch.names in the file */
    uint64_t profile_offset,
        profile_size; /* .hutch.profile in the file; size 0: not instrumented */
};

/* ---- profiles ---------------------------------------------------------------------------- */

/*
 * A profile (docs/profile.md) is tables that say what was counted, then the counts, then the
 * checksum of it all. An instrumented object carries the tables of its own profile in
 * .hutch.profile; its counters lie at struct abi_instance's profile (pinned: ABI_PROFILE_BASE):
 * u64 for each site, then ABI_PROFILE_TARGETS struct abi_profile_target for each indirect call.
 */
#define ABI_PROFILE_MAGIC "HUTCHPRF"
#define ABI_PROFILE_VERSION 1u
#define ABI_PROFILE_TARGETS 4u
struct abi_profile_target {
    uint64_t value; /* address of the callee's abi_func, 0 for none */
    uint64_t count;
};

/* What the first bytes of a profile say, and the sizes that follow from it. */
struct abi_profile_shape {
    uint32_t run_count; /* how many runs were added up */
    uint32_t function_count, site_count, call_count;
    struct digest module;   /* of the Wasm bytes; zeros after mixed merges */
    uint64_t tables_size;   /* the counts begin there */
    uint64_t file_size;     /* with counts and checksum */
    uint64_t counters_size; /* in the memory of a process */
};
#define ABI_PROFILE_HEADER_SIZE 64u
#define ABI_PROFILE_RUNS_OFFSET 12u
#define ABI_PROFILE_FUNCTION_SIZE 24u /* digest[16], u32 sites, u32 indirect calls */
#define ABI_PROFILE_SITE_SIZE 8u      /* u32 instruction, u32 arm */
#define ABI_PROFILE_CALL_SIZE 4u      /* u32 instruction */
#define ABI_PROFILE_CHECKSUM_SIZE 4u  /* CRC-32C of all before it, inverted */
#define ABI_PROFILE_VALUE_SIZE 12u    /* u32 function of this table or ~0, u64 count */
/* Reads the header alone. ST_DAMAGED where it is none, ST_INCOMPATIBLE for another version. */
enum status abi_profile_shape(const uint8_t *bytes, uint64_t size,
                              struct abi_profile_shape *ret_shape,
                              struct error *err) must_check;

#endif
