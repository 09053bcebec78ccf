/*
 * A session of a volume: a tenant's message to the call of WASI that it stands for, on a struct
 * wasi whose one directory is the volume's. "Guest memory" of these calls is the room in struct
 * volume, into which the message's bytes came, so every address is one of ours; every number in
 * the message is the guest's and is checked by the call itself.
 */
#include "runtime/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- volumes ----------------------------------------------------------------------------- */

enum status volume_open(int dir_fd, struct volume **ret_volume, struct error *err) {
    auto_fd int root = dir_fd;
    struct volume *v = calloc(1, sizeof *v);
    if (!v) return error_set(err, ST_NO_MEMORY, "a volume");
    v->root_fd = steal_fd(&root);
    v->max_files = 64;
    enum status status = ST_OK;
    if (wasi_beneath_probe(v->root_fd) != WASI_OK)
        status = error_set_errno(err, ST_UNSUPPORTED,
                                 "this kernel cannot confine paths (openat2, Linux 5.6)");
    if (status == ST_OK) status = volume_scan(v, err);
    if (status != ST_OK) {
        volume_close(v);
        return status;
    }
    *ret_volume = v;
    return ST_OK;
}

void volume_close(struct volume *v) {
    if (!v) return;
    while (v->sessions) volume_session_close(v->sessions);
    close(v->root_fd);
    free(v);
}

void volume_set_limits(struct volume *v, const struct volume_limits *limits) {
    v->limit_bytes = limits->bytes;
    v->limit_names = limits->names ? limits->names : limits->bytes / VOLUME_BYTES_PER_NAME;
    v->max_files = limits->files;
}

struct volume_use volume_use(const struct volume *v) {
    return (struct volume_use){.bytes = v->used_bytes, .names = v->used_names};
}

/* ---- sessions ---------------------------------------------------------------------------- */

static enum status open_wasi(struct volume *v, struct wasi **ret, struct error *err) {
    int root = fcntl(v->root_fd, F_DUPFD_CLOEXEC, 3);
    if (root < 0) return error_set_errno(err, ST_IO, "a volume's directory");
    const struct wasi_preopen preopen = {.fd = root, .guest_path = "/"};
    const struct wasi_config config = {.preopen_count = 1,
                                       .preopens = &preopen,
                                       .stdio = {-1, -1, -1},
                                       .request_ready_fd = -1,
                                       .max_files = v->max_files};
    return wasi_create(&config, ret, err);
}

enum status volume_session_open(struct volume *v, struct volume_session **ret_session,
                                struct error *err) {
    struct volume_session *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, ST_NO_MEMORY, "a volume's session");
    enum status status = open_wasi(v, &s->wasi, err);
    if (status != ST_OK) {
        free(s);
        return status;
    }
    s->volume = v;
    s->next = v->sessions;
    v->sessions = s;
    *ret_session = s;
    return ST_OK;
}

void volume_session_close(struct volume_session *s) {
    if (s->wasi) {
        volume_close_files(s);
        wasi_destroy(s->wasi);
    }
    struct volume_session **link = &s->volume->sessions;
    while (*link != s) link = &(*link)->next;
    *link = s->next;
    free(s);
}

static enum wasi_errno restart(struct volume_session *s) {
    struct error ignored = {0};
    struct wasi *fresh = NULL;
    if (open_wasi(s->volume, &fresh, &ignored) != ST_OK) return WASI_EIO;
    volume_close_files(s);
    wasi_destroy(s->wasi);
    s->wasi = fresh;
    return WASI_OK;
}

/* ---- calls ------------------------------------------------------------------------------- */

static struct guest_memory memory_of(struct volume *v) {
    return (struct guest_memory){.base = v->memory, .size_bytes = sizeof v->memory};
}

/* One vector over all of the room for bytes. */
static uint32_t vector(struct volume *v, uint64_t size) {
    uint32_t taken = size > VOLUME_CHUNK ? VOLUME_CHUNK : (uint32_t)size;
    store_u32(v->memory + VOLUME_VECTOR, VOLUME_PAYLOAD);
    store_u32(v->memory + VOLUME_VECTOR + 4, taken);
    return taken;
}

