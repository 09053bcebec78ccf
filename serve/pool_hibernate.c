/*
 * Hibernation: an idle tenant of an app with `keep` to a file, and a file to a tenant again.
 *
 *     IDLE --HIBERNATE--> writes --HIBERNATED--> published --> ENDING
 *        a request meanwhile: it gets it, and the file is dropped
 *     file --ASSIGN--> WARMING --READY--> file removed --> IDLE, requests
 *        it dies before READY: the file is as it was
 *
 * The tenant ends only once its file has its name, and a guest that goes on from a file gets
 * its first request only once the file is gone: no state is lost that was answered for, none
 * goes on twice. A server that is killed at any moment leaves the one or the other.
 *
 * A tenant that writes is believed nothing: how much it may write the kernel limits where it
 * lets us (RLIMIT_FSIZE), and a look now and then does where not. What it wrote is only ever
 * given to its own app (hibernated.h).
 */
#include "loader/loader.h"
#include "serve/hibernated.h"
#include "serve/memory_left.h"
#include "serve/pool_private.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
#define AT_ONCE 8u /* files being written */
#define WATCH_NS (SECOND_NS / 10)
#define LONG_NS (60 * SECOND_NS)
#define RETRY_FIRST_NS (15 * SECOND_NS)
#define RETRY_DOUBLINGS 8u
#define TRIES 3u /* of tenants with one file, none of which came up */
#define PRESSURE_NS (SECOND_NS / 2)
#define ROOM_NS (SECOND_NS / 10)
#define PRESSURE_IDLE_NS SECOND_NS /* who has just had a request stays even then */
#define CLEAN_TURNS 7200u          /* of the above: an hour */
#define UNSERVED_NS (7 * 24 * 3600 * SECOND_NS)

struct pool_writing {
    int fd;
    uint64_t number, max_bytes, began_ns;
    bool cancelled; /* it was given a request */
    bool said;      /* that it takes long */
};

/* ---- what a file is bound to ------------------------------------------------------------- */

static uint64_t first_bytes(const struct digest *digest) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | digest->bytes[i];
    return value;
}

/* A snapshot that is gone with this server is nothing to be a difference to; nor is one that
 * may have been made again when the machine has been started again. */
static bool is_whole(const struct pool_app *app) {
    struct stat st;
    int fd = app->config.snapshot_fd;
    return app->config.survives_reboot || fd < 0 || fstat(fd, &st) != 0 || st.st_nlink == 0;
}

enum status hibernate_prepare(struct pool_app *app, const struct tenant_config *config,
                              struct error *err) {
    const struct pool_app_config *c = &app->config;
    auto_buffer struct buffer b = {0};
    struct digest snapshot = {0};
    tenant_config_text(config, &b);
    /* An instance that goes on has the environment that it began with. */
    for (uint32_t i = 0; i < config->envc && config->requests.environment_at_resume; i++)
        buffer_put_str(&b, config->env[i], strlen(config->env[i]));
    buffer_put_u32(&b, (uint32_t)config->interface);
    buffer_put_u64(&b, config->max_memory_bytes);
    buffer_put_u64(&b, config->max_stack_bytes);
    buffer_put_u32(&b, c->survives_reboot);
    uint64_t files = 0;
    for (uint32_t i = 0; i < config->dir_count; i++) {
        const struct tenant_dir *d = &config->dirs[i];
        buffer_put_str(&b, d->guest, strlen(d->guest));
        buffer_put_u32(&b, (d->read_only ? 1u : 0) | (d->image ? 2u : 0) |
                               (d->memory ? 4u : 0) | (d->volume ? 8u : 0));
        buffer_put_u64(&b, d->size_bytes);
        if (d->memory) files += d->size_bytes;
    }
    enum status status = buffer_status(&b, err);
    if (status != ST_OK) return status;
    struct digest digest = digest_of(b.bytes, b.size);
    app->hibernates_whole = is_whole(app);
    if (!app->hibernates_whole &&
        pread(c->snapshot_fd, snapshot.bytes, sizeof snapshot.bytes, SNAPSHOT_DIGEST_OFFSET) !=
            (ssize_t)sizeof snapshot.bytes)
        return error_set_errno(err, ST_IO, "cannot read the snapshot");
    app->key = (struct hibernated_key){.object = first_bytes(&c->object),
                                       .snapshot = first_bytes(&snapshot),
                                       .config = first_bytes(&digest)};
    /* All that a guest can have: memory, stack, block, tables, files with their tables. */
    uint64_t memory = c->limits.memory_bytes ? c->limits.memory_bytes : UINT64_C(4) << 30;
    uint64_t stack = c->limits.stack_bytes ? c->limits.stack_bytes : UINT64_C(64) << 20;
    app->hibernated_max_bytes = memory + stack + files + files / 4 + (UINT64_C(128) << 20);
    return ST_OK;
}

