/*
 * A web server's connection: records to requests, answers to records. See fcgi_server.h.
 *
 *   IDLE --BEGIN--> PARAMS --all of them--> FIRST --STDIN--> BODY --its end--> ANSWER --> IDLE
 *
 * The exchange starts at the first STDIN record: an empty one says that there is no body, where
 * CONTENT_LENGTH does not. A connection frees itself on a later turn of the event loop.
 */
#include "serve/fcgi_server.h"

#include "serve/fastcgi.h"
#include "serve/front.h"

#include <unistd.h>

enum fcgi_state {
    FCGI_STATE_IDLE,
    FCGI_STATE_PARAMS,
    FCGI_STATE_FIRST,
    FCGI_STATE_BODY,
    FCGI_STATE_ANSWER,
    FCGI_STATE_FLUSH, /* nothing more is read; the rest is written out */
    FCGI_STATE_RETIRED
};

struct fcgi_connection {
    struct fcgi_connection *next, **link;
    struct front *front;
    struct bufferevent *bev;
    struct event *end;
    enum fcgi_state state;
    struct exchange *exchange;
    bool keep, pumping, head_request;
    uint16_t id;
    struct fcgi_header record;
    size_t left, padding; /* of the record */
    bool in_record;
    struct buffer params;
    uint64_t body_left; /* where has_length */
    bool has_length;
    struct fcgi_params read;
};

static void pump(struct fcgi_connection *c);

static struct evbuffer *input(struct fcgi_connection *c) {
    return bufferevent_get_input(c->bev);
}
static struct evbuffer *output(struct fcgi_connection *c) {
    return bufferevent_get_output(c->bev);
}

/* ---- ending ------------------------------------------------------------------------------ */

static void forget_request(struct fcgi_connection *c) {
    buffer_finish(&c->params);
    c->params = (struct buffer){0};
    fcgi_params_finish(&c->read);
    c->read = (struct fcgi_params){0};
}

static void on_end(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    struct fcgi_connection *c = context;
    *c->link = c->next;
    if (c->next) c->next->link = c->link;
    forget_request(c);
    event_free(c->end);
    bufferevent_free(c->bev);
    front_connection_closed(c->front);
    free(c);
}

static void retire(struct fcgi_connection *c) {
    if (c->state == FCGI_STATE_RETIRED) return;
    c->state = FCGI_STATE_RETIRED;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
    if (c->exchange) {
        struct exchange *exchange = c->exchange;
        c->exchange = NULL;
        exchange_client_gone(exchange);
    }
    event_active(c->end, EV_TIMEOUT, 0);
}

static void begin_flush(struct fcgi_connection *c) {
    c->state = FCGI_STATE_FLUSH;
    bufferevent_disable(c->bev, EV_READ);
    bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
    if (!evbuffer_get_length(output(c))) retire(c);
}

/* The request is over on this connection. */
static void finish_request(struct fcgi_connection *c) {
    bool complete = c->state == FCGI_STATE_ANSWER;
    c->exchange = NULL;
    forget_request(c);
    if (!c->keep || !complete || c->front->draining) {
        begin_flush(c);
        return;
    }
    c->state = FCGI_STATE_IDLE;
    bufferevent_set_timeouts(c->bev, &c->front->timeouts.idle, &c->front->timeouts.write);
    if (!c->pumping) pump(c);
}

/* ---- the client's side of an exchange ---------------------------------------------------- */

static void client_head(void *client, const struct http_response *response) {
    struct fcgi_connection *c = client;
    auto_buffer struct buffer b = {0};
    buffer_printf(&b, "Status: %d %s\r\n", response->status, http_reason(response->status));
    for (uint32_t i = 0; i < response->fields.count; i++) {
        const struct http_field *f = &response->fields.at[i];
        buffer_printf(&b, "%s: ", f->name);
        buffer_put(&b, f->value, strlen(f->value));
        buffer_put(&b, "\r\n", 2);
    }
    if (response->content_length >= 0 && response->status != 204)
        buffer_printf(&b, "Content-Length: %lld\r\n", (long long)response->content_length);
    buffer_put(&b, "\r\n", 2);
    if (b.failed)
        retire(c);
    else
        fcgi_put(output(c), FCGI_STDOUT, c->id, b.bytes, b.size);
}

