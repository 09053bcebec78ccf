/*
 * Numeric instructions on i32, i64, f32 and f64 (spec core 4.3.2 to 4.3.4 and 4.4.1) to LLVM
 * IR.
 *
 * What the spec traps on is undefined in LLVM, so each such instruction stands behind its
 * checks: no division by zero, no INT_MIN / -1, no conversion of a float outside the integer's
 * range ever reaches LLVM. Shift counts are masked for the same reason. Float constants are
 * built from their bits, so that a NaN keeps its payload. Float arithmetic is in lower_float.c.
 */
#include "compiler/lower_float.h"

static LLVMValueRef pop_pair(struct lower *f, LLVMValueRef *ret_a) {
    LLVMValueRef b = lower_pop(f);
    *ret_a = lower_pop(f);
    return b;
}

static unsigned bit_width(LLVMValueRef value) { return LLVMGetIntTypeWidth(LLVMTypeOf(value)); }

static LLVMValueRef integer(LLVMValueRef like, uint64_t bits) {
    return LLVMConstInt(LLVMTypeOf(like), bits, false);
}

static bool constant_integer(LLVMValueRef value, uint64_t *ret) {
    if (LLVMIsAConstantInt(value) == NULL) return false;
    *ret = LLVMConstIntGetZExtValue(value);
    return true;
}

/* ---- integers ---- */

static void binary(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a, b = pop_pair(f, &a);
    lower_push(f, LLVMBuildBinOp(f->builder, op, a, b, ""));
}

/* The spec counts shifts modulo the width. */
static LLVMValueRef masked(struct lower *f, LLVMValueRef count) {
    return LLVMBuildAnd(f->builder, count, integer(count, bit_width(count) - 1), "");
}

static void shift(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a, b = pop_pair(f, &a);
    lower_push(f, LLVMBuildBinOp(f->builder, op, a, masked(f, b), ""));
}

static void rotate(struct lower *f, const char *funnel) {
    LLVMValueRef a, b = pop_pair(f, &a);
    LLVMTypeRef type = LLVMTypeOf(a);
    lower_push(
        f, lower_intrinsic(f->m, f->builder, funnel, &type, 1, (LLVMValueRef[]){a, a, b}, 3));
}

/* clz and ctz: the second operand says that zero is a defined input. */
static void count_zeros(struct lower *f, const char *name) {
    LLVMValueRef a = lower_pop(f);
    LLVMTypeRef type = LLVMTypeOf(a);
    LLVMValueRef args[] = {a, LLVMConstInt(f->m->i1, 0, false)};
    lower_push(f, lower_intrinsic(f->m, f->builder, name, &type, 1, args, 2));
}

static void population(struct lower *f) {
    LLVMValueRef a = lower_pop(f);
    LLVMTypeRef type = LLVMTypeOf(a);
    lower_push(f, lower_intrinsic(f->m, f->builder, "llvm.ctpop", &type, 1, &a, 1));
}

static void compare(struct lower *f, LLVMIntPredicate predicate) {
    LLVMValueRef a, b = pop_pair(f, &a);
    LLVMValueRef bit = LLVMBuildICmp(f->builder, predicate, a, b, "");
    lower_push(f, LLVMBuildZExt(f->builder, bit, f->m->i32, ""));
}

static void equal_zero(struct lower *f) {
    LLVMValueRef a = lower_pop(f);
    LLVMValueRef bit = LLVMBuildICmp(f->builder, LLVMIntEQ, a, integer(a, 0), "");
    lower_push(f, LLVMBuildZExt(f->builder, bit, f->m->i32, ""));
}

static void trap_if_zero(struct lower *f, LLVMValueRef divisor) {
    uint64_t known;
    if (constant_integer(divisor, &known) && known != 0) return;
    LLVMValueRef zero = LLVMBuildICmp(f->builder, LLVMIntEQ, divisor, integer(divisor, 0), "");
    lower_trap_if(f, zero, TRAP_INTEGER_DIVIDE_BY_ZERO);
}

