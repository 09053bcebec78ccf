/*
 * Float arithmetic on scalars and vectors (spec core 4.3.3) to LLVM.
 *
 * LLVM's instructions and the processor's agree with the spec but in two points, and this file
 * is about those:
 *
 * - LLVM assumes that nobody can tell a signalling NaN from a quiet one, and drops operations
 *   that would only make it quiet: x * 1.0, x - 0.0, a demotion of a promotion. The spec
 * demands a quiet NaN as the result of every arithmetic operation. Where the code in front of
 * us is of that kind we say llvm.canonicalize, which is one multiplication. (A constant that
 * becomes visible only by inlining escapes this: then a signalling NaN may pass such an
 * operation unchanged.)
 * - llvm.minimum and llvm.maximum have the spec's zeros and NaNs, but x86 code for them is a
 *   branch on a sign bit, and lets signalling NaNs through.
 *
 * Negation, absolute value and copysign are bit operations in both worlds. No fast-math flag is
 * ever set.
 */
#include "compiler/lower_float.h"
#include "compiler/lower_simd.h"

static LLVMTypeRef lane_type(LLVMValueRef value) {
    LLVMTypeRef type = LLVMTypeOf(value);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
}

/* The integer type of the same shape. */
static LLVMTypeRef bits_type(struct lower *f, LLVMValueRef value) {
    LLVMTypeRef type = LLVMTypeOf(value);
    LLVMTypeRef lane = lane_type(value) == f->m->f32 ? f->m->i32 : f->m->i64;
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) return lane;
    return LLVMVectorType(lane, LLVMGetVectorSize(type));
}

static bool scalar_is(LLVMValueRef value, double wanted) {
    if (LLVMIsAConstantFP(value) == NULL) return false;
    LLVMBool inexact;
    double got = LLVMConstRealGetDouble(value, &inexact);
    return memcmp(&got, &wanted, sizeof got) == 0; /* tells -0 from +0; no NaN is wanted */
}

/* true where value is a constant with `wanted` in every lane. */
static bool constant_is(LLVMValueRef value, double wanted) {
    if (!LLVMIsConstant(value)) return false;
    LLVMTypeRef type = LLVMTypeOf(value);
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) return scalar_is(value, wanted);
    for (unsigned i = 0; i < LLVMGetVectorSize(type); i++) {
        LLVMValueRef lane = LLVMGetAggregateElement(value, i);
        if (lane == NULL || !scalar_is(lane, wanted)) return false;
    }
    return true;
}

/* true where value is the result of an operation that never gives a signalling NaN. */
static bool is_quiet(LLVMValueRef value) {
    if (LLVMIsAInstruction(value) == NULL) return false;
    switch ((int)LLVMGetInstructionOpcode(value)) {
    case LLVMFAdd:
    case LLVMFSub:
    case LLVMFMul:
    case LLVMFDiv:
    case LLVMSIToFP:
    case LLVMUIToFP: return true;
    case LLVMCall: {
        unsigned id = LLVMGetIntrinsicID(LLVMGetCalledValue(value));
        return id != 0 && (id == LLVMLookupIntrinsicID("llvm.sqrt", 9) ||
                           id == LLVMLookupIntrinsicID("llvm.canonicalize", 17));
    }
    default: return false;
    }
}

LLVMValueRef float_unary(struct lower *f, const char *name, LLVMValueRef a) {
    LLVMTypeRef type = LLVMTypeOf(a);
    return lower_intrinsic(f->m, f->builder, name, &type, 1, &a, 1);
}

LLVMValueRef float_quiet(struct lower *f, LLVMValueRef a) {
    return is_quiet(a) ? a : float_unary(f, "llvm.canonicalize", a);
}

LLVMValueRef float_copysign(struct lower *f, LLVMValueRef a, LLVMValueRef sign) {
    LLVMTypeRef type = LLVMTypeOf(a);
    return lower_intrinsic(f->m, f->builder, "llvm.copysign", &type, 1,
                           (LLVMValueRef[]){a, sign}, 2);
}

/* Where a op b is x or -x for any x that is no NaN: that x; the sign in ret_negate. */
static LLVMValueRef identity_of(LLVMOpcode op, LLVMValueRef a, LLVMValueRef b,
                                bool *ret_negate) {
    *ret_negate = false;
    switch ((int)op) {
    case LLVMFAdd:
        if (constant_is(b, -0.0)) return a;
        return constant_is(a, -0.0) ? b : NULL;
    case LLVMFSub:
        if (constant_is(b, 0.0)) return a;
        *ret_negate = true;
        return constant_is(a, -0.0) ? b : NULL;
    case LLVMFMul:
        if (constant_is(a, 1.0) || constant_is(a, -1.0)) {
            *ret_negate = constant_is(a, -1.0);
            return b;
        }
        /* fall through */
    case LLVMFDiv:
        *ret_negate = constant_is(b, -1.0);
        return *ret_negate || constant_is(b, 1.0) ? a : NULL;
    default: return NULL;
    }
}

