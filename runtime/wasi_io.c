/*
 * Bytes between host descriptors and guest memory: reads, writes, seeks, and the four calls on
 * sockets. The guest's vectors are checked and turned into host ones that point into its
 * memory, so nothing is copied here. One call moves at most what one system call does: up to
 * WASI_MAX_IOVECS non-empty pieces. A short count is allowed by POSIX and by every libc.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Fills w->scratch->iovecs. EFAULT where the list or any piece lies outside of the memory. */
static enum wasi_errno iovecs_load(struct wasi *w, struct guest_memory m, uint32_t iovs,
                                   uint32_t iovs_len, int *ret_count) {
    const uint8_t *list = guest_array(m, iovs, iovs_len, 8);
    if (!list) return WASI_EFAULT;
    int count = 0;
    uint64_t total = 0;
    wasi_scratch_use(w, (iovs_len < WASI_MAX_IOVECS ? iovs_len : WASI_MAX_IOVECS) *
                            sizeof(struct iovec));
    for (uint32_t i = 0; i < iovs_len && count < (int)WASI_MAX_IOVECS; i++, list += 8) {
        uint32_t length = load_u32(list + 4);
        uint8_t *bytes = guest_range(m, load_u32(list), length);
        if (!bytes) return WASI_EFAULT;
        if (length == 0) continue;
        /* What a system call moves at most; the rest is left for the next call. */
        if (total + length > 0x7ffff000) length = (uint32_t)(0x7ffff000 - total);
        if (length == 0) break;
        w->scratch->iovecs[count++] = (struct iovec){.iov_base = bytes, .iov_len = length};
        total += length;
    }
    *ret_count = count;
    return WASI_OK;
}

/* A descriptor to read or write: directories have EISDIR, a missing right EBADF as in POSIX. */
static enum wasi_errno stream_get(struct wasi *w, uint32_t fd, uint64_t right,
                                  struct wasi_descriptor **ret) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->filetype == WASI_FILETYPE_DIRECTORY) return WASI_EISDIR;
    if (right & ~d->rights_base) return WASI_EBADF;
    *ret = d;
    return WASI_OK;
}

/* Which positions a descriptor has: a pipe, a terminal and a socket have none. */
static enum wasi_errno seekable_get(struct wasi *w, uint32_t fd, uint64_t right,
                                    struct wasi_descriptor **ret) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->filetype == WASI_FILETYPE_DIRECTORY) return WASI_EISDIR;
    if (!(wasi_rights_of_type(d->filetype, d->host_fd) & WASI_RIGHT_FD_SEEK))
        return d->host_fd < 0 ? WASI_EBADF : WASI_ESPIPE;
    if (right & ~d->rights_base) return WASI_ENOTCAPABLE;
    *ret = d;
    return WASI_OK;
}

static enum wasi_errno finish(ssize_t moved, uint8_t *ret_n) {
    if (moved < 0) return wasi_errno_last();
    store_u32(ret_n, (uint32_t)moved);
    return WASI_OK;
}

/* On a file of a volume: nothing is looked at here but addresses. */
static enum wasi_errno move_there(struct wasi *w, struct guest_memory m,
                                  const struct wasi_descriptor *d, bool writes, uint32_t iovs,
                                  uint32_t iovs_len, const uint64_t *offset, uint32_t ret_n) {
    int count = 0;
    uint32_t moved = 0;
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!n) return WASI_EFAULT;
    enum wasi_errno e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e == WASI_OK)
        e = wasi_volume_move(d, w->scratch->iovecs, count, writes, offset, &moved);
    if (e == WASI_OK) store_u32(n, moved);
    return e;
}

/* ---- reads and writes -------------------------------------------------------------------- */

/* Of an image or of files in memory. */
static enum wasi_errno read_here(const struct wasi *w, const struct wasi_descriptor *d,
                                 int count, uint64_t offset, uint8_t *ret_n) {
    uint32_t got = 0;
    enum wasi_errno e = d->image ? wasi_image_read(d, w->scratch->iovecs, count, offset, &got)
                                 : wasi_files_read(d, w->scratch->iovecs, count, offset, &got);
    if (e == WASI_OK) store_u32(ret_n, got);
    return e;
}