enum wasi_errno volume_call(struct volume_session *s, const struct volume_request *r) {
    struct wasi *w = s->wasi;
    struct guest_memory m = memory_of(s->volume);
    const uint64_t *a = r->a;
    const uint32_t fd = (uint32_t)a[0], path = VOLUME_PAYLOAD, size = r->payload_bytes;
    const uint32_t first = (uint32_t)a[r->function == VOLUME_SYMLINK ? 1 : 2];
    const enum wasi_abi abi3 = a[3] == WASI_SNAPSHOT0 ? WASI_SNAPSHOT0 : WASI_PREVIEW1;
    const enum wasi_abi abi2 = a[2] == WASI_SNAPSHOT0 ? WASI_SNAPSHOT0 : WASI_PREVIEW1;
    const enum wasi_abi abi1 = a[1] == WASI_SNAPSHOT0 ? WASI_SNAPSHOT0 : WASI_PREVIEW1;
    switch ((enum volume_function)r->function) {
    case VOLUME_RESTART: return restart(s);
    case VOLUME_READ:
        vector(s->volume, a[1]);
        return wasi_fd_read(w, m, fd, VOLUME_VECTOR, 1, VOLUME_RESULT);
    case VOLUME_PREAD:
        vector(s->volume, a[1]);
        return wasi_fd_pread(w, m, fd, VOLUME_VECTOR, 1, a[2], VOLUME_RESULT);
    case VOLUME_WRITE:
        vector(s->volume, size);
        return wasi_fd_write(w, m, fd, VOLUME_VECTOR, 1, VOLUME_RESULT);
    case VOLUME_PWRITE:
        vector(s->volume, size);
        return wasi_fd_pwrite(w, m, fd, VOLUME_VECTOR, 1, a[1], VOLUME_RESULT);
    case VOLUME_SEEK: return wasi_fd_seek(w, m, fd, a[1], (uint32_t)a[2], VOLUME_RESULT, abi3);
    case VOLUME_TELL: return wasi_fd_tell(w, m, fd, VOLUME_RESULT);
    case VOLUME_CLOSE: return wasi_fd_close(w, m, fd);
    case VOLUME_SYNC: return wasi_fd_sync(w, m, fd);
    case VOLUME_DATASYNC: return wasi_fd_datasync(w, m, fd);
    case VOLUME_ADVISE: return wasi_fd_advise(w, m, fd, a[1], a[2], (uint32_t)a[3]);
    case VOLUME_ALLOCATE: return wasi_fd_allocate(w, m, fd, a[1], a[2]);
    case VOLUME_FDSTAT: return wasi_fd_fdstat_get(w, m, fd, VOLUME_ANSWER);
    case VOLUME_SET_FLAGS: return wasi_fd_fdstat_set_flags(w, m, fd, (uint32_t)a[1]);
    case VOLUME_SET_RIGHTS: return wasi_fd_fdstat_set_rights(w, m, fd, a[1], a[2]);
    case VOLUME_FILESTAT: return wasi_fd_filestat_get(w, m, fd, VOLUME_ANSWER, abi1);
    case VOLUME_SET_SIZE: return wasi_fd_filestat_set_size(w, m, fd, a[1]);
    case VOLUME_SET_TIMES:
        return wasi_fd_filestat_set_times(w, m, fd, a[1], a[2], (uint32_t)a[3]);
    case VOLUME_READDIR:
        return wasi_fd_readdir(w, m, fd, VOLUME_PAYLOAD, vector(s->volume, a[1]), a[2],
                               VOLUME_RESULT);
    case VOLUME_OPEN:
        return wasi_path_open(w, m, fd, (uint32_t)a[1], path, size, (uint32_t)a[2], a[3], a[4],
                              (uint32_t)a[5], VOLUME_RESULT);
    case VOLUME_PATH_STAT:
        return wasi_path_filestat_get(w, m, fd, (uint32_t)a[1], path, size, VOLUME_ANSWER,
                                      abi2);
    case VOLUME_PATH_TIMES:
        return wasi_path_filestat_set_times(w, m, fd, (uint32_t)a[1], path, size, a[2], a[3],
                                            (uint32_t)a[4]);
    case VOLUME_READLINK:
        return wasi_path_readlink(w, m, fd, path, size, VOLUME_ANSWER,
                                  a[1] > WASI_PATH_SIZE ? WASI_PATH_SIZE : (uint32_t)a[1],
                                  VOLUME_RESULT);
    case VOLUME_MKDIR: return wasi_path_create_directory(w, m, fd, path, size);
    case VOLUME_RMDIR: return wasi_path_remove_directory(w, m, fd, path, size);
    case VOLUME_UNLINK: return wasi_path_unlink_file(w, m, fd, path, size);
    case VOLUME_SYMLINK:
        return wasi_path_symlink(w, m, path, first, fd, path + first, size - first);
    case VOLUME_LINK:
        return wasi_path_link(w, m, fd, (uint32_t)a[3], path, first, (uint32_t)a[1],
                              path + first, size - first);
    case VOLUME_RENAME:
        return wasi_path_rename(w, m, fd, path, first, (uint32_t)a[1], path + first,
                                size - first);
    case VOLUME_FUNCTION_COUNT: break;
    }
    return WASI_ENOSYS;
}

