/*
 * One request: submitted, queued, sent to a tenant, over. Its outcome is collected from three
 * sides (the tenant's word, the kernel's clock, the limit that was broken) and delivered once,
 * from the loop.
 */
#include "serve/pool_private.h"

#include <unistd.h>

const char *pool_limit_name(enum pool_limit limit) {
    switch (limit) {
    case POOL_LIMIT_MEMORY: return "memory";
    case POOL_LIMIT_CPU: return "cpu";
    case POOL_LIMIT_WALL: return "wall";
    case POOL_LIMIT_START: return "start";
    case POOL_LIMIT_QUEUE: return "queue";
    case POOL_LIMIT_OUTPUT: return "output";
    case POOL_LIMIT_NONE:
    default: return "";
    }
}

void request_set_report(struct pool_request *r, const char *text, size_t length) {
    if (!length) return;
    free(r->report);
    r->report = strndup(text, length); /* without memory: no report */
    if (!r->report) return;
    /* It goes to logs and terminals. */
    for (char *at = r->report; *at; at++)
        if ((unsigned char)*at < 32 && *at != '\n' && *at != '\t') *at = '?';
}

void request_close_stream(struct pool_request *r) {
    if (r->submission.stream_fd >= 0) close(r->submission.stream_fd);
    r->submission.stream_fd = -1;
}

void request_again(struct pool_request *r) {
    soon_over(r);
    r->again = true;
    r->starting = false;
    r->tenant = NULL;
    r->started_ns = 0;
    r->app->pool->cold_count -= r->cold;
    r->cold = false;
    event_del(&r->timer);
    TAILQ_INSERT_HEAD(&r->app->queue, r, link);
    r->app->queue_length++;
    app_activate(r->app);
    limit_queued(r);
}

void requests_move(struct pool_app *from, struct pool_app *to) {
    struct pool_request *r;
    TAILQ_FOREACH(r, &from->queue, link) r->app = to;
    TAILQ_CONCAT(&to->queue, &from->queue, link);
    to->queue_length += from->queue_length;
    from->queue_length = 0;
}

static void request_free(struct pool_request *r) {
    request_close_stream(r);
    if (event_initialized(&r->timer)) event_del(&r->timer);
    free(r->env);
    free(r->report);
    free(r);
}

void request_over(struct pool_request *r) {
    struct pool_outcome *o = &r->outcome;
    uint64_t now = pool_now_ns();
    soon_over(r);
    event_del(&r->timer);
    r->finished = true;
    if (r->broken) {
        o->end = POOL_LIMIT;
        o->limit = r->broken;
    } else if (r->cancelled) {
        o->end = POOL_CANCELLED;
    }
    if (r->started_ns) {
        o->queue_ns = r->started_ns - r->queued_ns;
        o->wall_ns = now - r->started_ns;
    } else {
        o->queue_ns = now - r->queued_ns;
    }
    o->cold = r->cold;
    r->app->pool->cold_count -= r->cold;
    if (r->tenant) {
        o->tenant = r->tenant->id >> 16;
        r->tenant->request = NULL;
        r->tenant = NULL;
    }
    TAILQ_INSERT_TAIL(&r->app->pool->over, r, link);
    pool_wake(r->app->pool);
}

void request_fail(struct pool_request *r, enum pool_end end, enum pool_limit limit,
                  const char *report) {
    TAILQ_REMOVE(&r->app->queue, r, link);
    r->app->queue_length--;
    r->outcome.end = end;
    r->outcome.limit = limit;
    request_set_report(r, report, strlen(report));
    request_over(r);
}

void request_deliver(struct pool_request *r) {
    struct pool_app_numbers *n = &r->app->numbers;
    r->outcome.report = r->report ? r->report : "";
    n->ended[r->outcome.end]++;
    n->cpu_ns += r->outcome.cpu_ns;
    if (r->cold) n->cold_starts++;
    if (r->submission.done) r->submission.done(r->submission.context, &r->outcome);
    request_free(r);
}

/* The strings of the environment one after the other, as TENANT_REQUEST has them. */
static enum status pack_env(struct pool_request *r, const struct pool_submission *s,
                            struct error *err) {
    size_t total = 0;
    for (uint32_t i = 0; i < s->envc; i++) {
        total += strlen(s->env[i]) + 1;
        if (total > TENANT_MAX_ENV_BYTES)
            return error_set(err, ST_LIMIT, "the request's environment is over %u bytes",
                             TENANT_MAX_ENV_BYTES);
    }
    if (!total) return ST_OK;
    r->env = malloc(total);
    if (!r->env) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *at = r->env;
    for (uint32_t i = 0; i < s->envc; i++) {
        size_t length = strlen(s->env[i]) + 1;
        memcpy(at, s->env[i], length);
        at += length;
    }
    r->env_bytes = (uint32_t)total;
    return ST_OK;
}

enum status pool_submit(struct pool_app *app, const struct pool_submission *submission,
                        struct pool_request **ret_request, struct error *err) {
    auto_fd int stream = submission->stream_fd;
    struct pool *pool = app->pool;
    uint32_t limit = app->config.max_queue;
    if (app->removed || pool->closing)
        return error_set(err, ST_NOT_FOUND, "app %s is being removed", app->name);
    if (app->queue_length >= limit) {
        app->numbers.refused++;
        return error_set(err, ST_LIMIT, "app %s: %u requests are waiting already", app->name,
                         limit);
    }
    struct pool_request *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, ST_NO_MEMORY, "out of memory");
    r->app = app;
    r->submission = *submission;
    r->submission.stream_fd = -1;
    r->submission.env = NULL;
    r->queued_ns = pool_now_ns();
    r->limits = app->config.limits; /* a reload may change its app's meanwhile */
    if (submission->wall_ns) r->limits.wall_ns = submission->wall_ns;
    enum status status = pack_env(r, submission, err);
    if (status != ST_OK) {
        request_free(r);
        return status;
    }
    r->submission.stream_fd = steal_fd(&stream);
    TAILQ_INSERT_TAIL(&app->queue, r, link);
    app->queue_length++;
    app->numbers.requests++;
    app_activate(app);
    limit_queued(r);
    if (ret_request) *ret_request = r;
    /* At once where nobody walks the lists, and what else there is to do for it (another spare)
     * a little later, when it is under way. */
    if (!pool->working && app->queue_length == 1) app_dispatch(app);
    if (app->queue_length)
        pool_wake(pool);
    else if (!event_pending(&pool->later, EV_TIMEOUT, NULL))
        pool_set_timer(&pool->later, POOL_LATER_NS);
    return ST_OK;
}

void pool_cancel(struct pool_request *r) {
    if (r->cancelled || r->finished) return;
    r->cancelled = true;
    if (r->tenant)
        tenant_end(r->tenant); /* request_over comes with its end */
    else
        request_fail(r, POOL_CANCELLED, POOL_LIMIT_NONE, "");
}

void pool_answer_began(struct pool_request *r) {
    if (r->starting && r->tenant && !r->told && !r->finished) tenant_taken(r->tenant);
}

void pool_break(struct pool_request *r, enum pool_limit limit) {
    if (r->tenant && !r->told) limit_break(r, limit);
}
