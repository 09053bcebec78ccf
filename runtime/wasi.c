/*
 * A WASI program's state from its configuration, and the functions that only look at it:
 * arguments, environment, random bytes, process. Descriptors 0 to 2 are the standard streams,
 * borrowed; preopened directories follow from 3 on.
 */
#include "runtime/memfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum status wasi_strings_copy(struct wasi_strings *to, int count, const char *const *from,
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

/* A standard stream; the number is taken even where the host has none, so that no file becomes
 * stdin. */
static enum status open_stream(uint32_t number, int host_fd, struct wasi_descriptor *d,
                               struct error *err) {
    *d = (struct wasi_descriptor){
        .used = true, .standard = (uint8_t)(number + 1), .host_fd = host_fd};
    if (host_fd < 0) return ST_OK;
    int flags = fcntl(host_fd, F_GETFL);
    if (flags < 0 && errno == EBADF) { /* whoever started us had closed it */
        d->host_fd = -1;
        return ST_OK;
    }
    if (flags < 0 || wasi_filetype_of_fd(host_fd, &d->filetype) != WASI_OK)
        return error_set_errno(err, ST_IO, "standard stream %u", number);
    d->rights_base = wasi_rights_of_type(d->filetype, host_fd);
    int access = flags & O_ACCMODE;
    if (access == O_WRONLY) d->rights_base &= ~WASI_RIGHT_FD_READ;
    if (access == O_RDONLY)
        d->rights_base &=
            ~(WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_ALLOCATE | WASI_RIGHT_FD_FILESTAT_SET_SIZE);
    /* A directory as a standard stream is no way into it: it was not given as a preopen. */
    if (d->filetype == WASI_FILETYPE_DIRECTORY) d->rights_base = 0;
    return ST_OK;
}

static enum status add_stdio(struct wasi *w, const int stdio[3], struct error *err) {
    for (uint32_t i = 0; i < 3; i++) {
        enum status status = open_stream(i, stdio[i], &w->streams[i], err);
        if (status != ST_OK) return status;
        w->descriptors[i] = w->streams[i];
    }
    return ST_OK;
}

static enum status fill(struct wasi *w, const struct wasi_config *config,
                        bool *ret_preopens_taken, struct error *err) {
    enum status status =
        wasi_strings_copy(&w->args, config->argc, config->argv, "arguments", err);
    if (status != ST_OK) return status;
    status = wasi_strings_copy(&w->env, config->envc, config->env, "environment", err);
    w->keep_environment = config->keep_environment;
    if (status != ST_OK) return status;
    const uint32_t capacity = 16;
    w->descriptors = calloc(capacity, sizeof *w->descriptors);
    if (!w->descriptors) return error_set(err, ST_NO_MEMORY, "descriptor table");
    w->capacity = capacity;
    w->request_ready_fd = -1;
    status = add_stdio(w, config->stdio, err);
    if (status == ST_OK && config->next_request) status = wasi_requests_add(w, config, err);
    if (status != ST_OK) return status;
    *ret_preopens_taken = true;
    if (config->tame) memfs_tame(WASI_TAME_START_NS);
    status = wasi_mounts_create(w, config, err);
    w->max_files = config->max_files; /* what is given is given */
    return status;
}

union wasi_scratch *wasi_scratch_room(void) {
    /* Its pages are not there until something needs them. */
    static far_zeros _Alignas(ABI_HOST_PAGE) union wasi_scratch scratch;
    return &scratch;
}

enum status wasi_create(const struct wasi_config *config, struct wasi **ret_wasi,
                        struct error *err) {
    struct wasi *w = calloc(1, sizeof *w);
    if (w) w->scratch = wasi_scratch_room();
    bool taken = false;
    enum status status =
        w ? fill(w, config, &taken, err) : error_set(err, ST_NO_MEMORY, "WASI state");
    if (status == ST_OK) {
        *ret_wasi = w;
        return ST_OK;
    }
    /* The preopens are ours also where nothing comes of them. */
    for (uint32_t i = 0; !taken && i < config->preopen_count; i++)
        if (config->preopens[i].fd >= 0) close(config->preopens[i].fd);
    wasi_destroy(w);
    return status;
}

void wasi_destroy(struct wasi *w) {
    if (!w) return;
    for (uint32_t fd = 0; fd < w->capacity; fd++)
        if (w->descriptors[fd].used) (void)wasi_fd_close(w, (struct guest_memory){0}, fd);
    wasi_mounts_destroy(w);
    free(w->descriptors);
    free(w->args.bytes);
    free(w->env.bytes);
    free(w);
}

enum status wasi_set_environment(struct wasi *w, int envc, const char *const *env,
                                 struct error *err) {
    struct wasi_strings copy = {0};
    enum status status = wasi_strings_copy(&copy, envc, env, "environment", err);
    if (status != ST_OK) return status;
    free(w->env.bytes);
    w->env = copy;
    return ST_OK;
}

enum status wasi_set_stdio(struct wasi *w, const int stdio[3], struct error *err) {
    return add_stdio(w, stdio, err);
}

/* ---- arguments ----------------------------------------------------------- */

enum wasi_errno wasi_strings_get(const struct wasi_strings *s, struct guest_memory m,
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

static enum wasi_errno sizes_get(const struct wasi_strings *s, struct guest_memory m,
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
    return wasi_strings_get(&w->args, m, argv, buffer);
}

enum wasi_errno wasi_args_sizes_get(struct wasi *w, struct guest_memory m, uint32_t ret_count,
                                    uint32_t ret_size) {
    return sizes_get(&w->args, m, ret_count, ret_size);
}

/* ---- random and process ------------------------------------------------------------------ */

enum wasi_errno wasi_random_get(struct wasi *w, struct guest_memory m, uint32_t buf,
                                uint32_t buf_len) {
    uint8_t *at = guest_range(m, buf, buf_len);
    if (!at) return WASI_EFAULT;
    if (w->watch && w->watch->tame) return wasi_tame_random(w->watch, at, buf_len);
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

void wasi_give_back(struct wasi *w) {
    size_t size = align_up(w->scratch_bytes, ABI_HOST_PAGE);
    if (size && madvise(w->scratch, size, MADV_DONTNEED) == 0) w->scratch_bytes = 0;
}

void wasi_forget(struct wasi *w) {
    memset(w->scratch, 0, w->scratch_bytes);
    w->scratch_bytes = 0;
    wasi_renew(w);
}

void wasi_renew(struct wasi *w) {
    uint64_t before = w->generation;
    while (w->generation == before || w->generation == 0) {
        /* A number that no other process has: counting would start again in each. */
        ssize_t got = getrandom(&w->generation, sizeof w->generation, 0);
        CHECK(got == (ssize_t)sizeof w->generation || (got < 0 && errno == EINTR));
        w->generation &= INT64_MAX;
    }
}

enum wasi_errno wasi_sched_yield(struct wasi *w, struct guest_memory m) {
    (void)w, (void)m;
    return sched_yield() == 0 ? WASI_OK : wasi_errno_last();
}

enum wasi_errno wasi_proc_raise(struct wasi *w, struct guest_memory m, uint32_t signal) {
    (void)w, (void)m, (void)signal;
    return WASI_ENOTSUP; /* as other runtimes: a guest's signals are its libc's own affair */
}
