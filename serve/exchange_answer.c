/*
 * The answer's way: from a backend, through the limits, to the client. See exchange.h.
 */
#include "serve/exchange_state.h"

#include <errno.h>
#include <sys/socket.h>

bool exchange_room(const struct exchange *x) {
    return x->client.ops && x->client.ops->pending(x->client.client) < EXCHANGE_HIGH;
}

/* Once the outcome is known the tenant has written all it will: an empty socket is the end,
 * even where a hostile tenant keeps its descriptor open. */
static void look_for_end(struct exchange *x) {
    char byte;
    if (x->stream_ended || evbuffer_get_length(bufferevent_get_input(x->stream))) return;
    if (recv(bufferevent_getfd(x->stream), &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
        x->stream_ended = true;
}

void exchange_pump(struct exchange *x) {
    if (x->pumping || x->ended || !x->stream) return;
    x->pumping = true;
    if (x->client.ops)
        x->backend->pump(x);
    else
        evbuffer_drain(bufferevent_get_input(x->stream),
                       evbuffer_get_length(bufferevent_get_input(x->stream)));
    if (x->outcome_known) look_for_end(x);
    if (x->pool && x->answer_began) pool_answer_began(x->pool);
    x->pumping = false;
    if (!x->client.ops || (x->outcome_known && x->stream_ended && exchange_room(x)))
        exchange_conclude(x);
}

void exchange_answer_malformed(struct exchange *x, const char *reason) {
    char text[200];
    snprintf(text, sizeof text, "the app's answer: %s", reason);
    exchange_fail(x, 502, TROUBLE_MALFORMED, text);
}

void exchange_answer_head(struct exchange *x, const struct http_response *response) {
    x->answer_began = true;
    x->status = response->status;
    x->answer_left = -1;
    if (http_has_body(x->request.head, response->status))
        x->answer_left = response->content_length;
    if (x->answer_left > 0 && (uint64_t)x->answer_left > x->site->app->limits.response_bytes) {
        exchange_fail(x, 502, TROUBLE_RESPONSE, "the answer is over limits.response");
        return;
    }
    x->head_sent = true;
    x->client.ops->head(x->client.client, response);
    /* A client that has all of the answer may go: that must not look like giving up. */
    if (!http_has_body(x->request.head, response->status) || x->answer_left == 0)
        exchange_answer_end(x);
}

void exchange_answer_body(struct exchange *x, struct evbuffer *from, size_t size) {
    size_t excess = 0; /* over its own Content-Length: not sent */
    if (x->answer_left >= 0 && (uint64_t)x->answer_left < size)
        excess = size - (size_t)x->answer_left;
    size -= excess;
    if (x->sent_bytes + size > x->site->app->limits.response_bytes) {
        exchange_fail(x, 502, TROUBLE_RESPONSE, "the answer is over limits.response");
        return;
    }
    if (x->answer_left >= 0) x->answer_left -= (int64_t)size;
    if (size) {
        if (http_has_body(x->request.head, x->status)) x->sent_bytes += size;
        x->client.ops->body(x->client.client, from, size);
    }
    if (excess) evbuffer_drain(from, excess);
    if (x->answer_left == 0) exchange_answer_end(x);
}

void exchange_answer_end(struct exchange *x) {
    if (!x->client.ops) return;
    if (x->answer_left > 0) {
        exchange_answer_malformed(x, "shorter than its Content-Length");
        return;
    }
    const struct client_ops *ops = x->client.ops;
    x->client.ops = NULL;
    if (x->pool) pool_answer_ended(x->pool); /* or its next request finds no tenant */
    ops->end(x->client.client);              /* first of all: somebody waits for it */
    if (x->stream && !x->stream_ended) exchange_shut_stream(x);
    exchange_settle(x);
}
