/*
 * WASI on files in memory: what the functions do where a descriptor stands for an inode of the
 * region (memfs.h) instead of a host descriptor. A descriptor keeps its inode open; its number
 * is in node, as its reference. No system call is made but where the region grows.
 *
 * Errors are those of the same calls on a tmpfs of the host.
 */
#include "runtime/memfs.h"

#include <sys/stat.h>
#include <unistd.h>

static uint32_t inode_of(const struct wasi_descriptor *d) { return (uint32_t)d->node; }

static struct memfs_node node_of(const struct wasi_descriptor *d) {
    return (struct memfs_node){.mount = memfs_inode(d->files, inode_of(d))->mount,
                               .inode = inode_of(d)};
}

/* ---- open files -------------------------------------------------------------------------- */

void wasi_files_close(const struct wasi_descriptor *d) { memfs_close(d->files, inode_of(d)); }

enum wasi_errno wasi_files_read(const struct wasi_descriptor *d, const struct iovec *iovecs,
                                int count, uint64_t offset, uint32_t *ret_n) {
    uint32_t total = 0; /* iovecs_load keeps the sum below 2 GiB */
    for (int i = 0; i < count; i++) {
        size_t got = memfs_read(d->files, inode_of(d), offset + total, iovecs[i].iov_base,
                                iovecs[i].iov_len);
        total += (uint32_t)got;
        if (got < iovecs[i].iov_len) break;
    }
    *ret_n = total;
    return WASI_OK;
}

enum wasi_errno wasi_files_write(struct wasi_descriptor *d, const struct iovec *iovecs,
                                 int count, uint64_t offset, uint32_t *ret_n) {
    uint32_t total = 0;
    if (d->flags & WASI_FDFLAG_APPEND) offset = memfs_inode(d->files, inode_of(d))->size_bytes;
    for (int i = 0; i < count; i++) {
        size_t put = 0;
        enum wasi_errno e = memfs_write(d->files, inode_of(d), offset + total,
                                        iovecs[i].iov_base, iovecs[i].iov_len, &put);
        total += (uint32_t)put;
        if (e != WASI_OK && total == 0) return e;
        if (put < iovecs[i].iov_len) break;
    }
    *ret_n = total;
    return WASI_OK;
}

uint64_t wasi_files_size(const struct wasi_descriptor *d) {
    return memfs_inode(d->files, inode_of(d))->size_bytes;
}

enum wasi_errno wasi_files_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                    enum wasi_abi abi) {
    struct stat st;
    uint8_t filetype;
    enum wasi_errno e = memfs_stat(d->files, node_of(d), &st, &filetype);
    if (e == WASI_OK) wasi_filestat_store(to, &st, filetype, abi);
    return e;
}

enum wasi_errno wasi_files_set_size(const struct wasi_descriptor *d, uint64_t size_bytes) {
    return memfs_truncate(d->files, inode_of(d), size_bytes);
}

enum wasi_errno wasi_files_allocate(const struct wasi_descriptor *d, uint64_t offset,
                                    uint64_t size_bytes) {
    return memfs_allocate(d->files, inode_of(d), offset, size_bytes);
}

enum wasi_errno wasi_files_set_times(const struct wasi_descriptor *d,
                                     const struct timespec times[2]) {
    struct memfs_node node = node_of(d);
    return memfs_set_times(d->files, &node, times);
}

/* ---- paths ------------------------------------------------------------------------------- */

enum wasi_errno wasi_files_open(const struct wasi_descriptor *d, const char *path,
                                uint32_t oflags, bool follow, bool writes,
                                struct wasi_descriptor *ret_opened) {
    struct memfs_open how = {.oflags = oflags, .follow = follow, .writes = writes};
    uint32_t inode;
    enum wasi_errno e = memfs_open(d->files, node_of(d), path, &how, &inode);
    if (e != WASI_OK) return e;
    ret_opened->files = d->files;
    ret_opened->node = inode;
    ret_opened->position = 0;
    ret_opened->filetype = memfs_filetype((enum image_type)memfs_inode(d->files, inode)->type);
    return WASI_OK;
}

