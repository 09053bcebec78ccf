/*
 * What the v128 emitters share, private to the lowering.
 *
 *   lower_simd.c          constants, lanes, shuffles, bitwise operations
 *   lower_simd_int.c      i8x16 to i64x2
 *   lower_simd_float.c    f32x4 and f64x2
 *   lower_simd_memory.c   loads and stores
 *   lower_simd_x86.c      the few operations where x86 has an instruction and generic IR is
 * long
 */
#ifndef HUTCH_COMPILER_LOWER_SIMD_H
#define HUTCH_COMPILER_LOWER_SIMD_H

#include "compiler/lower.h"

/* Pops a v128 and looks at it as `type`, one of the 128-bit vector types. */
static inline LLVMValueRef simd_pop(struct lower *f, LLVMTypeRef type) {
    return LLVMBuildBitCast(f->builder, lower_pop(f), type, "");
}

/* Pops b, then a. */
static inline void simd_pop_pair(struct lower *f, LLVMTypeRef type, LLVMValueRef *ret_a,
                                 LLVMValueRef *ret_b) {
    *ret_b = simd_pop(f, type);
    *ret_a = simd_pop(f, type);
}

static inline void simd_push(struct lower *f, LLVMValueRef value) {
    lower_push(f, LLVMBuildBitCast(f->builder, value, f->m->v2i64, ""));
}

/* `lane` in every lane of a `type`. */
LLVMValueRef simd_splat(struct lower *f, LLVMTypeRef type, LLVMValueRef lane);
/* The same for an integer or float constant. */
LLVMValueRef simd_splat_int(LLVMTypeRef type, uint64_t lane);
LLVMValueRef simd_splat_float(LLVMTypeRef type, double lane);

/* count lanes of a and b (one after the other): first, first + step, ... */
LLVMValueRef simd_shuffle(struct lower *f, LLVMValueRef a, LLVMValueRef b, unsigned first,
                          unsigned step, unsigned count);

/* The vector type of the same lanes, twice as wide and half as many, or the other way round. */
LLVMTypeRef simd_widened(struct lower *f, LLVMTypeRef type);
LLVMTypeRef simd_narrowed(struct lower *f, LLVMTypeRef type);

/* The families: true where the opcode was theirs. */
bool lower_simd_int(struct lower *f, const struct instruction *in);
bool lower_simd_float(struct lower *f, const struct instruction *in);
bool lower_simd_memory(struct lower *f, const struct instruction *in);

/* lower_simd_x86.c. Only where the target is x86-64, which simd_is_x86 says. */
bool simd_is_x86(struct lower *f);
/* i8x16.swizzle. */
LLVMValueRef simd_x86_swizzle(struct lower *f, LLVMValueRef a, LLVMValueRef indices);
/* i8x16 pairs times i8x16 pairs, summed and saturated to i16: pmaddubsw; a is unsigned. */
LLVMValueRef simd_x86_multiply_add_bytes(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* i16x8 pairs times i16x8 pairs, summed to i32: pmaddwd. */
LLVMValueRef simd_x86_multiply_add_words(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* i16x8: (a * b + 2^14) >> 15, wrapping: pmulhrsw. */
LLVMValueRef simd_x86_multiply_q15(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* float_less and float_greater of f64x2. LLVM sees min and max in compare and select of floats,
 * but of two lanes it makes a select of integers first, as v128 is <2 x i64>. */
LLVMValueRef simd_x86_less_f64(struct lower *f, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef simd_x86_greater_f64(struct lower *f, LLVMValueRef a, LLVMValueRef b);
/* i32x4.trunc_sat_f32x4_s and i32x4.trunc_sat_f64x2_s_zero. */
LLVMValueRef simd_x86_truncate_f32(struct lower *f, LLVMValueRef a);
LLVMValueRef simd_x86_truncate_f64(struct lower *f, LLVMValueRef a);

#endif
