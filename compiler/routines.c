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

/* A line with its functions' names beginning otherwise. */
static void put_renamed(struct buffer *b, const char *line, const char *from, const char *to) {
    for (const char *at; (at = strstr(line, from)); line = at + strlen(from)) {
        buffer_put(b, line, (size_t)(at - line));
        buffer_put(b, to, strlen(to));
    }
    buffer_put(b, line, strlen(line));
}

static enum status link_text(struct lower_module *m, const char *const *lines, size_t count,
                             const char *prefix, struct error *err) {
    auto_buffer struct buffer ir = {0};
    for (size_t i = 0; i < count; i++) put_renamed(&ir, lines[i], "@" KNOWN_PREFIX, prefix);
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

/* Functions with the prefix become this partition's own. */
static void make_internal(struct lower_module *m, const char *prefix, bool wide) {
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function)) {
        size_t length;
        const char *name = LLVMGetValueName2(function, &length);
        if (length < strlen(prefix) || memcmp(name, prefix, strlen(prefix)) != 0) continue;
        LLVMSetVisibility(function, LLVMDefaultVisibility); /* internal ones have no other */
        LLVMSetLinkage(function, LLVMInternalLinkage);
        if (!wide) continue;
        LLVMAddTargetDependentFunctionAttr(function, "target-cpu", "x86-64-v3");
        /* what is around them is SSE's old encoding, slow with upper halves in use */
        LLVMAddTargetDependentFunctionAttr(function, "target-features", "+vzeroupper");
    }
}

enum status routines_add(struct lower_module *m, struct error *err) {
    return link_text(m, memory_lines, countof(memory_lines), "@" KNOWN_PREFIX, err);
}

enum status routines_add_known(struct lower_module *m, struct error *err) {
    enum status status = link_text(m, known_lines, countof(known_lines), "@" KNOWN_PREFIX, err);
    if (status == ST_OK) make_internal(m, KNOWN_PREFIX, false);
    return status;
}

enum status routines_add_wide(struct lower_module *m, struct error *err) {
    enum status status =
        link_text(m, known_lines, countof(known_lines), "@" KNOWN_WIDE_PREFIX, err);
    if (status == ST_OK) make_internal(m, KNOWN_WIDE_PREFIX, true);
    return status;
}
