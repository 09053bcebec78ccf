/*
 * Loop counters that start at a negative constant, rise to 0 and are added to the end of an
 * array: wasm-ld's producers save a comparison that way. As a 32-bit number the start is almost
 * 2^32, so the sum wraps in each round, and LLVM can neither widen such an index nor vectorise
 * the loop.
 *
 *     i = phi [-n, before], [i + step, latch]      z = phi [0, before], [z + step, latch]
 *     ... i ..., ... i + step ...             =>   ... z + -n ..., ... (z + step) + -n ...
 *
 * It is arithmetic modulo 2^32 alone: the same values, in the same order, for any step and any
 * exit. What is added to i is folded with -n afterwards, and the sums no longer wrap.
 */
#include "compiler/optimise.h"

/* The operands of i32 phi `from` where it is such a counter. */
struct counter {
    LLVMValueRef start, next;
    LLVMBasicBlockRef before, latch;
};

static bool is_counter(LLVMValueRef phi, struct counter *ret) {
    if (LLVMCountIncoming(phi) != 2) return false;
    for (unsigned k = 0; k < 2; k++) {
        LLVMValueRef start = LLVMGetIncomingValue(phi, k),
                     next = LLVMGetIncomingValue(phi, 1 - k);
        if (!LLVMIsAConstantInt(start) || LLVMConstIntGetSExtValue(start) >= 0) continue;
        if (!LLVMIsAInstruction(next) || LLVMGetInstructionOpcode(next) != LLVMAdd ||
            LLVMGetOperand(next, 0) != phi || !LLVMIsAConstantInt(LLVMGetOperand(next, 1)))
            continue;
        *ret = (struct counter){start, next, LLVMGetIncomingBlock(phi, k),
                                LLVMGetIncomingBlock(phi, 1 - k)};
        return true;
    }
    return false;
}

static LLVMValueRef after_phis(LLVMBasicBlockRef block) {
    LLVMValueRef at = LLVMGetFirstInstruction(block);
    while (LLVMIsAPHINode(at)) at = LLVMGetNextInstruction(at);
    return at;
}

static void rebase(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef phi,
                   const struct counter *c) {
    LLVMPositionBuilderBefore(builder, phi);
    LLVMValueRef zero = LLVMConstInt(m->i32, 0, false);
    LLVMValueRef from_zero = LLVMBuildPhi(builder, m->i32, "");
    LLVMPositionBuilderBefore(builder, c->next);
    LLVMValueRef next = LLVMBuildAdd(builder, from_zero, LLVMGetOperand(c->next, 1), "");
    LLVMValueRef next_there = LLVMBuildAdd(builder, next, c->start, "");
    LLVMPositionBuilderBefore(builder, after_phis(LLVMGetInstructionParent(phi)));
    LLVMValueRef there = LLVMBuildAdd(builder, from_zero, c->start, "");

    LLVMValueRef values[] = {zero, next};
    LLVMBasicBlockRef blocks[] = {c->before, c->latch};
    LLVMAddIncoming(from_zero, values, blocks, 2);
    LLVMReplaceAllUsesWith(c->next, next_there);
    LLVMReplaceAllUsesWith(phi, there);
    LLVMInstructionEraseFromParent(c->next);
    LLVMInstructionEraseFromParent(phi);
}

void rebase_counters(struct lower_module *m) {
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
             block = LLVMGetNextBasicBlock(block)) {
            LLVMValueRef at = LLVMGetFirstInstruction(block);
            while (LLVMIsAPHINode(at)) {
                LLVMValueRef following = LLVMGetNextInstruction(at);
                struct counter counter;
                if (LLVMTypeOf(at) == m->i32 && is_counter(at, &counter))
                    rebase(m, builder, at, &counter);
                at = following;
            }
        }
    LLVMDisposeBuilder(builder);
}
