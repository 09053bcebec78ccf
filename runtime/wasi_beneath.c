/*
 * The wall around a directory: a guest's path becomes a host descriptor only here, and only
 * with openat2(2) and RESOLVE_BENEATH. The kernel walks the path and refuses every step that
 * would leave the directory: `..` at its top, absolute symlinks, symlinks that climb out, magic
 * links of /proc; and it notices when a directory is moved away under its feet (EAGAIN, tried
 * again). Nothing is decided by looking at names, so there is nothing to race with.
 *
 * System calls that have no openat2 of their own (mkdirat, unlinkat, renameat...) get the
 * directory that holds the last component, opened like that, and a name that is one component
 * and neither "." nor "..": such a call cannot walk anywhere.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How often a walk is tried again that something else moved directories under. */
#define MAX_ATTEMPTS 64

static int beneath(int dir_fd, const char *path, int flags, unsigned mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    for (int attempt = 0;; attempt++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN || attempt == MAX_ATTEMPTS) return (int)fd;
    }
}

enum wasi_errno wasi_beneath_probe(int dir_fd) {
    int fd = beneath(dir_fd, ".", O_PATH | O_DIRECTORY, 0);
    if (fd < 0) return wasi_errno_last();
    close(fd);
    return WASI_OK;
}

enum wasi_errno wasi_path_load(struct guest_memory m, uint32_t address, uint32_t length,
                               char ret_path[WASI_PATH_SIZE]) {
    const uint8_t *from = guest_range(m, address, length);
    if (!from) return WASI_EFAULT;
    if (length == 0) return WASI_ENOENT;
    if (length >= WASI_PATH_SIZE) return WASI_ENAMETOOLONG;
    memcpy(ret_path, from, length);
    ret_path[length] = 0;
    if (strlen(ret_path) != length) return WASI_EINVAL;
    return WASI_OK;
}

enum wasi_errno wasi_open_beneath(int dir_fd, const char *path, int flags, unsigned mode,
                                  int *ret_fd) {
    if (path[0] == '/') return WASI_EPERM;
    int fd = beneath(dir_fd, path, flags, mode);
    if (fd < 0) return errno == EXDEV ? WASI_EPERM : wasi_errno_last();
    *ret_fd = fd;
    return WASI_OK;
}

enum wasi_errno wasi_place_open(int dir_fd, char *path, struct wasi_place *ret_place) {
    if (path[0] == '/') return WASI_EPERM;
    struct wasi_place place = {.dir_fd = dir_fd, .opened = -1, .name = path};
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/' && path[length - 2] == '/') path[--length] = 0;
    place.slash = path[length - 1] == '/';
    size_t name_end = place.slash ? length - 1 : length;
    size_t name_start = name_end;
    while (name_start > 0 && path[name_start - 1] != '/') name_start--;
    place.name = path + name_start;
    size_t name_length = name_end - name_start;
    place.dots = (name_length == 1 && place.name[0] == '.') ||
                 (name_length == 2 && place.name[0] == '.' && place.name[1] == '.');
    if (place.dots) {
        /* Walked to its end, for the errno that an escape or a missing directory deserves. */
        int end = -1;
        enum wasi_errno e = wasi_open_beneath(dir_fd, path, O_PATH | O_DIRECTORY, 0, &end);
        if (e != WASI_OK) return e;
        close(end);
    } else if (name_start > 0) {
        path[name_start - 1] = 0;
        enum wasi_errno e =
            wasi_open_beneath(dir_fd, path, O_PATH | O_DIRECTORY, 0, &place.opened);
        if (e != WASI_OK) return e;
        place.dir_fd = place.opened;
    }
    *ret_place = place;
    return WASI_OK;
}

void wasi_place_close(struct wasi_place *place) {
    if (place->opened >= 0) close(place->opened);
    place->opened = -1;
}
