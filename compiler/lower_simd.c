/*
 * v128 instructions to LLVM IR (spec core 4.3.6 and 4.4.3): this file has constants, lanes,
 * shuffles and bitwise operations, and asks the other families for the rest. The operand stack
 * holds every v128 as <2 x i64>; bitcasts to and from the lane type cost nothing.
 *
 * The IR is generic: LLVM's instruction selection finds the machine's instruction in the usual
 * patterns. Where it does not, lower_simd_x86.c helps out.
 */
#include "compiler/lower_simd.h"

LLVMValueRef simd_splat(struct lower *f, LLVMTypeRef type, LLVMValueRef lane) {
    LLVMValueRef vector = LLVMBuildInsertElement(f->builder, LLVMGetPoison(type), lane,
                                                 LLVMConstInt(f->m->i32, 0, false), "");
    return simd_shuffle(f, vector, LLVMGetPoison(type), 0, 0, LLVMGetVectorSize(type));
}

static LLVMValueRef splat_constant(LLVMTypeRef type, LLVMValueRef lane) {
    LLVMValueRef lanes[16];
    unsigned count = LLVMGetVectorSize(type);
    for (unsigned i = 0; i < count; i++) lanes[i] = lane;
    return LLVMConstVector(lanes, count);
}

LLVMValueRef simd_splat_int(LLVMTypeRef type, uint64_t lane) {
    LLVMTypeRef element = LLVMGetElementType(type);
    unsigned width = LLVMGetIntTypeWidth(element);
    if (width < 64) lane &= (UINT64_C(1) << width) - 1;
    return splat_constant(type, LLVMConstInt(element, lane, false));
}

LLVMValueRef simd_splat_float(LLVMTypeRef type, double lane) {
    return splat_constant(type, LLVMConstReal(LLVMGetElementType(type), lane));
}

LLVMValueRef simd_shuffle(struct lower *f, LLVMValueRef a, LLVMValueRef b, unsigned first,
                          unsigned step, unsigned count) {
    LLVMValueRef lanes[16];
    for (unsigned i = 0; i < count; i++)
        lanes[i] = LLVMConstInt(f->m->i32, first + i * step, false);
    return LLVMBuildShuffleVector(f->builder, a, b, LLVMConstVector(lanes, count), "");
}

LLVMTypeRef simd_widened(struct lower *f, LLVMTypeRef type) {
    if (type == f->m->v16i8) return f->m->v8i16;
    return type == f->m->v8i16 ? f->m->v4i32 : f->m->v2i64;
}

LLVMTypeRef simd_narrowed(struct lower *f, LLVMTypeRef type) {
    if (type == f->m->v2i64) return f->m->v4i32;
    return type == f->m->v4i32 ? f->m->v8i16 : f->m->v16i8;
}

/* ---- constants, lanes, shuffles ---- */

static void constant(struct lower *f, const uint8_t bytes[16]) {
    LLVMValueRef lanes[2];
    for (unsigned i = 0; i < 2; i++) {
        uint64_t bits = 0;
        for (unsigned j = 8; j-- > 0;) bits = bits << 8 | bytes[8 * i + j];
        lanes[i] = LLVMConstInt(f->m->i64, bits, false);
    }
    lower_push(f, LLVMConstVector(lanes, 2));
}

static void splat(struct lower *f, LLVMTypeRef type) {
    LLVMValueRef lane = lower_pop(f);
    LLVMTypeRef element = LLVMGetElementType(type);
    if (element == f->m->i8 || element == f->m->i16)
        lane = LLVMBuildTrunc(f->builder, lane, element, "");
    simd_push(f, simd_splat(f, type, lane));
}

static LLVMValueRef lane_number(struct lower *f, const struct instruction *in) {
    return LLVMConstInt(f->m->i32, in->lane, false);
}

static void extract(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef a = simd_pop(f, type);
    lower_push(f, LLVMBuildExtractElement(f->builder, a, lane_number(f, in), ""));
}

