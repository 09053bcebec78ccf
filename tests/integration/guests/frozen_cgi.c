/*
 * A CGI program for the tests of snapshots: a start-up that takes some work, then the request
 * as it sees it. What it does besides is in the variable DO of its configuration:
 *
 *     early      writes the first half of its head before it has looked at its request
 *     copies     sets a variable first, so that libc has a copy of the environment
 *     keeps      holds a pointer to a variable of its configuration
 *     counts     reads a number from the file /d/number, writes the next one there, and says it
 *     clock      starts another way before the year 2096
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__attribute__((import_module("hutch"), import_name("generation"))) long long generation(void);

extern char **environ;
static unsigned table[1 << 15];
static unsigned starts; /* how often the start-up ran in this memory */

static long long work(int rounds) {
    struct timespec now;
    for (int k = 0; k < rounds; k++) {
        for (unsigned i = 0; i < 1 << 15; i++) table[i] = table[i] * 31 + i + (unsigned)k;
        clock_gettime(CLOCK_REALTIME, &now);
    }
    starts++;
    return now.tv_sec;
}

int main(void) {
    const char *what = getenv("DO") ? getenv("DO") : "", *kept = getenv("KEPT");
    int number = 0;
    long long when = work(40);
    if (!strcmp(what, "clock") && when < 4000000000) work(3);
    if (!strcmp(what, "early")) {
        printf("Content-Type: text/plain\r\n");
        fflush(stdout);
        work(3);
    } else {
        printf("Content-Type: text/plain\r\n");
    }
    if (!strcmp(what, "copies")) setenv("HTTP_PROXY", "", 1), work(3);
    if (!strcmp(what, "counts")) {
        FILE *f = fopen("/d/number", "r+");
        if (f && fscanf(f, "%d", &number) == 1) rewind(f), fprintf(f, "%d\n", number + 1);
        if (f) fclose(f);
        work(3);
    }
    const char *query = getenv("QUERY_STRING");
    unsigned char random[8];
    getentropy(random, sizeof random);
    printf("X-Started: %u\r\n\r\n", starts);
    printf("%s %s kept %s number %d table %u\n", getenv("REQUEST_METHOD"), query ? query : "-",
           kept ? kept : "-", number, table[12345]);
    printf("token %02x%02x%02x%02x%02x%02x%02x%02x %d\n", random[0], random[1], random[2],
           random[3], random[4], random[5], random[6], random[7], generation() != 0);
    for (char **e = environ; *e; e++)
        if (strncmp(*e, "DO=", 3)) printf("env %s\n", *e);
    for (int c; (c = getchar()) != EOF;) putchar(c);
    return query && !strcmp(query, "exit") ? 3 : 0;
}
