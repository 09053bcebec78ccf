/*
 * Attributes of open files: fd_fdstat_get, fd_filestat_*, flags, sizes, times, sync, allocation
 * and advice, each one system call on the host descriptor after rights were looked at. Also the
 * conversions between host and WASI structures that the path_ functions share.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- conversions ------------------------------------------------------------------------- */

uint64_t wasi_ns_of_timespec(const struct timespec *ts) {
    uint64_t ns = 0;
    if (ts->tv_sec < 0) return 0;
    if (mul_overflows((uint64_t)ts->tv_sec, UINT64_C(1000000000), &ns)) return UINT64_MAX;
    if (add_overflows(ns, (uint64_t)ts->tv_nsec, &ns)) return UINT64_MAX;
    return ns;
}

struct timespec wasi_timespec_of_ns(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                             .tv_nsec = (long)(ns % UINT64_C(1000000000))};
}

void wasi_filestat_store(uint8_t *to, const struct stat *st, uint8_t filetype,
                         enum wasi_abi abi) {
    /* snapshot 0 has a 32-bit nlink right behind the type; preview1 a 64-bit one, aligned. */
    memset(to, 0, WASI_FILESTAT_SIZE(abi));
    store_u64(to, st->st_dev);
    store_u64(to + 8, st->st_ino);
    to[16] = filetype;
    uint8_t *rest = to + 24;
    if (abi == WASI_SNAPSHOT0) {
        store_u32(to + 20, st->st_nlink > UINT32_MAX ? UINT32_MAX : (uint32_t)st->st_nlink);
    } else {
        store_u64(to + 24, st->st_nlink);
        rest = to + 32;
    }
    store_u64(rest, st->st_size < 0 ? 0 : (uint64_t)st->st_size);
    store_u64(rest + 8, wasi_ns_of_timespec(&st->st_atim));
    store_u64(rest + 16, wasi_ns_of_timespec(&st->st_mtim));
    store_u64(rest + 24, wasi_ns_of_timespec(&st->st_ctim));
}

static struct timespec time_to_set(uint64_t ns, bool set, bool now) {
    if (now) return (struct timespec){.tv_nsec = UTIME_NOW};
    if (!set) return (struct timespec){.tv_nsec = UTIME_OMIT};
    return wasi_timespec_of_ns(ns);
}

enum wasi_errno wasi_times_load(uint64_t atim, uint64_t mtim, uint32_t flags,
                                struct timespec ret_times[2]) {
    const uint32_t both_a = WASI_FST_ATIM | WASI_FST_ATIM_NOW;
    const uint32_t both_m = WASI_FST_MTIM | WASI_FST_MTIM_NOW;
    if (flags & ~(both_a | both_m)) return WASI_EINVAL;
    if ((flags & both_a) == both_a || (flags & both_m) == both_m) return WASI_EINVAL;
    ret_times[0] = time_to_set(atim, flags & WASI_FST_ATIM, flags & WASI_FST_ATIM_NOW);
    ret_times[1] = time_to_set(mtim, flags & WASI_FST_MTIM, flags & WASI_FST_MTIM_NOW);
    return WASI_OK;
}

int wasi_open_flags(uint32_t fdflags) {
    int flags = 0;
    if (fdflags & WASI_FDFLAG_APPEND) flags |= O_APPEND;
    if (fdflags & WASI_FDFLAG_DSYNC) flags |= O_DSYNC;
    if (fdflags & WASI_FDFLAG_NONBLOCK) flags |= O_NONBLOCK;
    if (fdflags & WASI_FDFLAG_RSYNC) flags |= O_RSYNC;
    if (fdflags & WASI_FDFLAG_SYNC) flags |= O_SYNC;
    return flags;
}

static uint16_t fdflags_of_host(int flags) {
    uint16_t fdflags = 0;
    if (flags & O_APPEND) fdflags |= WASI_FDFLAG_APPEND;
    if (flags & O_NONBLOCK) fdflags |= WASI_FDFLAG_NONBLOCK;
    /* O_SYNC contains O_DSYNC, and Linux has no other O_RSYNC than O_SYNC. */
    if ((flags & O_SYNC) == O_SYNC)
        fdflags |= WASI_FDFLAG_SYNC;
    else if (flags & O_DSYNC)
        fdflags |= WASI_FDFLAG_DSYNC;
    return fdflags;
}

/* ---- fdstat ------------------------------------------------------------------------------ */

