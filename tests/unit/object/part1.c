/* Partition 1 of the object tests: constants, a jump table, calls to other partitions. */
#include <stdint.h>

int import0(int a, int b);
int f2(void);
int f3(int a, int b);

/* Through a table of constants in .rodata. In a section of its own, behind the others: so the
 * unwind table is not in the order of addresses. */
int f1(int a, int b);
__attribute__((section(".text.unlikely"))) int f1(int a, int b) {
    static const int primes[] = {2, 3, 5, 7, 11, 13, 17, 19};
    return primes[a & 7] + import0(a, b) + f2();
}

/* A function of another partition as a value: in position-independent code a load from the
 * global offset table, which linking turns into an address. */
int (*f4(void))(int, int);
int (*f4(void))(int, int) { return f3; }

double scale(double x, int by);
double scale(double x, int by) {
    switch (by) { /* a jump table and floating-point constants */
    case 0: return x * 1.25;
    case 1: return x * 2.5 + f2();
    case 2: return x - 3.75;
    case 3: return x / 7.125;
    case 4: return x + 9.5 * f2();
    case 5: return -x;
    default: return 0.0625;
    }
}
