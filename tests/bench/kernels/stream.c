/* Memory streaming: copy, scale, add and triad over arrays larger than the caches' first
 * levels. */
#include "kernel.h"

enum {
    N = 400000,
    ROUNDS = 12
};
static double a[N], b[N], c[N];
static int32_t integers[N];

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    for (int i = 0; i < N; i++) {
        a[i] = i;
        b[i] = i % 100;
        integers[i] = i;
    }
    int32_t total = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) c[i] = a[i];
        for (int i = 0; i < N; i++) b[i] = 0.5 * c[i];
        for (int i = 0; i < N; i++) c[i] = a[i] + b[i];
        for (int i = 0; i < N; i++) a[i] = b[i] + 0.25 * c[i];
        for (int i = 0; i < N; i++) {
            integers[i] = integers[i] * 3 + round;
            total ^= integers[i];
        }
    }
    uint64_t sum = (uint32_t)total;
    for (int i = 0; i < N; i += 1009) sum = kernel_mix(sum, kernel_bits(a[i] + c[i]));
    return sum;
}
