/*
 * A store through every system call of what changes it: killed there, with all its processes or
 * one of them, or told that the disk is full or broken. Afterwards nothing that was there is
 * lost, what was being put is there whole or not at all, the store verifies, and the same
 * change goes through.
 *
 *     fault_store [--all | --stride N] [OPERATION]
 *
 * Closes with "N passed, N failed".
 */
#include "tests/fault/place.h"
#include "tests/fault/tracer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the store holds before: */
enum {
    PINNED = 1,
    NAMED,
    NEEDED, /* by the manifest, which is named */
    MANIFEST,
    OLD,   /* nothing keeps it */
    OLDER, /* nor this */
    NEW,   /* what an operation puts */
};
static const unsigned kept[] = {PINNED, NAMED, NEEDED, MANIFEST};

static void age(const char *name, unsigned number, int seconds) {
    char path[400], place[256], hex[DIGEST_HEX_SIZE];
    struct digest digest = place_digest(number);
    place_path(name, place);
    digest_hex(&digest, hex);
    snprintf(path, sizeof path, "%s/objects/%s", place, hex);
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_nsec = UTIME_OMIT}};
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static enum status set_name(struct cache *c, const char *name, unsigned number) {
    struct cache_name n = {.digest = place_digest(number), .sequence = 3};
    snprintf(n.name, sizeof n.name, "%s", name);
    struct error err = {0};
    return cache_name_set(c, &n, &err);
}

static void make_template(void) {
    struct cache *c = place_open("template");
    CHECK(c);
    static const unsigned refs[] = {NEEDED};
    struct error err = {0};
    struct digest pinned = place_digest(PINNED);
    for (unsigned i = PINNED; i < NEW; i++)
        CHECK(place_put(c, i, refs, i == MANIFEST) == ST_OK);
    CHECK(cache_pin(c, &pinned, "test", &err) == ST_OK);
    CHECK(set_name(c, "named:1", NAMED) == ST_OK && set_name(c, "app", MANIFEST) == ST_OK);
    cache_close(c);
    age("template", OLD, 5000);
    age("template", OLDER, 9000);
}

/* ---- the operations ---------------------------------------------------------------------- */

static enum status put(struct cache *c) { return place_put(c, NEW, NULL, 0); }
static enum status name(struct cache *c) { return set_name(c, "named:2", NAMED); }

static enum status collect(struct cache *c) {
    struct cache_gc_options options = {.max_bytes = 0};
    struct cache_gc_report report;
    struct error err = {0};
    return cache_gc(c, &options, &report, &err);
}

static enum status unpin(struct cache *c) {
    struct digest digest = place_digest(PINNED);
    struct error err = {0};
    enum status status = cache_unpin(c, &digest, "test", &err);
    return status == ST_NOT_FOUND ? ST_OK : status; /* done the time before */
}

static enum status take_out(struct cache *c) {
    struct digest digest = place_digest(OLD);
    struct error err = {0};
    enum status status = cache_remove(c, &digest, &err);
    return status == ST_NOT_FOUND ? ST_OK : status;
}

static enum status verify(struct cache *c) {
    struct cache_verify_report report;
    struct error err = {0};
    return cache_verify(c, NULL, NULL, &report, &err);
}

/* Any read does it. */
static enum status find(struct cache *c) {
    struct cache_name n;
    struct error err = {0};
    return cache_name_resolve(c, "named:1", &n, &err);
}

static void damage_old(const char *place) {
    char path[400], root[256], hex[DIGEST_HEX_SIZE];
    struct digest digest = place_digest(OLD);
    place_path(place, root);
    digest_hex(&digest, hex);
    snprintf(path, sizeof path, "%s/objects/%s", root, hex);
    CHECK(chmod(path, 0600) == 0);
    auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, "damaged", 7, 100) == 7 && fchmod(fd, 0444) == 0);
}

static void lose_index(const char *place) {
    char path[300];
    snprintf(path, sizeof path, "%.200s/index.lmdb", place);
    place_wipe(path);
}

