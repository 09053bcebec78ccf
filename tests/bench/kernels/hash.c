/* Random accesses: an open-addressing hash table is filled, probed and thinned. */
#include "kernel.h"

enum {
    SLOTS = 1 << 17,
    MASK = SLOTS - 1,
    KEYS = 80000
};
static uint32_t table_keys[SLOTS], table_values[SLOTS];
static uint32_t keys[KEYS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < KEYS; i++) keys[i] = kernel_random() | 1;
}

static uint32_t find(uint32_t key) {
    uint32_t at = (key * 2654435769U) >> 15;
    while (table_keys[at & MASK] != 0 && table_keys[at & MASK] != key) at++;
    return at & MASK;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 8; round++) {
        memset(table_keys, 0, sizeof table_keys);
        for (uint32_t i = 0; i < KEYS; i++) {
            uint32_t at = find(keys[i]);
            table_values[at] = table_keys[at] ? table_values[at] + 1 : i;
            table_keys[at] = keys[i];
        }
        for (uint32_t i = 0; i < KEYS; i++) {
            sum += table_values[find(keys[i])];
            sum ^= table_keys[find(keys[i] ^ 0x55550)];
        }
    }
    return sum;
}
