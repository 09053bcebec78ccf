/*
 * Vectors of saturating conversions, i32 of floats, which LLVM's code generator takes apart
 * into one scalar conversion a lane. x86's instruction gives INT_MIN for whatever does not fit,
 * which is right below, the complement of what is wanted above, and to be cleared for a NaN:
 *
 *     i = cvttps2dq x;  i ^= x >= 2^31 ? -1 : 0;  i &= x == x ? -1 : 0
 *
 * Runs after the optimiser, which makes such vectors of loops.
 */
#include "compiler/optimise.h"

static const char prefix[] = "llvm.fptosi.sat.v";

/* `lanes` lanes of a vector from lane `first` on. */
static LLVMValueRef slice(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef vector,
                          unsigned first, unsigned lanes) {
    LLVMValueRef mask[64];
    for (unsigned i = 0; i < lanes; i++) mask[i] = LLVMConstInt(m->i32, first + i, false);
    return LLVMBuildShuffleVector(builder, vector, LLVMGetPoison(LLVMTypeOf(vector)),
                                  LLVMConstVector(mask, lanes), "");
}

/* Joins count vectors of one type, a power of two of them. */
static LLVMValueRef join(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef *parts,
                         unsigned count) {
    for (; count > 1; count /= 2)
        for (unsigned i = 0; i < count / 2; i++) {
            unsigned lanes = 2 * LLVMGetVectorSize(LLVMTypeOf(parts[2 * i]));
            LLVMValueRef mask[64];
            for (unsigned k = 0; k < lanes; k++) mask[k] = LLVMConstInt(m->i32, k, false);
            parts[i] = LLVMBuildShuffleVector(builder, parts[2 * i], parts[2 * i + 1],
                                              LLVMConstVector(mask, lanes), "");
        }
    return parts[0];
}

/* Converts a vector of the conversion's own size. */
static LLVMValueRef convert(struct lower_module *m, LLVMBuilderRef builder, const char *name,
                            LLVMValueRef x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    unsigned lanes = LLVMGetVectorSize(type);
    LLVMTypeRef result = LLVMVectorType(m->i32, lanes);
    LLVMValueRef limit[64];
    for (unsigned i = 0; i < lanes; i++)
        limit[i] = LLVMConstReal(LLVMGetElementType(type), 0x1p31);
    LLVMValueRef i = lower_intrinsic(m, builder, name, NULL, 0, &x, 1);
    LLVMValueRef above =
        LLVMBuildFCmp(builder, LLVMRealOGE, x, LLVMConstVector(limit, lanes), "");
    LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, x, x, "");
    i = LLVMBuildXor(builder, i, LLVMBuildSExt(builder, above, result, ""), "");
    return LLVMBuildAnd(builder, i, LLVMBuildSExt(builder, number, result, ""), "");
}

static void expand(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef call) {
    LLVMValueRef x = LLVMGetOperand(call, 0), parts[16];
    LLVMTypeRef type = LLVMTypeOf(x);
    unsigned lanes = LLVMGetVectorSize(type);
    bool wide = strcmp(m->options->target, "x86-64-v2") != 0;
    bool f32 = LLVMGetElementType(type) == m->f32;
    unsigned own = f32 && wide ? 8 : 4;
    if (!f32 && !wide) return; /* cvttpd2dq of two leaves half a vector: not worth it */
    if (own > lanes) own = lanes;
    const char *name = !f32       ? "llvm.x86.avx.cvtt.pd2dq.256"
                       : own == 8 ? "llvm.x86.avx.cvtt.ps2dq.256"
                                  : "llvm.x86.sse2.cvttps2dq";
    if (own < 4 || lanes % own != 0 || lanes / own > countof(parts) || lanes > 64 ||
        (lanes & (lanes - 1)) != 0)
        return;
    LLVMPositionBuilderBefore(builder, call);
    for (unsigned i = 0; i < lanes / own; i++)
        parts[i] =
            convert(m, builder, name, own == lanes ? x : slice(m, builder, x, i * own, own));
    LLVMReplaceAllUsesWith(call, join(m, builder, parts, lanes / own));
    LLVMInstructionEraseFromParent(call);
}

void saturate_vectors(struct lower_module *m) {
    if (strncmp(m->options->target, "x86-64", 6) != 0) return;
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef f = LLVMGetFirstFunction(m->llvm), next; f; f = next) {
        next =
            LLVMGetNextFunction(f); /* intrinsics are declared behind it: seen, and no harm */
        size_t length;
        const char *name = LLVMGetValueName2(f, &length);
        if (length < sizeof prefix || memcmp(name, prefix, sizeof prefix - 1) != 0) continue;
        LLVMTypeRef result = LLVMGetReturnType(LLVMGlobalGetValueType(f));
        if (LLVMGetElementType(result) != m->i32) continue;
        for (LLVMUseRef use = LLVMGetFirstUse(f), following; use; use = following) {
            following = LLVMGetNextUse(use);
            expand(m, builder, LLVMGetUser(use));
        }
    }
    LLVMDisposeBuilder(builder);
}
