/*
 * The table of descriptors: numbers to host descriptors with a type and rights. Numbers are
 * given lowest first; the table doubles up to WASI_MAX_DESCRIPTORS. Also the functions that are
 * about numbers and rights: fd_close, fd_renumber, fd_fdstat_set_rights, fd_prestat_*.
 *
 * A right that is missing is ENOTCAPABLE; the functions that have a better answer (EISDIR,
 * EBADF, ESPIPE) give it before they come here.
 */
#include "runtime/wasi.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct wasi_descriptor *wasi_descriptor_at(struct wasi *w, uint32_t fd) {
    if (fd >= w->capacity || !w->descriptors[fd].used) return NULL;
    return &w->descriptors[fd];
}

enum wasi_errno wasi_descriptor_get(struct wasi *w, uint32_t fd, uint64_t rights,
                                    struct wasi_descriptor **ret_descriptor) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (rights & ~d->rights_base) return WASI_ENOTCAPABLE;
    *ret_descriptor = d;
    return WASI_OK;
}

/* Whether the guest has as many files open as it may. What it was given does not count. */
static bool has_all_files(const struct wasi *w) {
    uint32_t count = 0;
    for (uint32_t fd = 0; fd < w->capacity; fd++) {
        const struct wasi_descriptor *d = &w->descriptors[fd];
        count += d->used && !d->preopen && !d->standard && !d->requests && !d->request;
    }
    return count >= w->max_files;
}

enum wasi_errno wasi_descriptor_reserve(struct wasi *w, uint32_t *ret_fd) {
    if (w->max_files && has_all_files(w)) return WASI_EMFILE;
    for (uint32_t fd = 0; fd < w->capacity; fd++) {
        if (w->descriptors[fd].used) continue;
        *ret_fd = fd;
        return WASI_OK;
    }
    uint32_t capacity = w->capacity * 2;
    if (capacity > WASI_MAX_DESCRIPTORS) return WASI_EMFILE;
    struct wasi_descriptor *grown = realloc(w->descriptors, capacity * sizeof *grown);
    if (!grown) return WASI_ENOMEM;
    memset(grown + w->capacity, 0, (capacity - w->capacity) * sizeof *grown);
    *ret_fd = w->capacity;
    w->descriptors = grown;
    w->capacity = capacity;
    return WASI_OK;
}

void wasi_descriptor_put(struct wasi *w, uint32_t fd, const struct wasi_descriptor *d) {
    CHECK(fd < w->capacity && !w->descriptors[fd].used);
    w->descriptors[fd] = *d;
    w->descriptors[fd].used = true;
}

/* ---- types and rights -------------------------------------------------------------------- */

uint8_t wasi_filetype_of_mode(unsigned mode) {
    switch (mode & S_IFMT) {
    case S_IFBLK: return WASI_FILETYPE_BLOCK_DEVICE;
    case S_IFCHR: return WASI_FILETYPE_CHARACTER_DEVICE;
    case S_IFDIR: return WASI_FILETYPE_DIRECTORY;
    case S_IFREG: return WASI_FILETYPE_REGULAR_FILE;
    case S_IFLNK: return WASI_FILETYPE_SYMBOLIC_LINK;
    case S_IFSOCK: return WASI_FILETYPE_SOCKET_STREAM; /* refined by wasi_filetype_of_fd */
    default: return WASI_FILETYPE_UNKNOWN;             /* a pipe has no type of its own */
    }
}

enum wasi_errno wasi_filetype_of_fd(int host_fd, uint8_t *ret_filetype) {
    struct stat st;
    if (fstat(host_fd, &st) != 0) return wasi_errno_last();
    *ret_filetype = wasi_filetype_of_mode(st.st_mode);
    if (!S_ISSOCK(st.st_mode)) return WASI_OK;
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(host_fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM)
        *ret_filetype = WASI_FILETYPE_SOCKET_DGRAM;
    return WASI_OK;
}

