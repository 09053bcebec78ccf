/*
 * The path_ functions. Each loads its paths, finds the directory with the rights it needs, and
 * does one system call on what wasi_beneath.c gives it: a descriptor for what is opened, looked
 * at or touched, and a directory with a single name for what is made, removed or moved.
 *
 * Beneath a read-only preopen whatever would change something is EROFS, as on a file system
 * that is mounted so; that includes being the source of a hard link, since the link could be
 * written.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum wasi_errno directory_get(struct wasi *w, uint32_t fd, uint64_t rights,
                                     struct wasi_descriptor **ret) {
    struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    if (d->filetype != WASI_FILETYPE_DIRECTORY) return WASI_ENOTDIR;
    return wasi_descriptor_get(w, fd, rights, ret);
}

/* Directory and path of a function that changes nothing. */
static enum wasi_errno load(struct wasi *w, struct guest_memory m, uint32_t fd, uint64_t rights,
                            uint32_t path, uint32_t path_len, struct wasi_descriptor **ret,
                            char ret_path[WASI_PATH_SIZE]) {
    enum wasi_errno e = directory_get(w, fd, rights, ret);
    return e != WASI_OK ? e : wasi_path_load(m, path, path_len, ret_path);
}

/* The place of a function that makes, removes or moves something, in a directory of the host.
 */
static enum wasi_errno place_of(const struct wasi_descriptor *d, char *path, bool makes,
                                struct wasi_place *ret) {
    if (d->image) return wasi_image_refuse(d, path, makes);
    enum wasi_errno e = wasi_place_open(d->host_fd, path, ret);
    if (e != WASI_OK) return e;
    if (!d->read_only) return WASI_OK;
    wasi_place_close(ret);
    return WASI_EROFS;
}

/* The answer for a name that the system call must not see; then the place is closed. */
static enum wasi_errno result_of(struct wasi_place *place, enum wasi_errno if_dots,
                                 int (*call)(int, const char *, int), int argument) {
    enum wasi_errno e = if_dots;
    if (!place->dots)
        e = call(place->dir_fd, place->name, argument) == 0 ? WASI_OK : wasi_errno_last();
    wasi_place_close(place);
    return e;
}

/* ---- open -------------------------------------------------------------------------------- */

static int access_flags(uint64_t rights, uint32_t oflags) {
    const uint64_t reading = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_READDIR;
    uint64_t writing = WASI_RIGHT_FD_WRITE;
    /* Rights that a directory cannot have are no reason for EISDIR; to write one is. */
    if (!(oflags & WASI_OFLAG_DIRECTORY))
        writing |= WASI_RIGHT_FD_ALLOCATE | WASI_RIGHT_FD_FILESTAT_SET_SIZE;
    if (!(rights & writing)) return O_RDONLY;
    return rights & reading ? O_RDWR : O_WRONLY;
}

/* What a read-only preopen makes of an open: nothing is created. */
static enum wasi_errno open_read_only(int dir_fd, const char *path, int flags, int *ret_fd) {
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) return WASI_EROFS;
    enum wasi_errno e;
    if (flags & O_EXCL) {
        int there = -1;
        e = wasi_open_beneath(dir_fd, path, O_PATH | O_NOFOLLOW, 0, &there);
        if (e == WASI_OK) close(there);
        if (e == WASI_OK) e = WASI_EEXIST;
    } else {
        e = wasi_open_beneath(dir_fd, path, flags & ~O_CREAT, 0, ret_fd);
        struct stat st;
        if (e == WASI_OK && (flags & O_CREAT) && fstat(*ret_fd, &st) == 0 &&
            S_ISDIR(st.st_mode)) {
            close(*ret_fd);
            *ret_fd = -1;
            e = WASI_EISDIR;
        }
    }
    return e == WASI_ENOENT && (flags & O_CREAT) ? WASI_EROFS : e;
}

/* fdflags as the host would answer them: O_SYNC is O_DSYNC and more, and there is no other
 * O_RSYNC. */
static uint16_t flags_kept(uint32_t fdflags) {
    const uint32_t sync = WASI_FDFLAG_SYNC | WASI_FDFLAG_RSYNC;
    if (fdflags & sync) fdflags = (fdflags & ~(sync | WASI_FDFLAG_DSYNC)) | WASI_FDFLAG_SYNC;
    return (uint16_t)fdflags;
}

