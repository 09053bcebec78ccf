/*
 * Loops with several entries, as goto makes them. Wasm has none, so producers lead all entries
 * to one place, where a local says which it was:
 *
 *     P:  L = 2; br H          =>   P:  L = 2; br B2
 *     H:  switch L  [0: B0, 1: B1, 2: B2]
 *
 * A way to such a place on which L is a constant goes straight on. LLVM threads jumps too, but
 * not through the head of a loop; and between H and B2 everything that any entry needs is kept.
 *
 * Runs before locals are registers: a value that H computes is wanted in H alone, and what L is
 * on the way there stands in the stores before.
 */
#include "compiler/optimise.h"

#define HEAD_INSTRUCTIONS_MAX 8u
#define ENTRIES_MAX 256u       /* that a head tells apart */
#define STORE_DISTANCE_MAX 64u /* instructions before the jump */
#define STORE_BLOCKS_MAX 4u    /* ... over this many blocks */
#define WAYS_MAX 512u          /* to one place */
#define JOINS_MAX 3u           /* one after the other */

static bool used_in(LLVMValueRef value, LLVMBasicBlockRef block) {
    for (LLVMUseRef use = LLVMGetFirstUse(value); use; use = LLVMGetNextUse(use))
        if (LLVMGetInstructionParent(LLVMGetUser(use)) != block) return false;
    return true;
}

/* The local that alone decides where a block goes on, where it does nothing else; or NULL. */
static LLVMValueRef deciding_local(LLVMBasicBlockRef block) {
    LLVMValueRef local = NULL, i = LLVMGetFirstInstruction(block);
    for (unsigned n = 0; i && !LLVMIsATerminatorInst(i); i = LLVMGetNextInstruction(i), n++) {
        if (n == HEAD_INSTRUCTIONS_MAX || !used_in(i, block)) return NULL;
        if (LLVMIsALoadInst(i)) {
            LLVMValueRef from = LLVMGetOperand(i, 0);
            if (!LLVMIsAAllocaInst(from) || (local && local != from)) return NULL;
            if (LLVMGetTypeKind(LLVMTypeOf(i)) != LLVMIntegerTypeKind) return NULL;
            local = from;
        } else if (!LLVMIsAICmpInst(i) && !LLVMIsAZExtInst(i)) {
            return NULL;
        }
    }
    if (!i || (!LLVMIsASwitchInst(i) && !LLVMIsABranchInst(i))) return NULL;
    unsigned entries = LLVMGetNumSuccessors(i);
    return entries >= 2 && entries <= ENTRIES_MAX ? local : NULL;
}

/* What a value of such a block is where the local is a constant. */
static bool evaluate(LLVMValueRef value, uint64_t local, uint64_t *ret) {
    if (LLVMIsAConstantInt(value)) {
        *ret = LLVMConstIntGetZExtValue(value);
        return true;
    }
    if (LLVMIsALoadInst(value)) {
        *ret = local;
        return true;
    }
    if (LLVMIsAZExtInst(value)) return evaluate(LLVMGetOperand(value, 0), local, ret);
    uint64_t a, b;
    if (!LLVMIsAICmpInst(value) || !evaluate(LLVMGetOperand(value, 0), local, &a) ||
        !evaluate(LLVMGetOperand(value, 1), local, &b))
        return false;
    switch ((int)LLVMGetICmpPredicate(value)) {
    case LLVMIntEQ: *ret = a == b; return true;
    case LLVMIntNE: *ret = a != b; return true;
    default: return false;
    }
}

static LLVMBasicBlockRef destination(LLVMBasicBlockRef head, uint64_t local) {
    LLVMValueRef last = LLVMGetBasicBlockTerminator(head);
    uint64_t value;
    if (LLVMIsABranchInst(last))
        return evaluate(LLVMGetCondition(last), local, &value)
                   ? LLVMGetSuccessor(last, value ? 0 : 1)
                   : NULL;
    if (!evaluate(LLVMGetOperand(last, 0), local, &value)) return NULL;
    for (unsigned i = 1; i < LLVMGetNumSuccessors(last); i++)
        if (LLVMConstIntGetZExtValue(LLVMGetSwitchCaseValue(last, i)) == value)
            return LLVMGetSuccessor(last, i);
    return LLVMGetSwitchDefaultDest(last);
}

/* The one block that leads to another, or NULL. */
static LLVMBasicBlockRef only_way(LLVMBasicBlockRef block) {
    LLVMBasicBlockRef from = NULL;
    for (LLVMUseRef use = LLVMGetFirstUse(LLVMBasicBlockAsValue(block)); use;
         use = LLVMGetNextUse(use)) {
        LLVMValueRef user = LLVMGetUser(use);
        if (from || !LLVMIsATerminatorInst(user)) return NULL;
        from = LLVMGetInstructionParent(user);
    }
    return from;
}

/* The constant that a local is at the end of a block. */
static bool constant_at_end(LLVMBasicBlockRef block, LLVMValueRef local, uint64_t *ret) {
    unsigned n = 0;
    for (unsigned blocks = 0; block && blocks < STORE_BLOCKS_MAX; blocks++) {
        for (LLVMValueRef i = LLVMGetLastInstruction(block); i && n < STORE_DISTANCE_MAX;
             i = LLVMGetPreviousInstruction(i), n++) {
            if (!LLVMIsAStoreInst(i) || LLVMGetOperand(i, 1) != local) continue;
            LLVMValueRef value = LLVMGetOperand(i, 0);
            if (!LLVMIsAConstantInt(value)) return false;
            *ret = LLVMConstIntGetZExtValue(value);
            return true;
        }
        block = only_way(block);
    }
    return false;
}

/* The ways to `block`, which is the head or does nothing but lead to it. */
static void thread_ways(LLVMBasicBlockRef block, LLVMBasicBlockRef head, LLVMValueRef local,
                        unsigned depth) {
    LLVMValueRef ways[WAYS_MAX];
    unsigned count = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(LLVMBasicBlockAsValue(block));
         use && count < WAYS_MAX; use = LLVMGetNextUse(use))
        if (LLVMIsATerminatorInst(LLVMGetUser(use))) ways[count++] = LLVMGetUser(use);
    for (unsigned k = 0; k < count; k++) {
        LLVMBasicBlockRef from = LLVMGetInstructionParent(ways[k]);
        if (from == head) continue;
        if (depth && LLVMGetFirstInstruction(from) == ways[k] &&
            LLVMGetNumSuccessors(ways[k]) == 1) {
            thread_ways(from, head, local, depth - 1);
            continue;
        }
        uint64_t value;
        if (!constant_at_end(from, local, &value)) continue;
        LLVMBasicBlockRef to = destination(head, value);
        if (!to || to == head || LLVMIsAPHINode(LLVMGetFirstInstruction(to))) continue;
        for (unsigned i = 0; i < LLVMGetNumSuccessors(ways[k]); i++)
            if (LLVMGetSuccessor(ways[k], i) == block) LLVMSetSuccessor(ways[k], i, to);
    }
}

void restore_entries(struct lower_module *m) {
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
             block = LLVMGetNextBasicBlock(block)) {
            LLVMValueRef local = deciding_local(block);
            if (local) thread_ways(block, block, local, JOINS_MAX);
        }
}
