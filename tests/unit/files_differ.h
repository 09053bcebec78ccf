/*
 * The same WASI calls, made at random, on two directories: one of the host and one in memory.
 * A call is made of random numbers alone, so both sides make the same one; what it answers
 * (errno, descriptor, bytes, attributes that do not depend on the clock) must be the same.
 * Used by test_memfs.c; include it once.
 */
#ifndef HUTCH_TESTS_UNIT_FILES_DIFFER_H
#define HUTCH_TESTS_UNIT_FILES_DIFFER_H

#include "tests/unit/wasi_fixture.h"

struct differ_side {
    struct wasi *w;
    struct guest_memory m;
    struct buffer answer; /* of the last call */
};

struct differ {
    uint64_t state;
    char text[8400]; /* the last call, for people */
};

static inline uint64_t differ_next(struct differ *d) {
    d->state ^= d->state << 13, d->state ^= d->state >> 7, d->state ^= d->state << 17;
    return d->state >> 11;
}
static inline uint32_t differ_below(struct differ *d, uint32_t bound) {
    return (uint32_t)(differ_next(d) % bound);
}

/* A path of few names, so that calls meet; now and then something strange. */
static inline void differ_path(struct differ *d, char *to) {
    static const char *const names[] = {"a",      "b",  "c",       "d",      "sub", "f1",
                                        "size31", "up", "dirlink", "size5k", "x y", "link"};
    uint32_t count = 1 + (differ_below(d, 2) ? 0 : differ_below(d, 3));
    uint32_t few = differ_below(d, 3) ? 5 : (uint32_t)countof(names);
    to[0] = 0;
    if (differ_below(d, 200) == 0) {
        memset(to, 'n', 256);
        to[254 + differ_below(d, 3)] = 0;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = differ_below(d, 40);
        const char *name = kind == 0 ? ".." : kind == 1 ? "." : names[differ_below(d, few)];
        if (i == 2) few = 2;
        if (i) strcat(to, differ_below(d, 50) ? "/" : "//");
        strcat(to, name);
    }
    if (differ_below(d, 12) == 0) strcat(to, "/");
    if (differ_below(d, 300) == 0) strcpy(to, "/a");
}

static inline uint64_t differ_offset(struct differ *d) {
    switch (differ_below(d, 8)) {
    case 0: return 0;
    case 1: return 4096 * (uint64_t)differ_below(d, 5);
    case 2: return 4095 + differ_below(d, 3);
    case 3: return UINT64_C(1) << (12 + differ_below(d, 23));
    default: return differ_below(d, 20000);
    }
}

/* ---- answers ----------------------------------------------------------------------------- */

static inline void differ_put_errno(struct differ_side *s, enum wasi_errno e) {
    buffer_put_u32(&s->answer, (uint32_t)e);
}

/* Type, links and size; of directories the type alone. */
static inline void differ_put_stat(struct differ_side *s, enum wasi_errno e, uint32_t at) {
    differ_put_errno(s, e);
    if (e != WASI_OK) return;
    const uint8_t *st = s->m.base + at;
    buffer_put_u8(&s->answer, st[16]);
    if (st[16] == WASI_FILETYPE_DIRECTORY) return;
    buffer_put(&s->answer, st + 24, 16);
    /* Times that were set, which are in the first seconds of 1970. */
    if (load_u64(st + 48) < UINT64_C(1000000000000)) buffer_put(&s->answer, st + 48, 8);
}

static inline int differ_compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names of a directory, sorted, with their types. */
static inline void differ_put_names(struct differ_side *s, uint32_t fd, uint32_t size) {
    char *names[400];
    uint32_t count = 0;
    enum wasi_errno e;
    uint64_t cookie = 0;
    for (uint32_t used = size; used == size;) {
        e = wasi_fd_readdir(s->w, s->m, fd, DATA, size, cookie, RESULT);
        if (e != WASI_OK) {
            differ_put_errno(s, e);
            break;
        }
        used = load_u32(s->m.base + RESULT);
        uint64_t before = cookie;
        for (uint32_t at = 0; at + 24 <= used && count < countof(names);) {
            const uint8_t *entry = s->m.base + DATA + at;
            uint32_t length = load_u32(entry + 16);
            if (at + 24 + length > used) break;
            char *name = malloc((size_t)length + 4);
            CHECK(name);
            memcpy(name, entry + 24, length);
            memcpy(name + length, (char[]){' ', (char)('0' + entry[20] % 10), 0}, 3);
            names[count++] = name;
            cookie = load_u64(entry);
            at += 24 + length;
        }
        if (cookie == before || count == countof(names)) break; /* too small a buffer */
    }
    qsort(names, count, sizeof *names, differ_compare_names);
    for (uint32_t i = 0; i < count; i++) {
        buffer_put_str(&s->answer, names[i], strlen(names[i]));
        free(names[i]);
    }
}

/* ---- calls ------------------------------------------------------------------------------- */

