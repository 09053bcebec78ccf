/* Floats in a row: y += a x, dot products and running sums, over arrays that fit the cache. */
#include "kernel.h"

enum {
    SIZE = 4096,
    ROUNDS = 40
};
static float x[SIZE], y[SIZE], z[SIZE];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < SIZE; i++) {
        x[i] = (float)(kernel_random() % 1000) / 1000;
        y[i] = (float)(kernel_random() % 1000) / 1000;
    }
}

static void saxpy(float *restrict to, const float *restrict from, float a, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) to[i] += a * from[i];
}

static uint64_t kernel_run(void) {
    memcpy(z, y, sizeof z);
    uint32_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        saxpy(z, x, 0.01F * (float)(round - 20), SIZE - (uint32_t)round);
        int32_t whole = 0;
        for (uint32_t i = 0; i < SIZE; i++) whole += (int32_t)(z[i] * 16);
        sum = sum * 31 + (uint32_t)whole;
    }
    return sum;
}
