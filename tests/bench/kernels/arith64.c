/* 64-bit arithmetic: modular powers (a Miller-Rabin test), divisions and remainders. */
#include "kernel.h"

enum {
    CANDIDATES = 12000
};

static void kernel_prepare(void) {}

/* For moduli below 2^32, so that a product fits. */
static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus) {
    uint64_t result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1) result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

static int probably_prime(uint64_t n) {
    static const uint64_t witnesses[] = {2, 7, 61};
    uint64_t odd = n - 1;
    int twos = 0;
    while (!(odd & 1)) odd >>= 1, twos++;
    for (int w = 0; w < 3; w++) {
        uint64_t x = power(witnesses[w], odd, n);
        int passes = x == 1 || x == n - 1;
        for (int i = 1; i < twos && !passes; i++) {
            x = x * x % n;
            passes = x == n - 1;
        }
        if (!passes) return 0;
    }
    return 1;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0, n = 4294967291U;
    for (int i = 0; i < CANDIDATES; i++, n -= 2) {
        if (probably_prime(n)) sum = kernel_mix(sum, n);
        sum += (int64_t)(n * 0x9e3779b97f4a7c15U) / (int64_t)(i + 3);
    }
    return sum;
}