static inline uint32_t differ_put_path(struct differ_side *s, uint32_t at, const char *path) {
    size_t length = strlen(path);
    memcpy(s->m.base + at, path, length);
    return (uint32_t)length;
}

/* What a call is made of. */
struct differ_call {
    uint32_t kind, fd, to_fd, flags, size, oflags, fdflags;
    uint64_t offset, rights;
    uint8_t fill;
    char path[600], other[600];
};
enum {
    CALL_OPEN,
    CALL_CLOSE,
    CALL_READ,
    CALL_WRITE,
    CALL_PREAD,
    CALL_PWRITE,
    CALL_SEEK,
    CALL_SET_SIZE,
    CALL_ALLOCATE,
    CALL_FD_STAT,
    CALL_MKDIR,
    CALL_RMDIR,
    CALL_UNLINK,
    CALL_SYMLINK,
    CALL_LINK,
    CALL_RENAME,
    CALL_READLINK,
    CALL_STAT,
    CALL_SET_TIMES,
    CALL_READDIR,
    CALL_RENUMBER,
    CALL_FLAGS,
    CALL_FD_TIMES,
    CALL_MORE_RENAME,
    CALL_KINDS = CALL_MORE_RENAME + 3 /* renames more often than others */
};

static inline struct differ_call differ_choose(struct differ *d) {
    struct differ_call c = {.kind = differ_below(d, CALL_KINDS + 12)};
    if (c.kind >= CALL_KINDS) c.kind = c.kind % 2 ? CALL_OPEN : CALL_WRITE;
    if (c.kind >= CALL_MORE_RENAME) c.kind = CALL_RENAME;
    /* Mostly the root, or one of the few that are open. */
    c.fd = ROOT + (differ_below(d, 3) ? 0 : differ_below(d, 6));
    c.to_fd = ROOT + (differ_below(d, 3) ? 0 : differ_below(d, 6));
    if (c.kind == CALL_CLOSE || c.kind == CALL_READ || c.kind == CALL_WRITE ||
        c.kind == CALL_PREAD || c.kind == CALL_PWRITE || c.kind == CALL_SEEK ||
        c.kind == CALL_SET_SIZE || c.kind == CALL_ALLOCATE || c.kind == CALL_FD_STAT ||
        c.kind == CALL_FLAGS || c.kind == CALL_FD_TIMES || c.kind == CALL_RENUMBER)
        c.fd = ROOT + 1 + differ_below(d, 6);
    if (c.kind == CALL_RENUMBER) c.to_fd = ROOT + 1 + differ_below(d, 6);
    c.flags = differ_below(d, 4);
    c.size = differ_below(d, 3) ? differ_below(d, 3000) : differ_below(d, 40);
    c.oflags = differ_below(d, 16);
    if (differ_below(d, 2)) c.oflags = WASI_OFLAG_CREAT;
    c.fdflags = differ_below(d, 4) ? 0 : differ_below(d, 32);
    c.offset = differ_offset(d);
    c.rights = differ_below(d, 4) ? ALL : differ_next(d) & ALL;
    if (differ_below(d, 3) == 0) c.rights = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_READDIR;
    c.fill = (uint8_t)differ_next(d);
    differ_path(d, c.path);
    differ_path(d, c.other);
    snprintf(d->text, sizeof d->text,
             "call %u fd %u to %u flags %u size %u oflags %u fdflags %u offset %llu rights "
             "%llx '%s' '%s'",
             c.kind, c.fd, c.to_fd, c.flags, c.size, c.oflags, c.fdflags,
             (unsigned long long)c.offset, (unsigned long long)c.rights, c.path, c.other);
    return c;
}

static inline void differ_put_moved(struct differ_side *s, enum wasi_errno e, bool bytes) {
    differ_put_errno(s, e);
    if (e != WASI_OK) return;
    uint32_t n = load_u32(s->m.base + RESULT);
    buffer_put_u32(&s->answer, n);
    if (bytes) buffer_put(&s->answer, s->m.base + DATA, n);
}

static inline void differ_io(struct differ_side *s, const struct differ_call *c) {
    bool writes = c->kind == CALL_WRITE || c->kind == CALL_PWRITE;
    struct wasi *w = s->w;
    for (uint32_t i = 0; i < c->size; i++)
        s->m.base[DATA + i] = writes ? (uint8_t)(c->fill + i * 31) : 0xee;
    store_u32(s->m.base + IOVEC, DATA);
    store_u32(s->m.base + IOVEC + 4, c->size / 3);
    store_u32(s->m.base + IOVEC + 8, DATA + c->size / 3);
    store_u32(s->m.base + IOVEC + 12, c->size - c->size / 3);
    enum wasi_errno e =
        c->kind == CALL_READ    ? wasi_fd_read(w, s->m, c->fd, IOVEC, 2, RESULT)
        : c->kind == CALL_WRITE ? wasi_fd_write(w, s->m, c->fd, IOVEC, 2, RESULT)
        : c->kind == CALL_PREAD ? wasi_fd_pread(w, s->m, c->fd, IOVEC, 2, c->offset, RESULT)
                                : wasi_fd_pwrite(w, s->m, c->fd, IOVEC, 2, c->offset, RESULT);
    differ_put_moved(s, e, !writes);
}

