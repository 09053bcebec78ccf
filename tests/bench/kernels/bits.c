/* Bit counts: sets of positions are joined, counted, walked, and ranked. */
#include "kernel.h"

enum {
    WORDS = 4096,
    SETS = 6
};
static uint64_t sets[SETS][WORDS];

static void kernel_prepare(void) {
    for (uint32_t s = 0; s < SETS; s++)
        for (uint32_t i = 0; i < WORDS; i++) {
            sets[s][i] = (uint64_t)kernel_random() << 32 | kernel_random();
            if (s > 2) sets[s][i] &= (uint64_t)kernel_random() << 32 | kernel_random();
            if (s > 3) sets[s][i] &= (uint64_t)kernel_random() << 32 | kernel_random();
        }
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (uint32_t a = 0; a < SETS; a++)
        for (uint32_t b = 0; b < a; b++) {
            uint32_t both = 0;
            for (uint32_t i = 0; i < WORDS; i++)
                both += (uint32_t)__builtin_popcountll(sets[a][i] & sets[b][i]);
            sum = kernel_mix(sum, both);
        }
    for (uint32_t i = 0; i < WORDS; i++)
        for (uint64_t word = sets[SETS - 1][i]; word; word &= word - 1)
            sum += (uint64_t)i * 64 + (uint32_t)__builtin_ctzll(word);
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t word = sets[1][i] | 1;
        sum += (uint32_t)__builtin_clzll(word >> (sets[2][i] & 31));
    }
    return sum;
}
