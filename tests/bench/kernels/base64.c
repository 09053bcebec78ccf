/* Bytes through tables: base64 there and back, with checks of every character. */
#include "kernel.h"

enum {
    SIZE = 150000
};
static const char letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint8_t plain[SIZE], decoded[SIZE + 3], values[256];
static char encoded[SIZE / 3 * 4 + 8];

static void kernel_prepare(void) {
    memset(values, 0xff, sizeof values);
    for (uint8_t i = 0; i < 64; i++) values[(uint8_t)letters[i]] = i;
    for (uint32_t i = 0; i < SIZE; i++) plain[i] = (uint8_t)kernel_random();
}

static uint32_t encode(const uint8_t *from, uint32_t size, char *to) {
    char *start = to;
    for (uint32_t i = 0; i + 2 < size; i += 3) {
        uint32_t bits = (uint32_t)from[i] << 16 | (uint32_t)from[i + 1] << 8 | from[i + 2];
        *to++ = letters[bits >> 18];
        *to++ = letters[bits >> 12 & 63];
        *to++ = letters[bits >> 6 & 63];
        *to++ = letters[bits & 63];
    }
    return (uint32_t)(to - start);
}

static uint32_t decode(const char *from, uint32_t size, uint8_t *to) {
    uint8_t *start = to;
    for (uint32_t i = 0; i + 3 < size; i += 4) {
        uint32_t a = values[(uint8_t)from[i]], b = values[(uint8_t)from[i + 1]];
        uint32_t c = values[(uint8_t)from[i + 2]], d = values[(uint8_t)from[i + 3]];
        if ((a | b | c | d) > 63) return 0;
        uint32_t bits = a << 18 | b << 12 | c << 6 | d;
        *to++ = (uint8_t)(bits >> 16);
        *to++ = (uint8_t)(bits >> 8);
        *to++ = (uint8_t)bits;
    }
    return (uint32_t)(to - start);
}

static uint64_t kernel_run(void) {
    uint32_t size = encode(plain, SIZE, encoded);
    uint32_t back = decode(encoded, size, decoded);
    uint64_t sum = back;
    for (uint32_t i = 0; i < back; i += 101) sum = kernel_mix(sum, decoded[i]);
    return sum;
}
