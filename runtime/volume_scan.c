/*
 * What a volume holds when it is opened: a walk over all of it. Guests made it, so it may be
 * deeper than any path is long and than there are descriptors: the walk holds one descriptor,
 * and finds its way back by `..`, which is checked.
 */
#include "runtime/volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A directory that the walk comes back to: which it is, and where it had got to. */
struct level {
    uint64_t inode;
    int64_t position;
};
/* A file with more names than one is counted once. */
struct linked {
    uint64_t inode, bytes;
};
struct walk {
    struct volume *volume;
    int fd;
    struct level *levels;
    size_t depth, levels_room;
    struct linked *linked;
    size_t linked_count, linked_room;
};

static enum status grow(void **list, size_t count, size_t *room, size_t size,
                        struct error *err) {
    if (count < *room) return ST_OK;
    size_t wanted = *room ? *room * 2 : 64;
    void *more = realloc(*list, wanted * size);
    if (!more) return error_set(err, ST_NO_MEMORY, "the walk over a volume");
    *list = more;
    *room = wanted;
    return ST_OK;
}

static enum status count_file(struct walk *k, const struct stat *st, struct error *err) {
    uint64_t bytes = volume_charge((uint64_t)st->st_size);
    if (st->st_nlink <= 1) {
        k->volume->used_bytes += bytes;
        return ST_OK;
    }
    enum status status =
        grow((void **)&k->linked, k->linked_count, &k->linked_room, sizeof *k->linked, err);
    if (status == ST_OK) k->linked[k->linked_count++] = (struct linked){st->st_ino, bytes};
    return status;
}

static enum status enter(struct walk *k, const char *name, int64_t position,
                         struct error *err) {
    struct stat st;
    enum status status =
        grow((void **)&k->levels, k->depth, &k->levels_room, sizeof *k->levels, err);
    if (status != ST_OK) return status;
    int fd = openat(k->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(k->fd, &st) != 0) {
        if (fd >= 0) close(fd);
        return error_set_errno(err, ST_IO, "cannot open a directory of the volume");
    }
    k->levels[k->depth++] = (struct level){st.st_ino, position};
    close(k->fd);
    k->fd = fd;
    return ST_OK;
}

static enum status leave(struct walk *k, struct error *err) {
    struct stat st;
    struct level level = k->levels[--k->depth];
    int fd = openat(k->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot leave a directory of the volume");
    close(k->fd);
    k->fd = fd;
    if (fstat(fd, &st) != 0 || st.st_ino != level.inode)
        return error_set(err, ST_IO, "the volume is changed by somebody else");
    if (lseek(fd, level.position, SEEK_SET) < 0)
        return error_set_errno(err, ST_IO, "a directory of the volume");
    return ST_OK;
}

/* Entries of one batch, up to a directory that is entered. */
static enum status take_entries(struct walk *k, const uint8_t *batch, long size, bool *ret_in,
                                struct error *err) {
    /* struct linux_dirent64: u64 ino, s64 off, u16 length, u8 type, name */
    for (long at = 0; at < size;) {
        const char *name = (const char *)batch + at + 19;
        uint16_t length;
        int64_t next;
        struct stat st;
        memcpy(&next, batch + at + 8, sizeof next);
        memcpy(&length, batch + at + 16, sizeof length);
        at += length;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (fstatat(k->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return error_set_errno(err, ST_IO, "cannot look at a file of the volume");
        k->volume->used_names++;
        enum status status = ST_OK;
        if (S_ISREG(st.st_mode))
            status = count_file(k, &st, err);
        else
            k->volume->used_bytes += VOLUME_NODE_BYTES;
        if (status == ST_OK && S_ISDIR(st.st_mode)) {
            status = enter(k, name, next, err);
            *ret_in = true;
            return status;
        }
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static enum status walk_all(struct walk *k, struct error *err) {
    uint8_t batch[8192];
    for (;;) {
        bool in = false;
        long got = syscall(SYS_getdents64, k->fd, batch, sizeof batch);
        if (got < 0) return error_set_errno(err, ST_IO, "cannot list the volume");
        enum status status = got ? take_entries(k, batch, got, &in, err) : ST_OK;
        if (status == ST_OK && got == 0) {
            if (k->depth == 0) return ST_OK;
            status = leave(k, err);
        }
        if (status != ST_OK) return status;
    }
}

static int by_inode(const void *a, const void *b) {
    const struct linked *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

enum status volume_scan(struct volume *v, struct error *err) {
    struct walk k = {.volume = v, .fd = openat(v->root_fd, ".", O_RDONLY | O_CLOEXEC)};
    v->used_bytes = v->used_names = 0;
    if (k.fd < 0) return error_set_errno(err, ST_IO, "cannot open the volume");
    enum status status = walk_all(&k, err);
    if (k.linked_count) qsort(k.linked, k.linked_count, sizeof *k.linked, by_inode);
    for (size_t i = 0; i < k.linked_count; i++)
        if (i == 0 || k.linked[i].inode != k.linked[i - 1].inode)
            v->used_bytes += k.linked[i].bytes;
    close(k.fd);
    free(k.levels);
    free(k.linked);
    return status;
}
