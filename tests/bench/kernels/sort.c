/* Indirect calls: a quicksort that asks a callback, with two of them. */
#include "kernel.h"

struct item {
    uint32_t key;
    float weight;
};
enum {
    ITEMS = 150000
};
static struct item original[ITEMS], items[ITEMS];

typedef int (*comparison)(const void *, const void *);

static int by_key(const void *a, const void *b) {
    uint32_t x = ((const struct item *)a)->key, y = ((const struct item *)b)->key;
    return (x > y) - (x < y);
}
static int by_weight(const void *a, const void *b) {
    float x = ((const struct item *)a)->weight, y = ((const struct item *)b)->weight;
    return x != y ? (x > y) - (x < y) : by_key(a, b);
}
/* Volatile, so that neither compiler sees which callback it is. */
static comparison volatile comparisons[2] = {by_key, by_weight};

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < ITEMS; i++)
        original[i] = (struct item){kernel_random(), (float)(kernel_random() % 5000) / 4};
}

static void swap(struct item *a, struct item *b) {
    struct item t = *a;
    *a = *b;
    *b = t;
}

static void sort(struct item *from, struct item *to, comparison compare) {
    while (to - from > 12) {
        struct item *middle = from + (to - from) / 2;
        if (compare(middle, from) < 0) swap(middle, from);
        if (compare(to - 1, from) < 0) swap(to - 1, from);
        if (compare(to - 1, middle) < 0) swap(to - 1, middle);
        struct item pivot = *middle, *low = from, *high = to - 1;
        while (low <= high) {
            while (compare(low, &pivot) < 0) low++;
            while (compare(high, &pivot) > 0) high--;
            if (low <= high) swap(low++, high--);
        }
        sort(from, high + 1, compare);
        from = low;
    }
    for (struct item *p = from + 1; p < to; p++)
        for (struct item *q = p; q > from && compare(q, q - 1) < 0; q--) swap(q, q - 1);
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int which = 0; which < 2; which++) {
        memcpy(items, original, sizeof items);
        sort(items, items + ITEMS, comparisons[which]);
        for (uint32_t i = 0; i < ITEMS; i += 997) sum = kernel_mix(sum, items[i].key);
    }
    return sum;
}
