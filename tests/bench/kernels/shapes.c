/* Virtual calls: a list of things of several kinds, each with its table of functions. */
#include "kernel.h"

enum {
    SHAPES = 20000
};
struct shape;
struct methods {
    int64_t (*area)(const struct shape *);
    void (*grow)(struct shape *, int32_t by);
    int (*holds)(const struct shape *, int32_t x, int32_t y);
};
struct shape {
    const struct methods *methods;
    int32_t a, b;
};

static int64_t box_area(const struct shape *s) { return (int64_t)s->a * s->b; }
static void box_grow(struct shape *s, int32_t by) { s->a += by, s->b += by; }
static int box_holds(const struct shape *s, int32_t x, int32_t y) {
    return x < s->a && y < s->b;
}
static int64_t disc_area(const struct shape *s) { return (int64_t)s->a * s->a * 355 / 113; }
static void disc_grow(struct shape *s, int32_t by) { s->a += by; }
static int disc_holds(const struct shape *s, int32_t x, int32_t y) {
    return (int64_t)x * x + (int64_t)y * y < (int64_t)s->a * s->a;
}
static int64_t corner_area(const struct shape *s) { return (int64_t)s->a * s->b / 2; }
static void corner_grow(struct shape *s, int32_t by) { s->b += 2 * by; }
static int corner_holds(const struct shape *s, int32_t x, int32_t y) {
    return (int64_t)x * s->b + (int64_t)y * s->a < (int64_t)s->a * s->b;
}

static const struct methods kinds[] = {{box_area, box_grow, box_holds},
                                       {disc_area, disc_grow, disc_holds},
                                       {corner_area, corner_grow, corner_holds}};
static struct shape shapes[SHAPES];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < SHAPES; i++)
        shapes[i] =
            (struct shape){&kinds[kernel_random() % 3], (int32_t)(kernel_random() % 900),
                           (int32_t)(kernel_random() % 900)};
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 6; round++)
        for (uint32_t i = 0; i < SHAPES; i++) {
            struct shape *s = &shapes[i];
            int32_t by = round % 2 ? -3 : 3;
            s->methods->grow(s, by);
            sum += (uint64_t)s->methods->area(s);
            sum += (uint64_t)s->methods->holds(s, (int32_t)(i % 500), round * 70);
        }
    return sum;
}
