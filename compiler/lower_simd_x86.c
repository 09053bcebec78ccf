/*
 * v128 operations for which x86 has an instruction that LLVM does not find in generic IR. The
 * only file of the lowering that names x86 intrinsics; each of its functions has a generic
 * counterpart where it is called. All are SSSE3 or less, and x86-64-v2 is the least target.
 */
#include "compiler/lower_simd.h"

bool simd_is_x86(struct lower *f) {
    /* "native" is resolved before */
    return strncmp(f->m->options->target, "x86-64", 6) == 0;
}

/*
 * pshufb gives zero for an index with its top bit set and looks at the low four bits of any
 * other. Adding 0x70 with saturation sets the top bit of 16 and above only.
 */
LLVMValueRef simd_x86_swizzle(struct lower *f, LLVMValueRef a, LLVMValueRef indices) {
    LLVMTypeRef type = f->m->v16i8;
    LLVMValueRef control =
        lower_intrinsic(f->m, f->builder, "llvm.uadd.sat", &type, 1,
                        (LLVMValueRef[]){indices, simd_splat_int(type, 0x70)}, 2);
    return lower_intrinsic(f->m, f->builder, "llvm.x86.ssse3.pshuf.b.128", NULL, 0,
                           (LLVMValueRef[]){a, control}, 2);
}

LLVMValueRef simd_x86_multiply_add_bytes(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return lower_intrinsic(f->m, f->builder, "llvm.x86.ssse3.pmadd.ub.sw.128", NULL, 0,
                           (LLVMValueRef[]){a, b}, 2);
}

LLVMValueRef simd_x86_multiply_add_words(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return lower_intrinsic(f->m, f->builder, "llvm.x86.sse2.pmadd.wd", NULL, 0,
                           (LLVMValueRef[]){a, b}, 2);
}

LLVMValueRef simd_x86_multiply_q15(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return lower_intrinsic(f->m, f->builder, "llvm.x86.ssse3.pmul.hr.sw.128", NULL, 0,
                           (LLVMValueRef[]){a, b}, 2);
}

LLVMValueRef simd_x86_less_f64(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return lower_intrinsic(f->m, f->builder, "llvm.x86.sse2.min.pd", NULL, 0,
                           (LLVMValueRef[]){a, b}, 2);
}

LLVMValueRef simd_x86_greater_f64(struct lower *f, LLVMValueRef a, LLVMValueRef b) {
    return lower_intrinsic(f->m, f->builder, "llvm.x86.sse2.max.pd", NULL, 0,
                           (LLVMValueRef[]){a, b}, 2);
}

/* NaN becomes zero. What is out of range converts to INT32_MIN: right below, flipped above. */
LLVMValueRef simd_x86_truncate_f32(struct lower *f, LLVMValueRef a) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef type = f->m->v4f32, to = f->m->v4i32;
    LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, a, a, "");
    a = LLVMBuildSelect(builder, number, a, LLVMConstNull(type), "");
    LLVMValueRef over =
        LLVMBuildFCmp(builder, LLVMRealOGE, a, simd_splat_float(type, 0x1p31), "");
    LLVMValueRef converted =
        lower_intrinsic(f->m, builder, "llvm.x86.sse2.cvttps2dq", NULL, 0, &a, 1);
    return LLVMBuildXor(builder, converted, LLVMBuildSExt(builder, over, to, ""), "");
}

/* The same; the least i32 is below, so only the upper limit needs care, and it is an f64. */
LLVMValueRef simd_x86_truncate_f64(struct lower *f, LLVMValueRef a) {
    LLVMBuilderRef builder = f->builder;
    LLVMTypeRef type = f->m->v2f64;
    LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, a, a, "");
    LLVMValueRef limit = LLVMBuildSelect(builder, number, simd_splat_float(type, INT32_MAX),
                                         LLVMConstNull(type), "");
    a = simd_x86_less_f64(f, a, limit);
    return lower_intrinsic(f->m, builder, "llvm.x86.sse2.cvttpd2dq", NULL, 0, &a, 1);
}
