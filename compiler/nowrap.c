/*
 * Sums that cannot wrap. Wasm's addresses are sums modulo 2^32, and where LLVM must reckon with
 * the wrap it can neither put x + c into the address of an access nor widen a loop's pointer.
 * Where an access at x has been made before x + c is computed,
 *
 *     A:  load (memory + zext x + offset)        x < size of memory <= 2^32 - 64 KiB,
 *     B:  x + c,  A dominates B                  else A had trapped: x + c < 2^32 for c <= 16
 * KiB
 *
 * so the sum is marked nuw. docs/compiler.md has the argument in full. Before the pipeline,
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
#define STEPS_MAX 256u /* instructions back from the sum, in its own block */

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

static bool is_before(const struct dominators *d, LLVMValueRef access, LLVMValueRef sum) {
    LLVMBasicBlockRef block = LLVMGetInstructionParent(sum);
    if (LLVMGetInstructionParent(access) != block)
        return dominators_hold(d, LLVMGetInstructionParent(access), block);
    LLVMValueRef at = LLVMGetPreviousInstruction(sum);
    for (unsigned i = 0; at && i < STEPS_MAX; i++, at = LLVMGetPreviousInstruction(at))
        if (at == access) return true;
    return false;
}

/* Whether one of the accesses through `address` comes before the sum. */
static bool accessed_through(const struct lower_module *m, const struct dominators *d,
                             LLVMValueRef address, LLVMValueRef sum) {
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(address); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++)
        if (accesses(m, LLVMGetUser(use), address) && is_before(d, LLVMGetUser(use), sum))
            return true;
    return false;
}

/* wide: zext x, or zext x + offset. As operand 1 of an address: the base comes first. */
static bool accessed_at(const struct lower_module *m, const struct dominators *d,
                        LLVMValueRef wide, LLVMValueRef sum, bool may_add) {
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(wide); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++) {
        LLVMValueRef user = LLVMGetUser(use);
        if (LLVMIsAGetElementPtrInst(user)) {
            if (LLVMGetNumOperands(user) == 2 && LLVMGetOperand(user, 1) == wide &&
                accessed_through(m, d, user, sum))
                return true;
        } else if (may_add && LLVMIsAInstruction(user) &&
                   LLVMGetInstructionOpcode(user) == LLVMAdd && LLVMGetNUW(user) &&
                   LLVMIsAConstantInt(LLVMGetOperand(user, 1)) &&
                   accessed_at(m, d, user, sum, false)) {
            return true;
        }
    }
    return false;
}

static bool cannot_wrap(const struct lower_module *m, const struct dominators *d,
                        LLVMValueRef sum) {
    LLVMValueRef x = LLVMGetOperand(sum, 0), c = LLVMGetOperand(sum, 1);
    if (!LLVMIsAConstantInt(c) || LLVMConstIntGetZExtValue(c) > ADDEND_MAX) return false;
    if (LLVMIsAConstant(x)) return false;
    unsigned seen = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(x); use && seen < USES_MAX;
         use = LLVMGetNextUse(use), seen++) {
        LLVMValueRef user = LLVMGetUser(use);
        if (LLVMIsAZExtInst(user) && LLVMTypeOf(user) == m->i64 &&
            accessed_at(m, d, user, sum, true))
            return true;
    }
    return false;
}

static void mark_function(struct lower_module *m, LLVMValueRef function) {
    struct dominators d;
    if (!dominators_find(function, &d)) return;
    unsigned marks = 0;
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
         block = LLVMGetNextBasicBlock(block))
        for (LLVMValueRef i = LLVMGetFirstInstruction(block); i && marks < MARKS_MAX;
             i = LLVMGetNextInstruction(i))
            if (LLVMGetInstructionOpcode(i) == LLVMAdd && LLVMTypeOf(i) == m->i32 &&
                !LLVMGetNUW(i) && cannot_wrap(m, &d, i)) {
                LLVMSetNUW(i, true);
                marks++;
            }
    dominators_finish(&d);
}

void mark_nowrap(struct lower_module *m) {
    if (m->options->placement != ABI_PINNED || !module_memory_below_4g(m->module)) return;
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        if (LLVMCountBasicBlocks(function) != 0) mark_function(m, function);
}
