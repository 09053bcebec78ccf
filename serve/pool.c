/*
 * The pool as a whole: created, destroyed, counted; and the one place from which queues are
 * served and callbacks called (pool_work), so that no list changes under whoever walks it.
 */
#include "serve/pool_private.h"

#include <stdarg.h>
#include <time.h>
#include <unistd.h>

uint64_t pool_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pool_event(struct pool *pool, const char *format, ...) {
    if (!pool->options.event) return;
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    pool->options.event(pool->options.context, text);
}

void pool_wake(struct pool *pool) {
    /* A timer of no time, not event_active: what is always active would starve the sockets. */
    static const struct timeval at_once = {0, 0};
    if (!pool->closing && !event_pending(&pool->work, EV_TIMEOUT, NULL))
        event_add(&pool->work, &at_once);
}

void pool_set_timer(struct event *timer, uint64_t ns) {
    struct timeval after = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_usec = (suseconds_t)(ns % 1000000000u / 1000u)};
    event_add(timer, &after);
}

static void pool_work(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool *pool = context;
    struct pool_request *request;
    pool->working = true;
    while ((request = TAILQ_FIRST(&pool->over))) {
        TAILQ_REMOVE(&pool->over, request, link);
        request_deliver(request);
    }
    struct pool_app *app, *next;
    for (app = TAILQ_FIRST(&pool->active); app; app = next) {
        next = TAILQ_NEXT(app, active_link); /* it may go */
        app_dispatch(app);
    }
    hibernate_work(pool);
    tenants_start(pool);
    prepared_make(pool);
    pool->working = false;
}

enum status pool_create(struct event_base *base, const struct pool_options *options,
                        struct pool **ret_pool, struct error *err) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return error_set(err, ST_NO_MEMORY, "out of memory");
    pool->base = base;
    pool->options = *options;
    pool->zygote.socket = -1;
    TAILQ_INIT(&pool->spares);
    TAILQ_INIT(&pool->apps);
    TAILQ_INIT(&pool->active);
    TAILQ_INIT(&pool->over);
    struct pool_options *o = &pool->options;
    if (!o->spares) o->spares = 1;
    if (!o->max_tenants) o->max_tenants = 10000;
    if (o->max_tenants > POOL_MAX_SLOTS) o->max_tenants = POOL_MAX_SLOTS;
    if (!o->uid_base) o->uid_base = 2000000000;
    if (!o->uid_count) o->uid_count = 65536;
    if (!o->max_memory_bytes) o->max_memory_bytes = UINT64_C(6) << 30;
    pool->tenant_program = strdup(options->tenant_program);
    pool->slots = calloc(POOL_MAX_SLOTS, sizeof(struct pool_tenant *));
    event_assign(&pool->work, base, -1, 0, pool_work, pool);
    event_assign(&pool->later, base, -1, 0, pool_work, pool);
    hibernate_start(pool);
    prepared_start(pool);
    enum status status = pool->tenant_program && pool->slots
                             ? zygote_start(pool, err)
                             : error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) {
        pool_destroy(pool);
        return status;
    }
    *ret_pool = pool;
    return ST_OK;
}

void pool_destroy(struct pool *pool) {
    if (!pool) return;
    pool->closing = true;
    hibernate_count_lost(pool);
    if (pool->zygote.socket >= 0 || pool->zygote.pid) zygote_stop(pool);
    struct pool_request *request;
    struct pool_app *app;
    TAILQ_FOREACH(app, &pool->apps, link)
    while ((request = TAILQ_FIRST(&app->queue)))
        request_fail(request, POOL_DIED, POOL_LIMIT_NONE, "the server ends");
    while ((request = TAILQ_FIRST(&pool->over))) {
        TAILQ_REMOVE(&pool->over, request, link);
        request_deliver(request);
    }
    while ((app = TAILQ_FIRST(&pool->apps))) pool_app_free(app);
    event_del(&pool->work);
    event_del(&pool->later);
    hibernate_stop(pool);
    prepared_stop(pool);
    free(pool->slots);
    free(pool->tenant_program);
    free(pool);
}

/* ---- numbers ----------------------------------------------------------------------------- */

void pool_numbers(const struct pool *pool, struct pool_numbers *ret) {
    *ret = pool->numbers;
    ret->spares = pool->spare_count;
    ret->prepared = pool->prepared_count;
    ret->tenants = pool->tenant_count;
    ret->layers = pool->zygote.layers;
    ret->up = pool->zygote.ready;
}

void pool_each_app(struct pool *pool, void (*visit)(void *context, struct pool_app *app),
                   void *context) {
    struct pool_app *app;
    TAILQ_FOREACH(app, &pool->apps, link) visit(context, app);
}

void pool_each_tenant(struct pool *pool,
                      void (*visit)(void *context, const struct pool_tenant_numbers *tenant),
                      void *context) {
    uint64_t now = pool_now_ns();
    for (uint32_t slot = 0; slot < POOL_MAX_SLOTS; slot++) {
        const struct pool_tenant *t = pool->slots[slot];
        if (!t) continue;
        struct pool_tenant_numbers n = {.tenant = t->id >> 16,
                                        .pid = t->pid,
                                        .state = t->state,
                                        .app = t->app,
                                        .requests = t->requests,
                                        .cpu_ns = t->cpu_ns,
                                        .age_ns = now - t->born_ns,
                                        .memory_bytes = t->memory_bytes};
        (void)tenant_cpu_ns(t, &n.cpu_ns);
        visit(context, &n);
    }
}
