/*
 * pool_private: what the files of the pool share. Everything hangs on struct pool; a tenant is
 * in exactly one of the lists spares, app->idle, app->prepared, or none (starting, busy,
 * ending), and always in pool->slots.
 *
 *     STARTING --UP, FORKED--> SPARE --ASSIGN--> WARMING --READY--> IDLE <--> BUSY
 *         \______________________\__________________\_________________\_________\--> ENDING
 * --ENDED-->
 *
 * In the place of WARMING, a spare may become PREPARED: it is its app's, in app->prepared, and
 * says nothing until it is BUSY.
 *
 * BUSY includes a tenant that was assigned and given its request in one go (cold).
 */
#ifndef HUTCH_SERVE_POOL_PRIVATE_H
#define HUTCH_SERVE_POOL_PRIVATE_H

#include "loader/tenant_protocol.h"
#include "serve/hibernated.h"
#include "serve/pool.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>
#include <sys/types.h>

struct pool_tenant {
    struct pool *pool;
    struct pool_app *app; /* NULL: a spare */
    uint64_t id;          /* serial << 16 | slot */
    uint32_t slot;
    enum pool_tenant_state state;
    int control, pidfd; /* -1: not yet, or no more */
    pid_t pid;
    bool up;      /* it is sealed */
    bool ready;   /* it has said so */
    bool untaken; /* it has died and left unread what it was sent */
    struct event control_event;
    struct pool_request *request; /* under way */
    uint64_t requests;            /* it was given */
    uint64_t accounted_ns;        /* of its CPU time: to requests, or as overhead */
    uint64_t cpu_ns;              /* of requests that ended */
    uint64_t born_ns, idle_since_ns, killed_ns;
    uint64_t memory_bytes;
    struct event backstop; /* ENDING: is it dead yet? WARMING: is it up? Writing: how much? */
    struct pool_writing *writing; /* pool_hibernate.c: the file it is being written to */
    struct hibernated *resuming;  /* what it goes on from, until it is up */
    bool went_on;                 /* it did */
    uint64_t hibernate_retry_ns;  /* not before */
    uint32_t hibernate_failures;
    struct pool_log *log;          /* NULL: not a spare yet */
    int log_end;                   /* the guest's end of it, until it has an app; -1 */
    TAILQ_ENTRY(pool_tenant) link; /* spares, or the app's idle ones */
};
TAILQ_HEAD(tenant_list, pool_tenant);

struct pool_request {
    struct pool_app *app;
    struct pool_submission submission; /* stream_fd -1 once a guest has it */
    char *env;                         /* strings with their 0 bytes */
    uint32_t env_bytes;
    struct pool_tenant *tenant;
    uint64_t queued_ns, started_ns, cpu_start_ns;
    uint64_t limits_from_ns; /* wall-clock limits count from here */
    bool starting;           /* it is not known that its tenant has taken it */
    bool again;              /* a tenant died before it had begun; this is the second */
    bool finished;           /* in pool->over */
    uint64_t soon_ns; /* when its answer was complete: it is in app->soon; 0: it is not */
    struct pool_limits limits;
    bool cold;              /* it is counted in pool->cold_count */
    enum pool_limit broken; /* why it is being ended */
    uint64_t broken_ns;
    bool cancelled;
    bool told; /* the tenant has said how it ended; only its CPU time is missing */
    struct pool_outcome outcome;
    char *report;
    struct event timer;             /* queue limit, then limits in the tenant */
    TAILQ_ENTRY(pool_request) link; /* queue, app->soon, or pool->over */
};
TAILQ_HEAD(request_list, pool_request);

struct pool_app {
    struct pool *pool;
    char *name;
    struct pool_app_config config; /* descriptors are its own; strings are not kept */
    int *fds;                      /* what ASSIGN sends; [LOG] is filled in each time */
    struct buffer tenant_config;   /* what [CONFIG] holds, which is there while tenants are */
    uint32_t fd_count;
    uint64_t volumes; /* bit i: fds[i] is a volume's control connection; tenants get sessions */
    uint64_t lost_ns; /* when the holder of one was found gone: no tenant can be started */
    struct event *volume_events; /* for each of fds */
    uint32_t tenant_count;       /* not counting those that end */
    uint32_t process_count;      /* those as well */
    uint32_t idle_count, warming_count, busy_count, queue_length;
    struct tenant_list idle; /* the one used last is first */
    struct tenant_list prepared;
    uint32_t prepared_count, prepared_wanted;
    uint64_t cold_ns; /* its last cold start */
    struct request_list queue;
    struct request_list soon; /* answered, their tenants not free yet; the oldest is first */
    uint32_t soon_count;
    bool removed;
    void (*drained)(void *context);
    void *drained_context;
    uint64_t retry_ns;  /* after tenants could not be started: not before */
    uint32_t failures;  /* in a row */
    struct event timer; /* idle tenants, retries */
    struct hibernated_key key;
    bool hibernates_whole;
    uint64_t hibernated_max_bytes;
    uint32_t coming_count; /* of those that warm up: they go on from a file */
    struct pool_app_numbers numbers;
    bool active; /* it is in pool->active */
    TAILQ_ENTRY(pool_app) link, active_link;
};
TAILQ_HEAD(app_list, pool_app);

