/*
 * What the store costs inside a process:
 *
 *     cache_bench fill DIR COUNT       entries 0 to COUNT - 1, 4 KiB each
 *     cache_bench hot DIR COUNT N      N times: the same key to its mapped bytes, and back
 *     cache_bench spread DIR COUNT N   the same, another key each time
 *     cache_bench open DIR COUNT N     N times: open the store, find a key, close
 *     cache_bench put DIR COUNT N      N new entries
 *     cache_bench gc DIR COUNT N       N dry runs of a collection over all entries
 *
 * Prints nanoseconds, a line each; fill prints nothing.
 */
#include "cache/store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ENTRY_BYTES 4096u
#define BATCH 2000u

static struct error err;

static void stop(const char *what) {
    fprintf(stderr, "cache_bench: %s: %s\n", what, err.message);
    exit(1);
}

static struct cache *open_store(const char *path) {
    struct cache *c = NULL;
    struct cache_options options = {.path = path, .max_bytes = UINT64_MAX, .min_free_bytes = 1};
    if (cache_open(&options, &c, &err) != ST_OK) stop("open");
    return c;
}

static void make_bytes(unsigned number, uint8_t bytes[ENTRY_BYTES]) {
    memset(bytes, (int)(number & 0xff), ENTRY_BYTES);
    memcpy(bytes, &number, sizeof number);
}

static struct cache_key key_of(unsigned number) {
    return (struct cache_key){digest_of(&number, sizeof number)};
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* As puts would leave it, but with many changes in one transaction. */
static void fill(const char *path, unsigned count) {
    struct cache *c = open_store(path);
    static struct cache_entry entries[BATCH];
    static struct change changes[BATCH];
    unsigned pending = 0;
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[ENTRY_BYTES];
        char hex[DIGEST_HEX_SIZE];
        make_bytes(i, bytes);
        struct digest digest = digest_of(bytes, sizeof bytes);
        digest_hex(&digest, hex);
        auto_fd int fd =
            openat(c->objects, hex, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
        if (fd < 0 || write(fd, bytes, sizeof bytes) != sizeof bytes || entry_seal(fd) < 0) {
            perror("cache_bench: fill");
            exit(1);
        }
        entries[pending] = (struct cache_entry){.kind = CACHE_OTHER,
                                                .origin = CACHE_ADDED,
                                                .digest = digest,
                                                .size_bytes = sizeof bytes,
                                                .created_ns = cache_now_ns(),
                                                .has_key = true,
                                                .key = key_of(i)};
        changes[pending] =
            (struct change){.kind = CHANGE_PUT, .digest = digest, .entry = &entries[pending]};
        if (++pending < BATCH && i + 1 < count) continue;
        if (index_change(c, changes, pending, &err) != ST_OK) stop("fill");
        pending = 0;
    }
    cache_close(c);
}

static void find(struct cache *c, unsigned number) {
    struct cache_key key = key_of(number);
    struct cache_entry entry;
    int fd;
    if (cache_find(c, &key, &fd, &entry, &err) != ST_OK) stop("find");
    const volatile uint8_t *mapped =
        mmap(NULL, (size_t)entry.size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || mapped[4] != (number & 0xff)) stop("map");
    munmap((void *)(uintptr_t)mapped, (size_t)entry.size_bytes);
    close(fd);
}

static unsigned next_number(unsigned count) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % count);
}

static void put(struct cache *c, unsigned number) {
    uint8_t bytes[ENTRY_BYTES];
    make_bytes(number, bytes);
    struct cache_entry entry = {
        .kind = CACHE_OTHER, .origin = CACHE_ADDED, .has_key = true, .key = key_of(number)};
    if (cache_put(c, bytes, sizeof bytes, &entry, NULL, NULL, NULL, &err) != ST_OK) stop("put");
}

static void collect(struct cache *c) {
    struct cache_gc_options options = {.max_bytes = 0, .dry_run = true};
    struct cache_gc_report report;
    if (cache_gc(c, &options, &report, &err) != ST_OK) stop("gc");
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *what = argv[1], *path = argv[2];
    unsigned count = (unsigned)atoi(argv[3]), rounds = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
    if (strcmp(what, "fill") == 0) {
        fill(path, count);
        return 0;
    }
    struct cache *c = open_store(path);
    find(c, 0);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned number = next_number(count);
        uint64_t start = now_ns();
        if (strcmp(what, "hot") == 0) {
            find(c, count / 2);
        } else if (strcmp(what, "spread") == 0) {
            find(c, number);
        } else if (strcmp(what, "put") == 0) {
            put(c, count + i + (unsigned)(start & 0xffffff) * 64);
        } else if (strcmp(what, "gc") == 0) {
            collect(c);
        } else {
            struct cache *other = open_store(path);
            find(other, number);
            cache_close(other);
        }
        printf("%llu\n", (unsigned long long)(now_ns() - start));
    }
    cache_close(c);
    return 0;
}