static void divide_unsigned(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a, b = pop_pair(f, &a);
    trap_if_zero(f, b);
    lower_push(f, LLVMBuildBinOp(f->builder, op, a, b, ""));
}

static void divide_signed(struct lower *f) {
    LLVMValueRef a, b = pop_pair(f, &a);
    LLVMValueRef minus_one = LLVMConstAllOnes(LLVMTypeOf(b));
    trap_if_zero(f, b);
    if (LLVMIsAConstantInt(b) == NULL || b == minus_one) {
        uint64_t minimum = UINT64_C(1) << (bit_width(a) - 1);
        LLVMValueRef is_min = LLVMBuildICmp(f->builder, LLVMIntEQ, a, integer(a, minimum), "");
        LLVMValueRef by_minus_one = LLVMBuildICmp(f->builder, LLVMIntEQ, b, minus_one, "");
        lower_trap_if(f, LLVMBuildAnd(f->builder, is_min, by_minus_one, ""),
                      TRAP_INTEGER_OVERFLOW);
    }
    lower_push(f, LLVMBuildSDiv(f->builder, a, b, ""));
}

/* Every remainder by -1 is 0, as is every one by 1, which is defined for INT_MIN too. */
static void remainder_signed(struct lower *f) {
    LLVMValueRef a, b = pop_pair(f, &a);
    trap_if_zero(f, b);
    LLVMValueRef by_minus_one =
        LLVMBuildICmp(f->builder, LLVMIntEQ, b, LLVMConstAllOnes(LLVMTypeOf(b)), "");
    LLVMValueRef divisor = LLVMBuildSelect(f->builder, by_minus_one, integer(b, 1), b, "");
    lower_push(f, LLVMBuildSRem(f->builder, a, divisor, ""));
}

static void extend_within(struct lower *f, LLVMTypeRef narrow) {
    LLVMValueRef a = lower_pop(f);
    LLVMValueRef low = LLVMBuildTrunc(f->builder, a, narrow, "");
    lower_push(f, LLVMBuildSExt(f->builder, low, LLVMTypeOf(a), ""));
}

static bool lower_integer(struct lower *f, uint32_t opcode) {
    struct lower_module *m = f->m;
    switch (opcode) {
    case OP_I32_EQZ:
    case OP_I64_EQZ: equal_zero(f); return true;
    case OP_I32_EQ:
    case OP_I64_EQ: compare(f, LLVMIntEQ); return true;
    case OP_I32_NE:
    case OP_I64_NE: compare(f, LLVMIntNE); return true;
    case OP_I32_LT_S:
    case OP_I64_LT_S: compare(f, LLVMIntSLT); return true;
    case OP_I32_LT_U:
    case OP_I64_LT_U: compare(f, LLVMIntULT); return true;
    case OP_I32_GT_S:
    case OP_I64_GT_S: compare(f, LLVMIntSGT); return true;
    case OP_I32_GT_U:
    case OP_I64_GT_U: compare(f, LLVMIntUGT); return true;
    case OP_I32_LE_S:
    case OP_I64_LE_S: compare(f, LLVMIntSLE); return true;
    case OP_I32_LE_U:
    case OP_I64_LE_U: compare(f, LLVMIntULE); return true;
    case OP_I32_GE_S:
    case OP_I64_GE_S: compare(f, LLVMIntSGE); return true;
    case OP_I32_GE_U:
    case OP_I64_GE_U: compare(f, LLVMIntUGE); return true;
    case OP_I32_CLZ:
    case OP_I64_CLZ: count_zeros(f, "llvm.ctlz"); return true;
    case OP_I32_CTZ:
    case OP_I64_CTZ: count_zeros(f, "llvm.cttz"); return true;
    case OP_I32_POPCNT:
    case OP_I64_POPCNT: population(f); return true;
    case OP_I32_ADD:
    case OP_I64_ADD: binary(f, LLVMAdd); return true;
    case OP_I32_SUB:
    case OP_I64_SUB: binary(f, LLVMSub); return true;
    case OP_I32_MUL:
    case OP_I64_MUL: binary(f, LLVMMul); return true;
    case OP_I32_AND:
    case OP_I64_AND: binary(f, LLVMAnd); return true;
    case OP_I32_OR:
    case OP_I64_OR: binary(f, LLVMOr); return true;
    case OP_I32_XOR:
    case OP_I64_XOR: binary(f, LLVMXor); return true;
    case OP_I32_DIV_S:
    case OP_I64_DIV_S: divide_signed(f); return true;
    case OP_I32_DIV_U:
    case OP_I64_DIV_U: divide_unsigned(f, LLVMUDiv); return true;
    case OP_I32_REM_S:
    case OP_I64_REM_S: remainder_signed(f); return true;
    case OP_I32_REM_U:
    case OP_I64_REM_U: divide_unsigned(f, LLVMURem); return true;
    case OP_I32_SHL:
    case OP_I64_SHL: shift(f, LLVMShl); return true;
    case OP_I32_SHR_S:
    case OP_I64_SHR_S: shift(f, LLVMAShr); return true;
    case OP_I32_SHR_U:
    case OP_I64_SHR_U: shift(f, LLVMLShr); return true;
    case OP_I32_ROTL:
    case OP_I64_ROTL: rotate(f, "llvm.fshl"); return true;
    case OP_I32_ROTR:
    case OP_I64_ROTR: rotate(f, "llvm.fshr"); return true;
    case OP_I32_EXTEND8_S:
    case OP_I64_EXTEND8_S: extend_within(f, m->i8); return true;
    case OP_I32_EXTEND16_S:
    case OP_I64_EXTEND16_S: extend_within(f, m->i16); return true;
    case OP_I64_EXTEND32_S: extend_within(f, m->i32); return true;
    default: return false;
    }
}

