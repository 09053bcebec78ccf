/* zstd: a log is compressed at level 3 and at level 9, and decompressed. */
#include "text.h"

#include <zstd.h>

enum {
    SIZE = 800000
};
static char text[SIZE], back[SIZE], packed[SIZE];
static size_t size;
static ZSTD_CCtx *packer;

static void kernel_prepare(void) {
    size = text_fill(text, SIZE);
    packer = ZSTD_createCCtx();
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int level = 3; level <= 9; level += 6) {
        size_t n = ZSTD_compressCCtx(packer, packed, SIZE, text, size, level);
        if (ZSTD_isError(n) || ZSTD_decompress(back, SIZE, packed, n) != size) abort();
        if (memcmp(text, back, size) != 0) abort();
        sum = kernel_mix(sum, n);
    }
    return sum;
}
