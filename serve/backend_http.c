/*
 * A tenant that speaks HTTP/1.1 on its stream: the request is written anew from what was read
 * of it (never the client's own bytes), the answer is read strictly. One request a connection.
 */
#include "serve/backend.h"
#include "serve/http_chunked.h"

#include <strings.h>

enum http_state {
    HTTP_STATE_HEAD,
    HTTP_STATE_CHUNKS,
    HTTP_STATE_LENGTH,
    HTTP_STATE_REST, /* until the stream ends */
    HTTP_STATE_OVER
};
struct http_backend {
    enum http_state state;
    struct http_chunked chunks;
    uint64_t left;
};

/* Fields that say where the client is; one that a client sent of its own is kept in front, as
 * proxies do, for X-Forwarded-For alone. */
static void put_forwarded(struct exchange *x, struct evbuffer *to) {
    const char *before = http_field_get(&x->request.fields, "x-forwarded-for");
    evbuffer_add_printf(to, "X-Forwarded-For: %s%s%s\r\n", before ? before : "",
                        before ? ", " : "", x->client.address);
    evbuffer_add_printf(to, "X-Forwarded-Proto: %s\r\n", x->client.https ? "https" : "http");
}

static bool start(struct exchange *x) {
    struct http_backend *b = calloc(1, sizeof *b);
    struct evbuffer *to = bufferevent_get_output(x->stream);
    const struct http_request *r = &x->request;
    x->backend_state = b;
    if (!b) return false;
    /* in origin form, whatever the client used (RFC 9112 3.2.1) */
    evbuffer_add_printf(to, "%s %.*s%s%s HTTP/1.1\r\nHost: %s\r\n", r->method,
                        (int)r->raw_path_length, r->raw_path, r->query ? "?" : "",
                        r->query ? r->query : "", r->host);
    for (uint32_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.at[i];
        if (strcasecmp(f->name, "host") == 0 || strcasecmp(f->name, "content-length") == 0 ||
            strcasecmp(f->name, "expect") == 0 || strcasecmp(f->name, "x-forwarded-for") == 0 ||
            strcasecmp(f->name, "x-forwarded-proto") == 0 ||
            http_field_is_hop(&r->fields, f->name))
            continue;
        evbuffer_add_printf(to, "%s: %s\r\n", f->name, f->value);
    }
    put_forwarded(x, to);
    if (r->content_length < 0)
        evbuffer_add_printf(to, "Transfer-Encoding: chunked\r\n");
    else if (r->content_length > 0 || http_field_get(&r->fields, "content-length"))
        evbuffer_add_printf(to, "Content-Length: %lld\r\n", (long long)r->content_length);
    return evbuffer_add_printf(to, "Connection: close\r\n\r\n") >= 0;
}

static void body(struct exchange *x, const void *bytes, size_t size) {
    struct evbuffer *to = bufferevent_get_output(x->stream);
    bool chunked = x->request.content_length < 0;
    if (chunked) evbuffer_add_printf(to, "%zx\r\n", size);
    evbuffer_add(to, bytes, size);
    if (chunked) evbuffer_add(to, "\r\n", 2);
}

static void body_end(struct exchange *x) {
    if (x->request.content_length < 0)
        evbuffer_add(bufferevent_get_output(x->stream), "0\r\n\r\n", 5);
}

/* Reads the head, or an interim one, which is dropped. false where bytes are missing. */
static bool read_head(struct exchange *x, struct http_backend *b, struct evbuffer *in) {
    size_t size = evbuffer_get_length(in);
    size_t look = size < ANSWER_HEAD_MAX ? size : ANSWER_HEAD_MAX;
    if (!size) return false;
    const char *bytes = (const char *)evbuffer_pullup(in, (ev_ssize_t)look);
    size_t head_size = bytes ? answer_head_find(bytes, look) : 0;
    if (!head_size) {
        if (!bytes || look == ANSWER_HEAD_MAX)
            exchange_answer_malformed(x, "its head has no end");
        return false;
    }
    auto_free char *copy = malloc(head_size);
    struct answer_head head = {0};
    if (copy) evbuffer_remove(in, copy, head_size);
    const char *wrong = copy ? answer_head_read(copy, head_size, true, &head) : "out of memory";
    if (!wrong && head.response.status == 101) wrong = "a change of protocols";
    if (wrong) {
        exchange_answer_malformed(x, wrong);
    } else if (head.response.status >= 200) {
        if (!http_has_body(x->request.head, head.response.status)) {
            b->state = HTTP_STATE_OVER;
        } else if (head.chunked) {
            b->state = HTTP_STATE_CHUNKS;
        } else if (head.response.content_length >= 0) {
            b->state = HTTP_STATE_LENGTH;
            b->left = (uint64_t)head.response.content_length;
        } else {
            b->state = HTTP_STATE_REST;
            x->ends_with_stream = true;
        }
        exchange_answer_head(x, &head.response);
    }
    http_fields_finish(&head.response.fields);
    return !wrong && x->client.ops;
}

static bool read_chunk(struct exchange *x, struct http_backend *b, struct evbuffer *in) {
    struct evbuffer_iovec piece;
    const char *data;
    size_t size;
    if (!evbuffer_get_length(in)) return false;
    evbuffer_peek(in, -1, NULL, &piece, 1);
    ptrdiff_t used = http_chunked_read(&b->chunks, piece.iov_base, piece.iov_len, &data, &size);
    if (used < 0) {
        exchange_answer_malformed(x, "a malformed chunk");
        return false;
    }
    evbuffer_drain(in, (size_t)used - size);
    if (size) exchange_answer_body(x, in, size);
    if (b->chunks.state == CHUNKED_DONE) b->state = HTTP_STATE_OVER;
    return true;
}

static bool read_plain(struct exchange *x, struct http_backend *b, struct evbuffer *in) {
    size_t size = evbuffer_get_length(in);
    if (b->state == HTTP_STATE_LENGTH) {
        if (!b->left) {
            b->state = HTTP_STATE_OVER;
            return true;
        }
        if (size > b->left) size = (size_t)b->left;
        b->left -= size;
    }
    if (!size) return false;
    exchange_answer_body(x, in, size);
    return true;
}

static void pump(struct exchange *x) {
    struct http_backend *b = x->backend_state;
    struct evbuffer *in = bufferevent_get_input(x->stream);
    bool more = true;
    while (more && exchange_room(x)) {
        switch (b->state) {
        case HTTP_STATE_HEAD: more = read_head(x, b, in); break;
        case HTTP_STATE_CHUNKS: more = read_chunk(x, b, in); break;
        case HTTP_STATE_LENGTH:
        case HTTP_STATE_REST: more = read_plain(x, b, in); break;
        case HTTP_STATE_OVER: exchange_answer_end(x); return;
        }
    }
}

static void finish(struct exchange *x) { free(x->backend_state); }

const struct backend_ops backend_http = {start, body, body_end, pump, finish};
