/*
 * Float vectors, f32x4 and f64x2 (spec core 4.3.6), and conversions between them and integer
 * vectors, to LLVM IR. Arithmetic is shared with the scalars in lower_float.c.
 *
 * The saturating conversions are written out: for vectors LLVM takes llvm.fptosi.sat apart into
 * scalars.
 */
#include "compiler/lower_float.h"
#include "compiler/lower_simd.h"

static void unary(struct lower *f, LLVMTypeRef type, const char *name) {
    simd_push(f, float_unary(f, name, simd_pop(f, type)));
}

static void negate(struct lower *f, LLVMTypeRef type) {
    simd_push(f, LLVMBuildFNeg(f->builder, simd_pop(f, type), ""));
}

static void arithmetic(struct lower *f, LLVMTypeRef type, LLVMOpcode op) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    simd_push(f, float_arithmetic(f, op, a, b));
}

typedef LLVMValueRef (*float_function)(struct lower *f, LLVMValueRef a, LLVMValueRef b);

static void binary(struct lower *f, LLVMTypeRef type, float_function build) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    simd_push(f, build(f, a, b));
}

/* pmin is b < a ? b : a, pmax is a < b ? b : a: the operands the other way round. */
static void pseudo(struct lower *f, LLVMTypeRef type, float_function build) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    simd_push(f, build(f, b, a));
}

static void compare(struct lower *f, LLVMTypeRef type, LLVMRealPredicate predicate) {
    LLVMValueRef a, b;
    simd_pop_pair(f, type, &a, &b);
    LLVMValueRef bits = LLVMBuildFCmp(f->builder, predicate, a, b, "");
    LLVMTypeRef to = type == f->m->v4f32 ? f->m->v4i32 : f->m->v2i64;
    simd_push(f, LLVMBuildSExt(f->builder, bits, to, ""));
}

/* ---- conversions ---- */

static void convert(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a = simd_pop(f, f->m->v4i32);
    simd_push(f, LLVMBuildCast(f->builder, op, a, f->m->v4f32, ""));
}

static LLVMValueRef low_half(struct lower *f, LLVMValueRef a) {
    return simd_shuffle(f, a, LLVMGetPoison(LLVMTypeOf(a)), 0, 1, 2);
}

/* A vector of two lanes, then two zeros. */
static LLVMValueRef with_zeros(struct lower *f, LLVMValueRef a) {
    return simd_shuffle(f, a, LLVMConstNull(LLVMTypeOf(a)), 0, 1, 4);
}

static void convert_low(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a = low_half(f, simd_pop(f, f->m->v4i32));
    simd_push(f, LLVMBuildCast(f->builder, op, a, f->m->v2f64, ""));
}

static void promote_low(struct lower *f) {
    LLVMValueRef a = low_half(f, simd_pop(f, f->m->v4f32));
    simd_push(f, LLVMBuildFPExt(f->builder, a, f->m->v2f64, ""));
}

static void demote_zero(struct lower *f) {
    simd_push(f, with_zeros(f, float_demote(f, simd_pop(f, f->m->v2f64))));
}

/*
 * i32x4.trunc_sat_f32x4: what is too small is raised first, which also takes NaN with it (to be
 * made zero afterwards, or zero already). What is too great cannot be lowered first, since the
 * greatest integer is no f32; its lane of the conversion is poison and not selected.
 */
static void truncate_f32(struct lower *f, bool is_signed) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef type = f->m->v4f32, to = f->m->v4i32;
    LLVMValueRef a = simd_pop(f, type);
    if (is_signed && simd_is_x86(f)) {
        simd_push(f, simd_x86_truncate_f32(f, a));
        return;
    }
    LLVMValueRef raised =
        float_greater(f, a, simd_splat_float(type, is_signed ? -0x1p31 : 0.0));
    LLVMValueRef result =
        LLVMBuildCast(builder, is_signed ? LLVMFPToSI : LLVMFPToUI, raised, to, "");
    LLVMValueRef over = LLVMBuildFCmp(builder, LLVMRealOGE, a,
                                      simd_splat_float(type, is_signed ? 0x1p31 : 0x1p32), "");
    LLVMValueRef greatest = simd_splat_int(to, is_signed ? INT32_MAX : UINT32_MAX);
    result = LLVMBuildSelect(builder, over, greatest, result, "");
    if (is_signed) {
        LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, a, a, "");
        result = LLVMBuildSelect(builder, number, result, LLVMConstNull(to), "");
    }
    simd_push(f, result);
}

