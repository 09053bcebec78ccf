/*
 * A request from the moment its head is read to the line in the log. See exchange.h; the calls
 * for the backends are in exchange_answer.c.
 *
 *   start --> routed --> submitted --> head sent --> answered --.
 *     |  404, 413          | 503          \--> broken off ------+--> outcome known --> logged,
 *     `--------------------'------------------------------------'                     billed,
 * freed
 *
 * The answer is complete when the backend says so (FastCGI's END_REQUEST, HTTP's framing); for
 * CGI that is the end of the stream with an outcome that is no failure. Where the stream ends
 * without a complete answer, the outcome says why, and decides the status.
 */
#include "serve/exchange_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_wall_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_steady_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t exchange_id(const struct exchange *x) { return x->id; }

/* ---- the end ----------------------------------------------------------------------------- */

static void count(struct exchange *x) {
    x->took_ns = clock_steady_ns() - x->started_ns;
    if (!x->site) return;
    struct site_counts *counts = x->site->counts;
    counts->requests[x->status >= 100 && x->status < 600 ? x->status / 100 : 0]++;
    counts->troubles[x->trouble]++;
    counts->received_bytes += x->received_bytes;
    counts->sent_bytes += x->sent_bytes;
    counts->cpu_ns += x->outcome.cpu_ns;
    counts->cold_starts += x->outcome.cold;
    if (x->outcome.memory_peak_bytes > counts->memory_peak_bytes)
        counts->memory_peak_bytes = x->outcome.memory_peak_bytes;
    histogram_add(&counts->duration, x->took_ns);
    if (x->submitted) histogram_add(&counts->queue, x->outcome.queue_ns);
}

void exchange_settle(struct exchange *x) {
    if (x->ended || x->client.ops || !x->outcome_known) return;
    x->ended = true;
    count(x);
    if (x->site) usage_write(x->front->usage, x);
    front_log_exchange(x->front, x);
    struct front *front = x->front;
    *x->link = x->next;
    if (x->next) x->next->link = x->link;
    x->next = front->ended;
    front->ended = x;
    if (x->stream) bufferevent_disable(x->stream, EV_READ | EV_WRITE);
    if (x->stream) bufferevent_setcb(x->stream, NULL, NULL, NULL, NULL);
    event_active(front->reaper, EV_TIMEOUT, 0);
}

static bool make_stream(int ends[2]) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return false;
    /* a new socket has no other flags */
    (void)!fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK);
    return true;
}

void exchange_reap(struct front *front) {
    while (front->ended) {
        struct exchange *x = front->ended;
        front->ended = x->next;
        if (x->backend) x->backend->finish(x);
        if (x->stream) bufferevent_free(x->stream);
        if (x->body) evbuffer_free(x->body);
        if (x->site) site_release(front, x->site);
        http_request_finish(&x->request);
        free(x->reason);
        free(x->report);
        free(x->target);
        cgi_env_finish(&x->env);
        free(x);
    }
    int *spare = front->spare_stream; /* for the next one */
    if (spare[0] < 0 && !front->draining && !make_stream(spare)) spare[0] = spare[1] = -1;
}

/* ---- answers of our own ------------------------------------------------------------------ */

static void send_error(struct exchange *x, int status) {
    struct evbuffer *page = evbuffer_new();
    if (!page) {
        x->client.ops->abort(x->client.client);
        return;
    }
    http_error_page(status, page);
    if (x->site && x->site->app->debug && x->reason)
        evbuffer_add_printf(page, "\n%s\n", x->reason);
    struct http_response response = {.status = status,
                                     .content_length = (int64_t)evbuffer_get_length(page)};
    http_fields_add(&response.fields, "Content-Type", "text/plain; charset=utf-8");
    if (status == 503) http_fields_add(&response.fields, "Retry-After", "1");
    x->client.ops->head(x->client.client, &response);
    x->client.ops->body(x->client.client, page, evbuffer_get_length(page));
    x->client.ops->end(x->client.client);
    http_fields_finish(&response.fields);
    evbuffer_free(page);
}

