/* Library memory routines: memcpy, memmove, memset and memcmp of small, middle and large sizes.
 */
#include "kernel.h"

enum {
    SPACE = 1 << 20,
    STEPS = 6000
};
static unsigned char space[SPACE], other[SPACE];
static struct {
    uint32_t from, to, size;
} steps[STEPS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t limit = i % 16 == 0 ? 65536 : i % 4 == 0 ? 2048 : 40;
        steps[i].size = kernel_random() % limit;
        steps[i].from = kernel_random() % (SPACE - limit);
        steps[i].to = kernel_random() % (SPACE - limit);
    }
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SPACE; i++) space[i] = (unsigned char)(i * 7);
    memset(other, 0, SPACE);
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t from = steps[i].from, to = steps[i].to, size = steps[i].size;
        switch (i & 3) {
        case 0: memcpy(other + to, space + from, size); break;
        case 1: memmove(space + to, space + from, size); break;
        case 2: memset(other + to, (int)(i & 0x3f), size); break;
        default: sum += memcmp(space + from, other + to, size) > 0;
        }
        sum = kernel_mix(sum, other[to]);
    }
    return sum;
}
