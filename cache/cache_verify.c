/*
 * Everything again: every file hashed, every record read, both compared. What is damaged goes
 * to quarantine/, records without a file go, files without a record are recorded. Runs beside
 * everything else; what comes or goes meanwhile may be missed until the next time.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define BATCH 256u

struct digests {
    struct digest *list;
    size_t count, capacity;
    bool failed;
};

static bool add(struct digests *d, const struct digest *digest) {
    if (d->count == d->capacity) {
        size_t wanted = d->capacity ? d->capacity * 2 : 256;
        struct digest *larger = reallocarray(d->list, wanted, sizeof *larger);
        if (!larger) {
            d->failed = true;
            return false;
        }
        d->list = larger;
        d->capacity = wanted;
    }
    d->list[d->count++] = *digest;
    return true;
}

static bool add_file(void *context, const struct digest *digest) {
    return add(context, digest);
}

static int compare(const void *a, const void *b) { return memcmp(a, b, sizeof(struct digest)); }

static bool has(const struct digests *d, const struct digest *digest) {
    return d->count && bsearch(digest, d->list, d->count, sizeof *digest, compare);
}

/* ---- the index --------------------------------------------------------------------------- */

struct records {
    struct digests entries;
    struct cache *cache;
    enum index_db db;
    uint64_t count, bytes;
};

/* What is not found by what stands in the record is missing, or a page leads astray. */
static bool reachable(struct records *r, enum index_db db, const void *key, size_t key_size) {
    struct reader body;
    return index_get(r->cache, db, key, key_size, &body) == ST_OK;
}

static enum status take_entry(struct records *r, const void *key, size_t key_size,
                              struct reader *body) {
    struct cache_entry entry = {0};
    struct digest refs[CACHE_REFS_MAX], listed[2];
    if (key_size != sizeof entry.digest || !record_get_entry(body, &entry, refs))
        return ST_DAMAGED;
    memcpy(&entry.digest, key, key_size);
    r->bytes += entry.size_bytes;
    listed[0] = entry.module;
    listed[1] = entry.digest;
    if (entry.has_module && !reachable(r, DB_MODULES, listed, sizeof listed)) return ST_DAMAGED;
    return add(&r->entries, &entry.digest) ? ST_OK : ST_EXIT;
}

static enum status take_record(void *context, const void *key, size_t key_size,
                               struct reader body) {
    struct records *r = context;
    r->count++;
    /* Walking the leaves does not show that the branches above lead to them. */
    if (!reachable(r, r->db, key, key_size)) return ST_DAMAGED;
    const uint8_t *digest = key;
    switch (r->db) {
    case DB_OBJECTS: return take_entry(r, key, key_size, &body);
    case DB_KEYS: digest = reader_bytes(&body, sizeof(struct digest)); break;
    case DB_MODULES:
        if (key_size != 2 * sizeof(struct digest)) return ST_DAMAGED;
        digest += sizeof(struct digest);
        break;
    case DB_META:
    case DB_NAMES:
    case DB_PINS:
    case DB_COUNT: return ST_OK;
    }
    return digest && reachable(r, DB_OBJECTS, digest, sizeof(struct digest)) ? ST_OK
                                                                             : ST_DAMAGED;
}

/* Every record of every database, as many as each says it has, and what they say of each other:
 * what does not hold has the index rebuilt. */
static enum status read_everything(struct cache *c, void *context) {
    struct records *r = context;
    struct reader totals;
    r->cache = c;
    r->entries.count = 0;
    r->bytes = 0;
    if (!index_is_latest(c)) return ST_DAMAGED;
    for (r->db = 0; r->db < DB_COUNT; r->db++) {
        MDB_stat stat;
        r->count = 0;
        enum status status = index_each(c, r->db, NULL, 0, take_record, r);
        if (status != ST_OK || r->entries.failed) return status;
        if (mdb_stat(c->index.txn, c->index.dbs[r->db], &stat) != 0 ||
            stat.ms_entries != r->count)
            return ST_DAMAGED;
    }
    if (index_get(c, DB_META, "totals", 6, &totals) != ST_OK) return ST_DAMAGED;
    bool same = reader_u64(&totals) == r->entries.count;
    return reader_u64(&totals) == r->bytes && same ? ST_OK : ST_DAMAGED;
}

