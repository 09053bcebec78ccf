/*
 * v128 loads and stores (spec core 4.4.7: v128.load, loadNxM, load_splat, load_zero, load_lane,
 * store, store_lane) to LLVM IR. Each touches exactly the bytes of its access, so that it traps
 * exactly where the spec says; lower_memory.c knows how.
 */
#include "compiler/lower_simd.h"

static LLVMValueRef load(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef address = lower_address(f, in->index, lower_pop(f), in->memory_offset);
    return lower_load_memory(f, type, address);
}

/* Half a vector of small lanes, each extended to twice its width. */
static void load_extended(struct lower *f, const struct instruction *in, LLVMTypeRef lane,
                          LLVMTypeRef to, LLVMOpcode extend) {
    LLVMTypeRef half = LLVMVectorType(lane, LLVMGetVectorSize(to));
    LLVMValueRef bits = load(f, in, f->m->i64);
    LLVMValueRef lanes = LLVMBuildBitCast(f->builder, bits, half, "");
    simd_push(f, LLVMBuildCast(f->builder, extend, lanes, to, ""));
}

static void load_splat(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef lane = load(f, in, LLVMGetElementType(type));
    simd_push(f, simd_splat(f, type, lane));
}

static void load_zero(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef lane = load(f, in, LLVMGetElementType(type));
    simd_push(f, LLVMBuildInsertElement(f->builder, LLVMConstNull(type), lane,
                                        LLVMConstInt(f->m->i32, 0, false), ""));
}

static void load_lane(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef vector = simd_pop(f, type);
    LLVMValueRef lane = load(f, in, LLVMGetElementType(type));
    simd_push(f, LLVMBuildInsertElement(f->builder, vector, lane,
                                        LLVMConstInt(f->m->i32, in->lane, false), ""));
}

static void store(struct lower *f, const struct instruction *in, LLVMValueRef value) {
    LLVMValueRef address = lower_address(f, in->index, lower_pop(f), in->memory_offset);
    lower_store_memory(f, value, address);
}

static void store_lane(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef vector = simd_pop(f, type);
    store(f, in,
          LLVMBuildExtractElement(f->builder, vector, LLVMConstInt(f->m->i32, in->lane, false),
                                  ""));
}

bool lower_simd_memory(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    switch (in->opcode) {
    case OP_V128_LOAD: lower_push(f, load(f, in, m->v2i64)); return true;
    case OP_V128_STORE: store(f, in, lower_pop(f)); return true;
    case OP_V128_LOAD8X8_S: load_extended(f, in, m->i8, m->v8i16, LLVMSExt); return true;
    case OP_V128_LOAD8X8_U: load_extended(f, in, m->i8, m->v8i16, LLVMZExt); return true;
    case OP_V128_LOAD16X4_S: load_extended(f, in, m->i16, m->v4i32, LLVMSExt); return true;
    case OP_V128_LOAD16X4_U: load_extended(f, in, m->i16, m->v4i32, LLVMZExt); return true;
    case OP_V128_LOAD32X2_S: load_extended(f, in, m->i32, m->v2i64, LLVMSExt); return true;
    case OP_V128_LOAD32X2_U: load_extended(f, in, m->i32, m->v2i64, LLVMZExt); return true;
    case OP_V128_LOAD8_SPLAT: load_splat(f, in, m->v16i8); return true;
    case OP_V128_LOAD16_SPLAT: load_splat(f, in, m->v8i16); return true;
    case OP_V128_LOAD32_SPLAT: load_splat(f, in, m->v4i32); return true;
    case OP_V128_LOAD64_SPLAT: load_splat(f, in, m->v2i64); return true;
    case OP_V128_LOAD32_ZERO: load_zero(f, in, m->v4i32); return true;
    case OP_V128_LOAD64_ZERO: load_zero(f, in, m->v2i64); return true;
    case OP_V128_LOAD8_LANE: load_lane(f, in, m->v16i8); return true;
    case OP_V128_LOAD16_LANE: load_lane(f, in, m->v8i16); return true;
    case OP_V128_LOAD32_LANE: load_lane(f, in, m->v4i32); return true;
    case OP_V128_LOAD64_LANE: load_lane(f, in, m->v2i64); return true;
    case OP_V128_STORE8_LANE: store_lane(f, in, m->v16i8); return true;
    case OP_V128_STORE16_LANE: store_lane(f, in, m->v8i16); return true;
    case OP_V128_STORE32_LANE: store_lane(f, in, m->v4i32); return true;
    case OP_V128_STORE64_LANE: store_lane(f, in, m->v2i64); return true;
    default: return false;
    }
}
