/*
 * Sums that cannot wrap. Wasm's addresses are sums modulo 2^32, and where LLVM must reckon with
 * the wrap it can neither put x + c into the address of an access nor widen a loop's pointer.
 * Where an access at x has been made before x + c is computed,
 *
 *     A:  load (memory + zext x + offset)    x < size of memory <= 2^32 - 64 KiB,
 *     B:  x + c,  A dominates B              else A had trapped: x + c < 2^32, c <= 16 KiB
 *
 * so the sum is marked nuw, and where it is extended, x is and c added then. That alone is done
 * where A comes soon after B. docs/compiler.md has the argument in full. Before the pipeline,
 * which is what profits.
 */
#include "compiler/dominate.h"
#include "compiler/link.h"
#include "compiler/optimise.h"

/* Together 64 MiB: so far, and no further, an access could get beyond the guard if LLVM dropped
 * the access that a mark rests on. Pinned memory has more than that behind its guard. */
#define ADDEND_MAX 16384u
#define MARKS_MAX 4096u

#define USES_MAX 64u   /* of a value that are looked at */
#define STEPS_MAX 256u /* instructions from the sum, in its own block */

/* Whether instruction is a load or store of linear memory through `address`. */
static bool accesses(const struct lower_module *m, LLVMValueRef instruction,
                     LLVMValueRef address) {
    if (LLVMIsALoadInst(instruction)) {
        if (LLVMGetOperand(instruction, 0) != address) return false;
    } else if (!LLVMIsAStoreInst(instruction) || LLVMGetOperand(instruction, 1) != address) {
        return false;
    }
    LLVMValueRef scope = LLVMGetMetadata(instruction, m->alias_scope_kind);
    return scope && LLVMValueAsMetadata(scope) == m->memory_only;
}

/* Whether an instruction can do no more than compute, or trap as an access does. */
static bool only_reads(LLVMValueRef instruction) {
    switch ((int)LLVMGetInstructionOpcode(instruction)) {
    case LLVMLoad:
    case LLVMGetElementPtr:
    case LLVMZExt:
    case LLVMSExt:
    case LLVMTrunc:
    case LLVMBitCast:
    case LLVMICmp:
    case LLVMFCmp:
    case LLVMSelect:
    case LLVMAdd:
    case LLVMSub:
    case LLVMMul:
    case LLVMAnd:
    case LLVMOr:
    case LLVMXor:
    case LLVMShl:
    case LLVMLShr:
    case LLVMAShr:
    case LLVMFAdd:
    case LLVMFSub:
    case LLVMFMul:
    case LLVMFDiv: return true;
    default: return false;
    }
}

enum when {
    BEFORE,
    SOON
};

/* Whether the access has been made where the sum is, or (SOON) is made before anything else can
 * be seen. */
static bool is_sure(const struct dominators *d, LLVMValueRef access, LLVMValueRef sum,
                    enum when when) {
    LLVMBasicBlockRef block = LLVMGetInstructionParent(sum);
    if (LLVMGetInstructionParent(access) != block)
        return when == BEFORE && dominators_hold(d, LLVMGetInstructionParent(access), block);
    LLVMValueRef at = sum;
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        at = when == BEFORE ? LLVMGetPreviousInstruction(at) : LLVMGetNextInstruction(at);
        if (!at || at == access) return at != NULL;
        if (when == SOON && !only_reads(at)) return false;
    }
    return false;
}

/* What is at a constant distance above address. */
static bool lies_above(const struct lower_module *m, LLVMValueRef address, LLVMValueRef user) {
    return LLVMIsAGetElementPtrInst(user) && LLVMGetNumOperands(user) == 2 &&
           LLVMGetOperand(user, 0) == address && LLVMGetGEPSourceElementType(user) == m->i8 &&
           LLVMIsAConstantInt(LLVMGetOperand(user, 1)) &&
           LLVMConstIntGetZExtValue(LLVMGetOperand(user, 1)) <= UINT32_MAX;
}

/* Whether one of the accesses through `address`, or with a static offset, is sure where the sum
 * is. */
static bool accessed_through(const struct lower_module *m, const struct dominators *d,
                             LLVMValueRef address, LLVMValueRef sum, enum when when,
                             bool may_add) {
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(address); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++) {
        LLVMValueRef user = LLVMGetUser(use);
        if (accesses(m, user, address) && is_sure(d, user, sum, when)) return true;
        if (may_add && lies_above(m, address, user) &&
            accessed_through(m, d, user, sum, when, false))
            return true;
    }
    return false;
}

/* wide: zext x, or zext x + offset. As operand 1 of an address: the base comes first. */
static bool accessed_at(const struct lower_module *m, const struct dominators *d,
                        LLVMValueRef wide, LLVMValueRef sum, enum when when, bool may_add) {
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(wide); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++) {
        LLVMValueRef user = LLVMGetUser(use);
        if (LLVMIsAGetElementPtrInst(user)) {
            if (LLVMGetNumOperands(user) == 2 && LLVMGetOperand(user, 1) == wide &&
                accessed_through(m, d, user, sum, when, may_add))
                return true;
        } else if (may_add && LLVMIsAInstruction(user) &&
                   LLVMGetInstructionOpcode(user) == LLVMAdd && LLVMGetNUW(user) &&
                   LLVMIsAConstantInt(LLVMGetOperand(user, 1)) &&
                   accessed_at(m, d, user, sum, when, false)) {
            return true;
        }
    }
    return false;
}