uint64_t wasi_rights_of_type(uint8_t filetype, int host_fd) {
    const uint64_t any = WASI_RIGHT_FD_FDSTAT_SET_FLAGS | WASI_RIGHT_FD_FILESTAT_GET |
                         WASI_RIGHT_POLL_FD_READWRITE;
    const uint64_t data = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE;
    const uint64_t position = WASI_RIGHT_FD_SEEK | WASI_RIGHT_FD_TELL;
    const uint64_t file = any | data | WASI_RIGHT_FD_DATASYNC | WASI_RIGHT_FD_SYNC |
                          WASI_RIGHT_FD_ADVISE | WASI_RIGHT_FD_ALLOCATE |
                          WASI_RIGHT_FD_FILESTAT_SET_SIZE | WASI_RIGHT_FD_FILESTAT_SET_TIMES;
    switch (filetype) {
    case WASI_FILETYPE_REGULAR_FILE:
    case WASI_FILETYPE_BLOCK_DEVICE: return file | position;
    case WASI_FILETYPE_DIRECTORY:
        return any | WASI_RIGHT_FD_DATASYNC | WASI_RIGHT_FD_SYNC | WASI_RIGHT_FD_READDIR |
               WASI_RIGHT_FD_ADVISE | WASI_RIGHT_FD_FILESTAT_SET_TIMES |
               WASI_RIGHT_PATH_CREATE_DIRECTORY | WASI_RIGHT_PATH_CREATE_FILE |
               WASI_RIGHT_PATH_LINK_SOURCE | WASI_RIGHT_PATH_LINK_TARGET |
               WASI_RIGHT_PATH_OPEN | WASI_RIGHT_PATH_READLINK | WASI_RIGHT_PATH_RENAME_SOURCE |
               WASI_RIGHT_PATH_RENAME_TARGET | WASI_RIGHT_PATH_FILESTAT_GET |
               WASI_RIGHT_PATH_FILESTAT_SET_SIZE | WASI_RIGHT_PATH_FILESTAT_SET_TIMES |
               WASI_RIGHT_PATH_SYMLINK | WASI_RIGHT_PATH_REMOVE_DIRECTORY |
               WASI_RIGHT_PATH_UNLINK_FILE;
    case WASI_FILETYPE_SOCKET_DGRAM:
    case WASI_FILETYPE_SOCKET_STREAM:
        return any | data | WASI_RIGHT_SOCK_SHUTDOWN | WASI_RIGHT_SOCK_ACCEPT;
    case WASI_FILETYPE_CHARACTER_DEVICE:
        /* isatty of wasi-libc: a character device without the rights to seek and tell. */
        return host_fd >= 0 && isatty(host_fd) ? file : file | position;
    default: return file;
    }
}

enum wasi_errno wasi_fd_fdstat_set_rights(struct wasi *w, struct guest_memory m, uint32_t fd,
                                          uint64_t base, uint64_t inheriting) {
    (void)m;
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->volume) return wasi_volume_set_rights(d, base, inheriting);
    if ((base & ~d->rights_base) || (inheriting & ~d->rights_inheriting))
        return WASI_ENOTCAPABLE;
    d->rights_base = base;
    d->rights_inheriting = inheriting;
    return WASI_OK;
}

/* ---- numbers ----------------------------------------------------------------------------- */

enum wasi_errno wasi_fd_close(struct wasi *w, struct guest_memory m, uint32_t fd) {
    (void)m;
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    struct wasi_descriptor closed = *d;
    *d = (struct wasi_descriptor){.used = false};
    if (closed.files) wasi_files_close(&closed);
    if (closed.volume) return wasi_volume_close(&closed);
    /* close(2): the descriptor is gone whatever is returned, so a guest must not try again. */
    if (closed.owned && close(closed.host_fd) != 0) {
        enum wasi_errno e = wasi_errno_last();
        return e == WASI_EINTR ? WASI_OK : e;
    }
    return WASI_OK;
}

enum wasi_errno wasi_fd_renumber(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t to) {
    struct wasi_descriptor *from = wasi_descriptor_at(w, fd);
    if (!from || !wasi_descriptor_at(w, to)) return WASI_EBADF;
    if (fd == to) return WASI_OK;
    (void)wasi_fd_close(w, m, to);
    w->descriptors[to] = *from;
    *from = (struct wasi_descriptor){.used = false};
    return WASI_OK;
}

/* ---- preopened directories --------------------------------------------------------------- */

enum wasi_errno wasi_fd_prestat_get(struct wasi *w, struct guest_memory m, uint32_t fd,
                                    uint32_t ret_prestat) {
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d || !(d->preopen || d->requests))
        return WASI_EBADF; /* where wasi-libc stops looking */
    uint8_t *to = guest_range(m, ret_prestat, 8);
    if (!to) return WASI_EFAULT;
    if (d->requests) { /* preopened, but no directory: C libraries look further */
        store_u32(to, 1);
        store_u32(to + 4, 0);
        return WASI_OK;
    }
    store_u32(to, 0); /* the tag of a directory, and padding */
    store_u32(to + 4, d->mount->guest_path_length);
    return WASI_OK;
}

enum wasi_errno wasi_fd_prestat_dir_name(struct wasi *w, struct guest_memory m, uint32_t fd,
                                         uint32_t path, uint32_t path_len) {
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d || !d->preopen) return WASI_EBADF;
    uint8_t *to = guest_range(m, path, path_len);
    if (!to) return WASI_EFAULT;
    if (path_len < d->mount->guest_path_length) return WASI_ENAMETOOLONG;
    memcpy(to, d->mount->guest_path, d->mount->guest_path_length);
    return WASI_OK;
}
