/*
 * A request's head (RFC 9112 3, 5, 6.3) -> struct http_request. The bytes are linted first
 * (http_lint.c), then read by http-parser, then held to what a gateway must insist on: one
 * Host, one way of telling the body's length, no transfer coding but chunked.
 */
#include "serve/http.h"

#include <http_parser.h>
#include <strings.h>

/* Where http-parser's callbacks put things: pointers into the block. */
struct reading {
    struct http_request *request;
    char *target;
    size_t target_length;
    char *name, *value; /* of the field being read */
    size_t name_length, value_length;
    bool in_value;
};

void http_fields_add(struct http_fields *fields, const char *name, const char *value) {
    if (fields->failed || fields->count >= HTTP_MAX_FIELDS) {
        fields->failed = true;
        return;
    }
    if (fields->count == fields->capacity) {
        uint32_t capacity = fields->capacity ? fields->capacity * 2 : 16;
        struct http_field *more = realloc(fields->at, capacity * sizeof *more);
        if (!more) {
            fields->failed = true;
            return;
        }
        fields->at = more;
        fields->capacity = capacity;
    }
    fields->at[fields->count++] = (struct http_field){name, value};
}

void http_fields_remove(struct http_fields *fields, const char *name) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fields->count; i++)
        if (strcasecmp(fields->at[i].name, name) != 0) fields->at[kept++] = fields->at[i];
    fields->count = kept;
}

void http_fields_finish(struct http_fields *fields) {
    free(fields->at);
    *fields = (struct http_fields){0};
}

const char *http_field_get(const struct http_fields *fields, const char *name) {
    for (uint32_t i = 0; i < fields->count; i++)
        if (strcasecmp(fields->at[i].name, name) == 0) return fields->at[i].value;
    return NULL;
}

static bool list_has(const char *list, const char *token) {
    size_t wanted = strlen(token);
    for (const char *at = list; *at;) {
        at += strspn(at, " \t,");
        size_t length = strcspn(at, " \t,;");
        if (length == wanted && strncasecmp(at, token, length) == 0) return true;
        at += strcspn(at, ",");
    }
    return false;
}

bool http_field_has_token(const struct http_fields *fields, const char *name,
                          const char *token) {
    for (uint32_t i = 0; i < fields->count; i++)
        if (strcasecmp(fields->at[i].name, name) == 0 && list_has(fields->at[i].value, token))
            return true;
    return false;
}

bool http_field_is_hop(const struct http_fields *fields, const char *name) {
    static const char *const hop[] = {
        "connection", "keep-alive", "proxy-connection",   "transfer-encoding",  "te",
        "trailer",    "upgrade",    "proxy-authenticate", "proxy-authorization"};
    for (size_t i = 0; i < countof(hop); i++)
        if (strcasecmp(name, hop[i]) == 0) return true;
    return http_field_has_token(fields, "connection", name);
}

/* ---- the head's extent ------------------------------------------------------------------- */

int http_head_find(const char *bytes, size_t size, const struct http_limits *limits,
                   size_t *ret_size) {
    *ret_size = 0;
    const char *line = memchr(bytes, '\n', size);
    size_t line_bytes = line ? (size_t)(line - bytes) + 1 : size;
    if (line_bytes > limits->line_bytes) return 414;
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    size_t head_bytes = end ? (size_t)(end - bytes) + 4 : size;
    if (head_bytes > limits->head_bytes) return 431;
    /* A head that ends with bare LFs would be waited for until the timeout: refuse it now. */
    if (!end && line && (line == bytes || line[-1] != '\r' || memmem(bytes, size, "\n\n", 2)))
        return 400;
    if (end) *ret_size = head_bytes;
    return 0;
}