static void client_body(void *client, struct evbuffer *from, size_t size) {
    struct fcgi_connection *c = client;
    if (c->head_request) {
        evbuffer_drain(from, size);
        return;
    }
    while (size) {
        size_t piece = size < FCGI_CONTENT_MAX ? size : FCGI_CONTENT_MAX;
        fcgi_put_header(output(c), FCGI_STDOUT, c->id, piece);
        evbuffer_remove_buffer(from, output(c), piece);
        size -= piece;
    }
}

static void client_end(void *client) {
    struct fcgi_connection *c = client;
    fcgi_put_header(output(c), FCGI_STDOUT, c->id, 0);
    fcgi_put_end(output(c), c->id, 0, FCGI_REQUEST_COMPLETE);
    finish_request(c);
}

/* A connection that closes before END_REQUEST is how the web server can tell. */
static void client_abort(void *client) {
    struct fcgi_connection *c = client;
    c->exchange = NULL;
    begin_flush(c);
}

static size_t client_pending(void *client) { return evbuffer_get_length(output(client)); }

static void client_pump(void *client) {
    struct fcgi_connection *c = client;
    if (!c->pumping) pump(c);
}

static const struct client_ops fastcgi_client = {client_head,  client_body,    client_end,
                                                 client_abort, client_pending, client_pump};

/* ---- requests ---------------------------------------------------------------------------- */

static void refuse(struct fcgi_connection *c, int status, const char *reason) {
    char text[100];
    c->front->bad_requests++;
    front_log_refused(c->front, "fastcgi", status, reason);
    int n = snprintf(text, sizeof text, "Status: %d\r\nContent-Type: text/plain\r\n\r\n%d\n",
                     status, status);
    fcgi_put(output(c), FCGI_STDOUT, c->id, text, (size_t)n);
    client_end(c);
}

/* The web server does not speak FastCGI, or not so that we understand it. */
static void give_up(struct fcgi_connection *c, const char *reason) {
    c->front->bad_requests++;
    front_log_refused(c->front, "fastcgi", 400, reason);
    retire(c);
}

static void begin(struct fcgi_connection *c, const uint8_t *body) {
    unsigned role = (unsigned)(body[0] << 8 | body[1]);
    bool keep = body[2] & FCGI_KEEP_CONN;
    if (c->state != FCGI_STATE_IDLE) {
        fcgi_put_end(output(c), c->record.id, 0, FCGI_CANT_MPX_CONN);
        return;
    }
    c->keep = keep;
    c->id = c->record.id;
    if (role != FCGI_RESPONDER) {
        fcgi_put_end(output(c), c->id, 0, FCGI_UNKNOWN_ROLE);
        if (!keep) begin_flush(c);
        return;
    }
    c->state = FCGI_STATE_PARAMS;
    bufferevent_set_timeouts(c->bev, &c->front->timeouts.head, &c->front->timeouts.write);
}

static void start(struct fcgi_connection *c, bool empty) {
    struct http_request *r = &c->read.request;
    if (!c->has_length) r->content_length = empty ? 0 : -1;
    c->body_left = c->has_length ? (uint64_t)r->content_length : 0;
    c->head_request = r->head;
    c->state = FCGI_STATE_BODY;
    bufferevent_set_timeouts(c->bev, &c->front->timeouts.body, &c->front->timeouts.write);
    struct exchange_client client = {
        .ops = &fastcgi_client,
        .client = c,
        .address = c->read.remote_address,
        .port = c->read.remote_port,
        .server_address = c->read.server_address,
        .server_port = c->read.server_port,
        .https = c->read.https,
        .protocol = "fastcgi",
    };
    if (!exchange_start(c->front, &client, r, &c->exchange)) refuse(c, 503, "out of memory");
}

static void params_end(struct fcgi_connection *c) {
    const char *reason;
    int status = fcgi_params_read(c->params.bytes, c->params.size, &c->read, &reason);
    c->has_length = c->read.has_length;
    c->state = FCGI_STATE_FIRST;
    if (status) refuse(c, status, reason);
}

