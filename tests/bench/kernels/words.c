/* Strings: words of a text are cut, lowered, counted and looked for, byte by byte. */
#include "kernel.h"

enum {
    TEXT = 400000,
    BUCKETS = 8192
};
static char text[TEXT + 1];
static struct {
    char word[16];
    uint32_t count;
} buckets[BUCKETS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < TEXT; i++) {
        uint32_t r = kernel_random() % 32;
        text[i] = r < 8 ? ' ' : (char)((r & 1 ? 'a' : 'A') + r % 6);
    }
}

static uint32_t count_of(const char *needle) {
    uint32_t found = 0;
    for (const char *p = text; *p; p++) {
        const char *a = p, *b = needle;
        while (*b && *a == *b) a++, b++;
        found += !*b;
    }
    return found;
}

static uint64_t kernel_run(void) {
    memset(buckets, 0, sizeof buckets);
    uint64_t sum = 0;
    for (const char *p = text; *p;) {
        char word[16];
        uint32_t length = 0, hash = 2166136261U;
        while (*p == ' ') p++;
        for (; *p && *p != ' '; p++)
            if (length < sizeof word - 1) {
                char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
                word[length++] = c;
                hash = (hash ^ (uint8_t)c) * 16777619U;
            }
        if (length == 0) continue;
        word[length] = 0;
        for (uint32_t at = hash;; at++) {
            uint32_t slot = at % BUCKETS;
            if (buckets[slot].count == 0 && at - hash < BUCKETS)
                memcpy(buckets[slot].word, word, length + 1);
            else if (at - hash < 64 && strcmp(buckets[slot].word, word) != 0)
                continue;
            sum += ++buckets[slot].count;
            break;
        }
    }
    const char *needles[] = {"abba", "cad", "Bad", "feed", "d d", "AAAA"};
    for (uint32_t i = 0; i < 6; i++) sum = kernel_mix(sum, count_of(needles[i]));
    return sum;
}