/* ---- the path ---------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool http_path_resolve(const char *path, size_t length, char *ret) {
    size_t n = 0;
    ret[n++] = '/'; /* one more than the path's own, so that the loop sees whole segments */
    for (size_t i = 0; i < length; i++) {
        char c = path[i];
        if (c == '%') {
            if (i + 2 >= length) return false;
            int high = hex_digit(path[i + 1]), low = hex_digit(path[i + 2]);
            if (high < 0 || low < 0 || (high == 0 && low == 0)) return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        ret[n++] = c;
    }
    ret[n] = '\0';
    /* Segments are copied over those already resolved (RFC 3986 5.2.4). */
    size_t to = 0;
    for (size_t from = 1; from < n;) {
        size_t end = from + 1; /* ret[from] is '/' */
        while (end < n && ret[end] != '/') end++;
        size_t size = end - from;
        bool last = end == n;
        if (size == 2 && ret[from + 1] == '.') {
            if (last) ret[to++] = '/';
        } else if (size == 3 && ret[from + 1] == '.' && ret[from + 2] == '.') {
            if (!to) return false;
            while (ret[--to] != '/');
            if (last) ret[to++] = '/';
        } else {
            memmove(ret + to, ret + from, size);
            to += size;
        }
        from = end;
    }
    if (!to) ret[to++] = '/';
    ret[to] = '\0';
    return true;
}

/* Splits the target; the pieces are copied behind it in the block. */
static const char *read_target(struct http_request *r, char *spare) {
    const char *target = r->target;
    if (strcmp(target, "*") == 0) {
        r->path = r->raw_path = target;
        r->raw_path_length = 1;
        return strcmp(r->method, "OPTIONS") == 0 ? NULL : "'*' is for OPTIONS only";
    }
    if (target[0] != '/') {
        size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                        : strncasecmp(target, "https://", 8) == 0 ? 8
                                                                  : 0;
        if (!scheme) return "a malformed request target";
        size_t length = strcspn(target + scheme, "/?");
        if (!length || target[scheme + length] == '?') return "a malformed request target";
        /* RFC 9112 3.2.2: the target's authority takes the place of Host. */
        memcpy(spare, target + scheme, length);
        spare[length] = '\0';
        r->host = spare;
        spare += length + 1;
        target += scheme + length;
    }
    if (strchr(target, '#')) return "a fragment in the request target";
    const char *question = strchr(target, '?');
    r->raw_path = *target ? target : "/";
    r->raw_path_length = question ? (size_t)(question - target) : strlen(r->raw_path);
    if (question) r->query = question + 1;
    if (!http_path_resolve(r->raw_path, r->raw_path_length, spare))
        return "the path is malformed or leads above the root";
    r->path = spare;
    return NULL;
}

/* ---- http-parser's callbacks ------------------------------------------------------------- */

/* The bytes lie in the request's own block, which we may write to. */
static char *writable(const struct reading *reading, const char *at) {
    return reading->request->block + (at - reading->request->block);
}

