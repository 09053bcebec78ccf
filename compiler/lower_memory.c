/*
 * Loads, stores and bulk operations of linear memory (spec core 4.4.7).
 *
 * An address is base + zero-extended index + static offset, all in one GEP; a 32-bit index and
 * offset stay below 8 GiB, where the guard ends, so an access needs no check: it faults.
 * memory.copy and memory.fill check their ranges against the current size and become
 * llvm.memmove and llvm.memset, for which the object has its own routines.
 */
#include "compiler/lower.h"

LLVMValueRef lower_address(struct lower *f, uint32_t memory, LLVMValueRef index,
                           uint64_t offset) {
    LLVMValueRef wide = LLVMBuildZExt(f->builder, index, f->m->i64, "");
    if (offset) {
        wide = LLVMBuildAdd(f->builder, wide, LLVMConstInt(f->m->i64, offset, false), "");
        if (LLVMIsAInstruction(wide)) {
            LLVMSetNUW(wide, true);
            LLVMSetNSW(wide, true);
        }
    }
    return LLVMBuildGEPWithNoWrapFlags(f->builder, f->m->i8, place_memory_base(f, memory),
                                       &wide, 1, "", LLVMGEPFlagNUW);
}

static void set_scopes(struct lower *f, LLVMValueRef access, LLVMMetadataRef mine,
                       LLVMMetadataRef other) {
    LLVMSetMetadata(access, f->m->alias_scope_kind, LLVMMetadataAsValue(f->m->context, mine));
    LLVMSetMetadata(access, f->m->noalias_kind, LLVMMetadataAsValue(f->m->context, other));
}

LLVMValueRef lower_load_memory(struct lower *f, LLVMTypeRef type, LLVMValueRef address) {
    LLVMValueRef load = LLVMBuildLoad2(f->builder, type, address, "");
    LLVMSetAlignment(load, 1);
    LLVMSetVolatile(load, true); /* until keep_traps.c finds that its value is needed */
    set_scopes(f, load, f->m->memory_only, f->m->instance_only);
    return load;
}

void lower_store_memory(struct lower *f, LLVMValueRef value, LLVMValueRef address) {
    LLVMValueRef store = LLVMBuildStore(f->builder, value, address);
    LLVMSetAlignment(store, 1);
    set_scopes(f, store, f->m->memory_only, f->m->instance_only);
}

LLVMValueRef lower_load_instance(struct lower *f, LLVMTypeRef type, LLVMValueRef address) {
    LLVMValueRef load = LLVMBuildLoad2(f->builder, type, address, "");
    set_scopes(f, load, f->m->instance_only, f->m->memory_only);
    return load;
}

void lower_store_instance(struct lower *f, LLVMValueRef value, LLVMValueRef address) {
    LLVMValueRef store = LLVMBuildStore(f->builder, value, address);
    set_scopes(f, store, f->m->instance_only, f->m->memory_only);
}

static void emit_load(struct lower *f, const struct instruction *in, LLVMTypeRef stored,
                      LLVMTypeRef type, bool is_signed) {
    LLVMValueRef address = lower_address(f, in->index, lower_pop(f), in->memory_offset);
    LLVMValueRef value = lower_load_memory(f, stored, address);
    if (stored != type)
        value = is_signed ? LLVMBuildSExt(f->builder, value, type, "")
                          : LLVMBuildZExt(f->builder, value, type, "");
    lower_push(f, value);
}

static void emit_store(struct lower *f, const struct instruction *in, LLVMTypeRef stored,
                       bool truncate) {
    LLVMValueRef value = lower_pop(f);
    LLVMValueRef address = lower_address(f, in->index, lower_pop(f), in->memory_offset);
    if (truncate) value = LLVMBuildTrunc(f->builder, value, stored, "");
    lower_store_memory(f, value, address);
}

/* A field of a memory's descriptor, i64. */
static LLVMValueRef memory_field(struct lower *f, uint32_t memory, uint64_t offset) {
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    LLVMValueRef address =
        LLVMBuildGEP2(f->builder, f->m->i8, place_memory(f, memory), &index, 1, "");
    return lower_load_instance(f, f->m->i64, address);
}

LLVMValueRef lower_memory_bytes(struct lower *f, uint32_t memory) {
    return memory_field(f, memory, offsetof(struct abi_memory, size_bytes));
}

/* Traps where start + length is beyond the size of the memory; all i64. */
static void check_range(struct lower *f, LLVMValueRef start, LLVMValueRef length,
                        LLVMValueRef size) {
    LLVMValueRef end = LLVMBuildAdd(f->builder, start, length, "");
    lower_trap_if(f, LLVMBuildICmp(f->builder, LLVMIntUGT, end, size, ""),
                  TRAP_MEMORY_OUT_OF_BOUNDS);
}

static LLVMValueRef pop_i64(struct lower *f) {
    return LLVMBuildZExt(f->builder, lower_pop(f), f->m->i64, "");
}

static LLVMValueRef pointer_at(struct lower *f, uint32_t memory, LLVMValueRef wide) {
    return LLVMBuildGEPWithNoWrapFlags(f->builder, f->m->i8, place_memory_base(f, memory),
                                       &wide, 1, "", LLVMGEPFlagNUW);
}

