/*
 * Bytes to a published entry. They go to a file in tmp/ that its writer holds an exclusive lock
 * on (so that a sweep can tell the living from the dead), are hashed on the way, and then:
 *
 *     fsync; 0444; seal; rename to objects/DIGEST; fsync objects/; record in the index
 *
 * A crash before the rename leaves a file in tmp/ that the next sweep removes; one after it
 * leaves a sound entry that the index does not know, which the next put, gc or verify records.
 * From the rename until it is recorded the writer holds the entry's lock, so no gc takes it
 * away. An entry that is there already stays, if it holds the same bytes: a damaged one must
 * not keep the good one out.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

struct cache_writer {
    struct cache *cache;
    struct digest_stream hash;
    int tmp, fd;
    uint64_t size, limit;
    char name[48];
};

static enum status io_error(struct error *err, const char *what) {
    return error_set_errno(err, cache_io_status(), "%s", what);
}

/* A file in tmp/ of a name that nobody else has, locked. */
static enum status make_file(struct cache_writer *w, struct error *err) {
    for (unsigned attempt = 0; attempt < 10000; attempt++) {
        snprintf(w->name, sizeof w->name, "put.%ld.%u", (long)getpid(), attempt);
        w->fd =
            openat(w->tmp, w->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (w->fd < 0 && errno == EEXIST) continue;
        if (w->fd < 0) return io_error(err, "cannot make a file in the cache");
        struct stat st;
        /* A sweep may have taken it for a dead one's between the two calls. */
        if (flock(w->fd, LOCK_EX | LOCK_NB) == 0 && fstat(w->fd, &st) == 0 && st.st_nlink > 0)
            return ST_OK;
        close(steal_fd(&w->fd));
    }
    return error_set(err, ST_IO, "cannot make a file in the cache");
}

enum status cache_writer_open(struct cache *c, uint64_t limit_bytes, struct cache_writer **ret,
                              struct error *err) {
    if (c->read_only) return error_set(err, ST_IO, "%s is open for reading only", c->path);
    struct cache_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, ST_NO_MEMORY, "out of memory");
    *w = (struct cache_writer){.cache = c, .tmp = -1, .fd = -1, .limit = limit_bytes};
    digest_start(&w->hash);
    enum status status = cache_subdir(c, "tmp", &w->tmp, err);
    if (status == ST_OK) status = make_file(w, err);
    if (status != ST_OK) {
        cache_writer_abort(w);
        return status;
    }
    *ret = w;
    return ST_OK;
}

