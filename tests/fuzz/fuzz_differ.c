/*
 * Harness: bytes are chance for the smith; its module must do the same at every level. What
 * LLVM's optimiser makes of traps, NaNs and loops is held against its absence.
 */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const enum compile_level levels[] = {COMPILE_FAST, COMPILE_O1, COMPILE_O2,
                                                COMPILE_O3};
    auto_buffer struct buffer module = {0};
    struct error err = {0};
    struct digest digest = digest_of(bytes, size);
    char plain[OUTCOME_SIZE], optimised[OUTCOME_SIZE];
    enum compile_level level = levels[digest.bytes[0] % countof(levels)];
    (digest.bytes[1] % 2 ? smith_throwing_module : smith_module)(bytes, size, &module);
    enum status status =
        smith_run(module.bytes, module.size, ABI_RELOCATABLE, COMPILE_O0, plain, &err);
    if (status == ST_OK)
        status = smith_run(module.bytes, module.size, ABI_RELOCATABLE, level, optimised, &err);
    if (status != ST_OK) fprintf(stderr, "%s: %s\n", status_text(status), err.message);
    CHECK(status == ST_OK);
    /* a load out of bounds may go with its use (docs/compiler.md, Traps); nothing else may */
    bool same = strcmp(plain, optimised) == 0 ||
                strcmp(plain, "trap: out of bounds memory access") == 0;
    if (!same) fprintf(stderr, "level 0: %s\nlevel %d: %s\n", plain, (int)level, optimised);
    CHECK(same);
    return 0;
}
