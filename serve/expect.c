/*
 * The answer to a warm-up request -> whether it is one that app.yaml expects: a snapshot of an
 * app that answers errors would start every instance with them. The bytes are what the program
 * wrote to its stream: FastCGI records, HTTP/1.1, or a CGI answer.
 */
#include "serve/cgi.h"
#include "serve/fastcgi.h"
#include "serve/http_chunked.h"
#include "serve/serve.h"

#include <regex.h>

/* What the program wrote to its standard output. */
static bool take_records(const uint8_t *bytes, size_t size, struct buffer *out) {
    struct fcgi_header header;
    for (size_t at = 0; size - at >= FCGI_HEADER_SIZE;) {
        if (!fcgi_header_read(bytes + at, &header)) return false;
        at += FCGI_HEADER_SIZE;
        size_t whole = (size_t)header.content_bytes + header.padding_bytes;
        if (header.type == FCGI_END_REQUEST) return true;
        if (whole > size - at) return false;
        if (header.type == FCGI_STDOUT) buffer_put(out, bytes + at, header.content_bytes);
        at += whole;
    }
    return false;
}

/* The body in its place, without the coding. */
static size_t take_chunks(char *body, size_t size) {
    struct http_chunked chunked = {0};
    size_t kept = 0;
    for (size_t at = 0; at < size && chunked.state != CHUNKED_DONE;) {
        const char *data = NULL;
        size_t data_size = 0;
        ptrdiff_t used = http_chunked_read(&chunked, body + at, size - at, &data, &data_size);
        if (used <= 0) break;
        memmove(body + kept, data ? data : body, data_size);
        kept += data_size;
        at += (size_t)used;
    }
    return kept;
}

static bool is_expected(const struct app_expect *expect, int status) {
    for (uint32_t i = 0; i < expect->count; i++)
        if (expect->statuses[i] == status) return true;
    return expect->count == 0 && status >= 200 && status <= 399;
}

static bool includes(const char *body, size_t size, const char *text) {
    return memmem(body, size, text, strlen(text)) != NULL;
}

/* POSIX's extended expressions, over all of the body. */
static bool matches(const char *body, size_t size, const char *pattern) {
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED) != 0) return false;
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)size};
    bool found = regexec(&regex, body, 1, &range, REG_STARTEND) == 0;
    regfree(&regex);
    return found;
}

enum status serve_expect(const struct app *app, const struct app_request *r,
                         const uint8_t *bytes, size_t size, struct error *err) {
    auto_buffer struct buffer answer = {0};
    struct answer_head head;
    bool fastcgi = app->interface == APP_FASTCGI;
    if (fastcgi && !take_records(bytes, size, &answer))
        return error_set(err, ST_INVALID, "%s: no complete FastCGI answer", r->path);
    if (!fastcgi) buffer_put(&answer, bytes, size);
    size_t whole = answer.size;
    buffer_put_u8(&answer, 0);
    enum status status = buffer_status(&answer, err);
    if (status != ST_OK) return status;
    char *text = (char *)answer.bytes;
    size_t head_size = answer_head_find(text, whole);
    const char *wrong =
        head_size ? answer_head_read(text, head_size, app->interface == APP_HTTP, &head)
                  : "no head of an answer";
    if (wrong) return error_set(err, ST_INVALID, "%s: %s", r->path, wrong);
    char *body = text + head_size;
    size_t body_size = whole - head_size;
    if (head.chunked) body_size = take_chunks(body, body_size);
    if (!is_expected(&r->expect, head.response.status))
        return error_set(err, ST_INVALID, "%s: it answered %d, which is not expected", r->path,
                         head.response.status);
    if (r->expect.body_includes[0] && !includes(body, body_size, r->expect.body_includes))
        return error_set(err, ST_INVALID, "%s: the answer does not include '%.60s'", r->path,
                         r->expect.body_includes);
    if (r->expect.body_regex[0] && !matches(body, body_size, r->expect.body_regex))
        return error_set(err, ST_INVALID, "%s: the answer does not match '%.60s'", r->path,
                         r->expect.body_regex);
    return ST_OK;
}