static void finish_field(struct reading *reading) {
    if (!reading->in_value) return;
    reading->in_value = false;
    reading->name[reading->name_length] = '\0';
    char *value = reading->value;
    size_t length = reading->value_length;
    if (!length) { /* http-parser then points into the next line: nothing may be written there
                    */
        http_fields_add(&reading->request->fields, reading->name, "");
        return;
    }
    while (length && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
    value[length] = '\0';
    http_fields_add(&reading->request->fields, reading->name, value);
}

static int on_url(http_parser *parser, const char *at, size_t length) {
    struct reading *reading = parser->data;
    reading->target = writable(reading, at);
    reading->target_length = length;
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t length) {
    struct reading *reading = parser->data;
    finish_field(reading);
    reading->name = writable(reading, at);
    reading->name_length = length;
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t length) {
    struct reading *reading = parser->data;
    reading->value = writable(reading, at);
    reading->value_length = length;
    reading->in_value = true;
    return 0;
}

static int on_headers_complete(http_parser *parser) {
    finish_field(parser->data);
    http_parser_pause(parser, 1); /* the body is read by whoever streams it */
    return 0;
}

/* ---- what a gateway insists on ----------------------------------------------------------- */

static bool host_valid(const char *host) {
    for (const char *c = host; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("/?#@\\\"<>{}|^`,", *c)) return false;
    return true;
}

/* RFC 9112 6.1 and 6.3. Returns 0 or the status to refuse it with. */
static int read_framing(struct http_request *r, const char **ret_reason) {
    uint32_t lengths = 0, codings = 0, hosts = 0;
    for (uint32_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.at[i];
        if (strcasecmp(f->name, "content-length") == 0) {
            lengths++;
            r->content_length = http_length(f->value);
        } else if (strcasecmp(f->name, "transfer-encoding") == 0) {
            codings++;
            r->chunked = strcasecmp(f->value, "chunked") == 0;
        } else if (strcasecmp(f->name, "host") == 0) {
            hosts++;
            if (!*r->host) r->host = f->value;
        }
    }
    *ret_reason = "more than one Content-Length, or one with Transfer-Encoding";
    if (lengths > 1 || (lengths && codings)) return 400;
    *ret_reason = "a malformed Content-Length";
    if (lengths && r->content_length < 0) return 400;
    *ret_reason = "Transfer-Encoding in HTTP/1.0, or more than one";
    if (codings > 1 || (codings && r->minor == 0)) return 400;
    *ret_reason = "a transfer coding other than chunked";
    if (codings && !r->chunked) return 501;
    if (r->chunked) r->content_length = -1;
    *ret_reason = "no Host, or more than one";
    if (hosts > 1 || (hosts == 0 && r->minor > 0)) return 400;
    *ret_reason = "a malformed Host";
    return host_valid(r->host) ? 0 : 400;
}

int http_request_read(const char *bytes, size_t size, struct http_request *r,
                      const char **ret_reason) {
    *r = (struct http_request){.host = ""};
    while (size >= 2 && bytes[0] == '\r' && bytes[1] == '\n') { /* RFC 9112 2.2 */
        bytes += 2;
        size -= 2;
    }
    *ret_reason = http_lint_head(bytes, size);
    if (*ret_reason) return 400;
    *ret_reason = "out of memory";
    /* The head, then room for what of the target is copied: its host and its path. */
    r->block = malloc(2 * size + 16);
    if (!r->block) return 503;
    memcpy(r->block, bytes, size);

    struct reading reading = {.request = r};
    static const http_parser_settings settings = {.on_url = on_url,
                                                  .on_header_field = on_field,
                                                  .on_header_value = on_value,
                                                  .on_headers_complete = on_headers_complete};
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &reading;
    http_parser_execute(&parser, &settings, r->block, size);
    enum http_errno code = HTTP_PARSER_ERRNO(&parser);
    if (code != HPE_PAUSED) {
        *ret_reason = http_errno_description(code);
        if (code == HPE_INVALID_METHOD) return 501;
        if (code == HPE_INVALID_VERSION) return 505;
        return code == HPE_HEADER_OVERFLOW ? 431 : 400;
    }
    *ret_reason = "too many fields";
    if (r->fields.failed) return 431;
    *ret_reason = "not HTTP/1.0 or HTTP/1.1";
    if (parser.http_major != 1 || parser.http_minor > 1) return 505;
    *ret_reason = "CONNECT is not for a gateway";
    if (parser.method == HTTP_CONNECT || !reading.target) return 405;
    r->minor = parser.http_minor;
    r->method = http_method_str((enum http_method)parser.method);
    r->head = parser.method == HTTP_HEAD;
    reading.target[reading.target_length] = '\0';
    r->target = reading.target;
    *ret_reason = read_target(r, r->block + size);
    if (*ret_reason) return 400;
    int refused = read_framing(r, ret_reason);
    if (refused) return refused;
    bool close = http_field_has_token(&r->fields, "connection", "close");
    bool keep = http_field_has_token(&r->fields, "connection", "keep-alive");
    r->keep_alive = !close && (r->minor > 0 || keep);
    const char *expect = http_field_get(&r->fields, "expect");
    *ret_reason = "an expectation other than 100-continue";
    if (expect && strcasecmp(expect, "100-continue") != 0) return 417;
    r->expects_continue = expect && r->minor > 0 && r->content_length != 0;
    *ret_reason = NULL;
    return 0;
}

void http_request_finish(struct http_request *request) {
    free(request->block);
    http_fields_finish(&request->fields);
    *request = (struct http_request){0};
}
