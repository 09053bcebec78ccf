/* Partition 0 of the object tests: thunks, stubs and the routines that compilers call. */
#include <stddef.h>
#include <stdint.h>

/* Slots of 16 bytes, as in abi.h. */
struct slot {
    int64_t low, high;
};

__asm__(".text\n"
        ".globl trap1, trap2, trap7\n"
        ".type trap1, @function\n.type trap2, @function\n.type trap7, @function\n"
        ".balign 16\n"
        "trap7: ud2\n.size trap7, .-trap7\n"
        "trap1: ud2\n.size trap1, .-trap1\n"
        "trap2: ud2\n.size trap2, .-trap2\n");

void entry0(struct slot *slots, int (*code)(void), void *instance);
void entry0(struct slot *slots, int (*code)(void), void *instance) {
    (void)instance;
    slots[0].low = code();
}

void entry1(struct slot *slots, int (*code)(int, int), void *instance);
void entry1(struct slot *slots, int (*code)(int, int), void *instance) {
    (void)instance;
    slots[0].low = code((int)slots[0].low, (int)slots[1].low);
}

int import0(int a, int b);
int import0(int a, int b) { return a * 100 + b; }

void *memset(void *to, int value, size_t size);
void *memset(void *to, int value, size_t size) {
    volatile unsigned char *at = to; /* or the compiler calls memset here */
    for (size_t i = 0; i < size; i++) at[i] = (unsigned char)value;
    return to;
}
