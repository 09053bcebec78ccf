/*
 * A request -> CGI variables; a script's head -> struct http_response. See cgi.h.
 */
#include "serve/cgi.h"

#include <ctype.h>
#include <strings.h>

/* ---- variables --------------------------------------------------------------------------- */

void cgi_env_add(struct cgi_env *env, const char *name, const char *value) {
    if (env->count == env->capacity) {
        uint32_t capacity = env->capacity ? env->capacity * 2 : 64;
        uint32_t *more = realloc(env->offsets, capacity * sizeof *more);
        if (!more) {
            env->failed = true;
            return;
        }
        env->offsets = more;
        env->capacity = capacity;
    }
    env->offsets[env->count++] = (uint32_t)env->bytes.size;
    buffer_put(&env->bytes, name, strlen(name));
    buffer_put_u8(&env->bytes, '=');
    buffer_put(&env->bytes, value, strlen(value) + 1);
}

const char *const *cgi_env_strings(struct cgi_env *env) {
    if (env->failed || env->bytes.failed) return NULL;
    free(env->strings);
    env->strings = calloc((size_t)env->count + 1, sizeof *env->strings);
    if (!env->strings) return NULL;
    for (uint32_t i = 0; i < env->count; i++)
        env->strings[i] = (const char *)env->bytes.bytes + env->offsets[i];
    return env->strings;
}

void cgi_env_finish(struct cgi_env *env) {
    buffer_finish(&env->bytes);
    free(env->offsets);
    free(env->strings);
    *env = (struct cgi_env){0};
}

/* "User-Agent" -> "HTTP_USER_AGENT". false for names that are not passed on: those with an
 * underscore could pass for another with a hyphen, Proxy for a setting of the program. */
static bool variable_name(const char *field, char *ret, size_t size) {
    if (strchr(field, '_') || strcasecmp(field, "proxy") == 0 || strlen(field) + 6 > size)
        return false;
    size_t at = 0;
    for (const char *c = "HTTP_"; *c; c++) ret[at++] = *c;
    for (; *field; field++)
        ret[at++] = *field == '-' ? '_' : (char)toupper((unsigned char)*field);
    ret[at] = '\0';
    return true;
}

static bool seen_before(const struct http_fields *fields, uint32_t index) {
    for (uint32_t i = 0; i < index; i++)
        if (strcasecmp(fields->at[i].name, fields->at[index].name) == 0) return true;
    return false;
}

/* Fields of the same name become one variable (RFC 3875 4.1.18). */
static void add_fields(struct cgi_env *env, const struct http_fields *fields) {
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        char name[256];
        if (strcasecmp(f->name, "content-length") == 0 ||
            strcasecmp(f->name, "content-type") == 0 || strcasecmp(f->name, "expect") == 0 ||
            http_field_is_hop(fields, f->name) || !variable_name(f->name, name, sizeof name) ||
            seen_before(fields, i))
            continue;
        auto_buffer struct buffer joined = {0};
        const char *separator = strcasecmp(f->name, "cookie") == 0 ? "; " : ", ";
        bool more = false;
        for (uint32_t j = i; j < fields->count; j++) {
            if (j != i && strcasecmp(fields->at[j].name, f->name) != 0) continue;
            if (more) buffer_put(&joined, separator, 2);
            buffer_put(&joined, fields->at[j].value, strlen(fields->at[j].value));
            more = true;
        }
        buffer_put_u8(&joined, 0);
        if (joined.failed)
            env->failed = true;
        else
            cgi_env_add(env, name, (const char *)joined.bytes);
    }
}

void cgi_env_request(struct cgi_env *env, const struct cgi_request *r) {
    const struct http_request *request = r->request;
    const struct exchange_client *client = r->client;
    char text[32];
    cgi_env_add(env, "GATEWAY_INTERFACE", "CGI/1.1");
    cgi_env_add(env, "SERVER_SOFTWARE", "hutch/" HUTCH_VERSION);
    cgi_env_add(env, "SERVER_PROTOCOL", request->minor ? "HTTP/1.1" : "HTTP/1.0");
    cgi_env_add(env, "REQUEST_METHOD", request->method);
    cgi_env_add(env, "REQUEST_URI", request->target);
    cgi_env_add(env, "REQUEST_SCHEME", client->https ? "https" : "http");
    if (client->https) cgi_env_add(env, "HTTPS", "on");
    cgi_env_add(env, "SCRIPT_NAME", r->script_name);
    cgi_env_add(env, "PATH_INFO", r->path_info);
    cgi_env_add(env, "QUERY_STRING", request->query ? request->query : "");
    if (r->script_filename) cgi_env_add(env, "SCRIPT_FILENAME", r->script_filename);
    if (r->document_root) cgi_env_add(env, "DOCUMENT_ROOT", r->document_root);
    cgi_env_add(env, "REMOTE_ADDR", client->address);
    cgi_env_add(env, "REMOTE_PORT", client->port);

    /* The name that the client used, without the port. */
    char host[256];
    const char *colon = strrchr(request->host, ':');
    const char *bracket = strrchr(request->host, ']');
    size_t length = colon && (!bracket || colon > bracket) ? (size_t)(colon - request->host)
                                                           : strlen(request->host);
    snprintf(host, sizeof host, "%.*s", (int)(length < 255 ? length : 255), request->host);
    cgi_env_add(env, "SERVER_NAME", host[0] ? host : client->server_address);
    cgi_env_add(env, "SERVER_ADDR", client->server_address);
    cgi_env_add(env, "SERVER_PORT", client->server_port);

    const char *type = http_field_get(&request->fields, "content-type");
    if (type) cgi_env_add(env, "CONTENT_TYPE", type);
    if (request->content_length > 0 || http_field_get(&request->fields, "content-length")) {
        snprintf(text, sizeof text, "%lld", (long long)request->content_length);
        cgi_env_add(env, "CONTENT_LENGTH", text);
    }
    add_fields(env, &request->fields);
}