/* Files of the app as it was before are of no use to it now. */
void hibernate_adopt(struct pool_app *app) {
    struct hibernated_dir *dir = app->pool->hibernated;
    struct hibernated *h, *next;
    const char *reason = NULL;
    unsigned count = 0;
    struct error err = {0};
    const struct hibernated_app *of = hibernated_of(dir, app->name);
    for (h = of ? TAILQ_FIRST(&of->list) : NULL; h; h = next) {
        next = TAILQ_NEXT(h, of_app); /* with the last, their list goes too */
        const struct hibernated_key *a = &h->key, *b = &app->key;
        if (h->taken) continue;
        const char *why = !app->config.hibernates      ? "it is not reuse: keep any more"
                          : a->object != b->object     ? "it has another code object now"
                          : a->snapshot != b->snapshot ? "it has another snapshot now"
                          : a->config != b->config     ? "it has another configuration now"
                                                       : NULL;
        if (!why) continue;
        reason = why;
        count++;
        if (hibernated_remove(dir, h, &err) != ST_OK) pool_event(app->pool, "%s", err.message);
    }
    app->numbers.hibernated_refused += count;
    if (count)
        pool_event(app->pool, "app %s: %u hibernated instance%s given up: %s", app->name, count,
                   count == 1 ? " is" : "s are", reason);
}

/* ---- writing ----------------------------------------------------------------------------- */

/* How long a file the process may write. Where that is not ours to say, hibernate_watch looks.
 */
static void limit_file(const struct pool_tenant *t, uint64_t bytes) {
    struct rlimit limit;
    if (t->pid <= 0 || prlimit(t->pid, RLIMIT_FSIZE, NULL, &limit) != 0) return;
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    (void)!prlimit(t->pid, RLIMIT_FSIZE, &limit, NULL);
}

static bool may_hibernate(const struct pool_tenant *t, uint64_t now) {
    return t->pool->hibernated && t->app->config.hibernates && t->state == POOL_TENANT_IDLE &&
           !t->writing && now >= t->hibernate_retry_ns;
}

static void failed(struct pool_tenant *t, const char *why) {
    uint32_t doublings = t->hibernate_failures++;
    if (doublings > RETRY_DOUBLINGS) doublings = RETRY_DOUBLINGS;
    t->hibernate_retry_ns = pool_now_ns() + (RETRY_FIRST_NS << doublings);
    t->app->numbers.hibernate_failures++;
    pool_event(t->pool, "app %s: an idle instance stays in memory, it cannot be hibernated: %s",
               t->app->name, why);
}

static void stop_writing(struct pool_tenant *t) {
    struct pool_writing *w = steal(t->writing);
    close(w->fd);
    free(w);
    t->pool->writing_count--;
}

