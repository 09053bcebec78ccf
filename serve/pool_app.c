/*
 * Apps: what their tenants are given, and who gets a tenant next. A queued request goes to the
 * idle tenant that was used last; where there is none and the app may have more, to a spare.
 */
#include "serve/pool_private.h"
#include "serve/shared_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define DEFAULT_INSTANCES 16u
#define DEFAULT_QUEUE 1024u
#define DEFAULT_IDLE_NS UINT64_C(10000000000)
#define ASK_AGAIN_NS UINT64_C(1000000000)
#define LOOK_NS UINT64_C(60000000000) /* for idle tenants, at least so often */
#define RETRY_FIRST_NS UINT64_C(100000000)

void *pool_app_context(const struct pool_app *app) { return app->config.context; }
const char *pool_app_name(const struct pool_app *app) { return app->name; }

void pool_app_numbers(const struct pool_app *app, struct pool_app_numbers *ret) {
    *ret = app->numbers;
    ret->starting = app->warming_count;
    ret->idle = app->idle_count;
    ret->busy = app->busy_count;
    ret->queued = app->queue_length;
    hibernate_numbers(app, ret);
}

/* ---- tenants for requests ---------------------------------------------------------------- */

bool app_wants_tenants(struct pool_app *app, uint32_t *ret_count) {
    if (pool_now_ns() < app->retry_ns) return false;
    uint32_t room = app->config.max_instances > app->tenant_count
                        ? app->config.max_instances - app->tenant_count
                        : 0;
    uint32_t ready = app->idle_count + app->warming_count;
    uint32_t coming = app->coming_count + (app->queue_length ? soon_free(app) : 0);
    uint32_t wanted = app->queue_length > coming ? app->queue_length - coming : 0;
    if (!app->removed && app->config.warm > ready + wanted) wanted = app->config.warm - ready;
    *ret_count = wanted < room ? wanted : room;
    return *ret_count > 0;
}

/* Tenants failed to start: wait a while, longer each time. */
static bool holds_back(struct pool_app *app) {
    uint64_t now = pool_now_ns();
    if (now < app->retry_ns) return true;
    if (app->failures < 2) return false;
    uint32_t doublings = app->failures > 8 ? 6 : app->failures - 2;
    app->retry_ns = now + (RETRY_FIRST_NS << doublings);
    app->failures = 1; /* one more try then */
    pool_set_timer(&app->timer, RETRY_FIRST_NS << doublings);
    return true;
}

static struct pool_tenant *take_spare(struct pool_app *app, bool asked) {
    struct pool_tenant *spare;
    if (app->tenant_count >= app->config.max_instances) return NULL;
    while ((spare = TAILQ_FIRST(&app->pool->spares)))
        if (tenant_assign(spare, app, -1, asked)) return spare;
    return NULL;
}

static void end_all(struct pool_app *app) {
    struct pool_tenant *idle;
    prepared_end(app);
    while ((idle = TAILQ_LAST(&app->idle, tenant_list))) tenant_end(idle);
}

static bool is_over(const struct pool_app *app) {
    const struct pool_request *r;
    TAILQ_FOREACH(r, &app->pool->over, link) if (r->app == app) return false;
    return app->process_count == 0 && app->queue_length == 0;
}

static void set_idle_timer(struct pool_app *app) {
    uint64_t ns = app->config.idle_ns / 2 + 1000000;
    pool_set_timer(&app->timer, ns < LOOK_NS ? ns : LOOK_NS);
}

/* An app that sleeps costs nothing but memory: there may be tens of thousands. */
static bool wants_nothing(const struct pool_app *app) {
    return !app->removed && !app->queue_length && !app->tenant_count && !app->config.warm &&
           !app->prepared_wanted;
}

void app_activate(struct pool_app *app) {
    if (app->active) return;
    app->active = true;
    TAILQ_INSERT_TAIL(&app->pool->active, app, active_link);
    if (!event_pending(&app->timer, EV_TIMEOUT, NULL)) set_idle_timer(app);
}

static void deactivate(struct pool_app *app) {
    if (!app->active) return;
    app->active = false;
    TAILQ_REMOVE(&app->pool->active, app, active_link);
}

void app_dispatch(struct pool_app *app) {
    struct pool_request *r;
    while ((r = TAILQ_FIRST(&app->queue))) {
        struct pool_tenant *tenant = TAILQ_FIRST(&app->idle);
        if (!tenant) tenant = TAILQ_FIRST(&app->prepared);
        if (!tenant) {
            /* Those that go on from a file get their requests once they are up, those that have
             * answered once they are free. */
            if (app->coming_count + soon_free(app) >= app->queue_length || holds_back(app))
                break;
            if (hibernate_waits(app)) {
                if (!hibernate_resume_one(app)) break;
                continue;
            }
            tenant = take_spare(app, true);
        }
        if (!tenant) break;
        if (!tenant_send_request(tenant, r)) continue; /* that one is dead: another */
        TAILQ_REMOVE(&app->queue, r, link);
        app->queue_length--;
    }
    if (app->removed) {
        end_all(app);
        if (is_over(app)) pool_app_free(app);
        return;
    }
    while (app->idle_count + app->warming_count < app->config.warm && !holds_back(app))
        if (!take_spare(app, false)) break;
    if (wants_nothing(app)) deactivate(app);
}

