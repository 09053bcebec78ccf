/*
 * A small HTTP server on descriptor 3 for the tests of snapshots: one request a connection, and
 * paths that do what a snapshot must survive or undo.
 *
 *     /          how many requests it has answered
 *     /token     random bytes, the time, hutch.generation
 *     /plant?S   keeps S in memory, on the stack and in a file, and says nothing of it
 *     /left      how many files there are in /tmp with what /plant wrote, how many descriptors
 * of them /size      pages of memory; /grow: 10 more /deep      what a recursion came to, in
 * whose middle it had waited for its first request /trap, /exit, /spin
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasm_simd128.h>

__attribute__((import_module("hutch"), import_name("generation"))) int64_t generation(void);

static int count;
static char *kept;
static volatile char planted[256];

static void answer(int fd, const char *text) {
    char out[1024];
    int n = snprintf(out, sizeof out,
                     "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                     strlen(text), text);
    (void)!write(fd, out, (size_t)n);
}

static void __attribute__((noinline)) plant(const char *secret) {
    volatile char on_stack[8192];
    for (size_t i = 0; i <= strlen(secret); i++)
        planted[i] = on_stack[i] = on_stack[4096 + i] = secret[i];
    int file = open("/tmp/planted", O_CREAT | O_RDWR, 0600); /* and left open */
    if (file >= 0) (void)!write(file, secret, strlen(secret));
    kept = malloc(3 << 20); /* the memory grows for it */
    for (int i = 0; i < 3 << 20; i += 4096) strcpy(kept + i, secret);
}

/* One request, in the middle of whatever called it. Returns false at the end. */
static int serve(double so_far) {
    int fd = accept(3, NULL, NULL);
    char in[4096], text[512] = "";
    if (fd < 0) exit(3);
    ssize_t n = read(fd, in, sizeof in - 1);
    in[n < 0 ? 0 : n] = 0;
    count++;
    if (!strncmp(in, "GET /token", 10)) {
        unsigned char bytes[8];
        struct timespec now;
        getentropy(bytes, sizeof bytes);
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(text, sizeof text, "%02x%02x%02x%02x%02x%02x%02x%02x %lld %lld", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
                 (long long)generation(), (long long)now.tv_sec);
    } else if (!strncmp(in, "GET /plant?", 11)) {
        in[strcspn(in + 4, " ") + 4] = 0;
        plant(in + 11);
        strcpy(text, "planted");
    } else if (!strncmp(in, "GET /left", 9)) {
        int descriptors = 0;
        struct stat st;
        for (int i = 3; i < 40; i++) descriptors += fstat(i, &st) == 0 && S_ISREG(st.st_mode);
        snprintf(text, sizeof text, "%d %d", access("/tmp/planted", F_OK) == 0, descriptors);
    } else if (!strncmp(in, "GET /grow", 9)) {
        snprintf(text, sizeof text, "%zu", __builtin_wasm_memory_grow(0, 10));
    } else if (!strncmp(in, "GET /size", 9)) {
        snprintf(text, sizeof text, "%zu", __builtin_wasm_memory_size(0));
    } else if (!strncmp(in, "GET /open", 9)) {
        int opened = open("dir/file", O_RDONLY); /* and left open */
        snprintf(text, sizeof text, "%d", opened);
    } else if (!strncmp(in, "GET /trap", 9)) {
        __builtin_trap();
    } else if (!strncmp(in, "GET /spin", 9)) {
        for (volatile int i = 0;; i++) continue;
    } else if (!strncmp(in, "GET /exit", 9)) {
        close(fd);
        exit(7);
    } else if (!strncmp(in, "GET /deep", 9)) {
        snprintf(text, sizeof text, "%.17g", so_far);
        answer(fd, text);
        close(fd);
        return 0;
    } else {
        snprintf(text, sizeof text, "%d", count);
    }
    answer(fd, text);
    close(fd);
    return 1;
}

/* Floats and vectors live across the wait, in each of 50 frames. */
static double __attribute__((noinline)) deep(int n, double a, v128_t v) {
    volatile double spilled = a * 1.0000001;
    v128_t w = wasm_f32x4_add(v, wasm_f32x4_splat((float)n));
    if (n == 0) {
        while (serve(a)) continue;
        return a + wasm_f32x4_extract_lane(w, 2);
    }
    double below = deep(n - 1, a * 1.25 + n, w);
    w = wasm_f32x4_mul(w, wasm_f32x4_splat(0.5f));
    return below + spilled + wasm_f32x4_extract_lane(w, 1) + wasm_f32x4_extract_lane(v, 3);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("starting\n");
    if (argc > 1 && !strcmp(argv[1], "end")) return 5;
    if (argc > 1 && !strcmp(argv[1], "open") && open("dir/file", O_RDONLY) < 0) return 6;
    double result = deep(50, 0.5, wasm_f32x4_make(1.5f, 2.5f, 3.5f, 4.5f));
    printf("result %.17g\n", result);
    fflush(stdout);
    for (;;) serve(result);
}
