/* Branches on bytes: UTF-8 is checked, decoded, counted by kind and encoded again. */
#include "kernel.h"

enum {
    CHARACTERS = 80000
};
static uint8_t text[CHARACTERS * 4], again[CHARACTERS * 4];
static uint32_t text_size;

static uint32_t put(uint8_t *to, uint32_t c) {
    if (c < 0x80) return to[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return to[0] = (uint8_t)(0xc0 | c >> 6), to[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        to[0] = (uint8_t)(0xe0 | c >> 12);
        to[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        to[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (uint8_t)(0xf0 | c >> 18);
    to[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    to[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    to[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* The length of the character at p, or 0 where it is malformed. */
static uint32_t get(const uint8_t *p, const uint8_t *end, uint32_t *ret_c) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t first = *p;
    if (first < 0x80) return *ret_c = first, 1;
    uint32_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    if (length == 0 || first > 0xf4 || (uint32_t)(end - p) < length) return 0;
    uint32_t c = first & (0x7fU >> length);
    for (uint32_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 63);
    }
    if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    return *ret_c = c, length;
}

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < CHARACTERS; i++) {
        uint32_t r = kernel_random(), kind = r >> 28;
        uint32_t c = kind < 10   ? 32 + r % 90
                     : kind < 13 ? 0xc0 + r % 400
                     : kind < 15 ? 0x3040 + r % 9000
                                 : 0x1f300 + r % 500;
        text_size += put(text + text_size, c);
    }
}

static uint64_t kernel_run(void) {
    uint32_t kinds[4] = {0}, size = 0;
    for (const uint8_t *p = text, *end = text + text_size; p < end;) {
        uint32_t c = 0, length = get(p, end, &c);
        if (length == 0) return 0;
        kinds[length - 1]++;
        if (c >= 'a' && c <= 'z') c -= 32;
        size += put(again + size, c);
        p += length;
    }
    uint64_t sum = size;
    for (int i = 0; i < 4; i++) sum = kernel_mix(sum, kinds[i]);
    return kernel_mix(sum, again[size / 2]);
}
