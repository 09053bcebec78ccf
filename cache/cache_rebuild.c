/*
 * A new index in the place of a lost or damaged one. Three sources, the better ones first:
 * records of the old index whose checksums hold, roots (cache_roots.c), and the files of
 * objects/ themselves: a code object names its module and compiler in its compat record, so its
 * key is worked out again. The new environment is made beside the old one and put in its place
 * by rename; the old one goes to quarantine/. Until the new one is complete nothing has
 * changed; if the process ends between the two renames there is no index, and the next one is
 * made.
 */
#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what a file says about itself ------------------------------------------------------- */

struct description {
    const struct cache *cache;
    const uint8_t *bytes;
    uint64_t size;
    struct cache_entry *entry;
};

static void describe(void *context) {
    static const uint8_t wasm[] = {0, 'a', 's', 'm'}, elf[] = {0x7f, 'E', 'L', 'F'},
                         erofs[] = {0xe2, 0xe1, 0xf5, 0xe0}, /* at 1024 */
        snapshot[] = {'H', 'U', 'T', 'C', 'H', 'S', 'N', 'P'};
    const struct description *d = context;
    if (d->size >= 4 && memcmp(d->bytes, elf, 4) == 0) {
        if (d->cache->describe_object && d->cache->describe_object(d->bytes, d->size, d->entry))
            d->entry->kind = CACHE_OBJECT;
    } else if (d->size >= 4 && memcmp(d->bytes, wasm, 4) == 0) {
        d->entry->kind = CACHE_MODULE;
    } else if (d->size >= 8 && memcmp(d->bytes, snapshot, 8) == 0) {
        d->entry->kind = CACHE_SNAPSHOT;
    } else if (d->size >= 1028 && memcmp(d->bytes + 1024, erofs, 4) == 0) {
        d->entry->kind = CACHE_IMAGE;
    }
}

void entry_from_file(const struct cache *c, int fd, uint64_t size, struct cache_entry *e) {
    e->kind = CACHE_OTHER;
    e->size_bytes = size;
    uint8_t *bytes = size && size <= SIZE_MAX
                         ? mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0)
                         : MAP_FAILED;
    if (bytes == MAP_FAILED) return;
    struct description d = {c, bytes, size, e};
    /* A disk that fails, or a file that becomes shorter, is a signal here. */
    if (!guard_call(describe, &d)) e->kind = CACHE_OTHER;
    munmap(bytes, (size_t)size);
}

/* ---- what is left of the old index ------------------------------------------------------- */

struct old_index {
    struct index_writer *to;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    enum index_db which;
    uint8_t last[512]; /* keys rise: pages that lead in a circle end */
    size_t last_size;
    struct error err;
};

static enum status take_record(struct old_index *old, const MDB_val *k, struct reader body) {
    struct index_writer *to = old->to;
    if (old->which == DB_OBJECTS) {
        struct cache_entry e = {0};
        struct digest refs[CACHE_REFS_MAX];
        if (k->mv_size != sizeof e.digest || !record_get_entry(&body, &e, refs)) return ST_OK;
        memcpy(&e.digest, k->mv_data, sizeof e.digest);
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&e.digest, hex);
        struct stat st;
        if (fstatat(to->cache->objects, hex, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            (uint64_t)st.st_size != e.size_bytes)
            return ST_OK;
        struct change put = {.kind = CHANGE_PUT, .digest = e.digest, .entry = &e};
        return writer_apply(to, &put, &old->err);
    }
    if (old->which == DB_NAMES) {
        struct cache_name n = {0};
        if (k->mv_size >= sizeof n.name || !record_get_name(&body, &n)) return ST_OK;
        memcpy(n.name, k->mv_data, k->mv_size);
        return writer_apply(to, &(struct change){.kind = CHANGE_NAME, .name = &n}, &old->err);
    }
    struct change pin = {.kind = CHANGE_PIN};
    char who[CACHE_WHO_MAX] = "";
    if (k->mv_size <= sizeof pin.digest || k->mv_size >= sizeof pin.digest + sizeof who)
        return ST_OK;
    memcpy(&pin.digest, k->mv_data, sizeof pin.digest);
    memcpy(who, (const uint8_t *)k->mv_data + sizeof pin.digest,
           k->mv_size - sizeof pin.digest);
    pin.who = who;
    return writer_apply(to, &pin, &old->err);
}

/* One database, as far as it can be walked. The pages are read under a guard; what is written
 * to the new index is not the guard's business, so each record is taken outside of it. */