bool hibernate_begin(struct pool_tenant *t) {
    struct pool *pool = t->pool;
    const struct pool_app *app = t->app;
    struct error err = {0};
    if (!may_hibernate(t, pool_now_ns()) || pool->writing_count >= AT_ONCE) return false;
    uint64_t most = pool->options.max_hibernated_bytes;
    if (most && pool->hibernated->bytes >= most) {
        failed(t, "hibernated instances take as much as they may on the disk");
        return false;
    }
    struct pool_writing *w = calloc(1, sizeof *w);
    if (!w) return false;
    w->max_bytes = app->hibernated_max_bytes;
    w->began_ns = pool_now_ns();
    if (hibernated_create(pool->hibernated, app->config.survives_reboot, &w->fd, &w->number,
                          &err) != ST_OK) {
        free(w);
        failed(t, err.message);
        return false;
    }
    struct tenant_hibernate message = {
        .header = tenant_header(TENANT_HIBERNATE, sizeof message, 0),
        .max_bytes = w->max_bytes,
        .whole = app->hibernates_whole,
    };
    t->writing = w;
    pool->writing_count++;
    limit_file(t, w->max_bytes);
    if (tenant_send(t->control, &message, sizeof message, NULL, 0, &w->fd, 1) != 0) {
        tenant_end(t); /* it has died meanwhile */
        return false;
    }
    pool_set_timer(&t->backstop, WATCH_NS);
    return true;
}

void hibernate_cancel(struct pool_tenant *t) {
    t->writing->cancelled = true;
    pool_set_timer(&t->backstop, WATCH_NS);
}

void hibernate_watch(struct pool_tenant *t) {
    struct pool_writing *w = t->writing;
    struct stat st;
    if (fstat(w->fd, &st) == 0 && (uint64_t)st.st_size > w->max_bytes) {
        pool_event(t->pool, "app %s: an instance wrote more than it holds and is ended",
                   t->app->name);
        tenant_end(t);
        return;
    }
    if (!w->said && pool_now_ns() - w->began_ns > LONG_NS) {
        pool_event(t->pool, "app %s: an instance has not been hibernated for a minute",
                   t->app->name);
        w->said = true;
    }
    pool_set_timer(&t->backstop, WATCH_NS);
}

/* It is written, and nobody has asked for it since. */
static void publish(struct pool_tenant *t, uint64_t number, uint64_t bytes) {
    struct hibernated *h;
    struct error err = {0};
    struct pool_app *app = t->app;
    if (hibernated_publish(t->pool->hibernated, number, app->name, &app->key,
                           app->config.survives_reboot, bytes, &h, &err) != ST_OK) {
        hibernated_abandon(t->pool->hibernated, number);
        failed(t, err.message);
        return;
    }
    app->numbers.hibernations++;
    tenant_end(t);
}

