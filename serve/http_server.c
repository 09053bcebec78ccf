/*
 * An HTTP/1.1 client's connection: bytes to requests, one after the other, and answers to
 * bytes.
 *
 *   HEAD --head complete--> BODY --all of it--> ANSWER --answered--> HEAD (or LINGER)
 *     `------------- no body -------------------'
 *
 * While a request is under way what follows it (pipelining) waits in the input buffer, which
 * holds no more than EXCHANGE_HIGH bytes: then the socket is not read. A client that closes its
 * side while it is owed an answer is taken to be gone, as most servers do.
 *
 * A connection frees itself, never within a call from the exchange: retire() leaves that to the
 * event loop.
 */
#include "serve/front.h"
#include "serve/http_chunked.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#define LINGER_SECONDS 2
#define LINGER_MAX_BYTES ((size_t)1 << 20)

enum connection_state {
    CONNECTION_HEAD,
    CONNECTION_BODY,
    CONNECTION_ANSWER, /* the request is read */
    CONNECTION_FLUSH,  /* nothing more is read as a request; the rest is written out */
    CONNECTION_LINGER, /* our side is shut; what still comes is dropped, so that the client gets
                          the answer and no reset (RFC 9112 9.6) */
    CONNECTION_RETIRED
};

struct connection {
    struct connection *next, **link;
    struct front *front;
    struct bufferevent *bev;
    struct event *timer;
    enum connection_state state;
    struct exchange *exchange; /* NULL between answers */
    bool pumping;
    /* the request */
    bool chunked, keep_alive, head_request, head_began;
    int minor;
    uint64_t body_left;
    struct http_chunked chunks;
    bool continue_owed;
    /* the answer */
    enum http_framing framing;
    bool reset; /* close so that the client sees it was no proper end */
    size_t lingered_bytes;
    char address[INET6_ADDRSTRLEN], port[8];
    char server_address[INET6_ADDRSTRLEN], server_port[8];
};

static void connection_pump(struct connection *c);

/* ---- ending ------------------------------------------------------------------------------ */

static void connection_free(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    struct connection *c = context;
    struct front *front = c->front;
    *c->link = c->next;
    if (c->next) c->next->link = c->link;
    event_free(c->timer);
    bufferevent_free(c->bev);
    front_connection_closed(front);
    free(c);
}

