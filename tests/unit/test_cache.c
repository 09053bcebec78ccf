/*
 * The store from outside: put, find, get, names, pins, locks, limits, repair. In a directory of
 * its own that it leaves empty.
 */
#include "cache/cache.h"
#include "tests/unit/cache_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_put_and_find(void) {
    struct cache *c = fixture_open(NULL);
    struct cache_entry e = fixture_entry(CACHE_OTHER, 1), got;
    struct digest digest, want = digest_of("hello", 5);
    struct error err = {0};
    int fd = -1;
    EXPECT(cache_find(c, &e.key, &fd, &got, &err) == ST_NOT_FOUND);
    EXPECT(cache_put(c, "hello", 5, &e, &want, &digest, NULL, &err) == ST_OK);
    EXPECT(digest_equal(&digest, &want));
    EXPECT(cache_find(c, &e.key, &fd, &got, &err) == ST_OK);
    char bytes[8] = "";
    EXPECT(read(fd, bytes, sizeof bytes) == 5 && memcmp(bytes, "hello", 5) == 0);
    EXPECT(write(fd, "x", 1) < 0); /* for reading only */
    close(fd);
    EXPECT(got.size_bytes == 5 && got.kind == CACHE_OTHER && got.hits == 1);
    EXPECT_STR(got.media_type, "text/plain");
    EXPECT(got.created_ns > 0 && got.last_used_ns >= got.created_ns - 1000000000);
    uint64_t size = 0;
    EXPECT(cache_get(c, &want, &fd, &size, &err) == ST_OK && size == 5);
    close(fd);
    /* wrong digest: nothing is published */
    struct digest wrong = digest_of("hallo", 5);
    EXPECT(cache_put(c, "hullo", 5, &e, &wrong, NULL, NULL, &err) == ST_DAMAGED);
    struct digest other = digest_of("hullo", 5);
    EXPECT(cache_get(c, &other, &fd, NULL, &err) == ST_NOT_FOUND);
    /* no code object */
    struct cache_entry object = {.kind = CACHE_OBJECT, .origin = CACHE_ADDED};
    EXPECT(cache_put(c, "\177ELFx", 5, &object, NULL, NULL, NULL, &err) == ST_DAMAGED);
    struct cache_stats stats;
    EXPECT(cache_statistics(c, &stats, &err) == ST_OK);
    EXPECT(stats.entries == 1 && stats.bytes == 5 && stats.hits == 1 && stats.misses == 1);
    fixture_clean(c, 1);
    cache_close(c);
}

static bool describe_elf(const uint8_t *bytes, uint64_t size, struct cache_entry *entry) {
    if (size < 8) return false;
    entry->key = (struct cache_key){digest_of(bytes, size)};
    entry->module = digest_of("module", 6);
    entry->has_key = entry->has_module = true;
    return true;
}

/* Bytes that a rebuild would take for native code are put as that alone. */
static void test_native_by_bytes(void) {
    struct error err = {0};
    const struct cache_options options = {.describe_object = describe_elf};
    struct cache *c = fixture_open(&options);
    static const struct {
        const char *bytes;
        enum cache_kind kind;
    } native[] = {{"\177ELF code", CACHE_OBJECT}, {"HUTCHSNP....", CACHE_SNAPSHOT}};
    static const enum cache_kind kinds[] = {CACHE_MODULE,   CACHE_OBJECT,   CACHE_IMAGE,
                                            CACHE_MANIFEST, CACHE_SNAPSHOT, CACHE_OTHER};
    for (size_t i = 0; i < countof(native); i++)
        for (size_t k = 0; k < countof(kinds); k++) {
            struct cache_entry e = {.kind = kinds[k], .origin = CACHE_IMPORTED};
            enum status status = cache_put(c, native[i].bytes, strlen(native[i].bytes), &e,
                                           NULL, NULL, NULL, &err);
            EXPECT(status == (kinds[k] == native[i].kind ? ST_OK : ST_DAMAGED));
        }
    /* One that this build cannot read is native code all the same. */
    struct cache_entry image = {.kind = CACHE_IMAGE, .origin = CACHE_IMPORTED};
    EXPECT(cache_put(c, "\177ELF", 4, &image, NULL, NULL, NULL, &err) == ST_DAMAGED);
    fixture_clean(c, 2);
    cache_close(c);
}

static bool count_objects(void *context, const struct cache_entry *entry) {
    (void)entry;
    ++*(unsigned *)context;
    return true;
}

