/*
 * The inside of an exchange, for its own files and the backends.
 */
#ifndef HUTCH_SERVE_EXCHANGE_STATE_H
#define HUTCH_SERVE_EXCHANGE_STATE_H

#include "serve/cgi.h"
#include "serve/front.h"
#include "serve/pool.h"

struct exchange {
    struct exchange *next, **link;
    struct front *front;
    struct site *site;             /* NULL: no app has the request */
    struct exchange_client client; /* ops NULL: it has its answer, or is gone */
    char address[64];              /* of the client, which may be gone when it is logged */
    struct http_request request;
    uint64_t id, started_ns, began_unix_ns, took_ns;
    size_t prefix_length;      /* of the path that the route took */
    struct app_target *target; /* the script that answers; NULL: the app has no site */

    const struct backend_ops *backend;
    void *backend_state;
    struct bufferevent *stream;
    struct pool_request *pool; /* NULL before it is submitted and once the outcome is known */
    bool submitted, outcome_known;
    struct pool_outcome outcome; /* report is not in it */
    char *report;
    struct cgi_env env; /* cgi, fastcgi: until it is sent */

    bool body_ended, body_dropped; /* of the request */
    bool shut_when_written;
    bool stream_ended;     /* nothing will come from the tenant that is not in the buffer */
    bool ends_with_stream; /* the answer's body ends where the stream does */
    bool answer_began, head_sent, ended, pumping;
    int64_t answer_left;   /* of the answer's Content-Length; -1: none */
    struct evbuffer *body; /* a piece of the answer's body on its way */
    int status;
    uint64_t received_bytes, sent_bytes; /* of bodies */
    enum trouble trouble;
    char *reason;
};

/* ---- exchange.c ---- */
/* Ends the client's part with an error (or by breaking off), and the tenant's. */
void exchange_fail(struct exchange *x, int status, enum trouble trouble, const char *reason);
void exchange_settle(struct exchange *x);
void exchange_conclude(struct exchange *x);
void exchange_reap(struct front *front);
/* Shuts our side of the stream once what is queued is written. */
void exchange_shut_stream(struct exchange *x);

/* ---- exchange_site.c ---- */
/* Finds the script that answers; false where the request has been answered. */
bool exchange_site(struct exchange *x);

/* ---- exchange_answer.c: for the backends ---- */
/* Lets the backend read as far as the client has room. */
void exchange_pump(struct exchange *x);
bool exchange_room(const struct exchange *x);
/* The answer's head; interim ones (1xx) are not for here. */
void exchange_answer_head(struct exchange *x, const struct http_response *response);
/* Moves size bytes of the answer's body out of from. */
void exchange_answer_body(struct exchange *x, struct evbuffer *from, size_t size);
void exchange_answer_end(struct exchange *x);
/* What the tenant says is no answer. */
void exchange_answer_malformed(struct exchange *x, const char *reason);

/* ---- backend_cgi.c ---- */
/* Fills x->env. */
void exchange_make_env(struct exchange *x);

/* ---- usage_write.c ---- */
void usage_write(struct usage_writer *writer, const struct exchange *x);

/* ---- access_log.c ---- */
void front_log_exchange(struct front *front, const struct exchange *x);
void front_log_trouble(struct front *front, const struct exchange *x, const char *report);
void front_log_guest(struct front *front, const struct exchange *x, const char *text,
                     size_t size);

#endif
