/*
 * pool: tenant processes for apps. Requests come in with one end of a stream socket each and go
 * to a tenant of their app; the outcome and what it cost come back.
 *
 *   pool.c         create and destroy, the numbers
 *   pool_zygote.c  the zygote: started, watched, started again
 *   pool_tenant.c  the life of a tenant; its messages
 *   pool_app.c     apps, their descriptors and their queue
 *   pool_prepared.c    tenants for the next cold start of an app
 *   pool_request.c requests: submitted, sent, ended
 *   pool_limit.c   CPU and wall-clock limits of requests
 *   pool_log.c     what guests write, as lines
 *   pool_hibernate.c   idle tenants to files and back (hibernated.c: the directory)
 *
 * Ownership: descriptors and strings of a configuration are duplicated; a submitted stream_fd
 * is taken over. Threads: one, the event loop's; callbacks come from it, never from within
 * pool_submit. A callback may submit, cancel and remove, but not destroy the pool. Errors:
 * ST_LIMIT where a queue is full, ST_IO, ST_NO_MEMORY.
 *
 *     if (pool_create(base, &(struct pool_options){.tenant_program = path, .spares = 4}, &pool,
 *                     &err) != ST_OK) ...
 *     if (pool_app_add(pool, &config, &app, &err) != ST_OK) ...
 *     socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
 *     if (pool_submit(app, &(struct pool_submission){.stream_fd = ends[1], .done = done}, NULL,
 *                     &err) != ST_OK) ...
 */
#ifndef HUTCH_SERVE_POOL_H
#define HUTCH_SERVE_POOL_H

#include "base/base.h"
#include "loader/tenant_config.h"

struct event_base;
struct pool;
struct pool_app;
struct pool_request;

/* ---- the pool ---------------------------------------------------------------------------- */

/* A line that a guest wrote, without its newline; or a remark about it by the pool. */
struct pool_log_line {
    struct pool_app *app;
    uint64_t tenant, request; /* request 0: between requests */
    const char *text;         /* not terminated, any bytes */
    size_t length;
    bool remark;
};

#define POOL_KEEP_FREE_DEFAULT UINT64_MAX /* a twentieth of what there is */
struct pool_options {
    const char *tenant_program; /* path of hutch-tenant */
    int group_fd;               /* cgroup.procs of the tenants' control group; 0 or -1: none */
    uint32_t spares;            /* tenants ready for any app; at least 1 */
    uint32_t prepared;    /* tenants of apps that had a cold start lately, ready for one more */
    uint32_t max_tenants; /* of all apps together; 0: 10,000 */
    uint32_t uid_base;    /* as root: tenants get uids from here on; 0: 2,000,000,000 */
    uint32_t uid_count;   /* ... so many; 0: 65,536 */
    uint64_t max_memory_bytes; /* of any tenant's process, on top of its own limit; 0: 6 GiB */
    const char *hibernate_dir; /* files of hibernated instances; NULL: there are none */
    uint64_t max_hibernated_bytes; /* of them together; 0: no limit */
    uint64_t keep_free_bytes;      /* with less memory left, idle tenants go; 0: they stay */
    void (*log)(void *context, const struct pool_log_line *line); /* or NULL */
    /* Something an operator should hear: the zygote died, a layer of the sandbox is missing. */
    void (*event)(void *context, const char *text); /* or NULL */
    /* The holder of a persistent volume has ended: its apps need new kits. Or NULL. */
    void (*lost_volume)(void *context);
    void *context;
};
/* Starts the zygote and the spares, which come up while the loop runs. */
enum status pool_create(struct event_base *base, const struct pool_options *options,
                        struct pool **ret_pool, struct error *err) must_check;
/* Ends every tenant. Requests under way end with POOL_DIED. Apps are freed with it. */
void pool_destroy(struct pool *pool);

/* There is no room for what someone waits for: instances that are idle for longest go, a few at
 * a time, those that keep something to a file. */
