/*
 * Entries as files. An entry is "objects/" and 64 hex digits: a regular file of ours, 0444,
 * whose mtime is the seal (2000-01-01 00:00:00.0). Writing to it in any ordinary way moves its
 * mtime, so an entry without the seal is hashed before it is believed, sealed again if it
 * holds, and else moved to quarantine/. Its atime is its last use, set by us at most once a
 * minute.
 *
 * In use means: a shared flock on it. gc takes an exclusive one before it unlinks, so whoever
 * opens one looks, once it has the lock, whether the file still has a name.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

bool entry_sealed(const struct stat *st) {
    return st->st_mtim.tv_sec == CACHE_SEAL_SECONDS && st->st_mtim.tv_nsec == 0;
}

int entry_seal(int fd) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = CACHE_SEAL_SECONDS}};
    return futimens(fd, times);
}

void entry_touch(int fd, const struct stat *st) {
    int64_t used = (int64_t)st->st_atim.tv_sec * 1000000000 + st->st_atim.tv_nsec;
    int64_t age = cache_now_ns() - used;
    if (age < CACHE_USE_GRAIN_NS && age > -CACHE_USE_GRAIN_NS) return; /* in the future too */
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    if (futimens(fd, times) < 0) return; /* not ours, or read-only: then it is not recorded */
}

enum status file_digest(int fd, struct digest *ret_digest, uint64_t *ret_size,
                        struct error *err) {
    enum {
        PIECE = 1 << 18
    };
    auto_free uint8_t *bytes = malloc(PIECE);
    if (!bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    struct digest_stream hash;
    digest_start(&hash);
    enum status status = ST_OK;
    uint64_t size = 0;
    for (;;) {
        ssize_t n = pread(fd, bytes, PIECE, (off_t)size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = error_set_errno(err, ST_IO, "cannot read an entry");
        if (n <= 0) break;
        digest_add(&hash, bytes, (size_t)n);
        size += (uint64_t)n;
    }
    if (status != ST_OK) return status;
    *ret_digest = digest_end(&hash);
    *ret_size = size;
    return ST_OK;
}

enum status entry_quarantine(struct cache *c, const struct digest *digest, struct error *err) {
    auto_fd int quarantine = -1;
    enum status status = cache_subdir(c, "quarantine", &quarantine, err);
    if (status != ST_OK) return status;
    char hex[DIGEST_HEX_SIZE], name[DIGEST_HEX_SIZE + 32];
    digest_hex(digest, hex);
    snprintf(name, sizeof name, "%s.%lld", hex, (long long)cache_now_ns());
    if (renameat(c->objects, hex, quarantine, name) < 0 && errno != ENOENT)
        return error_set_errno(err, cache_io_status(), "cannot move sha256:%s to quarantine",
                               hex);
    count(c, COUNT_QUARANTINED, 1);
    return ST_OK;
}

/* Nobody but the owner of the cache and root may have written it. */
static bool ours(const struct cache *c, const struct stat *st) {
    return S_ISREG(st->st_mode) && (st->st_uid == c->owner || st->st_uid == 0) &&
           !(st->st_mode & (S_IWGRP | S_IWOTH));
}

enum holding {
    HOLDS,
    DAMAGED,
    UNREADABLE /* for now: it is not used, and not thrown away either */
};

/* Whether what lies there is what its name says, as far as that can be told in no time; if it
 * cannot, it is hashed. */
static enum holding holds(struct cache *c, const struct digest *digest, int fd,
                          uint64_t size_bytes, const struct stat *st) {
    if (!ours(c, st) || (size_bytes != UINT64_MAX && (uint64_t)st->st_size != size_bytes))
        return DAMAGED;
    if (entry_sealed(st)) return HOLDS;
    struct digest found;
    uint64_t size;
    struct error ignored = {0};
    if (file_digest(fd, &found, &size, &ignored) != ST_OK) return UNREADABLE;
    if (!digest_equal(&found, digest)) return DAMAGED;
    entry_seal(fd);
    return HOLDS;
}

enum status entry_open(struct cache *c, const struct digest *digest, uint64_t size_bytes,
                       bool wait, int *ret_fd, struct stat *ret_stat, struct error *err) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    auto_fd int fd =
        openat(c->objects, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EACCES))
        return error_set_errno(err, ST_IO, "cannot open sha256:%s", hex);
    if (fd < 0 && errno != ELOOP)
        return error_set(err, ST_NOT_FOUND, "sha256:%s is not in the cache", hex);
    int locked = -1;
    if (fd >= 0) do
            locked = flock(fd, LOCK_SH | (wait ? 0 : LOCK_NB));
        while (locked < 0 && errno == EINTR);
    struct stat st = {0};
    if (fd >= 0 && (locked < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0))
        return error_set(err, ST_NOT_FOUND, "sha256:%s is on its way out", hex);
    enum holding state = fd < 0 ? DAMAGED : holds(c, digest, fd, size_bytes, &st);
    if (state == UNREADABLE)
        return error_set(err, ST_NOT_FOUND, "sha256:%s cannot be read", hex);
    if (state == DAMAGED) {
        struct error why = {0};
        if (!c->read_only && entry_quarantine(c, digest, &why) != ST_OK)
            return error_set(err, ST_NOT_FOUND, "sha256:%s is damaged: %s", hex, why.message);
        return error_set(err, ST_NOT_FOUND, "sha256:%s was damaged", hex);
    }
    *ret_fd = steal_fd(&fd);
    if (ret_stat) *ret_stat = st;
    return ST_OK;
}