void exchange_fail(struct exchange *x, int status, enum trouble trouble, const char *reason) {
    if (x->trouble == TROUBLE_NONE) {
        x->trouble = trouble;
        x->reason = strdup(reason);
    }
    if (x->client.ops) {
        if (x->head_sent) {
            x->client.ops->abort(x->client.client);
        } else {
            x->status = status;
            send_error(x, status);
        }
        x->client.ops = NULL;
    }
    if (x->pool && !x->outcome_known) {
        if (trouble == TROUBLE_RESPONSE)
            pool_break(x->pool, POOL_LIMIT_OUTPUT); /* the log then has its backtrace */
        else
            pool_cancel(x->pool);
    }
    if (!x->submitted) x->outcome_known = true;
    exchange_settle(x);
}

/* What an outcome that is no complete answer means to the client. */
static void fail_by_outcome(struct exchange *x) {
    const struct pool_outcome *o = &x->outcome;
    const char *report = x->report ? x->report : "";
    char text[160];
    switch (o->end) {
    case POOL_TRAPPED: exchange_fail(x, 502, TROUBLE_TRAP, report); return;
    case POOL_DIED:
        if (!o->tenant)
            exchange_fail(x, 503, TROUBLE_START_FAILED, report);
        else
            exchange_fail(x, 502, TROUBLE_DIED, report);
        return;
    case POOL_CANCELLED: exchange_fail(x, 502, TROUBLE_DIED, "cancelled"); return;
    case POOL_DONE:
    case POOL_EXITED:
        if (x->answer_began)
            snprintf(text, sizeof text, "the answer breaks off (exit status %d)", o->status);
        else
            snprintf(text, sizeof text, "the app ended without an answer (exit status %d)",
                     o->status);
        exchange_fail(x, 502, TROUBLE_EXIT, text);
        return;
    case POOL_LIMIT: break;
    }
    switch (o->limit) {
    case POOL_LIMIT_MEMORY: exchange_fail(x, 502, TROUBLE_MEMORY, report); return;
    case POOL_LIMIT_CPU: exchange_fail(x, 504, TROUBLE_CPU, report); return;
    case POOL_LIMIT_START: exchange_fail(x, 503, TROUBLE_START, report); return;
    case POOL_LIMIT_QUEUE:
        exchange_fail(x, 503, TROUBLE_QUEUE_TIME, "no instance became free in time");
        return;
    case POOL_LIMIT_OUTPUT: exchange_fail(x, 502, TROUBLE_RESPONSE, report); return;
    case POOL_LIMIT_WALL:
    case POOL_LIMIT_NONE: exchange_fail(x, 504, TROUBLE_WALL, report); return;
    }
}

/* The stream has ended and been read to its end, and the outcome is known. */
void exchange_conclude(struct exchange *x) {
    if (!x->client.ops || !x->outcome_known || !x->stream_ended) {
        exchange_settle(x);
        return;
    }
    bool well = x->outcome.end == POOL_DONE ||
                (x->outcome.end == POOL_EXITED && x->outcome.status == 0);
    /* A script may fail and have answered for it: its status is the answer's. */
    if (x->outcome.end == POOL_EXITED && x->backend == &backend_cgi && x->answer_began)
        well = true;
    if (well && x->ends_with_stream && x->answer_began)
        exchange_answer_end(x);
    else
        fail_by_outcome(x);
}

/* ---- the pool's side --------------------------------------------------------------------- */

static void on_outcome(void *context, const struct pool_outcome *outcome) {
    struct exchange *x = context;
    x->outcome = *outcome;
    x->outcome_known = true;
    x->pool = NULL;
    if (*outcome->report) x->report = strdup(outcome->report);
    x->outcome.report = NULL;
    bool bad =
        outcome->end == POOL_TRAPPED || outcome->end == POOL_LIMIT || outcome->end == POOL_DIED;
    if (bad) front_log_trouble(x->front, x, outcome->report);
    exchange_pump(x);
}

