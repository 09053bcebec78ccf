/*
 * The functions of WASI on files of a volume: each call is one message to the process that
 * holds the directory, or several where it moves more than VOLUME_CHUNK bytes, and its answer
 * (volume.h). Bytes go from guest memory to the socket and back without a copy here. Rights and
 * positions are kept at the other end; here are the number there and the type.
 *
 * Where that process has gone, everything is EIO.
 */
#include "runtime/volume.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECES 64 /* of guest memory in one message */

struct wasi_descriptor *wasi_volume_at(struct wasi *w, uint32_t fd) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    return d && d->volume ? d : NULL;
}

/* ---- one message and its answer ---------------------------------------------------------- */

/* Sends r with `out` behind it, receives the answer's bytes into `in`; parts[0] of both is room
 * for what goes in front. */
static enum wasi_errno ask(const struct wasi_mount *mount, struct volume_request *r,
                           struct iovec *out, int out_count, struct iovec *in, int in_count,
                           struct volume_reply *ret) {
    struct iovec alone;
    if (!out) out = &alone;
    for (int i = 1; i < out_count; i++) r->payload_bytes += (uint32_t)out[i].iov_len;
    out[0] = (struct iovec){.iov_base = r, .iov_len = sizeof *r};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = (size_t)out_count};
    ssize_t n;
    do n = sendmsg(mount->host_fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR && !runtime_interrupt_pending());
    if (n < 0) return errno == EINTR ? WASI_EINTR : WASI_EIO;

    if (!in) in = &alone;
    in[0] = (struct iovec){.iov_base = ret, .iov_len = sizeof *ret};
    message = (struct msghdr){.msg_iov = in, .msg_iovlen = (size_t)in_count};
    do n = recvmsg(mount->host_fd, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR && !runtime_interrupt_pending());
    if (n < 0) return errno == EINTR ? WASI_EINTR : WASI_EIO;
    if ((size_t)n < sizeof *ret || message.msg_flags & MSG_TRUNC ||
        ret->payload_bytes != (size_t)n - sizeof *ret || ret->error > WASI_ENOTCAPABLE)
        return WASI_EIO;
    return (enum wasi_errno)ret->error;
}

/* Without bytes in either direction. */
static enum wasi_errno ask_plain(const struct wasi_descriptor *d, enum volume_function function,
                                 uint64_t a1, uint64_t a2, uint64_t a3, uint64_t *ret_value) {
    struct volume_request r = {.function = function, .a = {d->node, a1, a2, a3}};
    struct volume_reply reply;
    enum wasi_errno e = ask(d->mount, &r, NULL, 1, NULL, 1, &reply);
    if (e == WASI_OK && ret_value) *ret_value = reply.value;
    return e;
}

/* With an answer of exactly size bytes. */
static enum wasi_errno ask_bytes(const struct wasi_descriptor *d, struct volume_request *r,
                                 uint8_t *to, uint32_t size) {
    struct volume_reply reply;
    struct iovec in[2] = {{0}, {.iov_base = to, .iov_len = size}};
    enum wasi_errno e = ask(d->mount, r, NULL, 1, in, 2, &reply);
    return e == WASI_OK && reply.payload_bytes != size ? WASI_EIO : e;
}

/* A path of the guest as a part of a message. */
static enum wasi_errno path_part(struct guest_memory m, uint32_t path, uint32_t length,
                                 struct iovec *ret) {
    uint8_t *bytes = guest_range(m, path, length);
    if (!bytes) return WASI_EFAULT;
    if (length >= WASI_PATH_SIZE) return WASI_ENAMETOOLONG;
    *ret = (struct iovec){.iov_base = bytes, .iov_len = length};
    return WASI_OK;
}

