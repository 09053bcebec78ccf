/*
 * The admin listener: what an operator's tools ask, over libevent's own small HTTP server.
 *
 *   GET /healthz   200 while the loop turns       GET /readyz   200 when requests are served
 *   GET /metrics   Prometheus's text format       GET /status   JSON: apps and tenants
 */
#include "serve/front.h"
#include "serve/http.h"
#include "serve/log.h"
#include "serve/pool.h"

#include <event2/buffer.h>
#include <event2/http.h>

static void answer(struct evhttp_request *request, int status, const char *type,
                   struct evbuffer *body) {
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
    evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
    evhttp_send_reply(request, status, http_reason(status), body);
    evbuffer_free(body);
}

static void answer_text(struct evhttp_request *request, int status, const char *text) {
    struct evbuffer *body = evbuffer_new();
    if (!body) return;
    evbuffer_add(body, text, strlen(text));
    answer(request, status, "text/plain; charset=utf-8", body);
}

static void on_health(struct evhttp_request *request, void *context) {
    (void)context;
    answer_text(request, 200, "ok\n");
}

static void on_ready(struct evhttp_request *request, void *context) {
    const struct front *front = context;
    struct pool_numbers pool;
    pool_numbers(front->pool, &pool);
    if (front->draining)
        answer_text(request, 503, "draining\n");
    else if (!front->ready)
        answer_text(request, 503, "no apps yet\n");
    else if (!pool.up)
        answer_text(request, 503, "no tenants can be started\n");
    else
        answer_text(request, 200, "ok\n");
}

static void on_metrics(struct evhttp_request *request, void *context) {
    struct evbuffer *body = evbuffer_new();
    if (!body) return;
    metrics_write(context, body);
    answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", body);
}

/* ---- /status ----------------------------------------------------------------------------- */

/* The time below which a share of requests stayed, from the histogram: within its bucket it is
 * taken to grow evenly. */
static double quantile_s(const struct histogram *h, double share) {
    uint64_t total = 0, before = 0;
    for (uint32_t i = 0; i <= HISTOGRAM_BUCKETS; i++) total += h->counts[i];
    double wanted = share * (double)total;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && total; i++) {
        double low = i ? histogram_bounds_s[i - 1] : 0;
        if ((double)(before + h->counts[i]) >= wanted && h->counts[i])
            return low + (histogram_bounds_s[i] - low) * (wanted - (double)before) /
                             (double)h->counts[i];
        before += h->counts[i];
    }
    return total ? histogram_bounds_s[HISTOGRAM_BUCKETS - 1] : 0;
}

static void put_name(struct buffer *b, const char *key, const char *name) {
    buffer_printf(b, "\"%s\":", key);
    json_put_string(b, name, strlen(name));
}

static void put_number(struct buffer *b, const char *key, uint64_t number) {
    buffer_printf(b, ",\"%s\":%llu", key, (unsigned long long)number);
}

static void put_site(struct buffer *b, const struct site *site) {
    const struct site_counts *c = site->counts;
    struct pool_app_numbers n;
    uint64_t requests = 0, errors = c->requests[5];
    for (size_t i = 0; i < countof(c->requests); i++) requests += c->requests[i];
    pool_app_numbers(site->pool, &n);
    buffer_put_u8(b, '{');
    put_name(b, "name", site->app->name);
    buffer_put_u8(b, ',');
    put_name(b, "interface", app_interface_word(site->app->interface));
    buffer_put_u8(b, ',');
    put_name(b, "reuse", app_reuse_word(site->app->reuse));
    put_number(b, "requests", requests);
    put_number(b, "errors", errors);
    put_number(b, "in_flight", site->exchanges);
    put_number(b, "queued", n.queued);
    put_number(b, "tenants_starting", n.starting);
    put_number(b, "tenants_idle", n.idle);
    put_number(b, "tenants_busy", n.busy);
    put_number(b, "hibernated", n.hibernated);
    put_number(b, "hibernated_bytes", n.hibernated_bytes);
    put_number(b, "hibernations", c->hibernations + n.hibernations - site->seen.hibernations);
    put_number(b, "resumes", c->resumes + n.resumes - site->seen.resumes);
    put_number(b, "cold_starts", c->cold_starts);
    put_number(b, "cpu_ns", c->cpu_ns);
    put_number(b, "overhead_cpu_ns",
               c->overhead_ns + n.overhead_cpu_ns - site->seen.overhead_ns);
    put_number(b, "received_bytes", c->received_bytes);
    put_number(b, "sent_bytes", c->sent_bytes);
    put_number(b, "memory_peak_bytes", c->memory_peak_bytes);
    buffer_printf(b, ",\"p50_s\":%.6f,\"p99_s\":%.6f}", quantile_s(&c->duration, 0.5),
                  quantile_s(&c->duration, 0.99));
}

