/*
 * A cache in a fresh directory for each fixture_open, and looks at it from outside. The
 * directories lie under one that fixture_begin makes and fixture_end removes.
 */
#ifndef HUTCH_TESTS_UNIT_CACHE_FIXTURE_H
#define HUTCH_TESTS_UNIT_CACHE_FIXTURE_H

#include "cache/cache.h"
#include "tools/object_describe.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char fixture_root[128];
static unsigned fixture_count;

static inline void fixture_begin(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(fixture_root, sizeof fixture_root, "%.80s/hutch-cache-XXXXXX", tmp ? tmp : "/tmp");
    CHECK(mkdtemp(fixture_root) != NULL);
}

static int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void fixture_wipe(const char *path) {
    nftw(path, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_end(void) { fixture_wipe(fixture_root); }

static inline void fixture_path(const char *name, char *ret_path, size_t size) {
    snprintf(ret_path, size, "%s/%s", fixture_root, name);
}

static inline struct cache *fixture_open(const struct cache_options *options) {
    struct cache_options o = options ? *options : (struct cache_options){0};
    if (!o.describe_object) o.describe_object = object_describe;
    char path[256], name[32];
    if (!o.path) {
        snprintf(name, sizeof name, "a/%u", fixture_count++);
        fixture_path(name, path, sizeof path);
        o.path = path;
    }
    if (!o.min_free_bytes) o.min_free_bytes = 1; /* whatever disk the tests run on */
    struct cache *c = NULL;
    struct error err = {0};
    enum status status = cache_open(&o, &c, &err);
    if (status != ST_OK) printf("cannot open: %s\n", err.message);
    CHECK(status == ST_OK);
    return c;
}

/* An entry with a key of its own. */
static inline struct cache_entry fixture_entry(enum cache_kind kind, uint8_t number) {
    struct cache_entry e = {.kind = kind, .origin = CACHE_ADDED, .has_key = true};
    e.key.digest = digest_of(&number, 1);
    snprintf(e.media_type, sizeof e.media_type, "text/plain");
    return e;
}

/* Sets the last use back. */
static inline void fixture_age(struct cache *c, const struct digest *digest, int seconds) {
    char path[512], hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    snprintf(path, sizeof path, "%s/objects/%s", cache_path(c), hex);
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_nsec = UTIME_OMIT}};
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static inline bool fixture_has(struct cache *c, const struct digest *digest) {
    struct cache_entry e;
    struct error err = {0};
    return cache_describe(c, digest, &e, &err) == ST_OK;
}

static inline void fixture_print(void *context, const struct digest *digest, const char *what) {
    (void)context;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    printf("verify: %s: %s\n", hex, what);
}

/* The store verifies, and holds so many entries. */
static inline void fixture_clean(struct cache *c, uint64_t entries) {
    struct cache_verify_report r = {0};
    struct error err = {0};
    enum status status = cache_verify(c, fixture_print, NULL, &r, &err);
    if (status != ST_OK) printf("verify: %s\n", err.message);
    EXPECT(status == ST_OK && r.entries == entries);
    EXPECT(r.damaged == 0 && r.missing == 0 && r.adopted == 0 && !r.index_rebuilt);
}

#endif