/* In an image or in memory: fills in what the descriptor stands for. */
static enum wasi_errno open_here(const struct wasi_descriptor *d, const char *name,
                                 uint32_t oflags, uint32_t dirflags, int flags,
                                 uint32_t fdflags, struct wasi_descriptor *ret_opened) {
    bool follow = dirflags & WASI_LOOKUP_SYMLINK_FOLLOW;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    enum wasi_errno e = d->files ? wasi_files_open(d, name, oflags, follow, writes, ret_opened)
                                 : wasi_image_open(d, name, oflags, follow, writes, ret_opened);
    if (e == WASI_OK) ret_opened->flags = flags_kept(fdflags);
    return e;
}

enum wasi_errno wasi_path_open(struct wasi *w, struct guest_memory m, uint32_t fd,
                               uint32_t dirflags, uint32_t path, uint32_t path_len,
                               uint32_t oflags, uint64_t base, uint64_t inheriting,
                               uint32_t fdflags, uint32_t ret_fd) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    if (wasi_volume_at(w, fd)) {
        uint8_t *number = guest_range(m, ret_fd, 4);
        if (!number) return WASI_EFAULT;
        return wasi_volume_open(w, m, fd, dirflags, path, path_len, oflags, base, inheriting,
                                fdflags, number);
    }
    uint64_t needed = WASI_RIGHT_PATH_OPEN;
    if (oflags & WASI_OFLAG_CREAT) needed |= WASI_RIGHT_PATH_CREATE_FILE;
    if (oflags & WASI_OFLAG_TRUNC) needed |= WASI_RIGHT_PATH_FILESTAT_SET_SIZE;
    enum wasi_errno e = load(w, m, fd, needed, path, path_len, &d, name);
    if (e != WASI_OK) return e;
    uint8_t *to = guest_range(m, ret_fd, 4);
    if (!to) return WASI_EFAULT;
    if (dirflags > 1 || oflags > 15 || fdflags > 31) return WASI_EINVAL;
    if ((oflags & WASI_OFLAG_CREAT) && (oflags & WASI_OFLAG_DIRECTORY)) return WASI_EINVAL;
    /* Reading and writing are refused at once; other rights beyond the inherited are not given.
     */
    const uint64_t data = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE;
    if (base & data & ~d->rights_inheriting) return WASI_ENOTCAPABLE;

    if (wasi_accepts(d))
        return wasi_accepts_open(w, d, name, oflags, base, inheriting, fdflags, to);
    int flags = access_flags(base & d->rights_inheriting, oflags) | wasi_open_flags(fdflags);
    flags |= O_NOCTTY;
    if (oflags & WASI_OFLAG_DIRECTORY) flags |= O_DIRECTORY;
    if (oflags & WASI_OFLAG_CREAT) flags |= O_CREAT | (oflags & WASI_OFLAG_EXCL ? O_EXCL : 0);
    if (oflags & WASI_OFLAG_TRUNC) flags |= O_TRUNC;
    if (!(dirflags & WASI_LOOKUP_SYMLINK_FOLLOW)) flags |= O_NOFOLLOW;

    struct wasi_descriptor opened = {
        .owned = true, .read_only = d->read_only, .host_fd = -1, .mount = d->mount};
    uint64_t allowed = d->rights_inheriting;
    int dir_fd = d->host_fd;
    uint32_t number = 0;
    if (d->image || d->files) {
        e = wasi_descriptor_reserve(w, &number); /* before a file is made */
        if (e != WASI_OK) return e;
        d = wasi_descriptor_at(w, fd); /* it may have moved */
        opened.owned = false;
        e = open_here(d, name, oflags, dirflags, flags, fdflags, &opened);
        if (e != WASI_OK) return e;
        opened.rights_base = base & allowed & wasi_rights_of_type(opened.filetype, -1);
        opened.rights_inheriting = inheriting & allowed;
        wasi_descriptor_put(w, number, &opened);
        store_u32(to, number);
        return WASI_OK;
    }
    e = wasi_descriptor_reserve(w, &number); /* before a file is made; d may have moved */
    if (e != WASI_OK) return e;
    e = opened.read_only ? open_read_only(dir_fd, name, flags, &opened.host_fd)
                         : wasi_open_beneath(dir_fd, name, flags, flags & O_CREAT ? 0666 : 0,
                                             &opened.host_fd);
    if (e != WASI_OK) return e;
    e = wasi_filetype_of_fd(opened.host_fd, &opened.filetype);
    if (e != WASI_OK) {
        close(opened.host_fd);
        return e;
    }
    opened.rights_base = base & allowed & wasi_rights_of_type(opened.filetype, opened.host_fd);
    opened.rights_inheriting = inheriting & allowed;
    wasi_descriptor_put(w, number, &opened);
    store_u32(to, number);
    return WASI_OK;
}