enum wasi_errno wasi_fd_fdstat_get(struct wasi *w, struct guest_memory m, uint32_t fd,
                                   uint32_t ret_stat) {
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (!d) return WASI_EBADF;
    uint8_t *to = guest_range(m, ret_stat, 24);
    if (!to) return WASI_EFAULT;
    if (d->volume) return wasi_volume_fdstat(d, to);
    uint16_t fdflags = d->filetype == WASI_FILETYPE_DIRECTORY ? 0 : d->flags;
    if (d->filetype != WASI_FILETYPE_DIRECTORY && d->host_fd >= 0) {
        int flags = fcntl(d->host_fd, F_GETFL);
        if (flags < 0) return wasi_errno_last();
        fdflags = fdflags_of_host(flags);
    }
    memset(to, 0, 24);
    to[0] = d->filetype;
    store_u16(to + 2, fdflags);
    store_u64(to + 8, d->rights_base);
    store_u64(to + 16, d->rights_inheriting);
    return WASI_OK;
}

enum wasi_errno wasi_fd_fdstat_set_flags(struct wasi *w, struct guest_memory m, uint32_t fd,
                                         uint32_t flags) {
    (void)m;
    struct wasi_descriptor *d;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_set_flags(d, flags);
    enum wasi_errno e = wasi_descriptor_get(w, fd, WASI_RIGHT_FD_FDSTAT_SET_FLAGS, &d);
    if (e != WASI_OK) return e;
    if (flags & ~(uint32_t)31) return WASI_EINVAL;
    if (d->image || d->files || d->requests) {
        const uint32_t settable = WASI_FDFLAG_APPEND | WASI_FDFLAG_NONBLOCK;
        uint32_t had = d->flags; /* on Linux O_SYNC has the others in it */
        if (had & WASI_FDFLAG_SYNC) had |= WASI_FDFLAG_DSYNC | WASI_FDFLAG_RSYNC;
        if (flags & ~settable & ~had) return WASI_ENOTSUP;
        if (d->filetype == WASI_FILETYPE_DIRECTORY) return flags ? WASI_EINVAL : WASI_OK;
        d->flags = (uint16_t)((d->flags & ~settable) | (flags & settable));
        return WASI_OK;
    }
    int old = fcntl(d->host_fd, F_GETFL);
    if (old < 0) return wasi_errno_last();
    /* Linux cannot change how a file syncs once it is open, and F_SETFL does not say so. */
    int wanted = wasi_open_flags(flags);
    if ((wanted & O_SYNC) & ~old) return WASI_ENOTSUP;
    if (d->filetype == WASI_FILETYPE_DIRECTORY) return flags ? WASI_EINVAL : WASI_OK;
    int changed = (old & ~(O_APPEND | O_NONBLOCK)) | (wanted & (O_APPEND | O_NONBLOCK));
    return fcntl(d->host_fd, F_SETFL, changed) == 0 ? WASI_OK : wasi_errno_last();
}

/* ---- filestat ---------------------------------------------------------------------------- */

enum wasi_errno wasi_fd_filestat_get(struct wasi *w, struct guest_memory m, uint32_t fd,
                                     uint32_t ret_stat, enum wasi_abi abi) {
    struct wasi_descriptor *d = wasi_volume_at(w, fd);
    enum wasi_errno e =
        d ? WASI_OK : wasi_descriptor_get(w, fd, WASI_RIGHT_FD_FILESTAT_GET, &d);
    if (e != WASI_OK) return e;
    uint8_t *to = guest_range(m, ret_stat, WASI_FILESTAT_SIZE(abi));
    if (!to) return WASI_EFAULT;
    if (d->volume) return wasi_volume_filestat(d, to, abi);
    if (d->image) return wasi_image_filestat(d, to, abi);
    if (d->files) return wasi_files_filestat(d, to, abi);
    if (wasi_accepts(d)) {
        wasi_accepts_filestat(to, abi);
        return WASI_OK;
    }
    struct stat st = {0};
    if (!d->requests && fstat(d->host_fd, &st) != 0) return wasi_errno_last();
    wasi_filestat_store(to, &st, d->filetype, abi);
    return WASI_OK;
}

/* What directories cannot do has EISDIR, whatever their rights say. */
static enum wasi_errno file_get(struct wasi *w, uint32_t fd, uint64_t rights,
                                struct wasi_descriptor **ret) {
    const struct wasi_descriptor *d = wasi_descriptor_at(w, fd);
    if (d && d->filetype == WASI_FILETYPE_DIRECTORY) return WASI_EISDIR;
    return wasi_descriptor_get(w, fd, rights, ret);
}

