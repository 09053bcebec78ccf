/* clang-format off */
/*
 * What the pool (serve/) and the processes of hutch-tenant say to each other. Two kinds of
 * socket, both SOCK_SEQPACKET, one message a packet, descriptors beside it (SCM_RIGHTS):
 *
 *     zygote socket
 *         pool -> zygote   FORK        one descriptor: the new tenant's end of its control socket
 *         zygote -> pool   READY       once: which layers hold
 *                          FORKED      one descriptor: a pidfd
 *                          FAILED      no process: errno
 *                          ENDED       a tenant was reaped
 *     control socket
 *         pool -> tenant   ASSIGN      config, and what it names; a hibernated guest
 *                          REQUEST     one descriptor: the stream
 *                          HIBERNATE   one descriptor: a file to write to
 *         tenant -> pool   UP          sealed, waits for ASSIGN
 *                          READY       waits for a request
 *                          DONE        a request's end
 *                          FAILED      the app cannot be started
 *                          HIBERNATED  the file is written, or cannot be
 *
 *     tenant:  (fork) UP   ASSIGN   READY   REQUEST   DONE  READY  REQUEST  DONE  ...  (end)
 *     pool:    FORK      ->       ->      ->        ->         ->        ->         close
 *
 * Where a REQUEST comes right behind ASSIGN, READY is said only if the start takes longer than
 * TENANT_QUIET_NS: the pool would be woken to hear it while the guest goes on. Whether a tenant
 * has taken its REQUEST the kernel tells the pool: nothing it sent is left unread (SIOCOUTQ);
 * and of a tenant that died with something unread, ECONNRESET.
 *
 * To stop a tenant the pool closes its end of the control socket: the tenant ends when it next
 * looks, and a process that does not is killed through the pidfd. To interrupt a guest (a limit
 * is broken) the pool sends SIGALRM: the guest traps with a backtrace, which DONE carries.
 * Closing the zygote socket ends the zygote and with it every tenant.
 *
 * A tenant is hostile: the pool takes no descriptors from it, checks type and length of what it
 * says, bounds every text, and believes nothing that costs anyone else anything: CPU time,
 * death and its cause come from the kernel and the zygote. Both sides are of one build; the
 * version is checked in every message, for the case of a half-done upgrade. Integers are the
 * machine's own: a message never leaves it.
 */
/* clang-format on */
#ifndef HUTCH_LOADER_TENANT_PROTOCOL_H
#define HUTCH_LOADER_TENANT_PROTOCOL_H

#include "base/base.h"

#define TENANT_PROTOCOL_VERSION 4u

enum tenant_message_type {
    ZYGOTE_FORK = 1,
    ZYGOTE_READY,
    ZYGOTE_FORKED,
    ZYGOTE_FAILED,
    ZYGOTE_ENDED,
    TENANT_ASSIGN = 16,
    TENANT_REQUEST,
    TENANT_HIBERNATE,
    TENANT_UP = 32,
    TENANT_READY,
    TENANT_DONE,
    TENANT_FAILED,
    TENANT_HIBERNATED,
};

/* In front of every message. */
struct tenant_header {
    uint16_t version;
    uint16_t type;
    uint32_t size_bytes; /* of the whole message */
    uint64_t id;         /* of the tenant (zygote socket) or of the request */
};

/* ---- the zygote -------------------------------------------------------------------------- */

/* What may hold a tenant. Each is tried; which do is said by ZYGOTE_READY. docs/tenants.md says
 * what each keeps out and when it cannot be had. */
/* clang-format off */
#define SANDBOX_LAYERS(X)                                                                      \
    X(SANDBOX_USER_NAMESPACE,    "user namespace")                                             \
    X(SANDBOX_PID_NAMESPACE,     "pid namespace")                                              \
    X(SANDBOX_MOUNT_NAMESPACE,   "mount namespace")                                            \
    X(SANDBOX_NETWORK_NAMESPACE, "network namespace")                                          \
    X(SANDBOX_IPC_NAMESPACE,     "ipc namespace")                                              \
    X(SANDBOX_EMPTY_ROOT,        "empty root")                                                 \
    X(SANDBOX_OWN_UID,           "own uid")                                                    \
    X(SANDBOX_NO_CAPABILITIES,   "no capabilities")                                            \
    X(SANDBOX_NO_NEW_PRIVS,      "no new privileges")                                          \
    X(SANDBOX_MDWE,              "no writable code")                                           \
    X(SANDBOX_LANDLOCK,          "landlock")                                                   \
    X(SANDBOX_LIMITS,            "resource limits")                                            \
    X(SANDBOX_PARENT_DEATH,      "parent death signal")                                        \
    X(SANDBOX_SECCOMP,           "seccomp")