enum status cache_writer_write(struct cache_writer *w, const void *bytes, size_t size,
                               struct error *err) {
    if (size > w->limit - w->size)
        return error_set(err, ST_LIMIT, "larger than %llu bytes", (unsigned long long)w->limit);
    digest_add(&w->hash, bytes, size);
    const uint8_t *at = bytes;
    while (size) {
        ssize_t n = write(w->fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_error(err, "cannot write to the cache");
        at += n;
        size -= (size_t)n;
        w->size += (uint64_t)n;
    }
    return ST_OK;
}

int cache_writer_fd(const struct cache_writer *w) { return w->fd; }

static void writer_free(struct cache_writer *w) {
    if (w->fd >= 0) close(w->fd);
    if (w->tmp >= 0) close(w->tmp);
    free(w);
}

void cache_writer_abort(struct cache_writer *w) {
    if (!w) return;
    if (w->fd >= 0) unlinkat(w->tmp, w->name, 0);
    writer_free(w);
}

/* ---- publishing -------------------------------------------------------------------------- */

/* Read, not mapped: a disk that fails is an answer here, and no signal. */
static bool same_bytes(int a, int b, uint64_t size) {
    enum {
        PIECE = 1 << 16
    };
    auto_free uint8_t *x = malloc(2 * PIECE);
    if (!x) return false;
    for (uint64_t at = 0; at < size;) {
        ssize_t n = pread(a, x, PIECE, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || pread(b, x + PIECE, (size_t)n, (off_t)at) != n ||
            memcmp(x, x + PIECE, (size_t)n) != 0)
            return false;
        at += (uint64_t)n;
    }
    return true;
}

/* true: objects/ has the bytes under their name already, and ret_fd is open on them. */
static bool already_there(struct cache_writer *w, const struct digest *digest, int *ret_fd) {
    struct error ignored = {0};
    auto_fd int fd = -1;
    if (entry_open(w->cache, digest, w->size, true, &fd, NULL, &ignored) != ST_OK) return false;
    if (!same_bytes(fd, w->fd, w->size)) {
        if (entry_quarantine(w->cache, digest, &ignored) != ST_OK) return false;
        return false;
    }
    *ret_fd = steal_fd(&fd);
    return true;
}

/* The written file under its final name; ret_fd, for reading, holds the entry's lock. */
static enum status publish(struct cache_writer *w, const char *hex, int *ret_fd,
                           struct error *err) {
    if (fchmod(w->fd, 0444) < 0 || entry_seal(w->fd) < 0 || fsync(w->fd) < 0)
        return io_error(err, "cannot finish an entry");
    /* A descriptor of its own, that cannot write; the lock is taken before the name is there. A
     * sweep that comes between the two kinds of lock takes the file, and rename says so. */
    auto_fd int fd = openat(w->tmp, w->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(w->fd, LOCK_SH) < 0 || flock(fd, LOCK_SH) < 0)
        return io_error(err, "cannot open a new entry");
    if (renameat(w->tmp, w->name, w->cache->objects, hex) < 0)
        return io_error(err, "cannot publish an entry");
    close(steal_fd(&w->fd));
    auto_fd int dir = openat(w->cache->objects, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0) return io_error(err, "cannot publish an entry");
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status record(struct cache *c, const struct cache_entry *given, int fd,
                          const struct digest *digest, uint64_t size, struct error *err) {
    struct cache_entry e = *given;
    if (e.kind == CACHE_OBJECT) {
        struct cache_entry own = {0};
        entry_from_file(c, fd, size, &own);
        e.key = own.key;
        e.module = own.module;
        e.has_key = e.has_module = true;
        memcpy(e.target, own.target, sizeof e.target);
    }
    e.digest = *digest;
    e.size_bytes = size;
    e.created_ns = cache_now_ns();
    struct change put = {.kind = CHANGE_PUT, .digest = *digest, .entry = &e};
    return index_change(c, &put, 1, err);
}

enum status cache_writer_judge(const struct cache_writer *w, enum cache_kind kind,
                               struct error *err) {
    struct cache_entry own = {0};
    entry_from_file(w->cache, w->fd, w->size, &own);
    /* Also code that only another build can read. */
    uint8_t start[4] = {0};
    bool elf = pread(w->fd, start, sizeof start, 0) == (ssize_t)sizeof start &&
               memcmp(start, "\177ELF", sizeof start) == 0;
    if (elf && own.kind != CACHE_OBJECT && (kind == CACHE_MODULE || kind == CACHE_IMAGE))
        own.kind = CACHE_OBJECT;
    bool native = own.kind == CACHE_OBJECT || own.kind == CACHE_SNAPSHOT;
    if (own.kind == kind || (!native && kind != CACHE_OBJECT)) return ST_OK;
    if (kind == CACHE_OBJECT) return error_set(err, ST_DAMAGED, "not a sound code object");
    /* Should the index be lost, it would be found again as what its bytes are, an object even
     * under the key that they name; and who put it as something else was not asked whether it
     * may run. Nor does it take the place of one that may. */
    return error_set(err, ST_DAMAGED, "these bytes are %s, not a%s %s",
                     own.kind == CACHE_OBJECT ? "native code" : "a snapshot",
                     kind == CACHE_IMAGE || kind == CACHE_OTHER || kind == CACHE_OBJECT ? "n"
                                                                                        : "",
                     cache_kind_name(kind));
}

enum status cache_writer_finish(struct cache_writer *w, const struct cache_entry *entry,
                                const struct digest *expected, struct digest *ret_digest,
                                int *ret_fd, struct error *err) {
    struct cache *c = w->cache;
    struct digest digest = digest_end(&w->hash);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&digest, hex);
    enum status status =
        entry->ref_count > CACHE_REFS_MAX
            ? error_set(err, ST_LIMIT, "more than %u references", CACHE_REFS_MAX)
            : cache_writer_judge(w, entry->kind, err);
    if (status == ST_OK && expected && !digest_equal(&digest, expected)) {
        char want[DIGEST_HEX_SIZE];
        digest_hex(expected, want);
        status =
            error_set(err, ST_DAMAGED, "the bytes are sha256:%s, not sha256:%s", hex, want);
    }
    auto_fd int fd = -1;
    bool there = status == ST_OK && already_there(w, &digest, &fd);
    if (status == ST_OK && !there) status = publish(w, hex, &fd, err);
    if (status == ST_OK) status = record(c, entry, fd, &digest, w->size, err);
    if (status == ST_OK) {
        count(c, COUNT_PUTS, 1);
        count(c, COUNT_PUT_BYTES, there ? 0 : w->size);
    }
    cache_writer_abort(w); /* closes; the file is gone from tmp/ where it was published */
    if (status != ST_OK) return status;
    cache_keep_limits(c);
    if (ret_digest) *ret_digest = digest;
    if (ret_fd) *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status cache_put(struct cache *c, const void *bytes, size_t size,
                      const struct cache_entry *entry, const struct digest *expected,
                      struct digest *ret_digest, int *ret_fd, struct error *err) {
    struct cache_writer *w;
    enum status status = cache_writer_open(c, UINT64_MAX, &w, err);
    if (status != ST_OK) return status;
    if ((status = cache_writer_write(w, bytes, size, err)) != ST_OK) {
        cache_writer_abort(w);
        return status;
    }
    return cache_writer_finish(w, entry, expected, ret_digest, ret_fd, err);
}

enum status cache_put_fd(struct cache *c, int fd, const struct cache_entry *entry,
                         const struct digest *expected, struct digest *ret_digest, int *ret_fd,
                         struct error *err) {
    enum {
        PIECE = 1 << 18
    };
    auto_free uint8_t *bytes = malloc(PIECE);
    if (!bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    struct cache_writer *w;
    enum status status = cache_writer_open(c, UINT64_MAX, &w, err);
    if (status != ST_OK) return status;
    for (;;) {
        ssize_t n = read(fd, bytes, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = error_set_errno(err, ST_IO, "cannot read");
        if (n <= 0) break;
        if ((status = cache_writer_write(w, bytes, (size_t)n, err)) != ST_OK) break;
    }
    if (status != ST_OK) {
        cache_writer_abort(w);
        return status;
    }
    return cache_writer_finish(w, entry, expected, ret_digest, ret_fd, err);
}
