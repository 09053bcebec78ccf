/*
 * Options to a fingerprint: everything, besides the module's bytes, that decides the bytes of the
 * object. Two builds of the compiler must never be taken for each other, so the digest covers the
 * sources of the compiler and of the ABI (HUTCH_COMPILER_SOURCES, made by meson), not only a version
 * that someone has to remember to raise.
 *
 * This file stands in a library of its own that needs no LLVM: `hutch run` finds a cached object
 * with it and never loads the compiler. LLVM's version is therefore the one meson found.
 */
#include "compiler/compiler.h"
#include "sources_digest.h"

struct compile_options compile_defaults(void) {
    return (struct compile_options){
        .placement = ABI_PINNED,
        .level = COMPILE_O2,
        .target = "native",
        .debug_lines = true,
    };
}

enum status compile_fingerprint(const struct compile_options *options,
                                struct digest *ret_fingerprint, struct error *err) {
    uint64_t features = 0;
    if (strcmp(options->target, "native") == 0) features = abi_cpu_features();
    auto_buffer struct buffer text = {0};
    buffer_printf(&text,
                  "hutch %s\nsources %s\nllvm %s\nabi %016llx\nplacement %d\nlevel %d\n"
                  "target %s %016llx\nlines %d\n",
                  HUTCH_VERSION, HUTCH_COMPILER_SOURCES, HUTCH_LLVM_VERSION,
                  (unsigned long long)abi_fingerprint(), (int)options->placement,
                  (int)options->level, options->target, (unsigned long long)features,
                  options->debug_lines);
    if (buffer_status(&text, err) != ST_OK) return ST_NO_MEMORY;
    *ret_fingerprint = digest_of(text.bytes, text.size);
    return ST_OK;
}
