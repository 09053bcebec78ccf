/* Floating point with a data-dependent loop: the set on 320 x 320 points. */
#include "kernel.h"

enum {
    SIDE = 320,
    LIMIT = 150
};

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int py = 0; py < SIDE; py++)
        for (int px = 0; px < SIDE; px++) {
            double cx = px * (3.0 / SIDE) - 2.0, cy = py * (2.0 / SIDE) - 1.0;
            double x = 0, y = 0;
            int n = 0;
            while (n < LIMIT && x * x + y * y < 4.0) {
                double next = x * x - y * y + cx;
                y = 2.0 * x * y + cy;
                x = next;
                n++;
            }
            sum += (uint64_t)n * (uint64_t)(px ^ py);
        }
    return sum;
}