/* However many snapshots of a module there are, its object is found. */
static void test_objects_among_snapshots(void) {
    struct error err = {0};
    const struct cache_options options = {.describe_object = describe_elf};
    struct cache *c = fixture_open(&options);
    struct digest module = digest_of("module", 6);
    struct cache_entry object = {.kind = CACHE_OBJECT, .origin = CACHE_COMPILED};
    struct cache_entry snapshot = {
        .kind = CACHE_SNAPSHOT, .origin = CACHE_COMPILED, .has_module = true, .module = module};
    char text[40];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "HUTCHSNP %u", i);
        EXPECT(cache_put(c, text, strlen(text), &snapshot, NULL, NULL, NULL, &err) == ST_OK);
        if (i % 100 == 0) {
            snprintf(text, sizeof text, "\177ELF code %u", i);
            EXPECT(cache_put(c, text, strlen(text), &object, NULL, NULL, NULL, &err) == ST_OK);
        }
    }
    unsigned objects = 0;
    EXPECT(cache_each_object(c, &module, count_objects, &objects, &err) == ST_OK);
    EXPECT(objects == 3);
    fixture_clean(c, 303);
    cache_close(c);
}

static void test_again(void) {
    struct cache *c = fixture_open(NULL);
    struct error err = {0};
    struct cache_entry e = fixture_entry(CACHE_OTHER, 2), got;
    int fd = -1;
    EXPECT(cache_put(c, "twice", 5, &e, NULL, NULL, NULL, &err) == ST_OK);
    struct cache_entry f = fixture_entry(CACHE_IMAGE, 3);
    struct digest d;
    EXPECT(cache_put(c, "twice", 5, &f, NULL, &d, NULL, &err) == ST_OK);
    EXPECT(cache_find(c, &e.key, &fd, NULL, &err) == ST_NOT_FOUND); /* described anew */
    EXPECT(cache_find(c, &f.key, &fd, &got, &err) == ST_OK && got.kind == CACHE_IMAGE);
    close(fd);
    /* an empty entry, and one from a pipe */
    EXPECT(cache_put(c, "", 0, &e, NULL, &d, &fd, &err) == ST_OK);
    close(fd);
    int ends[2];
    EXPECT(pipe(ends) == 0 && write(ends[1], "piped", 5) == 5 && close(ends[1]) == 0);
    EXPECT(cache_put_fd(c, ends[0], &f, NULL, &d, NULL, &err) == ST_OK);
    close(ends[0]);
    struct digest want = digest_of("piped", 5);
    EXPECT(digest_equal(&d, &want));
    /* the limit of a writer */
    struct cache_writer *w = NULL;
    EXPECT(cache_writer_open(c, 4, &w, &err) == ST_OK);
    EXPECT(cache_writer_write(w, "1234", 4, &err) == ST_OK);
    EXPECT(cache_writer_write(w, "5", 1, &err) == ST_LIMIT);
    cache_writer_abort(w);
    fixture_clean(c, 3);
    cache_close(c);
}

static void test_trust(void) {
    struct error err = {0};
    struct cache *c = NULL;
    char path[256];
    fixture_path("open-to-all", path, sizeof path);
    EXPECT(mkdir(path, 0700) == 0 && chmod(path, 0777) == 0);
    EXPECT(cache_open(&(struct cache_options){.path = path}, &c, &err) == ST_DAMAGED);
    fixture_path("nothing", path, sizeof path);
    EXPECT(cache_open(&(struct cache_options){.path = path, .read_only = true}, &c, &err) ==
           ST_NOT_FOUND);
    if (geteuid() == 0) {
        fixture_path("foreign", path, sizeof path);
        EXPECT(mkdir(path, 0755) == 0 && chown(path, 12345, 12345) == 0);
        EXPECT(cache_open(&(struct cache_options){.path = path}, &c, &err) == ST_DAMAGED);
    }
}

static void test_read_only(void) {
    struct cache *c = fixture_open(NULL), *r = NULL;
    struct cache_entry e = fixture_entry(CACHE_OTHER, 4);
    struct error err = {0};
    int fd = -1;
    EXPECT(cache_put(c, "read", 4, &e, NULL, NULL, NULL, &err) == ST_OK);
    EXPECT(cache_open(&(struct cache_options){.path = cache_path(c), .read_only = true}, &r,
                      &err) == ST_OK);
    EXPECT(cache_find(r, &e.key, &fd, NULL, &err) == ST_OK);
    close(fd);
    EXPECT(cache_put(r, "more", 4, &e, NULL, NULL, NULL, &err) == ST_IO);
    EXPECT(cache_pin(r, &e.key.digest, "me", &err) == ST_IO);
    cache_close(r);
    cache_close(c);
}

