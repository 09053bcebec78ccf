/*
 * The index as it is read: one long-lived read-only environment, one read transaction that is
 * reset between reads, everything inside guard_call. A record counts only if its checksum
 * holds. Whatever else is found has the index rebuilt (cache_rebuild.c) and the read done once
 * more; where it cannot be rebuilt (a read-only cache), the read finds nothing.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>

const char *const index_db_names[DB_COUNT] = {
#define X(id, name) name,
    INDEX_DB_LIST(X)
#undef X
};

enum status index_from_mdb(int rc, struct error *err) {
    switch (rc) {
    case MDB_SUCCESS: return ST_OK;
    case MDB_NOTFOUND: return error_set(err, ST_NOT_FOUND, "not in the index");
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return error_set(err, ST_LIMIT, "index: %s", strerror(rc));
    case MDB_MAP_FULL:
    case MDB_READERS_FULL: return error_set(err, ST_LIMIT, "index: %s", mdb_strerror(rc));
    case EACCES:
    case EPERM:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case EAGAIN: errno = rc; return error_set_errno(err, ST_IO, "index");
    /* LMDB's own numbers; and system calls that fail because a page that makes no sense told
     * LMDB to map terabytes (ENOMEM), or to write before the file (EINVAL, EIO). Where that was
     * not the reason, making the index anew fails too, or does no harm. */
    default: return error_set(err, ST_DAMAGED, "index: %s", mdb_strerror(rc));
    }
}

/* ---- opening ----------------------------------------------------------------------------- */

static void on_assert(MDB_env *env, const char *text) {
    (void)env;
    (void)text;
    guard_escape();
}

static int open_environment(struct cache *c, const char *path) {
    struct index *index = &c->index;
    int rc = mdb_env_create(&index->env);
    if (rc == 0) rc = mdb_env_set_maxdbs(index->env, DB_COUNT);
    if (rc == 0) rc = mdb_env_set_maxreaders(index->env, 4096);
    if (rc == 0) rc = mdb_env_set_assert(index->env, on_assert);
    if (rc != 0) return rc;
    rc = mdb_env_open(index->env, path, MDB_RDONLY | MDB_NOTLS, 0600);
    /* Someone who may not write the lock file reads without it: records carry checksums, and a
     * page that is reused under us looks like a damaged one. */
    if ((rc == EACCES || rc == EROFS) && c->read_only) {
        mdb_env_close(index->env);
        index->env = NULL;
        rc = mdb_env_create(&index->env);
        if (rc == 0) rc = mdb_env_set_maxdbs(index->env, DB_COUNT);
        if (rc == 0) rc = mdb_env_set_assert(index->env, on_assert);
        if (rc == 0)
            rc = mdb_env_open(index->env, path, MDB_RDONLY | MDB_NOTLS | MDB_NOLOCK, 0600);
    }
    return rc;
}

static int open_databases(struct index *index) {
    int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &index->txn);
    if (rc == MDB_MAP_RESIZED && (rc = mdb_env_set_mapsize(index->env, 0)) == 0)
        rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &index->txn);
    if (rc != 0) return rc;
    for (unsigned i = 0; i < DB_COUNT && rc == 0; i++)
        rc = mdb_dbi_open(index->txn, index_db_names[i], 0, &index->dbs[i]);
    if (rc == MDB_NOTFOUND) rc = MDB_CORRUPTED; /* they were made with the index */
    if (rc != 0) return rc;
    /* The handles outlive a transaction that is committed, and only such a one. */
    rc = mdb_txn_commit(index->txn);
    index->txn = NULL;
    if (rc == 0) rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &index->txn);
    if (rc == 0) mdb_txn_reset(index->txn);
    return rc;
}

