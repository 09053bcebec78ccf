/* Parsing: a recursive descent over a JSON text of two megabytes. */
#include "kernel.h"

enum {
    SIZE = 2 << 20
};
static char text[SIZE + 64];
static uint32_t length;

static void put(const char *s) {
    while (*s) text[length++] = *s++;
}

static void make(int depth) {
    char number[32];
    switch (depth == 0 ? 3 + kernel_random() % 3 : kernel_random() % 6) {
    case 0:
    case 1: {
        put("[");
        uint32_t n = 1 + kernel_random() % 6;
        for (uint32_t i = 0; i < n; i++) {
            put(i ? ", " : "");
            make(depth - 1);
        }
        put("]");
        break;
    }
    case 2: {
        put("{");
        uint32_t n = 1 + kernel_random() % 6;
        for (uint32_t i = 0; i < n; i++) {
            put(i ? ", \"" : "\"");
            put((const char *[]){"id", "name", "tags", "value", "parent", "x\\ty"}[i]);
            put("\": ");
            make(depth - 1);
        }
        put("}");
        break;
    }
    case 3: put("\"some text \\u00e9 with \\\"quotes\\\" inside\""); break;
    case 4: put((const char *[]){"true", "false", "null"}[kernel_random() % 3]); break;
    default:
        snprintf(number, sizeof number, "%d.%02u", (int)(kernel_random() % 20000) - 10000,
                 (unsigned)(kernel_random() % 100));
        put(number);
    }
}

static void kernel_prepare(void) {
    put("[");
    while (length < SIZE - 60000) {
        make(5);
        put(",\n");
    }
    put("0]");
}

static const char *at;
static uint64_t sum;

static void space(void) {
    while (*at == ' ' || *at == '\n') at++;
}

static int string(void) {
    uint32_t hash = 5381;
    for (at++; *at != '"'; at++) {
        if ((unsigned char)*at < 32) return 0;
        if (*at == '\\' && *++at == 'u') at += 4;
        hash = hash * 33 + (uint8_t)*at;
    }
    at++;
    sum += hash;
    return 1;
}

static int word(const char *expected) {
    while (*expected)
        if (*at++ != *expected++) return 0;
    sum = kernel_mix(sum, (uint8_t)at[-1]);
    return 1;
}

static int number(void) {
    int64_t value = 0, negative = *at == '-', digits = 0;
    at += negative;
    for (; (*at >= '0' && *at <= '9') || *at == '.'; at++)
        if (*at != '.') value = value * 10 + (*at - '0'), digits++;
    sum += (uint64_t)(negative ? -value : value);
    return digits > 0;
}

static int value(void) {
    space();
    switch (*at) {
    case '[':
    case '{': {
        char end = *at == '[' ? ']' : '}';
        do {
            at++;
            space();
            if (end == '}') {
                if (*at != '"' || !string() || *at++ != ':') return 0;
            }
            if (!value()) return 0;
            space();
        } while (*at == ',');
        return *at++ == end;
    }
    case '"': return string();
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return number();
    }
}

static uint64_t kernel_run(void) {
    sum = 0;
    for (int round = 0; round < 8; round++) {
        at = text;
        if (!value() || *at) return 0;
    }
    return sum;
}