enum wasi_errno wasi_fd_filestat_set_size(struct wasi *w, struct guest_memory m, uint32_t fd,
                                          uint64_t size) {
    (void)m;
    struct wasi_descriptor *d;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_set_size(d, size);
    enum wasi_errno e = file_get(w, fd, WASI_RIGHT_FD_FILESTAT_SET_SIZE, &d);
    if (e != WASI_OK) return e;
    if (size > INT64_MAX) return WASI_EINVAL;
    if (d->image) return WASI_EROFS;
    if (d->files) return wasi_files_set_size(d, size);
    return ftruncate(d->host_fd, (off_t)size) == 0 ? WASI_OK : wasi_errno_last();
}

enum wasi_errno wasi_fd_filestat_set_times(struct wasi *w, struct guest_memory m, uint32_t fd,
                                           uint64_t atim, uint64_t mtim, uint32_t flags) {
    (void)m;
    struct wasi_descriptor *d;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_set_times(d, atim, mtim, flags);
    enum wasi_errno e = wasi_descriptor_get(w, fd, WASI_RIGHT_FD_FILESTAT_SET_TIMES, &d);
    if (e != WASI_OK) return e;
    struct timespec times[2];
    e = wasi_times_load(atim, mtim, flags, times);
    if (e != WASI_OK) return e;
    if (d->read_only) return WASI_EROFS;
    if (d->files) return wasi_files_set_times(d, times);
    /* By descriptor, also where it is one with O_PATH, which futimens(3) would refuse. */
    return utimensat(d->host_fd, "", times, AT_EMPTY_PATH) == 0 ? WASI_OK : wasi_errno_last();
}

/* ---- sync, allocation, advice ------------------------------------------------------------ */

static enum wasi_errno sync_with(struct wasi *w, uint32_t fd, uint64_t right,
                                 int (*call)(int)) {
    struct wasi_descriptor *d;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_sync(d, call == fdatasync);
    enum wasi_errno e = wasi_descriptor_get(w, fd, right, &d);
    if (e != WASI_OK) return e;
    if (d->image || d->files) return WASI_OK; /* it is as it is, and goes to no disk */
    return call(d->host_fd) == 0 ? WASI_OK : wasi_errno_last();
}

enum wasi_errno wasi_fd_datasync(struct wasi *w, struct guest_memory m, uint32_t fd) {
    (void)m;
    return sync_with(w, fd, WASI_RIGHT_FD_DATASYNC, fdatasync);
}

enum wasi_errno wasi_fd_sync(struct wasi *w, struct guest_memory m, uint32_t fd) {
    (void)m;
    return sync_with(w, fd, WASI_RIGHT_FD_SYNC, fsync);
}

enum wasi_errno wasi_fd_allocate(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint64_t offset, uint64_t length) {
    (void)m;
    struct wasi_descriptor *d;
    uint64_t end;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_allocate(d, offset, length);
    enum wasi_errno e = file_get(w, fd, WASI_RIGHT_FD_ALLOCATE, &d);
    if (e != WASI_OK) return e;
    if (length == 0) return WASI_EINVAL;
    if (add_overflows(offset, length, &end) || end > INT64_MAX) return WASI_EFBIG;
    if (d->image) return WASI_EROFS;
    if (d->files) return wasi_files_allocate(d, offset, length);
    /* Not posix_fallocate(3): where a file system cannot, glibc would write every block. */
    return fallocate(d->host_fd, 0, (off_t)offset, (off_t)length) == 0 ? WASI_OK
                                                                       : wasi_errno_last();
}

enum wasi_errno wasi_fd_advise(struct wasi *w, struct guest_memory m, uint32_t fd,
                               uint64_t offset, uint64_t length, uint32_t advice) {
    (void)m;
    static const int host_advice[] = {POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL,
                                      POSIX_FADV_RANDOM,   POSIX_FADV_WILLNEED,
                                      POSIX_FADV_DONTNEED, POSIX_FADV_NOREUSE};
    struct wasi_descriptor *d;
    if ((d = wasi_volume_at(w, fd))) return wasi_volume_advise(d, offset, length, advice);
    enum wasi_errno e = file_get(w, fd, WASI_RIGHT_FD_ADVISE, &d);
    if (e != WASI_OK) return e;
    if (advice >= countof(host_advice)) return WASI_EINVAL;
    if (offset > INT64_MAX || length > INT64_MAX) return WASI_EINVAL;
    if (d->image || d->files) return WASI_OK; /* in memory, and perhaps shared */
    int result = posix_fadvise(d->host_fd, (off_t)offset, (off_t)length, host_advice[advice]);
    return wasi_errno_from_host(result);
}