struct zygote {
    pid_t pid;
    int socket; /* -1: none */
    struct event event;
    struct event restart;
    bool ready;
    uint32_t layers;
    uint64_t started_ns;
    uint32_t failures; /* in a row */
};

#define POOL_MAX_SLOTS 65000u
struct pool {
    struct event_base *base;
    struct pool_options options;
    char *tenant_program;
    struct zygote zygote;
    struct pool_tenant **slots; /* POOL_MAX_SLOTS, NULL where free */
    uint32_t next_slot;
    uint64_t next_serial;
    uint32_t tenant_count, starting_count, spare_count;
    struct tenant_list spares;
    struct app_list apps;
    struct app_list active;   /* by active_link: those that have or want something */
    struct request_list over; /* ended, done not yet called */
    struct event work;        /* dispatch and callbacks, outside of whoever caused them */
    uint32_t cold_count;      /* of requests under way for which a tenant was started */
    uint64_t spares_from_ns; /* since when spares have been put off for them; 0: they are not */
    uint32_t prepared_count;
    struct event prepared_timer;
    struct event later; /* when they are started all the same */
    struct pool_numbers numbers;
    bool closing, working;             /* working: within pool_work */
    struct hibernated_dir *hibernated; /* NULL: nothing is hibernated */
    struct event pressure;
    uint64_t short_said_ns, room_ns; /* that there is no room was said, and made */
    uint32_t pressure_turns, writing_count;
    bool hibernating_all;
};

/* How long the spare that takes the place of one just used may be put off. */
#define POOL_LATER_NS UINT64_C(2000000)

/* ---- pool.c ---- */
uint64_t pool_now_ns(void);
void pool_event(struct pool *pool, const char *format, ...) printf_like(2, 3);
/* Has pool_work run soon, from the loop. */
void pool_wake(struct pool *pool);
void pool_set_timer(struct event *timer, uint64_t ns);

/* ---- pool_zygote.c ---- */
enum status zygote_start(struct pool *pool, struct error *err) must_check;
void zygote_stop(struct pool *pool);
/* false where there is none, or it does not take it. */
bool zygote_ask(struct pool *pool, struct pool_tenant *tenant, int control_end);

/* ---- pool_tenant.c ---- */
/* Starts spares as they are needed. */
void tenants_start(struct pool *pool);
/* A spare becomes the app's, to go on from a hibernated guest (or -1), and is given a request
 * at once where asked; false where it died meanwhile. */
bool tenant_assign(struct pool_tenant *tenant, struct pool_app *app, int hibernated_fd,
                   bool asked);
/* Or for a request to come: it runs nothing before. */
bool tenant_prepare(struct pool_tenant *tenant, struct pool_app *app);
bool tenant_send_request(struct pool_tenant *tenant, struct pool_request *request);
/* Whether it is seen to have read all that it was sent, and lives. */
bool tenant_has_read(const struct pool_tenant *tenant);
/* Its request is taken: from here on it is nobody else's, and has its own limits. */
void tenant_taken(struct pool_tenant *tenant);
/* CPU time up to now_ns that is no request's. */
void tenant_account(struct pool_tenant *tenant, uint64_t now_ns);
void tenant_set_idle(struct pool_tenant *tenant);
/* It becomes another app's, for which it was started as well, and its request with it. */
void tenant_move(struct pool_tenant *tenant, struct pool_app *to);
/* Kills it. It goes when the zygote has reaped it. */
void tenant_end(struct pool_tenant *tenant);
/* Kills it and waits until it is dead, so that it says nothing more; false where it takes too
 * long. */
bool tenant_kill_now(struct pool_tenant *tenant);
/* Told by the zygote, or the zygote itself is gone (status -1, cpu_ns 0): its process is dead.
 */
