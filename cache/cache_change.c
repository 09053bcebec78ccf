/*
 * Changes to the index: a list of them in one transaction, in a child (cache_child.c). The
 * environment is opened anew for each, so it is always the one that lies there now, and a lost
 * or damaged one is rebuilt first. What an entry's record implies (its key, its place in the
 * list of its module's objects, the totals) is kept in step here and nowhere else.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MAP_BYTES_MIN (UINT64_C(64) << 20)
#define MAP_BYTES_MAX (UINT64_C(1) << 40)

/* ---- the environment --------------------------------------------------------------------- */

static void on_assert(MDB_env *env, const char *text) {
    (void)env;
    (void)text;
    _exit(1); /* without a report: damaged */
}

static int begin(struct index_writer *w, bool create) {
    int rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
    if (rc == MDB_MAP_RESIZED && (rc = mdb_env_set_mapsize(w->env, 0)) == 0)
        rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
    for (unsigned i = 0; i < DB_COUNT && rc == 0; i++) {
        rc = mdb_dbi_open(w->txn, index_db_names[i], create ? MDB_CREATE : 0, &w->dbs[i]);
        if (rc == MDB_NOTFOUND) rc = MDB_CORRUPTED;
    }
    return rc;
}

/* ST_NOT_FOUND, or a body. */
static enum status get(struct index_writer *w, enum index_db db, const void *key,
                       size_t key_size, struct reader *ret_body, struct error *err) {
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v;
    int rc = mdb_get(w->txn, w->dbs[db], &k, &v);
    if (rc != 0) return index_from_mdb(rc, err);
    if (!record_open(v.mv_data, v.mv_size, db, key, key_size, ret_body))
        return error_set(err, ST_DAMAGED, "index: a record's checksum does not hold");
    return ST_OK;
}

/* body is a record that record_begin began. */
static enum status put(struct index_writer *w, enum index_db db, const void *key,
                       size_t key_size, struct buffer *body, struct error *err) {
    record_end(body, db, key, key_size);
    enum status status = buffer_status(body, err);
    if (status != ST_OK) return status;
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v = {body->size, body->bytes};
    return index_from_mdb(mdb_put(w->txn, w->dbs[db], &k, &v, 0), err);
}

static enum status del(struct index_writer *w, enum index_db db, const void *key,
                       size_t key_size, struct error *err) {
    MDB_val k = {key_size, (void *)(uintptr_t)key};
    int rc = mdb_del(w->txn, w->dbs[db], &k, NULL);
    return rc == MDB_NOTFOUND ? ST_OK : index_from_mdb(rc, err);
}

static enum status read_meta(struct index_writer *w, struct error *err) {
    struct reader body;
    enum status status = get(w, DB_META, "format", 6, &body, err);
    if (status == ST_OK) {
        uint32_t format = reader_u32(&body);
        if (format > CACHE_FORMAT)
            return error_set(err, ST_UNSUPPORTED,
                             "the index has format %u; this hutch knows %u", format,
                             CACHE_FORMAT);
        if (body.failed || format != CACHE_FORMAT) status = ST_DAMAGED;
    }
    if (status == ST_OK) status = get(w, DB_META, "totals", 6, &body, err);
    if (status != ST_OK)
        return status == ST_NOT_FOUND || status == ST_DAMAGED
                   ? error_set(err, ST_DAMAGED, "index: its format or totals are missing")
                   : status;
    w->totals.entries = reader_u64(&body);
    w->totals.bytes = reader_u64(&body);
    uint64_t last = reader_u64(&body); /* index_is_latest */
    return body.failed || last + 1 != mdb_txn_id(w->txn)
               ? error_set(err, ST_DAMAGED, "index: bad totals")
               : ST_OK;
}

static enum status write_meta(struct index_writer *w, struct error *err) {
    auto_buffer struct buffer b = {0};
    record_begin(&b);
    buffer_put_u32(&b, CACHE_FORMAT);
    enum status status = put(w, DB_META, "format", 6, &b, err);
    if (status != ST_OK) return status;
    record_begin(&b);
    buffer_put_u64(&b, w->totals.entries);
    buffer_put_u64(&b, w->totals.bytes);
    buffer_put_u64(&b, mdb_txn_id(w->txn));
    return put(w, DB_META, "totals", 6, &b, err);
}

