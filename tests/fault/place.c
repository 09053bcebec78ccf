/* See place.h. */
#include "tests/fault/place.h"

#include "tools/object_describe.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

char place_root[128];
unsigned place_passed, place_failed;

void place_begin(void) {
    const char *places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < countof(places); i++) {
        if (!places[i]) continue;
        snprintf(place_root, sizeof place_root, "%.90s/hutch-fault-XXXXXX", places[i]);
        if (mkdtemp(place_root)) return;
    }
    perror("a directory for the test");
    exit(2);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void place_path(const char *name, char ret_path[256]) {
    snprintf(ret_path, 256, "%s/%s", place_root, name);
}

void place_wipe(const char *name) {
    char path[256];
    place_path(name, path);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void place_end(void) { nftw(place_root, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* ---- copies ------------------------------------------------------------------------------ */

static const char *copy_from, *copy_to;

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    char to[600];
    snprintf(to, sizeof to, "%s%s", copy_to, path + strlen(copy_from));
    if (type == FTW_D) return mkdir(to, st->st_mode & 07777);
    auto_fd int in = open(path, O_RDONLY | O_CLOEXEC);
    auto_fd int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) return -1;
    char bytes[65536];
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) != 0;)
        if (n < 0 || write(out, bytes, (size_t)n) != n) return -1;
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    return fchmod(out, st->st_mode & 07777) < 0 || futimens(out, times) < 0 ? -1 : 0;
}

void place_copy(const char *from, const char *to) {
    char source[256], target[256];
    place_wipe(to);
    place_path(from, source);
    place_path(to, target);
    copy_from = source;
    copy_to = target;
    CHECK(nftw(source, copy_one, 16, FTW_PHYS) == 0);
}

/* ---- entries ----------------------------------------------------------------------------- */

const uint8_t *place_bytes(unsigned number) {
    static uint8_t bytes[PLACE_ENTRY_BYTES];
    uint32_t state = number * 2654435761u + 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(state >> 24);
    }
    return bytes;
}

struct digest place_digest(unsigned number) {
    return digest_of(place_bytes(number), PLACE_ENTRY_BYTES);
}

struct cache_key place_key(unsigned number) {
    return (struct cache_key){digest_of(&number, sizeof number)};
}

struct cache *place_open(const char *name) {
    char path[256];
    place_path(name, path);
    struct cache_options options = {
        .path = path, .min_free_bytes = 1, .describe_object = object_describe};
    struct cache *cache = NULL;
    struct error err = {0};
    if (cache_open(&options, &cache, &err) == ST_OK) return cache;
    printf("cannot open %s: %s\n", path, err.message);
    return NULL;
}

enum status place_put(struct cache *cache, unsigned number, const unsigned *refs,
                      unsigned ref_count) {
    struct digest digests[8];
    for (unsigned i = 0; i < ref_count; i++) digests[i] = place_digest(refs[i]);
    struct cache_entry entry = {.kind = ref_count ? CACHE_MANIFEST : CACHE_OTHER,
                                .origin = CACHE_ADDED,
                                .has_key = true,
                                .key = place_key(number),
                                .refs = digests,
                                .ref_count = ref_count};
    struct error err = {0};
    struct digest want = place_digest(number);
    enum status status = cache_put(cache, place_bytes(number), PLACE_ENTRY_BYTES, &entry, &want,
                                   NULL, NULL, &err);
    if (status != ST_OK) fprintf(stderr, "put: %s\n", err.message);
    return status;
}

static bool is_whole(int fd, unsigned number) {
    static uint8_t found[PLACE_ENTRY_BYTES + 1];
    return pread(fd, found, sizeof found, 0) == PLACE_ENTRY_BYTES &&
           memcmp(found, place_bytes(number), PLACE_ENTRY_BYTES) == 0;
}

bool place_has(struct cache *cache, unsigned number) {
    struct cache_key key = place_key(number);
    struct error err = {0};
    auto_fd int fd = -1;
    return cache_find(cache, &key, &fd, NULL, &err) == ST_OK && is_whole(fd, number);
}

bool place_keeps(struct cache *cache, unsigned number) {
    struct digest digest = place_digest(number);
    struct error err = {0};
    auto_fd int fd = -1;
    return cache_get(cache, &digest, &fd, NULL, &err) == ST_OK && is_whole(fd, number);
}