static void body_end(struct fcgi_connection *c) {
    if (c->has_length && c->body_left) {
        exchange_body_fail(c->exchange, 400, "the body is shorter than CONTENT_LENGTH");
        return;
    }
    c->state = FCGI_STATE_ANSWER;
    bufferevent_set_timeouts(c->bev, NULL, &c->front->timeouts.write);
    exchange_body_end(c->exchange);
}

static void get_values(struct fcgi_connection *c, const uint8_t *bytes, size_t size) {
    static const struct {
        const char *name, *value;
    } known[] = {
        {"FCGI_MAX_CONNS", "1024"}, {"FCGI_MAX_REQS", "1024"}, {"FCGI_MPXS_CONNS", "0"}};
    auto_buffer struct buffer b = {0};
    struct reader r = reader_over(bytes, size);
    const char *name, *value;
    size_t name_size, value_size;
    while (fcgi_read_pair(&r, &name, &name_size, &value, &value_size))
        for (size_t i = 0; i < countof(known); i++)
            if (strlen(known[i].name) == name_size &&
                memcmp(known[i].name, name, name_size) == 0)
                fcgi_put_pair(&b, known[i].name, name_size, known[i].value,
                              strlen(known[i].value));
    if (b.size && !b.failed)
        fcgi_put(output(c), FCGI_GET_VALUES_RESULT, 0, b.bytes, b.size);
    else
        fcgi_put_header(output(c), FCGI_GET_VALUES_RESULT, 0, 0);
}

/* ---- records ----------------------------------------------------------------------------- */

/* Records that are read as a whole; bytes has all of the content. */
static void whole_record(struct fcgi_connection *c, const uint8_t *bytes) {
    bool ours = c->state != FCGI_STATE_IDLE && c->record.id == c->id;
    switch (c->record.type) {
    case FCGI_BEGIN_REQUEST:
        if (c->record.content_bytes < 8 || !c->record.id)
            give_up(c, "a malformed BEGIN_REQUEST");
        else
            begin(c, bytes);
        return;
    case FCGI_ABORT_REQUEST:
        if (!ours) return;
        if (c->exchange) {
            struct exchange *exchange = c->exchange;
            c->exchange = NULL;
            exchange_client_gone(exchange);
        }
        c->state = FCGI_STATE_ANSWER;
        client_end(c);
        return;
    case FCGI_PARAMS:
        if (!ours || c->state != FCGI_STATE_PARAMS) return;
        if (!c->record.content_bytes) {
            params_end(c);
            return;
        }
        buffer_put(&c->params, bytes, c->record.content_bytes);
        if (c->params.failed || c->params.size > c->front->limits.head_bytes)
            refuse(c, 431, "the variables are too long");
        return;
    case FCGI_GET_VALUES: get_values(c, bytes, c->record.content_bytes); return;
    default: break;
    }
    if (c->record.id) return; /* of a stream that a responder does not have */
    const uint8_t unknown[8] = {c->record.type};
    fcgi_put(output(c), FCGI_UNKNOWN_TYPE, 0, unknown, sizeof unknown);
}

/* STDIN is handed on as it comes. false where it must wait. */
static bool stdin_record(struct fcgi_connection *c) {
    bool ours = c->record.id == c->id;
    if (ours && c->state == FCGI_STATE_FIRST) start(c, !c->record.content_bytes);
    if (!ours || c->state != FCGI_STATE_BODY || !c->exchange) {
        size_t size = evbuffer_get_length(input(c));
        size_t take = size < c->left ? size : c->left;
        evbuffer_drain(input(c), take);
        c->left -= take;
        return true;
    }
    if (!c->record.content_bytes) {
        body_end(c);
        return true;
    }
    struct evbuffer_iovec piece;
    if (!evbuffer_get_length(input(c)) || !exchange_wants_body(c->exchange)) return false;
    evbuffer_peek(input(c), -1, NULL, &piece, 1);
    size_t take = piece.iov_len < c->left ? piece.iov_len : c->left;
    if (c->has_length && take > c->body_left) {
        exchange_body_fail(c->exchange, 400, "the body is longer than CONTENT_LENGTH");
        return true;
    }
    if (c->has_length) c->body_left -= take;
    exchange_body(c->exchange, piece.iov_base, take);
    evbuffer_drain(input(c), take);
    c->left -= take;
    return true;
}