static enum wasi_errno ask_path(const struct wasi_descriptor *d, struct guest_memory m,
                                struct volume_request *r, uint32_t path, uint32_t length,
                                struct iovec *in, struct volume_reply *ret) {
    struct iovec out[2];
    enum wasi_errno e = path_part(m, path, length, &out[1]);
    return e != WASI_OK ? e : ask(d->mount, r, out, 2, in, in ? 2 : 1, ret);
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* The next pieces of a list, up to one message; the list is used up as they go. */
static uint32_t take_pieces(struct iovec **list, int *count, struct iovec *parts, int *ret_n) {
    uint32_t size = 0;
    int n = 1;
    while (*count > 0 && n <= PIECES && size < VOLUME_CHUNK) {
        struct iovec *from = *list;
        size_t room = VOLUME_CHUNK - size;
        size_t taken = from->iov_len < room ? from->iov_len : room;
        parts[n++] = (struct iovec){.iov_base = from->iov_base, .iov_len = taken};
        size += (uint32_t)taken;
        from->iov_base = (uint8_t *)from->iov_base + taken;
        from->iov_len -= taken;
        if (from->iov_len > 0) break;
        ++*list, --*count;
    }
    *ret_n = n;
    return size;
}

/* Offset NULL: at the file's own position. Short where the file ends or has no room. */
enum wasi_errno wasi_volume_move(const struct wasi_descriptor *d, struct iovec *list, int count,
                                 bool writes, const uint64_t *offset, uint32_t *ret_n) {
    uint64_t done = 0;
    do {
        struct iovec parts[PIECES + 1];
        struct volume_reply reply;
        int n = 1;
        uint32_t size = take_pieces(&list, &count, parts, &n);
        uint64_t at = offset ? *offset + done : 0;
        struct volume_request r = {.a = {d->node, writes ? at : size, at}};
        r.function = writes ? (offset ? VOLUME_PWRITE : VOLUME_WRITE)
                            : (offset ? VOLUME_PREAD : VOLUME_READ);
        enum wasi_errno e = writes ? ask(d->mount, &r, parts, n, NULL, 1, &reply)
                                   : ask(d->mount, &r, NULL, 1, parts, n, &reply);
        if (e != WASI_OK && done == 0) return e;
        if (e != WASI_OK) break;
        uint64_t moved = writes ? reply.value : reply.payload_bytes;
        if (moved > size) return WASI_EIO;
        done += moved;
        if (moved < size) break;
    } while (count > 0);
    *ret_n = (uint32_t)done;
    return WASI_OK;
}

uint64_t wasi_volume_bytes_left(const struct wasi_descriptor *d) {
    uint64_t at = 0;
    uint8_t stat[WASI_FILESTAT_SIZE(WASI_PREVIEW1)];
    struct volume_request r = {.function = VOLUME_FILESTAT, .a = {d->node, WASI_PREVIEW1}};
    if (ask_plain(d, VOLUME_TELL, 0, 0, 0, &at) != WASI_OK ||
        ask_bytes(d, &r, stat, sizeof stat) != WASI_OK)
        return 0;
    uint64_t size = load_u64(stat + 32);
    return size > at ? size - at : 0;
}

enum wasi_errno wasi_volume_seek(const struct wasi_descriptor *d, uint64_t offset,
                                 uint32_t whence, enum wasi_abi abi, uint8_t *ret_offset) {
    uint64_t at = 0;
    enum wasi_errno e = ask_plain(d, VOLUME_SEEK, offset, whence, abi, &at);
    if (e == WASI_OK) store_u64(ret_offset, at);
    return e;
}

enum wasi_errno wasi_volume_tell(const struct wasi_descriptor *d, uint8_t *ret_offset) {
    uint64_t at = 0;
    enum wasi_errno e = ask_plain(d, VOLUME_TELL, 0, 0, 0, &at);
    if (e == WASI_OK) store_u64(ret_offset, at);
    return e;
}

/* ---- open files -------------------------------------------------------------------------- */

enum wasi_errno wasi_volume_close(const struct wasi_descriptor *d) {
    return d->preopen ? WASI_OK : ask_plain(d, VOLUME_CLOSE, 0, 0, 0, NULL);
}

enum wasi_errno wasi_volume_sync(const struct wasi_descriptor *d, bool data_only) {
    return ask_plain(d, data_only ? VOLUME_DATASYNC : VOLUME_SYNC, 0, 0, 0, NULL);
}

enum wasi_errno wasi_volume_advise(const struct wasi_descriptor *d, uint64_t offset,
                                   uint64_t length, uint32_t advice) {
    return ask_plain(d, VOLUME_ADVISE, offset, length, advice, NULL);
}

enum wasi_errno wasi_volume_allocate(const struct wasi_descriptor *d, uint64_t offset,
                                     uint64_t length) {
    return ask_plain(d, VOLUME_ALLOCATE, offset, length, 0, NULL);
}

enum wasi_errno wasi_volume_fdstat(const struct wasi_descriptor *d, uint8_t to[24]) {
    struct volume_request r = {.function = VOLUME_FDSTAT, .a = {d->node}};
    return ask_bytes(d, &r, to, 24);
}

enum wasi_errno wasi_volume_set_flags(const struct wasi_descriptor *d, uint32_t flags) {
    return ask_plain(d, VOLUME_SET_FLAGS, flags, 0, 0, NULL);
}

/* Kept here as well, for a snapshot's record. */
enum wasi_errno wasi_volume_set_rights(struct wasi_descriptor *d, uint64_t base,
                                       uint64_t inheriting) {
    enum wasi_errno e = ask_plain(d, VOLUME_SET_RIGHTS, base, inheriting, 0, NULL);
    if (e == WASI_OK) {
        d->rights_base = base;
        d->rights_inheriting = inheriting;
    }
    return e;
}

enum wasi_errno wasi_volume_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                     enum wasi_abi abi) {
    struct volume_request r = {.function = VOLUME_FILESTAT, .a = {d->node, abi}};
    return ask_bytes(d, &r, to, WASI_FILESTAT_SIZE(abi));
}

