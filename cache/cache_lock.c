/*
 * One compilation a key: locks/KEY, held by flock, so that it ends with whoever holds it. The
 * file is left for the next one; a sweep removes it under the lock, which is why whoever gets
 * the lock looks whether the file still has its name.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define FIRST_WAIT_MS 5u
#define LAST_WAIT_MS 100u

static uint64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ST_NOT_FOUND: somebody else has it. */
static enum status try_lock(int dir, const char *name, int *ret_fd, struct error *err) {
    auto_fd int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, cache_io_status(), "cannot make a lock");
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK || errno == EINTR
                   ? ST_NOT_FOUND
                   : error_set_errno(err, ST_IO, "cannot lock");
    struct stat mine, named;
    if (fstat(fd, &mine) < 0 || fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
        mine.st_ino != named.st_ino)
        return ST_NOT_FOUND;
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status cache_lock_key(struct cache *c, const struct cache_key *key, cache_wait wait,
                           void *context, int *ret_lock_fd, struct error *err) {
    auto_fd int dir = -1;
    enum status status = cache_subdir(c, "locks", &dir, err);
    if (status != ST_OK) return status;
    char name[DIGEST_HEX_SIZE];
    digest_hex(&key->digest, name);
    uint64_t start = now_ms(), pause_ms = FIRST_WAIT_MS;
    bool waited = false;
    while ((status = try_lock(dir, name, ret_lock_fd, err)) == ST_NOT_FOUND) {
        if (!waited) count(c, COUNT_WAITS, 1);
        waited = true;
        if (wait && !wait(context, now_ms() - start))
            return error_set(err, ST_LIMIT, "another process is still compiling this");
        struct timespec pause = {.tv_nsec = (long)pause_ms * 1000000};
        nanosleep(&pause, NULL);
        pause_ms = pause_ms * 2 < LAST_WAIT_MS ? pause_ms * 2 : LAST_WAIT_MS;
    }
    return status;
}
