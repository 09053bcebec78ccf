/*
 * llvm.canonicalize of two f32, which LLVM 22's code generator for x86 cannot select (it ends
 * the process): done on four, the upper two of which are dropped again. The lowering makes such
 * pairs for f32x4.demote_f64x2_zero, and LLVM's vectoriser makes them of floats side by side,
 * so this runs last, at every level.
 */
#include "compiler/optimise.h"

static LLVMValueRef lanes(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef vector,
                          unsigned count) {
    LLVMValueRef mask[4];
    for (unsigned i = 0; i < count; i++)
        mask[i] = i < 2 ? LLVMConstInt(m->i32, i, false) : LLVMGetPoison(m->i32);
    return LLVMBuildShuffleVector(builder, vector, LLVMGetPoison(LLVMTypeOf(vector)),
                                  LLVMConstVector(mask, count), "");
}

void widen_canonicalize(struct lower_module *m) {
    LLVMValueRef function = LLVMGetNamedFunction(m->llvm, "llvm.canonicalize.v2f32");
    if (!function) return;
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMUseRef use = LLVMGetFirstUse(function), next; use; use = next) {
        next = LLVMGetNextUse(use);
        LLVMValueRef call = LLVMGetUser(use);
        LLVMPositionBuilderBefore(builder, call);
        LLVMValueRef four = lanes(m, builder, LLVMGetOperand(call, 0), 4);
        LLVMTypeRef type = LLVMTypeOf(four);
        four = lower_intrinsic(m, builder, "llvm.canonicalize", &type, 1, &four, 1);
        LLVMReplaceAllUsesWith(call, lanes(m, builder, four, 2));
        LLVMInstructionEraseFromParent(call);
    }
    LLVMDisposeBuilder(builder);
}
