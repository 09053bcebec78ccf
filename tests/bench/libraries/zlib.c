/* zlib: a log is deflated at level 6, and inflated. */
#include "text.h"

#include <zlib.h>

enum {
    SIZE = 600000
};
static char text[SIZE], back[SIZE];
static unsigned char packed[SIZE];
static size_t size;

static void kernel_prepare(void) { size = text_fill(text, SIZE); }

static uint64_t kernel_run(void) {
    uLongf packed_size = SIZE, back_size = SIZE;
    if (compress2(packed, &packed_size, (const Bytef *)text, size, 6) != Z_OK) abort();
    if (uncompress((Bytef *)back, &back_size, packed, packed_size) != Z_OK) abort();
    if (back_size != size || memcmp(text, back, size) != 0) abort();
    return kernel_mix(packed_size, crc32(0, packed, (uInt)packed_size));
}