/* One step; false where bytes or room are missing. */
static bool step(struct fcgi_connection *c) {
    if (!c->in_record) {
        uint8_t bytes[FCGI_HEADER_SIZE];
        if (evbuffer_get_length(input(c)) < sizeof bytes) return false;
        evbuffer_remove(input(c), bytes, sizeof bytes);
        if (!fcgi_header_read(bytes, &c->record)) {
            give_up(c, "no FastCGI record");
            return false;
        }
        c->in_record = true;
        c->left = c->record.content_bytes;
        c->padding = c->record.padding_bytes;
        /* an empty one acts once, too */
        if (c->record.type == FCGI_STDIN && !c->left)
            stdin_record(c);
        else if (!c->left)
            whole_record(c, bytes);
        return true;
    }
    if (c->left && c->record.type == FCGI_STDIN) return stdin_record(c);
    if (c->left) {
        if (evbuffer_get_length(input(c)) < c->left) return false;
        const uint8_t *bytes = evbuffer_pullup(input(c), (ev_ssize_t)c->left);
        if (!bytes) return false;
        size_t size = c->left;
        c->left = 0;
        whole_record(c, bytes);
        if (c->state != FCGI_STATE_RETIRED) evbuffer_drain(input(c), size);
        return true;
    }
    if (c->padding) {
        size_t size = evbuffer_get_length(input(c));
        size_t take = size < c->padding ? size : c->padding;
        evbuffer_drain(input(c), take);
        c->padding -= take;
        if (c->padding) return false;
    }
    c->in_record = false;
    return true;
}

static void pump(struct fcgi_connection *c) {
    c->pumping = true;
    while (c->state < FCGI_STATE_FLUSH && evbuffer_get_length(output(c)) < EXCHANGE_HIGH &&
           step(c));
    c->pumping = false;
}

/* ---- events ------------------------------------------------------------------------------ */

static void on_read(struct bufferevent *bev, void *context) {
    (void)bev;
    pump(context);
}

static void on_write(struct bufferevent *bev, void *context) {
    (void)bev;
    struct fcgi_connection *c = context;
    if (c->state == FCGI_STATE_FLUSH) {
        if (!evbuffer_get_length(output(c))) retire(c);
        return;
    }
    if (c->exchange) exchange_client_drained(c->exchange);
    if (!c->pumping) pump(c);
}

static void on_event(struct bufferevent *bev, short events, void *context) {
    struct fcgi_connection *c = context;
    if ((events & BEV_EVENT_TIMEOUT) && (events & BEV_EVENT_READING) && c->exchange &&
        evbuffer_get_length(input(c))) {
        bufferevent_enable(bev, EV_READ); /* it is not the web server that is slow */
        return;
    }
    retire(c);
}

void fcgi_server_accept(struct front *front, evutil_socket_t fd) {
    struct fcgi_connection *c = calloc(1, sizeof *c);
    struct bufferevent *bev =
        c ? bufferevent_socket_new(front->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    struct event *end = bev ? event_new(front->base, -1, 0, on_end, c) : NULL;
    if (!end) {
        if (bev)
            bufferevent_free(bev);
        else
            close(fd);
        free(c);
        return;
    }
    *c = (struct fcgi_connection){.front = front,
                                  .bev = bev,
                                  .end = end,
                                  .next = front->fcgi_connections,
                                  .link = &front->fcgi_connections};
    if (c->next) c->next->link = &c->next;
    front->fcgi_connections = c;
    front->connection_count++;
    front->connections_accepted++;
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    /* the largest record that is read as a whole, and its header */
    bufferevent_setwatermark(bev, EV_READ, 0, FCGI_CONTENT_MAX + FCGI_HEADER_SIZE + 256);
    bufferevent_setwatermark(bev, EV_WRITE, EXCHANGE_HIGH / 2, 0);
    bufferevent_set_timeouts(bev, &front->timeouts.idle, &front->timeouts.write);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

void fcgi_server_drain(struct front *front) {
    for (struct fcgi_connection *c = front->fcgi_connections, *next; c; c = next) {
        next = c->next;
        if (c->state == FCGI_STATE_IDLE && !c->in_record && !evbuffer_get_length(input(c)))
            begin_flush(c);
    }
}
