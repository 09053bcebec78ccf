/* Partition 2 of the object tests: calls back into the others, and to a trap stub. */
#include <stddef.h>
#include <stdint.h>

void trap1(void);
double scale(double x, int by);

int f2(void);
int f2(void) { return 7; }

int f3(int a, int b);
int f3(int a, int b) {
    unsigned char room[300];
    if (a == b) trap1();
    __builtin_memset(room, a, sizeof room);
    volatile unsigned char *look = room;
    return look[b % 300] + (int)scale(8, b % 6);
}
