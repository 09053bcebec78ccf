/* Compression: greedy LZ77 with a hash of four bytes, then the way back. */
#include "kernel.h"

enum {
    SIZE = 1 << 20,
    HASHES = 1 << 14
};
static uint8_t input[SIZE], packed[SIZE * 2], output[SIZE];
static uint32_t heads[HASHES];

static void kernel_prepare(void) {
    static const char *const pieces[] = {"the ",     "quick ", "brown ", "fox ",   "jumps ",
                                         "over ",    "a ",     "lazy ",  "dog ",   "while ",
                                         "(i < n) ", "{ ",     "}\n",    "return "};
    for (uint32_t n = 0; n < SIZE;) {
        const char *piece = pieces[kernel_random() % 14];
        while (*piece && n < SIZE) input[n++] = (uint8_t)*piece++;
        if (n < SIZE && kernel_random() % 4 == 0)
            input[n++] = (uint8_t)(kernel_random() % 64 + 32);
    }
}

static uint32_t load(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A match is 0x80 | length - 4, then the distance in two bytes; a run is its length, its bytes.
 */
static uint32_t compress(void) {
    uint32_t n = 0, run = 0, i = 0;
    memset(heads, 0xff, sizeof heads);
    while (i < SIZE) {
        uint32_t length = 0, distance = 0;
        if (i + 4 <= SIZE) {
            uint32_t *head = &heads[(load(input + i) * 2654435761U) >> 18], before = *head;
            *head = i;
            if (before != UINT32_MAX && i - before < 65536 &&
                load(input + before) == load(input + i)) {
                length = 4;
                while (length < 131 && i + length < SIZE &&
                       input[before + length] == input[i + length])
                    length++;
                distance = i - before;
            }
        }
        if (length) {
            packed[n++] = (uint8_t)(0x80 | (length - 4));
            packed[n++] = (uint8_t)distance;
            packed[n++] = (uint8_t)(distance >> 8);
            i += length;
            run = 0;
        } else {
            if (run == 0 || packed[run] == 127) {
                run = n;
                packed[n++] = 0;
            }
            packed[run]++;
            packed[n++] = input[i++];
        }
    }
    return n;
}

static uint32_t expand(uint32_t size) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < size;) {
        uint32_t code = packed[i++];
        if (code & 0x80) {
            uint32_t distance = packed[i] | (uint32_t)packed[i + 1] << 8;
            i += 2;
            for (uint32_t length = (code & 0x7f) + 4; length; length--, n++)
                output[n] = output[n - distance];
        } else {
            while (code--) output[n++] = packed[i++];
        }
    }
    return n;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 3; round++) {
        input[round] ^= 1;
        uint32_t size = compress();
        if (expand(size) != SIZE || memcmp(input, output, SIZE) != 0) return 0;
        sum = kernel_mix(sum, size);
        input[round] ^= 1;
    }
    return sum;
}
