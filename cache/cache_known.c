/*
 * Files elsewhere whose digest is known, so that a module of many megabytes is not hashed at
 * each run: `files`, a table from (device, inode, size, mtime, ctime) to digest.
 *
 * An entry may only be believed if the file cannot have changed without one of the five
 * changing. The kernel sets ctime at every write, truncation, and first store through a mapping
 * to a page that is clean; nobody can set it. So what is left is a change soon after the ctime
 * that is recorded:
 *
 * - in the same tick of the clock that ctime is taken from. As in git's index ("racy git"), a
 *   file is therefore not remembered that changed less than two seconds before it was read.
 * - by a store to a page that was dirty already. Either nobody has the file open or mapped for
 *   writing at that moment (a read lease is only granted then, fcntl(2)), or the last change is
 *   so long ago that the page was written back, and is clean.
 *
 * Only file systems that keep to this are believed; not tmpfs (which has no ctime for stores
 * through mappings), not network file systems.
 *
 * The table is read and written by pread and pwrite, without locks: a slot carries a checksum,
 * and one that does not hold is empty.
 */
#include "cache/store.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FILES "files"
#define SLOT_SIZE 128u
#define WAYS 4u
#define SETS 512u
#define TICK_NS INT64_C(2000000000)
#define WRITTEN_BACK_NS (INT64_C(600) * 1000000000)

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static int64_t ns_of(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

/* What identifies a file, as it stands in a slot. */
static void put_identity(struct buffer *b, const struct stat *st) {
    buffer_put_u64(b, (uint64_t)st->st_dev);
    buffer_put_u64(b, (uint64_t)st->st_ino);
    buffer_put_u64(b, (uint64_t)st->st_size);
    buffer_put_u64(b, (uint64_t)ns_of(st->st_mtim));
    buffer_put_u64(b, (uint64_t)ns_of(st->st_ctim));
}

#define IDENTITY_SIZE 40u
#define CHECK_SIZE 8u

/* checksum, identity, digest, zeros */
static bool make_slot(const struct stat *st, const struct digest *digest,
                      uint8_t ret_slot[SLOT_SIZE]) {
    auto_buffer struct buffer b = {0};
    buffer_put_u64(&b, 0);
    put_identity(&b, st);
    buffer_put(&b, digest->bytes, sizeof digest->bytes);
    buffer_put_zero(&b, SLOT_SIZE - b.size);
    if (b.failed) return false;
    struct digest check = digest_of(b.bytes + CHECK_SIZE, SLOT_SIZE - CHECK_SIZE);
    memcpy(ret_slot, b.bytes, SLOT_SIZE);
    memcpy(ret_slot, check.bytes, CHECK_SIZE);
    return true;
}

/* The slot as it would be with the digest that it has: so its checksum is checked too. */
static bool slot_is(const uint8_t *slot, const struct stat *st, struct digest *ret_digest) {
    struct digest digest;
    uint8_t wanted[SLOT_SIZE];
    memcpy(digest.bytes, slot + CHECK_SIZE + IDENTITY_SIZE, sizeof digest.bytes);
    if (!make_slot(st, &digest, wanted) || memcmp(slot, wanted, SLOT_SIZE) != 0) return false;
    *ret_digest = digest;
    return true;
}

/* By device and inode alone: the newer state of a file takes the place of the older. */
static off_t set_of(const struct stat *st) {
    uint64_t mixed =
        ((uint64_t)st->st_ino ^ (uint64_t)st->st_dev << 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (off_t)((mixed >> 32) % SETS * WAYS * SLOT_SIZE);
}

bool cache_file_known(struct cache *c, int file, struct digest *ret_digest) {
    struct stat st;
    uint8_t set[WAYS * SLOT_SIZE];
    if (fstat(file, &st) < 0 || !S_ISREG(st.st_mode)) return false;
    auto_fd int fd = openat(c->dir, FILES, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return false;
    ssize_t n = pread(fd, set, sizeof set, set_of(&st));
    for (size_t at = 0; n >= 0 && at + SLOT_SIZE <= (size_t)n; at += SLOT_SIZE)
        if (slot_is(set + at, &st, ret_digest)) return true;
    return false;
}

/* ---- remembering ------------------------------------------------------------------------- */

static bool keeps_times(int file) {
    static const unsigned long believed[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,
                                             BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC};
    struct statfs fs;
    if (fstatfs(file, &fs) < 0) return false;
    for (size_t i = 0; i < countof(believed); i++)
        if ((unsigned long)fs.f_type == believed[i]) return true;
    return false;
}

/* Nobody has the file open or mapped for writing: only then is a read lease granted. Whoever
 * opens it meanwhile waits for the blink of an eye, and the kernel tells us with SIGIO. */
static bool nobody_writes(int file) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigemptyset(&ignore.sa_mask);
    if (sigaction(SIGIO, &ignore, &before) < 0) return false;
    bool granted = fcntl(file, F_SETLEASE, F_RDLCK) == 0;
    if (granted && fcntl(file, F_SETLEASE, F_UNLCK) < 0) granted = false;
    sigaction(SIGIO, &before, NULL);
    return granted;
}

bool cache_file_steady(int file, struct stat *ret_stat) {
    struct stat st;
    struct timespec now;
    if (fstat(file, &st) < 0 || !S_ISREG(st.st_mode) || !keeps_times(file)) return false;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    int64_t age = ns_of(now) - ns_of(st.st_ctim);
    if (age < TICK_NS || (age < WRITTEN_BACK_NS && !nobody_writes(file))) return false;
    *ret_stat = st;
    return true;
}

void cache_file_remember(struct cache *c, int file, const struct stat *before,
                         const struct digest *digest) {
    struct stat st;
    uint8_t slot[SLOT_SIZE], was[SLOT_SIZE], set[WAYS * SLOT_SIZE] = {0};
    if (c->read_only || fstat(file, &st) < 0 || !make_slot(before, digest, was) ||
        !make_slot(&st, digest, slot) || memcmp(was, slot, SLOT_SIZE) != 0)
        return;
    auto_fd int fd = openat(c->dir, FILES, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || pread(fd, set, sizeof set, set_of(&st)) < 0) return;
    /* An empty slot, the same file's, or one of the others in turn. */
    static const uint8_t empty[SLOT_SIZE];
    size_t at = (size_t)(ns_of(st.st_ctim) >> 10) % WAYS * SLOT_SIZE;
    for (size_t i = WAYS; i-- > 0;) {
        const uint8_t *here = set + i * SLOT_SIZE;
        if (memcmp(here, empty, SLOT_SIZE) == 0) at = i * SLOT_SIZE;
    }
    for (size_t i = 0; i < WAYS; i++)
        if (memcmp(set + i * SLOT_SIZE + CHECK_SIZE, slot + CHECK_SIZE, 16) == 0)
            at = i * SLOT_SIZE;
    if (pwrite(fd, slot, SLOT_SIZE, set_of(&st) + (off_t)at) < 0) return; /* not remembered */
}
