/*
 * A tenant whose stdin and stdout are the stream (RFC 3875): the body goes in, head and body of
 * the answer come out, the end of the stream is the answer's end. Reading such an answer is
 * shared with FastCGI, which wraps the same bytes in records.
 */
#include "serve/backend.h"

void exchange_make_env(struct exchange *x) {
    const struct app_target *t = x->target;
    auto_buffer struct buffer script = {0};
    buffer_put(&script, x->request.path, x->prefix_length);
    if (t) buffer_put(&script, t->script_name, strlen(t->script_name));
    buffer_put_u8(&script, 0);
    if (script.failed) {
        x->env.failed = true;
        return;
    }
    struct cgi_request request = {.request = &x->request,
                                  .client = &x->client,
                                  .script_name = (const char *)script.bytes,
                                  .path_info =
                                      t ? t->path_info : x->request.path + x->prefix_length,
                                  .script_filename = t ? t->guest_path : NULL,
                                  .document_root = t ? x->site->app->site.root : NULL};
    cgi_env_request(&x->env, &request);
}

void backend_read_answer(struct exchange *x, struct evbuffer *from) {
    size_t size = evbuffer_get_length(from);
    if (!x->answer_began && size) {
        size_t look = size < ANSWER_HEAD_MAX ? size : ANSWER_HEAD_MAX;
        const char *bytes = (const char *)evbuffer_pullup(from, (ev_ssize_t)look);
        size_t head_size = bytes ? answer_head_find(bytes, look) : 0;
        if (!head_size) {
            if (!bytes || look == ANSWER_HEAD_MAX)
                exchange_answer_malformed(x, "its head has no end");
            return;
        }
        auto_free char *copy = malloc(head_size);
        struct answer_head head = {0};
        if (copy) evbuffer_remove(from, copy, head_size);
        const char *wrong =
            copy ? answer_head_read(copy, head_size, false, &head) : "out of memory";
        if (wrong)
            exchange_answer_malformed(x, wrong);
        else
            exchange_answer_head(x, &head.response);
        http_fields_finish(&head.response.fields);
    }
    while (exchange_room(x) && x->answer_began && (size = evbuffer_get_length(from)) > 0)
        exchange_answer_body(x, from, size < EXCHANGE_HIGH ? size : EXCHANGE_HIGH);
}

static bool start(struct exchange *x) {
    exchange_make_env(x);
    if (!cgi_env_strings(&x->env)) return false;
    x->ends_with_stream = true;
    if (x->body_ended) exchange_shut_stream(x);
    return true;
}

static void body(struct exchange *x, const void *bytes, size_t size) {
    bufferevent_write(x->stream, bytes, size);
}

static void body_end(struct exchange *x) { exchange_shut_stream(x); }

static void pump(struct exchange *x) {
    backend_read_answer(x, bufferevent_get_input(x->stream));
}

static void finish(struct exchange *x) { (void)x; }

const struct backend_ops backend_cgi = {start, body, body_end, pump, finish};
