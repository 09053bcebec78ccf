/*
 * Words of the command line to numbers. What does not fit or does not end where it should is
 * refused with the spelling that would have been right.
 */
#include "tools/cli.h"

#include <ctype.h>
#include <errno.h>

enum status cli_parse_size(const char *text, uint64_t *ret_bytes, struct error *err) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (isdigit((unsigned char)text[0]) && *end) {
        switch (*end) {
        case 'K':
        case 'k': shift = 10; break;
        case 'M':
        case 'm': shift = 20; break;
        case 'G':
        case 'g': shift = 30; break;
        default: break;
        }
        if (shift) end++;
        if (shift && strcmp(end, "iB") == 0) end += 2; /* KiB */
    }
    uint64_t bytes;
    if (!isdigit((unsigned char)text[0]) || *end || errno ||
        mul_overflows((uint64_t)n, UINT64_C(1) << shift, &bytes))
        return error_set(err, ST_USAGE,
                         "'%s' is no size: give bytes, or a number with K, M or G (of 1024)",
                         text);
    *ret_bytes = bytes;
    return ST_OK;
}

enum status cli_parse_duration(const char *text, uint64_t *ret_ns, struct error *err) {
    static const struct {
        const char *suffix;
        uint64_t ns;
    } units[] = {
        {"", 1000000000}, {"s", 1000000000},  {"ms", 1000000},      {"us", 1000},
        {"ns", 1},        {"m", 60000000000}, {"min", 60000000000}, {"h", 3600000000000},
    };
    const char *at = text;
    uint64_t whole = 0, part = 0, scale = 1;
    bool fits = isdigit((unsigned char)*at), digits = fits;
    for (; isdigit((unsigned char)*at); at++)
        if (mul_overflows(whole, UINT64_C(10), &whole) ||
            add_overflows(whole, (uint64_t)(*at - '0'), &whole))
            fits = false;
    if (digits && *at == '.')
        for (at++; isdigit((unsigned char)*at); at++)
            if (scale < 1000000) { /* further digits are below what is measured */
                scale *= 10;
                part = part * 10 + (uint64_t)(*at - '0');
            }
    for (size_t i = 0; digits && i < countof(units); i++) {
        if (strcmp(at, units[i].suffix) != 0) continue;
        uint64_t ns;
        if (!fits || mul_overflows(whole, units[i].ns, &ns) ||
            add_overflows(ns, part * units[i].ns / scale, &ns)) /* under 1e6 * 3.6e12 */
            return error_set(err, ST_USAGE, "'%s' is too long a time", text);
        if (ns == 0) return error_set(err, ST_USAGE, "'%s' leaves no time at all", text);
        *ret_ns = ns;
        return ST_OK;
    }
    return error_set(
        err, ST_USAGE,
        "'%s' is no duration: give a number with ns, us, ms, s, m or h, as in 100ms", text);
}

enum status cli_parse_level(const char *text, enum compile_level *ret_level,
                            struct error *err) {
    const char *word = strncmp(text, "opt-level=", 10) == 0 ? text + 10 : text;
    if (strcmp(word, "fast") == 0) {
        *ret_level = COMPILE_FAST;
    } else if (word[0] >= '0' && word[0] <= '3' && !word[1]) {
        *ret_level = (enum compile_level)(word[0] - '0');
    } else {
        return error_set(err, ST_USAGE,
                         "'%s' is no optimisation level: give 0, 1, 2, 3 or fast", text);
    }
    return ST_OK;
}
