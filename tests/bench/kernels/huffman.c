/* Bits: a text is encoded with a prefix code made for it, and decoded by walking the tree. */
#include "kernel.h"

enum {
    SIZE = 120000,
    SYMBOLS = 64
};
static uint8_t text[SIZE], packed[SIZE * 2], unpacked[SIZE];
static struct {
    uint32_t weight;
    int left, right;
} nodes[2 * SYMBOLS];
static uint32_t codes[SYMBOLS], lengths[SYMBOLS];

static void kernel_prepare(void) {
    for (uint32_t i = 0; i < SIZE; i++) {
        uint32_t r = kernel_random();
        text[i] = (uint8_t)(((r & 63) * (r >> 6 & 63) * (r >> 12 & 63)) >> 12);
    }
}

static void assign(int node, uint32_t code, uint32_t length) {
    if (nodes[node].left < 0) {
        codes[node] = code, lengths[node] = length;
        return;
    }
    assign(nodes[node].left, code << 1, length + 1);
    assign(nodes[node].right, code << 1 | 1, length + 1);
}

static int build(void) {
    int alive[SYMBOLS], count = SYMBOLS, next = SYMBOLS;
    for (int i = 0; i < SYMBOLS; i++) {
        nodes[i].weight = 1;
        nodes[i].left = nodes[i].right = -1;
        alive[i] = i;
    }
    for (uint32_t i = 0; i < SIZE; i++) nodes[text[i]].weight++;
    while (count > 1) {
        int chosen[2];
        for (int k = 0; k < 2; k++) {
            int least = 0;
            for (int i = 1; i < count; i++)
                if (nodes[alive[i]].weight < nodes[alive[least]].weight) least = i;
            chosen[k] = alive[least];
            alive[least] = alive[--count];
        }
        nodes[next].weight = nodes[chosen[0]].weight + nodes[chosen[1]].weight;
        nodes[next].left = chosen[0], nodes[next].right = chosen[1];
        alive[count++] = next++;
    }
    return next - 1;
}

static uint64_t kernel_run(void) {
    int root = build();
    assign(root, 0, 0);
    uint64_t window = 0;
    uint32_t held = 0, size = 0;
    for (uint32_t i = 0; i < SIZE; i++) {
        window = window << lengths[text[i]] | codes[text[i]];
        held += lengths[text[i]];
        while (held >= 8) packed[size++] = (uint8_t)(window >> (held -= 8));
    }
    packed[size++] = (uint8_t)(window << (8 - held));
    uint32_t bit = 0;
    for (uint32_t i = 0; i < SIZE; i++) {
        int node = root;
        while (nodes[node].left >= 0) {
            int one = packed[bit >> 3] >> (7 - (bit & 7)) & 1;
            node = one ? nodes[node].right : nodes[node].left;
            bit++;
        }
        unpacked[i] = (uint8_t)node;
    }
    return kernel_mix(kernel_mix(size, (uint64_t)(memcmp(text, unpacked, SIZE) == 0)), bit);
}