/* ---- its configuration ------------------------------------------------------------------- */

/* The configuration as a descriptor, for the app's next tenant. An app without tenants has
 * none: there may be tens of thousands that sleep. */
enum status app_open_config(struct pool_app *app, struct error *err) {
    int *fd = &app->fds[TENANT_ASSIGNED_CONFIG];
    if (*fd >= 0) return ST_OK;
    enum status status = tenant_config_file(&app->tenant_config, fd, err);
    if (status == ST_OK && fcntl(*fd, F_SETFD, FD_CLOEXEC) != 0)
        return error_set_errno(err, ST_IO, "cannot keep a descriptor");
    return status;
}

void app_close_config(struct pool_app *app) {
    int *fd = &app->fds[TENANT_ASSIGNED_CONFIG];
    if (*fd >= 0) close(steal_fd(fd));
}

/* ---- idle tenants ------------------------------------------------------------------------ */

static void on_timer(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool_app *app = context;
    uint64_t now = pool_now_ns();
    struct pool_tenant *t = TAILQ_LAST(&app->idle, tenant_list), *younger;
    for (uint32_t more = app->idle_count; t && more > app->config.warm; t = younger, more--) {
        younger = TAILQ_PREV(t, tenant_list, link);
        if (now - t->idle_since_ns < app->config.idle_ns) break;
        if (app->config.hibernates)
            (void)hibernate_begin(t);
        else
            tenant_end(t);
    }
    if (app->tenant_count == 0) app_close_config(app);
    pool_wake(app->pool);
    if (app->active) set_idle_timer(app);
}

/* ---- volumes ----------------------------------------------------------------------------- */

void app_lost_volume(struct pool_app *app) {
    const struct pool_options *options = &app->pool->options;
    uint64_t now = pool_now_ns();
    if (app->removed || (app->lost_ns && now - app->lost_ns < ASK_AGAIN_NS)) return;
    if (!app->lost_ns)
        pool_event(app->pool, "app %s: the process of a volume has ended", app->name);
    app->lost_ns = now;
    if (options->lost_volume) options->lost_volume(options->context);
}

static void on_volume(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    app_lost_volume(context);
}

/* Told when the other end is closed, not when there is something to read: that is the broker's,
 * who has the same connection. */
static enum status watch_volumes(struct pool_app *app, struct error *err) {
    if (!app->volumes) return ST_OK;
    app->volume_events = calloc(app->fd_count, sizeof *app->volume_events);
    if (!app->volume_events) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < app->fd_count; i++) {
        if (!(app->volumes >> i & 1)) continue;
        event_assign(&app->volume_events[i], app->pool->base, app->fds[i], EV_CLOSED, on_volume,
                     app);
        if (event_add(&app->volume_events[i], NULL) != 0)
            return error_set(err, ST_NO_MEMORY, "cannot watch a volume");
    }
    return ST_OK;
}

/* ---- adding and removing ----------------------------------------------------------------- */

static enum status copy_fd(int fd, int *ret_fd, struct error *err) {
    int copy = shared_fd_copy(fd);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot duplicate a descriptor");
    *ret_fd = copy;
    return ST_OK;
}