static enum status read_index(struct cache *c, struct records *r, struct error *err) {
    enum status status = index_read(c, read_everything, r, err);
    if (status == ST_OK && r->entries.failed)
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    return status;
}

/* ---- files without a record -------------------------------------------------------------- */

struct adoption {
    struct cache *cache;
    const struct digests *known;
    struct cache_entry entries[BATCH];
    struct change changes[BATCH];
    size_t pending;
    uint64_t count;
    enum status status;
    struct error *err;
};

static void adopt_pending(struct adoption *a) {
    if (a->pending == 0 || a->status != ST_OK) return;
    a->status = index_change(a->cache, a->changes, a->pending, a->err);
    a->count += a->pending;
    a->pending = 0;
}

static bool adopt(void *context, const struct digest *digest) {
    struct adoption *a = context;
    if (has(a->known, digest)) return true;
    auto_fd int fd = -1;
    struct stat st;
    struct error ignored = {0};
    /* A put that is about to record it holds it open, and says more about it than we could; but
     * if it dies before, the next adoption comes. */
    if (entry_open(a->cache, digest, UINT64_MAX, false, &fd, &st, &ignored) != ST_OK ||
        flock(fd, LOCK_EX | LOCK_NB) < 0)
        return true;
    struct cache_entry *e = &a->entries[a->pending];
    *e = (struct cache_entry){
        .digest = *digest, .origin = CACHE_RECOVERED, .created_ns = cache_now_ns()};
    entry_from_file(a->cache, fd, (uint64_t)st.st_size, e);
    a->changes[a->pending] = (struct change){.kind = CHANGE_PUT, .digest = *digest, .entry = e};
    if (++a->pending == BATCH) adopt_pending(a);
    return a->status == ST_OK;
}

static enum status adopt_all(struct cache *c, const struct digests *known, uint64_t *ret_count,
                             struct error *err) {
    auto_free struct adoption *a = calloc(1, sizeof *a);
    if (!a) return error_set(err, ST_NO_MEMORY, "out of memory");
    a->cache = c;
    a->known = known;
    a->err = err;
    enum status status = cache_each_file(c, adopt, a, err);
    adopt_pending(a);
    *ret_count = a->count;
    return status != ST_OK ? status : a->status;
}

enum status cache_adopt(struct cache *c, uint64_t *ret_count, struct error *err) {
    struct records r = {0};
    enum status status = read_index(c, &r, err);
    if (status == ST_OK) status = adopt_all(c, &r.entries, ret_count, err);
    free(r.entries.list);
    return status;
}

/* ---- verify ------------------------------------------------------------------------------ */

struct verification {
    struct cache *cache;
    cache_verify_visitor visit;
    void *context;
    struct cache_verify_report *report;
    struct digests gone; /* to be taken out of the index where their file is not there */
};

static void found(struct verification *v, const struct digest *digest, const char *what) {
    if (v->visit) v->visit(v->context, digest, what);
}

struct look {
    struct stat st;
    struct digest digest;
    uint64_t size;
    bool regular;
    struct error why;
};