enum status writer_begin(struct index_writer *w, const char *path, bool create,
                         struct error *err) {
    int rc = mdb_env_create(&w->env);
    if (rc == 0) rc = mdb_env_set_maxdbs(w->env, DB_COUNT);
    if (rc == 0) rc = mdb_env_set_maxreaders(w->env, 4096);
    if (rc == 0) rc = mdb_env_set_mapsize(w->env, MAP_BYTES_MIN + w->map_bytes);
    if (rc == 0) rc = mdb_env_set_assert(w->env, on_assert);
    if (rc == 0) rc = mdb_env_open(w->env, path, 0, 0600);
    if (rc == 0 && !create) rc = index_fits_file(w->env);
    if (rc == 0) mdb_reader_check(w->env, NULL); /* readers that died */
    if (rc == 0) rc = begin(w, create);
    if (rc == ENOENT && !create) rc = MDB_CORRUPTED;
    if (rc != 0) return index_from_mdb(rc, err);
    return create ? write_meta(w, err) : read_meta(w, err);
}

/* Room for more: pages are numbered by 64-bit offsets, so only the map has a limit. */
static int grow(struct index_writer *w) {
    MDB_envinfo info;
    if (w->txn) mdb_txn_abort(w->txn);
    w->txn = NULL;
    int rc = mdb_env_info(w->env, &info);
    if (rc == 0 && info.me_mapsize >= MAP_BYTES_MAX) return MDB_CORRUPTED;
    return rc != 0 ? rc : mdb_env_set_mapsize(w->env, info.me_mapsize * 2);
}

enum status writer_commit(struct index_writer *w, struct error *err) {
    enum status status = write_meta(w, err);
    if (status != ST_OK) return status;
    int rc = mdb_txn_commit(w->txn);
    w->txn = NULL;
    return index_from_mdb(rc, err);
}

void writer_close(struct index_writer *w) {
    if (w->txn) mdb_txn_abort(w->txn);
    if (w->env) mdb_env_close(w->env);
    w->txn = NULL;
    w->env = NULL;
}

enum status writer_each(struct index_writer *w, enum index_db db, index_visitor visit,
                        void *context, struct error *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(w->txn, w->dbs[db], &cursor);
    if (rc != 0) return index_from_mdb(rc, err);
    MDB_val k, v;
    enum status status = ST_OK;
    while (status == ST_OK && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct reader body;
        if (!record_open(v.mv_data, v.mv_size, db, k.mv_data, k.mv_size, &body))
            status = error_set(err, ST_DAMAGED, "index: a record's checksum does not hold");
        else
            status = visit(context, k.mv_data, k.mv_size, body);
    }
    mdb_cursor_close(cursor);
    if (status == ST_OK && rc != MDB_NOTFOUND) return index_from_mdb(rc, err);
    return status == ST_EXIT ? ST_OK : status;
}

/* ---- changes ----------------------------------------------------------------------------- */

struct module_key {
    struct digest module, object;
};

enum status writer_entry(struct index_writer *w, const struct digest *digest,
                         struct cache_entry *ret_entry, struct error *err) {
    struct reader body;
    enum status status = get(w, DB_OBJECTS, digest, sizeof *digest, &body, err);
    if (status != ST_OK) return status;
    struct digest refs[CACHE_REFS_MAX];
    if (!record_get_entry(&body, ret_entry, refs))
        return error_set(err, ST_DAMAGED, "index: a record is not well-formed");
    ret_entry->refs = NULL; /* refs goes out of scope; ref_count says that there were some */
    ret_entry->digest = *digest;
    return ST_OK;
}

/* Manifests cannot be described by their bytes alone, so they are in roots too. */
static bool in_roots(const struct cache_entry *e) {
    return e->kind == CACHE_MANIFEST || e->ref_count > 0;
}