static enum wasi_errno write_here(const struct wasi *w, struct wasi_descriptor *d, int count,
                                  uint64_t offset, uint8_t *ret_n) {
    uint32_t put = 0;
    if (d->image) return WASI_EROFS; /* which has no right to write */
    enum wasi_errno e = wasi_files_write(d, w->scratch->iovecs, count, offset, &put);
    if (e == WASI_OK) store_u32(ret_n, put);
    return e;
}

enum wasi_errno wasi_fd_read(struct wasi *w, struct guest_memory m, uint32_t fd, uint32_t iovs,
                             uint32_t iovs_len, uint32_t ret_n) {
    struct wasi_descriptor *d;
    int count = 0;
    if ((d = wasi_volume_at(w, fd)))
        return move_there(w, m, d, false, iovs, iovs_len, NULL, ret_n);
    enum wasi_errno e = stream_get(w, fd, WASI_RIGHT_FD_READ, &d);
    if (e != WASI_OK) return e;
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!n) return WASI_EFAULT;
    e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e != WASI_OK) return e;
    if (d->image || d->files) {
        e = read_here(w, d, count, d->position, n);
        if (e == WASI_OK) d->position += load_u32(n);
        return e;
    }
    return finish(readv(d->host_fd, w->scratch->iovecs, count), n);
}

enum wasi_errno wasi_fd_write(struct wasi *w, struct guest_memory m, uint32_t fd, uint32_t iovs,
                              uint32_t iovs_len, uint32_t ret_n) {
    struct wasi_descriptor *d;
    int count = 0;
    if ((d = wasi_volume_at(w, fd)))
        return move_there(w, m, d, true, iovs, iovs_len, NULL, ret_n);
    enum wasi_errno e = stream_get(w, fd, WASI_RIGHT_FD_WRITE, &d);
    if (e != WASI_OK) return e;
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!n) return WASI_EFAULT;
    e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e != WASI_OK) return e;
    if (d->files && count == 0) { /* nothing moves, not even to the end */
        store_u32(n, 0);
        return WASI_OK;
    }
    if (d->image || d->files) {
        uint64_t at =
            d->flags & WASI_FDFLAG_APPEND && d->files ? wasi_files_size(d) : d->position;
        e = write_here(w, d, count, at, n);
        if (e == WASI_OK) d->position = at + load_u32(n);
        return e;
    }
    return finish(writev(d->host_fd, w->scratch->iovecs, count), n);
}

/* fd_pread, fd_pwrite: right and iovecs, then the call. */
static enum wasi_errno positioned(struct wasi *w, struct guest_memory m, uint32_t fd,
                                  uint64_t right, uint32_t iovs, uint32_t iovs_len,
                                  uint64_t offset, uint32_t ret_n,
                                  ssize_t (*call)(int, const struct iovec *, int, off_t)) {
    struct wasi_descriptor *d;
    int count = 0;
    if ((d = wasi_volume_at(w, fd)))
        return move_there(w, m, d, right == WASI_RIGHT_FD_WRITE, iovs, iovs_len, &offset,
                          ret_n);
    enum wasi_errno e = stream_get(w, fd, right, &d);
    if (e == WASI_OK) e = seekable_get(w, fd, WASI_RIGHT_FD_SEEK, &d);
    if (e != WASI_OK) return e;
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!n) return WASI_EFAULT;
    if (offset > INT64_MAX) return WASI_EINVAL;
    e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e != WASI_OK) return e;
    if (d->image || d->files)
        return right == WASI_RIGHT_FD_READ ? read_here(w, d, count, offset, n)
                                           : write_here(w, d, count, offset, n);
    return finish(call(d->host_fd, w->scratch->iovecs, count, (off_t)offset), n);
}

enum wasi_errno wasi_fd_pread(struct wasi *w, struct guest_memory m, uint32_t fd, uint32_t iovs,
                              uint32_t iovs_len, uint64_t offset, uint32_t ret_n) {
    return positioned(w, m, fd, WASI_RIGHT_FD_READ, iovs, iovs_len, offset, ret_n, preadv);
}

enum wasi_errno wasi_fd_pwrite(struct wasi *w, struct guest_memory m, uint32_t fd,
                               uint32_t iovs, uint32_t iovs_len, uint64_t offset,
                               uint32_t ret_n) {
    return positioned(w, m, fd, WASI_RIGHT_FD_WRITE, iovs, iovs_len, offset, ret_n, pwritev);
}