/* ---- floats ---- */

static void compare_float(struct lower *f, LLVMRealPredicate predicate) {
    LLVMValueRef a, b = pop_pair(f, &a);
    LLVMValueRef bit = LLVMBuildFCmp(f->builder, predicate, a, b, "");
    lower_push(f, LLVMBuildZExt(f->builder, bit, f->m->i32, ""));
}

static void arithmetic(struct lower *f, LLVMOpcode op) {
    LLVMValueRef a, b = pop_pair(f, &a);
    lower_push(f, float_arithmetic(f, op, a, b));
}

typedef LLVMValueRef (*float_function)(struct lower *f, LLVMValueRef a, LLVMValueRef b);

static void binary_float(struct lower *f, float_function build) {
    LLVMValueRef a, b = pop_pair(f, &a);
    lower_push(f, build(f, a, b));
}

static bool lower_float(struct lower *f, uint32_t opcode) {
    switch (opcode) {
    case OP_F32_EQ:
    case OP_F64_EQ: compare_float(f, LLVMRealOEQ); return true;
    case OP_F32_NE:
    case OP_F64_NE: compare_float(f, LLVMRealUNE); return true;
    case OP_F32_LT:
    case OP_F64_LT: compare_float(f, LLVMRealOLT); return true;
    case OP_F32_GT:
    case OP_F64_GT: compare_float(f, LLVMRealOGT); return true;
    case OP_F32_LE:
    case OP_F64_LE: compare_float(f, LLVMRealOLE); return true;
    case OP_F32_GE:
    case OP_F64_GE: compare_float(f, LLVMRealOGE); return true;
    case OP_F32_ABS:
    case OP_F64_ABS: lower_push(f, float_unary(f, "llvm.fabs", lower_pop(f))); return true;
    case OP_F32_NEG:
    case OP_F64_NEG: lower_push(f, LLVMBuildFNeg(f->builder, lower_pop(f), "")); return true;
    case OP_F32_CEIL:
    case OP_F64_CEIL: lower_push(f, float_unary(f, "llvm.ceil", lower_pop(f))); return true;
    case OP_F32_FLOOR:
    case OP_F64_FLOOR: lower_push(f, float_unary(f, "llvm.floor", lower_pop(f))); return true;
    case OP_F32_TRUNC:
    case OP_F64_TRUNC: lower_push(f, float_unary(f, "llvm.trunc", lower_pop(f))); return true;
    case OP_F32_NEAREST:
    case OP_F64_NEAREST:
        lower_push(f, float_unary(f, "llvm.roundeven", lower_pop(f)));
        return true;
    case OP_F32_SQRT:
    case OP_F64_SQRT: lower_push(f, float_unary(f, "llvm.sqrt", lower_pop(f))); return true;
    case OP_F32_ADD:
    case OP_F64_ADD: arithmetic(f, LLVMFAdd); return true;
    case OP_F32_SUB:
    case OP_F64_SUB: arithmetic(f, LLVMFSub); return true;
    case OP_F32_MUL:
    case OP_F64_MUL: arithmetic(f, LLVMFMul); return true;
    case OP_F32_DIV:
    case OP_F64_DIV: arithmetic(f, LLVMFDiv); return true;
    case OP_F32_MIN:
    case OP_F64_MIN: binary_float(f, float_min); return true;
    case OP_F32_MAX:
    case OP_F64_MAX: binary_float(f, float_max); return true;
    case OP_F32_COPYSIGN:
    case OP_F64_COPYSIGN: binary_float(f, float_copysign); return true;
    default: return false;
    }
}

