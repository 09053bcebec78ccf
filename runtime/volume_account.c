/*
 * What the calls on a volume add to it and take away. The process that holds the volume makes
 * one call after the other and nobody else changes the directory, so what a call will do can be
 * known before it is made, and what it has done read behind it.
 *
 * Bytes: of each file its size in whole pages, holes included; of each directory and symbolic
 * link a page. Names: each name counts, so hard links cost, too. A file without a name counts
 * until nobody has it open. Making less of something is never refused.
 */
#include "runtime/volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- looking ----------------------------------------------------------------------------- */

/* What a path of the request leads to. false: nothing, or the call will say why not. */
static bool look(struct volume_session *s, uint64_t fd, uint32_t at, uint32_t size, bool follow,
                 struct stat *ret) {
    struct volume *v = s->volume;
    struct guest_memory m = {.base = v->memory, .size_bytes = sizeof v->memory};
    const struct wasi_descriptor *d = wasi_descriptor_at(s->wasi, (uint32_t)fd);
    char path[WASI_PATH_SIZE];
    auto_fd int found = -1;
    if (!d || d->host_fd < 0 || wasi_path_load(m, at, size, path) != WASI_OK) return false;
    int flags = O_PATH | (follow ? 0 : O_NOFOLLOW);
    return wasi_open_beneath(d->host_fd, path, flags, 0, &found) == WASI_OK &&
           fstat(found, ret) == 0;
}

/* An open file that has a size. */
static bool look_open(struct volume_session *s, uint64_t fd, struct wasi_descriptor **ret_d,
                      struct stat *ret) {
    struct wasi_descriptor *d = wasi_descriptor_at(s->wasi, (uint32_t)fd);
    if (!d || d->host_fd < 0 || d->filetype != WASI_FILETYPE_REGULAR_FILE) return false;
    *ret_d = d;
    return fstat(d->host_fd, ret) == 0;
}

/* Descriptors keep their file's number in node. */
static bool is_open(const struct volume *v, uint64_t inode) {
    for (const struct volume_session *s = v->sessions; s; s = s->next)
        for (uint32_t fd = 0; fd < s->wasi->capacity; fd++) {
            const struct wasi_descriptor *d = &s->wasi->descriptors[fd];
            if (d->used && d->owned && d->node == inode) return true;
        }
    return false;
}

/* ---- adding and taking away -------------------------------------------------------------- */

static uint64_t bytes_left(const struct volume *v) {
    return v->used_bytes < v->limit_bytes ? v->limit_bytes - v->used_bytes : 0;
}

static bool has_room(const struct volume *v, uint64_t bytes) {
    return v->used_names < v->limit_names && bytes <= bytes_left(v);
}

static void take_away(struct volume *v, uint64_t bytes) {
    v->used_bytes = bytes < v->used_bytes ? v->used_bytes - bytes : 0;
}

static void resized(struct volume *v, uint64_t before, uint64_t after) {
    uint64_t was = volume_charge(before), is = volume_charge(after);
    if (is > was) v->used_bytes += is - was;
    if (was > is) take_away(v, was - is);
}

/* One name less of what st was before. */
static void name_gone(struct volume *v, const struct stat *st) {
    if (v->used_names) v->used_names--;
    if (!S_ISREG(st->st_mode))
        take_away(v, VOLUME_NODE_BYTES);
    else if (st->st_nlink <= 1 && !is_open(v, st->st_ino))
        take_away(v, volume_charge((uint64_t)st->st_size));
}

/* ---- calls ------------------------------------------------------------------------------- */

/* The largest size the file may have. */
static uint64_t size_limit(const struct volume *v, const struct stat *st) {
    /* whole pages of it */
    return volume_charge((uint64_t)st->st_size) + (bytes_left(v) & ~UINT64_C(4095));
}

static void measured(struct volume *v, const struct wasi_descriptor *d,
                     const struct stat *was) {
    struct stat now;
    if (fstat(d->host_fd, &now) == 0) resized(v, (uint64_t)was->st_size, (uint64_t)now.st_size);
}

/* As much as there is room for; nothing at all is ENOSPC. */
static enum wasi_errno call_write(struct volume_session *s, const struct volume_request *r) {
    struct wasi_descriptor *d;
    struct stat st;
    if (!look_open(s, r->a[0], &d, &st)) return volume_call(s, r);
    struct volume_request fitting = *r;
    int flags = fcntl(d->host_fd, F_GETFL);
    off_t at = r->function == VOLUME_PWRITE ? (off_t)r->a[1] : lseek(d->host_fd, 0, SEEK_CUR);
    if (flags < 0 || flags & O_APPEND) at = st.st_size;
    uint64_t limit = size_limit(s->volume, &st);
    uint64_t room = at >= 0 && (uint64_t)at < limit ? limit - (uint64_t)at : 0;
    if (r->payload_bytes > room && d->rights_base & WASI_RIGHT_FD_WRITE) {
        if (room == 0) return WASI_ENOSPC;
        fitting.payload_bytes = (uint32_t)room;
    }
    enum wasi_errno e = volume_call(s, &fitting);
    measured(s->volume, d, &st);
    return e;
}

static enum wasi_errno call_resize(struct volume_session *s, const struct volume_request *r) {
    struct wasi_descriptor *d;
    struct stat st;
    uint64_t size = r->a[1];
    if (!look_open(s, r->a[0], &d, &st)) return volume_call(s, r);
    bool allocates = r->function == VOLUME_ALLOCATE;
    uint64_t right = allocates ? WASI_RIGHT_FD_ALLOCATE : WASI_RIGHT_FD_FILESTAT_SET_SIZE;
    if (allocates && add_overflows(r->a[1], r->a[2], &size)) return volume_call(s, r);
    if (size > (uint64_t)st.st_size && size <= INT64_MAX && size > size_limit(s->volume, &st) &&
        d->rights_base & right)
        return WASI_ENOSPC;
    enum wasi_errno e = volume_call(s, r);
    measured(s->volume, d, &st);
    return e;
}

