/*
 * Harness: any bytes as a file image. It is refused with one line that says why, or can be read
 * and written over within bounds, through the reader and through WASI.
 */
#include "tests/unit/image_touch.h"
#include "tests/unit/image_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct image image;
    struct error err = {0};
    static volatile uint64_t sink;
    if (size == 0 || size > 1 << 20) return 0;
    if (image_open(bytes, size, &image, &err) == ST_OK) {
        sink += image_touch(&image, 200);
        (void)!image_check(&image, &err);
    }
    sink += image_use(bytes, size, 60);
    return 0;
}
