/*
 * A WASI program's state from its configuration, and the functions that only look at it:
 * arguments, environment, random bytes, process. Descriptors 0 to 2 are the standard streams,
 * borrowed; preopened directories follow from 3 on.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status strings_copy(struct wasi_strings *to, int count, const char *const *from,
                                const char *what, struct error *err) {
    size_t size = 0;
    if (count < 0) return error_set(err, ST_USAGE, "%s: negative count", what);
    for (int i = 0; i < count; i++)
        if (add_overflows(size, strlen(from[i]) + 1, &size) || size > UINT32_MAX)
            return error_set(err, ST_LIMIT, "%s: larger than 4 GiB", what);
    char *at = malloc(size ? size : 1);
    if (!at) return error_set(err, ST_NO_MEMORY, "%s: %zu bytes", what, size);
    *to = (struct wasi_strings){
        .count = (uint32_t)count, .size_bytes = (uint32_t)size, .bytes = at};
    for (int i = 0; i < count; i++) {
        size_t length = strlen(from[i]) + 1;
        memcpy(at, from[i], length);
        at += length;
    }
    return ST_OK;
}

static enum status add_stdio(struct wasi *w, const int stdio[3], struct error *err) {
    for (uint32_t i = 0; i < 3; i++) {
        struct wasi_descriptor *d = &w->descriptors[i];
        *d = (struct wasi_descriptor){.used = true, .host_fd = stdio[i]};
        if (stdio[i] < 0) continue; /* the number is taken, so that no file becomes stdin */
        int flags = fcntl(stdio[i], F_GETFL);
        if (flags < 0 && errno == EBADF) { /* whoever started us had closed it */
            d->host_fd = -1;
            continue;
        }
        if (flags < 0 || wasi_filetype_of_fd(stdio[i], &d->filetype) != WASI_OK)
            return error_set_errno(err, ST_IO, "standard stream %u", i);
        d->rights_base = wasi_rights_of_type(d->filetype, stdio[i]);
        int access = flags & O_ACCMODE;
        if (access == O_WRONLY) d->rights_base &= ~WASI_RIGHT_FD_READ;
        if (access == O_RDONLY)
            d->rights_base &= ~(WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_ALLOCATE |
                                WASI_RIGHT_FD_FILESTAT_SET_SIZE);
        /* A directory as a standard stream is no way into it: it was not given as a preopen. */
        if (d->filetype == WASI_FILETYPE_DIRECTORY) d->rights_base = 0;
    }
    return ST_OK;
}

/* Directories opened with O_PATH cannot be listed: open them again where that is allowed. */
static int readable_directory(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !(flags & O_PATH)) return fd;
    int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (readable < 0) return fd;
    close(fd);
    return readable;
}

/* What a preopened image stands for: its root. */
static enum status open_image(struct wasi *w, const struct wasi_preopen *preopen,
                              struct wasi_descriptor *d, struct error *err) {
    struct wasi_image *image = &w->images[w->image_count];
    enum status status = wasi_image_map(image, preopen->fd, err);
    if (status != ST_OK) return error_wrap(err, "image %s", preopen->guest_path);
    w->image_count++;
    close(preopen->fd);
    d->owned = false;
    d->read_only = true;
    d->host_fd = -1;
    d->image = &image->image;
    d->node = image->image.root;
    return ST_OK;
}

static enum status open_directory(const struct wasi_preopen *preopen, struct wasi_descriptor *d,
                                  struct error *err) {
    struct stat st;
    if (fstat(preopen->fd, &st) != 0)
        return error_set_errno(err, ST_IO, "directory %s", preopen->guest_path);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ST_IO, "%s: not a directory", preopen->guest_path);
    enum wasi_errno probed = wasi_beneath_probe(preopen->fd);
    if (probed != WASI_OK)
        return error_set_errno(err, ST_UNSUPPORTED,
                               "directory %s: this kernel cannot confine paths "
                               "(openat2 with RESOLVE_BENEATH, Linux 5.6)",
                               preopen->guest_path);
    d->host_fd = readable_directory(preopen->fd);
    return ST_OK;
}

static enum status add_preopen(struct wasi *w, const struct wasi_preopen *preopen,
                               struct error *err) {
    uint32_t fd = 0;
    size_t length = strlen(preopen->guest_path);
    if (wasi_descriptor_reserve(w, &fd) != WASI_OK)
        return error_set(err, ST_LIMIT, "directory %s: too many descriptors",
                         preopen->guest_path);
    if (length >= WASI_PATH_SIZE)
        return error_set(err, ST_LIMIT, "the guest's name of a directory is too long");
    char *name = malloc(length + 1);
    if (!name) return error_set(err, ST_NO_MEMORY, "directory %s", preopen->guest_path);
    memcpy(name, preopen->guest_path, length + 1);
    struct wasi_descriptor d = {
        .owned = true,
        .read_only = preopen->read_only,
        .filetype = WASI_FILETYPE_DIRECTORY,
        .rights_base = wasi_rights_of_type(WASI_FILETYPE_DIRECTORY, -1),
        .rights_inheriting = WASI_RIGHTS_ALL,
        .preopen = name,
        .preopen_length = (uint32_t)length,
    };
    enum status status =
        preopen->image ? open_image(w, preopen, &d, err) : open_directory(preopen, &d, err);
    if (status != ST_OK) {
        free(name);
        return status;
    }
    wasi_descriptor_put(w, fd, &d);
    return ST_OK;
}