LLVMValueRef float_arithmetic(struct lower *f, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b) {
    bool negate;
    LLVMValueRef same = identity_of(op, a, b, &negate);
    if (same == NULL) {
        /* x + 0.0 is x but for -0, and LLVM may know that x is not that */
        if (op == LLVMFAdd && constant_is(a, 0.0)) b = float_quiet(f, b);
        if ((op == LLVMFAdd && constant_is(b, 0.0)) || (op == LLVMFSub && constant_is(b, -0.0)))
            a = float_quiet(f, a);
        return LLVMBuildBinOp(f->builder, op, a, b, "");
    }
    LLVMValueRef quiet = float_quiet(f, same);
    return negate ? LLVMBuildFNeg(f->builder, quiet, "") : quiet;
}

LLVMValueRef float_demote(struct lower *f, LLVMValueRef a) {
    LLVMTypeRef type = LLVMTypeOf(a);
    LLVMTypeRef to = LLVMGetTypeKind(type) == LLVMVectorTypeKind
                         ? LLVMVectorType(f->m->f32, LLVMGetVectorSize(type))
                         : f->m->f32;
    LLVMValueRef demoted = LLVMBuildFPTrunc(f->builder, a, to, "");
    /* LLVM looks for a promotion through negations, selects and phis, so we do not. */
    return is_quiet(a) ? demoted : float_unary(f, "llvm.canonicalize", demoted);
}

LLVMValueRef float_less(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    if (LLVMTypeOf(a) == f->m->v2f64 && simd_is_x86(f)) return simd_x86_less_f64(f, a, b);
    LLVMValueRef less = LLVMBuildFCmp(f->builder, LLVMRealOLT, a, b, "");
    return LLVMBuildSelect(f->builder, less, a, b, "");
}

LLVMValueRef float_greater(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    if (LLVMTypeOf(a) == f->m->v2f64 && simd_is_x86(f)) return simd_x86_greater_f64(f, a, b);
    LLVMValueRef greater = LLVMBuildFCmp(f->builder, LLVMRealOGT, a, b, "");
    return LLVMBuildSelect(f->builder, greater, a, b, "");
}

/*
 * x86's minss in both orders gives the smaller twice, or +0 and -0 in some order: the two join
 * by `or` for the minimum, which keeps the minus, and by `and` for the maximum. Where an
 * operand is NaN the sum is the NaN the spec asks for: quiet, and canonical if all NaNs among
 * the operands are.
 */
static LLVMValueRef min_max(struct lower *f, bool max, LLVMValueRef a, LLVMValueRef b) {
    LLVMBuilderRef builder = f->builder;
    if (LLVMIsConstant(a) || LLVMIsConstant(b)) {
        /* Here LLVM has all it needs for short code; and the sum could be one of identity_of.
         */
        LLVMTypeRef type = LLVMTypeOf(a);
        LLVMValueRef value =
            lower_intrinsic(f->m, builder, max ? "llvm.maximum" : "llvm.minimum", &type, 1,
                            (LLVMValueRef[]){a, b}, 2);
        return float_unary(f, "llvm.canonicalize", value);
    }
    LLVMTypeRef bits = bits_type(f, a);
    LLVMValueRef one = max ? float_greater(f, a, b) : float_less(f, a, b);
    LLVMValueRef other = max ? float_greater(f, b, a) : float_less(f, b, a);
    LLVMValueRef joined = LLVMBuildBinOp(builder, max ? LLVMAnd : LLVMOr,
                                         LLVMBuildBitCast(builder, one, bits, ""),
                                         LLVMBuildBitCast(builder, other, bits, ""), "");
    joined = LLVMBuildBitCast(builder, joined, LLVMTypeOf(a), "");
    LLVMValueRef nan = LLVMBuildFCmp(builder, LLVMRealUNO, a, b, "");
    LLVMValueRef sum = LLVMBuildFAdd(builder, a, b, "");
    return LLVMBuildSelect(builder, nan, sum, joined, "");
}

LLVMValueRef float_min(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return min_max(f, false, a, b);
}

LLVMValueRef float_max(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return min_max(f, true, a, b);
}
