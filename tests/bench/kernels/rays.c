/* Floats, square roots and branches: spheres seen by rays. */
#include "kernel.h"

#include <math.h>

enum {
    SIDE = 160,
    SPHERES = 24
};
struct vector {
    float x, y, z;
};
static struct {
    struct vector centre;
    float radius;
} spheres[SPHERES];

static float dot(struct vector a, struct vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static struct vector along(struct vector a, struct vector d, float t) {
    return (struct vector){a.x + d.x * t, a.y + d.y * t, a.z + d.z * t};
}

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < SPHERES; i++) {
        spheres[i].centre = (struct vector){(float)(kernel_random() % 200) / 20 - 5,
                                            (float)(kernel_random() % 200) / 20 - 5,
                                            8 + (float)(kernel_random() % 100) / 10};
        spheres[i].radius = 0.3F + (float)(kernel_random() % 100) / 90;
    }
}

/* The nearest sphere, or -1; *t is how far. */
static int nearest(struct vector from, struct vector direction, float *t) {
    int hit = -1;
    for (int i = 0; i < SPHERES; i++) {
        struct vector to = along(spheres[i].centre, from, -1);
        float middle = dot(to, direction);
        float rest = spheres[i].radius * spheres[i].radius - (dot(to, to) - middle * middle);
        if (rest <= 0) continue;
        float at = middle - sqrtf(rest);
        if (at > 0.001F && (hit < 0 || at < *t)) *t = at, hit = i;
    }
    return hit;
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            struct vector from = {0, 0, 0};
            struct vector d = {(float)(x - SIDE / 2) / SIDE, (float)(y - SIDE / 2) / SIDE, 1};
            d = along((struct vector){0, 0, 0}, d, 1 / sqrtf(dot(d, d)));
            float light = 0;
            for (int bounce = 0; bounce < 3; bounce++) {
                float t = 0;
                int hit = nearest(from, d, &t);
                if (hit < 0) break;
                from = along(from, d, t);
                struct vector normal = along(from, spheres[hit].centre, -1);
                normal = along((struct vector){0, 0, 0}, normal, 1 / spheres[hit].radius);
                light += fabsf(normal.y) / (float)(1 + bounce);
                d = along(d, normal, -2 * dot(d, normal));
            }
            sum = kernel_mix(sum, (uint64_t)(light * 255));
        }
    return sum;
}
