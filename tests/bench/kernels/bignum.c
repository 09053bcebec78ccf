/* Carries: big integers in words of 32 bits, multiplied, and divided by small ones. */
#include "kernel.h"

enum {
    WORDS = 400
};
static uint32_t a[WORDS], b[WORDS], product[2 * WORDS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < WORDS; i++) a[i] = kernel_random(), b[i] = kernel_random();
}

static void multiply(void) {
    memset(product, 0, sizeof product);
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < WORDS; j++) {
            carry += (uint64_t)a[i] * b[j] + product[i + j];
            product[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product[i + WORDS] = (uint32_t)carry;
    }
}

static uint32_t divide(uint32_t by) {
    uint64_t rest = 0;
    for (uint32_t i = 2 * WORDS; i-- > 0;) {
        rest = rest << 32 | product[i];
        product[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    return (uint32_t)rest;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    multiply();
    for (uint32_t i = 0; i < 60; i++) sum = kernel_mix(sum, divide(1000000007U - i));
    return kernel_mix(sum, product[WORDS / 2]);
}
