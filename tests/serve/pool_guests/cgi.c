/* A CGI program for the pool's tests. What it does stands in the request's body:
 *     (nothing)  says hello       env NAME   exit N   trap   spin   sleep MS   grow N (MiB)
 *     burn N     deep   recursion        log N      N bytes on stderr      flood      without
 * end */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int deep(volatile int n) {
    volatile char room[256];
    room[0] = (char)n;
    return deep(n + 1) + room[0];
}

int main(int argc, char **argv) {
    static char body[65536];
    size_t size = fread(body, 1, sizeof body - 1, stdin);
    body[size] = 0;
    long n = strchr(body, ' ') ? atol(strchr(body, ' ') + 1) : 0;
    if (size == 0)
        printf("Content-Type: text/plain\r\n\r\nhello from %s\n", argc ? argv[0] : "?");
    if (strncmp(body, "env ", 4) == 0) {
        const char *value = getenv(body + 4);
        printf("%s\n", value ? value : "(unset)");
    }
    if (strncmp(body, "exit ", 5) == 0) return (int)n;
    if (strcmp(body, "trap") == 0) __builtin_trap();
    if (strcmp(body, "spin") == 0)
        for (volatile unsigned i = 0;; i++) continue;
    if (strncmp(body, "burn ", 5) == 0) {
        for (volatile long i = 0; i < n * 1000; i++) continue;
        puts("burnt");
    }
    if (strncmp(body, "sleep ", 6) == 0) {
        usleep((useconds_t)n * 1000);
        puts("slept");
    }
    if (strncmp(body, "grow ", 5) == 0) {
        for (long i = 0; i < n; i++) {
            char *volatile more = malloc(1 << 20);
            if (!more) abort();
            memset(more, 1, 1 << 20);
        }
        puts("grown");
    }
    if (strcmp(body, "deep") == 0) printf("%d\n", deep(0));
    if (strncmp(body, "log ", 4) == 0) {
        for (long i = 0; i < n; i++) fputc(i % 80 == 79 ? '\n' : 'x', stderr);
        fputs("line of log\n", stderr);
        puts("logged");
    }
    if (strcmp(body, "flood") == 0)
        for (;;) puts("more and more and more and more and more and more");
    return 0;
}
