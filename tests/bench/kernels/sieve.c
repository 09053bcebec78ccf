/* Numeric loops over bytes: primes below four million. */
#include "kernel.h"

enum {
    LIMIT = 4000000
};
static uint8_t composite[LIMIT];

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    memset(composite, 0, sizeof composite);
    for (uint32_t i = 2; i * i < LIMIT; i++)
        if (!composite[i])
            for (uint32_t j = i * i; j < LIMIT; j += i) composite[j] = 1;
    uint64_t sum = 0;
    for (uint32_t i = 2; i < LIMIT; i++)
        if (!composite[i]) sum += i;
    return sum;
}