/* ---- positions --------------------------------------------------------------------------- */

static bool whence_of(uint32_t whence, enum wasi_abi abi, int *ret) {
    static const int preview1[3] = {SEEK_SET, SEEK_CUR, SEEK_END};
    static const int snapshot0[3] = {SEEK_CUR, SEEK_END, SEEK_SET};
    if (whence > 2) return false;
    *ret = abi == WASI_SNAPSHOT0 ? snapshot0[whence] : preview1[whence];
    return true;
}

/* Of what has its position here. */
static enum wasi_errno seek_here(struct wasi_descriptor *d, int64_t offset, int whence,
                                 uint8_t *ret_offset) {
    uint64_t size = 0;
    int64_t base = 0, to = 0;
    enum wasi_errno e = WASI_OK;
    if (d->image)
        e = wasi_image_size(d, &size);
    else
        size = wasi_files_size(d);
    if (e != WASI_OK) return e;
    if (whence == SEEK_CUR) base = (int64_t)d->position;
    if (whence == SEEK_END) base = size < INT64_MAX ? (int64_t)size : INT64_MAX;
    if (add_overflows(base, offset, &to)) return WASI_EOVERFLOW;
    if (to < 0) return WASI_EINVAL;
    d->position = (uint64_t)to;
    store_u64(ret_offset, (uint64_t)to);
    return WASI_OK;
}

static enum wasi_errno seek(struct wasi_descriptor *d, int64_t offset, int whence,
                            uint8_t *ret_offset) {
    if (d->image || d->files) return seek_here(d, offset, whence, ret_offset);
    off_t at = lseek(d->host_fd, offset, whence);
    if (at < 0) return wasi_errno_last();
    store_u64(ret_offset, (uint64_t)at);
    return WASI_OK;
}

enum wasi_errno wasi_fd_seek(struct wasi *w, struct guest_memory m, uint32_t fd,
                             uint64_t offset, uint32_t whence, uint32_t ret_offset,
                             enum wasi_abi abi) {
    struct wasi_descriptor *d;
    uint8_t *to = guest_range(m, ret_offset, 8);
    if ((d = wasi_volume_at(w, fd)))
        return to ? wasi_volume_seek(d, offset, whence, abi, to) : WASI_EFAULT;
    int host_whence = 0;
    bool known = whence_of(whence, abi, &host_whence);
    bool tells = known && host_whence == SEEK_CUR && offset == 0;
    enum wasi_errno e = seekable_get(w, fd, tells ? 0 : WASI_RIGHT_FD_SEEK, &d);
    if (e != WASI_OK) return e;
    if (tells && !(d->rights_base & (WASI_RIGHT_FD_TELL | WASI_RIGHT_FD_SEEK)))
        return WASI_ENOTCAPABLE;
    if (!known) return WASI_EINVAL;
    if (!to) return WASI_EFAULT;
    return seek(d, (int64_t)offset, host_whence, to);
}

enum wasi_errno wasi_fd_tell(struct wasi *w, struct guest_memory m, uint32_t fd,
                             uint32_t ret_offset) {
    struct wasi_descriptor *d;
    uint8_t *to = guest_range(m, ret_offset, 8);
    if ((d = wasi_volume_at(w, fd))) return to ? wasi_volume_tell(d, to) : WASI_EFAULT;
    enum wasi_errno e = seekable_get(w, fd, 0, &d);
    if (e != WASI_OK) return e;
    /* The right to seek includes it. */
    if (!(d->rights_base & (WASI_RIGHT_FD_TELL | WASI_RIGHT_FD_SEEK))) return WASI_ENOTCAPABLE;
    if (!to) return WASI_EFAULT;
    return seek(d, 0, SEEK_CUR, to);
}

/* ---- sockets ----------------------------------------------------------------------------- */

static enum wasi_errno socket_get(struct wasi *w, uint32_t fd, uint64_t right,
                                  struct wasi_descriptor **ret) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->filetype != WASI_FILETYPE_SOCKET_STREAM && d->filetype != WASI_FILETYPE_SOCKET_DGRAM)
        return WASI_ENOTSOCK;
    return wasi_descriptor_get(w, fd, right, ret);
}