/* ---- answers ----------------------------------------------------------------------------- */

size_t answer_head_find(const char *bytes, size_t size) {
    for (const char *at = bytes, *end = bytes + size; at < end;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf) return 0;
        if (lf == at || (lf == at + 1 && *at == '\r')) return (size_t)(lf + 1 - bytes);
        at = lf + 1;
    }
    return 0;
}

static const char *read_status(const char *text, int *ret_status) {
    int status = 0;
    for (int i = 0; i < 3; i++) {
        if (text[i] < '0' || text[i] > '9') return "a malformed status";
        status = status * 10 + (text[i] - '0');
    }
    if ((text[3] && text[3] != ' ') || status < 100 || status > 599)
        return "a malformed status";
    *ret_status = status;
    return NULL;
}

/* One field of an answer. Framing is ours, and what concerns the connection is not passed on.
 */
static const char *take_field(struct answer_head *h, bool http, char *name, char *value) {
    struct http_response *r = &h->response;
    if (!http && strcasecmp(name, "status") == 0) return read_status(value, &r->status);
    if (strcasecmp(name, "content-length") == 0) {
        int64_t length = http_length(value);
        if (length < 0 || (r->content_length >= 0 && r->content_length != length))
            return "a malformed Content-Length, or two that differ";
        r->content_length = length;
        return NULL;
    }
    if (strcasecmp(name, "transfer-encoding") == 0) {
        if (!http) return NULL;
        if (strcasecmp(value, "chunked") != 0 || h->chunked)
            return "a transfer coding other than chunked";
        h->chunked = true;
        return NULL;
    }
    http_fields_add(&r->fields, name, value);
    return r->fields.failed ? "too many fields" : NULL;
}

/* Drops hop-by-hop fields, which Connection may name: once all are known. */
static void drop_hop(struct http_fields *fields) {
    struct http_fields all = *fields;
    uint32_t kept = 0;
    bool drop[HTTP_MAX_FIELDS];
    for (uint32_t i = 0; i < all.count; i++) drop[i] = http_field_is_hop(&all, all.at[i].name);
    for (uint32_t i = 0; i < all.count; i++)
        if (!drop[i]) fields->at[kept++] = fields->at[i];
    fields->count = kept;
}

const char *answer_head_read(char *bytes, size_t size, bool http, struct answer_head *h) {
    *h = (struct answer_head){.response = {.content_length = -1}};
    const char *wrong = NULL;
    bool first = true;
    for (char *at = bytes, *end = bytes + size; at < end && !wrong; first = false) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf) return "a line without an end";
        char *stop = lf > at && lf[-1] == '\r' ? lf - 1 : lf;
        size_t length = (size_t)(stop - at);
        *stop = '\0';
        if (!length) break;
        if (!http_is_value(at, length)) return "control bytes in the head";
        if (http && first) {
            if (strncmp(at, "HTTP/1.", 7) != 0 || (at[7] != '0' && at[7] != '1') ||
                at[8] != ' ')
                return "no HTTP/1.1 status line";
            h->minor0 = at[7] == '0';
            wrong = read_status(at + 9, &h->response.status);
        } else {
            char *colon = memchr(at, ':', length);
            if (!colon || !http_is_token(at, (size_t)(colon - at))) return "a malformed field";
            *colon = '\0';
            char *value = colon + 1;
            value += strspn(value, " \t");
            while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t')) *--stop = '\0';
            wrong = take_field(h, http, at, value);
        }
        at = lf + 1;
    }
    if (wrong) return wrong;
    struct http_response *r = &h->response;
    if (http && !r->status) return "no HTTP/1.1 status line";
    if (h->chunked && r->content_length >= 0) return "Content-Length with chunked";
    drop_hop(&r->fields);
    if (!http) {
        if (!r->fields.count && !r->status && r->content_length < 0) return "an empty head";
        /* RFC 3875 6.3.3, 6.2.3: a Location without a status is a redirection. */
        if (!r->status) r->status = http_field_get(&r->fields, "location") ? 302 : 200;
        if (r->status < 200) return "a status below 200";
    }
    return NULL;
}
