/*
 * cache: the content-addressed store. Immutable files named by their SHA-256, one LMDB index
 * over them, and the rules that let any number of processes use both at once and die at any
 * point.
 *
 *   cache_open.c    a directory -> struct cache, or why it is none that can be trusted
 *   cache_file.c    entries: the files under objects/, opened with the lock that says "in use"
 *   cache_writer.c  bytes -> a published entry, all or nothing
 *   cache_find.c    key -> entry; last use, hits and misses
 *   cache_index.c   the index as it is read; cache_change.c as it is changed (in a child
 * process); cache_record.c its records as bytes; cache_rebuild.c a new one from objects/
 *   cache_guard.c   reading an index of which every byte may be wrong
 *   cache_name.c    names and pins; cache_lock.c one compilation a key
 *   cache_known.c   files elsewhere whose digest is known
 *   cache_gc.c      the size limit; cache_verify.c everything hashed again; cache_stats.c
 * counters
 *
 * docs/cache.md describes the directory field by field.
 *
 * Trust. What lies in objects/ may be native code that runs as us. Entries are hashed when they
 * are put, published read-only (0444) by rename, and never written again, in a directory that
 * nobody but its owner and root can write to, which cache_open checks. So an entry that is
 * opened later is not hashed again; cache_verify does that. Whoever puts code from elsewhere
 * has checked who made it: this layer does not.
 *
 * Ownership: descriptors handed out belong to the caller. Strings and digests are copied in;
 * what a visitor is given is borrowed for that call. Threads: one struct cache, one thread at a
 * time; any number of processes, each with its own. Do not carry a struct cache across fork. A
 * process that changes the index forks a child that lives a few milliseconds (a damaged index
 * can crash LMDB: then the child dies, not the caller). cache_open installs handlers for
 * SIGSEGV, SIGBUS and SIGFPE once, which pass on what is not theirs, for the same reason.
 *
 * Locks, in the order in which they are taken: a key's compile lock, an entry's file lock, the
 * index lock. Readers take only entries' file locks, shared; nobody waits while reading.
 *
 * Errors: ST_NOT_FOUND (a miss: expected), ST_DAMAGED (bytes are not what the name says; a
 * directory that others can write to), ST_LIMIT (no room), ST_IO with errno, ST_NO_MEMORY,
 * ST_UNSUPPORTED (a network file system; a newer format). A damaged index is never an error: it
 * is rebuilt.
 *
 *     struct cache *cache;
 *     struct cache_entry entry;
 *     if (cache_open(&(struct cache_options){0}, &cache, &err) != ST_OK) ...
 *     struct cache_key key = cache_key_of(&module, &compiler);
 *     if (cache_find(cache, &key, &fd, &entry, &err) == ST_NOT_FOUND) ...  // compile,
 * cache_put cache_close(cache);
 */
#ifndef HUTCH_CACHE_H
#define HUTCH_CACHE_H

#include "base/base.h"

struct cache;

/* ---- entries ----------------------------------------------------------------------------- */

/* What the bytes of an entry are. X(constant, number in the index, word) */
/* clang-format off */
#define CACHE_KIND_LIST(X)                                                                     \
    X(CACHE_MODULE,   1, "module")   /* WebAssembly, binary format                       */    \
    X(CACHE_OBJECT,   2, "object")   /* a code object (docs/object-format.md)            */    \
    X(CACHE_IMAGE,    3, "image")    /* a read-only file image                           */    \
    X(CACHE_MANIFEST, 4, "manifest") /* the manifest of a bundle: an app                 */    \
    X(CACHE_SNAPSHOT, 5, "snapshot")                                                           \
    X(CACHE_OTHER,    6, "other")    /* anything else; media_type says what              */

/* How an entry came here. */
#define CACHE_ORIGIN_LIST(X)                                                                   \
    X(CACHE_COMPILED,  1, "compiled")  /* by this node                                   */    \
    X(CACHE_IMPORTED,  2, "imported")  /* from a bundle; signer says under which key     */    \
    X(CACHE_ADDED,     3, "added")     /* by hand                                        */    \
    X(CACHE_RECOVERED, 4, "recovered") /* found in objects/ when the index was lost      */
/* clang-format on */

