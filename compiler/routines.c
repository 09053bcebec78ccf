/*
 * The object's own memcpy, memmove and memset: routines.ll and the processor's file, as text in
 * this program, to IR in a partition's module.
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
static const char *const lines[] = {
#include "routines.ll.inc"
};

static enum status text(struct buffer *b, struct error *err) {
    for (size_t i = 0; i < countof(lines); i++) buffer_put(b, lines[i], strlen(lines[i]));
    buffer_put_u8(b, 0); /* LLVM wants a zero behind the text, not counted */
    return buffer_status(b, err);
}

enum status routines_add(struct lower_module *m, struct error *err) {
    auto_buffer struct buffer ir = {0};
    enum status status = text(&ir, err);
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
        status = error_set(err, ST_INTERNAL, "memory routines: %s", message);
        LLVMDisposeMessage(message);
        return status;
    }
    LLVMSetDataLayout(routines, LLVMGetDataLayoutStr(m->llvm));
    LLVMSetTarget(routines, LLVMGetTarget(m->llvm));
    if (LLVMLinkModules2(m->llvm, routines)) /* takes the module */
        return error_set(err, ST_INTERNAL, "memory routines: cannot link them");
    return ST_OK;
}