/* ---- the client's side ------------------------------------------------------------------- */

bool exchange_wants_body(const struct exchange *x) {
    if (!x->stream || x->stream_ended || x->body_dropped) return true;
    return evbuffer_get_length(bufferevent_get_output(x->stream)) < EXCHANGE_HIGH;
}

void exchange_body(struct exchange *x, const void *bytes, size_t size) {
    x->received_bytes += size;
    if (x->site && x->received_bytes > x->site->app->limits.body_bytes) {
        exchange_fail(x, 413, TROUBLE_BODY, "the request's body is over limits.body");
        return;
    }
    if (!x->stream || x->stream_ended || x->body_dropped) return;
    bufferevent_enable(x->stream, EV_WRITE);
    x->backend->body(x, bytes, size);
}

void exchange_body_end(struct exchange *x) {
    x->body_ended = true;
    if (!x->stream || x->stream_ended || x->body_dropped) return;
    bufferevent_enable(x->stream, EV_WRITE);
    x->backend->body_end(x);
}

void exchange_body_fail(struct exchange *x, int status, const char *reason) {
    exchange_fail(x, status, TROUBLE_REQUEST, reason);
}

void exchange_client_gone(struct exchange *x) {
    x->client.ops = NULL;
    if (x->trouble == TROUBLE_NONE) {
        x->trouble = TROUBLE_CLIENT;
        x->status = 499; /* nginx's number for it */
    }
    if (x->pool && !x->outcome_known) pool_cancel(x->pool);
    if (!x->submitted) x->outcome_known = true;
    exchange_settle(x);
}

void exchange_client_drained(struct exchange *x) { exchange_pump(x); }

/* ---- the stream -------------------------------------------------------------------------- */

static void on_stream_read(struct bufferevent *stream, void *context) {
    (void)stream;
    exchange_pump(context);
}

static void on_stream_write(struct bufferevent *stream, void *context) {
    struct exchange *x = context;
    if (x->shut_when_written && !evbuffer_get_length(bufferevent_get_output(stream))) {
        x->shut_when_written = false;
        shutdown(bufferevent_getfd(stream), SHUT_WR);
    }
    if (x->client.ops && !x->body_ended) x->client.ops->pump(x->client.client);
}

static void on_stream_event(struct bufferevent *stream, short events, void *context) {
    struct exchange *x = context;
    if ((events & BEV_EVENT_WRITING) && !(events & BEV_EVENT_EOF)) {
        /* The guest reads no more of the body; it may still answer. */
        x->body_dropped = true;
        evbuffer_drain(bufferevent_get_output(stream),
                       evbuffer_get_length(bufferevent_get_output(stream)));
        bufferevent_disable(stream, EV_WRITE);
        if (x->client.ops && !x->body_ended) x->client.ops->pump(x->client.client);
        return;
    }
    x->stream_ended = true;
    exchange_pump(x);
}

void exchange_shut_stream(struct exchange *x) {
    x->shut_when_written = true;
    if (!evbuffer_get_length(bufferevent_get_output(x->stream))) on_stream_write(x->stream, x);
}

/* A socket seldom is full when one begins to write to it: telling the kernel to wait for room,
 * a turn of the loop, and telling it not to wait any more are saved. */
void stream_write_now(struct bufferevent *stream) {
    struct evbuffer *output = bufferevent_get_output(stream);
    evbuffer_unfreeze(output, 1); /* it lets nobody but the stream take from it */
    (void)evbuffer_write(output, bufferevent_getfd(stream));
    evbuffer_freeze(output, 1);
    if (!evbuffer_get_length(output)) bufferevent_disable(stream, EV_WRITE);
}

/* ---- the beginning ----------------------------------------------------------------------- */