static bool has_new(struct cache *c) { return place_has(c, NEW); }
static bool has_name(struct cache *c) {
    struct cache_name n;
    struct error err = {0};
    struct digest digest = place_digest(NAMED);
    return cache_name_resolve(c, "named:2", &n, &err) == ST_OK &&
           digest_equal(&n.digest, &digest);
}
static bool lacks_old(struct cache *c) { return !place_has(c, OLD); }
static bool lacks_both(struct cache *c) { return lacks_old(c) && !place_has(c, OLDER); }
static bool has_no_pin(struct cache *c) {
    struct digest digest = place_digest(PINNED);
    struct error err = {0};
    return cache_unpin(c, &digest, "test", &err) == ST_NOT_FOUND;
}
static bool has_all(struct cache *c) {
    return place_keeps(c, OLD) && place_keeps(c, OLDER) && place_keeps(c, PINNED);
}

static const struct operation {
    const char *name;
    void (*prepare)(const char *place); /* after the template was copied; may be NULL */
    enum status (*run)(struct cache *c);
    bool (*done)(struct cache *c); /* what holds once it went through */
    bool from_nothing;             /* without a template */
} operations[] = {
    {"put", NULL, put, has_new, false},
    {"first-put", NULL, put, has_new, true},
    {"gc", NULL, collect, lacks_both, false},
    {"name", NULL, name, has_name, false},
    {"unpin", NULL, unpin, has_no_pin, false},
    {"remove", NULL, take_out, lacks_old, false},
    {"verify", damage_old, verify, lacks_old, false},
    {"rebuild", lose_index, find, has_all, false},
};

struct attempt {
    const struct operation *operation;
};

static int run_operation(void *context) {
    const struct attempt *a = context;
    struct cache *c = place_open("store");
    if (!c) return 100;
    enum status status = a->operation->run(c);
    cache_close(c);
    return (int)status;
}

/* ---- afterwards -------------------------------------------------------------------------- */

/* The store is sound; what the first look repairs, the second finds in order. */
static void check_sound(struct cache *c, const struct operation *o, const char *what) {
    struct cache_verify_report r = {0};
    struct error err = {0};
    enum status status = cache_verify(c, NULL, NULL, &r, &err);
    PLACE_EXPECT(status == ST_OK, "%s: %s", what, err.message);
    /* A damaged file goes to quarantine before its record goes. */
    PLACE_EXPECT(r.missing <= (o->run == verify) && r.dangling == 0,
                 "%s: %d missing, %d dangling", what, (int)r.missing, (int)r.dangling);
    status = cache_verify(c, NULL, NULL, &r, &err);
    PLACE_EXPECT(status == ST_OK && !r.index_rebuilt &&
                     r.damaged + r.missing + r.dangling + r.adopted == 0,
                 "%s: %d damaged, %d adopted, status %d", what, (int)r.damaged, (int)r.adopted,
                 (int)status);
}

static void check_kept(struct cache *c, const struct operation *o, const char *what) {
    bool (*has)(struct cache *, unsigned) = o->run == find ? place_keeps : place_has;
    struct cache_name n;
    struct error err = {0};
    for (size_t i = 0; i < countof(kept); i++)
        PLACE_EXPECT(has(c, kept[i]), "%s: entry %u", what, kept[i]);
    struct digest named = place_digest(NAMED), app = place_digest(MANIFEST);
    PLACE_EXPECT(cache_name_resolve(c, "named:1", &n, &err) == ST_OK &&
                     digest_equal(&n.digest, &named) && n.sequence == 3,
                 "%s: named:1", what);
    PLACE_EXPECT(cache_name_resolve(c, "app", &n, &err) == ST_OK &&
                     digest_equal(&n.digest, &app),
                 "%s: app", what);
    struct digest refs[CACHE_REFS_MAX];
    uint32_t count = 0;
    PLACE_EXPECT(cache_refs(c, &app, refs, &count, &err) == ST_OK && count == 1,
                 "%s: what the manifest needs", what);
}

static bool collects_nothing_kept(struct cache *c) { return collect(c) == ST_OK; }

