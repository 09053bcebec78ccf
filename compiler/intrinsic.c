/*
 * LLVM intrinsics by name: "llvm.fshl" and the types it is overloaded on become a call. The
 * declaration goes into the partition's module, once.
 */
#include "compiler/lower.h"

LLVMValueRef lower_intrinsic(struct lower_module *m, LLVMBuilderRef builder, const char *name,
                             LLVMTypeRef *types, uint32_t type_count, LLVMValueRef *args,
                             uint32_t arg_count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    CHECK(id != 0); /* the names are ours, never the module's */
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(m->llvm, id, types, type_count);
    LLVMTypeRef type = LLVMIntrinsicGetType(m->context, id, types, type_count);
    return LLVMBuildCall2(builder, type, function, args, arg_count, "");
}
