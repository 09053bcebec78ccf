/* Indirect loads: a sparse matrix times a vector, and conjugate gradient steps with it. */
#include "kernel.h"

enum {
    ROWS = 20000,
    PER_ROW = 9
};
static uint32_t columns[ROWS * PER_ROW];
static double values[ROWS * PER_ROW], x[ROWS], y[ROWS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < ROWS * PER_ROW; i++) {
        columns[i] = kernel_random() % ROWS;
        values[i] = (double)(kernel_random() % 1000) / 9000;
    }
}

static uint64_t kernel_run(void) {
    for (uint32_t i = 0; i < ROWS; i++) x[i] = 1 + (double)(i % 7);
    for (int round = 0; round < 4; round++) {
        double norm = 0;
        for (uint32_t row = 0; row < ROWS; row++) {
            double sum = 0;
            for (uint32_t k = row * PER_ROW; k < (row + 1) * PER_ROW; k++)
                sum += values[k] * x[columns[k]];
            y[row] = sum;
        }
        for (uint32_t i = 0; i < ROWS; i++) norm += y[i] * y[i];
        for (uint32_t i = 0; i < ROWS; i++) x[i] = y[i] / (1 + norm / ROWS);
    }
    return kernel_bits(x[1]) ^ kernel_bits(x[ROWS - 1]);
}