enum cache_kind {
#define X(name, number, word) name = number,
    CACHE_KIND_LIST(X)
#undef X
};
enum cache_origin {
#define X(name, number, word) name = number,
    CACHE_ORIGIN_LIST(X)
#undef X
};
const char *cache_kind_name(enum cache_kind kind);       /* "?" where there is none */
const char *cache_origin_name(enum cache_origin origin); /* likewise */

/* Under what a code object is found: all that decides its bytes, as one digest. */
struct cache_key {
    struct digest digest;
};
/* compiler: what compile_fingerprint gives, which an object's compat record repeats. */
struct cache_key cache_key_of(const struct digest *module, const struct digest *compiler);

#define CACHE_REFS_MAX 1024u

/*
 * An entry. Given to a put, only the first group counts; a read fills all of it. For kind
 * CACHE_OBJECT a put fills key, module and target itself, from the object's compat record.
 */
struct cache_entry {
    enum cache_kind kind;
    enum cache_origin origin;
    bool has_key, has_module;
    struct cache_key key;      /* cache_find finds the entry under it */
    struct digest module;      /* of the Wasm bytes that an object or snapshot belongs to */
    char target[32];           /* "x86-64-v3"; "" where it has none */
    char signer[68];           /* key id of who signed what it was imported from; "" */
    char media_type[84];       /* free text, as in an OCI descriptor; "" */
    const struct digest *refs; /* entries that this one needs: kept as long as it is pinned */
    uint32_t ref_count;        /* or named, and theirs in turn; at most CACHE_REFS_MAX */

    struct digest digest;
    uint64_t size_bytes;
    int64_t created_ns, last_used_ns; /* CLOCK_REALTIME; last use is coarse (a minute) */
    uint64_t hits;                    /* since the counters began; a lower bound */
};

/* ---- open and close ---------------------------------------------------------------------- */

#define CACHE_MAX_BYTES_DEFAULT (UINT64_C(10) << 30)
#define CACHE_MIN_FREE_DEFAULT (UINT64_C(1) << 30)

struct cache_options {
    /* NULL: $HUTCH_CACHE_DIR, /var/lib/hutch for a service whose state that is, else
     * $XDG_CACHE_HOME/hutch, ~/.cache/hutch */
    const char *path;
    bool read_only; /* nothing is made or changed; ST_NOT_FOUND where there is no cache */
    /* A put that takes the store over max_bytes, or the file system under min_free_bytes, is
     * followed by a gc. 0: $HUTCH_CACHE_MAX_SIZE or the default; UINT64_MAX: no limit. */
    uint64_t max_bytes;
    uint64_t min_free_bytes; /* 0: the default, or a twentieth of the file system if less */
    /* Fills in key, module and target of a code object; false: it is none. NULL: nothing is
     * one, so that none can be put, and those found without a record are compiled again. */
    bool (*describe_object)(const uint8_t *bytes, uint64_t size, struct cache_entry *entry);
};

/* Opens a cache; makes it where there is none (directories 0700). */
enum status cache_open(const struct cache_options *options, struct cache **ret_cache,
                       struct error *err) must_check;
void cache_close(struct cache *cache);
/* Its directory, as given; borrowed. */
const char *cache_path(const struct cache *cache);
/* The directory that cache_open would take; the directory need not exist. */
enum status cache_default_path(const struct cache_options *options, char *ret_path, size_t size,
                               struct error *err) must_check;

/* ---- put --------------------------------------------------------------------------------- */

/*
 * Stores bytes under their digest and records them as entry says. Once it returns ST_OK they
 * are on the disk and found under entry->key. Bytes that are there already are not written
 * again; the newer entry's description takes the place of the older. expected: NULL, or the
 * digest that the bytes must have (ST_DAMAGED otherwise; nothing is published). Readable at
 * once through ret_fd, if that is not NULL (as from cache_get). ST_LIMIT where the disk is
 * full.
 */
enum status cache_put(struct cache *cache, const void *bytes, size_t size,
                      const struct cache_entry *entry, const struct digest *expected,
                      struct digest *ret_digest, int *ret_fd, struct error *err) must_check;
/* The same for everything that can be read from fd, from where it stands to its end. */
enum status cache_put_fd(struct cache *cache, int fd, const struct cache_entry *entry,
                         const struct digest *expected, struct digest *ret_digest, int *ret_fd,
                         struct error *err) must_check;