static void test_names(void) {
    struct cache *c = fixture_open(NULL);
    struct cache_entry e = fixture_entry(CACHE_MODULE, 5);
    struct error err = {0};
    struct digest d, gone = {{1}};
    EXPECT(cache_put(c, "module", 6, &e, NULL, &d, NULL, &err) == ST_OK);
    struct cache_name n = {
        .name = "python:3.11", .digest = d, .sequence = 7, .signer = "ab cd"};
    EXPECT(cache_name_set(c, &n, &err) == ST_OK);
    struct cache_name got = {0};
    EXPECT(cache_name_resolve(c, "python:3.11", &got, &err) == ST_OK);
    EXPECT(digest_equal(&got.digest, &d) && got.sequence == 7 && got.created_ns > 0);
    EXPECT_STR(got.signer, "ab cd");
    EXPECT(cache_name_resolve(c, "python", &got, &err) == ST_NOT_FOUND);
    EXPECT(cache_name_resolve(c, "Python", &got, &err) == ST_USAGE);
    char text[200], hex[DIGEST_HEX_SIZE];
    digest_hex(&d, hex);
    snprintf(text, sizeof text, "python@sha256:%s", hex);
    EXPECT(cache_name_resolve(c, text, &got, &err) == ST_OK && digest_equal(&got.digest, &d));
    EXPECT(cache_name_resolve(c, text + 7, &got, &err) == ST_OK);
    n.digest = gone;
    EXPECT(cache_name_set(c, &n, &err) == ST_NOT_FOUND);
    EXPECT(cache_name_remove(c, "python:3.11", &err) == ST_OK);
    EXPECT(cache_name_remove(c, "python:3.11", &err) == ST_NOT_FOUND);
    cache_close(c);
}

static void test_name_grammar(void) {
    static const struct {
        const char *text, *name; /* NULL: refused */
    } rows[] = {
        {"a", "a:latest"},
        {"python:3.11", "python:3.11"},
        {"a/b/c:T_1", "a/b/c:T_1"},
        {"a-b.c_d", "a-b.c_d:latest"},
        {"", NULL},
        {":x", NULL},
        {"a:", NULL},
        {"a//b", NULL},
        {"/a", NULL},
        {"a/", NULL},
        {"-a", NULL},
        {"a-", NULL},
        {"a/-b", NULL},
        {"a-/b", NULL},
        {"A", NULL},
        {"a b", NULL},
        {"a:b c", NULL},
        {"a:.b", NULL},
        {"a:b:c", NULL},
        {"../a", NULL},
        {"a/../b", NULL},
        {"a@sha256:12", NULL},
        {"sha256:12", NULL},
        {"a\n", NULL},
        {"\xff", NULL},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char name[CACHE_NAME_MAX];
        bool is_digest;
        struct digest digest;
        enum status status = cache_name_parse(rows[i].text, name, &is_digest, &digest, NULL);
        EXPECT((status == ST_OK) == (rows[i].name != NULL));
        if (status == ST_OK && rows[i].name) EXPECT_STR(name, rows[i].name);
    }
    char longest[400];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    char name[CACHE_NAME_MAX];
    bool is_digest;
    struct digest digest;
    EXPECT(cache_name_parse(longest, name, &is_digest, &digest, NULL) == ST_USAGE);
}

static bool count_pin(void *context, const struct digest *digest, const char *who,
                      int64_t when) {
    (void)digest;
    EXPECT(when > 0 && who[0]);
    ++*(int *)context;
    return true;
}

static void test_gc(void) {
    struct cache *c = fixture_open(NULL);
    struct error err = {0};
    struct digest d[6];
    uint8_t bytes[1000] = {0};
    for (uint8_t i = 0; i < 6; i++) {
        struct cache_entry e = fixture_entry(CACHE_OTHER, (uint8_t)(10 + i));
        e.refs = i == 3 ? d : NULL; /* the fourth needs the first */
        e.ref_count = i == 3;
        bytes[0] = i;
        EXPECT(cache_put(c, bytes, sizeof bytes, &e, NULL, &d[i], NULL, &err) == ST_OK);
        fixture_age(c, &d[i], 6000 - i * 600);
    }
    EXPECT(cache_pin(c, &d[1], "me", &err) == ST_OK);
    EXPECT(cache_pin(c, &d[1], "you", &err) == ST_OK);
    EXPECT(cache_pin(c, &d[1], "", &err) == ST_USAGE);
    struct cache_name n = {.name = "app", .digest = d[3]};
    EXPECT(cache_name_set(c, &n, &err) == ST_OK);
    int fd = -1;
    EXPECT(cache_get(c, &d[4], &fd, NULL, &err) == ST_OK); /* in use, and just now */
    fixture_age(c, &d[4], 9000);
    fixture_age(c, &d[5], -100000); /* last used in the future */
    struct cache_gc_options o = {.max_bytes = 5000, .dry_run = true};
    struct cache_gc_report r;
    EXPECT(cache_gc(c, &o, &r, &err) == ST_OK);
    EXPECT(r.removed_entries == 1 && r.entries_before == 6 && r.bytes_before == 6000);
    o.dry_run = false;
    EXPECT(cache_gc(c, &o, &r, &err) == ST_OK && r.removed_entries == 1);
    EXPECT(!fixture_has(c, &d[2])); /* the oldest that nothing keeps */
    EXPECT(fixture_has(c, &d[0]) && fixture_has(c, &d[1]) && fixture_has(c, &d[4]));
    o.max_bytes = 0;
    EXPECT(cache_gc(c, &o, &r, &err) == ST_OK);
    EXPECT(r.removed_entries == 1 && r.kept_pinned == 3 && r.kept_in_use == 1);
    EXPECT(!fixture_has(c, &d[5]) && fixture_has(c, &d[3]) && fixture_has(c, &d[0]));
    EXPECT(cache_remove(c, &d[0], &err) == ST_LIMIT &&
           cache_remove(c, &d[4], &err) == ST_LIMIT);
    close(fd);
    EXPECT(cache_remove(c, &d[4], &err) == ST_OK && !fixture_has(c, &d[4]));
    EXPECT(cache_remove(c, &d[4], &err) == ST_NOT_FOUND);
    int pins = 0;
    EXPECT(cache_each_pin(c, count_pin, &pins, &err) == ST_OK && pins == 2);
    EXPECT(cache_unpin(c, &d[1], "me", &err) == ST_OK);
    EXPECT(cache_unpin(c, &d[1], "me", &err) == ST_NOT_FOUND);
    EXPECT(cache_unpin(c, &d[1], "you", &err) == ST_OK);
    EXPECT(cache_name_remove(c, "app", &err) == ST_OK);
    EXPECT(cache_gc(c, &o, &r, &err) == ST_OK && r.removed_entries == 3);
    fixture_clean(c, 0);
    cache_close(c);
}

