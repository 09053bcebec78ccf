/*
 * A warm-up request of app.yaml as the bytes that a tenant reads from its stream: the same way
 * that a client's request becomes them, over FastCGI or HTTP.
 */
#include "serve/cgi.h"
#include "serve/fastcgi.h"
#include "serve/serve.h"

#include <event2/buffer.h>
#include <strings.h>

static bool has_header(const struct app_request *r, const char *name) {
    for (uint32_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) return true;
    return false;
}

static void put_head(const struct app *app, const struct app_request *r, struct buffer *b) {
    const char *host = app->routes[0].host;
    if (!host[0] || host[0] == '*') host = "localhost";
    buffer_printf(b, "%s %s HTTP/1.1\r\n", r->method, r->path);
    if (!has_header(r, "host")) buffer_printf(b, "Host: %s\r\n", host);
    for (uint32_t i = 0; i < r->header_count; i++)
        buffer_printf(b, "%s: %s\r\n", r->headers[i].name, r->headers[i].value);
    buffer_printf(b, "%s: 1\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                  APP_WARMUP_HEADER, r->body_size);
}

static void put_fastcgi(const struct http_request *request, const struct app_request *r,
                        struct evbuffer *out, struct buffer *params) {
    static const uint8_t begin[8] = {0, FCGI_RESPONDER};
    struct exchange_client client = {.address = "127.0.0.1",
                                     .port = "0",
                                     .server_address = "127.0.0.1",
                                     .server_port = "80",
                                     .protocol = "http"};
    struct cgi_request cgi = {
        .request = request, .client = &client, .script_name = "", .path_info = request->path};
    struct cgi_env env = {0};
    cgi_env_request(&env, &cgi);
    const char *const *strings = cgi_env_strings(&env);
    for (uint32_t i = 0; strings && i < env.count; i++) {
        const char *equals = strchr(strings[i], '=');
        fcgi_put_pair(params, strings[i], (size_t)(equals - strings[i]), equals + 1,
                      strlen(equals + 1));
    }
    if (!strings) params->failed = true;
    cgi_env_finish(&env);
    fcgi_put(out, FCGI_BEGIN_REQUEST, 1, begin, sizeof begin);
    fcgi_put(out, FCGI_PARAMS, 1, params->bytes, params->size);
    fcgi_put_header(out, FCGI_PARAMS, 1, 0);
    fcgi_put(out, FCGI_STDIN, 1, r->body, r->body_size);
    fcgi_put_header(out, FCGI_STDIN, 1, 0);
}

enum status serve_warm_up(const struct app *app, const struct app_request *r, struct buffer *b,
                          struct error *err) {
    auto_buffer struct buffer head = {0};
    put_head(app, r, &head);
    enum status status = buffer_status(&head, err);
    if (status != ST_OK) return status;
    struct http_request request;
    const char *reason;
    if (http_request_read((const char *)head.bytes, head.size, &request, &reason) != 0) {
        http_request_finish(&request);
        return error_set(err, ST_INVALID, "instaboot.requests: %s %s: %s", r->method, r->path,
                         reason);
    }
    if (app->interface == APP_FASTCGI) {
        struct evbuffer *out = evbuffer_new();
        auto_buffer struct buffer params = {0};
        if (out) put_fastcgi(&request, r, out, &params);
        size_t size = out ? evbuffer_get_length(out) : 0;
        const uint8_t *bytes = size ? evbuffer_pullup(out, -1) : NULL;
        if (bytes && !params.failed)
            buffer_put(b, bytes, size);
        else
            b->failed = true;
        if (out) evbuffer_free(out);
    } else {
        buffer_put(b, head.bytes, head.size);
        buffer_put(b, r->body, r->body_size);
    }
    http_request_finish(&request);
    return buffer_status(b, err);
}
