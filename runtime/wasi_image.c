/*
 * WASI on file images: what the functions do where a descriptor stands for an inode of an image
 * instead of a host descriptor. Everything is read from the mapping: no system call is made,
 * and whatever would change something is EROFS, as beneath a read-only preopen (path_ functions
 * look first whether the path leads anywhere).
 *
 * Errors are those that openat2(2) and friends give for the same tree in a directory of the
 * host, so that a program cannot tell the two apart; a damaged image is EIO.
 */
#include "runtime/near.h"
#include "runtime/wasi.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum wasi_errno errno_of(enum image_result result) {
    switch (result) {
    case IMAGE_OK: return WASI_OK;
    case IMAGE_ABSENT: return WASI_ENOENT;
    case IMAGE_NOT_DIRECTORY: return WASI_ENOTDIR;
    case IMAGE_ESCAPES: return WASI_EPERM;
    case IMAGE_LOOPS: return WASI_ELOOP;
    case IMAGE_TOO_LONG: return WASI_ENAMETOOLONG;
    case IMAGE_INVALID: return WASI_EINVAL;
    case IMAGE_DAMAGED: break;
    }
    return WASI_EIO;
}

static uint8_t filetype_of(enum image_type type) {
    switch (type) {
    case IMAGE_FILE: return WASI_FILETYPE_REGULAR_FILE;
    case IMAGE_DIRECTORY: return WASI_FILETYPE_DIRECTORY;
    case IMAGE_SYMLINK: return WASI_FILETYPE_SYMBOLIC_LINK;
    case IMAGE_SPECIAL: break;
    }
    return WASI_FILETYPE_UNKNOWN;
}

/* ---- the mapping ------------------------------------------------------------------------- */

enum status wasi_image_map(struct wasi_mount *to, int fd, struct error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return error_set_errno(err, ST_IO, "cannot be looked at");
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return error_set(err, ST_MALFORMED, "this is no EROFS image");
    size_t size = (size_t)st.st_size;
    void *bytes = mmap(near_hint(size), size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot be mapped");
    enum status status = image_open(bytes, size, &to->image, err);
    if (status != ST_OK) {
        munmap(bytes, size);
        return status;
    }
    to->mapping = bytes;
    to->mapping_bytes = size;
    return ST_OK;
}

/* ---- open files -------------------------------------------------------------------------- */

enum wasi_errno wasi_image_read(const struct wasi_descriptor *d, const struct iovec *iovecs,
                                int count, uint64_t offset, uint32_t *ret_n) {
    struct image_node node;
    uint32_t total = 0; /* iovecs_load keeps the sum below 2 GiB */
    enum image_result result = image_node(d->image, d->node, &node);
    if (result != IMAGE_OK) return errno_of(result);
    if (node.type != IMAGE_FILE) return WASI_EINVAL;
    for (int i = 0; i < count; i++) {
        uint8_t *to = iovecs[i].iov_base;
        for (uint64_t left = iovecs[i].iov_len; left > 0;) {
            uint64_t size = 0;
            const uint8_t *from = image_data(&node, offset, &size);
            if (!from) goto end;
            if (size > left) size = left;
            memcpy(to, from, size);
            to += size;
            left -= size;
            offset += size;
            total += (uint32_t)size;
        }
    }
end:
    *ret_n = total;
    return WASI_OK;
}

enum wasi_errno wasi_image_size(const struct wasi_descriptor *d, uint64_t *ret_size) {
    struct image_node node;
    enum image_result result = image_node(d->image, d->node, &node);
    if (result != IMAGE_OK) return errno_of(result);
    *ret_size = node.size_bytes;
    return WASI_OK;
}

static void store_stat(uint8_t *to, const struct image *image, const struct image_node *node,
                       enum wasi_abi abi) {
    struct stat st = {
        .st_dev = image->id,
        .st_ino = node->number,
        .st_nlink = node->links,
        .st_size = node->size_bytes > INT64_MAX ? INT64_MAX : (off_t)node->size_bytes,
        .st_mtim = {.tv_sec = node->mtime_s > INT64_MAX ? INT64_MAX : (time_t)node->mtime_s,
                    .tv_nsec = node->mtime_ns < 1000000000 ? (long)node->mtime_ns : 0},
    };
    st.st_atim = st.st_ctim = st.st_mtim;
    wasi_filestat_store(to, &st, filetype_of(node->type), abi);
}

enum wasi_errno wasi_image_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                    enum wasi_abi abi) {
    struct image_node node;
    enum image_result result = image_node(d->image, d->node, &node);
    if (result != IMAGE_OK) return errno_of(result);
    store_stat(to, d->image, &node, abi);
    return WASI_OK;
}

/* ---- paths ------------------------------------------------------------------------------- */

