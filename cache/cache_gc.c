/*
 * The size limit. Entries go least recently used first, but never one that is pinned or named,
 * that such a one refers to (in any number of steps), or that somebody has open. For each
 * victim: its exclusive lock, its records out of the index, its file, in that order; a crash in
 * between leaves a sound file without a record, which the next gc records again or removes.
 *
 * A last use in the future (the clock was set back) counts as now; entries of the same age go
 * in the order of their creation, then of their digests.
 */
#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64u               /* victims a transaction: each is an open descriptor */
#define AUTOMATIC_VICTIMS 1024u /* of one gc after a put */
#define QUARANTINE_NS (INT64_C(7) * 24 * 3600 * 1000000000)

/* ---- directories ------------------------------------------------------------------------- */

static DIR *open_list(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list && fd >= 0) close(fd);
    return list;
}

enum status cache_each_file(struct cache *c, file_visitor visit, void *context,
                            struct error *err) {
    DIR *list = open_list(c->objects, ".");
    if (!list) return error_set_errno(err, ST_IO, "cannot list %s/objects", c->path);
    struct digest digest;
    enum status status = ST_OK;
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(list);
        if (!d && errno)
            status = error_set_errno(err, ST_IO, "cannot list %s/objects", c->path);
        if (!d) break;
        if (strlen(d->d_name) == 64 && digest_from_hex(d->d_name, &digest) &&
            !visit(context, &digest))
            break;
    }
    closedir(list);
    return status;
}

/* Files that their makers held locked while they lived. */
static uint64_t sweep_locked(struct cache *c, const char *name) {
    DIR *list = open_list(c->dir, name);
    if (!list) return 0;
    uint64_t removed = 0;
    for (struct dirent *d; (d = readdir(list));) {
        if (d->d_name[0] == '.' || strcmp(d->d_name, "index") == 0)
            continue; /* a rebuild's own */
        auto_fd int fd =
            openat(dirfd(list), d->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) continue;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) continue;
        if (unlinkat(dirfd(list), d->d_name, 0) == 0) removed++;
    }
    closedir(list);
    return removed;
}

uint64_t cache_sweep(struct cache *c) {
    return sweep_locked(c, "tmp") + sweep_locked(c, "locks");
}

/* What was damaged is kept for a week, for whoever wants to know why. Old indexes are
 * directories. */
static uint64_t sweep_quarantine(struct cache *c) {
    DIR *list = open_list(c->dir, "quarantine");
    if (!list) return 0;
    uint64_t removed = 0;
    for (struct dirent *d; (d = readdir(list));) {
        if (d->d_name[0] == '.') continue;
        const char *dot = strrchr(d->d_name, '.');
        int64_t age = cache_now_ns() - (dot ? strtoll(dot + 1, NULL, 10) : 0);
        if (age > -QUARANTINE_NS && age < QUARANTINE_NS) continue;
        char path[NAME_MAX + 16];
        snprintf(path, sizeof path, "%s/data.mdb", d->d_name);
        unlinkat(dirfd(list), path, 0);
        snprintf(path, sizeof path, "%s/lock.mdb", d->d_name);
        unlinkat(dirfd(list), path, 0);
        if (unlinkat(dirfd(list), d->d_name, 0) == 0 ||
            unlinkat(dirfd(list), d->d_name, AT_REMOVEDIR) == 0)
            removed++;
    }
    closedir(list);
    return removed;
}

/* ---- what there is ----------------------------------------------------------------------- */

struct item {
    struct digest digest;
    uint64_t size_bytes;
    int64_t used_ns, created_ns;
    uint32_t first_ref, ref_count;
    bool kept;
};

struct collection {
    struct cache *cache;
    struct item *items; /* by digest until they are sorted by use */
    size_t count, capacity;
    struct digest *refs;
    size_t ref_total, ref_capacity;
    int64_t now_ns;
    uint64_t bytes;
    bool failed;
};

static bool grow(void **array, size_t *capacity, size_t needed, size_t each) {
    if (needed <= *capacity) return true;
    size_t wanted = *capacity * 2 > needed ? *capacity * 2 : needed + 64;
    void *larger = reallocarray(*array, wanted, each);
    if (!larger) return false;
    *array = larger;
    *capacity = wanted;
    return true;
}

static bool collect(void *context, const struct cache_entry *e) {
    struct collection *all = context;
    void *items = all->items, *refs = all->refs;
    bool room = grow(&items, &all->capacity, all->count + 1, sizeof *all->items);
    all->items = items;
    room = room &&
           grow(&refs, &all->ref_capacity, all->ref_total + e->ref_count, sizeof *all->refs);
    all->refs = refs;
    if (!room) {
        all->failed = true;
        return false;
    }
    int64_t used = e->last_used_ns < all->now_ns ? e->last_used_ns : all->now_ns;
    all->items[all->count++] = (struct item){
        e->digest,    e->size_bytes, used, e->created_ns, (uint32_t)all->ref_total,
        e->ref_count, false};
    for (uint32_t i = 0; i < e->ref_count; i++) all->refs[all->ref_total++] = e->refs[i];
    all->bytes += e->size_bytes;
    return true;
}

