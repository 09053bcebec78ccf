/*
 * A kernel: one piece of work, the same source for the machine and for WebAssembly, that
 * returns a checksum of what it did. The including file defines kernel_prepare (once, untimed)
 * and kernel_run (timed, deterministic, the same work each time).
 *
 *     KERNEL [SAMPLES [RUNS]]   prints "SECONDS CHECKSUM" a sample, each the time of RUNS runs
 *
 * The time is the processor's, which a busy machine disturbs least.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void kernel_prepare(void);
static uint64_t kernel_run(void);

/* A generator that any target computes alike. */
static uint32_t kernel_seed = 2463534242U;
static inline uint32_t kernel_random(void) {
    kernel_seed ^= kernel_seed << 13;
    kernel_seed ^= kernel_seed >> 17;
    kernel_seed ^= kernel_seed << 5;
    return kernel_seed;
}

static inline uint64_t kernel_mix(uint64_t sum, uint64_t value) {
    return (sum ^ value) * 0x100000001b3U + (sum >> 29);
}

static inline uint64_t kernel_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

int main(int argc, char **argv) {
    int samples = argc > 1 ? atoi(argv[1]) : 3, runs = argc > 2 ? atoi(argv[2]) : 1;
    kernel_prepare();
    for (int i = 0; i < samples; i++) {
        struct timespec start, end;
        uint64_t sum = 0;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        for (int run = 0; run < runs; run++) sum = kernel_mix(sum, kernel_run());
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        printf("%.9f %016llx\n",
               (double)(end.tv_sec - start.tv_sec) +
                   (double)(end.tv_nsec - start.tv_nsec) / 1e9,
               (unsigned long long)sum);
    }
    return 0;
}

#endif
