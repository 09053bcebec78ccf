/*
 * Private to the cache: what its files share. The order of locks and the life of a file are in
 * docs/cache.md ("Locks"); cache.h lists the files.
 */
#ifndef HUTCH_CACHE_STORE_H
#define HUTCH_CACHE_STORE_H

#include "cache/cache.h"

#include <lmdb.h>
#include <sys/stat.h>
#include <sys/types.h>

#define CACHE_FORMAT 1u
#define CACHE_INDEX "index.lmdb" /* the environment: a directory with data.mdb, lock.mdb */
#define CACHE_INDEX_LOCK "index.lock"
#define CACHE_ROOTS "roots" /* names, pins and manifests once more, as text */
#define CACHE_COUNTERS "counters"
#define CACHE_SEAL_SECONDS 946684800 /* 2000-01-01: mtime of an entry nobody wrote to since */
#define CACHE_USE_GRAIN_NS INT64_C(60000000000)

struct counters;

/* Databases of the index; the letter goes into the records' checksums. X(constant, "name") */
#define INDEX_DB_LIST(X)                                                                       \
    X(DB_META, "meta")                                                                         \
    X(DB_KEYS, "keys")                                                                         \
    X(DB_OBJECTS, "objects")                                                                   \
    X(DB_MODULES, "modules")                                                                   \
    X(DB_NAMES, "names")                                                                       \
    X(DB_PINS, "pins")
enum index_db {
#define X(id, name) id,
    INDEX_DB_LIST(X)
#undef X
    DB_COUNT
};

struct index {
    MDB_env *env; /* NULL: not open */
    MDB_txn *txn; /* reset between reads */
    MDB_dbi dbs[DB_COUNT];
    ino_t inode; /* of its data.mdb: another one has been put in its place where it differs */
    dev_t device;
};

struct cache {
    char *path;       /* absolute */
    int dir, objects; /* O_PATH */
    bool read_only;
    bool pruning; /* inside gc: no gc after a change */
    uid_t owner;  /* of the directory: us or root */
    uint64_t max_bytes, min_free_bytes;
    bool (*describe_object)(const uint8_t *bytes, uint64_t size, struct cache_entry *entry);
    struct index index;
    struct buffer scratch;     /* a record, copied out of the map */
    struct counters *counters; /* mapped; NULL where there are none */
};

int64_t cache_now_ns(void); /* CLOCK_REALTIME */
/* Of a failed system call, by errno: ST_LIMIT where the disk is full, else ST_IO. */
enum status cache_io_status(void);
/* Opens a directory of the cache by name; makes it where it is not there. */
enum status cache_subdir(struct cache *c, const char *name, int *ret_fd,
                         struct error *err) must_check;

/* ---- cache_guard.c ---- */
/* Calls function(context); false where it ran into SIGSEGV, SIGBUS or SIGFPE, or guard_escape
 * was called. What it held then is lost. */
bool guard_call(void (*function)(void *context), void *context) must_check;
void guard_escape(void) __attribute__((noreturn)); /* only inside guard_call */
void guard_install(void);

/* ---- cache_record.c ---- */
/* A record: 8 bytes of checksum over database, key and body, then the body. */
void record_begin(struct buffer *b);
void record_end(struct buffer *b, enum index_db db, const void *key, size_t key_size);
/* Sets a reader over the body; false where the checksum does not hold. */
bool record_open(const void *bytes, size_t size, enum index_db db, const void *key,
                 size_t key_size, struct reader *ret_body) must_check;
void record_put_entry(struct buffer *b, const struct cache_entry *entry);
/* refs: NULL where they are not wanted, else room for CACHE_REFS_MAX. false: not well-formed.
 */
bool record_get_entry(struct reader *body, struct cache_entry *ret_entry,
                      struct digest *refs) must_check;
void record_put_name(struct buffer *b, const struct cache_name *name);
bool record_get_name(struct reader *body, struct cache_name *ret_name) must_check;
bool digest_from_hex(const char *hex, struct digest *ret_digest); /* 64 lower-case digits */
/* Copies a bounded string; cuts what does not fit. */
void text_copy(char *to, size_t size, const char *from);

struct index_totals {
    uint64_t entries, bytes;
};

/* ---- cache_index.c ---- */
/*
 * What a reader does inside a read transaction. It returns ST_OK or ST_NOT_FOUND; ST_DAMAGED (a
 * record that does not hold) has the index rebuilt and the reader called once more, from the
 * start.
 */
typedef enum status (*index_reader)(struct cache *c, void *context);
enum status index_read(struct cache *c, index_reader read, void *context,
                       struct error *err) must_check;
/* Inside a reader. The body lies in the map. */
enum status index_get(struct cache *c, enum index_db db, const void *key, size_t key_size,
                      struct reader *ret_body) must_check;
typedef enum status (*index_visitor)(void *context, const void *key, size_t key_size,
                                     struct reader body); /* ST_OK: go on; ST_EXIT: stop */
/* Visits the records whose key begins with prefix. */
enum status index_each(struct cache *c, enum index_db db, const void *prefix,
                       size_t prefix_size, index_visitor visit, void *context) must_check;
/*
 * Inside a reader. LMDB has two meta pages and takes the one with the higher number: one bit
 * there and it shows the state before the last change, of which every page is sound. So each
 * change writes its number into the record of the totals.
 */
bool index_is_latest(struct cache *c);
void index_close(struct cache *c);
/* Shared with those who open an environment of their own. */
enum status index_from_mdb(int rc, struct error *err); /* ST_DAMAGED, ST_IO, ST_LIMIT, ... */
/* An LMDB error where the last page lies behind the end of the file: it was cut off, or the
 * number of the last page is wrong, and the next one would be written terabytes away. */
