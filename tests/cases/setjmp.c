/*
 * setjmp and longjmp as C programs use them. Built for WASI with tools/guests/setjmp and
 * natively: both must print the same.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf top;

static void down(int n, int value) {
    volatile char room[64];
    room[n % 64] = (char)n;
    if (n == 0) longjmp(top, value);
    down(n - 1, value);
    room[n % 64]++;
}

static void values(void) {
    static const int given[] = {0, 1, 2, -1, INT32_MIN, INT32_MAX};
    for (volatile size_t i = 0; i < sizeof given / sizeof *given; i++) {
        int got = setjmp(top);
        if (got == 0) down(1000, given[i]);
        printf("longjmp %d: %d\n", given[i], got);
    }
}

/* What is not volatile and did not change keeps its value; what is, keeps the last. */
static double locals(int a, int64_t b, double c, float d) {
    volatile int changed = 1;
    const char *text = "unchanged";
    jmp_buf here;
    switch (setjmp(here)) {
    case 0: changed = 2; longjmp(here, 1);
    case 1: changed += 10; longjmp(here, 2);
    case 2: changed += 100; break;
    default: abort();
    }
    printf("%d %lld %.3f %.3f %s %d\n", a, (long long)b, c, (double)d, text, changed);
    return c * 2;
}

/* Several in one function, and an inner one that is not asked. */
static int nested(int which) {
    jmp_buf outer, inner;
    volatile int trace = 0;
    int first = setjmp(outer);
    if (first) return trace * 10 + first;
    trace = 1;
    int second = setjmp(inner);
    if (second == 0) {
        trace = 2;
        if (which == 0) longjmp(inner, 3);
        if (which == 1) longjmp(outer, 4);
        return -1;
    }
    trace = trace * 10 + second;
    longjmp(outer, 5);
}

/* From a comparison that qsort calls. */
static jmp_buf sorting;
static int compared;
static int compare(const void *a, const void *b) {
    if (++compared == 10) longjmp(sorting, compared);
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}
static void callback(void) {
    int numbers[100];
    for (int i = 0; i < 100; i++) numbers[i] = (i * 37) % 101;
    compared = 0;
    int got = setjmp(sorting);
    if (got == 0) {
        qsort(numbers, 100, sizeof *numbers, compare);
        puts("not reached");
    }
    printf("left qsort after %d\n", got);
}

/* Each level has a handler that passes it on. */
struct handler {
    jmp_buf env;
    struct handler *outer;
    int depth;
};
static struct handler *handlers;
static int level(int n) {
    struct handler h = {.outer = handlers, .depth = n};
    handlers = &h;
    int got = setjmp(h.env);
    if (got == 0) {
        if (n == 0) longjmp(handlers->env, 1);
        int below = level(n - 1);
        handlers = h.outer;
        return below;
    }
    handlers = h.outer;
    if (handlers) longjmp(handlers->env, got + h.depth);
    return got;
}

static void many(void) {
    uint64_t sum = 0;
    for (volatile int i = 1; i <= 1000000; i++) {
        jmp_buf here;
        int got = setjmp(here);
        if (got == 0) longjmp(here, i);
        sum += (uint64_t)got;
    }
    printf("%llu\n", (unsigned long long)sum);
}

/* An interpreter's loop, to which everything below jumps back. */
static void loop(void) {
    static jmp_buf back;
    static int steps;
    volatile int errors = 0;
    steps = 0;
    if (setjmp(back)) errors++;
    while (steps < 50) {
        steps++;
        if (steps % 7 == 0) longjmp(back, steps);
    }
    printf("%d steps, %d errors\n", steps, errors);
}

int main(void) {
    values();
    printf("%.1f\n", locals(7, -5000000000, 2.5, 0.125f));
    printf("%d %d\n", nested(0), nested(1));
    callback();
    printf("%d\n", level(20));
    loop();
    many();
    return 0;
}
