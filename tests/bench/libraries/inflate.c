/* zlib: a log is inflated, four times. */
#include "text.h"

#include <zlib.h>

enum {
    SIZE = 600000
};
static char text[SIZE], back[SIZE];
static unsigned char packed[SIZE];
static uLongf packed_size = SIZE;
static size_t size;

static void kernel_prepare(void) {
    size = text_fill(text, SIZE);
    if (compress2(packed, &packed_size, (const Bytef *)text, size, 9) != Z_OK) abort();
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        uLongf back_size = SIZE;
        if (uncompress((Bytef *)back, &back_size, packed, packed_size) != Z_OK) abort();
        sum = kernel_mix(sum, adler32(1, (const Bytef *)back, (uInt)back_size));
    }
    return sum;
}
