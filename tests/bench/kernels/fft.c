/* Floating point with strides: a complex Fourier transform, there and back. */
#include "kernel.h"

#include <math.h>

enum {
    BITS = 13,
    SIZE = 1 << BITS
};
static double original[SIZE], re[SIZE], im[SIZE], cosines[SIZE / 2], sines[SIZE / 2];

static void kernel_prepare(void) {
    /* Angles by doubling, since two libraries may differ in the last bit of a sine. */
    double c = -1, s = 0;
    cosines[0] = 1;
    for (uint32_t step = SIZE / 4; step >= 1; step /= 2) {
        double half_c = sqrt((1 + c) / 2), half_s = sqrt((1 - c) / 2);
        c = half_c, s = half_s;
        for (uint32_t i = 0; i < SIZE / 2; i += 2 * step) {
            cosines[i + step] = cosines[i] * c - sines[i] * s;
            sines[i + step] = sines[i] * c + cosines[i] * s;
        }
    }
    for (uint32_t i = 0; i < SIZE; i++)
        original[i] = (double)(kernel_random() % 2000) / 1000 - 1;
}

static void transform(double direction) {
    for (uint32_t i = 1, j = 0; i < SIZE; i++) {
        uint32_t bit = SIZE / 2;
        for (; j & bit; bit /= 2) j ^= bit;
        j ^= bit;
        if (i < j) {
            double t = re[i];
            re[i] = re[j], re[j] = t;
            t = im[i];
            im[i] = im[j], im[j] = t;
        }
    }
    for (uint32_t half = 1; half < SIZE; half *= 2)
        for (uint32_t block = 0; block < SIZE; block += 2 * half)
            for (uint32_t k = 0; k < half; k++) {
                uint32_t a = block + k, b = a + half, w = k * (SIZE / 2 / half);
                double wr = cosines[w], wi = direction * sines[w];
                double tr = re[b] * wr - im[b] * wi, ti = re[b] * wi + im[b] * wr;
                re[b] = re[a] - tr, im[b] = im[a] - ti;
                re[a] += tr, im[a] += ti;
            }
}

static uint64_t kernel_run(void) {
    memcpy(re, original, sizeof re);
    memset(im, 0, sizeof im);
    transform(-1);
    uint64_t sum = kernel_mix(kernel_bits(re[17]), kernel_bits(im[40]));
    transform(1);
    for (uint32_t i = 0; i < SIZE; i++) re[i] /= SIZE, im[i] /= SIZE;
    return kernel_mix(sum, kernel_bits(re[99]));
}
