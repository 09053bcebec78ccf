/* A heap and lists of edges: shortest ways through a graph. */
#include "kernel.h"

enum {
    NODES = 20000,
    EDGES = 6 * NODES
};
static struct {
    uint32_t to, cost, next;
} edges[EDGES + 1];
static uint32_t first[NODES], distance[NODES];
static struct entry {
    uint32_t cost, node;
} heap[EDGES + 2];
static uint32_t heap_size;

static void kernel_prepare(void) {
    for (uint32_t i = 1; i <= EDGES; i++) {
        uint32_t from = kernel_random() % NODES;
        edges[i].to = i < NODES ? i : kernel_random() % NODES;
        if (i < NODES) from = kernel_random() % i;
        edges[i].cost = 1 + kernel_random() % 1000;
        edges[i].next = first[from];
        first[from] = i;
    }
}

static void push(struct entry e) {
    uint32_t at = heap_size++;
    for (; at > 0 && heap[(at - 1) / 2].cost > e.cost; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = e;
}

static struct entry pop(void) {
    struct entry top = heap[0], last = heap[--heap_size];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap_size) break;
        if (child + 1 < heap_size && heap[child + 1].cost < heap[child].cost) child++;
        if (heap[child].cost >= last.cost) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static uint64_t kernel_run(void) {
    memset(distance, 0xff, sizeof distance);
    heap_size = 0;
    distance[0] = 0;
    push((struct entry){0, 0});
    while (heap_size > 0) {
        struct entry e = pop();
        if (e.cost > distance[e.node]) continue;
        for (uint32_t i = first[e.node]; i; i = edges[i].next) {
            uint32_t cost = e.cost + edges[i].cost;
            if (cost >= distance[edges[i].to]) continue;
            distance[edges[i].to] = cost;
            push((struct entry){cost, edges[i].to});
        }
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < NODES; i += 13) sum = kernel_mix(sum, distance[i]);
    return sum;
}
