/*
 * Addresses below a pointer. An access at x - c takes an instruction that subtracts in 32 bits;
 * where nothing but the access wants the difference, -c goes into the displacement of the
 * access instead:
 *
 *     load [memory + zext (x + -c)]   =>   load [memory + zext x + -c]
 *
 * Where x is below c the old address lies in the last bytes of 4 GiB, which no memory of at
 * most 65,535 pages has, and the new one in the guard below memory: both trap. So there must be
 * no static offset, which could lead from the guard back into memory, and the access must be
 * one of the machine's, which faults as a whole.
 *
 * Runs after the pipeline: to LLVM an address below the base is one of another object.
 */
#include "compiler/link.h"
#include "compiler/optimise.h"

#define BELOW_MAX 32768 /* bytes: the guard (ABI_INSTANCE_GUARD) has 65,536 */
#define ACCESS_MAX 16   /* bytes */

_Static_assert(BELOW_MAX <= ABI_INSTANCE_GUARD && BELOW_MAX <= 65536,
               "in the guard, not in memory");

static uint64_t access_bytes(LLVMTypeRef type) {
    switch ((int)LLVMGetTypeKind(type)) {
    case LLVMIntegerTypeKind: return (LLVMGetIntTypeWidth(type) + 7) / 8;
    case LLVMFloatTypeKind: return 4;
    case LLVMDoubleTypeKind: return 8;
    case LLVMVectorTypeKind:
        return LLVMGetVectorSize(type) * access_bytes(LLVMGetElementType(type));
    default: return ACCESS_MAX + 1;
    }
}

/* Whether address is there for small loads and stores alone. */
static bool only_accessed(LLVMValueRef address) {
    for (LLVMUseRef use = LLVMGetFirstUse(address); use; use = LLVMGetNextUse(use)) {
        LLVMValueRef user = LLVMGetUser(use);
        LLVMTypeRef type;
        if (LLVMIsALoadInst(user))
            type = LLVMTypeOf(user);
        else if (LLVMIsAStoreInst(user) && LLVMGetOperand(user, 0) != address)
            type = LLVMTypeOf(LLVMGetOperand(user, 0));
        else
            return false;
        if (access_bytes(type) > ACCESS_MAX) return false;
    }
    return true;
}

static void erase_unused(LLVMValueRef value) {
    if (!LLVMGetFirstUse(value)) LLVMInstructionEraseFromParent(value);
}

static void fold_below(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef memory,
                       LLVMValueRef address) {
    if (LLVMGetNumOperands(address) != 2 || LLVMGetGEPSourceElementType(address) != m->i8)
        return;
    LLVMValueRef base = LLVMGetOperand(address, 0), wide = LLVMGetOperand(address, 1);
    if (!LLVMIsACallInst(base) || LLVMGetCalledValue(base) != memory) return;
    if (!LLVMIsAZExtInst(wide) || LLVMTypeOf(wide) != m->i64) return;
    LLVMValueRef sum = LLVMGetOperand(wide, 0);
    if (LLVMTypeOf(sum) != m->i32 || !LLVMIsAInstruction(sum) ||
        LLVMGetInstructionOpcode(sum) != LLVMAdd)
        return;
    LLVMValueRef x = LLVMGetOperand(sum, 0), c = LLVMGetOperand(sum, 1);
    if (!LLVMIsAConstantInt(c) || LLVMIsAConstant(x)) return;
    int64_t below = LLVMConstIntGetSExtValue(c);
    if (below >= 0 || below < -BELOW_MAX || !only_accessed(address)) return;
    LLVMPositionBuilderBefore(builder, address);
    LLVMValueRef index = LLVMBuildAdd(builder, LLVMBuildZExt(builder, x, m->i64, ""),
                                      LLVMConstInt(m->i64, (uint64_t)below, true), "");
    LLVMReplaceAllUsesWith(address, LLVMBuildGEP2(builder, m->i8, base, &index, 1, ""));
    LLVMInstructionEraseFromParent(address);
    if (!LLVMGetFirstUse(wide)) {
        LLVMInstructionEraseFromParent(wide);
        erase_unused(sum);
    }
}

static void fold_function(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef memory,
                          LLVMValueRef function) {
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
         block = LLVMGetNextBasicBlock(block))
        for (LLVMValueRef i = LLVMGetFirstInstruction(block), next; i; i = next) {
            next = LLVMGetNextInstruction(i);
            if (LLVMIsAGetElementPtrInst(i)) fold_below(m, builder, memory, i);
        }
}

void fold_below_pointers(struct lower_module *m) {
    LLVMValueRef memory = LLVMGetNamedFunction(m->llvm, LOWER_MEMORY_ANCHOR);
    if (!memory || m->options->placement != ABI_PINNED || !module_memory_below_4g(m->module))
        return;
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        if (LLVMCountBasicBlocks(function) != 0) fold_function(m, builder, memory, function);
    LLVMDisposeBuilder(builder);
}