/*
 * The same piece by piece: open, write any number of times, then finish or abort (which take
 * the writer; abort takes NULL). limit_bytes: more than that is ST_LIMIT. After a failed write
 * only abort is left.
 */
struct cache_writer;
enum status cache_writer_open(struct cache *cache, uint64_t limit_bytes,
                              struct cache_writer **ret_writer, struct error *err) must_check;
enum status cache_writer_write(struct cache_writer *writer, const void *bytes, size_t size,
                               struct error *err) must_check;
enum status cache_writer_finish(struct cache_writer *writer, const struct cache_entry *entry,
                                const struct digest *expected, struct digest *ret_digest,
                                int *ret_fd, struct error *err) must_check;
void cache_writer_abort(struct cache_writer *writer);
/* Whether the bytes so far can be put as this kind: ST_DAMAGED where they are native code and
 * it is not, or the other way round. finish looks too. */
enum status cache_writer_judge(const struct cache_writer *writer, enum cache_kind kind,
                               struct error *err) must_check;
/* The file that the bytes lie in so far, for whoever judges them before they are published: to
 * read or map, borrowed until finish or abort. */
int cache_writer_fd(const struct cache_writer *writer);

/* ---- get --------------------------------------------------------------------------------- */

/*
 * Opens the entry of that digest for reading. ret_fd holds a shared lock (flock) for as long as
 * any duplicate of the descriptor is open, or any mapping of it is there, in any process: the
 * entry is in use, and gc leaves it alone.
 * ret_size_bytes may be NULL. ST_NOT_FOUND. Does not count as a hit; counts as a use.
 */
enum status cache_get(struct cache *cache, const struct digest *digest, int *ret_fd,
                      uint64_t *ret_size_bytes, struct error *err) must_check;
/* What the index says about an entry, without refs. ST_NOT_FOUND. */
enum status cache_describe(struct cache *cache, const struct digest *digest,
                           struct cache_entry *ret_entry, struct error *err) must_check;
/* What an entry refers to; ret_refs has room for CACHE_REFS_MAX. ST_NOT_FOUND. */
enum status cache_refs(struct cache *cache, const struct digest *digest,
                       struct digest *ret_refs, uint32_t *ret_count,
                       struct error *err) must_check;
/*
 * Opens what is found under key, as cache_get does. ret_entry (may be NULL) as from
 * cache_describe. Counts a hit or a miss. ST_NOT_FOUND: not there, or not usable any more.
 */
enum status cache_find(struct cache *cache, const struct cache_key *key, int *ret_fd,
                       struct cache_entry *ret_entry, struct error *err) must_check;
/* The same for whoever has missed it already, and counted that. */
enum status cache_find_again(struct cache *cache, const struct cache_key *key, int *ret_fd,
                             struct error *err) must_check;

/* Calls visit for every entry, in the order of their digests, refs included, until it returns
 * false. It must not call into the same cache. */
typedef bool (*cache_visitor)(void *context, const struct cache_entry *entry);
enum status cache_each(struct cache *cache, cache_visitor visit, void *context,
                       struct error *err) must_check;

/*
 * Calls visit for every code object of that module: choose the variant that fits this CPU by
 * entry->target, or cache_get it and read its compat record.
 */
enum status cache_each_object(struct cache *cache, const struct digest *module,
                              cache_visitor visit, void *context, struct error *err) must_check;

/*
 * For whoever finds, by reading, that an entry is not what it should be: moves its file to
 * quarantine/ and takes its records out, so that the next put makes it anew. Whoever has it
 * open keeps what they have.
 */
enum status cache_quarantine(struct cache *cache, const struct digest *digest,
                             struct error *err) must_check;

/* Takes an entry and its records out, unless it is in use, pinned or named (ST_LIMIT says
 * which). For gc and for taking back what was put in error. */
enum status cache_remove(struct cache *cache, const struct digest *digest,
                         struct error *err) must_check;

/* ---- files elsewhere --------------------------------------------------------------------- */

/* The digest of a file's bytes, where it was remembered and the file has not changed since:
 * compare cache_known.c for when that can be said. file is open for reading. */
