/*
 * Integer vectors, i8x16 to i64x2 (spec core 4.3.6), to LLVM IR: arithmetic, comparisons,
 * shifts, and what changes the width of the lanes. An operation is one function for all shapes;
 * the table at the end gives each opcode its function and its shape.
 */
#include "compiler/lower_simd.h"

static unsigned lane_width(LLVMTypeRef type) {
    return LLVMGetIntTypeWidth(LLVMGetElementType(type));
}

/* ---- the same width in and out ---- */

static void binary(struct lower *f, LLVMTypeRef type, LLVMOpcode op) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    simd_push(f, LLVMBuildBinOp(f->builder, op, a, b, ""));
}

/* "llvm.smin", "llvm.uadd.sat": intrinsics of two operands. */
static void intrinsic(struct lower *f, LLVMTypeRef type, const char *name) {
    LLVMValueRef args[2];
    simd_pop_pair(f, type, &args[0], &args[1]);
    simd_push(f, lower_intrinsic(f->m, f->builder, name, &type, 1, args, 2));
}

static void compare(struct lower *f, LLVMTypeRef type, LLVMIntPredicate predicate) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    LLVMValueRef bits = LLVMBuildICmp(f->builder, predicate, a, b, "");
    simd_push(f, LLVMBuildSExt(f->builder, bits, type, ""));
}

static void absolute(struct lower *f, LLVMTypeRef type) {
    /* The second operand says that the least integer is its own absolute value. */
    LLVMValueRef args[] = {simd_pop(f, type), LLVMConstInt(f->m->i1, 0, false)};
    simd_push(f, lower_intrinsic(f->m, f->builder, "llvm.abs", &type, 1, args, 2));
}

static void negate(struct lower *f, LLVMTypeRef type) {
    simd_push(f, LLVMBuildNeg(f->builder, simd_pop(f, type), ""));
}

static void population(struct lower *f, LLVMTypeRef type) {
    LLVMValueRef a = simd_pop(f, type);
    simd_push(f, lower_intrinsic(f->m, f->builder, "llvm.ctpop", &type, 1, &a, 1));
}

/* One count for all lanes, modulo their width. */
static void shift(struct lower *f, LLVMTypeRef type, LLVMOpcode op) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef lane = LLVMGetElementType(type);
    LLVMValueRef count = lower_pop(f);
    count =
        LLVMBuildAnd(builder, count, LLVMConstInt(f->m->i32, lane_width(type) - 1, false), "");
    if (lane == f->m->i64) count = LLVMBuildZExt(builder, count, lane, "");
    if (lane == f->m->i8 || lane == f->m->i16) count = LLVMBuildTrunc(builder, count, lane, "");
    LLVMValueRef a = simd_pop(f, type);
    simd_push(f, LLVMBuildBinOp(builder, op, a, simd_splat(f, type, count), ""));
}

static LLVMValueRef extended(struct lower *f, LLVMValueRef a, LLVMOpcode extend,
                             LLVMTypeRef lane) {
    LLVMTypeRef to = LLVMVectorType(lane, LLVMGetVectorSize(LLVMTypeOf(a)));
    return LLVMBuildCast(f->builder, extend, a, to, "");
}

/* (a + b + 1) / 2, unsigned, without overflow: pavgb, pavgw. */
static void average(struct lower *f, LLVMTypeRef type) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef lane = LLVMIntTypeInContext(f->m->context, 2 * lane_width(type));
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    a = extended(f, a, LLVMZExt, lane);
    b = extended(f, b, LLVMZExt, lane);
    LLVMValueRef one = simd_splat_int(LLVMTypeOf(a), 1);
    LLVMValueRef sum = LLVMBuildAdd(builder, LLVMBuildAdd(builder, a, b, ""), one, "");
    simd_push(f, LLVMBuildTrunc(builder, LLVMBuildLShr(builder, sum, one, ""), type, ""));
}

static LLVMValueRef product_q15(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    LLVMBuilderRef builder = f->builder;
    LLVMValueRef product = LLVMBuildMul(builder, extended(f, a, LLVMSExt, f->m->i32),
                                        extended(f, b, LLVMSExt, f->m->i32), "");
    LLVMTypeRef wide = LLVMTypeOf(product);
    product = LLVMBuildAdd(builder, product, simd_splat_int(wide, 1 << 14), "");
    product = LLVMBuildLShr(builder, product, simd_splat_int(wide, 15), "");
    return LLVMBuildTrunc(builder, product, f->m->v8i16, "");
}