static void emit_copy(struct lower *f, const struct instruction *in) {
    LLVMValueRef length = pop_i64(f), source = pop_i64(f), destination = pop_i64(f);
    LLVMValueRef size = lower_memory_bytes(f, in->index);
    check_range(f, source, length, size);
    check_range(f, destination, length, size);
    LLVMBuildMemMove(f->builder, pointer_at(f, in->index, destination), 1,
                     pointer_at(f, in->index2, source), 1, length);
}

static void emit_fill(struct lower *f, const struct instruction *in) {
    LLVMValueRef length = pop_i64(f);
    LLVMValueRef value = LLVMBuildTrunc(f->builder, lower_pop(f), f->m->i8, "");
    LLVMValueRef destination = pop_i64(f);
    LLVMValueRef size = lower_memory_bytes(f, in->index);
    check_range(f, destination, length, size);
    LLVMBuildMemSet(f->builder, pointer_at(f, in->index, destination), value, length, 1);
}

/* Calls a helper with immediates first and `pops` operands after them. */
static void emit_helper(struct lower *f, enum abi_helper helper, uint32_t immediate_count,
                        uint32_t first, uint32_t second, uint32_t pops) {
    LLVMValueRef args[8] = {LLVMConstInt(f->m->i32, first, false),
                            LLVMConstInt(f->m->i32, second, false)};
    for (uint32_t i = pops; i-- > 0;) args[immediate_count + i] = lower_pop(f);
    LLVMValueRef result = lower_helper(f, helper, args, immediate_count + pops);
    if (result) lower_push(f, result);
}

bool lower_memory(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    switch (in->opcode) {
    case OP_I32_LOAD: emit_load(f, in, m->i32, m->i32, false); break;
    case OP_I64_LOAD: emit_load(f, in, m->i64, m->i64, false); break;
    case OP_F32_LOAD: emit_load(f, in, m->f32, m->f32, false); break;
    case OP_F64_LOAD: emit_load(f, in, m->f64, m->f64, false); break;
    case OP_I32_LOAD8_S: emit_load(f, in, m->i8, m->i32, true); break;
    case OP_I32_LOAD8_U: emit_load(f, in, m->i8, m->i32, false); break;
    case OP_I32_LOAD16_S: emit_load(f, in, m->i16, m->i32, true); break;
    case OP_I32_LOAD16_U: emit_load(f, in, m->i16, m->i32, false); break;
    case OP_I64_LOAD8_S: emit_load(f, in, m->i8, m->i64, true); break;
    case OP_I64_LOAD8_U: emit_load(f, in, m->i8, m->i64, false); break;
    case OP_I64_LOAD16_S: emit_load(f, in, m->i16, m->i64, true); break;
    case OP_I64_LOAD16_U: emit_load(f, in, m->i16, m->i64, false); break;
    case OP_I64_LOAD32_S: emit_load(f, in, m->i32, m->i64, true); break;
    case OP_I64_LOAD32_U: emit_load(f, in, m->i32, m->i64, false); break;
    case OP_I32_STORE:
    case OP_I64_STORE:
    case OP_F32_STORE:
    case OP_F64_STORE: emit_store(f, in, NULL, false); break;
    case OP_I32_STORE8:
    case OP_I64_STORE8: emit_store(f, in, m->i8, true); break;
    case OP_I32_STORE16:
    case OP_I64_STORE16: emit_store(f, in, m->i16, true); break;
    case OP_I64_STORE32: emit_store(f, in, m->i32, true); break;
    case OP_MEMORY_SIZE:
        lower_push(f, LLVMBuildTrunc(
                          f->builder,
                          memory_field(f, in->index, offsetof(struct abi_memory, size_pages)),
                          m->i32, ""));
        break;
    case OP_MEMORY_GROW: emit_helper(f, ABI_HELPER_MEMORY_GROW, 1, in->index, 0, 1); break;
    case OP_MEMORY_COPY: emit_copy(f, in); break;
    case OP_MEMORY_FILL: emit_fill(f, in); break;
    case OP_MEMORY_INIT:
        emit_helper(f, ABI_HELPER_MEMORY_INIT, 2, in->index2, in->index, 3);
        break;
    case OP_DATA_DROP: emit_helper(f, ABI_HELPER_DATA_DROP, 1, in->index, 0, 0); break;
    case OP_TABLE_SET: emit_helper(f, ABI_HELPER_TABLE_SET, 1, in->index, 0, 2); break;
    case OP_TABLE_GROW: emit_helper(f, ABI_HELPER_TABLE_GROW, 1, in->index, 0, 2); break;
    case OP_TABLE_FILL: emit_helper(f, ABI_HELPER_TABLE_FILL, 1, in->index, 0, 3); break;
    case OP_TABLE_COPY:
        emit_helper(f, ABI_HELPER_TABLE_COPY, 2, in->index, in->index2, 3);
        break;
    case OP_TABLE_INIT:
        emit_helper(f, ABI_HELPER_TABLE_INIT, 2, in->index2, in->index, 3);
        break;
    case OP_ELEM_DROP: emit_helper(f, ABI_HELPER_ELEM_DROP, 1, in->index, 0, 0); break;
    default: return false;
    }
    return true;
}