enum wasi_errno wasi_volume_set_size(const struct wasi_descriptor *d, uint64_t size_bytes) {
    return ask_plain(d, VOLUME_SET_SIZE, size_bytes, 0, 0, NULL);
}

enum wasi_errno wasi_volume_set_times(const struct wasi_descriptor *d, uint64_t atim,
                                      uint64_t mtim, uint32_t flags) {
    return ask_plain(d, VOLUME_SET_TIMES, atim, mtim, flags, NULL);
}

/* A buffer larger than one message is filled by several: each goes on from the last whole entry
 * of the one before. */
enum wasi_errno wasi_volume_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                    uint64_t cookie, uint32_t *ret_n) {
    uint32_t used = 0;
    for (;;) {
        uint32_t wanted = size - used < VOLUME_CHUNK ? size - used : VOLUME_CHUNK, whole = 0;
        struct volume_request r = {.function = VOLUME_READDIR, .a = {d->node, wanted, cookie}};
        struct volume_reply reply;
        struct iovec in[2] = {{0}, {.iov_base = to + used, .iov_len = wanted}};
        enum wasi_errno e = ask(d->mount, &r, NULL, 1, in, 2, &reply);
        if (e != WASI_OK) return e;
        /* d_next, d_ino, d_namlen, d_type: 24 bytes, then the name */
        while (reply.payload_bytes - whole >= 24) {
            const uint8_t *entry = to + used + whole;
            uint32_t length = load_u32(entry + 16);
            if (length > reply.payload_bytes - whole - 24) break;
            cookie = load_u64(entry);
            whole += 24 + length;
        }
        bool full = reply.payload_bytes == wanted;
        if (!full || wanted == size - used || whole == 0) {
            *ret_n = used + reply.payload_bytes;
            return WASI_OK;
        }
        used += whole;
    }
}

/* ---- paths ------------------------------------------------------------------------------- */

enum wasi_errno wasi_volume_open(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t dirflags, uint32_t path, uint32_t length,
                                 uint32_t oflags, uint64_t base, uint64_t inheriting,
                                 uint32_t fdflags, uint8_t *ret_fd) {
    uint32_t number = 0;
    enum wasi_errno e = wasi_descriptor_reserve(w, &number); /* before a file is made */
    if (e != WASI_OK) return e;
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd); /* it may have moved */
    struct volume_request r = {.function = VOLUME_OPEN,
                               .a = {d->node, dirflags, oflags, base, inheriting, fdflags}};
    struct volume_reply reply;
    e = ask_path(d, m, &r, path, length, NULL, &reply);
    if (e != WASI_OK) return e;
    const struct wasi_descriptor opened = {.volume = true,
                                           .host_fd = -1,
                                           .mount = d->mount,
                                           .read_only = d->read_only,
                                           .node = (uint32_t)reply.value,
                                           .filetype = (uint8_t)(reply.value >> 32)};
    wasi_descriptor_put(w, number, &opened);
    store_u32(ret_fd, number);
    return WASI_OK;
}

enum wasi_errno wasi_volume_path_filestat(const struct wasi_descriptor *d,
                                          struct guest_memory m, uint32_t flags, uint32_t path,
                                          uint32_t length, uint8_t *to, enum wasi_abi abi) {
    struct volume_request r = {.function = VOLUME_PATH_STAT, .a = {d->node, flags, abi}};
    struct volume_reply reply;
    uint8_t stat[WASI_FILESTAT_SIZE(WASI_PREVIEW1)]; /* it may overlap the path */
    struct iovec in[2] = {{0}, {.iov_base = stat, .iov_len = WASI_FILESTAT_SIZE(abi)}};
    enum wasi_errno e = ask_path(d, m, &r, path, length, in, &reply);
    if (e != WASI_OK) return e;
    if (reply.payload_bytes != WASI_FILESTAT_SIZE(abi)) return WASI_EIO;
    memcpy(to, stat, reply.payload_bytes);
    return WASI_OK;
}

enum wasi_errno wasi_volume_path_set_times(const struct wasi_descriptor *d,
                                           struct guest_memory m, uint32_t flags, uint32_t path,
                                           uint32_t length, uint64_t atim, uint64_t mtim,
                                           uint32_t fst_flags) {
    struct volume_request r = {.function = VOLUME_PATH_TIMES,
                               .a = {d->node, flags, atim, mtim, fst_flags}};
    struct volume_reply reply;
    return ask_path(d, m, &r, path, length, NULL, &reply);
}