struct step {
    struct old_index *old;
    MDB_cursor *cursor;
    uint8_t key[512], value[(CACHE_REFS_MAX + 32) * 32];
    size_t key_size, value_size;
    bool got;
};

static void old_assert(MDB_env *env, const char *text) {
    (void)env;
    (void)text;
    guard_escape();
}

static void old_open(void *context) {
    struct old_index *old = context;
    char path[4200];
    snprintf(path, sizeof path, "%s/" CACHE_INDEX, old->to->cache->path);
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    if (mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, DB_COUNT) == 0 &&
        mdb_env_set_assert(env, old_assert) == 0 &&
        mdb_env_open(env, path, MDB_RDONLY | MDB_NOTLS | MDB_NOLOCK, 0600) == 0 &&
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0) {
        old->env = env;
        old->txn = txn;
    }
    /* Otherwise left behind: this process ends soon. */
}

static void old_first(void *context) {
    struct step *s = context;
    s->got = mdb_dbi_open(s->old->txn, index_db_names[s->old->which], 0, &s->old->db) == 0 &&
             mdb_cursor_open(s->old->txn, s->old->db, &s->cursor) == 0;
}

static void old_next(void *context) {
    struct step *s = context;
    MDB_val k, v;
    s->got = mdb_cursor_get(s->cursor, &k, &v, MDB_NEXT) == 0 && k.mv_size < sizeof s->key;
    if (!s->got) return;
    memcpy(s->key, k.mv_data, s->key_size = k.mv_size);
    s->value_size = v.mv_size <= sizeof s->value ? v.mv_size : 0;
    if (s->value_size) memcpy(s->value, v.mv_data, s->value_size);
}

static enum status salvage_db(struct old_index *old, enum index_db which) {
    auto_free struct step *s = calloc(1, sizeof *s);
    if (!s) return error_set(&old->err, ST_NO_MEMORY, "out of memory");
    s->old = old;
    old->which = which;
    old->last_size = 0;
    if (!guard_call(old_first, s) || !s->got) return ST_OK;
    while (guard_call(old_next, s) && s->got) {
        size_t both = s->key_size < old->last_size ? s->key_size : old->last_size;
        int order = memcmp(old->last, s->key, both);
        if (old->last_size && (order > 0 || (order == 0 && s->key_size <= old->last_size)))
            break;
        memcpy(old->last, s->key, old->last_size = s->key_size);
        struct reader body;
        if (!record_open(s->value, s->value_size, which, s->key, s->key_size, &body)) continue;
        MDB_val k = {s->key_size, s->key};
        enum status status = take_record(old, &k, body);
        if (status != ST_OK && status != ST_NOT_FOUND) return status;
    }
    return ST_OK;
}

static enum status salvage(struct index_writer *w, struct error *err) {
    struct old_index old = {.to = w};
    if (!guard_call(old_open, &old) || !old.env) return ST_OK;
    static const enum index_db taken[] = {DB_OBJECTS, DB_NAMES, DB_PINS};
    enum status status = ST_OK;
    for (size_t i = 0; i < countof(taken) && status == ST_OK; i++)
        status = salvage_db(&old, taken[i]);
    if (status != ST_OK && err) *err = old.err;
    return status;
}

/* ---- the files --------------------------------------------------------------------------- */

struct adding {
    struct index_writer *w;
    enum status status;
    struct error *err;
};

static bool is_recorded(struct index_writer *w, const struct digest *digest) {
    MDB_val k = {sizeof *digest, (void *)(uintptr_t)digest}, v;
    return mdb_get(w->txn, w->dbs[DB_OBJECTS], &k, &v) == 0;
}