void pool_make_room(struct pool *pool);

/* ---- apps -------------------------------------------------------------------------------- */

enum pool_interface {
    POOL_CGI,     /* _start for each request; stdin and stdout are the stream */
    POOL_FASTCGI, /* sock_accept on 0 */
    POOL_HTTP     /* sock_accept on 3 */
};
enum pool_reuse {
    POOL_FRESH, /* a process for each request */
    POOL_RESET, /* back to the snapshot after each */
    POOL_KEEP   /* as it is left */
};

struct pool_limits {
    uint64_t memory_bytes; /* linear memory; 0: what the module's type allows */
    uint64_t stack_bytes;  /* guest stack, at most 64 MiB; 0: that */
    uint64_t cpu_ns;       /* of one request; 0: none, as for the others */
    uint64_t wall_ns;      /* of one request, from its start in a tenant */
    uint64_t start_ns;     /* from ASSIGN to the first accept */
    uint64_t queue_ns;     /* waiting for a tenant */
    uint64_t log_bytes;    /* written to the log during one request; more is dropped */
    uint32_t files;        /* open in the guest; 0: 4096 */
};

#define POOL_NEVER UINT64_MAX
struct pool_app_config {
    const char *name;
    enum pool_interface interface;
    enum pool_reuse reuse;
    int object_fd;        /* opened O_RDONLY */
    struct digest object; /* its content digest; where it hibernates */
    int snapshot_fd;      /* or -1 */
    int counters_fd;      /* memory in which its tenants count (runtime.h); or -1 */
    uint32_t argc, envc, dir_count;
    const char *const *argv, *const *env;
    const struct tenant_dir *dirs;
    struct pool_limits limits;
    uint32_t max_instances;     /* tenants at a time; 0: 16 */
    uint32_t warm;              /* tenants kept ready without a request */
    uint32_t max_queue;         /* requests that wait; 0: 1024 */
    uint32_t reuse_requests;    /* a tenant ends after so many; 0: never */
    bool environment_at_resume; /* env is not the snapshot's */
    uint64_t idle_ns;           /* an idle tenant beyond warm ends after; 0: 10 s; POOL_NEVER */
    /* keep: it does not end, but is written to a file, and goes on with the next request; where
     * that is not possible it stays. */
    bool hibernates, survives_reboot;
    /* An app that was removed in this turn of the loop, whose place this one takes; NULL. What
     * it has begun is gone on with by this one where it is the same to the guest. */
    struct pool_app *follows;
    void *context; /* pool_app_context gives it back */
};
enum status pool_app_add(struct pool *pool, const struct pool_app_config *config,
                         struct pool_app **ret_app, struct error *err) must_check;
/* No more submissions; what is queued or under way is finished, then it is freed (and drained
 * called, where not NULL). */
void pool_app_remove(struct pool_app *app, void (*drained)(void *context), void *context);
/* Begins to write out every idle tenant that can be. How many are still in memory: 0, and all
 * have been written. */
uint32_t pool_hibernate_all(struct pool *pool);
void *pool_app_context(const struct pool_app *app);
const char *pool_app_name(const struct pool_app *app);

/* ---- requests ---------------------------------------------------------------------------- */

enum pool_end {
    POOL_DONE,      /* the guest has answered and wants the next; cgi: exit status 0 */
    POOL_EXITED,    /* it ended with status */
    POOL_TRAPPED,   /* report is its backtrace */
    POOL_LIMIT,     /* limit says which; report is the backtrace where there is one */
    POOL_DIED,      /* its process died, or could not be started: report says how */
    POOL_CANCELLED, /* pool_cancel */
};
enum pool_limit {
    POOL_LIMIT_NONE,
    POOL_LIMIT_MEMORY,
    POOL_LIMIT_CPU,
    POOL_LIMIT_WALL,
    POOL_LIMIT_START,
    POOL_LIMIT_QUEUE,
    POOL_LIMIT_OUTPUT, /* whoever reads the stream says so: pool_break */
};
const char *pool_limit_name(enum pool_limit limit);