static inline void differ_make(struct differ_side *s, const struct differ_call *c) {
    struct wasi *w = s->w;
    struct guest_memory m = s->m;
    enum wasi_errno e = WASI_OK;
    uint32_t path = differ_put_path(s, PATH_A, c->path);
    uint32_t other = differ_put_path(s, PATH_B, c->other);
    buffer_finish(&s->answer);
    switch (c->kind) {
    case CALL_OPEN:
        e = wasi_path_open(w, m, c->fd, c->flags & 1, PATH_A, path, c->oflags, c->rights, ALL,
                           c->fdflags, RESULT);
        differ_put_errno(s, e);
        if (e != WASI_OK) return;
        uint32_t opened = load_u32(m.base + RESULT);
        buffer_put_u32(&s->answer, opened);
        if (opened >= ROOT + 7) differ_put_errno(s, wasi_fd_close(w, m, opened));
        return;
    case CALL_CLOSE: differ_put_errno(s, wasi_fd_close(w, m, c->fd)); return;
    case CALL_READ:
    case CALL_WRITE:
    case CALL_PREAD:
    case CALL_PWRITE: differ_io(s, c); return;
    case CALL_SEEK: {
        int64_t to = (int64_t)c->offset * (c->size % 4 ? 1 : -1);
        e = wasi_fd_seek(w, m, c->fd, (uint64_t)to, c->flags, RESULT, WASI_PREVIEW1);
        differ_put_errno(s, e);
        if (e == WASI_OK) buffer_put(&s->answer, m.base + RESULT, 8);
        return;
    }
    case CALL_SET_SIZE:
        differ_put_errno(s, wasi_fd_filestat_set_size(w, m, c->fd, c->offset));
        return;
    case CALL_ALLOCATE:
        differ_put_errno(s, wasi_fd_allocate(w, m, c->fd, c->offset % 100000, c->size));
        return;
    case CALL_FD_STAT:
        e = wasi_fd_filestat_get(w, m, c->fd, DATA, WASI_PREVIEW1);
        differ_put_stat(s, e, DATA);
        return;
    case CALL_MKDIR:
        differ_put_errno(s, wasi_path_create_directory(w, m, c->fd, PATH_A, path));
        return;
    case CALL_RMDIR:
        differ_put_errno(s, wasi_path_remove_directory(w, m, c->fd, PATH_A, path));
        return;
    case CALL_UNLINK:
        differ_put_errno(s, wasi_path_unlink_file(w, m, c->fd, PATH_A, path));
        return;
    case CALL_SYMLINK:
        differ_put_errno(s, wasi_path_symlink(w, m, PATH_A, path, c->fd, PATH_B, other));
        return;
    case CALL_LINK:
        differ_put_errno(s,
                         wasi_path_link(w, m, c->fd, 0, PATH_A, path, c->to_fd, PATH_B, other));
        return;
    case CALL_RENAME:
        differ_put_errno(s,
                         wasi_path_rename(w, m, c->fd, PATH_A, path, c->to_fd, PATH_B, other));
        return;
    case CALL_READLINK:
        e = wasi_path_readlink(w, m, c->fd, PATH_A, path, DATA, c->size % 90, RESULT);
        differ_put_moved(s, e, true);
        return;
    case CALL_STAT:
        e = wasi_path_filestat_get(w, m, c->fd, c->flags & 1, PATH_A, path, DATA,
                                   WASI_PREVIEW1);
        differ_put_stat(s, e, DATA);
        return;
    case CALL_SET_TIMES:
        e = wasi_path_filestat_set_times(w, m, c->fd, c->flags & 1, PATH_A, path,
                                         c->offset * 1000, c->size, c->oflags);
        differ_put_errno(s, e);
        return;
    case CALL_FD_TIMES:
        differ_put_errno(
            s, wasi_fd_filestat_set_times(w, m, c->fd, c->size, c->offset, c->oflags));
        return;
    case CALL_READDIR: differ_put_names(s, c->fd, 300 + c->size); return;
    case CALL_RENUMBER: differ_put_errno(s, wasi_fd_renumber(w, m, c->fd, c->to_fd)); return;
    case CALL_FLAGS:
        if (c->size % 2) differ_put_errno(s, wasi_fd_fdstat_set_flags(w, m, c->fd, c->fdflags));
        e = wasi_fd_fdstat_get(w, m, c->fd, DATA);
        differ_put_errno(s, e);
        if (e == WASI_OK) buffer_put(&s->answer, m.base + DATA, 24);
        return;
    default: CHECK(false);
    }
}

static inline bool differ_same(const struct differ_side *a, const struct differ_side *b) {
    return a->answer.size == b->answer.size &&
           (a->answer.size == 0 ||
            memcmp(a->answer.bytes, b->answer.bytes, a->answer.size) == 0);
}

#endif