static enum wasi_errno call_open(struct volume_session *s, const struct volume_request *r) {
    struct volume *v = s->volume;
    struct volume_request asked = *r;
    struct stat st, now;
    bool follow = r->a[1] & WASI_LOOKUP_SYMLINK_FOLLOW;
    bool there = look(s, r->a[0], VOLUME_PAYLOAD, r->payload_bytes, follow, &st);
    bool makes = (r->a[2] & WASI_OFLAG_CREAT) && !there;
    bool full = makes && !has_room(v, 0);
    if (full) asked.a[2] &= ~(uint64_t)(WASI_OFLAG_CREAT | WASI_OFLAG_EXCL);
    enum wasi_errno e = volume_call(s, &asked);
    if (full && e == WASI_ENOENT) return WASI_ENOSPC;
    if (e != WASI_OK) return e;
    struct wasi_descriptor *d =
        wasi_descriptor_at(s->wasi, load_u32(v->memory + VOLUME_RESULT));
    if (fstat(d->host_fd, &now) != 0) return WASI_OK;
    d->node = now.st_ino;
    if (makes) v->used_names++;
    if (there && S_ISREG(now.st_mode) && now.st_ino == st.st_ino)
        resized(v, (uint64_t)st.st_size, (uint64_t)now.st_size);
    return WASI_OK;
}

static enum wasi_errno call_close(struct volume_session *s, const struct volume_request *r) {
    struct wasi_descriptor *d;
    struct stat st;
    bool nameless = look_open(s, r->a[0], &d, &st) && st.st_nlink == 0;
    enum wasi_errno e = volume_call(s, r);
    if (nameless && !is_open(s->volume, st.st_ino))
        take_away(s->volume, volume_charge((uint64_t)st.st_size));
    return e;
}

void volume_close_files(struct volume_session *s) {
    for (uint32_t fd = VOLUME_ROOT; fd < s->wasi->capacity; fd++) {
        const struct volume_request r = {.function = VOLUME_CLOSE, .a = {fd}};
        const struct wasi_descriptor *d = &s->wasi->descriptors[fd];
        if (d->used && d->owned) (void)call_close(s, &r);
    }
}

/* mkdir, symlink, link: a name more. */
static enum wasi_errno call_make(struct volume_session *s, const struct volume_request *r) {
    struct volume *v = s->volume;
    struct stat st;
    uint64_t bytes = r->function == VOLUME_LINK ? 0 : VOLUME_NODE_BYTES, fd = r->a[0];
    uint32_t at = VOLUME_PAYLOAD;
    if (r->function == VOLUME_SYMLINK) at += (uint32_t)r->a[1];
    if (r->function == VOLUME_LINK) {
        uint32_t first = (uint32_t)r->a[2];
        /* another name of a symbolic link is counted like another link */
        if (look(s, r->a[0], at, first, false, &st) && !S_ISREG(st.st_mode))
            bytes = VOLUME_NODE_BYTES;
        at += first;
        fd = r->a[1];
    }
    if (!has_room(v, bytes)) {
        /* What is there already has a better answer. */
        uint32_t size = r->payload_bytes - (at - VOLUME_PAYLOAD);
        return look(s, fd, at, size, false, &st) ? volume_call(s, r) : WASI_ENOSPC;
    }
    enum wasi_errno e = volume_call(s, r);
    if (e == WASI_OK) {
        v->used_names++;
        v->used_bytes += bytes;
    }
    return e;
}

static enum wasi_errno call_remove(struct volume_session *s, const struct volume_request *r) {
    struct stat st;
    bool there = look(s, r->a[0], VOLUME_PAYLOAD, r->payload_bytes, false, &st);
    enum wasi_errno e = volume_call(s, r);
    if (e == WASI_OK && there) name_gone(s->volume, &st);
    return e;
}

/* What had the new name goes; where both are one file, nothing happens (rename(2)). */
static enum wasi_errno call_rename(struct volume_session *s, const struct volume_request *r) {
    struct stat from, to;
    uint32_t first = (uint32_t)r->a[2];
    bool known = look(s, r->a[0], VOLUME_PAYLOAD, first, false, &from);
    bool there = look(s, r->a[1], VOLUME_PAYLOAD + first, r->payload_bytes - first, false, &to);
    enum wasi_errno e = volume_call(s, r);
    if (e == WASI_OK && known && there && from.st_ino != to.st_ino) name_gone(s->volume, &to);
    return e;
}

enum wasi_errno volume_account_call(struct volume_session *s, const struct volume_request *r) {
    switch ((unsigned)r->function) {
    case VOLUME_WRITE:
    case VOLUME_PWRITE: return call_write(s, r);
    case VOLUME_SET_SIZE:
    case VOLUME_ALLOCATE: return call_resize(s, r);
    case VOLUME_OPEN: return call_open(s, r);
    case VOLUME_CLOSE: return call_close(s, r);
    case VOLUME_MKDIR:
    case VOLUME_SYMLINK:
    case VOLUME_LINK: return call_make(s, r);
    case VOLUME_RMDIR:
    case VOLUME_UNLINK: return call_remove(s, r);
    case VOLUME_RENAME: return call_rename(s, r);
    default: return volume_call(s, r);
    }
}