bool hibernate_take(struct pool_tenant *t, const struct tenant_hibernated *m,
                    const char *text) {
    struct pool_writing *w = t->writing;
    struct stat st;
    if (!w) return false;
    uint64_t number = w->number, max_bytes = w->max_bytes;
    uint64_t bytes = fstat(w->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    bool wanted = !w->cancelled && t->state == POOL_TENANT_IDLE && !t->app->removed;
    stop_writing(t);
    event_del(&t->backstop);
    limit_file(t, 0);
    if (wanted && m->status == ST_OK && bytes > 0 && bytes <= max_bytes) {
        publish(t, number, bytes);
    } else {
        hibernated_abandon(t->pool->hibernated, number);
        if (wanted && m->status == ST_OK) failed(t, "its file is empty, or too large");
        if (m->status != ST_OK) {
            char why[200];
            snprintf(why, sizeof why, "%.*s", (int)m->text_bytes, text);
            for (char *at = why; *at; at++)
                if ((unsigned char)*at < 32) *at = '?';
            failed(t, why);
        }
    }
    pool_wake(t->pool);
    return true;
}

/* ---- going on ---------------------------------------------------------------------------- */

bool hibernate_waits(const struct pool_app *app) {
    return app->config.hibernates &&
           hibernated_find(app->pool->hibernated, app->name, &app->key);
}

bool hibernate_resume_one(struct pool_app *app) {
    struct hibernated_dir *dir = app->pool->hibernated;
    struct hibernated *h = hibernated_find(dir, app->name, &app->key);
    struct error err = {0};
    struct pool_tenant *spare;
    auto_fd int fd = -1;
    if (!h || app->tenant_count >= app->config.max_instances ||
        !TAILQ_FIRST(&app->pool->spares))
        return false;
    if (hibernated_read(dir, h, &fd, &err) != ST_OK) {
        pool_event(app->pool, "app %s: a hibernated instance is lost: %s", app->name,
                   err.message);
        hibernated_set_aside(dir, h);
        app->numbers.hibernated_refused++;
        return true;
    }
    while ((spare = TAILQ_FIRST(&app->pool->spares))) {
        if (!tenant_assign(spare, app, fd, false)) continue;
        spare->resuming = h;
        h->taken = true;
        app->coming_count++;
        return true;
    }
    return false;
}

void hibernate_resumed(struct pool_tenant *t) {
    struct error err = {0};
    struct hibernated *h = steal(t->resuming);
    t->app->coming_count--;
    t->app->numbers.resumes++;
    t->went_on = true;
    if (hibernated_remove(t->pool->hibernated, h, &err) != ST_OK)
        pool_event(t->pool, "app %s: %s", t->app->name, err.message);
}

bool hibernate_refused(struct pool_tenant *t, enum status status, const char *text,
                       size_t length) {
    struct error err = {0};
    bool for_good = status == ST_DAMAGED || status == ST_INCOMPATIBLE || status == ST_LIMIT ||
                    status == ST_UNSUPPORTED;
    pool_event(t->pool, "app %s: a hibernated instance cannot go on: %.*s%s", t->app->name,
               (int)length, text, for_good ? "; the app starts anew" : "");
    if (!for_good) return false;
    struct hibernated *h = steal(t->resuming);
    t->app->coming_count--;
    t->app->numbers.hibernated_refused++;
    if (hibernated_remove(t->pool->hibernated, h, &err) != ST_OK)
        pool_event(t->pool, "app %s: %s", t->app->name, err.message);
    return true;
}

void hibernate_tenant_ended(struct pool_tenant *t, bool with_zygote) {
    if (t->writing) {
        uint64_t number = t->writing->number;
        stop_writing(t);
        hibernated_abandon(t->pool->hibernated, number);
    }
    struct hibernated *h = steal(t->resuming);
    if (!h) return;
    h->taken = false;
    t->app->coming_count--;
    if (with_zygote || ++h->failures < TRIES) return;
    pool_event(t->pool, "app %s: a hibernated instance is set aside: %u tenants died of it",
               t->app->name, TRIES);
    t->app->numbers.hibernated_refused++;
    hibernated_set_aside(t->pool->hibernated, h);
}

/* ---- the same app, described anew -------------------------------------------------------- */

/* A tenant's sessions are with the holders of its own app's volumes: those must be the other's.
 */
static bool same_holders(const struct pool_app *app, const struct pool_app *other) {
    struct stat a, b;
    if (app->volumes != other->volumes) return false;
    for (uint32_t i = 0; i < app->fd_count; i++)
        if (app->volumes >> i & 1 &&
            (fstat(app->fds[i], &a) != 0 || fstat(other->fds[i], &b) != 0 ||
             a.st_dev != b.st_dev || a.st_ino != b.st_ino))
            return false;
    return true;
}

bool hibernate_may_follow(const struct pool_app *app, const struct pool_app *other) {
    return other->removed && app->config.hibernates && other->config.hibernates &&
           strcmp(other->name, app->name) == 0 &&
           memcmp(&other->key, &app->key, sizeof app->key) == 0 && same_holders(app, other);
}

/* ---- when memory is short, and at the end ------------------------------------------------ */

/* The tenant that has been idle for longest and may go. */
static struct pool_tenant *longest_idle(struct pool *pool, uint64_t now) {
    struct pool_app *app;
    struct pool_tenant *t, *best = NULL;
    TAILQ_FOREACH(app, &pool->active, active_link)
    TAILQ_FOREACH(t, &app->idle, link) {
        bool may_go =
            app->config.hibernates ? may_hibernate(t, now) : app->config.reuse != POOL_KEEP;
        if (may_go && now - t->idle_since_ns >= PRESSURE_IDLE_NS &&
            (!best || t->idle_since_ns < best->idle_since_ns))
            best = t;
    }
    return best;
}

static bool is_served(void *context, const struct hibernated *h) {
    const struct pool *pool = context;
    const struct pool_app *app;
    TAILQ_FOREACH(app, &pool->apps, link)
    if (!app->removed && strcmp(h->of->name, app->name) == 0) return true;
    return false;
}

static void let_idle_go(struct pool *pool, uint64_t now) {
    struct pool_tenant *t;
    while (prepared_give_up(pool)) continue;
    for (unsigned i = 0; i < AT_ONCE && (t = longest_idle(pool, now)); i++) {
        if (!t->app->config.hibernates)
            tenant_end(t);
        else if (!hibernate_begin(t))
            break;
    }
}

void pool_make_room(struct pool *pool) {
    uint64_t now = pool_now_ns();
    if (now - pool->room_ns < ROOM_NS) return; /* those of last time are on their way */
    pool->room_ns = now;
    struct pool_app *app;
    TAILQ_FOREACH(app, &pool->apps, link)
    if (app->tenant_count == 0) app_close_config(app);
    let_idle_go(pool, now);
}

static void on_pressure(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool *pool = context;
    uint64_t now = pool_now_ns(), ignored;
    if (pool->options.keep_free_bytes &&
        memory_left_bytes(&ignored) < pool->options.keep_free_bytes)
        let_idle_go(pool, now);
    pool_wake(pool); /* someone may wait for room that others had */
    if (pool->hibernated && ++pool->pressure_turns % CLEAN_TURNS == CLEAN_TURNS / 60)
        hibernated_clean(pool->hibernated, UNSERVED_NS, is_served, pool);
    pool_set_timer(&pool->pressure, PRESSURE_NS);
}

void hibernate_start(struct pool *pool) {
    struct error err = {0};
    const char *path = pool->options.hibernate_dir;
    if (path && hibernated_open(path, &pool->hibernated, &err) != ST_OK)
        pool_event(pool, "idle instances stay in memory, they cannot be hibernated: %s",
                   err.message);
    uint64_t total = 0, *keep_free = &pool->options.keep_free_bytes;
    if (*keep_free == POOL_KEEP_FREE_DEFAULT) {
        (void)memory_left_bytes(&total);
        *keep_free = total == UINT64_MAX ? 0 : total / 20;
    }
    event_assign(&pool->pressure, pool->base, -1, 0, on_pressure, pool);
    pool_set_timer(&pool->pressure, PRESSURE_NS);
}

void hibernate_stop(struct pool *pool) {
    if (event_initialized(&pool->pressure)) event_del(&pool->pressure);
    hibernated_close(steal(pool->hibernated));
}

/* Those that still can be, or are being written. */
static uint32_t hibernate_idle(struct pool *pool) {
    struct pool_app *app;
    struct pool_tenant *t, *next;
    uint32_t count = 0;
    uint64_t now = pool_now_ns();
    TAILQ_FOREACH(app, &pool->apps, link)
    for (t = TAILQ_FIRST(&app->idle); t; t = next) {
        next = TAILQ_NEXT(t, link);
        if (!t->writing && !may_hibernate(t, now)) continue;
        if (!t->writing) (void)hibernate_begin(t);
        if (t->state == POOL_TENANT_IDLE && (t->writing || may_hibernate(t, now))) count++;
    }
    return count;
}

uint32_t pool_hibernate_all(struct pool *pool) {
    pool->hibernating_all = true;
    return hibernate_idle(pool);
}

void hibernate_work(struct pool *pool) {
    if (pool->hibernating_all) (void)hibernate_idle(pool);
}

void hibernate_count_lost(struct pool *pool) {
    struct pool_app *app;
    if (!pool->hibernated) return;
    TAILQ_FOREACH(app, &pool->apps, link)
    if (app->config.hibernates && app->idle_count + app->busy_count && !app->removed)
        pool_event(pool, "app %s: the state of %u instance%s ends with the server", app->name,
                   app->idle_count + app->busy_count,
                   app->idle_count + app->busy_count == 1 ? "" : "s");
}

void hibernate_numbers(const struct pool_app *app, struct pool_app_numbers *ret) {
    const struct hibernated_dir *dir = app->pool->hibernated;
    const struct hibernated *h;
    ret->hibernated = 0;
    ret->hibernated_bytes = 0;
    const struct hibernated_app *of = hibernated_of(dir, app->name);
    if (!of) return;
    TAILQ_FOREACH(h, &of->list, of_app) {
        ret->hibernated++;
        ret->hibernated_bytes += h->bytes;
    }
}
