/*
 * Lowering: one validated function body to LLVM IR. The operand stack holds LLVM values, locals
 * are allocas that the optimiser promotes, blocks join in phis. One emitter file for each
 * instruction family:
 *
 *   lower_function.c   prologue, the loop over instructions, the operand stack, epilogue
 *   lower_control.c    blocks, branches, unreachable code
 *   lower_call.c       calls, indirect calls, entry and import thunks
 *   lower_exception.c  throwing and catching
 *   lower_memory.c     loads, stores, bulk memory
 *   lower_variable.c   locals, globals, references, tables
 *   lower_numeric.c    integers, floats, conversions
 *   lower_simd.c       v128
 *   placement.c        where a field of the instance block and the base of a memory lie: the
 *                      only file that differs between pinned and relocatable placement
 *   trap_stub.c        conditional traps
 *   lower_profile.c    counters, and weights from a profile
 *   lower_known.c      library routines that are known by their bodies
 */
#ifndef HUTCH_COMPILER_LOWER_H
#define HUTCH_COMPILER_LOWER_H

#include "compiler/module.h"
#include "compiler/opcodes.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>

/* Functions that stand for the two constant addresses of pinned code: see placement.c. */
#define LOWER_MEMORY_ANCHOR "hutch.memory"
#define LOWER_INSTANCE_ANCHOR "hutch.instance"

struct constant_table; /* constant_table.c, likewise below */
struct lower_calls;

/* Types and declarations shared by the functions of one partition (one LLVM context). */
struct lower_module {
    const struct module *module;
    const struct compile_options *options;
    struct abi_layout layout;
    const uint64_t *table_entries; /* pinned: address of each table's entries */

    LLVMContextRef context;
    LLVMModuleRef llvm;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, f64, ptr, void_type;
    LLVMTypeRef v16i8, v8i16, v4i32, v2i64, v4f32, v2f64;
    LLVMTypeRef *function_types; /* for each canonical type index used, or NULL */
    LLVMValueRef *functions;     /* declarations, made on demand */
    LLVMTypeRef trap_type;
    LLVMValueRef traps[TRAP_COUNT];
    LLVMTypeRef anchor_type; /* ptr (void), for the two below */
    LLVMValueRef memory_anchor, instance_anchor;
    unsigned alias_scope_kind, noalias_kind, range_kind, branch_weights_kind, invariant_kind;
    LLVMMetadataRef memory_only, instance_only; /* alias scope lists */
    LLVMDIBuilderRef di;
    LLVMMetadataRef di_file, di_unit, di_function_type;
    struct constant_table *constant_tables; /* pinned: of each table, or NULL */
    struct lower_calls **calls;             /* by table and canonical type, or NULL */
    bool has_known, has_wide; /* known routines: their native code is needed, for v3 too */
    LLVMValueRef personality; /* of functions with handlers, or NULL */
};

struct lower_block;

/* One function being lowered. */
struct lower {
    struct lower_module *m;
    const struct module_function *function;
    uint32_t function_index;
    const struct functype *type;
    LLVMValueRef llvm; /* the LLVM function */
    LLVMBuilderRef builder;
    LLVMBasicBlockRef entry;
    LLVMValueRef *locals; /* allocas, NULL until lower_local makes them */
    struct valtype *local_types;
    LLVMValueRef instance;          /* the instance block's address in this function */
    LLVMValueRef memory;            /* base of memory 0 in this function, or NULL */
    LLVMValueRef instance_argument; /* relocatable: the first argument */
    LLVMMetadataRef di_subprogram;
    LLVMBuilderRef entry_builder; /* at the end of the entry block, which is closed last */
    LLVMValueRef helper_slots;    /* alloca for calls of helpers, or NULL */
    LLVMValueRef throw_slots;     /* alloca for what is thrown, or NULL */
    uint32_t open_try;            /* index + 1 of the innermost block that catches, or 0 */

    LLVMValueRef *stack;
    uint32_t stack_size, stack_capacity;
    struct lower_block *blocks;
    uint32_t block_count, block_capacity;
    const struct profile_function *profile; /* with counters or counts, or NULL */
    bool counting;                          /* counters: lower_profile.c */
    uint32_t next_hint;                     /* branch_hints.h */
    uint64_t at;                            /* offset in the module of the one being lowered */
    uint32_t instruction;                   /* number of the one being lowered */
    LLVMValueRef profile_base;              /* relocatable: address of the counters, or NULL */
    bool unreachable;    /* code up to the end of the block is dead and not lowered */
    uint32_t dead_depth; /* blocks opened in dead code */
    struct arena *scratch;
    struct error *err;
};

/* ---- the operand stack. v128 is always <2 x i64> on it, references are i64 ---- */
LLVMValueRef lower_pop(struct lower *f);
void lower_push(struct lower *f, LLVMValueRef value);
LLVMTypeRef lower_type(struct lower_module *m, struct valtype type);
/* The alloca of a local. */
LLVMValueRef lower_local(struct lower *f, uint32_t index);

