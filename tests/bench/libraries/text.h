/* What the compressors of this directory work on: lines like those of a log, the same on every
 * target. */
#ifndef TEXT_H
#define TEXT_H

#include "tests/bench/kernels/kernel.h"

static size_t text_fill(char *to, size_t size) {
    static const char *const words[] = {
        "GET",   "POST",    "/index",     "/users/", "/static/app.js", "200",   "404", "cached",
        "error", "timeout", "connection", "from",    "tenant",         "bytes", "in",  "ms"};
    size_t at = 0;
    while (at + 200 < size) {
        at += (size_t)sprintf(to + at, "2024-05-%02u %02u:%02u ", 1 + kernel_random() % 28,
                              kernel_random() % 24, kernel_random() % 60);
        for (uint32_t n = 4 + kernel_random() % 8; n > 0; n--)
            at += (size_t)sprintf(to + at, "%s ", words[kernel_random() % 16]);
        at += (size_t)sprintf(to + at, "%x\n", kernel_random() % 65536);
    }
    return at;
}

#endif