bool cache_file_known(struct cache *cache, int file, struct digest *ret_digest);
/* Before its bytes are read: whether they can be remembered. */
struct stat;
bool cache_file_steady(int file, struct stat *ret_stat);
/* After that: they have this digest. before is what cache_file_steady gave. */
void cache_file_remember(struct cache *cache, int file, const struct stat *before,
                         const struct digest *digest);

/* ---- names and pins ---------------------------------------------------------------------- */

#define CACHE_NAME_MAX 256u /* bytes of name and tag with terminator */
#define CACHE_WHO_MAX 64u   /* of who pins, with terminator */

/* A name: "python:3.11" -> the digest of a module or manifest. Named entries are never
 * collected. */
struct cache_name {
    char name[CACHE_NAME_MAX]; /* with its tag */
    struct digest digest;
    uint64_t sequence;  /* the caller's: rises with each newer version, survives the index */
    char signer[68];    /* who signed what it names; "" */
    int64_t created_ns; /* filled by a read */
};

/*
 * Checks and completes a name: lower-case words of [a-z0-9._-] joined by '/', then ":TAG"
 * ([A-Za-z0-9_.-], at most 128; "latest" where there is none), or "@sha256:HEX". ret_is_digest:
 * it was the latter, ret_digest holds the digest and ret_name the name before it. ST_USAGE.
 */
enum status cache_name_parse(const char *text, char ret_name[CACHE_NAME_MAX],
                             bool *ret_is_digest, struct digest *ret_digest,
                             struct error *err) must_check;
/* Gives name->name a new meaning. The entry must be there (ST_NOT_FOUND). */
enum status cache_name_set(struct cache *cache, const struct cache_name *name,
                           struct error *err) must_check;
/*
 * What a name means: "name:tag" or "name" through the index; "name@sha256:HEX" and "sha256:HEX"
 * as they stand, if that entry is there. ST_NOT_FOUND; ST_USAGE where it is no name.
 */
enum status cache_name_resolve(struct cache *cache, const char *text,
                               struct cache_name *ret_name, struct error *err) must_check;
enum status cache_name_remove(struct cache *cache, const char *name,
                              struct error *err) must_check;
typedef bool (*cache_name_visitor)(void *context, const struct cache_name *name);
enum status cache_each_name(struct cache *cache, cache_name_visitor visit, void *context,
                            struct error *err) must_check;

/* An entry is kept as long as anybody pins it. who: 1 to 63 printable bytes. Repeating is fine.
 */
enum status cache_pin(struct cache *cache, const struct digest *digest, const char *who,
                      struct error *err) must_check;
/* ST_NOT_FOUND where who does not pin it. */
enum status cache_unpin(struct cache *cache, const struct digest *digest, const char *who,
                        struct error *err) must_check;
typedef bool (*cache_pin_visitor)(void *context, const struct digest *digest, const char *who,
                                  int64_t created_ns);
enum status cache_each_pin(struct cache *cache, cache_pin_visitor visit, void *context,
                           struct error *err) must_check;

/* ---- one compilation a key --------------------------------------------------------------- */

/* Called about ten times a second while another process compiles. false: wait no longer. */
typedef bool (*cache_wait)(void *context, uint64_t waited_ms);

/*
 * Takes the lock of a key, for whoever is to compile it; waits while another process has it.
 * After that, look with cache_find_again: the other one has mostly put it. close(*ret_lock_fd)
 * gives it up, as does the end of the process. ST_LIMIT where wait said false.
 */
enum status cache_lock_key(struct cache *cache, const struct cache_key *key, cache_wait wait,
                           void *context, int *ret_lock_fd, struct error *err) must_check;

/* ---- upkeep ------------------------------------------------------------------------------ */

struct cache_gc_options {
    uint64_t max_bytes;      /* until the store is no larger; UINT64_MAX: no limit */
    uint64_t min_free_bytes; /* and the file system has so much room; 0: any */
    bool dry_run;
    /* Called for each entry that goes, or would. May be NULL. */
    void (*visit)(void *context, const struct digest *digest, uint64_t size_bytes);
    void *context;
};
struct cache_gc_report {
    uint64_t entries_before, bytes_before;
    uint64_t removed_entries, removed_bytes;
    uint64_t kept_pinned, kept_in_use; /* of those that were next in turn */
    uint64_t leftovers;                /* of dead processes, in tmp/ and locks/ */
    uint64_t removed_quarantined;
};
/* Removes least recently used entries, never what is pinned, named, needed by such, or in use.
 */
