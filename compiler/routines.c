/*
 * The object's own memcpy, memmove and memset (routines.ll and the processor's file) and what
 * stands in for known library routines (known.ll), as text in this program, to IR in a
 * partition's module.
 *
 * They are IR and not a ready-made object so that they are compiled for the target's vectors
 * and with the unwind tables of everything else. Their names are in no C library's way: they
 * are hidden, and a code object has no other symbols.
 */
#include "compiler/routines.h"

#include <llvm-c/IRReader.h>
#include <llvm-c/Linker.h>
#include <llvm-c/Target.h>

/* The lines of the .ll files; the build makes the lists (meson.build). */
static const char *const memory_lines[] = {
#include "routines.ll.inc"
};
static const char *const known_lines[] = {
#include "known.ll.inc"
};

static enum status link_text(struct lower_module *m, const char *const *lines, size_t count,
                             struct error *err) {
    auto_buffer struct buffer ir = {0};
    for (size_t i = 0; i < count; i++) buffer_put(&ir, lines[i], strlen(lines[i]));
    buffer_put_u8(&ir, 0); /* LLVM wants a zero behind the text, not counted */
    enum status status = buffer_status(&ir, err);
    if (status != ST_OK) return status;
    LLVMInitializeNativeAsmParser(); /* for the inline assembly in them */
    LLVMMemoryBufferRef memory = LLVMCreateMemoryBufferWithMemoryRangeCopy(
        (const char *)ir.bytes, ir.size - 1, "routines.ll");
    LLVMModuleRef routines = NULL;
    char *message = NULL;
    /* text names its values, and LLVM refuses it in a context that drops names */
    LLVMBool discard = LLVMContextShouldDiscardValueNames(m->context);
    LLVMContextSetDiscardValueNames(m->context, false);
    LLVMBool refused = LLVMParseIRInContext(m->context, memory, &routines, &message);
    LLVMContextSetDiscardValueNames(m->context, discard);
    if (refused) { /* the memory is LLVM's now in any case */
        status = error_set(err, ST_INTERNAL, "routines: %s", message);
        LLVMDisposeMessage(message);
        return status;
    }
    LLVMSetDataLayout(routines, LLVMGetDataLayoutStr(m->llvm));
    LLVMSetTarget(routines, LLVMGetTarget(m->llvm));
    if (LLVMLinkModules2(m->llvm, routines)) /* takes the module */
        return error_set(err, ST_INTERNAL, "routines: cannot link them");
    return ST_OK;
}

enum status routines_add(struct lower_module *m, struct error *err) {
    return link_text(m, memory_lines, countof(memory_lines), err);
}

enum status routines_add_known(struct lower_module *m, struct error *err) {
    enum status status = link_text(m, known_lines, countof(known_lines), err);
    if (status != ST_OK) return status;
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function)) {
        size_t length;
        const char *name = LLVMGetValueName2(function, &length);
        if (length < sizeof KNOWN_PREFIX ||
            memcmp(name, KNOWN_PREFIX, sizeof KNOWN_PREFIX - 1) != 0)
            continue;
        LLVMSetVisibility(function, LLVMDefaultVisibility); /* internal ones have no other */
        LLVMSetLinkage(function, LLVMInternalLinkage);
    }
    return ST_OK;
}
