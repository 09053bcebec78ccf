/* A seed to the smith's bytes of chance: xorshift64*, the same on every machine. */
#include "tests/fuzz/fuzz.h"

void smith_chance(uint64_t seed, uint8_t ret_bytes[SMITH_CHANCE_BYTES]) {
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < SMITH_CHANCE_BYTES; i++) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        ret_bytes[i] = (uint8_t)((state * UINT64_C(2685821657736338717)) >> 56);
    }
}
