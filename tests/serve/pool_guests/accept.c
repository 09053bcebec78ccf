/* A program that accepts its requests, for the pool's tests: on descriptor 0 (fastcgi) or 3
 * (http, as LISTEN_FDS=1 in the environment says). The first word decides:
 *     count   how many requests so far    exit N    trap    spin    burn N    sleep MS
 *     nothing else: what came is sent back */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    int listener = getenv("LISTEN_FDS") ? 3 : 0;
    static int count;
    if (getenv("SLOW_START")) usleep((useconds_t)atol(getenv("SLOW_START")) * 1000);
    if (getenv("BAD_START")) __builtin_trap();
    fprintf(stderr, "up\n");
    for (;;) {
        int stream = accept(listener, NULL, NULL);
        if (stream < 0) {
            perror("accept");
            return 1;
        }
        count++;
        static char body[65536];
        size_t size = 0;
        for (ssize_t n; (n = read(stream, body + size, sizeof body - 1 - size)) > 0;)
            size += (size_t)n;
        body[size] = 0;
        long n = strchr(body, ' ') ? atol(strchr(body, ' ') + 1) : 0;
        if (strcmp(body, "trap") == 0) __builtin_trap();
        if (strncmp(body, "exit ", 5) == 0) return (int)n;
        if (strcmp(body, "spin") == 0)
            for (volatile unsigned i = 0;; i++) continue;
        if (strncmp(body, "burn ", 5) == 0)
            for (volatile long i = 0; i < n * 1000; i++) continue;
        if (strncmp(body, "sleep ", 6) == 0) usleep((useconds_t)n * 1000);
        if (strncmp(body, "log ", 4) == 0) fprintf(stderr, "%s\n", body + 4);
        if (strcmp(body, "count") == 0) size = (size_t)sprintf(body, "%d", count);
        for (size_t at = 0; at < size;) {
            ssize_t w = write(stream, body + at, size - at);
            if (w <= 0) break;
            at += (size_t)w;
        }
        if (strcmp(body, "leak") != 0) close(stream);
    }
}