/* i32x4.trunc_sat_f64x2_zero: every i32 is an f64, so all is done before the conversion. */
static void truncate_f64(struct lower *f, bool is_signed) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef type = f->m->v2f64;
    LLVMValueRef a = simd_pop(f, type);
    if (is_signed && simd_is_x86(f)) {
        simd_push(f, simd_x86_truncate_f64(f, a));
        return;
    }
    if (is_signed) {
        /* The upper limit is 0 for NaN, and cmpltpd gives the limit where a is NaN. */
        LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, a, a, "");
        LLVMValueRef limit = LLVMBuildSelect(builder, number, simd_splat_float(type, INT32_MAX),
                                             LLVMConstNull(type), "");
        a = float_less(f, a, limit);
        a = float_greater(f, a, simd_splat_float(type, INT32_MIN));
        LLVMTypeRef to = LLVMVectorType(f->m->i32, 2);
        simd_push(f, with_zeros(f, LLVMBuildFPToSI(builder, a, to, "")));
        return;
    }
    a = float_greater(f, a, LLVMConstNull(type));
    a = float_less(f, a, simd_splat_float(type, UINT32_MAX));
    /* At 2^52 the last bit of an f64 is worth 1: the integer is in the low half of the sum. */
    a = LLVMBuildFAdd(builder, float_unary(f, "llvm.trunc", a), simd_splat_float(type, 0x1p52),
                      "");
    a = LLVMBuildBitCast(builder, a, f->m->v4i32, "");
    LLVMValueRef low = simd_shuffle(f, a, LLVMGetPoison(f->m->v4i32), 0, 2, 2);
    simd_push(f, with_zeros(f, low));
}

/* ---- opcodes ---- */

#define SHAPE_CASES(SHAPE, type)                                                               \
    case OP_##SHAPE##_EQ: compare(f, type, LLVMRealOEQ); return true;                          \
    case OP_##SHAPE##_NE: compare(f, type, LLVMRealUNE); return true;                          \
    case OP_##SHAPE##_LT: compare(f, type, LLVMRealOLT); return true;                          \
    case OP_##SHAPE##_GT: compare(f, type, LLVMRealOGT); return true;                          \
    case OP_##SHAPE##_LE: compare(f, type, LLVMRealOLE); return true;                          \
    case OP_##SHAPE##_GE: compare(f, type, LLVMRealOGE); return true;                          \
    case OP_##SHAPE##_ABS: unary(f, type, "llvm.fabs"); return true;                           \
    case OP_##SHAPE##_NEG: negate(f, type); return true;                                       \
    case OP_##SHAPE##_SQRT: unary(f, type, "llvm.sqrt"); return true;                          \
    case OP_##SHAPE##_CEIL: unary(f, type, "llvm.ceil"); return true;                          \
    case OP_##SHAPE##_FLOOR: unary(f, type, "llvm.floor"); return true;                        \
    case OP_##SHAPE##_TRUNC: unary(f, type, "llvm.trunc"); return true;                        \
    case OP_##SHAPE##_NEAREST: unary(f, type, "llvm.roundeven"); return true;                  \
    case OP_##SHAPE##_ADD: arithmetic(f, type, LLVMFAdd); return true;                         \
    case OP_##SHAPE##_SUB: arithmetic(f, type, LLVMFSub); return true;                         \
    case OP_##SHAPE##_MUL: arithmetic(f, type, LLVMFMul); return true;                         \
    case OP_##SHAPE##_DIV: arithmetic(f, type, LLVMFDiv); return true;                         \
    case OP_##SHAPE##_MIN: binary(f, type, float_min); return true;                            \
    case OP_##SHAPE##_MAX: binary(f, type, float_max); return true;                            \
    case OP_##SHAPE##_PMIN: pseudo(f, type, float_less); return true;                          \
    case OP_##SHAPE##_PMAX: pseudo(f, type, float_greater); return true;

bool lower_simd_float(struct lower *f, const struct instruction *in) {
    switch (in->opcode) {
        SHAPE_CASES(F32X4, f->m->v4f32)
        SHAPE_CASES(F64X2, f->m->v2f64)
    case OP_F32X4_CONVERT_I32X4_S: convert(f, LLVMSIToFP); return true;
    case OP_F32X4_CONVERT_I32X4_U: convert(f, LLVMUIToFP); return true;
    case OP_F64X2_CONVERT_LOW_I32X4_S: convert_low(f, LLVMSIToFP); return true;
    case OP_F64X2_CONVERT_LOW_I32X4_U: convert_low(f, LLVMUIToFP); return true;
    case OP_F64X2_PROMOTE_LOW_F32X4: promote_low(f); return true;
    case OP_F32X4_DEMOTE_F64X2_ZERO: demote_zero(f); return true;
    case OP_I32X4_TRUNC_SAT_F32X4_S: truncate_f32(f, true); return true;
    case OP_I32X4_TRUNC_SAT_F32X4_U: truncate_f32(f, false); return true;
    case OP_I32X4_TRUNC_SAT_F64X2_S_ZERO: truncate_f64(f, true); return true;
    case OP_I32X4_TRUNC_SAT_F64X2_U_ZERO: truncate_f64(f, false); return true;
    default: return false;
    }
}
