/*
 * v128 operations for which x86 has an instruction that LLVM does not find in generic IR. The
 * only file of the lowering that names x86 intrinsics; each of its functions has a generic
 * fallback where it is called. All are SSSE3, below the least target, x86-64-v2.
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
