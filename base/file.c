/*
 * Whole files: read with a limit, published all or nothing. A reader of the published name sees
 * the old file or the new one, never a part (rename(2)); fsync of the file before and of the
 * directory after makes that hold across a power cut too.
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum status file_read(int dir_fd, const char *path, size_t limit_bytes, struct buffer *b,
                      struct error *err) {
    auto_fd int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open %s", path);
    return file_read_fd(fd, path, limit_bytes, b, err);
}

enum status file_read_fd(int fd, const char *path, size_t limit_bytes, struct buffer *b,
                         struct error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot read %s", path);
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return error_set_errno(err, ST_IO, "cannot read %s", path);
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit_bytes)
        return error_set(err, ST_LIMIT, "%s is larger than %zu bytes", path, limit_bytes);
    size_t start = b->size;
    for (;;) {
        size_t want = 65536;
        if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > b->size - start)
            want = (size_t)st.st_size - (b->size - start);
        size_t before = b->size;
        buffer_put_zero(b, want);
        if (b->failed) return error_set(err, ST_NO_MEMORY, "%s: out of memory", path);
        ssize_t n = read(fd, b->bytes + before, want);
        b->size = before + (n > 0 ? (size_t)n : 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            return error_set_errno(err, ST_IO, "cannot read %s", path);
        }
        if (n == 0) return ST_OK;
        if (b->size - start > limit_bytes)
            return error_set(err, ST_LIMIT, "%s is larger than %zu bytes", path, limit_bytes);
    }
}

static enum status write_all(int fd, const uint8_t *bytes, size_t size) {
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0) {
            if (errno == EINTR) continue;
            return ST_IO;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return ST_OK;
}

enum status file_publish(int dir_fd, const char *path, const void *bytes, size_t size,
                         unsigned mode, struct error *err) {
    const char *slash = strrchr(path, '/');
    auto_fd int dir = -1;
    if (slash) {
        auto_free char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
        if (!parent) return error_set(err, ST_NO_MEMORY, "out of memory");
        dir = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (dir < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    const char *name = slash ? slash + 1 : path;

    char temporary[64];
    auto_fd int fd = -1;
    for (unsigned attempt = 0; fd < 0; attempt++) {
        snprintf(temporary, sizeof temporary, ".hutch-tmp-%ld-%u", (long)getpid(), attempt);
        fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0 && (errno != EEXIST || attempt > 1000))
            return error_set_errno(err, ST_IO, "cannot write %s", path);
    }
    enum status status = write_all(fd, bytes, size);
    if (status == ST_OK && fsync(fd) < 0) status = ST_IO;
    if (status == ST_OK && renameat(dir, temporary, dir, name) < 0) status = ST_IO;
    if (status != ST_OK) {
        error_set_errno(err, status, "cannot write %s", path);
        unlinkat(dir, temporary, 0);
        return status;
    }
    if (fsync(dir) < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    return ST_OK;
}