enum status cache_gc(struct cache *cache, const struct cache_gc_options *options,
                     struct cache_gc_report *ret_report, struct error *err) must_check;

struct cache_verify_report {
    uint64_t entries, bytes; /* hashed */
    uint64_t damaged;        /* moved to quarantine/, records removed */
    uint64_t missing;        /* records without a file, removed */
    uint64_t adopted;        /* files without a record, recorded */
    uint64_t dangling;       /* names and pins of entries that are not there (kept) */
    bool index_rebuilt;
};
/* damaged: its name in quarantine/ */
typedef void (*cache_verify_visitor)(void *context, const struct digest *digest,
                                     const char *what);
/* Hashes every entry again, compares files and index, repairs. visit may be NULL. A read-only
 * cache is only looked at. */
enum status cache_verify(struct cache *cache, cache_verify_visitor visit, void *context,
                         struct cache_verify_report *ret_report, struct error *err) must_check;

struct cache_stats {
    uint64_t entries, bytes; /* in the index */
    uint64_t names, pins;
    uint64_t hits, misses, puts, put_bytes, evicted, evicted_bytes, quarantined, rebuilds;
    uint64_t waits;                     /* for another's compilation */
    uint64_t index_bytes;               /* of the index's file */
    uint64_t free_bytes;                /* of the file system */
    uint64_t max_bytes, min_free_bytes; /* the limits in force */
};
enum status cache_statistics(struct cache *cache, struct cache_stats *ret_stats,
                             struct error *err) must_check;

/* ---- keys, signatures and trust (sign.c, sign_trust.c) ----------------------------------- */

struct sign_secret {
    uint8_t bytes[32]; /* the seed of RFC 8032 5.1.5; wipe it after use */
};
struct sign_public {
    uint8_t bytes[32];
};
struct signature {
    uint8_t bytes[64];
};

enum status sign_generate(struct sign_secret *ret_secret, struct error *err) must_check;
void sign_secret_wipe(struct sign_secret *secret);
enum status sign_public_of(const struct sign_secret *secret, struct sign_public *ret_key,
                           struct error *err) must_check;
/* What a key is called everywhere but by people: SHA-256 of its 32 bytes. */
struct digest sign_key_id(const struct sign_public *key);
enum status sign_make(const struct sign_secret *secret, const void *bytes, size_t size_bytes,
                      struct signature *ret_signature, struct error *err) must_check;
bool sign_holds(const struct sign_public *key, const void *bytes, size_t size_bytes,
                const struct signature *signature) must_check;

/* Keys in PEM files (RFC 8410). Writing never replaces a file; a private key is 0600, and one
 * that others can read is refused. ST_IO, ST_MALFORMED. */
enum status sign_secret_write(const char *path, const struct sign_secret *secret,
                              struct error *err) must_check;
enum status sign_secret_read(const char *path, struct sign_secret *ret_secret,
                             struct error *err) must_check;
enum status sign_public_write(const char *path, const struct sign_public *key,
                              struct error *err) must_check;
enum status sign_public_read(int dir_fd, const char *path, struct sign_public *ret_key,
                             struct error *err) must_check;

#define TRUST_NAME_SIZE 64
struct trust_key {
    struct digest id;
    struct sign_public key; /* where has_key */
    bool has_key, revoked;
    char name[TRUST_NAME_SIZE]; /* of the file; "" where only the revocation is there */
};
/* The keys of one or more trust directories. Zero-initialised is empty and valid. */
struct trust {
    struct trust_key *keys;
    uint32_t count;
};
/* Adds the keys of a directory; one that is not there adds none. ST_DAMAGED where others than
 * its owner (we or root) can write to it. */
enum status trust_load(const char *directory, struct trust *trust,
                       struct error *err) must_check;
void trust_finish(struct trust *trust);
const struct trust_key *trust_find(const struct trust *trust, const struct digest *id);
bool trust_name_valid(const char *name);
/* Makes the directory where it is missing. Adding a key that is there does nothing. */
enum status trust_add(const char *directory, const char *name, const struct sign_public *key,
                      struct error *err) must_check;
/* For good: a revoked key is refused whoever trusts it again. reason may be NULL. */
enum status trust_revoke(const char *directory, const struct digest *id, const char *reason,
                         struct error *err) must_check;

