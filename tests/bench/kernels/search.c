/* Branches nobody can foresee: binary search in sorted keys, and insertion into hash buckets.
 */
#include "kernel.h"

enum {
    KEYS = 1 << 16,
    LOOKUPS = 30000,
    BUCKETS = 1 << 15
};
static uint32_t keys[KEYS], buckets[BUCKETS], wanted[LOOKUPS];

static void kernel_prepare(void) {
    uint32_t key = 0;
    for (uint32_t i = 0; i < KEYS; i++) keys[i] = key += 1 + kernel_random() % 100;
    for (uint32_t i = 0; i < LOOKUPS; i++) wanted[i] = kernel_random() % key;
}

static uint32_t position(uint32_t key) {
    uint32_t low = 0, high = KEYS;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    memset(buckets, 0, sizeof buckets);
    uint32_t used = 0;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        sum += position(wanted[i]);
        if (used > BUCKETS / 2) continue;
        uint32_t slot = wanted[i] * 2654435769U >> 17;
        while (buckets[slot] && buckets[slot] != wanted[i] + 1) slot = (slot + 1) % BUCKETS;
        if (!buckets[slot]) buckets[slot] = wanted[i] + 1, used++;
    }
    return kernel_mix(sum, used);
}
