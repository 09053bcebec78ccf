/* Bytes side by side: an image is blurred, its edges found, its histogram spread. */
#include "kernel.h"

enum {
    WIDTH = 640,
    HEIGHT = 360
};
static uint8_t image[HEIGHT][WIDTH], blurred[HEIGHT][WIDTH], edge[HEIGHT][WIDTH];

static void kernel_prepare(void) {
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            image[y][x] = (uint8_t)((x * y / 64 + kernel_random() % 32) & 0xff);
}

static uint64_t kernel_run(void) {
    for (uint32_t y = 1; y < HEIGHT - 1; y++)
        for (uint32_t x = 1; x < WIDTH - 1; x++) {
            uint32_t sum = 4U * image[y][x] + 2U * image[y][x - 1] + 2U * image[y][x + 1] +
                           2U * image[y - 1][x] + 2U * image[y + 1][x] + image[y - 1][x - 1] +
                           image[y - 1][x + 1] + image[y + 1][x - 1] + image[y + 1][x + 1];
            blurred[y][x] = (uint8_t)(sum / 16);
        }
    for (uint32_t y = 1; y < HEIGHT - 1; y++)
        for (uint32_t x = 1; x < WIDTH - 1; x++) {
            int dx = blurred[y][x + 1] - blurred[y][x - 1];
            int dy = blurred[y + 1][x] - blurred[y - 1][x];
            int both = (dx < 0 ? -dx : dx) + (dy < 0 ? -dy : dy);
            edge[y][x] = (uint8_t)(both > 255 ? 255 : both);
        }
    uint32_t counts[256] = {0};
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++) counts[edge[y][x]]++;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 256; i++) sum = kernel_mix(sum, counts[i]);
    return sum;
}