/* Where the answer's bytes lie, and how many: what the call left. */
static const uint8_t *payload_of(const struct volume *v, const struct volume_request *r,
                                 uint32_t *ret_size) {
    uint32_t n = load_u32(v->memory + VOLUME_RESULT);
    bool old = r->a[r->function == VOLUME_FILESTAT ? 1 : 2] == WASI_SNAPSHOT0;
    *ret_size = 0;
    switch ((unsigned)r->function) {
    case VOLUME_READ:
    case VOLUME_PREAD:
    case VOLUME_READDIR: *ret_size = n; return v->memory + VOLUME_PAYLOAD;
    case VOLUME_READLINK: *ret_size = n; break;
    case VOLUME_FDSTAT: *ret_size = 24; break;
    case VOLUME_FILESTAT:
    case VOLUME_PATH_STAT:
        *ret_size = WASI_FILESTAT_SIZE(old ? WASI_SNAPSHOT0 : WASI_PREVIEW1);
        break;
    default: break;
    }
    return v->memory + VOLUME_ANSWER;
}

static uint64_t value_of(const struct volume_session *s, const struct volume_request *r) {
    const uint8_t *result = s->volume->memory + VOLUME_RESULT;
    switch ((unsigned)r->function) {
    case VOLUME_WRITE:
    case VOLUME_PWRITE: return load_u32(result);
    case VOLUME_SEEK:
    case VOLUME_TELL: return load_u64(result);
    case VOLUME_OPEN: {
        const struct wasi_descriptor *d = wasi_descriptor_at(s->wasi, load_u32(result));
        return load_u32(result) | (uint64_t)d->filetype << 32;
    }
    default: return 0;
    }
}

/* Two texts in one payload: the first must lie within it. */
static bool is_well_formed(const struct volume_request *r, size_t size) {
    if (size < sizeof *r || r->payload_bytes != size - sizeof *r ||
        r->function >= VOLUME_FUNCTION_COUNT || r->a[0] > UINT32_MAX)
        return false;
    bool two = r->function == VOLUME_LINK || r->function == VOLUME_RENAME;
    if (two && (r->a[2] > r->payload_bytes || r->a[1] > UINT32_MAX)) return false;
    if (r->function == VOLUME_SYMLINK && r->a[1] > r->payload_bytes) return false;
    bool bytes = r->function == VOLUME_WRITE || r->function == VOLUME_PWRITE;
    return r->payload_bytes <= (bytes ? VOLUME_CHUNK : 2 * WASI_PATH_SIZE);
}

bool volume_session_serve(struct volume_session *s, int socket) {
    struct volume *v = s->volume;
    struct volume_request r;
    struct iovec parts[2] = {
        {.iov_base = &r, .iov_len = sizeof r},
        {.iov_base = v->memory + VOLUME_PAYLOAD, .iov_len = sizeof v->memory - VOLUME_PAYLOAD}};
    /* No room for descriptors: what a tenant sends of them is closed by the kernel. */
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0 || message.msg_flags & MSG_TRUNC || !is_well_formed(&r, (size_t)got))
        return false;
    memset(v->memory, 0, VOLUME_PAYLOAD);
    struct volume_reply reply = {.error = volume_account_call(s, &r)};
    const uint8_t *payload = v->memory;
    if (reply.error == WASI_OK) {
        payload = payload_of(v, &r, &reply.payload_bytes);
        reply.value = value_of(s, &r);
    }
    struct iovec out[2] = {
        {.iov_base = &reply, .iov_len = sizeof reply},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = reply.payload_bytes}};
    struct msghdr answer = {.msg_iov = out, .msg_iovlen = 2};
    /* Who asks one thing at a time has room for the answer; who does not is not waited for. */
    return sendmsg(socket, &answer, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}