/* ---- attributes -------------------------------------------------------------------------- */

/* A descriptor for what the path names, good for looking at it and nothing else. */
static enum wasi_errno open_to_look(const struct wasi_descriptor *d, const char *path,
                                    uint32_t lookup, int *ret_fd) {
    int follow = lookup & WASI_LOOKUP_SYMLINK_FOLLOW ? 0 : O_NOFOLLOW;
    return wasi_open_beneath(d->host_fd, path, O_PATH | follow, 0, ret_fd);
}

enum wasi_errno wasi_path_filestat_get(struct wasi *w, struct guest_memory m, uint32_t fd,
                                       uint32_t flags, uint32_t path, uint32_t path_len,
                                       uint32_t ret_stat, enum wasi_abi abi) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    auto_fd int host_fd = -1;
    if ((d = wasi_volume_at(w, fd))) {
        uint8_t *there = guest_range(m, ret_stat, WASI_FILESTAT_SIZE(abi));
        if (!there) return WASI_EFAULT;
        return wasi_volume_path_filestat(d, m, flags, path, path_len, there, abi);
    }
    enum wasi_errno e = load(w, m, fd, WASI_RIGHT_PATH_FILESTAT_GET, path, path_len, &d, name);
    if (e != WASI_OK) return e;
    uint8_t *to = guest_range(m, ret_stat, WASI_FILESTAT_SIZE(abi));
    if (!to) return WASI_EFAULT;
    if (flags > 1) return WASI_EINVAL;
    if (d->image) return wasi_image_path_filestat(d, name, flags, to, abi);
    if (d->files) return wasi_files_path_filestat(d, name, flags, to, abi);
    if (wasi_accepts(d)) return wasi_accepts_path_filestat(name, to, abi);
    e = open_to_look(d, name, flags, &host_fd);
    if (e != WASI_OK) return e;
    struct stat st;
    if (fstat(host_fd, &st) != 0) return wasi_errno_last();
    wasi_filestat_store(to, &st, wasi_filetype_of_mode(st.st_mode), abi);
    return WASI_OK;
}

enum wasi_errno wasi_path_filestat_set_times(struct wasi *w, struct guest_memory m, uint32_t fd,
                                             uint32_t flags, uint32_t path, uint32_t path_len,
                                             uint64_t atim, uint64_t mtim, uint32_t fst_flags) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    struct timespec times[2];
    auto_fd int host_fd = -1;
    if ((d = wasi_volume_at(w, fd)))
        return wasi_volume_path_set_times(d, m, flags, path, path_len, atim, mtim, fst_flags);
    enum wasi_errno e =
        load(w, m, fd, WASI_RIGHT_PATH_FILESTAT_SET_TIMES, path, path_len, &d, name);
    if (e != WASI_OK) return e;
    e = wasi_times_load(atim, mtim, fst_flags, times);
    if (e != WASI_OK) return e;
    if (flags > 1) return WASI_EINVAL;
    if (d->files) return wasi_files_path_set_times(d, name, flags, times);
    if (d->image) {
        uint8_t unused[WASI_FILESTAT_SIZE(WASI_PREVIEW1)];
        e = wasi_image_path_filestat(d, name, flags, unused, WASI_PREVIEW1);
        return e == WASI_OK ? WASI_EROFS : e;
    }
    e = open_to_look(d, name, flags, &host_fd);
    if (e != WASI_OK) return e;
    if (d->read_only) return WASI_EROFS;
    return utimensat(host_fd, "", times, AT_EMPTY_PATH) == 0 ? WASI_OK : wasi_errno_last();
}

/* ---- make and remove --------------------------------------------------------------------- */

static int call_mkdirat(int dir_fd, const char *name, int mode) {
    return mkdirat(dir_fd, name, (mode_t)mode);
}

enum wasi_errno wasi_path_create_directory(struct wasi *w, struct guest_memory m, uint32_t fd,
                                           uint32_t path, uint32_t path_len) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    struct wasi_place place;
    if ((d = wasi_volume_at(w, fd)))
        return wasi_volume_change(d, m, WASI_VOLUME_MKDIR, path, path_len);
    enum wasi_errno e =
        load(w, m, fd, WASI_RIGHT_PATH_CREATE_DIRECTORY, path, path_len, &d, name);
    if (e == WASI_OK && d->files) return wasi_files_mkdir(d, name);
    if (e == WASI_OK) e = place_of(d, name, true, &place);
    return e != WASI_OK ? e : result_of(&place, WASI_EEXIST, call_mkdirat, 0777);
}