/* ST_OK: hashed, or no regular file. ST_NOT_FOUND: collected meanwhile. ST_IO: unreadable. */
static enum status look_at(struct cache *c, const char *hex, int *ret_fd, struct look *l) {
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    /* Being looked at is no use: the access time stays, where we may say so. */
    auto_fd int fd = openat(c->objects, hex, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM) fd = openat(c->objects, hex, flags);
    *l = (struct look){0};
    if (fd < 0 && errno == ENOENT) return ST_NOT_FOUND;
    if (fd < 0 && (errno == ELOOP || errno == ENXIO)) return ST_OK; /* a link, a socket */
    if (fd < 0) {
        bool us = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return error_set_errno(&l->why, us ? ST_NO_MEMORY : ST_IO, "cannot open an entry");
    }
    if (fstat(fd, &l->st) < 0) return error_set_errno(&l->why, ST_IO, "cannot look at it");
    l->regular = S_ISREG(l->st.st_mode);
    enum status status = l->regular ? file_digest(fd, &l->digest, &l->size, &l->why) : ST_OK;
    if (status == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}

static enum status verify_file(struct verification *v, const struct digest *digest,
                               struct error *err) {
    struct cache *c = v->cache;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    auto_fd int fd = -1;
    struct look l;
    enum status status = look_at(c, hex, &fd, &l);
    /* An entry that cannot be read is as good as damaged: its bytes are not to be had. But a
     * disk may think better of it. */
    for (unsigned tries = 0; status == ST_IO && tries < 2; tries++)
        status = look_at(c, hex, &fd, &l);
    if (status == ST_NOT_FOUND) return ST_OK;
    if (status == ST_NO_MEMORY) {
        if (err) *err = l.why;
        return status;
    }
    v->report->entries++;
    v->report->bytes += l.size;
    if (status == ST_OK && l.regular && digest_equal(&l.digest, digest)) {
        if (!entry_sealed(&l.st) && !c->read_only) entry_seal(fd);
        return ST_OK;
    }
    v->report->damaged++;
    found(v, digest,
          status != ST_OK ? l.why.message
          : !l.regular    ? "not a regular file"
                          : "its bytes have changed");
    if (c->read_only) return ST_OK;
    status = entry_quarantine(c, digest, err);
    return status == ST_OK && !add(&v->gone, digest)
               ? error_set(err, ST_NO_MEMORY, "out of memory")
               : status;
}

static bool dangling_name(void *context, const struct cache_name *name) {
    struct verification *v = context;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&name->digest, hex);
    struct stat st;
    if (fstatat(v->cache->objects, hex, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        v->report->dangling++;
        found(v, &name->digest, "named, but not there");
    }
    return true;
}

static bool dangling_pin(void *context, const struct digest *digest, const char *who,
                         int64_t created_ns) {
    struct cache_name name = {.digest = *digest};
    (void)who;
    (void)created_ns;
    return dangling_name(context, &name);
}

static enum status remove_gone(struct verification *v, struct error *err) {
    enum status status = ST_OK;
    for (size_t at = 0; at < v->gone.count && status == ST_OK;) {
        struct change changes[BATCH];
        size_t n = 0;
        while (n < BATCH && at < v->gone.count)
            changes[n++] =
                (struct change){.kind = CHANGE_IF_MISSING, .digest = v->gone.list[at++]};
        status = index_change(v->cache, changes, n, err);
    }
    return status;
}

static enum status verify(struct verification *v, struct digests *files,
                          struct records *records, struct error *err) {
    struct cache *c = v->cache;
    enum status status = read_index(c, records, err);
    if (status == ST_NOT_FOUND && c->read_only)
        status = ST_OK; /* no usable index: only files */
    if (status == ST_OK) status = cache_each_file(c, add_file, files, err);
    if (status == ST_OK && files->failed)
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) return status;
    if (files->count) qsort(files->list, files->count, sizeof *files->list, compare);
    for (size_t i = 0; i < files->count && status == ST_OK; i++)
        status = verify_file(v, &files->list[i], err);
    for (size_t i = 0; i < records->entries.count && status == ST_OK; i++) {
        const struct digest *digest = &records->entries.list[i];
        if (has(files, digest)) continue;
        v->report->missing++;
        found(v, digest, "recorded, but not there");
        if (!add(&v->gone, digest)) status = error_set(err, ST_NO_MEMORY, "out of memory");
    }
    if (status == ST_OK && !c->read_only) {
        status = remove_gone(v, err);
        if (status == ST_OK) status = adopt_all(c, &records->entries, &v->report->adopted, err);
    }
    if (status == ST_OK) status = cache_each_name(c, dangling_name, v, err);
    if (status == ST_OK) status = cache_each_pin(c, dangling_pin, v, err);
    return status == ST_NOT_FOUND && c->read_only ? ST_OK : status;
}

enum status cache_verify(struct cache *c, cache_verify_visitor visit, void *context,
                         struct cache_verify_report *ret_report, struct error *err) {
    struct cache_verify_report report = {0};
    struct verification v = {.cache = c, .visit = visit, .context = context, .report = &report};
    struct digests files = {0};
    struct records records = {0};
    uint64_t rebuilds = counter_value(c, COUNT_REBUILDS);
    enum status status = verify(&v, &files, &records, err);
    report.index_rebuilt = counter_value(c, COUNT_REBUILDS) != rebuilds;
    free(files.list);
    free(records.entries.list);
    free(v.gone.list);
    if (status == ST_OK) *ret_report = report;
    return status;
}