/* ---- placement.c ---- */
/* Address of a byte of the instance block. */
LLVMValueRef place_instance_field(struct lower *f, uint64_t offset);
/* Base of linear memory `memory`, as ptr. */
LLVMValueRef place_memory_base(struct lower *f, uint32_t memory);
/* Address of the struct abi_memory, abi_table, global cell, abi_func of this index. */
LLVMValueRef place_memory(struct lower *f, uint32_t memory);
LLVMValueRef place_table(struct lower *f, uint32_t table);
LLVMValueRef place_global(struct lower *f, uint32_t global);
LLVMValueRef place_func(struct lower *f, uint32_t function);
/* Address of a byte of the counters. */
LLVMValueRef place_profile(struct lower *f, uint64_t offset);
/* The i32 that stands for a canonical type in table entries and function records. */
LLVMValueRef place_type_id(struct lower *f, uint32_t canonical);

/* ---- memory access, lower_memory.c ---- */
/* Address of index + offset in a memory: index is i32 (i64 for a 64-bit memory). */
LLVMValueRef lower_address(struct lower *f, uint32_t memory, LLVMValueRef index,
                           uint64_t offset);
/* Load and store of linear memory: alignment 1, alias scopes set; a load that is not used still
 * traps. */
LLVMValueRef lower_load_memory(struct lower *f, LLVMTypeRef type, LLVMValueRef address);
void lower_store_memory(struct lower *f, LLVMValueRef value, LLVMValueRef address);
/* Load and store of the instance block: natural alignment, alias scopes set. */
LLVMValueRef lower_load_instance(struct lower *f, LLVMTypeRef type, LLVMValueRef address);
void lower_store_instance(struct lower *f, LLVMValueRef value, LLVMValueRef address);

/* Current size of a memory in bytes, i64. */
LLVMValueRef lower_memory_bytes(struct lower *f, uint32_t memory);

/* ---- traps and helpers ---- */
/* Traps where condition (i1) is true; the builder is left in the block where it was false. */
void lower_trap_if(struct lower *f, LLVMValueRef condition, enum abi_trap trap);
/* Traps always; the block is closed. */
void lower_trap(struct lower *f, enum abi_trap trap);
/* The stub of a trap, as something to call. */
LLVMValueRef lower_trap_stub(struct lower_module *m, enum abi_trap trap);
/* Calls a helper through the gate. args as its row in helpers.def says; returns the result. */
LLVMValueRef lower_helper(struct lower *f, enum abi_helper helper, LLVMValueRef *args,
                          uint32_t count);
/* Likewise THROW and THROW_REF, whose arguments lie in slots: they do not come back, and the
 * block is closed. */
void lower_throwing_helper(struct lower *f, enum abi_helper helper, LLVMValueRef slots);
LLVMValueRef lower_slots(struct lower *f, uint32_t count);
LLVMValueRef lower_slot(struct lower *f, LLVMValueRef slots, uint32_t index);
/* Calls the LLVM intrinsic `name`, overloaded on types. */
LLVMValueRef lower_intrinsic(struct lower_module *m, LLVMBuilderRef builder, const char *name,
                             LLVMTypeRef *types, uint32_t type_count, LLVMValueRef *args,
                             uint32_t arg_count);

/* ---- tables, lower_variable.c ---- */
/* Current size, i32; a constant where it cannot change. */
LLVMValueRef lower_table_size(struct lower *f, uint32_t table);
/* Address of the struct abi_table_entry at index (i32, in range), and a field of it. */
LLVMValueRef lower_table_entry(struct lower *f, uint32_t table, LLVMValueRef index);
LLVMValueRef lower_entry_field(struct lower *f, LLVMValueRef entry, LLVMTypeRef type,
                               uint64_t offset);

/* ---- functions and calls, lower_call.c ---- */
LLVMTypeRef lower_function_type(struct lower_module *m, const struct functype *type);
/* A value as parameters and the only result pass it, and back. */
LLVMValueRef lower_passed(struct lower_module *m, LLVMBuilderRef builder, struct valtype type,
                          LLVMValueRef value);
LLVMValueRef lower_received(struct lower_module *m, LLVMBuilderRef builder, struct valtype type,
                            LLVMValueRef value);
/* The LLVM function `f<index>` of this partition's module, declared on demand. */
LLVMValueRef lower_function_value(struct lower_module *m, uint32_t index);
/* Attributes every function of an object carries. */
void lower_function_attributes(struct lower_module *m, LLVMValueRef function);
/* Entry thunks, import thunks and trap stubs: once an object, in partition 0. */
void lower_thunks(struct lower_module *m);
void lower_traps_define(struct lower_module *m);

/* ---- exceptions, lower_exception.c ---- */
/* A call that may throw: an invoke where an enclosing block of the function catches. */
LLVMValueRef lower_throwing_call(struct lower *f, LLVMTypeRef type, LLVMValueRef callee,
                                 LLVMValueRef *args, uint32_t count);
void lower_throw(struct lower *f, uint32_t tag);
void lower_throw_ref(struct lower *f);
/* The clauses of the try_table `b`, which has just been closed, where anything can get there.
 */