static unsigned files_in(const char *place, const char *directory) {
    char path[400], root[256];
    place_path(place, root);
    snprintf(path, sizeof path, "%s/%s", root, directory);
    DIR *list = opendir(path);
    unsigned count = 0;
    for (struct dirent *d; list && (d = readdir(list));) count += d->d_name[0] != '.';
    if (list) closedir(list);
    return count;
}

static void check_after(const struct operation *o, const struct fault *f,
                        const struct fault_result *r) {
    char what[128];
    static const char *const kinds[] = {"none", "kill all", "kill one", "error"};
    snprintf(what, sizeof what, "%s, %s %d at %u (call %ld)", o->name, kinds[f->kind], f->error,
             f->at, r->number);
    PLACE_EXPECT(!r->hung, "%s: hangs", what);
    bool killed = f->kind == FAULT_KILL_ALL;
    PLACE_EXPECT(WIFEXITED(r->status) || f->kind != FAULT_ERROR, "%s: died", what);
    int exit = WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1;
    if (f->error == ENOSPC)
        PLACE_EXPECT(exit == ST_OK || exit == ST_LIMIT || exit == 100, "%s: status %d", what,
                     exit);
    struct cache *c = place_open("store");
    PLACE_EXPECT(c != NULL, "%s: opens", what);
    if (!c) return;
    /* What a gc cannot open it passes over. */
    bool passed_over = o->run == collect && f->error == EIO;
    if (!killed && exit == ST_OK && !passed_over)
        PLACE_EXPECT(o->done(c), "%s: said done", what);
    check_sound(c, o, what);
    if (!o->from_nothing) check_kept(c, o, what);
    PLACE_EXPECT(o->run(c) == ST_OK && o->done(c), "%s: goes through afterwards", what);
    if (!o->from_nothing && o->run != unpin) {
        PLACE_EXPECT(collects_nothing_kept(c), "%s: gc afterwards", what);
        check_kept(c, o, what);
        PLACE_EXPECT(files_in("store", "tmp") == 0, "%s: nothing is left in tmp", what);
    }
    cache_close(c);
}

/* ---- all points -------------------------------------------------------------------------- */

static void prepare(const struct operation *o) {
    if (o->from_nothing)
        place_wipe("store");
    else
        place_copy("template", "store");
    if (o->prepare) o->prepare("store");
}

static void run_all(const struct operation *o, unsigned stride) {
    static const struct fault faults[] = {
        {FAULT_KILL_ALL, 0, 0, true},
        {FAULT_KILL_ONE, 0, 0, true},
        {FAULT_ERROR, 0, ENOSPC, true},
        {FAULT_ERROR, 0, EIO, true},
    };
    struct attempt attempt = {o};
    for (size_t i = 0; i < countof(faults); i++) {
        struct fault f = faults[i];
        unsigned points = 0, step = f.kind == FAULT_ERROR ? (stride + 1) / 2 : stride;
        for (f.at = (unsigned)i % step;; f.at += step) {
            prepare(o);
            struct fault_result r = fault_run(run_operation, &attempt, &f);
            if (!r.hit) { /* it has fewer calls than that: a whole run */
                PLACE_EXPECT(WIFEXITED(r.status) && WEXITSTATUS(r.status) == ST_OK,
                             "%s undisturbed: %x", o->name, (unsigned)r.status);
                break;
            }
            check_after(o, &f, &r);
            points++;
        }
        printf("%s: fault %zu at %u calls, every %u\n", o->name, i, points, step);
    }
}

int main(int argc, char **argv) {
    unsigned stride = 2;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            stride = 1;
        else if (strcmp(argv[i], "--stride") == 0 && i + 1 < argc)
            stride = (unsigned)atoi(argv[++i]);
        else
            only = argv[i];
    }
    if (stride == 0) stride = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    place_begin();
    make_template();
    for (size_t i = 0; i < countof(operations); i++)
        if (!only || strcmp(only, operations[i].name) == 0) run_all(&operations[i], stride);
    place_end();
    printf("%u passed, %u failed\n", place_passed, place_failed);
    return place_failed != 0;
}