int index_fits_file(MDB_env *env);
extern const char *const index_db_names[DB_COUNT];

/* ---- cache_change.c ---- */
enum change_kind {
    CHANGE_PUT,        /* entry (with its digest) */
    CHANGE_REMOVE,     /* digest: whatever is recorded of it */
    CHANGE_IF_MISSING, /* the same, where its file is not there */
    CHANGE_NAME,       /* name */
    CHANGE_UNNAME,     /* name->name */
    CHANGE_PIN,        /* digest, who */
    CHANGE_UNPIN,
};
struct change {
    enum change_kind kind;
    struct digest digest;
    const struct cache_entry *entry;
    const struct cache_name *name;
    const char *who;
};
/* All of them in one transaction, or none. ST_NOT_FOUND: CHANGE_UNNAME, CHANGE_UNPIN of
 * nothing, CHANGE_NAME and CHANGE_PIN of an entry that is not there. */
enum status index_change(struct cache *c, const struct change *changes, size_t count,
                         struct error *err) must_check;

/* The environment as a child has it for writing. */
struct index_writer {
    struct cache *cache;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbs[DB_COUNT];
    uint64_t map_bytes; /* room that is needed besides what the file takes already */
    struct index_totals totals;
    bool roots_changed;
};
/* Opens (create: makes) the environment in directory path; begins a transaction. */
enum status writer_begin(struct index_writer *w, const char *path, bool create,
                         struct error *err) must_check;
enum status writer_apply(struct index_writer *w, const struct change *change,
                         struct error *err) must_check;
enum status writer_commit(struct index_writer *w, struct error *err) must_check;
/* What is recorded of an entry; refs is NULL whatever ref_count says. ST_NOT_FOUND. */
enum status writer_entry(struct index_writer *w, const struct digest *digest,
                         struct cache_entry *ret_entry, struct error *err) must_check;
void writer_close(struct index_writer *w);
/* Reads the records of one database inside the writer's transaction. */
enum status writer_each(struct index_writer *w, enum index_db db, index_visitor visit,
                        void *context, struct error *err) must_check;

/* ---- cache_child.c ---- */
/*
 * Runs work(context) in a child process that holds the index lock, and takes over its status
 * and error. A child that died, hung or found the index damaged: ST_DAMAGED.
 */
typedef enum status (*child_work)(struct cache *c, void *context, struct error *err);
enum status child_run(struct cache *c, child_work work, void *context,
                      struct error *err) must_check;
/* Memory that a child's changes reach us through; NULL where there is none. */
void *child_shared(size_t size);
void child_unshare(void *memory, size_t size);

/* ---- cache_rebuild.c ---- */
/* Makes a new index of the files in objects/, of roots, and of what can still be read of the
 * old one, unless somebody has put another in the place of old_inode already (0: there is
 * none). */
enum status index_rebuild(struct cache *c, ino_t old_inode, struct error *err) must_check;
/* Describes the file of an entry by its bytes: kind, and for objects key, module and target. */
void entry_from_file(const struct cache *c, int fd, uint64_t size,
                     struct cache_entry *ret_entry);

/* ---- cache_roots.c ---- */
enum status roots_write(struct index_writer *w,
                        struct error *err) must_check;                    /* to a new file */
enum status roots_publish(struct cache *c, struct error *err) must_check; /* renames it over */
/* Applies what roots says to a writer; what does not hold is left out. */
enum status roots_apply(struct index_writer *w, struct error *err) must_check;

/* ---- cache_file.c ---- */
/* Opens an entry with a shared lock. wait: for a gc that is just looking at it. size_bytes:
 * what it must be, or UINT64_MAX. ST_NOT_FOUND; one that does not hold is quarantined on the
 * way. */
enum status entry_open(struct cache *c, const struct digest *digest, uint64_t size_bytes,
                       bool wait, int *ret_fd, struct stat *ret_stat,
                       struct error *err) must_check;
void entry_touch(int fd, const struct stat *st); /* last use: now */
enum status entry_quarantine(struct cache *c, const struct digest *digest,
                             struct error *err) must_check; /* the file only */
/* The digest of a file's bytes. */
enum status file_digest(int fd, struct digest *ret_digest, uint64_t *ret_size,
                        struct error *err) must_check;
bool entry_sealed(const struct stat *st);
int entry_seal(int fd); /* as futimens(2) */

/* ---- cache_gc.c ---- */
/* After a put: a gc where a limit is passed. Never an error. */
void cache_keep_limits(struct cache *c);
/* Removes what dead processes left behind; returns how much. */
uint64_t cache_sweep(struct cache *c);
/* Calls visit for each file of objects/ that is named as one. */
typedef bool (*file_visitor)(void *context, const struct digest *digest);
enum status cache_each_file(struct cache *c, file_visitor visit, void *context,
                            struct error *err) must_check;
/* Records the files that the index does not know. */
enum status cache_adopt(struct cache *c, uint64_t *ret_count, struct error *err) must_check;

/* ---- cache_stats.c ---- */
enum counter {
    COUNT_HITS,
    COUNT_MISSES,
    COUNT_PUTS,
    COUNT_PUT_BYTES,
    COUNT_EVICTED,
    COUNT_EVICTED_BYTES,
    COUNT_QUARANTINED,
    COUNT_REBUILDS,
    COUNT_WAITS,
    COUNT_COUNT
};
void counters_open(struct cache *c);
void counters_close(struct cache *c);
void count(struct cache *c, enum counter which, uint64_t n);
uint64_t counter_value(const struct cache *c, enum counter which);
void count_hit(struct cache *c, const struct digest *digest);
uint64_t hits_of(const struct cache *c, const struct digest *digest);

#endif
