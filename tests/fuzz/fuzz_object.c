/*
 * Harness: any bytes as a code object. They are refused with one line that says why, or
 * everything that was read holds together. The content digest does not matter here: an attacker
 * can write one that fits.
 */
#include "loader/loader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/object_touch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    auto_arena struct arena arena = {.limit_bytes = 64 * size + 65536};
    struct abi_object object;
    enum status status = object_read(bytes, size, false, &arena, &object, &err);
    if (status == ST_OK) {
        static volatile uint64_t sink;
        sink += object_touch(&object, bytes, size);
    } else {
        CHECK(status == ST_DAMAGED || status == ST_INCOMPATIBLE || status == ST_LIMIT);
        CHECK(err.status == status && err.message[0] && !strchr(err.message, '\n'));
    }
    return 0;
}
