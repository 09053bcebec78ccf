/*
 * What `hutch run` tells `hutch-tenant`: a memory file, sealed, whose descriptor number is the
 * tenant's first argument. The pool of `hutch serve` sends it with TENANT_ASSIGN
 * (tenant_protocol.h): there descriptors are places in that message's list. Not argv, because
 * everyone on the machine may read a process's arguments and the guest's environment may hold
 * secrets. Little-endian:
 *
 *     u64 magic, u32 object fd, u32 profile fd, u32 interface, u32 reuse, u64 max memory,
 * u64 max stack, u64 timeout in ns, str name, u32 has invoke, str invoke, u32 argc, str
 * argv..., u32 envc, str env..., u32 preopens, { u32 fd, u32 flags, u64 size, u64 inodes, str
 * guest path }...; flags: 1 read-only, 2 a file image, 4 in memory (fd -1, or an image beneath;
 * size and inodes are its limits), 8 a volume's session; u32 request socket, u32 listen fd, u32
 * control fd, u32 snapshot fd, u32 flags: 1 prefault, 2 reset, 4 environment at resume, u32
 * request's variables
 *
 * str: u32 length, bytes, and a 0 byte beyond the length so that it can be used in place.
 */
#ifndef HUTCH_LOADER_TENANT_CONFIG_H
#define HUTCH_LOADER_TENANT_CONFIG_H

#include "base/base.h"

/* How a guest meets its requests; TENANT_PROGRAM: it is run once, there are none. */
enum tenant_interface {
    TENANT_PROGRAM,
    TENANT_CGI,     /* started for a request; stdin and stdout are its stream */
    TENANT_FASTCGI, /* the request socket is 0 */
    TENANT_HTTP     /* ... is 3 */
};

/* What becomes of a process after a request. */
enum tenant_reuse {
    TENANT_ENDS,
    TENANT_RESETS, /* to its snapshot; without one it ends */
    TENANT_GOES_ON
};

struct tenant_dir {
    int fd;
    const char *guest;
    bool read_only, image, memory;
    bool volume; /* fd is a session's socket; until there is a tenant, its holder's control */
    uint64_t size_bytes, inodes; /* as in struct wasi_preopen */
};

/* Where a program gets requests from (runtime.h, wasi_config.next_request), and goes on from.
 */
#define TENANT_NO_REQUESTS UINT32_MAX
struct tenant_requests {
    uint32_t socket; /* the guest's descriptor: 0 or 3; TENANT_NO_REQUESTS: it has none */
    int listen_fd;   /* a listening socket: each connection is a request; or -1 */
    int control_fd;  /* requests come over this socket (tools/tenant_requests.h); or -1 */
    int snapshot_fd; /* to be resumed; or -1 */
    bool prefault;   /* what the snapshot's first request touched is made present first */
    bool environment_at_resume; /* env is not the snapshot's, which is not bound to it */
    bool reset;         /* each request begins from the snapshot's state, in the same process */
    uint32_t env_count; /* of env the last ones: a CGI request's, to which nothing is bound */
};

struct tenant_config {
    int object_fd;
    /* where to leave the profile, opened for reading and writing; or -1. From the pool: memory
     * in which all instances of the app count. */
    int profile_fd;
    enum tenant_interface interface;
    enum tenant_reuse reuse;
    uint64_t max_memory_bytes;            /* 0: no limit */
    uint64_t max_stack_bytes, timeout_ns; /* timeout 0: none */
    const char *name;                     /* of the program, for messages */
    const char *invoke;                   /* export to call, or NULL */
    uint32_t argc, envc, dir_count;
    uint32_t max_files; /* the guest may have open; 0: no limit of the app's */
    const char *const *argv, *const *env;
    const struct tenant_dir *dirs;
    struct tenant_requests requests;
};

/* Into a sealed memory file that is inherited by exec. */
enum status tenant_config_write(const struct tenant_config *config, int *ret_fd,
                                struct error *err) must_check;
/* The same in two steps: the bytes are appended to b, and put into a file. */
void tenant_config_encode(const struct tenant_config *config, struct buffer *b);
enum status tenant_config_file(const struct buffer *b, int *ret_fd,
                               struct error *err) must_check;
/* Reads and closes fd. The strings lie in the arena. ST_DAMAGED where it is no configuration.
 */
enum status tenant_config_read(int fd, struct arena *arena, struct tenant_config *ret_config,
                               struct error *err) must_check;
/* The line of a CGI program. */
#define TENANT_CGI_REQUESTS "requests by the environment"
/* What a snapshot is bound to, a line each (runtime.h): arguments, environment, the request
 * socket. */
void tenant_config_text(const struct tenant_config *config, struct buffer *b);

#endif