/*
 * i16x8.q15mulr_sat_s: (a * b + 2^14) >> 15, saturated. Only -2^15 * -2^15 saturates: it comes
 * out as 0x8000, as nothing else does, and must be 0x7fff.
 */
static void multiply_q15(struct lower *f) {
    LLVMTypeRef type = f->m->v8i16;
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    LLVMValueRef result =
        simd_is_x86(f) ? simd_x86_multiply_q15(f, a, b) : product_q15(f, a, b);
    LLVMValueRef over =
        LLVMBuildICmp(f->builder, LLVMIntEQ, result, simd_splat_int(type, 0x8000), "");
    over = LLVMBuildSExt(f->builder, over, type, "");
    simd_push(f, LLVMBuildXor(f->builder, result, over, ""));
}

/* ---- reductions to a scalar ---- */

static void all_true(struct lower *f, LLVMTypeRef type) {
    LLVMValueRef a = simd_pop(f, type);
    LLVMValueRef zeros = LLVMBuildICmp(f->builder, LLVMIntEQ, a, LLVMConstNull(type), "");
    LLVMTypeRef bits = LLVMIntTypeInContext(f->m->context, LLVMGetVectorSize(type));
    zeros = LLVMBuildBitCast(f->builder, zeros, bits, "");
    LLVMValueRef all = LLVMBuildICmp(f->builder, LLVMIntEQ, zeros, LLVMConstNull(bits), "");
    lower_push(f, LLVMBuildZExt(f->builder, all, f->m->i32, ""));
}

static void bitmask(struct lower *f, LLVMTypeRef type) {
    LLVMValueRef a = simd_pop(f, type);
    LLVMValueRef signs = LLVMBuildICmp(f->builder, LLVMIntSLT, a, LLVMConstNull(type), "");
    LLVMTypeRef bits = LLVMIntTypeInContext(f->m->context, LLVMGetVectorSize(type));
    signs = LLVMBuildBitCast(f->builder, signs, bits, "");
    lower_push(f, LLVMBuildZExt(f->builder, signs, f->m->i32, ""));
}

/* ---- other widths: `type` is the result's ---- */

enum half {
    LOW,
    HIGH
};

static LLVMValueRef half_of(struct lower *f, LLVMValueRef a, enum half half) {
    unsigned count = LLVMGetVectorSize(LLVMTypeOf(a)) / 2;
    return simd_shuffle(f, a, LLVMGetPoison(LLVMTypeOf(a)), half == HIGH ? count : 0, 1, count);
}

static void extend(struct lower *f, LLVMTypeRef type, enum half half, LLVMOpcode op) {
    LLVMValueRef a = simd_pop(f, simd_narrowed(f, type));
    simd_push(f, LLVMBuildCast(f->builder, op, half_of(f, a, half), type, ""));
}

static void multiply_extended(struct lower *f, LLVMTypeRef type, enum half half,
                              LLVMOpcode op) {
    LLVMValueRef a, b;
    simd_pop_pair(f, simd_narrowed(f, type), &a, &b);
    a = LLVMBuildCast(f->builder, op, half_of(f, a, half), type, "");
    b = LLVMBuildCast(f->builder, op, half_of(f, b, half), type, "");
    simd_push(f, LLVMBuildMul(f->builder, a, b, ""));
}

/* The lanes of a, then those of b, saturated to half the width; the operands are signed. */
static void narrow(struct lower *f, LLVMTypeRef type, bool is_signed) {
    LLVMTypeRef from = simd_widened(f, type);
    unsigned width = lane_width(type), count = LLVMGetVectorSize(type);
    LLVMValueRef a, b;
    simd_pop_pair(f, from, &a, &b);
    LLVMValueRef both = simd_shuffle(f, a, b, 0, 1, count);
    LLVMTypeRef wide = LLVMTypeOf(both);
    int64_t high = (INT64_C(1) << (is_signed ? width - 1 : width)) - 1;
    int64_t low = is_signed ? -high - 1 : 0;
    both = lower_intrinsic(f->m, f->builder, "llvm.smax", &wide, 1,
                           (LLVMValueRef[]){both, simd_splat_int(wide, (uint64_t)low)}, 2);
    both = lower_intrinsic(f->m, f->builder, "llvm.smin", &wide, 1,
                           (LLVMValueRef[]){both, simd_splat_int(wide, (uint64_t)high)}, 2);
    simd_push(f, LLVMBuildTrunc(f->builder, both, type, ""));
}

