/*
 * Tenants that are about to be free. A client may have the whole answer, and ask again, before
 * the guest has closed its end and waits for the next request: for so short a time no other
 * instance is worth starting, nor another guest's memory worth having. So the request waits,
 * unless more requests do than tenants are about to be free, and for SOON_NS at most: a guest
 * may do much after its answer.
 */
#include "serve/pool_private.h"

/* As long as pool->later, which has the queue looked at again. */
#define SOON_NS POOL_LATER_NS

void pool_answer_ended(struct pool_request *r) {
    struct pool_app *app = r->app;
    struct pool_tenant *t = r->tenant;
    if (r->soon_ns || !t || r->told || r->broken || r->cancelled || r->finished) return;
    if (app->removed || app->config.reuse == POOL_FRESH || t->state != POOL_TENANT_BUSY ||
        (app->config.reuse_requests && t->requests >= app->config.reuse_requests))
        return;
    r->soon_ns = pool_now_ns();
    TAILQ_INSERT_TAIL(&app->soon, r, link);
    app->soon_count++;
}

void soon_over(struct pool_request *r) {
    if (!r->soon_ns) return;
    TAILQ_REMOVE(&r->app->soon, r, link);
    r->app->soon_count--;
    r->soon_ns = 0;
}

void soon_move(struct pool_app *from, struct pool_app *to) {
    TAILQ_CONCAT(&to->soon, &from->soon, link);
    to->soon_count += from->soon_count;
    from->soon_count = 0;
}

uint32_t soon_free(struct pool_app *app) {
    struct pool_request *r;
    if (!app->soon_count) return 0;
    uint64_t now = pool_now_ns();
    /* the oldest is first */
    while ((r = TAILQ_FIRST(&app->soon)) && now - r->soon_ns >= SOON_NS) soon_over(r);
    if (app->soon_count && !event_pending(&app->pool->later, EV_TIMEOUT, NULL))
        pool_set_timer(&app->pool->later, SOON_NS);
    return app->soon_count;
}
