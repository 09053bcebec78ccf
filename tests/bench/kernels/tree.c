/* Pointers and recursion: a binary search tree is filled, walked and searched. */
#include "kernel.h"

struct node {
    struct node *left, *right;
    uint32_t key, count;
};
enum {
    KEYS = 60000,
    SPACE = 40000
};
static struct node *pool;
static uint32_t used, *keys;

static void kernel_prepare(void) {
    pool = malloc(KEYS * sizeof *pool);
    keys = malloc(KEYS * sizeof *keys);
    if (!pool || !keys) abort();
    for (uint32_t i = 0; i < KEYS; i++) keys[i] = kernel_random() % SPACE;
}

static struct node *insert(struct node *at, uint32_t key) {
    if (!at) {
        struct node *fresh = &pool[used++];
        *fresh = (struct node){.key = key, .count = 1};
        return fresh;
    }
    if (key < at->key)
        at->left = insert(at->left, key);
    else if (key > at->key)
        at->right = insert(at->right, key);
    else
        at->count++;
    return at;
}

static uint64_t walk(const struct node *at, uint32_t depth) {
    if (!at) return depth;
    return walk(at->left, depth + 1) + (uint64_t)at->key * at->count +
           walk(at->right, depth + 1);
}

static uint64_t kernel_run(void) {
    used = 0;
    struct node *root = NULL;
    for (uint32_t i = 0; i < KEYS; i++) root = insert(root, keys[i]);
    uint64_t sum = 0;
    for (int round = 0; round < 4; round++) sum = kernel_mix(sum, walk(root, 0));
    for (uint32_t key = 0; key < SPACE; key++) {
        const struct node *at = root;
        while (at && at->key != key) at = key < at->key ? at->left : at->right;
        sum += at ? at->count : 7;
    }
    return sum;
}
