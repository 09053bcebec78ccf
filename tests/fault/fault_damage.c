/*
 * A store whose files are not what they were: every byte of an entry, of its index, of its
 * other files changed or cut off. It is opened, read and verified in a child process for each;
 * what comes back is right or nothing, no process dies, and afterwards it verifies.
 *
 *     fault_damage [--all | --at N] OBJECT
 *
 * OBJECT is a code object. --at: only that byte of the index. Closes with "N passed, N failed".
 */
#include "tests/fault/place.h"

#include "tools/object_describe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FIRST = 1, /* pinned */
    NAMED,
    COUNT = 40
};

static struct buffer object; /* a code object, put as one */
static struct digest object_digest;
static struct cache_key object_key;

static void make_template(void) {
    struct cache *c = place_open("template");
    CHECK(c);
    struct error err = {0};
    for (unsigned i = FIRST; i < COUNT; i++) CHECK(place_put(c, i, NULL, 0) == ST_OK);
    struct cache_entry entry = {.kind = CACHE_OBJECT, .origin = CACHE_COMPILED}, own = {0};
    CHECK(cache_put(c, object.bytes, object.size, &entry, NULL, &object_digest, NULL, &err) ==
          ST_OK);
    CHECK(object_describe(object.bytes, object.size, &own));
    object_key = own.key;
    struct digest first = place_digest(FIRST);
    struct cache_name name = {.name = "named:1", .digest = place_digest(NAMED)};
    CHECK(cache_pin(c, &first, "test", &err) == ST_OK);
    CHECK(cache_name_set(c, &name, &err) == ST_OK);
    cache_close(c);
}

/* ---- in a child -------------------------------------------------------------------------- */

static int clean_twice(struct cache *c) {
    struct cache_verify_report r = {0};
    struct error err = {0};
    if (cache_verify(c, NULL, NULL, &r, &err) != ST_OK) {
        printf("verify: %s\n", err.message);
        return 21;
    }
    if (cache_verify(c, NULL, NULL, &r, &err) != ST_OK) return 22;
    if (r.index_rebuilt || r.damaged + r.missing + r.adopted + r.dangling) {
        printf("again: rebuilt %d, %d damaged, %d missing, %d adopted, %d dangling\n",
               r.index_rebuilt, (int)r.damaged, (int)r.missing, (int)r.adopted,
               (int)r.dangling);
        return 23;
    }
    return 0;
}

/* The object, if it is found, is what was put. */
static bool object_right(struct cache *c, bool *ret_found) {
    auto_fd int fd = -1;
    struct error err = {0};
    *ret_found = cache_find(c, &object_key, &fd, NULL, &err) == ST_OK;
    if (!*ret_found) return true;
    auto_free uint8_t *bytes = malloc(object.size + 1);
    return bytes && pread(fd, bytes, object.size + 1, 0) == (ssize_t)object.size &&
           memcmp(bytes, object.bytes, object.size) == 0;
}

/* The index or another file than an entry was damaged: what is found is right, a page that
 * leads astray is noticed by verify at the latest, and everything is there again. */
static int all_is_there(void) {
    struct cache *c = place_open("store");
    if (!c) return 10;
    struct cache_name n;
    struct error err = {0};
    bool found;
    struct digest first = place_digest(FIRST), named = place_digest(NAMED);
    if (!object_right(c, &found)) return 16;
    if (cache_name_resolve(c, "named:1", &n, &err) == ST_OK && !digest_equal(&n.digest, &named))
        return 17;
    int result = clean_twice(c);
    if (result != 0) return result;
    if (!place_keeps(c, FIRST) || !place_keeps(c, NAMED) || !place_keeps(c, COUNT - 1))
        return 11;
    if (!object_right(c, &found) || !found) return 12;
    if (cache_name_resolve(c, "named:1", &n, &err) != ST_OK) return 13;
    if (cache_remove(c, &first, &err) != ST_LIMIT) return 14; /* the pin */
    if (place_put(c, COUNT, NULL, 0) != ST_OK) return 15;
    cache_close(c);
    return 0;
}

/* The object's file was: it is found right or not at all, can be put again, and then is. */
static int object_again(void) {
    struct cache *c = place_open("store");
    if (!c) return 10;
    bool found;
    if (!object_right(c, &found)) return 30;
    struct cache_entry entry = {.kind = CACHE_OBJECT, .origin = CACHE_COMPILED};
    struct error err = {0};
    if (cache_put(c, object.bytes, object.size, &entry, &object_digest, NULL, NULL, &err) !=
        ST_OK)
        return 31;
    if (!object_right(c, &found) || !found) return 32;
    cache_close(c);
    return 0;
}

/* Its bytes changed, and its time did not: only verify can know, and does. */
static int verify_finds(void) {
    struct cache *c = place_open("store");
    struct cache_verify_report r = {0};
    struct error err = {0};
    if (!c) return 10;
    if (cache_verify(c, NULL, NULL, &r, &err) != ST_OK) return 21;
    cache_close(c);
    return r.damaged == 1 ? 0 : 40;
}