static enum status fill(struct wasi *w, const struct wasi_config *config,
                        uint32_t *ret_preopens_taken, struct error *err) {
    enum status status = strings_copy(&w->args, config->argc, config->argv, "arguments", err);
    if (status != ST_OK) return status;
    status = strings_copy(&w->env, config->envc, config->env, "environment", err);
    if (status != ST_OK) return status;
    const uint32_t capacity = 16;
    w->descriptors = calloc(capacity, sizeof *w->descriptors);
    if (!w->descriptors) return error_set(err, ST_NO_MEMORY, "descriptor table");
    w->capacity = capacity;
    w->images = calloc((size_t)config->preopen_count + 1, sizeof *w->images);
    if (!w->images) return error_set(err, ST_NO_MEMORY, "file images");
    w->request_ready_fd = -1;
    status = add_stdio(w, config->stdio, err);
    if (status == ST_OK && config->next_request) status = wasi_requests_add(w, config, err);
    for (uint32_t i = 0; status == ST_OK && i < config->preopen_count; i++) {
        status = add_preopen(w, &config->preopens[i], err);
        if (status == ST_OK) (*ret_preopens_taken)++;
    }
    return status;
}

enum status wasi_create(const struct wasi_config *config, struct wasi **ret_wasi,
                        struct error *err) {
    struct wasi *w = calloc(1, sizeof *w);
    uint32_t taken = 0;
    enum status status =
        w ? fill(w, config, &taken, err) : error_set(err, ST_NO_MEMORY, "WASI state");
    if (status == ST_OK) {
        *ret_wasi = w;
        return ST_OK;
    }
    /* The preopens are ours also where nothing comes of them. */
    for (uint32_t i = taken; i < config->preopen_count; i++)
        if (config->preopens[i].fd >= 0) close(config->preopens[i].fd);
    wasi_destroy(w);
    return status;
}

void wasi_destroy(struct wasi *w) {
    if (!w) return;
    for (uint32_t fd = 0; fd < w->capacity; fd++)
        if (w->descriptors[fd].used) (void)wasi_fd_close(w, (struct guest_memory){0}, fd);
    for (uint32_t i = 0; i < w->image_count; i++) wasi_image_unmap(&w->images[i]);
    free(w->images);
    free(w->descriptors);
    free(w->args.bytes);
    free(w->env.bytes);
    free(w);
}

/* ---- arguments and environment ----------------------------------------------------------- */

static enum wasi_errno strings_get(const struct wasi_strings *s, struct guest_memory m,
                                   uint32_t vector, uint32_t buffer) {
    uint8_t *pointers = guest_array(m, vector, s->count, 4);
    uint8_t *bytes = guest_range(m, buffer, s->size_bytes);
    if (!pointers || !bytes) return WASI_EFAULT;
    uint32_t at = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        store_u32(pointers + (size_t)i * 4, buffer + at);
        at += (uint32_t)strlen(s->bytes + at) + 1;
    }
    memcpy(bytes, s->bytes, s->size_bytes);
    return WASI_OK;
}

static enum wasi_errno strings_sizes_get(const struct wasi_strings *s, struct guest_memory m,
                                         uint32_t ret_count, uint32_t ret_size) {
    uint8_t *count = guest_range(m, ret_count, 4);
    uint8_t *size = guest_range(m, ret_size, 4);
    if (!count || !size) return WASI_EFAULT;
    store_u32(count, s->count);
    store_u32(size, s->size_bytes);
    return WASI_OK;
}

enum wasi_errno wasi_args_get(struct wasi *w, struct guest_memory m, uint32_t argv,
                              uint32_t buffer) {
    return strings_get(&w->args, m, argv, buffer);
}

enum wasi_errno wasi_args_sizes_get(struct wasi *w, struct guest_memory m, uint32_t ret_count,
                                    uint32_t ret_size) {
    return strings_sizes_get(&w->args, m, ret_count, ret_size);
}

enum wasi_errno wasi_environ_get(struct wasi *w, struct guest_memory m, uint32_t envp,
                                 uint32_t buffer) {
    return strings_get(&w->env, m, envp, buffer);
}

enum wasi_errno wasi_environ_sizes_get(struct wasi *w, struct guest_memory m,
                                       uint32_t ret_count, uint32_t ret_size) {
    return strings_sizes_get(&w->env, m, ret_count, ret_size);
}

/* ---- random and process ------------------------------------------------------------------ */

enum wasi_errno wasi_random_get(struct wasi *w, struct guest_memory m, uint32_t buf,
                                uint32_t buf_len) {
    (void)w;
    uint8_t *at = guest_range(m, buf, buf_len);
    if (!at) return WASI_EFAULT;
    /* One call gives at most 32 MiB less a byte, and a signal may cut it short. */
    for (uint32_t left = buf_len; left > 0;) {
        ssize_t got = getrandom(at, left, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return wasi_errno_last();
        at += got;
        left -= (uint32_t)got;
    }
    return WASI_OK;
}

enum wasi_errno wasi_sched_yield(struct wasi *w, struct guest_memory m) {
    (void)w, (void)m;
    return sched_yield() == 0 ? WASI_OK : wasi_errno_last();
}

enum wasi_errno wasi_proc_raise(struct wasi *w, struct guest_memory m, uint32_t signal) {
    (void)w, (void)m, (void)signal;
    return WASI_ENOTSUP; /* as other runtimes: a guest's signals are its libc's own affair */
}