/* What ASSIGN sends: app->fds, and the config whose descriptors are places in it. */
static enum status prepare(struct pool_app *app, const struct pool_app_config *c,
                           struct error *err) {
    static const enum tenant_interface interfaces[] = {
        [POOL_CGI] = TENANT_CGI, [POOL_FASTCGI] = TENANT_FASTCGI, [POOL_HTTP] = TENANT_HTTP};
    static const enum tenant_reuse reuses[] = {
        [POOL_FRESH] = TENANT_ENDS, [POOL_RESET] = TENANT_RESETS, [POOL_KEEP] = TENANT_GOES_ON};
    auto_free struct tenant_dir *dirs = calloc((size_t)c->dir_count + 1, sizeof *dirs);
    app->fds = calloc(TENANT_MAX_FDS, sizeof *app->fds);
    if (!dirs || !app->fds) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < TENANT_MAX_FDS; i++) app->fds[i] = -1;
    enum status status = copy_fd(c->object_fd, &app->fds[TENANT_ASSIGNED_OBJECT], err);
    if (status != ST_OK) return status;
    uint32_t at = TENANT_ASSIGNED_REST;
    int snapshot = -1, counters = -1;
    if (c->snapshot_fd >= 0) {
        snapshot = (int)at;
        if ((status = copy_fd(c->snapshot_fd, &app->fds[at++], err)) != ST_OK) return status;
    }
    if (c->counters_fd >= 0) {
        counters = (int)at;
        if ((status = copy_fd(c->counters_fd, &app->fds[at++], err)) != ST_OK) return status;
    }
    for (uint32_t i = 0; i < c->dir_count; i++) {
        if (at >= TENANT_MAX_FDS - 1) /* one more may be a hibernated guest */
            return error_set(err, ST_LIMIT, "app %s has more than %u directories", app->name,
                             TENANT_MAX_FDS - 1 - TENANT_ASSIGNED_REST);
        dirs[i] = c->dirs[i];
        if (c->dirs[i].fd < 0) continue;
        if ((status = copy_fd(c->dirs[i].fd, &app->fds[at], err)) != ST_OK) return status;
        if (c->dirs[i].volume) app->volumes |= UINT64_C(1) << at;
        dirs[i].fd = (int)at++;
    }
    app->fd_count = at;
    struct tenant_config config = {
        .object_fd = TENANT_ASSIGNED_OBJECT,
        .profile_fd = counters,
        .interface = interfaces[c->interface],
        .reuse = reuses[c->reuse],
        .max_memory_bytes = c->limits.memory_bytes,
        .max_stack_bytes = c->limits.stack_bytes,
        .max_files = c->limits.files,
        .name = app->name,
        .argc = c->argc,
        .argv = c->argv,
        .envc = c->envc,
        .env = c->env,
        .dir_count = c->dir_count,
        .dirs = dirs,
        .requests = {.socket = c->interface == POOL_CGI       ? TENANT_NO_REQUESTS
                               : c->interface == POOL_FASTCGI ? 0
                                                              : 3,
                     .listen_fd = -1,
                     .control_fd = -1,

                     .snapshot_fd = snapshot,
                     .environment_at_resume = c->environment_at_resume,
                     .prefault = snapshot >= 0 && !getenv("HUTCH_NO_PREFAULT")},
    };
    if (c->hibernates && (status = hibernate_prepare(app, &config, err)) != ST_OK)
        return status;
    tenant_config_encode(&config, &app->tenant_config);
    status = buffer_status(&app->tenant_config, err);
    return status == ST_OK ? watch_volumes(app, err) : status;
}

/* What another has begun, whose place it takes and whose guests are the same to it: also one
 * that is busy must be there for the next request, with all it has answered for. */
static void take_over(struct pool_app *app, struct pool_app *from) {
    struct pool_tenant *t;
    while ((t = TAILQ_LAST(&from->idle, tenant_list))) tenant_move(t, app); /* in their order */
    for (uint32_t slot = 0; slot < POOL_MAX_SLOTS && from->process_count; slot++)
        if ((t = app->pool->slots[slot]) && t->app == from) tenant_move(t, app);
    requests_move(from, app);
    soon_move(from, app);
}

enum status pool_app_add(struct pool *pool, const struct pool_app_config *config,
                         struct pool_app **ret_app, struct error *err) {
    struct pool_app *app = calloc(1, sizeof *app);
    if (!app) return error_set(err, ST_NO_MEMORY, "out of memory");
    app->pool = pool;
    app->config = *config;
    app->config.argv = app->config.env = NULL;
    app->config.follows = NULL;
    app->config.dirs = NULL;
    TAILQ_INIT(&app->idle);
    TAILQ_INIT(&app->prepared);
    TAILQ_INIT(&app->queue);
    TAILQ_INIT(&app->soon);
    if (!app->config.max_instances) app->config.max_instances = DEFAULT_INSTANCES;
    if (!app->config.max_queue) app->config.max_queue = DEFAULT_QUEUE;
    if (!app->config.idle_ns) app->config.idle_ns = DEFAULT_IDLE_NS;
    if (app->config.warm > app->config.max_instances)
        app->config.warm = app->config.max_instances;
    event_assign(&app->timer, pool->base, -1, 0, on_timer, app);
    TAILQ_INSERT_TAIL(&pool->apps, app, link);
    app->name = strdup(config->name);
    enum status status =
        app->name ? prepare(app, config, err) : error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) {
        pool_app_free(app);
        return status;
    }
    if (config->follows && hibernate_may_follow(app, config->follows))
        take_over(app, config->follows);
    hibernate_adopt(app);
    app_activate(app);
    pool_wake(pool);
    *ret_app = app;
    return ST_OK;
}

void pool_app_remove(struct pool_app *app, void (*drained)(void *context), void *context) {
    app->removed = true;
    app->drained = drained;
    app->drained_context = context;
    app->config.warm = 0;
    app_activate(app);
    pool_wake(app->pool);
}

void pool_app_free(struct pool_app *app) {
    TAILQ_REMOVE(&app->pool->apps, app, link);
    deactivate(app);
    event_del(&app->timer);
    for (uint32_t i = 0; app->volume_events && i < app->fd_count; i++)
        if (app->volumes >> i & 1) event_del(&app->volume_events[i]);
    free(app->volume_events);
    for (uint32_t i = 0; app->fds && i < TENANT_MAX_FDS; i++) shared_fd_release(app->fds[i]);
    buffer_finish(&app->tenant_config);
    if (app->drained && !app->pool->closing) app->drained(app->drained_context);
    free(app->fds);
    free(app->name);
    free(app);
}
