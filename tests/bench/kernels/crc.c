/* One table load a byte, each waiting for the one before: CRC-32, and slicing by four. */
#include "kernel.h"

enum {
    SIZE = 400000
};
static uint32_t table[4][256];
static uint8_t data[SIZE];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xedb88320U : 0);
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 4; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
    for (uint32_t i = 0; i < SIZE; i++) data[i] = (uint8_t)kernel_random();
}

static uint64_t kernel_run(void) {
    uint32_t plain = ~0U, sliced = ~0U;
    for (uint32_t i = 0; i < SIZE / 4; i++)
        plain = plain >> 8 ^ table[0][(plain ^ data[i]) & 255];
    for (uint32_t i = 0; i < SIZE; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        sliced ^= word;
        sliced = table[3][sliced & 255] ^ table[2][sliced >> 8 & 255] ^
                 table[1][sliced >> 16 & 255] ^ table[0][sliced >> 24];
    }
    return kernel_mix(plain, sliced);
}