/* One is made beforehand, when no request waits for it. */
static int open_stream(struct exchange *x) {
    int ends[2], *spare = x->front->spare_stream;
    if (spare[0] >= 0) {
        memcpy(ends, spare, sizeof ends);
        spare[0] = spare[1] = -1;
    } else if (!make_stream(ends)) {
        return -1;
    }
    x->stream = bufferevent_socket_new(x->front->base, ends[0], BEV_OPT_CLOSE_ON_FREE);
    if (!x->stream) {
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    bufferevent_setcb(x->stream, on_stream_read, on_stream_write, on_stream_event, x);
    bufferevent_setwatermark(x->stream, EV_READ, 0, EXCHANGE_HIGH);
    bufferevent_setwatermark(x->stream, EV_WRITE, EXCHANGE_HIGH / 2, 0);
    return ends[1];
}

static void submit(struct exchange *x) {
    struct error err = {0};
    static const struct backend_ops *const backends[] = {
        [APP_CGI] = &backend_cgi, [APP_FASTCGI] = &backend_fastcgi, [APP_HTTP] = &backend_http};
    int tenant_end = open_stream(x);
    x->backend = backends[x->site->app->interface];
    if (tenant_end < 0 || !x->backend->start(x)) {
        if (tenant_end >= 0) close(tenant_end);
        exchange_fail(x, 503, TROUBLE_START_FAILED, "out of memory or descriptors");
        return;
    }
    struct pool_submission submission = {
        .stream_fd = tenant_end, .id = x->id, .done = on_outcome, .context = x};
    if (x->backend == &backend_cgi) {
        submission.env = cgi_env_strings(&x->env);
        submission.envc = x->env.count;
    }
    /* Before a tenant hears of it: then the guest finds it. */
    bufferevent_enable(x->stream, EV_READ | EV_WRITE);
    stream_write_now(x->stream);
    enum status status = pool_submit(x->site->pool, &submission, &x->pool, &err);
    cgi_env_finish(&x->env);
    if (status != ST_OK) {
        exchange_fail(x, 503, status == ST_LIMIT ? TROUBLE_QUEUE : TROUBLE_START_FAILED,
                      err.message);
        return;
    }
    x->submitted = true;
}

bool exchange_start(struct front *front, const struct exchange_client *client,
                    struct http_request *request, struct exchange **ret_exchange) {
    struct exchange *x = calloc(1, sizeof *x);
    struct evbuffer *body = x ? evbuffer_new() : NULL;
    if (!body) {
        free(x);
        return false;
    }
    *x = (struct exchange){.front = front,
                           .client = *client,
                           .request = *request,
                           .body = body,
                           .id = front->next_id++,
                           .started_ns = clock_steady_ns(),
                           .began_unix_ns = clock_wall_ns(),
                           .answer_left = -1,
                           .next = front->exchanges,
                           .link = &front->exchanges};
    *request = (struct http_request){0};
    if (x->next) x->next->link = &x->next;
    front->exchanges = x;
    *ret_exchange = x;
    snprintf(x->address, sizeof x->address, "%s", client->address);
    x->body_ended = x->request.content_length == 0;
    http_fields_remove(&x->request.fields, APP_WARMUP_HEADER); /* nobody's from outside */

    size_t prefix = 0;
    x->site = route_find(front, x->request.host, x->request.path, &prefix);
    if (!x->site) {
        exchange_fail(x, 404, TROUBLE_NONE, "no app has this host and path");
        return true;
    }
    x->site->exchanges++;
    x->prefix_length = prefix;
    if (x->request.content_length > 0 &&
        (uint64_t)x->request.content_length > x->site->app->limits.body_bytes) {
        exchange_fail(x, 413, TROUBLE_BODY, "the request's body is over limits.body");
        return true;
    }
    if (x->site->files && !exchange_site(x)) return true;
    submit(x);
    return true;
}
