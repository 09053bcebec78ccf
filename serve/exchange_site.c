/*
 * Apps whose scripts lie by path (app.site): the path decides whether the program runs, and
 * with which script, or whether the front answers: a file, a redirection, 404.
 */
#include "serve/exchange_state.h"
#include "serve/site_files.h"

#include <time.h>

static void answer(struct exchange *x, struct http_response *response, struct evbuffer *body) {
    const struct client_ops *ops = x->client.ops;
    x->status = response->status;
    x->client.ops->head(x->client.client, response);
    size_t size = body ? evbuffer_get_length(body) : 0;
    if (size) {
        if (http_has_body(x->request.head, x->status)) x->sent_bytes = size;
        ops->body(x->client.client, body, size);
    }
    x->client.ops = NULL;
    x->outcome_known = true;
    ops->end(x->client.client);
    http_fields_finish(&response->fields);
    exchange_settle(x);
}

/* To the same path with a slash behind. */
static void redirect(struct exchange *x) {
    const struct http_request *r = &x->request;
    auto_buffer struct buffer to = {0};
    struct http_response response = {.status = 301, .content_length = 0};
    buffer_put(&to, r->raw_path, r->raw_path_length);
    buffer_put_u8(&to, '/');
    if (r->query) buffer_printf(&to, "?");
    if (r->query) buffer_put(&to, r->query, strlen(r->query));
    buffer_put_u8(&to, 0);
    if (to.failed || strncmp((const char *)to.bytes, "//", 2) == 0) {
        exchange_fail(x, 404, TROUBLE_NONE, "no such file"); /* it would lead elsewhere */
        return;
    }
    http_fields_add(&response.fields, "Location", (const char *)to.bytes);
    answer(x, &response, NULL);
}

static void send_file(struct exchange *x, const char *path) {
    struct site_files *files = x->site->files;
    struct site_file file;
    struct http_response response = {.status = 200};
    bool get = x->request.head || strcmp(x->request.method, "GET") == 0;
    char tag[64], modified[64];
    if (!site_files_read(files, path, &file, NULL)) {
        exchange_fail(x, 404, TROUBLE_NONE, "no such file");
        return;
    }
    if (!get) {
        exchange_fail(x, 405, TROUBLE_NONE, "a file can only be read");
        return;
    }
    struct tm tm;
    time_t mtime = (time_t)file.mtime_s;
    gmtime_r(&mtime, &tm);
    strftime(modified, sizeof modified, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(tag, sizeof tag, "\"%llx-%llx\"", (unsigned long long)file.mtime_s,
             (unsigned long long)file.size_bytes);
    http_fields_add(&response.fields, "Content-Type", file.type);
    http_fields_add(&response.fields, "Last-Modified", modified);
    http_fields_add(&response.fields, "ETag", tag);
    const char *match = http_field_get(&x->request.fields, "if-none-match");
    const char *since = http_field_get(&x->request.fields, "if-modified-since");
    bool same = match ? strstr(match, tag) != NULL : since && strcmp(since, modified) == 0;
    if (same) response.status = 304;
    response.content_length = same ? -1 : (int64_t)file.size_bytes;
    bool whole = same || x->request.head || site_files_read(files, path, &file, x->body);
    if (!whole) {
        http_fields_finish(&response.fields);
        exchange_fail(x, 500, TROUBLE_NONE, "the image is damaged");
        return;
    }
    answer(x, &response, same || x->request.head ? NULL : x->body);
}

bool exchange_site(struct exchange *x) {
    struct app_target *t = calloc(1, sizeof *t);
    const char *beneath = x->request.path + x->prefix_length;
    x->target = t;
    if (!t) {
        exchange_fail(x, 503, TROUBLE_START_FAILED, "out of memory");
        return false;
    }
    if (!*beneath) { /* the route itself, without its slash */
        redirect(x);
        return false;
    }
    app_site_find(&x->site->app->site, beneath, site_files_look, x->site->files, t);
    switch (t->kind) {
    case APP_TARGET_SCRIPT: return true;
    case APP_TARGET_FILE: send_file(x, t->guest_path); return false;
    case APP_TARGET_DIRECTORY: redirect(x); return false;
    case APP_TARGET_NONE: break;
    }
    exchange_fail(x, 404, TROUBLE_NONE, "no such file");
    return false;
}