static enum status remove_entry(struct index_writer *w, const struct digest *digest,
                                struct error *err) {
    struct cache_entry old = {0};
    enum status status = writer_entry(w, digest, &old, err);
    if (status != ST_OK) return status == ST_NOT_FOUND ? ST_OK : status;
    w->totals.entries -= w->totals.entries > 0;
    w->totals.bytes -= old.size_bytes < w->totals.bytes ? old.size_bytes : w->totals.bytes;
    if (in_roots(&old)) w->roots_changed = true;
    status = del(w, DB_OBJECTS, digest, sizeof *digest, err);
    struct reader body;
    if (status == ST_OK && old.has_key) {
        /* Only if the key still leads here. */
        status = get(w, DB_KEYS, &old.key, sizeof old.key, &body, err);
        const uint8_t *bytes = status == ST_OK ? reader_bytes(&body, sizeof *digest) : NULL;
        if (bytes && memcmp(bytes, digest, sizeof *digest) == 0)
            status = del(w, DB_KEYS, &old.key, sizeof old.key, err);
        if (status == ST_NOT_FOUND) status = ST_OK;
    }
    if (status == ST_OK && old.has_module) {
        struct module_key key = {old.module, *digest};
        status = del(w, DB_MODULES, &key, sizeof key, err);
    }
    return status;
}

