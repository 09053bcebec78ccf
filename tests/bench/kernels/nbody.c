/* Floating point with square roots and few bodies: a solar system, 300,000 steps. */
#include "kernel.h"
#include <math.h>

struct body {
    double x, y, z, vx, vy, vz, mass;
};
enum {
    BODIES = 5,
    STEPS = 300000
};
static const struct body start[BODIES] = {
    {0, 0, 0, 0, 0, 0, 39.47841760435743},
    {4.84143144246472, -1.16032004402742, -0.10362204447112, 0.60632639299583, 2.81198684491626,
     -0.02521836165988, 0.03769367487038},
    {8.34336671824457, 4.12479856412430, -0.40352341711432, -1.01077434617879, 1.82566237123041,
     0.00841576137658, 0.01128632613196},
    {12.89436956213912, -15.11115140169863, -0.22330757889265, 1.08279100644153,
     0.86871301816960, -0.01083263740136, 0.00172372405705},
    {15.37969711485091, -25.91931460998796, 0.17925877295037, 0.97909073224389,
     0.59469899864767, -0.03475595555078, 0.00203368686992},
};

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    struct body bodies[BODIES];
    memcpy(bodies, start, sizeof bodies);
    const double dt = 0.01;
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < BODIES; i++) {
            struct body *p = &bodies[i];
            for (int j = i + 1; j < BODIES; j++) {
                struct body *q = &bodies[j];
                double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
                double squared = dx * dx + dy * dy + dz * dz;
                double magnitude = dt / (squared * sqrt(squared));
                p->vx -= dx * q->mass * magnitude;
                p->vy -= dy * q->mass * magnitude;
                p->vz -= dz * q->mass * magnitude;
                q->vx += dx * p->mass * magnitude;
                q->vy += dy * p->mass * magnitude;
                q->vz += dz * p->mass * magnitude;
            }
        }
        for (int i = 0; i < BODIES; i++) {
            bodies[i].x += dt * bodies[i].vx;
            bodies[i].y += dt * bodies[i].vy;
            bodies[i].z += dt * bodies[i].vz;
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < BODIES; i++)
        sum = kernel_mix(sum, kernel_bits(bodies[i].x + bodies[i].vy));
    return sum;
}
