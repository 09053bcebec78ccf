/* What a hostile app tries within WebAssembly: descriptors that it was not given, paths beyond
 * its own, more files and bytes than it may have, what others left in its memory. One HTTP
 * request each; the path says what. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wasi/api.h>

static char answer[1 << 16];
static size_t length;

#define say(...)                                                                               \
    (length += (size_t)snprintf(answer + length, sizeof answer - length, __VA_ARGS__))

/* Every number: which are there, of what kind. Nothing but reading is tried on them. */
static void descriptors(void) {
    for (unsigned fd = 0; fd < 5000; fd++) {
        __wasi_fdstat_t stat;
        if (__wasi_fd_fdstat_get(fd, &stat) == 0) say("%u:%u ", fd, stat.fs_filetype);
    }
    static const unsigned odd[] = {0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 4096, 65536};
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        __wasi_fdstat_t stat;
        if (__wasi_fd_fdstat_get(odd[i], &stat) != __WASI_ERRNO_BADF) say("odd:%u ", odd[i]);
    }
}

/* What the runtime's own descriptors would be (control socket, config, object, log, page map),
 * used in every way: all must be what this program was given, or nothing. */
static void use_descriptors(void) {
    unsigned came = 0;
    for (unsigned fd = 6; fd < 64; fd++) {
        uint8_t byte = 0;
        __wasi_iovec_t in = {&byte, 1};
        __wasi_ciovec_t out = {&byte, 1};
        __wasi_size_t n;
        __wasi_fd_t opened;
        if (__wasi_fd_read(fd, &in, 1, &n) == 0) came++;
        if (__wasi_fd_write(fd, &out, 1, &n) == 0) came++;
        if (__wasi_fd_pread(fd, &in, 1, 0, &n) == 0) came++;
        if (__wasi_fd_renumber(fd, 2) == 0) came++;
        if (__wasi_fd_close(fd) == 0) came++;
        if (__wasi_sock_accept(fd, 0, &opened) == 0) came++;
        if (__wasi_sock_shutdown(fd, __WASI_SDFLAGS_RD) == 0) came++;
        if (__wasi_path_open(fd, 0, "x", 0, 0, 0, 0, &opened) == 0) came++;
    }
    say("%u", came);
}

/* The lines of the body are paths; those that can be opened or listed are answered. */
static void paths(char *lines) {
    for (char *path = strtok(lines, "\n"); path; path = strtok(NULL, "\n")) {
        int fd = open(path, O_RDONLY);
        char bytes[64];
        ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes - 1) : -1;
        if (fd >= 0) say("%s=%.*s;", path, n > 0 ? (int)strcspn(bytes, "\n") : 0, bytes);
        if (fd >= 0) close(fd);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        if (fd >= 0) say("%s written;", path);
        if (fd >= 0) close(fd);
    }
}

static void exhaust_files(void) {
    unsigned count = 0;
    while (count < 100000 && open("/tmp/many", O_RDWR | O_CREAT, 0600) >= 0) count++;
    say("%u errno %d", count, errno);
    for (int fd = 0; fd < 100000; fd++) {
        __wasi_fdstat_t stat;
        if (fd > 3 && __wasi_fd_fdstat_get((unsigned)fd, &stat) == 0 &&
            stat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE)
            close(fd);
    }
}

static void exhaust_names(void) {
    unsigned count = 0;
    char name[32];
    for (; count < 1000000; count++) {
        snprintf(name, sizeof name, "/tmp/n%u", count);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) break;
        close(fd);
    }
    say("%u errno %d", count, errno);
}

static void exhaust_bytes(void) {
    static char zeros[65536];
    unsigned long total = 0;
    int fd = open("/tmp/fill", O_WRONLY | O_CREAT, 0600);
    for (ssize_t n; total < 1 << 30 && (n = write(fd, zeros, sizeof zeros)) > 0;)
        total += (unsigned long)n;
    say("%lu errno %d", total, errno);
    close(fd);
    unlink("/tmp/fill");
}

/* A word kept on the heap, and all of memory searched for words that begin like it. The words
 * are never whole in the program itself. */
static void keep(const char *word) {
    char *kept = malloc(64);
    snprintf(kept, 64, "MARK%c%s", '-', word);
    say("kept");
}

static void search(void) {
    unsigned long end = __builtin_wasm_memory_size(0) << 16, found = 0;
    for (unsigned long at = 16; at + 16 < end; at++) {
        const volatile char *p = (const volatile char *)at;
        if (p[0] == 'M' && p[1] == 'A' && p[2] == 'R' && p[3] == 'K' && p[4] == '-') found++;
    }
    say("%lu", found);
}

/* Writes a MiB that is zero, and zeros it again; counts what was there before, and leaves a
 * mark. */
static void wipe(void) {
    static volatile char room[1 << 20];
    unsigned long found = 0;
    for (unsigned long at = 0; at < sizeof room; at++) found += (unsigned long)room[at];
    for (unsigned long at = 0; at < sizeof room; at += 512) room[at] = 1;
    for (unsigned long at = 0; at < sizeof room; at += 512) room[at] = 0;
    room[sizeof room / 2] = (char)(found + 1);
    say("%lu", found);
}

static void serve(const char *path, char *body) {
    length = 0;
    if (strcmp(path, "/descriptors") == 0) descriptors();
    if (strcmp(path, "/use") == 0) use_descriptors();
    if (strcmp(path, "/paths") == 0) paths(body);
    if (strcmp(path, "/files") == 0) exhaust_files();
    if (strcmp(path, "/names") == 0) exhaust_names();
    if (strcmp(path, "/bytes") == 0) exhaust_bytes();
    if (strncmp(path, "/keep/", 6) == 0) keep(path + 6);
    if (strcmp(path, "/search") == 0) search();
    if (strcmp(path, "/wipe") == 0) wipe();
    if (strcmp(path, "/size") == 0) say("%zu", strlen(body));
}

int main(void) {
    static char request[1 << 20], path[1000];
    for (;;) {
        int fd = accept(3, NULL, NULL);
        if (fd < 0) return 1;
        size_t size = 0, wanted = 0;
        char *end = NULL;
        for (ssize_t n; (n = read(fd, request + size, sizeof request - 1 - size)) > 0;) {
            size += (size_t)n;
            request[size] = 0;
            if (!end && (end = strstr(request, "\r\n\r\n"))) {
                const char *field = strstr(request, "Content-Length: ");
                end += 4;
                wanted = (size_t)(end - request) + (field ? strtoul(field + 16, NULL, 10) : 0);
            }
            if (end && size >= wanted) break;
        }
        char *from = strchr(request, ' ');
        if (from && end) {
            snprintf(path, sizeof path, "%.*s", (int)strcspn(from + 1, " ?"), from + 1);
            serve(path, end);
            dprintf(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                    length);
            for (size_t at = 0; at < length;) {
                ssize_t n = write(fd, answer + at, length - at);
                if (n <= 0) break;
                at += (size_t)n;
            }
        }
        /* what was read is not left lying about by the program itself */
        memset(request, 0, size);
        close(fd);
    }
}