enum wasi_errno wasi_path_remove_directory(struct wasi *w, struct guest_memory m, uint32_t fd,
                                           uint32_t path, uint32_t path_len) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    struct wasi_place place;
    if ((d = wasi_volume_at(w, fd)))
        return wasi_volume_change(d, m, WASI_VOLUME_RMDIR, path, path_len);
    enum wasi_errno e =
        load(w, m, fd, WASI_RIGHT_PATH_REMOVE_DIRECTORY, path, path_len, &d, name);
    if (e == WASI_OK && d->files) return wasi_files_rmdir(d, name);
    if (e == WASI_OK) e = place_of(d, name, false, &place);
    if (e != WASI_OK) return e;
    enum wasi_errno if_dots = place.name[1] == '.' ? WASI_ENOTEMPTY : WASI_EINVAL;
    return result_of(&place, if_dots, unlinkat, AT_REMOVEDIR);
}

enum wasi_errno wasi_path_unlink_file(struct wasi *w, struct guest_memory m, uint32_t fd,
                                      uint32_t path, uint32_t path_len) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE];
    struct wasi_place place;
    if ((d = wasi_volume_at(w, fd)))
        return wasi_volume_change(d, m, WASI_VOLUME_UNLINK, path, path_len);
    enum wasi_errno e = load(w, m, fd, WASI_RIGHT_PATH_UNLINK_FILE, path, path_len, &d, name);
    if (e == WASI_OK && d->files) return wasi_files_unlink(d, name);
    if (e == WASI_OK) e = place_of(d, name, false, &place);
    return e != WASI_OK ? e : result_of(&place, WASI_EISDIR, unlinkat, 0);
}

/* ---- links and renames ------------------------------------------------------------------- */

enum wasi_errno wasi_path_symlink(struct wasi *w, struct guest_memory m, uint32_t old_path,
                                  uint32_t old_len, uint32_t fd, uint32_t new_path,
                                  uint32_t new_len) {
    struct wasi_descriptor *d;
    char target[WASI_PATH_SIZE], name[WASI_PATH_SIZE];
    struct wasi_place place;
    if ((d = wasi_volume_at(w, fd)))
        return wasi_volume_symlink(d, m, old_path, old_len, new_path, new_len);
    enum wasi_errno e = wasi_path_load(m, old_path, old_len, target);
    if (e != WASI_OK) return e;
    /* The guest could not follow it, but a program on the host might. */
    if (target[0] == '/') return WASI_EPERM;
    e = load(w, m, fd, WASI_RIGHT_PATH_SYMLINK, new_path, new_len, &d, name);
    if (e == WASI_OK && d->files) return wasi_files_symlink(d, target, name);
    if (e == WASI_OK) e = place_of(d, name, true, &place);
    if (e != WASI_OK) return e;
    e = WASI_EEXIST;
    if (!place.dots)
        e = symlinkat(target, place.dir_fd, place.name) == 0 ? WASI_OK : wasi_errno_last();
    wasi_place_close(&place);
    return e;
}

/* A slash at the end makes even these system calls follow a symlink, outside of the wall: so
 * the path is walked here, to a directory, which is what they refuse. */
static enum wasi_errno walk_to_directory(int dir_fd, const char *path,
                                         enum wasi_errno refusal) {
    int end = -1;
    enum wasi_errno e = wasi_open_beneath(dir_fd, path, O_PATH | O_DIRECTORY, 0, &end);
    if (e != WASI_OK) return e;
    close(end);
    return refusal;
}

