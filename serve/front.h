/*
 * The front: one event loop with clients, the pool and the bills. What its files share.
 *
 *   listen.c        addresses, sockets of our own and systemd's
 *   http_server.c   HTTP/1.1 connections       fcgi_server.c  FastCGI connections
 *   route.c         host and path -> site
 *   exchange.c      one request, from the client to the tenant and back
 *   access_log.c    a line of JSON for each request and each line that a guest wrote
 *   usage_write.c   a record for each request (docs/usage.md)
 *   metrics.c, admin.c   what an operator's tools read
 *   front.c         puts them together
 */
#ifndef HUTCH_SERVE_FRONT_H
#define HUTCH_SERVE_FRONT_H

#include "serve/app.h"
#include "serve/http_server.h"
#include "serve/link.h"
#include "serve/listen.h"
#include "serve/serve.h"
#include "serve/usage.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define HISTOGRAM_BUCKETS 14u
extern const double histogram_bounds_s[HISTOGRAM_BUCKETS]; /* upper bounds; +Inf follows */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* each bucket alone, not cumulative */
    uint64_t sum_ns;
};
void histogram_add(struct histogram *histogram, uint64_t ns);

/* Why a request ended otherwise than with the app's answer: metrics and log. X(name, word) */
/* clang-format off */
#define TROUBLE_LIST(X)                                                                        \
    X(TROUBLE_NONE,       "")                                                                  \
    X(TROUBLE_TRAP,       "trap")            /* the guest trapped                       */     \
    X(TROUBLE_EXIT,       "exit")            /* it ended without a complete answer      */     \
    X(TROUBLE_MEMORY,     "memory-limit")                                                      \
    X(TROUBLE_CPU,        "cpu-limit")                                                         \
    X(TROUBLE_WALL,       "wall-limit")                                                        \
    X(TROUBLE_START,      "start-limit")                                                       \
    X(TROUBLE_RESPONSE,   "response-limit")                                                    \
    X(TROUBLE_BODY,       "body-limit")                                                        \
    X(TROUBLE_DIED,       "died")            /* the tenant's process was ended          */     \
    X(TROUBLE_MALFORMED,  "malformed")       /* the answer is no answer                 */     \
    X(TROUBLE_QUEUE,      "queue-full")                                                        \
    X(TROUBLE_QUEUE_TIME, "queue-timeout")                                                     \
    X(TROUBLE_CLIENT,     "client-gone")                                                       \
    X(TROUBLE_REQUEST,    "bad-request")     /* the client's body is malformed or slow  */     \
    X(TROUBLE_START_FAILED, "start-failed")  /* no tenant could be had                  */
/* clang-format on */
enum trouble {
#define X(name, word) name,
    TROUBLE_LIST(X)
#undef X
    TROUBLE_COUNT
};
const char *trouble_word(enum trouble trouble);

/* The counters of an app, by its name: they outlive reloads. */
struct site_counts {
    struct site_counts *next;
    char *name;
    struct usage_app usage; /* its number in the current file of records */
    uint64_t requests[6];   /* by status / 100; [0]: others */
    uint64_t troubles[TROUBLE_COUNT];
    uint64_t received_bytes, sent_bytes, cpu_ns, cold_starts;
    uint64_t memory_peak_bytes;
    uint64_t overhead_ns,
        overhead_recorded_ns; /* CPU outside of requests; pools that went included */
    uint64_t hibernations, resumes, hibernate_failures, hibernated_refused; /* likewise */
    struct histogram duration, queue;
};

/* Counters of a site's pool, as far as they are in its site_counts. */
struct site_seen {
    uint64_t overhead_ns, hibernations, resumes, hibernate_failures, hibernated_refused;
};

/* An app that is served. It lives until its last exchange has ended. */
struct site {
    struct site *next, **link; /* link: what points to it */
    struct front *front;
    struct serve_kit kit;
    struct app *app;       /* the kit's */
    struct pool_app *pool; /* NULL once it is removed */
    struct site_counts *counts;
    struct site_files *files; /* where scripts are found by path; else NULL */
    uint32_t exchanges;       /* in flight */
    bool removed, drained;
    struct site_seen seen; /* of this pool's */
};

/* The routes of all sites (route.c): those of a host by its name, then those of several. */
struct route {
    struct site *site;
    const struct app_route *route; /* the site's */
    uint32_t place;                /* in the order of the sites */
};
struct routes {
    struct route *all; /* the named ones first */
    uint32_t named, count;
};

struct front {
    struct event_base *base;
    const struct serve_options *options;
    struct http_limits limits;
    struct http_timeouts timeouts;
    struct pool *pool;
    struct site *sites;
    struct site_counts *counts;
    void *counts_by_name; /* tsearch(3) */
    struct routes routes;
    struct connection *connections; /* http_server.c */
    struct fcgi_connection *fcgi_connections;
    uint32_t connection_count;
    uint64_t connections_accepted, bad_requests;
    uint64_t next_id;
    bool draining, ready;
    uint32_t generations; /* of apps, that were applied */
    struct front_listener {
        struct front *front;
        struct event event;
        bool fastcgi;
    } listeners[LISTEN_MAX];
    uint32_t listener_count;
    bool accepting;
    struct event *tick;
    struct serve_kit *kits;        /* received, to be applied */
    uint32_t kit_count, kits_lost; /* of the set that is coming */
    uint32_t accepts;
    uint64_t short_said_ns;         /* that there are no descriptors left */
    struct event *control, *broker; /* links: supervisor, broker */
    int control_fd, broker_fd;
    uint64_t drain_until_ns;
    struct evhttp *admin;
    struct exchange *exchanges; /* all in flight */
    struct exchange *ended;     /* to be freed by reaper */
    int spare_stream[2];        /* for the next exchange; -1: none */
    struct event *reaper;
    struct usage_writer *usage;
    struct log *access, *log;
    uint64_t started_ns; /* Unix time */
};

/* Clocks, in nanoseconds. */
uint64_t clock_wall_ns(void);
uint64_t clock_steady_ns(void);

/* ---- access_log.c ---- */
struct pool_log_line;
void front_log_refused(struct front *front, const char *address, int status,
                       const char *reason);
void front_log_line(void *context, const struct pool_log_line *line); /* of a guest */
void front_log_event(void *context, const char *text);

/* ---- front_apps.c ---- */
void front_take_kit(struct front *front, struct link_message *message);
/* The kits received replace the apps that are served. */
void front_apply_kits(struct front *front);
void front_drop_kits(struct front *front);
void site_release(struct front *front, struct site *site);
/* Brings the counters up to date with the pool, and records what is new. */
void front_count_overhead(struct front *front);
void front_free_apps(struct front *front);

/* ---- admin.c, metrics.c ---- */
struct evconnlistener;
enum status admin_open(struct front *front, struct evconnlistener *listener,
                       struct error *err) must_check;
void admin_close(struct front *front);
struct evbuffer;
void metrics_write(struct front *front, struct evbuffer *out);

/* ---- front.c ---- */
void front_connection_closed(struct front *front);
enum status front_run(const struct serve_options *options, const struct listen_sockets *sockets,
                      int control_fd, struct error *err) must_check;

/* ---- route.c ---- */
/* To be called where sites have changed. Without memory those that are new are not found. */
enum status route_index(struct front *front, struct error *err) must_check;
void route_index_free(struct front *front);
/* The site for a host (as in Host) and a resolved path; ret_prefix_length: of the path that its
 * route took, without a final slash. NULL: none. */
struct site *route_find(const struct front *front, const char *host, const char *path,
                        size_t *ret_prefix_length);

#endif