static void in_child(int (*function)(void), const char *what, unsigned long at) {
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(60);
        int result = function();
        fflush(NULL);
        _exit(result);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    PLACE_EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s at %lu: %s %d", what, at,
                 WIFEXITED(status) ? "status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* ---- damage ------------------------------------------------------------------------------ */

static int open_in(const char *place, const char *name, int flags) {
    char root[256], path[400];
    place_path(place, root);
    snprintf(path, sizeof path, "%s/%s", root, name);
    chmod(path, 0600);
    int fd = open(path, flags | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void change_byte(const char *name, off_t at, uint8_t bits, bool keep_times) {
    auto_fd int fd = open_in("store", name, O_RDWR);
    struct stat st;
    uint8_t byte;
    CHECK(fstat(fd, &st) == 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= bits;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (keep_times) CHECK(futimens(fd, times) == 0);
    if (strncmp(name, "objects/", 8) == 0) CHECK(fchmod(fd, 0444) == 0);
}

static void cut_off(const char *name, off_t size) {
    auto_fd int fd = open_in("store", name, O_RDWR);
    CHECK(ftruncate(fd, size) == 0);
    if (strncmp(name, "objects/", 8) == 0) CHECK(fchmod(fd, 0444) == 0);
}

static off_t size_in_template(const char *name) {
    auto_fd int fd = open_in("template", name, O_RDONLY);
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    if (strncmp(name, "objects/", 8) == 0) CHECK(fchmod(fd, 0444) == 0);
    return st.st_size;
}

static void test_object(unsigned long step) {
    char name[100] = "objects/";
    digest_hex(&object_digest, name + 8);
    off_t size = size_in_template(name);
    place_copy("template", "store");
    for (off_t at = 0; at < size; at += (off_t)step) {
        change_byte(name, at, 0x41, false);
        in_child(object_again, "object, byte", (unsigned long)at);
    }
    for (off_t at = 0; at < size; at += (off_t)step * 3) {
        change_byte(name, at, 0x02, true);
        in_child(verify_finds, "object, silent change", (unsigned long)at);
        in_child(object_again, "object, after it", (unsigned long)at);
    }
    for (off_t at = 0; at < size; at += (off_t)step * 2) {
        cut_off(name, at);
        in_child(object_again, "object, cut", (unsigned long)at);
    }
    in_child(all_is_there, "afterwards", 0);
}

/* What a run may have changed, as it was; entries are not copied each time. */
static void restore(void) {
    static const char *const parts[] = {"index.lmdb", "quarantine", "tmp", "roots", "counters"};
    char from[64], to[64], added[DIGEST_HEX_SIZE + 32] = "store/objects/";
    for (size_t i = 0; i < countof(parts); i++) {
        snprintf(from, sizeof from, "template/%s", parts[i]);
        snprintf(to, sizeof to, "store/%s", parts[i]);
        place_copy(from, to);
    }
    struct digest digest = place_digest(COUNT);
    digest_hex(&digest, added + strlen(added));
    place_wipe(added);
}

static void test_file(const char *name, unsigned long step, off_t dense_from, off_t dense_to) {
    off_t size = size_in_template(name);
    unsigned long points = 0;
    place_copy("template", "store");
    for (off_t at = 0; at < size; at += at >= dense_from && at < dense_to ? 1 : (off_t)step) {
        restore();
        change_byte(name, at, (uint8_t)(1u << (at % 8)) | 0x80, false);
        in_child(all_is_there, name, (unsigned long)at);
        points++;
    }
    for (off_t at = 0; at < size; at += (off_t)step * 8) {
        restore();
        cut_off(name, at);
        in_child(all_is_there, name, (unsigned long)at);
        points++;
    }
    printf("%s: %lu of %ld bytes\n", name, points, (long)size);
}

/* Every byte of the nodes of branch pages (LMDB 0.9: flags of a page at 10, the begin of its
 * nodes at 14): a key or a page number there hides records while all leaves are sound. */
static void test_branches(void) {
    enum {
        PAGE = 4096
    };
    const char *name = "index.lmdb/data.mdb";
    off_t size = size_in_template(name);
    auto_fd int fd = open_in("template", name, O_RDONLY);
    unsigned pages = 0;
    for (off_t page = 0; page + PAGE <= size; page += PAGE) {
        uint16_t head[8];
        CHECK(pread(fd, head, sizeof head, page) == sizeof head);
        if (head[5] != 1 || head[7] < 16 || head[7] > PAGE) continue;
        pages++;
        for (off_t at = page + head[7]; at < page + PAGE; at++) {
            restore();
            change_byte(name, at, (uint8_t)(1u << (at % 8)) | 0x80, false);
            in_child(all_is_there, name, (unsigned long)at);
        }
    }
    PLACE_EXPECT(pages > 0, "%u branch pages", pages);
    printf("%s: all nodes of %u branch pages\n", name, pages);
}

int main(int argc, char **argv) {
    bool all = argc > 2 && strcmp(argv[1], "--all") == 0;
    bool one = argc > 3 && strcmp(argv[1], "--at") == 0;
    struct error err = {0};
    if (argc < 2 || file_read(AT_FDCWD, argv[argc - 1], SIZE_MAX / 2, &object, &err) != ST_OK) {
        printf("usage: fault_damage [--all] OBJECT\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    place_begin();
    make_template();
    if (one) {
        off_t at = atol(argv[2]);
        place_copy("template", "store");
        change_byte("index.lmdb/data.mdb", at, (uint8_t)(1u << (at % 8)) | 0x80, false);
        in_child(all_is_there, "index", (unsigned long)at);
        place_end();
        return place_failed != 0;
    }
    test_object(all ? 1 : 61);
    /* All bytes of the meta page and of one leaf, and of the rest some. */
    test_file("index.lmdb/data.mdb", all ? 1 : 97, 0, all ? 0 : 160);
    test_branches();
    test_file("roots", all ? 1 : 17, 0, 0);
    test_file("counters", all ? 509 : 9973, 0, 200);
    place_end();
    buffer_finish(&object);
    printf("%u passed, %u failed\n", place_passed, place_failed);
    return place_failed != 0;
}