static bool cannot_wrap(const struct lower_module *m, const struct dominators *d,
                        LLVMValueRef sum, enum when when) {
    LLVMValueRef x = LLVMGetOperand(sum, 0), c = LLVMGetOperand(sum, 1);
    if (!LLVMIsAConstantInt(c) || LLVMConstIntGetZExtValue(c) > ADDEND_MAX) return false;
    if (LLVMIsAConstant(x)) return false;
    if (LLVMIsATruncInst(x) && accessed_at(m, d, LLVMGetOperand(x, 0), sum, when, true))
        return true; /* a parameter, wide as it came */
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(x); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++) {
        LLVMValueRef user = LLVMGetUser(use);
        if (LLVMIsAZExtInst(user) && LLVMTypeOf(user) == m->i64 &&
            accessed_at(m, d, user, sum, when, true))
            return true;
    }
    return false;
}

/* zext (x + c) is zext x + c, which no later pass puts together otherwise; where the sum itself
 * is wanted as well, it would be another one to compute. */
static void widen(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef sum) {
    for (LLVMUseRef use = LLVMGetFirstUse(sum); use; use = LLVMGetNextUse(use))
        if (!LLVMIsAZExtInst(LLVMGetUser(use)) || LLVMTypeOf(LLVMGetUser(use)) != m->i64)
            return;
    LLVMValueRef x = LLVMGetOperand(sum, 0);
    uint64_t c = LLVMConstIntGetZExtValue(LLVMGetOperand(sum, 1));
    for (LLVMUseRef use = LLVMGetFirstUse(sum), next; use; use = next) {
        next = LLVMGetNextUse(use);
        LLVMValueRef extended = LLVMGetUser(use);
        LLVMPositionBuilderBefore(builder, extended);
        LLVMValueRef wide = LLVMBuildNUWAdd(builder, LLVMBuildZExt(builder, x, m->i64, ""),
                                            LLVMConstInt(m->i64, c, false), "");
        LLVMReplaceAllUsesWith(extended, wide);
        LLVMInstructionEraseFromParent(extended);
    }
}

static bool mark_sum(struct lower_module *m, LLVMBuilderRef builder, const struct dominators *d,
                     LLVMValueRef sum) {
    if (LLVMTypeOf(sum) != m->i32 || LLVMGetNUW(sum)) return false;
    bool before = cannot_wrap(m, d, sum, BEFORE);
    if (!before && !cannot_wrap(m, d, sum, SOON)) return false;
    if (before) LLVMSetNUW(sum, true); /* SOON, a wrap would be undefined here */
    widen(m, builder, sum);
    return true;
}

/* The sum of a parameter, which is 64 bits wide, and c, cut off to 32 bits: neither sum is
 * another where w + c cannot wrap. */
static bool drop_mask(struct lower_module *m, const struct dominators *d, LLVMValueRef masked) {
    LLVMValueRef sum = LLVMGetOperand(masked, 0), mask = LLVMGetOperand(masked, 1);
    if (LLVMTypeOf(masked) != m->i64 || !LLVMIsAConstantInt(mask) ||
        LLVMConstIntGetZExtValue(mask) != UINT32_MAX || !LLVMIsAInstruction(sum) ||
        LLVMGetInstructionOpcode(sum) != LLVMAdd)
        return false;
    LLVMValueRef w = LLVMGetOperand(sum, 0), c = LLVMGetOperand(sum, 1);
    if (!LLVMIsAConstantInt(c) || LLVMConstIntGetZExtValue(c) > ADDEND_MAX) return false;
    if (!accessed_at(m, d, w, masked, BEFORE, true) &&
        !accessed_at(m, d, w, masked, SOON, true))
        return false;
    LLVMReplaceAllUsesWith(masked, sum);
    LLVMInstructionEraseFromParent(masked);
    return true;
}

static void mark_function(struct lower_module *m, LLVMBuilderRef builder,
                          LLVMValueRef function) {
    struct dominators d;
    if (!dominators_find(function, &d)) return;
    unsigned marks = 0;
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
         block = LLVMGetNextBasicBlock(block))
        for (LLVMValueRef i = LLVMGetFirstInstruction(block), before = NULL;
             i && marks < MARKS_MAX;
             i = before ? LLVMGetNextInstruction(before) : LLVMGetFirstInstruction(block)) {
            LLVMOpcode opcode = LLVMGetInstructionOpcode(i);
            if (opcode == LLVMAdd && mark_sum(m, builder, &d, i)) marks++;
            if (opcode == LLVMAnd && drop_mask(m, &d, i))
                marks++; /* and it is gone */
            else
                before = i;
        }
    dominators_finish(&d);
}

void mark_nowrap(struct lower_module *m) {
    if (m->options->placement != ABI_PINNED || !module_memory_below_4g(m->module)) return;
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        if (LLVMCountBasicBlocks(function) != 0) mark_function(m, builder, function);
    LLVMDisposeBuilder(builder);
}
