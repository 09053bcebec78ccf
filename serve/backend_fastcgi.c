/*
 * A tenant that speaks FastCGI as an application: the front is the web server on the other end
 * of its connection. One request a connection (no FCGI_KEEP_CONN): the guest closes it and
 * accepts the next. What it sends is hostile: records are checked, unknown ones dropped.
 */
#include "serve/backend.h"
#include "serve/fastcgi.h"

#define REQUEST_ID 1u

struct fcgi_backend {
    struct evbuffer *out; /* what came as STDOUT and is not read yet */
    struct fcgi_header record;
    uint32_t left; /* of the record's content */
    uint32_t padding;
    bool over; /* END_REQUEST came */
};

static bool start(struct exchange *x) {
    static const uint8_t begin[8] = {0, FCGI_RESPONDER};
    struct fcgi_backend *b = calloc(1, sizeof *b);
    struct evbuffer *to = bufferevent_get_output(x->stream);
    auto_buffer struct buffer params = {0};
    x->backend_state = b;
    if (!b || !(b->out = evbuffer_new())) return false;
    exchange_make_env(x);
    const char *const *env = cgi_env_strings(&x->env);
    if (!env) return false;
    for (uint32_t i = 0; i < x->env.count; i++) {
        const char *equals = strchr(env[i], '=');
        fcgi_put_pair(&params, env[i], (size_t)(equals - env[i]), equals + 1,
                      strlen(equals + 1));
    }
    if (params.failed) return false;
    fcgi_put(to, FCGI_BEGIN_REQUEST, REQUEST_ID, begin, sizeof begin);
    fcgi_put(to, FCGI_PARAMS, REQUEST_ID, params.bytes, params.size);
    fcgi_put_header(to, FCGI_PARAMS, REQUEST_ID, 0);
    if (x->body_ended) fcgi_put_header(to, FCGI_STDIN, REQUEST_ID, 0);
    return true;
}

static void body(struct exchange *x, const void *bytes, size_t size) {
    fcgi_put(bufferevent_get_output(x->stream), FCGI_STDIN, REQUEST_ID, bytes, size);
}

static void body_end(struct exchange *x) {
    fcgi_put_header(bufferevent_get_output(x->stream), FCGI_STDIN, REQUEST_ID, 0);
}

/* Content of the record at hand; false where more bytes are needed. */
static bool read_content(struct exchange *x, struct fcgi_backend *b, struct evbuffer *in) {
    size_t size = evbuffer_get_length(in);
    if (b->record.type == FCGI_END_REQUEST) {
        if (size < b->left) return false;
        if (b->left < 8) {
            exchange_answer_malformed(x, "a short END_REQUEST");
            return false;
        }
        b->over = true;
    }
    if (b->left && !size) return false;
    size_t take = size < b->left ? size : b->left;
    if (b->record.type == FCGI_STDOUT) {
        evbuffer_remove_buffer(in, b->out, take);
    } else {
        if (b->record.type == FCGI_STDERR && take) {
            const char *text = (const char *)evbuffer_pullup(in, (ev_ssize_t)take);
            if (text) front_log_guest(x->front, x, text, take);
        }
        evbuffer_drain(in, take);
    }
    b->left -= (uint32_t)take;
    return true;
}

/* A step further in the stream; false where it cannot be. */
static bool read_record(struct exchange *x, struct fcgi_backend *b, struct evbuffer *in) {
    if (b->left) return read_content(x, b, in);
    if (b->padding) {
        size_t size = evbuffer_get_length(in);
        size_t take = size < b->padding ? size : b->padding;
        evbuffer_drain(in, take);
        b->padding -= (uint32_t)take;
        return take > 0;
    }
    uint8_t bytes[FCGI_HEADER_SIZE];
    if (evbuffer_get_length(in) < sizeof bytes) return false;
    evbuffer_remove(in, bytes, sizeof bytes);
    if (!fcgi_header_read(bytes, &b->record)) {
        exchange_answer_malformed(x, "no FastCGI record");
        return false;
    }
    b->left = b->record.content_bytes;
    b->padding = b->record.padding_bytes;
    if (b->record.type == FCGI_END_REQUEST && b->left < 8) {
        exchange_answer_malformed(x, "a short END_REQUEST");
        return false;
    }
    return true;
}

static void pump(struct exchange *x) {
    struct fcgi_backend *b = x->backend_state;
    struct evbuffer *in = bufferevent_get_input(x->stream);
    for (;;) {
        backend_read_answer(x, b->out);
        if (!x->client.ops || !exchange_room(x)) return;
        if (b->over) {
            if (x->answer_began)
                exchange_answer_end(x);
            else
                exchange_answer_malformed(x, "no head before END_REQUEST");
            return;
        }
        if (!read_record(x, b, in)) return;
    }
}

static void finish(struct exchange *x) {
    struct fcgi_backend *b = x->backend_state;
    if (b && b->out) evbuffer_free(b->out);
    free(b);
}

const struct backend_ops backend_fastcgi = {start, body, body_end, pump, finish};
