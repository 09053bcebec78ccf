/* Deep recursion with bits: ways to put queens on a board. */
#include "kernel.h"

enum {
    BOARD = 10
};

/* Always 0, which no compiler can know: or all runs would be one. */
static uint32_t taken;

static void kernel_prepare(void) {}

static uint32_t place(uint32_t columns, uint32_t left, uint32_t right) {
    const uint32_t all = (1U << BOARD) - 1;
    if (columns == all) return 1;
    uint32_t found = 0;
    for (uint32_t free = all & ~(columns | left | right); free; free &= free - 1) {
        uint32_t bit = free & -free;
        found += place(columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

static uint64_t kernel_run(void) {
    uint32_t found = place(taken, 0, 0);
    taken = found >> 31;
    return found;
}
