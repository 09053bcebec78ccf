/* Additions and rotations: the ChaCha20 key stream, over a message. */
#include "kernel.h"

enum {
    SIZE = 1 << 18
};
static uint8_t message[SIZE];

static inline uint32_t rotate(uint32_t x, int by) { return x << by | x >> (32 - by); }

#define QUARTER(a, b, c, d)                                                                    \
    (a += b, d = rotate(d ^ a, 16), c += d, b = rotate(b ^ c, 12), a += b,                     \
     d = rotate(d ^ a, 8), c += d, b = rotate(b ^ c, 7))

static void block(const uint32_t in[16], uint8_t *to) {
    uint32_t x[16];
    memcpy(x, in, sizeof x);
    for (int i = 0; i < 10; i++) {
        QUARTER(x[0], x[4], x[8], x[12]);
        QUARTER(x[1], x[5], x[9], x[13]);
        QUARTER(x[2], x[6], x[10], x[14]);
        QUARTER(x[3], x[7], x[11], x[15]);
        QUARTER(x[0], x[5], x[10], x[15]);
        QUARTER(x[1], x[6], x[11], x[12]);
        QUARTER(x[2], x[7], x[8], x[13]);
        QUARTER(x[3], x[4], x[9], x[14]);
    }
    for (int i = 0; i < 16; i++) {
        uint32_t word;
        memcpy(&word, to + 4 * i, 4);
        word ^= x[i] + in[i];
        memcpy(to + 4 * i, &word, 4);
    }
}

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (uint32_t i = 4; i < 12; i++) state[i] = i * 0x9e3779b9U;
    for (uint32_t i = 0; i < SIZE; i++) message[i] = (uint8_t)i;
    for (uint32_t at = 0; at < SIZE; at += 64) {
        state[12]++;
        block(state, message + at);
    }
    uint64_t sum = 0;
    memcpy(&sum, message + SIZE / 2, sizeof sum);
    return sum;
}