/* ---- conversions ---- */

static void convert(struct lower *f, LLVMOpcode op, LLVMTypeRef to) {
    lower_push(f, LLVMBuildCast(f->builder, op, lower_pop(f), to, ""));
}

/*
 * Float to integer, trapping (spec core 4.3.3: trunc_u, trunc_s). With n bits the float fits
 * when signed     -2^(n-1) - 1 < x < 2^(n-1) unsigned             -1 < x < 2^n All bounds are
 * powers of two, exact in f32, but for -2^(n-1) - 1: where that has more bits than the float's
 * mantissa, no float lies between it and -2^(n-1), and x >= -2^(n-1) says the same. One test
 * decides the common case; a NaN fails it, and is told apart only then.
 */
static void truncate_trapping(struct lower *f, LLVMTypeRef to, bool is_signed) {
    LLVMBuilderRef builder = f->builder;
    LLVMValueRef x = lower_pop(f);
    LLVMTypeRef from = LLVMTypeOf(x);
    unsigned width = LLVMGetIntTypeWidth(to);
    double high = is_signed ? 0x1p31 : 0x1p32, low = -1;
    if (width == 64) high *= 0x1p32;
    LLVMRealPredicate above = LLVMRealOGT;
    if (is_signed) {
        bool exact = width == 32 && from == f->m->f64;
        low = exact ? -high - 1 : -high;
        if (!exact) above = LLVMRealOGE;
    }
    LLVMValueRef fits =
        LLVMBuildAnd(builder, LLVMBuildFCmp(builder, above, x, LLVMConstReal(from, low), ""),
                     LLVMBuildFCmp(builder, LLVMRealOLT, x, LLVMConstReal(from, high), ""), "");
    LLVMContextRef context = f->m->context;
    LLVMBasicBlockRef outside = LLVMAppendBasicBlockInContext(context, f->llvm, "outside");
    LLVMBasicBlockRef inside = LLVMAppendBasicBlockInContext(context, f->llvm, "");
    LLVMBuildCondBr(builder, fits, inside, outside);
    LLVMPositionBuilderAtEnd(builder, outside);
    lower_trap_if(f, LLVMBuildFCmp(builder, LLVMRealUNO, x, x, ""), TRAP_INVALID_CONVERSION);
    lower_trap(f, TRAP_INTEGER_OVERFLOW);
    LLVMPositionBuilderAtEnd(builder, inside);
    lower_push(f, LLVMBuildCast(builder, is_signed ? LLVMFPToSI : LLVMFPToUI, x, to, ""));
}

static void truncate_saturating(struct lower *f, LLVMTypeRef to, bool is_signed) {
    LLVMValueRef x = lower_pop(f);
    LLVMTypeRef types[] = {to, LLVMTypeOf(x)};
    lower_push(f, lower_intrinsic(f->m, f->builder,
                                  is_signed ? "llvm.fptosi.sat" : "llvm.fptoui.sat", types, 2,
                                  &x, 1));
}