/* Frees it on the loop's next turn; it does nothing more until then. */
static void retire(struct connection *c) {
    if (c->state == CONNECTION_RETIRED) return;
    c->state = CONNECTION_RETIRED;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
    if (c->reset) {
        struct linger linger = {.l_onoff = 1};
        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    if (c->exchange) {
        struct exchange *exchange = c->exchange;
        c->exchange = NULL;
        exchange_client_gone(exchange);
    }
    event_del(c->timer);
    event_assign(c->timer, c->front->base, -1, 0, connection_free, c);
    event_active(c->timer, EV_TIMEOUT, 0);
}

static struct evbuffer *input(struct connection *c) { return bufferevent_get_input(c->bev); }
static struct evbuffer *output(struct connection *c) { return bufferevent_get_output(c->bev); }

static void set_timer(struct connection *c, const struct timeval *after) {
    event_del(c->timer);
    if (after) event_add(c->timer, after);
}

static void begin_linger(struct connection *c) {
    static const struct timeval after = {LINGER_SECONDS, 0};
    c->state = CONNECTION_LINGER;
    if (c->reset) {
        retire(c);
        return;
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    bufferevent_set_timeouts(c->bev, NULL, NULL);
    bufferevent_enable(c->bev, EV_READ);
    set_timer(c, &after);
    evbuffer_drain(input(c), evbuffer_get_length(input(c)));
}

/* Writes out what there is, then closes. */
static void begin_flush(struct connection *c) {
    c->state = CONNECTION_FLUSH;
    set_timer(c, NULL);
    bufferevent_set_timeouts(c->bev, NULL, &c->front->timeouts.write);
    bufferevent_setwatermark(c->bev, EV_WRITE, 0, 0);
    if (!evbuffer_get_length(output(c))) begin_linger(c);
}

/* ---- the client's side of an exchange ---------------------------------------------------- */

static void client_head(void *client, const struct http_response *response) {
    struct connection *c = client;
    bufferevent_enable(c->bev, EV_WRITE);
    bool has_body = http_has_body(c->head_request, response->status);
    if (!has_body)
        c->framing = HTTP_NO_BODY;
    else if (response->content_length >= 0)
        c->framing = HTTP_LENGTH;
    else
        c->framing = c->minor > 0 ? HTTP_CHUNKED : HTTP_UNTIL_CLOSE;
    if (c->framing == HTTP_UNTIL_CLOSE || c->front->draining) c->keep_alive = false;
    /* An error of ours before the body was read: nobody is going to read it. */
    if (c->state == CONNECTION_BODY && response->status >= 400 && c->continue_owed)
        c->keep_alive = false;
    http_response_write(response, c->minor, c->framing, c->keep_alive, output(c));
}

static void client_body(void *client, struct evbuffer *from, size_t size) {
    struct connection *c = client;
    if (c->framing == HTTP_NO_BODY || !size) {
        evbuffer_drain(from, size);
        return;
    }
    if (c->framing == HTTP_CHUNKED) evbuffer_add_printf(output(c), "%zx\r\n", size);
    evbuffer_remove_buffer(from, output(c), size);
    if (c->framing == HTTP_CHUNKED) evbuffer_add(output(c), "\r\n", 2);
}

static void client_end(void *client) {
    struct connection *c = client;
    c->exchange = NULL;
    if (c->framing == HTTP_CHUNKED) evbuffer_add(output(c), "0\r\n\r\n", 5);
    stream_write_now(c->bev);
    if (c->state != CONNECTION_ANSWER || !c->keep_alive || c->front->draining) {
        begin_flush(c);
        return;
    }
    c->state = CONNECTION_HEAD;
    c->head_began = false;
    set_timer(c, &c->front->timeouts.idle);
    if (!c->pumping) connection_pump(c);
}

static void client_abort(void *client) {
    struct connection *c = client;
    c->exchange = NULL;
    c->reset = c->framing == HTTP_UNTIL_CLOSE;
    begin_flush(c);
}

static size_t client_pending(void *client) {
    struct connection *c = client;
    return evbuffer_get_length(output(c));
}

static void client_pump(void *client) {
    struct connection *c = client;
    if (!c->pumping) connection_pump(c);
}

static const struct client_ops http_client = {client_head,  client_body,    client_end,
                                              client_abort, client_pending, client_pump};

/* ---- requests ---------------------------------------------------------------------------- */

/* A request that never became an exchange. */
static void refuse(struct connection *c, int status, const char *reason) {
    struct evbuffer *body = evbuffer_new();
    bufferevent_enable(c->bev, EV_WRITE);
    c->front->bad_requests++;
    front_log_refused(c->front, c->address, status, reason);
    c->keep_alive = false;
    c->minor = 1;
    c->head_request = false;
    if (body) {
        http_error_page(status, body);
        struct http_response response = {.status = status,
                                         .content_length = (int64_t)evbuffer_get_length(body)};
        http_fields_add(&response.fields, "Content-Type", "text/plain");
        http_response_write(&response, 1, HTTP_LENGTH, false, output(c));
        evbuffer_add_buffer(output(c), body);
        http_fields_finish(&response.fields);
        evbuffer_free(body);
    }
    begin_flush(c);
}

/* Reads a head and starts its exchange; false where more bytes are needed. */
static bool read_head(struct connection *c) {
    struct front *front = c->front;
    struct evbuffer *in = input(c);
    size_t size = evbuffer_get_length(in), head_size;
    if (!size) return false;
    if (!c->head_began) {
        c->head_began = true;
        set_timer(c, &front->timeouts.head);
    }
    /* the head is contiguous from here on */
    size_t wanted = size < front->limits.head_bytes + 4 ? size : front->limits.head_bytes + 4;
    const char *bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)wanted);
    if (!bytes) {
        retire(c);
        return false;
    }
    size_t skipped = 0; /* an empty line before the request line (RFC 9112 2.2) */
    if (wanted >= 2 && bytes[0] == '\r' && bytes[1] == '\n') skipped = 2;
    if (wanted == 1 && bytes[0] == '\r') return false;
    if (wanted == skipped) return false;
    int status = http_head_find(bytes + skipped, wanted - skipped, &front->limits, &head_size);
    const char *reason = status == 414   ? "the request line is too long"
                         : status == 431 ? "the head is too long"
                                         : "a line that does not end with CR LF";
    if (!status && !head_size) return false;
    struct http_request request = {0};
    if (!status) {
        status = http_request_read(bytes + skipped, head_size, &request, &reason);
        evbuffer_drain(in, skipped + head_size);
    }
    set_timer(c, NULL);
    if (status) {
        http_request_finish(&request);
        refuse(c, status, reason);
        return true;
    }
    c->minor = request.minor;
    c->head_request = request.head;
    c->keep_alive = request.keep_alive;
    c->chunked = request.chunked;
    c->chunks = (struct http_chunked){0};
    c->body_left = request.chunked ? 0 : (uint64_t)request.content_length;
    c->continue_owed = request.expects_continue;
    c->framing = HTTP_NO_BODY;
    c->state = c->chunked || c->body_left ? CONNECTION_BODY : CONNECTION_ANSWER;
    struct exchange_client client = {
        .ops = &http_client,
        .client = c,
        .address = c->address,
        .port = c->port,
        .server_address = c->server_address,
        .server_port = c->server_port,
        .protocol = "http",
    };
    bool started = exchange_start(front, &client, &request, &c->exchange);
    http_request_finish(&request); /* where it was not taken over */
    if (!started) refuse(c, 503, "out of memory");
    return true;
}