static enum status put_entry(struct index_writer *w, const struct cache_entry *e,
                             struct error *err) {
    enum status status = remove_entry(w, &e->digest, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer b = {0};
    record_begin(&b);
    record_put_entry(&b, e);
    status = put(w, DB_OBJECTS, &e->digest, sizeof e->digest, &b, err);
    if (status == ST_OK && e->has_key) {
        record_begin(&b);
        buffer_put(&b, &e->digest, sizeof e->digest);
        status = put(w, DB_KEYS, &e->key, sizeof e->key, &b, err);
    }
    if (status == ST_OK && e->has_module) {
        struct module_key key = {e->module, e->digest};
        record_begin(&b);
        status = put(w, DB_MODULES, &key, sizeof key, &b, err);
    }
    w->totals.entries++;
    w->totals.bytes += e->size_bytes;
    if (in_roots(e)) w->roots_changed = true;
    return status;
}

static enum status remove_missing(struct index_writer *w, const struct digest *digest,
                                  struct error *err) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    struct stat st;
    if (fstatat(w->cache->objects, hex, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        return ST_OK;
    return remove_entry(w, digest, err);
}

/* Names and pins are of entries that are there. */
static enum status require_entry(struct index_writer *w, const struct digest *digest,
                                 struct error *err) {
    struct cache_entry entry = {0};
    enum status status = writer_entry(w, digest, &entry, err);
    if (status != ST_NOT_FOUND) return status;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return error_set(err, ST_NOT_FOUND, "sha256:%s is not in the cache", hex);
}

static enum status change_name(struct index_writer *w, const struct change *change,
                               struct error *err) {
    const struct cache_name *name = change->name;
    size_t length = strlen(name->name);
    w->roots_changed = true;
    if (change->kind == CHANGE_NAME) {
        enum status status = require_entry(w, &name->digest, err);
        if (status != ST_OK) return status;
        auto_buffer struct buffer b = {0};
        record_begin(&b);
        record_put_name(&b, name);
        return put(w, DB_NAMES, name->name, length, &b, err);
    }
    struct reader body;
    enum status status = get(w, DB_NAMES, name->name, length, &body, err);
    if (status == ST_NOT_FOUND)
        return error_set(err, ST_NOT_FOUND, "there is no name %s", name->name);
    return status != ST_OK ? status : del(w, DB_NAMES, name->name, length, err);
}

static enum status change_pin(struct index_writer *w, const struct change *change,
                              struct error *err) {
    uint8_t key[sizeof change->digest + CACHE_WHO_MAX];
    size_t length = strlen(change->who), size = sizeof change->digest + length;
    memcpy(key, &change->digest, sizeof change->digest);
    memcpy(key + sizeof change->digest, change->who, length);
    w->roots_changed = true;
    struct reader body;
    enum status status = get(w, DB_PINS, key, size, &body, err);
    if (change->kind == CHANGE_UNPIN) {
        if (status == ST_NOT_FOUND)
            return error_set(err, ST_NOT_FOUND, "%s does not pin it", change->who);
        return status != ST_OK ? status : del(w, DB_PINS, key, size, err);
    }
    if (status != ST_NOT_FOUND) return status; /* pinned already, since then */
    if ((status = require_entry(w, &change->digest, err)) != ST_OK) return status;
    auto_buffer struct buffer b = {0};
    record_begin(&b);
    buffer_put_u64(&b, (uint64_t)cache_now_ns());
    return put(w, DB_PINS, key, size, &b, err);
}

enum status writer_apply(struct index_writer *w, const struct change *change,
                         struct error *err) {
    switch (change->kind) {
    case CHANGE_PUT: return put_entry(w, change->entry, err);
    case CHANGE_REMOVE: return remove_entry(w, &change->digest, err);
    case CHANGE_IF_MISSING: return remove_missing(w, &change->digest, err);
    case CHANGE_NAME:
    case CHANGE_UNNAME: return change_name(w, change, err);
    case CHANGE_PIN:
    case CHANGE_UNPIN: return change_pin(w, change, err);
    }
    return error_set(err, ST_INTERNAL, "change %d is in no case", (int)change->kind);
}

/* ---- in the child ------------------------------------------------------------------------ */

struct work {
    const struct change *changes;
    size_t count;
    ino_t *inode; /* shared: of the environment that was changed, for a rebuild */
};

/* The index may be full of what a full map hides: only the map's size is new in each turn. */
static enum status apply_all(struct index_writer *w, const struct work *work,
                             struct error *err) {
    for (;;) {
        struct error full = {0};
        enum status status = ST_OK;
        for (size_t i = 0; i < work->count && status == ST_OK; i++)
            status = writer_apply(w, &work->changes[i], &full);
        if (status == ST_OK && w->roots_changed) status = roots_write(w, &full);
        if (status == ST_OK) status = writer_commit(w, &full);
        if (status == ST_OK) return ST_OK;
        bool map_full = status == ST_LIMIT && strstr(full.message, "MDB_MAP_FULL");
        if (!map_full) {
            if (err) *err = full;
            return status;
        }
        int rc = grow(w);
        if (rc == 0) rc = begin(w, false);
        if (rc != 0) return index_from_mdb(rc, err);
        w->roots_changed = false;
        if ((status = read_meta(w, err)) != ST_OK) return status;
    }
}

static enum status change_index(struct cache *c, void *context, struct error *err) {
    struct work *work = context;
    char path[4200];
    snprintf(path, sizeof path, "%s/" CACHE_INDEX, c->path);
    struct stat st;
    if (fstatat(c->dir, CACHE_INDEX "/data.mdb", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(err, ST_DAMAGED, "there is no index");
    *work->inode = st.st_ino;
    struct index_writer w = {.cache = c};
    enum status status = writer_begin(&w, path, false, err);
    if (status == ST_OK) status = apply_all(&w, work, err);
    writer_close(&w);
    if (status == ST_OK && w.roots_changed) status = roots_publish(c, err);
    return status;
}

enum status index_change(struct cache *c, const struct change *changes, size_t count_of,
                         struct error *err) {
    if (c->read_only) return error_set(err, ST_IO, "%s is open for reading only", c->path);
    struct work work = {changes, count_of, child_shared(sizeof(ino_t))};
    if (!work.inode) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = ST_DAMAGED;
    for (unsigned tries = 0; tries < 3; tries++) {
        *work.inode = 0;
        status = child_run(c, change_index, &work, err);
        if (status != ST_DAMAGED || tries == 2) break;
        index_close(c);
        if ((status = index_rebuild(c, *work.inode, err)) != ST_OK) break;
    }
    child_unshare(work.inode, sizeof(ino_t));
    return status;
}