/* Sums of neighbours. The two lanes of a pair are the low and the high half of a wide lane. */
static void add_pairs(struct lower *f, LLVMTypeRef type, bool is_signed) {
    LLVMBuilderRef builder = f->builder;
    LLVMValueRef a = lower_pop(f);
    if (simd_is_x86(f) && type == f->m->v8i16) {
        LLVMValueRef bytes = LLVMBuildBitCast(builder, a, f->m->v16i8, "");
        LLVMValueRef ones = simd_splat_int(f->m->v16i8, 1);
        simd_push(f, is_signed ? simd_x86_multiply_add_bytes(f, ones, bytes)
                               : simd_x86_multiply_add_bytes(f, bytes, ones));
        return;
    }
    if (simd_is_x86(f) && is_signed) {
        LLVMValueRef words = LLVMBuildBitCast(builder, a, f->m->v8i16, "");
        simd_push(f, simd_x86_multiply_add_words(f, words, simd_splat_int(f->m->v8i16, 1)));
        return;
    }
    a = LLVMBuildBitCast(builder, a, type, "");
    LLVMValueRef width = simd_splat_int(type, lane_width(type) / 2);
    LLVMOpcode right = is_signed ? LLVMAShr : LLVMLShr;
    LLVMValueRef low = LLVMBuildShl(builder, a, width, "");
    low = LLVMBuildBinOp(builder, right, low, width, "");
    LLVMValueRef high = LLVMBuildBinOp(builder, right, a, width, "");
    simd_push(f, LLVMBuildAdd(builder, low, high, ""));
}

/* i32x4.dot_i16x8_s: LLVM knows it as pmaddwd. */
static void dot(struct lower *f) {
    LLVMValueRef a, b;
    simd_pop_pair(f, f->m->v8i16, &a, &b);
    LLVMValueRef product = LLVMBuildMul(f->builder, extended(f, a, LLVMSExt, f->m->i32),
                                        extended(f, b, LLVMSExt, f->m->i32), "");
    LLVMValueRef none = LLVMGetPoison(LLVMTypeOf(product));
    simd_push(f, LLVMBuildAdd(f->builder, simd_shuffle(f, product, none, 0, 2, 4),
                              simd_shuffle(f, product, none, 1, 2, 4), ""));
}

/* ---- opcodes ---- */

/* What has the same shape in and out, for the shape `type`. */
#define COMMON(SHAPE, type)                                                                    \
    case OP_##SHAPE##_EQ: compare(f, type, LLVMIntEQ); return true;                            \
    case OP_##SHAPE##_NE: compare(f, type, LLVMIntNE); return true;                            \
    case OP_##SHAPE##_LT_S: compare(f, type, LLVMIntSLT); return true;                         \
    case OP_##SHAPE##_GT_S: compare(f, type, LLVMIntSGT); return true;                         \
    case OP_##SHAPE##_LE_S: compare(f, type, LLVMIntSLE); return true;                         \
    case OP_##SHAPE##_GE_S: compare(f, type, LLVMIntSGE); return true;                         \
    case OP_##SHAPE##_ABS: absolute(f, type); return true;                                     \
    case OP_##SHAPE##_NEG: negate(f, type); return true;                                       \
    case OP_##SHAPE##_ALL_TRUE: all_true(f, type); return true;                                \
    case OP_##SHAPE##_BITMASK: bitmask(f, type); return true;                                  \
    case OP_##SHAPE##_SHL: shift(f, type, LLVMShl); return true;                               \
    case OP_##SHAPE##_SHR_S: shift(f, type, LLVMAShr); return true;                            \
    case OP_##SHAPE##_SHR_U: shift(f, type, LLVMLShr); return true;                            \
    case OP_##SHAPE##_ADD: binary(f, type, LLVMAdd); return true;                              \
    case OP_##SHAPE##_SUB: binary(f, type, LLVMSub); return true;

/* What i64x2 lacks. */
#define UP_TO_32(SHAPE, type)                                                                  \
    case OP_##SHAPE##_LT_U: compare(f, type, LLVMIntULT); return true;                         \
    case OP_##SHAPE##_GT_U: compare(f, type, LLVMIntUGT); return true;                         \
    case OP_##SHAPE##_LE_U: compare(f, type, LLVMIntULE); return true;                         \
    case OP_##SHAPE##_GE_U: compare(f, type, LLVMIntUGE); return true;                         \
    case OP_##SHAPE##_MIN_S: intrinsic(f, type, "llvm.smin"); return true;                     \
    case OP_##SHAPE##_MIN_U: intrinsic(f, type, "llvm.umin"); return true;                     \
    case OP_##SHAPE##_MAX_S: intrinsic(f, type, "llvm.smax"); return true;                     \
    case OP_##SHAPE##_MAX_U: intrinsic(f, type, "llvm.umax"); return true;

