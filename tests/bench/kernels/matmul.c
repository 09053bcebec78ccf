/* Floating point with regular accesses: three products of 256 x 256 matrices. */
#include "kernel.h"

enum {
    N = 256
};
static double a[N][N], b[N][N], c[N][N];

static void kernel_prepare(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(kernel_random() % 1000) / 8;
            b[i][j] = (double)(kernel_random() % 1000) / 16;
        }
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 3; round++) {
        memset(c, 0, sizeof c);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++) {
                double factor = a[i][k] + round;
                for (int j = 0; j < N; j++) c[i][j] += factor * b[k][j];
            }
        for (int i = 0; i < N; i++) sum = kernel_mix(sum, kernel_bits(c[i][(i * 7) % N]));
    }
    return sum;
}