enum wasi_errno wasi_path_readlink(struct wasi *w, struct guest_memory m, uint32_t fd,
                                   uint32_t path, uint32_t path_len, uint32_t buf,
                                   uint32_t buf_len, uint32_t ret_n) {
    struct wasi_descriptor *d;
    char name[WASI_PATH_SIZE], target[WASI_PATH_SIZE];
    struct wasi_place place;
    if ((d = wasi_volume_at(w, fd))) {
        uint8_t *there = guest_range(m, buf, buf_len), *count = guest_range(m, ret_n, 4);
        if (!there || !count) return WASI_EFAULT;
        return wasi_volume_readlink(d, m, path, path_len, there, buf_len, count);
    }
    enum wasi_errno e = load(w, m, fd, WASI_RIGHT_PATH_READLINK, path, path_len, &d, name);
    if (e != WASI_OK) return e;
    uint8_t *to = guest_range(m, buf, buf_len);
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!to || !n) return WASI_EFAULT;
    if (d->image) {
        uint32_t length = 0;
        e = wasi_image_readlink(d, name, to, buf_len, &length);
        if (e == WASI_OK) store_u32(n, length);
        return e;
    }
    if (d->files) {
        uint32_t length = 0;
        e = wasi_files_readlink(d, name, to, buf_len, &length);
        if (e == WASI_OK) store_u32(n, length);
        return e;
    }
    if (name[path_len - 1] == '/') return walk_to_directory(d->host_fd, name, WASI_EINVAL);
    e = wasi_place_open(d->host_fd, name, &place);
    if (e != WASI_OK) return e;
    ssize_t length = -1;
    e = WASI_EINVAL;
    if (!place.dots) {
        length = readlinkat(place.dir_fd, place.name, target, sizeof target);
        if (length < 0) e = wasi_errno_last();
    }
    wasi_place_close(&place);
    if (length < 0) return e;
    uint32_t taken = (uint32_t)length < buf_len ? (uint32_t)length : buf_len;
    memcpy(to, target, taken);
    store_u32(n, taken);
    return WASI_OK;
}

enum wasi_errno wasi_path_link(struct wasi *w, struct guest_memory m, uint32_t old_fd,
                               uint32_t old_flags, uint32_t old_path, uint32_t old_len,
                               uint32_t new_fd, uint32_t new_path, uint32_t new_len) {
    struct wasi_descriptor *old, *new;
    char from_name[WASI_PATH_SIZE], to_name[WASI_PATH_SIZE];
    struct wasi_place from, to;
    if (wasi_volume_at(w, old_fd) || wasi_volume_at(w, new_fd))
        return wasi_volume_link(w, m, old_fd, old_flags, old_path, old_len, new_fd, new_path,
                                new_len);
    enum wasi_errno e =
        load(w, m, old_fd, WASI_RIGHT_PATH_LINK_SOURCE, old_path, old_len, &old, from_name);
    if (e != WASI_OK) return e;
    /* Linking what a symlink leads to needs a privilege (linkat(2), AT_EMPTY_PATH). */
    if (old_flags) return WASI_EINVAL;
    e = load(w, m, new_fd, WASI_RIGHT_PATH_LINK_TARGET, new_path, new_len, &new, to_name);
    if (e != WASI_OK) return e;
    if (old->files || new->files) return wasi_files_link(old, from_name, new, to_name);
    if (old->read_only) return WASI_EROFS;
    if (from_name[old_len - 1] == '/')
        return walk_to_directory(old->host_fd, from_name, WASI_EPERM);
    e = wasi_place_open(old->host_fd, from_name, &from);
    if (e != WASI_OK) return e;
    e = place_of(new, to_name, true, &to);
    if (e == WASI_OK) {
        if (from.dots)
            e = WASI_EPERM;
        else if (to.dots)
            e = WASI_EEXIST;
        else if (linkat(from.dir_fd, from.name, to.dir_fd, to.name, 0) != 0)
            e = wasi_errno_last();
        wasi_place_close(&to);
    }
    wasi_place_close(&from);
    return e;
}

enum wasi_errno wasi_path_rename(struct wasi *w, struct guest_memory m, uint32_t old_fd,
                                 uint32_t old_path, uint32_t old_len, uint32_t new_fd,
                                 uint32_t new_path, uint32_t new_len) {
    struct wasi_descriptor *old, *new;
    char from_name[WASI_PATH_SIZE], to_name[WASI_PATH_SIZE];
    struct wasi_place from, to;
    if (wasi_volume_at(w, old_fd) || wasi_volume_at(w, new_fd))
        return wasi_volume_rename(w, m, old_fd, old_path, old_len, new_fd, new_path, new_len);
    enum wasi_errno e =
        load(w, m, old_fd, WASI_RIGHT_PATH_RENAME_SOURCE, old_path, old_len, &old, from_name);
    if (e != WASI_OK) return e;
    e = load(w, m, new_fd, WASI_RIGHT_PATH_RENAME_TARGET, new_path, new_len, &new, to_name);
    if (e != WASI_OK) return e;
    if (old->files || new->files) return wasi_files_rename(old, from_name, new, to_name);
    e = place_of(old, from_name, false, &from);
    if (e != WASI_OK) return e;
    e = place_of(new, to_name, false, &to);
    if (e == WASI_OK) {
        if (from.dots || to.dots)
            e = WASI_EBUSY;
        else if (renameat(from.dir_fd, from.name, to.dir_fd, to.name) != 0)
            e = wasi_errno_last();
        wasi_place_close(&to);
    }
    wasi_place_close(&from);
    return e;
}