static enum wasi_errno find(const struct wasi_descriptor *d, const char *path, bool follow,
                            struct memfs_node *ret_node) {
    struct memfs_walk w;
    enum wasi_errno e =
        memfs_walk(d->files, node_of(d), path, follow ? MEMFS_FOLLOW : MEMFS_LOOK, &w);
    if (e == WASI_OK) *ret_node = w.node;
    return e;
}

enum wasi_errno wasi_files_path_filestat(const struct wasi_descriptor *d, const char *path,
                                         bool follow, uint8_t *to, enum wasi_abi abi) {
    struct memfs_node node;
    struct stat st;
    uint8_t filetype;
    enum wasi_errno e = find(d, path, follow, &node);
    if (e == WASI_OK) e = memfs_stat(d->files, node, &st, &filetype);
    if (e == WASI_OK) wasi_filestat_store(to, &st, filetype, abi);
    return e;
}

enum wasi_errno wasi_files_path_set_times(const struct wasi_descriptor *d, const char *path,
                                          bool follow, const struct timespec times[2]) {
    struct memfs_node node;
    enum wasi_errno e = find(d, path, follow, &node);
    return e == WASI_OK ? memfs_set_times(d->files, &node, times) : e;
}

enum wasi_errno wasi_files_readlink(const struct wasi_descriptor *d, const char *path,
                                    uint8_t *to, uint32_t to_size, uint32_t *ret_n) {
    struct memfs_node node;
    size_t n = 0;
    enum wasi_errno e = find(d, path, false, &node);
    if (e == WASI_OK) e = memfs_readlink(d->files, node, (char *)to, to_size, &n);
    if (e == WASI_OK) *ret_n = (uint32_t)n;
    return e;
}

enum wasi_errno wasi_files_mkdir(const struct wasi_descriptor *d, const char *path) {
    return memfs_mkdir(d->files, node_of(d), path);
}

enum wasi_errno wasi_files_rmdir(const struct wasi_descriptor *d, const char *path) {
    return memfs_rmdir(d->files, node_of(d), path);
}

enum wasi_errno wasi_files_unlink(const struct wasi_descriptor *d, const char *path) {
    return memfs_unlink(d->files, node_of(d), path);
}

enum wasi_errno wasi_files_symlink(const struct wasi_descriptor *d, const char *target,
                                   const char *path) {
    return memfs_symlink(d->files, node_of(d), target, path);
}

enum wasi_errno wasi_files_link(const struct wasi_descriptor *from, const char *from_path,
                                const struct wasi_descriptor *to, const char *to_path) {
    if (!from->files || !to->files) return WASI_EXDEV;
    return memfs_link(from->files, node_of(from), from_path, node_of(to), to_path);
}

enum wasi_errno wasi_files_rename(const struct wasi_descriptor *from, const char *from_path,
                                  const struct wasi_descriptor *to, const char *to_path) {
    if (!from->files || !to->files) return WASI_EXDEV;
    return memfs_rename(from->files, node_of(from), from_path, node_of(to), to_path);
}

/* ---- directories ------------------------------------------------------------------------- */

#define DIRENT_SIZE 24u

static void put(uint8_t *to, uint32_t size, uint32_t *at, const void *bytes, uint32_t length) {
    uint32_t room = size - *at, taken = room < length ? room : length;
    memcpy(to + *at, bytes, taken);
    *at += taken;
}

enum wasi_errno wasi_files_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                   uint64_t cookie, uint32_t *ret_n) {
    struct memfs_listed entry;
    uint32_t at = 0;
    enum wasi_errno e = WASI_OK;
    if (cookie > INT64_MAX) return WASI_EINVAL;
    if (memfs_inode(d->files, inode_of(d))->links == 0) return WASI_ENOENT; /* removed */
    for (uint64_t next = cookie; at < size; next = entry.next) {
        e = memfs_list(d->files, node_of(d), next, &entry);
        if (e != WASI_OK) break;
        uint8_t header[DIRENT_SIZE] = {0};
        store_u64(header, entry.next);
        store_u64(header + 8, entry.number);
        store_u32(header + 16, entry.name_length);
        header[20] = entry.filetype;
        put(to, size, &at, header, sizeof header);
        put(to, size, &at, entry.name, entry.name_length);
    }
    if (e != WASI_OK && e != WASI_ENOENT) return e;
    *ret_n = at;
    return WASI_OK;
}
