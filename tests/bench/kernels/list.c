/* Pointer chasing: a linked list in shuffled order, reversed and summed. */
#include "kernel.h"

struct node {
    struct node *next;
    uint32_t value;
};
enum {
    NODES = 30000,
    ROUNDS = 60
};
static struct node *nodes, *head;

static void kernel_prepare(void) {
    nodes = malloc(NODES * sizeof *nodes);
    uint32_t *order = malloc(NODES * sizeof *order);
    if (!nodes || !order) abort();
    for (uint32_t i = 0; i < NODES; i++) order[i] = i;
    for (uint32_t i = NODES - 1; i > 0; i--) {
        uint32_t j = kernel_random() % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    head = NULL;
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[order[i]].value = kernel_random();
        nodes[order[i]].next = head;
        head = &nodes[order[i]];
    }
    free(order);
}

static uint64_t kernel_run(void) {
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct node *reversed = NULL;
        while (head) {
            struct node *next = head->next;
            sum += head->value ^ (uint32_t)round;
            head->next = reversed;
            reversed = head;
            head = next;
        }
        head = reversed;
    }
    return sum;
}
