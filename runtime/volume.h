/*
 * volume: the calls of a guest on a directory that is shared with others and limited in size,
 * between its tenant, which opens nothing itself, and the process that holds the directory
 * (docs/volumes.md). Private to runtime.
 *
 *   wasi_volume.c      the tenant's side: a call of WASI -> a message, its answer -> the guest
 *   volume_session.c   a message -> the same call of WASI, on the directory itself
 *   volume_account.c   what the calls add and take away, held against the limits
 *   volume_scan.c      what is there already
 *
 * One socket (SOCK_SEQPACKET) is one session; one message asks, the next answers, never two at
 * a time. Rights, positions and open files of a session are those of a struct wasi at the other
 * end, so whatever a guest asks for goes through the same checks as under `hutch run --dir`.
 * Both ends are of one build; integers are the machine's.
 */
#ifndef HUTCH_RUNTIME_VOLUME_H
#define HUTCH_RUNTIME_VOLUME_H

#include "runtime/wasi.h"

/* What is asked, with its arguments in order; then what goes along, and what comes back. */
/* clang-format off */
#define VOLUME_FUNCTIONS(X)                                                                     \
    X(VOLUME_RESTART)    /*                         all files are closed; rights as at first */ \
    X(VOLUME_READ)       /* fd, size                                     bytes               */ \
    X(VOLUME_PREAD)      /* fd, size, offset                             bytes               */ \
    X(VOLUME_WRITE)      /* fd                           bytes           value: how many     */ \
    X(VOLUME_PWRITE)     /* fd, offset                   bytes           value: how many     */ \
    X(VOLUME_SEEK)       /* fd, offset, whence, abi                      value: position     */ \
    X(VOLUME_TELL)       /* fd                                           value: position     */ \
    X(VOLUME_CLOSE)      /* fd                                                               */ \
    X(VOLUME_SYNC)       /* fd                                                               */ \
    X(VOLUME_DATASYNC)   /* fd                                                               */ \
    X(VOLUME_ADVISE)     /* fd, offset, length, advice                                       */ \
    X(VOLUME_ALLOCATE)   /* fd, offset, length                                               */ \
    X(VOLUME_FDSTAT)     /* fd                                           24 bytes            */ \
    X(VOLUME_SET_FLAGS)  /* fd, flags                                                        */ \
    X(VOLUME_SET_RIGHTS) /* fd, base, inheriting                                             */ \
    X(VOLUME_FILESTAT)   /* fd, abi                                      filestat            */ \
    X(VOLUME_SET_SIZE)   /* fd, size                                                         */ \
    X(VOLUME_SET_TIMES)  /* fd, atim, mtim, flags                                            */ \
    X(VOLUME_READDIR)    /* fd, size, cookie                             entries             */ \
    X(VOLUME_OPEN)       /* fd, dirflags, oflags, base, inheriting, fdflags                     \
                                                         path            value: fd, 8 bits type */ \
    X(VOLUME_PATH_STAT)  /* fd, flags, abi               path            filestat            */ \
    X(VOLUME_PATH_TIMES) /* fd, flags, atim, mtim, fst   path                                */ \
    X(VOLUME_READLINK)   /* fd, size                     path            text                */ \
    X(VOLUME_MKDIR)      /* fd                           path                                */ \
    X(VOLUME_RMDIR)      /* fd                           path                                */ \
    X(VOLUME_UNLINK)     /* fd                           path                                */ \
    X(VOLUME_SYMLINK)    /* fd, length of the target     target, path                        */ \
    X(VOLUME_LINK)       /* fd, fd, length of the first, flags   two paths                   */ \
    X(VOLUME_RENAME)     /* fd, fd, length of the first  two paths                           */
/* clang-format on */
enum volume_function {
#define X(name) name,
    VOLUME_FUNCTIONS(X)
#undef X
    VOLUME_FUNCTION_COUNT
};

struct volume_request {
    uint32_t function, payload_bytes;
    uint64_t a[6];
};
struct volume_reply {
    uint32_t error; /* enum wasi_errno */
    uint32_t payload_bytes;
    uint64_t value;
};
/* Bytes of a file in one message; more are several. */
#define VOLUME_CHUNK 65536u
/* The directory, in a session's table: the first number behind the standard streams. */
#define VOLUME_ROOT 3u

/* ---- the process that holds the directory ------------------------------------------------ */

/* What a call is about to do comes before it, what it did behind. */
struct volume {
    int root_fd;
    uint32_t max_files; /* open in one session */
    uint64_t limit_bytes, limit_names;
    uint64_t used_bytes, used_names;
    struct volume_session *sessions;
    /* "Guest memory" of the calls: a vector, a result, then what came or goes along. */
    uint8_t memory[16 + VOLUME_CHUNK + 2 * WASI_PATH_SIZE];
};
struct volume_session {
    struct volume *volume;
    struct volume_session *next;
    struct wasi *wasi;
};

/* Of a file's size: whole pages, holes included, so that it can be known beforehand. */
static inline uint64_t volume_charge(uint64_t size_bytes) {
    return (size_bytes + 4095) & ~UINT64_C(4095);
}
/* Of a directory, and of a symbolic link. */
#define VOLUME_NODE_BYTES UINT64_C(4096)

/* What is beneath the root: used_bytes and used_names (volume_scan.c). */
enum status volume_scan(struct volume *volume, struct error *err) must_check;

/* ---- accounts (volume_account.c) --------------------------------------------------------- */

/* A call that changes something, with its request at volume->memory + 16 and `function` one of
 * those above; any other is simply made. */
enum wasi_errno volume_account_call(struct volume_session *s, const struct volume_request *r);
/* The call itself (volume_session.c): its results are in volume->memory. */
enum wasi_errno volume_call(struct volume_session *s, const struct volume_request *r);
/* Closes everything that the session has open but the directory itself. */
void volume_close_files(struct volume_session *s);

#define VOLUME_VECTOR 0u
#define VOLUME_RESULT 8u
#define VOLUME_PAYLOAD 16u
/* Where an answer to something with a path lies. */
#define VOLUME_ANSWER (VOLUME_PAYLOAD + 2 * WASI_PATH_SIZE)

#endif