enum wasi_errno wasi_image_path_filestat(const struct wasi_descriptor *d, const char *path,
                                         bool follow, uint8_t *to, enum wasi_abi abi) {
    struct image_node node;
    enum image_result result = image_walk(d->image, d->node, path, follow, &node);
    if (result != IMAGE_OK) return errno_of(result);
    store_stat(to, d->image, &node, abi);
    return WASI_OK;
}

enum wasi_errno wasi_image_open(const struct wasi_descriptor *d, const char *path,
                                uint32_t oflags, bool follow, bool writes,
                                struct wasi_descriptor *ret_opened) {
    struct image_node node;
    bool creates = oflags & WASI_OFLAG_CREAT, exclusive = creates && oflags & WASI_OFLAG_EXCL;
    bool directory = oflags & WASI_OFLAG_DIRECTORY;
    enum image_result result = image_walk(d->image, d->node, path, follow && !exclusive, &node);
    if (result == IMAGE_ABSENT && creates) return WASI_EROFS;
    if (result != IMAGE_OK) return errno_of(result);
    if (exclusive) return WASI_EEXIST;
    if ((creates || writes) && node.type == IMAGE_DIRECTORY) return WASI_EISDIR;
    if (directory && node.type != IMAGE_DIRECTORY) return WASI_ENOTDIR;
    if (node.type == IMAGE_SYMLINK) return WASI_ELOOP;
    if (node.type == IMAGE_SPECIAL) return WASI_ENXIO;
    if (writes) return WASI_EROFS;
    ret_opened->image = d->image;
    ret_opened->node = node.number;
    ret_opened->position = 0;
    ret_opened->filetype = filetype_of(node.type);
    return WASI_OK;
}

enum wasi_errno wasi_image_readlink(const struct wasi_descriptor *d, const char *path,
                                    uint8_t *to, uint32_t to_size, uint32_t *ret_n) {
    struct image_node node;
    uint64_t size = 0;
    enum image_result result = image_walk(d->image, d->node, path, false, &node);
    if (result != IMAGE_OK) return errno_of(result);
    if (node.type != IMAGE_SYMLINK) return WASI_EINVAL;
    const uint8_t *target = image_data(&node, 0, &size);
    if (!target || size != node.size_bytes) return WASI_EIO;
    if (size > to_size) size = to_size;
    memcpy(to, target, size);
    *ret_n = (uint32_t)size;
    return WASI_OK;
}

/* For a function that would make, remove or move the last component: EROFS, but first what the
 * way to it deserves, and EEXIST for what is there and would be made, as Linux has it. */
enum wasi_errno wasi_image_refuse(const struct wasi_descriptor *d, char *path, bool makes) {
    struct image_node node;
    if (path[0] == '/') return WASI_EPERM;
    if (makes && image_walk(d->image, d->node, path, false, &node) == IMAGE_OK)
        return WASI_EEXIST;
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    bool dots = path[start] == '.' &&
                (end - start == 1 || (end - start == 2 && path[start + 1] == '.'));
    if (!dots) path[start] = 0;
    if (path[0] == 0) return WASI_EROFS;
    enum image_result result = image_walk(d->image, d->node, path, true, &node);
    return result == IMAGE_OK ? WASI_EROFS : errno_of(result);
}

/* ---- directories ------------------------------------------------------------------------- */

#define DIRENT_SIZE 24u

/* Puts as much of an entry as there is room for; *at moves on. */
static void put_entry(const struct wasi_descriptor *d, const struct image_entry *entry,
                      uint8_t *to, uint32_t size, uint32_t *at) {
    uint8_t header[DIRENT_SIZE] = {0};
    bool parent = entry->name_length == 2 && entry->name[0] == '.' && entry->name[1] == '.';
    store_u64(header, entry->next);
    store_u64(header + 8, parent ? d->node : entry->number); /* as in wasi_dir.c */
    store_u32(header + 16, entry->name_length);
    header[20] = filetype_of(entry->type);
    uint32_t room = size - *at, taken = room < DIRENT_SIZE ? room : DIRENT_SIZE;
    memcpy(to + *at, header, taken);
    *at += taken;
    room = size - *at;
    taken = room < entry->name_length ? room : entry->name_length;
    memcpy(to + *at, entry->name, taken);
    *at += taken;
}

enum wasi_errno wasi_image_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                   uint64_t cookie, uint32_t *ret_n) {
    struct image_node node;
    struct image_entry entry;
    uint32_t at = 0;
    enum image_result result = image_node(d->image, d->node, &node);
    for (uint64_t position = cookie; result == IMAGE_OK && at < size; position = entry.next) {
        result = image_entry_at(d->image, &node, position, &entry);
        if (result == IMAGE_OK) put_entry(d, &entry, to, size, &at);
    }
    if (result != IMAGE_OK && result != IMAGE_ABSENT) return errno_of(result);
    *ret_n = at;
    return WASI_OK;
}