struct tenants_out {
    struct buffer *b;
    bool more;
};

static void put_tenant(void *context, const struct pool_tenant_numbers *t) {
    static const char *const states[] = {
        [POOL_TENANT_STARTING] = "starting", [POOL_TENANT_SPARE] = "spare",
        [POOL_TENANT_PREPARED] = "prepared", [POOL_TENANT_WARMING] = "warming",
        [POOL_TENANT_IDLE] = "idle",         [POOL_TENANT_BUSY] = "busy",
        [POOL_TENANT_ENDING] = "ending"};
    struct tenants_out *out = context;
    /* null: no process yet. A 0 would be whoever hands it to kill(2) himself. */
    char pid[16] = "null";
    if (t->pid > 0) snprintf(pid, sizeof pid, "%d", t->pid);
    buffer_printf(out->b, "%s{\"tenant\":%llu,\"pid\":%s,\"state\":\"%s\"",
                  out->more ? "," : "", (unsigned long long)t->tenant, pid, states[t->state]);
    out->more = true;
    if (t->app) {
        buffer_put_u8(out->b, ',');
        put_name(out->b, "app", pool_app_name(t->app));
    }
    put_number(out->b, "requests", t->requests);
    put_number(out->b, "cpu_ns", t->cpu_ns);
    put_number(out->b, "age_ns", t->age_ns);
    put_number(out->b, "memory_bytes", t->memory_bytes);
    buffer_put_u8(out->b, '}');
}

static void on_status(struct evhttp_request *request, void *context) {
    struct front *front = context;
    auto_buffer struct buffer b = {0};
    struct pool_numbers pool;
    pool_numbers(front->pool, &pool);
    buffer_put_u8(&b, '{');
    put_name(&b, "version", HUTCH_VERSION);
    put_number(&b, "time_unix_ns", clock_wall_ns());
    put_number(&b, "started_unix_ns", front->started_ns);
    put_number(&b, "connections", front->connection_count);
    put_number(&b, "tenants", pool.tenants);
    put_number(&b, "spares", pool.spares);
    put_number(&b, "prepared", pool.prepared);
    put_number(&b, "forks", pool.forks);
    put_number(&b, "zygote_restarts", pool.zygote_restarts);
    buffer_printf(&b, ",\"draining\":%s,\"apps\":[", front->draining ? "true" : "false");
    bool more = false;
    for (const struct site *s = front->sites; s; s = s->next) {
        if (s->removed) continue;
        if (more) buffer_put_u8(&b, ',');
        put_site(&b, s);
        more = true;
    }
    buffer_put(&b, "],\"tenant_list\":[", 17);
    struct tenants_out out = {.b = &b};
    pool_each_tenant(front->pool, put_tenant, &out);
    buffer_put(&b, "]}\n", 3);
    struct evbuffer *body = evbuffer_new();
    if (!body) return;
    if (b.failed) {
        evbuffer_free(body);
        answer_text(request, 500, "out of memory\n");
        return;
    }
    evbuffer_add(body, b.bytes, b.size);
    answer(request, 200, "application/json", body);
}

static void on_other(struct evhttp_request *request, void *context) {
    (void)context;
    answer_text(request, 404, "there are /healthz, /readyz, /metrics and /status\n");
}

enum status admin_open(struct front *front, struct evconnlistener *listener,
                       struct error *err) {
    if (!front->admin) {
        front->admin = evhttp_new(front->base);
        if (!front->admin) return error_set(err, ST_NO_MEMORY, "out of memory");
        evhttp_set_allowed_methods(front->admin, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
        evhttp_set_max_headers_size(front->admin, 16 << 10);
        evhttp_set_max_body_size(front->admin, 16 << 10);
        evhttp_set_timeout(front->admin, 30);
        evhttp_set_cb(front->admin, "/healthz", on_health, front);
        evhttp_set_cb(front->admin, "/readyz", on_ready, front);
        evhttp_set_cb(front->admin, "/metrics", on_metrics, front);
        evhttp_set_cb(front->admin, "/status", on_status, front);
        evhttp_set_gencb(front->admin, on_other, front);
    }
    if (!evhttp_bind_listener(front->admin, listener))
        return error_set(err, ST_NO_MEMORY, "out of memory");
    return ST_OK;
}

void admin_close(struct front *front) {
    if (front->admin) evhttp_free(front->admin);
    front->admin = NULL;
}