enum wasi_errno wasi_sock_accept(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t flags, uint32_t ret_fd) {
    struct wasi_descriptor *d;
    uint32_t number = 0;
    enum wasi_errno e = socket_get(w, fd, WASI_RIGHT_SOCK_ACCEPT, &d);
    if (e != WASI_OK) return e;
    if (flags & ~(uint32_t)WASI_FDFLAG_NONBLOCK) return WASI_EINVAL;
    uint8_t *to = guest_range(m, ret_fd, 4);
    if (!to) return WASI_EFAULT;
    if (d->requests) return wasi_requests_accept(w, d, flags, to);
    int listener = d->host_fd;
    e = wasi_descriptor_reserve(w, &number); /* d may have moved */
    if (e != WASI_OK) return e;
    int nonblock = flags & WASI_FDFLAG_NONBLOCK ? SOCK_NONBLOCK : 0;
    int host_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | nonblock);
    if (host_fd < 0) return wasi_errno_last();
    struct wasi_descriptor accepted = {.owned = true, .host_fd = host_fd};
    e = wasi_filetype_of_fd(host_fd, &accepted.filetype);
    if (e != WASI_OK) {
        close(host_fd);
        return e;
    }
    accepted.rights_base = wasi_rights_of_type(accepted.filetype, host_fd);
    wasi_descriptor_put(w, number, &accepted);
    store_u32(to, number);
    return WASI_OK;
}

enum wasi_errno wasi_sock_recv(struct wasi *w, struct guest_memory m, uint32_t fd,
                               uint32_t iovs, uint32_t iovs_len, uint32_t flags, uint32_t ret_n,
                               uint32_t ret_flags) {
    struct wasi_descriptor *d;
    int count = 0, host_flags = 0;
    enum wasi_errno e = socket_get(w, fd, WASI_RIGHT_FD_READ, &d);
    if (e != WASI_OK) return e;
    if (flags & ~(uint32_t)(WASI_RI_PEEK | WASI_RI_WAITALL)) return WASI_EINVAL;
    if (flags & WASI_RI_PEEK) host_flags |= MSG_PEEK;
    if (flags & WASI_RI_WAITALL) host_flags |= MSG_WAITALL;
    uint8_t *n = guest_range(m, ret_n, 4);
    uint8_t *to_flags = guest_range(m, ret_flags, 2);
    if (!n || !to_flags) return WASI_EFAULT;
    e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e != WASI_OK) return e;
    struct msghdr message = {.msg_iov = w->scratch->iovecs, .msg_iovlen = (size_t)count};
    ssize_t got = recvmsg(d->host_fd, &message, host_flags | MSG_CMSG_CLOEXEC);
    if (got < 0) return wasi_errno_last();
    store_u16(to_flags, message.msg_flags & MSG_TRUNC ? WASI_RO_DATA_TRUNCATED : 0);
    return finish(got, n);
}

enum wasi_errno wasi_sock_send(struct wasi *w, struct guest_memory m, uint32_t fd,
                               uint32_t iovs, uint32_t iovs_len, uint32_t flags,
                               uint32_t ret_n) {
    struct wasi_descriptor *d;
    int count = 0;
    enum wasi_errno e = socket_get(w, fd, WASI_RIGHT_FD_WRITE, &d);
    if (e != WASI_OK) return e;
    if (flags) return WASI_EINVAL; /* none is defined */
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!n) return WASI_EFAULT;
    e = iovecs_load(w, m, iovs, iovs_len, &count);
    if (e != WASI_OK) return e;
    struct msghdr message = {.msg_iov = w->scratch->iovecs, .msg_iovlen = (size_t)count};
    return finish(sendmsg(d->host_fd, &message, MSG_NOSIGNAL), n);
}

enum wasi_errno wasi_sock_shutdown(struct wasi *w, struct guest_memory m, uint32_t fd,
                                   uint32_t how) {
    (void)m;
    static const int host_how[4] = {-1, SHUT_RD, SHUT_WR, SHUT_RDWR};
    struct wasi_descriptor *d;
    enum wasi_errno e = socket_get(w, fd, WASI_RIGHT_SOCK_SHUTDOWN, &d);
    if (e != WASI_OK) return e;
    if (how == 0 || how > (WASI_SD_RD | WASI_SD_WR)) return WASI_EINVAL;
    return shutdown(d->host_fd, host_how[how]) == 0 ? WASI_OK : wasi_errno_last();
}