static void extract_extended(struct lower *f, const struct instruction *in, LLVMTypeRef type,
                             LLVMOpcode extend) {
    LLVMValueRef a = simd_pop(f, type);
    LLVMValueRef lane = LLVMBuildExtractElement(f->builder, a, lane_number(f, in), "");
    lower_push(f, LLVMBuildCast(f->builder, extend, lane, f->m->i32, ""));
}

static void replace(struct lower *f, const struct instruction *in, LLVMTypeRef type) {
    LLVMValueRef lane = lower_pop(f);
    LLVMTypeRef element = LLVMGetElementType(type);
    if (element == f->m->i8 || element == f->m->i16)
        lane = LLVMBuildTrunc(f->builder, lane, element, "");
    LLVMValueRef a = simd_pop(f, type);
    simd_push(f, LLVMBuildInsertElement(f->builder, a, lane, lane_number(f, in), ""));
}

static void shuffle(struct lower *f, const uint8_t indices[16]) {
    LLVMValueRef a, b, lanes[16];
    simd_pop_pair(f, f->m->v16i8, &a, &b);
    for (unsigned i = 0; i < 16; i++)
        lanes[i] = LLVMConstInt(f->m->i32, indices[i] & 31u, false);
    simd_push(f, LLVMBuildShuffleVector(f->builder, a, b, LLVMConstVector(lanes, 16), ""));
}

/* A constant permutation is a shuffle whose 17th choice is zero. */
static bool swizzle_constant(struct lower *f, LLVMValueRef a, LLVMValueRef indices) {
    LLVMValueRef lanes[16];
    if (!LLVMIsConstant(indices)) return false;
    for (unsigned i = 0; i < 16; i++) {
        LLVMValueRef index = LLVMGetAggregateElement(indices, i);
        if (index == NULL || LLVMIsAConstantInt(index) == NULL) return false;
        uint64_t lane = LLVMConstIntGetZExtValue(index);
        lanes[i] = LLVMConstInt(f->m->i32, lane < 16 ? lane : 16, false);
    }
    simd_push(f, LLVMBuildShuffleVector(f->builder, a, LLVMConstNull(f->m->v16i8),
                                        LLVMConstVector(lanes, 16), ""));
    return true;
}

/* Lane i of the result is lane indices[i] of a, 0 where there is no such lane. */
static void swizzle(struct lower *f) {
    LLVMValueRef a, indices;
    LLVMTypeRef type = f->m->v16i8;
    simd_pop_pair(f, type, &a, &indices);
    if (swizzle_constant(f, a, indices)) return;
    if (simd_is_x86(f)) {
        simd_push(f, simd_x86_swizzle(f, a, indices));
        return;
    }
    LLVMValueRef inside =
        LLVMBuildICmp(f->builder, LLVMIntULT, indices, simd_splat_int(type, 16), "");
    LLVMValueRef low = LLVMBuildAnd(f->builder, indices, simd_splat_int(type, 15), "");
    LLVMValueRef result = LLVMGetPoison(type);
    for (unsigned i = 0; i < 16; i++) {
        LLVMValueRef at = LLVMConstInt(f->m->i32, i, false);
        LLVMValueRef index = LLVMBuildExtractElement(f->builder, low, at, "");
        LLVMValueRef lane = LLVMBuildExtractElement(f->builder, a, index, "");
        result = LLVMBuildInsertElement(f->builder, result, lane, at, "");
    }
    simd_push(f, LLVMBuildSelect(f->builder, inside, result, LLVMConstNull(type), ""));
}

