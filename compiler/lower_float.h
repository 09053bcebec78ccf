/*
 * Float operations that scalars and vectors share, private to the lowering. Each takes f32,
 * f64, f32x4 or f64x2 and works lane by lane. See lower_float.c for what makes them differ from
 * the plain LLVM instruction.
 */
#ifndef HUTCH_COMPILER_LOWER_FLOAT_H
#define HUTCH_COMPILER_LOWER_FLOAT_H

#include "compiler/lower.h"

/* fadd, fsub, fmul, fdiv. */
LLVMValueRef float_arithmetic(struct lower *f, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef float_min(struct lower *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef float_max(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* a < b ? a : b and a > b ? a : b: the second where either is NaN or both are equal. */
LLVMValueRef float_less(struct lower *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef float_greater(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* "llvm.sqrt", "llvm.ceil": intrinsics of one operand. */
LLVMValueRef float_unary(struct lower *f, const char *name, LLVMValueRef a);
LLVMValueRef float_copysign(struct lower *f, LLVMValueRef a, LLVMValueRef sign);
/* f64 to f32, lane by lane. */
LLVMValueRef float_demote(struct lower *f, LLVMValueRef a);
/* A signalling NaN becomes quiet, everything else stays as it is. */
LLVMValueRef float_quiet(struct lower *f, LLVMValueRef a);

#endif