void tenant_ended(struct pool_tenant *tenant, int status, uint64_t cpu_ns);
void tenant_forked(struct pool_tenant *tenant, int pidfd);
/* CPU time of its process so far; false where there is no such process any more. */
bool tenant_cpu_ns(const struct pool_tenant *tenant, uint64_t *ret_ns);

/* ---- pool_app.c ---- */
/* Gives queued requests to tenants, keeps warm ones ready. It may free the app, and it takes it
 * out of pool->active where it has nothing to do with it. */
void app_dispatch(struct pool_app *app);
/* It has something for app_dispatch. */
void app_activate(struct pool_app *app);
void pool_app_free(struct pool_app *app);
/* The holder of one of its volumes has gone. */
void app_lost_volume(struct pool_app *app);
void app_close_config(struct pool_app *app);
enum status app_open_config(struct pool_app *app, struct error *err) must_check;
bool app_wants_tenants(struct pool_app *app, uint32_t *ret_count);

/* ---- pool_prepared.c ---- */
void prepared_start(struct pool *pool);
void prepared_stop(struct pool *pool);
/* A tenant was started for a request, or (found) a prepared one took it. */
void prepared_note(struct pool_app *app, bool found);
/* Prepares spares for apps that want them. */
void prepared_make(struct pool *pool);
/* Ends those of the app. */
void prepared_end(struct pool_app *app);
/* Ends one, of the app that has waited for longest; false where there is none. */
bool prepared_give_up(struct pool *pool);

/* ---- pool_hibernate.c ---- */
void hibernate_start(struct pool *pool);
void hibernate_stop(struct pool *pool);
/* What its files are bound to; and what to do with those there are. */
enum status hibernate_prepare(struct pool_app *app, const struct tenant_config *config,
                              struct error *err) must_check;
void hibernate_adopt(struct pool_app *app);
/* Has an idle tenant write itself out; false where it cannot be now. It may have ended. */
bool hibernate_begin(struct pool_tenant *tenant);
/* It is given a request while it writes. */
void hibernate_cancel(struct pool_tenant *tenant);
void hibernate_watch(struct pool_tenant *tenant);
bool hibernate_take(struct pool_tenant *tenant, const struct tenant_hibernated *message,
                    const char *text);
/* Whether there is a file to go on from; a spare that does. */
bool hibernate_waits(const struct pool_app *app);
bool hibernate_resume_one(struct pool_app *app);
void hibernate_resumed(struct pool_tenant *tenant); /* READY: the file goes */
/* FAILED; false: it may be tried again. */
bool hibernate_refused(struct pool_tenant *tenant, enum status status, const char *text,
                       size_t length);
void hibernate_tenant_ended(struct pool_tenant *tenant, bool with_zygote);
/* Whether the other was removed, this one takes its place, and its tenants are as good here. */
bool hibernate_may_follow(const struct pool_app *app, const struct pool_app *other);
void hibernate_work(struct pool *pool);
void hibernate_count_lost(struct pool *pool);
void hibernate_numbers(const struct pool_app *app, struct pool_app_numbers *ret);

/* ---- pool_soon.c ---- */
/* How many tenants are about to be free; where some are, the queue is looked at again soon. */
uint32_t soon_free(struct pool_app *app);
/* Its tenant is free, or gone. */
void soon_over(struct pool_request *request);
/* Those of one app become another's. */
void soon_move(struct pool_app *from, struct pool_app *to);

/* ---- pool_request.c ---- */
/* The tenant's process has said, or the kernel has, how it ended. Moves it to pool->over. */
void request_over(struct pool_request *request);
void request_set_report(struct pool_request *request, const char *text, size_t length);
/* Back to the front of the queue. */
void request_again(struct pool_request *request);
/* Those that wait for one app wait for another. */
void requests_move(struct pool_app *from, struct pool_app *to);
void request_close_stream(struct pool_request *request);
void request_deliver(struct pool_request *request);
void request_fail(struct pool_request *request, enum pool_end end, enum pool_limit limit,
                  const char *report);

/* ---- pool_limit.c ---- */
void limit_queued(struct pool_request *request); /* starts the clock of the queue */
/* ... of start, CPU and wall; cpu_ns is what the tenant's process has used by now. */
void limit_started(struct pool_request *request, uint64_t cpu_ns);
void limit_break(struct pool_request *request, enum pool_limit limit);

/* ---- pool_log.c ---- */
/* Makes the pipe; *ret_write is the tenant's end, to be closed once sent. */
struct pool_log *log_create(struct pool_tenant *tenant, int *ret_write);
void log_drain(struct pool_log *log); /* reads what is there now */
void log_destroy(struct pool_log *log);

#endif
