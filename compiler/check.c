/* compile_check: bytes to a verdict, and nothing kept. */
#include "compiler/module.h"

enum status compile_check(const uint8_t *wasm, size_t size_bytes, struct error *err) {
    struct error local = {0};
    if (!err) err = &local;
    struct module module;
    enum status status = module_decode(wasm, size_bytes, &module, err);
    if (status == ST_OK) status = module_validate(&module, err);
    module_finish(&module);
    return status;
}
