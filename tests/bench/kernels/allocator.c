/* Lists of free blocks: an allocator with splitting and joining, under a load of many sizes. */
#include "kernel.h"

enum {
    ARENA = 1 << 20,
    HELD = 2000,
    STEPS = 40000
};
struct block {
    uint32_t size, before; /* in bytes, of this block and of the one before; bit 0: in use */
    uint32_t next, back;   /* in the list of its size, while it is free */
};
static _Alignas(16) unsigned char arena[ARENA];
static uint32_t heads[32], held[HELD];

static struct block *at(uint32_t offset) { return (struct block *)(void *)(arena + offset); }

static uint32_t class_of(uint32_t size) { return 31U - (uint32_t)__builtin_clz(size); }

static void insert(uint32_t offset) {
    uint32_t *head = &heads[class_of(at(offset)->size)];
    at(offset)->next = *head, at(offset)->back = 0;
    if (*head) at(*head)->back = offset;
    *head = offset;
}

static void take_out(uint32_t offset) {
    struct block *b = at(offset);
    if (b->back)
        at(b->back)->next = b->next;
    else
        heads[class_of(b->size)] = b->next;
    if (b->next) at(b->next)->back = b->back;
}

static uint32_t allocate(uint32_t wanted) {
    uint32_t size = (wanted + 8 + 15) & ~15U;
    for (uint32_t c = class_of(size); c < 32; c++)
        for (uint32_t o = heads[c]; o; o = at(o)->next) {
            if (at(o)->size < size) continue;
            take_out(o);
            uint32_t rest = at(o)->size - size;
            if (rest >= 32) {
                at(o)->size = size;
                at(o + size)->size = rest, at(o + size)->before = size;
                at(o + size + rest)->before = rest;
                insert(o + size);
            }
            at(o)->size |= 1;
            return o;
        }
    return 0;
}

static void release(uint32_t o) {
    at(o)->size &= ~1U;
    uint32_t after = o + at(o)->size;
    if (!(at(after)->size & 1)) {
        take_out(after);
        at(o)->size += at(after)->size;
    }
    uint32_t before = o - at(o)->before;
    if (!(at(before)->size & 1)) {
        take_out(before);
        at(before)->size += at(o)->size;
        o = before;
    }
    at(o + at(o)->size)->before = at(o)->size;
    insert(o);
}

static void kernel_prepare(void) {}

static uint64_t kernel_run(void) {
    memset(heads, 0, sizeof heads);
    memset(held, 0, sizeof held);
    /* A used block at either end, so that joining stops there. */
    *at(0) = (struct block){.size = 16 | 1};
    *at(16) = (struct block){.size = ARENA - 48, .before = 16};
    *at(ARENA - 32) = (struct block){.size = 32 | 1, .before = ARENA - 48};
    insert(16);
    kernel_seed = 2463534242U;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t r = kernel_random(), slot = r % HELD;
        if (held[slot]) {
            release(held[slot]);
            held[slot] = 0;
        } else {
            held[slot] = allocate(1 + (r >> 12) % (r & 0x100000 ? 1000 : 60));
            sum = kernel_mix(sum, held[slot]);
        }
    }
    return sum;
}
