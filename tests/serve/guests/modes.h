/* What the test guests do for a path; the same on every interface. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long served; /* how often this instance was asked */
static volatile unsigned long sink;

__attribute__((noinline)) static int deep(int n) {
    volatile char frame[256];
    frame[0] = (char)n;
    return deep(n + 1) + frame[0];
}

/* Leaves a word wherever it can: in memory that is there and that grows, on the stack, in a
 * file in memory that stays open. */
static char *kept, planted[256];
__attribute__((noinline)) static void plant(const char *secret) {
    volatile char on_stack[8192];
    for (size_t i = 0; i <= strlen(secret); i++)
        planted[i % 256] = on_stack[i] = on_stack[4096 + i] = secret[i];
    sink += (unsigned long)on_stack[4096];
    FILE *f = fopen("/tmp/planted", "w+");
    if (f) {
        for (int i = 0; i < 2000; i++) fprintf(f, "%s\n", secret);
        fflush(f);
    }
    kept = malloc(3 << 20);
    for (int i = 0; kept && i < 3 << 20; i += 4096) strcpy(kept + i, secret);
}

/* Fills answer (size bytes of room) for a path; does not return where that is the point. */
__attribute__((noinline)) static size_t serve(const char *path, char *answer, size_t size) {
    int n = 0;
    served++;
    if (strcmp(path, "/count") == 0)
        n = snprintf(answer, size, "%lu\n", served);
    else if (strcmp(path, "/trap") == 0)
        __builtin_trap();
    else if (strcmp(path, "/exit") == 0)
        exit(3);
    else if (strcmp(path, "/spin") == 0)
        for (;;) sink++;
    else if (strcmp(path, "/recurse") == 0)
        n = deep(0);
    else if (strcmp(path, "/sleep") == 0) {
        struct timespec t = {1, 0};
        nanosleep(&t, NULL);
        n = snprintf(answer, size, "slept\n");
    } else if (strcmp(path, "/long") == 0) {
        struct timespec t = {60, 0};
        nanosleep(&t, NULL);
    } else if (strcmp(path, "/grow") == 0) {
        for (;;) {
            char *p = malloc(1 << 20);
            if (!p) break;
            memset(p, 1, 1 << 20);
            sink += (unsigned long)p;
        }
        n = snprintf(answer, size, "no more memory\n");
    } else if (strcmp(path, "/log") == 0) {
        fprintf(stderr, "a line from the guest\n");
        n = snprintf(answer, size, "logged\n");
    } else if (strcmp(path, "/logflood") == 0) {
        for (int i = 0; i < 100000; i++) fprintf(stderr, "line %d of a flood\n", i);
        n = snprintf(answer, size, "flooded\n");
    } else if (strcmp(path, "/burn") == 0) {
        for (unsigned long i = 0; i < 200000000; i++) sink += i;
        n = snprintf(answer, size, "burnt\n");
    } else if (strcmp(path, "/secret") == 0) {
        const char *secret = getenv("SECRET");
        n = snprintf(answer, size, "%s\n", secret ? secret : "none");
    } else if (strcmp(path, "/file") == 0) {
        FILE *f = fopen("/data/hello.txt", "r");
        if (f) n = (int)fread(answer, 1, size, f);
        if (f) fclose(f);
    } else if (strcmp(path, "/write") == 0) {
        FILE *f = fopen("/tmp/x", "a+");
        if (f) {
            fprintf(f, "x");
            fseek(f, 0, SEEK_END);
            n = snprintf(answer, size, "%ld\n", ftell(f));
            fclose(f);
        }
    } else if (strncmp(path, "/plant/", 7) == 0) {
        plant(path + 7);
        n = snprintf(answer, size, "planted\n");
    } else if (strcmp(path, "/left") == 0) {
        n = snprintf(answer, size, "%d %d\n", access("/tmp/planted", F_OK) == 0, kept != NULL);
    } else
        n = snprintf(answer, size, "hello %s\n", path);
    return n > 0 ? (size_t)n : 0;
}