/* ---- bundles (bundle_*.c, oci_*.c; docs/bundle.md) --------------------------------------- */

/* What a layer of a bundle holds. KIND(ID, "word in the statement", "media type of the blob")
 */
/* clang-format off */
#define BUNDLE_KINDS(KIND)                                                                     \
    KIND(MODULE,   "module",   "application/vnd.hutch.module.v1.wasm+zstd")                    \
    KIND(OBJECT,   "object",   "application/vnd.hutch.object.v1.elf+zstd")                     \
    KIND(IMAGE,    "image",    "application/vnd.hutch.image.v1.erofs+zstd")                    \
    KIND(SNAPSHOT, "snapshot", "application/vnd.hutch.snapshot.v1+zstd")

enum bundle_kind {
#define KIND(id, word, media_type) BUNDLE_##id,
    BUNDLE_KINDS(KIND)
#undef KIND
    BUNDLE_KIND_COUNT
};
/* clang-format on */
const char *bundle_kind_word(enum bundle_kind kind);
/* Holds code, or addresses of code: taken only from whom the node trusts. */
static inline bool bundle_kind_native(enum bundle_kind kind) {
    return kind == BUNDLE_OBJECT || kind == BUNDLE_SNAPSHOT;
}

/* What a bundle says of a code object; the object's own compatibility record must say the same.
 */
struct bundle_target {
    struct digest module, compiler;
    char target[32], arch[16], placement[16]; /* "x86-64-v3" "x86-64" "pinned" */
    char abi[20];                             /* the fingerprint, 16 hex digits */
    char cpu_features[256];                   /* "cx16,popcnt" */
    char opt_level[8];                        /* "2", "fast" */
};

struct bundle_layer {
    enum bundle_kind kind;
    struct digest blob, content; /* of the compressed and of the uncompressed bytes */
    uint64_t blob_size, content_size;
    char name[CACHE_NAME_MAX];   /* module: its name:tag; image: where the app expects it */
    struct bundle_target target; /* of an object; of a snapshot module and abi alone */
    struct digest object;        /* of a snapshot: contents of the layer it goes on with */
    const uint8_t *bytes;        /* content_size of them; for bundle_write alone, borrowed */
};

/* UTF-8 without control bytes, each. Owns them. */
#define BUNDLE_WORDS_MAX 256u
#define BUNDLE_WORD_SIZE 4096u /* with terminator */
struct bundle_words {
    char **words;
    uint32_t count;
};
enum status bundle_words_add(struct bundle_words *words, const char *word,
                             struct error *err) must_check;

/* What is signed: all that a bundle holds but its signatures. Owns everything in it. The first
 * module is what the app's name runs; it sees every image under the image's name. */
struct bundle_statement {
    char name[CACHE_NAME_MAX]; /* of the app, name:tag */
    char creator[64];
    uint64_t sequence; /* seconds since 1970: a node takes no older bundle under a name */
    uint64_t expires;  /* the same; 0: never */
    struct bundle_words args; /* of the app's program, before those of a command line */
    struct bundle_words env;  /* "NAME=VALUE" */
    char *app; /* how it is served (docs/app.md), a JSON object; NULL: not said */
    struct bundle_layer *layers;
    uint32_t layer_count;
};
/* An entry of kind CACHE_MANIFEST is a statement's bytes. ST_MALFORMED, ST_UNSUPPORTED. */
enum status bundle_statement_parse(const void *bytes, size_t size_bytes,
                                   struct bundle_statement *ret_statement,
                                   struct error *err) must_check;
void bundle_statement_finish(struct bundle_statement *statement);

/*
 * Writes the OCI layout to path, all or nothing, and fills the layers' digests and sizes of
 * blobs. The same statement, level (of zstd, 1 to 19) and key give the same bytes. secret may
 * be NULL: unsigned.
 */
enum status bundle_write(struct bundle_statement *statement, const struct sign_secret *secret,
                         int level, const char *path, struct error *err) must_check;

enum bundle_trust {
    BUNDLE_UNSIGNED,
    BUNDLE_UNKNOWN_KEY, /* signed, by nobody this node trusts */
    BUNDLE_TRUSTED,
};
struct bundle_signer {
    enum bundle_trust trust;
    struct digest key;          /* where signed: of the trusted one, else of the first */
    char name[TRUST_NAME_SIZE]; /* where trusted */
};

