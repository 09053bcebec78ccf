/*
 * Options to a fingerprint: everything, besides the module's bytes, that decides the bytes of
 * the object. Two builds of the compiler must never be taken for each other, so the digest
 * covers the sources of the compiler and of the ABI (HUTCH_COMPILER_SOURCES, made by meson),
 * not only a version that someone has to remember to raise.
 *
 * This file stands in a library of its own that needs no LLVM: `hutch run` finds a cached
 * object with it and never loads the compiler. LLVM's version is therefore the one meson found.
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

enum status compile_resolve_target(const char *target, const char **ret_level,
                                   uint64_t *ret_features, struct error *err) {
    static const struct {
        const char *name;
        uint64_t features;
    } levels[] = {{"x86-64-v4", ABI_X86_64_V4},
                  {"x86-64-v3", ABI_X86_64_V3},
                  {"x86-64-v2", ABI_X86_64_V2}};
    /* native: a level and not this very processor, so that equal machines make equal objects */
    uint64_t here = abi_cpu_features();
    bool native = strcmp(target, "native") == 0;
    for (size_t i = 0; i < countof(levels); i++)
        if (native ? (levels[i].features & ~here) == 0 : strcmp(target, levels[i].name) == 0) {
            *ret_level = levels[i].name;
            *ret_features = levels[i].features;
            return ST_OK;
        }
    if (native)
        return error_set(err, ST_UNSUPPORTED, "this processor lacks a feature of x86-64-v2");
    return error_set(err, ST_USAGE,
                     "unknown target '%s' (x86-64-v2, x86-64-v3, x86-64-v4 or native)", target);
}

enum status compile_fingerprint(const struct compile_options *options,
                                struct digest *ret_fingerprint, struct error *err) {
    const char *target;
    uint64_t features;
    enum status status = compile_resolve_target(options->target, &target, &features, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer text = {0};
    buffer_printf(&text,
                  "hutch %s\nsources %s\nllvm %s\nabi %016llx\nplacement %d\nlevel %d\n"
                  "target %s %016llx\nlines %d\n",
                  HUTCH_VERSION, HUTCH_COMPILER_SOURCES, HUTCH_LLVM_VERSION,
                  (unsigned long long)abi_fingerprint(), (int)options->placement,
                  (int)options->level, target, (unsigned long long)features,
                  options->debug_lines);
    if (options->profile_generate) buffer_printf(&text, "counters\n");
    if (options->profile_size) {
        struct digest profile = digest_of(options->profile, options->profile_size);
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&profile, hex);
        buffer_printf(&text, "profile %s\n", hex);
    }
    if (buffer_status(&text, err) != ST_OK) return ST_NO_MEMORY;
    *ret_fingerprint = digest_of(text.bytes, text.size);
    return ST_OK;
}
