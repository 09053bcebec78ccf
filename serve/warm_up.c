/*
 * A warm-up request of app.yaml as the bytes that a tenant reads from its stream: the same way
 * that a client's request becomes them, over FastCGI or HTTP; for a CGI program, as its
 * variables.
 */
#include "serve/cgi.h"
#include "serve/fastcgi.h"
#include "serve/site_files.h"

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

/* The port that a client names in its Host field is the one that it came to. */
static const char *port_of(const char *host) {
    const char *colon = strrchr(host, ':');
    bool is_port = colon && colon[1] && strlen(colon + 1) <= 5 &&
                   strspn(colon + 1, "0123456789") == strlen(colon + 1);
    return is_port ? colon + 1 : "80";
}

/* The request as variables. */
static void make_env(const struct app *app, const struct http_request *request,
                     const struct app_target *target, struct cgi_env *env) {
    struct exchange_client client = {.address = "127.0.0.1",
                                     .port = "0",
                                     .server_address = "127.0.0.1",
                                     .server_port = port_of(request->host),
                                     .protocol = "http"};
    struct cgi_request cgi = {.request = request,
                              .client = &client,
                              .script_name = target ? target->script_name : "",
                              .path_info = target ? target->path_info : request->path,
                              .script_filename = target ? target->guest_path : NULL,
                              .document_root = target ? app->site.root : NULL};
    cgi_env_request(env, &cgi);
}

static void put_fastcgi(struct cgi_env *env, const struct app_request *r, struct evbuffer *out,
                        struct buffer *params) {
    static const uint8_t begin[8] = {0, FCGI_RESPONDER};
    const char *const *strings = cgi_env_strings(env);
    for (uint32_t i = 0; strings && i < env->count; i++) {
        const char *equals = strchr(strings[i], '=');
        fcgi_put_pair(params, strings[i], (size_t)(equals - strings[i]), equals + 1,
                      strlen(equals + 1));
    }
    if (!strings) params->failed = true;
    fcgi_put(out, FCGI_BEGIN_REQUEST, 1, begin, sizeof begin);
    fcgi_put(out, FCGI_PARAMS, 1, params->bytes, params->size);
    fcgi_put_header(out, FCGI_PARAMS, 1, 0);
    fcgi_put(out, FCGI_STDIN, 1, r->body, r->body_size);
    fcgi_put_header(out, FCGI_STDIN, 1, 0);
}

/* What answers it, where scripts lie by path. */
static enum status find_script(const struct serve_kit *kit, const struct http_request *request,
                               struct app_target *ret_target, struct error *err) {
    struct site_files *files = NULL;
    enum status status = site_files_open(kit, &files, err);
    if (status != ST_OK) return status;
    app_site_find(&kit->app->site, request->path, site_files_look, files, ret_target);
    site_files_close(files);
    if (ret_target->kind == APP_TARGET_SCRIPT) return ST_OK;
    return error_set(err, ST_INVALID, "instaboot.requests: no script answers %s",
                     request->path);
}

static enum status put_variables(const struct serve_kit *kit,
                                 const struct http_request *request,
                                 const struct app_request *r, struct buffer *b,
                                 struct buffer *ret_env, struct error *err) {
    const struct app *app = kit->app;
    static struct app_target target; /* large */
    bool has_site = app->site.root[0];
    enum status status = has_site ? find_script(kit, request, &target, err) : ST_OK;
    if (status != ST_OK) return status;
    struct cgi_env env = {0};
    make_env(app, request, has_site ? &target : NULL, &env);
    if (app->interface == APP_CGI) {
        buffer_put(ret_env, env.bytes.bytes, env.bytes.size);
        if (env.failed || env.bytes.failed) ret_env->failed = true;
        buffer_put(b, r->body, r->body_size);
    } else {
        struct evbuffer *out = evbuffer_new();
        auto_buffer struct buffer params = {0};
        if (out) put_fastcgi(&env, r, out, &params);
        size_t size = out ? evbuffer_get_length(out) : 0;
        const uint8_t *bytes = size ? evbuffer_pullup(out, -1) : NULL;
        if (bytes && !params.failed)
            buffer_put(b, bytes, size);
        else
            b->failed = true;
        if (out) evbuffer_free(out);
    }
    cgi_env_finish(&env);
    return buffer_status(ret_env, err);
}

enum status serve_warm_up(const struct serve_kit *kit, const struct app_request *r,
                          struct buffer *b, struct buffer *env, struct error *err) {
    auto_buffer struct buffer head = {0};
    put_head(kit->app, r, &head);
    enum status status = buffer_status(&head, err);
    if (status != ST_OK) return status;
    struct http_request request;
    const char *reason;
    if (http_request_read((const char *)head.bytes, head.size, &request, &reason) != 0) {
        status = error_set(err, ST_INVALID, "instaboot.requests: %s %s: %s", r->method, r->path,
                           reason);
    } else if (kit->app->interface != APP_HTTP) {
        status = put_variables(kit, &request, r, b, env, err);
    } else {
        buffer_put(b, head.bytes, head.size);
        buffer_put(b, r->body, r->body_size);
    }
    http_request_finish(&request);
    return status == ST_OK ? buffer_status(b, err) : status;
}