/* The file that is the index now. */
static bool current_file(const struct cache *c, struct stat *ret_stat) {
    return fstatat(c->dir, CACHE_INDEX "/data.mdb", ret_stat, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(ret_stat->st_mode);
}

void index_close(struct cache *c) {
    if (c->index.txn) mdb_txn_abort(c->index.txn);
    if (c->index.env) mdb_env_close(c->index.env);
    c->index = (struct index){0};
}

int index_fits_file(MDB_env *env) {
    MDB_envinfo info;
    MDB_stat pages;
    struct stat st;
    mdb_filehandle_t fd;
    int rc = mdb_env_info(env, &info);
    if (rc == 0) rc = mdb_env_stat(env, &pages);
    if (rc == 0) rc = mdb_env_get_fd(env, &fd);
    if (rc != 0 || fstat(fd, &st) < 0) return rc ? rc : errno;
    return info.me_last_pgno >= (uint64_t)st.st_size / pages.ms_psize ? MDB_CORRUPTED : 0;
}

static int open_index(struct cache *c) {
    char path[4200];
    int n = snprintf(path, sizeof path, "%s/" CACHE_INDEX, c->path);
    if (n < 0 || (size_t)n >= sizeof path) return ENAMETOOLONG;
    struct stat st;
    if (!current_file(c, &st)) return MDB_CORRUPTED;
    c->index.inode = st.st_ino;
    c->index.device = st.st_dev;
    /* LMDB would make an index of an empty file, even to read from it. */
    if (st.st_size == 0) return MDB_CORRUPTED;
    int rc = open_environment(c, path);
    if (rc == 0) rc = index_fits_file(c->index.env);
    return rc != 0 ? rc : open_databases(&c->index);
}

static bool format_fits(struct cache *c, uint32_t *ret_format) {
    struct reader body;
    enum status status = index_get(c, DB_META, "format", 6, &body);
    *ret_format = status == ST_OK ? reader_u32(&body) : 0;
    return status == ST_OK && !body.failed && *ret_format == CACHE_FORMAT;
}

bool index_is_latest(struct cache *c) {
    struct reader body;
    if (index_get(c, DB_META, "totals", 6, &body) != ST_OK) return false;
    reader_u64(&body);
    reader_u64(&body);
    return reader_u64(&body) == mdb_txn_id(c->index.txn) && !body.failed;
}

/* ---- reading ----------------------------------------------------------------------------- */

struct attempt {
    struct cache *cache;
    index_reader read;
    void *context;
    uint32_t format; /* of an index that is newer than us */
    int rc;          /* LMDB's */
    enum status status;
};

static void attempt(void *context) {
    struct attempt *a = context;
    struct cache *c = a->cache;
    bool fresh = !c->index.env;
    a->status = ST_DAMAGED;
    if (fresh && (a->rc = open_index(c)) != 0) return;
    a->rc = mdb_txn_renew(c->index.txn);
    if (a->rc == MDB_MAP_RESIZED && (a->rc = mdb_env_set_mapsize(c->index.env, 0)) == 0)
        a->rc = mdb_txn_renew(c->index.txn);
    if (a->rc != 0) return;
    if (fresh && !format_fits(c, &a->format)) {
        a->status = a->format > CACHE_FORMAT ? ST_UNSUPPORTED : ST_DAMAGED;
    } else if (!fresh || index_is_latest(c)) {
        a->status = a->read(c, a->context);
    }
    mdb_txn_reset(c->index.txn);
}

/* Another process has rebuilt the index since we opened it. */
static void leave_old_index(struct cache *c) {
    struct stat st;
    if (!c->index.env || !current_file(c, &st) ||
        (st.st_ino == c->index.inode && st.st_dev == c->index.device))
        return;
    index_close(c);
}

enum status index_read(struct cache *c, index_reader read, void *context, struct error *err) {
    for (unsigned tries = 0; tries < 3; tries++) {
        struct attempt a = {.cache = c, .read = read, .context = context};
        bool crashed = !guard_call(attempt, &a);
        if (crashed) {
            /* The environment may hold anything: it is left behind, not closed. Once a
             * rebuild, so little is lost. */
            a.status = ST_DAMAGED;
            a.rc = 0;
            ino_t inode = c->index.inode;
            c->index = (struct index){.inode = inode};
        }
        if (a.rc != 0 && !crashed) {
            a.status = index_from_mdb(a.rc, err);
            if (a.status == ST_NOT_FOUND) a.status = ST_DAMAGED;
        }
        if (a.status == ST_OK) return ST_OK;
        if (a.status == ST_UNSUPPORTED)
            return error_set(err, ST_UNSUPPORTED, "%s has format %u; this hutch knows %u",
                             c->path, a.format, CACHE_FORMAT);
        if (a.status == ST_NOT_FOUND) {
            ino_t before = c->index.inode;
            leave_old_index(c);
            if (c->index.inode == before)
                return error_set(err, ST_NOT_FOUND, "not in the index");
            continue;
        }
        if (a.status != ST_DAMAGED) {
            index_close(c);
            return a.status;
        }
        ino_t inode = c->index.inode;
        index_close(c);
        if (c->read_only) continue;
        enum status status = index_rebuild(c, inode, err);
        if (status != ST_OK) return status;
    }
    return error_set(err, c->read_only ? ST_NOT_FOUND : ST_DAMAGED,
                     "the index of %s is damaged", c->path);
}

enum status index_get(struct cache *c, enum index_db db, const void *key, size_t key_size,
                      struct reader *ret_body) {
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v;
    int rc = mdb_get(c->index.txn, c->index.dbs[db], &k, &v);
    if (rc == MDB_NOTFOUND) return ST_NOT_FOUND;
    if (rc != 0 || !record_open(v.mv_data, v.mv_size, db, key, key_size, ret_body))
        return ST_DAMAGED;
    return ST_OK;
}

enum status index_each(struct cache *c, enum index_db db, const void *prefix,
                       size_t prefix_size, index_visitor visit, void *context) {
    MDB_cursor *cursor;
    if (mdb_cursor_open(c->index.txn, c->index.dbs[db], &cursor) != 0) return ST_DAMAGED;
    MDB_val k = {prefix_size, (void *)(uintptr_t)prefix}, v;
    int rc = mdb_cursor_get(cursor, &k, &v, prefix_size ? MDB_SET_RANGE : MDB_FIRST);
    enum status status = ST_OK;
    /* Pages that lead in a circle end too: keys rise, or the index is damaged. */
    uint8_t last[512];
    size_t last_size = 0;
    while (rc == 0 && status == ST_OK) {
        if (k.mv_size == 0 || k.mv_size >= sizeof last) {
            status = ST_DAMAGED;
            break;
        }
        if (k.mv_size < prefix_size ||
            (prefix_size && memcmp(k.mv_data, prefix, prefix_size) != 0))
            break;
        size_t both = k.mv_size < last_size ? k.mv_size : last_size;
        int order = memcmp(last, k.mv_data, both);
        struct reader body;
        if ((last_size && (order > 0 || (order == 0 && k.mv_size <= last_size))) ||
            !record_open(v.mv_data, v.mv_size, db, k.mv_data, k.mv_size, &body)) {
            status = ST_DAMAGED;
            break;
        }
        memcpy(last, k.mv_data, k.mv_size);
        last_size = k.mv_size;
        status = visit(context, k.mv_data, k.mv_size, body);
        if (status == ST_OK) rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (status == ST_EXIT) return ST_OK;
    if (status == ST_OK && rc != 0 && rc != MDB_NOTFOUND) return ST_DAMAGED;
    return status;
}