enum wasi_errno wasi_volume_readlink(const struct wasi_descriptor *d, struct guest_memory m,
                                     uint32_t path, uint32_t length, uint8_t *to, uint32_t size,
                                     uint8_t *ret_n) {
    if (size > WASI_PATH_SIZE) size = WASI_PATH_SIZE;
    struct volume_request r = {.function = VOLUME_READLINK, .a = {d->node, size}};
    struct volume_reply reply;
    struct iovec in[2] = {{0}, {.iov_base = to, .iov_len = size}};
    enum wasi_errno e = ask_path(d, m, &r, path, length, in, &reply);
    if (e == WASI_OK) store_u32(ret_n, reply.payload_bytes);
    return e;
}

enum wasi_errno wasi_volume_change(const struct wasi_descriptor *d, struct guest_memory m,
                                   enum wasi_volume_change change, uint32_t path,
                                   uint32_t length) {
    static const enum volume_function functions[] = {[WASI_VOLUME_MKDIR] = VOLUME_MKDIR,
                                                     [WASI_VOLUME_RMDIR] = VOLUME_RMDIR,
                                                     [WASI_VOLUME_UNLINK] = VOLUME_UNLINK};
    struct volume_request r = {.function = functions[change], .a = {d->node}};
    struct volume_reply reply;
    return ask_path(d, m, &r, path, length, NULL, &reply);
}

static enum wasi_errno ask_two_paths(const struct wasi_descriptor *d, struct guest_memory m,
                                     struct volume_request *r, uint32_t path, uint32_t length,
                                     uint32_t other, uint32_t other_length) {
    struct iovec out[3];
    struct volume_reply reply;
    enum wasi_errno e = path_part(m, path, length, &out[1]);
    if (e == WASI_OK) e = path_part(m, other, other_length, &out[2]);
    return e != WASI_OK ? e : ask(d->mount, r, out, 3, NULL, 1, &reply);
}

enum wasi_errno wasi_volume_symlink(const struct wasi_descriptor *d, struct guest_memory m,
                                    uint32_t target, uint32_t target_length, uint32_t path,
                                    uint32_t length) {
    struct volume_request r = {.function = VOLUME_SYMLINK, .a = {d->node, target_length}};
    return ask_two_paths(d, m, &r, target, target_length, path, length);
}

/* Both in one volume; where one is no file of a volume, or another's: EXDEV. */
static enum wasi_errno same_volume(struct wasi *w, uint32_t fd, uint32_t other,
                                   const struct wasi_descriptor **ret,
                                   const struct wasi_descriptor **ret_other) {
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    const struct wasi_descriptor *o = wasi_descriptor_at(w, other);
    if (!d || !o) return WASI_EBADF;
    if (d->filetype != WASI_FILETYPE_DIRECTORY || o->filetype != WASI_FILETYPE_DIRECTORY)
        return WASI_ENOTDIR;
    *ret = d;
    *ret_other = o;
    return d->volume && o->volume && d->mount == o->mount ? WASI_OK : WASI_EXDEV;
}

enum wasi_errno wasi_volume_rename(struct wasi *w, struct guest_memory m, uint32_t fd,
                                   uint32_t path, uint32_t length, uint32_t new_fd,
                                   uint32_t new_path, uint32_t new_length) {
    const struct wasi_descriptor *d, *o;
    enum wasi_errno e = same_volume(w, fd, new_fd, &d, &o);
    if (e != WASI_OK) return e;
    struct volume_request r = {.function = VOLUME_RENAME, .a = {d->node, o->node, length}};
    return ask_two_paths(d, m, &r, path, length, new_path, new_length);
}

enum wasi_errno wasi_volume_link(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t flags, uint32_t path, uint32_t length,
                                 uint32_t new_fd, uint32_t new_path, uint32_t new_length) {
    const struct wasi_descriptor *d, *o;
    enum wasi_errno e = same_volume(w, fd, new_fd, &d, &o);
    if (e != WASI_OK) return e;
    struct volume_request r = {.function = VOLUME_LINK, .a = {d->node, o->node, length, flags}};
    return ask_two_paths(d, m, &r, path, length, new_path, new_length);
}

/* ---- snapshots --------------------------------------------------------------------------- */

enum wasi_errno wasi_volume_restart(const struct wasi_mount *mount) {
    struct volume_request r = {.function = VOLUME_RESTART};
    struct volume_reply reply;
    return ask(mount, &r, NULL, 1, NULL, 1, &reply);
}
