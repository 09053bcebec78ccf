/*
 * /dev/hutch/accept: opening it accepts the next request, as sock_accept does on the request
 * socket. It is for programs in languages that have files and no sockets (docs/wasi.md).
 *
 * The directory is preopened in every program that has a request socket, behind all others, and
 * is nothing but this file's code: no host descriptor, no node. Its rights keep every function
 * away that is not here. What the open gives is the accepted stream itself, with no trace of
 * the file it came from; until next_request is called nothing has changed that the guest could
 * see, so a snapshot is taken here as in sock_accept.
 */
#include "runtime/wasi.h"

#include <sys/stat.h>

#define GUEST_PATH "/dev/hutch"
#define FILE_NAME "accept"
#define DIRENT_SIZE 24u

enum {
    NODE_DIRECTORY = 1,
    NODE_FILE,
};

enum status wasi_accepts_add(struct wasi *w, struct error *err) {
    uint32_t fd = 0;
    struct wasi_mount *mount = &w->mounts[w->mount_count++];
    *mount = (struct wasi_mount){.guest_path = strdup(GUEST_PATH),
                                 .guest_path_length = sizeof GUEST_PATH - 1,
                                 .read_only = true,
                                 .accepts = true,
                                 .host_fd = -1};
    if (!mount->guest_path) return error_set(err, ST_NO_MEMORY, "directory " GUEST_PATH);
    if (wasi_descriptor_reserve(w, &fd) != WASI_OK)
        return error_set(err, ST_LIMIT, "directory " GUEST_PATH ": too many descriptors");
    struct wasi_descriptor d = wasi_mount_descriptor(w, mount);
    wasi_descriptor_put(w, fd, &d);
    return ST_OK;
}

/* What a path from the directory names. */
static enum wasi_errno find(const char *path, int *ret_node) {
    if (path[0] == '/') return WASI_EPERM;
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        while (path[0] == '/') path++;
    }
    if (path[0] == '.' && path[1] == '.' && (path[2] == '/' || !path[2])) return WASI_EPERM;
    if (!path[0] || strcmp(path, ".") == 0) {
        *ret_node = NODE_DIRECTORY;
        return WASI_OK;
    }
    if (strncmp(path, FILE_NAME, sizeof FILE_NAME - 1) != 0) return WASI_ENOENT;
    path += sizeof FILE_NAME - 1;
    if (*path) return *path == '/' ? WASI_ENOTDIR : WASI_ENOENT;
    *ret_node = NODE_FILE;
    return WASI_OK;
}

static enum wasi_errno open_directory(struct wasi *w, const struct wasi_descriptor *d,
                                      uint32_t oflags, uint64_t base, uint64_t inheriting,
                                      uint8_t *ret_fd) {
    if (oflags & WASI_OFLAG_EXCL && oflags & WASI_OFLAG_CREAT) return WASI_EEXIST;
    if (oflags & (WASI_OFLAG_CREAT | WASI_OFLAG_TRUNC) || base & WASI_RIGHT_FD_WRITE)
        return WASI_EISDIR;
    struct wasi_descriptor opened = *d;
    uint32_t number = 0;
    enum wasi_errno e = wasi_descriptor_reserve(w, &number);
    if (e != WASI_OK) return e;
    opened.preopen = false;
    opened.rights_base &= base;
    opened.rights_inheriting &= inheriting;
    wasi_descriptor_put(w, number, &opened);
    store_u32(ret_fd, number);
    return WASI_OK;
}

enum wasi_errno wasi_accepts_open(struct wasi *w, const struct wasi_descriptor *d,
                                  const char *path, uint32_t oflags, uint64_t base,
                                  uint64_t inheriting, uint32_t fdflags, uint8_t *ret_fd) {
    int node = 0;
    enum wasi_errno e = find(path, &node);
    if (e == WASI_ENOENT && oflags & WASI_OFLAG_CREAT) return WASI_EROFS;
    if (e != WASI_OK) return e;
    if (node == NODE_DIRECTORY) return open_directory(w, d, oflags, base, inheriting, ret_fd);
    if (oflags & WASI_OFLAG_DIRECTORY) return WASI_ENOTDIR;
    if (oflags & WASI_OFLAG_EXCL && oflags & WASI_OFLAG_CREAT) return WASI_EEXIST;
    if (fdflags & ~(uint32_t)WASI_FDFLAG_NONBLOCK) return WASI_EINVAL;
    struct wasi_descriptor *socket = NULL;
    for (uint32_t fd = 0; fd < w->capacity && !socket; fd++)
        if (w->descriptors[fd].used && w->descriptors[fd].requests)
            socket = &w->descriptors[fd];
    if (!socket || !(socket->rights_base & WASI_RIGHT_SOCK_ACCEPT)) return WASI_ENXIO;
    base &= d->rights_inheriting;
    e = wasi_requests_accept(w, socket, fdflags, ret_fd); /* d and socket may have moved */
    if (e == WASI_OK) w->descriptors[load_u32(ret_fd)].rights_base &= base;
    return e;
}

/* ---- attributes, entries ----------------------------------------------------------------- */

static void put_filestat(int node, uint8_t *to, enum wasi_abi abi) {
    bool file = node == NODE_FILE;
    struct stat st = {.st_ino = (ino_t)node, .st_nlink = 1};
    wasi_filestat_store(to, &st,
                        file ? WASI_FILETYPE_CHARACTER_DEVICE : WASI_FILETYPE_DIRECTORY, abi);
}

void wasi_accepts_filestat(uint8_t *to, enum wasi_abi abi) {
    put_filestat(NODE_DIRECTORY, to, abi);
}

enum wasi_errno wasi_accepts_path_filestat(const char *path, uint8_t *to, enum wasi_abi abi) {
    int node = 0;
    enum wasi_errno e = find(path, &node);
    if (e == WASI_OK) put_filestat(node, to, abi);
    return e;
}

uint32_t wasi_accepts_readdir(uint8_t *to, uint32_t size, uint64_t cookie) {
    static const struct {
        const char *name;
        uint8_t node, filetype;
    } entries[] = {
        {".", NODE_DIRECTORY, WASI_FILETYPE_DIRECTORY},
        {"..", NODE_DIRECTORY, WASI_FILETYPE_DIRECTORY},
        {FILE_NAME, NODE_FILE, WASI_FILETYPE_CHARACTER_DEVICE},
    };
    uint32_t used = 0;
    for (uint64_t i = cookie; i < countof(entries) && used < size; i++) {
        uint8_t entry[DIRENT_SIZE + sizeof FILE_NAME] = {0};
        uint32_t name_length = (uint32_t)strlen(entries[i].name);
        uint32_t length = DIRENT_SIZE + name_length;
        store_u64(entry, i + 1);
        store_u64(entry + 8, entries[i].node);
        store_u32(entry + 16, name_length);
        entry[20] = entries[i].filetype;
        memcpy(entry + DIRENT_SIZE, entries[i].name, name_length);
        if (length > size - used) length = size - used; /* the last is cut off */
        memcpy(to + used, entry, length);
        used += length;
    }
    return used;
}
