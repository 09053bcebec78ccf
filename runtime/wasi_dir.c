/*
 * fd_readdir: entries of a directory from the kernel (getdents64(2)) to the guest's buffer.
 *
 * A cookie is the kernel's own position behind an entry (d_off), and each call seeks to the
 * cookie it is given: nothing is kept between calls, and entries that come and go do not shift
 * the others. Cookie 0 is the start. The last entry is cut where the buffer ends, so that a
 * full buffer means "there may be more" and a part-filled one the end. "." and ".." are
 * included; the inode of ".." is given as the directory's own, since the parent may lie outside
 * of what the guest may see.
 */
#include "runtime/wasi.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIRENT_SIZE 24u

/* struct linux_dirent64: u64 ino, s64 off, u16 length, u8 type, name with NUL. */
enum {
    HOST_INO = 0,
    HOST_OFF = 8,
    HOST_LENGTH = 16,
    HOST_TYPE = 18,
    HOST_NAME = 19
};

static uint8_t filetype_of_entry(int dir_fd, uint8_t type, const char *name) {
    switch (type) {
    case DT_BLK: return WASI_FILETYPE_BLOCK_DEVICE;
    case DT_CHR: return WASI_FILETYPE_CHARACTER_DEVICE;
    case DT_DIR: return WASI_FILETYPE_DIRECTORY;
    case DT_REG: return WASI_FILETYPE_REGULAR_FILE;
    case DT_LNK: return WASI_FILETYPE_SYMBOLIC_LINK;
    case DT_SOCK: return WASI_FILETYPE_SOCKET_STREAM;
    case DT_UNKNOWN: {
        /* The file system does not tell. A name out of a directory is one component. */
        struct stat st;
        if (strcmp(name, "..") == 0) return WASI_FILETYPE_DIRECTORY;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return WASI_FILETYPE_UNKNOWN;
        return wasi_filetype_of_mode(st.st_mode);
    }
    default: return WASI_FILETYPE_UNKNOWN;
    }
}

struct output {
    uint8_t *bytes;
    uint32_t size, used;
};

/* false where the buffer is full. */
static bool put(struct output *out, const void *bytes, size_t size) {
    uint32_t room = out->size - out->used;
    uint32_t taken = size < room ? (uint32_t)size : room;
    memcpy(out->bytes + out->used, bytes, taken);
    out->used += taken;
    return out->used < out->size;
}

static bool put_entry(struct output *out, int dir_fd, const uint8_t *entry) {
    const char *name = (const char *)entry + HOST_NAME;
    size_t length = strlen(name);
    uint64_t inode, next;
    memcpy(&inode, entry + HOST_INO, 8);
    memcpy(&next, entry + HOST_OFF, 8);
    struct stat st;
    if (strcmp(name, "..") == 0) inode = fstat(dir_fd, &st) == 0 ? st.st_ino : 0;
    uint8_t header[DIRENT_SIZE] = {0};
    store_u64(header, next);
    store_u64(header + 8, inode);
    store_u32(header + 16, (uint32_t)length);
    header[20] = filetype_of_entry(dir_fd, entry[HOST_TYPE], name);
    return put(out, header, sizeof header) && put(out, name, length);
}

/* Enough for what is left of the guest's buffer, not much more: what the guest does not get now
 * would be read again. At least the longest name a file system may have. */
static size_t batch_size(const struct output *out, size_t limit) {
    size_t want = (size_t)(out->size - out->used) + 2048;
    return want < limit ? want : limit;
}

enum wasi_errno wasi_fd_readdir(struct wasi *w, struct guest_memory m, uint32_t fd,
                                uint32_t buf, uint32_t buf_len, uint64_t cookie,
                                uint32_t ret_n) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->filetype != WASI_FILETYPE_DIRECTORY) return WASI_ENOTDIR;
    enum wasi_errno e =
        d->volume ? WASI_OK : wasi_descriptor_get(w, fd, WASI_RIGHT_FD_READDIR, &d);
    if (e != WASI_OK) return e;
    uint8_t *bytes = guest_range(m, buf, buf_len);
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!bytes || !n) return WASI_EFAULT;
    if (d->volume) {
        uint32_t used = 0;
        e = wasi_volume_readdir(d, bytes, buf_len, cookie, &used);
        if (e == WASI_OK) store_u32(n, used);
        return e;
    }
    if (d->image) {
        uint32_t used = 0;
        e = wasi_image_readdir(d, bytes, buf_len, cookie, &used);
        if (e == WASI_OK) store_u32(n, used);
        return e;
    }
    if (d->files) {
        uint32_t used = 0;
        e = wasi_files_readdir(d, bytes, buf_len, cookie, &used);
        if (e == WASI_OK) store_u32(n, used);
        return e;
    }
    if (wasi_accepts(d)) {
        store_u32(n, wasi_accepts_readdir(bytes, buf_len, cookie));
        return WASI_OK;
    }
    if (cookie > INT64_MAX || lseek(d->host_fd, (off_t)cookie, SEEK_SET) < 0)
        return cookie > INT64_MAX ? WASI_EINVAL : wasi_errno_last();

    struct output out = {.bytes = bytes, .size = buf_len};
    while (out.used < out.size) {
        uint8_t *batch = w->scratch->bytes;
        long got = syscall(SYS_getdents64, d->host_fd, batch,
                           batch_size(&out, sizeof w->scratch->bytes));
        if (got < 0) return wasi_errno_last();
        if (got == 0) break;
        wasi_scratch_use(w, (size_t)got);
        for (long at = 0; at < got;) {
            uint16_t length;
            memcpy(&length, batch + at + HOST_LENGTH, 2);
            if (!put_entry(&out, d->host_fd, batch + at)) break;
            at += length;
        }
    }
    store_u32(n, out.used);
    return WASI_OK;
}
