/*
 * Keeps the traps that LLVM would drop with an unused value. A load from linear memory may
 * trap, but to LLVM an ordinary load whose value is never needed is nothing at all; likewise a
 * call of a function that only reads. Making every load volatile would cost vectorisation, so
 * only the values that no store, call, branch or return depends on get a use that emits no
 * instruction: llvm.fake.use. It holds through inlining too.
 *
 * Runs after mem2reg, so that values put into locals and never read again are seen as unused.
 * What is not covered: a value whose use LLVM folds away later (x & 0).
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

static void keep(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef i) {
    if (LLVMGetInstructionOpcode(i) == LLVMLoad) {
        LLVMSetVolatile(i, true);
        return;
    }
    LLVMPositionBuilderBefore(builder, LLVMGetNextInstruction(i)); /* a call ends no block */
    LLVMValueRef value = i;
    if (LLVMGetTypeKind(LLVMTypeOf(i)) == LLVMStructTypeKind)
        value = LLVMBuildExtractValue(builder, i, 0, "");
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
                if (may_trap(m, i) && !is_needed(i)) keep(m, builder, i);
                i = next;
            }
    LLVMDisposeBuilder(builder);
}
