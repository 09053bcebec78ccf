/*
 * Collection beside use, and with a clock that jumps: entries that are mapped, open in another
 * process, put while it runs; last uses in the future and before 1970. The clock that the store
 * sees is this file's.
 */
#include "cache/cache.h"
#include "tests/unit/cache_fixture.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* ---- a clock of our own ------------------------------------------------------------------ */

static int64_t offset_s; /* from the real clock */

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts) {
    int result = __real_clock_gettime(clock, ts);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) ts->tv_sec += offset_s;
    return result;
}

/* The kernel's "now" is its own; here it follows ours. */
int __real_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2]) {
    struct timespec moved[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    if (times) memcpy(moved, times, sizeof moved);
    for (size_t i = 0; i < 2; i++)
        if (moved[i].tv_nsec == UTIME_NOW) __wrap_clock_gettime(CLOCK_REALTIME, &moved[i]);
    return __real_futimens(fd, moved);
}

/* ---- entries ----------------------------------------------------------------------------- */

static struct digest put(struct cache *c, uint8_t number) {
    uint8_t bytes[1000];
    memset(bytes, number, sizeof bytes);
    struct cache_entry e = fixture_entry(CACHE_OTHER, number);
    struct digest digest;
    struct error err = {0};
    EXPECT(cache_put(c, bytes, sizeof bytes, &e, NULL, &digest, NULL, &err) == ST_OK);
    return digest;
}

static bool find(struct cache *c, uint8_t number) {
    struct cache_key key = fixture_entry(CACHE_OTHER, number).key;
    struct error err = {0};
    auto_fd int fd = -1;
    return cache_find(c, &key, &fd, NULL, &err) == ST_OK;
}

static struct cache_gc_report collect(struct cache *c, uint64_t max_bytes) {
    struct cache_gc_options options = {.max_bytes = max_bytes};
    struct cache_gc_report report = {0};
    struct error err = {0};
    EXPECT(cache_gc(c, &options, &report, &err) == ST_OK);
    return report;
}

/* ---- jumps ------------------------------------------------------------------------------- */

static void test_jumps(void) {
    static const int64_t jumps[] = {
        0, 3600, -3600, -315360000, 315360000, -1900000000, 1000000000LL, -86400 * 40, 0};
    struct cache *c = fixture_open(NULL);
    uint8_t number = 0;
    for (size_t i = 0; i < countof(jumps); i++) {
        offset_s = jumps[i];
        for (unsigned k = 0; k < 3; k++) put(c, ++number);
        for (uint8_t n = 1; n <= number; n++) EXPECT(find(c, n));
        struct cache_stats s;
        struct error err = {0};
        EXPECT(cache_statistics(c, &s, &err) == ST_OK && s.entries == number);
    }
    fixture_clean(c, number);
    /* Least recently used first still means something: what is used now stays. */
    offset_s = 7200;
    EXPECT(find(c, 1) && find(c, 2));
    struct cache_gc_report r = collect(c, 2000);
    EXPECT(r.removed_entries == number - 2u && find(c, 1) && find(c, 2));
    fixture_clean(c, 2);
    /* A last use in the future is no reprieve: it counts as now, and the older entry goes. */
    offset_s = 100000000;
    put(c, 100);
    offset_s = 0;
    put(c, 101);
    EXPECT(collect(c, 1000).removed_entries == 3);
    cache_close(c);
    offset_s = 0;
}

/* The automatic limit holds through jumps: the time of the last attempt is in a file. */
static void test_limit(void) {
    struct cache *c = fixture_open(&(struct cache_options){.max_bytes = 8000});
    struct cache_stats s;
    struct error err = {0};
    for (uint8_t i = 1; i < 60; i++) {
        offset_s = (i % 3 - 1) * 100000 * i;
        put(c, i);
        EXPECT(cache_statistics(c, &s, &err) == ST_OK && s.bytes <= 9000);
    }
    offset_s = 0;
    fixture_clean(c, s.entries);
    cache_close(c);
}

/* A compilation that another process holds is waited for by a clock that does not jump. */
static bool wait_a_little(void *context, uint64_t waited_ms) {
    offset_s -= 1000000;
    EXPECT(waited_ms < 60000);
    return ++*(int *)context < 4;
}

static void test_wait(void) {
    struct cache *c = fixture_open(NULL), *other = NULL;
    struct cache_key key = fixture_entry(CACHE_OTHER, 1).key;
    struct error err = {0};
    int held = -1, second = -1, calls = 0;
    EXPECT(cache_lock_key(c, &key, NULL, NULL, &held, &err) == ST_OK);
    EXPECT(cache_open(&(struct cache_options){.path = cache_path(c)}, &other, &err) == ST_OK);
    EXPECT(cache_lock_key(other, &key, wait_a_little, &calls, &second, &err) == ST_LIMIT);
    close(held);
    cache_close(other);
    cache_close(c);
    offset_s = 0;
}

/* ---- in use ------------------------------------------------------------------------------ */

static void test_mapped(void) {
    struct cache *c = fixture_open(NULL);
    struct error err = {0};
    struct digest digest = put(c, 7);
    int fd = -1;
    EXPECT(cache_get(c, &digest, &fd, NULL, &err) == ST_OK);
    const uint8_t *mapped = mmap(NULL, 1000, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(mapped != MAP_FAILED && mapped[999] == 7);
    EXPECT(collect(c, 0).kept_in_use == 1 && find(c, 7));
    /* A process that has it open and knows nothing of the store. */
    int ends[2], ready[2];
    EXPECT(pipe(ends) == 0 && pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte = 1;
        close(ends[1]);
        _exit(write(ready[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 0 &&
                      mapped[0] == 7 && mapped[999] == 7
                  ? 0
                  : 1);
    }
    char byte;
    EXPECT(read(ready[0], &byte, 1) == 1);
    close(fd);
    EXPECT(collect(c, 0).kept_in_use == 1);
    int status = -1;
    close(ends[1]);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    /* A mapping holds the open file, and with it the lock. */
    EXPECT(collect(c, 0).kept_in_use == 1 && find(c, 7));
    /* Who maps it past the store is not seen, but keeps what they have. */
    char path[400], hex[DIGEST_HEX_SIZE];
    digest_hex(&digest, hex);
    snprintf(path, sizeof path, "%s/objects/%s", cache_path(c), hex);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    const uint8_t *past = mmap(NULL, 1000, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    munmap((void *)(uintptr_t)mapped, 1000);
    EXPECT(collect(c, 0).removed_entries == 1 && !find(c, 7));
    EXPECT(past != MAP_FAILED && past[0] == 7 && past[999] == 7);
    munmap((void *)(uintptr_t)past, 1000);
    close(ends[0]);
    close(ready[0]);
    close(ready[1]);
    cache_close(c);
}

/* Put, find and collect at once, in several processes: what a put hands out is there. */
static int stress(const char *path, uint8_t seed) {
    struct cache *c = NULL;
    struct error err = {0};
    struct cache_options options = {
        .path = path, .min_free_bytes = 1, .describe_object = object_describe};
    if (cache_open(&options, &c, &err) != ST_OK) return 1;
    for (unsigned i = 0; i < 40; i++) {
        uint8_t bytes[1000], back[1000], number = (uint8_t)(seed * 7 + i % 9);
        memset(bytes, number, sizeof bytes);
        struct cache_entry e = fixture_entry(CACHE_OTHER, number);
        auto_fd int fd = -1;
        if (cache_put(c, bytes, sizeof bytes, &e, NULL, NULL, &fd, &err) != ST_OK ||
            pread(fd, back, sizeof back, 0) != sizeof back || memcmp(bytes, back, 1000) != 0) {
            printf("put: %s\n", err.message);
            return 2;
        }
        struct cache_gc_options gc = {.max_bytes = 3000};
        struct cache_gc_report report;
        if (i % 4 == seed % 4 && cache_gc(c, &gc, &report, &err) != ST_OK) {
            printf("gc: %s\n", err.message);
            return 3;
        }
        struct cache_key key = fixture_entry(CACHE_OTHER, (uint8_t)(number + 3)).key;
        auto_fd int found = -1;
        enum status status = cache_find(c, &key, &found, NULL, &err);
        if (status == ST_OK &&
            (pread(found, back, sizeof back, 0) != sizeof back || back[0] != back[999]))
            return 4;
        if (status != ST_OK && status != ST_NOT_FOUND) {
            printf("find: %s\n", err.message);
            return 5;
        }
    }
    cache_close(c);
    return 0;
}

static void test_together(void) {
    struct cache *c = fixture_open(NULL);
    enum {
        PROCESSES = 8
    };
    pid_t children[PROCESSES];
    fflush(NULL);
    for (uint8_t i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            int result = stress(cache_path(c), i);
            fflush(NULL);
            _exit(result);
        }
    }
    for (size_t i = 0; i < PROCESSES; i++) {
        int status = -1;
        EXPECT(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    struct cache_verify_report r = {0};
    struct error err = {0};
    EXPECT(cache_verify(c, fixture_print, NULL, &r, &err) == ST_OK);
    EXPECT(r.damaged == 0 && r.missing == 0 && !r.index_rebuilt);
    fixture_clean(c, r.entries);
    cache_close(c);
}

int main(void) {
    fixture_begin();
    test_jumps();
    test_limit();
    test_wait();
    test_mapped();
    test_together();
    fixture_end();
    return test_end();
}