/* clang-format on */
enum sandbox_layer {
#define X(name, text) name,
    SANDBOX_LAYERS(X)
#undef X
    SANDBOX_LAYER_COUNT
};
/* The words of the second column. */
const char *sandbox_layer_name(enum sandbox_layer layer);

struct zygote_fork {
    struct tenant_header header; /* id: of the tenant, chosen by the pool */
    uint32_t slot;               /* which uid: unique among living tenants */
    uint32_t reserved;
};
struct zygote_ready {
    struct tenant_header header;
    uint32_t layers; /* bit i: layer i holds */
    uint32_t reserved;
};
struct zygote_forked {
    struct tenant_header header; /* one descriptor: the pidfd */
};
struct zygote_failed {
    struct tenant_header header;
    int32_t saved_errno;
    uint32_t reserved;
};
struct zygote_ended {
    struct tenant_header header;
    int32_t status; /* as of wait(2) */
    uint32_t reserved;
    uint64_t cpu_ns; /* of its whole life, from the kernel */
};

/* ---- tenants ----------------------------------------------------------------------------- */

/*
 * Descriptors: the config (a sealed memory file, tenant_config.h, whose descriptor fields are
 * places in this list), then those that it names. The first two arrive as numbers 4 and 5: the
 * code object is number 5, the only one the filter lets be mapped executable.
 */
struct tenant_assign {
    struct tenant_header header;
    uint32_t hibernated; /* 1: the last descriptor is a hibernated guest, which goes on */
    uint32_t prepared;   /* 1: all is made ready, and nothing of the guest runs, until a REQUEST
                            is there */
    uint32_t asked;      /* 1: a REQUEST is what it is started for */
    uint32_t reserved;
};
#define TENANT_QUIET_NS UINT64_C(2000000)
#define TENANT_CONTROL_FD 3
#define TENANT_CONFIG_FD 4
#define TENANT_OBJECT_FD 5
#define TENANT_MAX_FDS 64u
enum {
    TENANT_ASSIGNED_CONFIG, /* places in the list of ASSIGN */
    TENANT_ASSIGNED_OBJECT,
    TENANT_ASSIGNED_LOG, /* a pipe: the guest's stdout (not cgi) and stderr */
    TENANT_ASSIGNED_REST
};

/* For cgi, strings follow: the request's environment, each "NAME=VALUE" and a 0 byte. They
 * come behind those of the config. */
struct tenant_request {
    struct tenant_header header; /* one descriptor: the stream */
    uint32_t env_count;
    uint32_t env_bytes;
};
#define TENANT_MAX_ENV_BYTES (128u << 10)
#define TENANT_MAX_REQUEST_BYTES (sizeof(struct tenant_request) + TENANT_MAX_ENV_BYTES)

/* Write the guest to the descriptor, as soon as it waits for a request. The process goes on,
 * whatever comes of it: who asked ends it, or sends it a request. */
struct tenant_hibernate {
    struct tenant_header header; /* one descriptor, opened for writing alone */
    uint64_t max_bytes;
    uint32_t whole; /* 1: the file is not to depend on the app's snapshot */
    uint32_t reserved;
};
/* Text follows where it failed, as in DONE. */
struct tenant_hibernated {
    struct tenant_header header;
    uint32_t status; /* enum status */
    uint32_t text_bytes;
};

struct tenant_up {
    struct tenant_header header;
    uint32_t layers; /* those of the zygote and its own */
    uint32_t reserved;
};
struct tenant_ready {
    struct tenant_header header;
    uint64_t memory_bytes; /* linear memory now */
};

