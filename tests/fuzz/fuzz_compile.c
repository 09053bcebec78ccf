/*
 * Harness: a module through the whole compiler. Bytes that are a module are compiled as they
 * are; other bytes are chance for the smith, whose module must be found valid. Level and
 * placement come from the bytes too.
 */
#include "compiler/compiler.h"
#include "tests/fuzz/fuzz.h"

#define COMPILE_MAX_BYTES 20000u /* of module: a run should take milliseconds */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    auto_buffer struct buffer smith = {0}, object = {0};
    struct error err = {0};
    struct digest digest = digest_of(bytes, size);
    const uint8_t *module = bytes;
    size_t module_size = size;
    if (size < 4 || memcmp(bytes, "\0asm", 4) != 0) {
        (digest.bytes[2] % 2 ? smith_throwing_module : smith_module)(bytes, size, &smith);
        module = smith.bytes;
        module_size = smith.size;
        enum status status = compile_check(module, module_size, &err);
        if (status != ST_OK) fprintf(stderr, "smith: %s\n", err.message);
        CHECK(status == ST_OK);
    }
    if (module_size > COMPILE_MAX_BYTES || compile_check(module, module_size, &err) != ST_OK)
        return 0;
    static const enum compile_level levels[] = {COMPILE_FAST, COMPILE_O0, COMPILE_O1,
                                                COMPILE_O2};
    struct compile_options options = compile_defaults();
    options.jobs = 1;
    options.level = levels[digest.bytes[0] % 4];
    options.placement = digest.bytes[1] % 2 ? ABI_PINNED : ABI_RELOCATABLE;
    enum status status = compile_module(module, module_size, &options, &object, &err);
    if (status != ST_OK && status != ST_LIMIT && status != ST_UNSUPPORTED) {
        fprintf(stderr, "%s: %s\n", status_text(status), err.message);
        CHECK(status == ST_OK);
    }
    return 0;
}