/*
 * Reads and checks all but the layers' bytes. fd: a regular file, borrowed until close (its
 * offset moves), or a pipe, which is copied to a file without a name first. A signature that
 * does not hold and a revoked key are errors (ST_DAMAGED, ST_INCOMPATIBLE); who signed is a
 * result.
 */
struct bundle;
enum status bundle_open(int fd, const struct trust *trust, struct bundle **ret_bundle,
                        struct error *err) must_check;
void bundle_close(struct bundle *bundle);
const struct bundle_statement *bundle_statement_of(const struct bundle *bundle);
const struct bundle_signer *bundle_signer_of(const struct bundle *bundle);
struct digest bundle_digest(const struct bundle *bundle); /* of the OCI manifest */

struct bundle_callbacks {
    /*
     * Everything there is to check about an object's bytes, and that it is what the bundle
     * says: an error refuses the bundle. *ret_fits: this node can run it; the reason why not
     * goes to reason, and the object is left out.
     */
    enum status (*check_object)(void *context, const uint8_t *bytes, uint64_t size_bytes,
                                const struct bundle_target *claimed, bool *ret_fits,
                                struct error *reason, struct error *err);
    /*
     * The same for a snapshot: the file snapshot_fd, and the bytes of the object that the
     * bundle says it belongs to, which this node can run.
     */
    enum status (*check_snapshot)(void *context, int snapshot_fd, const uint8_t *object,
                                  uint64_t object_size, const struct bundle_target *claimed,
                                  bool *ret_fits, struct error *reason, struct error *err);
    /* One line for a person. May be NULL. */
    void (*note)(void *context, const char *text);
    void *context;
};
struct bundle_import_options {
    struct bundle_callbacks callbacks;
    bool allow_unsigned; /* native code and names of bundles nobody trusted has signed */
    bool allow_older;    /* a lower sequence than a name had before */
    bool verify_only;    /* all checks; cache may be NULL, and nothing is changed */
    uint64_t max_bytes;  /* uncompressed, in all; 0: BUNDLE_MAX_BYTES_DEFAULT */
    uint64_t now;        /* seconds since 1970, for the expiry; 0: the clock's */
};
#define BUNDLE_MAX_BYTES_DEFAULT (UINT64_C(16) << 30)
struct bundle_report {
    uint32_t modules, objects, images, snapshots; /* taken */
    /* left out: nobody vouches for them; not for this node */
    uint32_t objects_unsigned, objects_unfit, snapshots_unsigned, snapshots_unfit;
    uint64_t content_bytes;  /* taken, uncompressed */
    struct digest statement; /* the entry the app's name means */
};
/*
 * Checks every layer, then publishes: entries first, names last. What fails before that leaves
 * the store as it was; an interruption leaves entries without a name, and importing again
 * completes it. ST_DAMAGED, ST_INCOMPATIBLE (older than before, expired, a name of somebody
 * else's), ST_LIMIT, ST_IO.
 */
enum status bundle_import(struct cache *cache, struct bundle *bundle,
                          const struct bundle_import_options *options,
                          struct bundle_report *ret_report, struct error *err) must_check;

/* ---- file images ------------------------------------------------------------------------- */

struct erofs_options {
    uint64_t time_s; /* of every file, in seconds since 1970; also of the image */
    bool keep_times; /* each file's own instead */
};
#define EROFS_TIME_DEFAULT                                                                     \
    UINT64_C(315532800) /* 1980-01-01: the first that a zip file can hold */
struct erofs_summary {
    uint64_t files, directories, symlinks;
    uint64_t file_bytes, image_bytes;
};
/*
 * Writes the tree beneath directory dir_fd to out_fd, an empty regular file, as a file image
 * (docs/images.md; erofs_tree.c, erofs_write.c). The same files give the same bytes, whoever
 * owns them and in whatever order they lie. ST_UNSUPPORTED for devices, sockets and pipes,
 * ST_LIMIT for more than 128 directories beneath each other, ST_IO, also where a file changes
 * meanwhile.
 */
enum status erofs_write(int dir_fd, const struct erofs_options *options, int out_fd,
                        struct erofs_summary *ret_summary, struct error *err) must_check;

#endif