static bool lower_lanes(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    switch (in->opcode) {
    case OP_V128_CONST: constant(f, in->bytes); return true;
    case OP_I8X16_SHUFFLE: shuffle(f, in->bytes); return true;
    case OP_I8X16_SWIZZLE: swizzle(f); return true;
    case OP_I8X16_SPLAT: splat(f, m->v16i8); return true;
    case OP_I16X8_SPLAT: splat(f, m->v8i16); return true;
    case OP_I32X4_SPLAT: splat(f, m->v4i32); return true;
    case OP_I64X2_SPLAT: splat(f, m->v2i64); return true;
    case OP_F32X4_SPLAT: splat(f, m->v4f32); return true;
    case OP_F64X2_SPLAT: splat(f, m->v2f64); return true;
    case OP_I8X16_EXTRACT_LANE_S: extract_extended(f, in, m->v16i8, LLVMSExt); return true;
    case OP_I8X16_EXTRACT_LANE_U: extract_extended(f, in, m->v16i8, LLVMZExt); return true;
    case OP_I16X8_EXTRACT_LANE_S: extract_extended(f, in, m->v8i16, LLVMSExt); return true;
    case OP_I16X8_EXTRACT_LANE_U: extract_extended(f, in, m->v8i16, LLVMZExt); return true;
    case OP_I32X4_EXTRACT_LANE: extract(f, in, m->v4i32); return true;
    case OP_I64X2_EXTRACT_LANE: extract(f, in, m->v2i64); return true;
    case OP_F32X4_EXTRACT_LANE: extract(f, in, m->v4f32); return true;
    case OP_F64X2_EXTRACT_LANE: extract(f, in, m->v2f64); return true;
    case OP_I8X16_REPLACE_LANE: replace(f, in, m->v16i8); return true;
    case OP_I16X8_REPLACE_LANE: replace(f, in, m->v8i16); return true;
    case OP_I32X4_REPLACE_LANE: replace(f, in, m->v4i32); return true;
    case OP_I64X2_REPLACE_LANE: replace(f, in, m->v2i64); return true;
    case OP_F32X4_REPLACE_LANE: replace(f, in, m->v4f32); return true;
    case OP_F64X2_REPLACE_LANE: replace(f, in, m->v2f64); return true;
    default: return false;
    }
}

/* ---- bitwise ---- */

static void bitwise(struct lower *f, LLVMOpcode op) {
    LLVMValueRef b = lower_pop(f), a = lower_pop(f);
    lower_push(f, LLVMBuildBinOp(f->builder, op, a, b, ""));
}

/* Bits of a where mask is 1, of b where it is 0. */
static void bitselect(struct lower *f) {
    LLVMBuilderRef builder = f->builder;
    LLVMValueRef mask = lower_pop(f), b = lower_pop(f), a = lower_pop(f);
    LLVMValueRef from_a = LLVMBuildAnd(builder, a, mask, "");
    LLVMValueRef from_b = LLVMBuildAnd(builder, b, LLVMBuildNot(builder, mask, ""), "");
    lower_push(f, LLVMBuildOr(builder, from_a, from_b, ""));
}

static void any_true(struct lower *f) {
    LLVMTypeRef type = LLVMIntTypeInContext(f->m->context, 128);
    LLVMValueRef bits = simd_pop(f, type);
    LLVMValueRef any = LLVMBuildICmp(f->builder, LLVMIntNE, bits, LLVMConstNull(type), "");
    lower_push(f, LLVMBuildZExt(f->builder, any, f->m->i32, ""));
}

static bool lower_bitwise(struct lower *f, const struct instruction *in) {
    switch (in->opcode) {
    case OP_V128_NOT: lower_push(f, LLVMBuildNot(f->builder, lower_pop(f), "")); return true;
    case OP_V128_AND: bitwise(f, LLVMAnd); return true;
    case OP_V128_OR: bitwise(f, LLVMOr); return true;
    case OP_V128_XOR: bitwise(f, LLVMXor); return true;
    case OP_V128_ANDNOT:
        lower_push(f, LLVMBuildNot(f->builder, lower_pop(f), ""));
        bitwise(f, LLVMAnd);
        return true;
    case OP_V128_BITSELECT: bitselect(f); return true;
    case OP_V128_ANY_TRUE: any_true(f); return true;
    default: return false;
    }
}

bool lower_simd(struct lower *f, const struct instruction *in) {
    return lower_lanes(f, in) || lower_bitwise(f, in) || lower_simd_memory(f, in) ||
           lower_simd_int(f, in) || lower_simd_float(f, in);
}
