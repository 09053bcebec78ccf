/*
 * FastCGI variables -> a request. They are written as an HTTP head and read by http_request.c,
 * so that what comes this way is held to the same rules.
 */
#include "serve/fastcgi.h"
#include "serve/fcgi_server.h"

#include <ctype.h>

struct variable {
    const char *name, *value;
    size_t name_size, value_size;
};

static bool is(const struct variable *v, const char *name) {
    return strlen(name) == v->name_size && memcmp(name, v->name, v->name_size) == 0;
}

/* Copies a value into text; its place, since text may move. */
static size_t keep(struct buffer *text, const struct variable *v) {
    size_t at = text->size;
    buffer_put(text, v->value, v->value_size);
    buffer_put_u8(text, 0);
    return at;
}

/* "HTTP_USER_AGENT" -> "user-agent: ..." */
static void put_field(struct buffer *head, const struct variable *v, size_t skip) {
    for (size_t i = skip; i < v->name_size; i++) {
        char c = v->name[i];
        buffer_put_u8(head, (uint8_t)(c == '_' ? '-' : tolower((unsigned char)c)));
    }
    buffer_put(head, ": ", 2);
    buffer_put(head, v->value, v->value_size);
    buffer_put(head, "\r\n", 2);
}

struct gathered {
    struct buffer fields;
    struct variable method, uri, script, path, query, server_name;
    bool host, https;
    size_t addr, port, server_addr, server_port; /* places in text; 0: none */
};

static const char *take(struct gathered *g, struct fcgi_params *p, const struct variable *v) {
    const struct {
        const char *name;
        struct variable *to;
    } kept[] = {{"REQUEST_METHOD", &g->method}, {"REQUEST_URI", &g->uri},
                {"SCRIPT_NAME", &g->script},    {"PATH_INFO", &g->path},
                {"QUERY_STRING", &g->query},    {"SERVER_NAME", &g->server_name}};
    const struct {
        const char *name;
        size_t *to;
    } places[] = {{"REMOTE_ADDR", &g->addr},
                  {"REMOTE_PORT", &g->port},
                  {"SERVER_ADDR", &g->server_addr},
                  {"SERVER_PORT", &g->server_port}};
    if (!http_is_value(v->value, v->value_size)) return "control bytes in a variable";
    for (size_t i = 0; i < countof(kept); i++)
        if (is(v, kept[i].name)) *kept[i].to = *v;
    for (size_t i = 0; i < countof(places); i++)
        if (is(v, places[i].name)) *places[i].to = keep(&p->text, v);
    if (is(v, "HTTPS")) p->https = v->value_size && memcmp(v->value, "off", 3) != 0;
    if (is(v, "CONTENT_TYPE") && v->value_size) put_field(&g->fields, v, 0);
    if (is(v, "CONTENT_LENGTH") && v->value_size) {
        p->has_length = true;
        put_field(&g->fields, v, 0);
    }
    if (v->name_size <= 5 || memcmp(v->name, "HTTP_", 5) != 0) return NULL;
    if (!http_is_token(v->name, v->name_size)) return "a malformed variable name";
    /* The web server has dealt with these; their variables are only news from there. */
    if (is(v, "HTTP_CONTENT_LENGTH") || is(v, "HTTP_TRANSFER_ENCODING") ||
        is(v, "HTTP_EXPECT") || is(v, "HTTP_CONNECTION") || is(v, "HTTP_CONTENT_TYPE"))
        return NULL;
    if (is(v, "HTTP_HOST")) {
        if (!v->value_size) return NULL;
        g->host = true;
    }
    put_field(&g->fields, v, 5);
    return NULL;
}

static void put_variable(struct buffer *b, const struct variable *v) {
    buffer_put(b, v->value, v->value_size);
}

static void put_head(struct buffer *head, const struct gathered *g) {
    put_variable(head, &g->method);
    buffer_put_u8(head, ' ');
    if (g->uri.value_size) {
        put_variable(head, &g->uri);
    } else {
        put_variable(head, &g->script);
        put_variable(head, &g->path);
        if (g->query.value_size) buffer_put_u8(head, '?');
        put_variable(head, &g->query);
    }
    buffer_printf(head, " HTTP/1.1\r\n");
    if (!g->host) {
        buffer_printf(head, "host: ");
        put_variable(head, &g->server_name);
        buffer_printf(head, "\r\n");
    }
    buffer_put(head, g->fields.bytes, g->fields.size);
    buffer_put(head, "\r\n", 2);
}

int fcgi_params_read(const uint8_t *bytes, size_t size, struct fcgi_params *p,
                     const char **ret_reason) {
    *p = (struct fcgi_params){0};
    struct gathered g = {0};
    auto_buffer struct buffer head = {0};
    struct reader r = reader_over(bytes, size);
    struct variable v;
    const char *wrong = NULL;
    buffer_put_u8(&p->text, 0); /* place 0: the empty string */
    while (!wrong && fcgi_read_pair(&r, &v.name, &v.name_size, &v.value, &v.value_size))
        wrong = take(&g, p, &v);
    if (r.failed) wrong = "malformed variables";
    if (!wrong) put_head(&head, &g);
    if (!wrong && (head.failed || p->text.failed || g.fields.failed)) wrong = "out of memory";
    buffer_finish(&g.fields);
    *ret_reason = wrong;
    if (wrong) return 400;
    int status =
        http_request_read((const char *)head.bytes, head.size, &p->request, ret_reason);
    const char *text = (const char *)p->text.bytes;
    p->remote_address = g.addr ? text + g.addr : "fastcgi";
    p->remote_port = text + g.port;
    p->server_address = text + g.server_addr;
    p->server_port = g.server_port ? text + g.server_port : p->https ? "443" : "80";
    return status;
}

void fcgi_params_finish(struct fcgi_params *p) {
    buffer_finish(&p->text);
    http_request_finish(&p->request);
}
