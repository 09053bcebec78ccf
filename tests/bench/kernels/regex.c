/* Recursion that backtracks: a small pattern matcher with stars, classes and alternatives. */
#include "kernel.h"

enum {
    TEXT = 20000
};
static char text[TEXT + 1];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < TEXT; i++) text[i] = "aaabbcd-12 "[kernel_random() % 11];
}

static const char *item_end(const char *p) {
    if (*p != '[') return p + 1;
    while (*p != ']') p++;
    return p + 1;
}

static int item_matches(const char *p, char c) {
    if (!c) return 0;
    if (*p == '.') return 1;
    if (*p != '[') return *p == c;
    for (p++; *p != ']'; p++) {
        if (p[1] == '-' && p[2] != ']') {
            if (c >= p[0] && c <= p[2]) return 1;
            p += 2;
        } else if (*p == c)
            return 1;
    }
    return 0;
}

/* Where the match ends, or NULL. */
static const char *match(const char *p, const char *s) {
    if (!*p) return s;
    const char *next = item_end(p);
    if (*next == '*') {
        const char *end = s;
        while (item_matches(p, *end)) end++;
        for (;; end--) {
            const char *found = match(next + 1, end);
            if (found || end == s) return found;
        }
    }
    if (*next == '?') {
        const char *found = item_matches(p, *s) ? match(next + 1, s + 1) : NULL;
        return found ? found : match(next + 1, s);
    }
    return item_matches(p, *s) ? match(next, s + 1) : NULL;
}

static uint64_t kernel_run(void) {
    static const char *const patterns[] = {"a*b*c", "[a-c]*d-?[0-9]", "[ab]*a[ab][ab]c",
                                           ".a?b?c?d1", "[0-9][0-9]* [a-d]*-"};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (const char *s = text; *s; s++) {
            const char *end = match(patterns[i], s);
            if (end) sum = kernel_mix(sum, (uint64_t)(end - s));
        }
    return sum;
}
