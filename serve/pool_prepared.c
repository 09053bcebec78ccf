/*
 * Tenants for the next cold start of an app. An app whose requests each have a process of their
 * own (fresh) and that was asked lately is likely to be asked again: a spare is given to it
 * beforehand, and maps its object, resumes its snapshot and makes present what the first
 * request will touch, while nobody waits. It runs nothing of the guest until it has a request,
 * which finds it as it would find a process that was started for it, only sooner.
 *
 * It holds what such a process holds before its first instruction, and counts as one of the
 * app's instances and of the pool's tenants. So there are few: an app wants as many as it had
 * cold starts at a time that found none prepared, all apps together get options.prepared; they
 * go PREPARED_NS after the app's last cold start, and before anything else where memory or room
 * for tenants is short. What it takes to prepare one is the app's overhead.
 */
#include "serve/pool_private.h"

#define PREPARED_NS UINT64_C(10000000000)
#define LOOK_NS UINT64_C(1000000000)
/* While a cold start is under way it has the processors to itself, for so long. */
#define LATER_NS UINT64_C(2000000)

void prepared_note(struct pool_app *app, bool found) {
    if (app->config.reuse != POOL_FRESH || app->removed) return;
    app->cold_ns = pool_now_ns();
    if ((!found || !app->prepared_wanted) && app->prepared_wanted < app->pool->options.prepared)
        app->prepared_wanted++;
}

void prepared_end(struct pool_app *app) {
    struct pool_tenant *t;
    app->prepared_wanted = 0;
    while ((t = TAILQ_FIRST(&app->prepared))) tenant_end(t);
}

bool prepared_give_up(struct pool *pool) {
    struct pool_app *app, *oldest = NULL;
    TAILQ_FOREACH(app, &pool->active, active_link)
    if (app->prepared_count && (!oldest || app->cold_ns < oldest->cold_ns)) oldest = app;
    if (oldest) tenant_end(TAILQ_FIRST(&oldest->prepared));
    return oldest != NULL;
}

static bool wants_one(const struct pool_app *app) {
    return !app->removed && app->prepared_count < app->prepared_wanted &&
           app->tenant_count < app->config.max_instances && !app->queue_length &&
           app->idle_count + app->warming_count >= app->config.warm && !app->failures;
}

void prepared_make(struct pool *pool) {
    const struct pool_options *o = &pool->options;
    uint32_t left_to_others = o->spares > 1 ? 1 : 0;
    uint64_t now = pool_now_ns();
    struct pool_app *app;
    if (pool->closing || !o->prepared) return;
    TAILQ_FOREACH(app, &pool->active, active_link)
    while (wants_one(app) && pool->prepared_count < o->prepared &&
           pool->spare_count > left_to_others) {
        if (pool->cold_count && now - app->cold_ns < LATER_NS) {
            if (!event_pending(&pool->later, EV_TIMEOUT, NULL))
                pool_set_timer(&pool->later, LATER_NS);
            break;
        }
        if (!tenant_prepare(TAILQ_FIRST(&pool->spares), app)) break;
        if (!event_pending(&pool->prepared_timer, EV_TIMEOUT, NULL))
            pool_set_timer(&pool->prepared_timer, LOOK_NS);
        pool_wake(pool); /* a spare in its place */
    }
}

static void on_timer(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool *pool = context;
    uint64_t now = pool_now_ns();
    struct pool_app *app;
    TAILQ_FOREACH(app, &pool->active, active_link)
    if ((app->prepared_wanted || app->prepared_count) && now - app->cold_ns >= PREPARED_NS)
        prepared_end(app);
    if (pool->prepared_count) pool_set_timer(&pool->prepared_timer, LOOK_NS);
}

void prepared_start(struct pool *pool) {
    event_assign(&pool->prepared_timer, pool->base, -1, 0, on_timer, pool);
}

void prepared_stop(struct pool *pool) {
    if (event_initialized(&pool->prepared_timer)) event_del(&pool->prepared_timer);
}
