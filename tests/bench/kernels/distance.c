/* Dynamic programming: how many edits lie between words, and their longest common part. */
#include "kernel.h"

enum {
    WORDS = 60,
    LENGTH = 90
};
static char words[WORDS][LENGTH];
static uint32_t sizes[WORDS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < WORDS; i++) {
        sizes[i] = 30 + kernel_random() % (LENGTH - 30);
        for (uint32_t k = 0; k < sizes[i]; k++) words[i][k] = (char)('a' + kernel_random() % 5);
    }
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t edits(const char *a, uint32_t m, const char *b, uint32_t n) {
    uint32_t row[LENGTH + 1];
    for (uint32_t j = 0; j <= n; j++) row[j] = j;
    for (uint32_t i = 1; i <= m; i++) {
        uint32_t corner = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= n; j++) {
            uint32_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[n];
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORDS; i++)
        for (uint32_t j = 0; j < i; j += 3)
            sum = kernel_mix(sum, edits(words[i], sizes[i], words[j], sizes[j]));
    return sum;
}