/* What only i8x16 and i16x8 have. WIDE is the shape that narrows to this one. */
#define UP_TO_16(SHAPE, type, WIDE)                                                            \
    case OP_##SHAPE##_ADD_SAT_S: intrinsic(f, type, "llvm.sadd.sat"); return true;             \
    case OP_##SHAPE##_ADD_SAT_U: intrinsic(f, type, "llvm.uadd.sat"); return true;             \
    case OP_##SHAPE##_SUB_SAT_S: intrinsic(f, type, "llvm.ssub.sat"); return true;             \
    case OP_##SHAPE##_SUB_SAT_U: intrinsic(f, type, "llvm.usub.sat"); return true;             \
    case OP_##SHAPE##_AVGR_U: average(f, type); return true;                                   \
    case OP_##SHAPE##_NARROW_##WIDE##_S: narrow(f, type, true); return true;                   \
    case OP_##SHAPE##_NARROW_##WIDE##_U: narrow(f, type, false); return true;

/* What makes lanes of this shape from the shape NARROW. */
#define FROM_NARROW(SHAPE, type, NARROW)                                                       \
    case OP_##SHAPE##_EXTEND_LOW_##NARROW##_S: extend(f, type, LOW, LLVMSExt); return true;    \
    case OP_##SHAPE##_EXTEND_LOW_##NARROW##_U: extend(f, type, LOW, LLVMZExt); return true;    \
    case OP_##SHAPE##_EXTEND_HIGH_##NARROW##_S: extend(f, type, HIGH, LLVMSExt); return true;  \
    case OP_##SHAPE##_EXTEND_HIGH_##NARROW##_U: extend(f, type, HIGH, LLVMZExt); return true;  \
    case OP_##SHAPE##_EXTMUL_LOW_##NARROW##_S:                                                 \
        multiply_extended(f, type, LOW, LLVMSExt);                                             \
        return true;                                                                           \
    case OP_##SHAPE##_EXTMUL_LOW_##NARROW##_U:                                                 \
        multiply_extended(f, type, LOW, LLVMZExt);                                             \
        return true;                                                                           \
    case OP_##SHAPE##_EXTMUL_HIGH_##NARROW##_S:                                                \
        multiply_extended(f, type, HIGH, LLVMSExt);                                            \
        return true;                                                                           \
    case OP_##SHAPE##_EXTMUL_HIGH_##NARROW##_U:                                                \
        multiply_extended(f, type, HIGH, LLVMZExt);                                            \
        return true;

bool lower_simd_int(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    switch (in->opcode) {
        COMMON(I8X16, m->v16i8)
        COMMON(I16X8, m->v8i16)
        COMMON(I32X4, m->v4i32)
        COMMON(I64X2, m->v2i64)
        UP_TO_32(I8X16, m->v16i8)
        UP_TO_32(I16X8, m->v8i16)
        UP_TO_32(I32X4, m->v4i32)
        UP_TO_16(I8X16, m->v16i8, I16X8)
        UP_TO_16(I16X8, m->v8i16, I32X4)
        FROM_NARROW(I16X8, m->v8i16, I8X16)
        FROM_NARROW(I32X4, m->v4i32, I16X8)
        FROM_NARROW(I64X2, m->v2i64, I32X4)
    case OP_I16X8_MUL: binary(f, m->v8i16, LLVMMul); return true;
    case OP_I32X4_MUL: binary(f, m->v4i32, LLVMMul); return true;
    case OP_I64X2_MUL: binary(f, m->v2i64, LLVMMul); return true;
    case OP_I8X16_POPCNT: population(f, m->v16i8); return true;
    case OP_I16X8_Q15MULR_SAT_S: multiply_q15(f); return true;
    case OP_I32X4_DOT_I16X8_S: dot(f); return true;
    case OP_I16X8_EXTADD_PAIRWISE_I8X16_S: add_pairs(f, m->v8i16, true); return true;
    case OP_I16X8_EXTADD_PAIRWISE_I8X16_U: add_pairs(f, m->v8i16, false); return true;
    case OP_I32X4_EXTADD_PAIRWISE_I16X8_S: add_pairs(f, m->v4i32, true); return true;
    case OP_I32X4_EXTADD_PAIRWISE_I16X8_U: add_pairs(f, m->v4i32, false); return true;
    default: return false;
    }
}