static int by_digest(const void *a, const void *b) {
    return memcmp(&((const struct item *)a)->digest, &((const struct item *)b)->digest,
                  sizeof(struct digest));
}

static int by_use(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->used_ns != y->used_ns) return x->used_ns < y->used_ns ? -1 : 1;
    if (x->created_ns != y->created_ns) return x->created_ns < y->created_ns ? -1 : 1;
    return by_digest(a, b);
}

/* Keeps an entry and all that it refers to. No recursion: references come from outside. */
static void keep(struct collection *all, const struct digest *root) {
    size_t capacity = 0, depth = 0;
    void *stack = NULL;
    struct digest at = *root;
    for (;;) {
        struct item wanted = {.digest = at};
        struct item *item =
            all->count ? bsearch(&wanted, all->items, all->count, sizeof wanted, by_digest)
                       : NULL;
        if (item && !item->kept) {
            item->kept = true;
            if (!grow(&stack, &capacity, depth + item->ref_count, sizeof at)) {
                all->failed = true;
                break;
            }
            for (uint32_t i = 0; i < item->ref_count; i++)
                ((struct digest *)stack)[depth++] = all->refs[item->first_ref + i];
        }
        if (depth == 0) break;
        at = ((struct digest *)stack)[--depth];
    }
    free(stack);
}

static bool keep_name(void *context, const struct cache_name *name) {
    keep(context, &name->digest);
    return true;
}

static bool keep_pin(void *context, const struct digest *digest, const char *who,
                     int64_t created_ns) {
    (void)who;
    (void)created_ns;
    keep(context, digest);
    return true;
}

static enum status collect_all(struct collection *all, struct error *err) {
    struct cache *c = all->cache;
    all->now_ns = cache_now_ns();
    enum status status = cache_each(c, collect, all, err);
    if (status == ST_OK &&
        all->count) /* they come sorted; a rebuild on the way may change that */
        qsort(all->items, all->count, sizeof *all->items, by_digest);
    if (status == ST_OK) status = cache_each_name(c, keep_name, all, err);
    if (status == ST_OK) status = cache_each_pin(c, keep_pin, all, err);
    if (status == ST_OK && all->failed) status = error_set(err, ST_NO_MEMORY, "out of memory");
    return status;
}

/* ---- removing ---------------------------------------------------------------------------- */

struct batch {
    struct change changes[BATCH];
    int fds[BATCH];
    uint64_t bytes;
    size_t count;
};

/* The exclusive lock of an entry's file, which is then nobody's; ST_NOT_FOUND: no file,
 * ST_LIMIT: in use. */
static enum status take(struct cache *c, const struct digest *digest, int *ret_fd) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    auto_fd int fd = openat(c->objects, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno == ENOENT ? ST_NOT_FOUND : ST_LIMIT;
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0) return ST_LIMIT;
    if (st.st_nlink == 0) return ST_NOT_FOUND;
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status flush(struct cache *c, struct batch *b, struct error *err) {
    enum status status = b->count ? index_change(c, b->changes, b->count, err) : ST_OK;
    for (size_t i = 0; i < b->count; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&b->changes[i].digest, hex);
        if (status == ST_OK && b->fds[i] >= 0 && unlinkat(c->objects, hex, 0) < 0 &&
            errno != ENOENT)
            status = error_set_errno(err, cache_io_status(), "cannot remove sha256:%s", hex);
        if (b->fds[i] >= 0) close(b->fds[i]);
    }
    if (status == ST_OK) {
        count(c, COUNT_EVICTED, b->count);
        count(c, COUNT_EVICTED_BYTES, b->bytes);
    }
    b->count = 0;
    b->bytes = 0;
    return status;
}