static void test_automatic_limit(void) {
    struct cache *c = fixture_open(&(struct cache_options){.max_bytes = 10000});
    struct error err = {0};
    uint8_t bytes[1000] = {0};
    for (uint8_t i = 0; i < 30; i++) {
        struct cache_entry e = fixture_entry(CACHE_OTHER, (uint8_t)(100 + i));
        bytes[0] = i;
        EXPECT(cache_put(c, bytes, sizeof bytes, &e, NULL, NULL, NULL, &err) == ST_OK);
    }
    struct cache_stats s;
    EXPECT(cache_statistics(c, &s, &err) == ST_OK && s.bytes <= 10000 && s.entries >= 8);
    EXPECT(s.evicted == 30 - s.entries && s.evicted_bytes == s.evicted * 1000);
    fixture_clean(c, s.entries);
    cache_close(c);
    /* a disk that is always too full: all goes but what was just put */
    c = fixture_open(&(struct cache_options){.min_free_bytes = UINT64_MAX / 2});
    struct cache_entry e = fixture_entry(CACHE_OTHER, 1);
    EXPECT(cache_put(c, "a", 1, &e, NULL, NULL, NULL, &err) == ST_OK);
    e = fixture_entry(CACHE_OTHER, 2);
    EXPECT(cache_put(c, "b", 1, &e, NULL, NULL, NULL, &err) == ST_OK);
    EXPECT(cache_statistics(c, &s, &err) == ST_OK && s.entries >= 1 && s.entries <= 2);
    cache_close(c);
}

static bool give_up(void *context, uint64_t waited_ms) {
    (void)waited_ms;
    return ++*(int *)context < 3;
}

static void test_lock(void) {
    struct cache *c = fixture_open(NULL), *other = NULL;
    struct cache_key key = fixture_entry(CACHE_OTHER, 50).key;
    struct error err = {0};
    int fd = -1, second = -1, calls = 0;
    EXPECT(cache_lock_key(c, &key, NULL, NULL, &fd, &err) == ST_OK);
    EXPECT(cache_open(&(struct cache_options){.path = cache_path(c)}, &other, &err) == ST_OK);
    EXPECT(cache_lock_key(other, &key, give_up, &calls, &second, &err) == ST_LIMIT &&
           calls == 3);
    close(fd);
    EXPECT(cache_lock_key(other, &key, NULL, NULL, &second, &err) == ST_OK);
    close(second);
    /* dies with its holder */
    pid_t child = fork();
    if (child == 0) {
        int held;
        _exit(cache_lock_key(other, &key, NULL, NULL, &held, &err) == ST_OK ? 0 : 1);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(cache_lock_key(c, &key, NULL, NULL, &fd, &err) == ST_OK);
    close(fd);
    cache_close(other);
    cache_close(c);
}

int main(void) {
    fixture_begin();
    test_put_and_find();
    test_native_by_bytes();
    test_objects_among_snapshots();
    test_again();
    test_trust();
    test_read_only();
    test_names();
    test_name_grammar();
    test_gc();
    test_automatic_limit();
    test_lock();
    fixture_end();
    return test_end();
}
