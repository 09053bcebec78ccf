/* Library strings: strlen, strchr, strcmp, strstr and memchr over lines of many lengths. */
#include "kernel.h"

enum {
    LINES = 3000,
    LONGEST = 240
};
static char *lines[LINES];
static size_t lengths[LINES];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < LINES; i++) {
        lengths[i] = kernel_random() % LONGEST;
        lines[i] = malloc(lengths[i] + 1);
        if (!lines[i]) abort();
        for (size_t at = 0; at < lengths[i]; at++)
            lines[i][at] = (char)('a' + kernel_random() % 20);
        lines[i][lengths[i]] = 0;
        if (i % 3 == 0 && i > 0 && lengths[i] >= lengths[i - 1])
            memcpy(lines[i], lines[i - 1], lengths[i - 1]);
    }
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < LINES; i++) {
        const char *line = lines[i], *z = strchr(line, 'z'), *t = strchr(line, 't');
        sum = kernel_mix(sum, strlen(line));
        sum += z ? 1 : 0;
        sum += t ? (uint64_t)(t - line) : 3;
        if (i > 0) {
            int order = strcmp(line, lines[i - 1]);
            sum += (uint64_t)((order > 0) - (order < 0) + 1);
        }
        const char *found = memchr(line, 'y', lengths[i]), *pair = strstr(line, "cab");
        sum += found ? 1 : 2;
        sum += pair ? (uint64_t)(pair - line) : 7;
    }
    return sum;
}
