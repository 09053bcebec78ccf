/*
 * An exchange: one request on its way from a client to a tenant, and the answer's way back.
 *
 *       client                     exchange                      backend
 *   http_server.c  --request-->                   --stream-->  backend_cgi.c
 *   fcgi_server.c  --body----->  app, limits,     <--------->  backend_fastcgi.c
 *                  <--answer---  outcome, bill                 backend_http.c
 *
 * The three parts see one another through the two tables below alone. Backpressure: a side that
 * holds more than EXCHANGE_HIGH bytes that are not written yet is given no more; it calls the
 * other's pump when it has room again. Nothing buffers a body.
 *
 * Lifetime: an exchange ends when its client has its answer (or is gone) and the pool has told
 * the outcome; it is freed on a later turn of the event loop, never within a call.
 */
#ifndef HUTCH_SERVE_EXCHANGE_H
#define HUTCH_SERVE_EXCHANGE_H

#include "serve/http.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#define EXCHANGE_HIGH ((size_t)64 << 10)

struct exchange;
struct front;
struct site; /* an app that is served: front.h */

/* What an exchange asks of its client's side. */
struct client_ops {
    /* The head of the answer; once. */
    void (*head)(void *client, const struct http_response *response);
    /* Moves size bytes of the body out of from. */
    void (*body)(void *client, struct evbuffer *from, size_t size);
    void (*end)(void *client); /* the answer is complete; the client forgets the exchange */
    /* The answer breaks off: the client must be able to tell. Forgets the exchange. */
    void (*abort)(void *client);
    size_t (*pending)(void *client); /* bytes that wait to be sent */
    void (*pump)(void *client);      /* there is room for more of the request's body */
};

/* What an exchange asks of the side that speaks to the tenant, on exchange->stream. */
struct backend_ops {
    bool (*start)(
        struct exchange *exchange); /* writes what comes before the body; false: OOM */
    void (*body)(struct exchange *exchange, const void *bytes, size_t size);
    void (*body_end)(struct exchange *exchange);
    void (*pump)(struct exchange *exchange);   /* reads as far as the client has room */
    void (*finish)(struct exchange *exchange); /* frees what start made; not started: nothing */
};
extern const struct backend_ops backend_cgi, backend_fastcgi, backend_http;

/* Where a request came from. */
struct exchange_client {
    const struct client_ops *ops;
    void *client;
    const char *address, *port; /* of the peer: "127.0.0.1", "unix" */
    const char *server_address, *server_port;
    bool https;           /* told by a server in front */
    const char *protocol; /* "http", "fastcgi": for the log */
};

/*
 * Routes the request and submits it; takes it over. *ret_exchange is set first: where the
 * request cannot be served it is answered before this returns. false where there was no memory
 * for anything (nothing was answered then).
 */
bool exchange_start(struct front *front, const struct exchange_client *client,
                    struct http_request *request, struct exchange **ret_exchange) must_check;
/* The client's side, while it has the exchange: */
bool exchange_wants_body(const struct exchange *exchange); /* there is room */
void exchange_body(struct exchange *exchange, const void *bytes, size_t size);
void exchange_body_end(struct exchange *exchange);
/* The body cannot be read to its end: malformed, too slow. status is what the client is told,
 * where nothing was yet. */
void exchange_body_fail(struct exchange *exchange, int status, const char *reason);
void exchange_client_gone(struct exchange *exchange);
void exchange_client_drained(struct exchange *exchange); /* it can take more of the answer */
uint64_t exchange_id(const struct exchange *exchange);

/* Writes what its output holds without waiting for the loop's next turn. Where the socket takes
 * all of it EV_WRITE is off, and no callback says so: to be enabled before more is put there.
 * What the socket does not take, and errors, are left to the loop. */
void stream_write_now(struct bufferevent *stream);

#endif
