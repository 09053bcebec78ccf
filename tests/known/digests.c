/* routine_digests FILE.wasm: of each function that could be a library routine, its digest for
 * compiler/known.def, whether that has it, and its name. */
#include "compiler/known.h"

#include <fcntl.h>

int main(int argc, char **argv) {
    auto_buffer struct buffer wasm = {0};
    struct module module = {0};
    struct error err = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: routine_digests FILE.wasm\n");
        return 2;
    }
    if (file_read(AT_FDCWD, argv[1], UINT32_MAX, &wasm, &err) != ST_OK ||
        module_decode(wasm.bytes, wasm.size, &module, &err) != ST_OK ||
        module_validate(&module, &err) != ST_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
    }
    for (uint32_t i = module.imported_functions; i < module.function_count; i++) {
        uint8_t digest[KNOWN_DIGEST_SIZE];
        if (!known_digest(&module, i, digest)) continue;
        for (size_t k = 0; k < sizeof digest; k++) printf("%02x", digest[k]);
        enum known_routine known = known_find(&module, i);
        const char *name = module.functions[i].name;
        printf(" %-10s %s\n", known == KNOWN_COUNT ? "-" : known_name(known),
               name ? name : "?");
    }
    module_finish(&module);
    return 0;
}
