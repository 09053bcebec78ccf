/*
 * serve: the server. Requests over HTTP/1.1 and FastCGI go to apps, each in tenant processes of
 * its own; docs/serve.md is the operator's page.
 *
 *   supervisor.c   holds the listening sockets, starts the others and starts them again
 *   broker.c       reads apps, opens what they name, hands descriptors to the front (kit.c)
 *   front.c        everything that touches a request (front.h)
 *   pool*.c        tenants (pool.h)            app*.c  app.yaml (app.h)
 *
 * Ownership: options are borrowed until serve_run returns. Threads: none.
 *
 *     struct serve_options options = serve_defaults();
 *     options.sources = paths, options.source_count = n, options.make_kit = make;
 *     return serve_run(&options, &err);
 */
#ifndef HUTCH_SERVE_SERVE_H
#define HUTCH_SERVE_SERVE_H

#include "loader/tenant_config.h"
#include "serve/app.h"

/* What an app needs to run: made by the broker, handed to the pool. Owns its descriptors and
 * strings. */
struct serve_kit {
    struct app *app;
    int object_fd, snapshot_fd; /* -1: none; likewise below */
    int counters_fd;            /* sealed memory in which all instances count what they do */
    struct digest object;       /* the code object's content digest */
    uint32_t argc, envc, dir_count;
    const char **argv, **env;
    struct tenant_dir *dirs;
    void *counting;     /* what the maker knows of that memory; in the arena */
    struct arena arena; /* strings and arrays */
    struct arena room;  /* the arrays while the kit is being made */
};
void serve_kit_finish(struct serve_kit *kit); /* frees the app, too */
/* Once, when it is complete: files that other kits have are the same descriptors from here on
 * (shared_fd.h), but for the counters. */
void serve_kit_share(struct serve_kit *kit);

/* Appends a warm-up request as the bytes that a tenant of the app reads from its stream; for
 * cgi those are the body, and env gets its variables, each with a NUL behind it. Where scripts
 * are found by path, the kit's images are looked at. ST_INVALID. */
enum status serve_warm_up(const struct serve_kit *kit, const struct app_request *request,
                          struct buffer *b, struct buffer *env, struct error *err) must_check;

/* Whether what the program wrote in answer to one is what app.yaml expects of it: ST_INVALID
 * says what is not. */
enum status serve_expect(const struct app *app, const struct app_request *request,
                         const uint8_t *bytes, size_t size, struct error *err) must_check;

struct serve_options {
    const char *const *sources; /* app.yaml files, directories of them, names in the store */
    uint32_t source_count;
    const char *const *listen, *const *fastcgi_listen, *const *admin_listen;
    uint32_t listen_count, fastcgi_count, admin_count;
    const char *state_dir; /* for records and hibernated instances; NULL: none are kept */
    const char *access_log, *log; /* "-": standard output, standard error; "off" */
    const char *tenant_program;   /* path of hutch-tenant */
    const char *cgroup;           /* "auto", "off", or a directory (cgroup.h) */
    int tenants_group_fd;         /* the supervisor's: of the tenants' control group, or -1 */
    uint32_t spares, prepared, max_tenants; /* of the pool */
    uint64_t max_hibernated_bytes;
    uint64_t keep_free_bytes; /* UINT64_MAX: a twentieth of the machine's, or of a cgroup's */
    uint32_t max_connections;
    uint64_t head_bytes, line_bytes;              /* of a request */
    uint64_t head_ns, body_ns, write_ns, idle_ns; /* timeouts of clients */
    uint64_t drain_ns; /* how long the requests under way get at the end */
    /*
     * Fills a kit for kit->app, in the broker's process: descriptors, arguments, environment.
     * For what needs more than this folder may use (the compiler).
     */
    enum status (*make_kit)(void *context, struct serve_kit *kit, struct error *err);
    /* All apps have been read, or one was in error: the kits of one reading may have shared
     * what was made for them. May be NULL. */
    void (*read_done)(void *context);
    /* Keeps what instances of the app have counted; called for each kit now and then and before
     * the kit is freed. NULL where nothing is counted. */
    void (*keep_counts)(void *context, const struct serve_kit *kit);
    /* The same app read again: its instances go on counting in the memory of its old kit, which
     * some of them have open, and the new kit takes that over where it is of the same code. */
    void (*take_counts)(void *context, struct serve_kit *kit, struct serve_kit *old);
    /* Opens again what of a kit has ended by itself: the processes of its volumes. */
    enum status (*mend_kit)(void *context, struct serve_kit *kit, struct error *err);
    /* The app of a source that is no file. */
    enum status (*read_name)(void *context, const char *name, struct app **ret_app,
                             struct error *err);
    void *context;
};
struct serve_options serve_defaults(void);
/* Serves until it is told to end. ST_OK: it has drained. */
enum status serve_run(const struct serve_options *options, struct error *err) must_check;

#endif