struct pool_outcome {
    enum pool_end end;
    enum pool_limit limit;
    int status;
    const char *report; /* "" where there is nothing to say; valid during the callback */
    uint64_t cpu_ns;    /* of the tenant's process, from the kernel */
    uint64_t wall_ns, queue_ns;
    uint64_t memory_peak_bytes; /* linear memory */
    bool cold;                  /* the tenant was started for it */
    uint64_t tenant;            /* 0: none was found */
};
struct pool_submission {
    int stream_fd; /* the tenant's end; taken over in any case */
    uint64_t id;   /* for logs; not 0 */
    uint32_t envc; /* cgi: the request's environment */
    const char *const *env;
    uint64_t wall_ns; /* 0: the app's limit */
    /* Once, for every request that was taken. Not from within pool_submit. */
    void (*done)(void *context, const struct pool_outcome *outcome);
    /* A tenant has been found and the request was sent to it; or NULL. */
    void (*started)(void *context, uint64_t tenant);
    void *context;
};
/* ret_request may be NULL; it is valid until done is called. */
enum status pool_submit(struct pool_app *app, const struct pool_submission *submission,
                        struct pool_request **ret_request, struct error *err) must_check;
/* The client has gone: the request leaves the queue, or its tenant ends. done is called. */
void pool_cancel(struct pool_request *request);
/* Its answer has begun, and the caller has passed on what there is of it: a tenant has taken
 * it, if that was not known. */
void pool_answer_began(struct pool_request *request);
/* The caller has all of its answer: its tenant is about to be free. */
void pool_answer_ended(struct pool_request *request);
/* The request breaks a limit that the caller watches: its guest is interrupted. */
void pool_break(struct pool_request *request, enum pool_limit limit);

/* ---- numbers ----------------------------------------------------------------------------- */

struct pool_app_numbers {
    uint32_t starting, idle, busy, queued;
    uint64_t requests, refused, cold_starts;
    uint64_t ended[POOL_CANCELLED + 1]; /* by enum pool_end */
    uint64_t cpu_ns;                    /* of requests */
    uint64_t overhead_cpu_ns;           /* of starting and ending tenants */
    uint64_t log_bytes;
    uint32_t hibernated; /* instances, now */
    uint64_t hibernated_bytes;
    uint64_t hibernations, resumes, hibernate_failures;
    uint64_t hibernated_refused; /* files that nobody went on from */
};
struct pool_numbers {
    uint32_t spares, prepared, tenants;
    uint64_t forks, zygote_restarts;
    uint32_t layers; /* of the sandbox: bit i, SANDBOX_LAYERS */
    bool up;         /* the zygote answers */
};
enum pool_tenant_state {
    POOL_TENANT_STARTING, /* no process yet, or not sealed */
    POOL_TENANT_SPARE,
    POOL_TENANT_PREPARED, /* has an app, and runs nothing before it has a request */
    POOL_TENANT_WARMING,  /* has an app, has not asked for a request */
    POOL_TENANT_IDLE,
    POOL_TENANT_BUSY,
    POOL_TENANT_ENDING,
};
struct pool_tenant_numbers {
    uint64_t tenant;
    int pid;
    enum pool_tenant_state state;
    struct pool_app *app; /* NULL: a spare */
    uint64_t requests, cpu_ns, age_ns, memory_bytes;
};
void pool_numbers(const struct pool *pool, struct pool_numbers *ret);
void pool_app_numbers(const struct pool_app *app, struct pool_app_numbers *ret);
/* Calls visit for each; it must not change anything. */
void pool_each_app(struct pool *pool, void (*visit)(void *context, struct pool_app *app),
                   void *context);
void pool_each_tenant(struct pool *pool,
                      void (*visit)(void *context, const struct pool_tenant_numbers *tenant),
                      void *context);

#endif
