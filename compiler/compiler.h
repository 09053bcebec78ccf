/*
 * compiler: WebAssembly bytes to a native code object.
 *
 *     wasm bytes -> decode -> validate -> LLVM IR -> optimise -> ELF objects -> link -> code
 * object decode.c      validate.c  lower_*.c  optimise.c            partition.c    link.c,
 * object_write.c
 *
 * The same bytes, options and compiler give the same object, whatever `jobs` is. The compiler
 * keeps no state between calls; calls in one process run one after the other (LLVM's command
 * line options are global), each with its own threads inside. Hostile modules end in an error
 * with status ST_MALFORMED, ST_INVALID, ST_UNSUPPORTED or ST_LIMIT and the offset in the
 * module.
 *
 *     struct compile_options options = compile_defaults();
 *     auto_buffer struct buffer object = {0};
 *     if (compile_module(wasm, size, &options, &object, &err) != ST_OK) ...
 *     file_publish(AT_FDCWD, "app.hutch", object.bytes, object.size, 0444, &err);
 */
#ifndef HUTCH_COMPILER_H
#define HUTCH_COMPILER_H

#include "abi/abi.h"

enum compile_level {
    COMPILE_FAST = -1, /* first deployments: no optimiser but the cheap parts */
    COMPILE_O0 = 0,
    COMPILE_O1 = 1,
    COMPILE_O2 = 2, /* the default */
    COMPILE_O3 = 3,
};

/* Steps of a compilation, for a progress line. done and total count functions. */
typedef void (*compile_progress)(void *context, const char *step, uint32_t done,
                                 uint32_t total);

struct compile_options {
    enum abi_placement placement;
    enum compile_level level;
    const char *target;     /* "x86-64-v2", "x86-64-v3", "x86-64-v4", "native" */
    unsigned jobs;          /* threads; 0: one for each processor */
    bool debug_lines;       /* line tables that map code to Wasm offsets */
    bool profile_generate;  /* put counters into the code: docs/profile.md */
    const uint8_t *profile; /* the bytes of a profile to compile by, borrowed; or NULL */
    size_t profile_size;
    void (*note)(void *context, const char *text); /* something worth saying; may be NULL */
    void *note_context;
    const char *dump_dir;      /* where to leave the IR of each partition, or NULL */
    compile_progress progress; /* may be NULL; called from several threads, one at a time */
    void *progress_context;
};

struct compile_options compile_defaults(void);

/* Decodes and validates only. */
enum status compile_check(const uint8_t *wasm, size_t size_bytes, struct error *err) must_check;

/* Appends the code object to ret_object. wasm is borrowed for the call. */
enum status compile_module(const uint8_t *wasm, size_t size_bytes,
                           const struct compile_options *options, struct buffer *ret_object,
                           struct error *err) must_check;

/*
 * The level a target stands for ("native": the best one all of whose features this processor
 * has) and its features (bits of ABI_X86_FEATURES). ST_USAGE where there is no such target,
 * ST_UNSUPPORTED where this processor is below them all.
 */
enum status compile_resolve_target(const char *target, const char **ret_level,
                                   uint64_t *ret_features, struct error *err) must_check;

/*
 * What, besides the module's bytes, decides the object's: compiler and LLVM version, ABI
 * fingerprint, placement, level, target (with "native" resolved to this processor's features).
 * The cache key is the digest of this and the module's digest.
 */
enum status compile_fingerprint(const struct compile_options *options,
                                struct digest *ret_fingerprint, struct error *err) must_check;

#endif
