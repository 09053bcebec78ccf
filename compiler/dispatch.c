/*
 * Interpreter loops: a large switch that many places jump back to becomes an indirect branch
 * over a table of them, which LLVM's code generator then copies to the end of each of those
 * places. Each copy is a branch of its own to the processor, which learns what follows what.
 *
 * Only a terminator is exchanged: the indirect branch has the same edges as the switch, as many
 * of each, so no phi changes. Values beyond the table go to its last entry, the default. The
 * table holds addresses of blocks, or distances between them where code is mapped anywhere.
 *
 * Runs after the optimiser: a block whose address is taken is in the way of most passes.
 */
#include "compiler/optimise.h"

#define CASES_MIN 8    /* below, compare and branch is as good */
#define SOURCES_MIN 8  /* below, there is little to replicate */
#define TABLE_MAX 1024 /* entries */
#define JOIN_INSTRUCTIONS_MAX 4

/* The largest value of a switch's cases, or UINT64_MAX where one is beyond TABLE_MAX. */
static uint64_t largest_case(LLVMValueRef choice, unsigned edges) {
    uint64_t largest = 0;
    for (unsigned i = 1; i < edges; i++) {
        LLVMValueRef value = LLVMGetSwitchCaseValue(choice, i);
        uint64_t number = LLVMConstIntGetZExtValue(value);
        if (number >= TABLE_MAX) return UINT64_MAX;
        if (number > largest) largest = number;
    }
    return largest;
}

/* Whether a block little more than joins others: the code generator copies it along. */
static bool only_joins(LLVMBasicBlockRef block) {
    unsigned count = 0;
    LLVMValueRef i = LLVMGetFirstInstruction(block);
    while (i && LLVMIsAPHINode(i)) i = LLVMGetNextInstruction(i);
    for (; i && !LLVMIsATerminatorInst(i); i = LLVMGetNextInstruction(i))
        if (++count > JOIN_INSTRUCTIONS_MAX) return false;
    return i && LLVMGetNumSuccessors(i) == 1;
}

/* The number of places that jump to a block, also through blocks that only join. */
static unsigned count_sources(LLVMBasicBlockRef block, unsigned depth) {
    unsigned count = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(LLVMBasicBlockAsValue(block)); use;
         use = LLVMGetNextUse(use)) {
        LLVMValueRef user = LLVMGetUser(use);
        if (!LLVMIsATerminatorInst(user)) continue;
        LLVMBasicBlockRef from = LLVMGetInstructionParent(user);
        count +=
            depth && from != block && only_joins(from) ? count_sources(from, depth - 1) : 1;
    }
    return count;
}

/* A bound below which value surely lies: from its type before widening, or a mask. */
static uint64_t known_bound(LLVMValueRef value) {
    if (LLVMIsAZExtInst(value)) {
        unsigned bits = LLVMGetIntTypeWidth(LLVMTypeOf(LLVMGetOperand(value, 0)));
        return bits < 32 ? UINT64_C(1) << bits : UINT64_MAX;
    }
    if (LLVMIsAInstruction(value) && LLVMGetInstructionOpcode(value) == LLVMAnd) {
        LLVMValueRef mask = LLVMGetOperand(value, 1);
        if (LLVMIsAConstantInt(mask)) return LLVMConstIntGetZExtValue(mask) + 1;
    }
    unsigned bits = LLVMGetIntTypeWidth(LLVMTypeOf(value));
    return bits < 32 ? UINT64_C(1) << bits : UINT64_MAX;
}

/* Entry of the table: the block's address; or the distance to it from base, as i32. */
static LLVMValueRef entry_for(struct lower_module *m, LLVMValueRef function,
                              LLVMBasicBlockRef base, LLVMBasicBlockRef block) {
    if (m->options->placement == ABI_PINNED) return LLVMBlockAddress(function, block);
    LLVMValueRef from = LLVMConstPtrToInt(LLVMBlockAddress(function, base), m->i64);
    LLVMValueRef to = LLVMConstPtrToInt(LLVMBlockAddress(function, block), m->i64);
    return LLVMConstTrunc(LLVMConstSub(to, from), m->i32);
}

static void replace_switch(struct lower_module *m, LLVMBuilderRef builder,
                           LLVMValueRef function, LLVMValueRef choice) {
    unsigned edges = LLVMGetNumSuccessors(choice);
    uint64_t largest = largest_case(choice, edges);
    if (largest == UINT64_MAX) return;
    LLVMValueRef value = LLVMGetOperand(choice, 0);
    uint64_t bound = known_bound(value);
    bool clamp = bound > TABLE_MAX;
    uint32_t count = clamp ? (uint32_t)largest + 2 : (uint32_t)bound;
    if (count <= largest) return; /* cases that cannot happen: not an interpreter */

    LLVMBasicBlockRef otherwise = LLVMGetSwitchDefaultDest(choice);
    LLVMBasicBlockRef base = LLVMGetSuccessor(choice, 1);
    LLVMValueRef entries[TABLE_MAX + 1];
    for (uint32_t i = 0; i < count; i++) entries[i] = entry_for(m, function, base, otherwise);
    for (unsigned i = 1; i < edges; i++)
        entries[LLVMConstIntGetZExtValue(LLVMGetSwitchCaseValue(choice, i))] =
            entry_for(m, function, base, LLVMGetSuccessor(choice, i));
    bool pinned = m->options->placement == ABI_PINNED;
    LLVMTypeRef entry_type = pinned ? m->ptr : m->i32;
    LLVMTypeRef type = LLVMArrayType2(entry_type, count);
    LLVMValueRef table = LLVMAddGlobal(m->llvm, type, "dispatch");
    LLVMSetInitializer(table, LLVMConstArray2(entry_type, entries, count));
    LLVMSetGlobalConstant(table, true);
    LLVMSetLinkage(table, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(table, LLVMGlobalUnnamedAddr);

    LLVMPositionBuilderBefore(builder, choice);
    LLVMValueRef wide = LLVMBuildIntCast2(builder, value, m->i64, false, "");
    if (clamp) {
        LLVMValueRef args[] = {wide, LLVMConstInt(m->i64, count - 1, false)};
        wide = lower_intrinsic(m, builder, "llvm.umin", &m->i64, 1, args, 2);
    }
    LLVMValueRef entry = LLVMBuildGEP2(builder, entry_type, table, &wide, 1, "");
    LLVMValueRef target = LLVMBuildLoad2(builder, entry_type, entry, "");
    if (!pinned) {
        LLVMValueRef offset = LLVMBuildSExt(builder, target, m->i64, "");
        target =
            LLVMBuildGEP2(builder, m->i8, LLVMBlockAddress(function, base), &offset, 1, "");
    }
    LLVMValueRef branch = LLVMBuildIndirectBr(builder, target, edges);
    for (unsigned i = 0; i < edges; i++)
        LLVMAddDestination(branch, LLVMGetSuccessor(choice, i));
    LLVMValueRef weights = LLVMGetMetadata(choice, m->branch_weights_kind);
    if (weights) LLVMSetMetadata(branch, m->branch_weights_kind, weights); /* the same edges */
    LLVMInstructionEraseFromParent(choice);
}

void replicate_dispatch(struct lower_module *m) {
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
             block = LLVMGetNextBasicBlock(block)) {
            LLVMValueRef last = LLVMGetBasicBlockTerminator(block);
            if (LLVMIsASwitchInst(last) && LLVMGetNumSuccessors(last) > CASES_MIN &&
                count_sources(block, 2) >= SOURCES_MIN)
                replace_switch(m, builder, function, last);
        }
    LLVMDisposeBuilder(builder);
}