static uint64_t free_bytes(const struct cache *c) {
    struct statvfs fs;
    return fstatvfs(c->objects, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static enum status evict(struct collection *all, const struct cache_gc_options *o,
                         uint64_t victims, struct cache_gc_report *r, struct error *err) {
    struct cache *c = all->cache;
    auto_free struct batch *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint64_t bytes = all->bytes, room = free_bytes(c), freed = 0;
    enum status status = ST_OK;
    for (size_t i = 0; i < all->count && status == ST_OK && r->removed_entries < victims; i++) {
        const struct item *item = &all->items[i];
        if (bytes <= o->max_bytes && (room == UINT64_MAX || room + freed >= o->min_free_bytes))
            break;
        if (item->kept) {
            r->kept_pinned++;
            continue;
        }
        int fd = -1;
        enum status taken = take(c, &item->digest, &fd);
        if (taken == ST_LIMIT) {
            r->kept_in_use++;
            continue;
        }
        bytes -= item->size_bytes;
        freed += taken == ST_OK ? item->size_bytes : 0;
        r->removed_entries++;
        r->removed_bytes += item->size_bytes;
        if (o->visit) o->visit(o->context, &item->digest, item->size_bytes);
        if (o->dry_run) {
            if (fd >= 0) close(fd);
            continue;
        }
        b->changes[b->count] = (struct change){.kind = CHANGE_REMOVE, .digest = item->digest};
        b->bytes += item->size_bytes;
        b->fds[b->count++] = fd;
        if (b->count == BATCH) status = flush(c, b, err);
    }
    struct error why = {0};
    enum status last = flush(c, b, &why);
    if (status == ST_OK && last != ST_OK) {
        if (err) *err = why;
        status = last;
    }
    return status;
}

static enum status collect_and_evict(struct cache *c, const struct cache_gc_options *o,
                                     uint64_t victims, struct cache_gc_report *r,
                                     struct error *err) {
    struct collection all = {.cache = c};
    enum status status = collect_all(&all, err);
    r->entries_before = all.count;
    r->bytes_before = all.bytes;
    if (all.count) qsort(all.items, all.count, sizeof *all.items, by_use);
    if (status == ST_OK) status = evict(&all, o, victims, r, err);
    free(all.items);
    free(all.refs);
    return status;
}

enum status cache_gc(struct cache *c, const struct cache_gc_options *o,
                     struct cache_gc_report *ret_report, struct error *err) {
    struct cache_gc_report r = {0};
    if (c->read_only && !o->dry_run)
        return error_set(err, ST_IO, "%s is open for reading only", c->path);
    enum status status = ST_OK;
    if (!o->dry_run) {
        r.leftovers = cache_sweep(c);
        r.removed_quarantined = sweep_quarantine(c);
        uint64_t adopted;
        status = cache_adopt(c, &adopted, err);
    }
    if (status == ST_OK) status = collect_and_evict(c, o, UINT64_MAX, &r, err);
    if (status == ST_OK) *ret_report = r;
    return status;
}

/* ---- after a put ------------------------------------------------------------------------- */

/* A tenth below the limit, so that the next puts need not look at all entries again. */
static uint64_t below(uint64_t limit) { return limit - limit / 10; }

void cache_keep_limits(struct cache *c) {
    struct cache_stats s;
    struct error ignored = {0};
    if (cache_statistics(c, &s, &ignored) != ST_OK) return;
    bool large = s.bytes > c->max_bytes, full = s.free_bytes < c->min_free_bytes;
    if (!large && !full) return;
    /* Where all is pinned or in use there is nothing to gain: not again for a while. The time
     * of the last attempt is the mtime of a file; a clock that jumps costs one attempt. */
    auto_fd int last =
        openat(c->dir, "gc.time", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (last < 0 || flock(last, LOCK_EX | LOCK_NB) < 0 || fstat(last, &st) < 0) return;
    int64_t age = cache_now_ns() / 1000000000 - (int64_t)st.st_mtim.tv_sec;
    if (st.st_size > 0 && age >= 0 && age < 10) return;
    struct cache_gc_options options = {.max_bytes = large ? below(c->max_bytes) : UINT64_MAX,
                                       .min_free_bytes = c->min_free_bytes};
    struct cache_gc_report report = {0};
    cache_sweep(c);
    if (collect_and_evict(c, &options, AUTOMATIC_VICTIMS, &report, &ignored) != ST_OK) return;
    /* A size of 1 says that it was in vain. */
    if (ftruncate(last, report.removed_entries == 0) < 0) return;
    if (futimens(last, NULL) < 0) return;
}

enum status cache_remove(struct cache *c, const struct digest *digest, struct error *err) {
    if (c->read_only) return error_set(err, ST_IO, "%s is open for reading only", c->path);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    struct collection all = {.cache = c};
    enum status status = collect_all(&all, err);
    struct item wanted = {.digest = *digest};
    const struct item *item =
        status == ST_OK && all.count
            ? bsearch(&wanted, all.items, all.count, sizeof wanted, by_digest)
            : NULL;
    if (status == ST_OK && item && item->kept)
        status =
            error_set(err, ST_LIMIT, "sha256:%s is pinned or named, or one such needs it", hex);
    free(all.items);
    free(all.refs);
    if (status != ST_OK) return status;
    struct batch b = {.count = 1, .fds = {-1}};
    b.changes[0] = (struct change){.kind = CHANGE_REMOVE, .digest = *digest};
    enum status taken = take(c, digest, &b.fds[0]);
    if (taken == ST_LIMIT) return error_set(err, ST_LIMIT, "sha256:%s is in use", hex);
    if (taken == ST_NOT_FOUND && !item)
        return error_set(err, ST_NOT_FOUND, "sha256:%s is not in the cache", hex);
    return flush(c, &b, err);
}