void lower_catches(struct lower *f, struct lower_block *b);
/* The older form. A handler of the innermost block begins (all: of every exception); the end of
 * the try `b`, which has just been closed; its end by delegate; throwing again what a handler
 * has. */
void lower_handler(struct lower *f, uint32_t tag, bool all);
void lower_untaken(struct lower *f, struct lower_block *b);
void lower_delegate(struct lower *f, struct lower_block *b, uint32_t label);
void lower_rethrow(struct lower *f, uint32_t label);

/* ---- tables that nobody changes, constant_table.c ---- */
/* Finds them, in each partition alike; then defines their arrays, once an object. */
enum status lower_plan_calls(struct lower_module *m, struct arena *arena,
                             struct error *err) must_check;
enum status lower_define_calls(struct lower_module *m, struct arena *arena,
                               struct error *err) must_check;
/* Whether the table has one entry of the type. */
bool lower_only_callee(const struct lower *f, uint32_t table, uint32_t canonical,
                       uint32_t *ret_index, uint32_t *ret_function);
/* Where the function is the entry of a table that nobody changes, if at one index alone. */
bool lower_only_index(const struct lower *f, uint32_t table, uint32_t function,
                      uint32_t *ret_index);
/* What to call for index (i32, in range), a trap's stub too; NULL where it has to be looked up.
 */
LLVMValueRef lower_callee(struct lower *f, uint32_t table, uint32_t canonical,
                          LLVMValueRef index);

/* ---- control, lower_control.c ---- */
/* What is open. */
struct lower_block {
    enum {
        FRAME_BLOCK,
        FRAME_LOOP,
        FRAME_IF,
        FRAME_TRY_TABLE,
        FRAME_TRY,
        FRAME_FUNCTION
    } kind;
    LLVMBasicBlockRef label;     /* where a branch goes */
    LLVMBasicBlockRef end;       /* where the code after it goes on */
    LLVMBasicBlockRef otherwise; /* FRAME_IF until its else: the false side */
    uint32_t height;             /* of the stack below the parameters */
    uint32_t param_count, result_count, label_count;
    const struct valtype *params, *results;
    LLVMValueRef *label_phis, *end_phis; /* the same for all but loops */
    LLVMValueRef *else_values;           /* FRAME_IF: its parameters, for the else */
    bool end_reached;
    struct valtype single; /* storage for a block type of one value */
    /* FRAME_TRY_TABLE */
    struct reader clauses;
    uint32_t clause_count;
    /* FRAME_TRY: */
    bool has_handlers;
    LLVMBasicBlockRef untaken; /* where what no handler so far has taken goes on, or NULL */
    /* both */
    uint32_t outer_try;         /* f->open_try around it */
    LLVMBasicBlockRef pad;      /* where calls in it go that throw, or NULL */
    LLVMBasicBlockRef dispatch; /* where the clauses are tried, or NULL */
    LLVMValueRef exception;     /* phi there, i64 */
};
/* A branch to this label of what is open, with the values on top of the stack. */
void lower_branch(struct lower *f, uint32_t label);

/* Opens the block of the whole function, whose end returns. */
enum status lower_control_begin(struct lower *f) must_check;

/* ---- profiles, lower_profile.c: these do nothing where there is nothing to do ---- */
void lower_profile_module(struct lower_module *m);
/* At the start of the body. */
void lower_profile_begin(struct lower *f);
/* Before and after a branch, select (of an i1) or switch (on an i32 with cases below count) is
 * built. */
void lower_profile_branch(struct lower *f, LLVMValueRef condition);
void lower_profile_weigh(struct lower *f, LLVMValueRef branch);
void lower_profile_switch(struct lower *f, LLVMValueRef index, uint32_t count);
void lower_profile_weigh_switch(struct lower *f, LLVMValueRef choice, uint32_t count);
/* Before an indirect call; record: address of the callee's abi_func, i64. */
void lower_profile_call(struct lower *f, LLVMValueRef record);
/* Functions of this type that the indirect call being lowered should be compared with. */
#define LOWER_MAX_TARGETS 3u
struct lower_target {
    uint32_t function;
    uint64_t count, rest; /* of calls that get here: to it, past it */
};
uint32_t lower_profile_targets(struct lower *f, uint32_t canonical,
                               struct lower_target ret_targets[LOWER_MAX_TARGETS]);
void lower_profile_weigh_target(struct lower *f, LLVMValueRef branch,
                                const struct lower_target *target);

/* ---- known library routines, lower_known.c ---- */
/* At the start of the body: native code, and a way past it to the body. Does nothing for other
 * functions. */
void lower_known(struct lower *f);

/* ---- the families: true where the opcode was theirs ---- */
bool lower_control(struct lower *f, const struct instruction *in);
bool lower_call(struct lower *f, const struct instruction *in);
bool lower_memory(struct lower *f, const struct instruction *in);
bool lower_variable(struct lower *f, const struct instruction *in);
bool lower_numeric(struct lower *f, const struct instruction *in);
bool lower_simd(struct lower *f, const struct instruction *in);

/* Lowers function `index` into m->llvm. */
enum status lower_function(struct lower_module *m, uint32_t index, struct arena *scratch,
                           struct error *err) must_check;

#endif