static bool lower_conversion(struct lower *f, uint32_t opcode) {
    struct lower_module *m = f->m;
    switch (opcode) {
    case OP_I32_WRAP_I64: convert(f, LLVMTrunc, m->i32); return true;
    case OP_I64_EXTEND_I32_S: convert(f, LLVMSExt, m->i64); return true;
    case OP_I64_EXTEND_I32_U: convert(f, LLVMZExt, m->i64); return true;
    case OP_I32_TRUNC_F32_S:
    case OP_I32_TRUNC_F64_S: truncate_trapping(f, m->i32, true); return true;
    case OP_I32_TRUNC_F32_U:
    case OP_I32_TRUNC_F64_U: truncate_trapping(f, m->i32, false); return true;
    case OP_I64_TRUNC_F32_S:
    case OP_I64_TRUNC_F64_S: truncate_trapping(f, m->i64, true); return true;
    case OP_I64_TRUNC_F32_U:
    case OP_I64_TRUNC_F64_U: truncate_trapping(f, m->i64, false); return true;
    case OP_I32_TRUNC_SAT_F32_S:
    case OP_I32_TRUNC_SAT_F64_S: truncate_saturating(f, m->i32, true); return true;
    case OP_I32_TRUNC_SAT_F32_U:
    case OP_I32_TRUNC_SAT_F64_U: truncate_saturating(f, m->i32, false); return true;
    case OP_I64_TRUNC_SAT_F32_S:
    case OP_I64_TRUNC_SAT_F64_S: truncate_saturating(f, m->i64, true); return true;
    case OP_I64_TRUNC_SAT_F32_U:
    case OP_I64_TRUNC_SAT_F64_U: truncate_saturating(f, m->i64, false); return true;
    case OP_F32_CONVERT_I32_S:
    case OP_F32_CONVERT_I64_S: convert(f, LLVMSIToFP, m->f32); return true;
    case OP_F32_CONVERT_I32_U:
    case OP_F32_CONVERT_I64_U: convert(f, LLVMUIToFP, m->f32); return true;
    case OP_F64_CONVERT_I32_S:
    case OP_F64_CONVERT_I64_S: convert(f, LLVMSIToFP, m->f64); return true;
    case OP_F64_CONVERT_I32_U:
    case OP_F64_CONVERT_I64_U: convert(f, LLVMUIToFP, m->f64); return true;
    case OP_F32_DEMOTE_F64: lower_push(f, float_demote(f, lower_pop(f))); return true;
    case OP_F64_PROMOTE_F32: convert(f, LLVMFPExt, m->f64); return true;
    case OP_I32_REINTERPRET_F32: convert(f, LLVMBitCast, m->i32); return true;
    case OP_I64_REINTERPRET_F64: convert(f, LLVMBitCast, m->i64); return true;
    case OP_F32_REINTERPRET_I32: convert(f, LLVMBitCast, m->f32); return true;
    case OP_F64_REINTERPRET_I64: convert(f, LLVMBitCast, m->f64); return true;
    default: return false;
    }
}

static bool lower_constant(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    LLVMTypeRef bits;
    switch (in->opcode) {
    case OP_I32_CONST:
    case OP_F32_CONST: bits = m->i32; break;
    case OP_I64_CONST:
    case OP_F64_CONST: bits = m->i64; break;
    default: return false;
    }
    uint64_t value = bits == m->i32 ? (uint32_t)in->bits : in->bits;
    LLVMValueRef constant = LLVMConstInt(bits, value, false);
    if (in->opcode == OP_F32_CONST) constant = LLVMConstBitCast(constant, m->f32);
    if (in->opcode == OP_F64_CONST) constant = LLVMConstBitCast(constant, m->f64);
    lower_push(f, constant);
    return true;
}

bool lower_numeric(struct lower *f, const struct instruction *in) {
    return lower_constant(f, in) || lower_integer(f, in->opcode) ||
           lower_float(f, in->opcode) || lower_conversion(f, in->opcode);
}
