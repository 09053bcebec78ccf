/* bzip2: a log is compressed and decompressed. */
#include "text.h"

#include <bzlib.h>

enum {
    SIZE = 300000
};
static char text[SIZE], back[SIZE], packed[SIZE];
static size_t size;

void bz_internal_error(int code); /* the library asks for it, BZ_NO_STDIO */
void bz_internal_error(int code) { exit(code); }

static void kernel_prepare(void) { size = text_fill(text, SIZE); }

static uint64_t kernel_run(void) {
    unsigned packed_size = SIZE, back_size = SIZE;
    if (BZ2_bzBuffToBuffCompress(packed, &packed_size, text, (unsigned)size, 5, 0, 0) != BZ_OK)
        abort();
    if (BZ2_bzBuffToBuffDecompress(back, &back_size, packed, packed_size, 0, 0) != BZ_OK)
        abort();
    if (back_size != size || memcmp(text, back, size) != 0) abort();
    uint64_t sum = packed_size;
    for (unsigned i = 0; i < packed_size; i += 7) sum = kernel_mix(sum, (uint8_t)packed[i]);
    return sum;
}
