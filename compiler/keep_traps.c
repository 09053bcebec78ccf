/*
 * Keeps the traps that LLVM would drop with an unused value. A load from linear memory may
 * trap, but to LLVM an ordinary load whose value is never needed is nothing at all; likewise a
 * call of a function that only reads. Leaving every load volatile would cost vectorisation, so
 * the lowering makes them volatile, cheap passes fold what folds, and then all those become
 * ordinary on whose value a store, call, branch or return still depends. The result of a call
 * that nothing depends on gets a use that emits no instruction, llvm.fake.use, which holds
 * through inlining.
 *
 * What is not covered: a value whose use only the whole pipeline can fold away.
 */
#include "compiler/optimise.h"

#define VISIT_MAX 64

/* Whether instruction `user` makes whatever it uses observable. */
static bool is_root(LLVMValueRef user) {
    switch ((int)LLVMGetInstructionOpcode(user)) {
    case LLVMStore:
    case LLVMRet:
    case LLVMBr:
    case LLVMSwitch:
    case LLVMLoad: return true; /* as its address: the load itself is looked at on its own */
    case LLVMCall: {
        /* intrinsics that only compute pass the question on */
        LLVMValueRef callee = LLVMGetCalledValue(user);
        size_t length;
        const char *name = LLVMGetValueName2(callee, &length);
        if (length < 5 || memcmp(name, "llvm.", 5) != 0) return true;
        return LLVMGetTypeKind(LLVMTypeOf(user)) == LLVMVoidTypeKind;
    }
    default: return false;
    }
}

/* Whether something observable depends on value. Gives up, and says no, after VISIT_MAX steps.
 */
static bool is_needed(LLVMValueRef value) {
    LLVMValueRef seen[VISIT_MAX];
    unsigned count = 1;
    seen[0] = value;
    for (unsigned at = 0; at < count; at++) {
        for (LLVMUseRef use = LLVMGetFirstUse(seen[at]); use; use = LLVMGetNextUse(use)) {
            LLVMValueRef user = LLVMGetUser(use);
            if (is_root(user)) return true;
            bool known = false;
            for (unsigned i = 0; i < count && !known; i++) known = seen[i] == user;
            if (known) continue;
            if (count == VISIT_MAX) return false;
            seen[count++] = user;
        }
    }
    return false;
}

static bool may_trap(const struct lower_module *m, LLVMValueRef instruction) {
    switch ((int)LLVMGetInstructionOpcode(instruction)) {
    case LLVMLoad: {
        LLVMValueRef scope = LLVMGetMetadata(instruction, m->alias_scope_kind);
        return scope && LLVMValueAsMetadata(scope) == m->memory_only;
    }
    case LLVMCall: {
        if (LLVMGetTypeKind(LLVMTypeOf(instruction)) == LLVMVoidTypeKind) return false;
        LLVMValueRef callee = LLVMGetCalledValue(instruction);
        size_t length;
        const char *name = LLVMGetValueName2(callee, &length);
        return callee != m->memory_anchor && callee != m->instance_anchor &&
               (length < 5 || memcmp(name, "llvm.", 5) != 0);
    }
    default: return false;
    }
}

/* Gives the result of a call a use that emits nothing. */
static void use_result(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef call) {
    LLVMPositionBuilderBefore(builder, LLVMGetNextInstruction(call)); /* a call ends no block */
    LLVMValueRef value = call;
    if (LLVMGetTypeKind(LLVMTypeOf(call)) == LLVMStructTypeKind)
        value = LLVMBuildExtractValue(builder, call, 0, "");
    lower_intrinsic(m, builder, "llvm.fake.use", NULL, 0, &value, 1);
}

void keep_traps(struct lower_module *m) {
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
             block = LLVMGetNextBasicBlock(block))
            for (LLVMValueRef i = LLVMGetFirstInstruction(block); i;) {
                LLVMValueRef next = LLVMGetNextInstruction(i);
                if (may_trap(m, i)) {
                    bool needed = is_needed(i);
                    if (LLVMGetInstructionOpcode(i) == LLVMLoad)
                        LLVMSetVolatile(i, !needed);
                    else if (!needed)
                        use_result(m, builder, i);
                }
                i = next;
            }
    LLVMDisposeBuilder(builder);
}
