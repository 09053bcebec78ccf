"""Floating point: bodies under gravity, a spectral norm, an integral."""

import math


def step(bodies, dt):
    for i, (position, velocity, mass) in enumerate(bodies):
        for other, pull, weight in bodies[i + 1:]:
            dx = position[0] - other[0]
            dy = position[1] - other[1]
            dz = position[2] - other[2]
            distance = math.sqrt(dx * dx + dy * dy + dz * dz + 0.01)
            force = dt / (distance * distance * distance)
            velocity[0] -= dx * weight * force
            velocity[1] -= dy * weight * force
            velocity[2] -= dz * weight * force
            pull[0] += dx * mass * force
            pull[1] += dy * mass * force
            pull[2] += dz * mass * force
    for position, velocity, _ in bodies:
        position[0] += dt * velocity[0]
        position[1] += dt * velocity[1]
        position[2] += dt * velocity[2]


def times(vector, transposed):
    result = []
    for i in range(len(vector)):
        total = 0.0
        for j, value in enumerate(vector):
            a, b = (j, i) if transposed else (i, j)
            total += value / ((a + b) * (a + b + 1) / 2 + a + 1)
        result.append(total)
    return result


def integral(steps):
    width = 2.0 / steps
    return width * sum(x * x - 0.5 * x + 1.0 / (1.0 + x) for x in
                       ((i + 0.5) * width for i in range(steps)))


def work():
    bodies = [([i * 1.5, i * -0.7, i * 0.3], [0.0, 0.1 * i, 0.0], 1.0 + i) for i in range(5)]
    for _ in range(1_200):
        step(bodies, 0.001)
    vector = [1.0] * 60
    for _ in range(3):
        vector = times(times(vector, False), True)
        largest = max(vector)
        vector = [v / largest for v in vector]
    return bodies, vector, integral(30_000)