enum tenant_end {
    TENANT_RETURNED, /* and waits for the next */
    TENANT_EXITED,   /* the guest ended with status; so does the process */
    TENANT_TRAPPED,  /* text is the backtrace; the process ends */
};
/* Text follows: not terminated, in no way checked. */
struct tenant_done {
    struct tenant_header header; /* id 0: no request was under way */
    uint32_t end;                /* enum tenant_end */
    int32_t status;              /* exit status, or enum abi_trap */
    uint64_t memory_bytes;       /* high water of linear memory */
    uint32_t memory_refused;     /* memory.grow failed for the limit */
    uint32_t last;               /* it takes no other request */
    uint32_t text_bytes;
    uint32_t reserved;
};
/* Text follows, as in DONE. */
struct tenant_failed {
    struct tenant_header header;
    uint32_t status; /* enum status */
    uint32_t text_bytes;
};
#define TENANT_MAX_TEXT_BYTES 8000u
#define TENANT_MAX_ANSWER_BYTES (sizeof(struct tenant_done) + TENANT_MAX_TEXT_BYTES)

/* ---- persistent volumes (volume_holder.c, docs/volumes.md) --------------------------------
 */

/*
 * A volume's holder has control connections, of the same kind of socket:
 *
 *     HOLDER_LIMITS    what the volume may hold; answered by HOLDER_HOLDS, what it does
 *     HOLDER_SESSION   one descriptor: the holder's end of a new session, whose other end is a
 *                      tenant's directory (struct tenant_dir.volume)
 */
enum {
    HOLDER_LIMITS = 48,
    HOLDER_HOLDS,
    HOLDER_SESSION,
};
struct holder_limits {
    struct tenant_header header;
    uint64_t bytes, names; /* as in struct volume_limits (runtime.h) */
    uint32_t files;
    uint32_t reserved;
};
struct holder_holds {
    struct tenant_header header;
    uint64_t bytes, names;
};
struct holder_session {
    struct tenant_header header;
};
/* A new session: the tenant's end. 0 or an errno; EPIPE and ECONNRESET: the holder has gone. */
int holder_open_session(int control_fd, int *ret_fd) must_check;

/* `hutch-tenant --volume DIR-FD CONTROL-FD LISTEN-FD NAME`: holds the directory until the last
 * connection ends. listen_fd: -1, or a listening socket, whose connections are for control. */
struct holder_options {
    int dir_fd, control_fd, listen_fd;
    const char *name; /* for messages */
};
int volume_holder_main(const struct holder_options *options);

/* ---- sending and receiving --------------------------------------------------------------- */

struct tenant_header tenant_header(unsigned type, size_t size_bytes, uint64_t id);
/* Sends head and tail as one message, with descriptors, which stay the caller's. Returns 0 or
 * an errno: EAGAIN where the socket does not block, EPIPE where nobody listens any more. */
int tenant_send(int socket, const void *head, size_t head_bytes, const void *tail,
                size_t tail_bytes, const int *fds, uint32_t fd_count);
/*
 * Receives one message into buffer. Returns its size, 0 at the end of the connection, or a
 * negative errno: -EPROTO for what is no message (too long, header wrong). With max_fds 0 no
 * descriptor is taken, whatever was sent. Those received are close-on-exec and the caller's.
 */
ssize_t tenant_receive(int socket, void *buffer, size_t size_bytes, int *ret_fds,
                       uint32_t max_fds, uint32_t *ret_fd_count) must_check;

/* ---- the process ------------------------------------------------------------------------- */

struct zygote_options {
    int socket_fd;
    uint32_t uid_base, uid_count; /* as root: uids of the zygote and its tenants */
    uint64_t max_memory_bytes;    /* of a tenant's private memory, all in all */
    int group_fd;                 /* cgroup.procs of the group to be in; or -1 */
};
/* `hutch-tenant --zygote FD UID-BASE UID-COUNT MAX-MEMORY [GROUP-FD]`: what the server starts.
 * Returns only in the process that was called: its exit status. */
int zygote_main(const struct zygote_options *options);
/* Before it, first of all: argv is the program's own. Begins it once more, at addresses close
 * to a guest's; returns there, or here where that cannot be had. */
void zygote_place(char **argv);

#endif