static void body_done(struct connection *c) {
    c->state = CONNECTION_ANSWER;
    bufferevent_set_timeouts(c->bev, NULL, &c->front->timeouts.write);
    exchange_body_end(c->exchange);
}

/* Hands the exchange a piece of the body; false where there is none, or no room for it. */
static bool read_body(struct connection *c) {
    if (!c->exchange || !exchange_wants_body(c->exchange)) return false;
    struct evbuffer *in = input(c);
    if (c->continue_owed) {
        c->continue_owed = false;
        if (!evbuffer_get_length(in)) {
            bufferevent_enable(c->bev, EV_WRITE);
            evbuffer_add_printf(output(c), "HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
    if (!evbuffer_get_length(in)) return false;
    struct evbuffer_iovec piece;
    evbuffer_peek(in, -1, NULL, &piece, 1);
    const char *data = piece.iov_base;
    size_t size = piece.iov_len, used = size;
    if (c->chunked) {
        ptrdiff_t n =
            http_chunked_read(&c->chunks, piece.iov_base, piece.iov_len, &data, &size);
        if (n < 0) {
            c->keep_alive = false;
            exchange_body_fail(c->exchange, 400, "a malformed chunk");
            return false;
        }
        used = (size_t)n;
    } else if (size > c->body_left) {
        size = used = (size_t)c->body_left;
    }
    if (size) exchange_body(c->exchange, data, size);
    evbuffer_drain(in, used);
    if (!c->chunked) c->body_left -= used;
    if (c->exchange && c->state == CONNECTION_BODY &&
        (c->chunked ? c->chunks.state == CHUNKED_DONE : !c->body_left))
        body_done(c);
    return true;
}

/* Does all that the bytes at hand allow. */
static void connection_pump(struct connection *c) {
    c->pumping = true;
    for (bool more = true; more;) {
        more = false;
        if (c->state == CONNECTION_HEAD && evbuffer_get_length(output(c)) < EXCHANGE_HIGH) {
            more = read_head(c);
            if (c->state == CONNECTION_BODY)
                bufferevent_set_timeouts(c->bev, &c->front->timeouts.body,
                                         &c->front->timeouts.write);
        } else if (c->state == CONNECTION_BODY) {
            more = read_body(c);
        }
    }
    c->pumping = false;
}

/* ---- events ------------------------------------------------------------------------------ */

static void on_read(struct bufferevent *bev, void *context) {
    (void)bev;
    struct connection *c = context;
    if (c->state == CONNECTION_LINGER || c->state == CONNECTION_FLUSH) {
        size_t size = evbuffer_get_length(input(c));
        c->lingered_bytes += size;
        evbuffer_drain(input(c), size);
        if (c->lingered_bytes > LINGER_MAX_BYTES) retire(c);
        return;
    }
    connection_pump(c);
}

static void on_write(struct bufferevent *bev, void *context) {
    (void)bev;
    struct connection *c = context;
    if (c->state == CONNECTION_FLUSH) {
        if (!evbuffer_get_length(output(c))) begin_linger(c);
    } else if (c->exchange) {
        exchange_client_drained(c->exchange);
    } else if (c->state == CONNECTION_HEAD) {
        connection_pump(c); /* pipelined requests that waited for room */
    }
}

static void on_event(struct bufferevent *bev, short events, void *context) {
    struct connection *c = context;
    if ((events & BEV_EVENT_TIMEOUT) && (events & BEV_EVENT_READING) &&
        c->state == CONNECTION_BODY) {
        bufferevent_enable(bev, EV_READ);
        /* where bytes are at hand it is not the client that is slow */
        if (c->exchange && (evbuffer_get_length(input(c)) || c->continue_owed)) return;
        c->keep_alive = false;
        if (c->exchange) exchange_body_fail(c->exchange, 408, "the body did not come in time");
        return;
    }
    /* A client that has shut its side still gets what it is owed already. */
    if ((events & BEV_EVENT_EOF) && !c->exchange && evbuffer_get_length(output(c)) &&
        (c->state == CONNECTION_FLUSH || c->state == CONNECTION_HEAD)) {
        bufferevent_disable(bev, EV_READ);
        if (c->state == CONNECTION_HEAD) begin_flush(c);
        return;
    }
    retire(c);
}

/* The head's, the idle's or the lingering's time is over. */
static void on_timer(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    struct connection *c = context;
    if (c->state == CONNECTION_HEAD && c->head_began)
        refuse(c, 408, "the head did not come in time");
    else
        retire(c);
}

static void name_address(const struct sockaddr_storage *from, char *address, size_t size,
                         char port[8]) {
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;
        inet_ntop(AF_INET, &in->sin_addr, address, (socklen_t)size);
        snprintf(port, 8, "%u", ntohs(in->sin_port));
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)from;
        inet_ntop(AF_INET6, &in->sin6_addr, address, (socklen_t)size);
        snprintf(port, 8, "%u", ntohs(in->sin6_port));
    } else {
        snprintf(address, size, "unix");
        snprintf(port, 8, "0");
    }
}

/* A client has mostly sent its request when its connection is accepted: a turn of the loop is
 * saved. */
static void read_now(struct connection *c) {
    char bytes[4096];
    ssize_t n = recv(bufferevent_getfd(c->bev), bytes, sizeof bytes, 0);
    if (n <= 0) return; /* an end or an error is there to be found by the loop, too */
    evbuffer_unfreeze(input(c), 0); /* it lets nobody but the connection add to it */
    int failed = evbuffer_add(input(c), bytes, (size_t)n);
    evbuffer_freeze(input(c), 0);
    if (failed)
        retire(c);
    else
        connection_pump(c);
}

void http_server_accept(struct front *front, evutil_socket_t fd, const struct sockaddr *peer,
                        socklen_t peer_size) {
    struct connection *c = calloc(1, sizeof *c);
    struct bufferevent *bev =
        c ? bufferevent_socket_new(front->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    struct event *timer = bev ? event_new(front->base, -1, 0, on_timer, c) : NULL;
    if (!timer) {
        if (bev)
            bufferevent_free(bev);
        else
            close(fd);
        free(c);
        return;
    }
    *c = (struct connection){.front = front,
                             .bev = bev,
                             .timer = timer,
                             .link = &front->connections,
                             .next = front->connections};
    if (c->next) c->next->link = &c->next;
    front->connections = c;
    front->connection_count++;
    front->connections_accepted++;

    struct sockaddr_storage from = {0}, own = {0};
    socklen_t own_size = sizeof own;
    memcpy(&from, peer, peer_size < sizeof from ? peer_size : sizeof from);
    if (from.ss_family == AF_UNIX || getsockname(fd, (struct sockaddr *)&own, &own_size) < 0)
        own.ss_family = AF_UNIX;
    name_address(&from, c->address, sizeof c->address, c->port);
    name_address(&own, c->server_address, sizeof c->server_address, c->server_port);
    if (from.ss_family != AF_UNIX) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    /* A head must fit as a whole before it can be read. */
    size_t high = front->limits.head_bytes + 4;
    bufferevent_setwatermark(bev, EV_READ, 0, high > EXCHANGE_HIGH ? high : EXCHANGE_HIGH);
    bufferevent_setwatermark(bev, EV_WRITE, EXCHANGE_HIGH / 2, 0);
    bufferevent_set_timeouts(bev, NULL, &front->timeouts.write);
    set_timer(c, &front->timeouts.head);
    bufferevent_enable(bev, EV_READ); /* as soon as there is something to write, that too */
    read_now(c);
}

void http_server_drain(struct front *front) {
    for (struct connection *c = front->connections, *next; c; c = next) {
        next = c->next;
        if (c->state == CONNECTION_HEAD && !evbuffer_get_length(input(c))) begin_flush(c);
    }
}
