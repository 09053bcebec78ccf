/*
 * Preopens to mounts and descriptors. A mount is what was given to the program and stays: the
 * host's descriptor of a directory, the mapping of an image, its place among files in memory.
 * The guest's descriptor borrows it, so that a guest that closes a preopen can be put back to
 * where it had not (wasi_state.c).
 */
#include "runtime/memfs.h"
#include "runtime/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories opened with O_PATH cannot be listed: open them again where that is allowed. */
static int readable_directory(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !(flags & O_PATH)) return fd;
    int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (readable < 0) return fd;
    close(fd);
    return readable;
}

static enum status open_directory(struct wasi_mount *mount, struct error *err) {
    struct stat st;
    if (fstat(mount->host_fd, &st) != 0)
        return error_set_errno(err, ST_IO, "directory %s", mount->guest_path);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ST_IO, "%s: not a directory", mount->guest_path);
    if (wasi_beneath_probe(mount->host_fd) != WASI_OK)
        return error_set_errno(err, ST_UNSUPPORTED,
                               "directory %s: this kernel cannot confine paths "
                               "(openat2 with RESOLVE_BENEATH, Linux 5.6)",
                               mount->guest_path);
    mount->host_fd = readable_directory(mount->host_fd);
    return ST_OK;
}

/* The image stays mapped; its descriptor has done its duty. */
static enum status open_image(struct wasi_mount *mount, struct error *err) {
    enum status status = wasi_image_map(mount, mount->host_fd, err);
    if (status != ST_OK) return error_wrap(err, "image %s", mount->guest_path);
    close(mount->host_fd);
    mount->host_fd = -1;
    return ST_OK;
}

static uint64_t limit_of(const struct wasi_preopen *preopen) {
    return preopen->size_bytes ? preopen->size_bytes : WASI_FILES_DEFAULT_BYTES;
}

/* A mount of files in memory, over the image if there is one. */
static enum status open_memory(struct wasi *w, struct wasi_mount *mount,
                               const struct wasi_preopen *preopen, struct error *err) {
    mount->limit_bytes = limit_of(preopen);
    mount->limit_inodes = preopen->inodes;
    enum status status =
        memfs_mount(w->files, mount->limit_bytes, mount->limit_inodes,
                    mount->image.bytes ? &mount->image : NULL, &mount->memfs, err);
    if (status != ST_OK) return error_wrap(err, "directory %s", mount->guest_path);
    mount->in_memory = true;
    return ST_OK;
}

static enum status open_mount(struct wasi *w, struct wasi_mount *mount,
                              const struct wasi_preopen *preopen, struct error *err) {
    size_t length = strlen(preopen->guest_path);
    if (length >= WASI_PATH_SIZE)
        return error_set(err, ST_LIMIT, "the guest's name of a directory is too long");
    mount->guest_path = malloc(length + 1);
    if (!mount->guest_path)
        return error_set(err, ST_NO_MEMORY, "directory %s", preopen->guest_path);
    memcpy(mount->guest_path, preopen->guest_path, length + 1);
    mount->guest_path_length = (uint32_t)length;
    mount->read_only = preopen->read_only || (preopen->image && !preopen->memory);
    mount->volume = preopen->volume;
    enum status status = ST_OK;
    if (preopen->image)
        status = open_image(mount, err);
    else if (!preopen->memory && !preopen->volume)
        status = open_directory(mount, err);
    return status == ST_OK && preopen->memory ? open_memory(w, mount, preopen, err) : status;
}

struct wasi_descriptor wasi_mount_descriptor(const struct wasi *w,
                                             const struct wasi_mount *mount) {
    struct wasi_descriptor d = {
        .used = true,
        .preopen = true,
        .read_only = mount->read_only,
        .filetype = WASI_FILETYPE_DIRECTORY,
        .host_fd = mount->host_fd,
        .mount = mount,
        .rights_base = wasi_rights_of_type(WASI_FILETYPE_DIRECTORY, -1),
        .rights_inheriting = WASI_RIGHTS_ALL,
    };
    if (mount->accepts) {
        d.rights_base = WASI_ACCEPTS_RIGHTS;
    } else if (mount->volume) {
        d.volume = true;
        d.host_fd = -1;
        d.node = VOLUME_ROOT;
    } else if (mount->in_memory) {
        struct memfs_node root = memfs_root(w->files, mount->memfs);
        d.files = w->files;
        d.node = root.inode;
    } else if (mount->image.bytes) {
        d.image = &mount->image;
        d.node = mount->image.root;
    }
    return d;
}

/* Room for all mounts in memory, where there are any. Of an image, every inode could be brought
 * over and every name hidden. */
static enum status create_files(struct wasi *w, const struct wasi_config *config,
                                struct error *err) {
    uint64_t limit = 0, spare = 0;
    bool any = false;
    for (uint32_t i = 0; i < config->preopen_count; i++) {
        const struct wasi_preopen *preopen = &config->preopens[i];
        struct stat st = {0};
        if (!preopen->memory) continue;
        any = true;
        if (preopen->image && fstat(preopen->fd, &st) == 0 && st.st_size > 0)
            spare += (uint64_t)st.st_size / 16;
        if (add_overflows(limit, limit_of(preopen), &limit)) limit = UINT64_MAX;
    }
    return any ? memfs_create(limit, spare, &w->files, err) : ST_OK;
}

enum status wasi_mounts_create(struct wasi *w, const struct wasi_config *config,
                               struct error *err) {
    enum status status = ST_OK;
    w->mounts =
        calloc((size_t)config->preopen_count + 1, sizeof *w->mounts); /* wasi_accept.c */
    if (!w->mounts) status = error_set(err, ST_NO_MEMORY, "preopened directories");
    if (status == ST_OK) status = create_files(w, config, err);
    for (uint32_t i = 0; i < config->preopen_count; i++) {
        if (status != ST_OK) {
            if (config->preopens[i].fd >= 0) close(config->preopens[i].fd);
            continue;
        }
        struct wasi_mount *mount = &w->mounts[w->mount_count++];
        mount->host_fd = config->preopens[i].fd;
        uint32_t fd = 0;
        status = open_mount(w, mount, &config->preopens[i], err);
        if (status == ST_OK && wasi_descriptor_reserve(w, &fd) != WASI_OK)
            status = error_set(err, ST_LIMIT, "directory %s: too many descriptors",
                               mount->guest_path);
        if (status != ST_OK) continue;
        struct wasi_descriptor d = wasi_mount_descriptor(w, mount);
        if (d.files) memfs_inode(d.files, (uint32_t)d.node)->opens++;
        wasi_descriptor_put(w, fd, &d);
    }
    return status == ST_OK && config->next_request ? wasi_accepts_add(w, err) : status;
}

void wasi_mounts_destroy(struct wasi *w) {
    for (uint32_t i = 0; i < w->mount_count; i++) {
        struct wasi_mount *mount = &w->mounts[i];
        if (mount->host_fd >= 0) close(mount->host_fd);
        if (mount->mapping) munmap(mount->mapping, mount->mapping_bytes);
        free(mount->guest_path);
    }
    free(w->mounts);
    memfs_destroy(w->files);
}
