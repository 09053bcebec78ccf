/* Integer mixing in registers: SHA-256 (FIPS 180-4) of four megabytes. */
#include "kernel.h"

enum {
    SIZE = 4 << 20
};
static uint8_t data[SIZE];
static uint32_t constants[64];

/* The constants are the first bits of the cube roots of the first primes. */
static void kernel_prepare(void) {
    for (uint32_t i = 0; i < SIZE; i++) data[i] = (uint8_t)kernel_random();
    uint32_t count = 0;
    for (uint32_t p = 2; count < 64; p++) {
        uint32_t prime = 1;
        for (uint32_t d = 2; d * d <= p; d++) prime &= p % d != 0;
        if (!prime) continue;
        double root = 1;
        for (int i = 0; i < 60; i++) root = (2 * root + p / (root * root)) / 3;
        constants[count++] = (uint32_t)((root - (uint32_t)root) * 4294967296.0);
    }
}

static inline uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint64_t kernel_run(void) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (const uint8_t *block = data; block < data + SIZE; block += 64) {
        uint32_t w[64];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                   (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + w[i - 7] +
                   (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
                   (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
        for (int i = 0; i < 64; i++) {
            uint32_t t1 = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                          ((e & f) ^ (~e & g)) + constants[i] + w[i];
            uint32_t t2 =
                (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            k = g, g = f, f = e, e = d + t1;
            d = c, c = b, b = a, a = t1 + t2;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d;
        h[4] += e, h[5] += f, h[6] += g, h[7] += k;
    }
    return (uint64_t)h[0] << 32 | h[7];
}
