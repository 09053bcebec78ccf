/*
 * Conditional traps. A trap is a call of a stub of the object, one for each kind, that executes
 * an illegal instruction: five bytes at the site, and the return address names the site
 * exactly. `nomerge` keeps the sites apart, so that each has its own line. The call may read
 * memory as far as LLVM knows, so stores before it stay before it: memory can be looked at
 * after a trap.
 */
#include "compiler/lower.h"

static void add_attribute(struct lower_module *m, LLVMValueRef function, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    CHECK(kind != 0);
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(m->context, kind, 0));
}

LLVMValueRef lower_trap_stub(struct lower_module *m, enum abi_trap trap) {
    if (!m->traps[trap]) {
        char name[16];
        snprintf(name, sizeof name, "trap%d", (int)trap);
        m->traps[trap] = LLVMAddFunction(m->llvm, name, m->trap_type);
        LLVMSetVisibility(m->traps[trap], LLVMHiddenVisibility);
        static const char *const attributes[] = {"noreturn", "nounwind", "cold", "noinline"};
        for (size_t i = 0; i < countof(attributes); i++)
            add_attribute(m, m->traps[trap], attributes[i]);
    }
    return m->traps[trap];
}

static void emit_trap(struct lower *f, enum abi_trap trap) {
    LLVMValueRef call =
        LLVMBuildCall2(f->builder, f->m->trap_type, lower_trap_stub(f->m, trap), NULL, 0, "");
    unsigned kind = LLVMGetEnumAttributeKindForName("nomerge", 7);
    LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(f->m->context, kind, 0));
    LLVMBuildUnreachable(f->builder);
}

void lower_trap_if(struct lower *f, LLVMValueRef condition, enum abi_trap trap) {
    if (LLVMIsAConstantInt(condition) && LLVMConstIntGetZExtValue(condition) == 0) return;
    LLVMBasicBlockRef trapping = LLVMAppendBasicBlockInContext(f->m->context, f->llvm, "trap");
    LLVMBasicBlockRef next = LLVMAppendBasicBlockInContext(f->m->context, f->llvm, "");
    LLVMBuildCondBr(f->builder, condition, trapping, next);
    LLVMPositionBuilderAtEnd(f->builder, trapping);
    emit_trap(f, trap);
    LLVMPositionBuilderAtEnd(f->builder, next);
}

void lower_trap(struct lower *f, enum abi_trap trap) { emit_trap(f, trap); }

void lower_traps_define(struct lower_module *m) {
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (int trap = TRAP_NONE + 1; trap < TRAP_COUNT; trap++) {
        LLVMValueRef function = lower_trap_stub(m, (enum abi_trap)trap);
        lower_function_attributes(m, function);
        LLVMPositionBuilderAtEnd(builder,
                                 LLVMAppendBasicBlockInContext(m->context, function, "entry"));
        lower_intrinsic(m, builder, "llvm.trap", NULL, 0, NULL, 0);
        LLVMBuildUnreachable(builder);
    }
    LLVMDisposeBuilder(builder);
}