static bool add_file(void *context, const struct digest *digest) {
    struct adding *a = context;
    struct cache *c = a->w->cache;
    if (is_recorded(a->w, digest)) return true;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    struct stat st = {0};
    if (fstatat(c->objects, hex, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT) {
        a->status = error_set_errno(a->err, ST_IO, "cannot look at sha256:%s", hex);
        return false;
    }
    if (!S_ISREG(st.st_mode)) return true;
    struct cache_entry e = {.digest = *digest,
                            .kind = CACHE_OTHER,
                            .origin = CACHE_RECOVERED,
                            .size_bytes = (uint64_t)st.st_size,
                            .created_ns = (int64_t)st.st_ctim.tv_sec * 1000000000};
    /* One that cannot be read keeps its record, and with it its names: verify will judge it. */
    auto_fd int fd = openat(c->objects, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) entry_from_file(c, fd, (uint64_t)st.st_size, &e);
    struct change put = {.kind = CHANGE_PUT, .digest = *digest, .entry = &e};
    a->status = writer_apply(a->w, &put, a->err);
    return a->status == ST_OK;
}

static bool count_file(void *context, const struct digest *digest) {
    (void)digest;
    ++*(uint64_t *)context;
    return true;
}

static enum status fill(struct index_writer *w, bool with_old, struct error *err) {
    enum status status = with_old ? salvage(w, err) : ST_OK;
    if (status == ST_OK) {
        struct adding a = {.w = w, .err = err};
        status = cache_each_file(w->cache, add_file, &a, err);
        if (status == ST_OK) status = a.status;
    }
    /* Roots last: its names and pins need the entries; what the old index knew stays as it is
     * or is said once more. */
    if (status == ST_OK) status = roots_apply(w, err);
    if (status == ST_OK) status = roots_write(w, err);
    return status == ST_OK ? writer_commit(w, err) : status;
}

/* ---- putting it in place ----------------------------------------------------------------- */

static void remove_environment(int dir, const char *name) {
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char path[128];
    for (size_t i = 0; i < countof(files); i++) {
        snprintf(path, sizeof path, "%s/%s", name, files[i]);
        unlinkat(dir, path, 0);
    }
    unlinkat(dir, name, AT_REMOVEDIR);
}

static enum status exchange(struct cache *c, int tmp, const char *name, struct error *err) {
    auto_fd int quarantine = -1;
    enum status status = cache_subdir(c, "quarantine", &quarantine, err);
    if (status != ST_OK) return status;
    char old[64];
    snprintf(old, sizeof old, "index.%lld", (long long)cache_now_ns());
    if (renameat(c->dir, CACHE_INDEX, quarantine, old) < 0 && errno != ENOENT)
        return error_set_errno(err, cache_io_status(), "cannot move the damaged index away");
    if (renameat(tmp, name, c->dir, CACHE_INDEX) < 0)
        return error_set_errno(err, cache_io_status(), "cannot put the new index in place");
    auto_fd int dir = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return error_set_errno(err, cache_io_status(), "cannot sync %s", c->path);
    return roots_publish(c, err);
}

struct work {
    ino_t old_inode;
    bool with_old;
    bool *done; /* shared: there was something to do */
};

static enum status rebuild(struct cache *c, void *context, struct error *err) {
    struct work *work = context;
    struct stat st;
    bool there = fstatat(c->dir, CACHE_INDEX "/data.mdb", &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && st.st_ino != work->old_inode) return ST_OK; /* somebody was faster */
    auto_fd int tmp = -1;
    enum status status = cache_subdir(c, "tmp", &tmp, err);
    if (status != ST_OK) return status;
    /* One name will do: whoever is here holds the index lock. */
    static const char name[] = "index";
    remove_environment(tmp, name);
    if (mkdirat(tmp, name, 0700) < 0)
        return error_set_errno(err, cache_io_status(), "cannot make an index");
    char path[4200];
    snprintf(path, sizeof path, "%s/tmp/%s", c->path, name);
    uint64_t files = 0;
    if ((status = cache_each_file(c, count_file, &files, err)) != ST_OK) return status;
    struct index_writer w = {
        .cache = c, .map_bytes = files * 2048 + (there ? (uint64_t)st.st_size * 2 : 0)};
    status = writer_begin(&w, path, true, err);
    if (status == ST_OK) status = fill(&w, there && work->with_old, err);
    writer_close(&w);
    if (status == ST_OK) status = exchange(c, tmp, name, err);
    if (status != ST_OK) remove_environment(tmp, name);
    *work->done = there;
    return status;
}

enum status index_rebuild(struct cache *c, ino_t old_inode, struct error *err) {
    if (c->read_only) return error_set(err, ST_NOT_FOUND, "%s has no usable index", c->path);
    struct work work = {old_inode, true, child_shared(sizeof *work.done)};
    if (!work.done) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = child_run(c, rebuild, &work, err);
    if (status == ST_DAMAGED) { /* reading the old one was too much */
        work.with_old = false;
        status = child_run(c, rebuild, &work, err);
    }
    if (status == ST_OK && *work.done) count(c, COUNT_REBUILDS, 1);
    child_unshare(work.done, sizeof *work.done);
    return status;
}
