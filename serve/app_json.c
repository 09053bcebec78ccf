/*
 * struct app -> JSON with every default written out, in the order of the struct: what a bundle
 * holds and what `hutch app check --json` prints. app_parse reads it to the same struct app.
 */
#include "serve/app.h"

#include <inttypes.h>

/* JSON text (RFC 8259, 7). What is no UTF-8 cannot be said; libyaml lets none through. */
static void put_string(struct buffer *b, const char *text) {
    buffer_put_u8(b, '"');
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            buffer_printf(b, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            buffer_printf(b, "\\u%04x", *at);
        else
            buffer_put_u8(b, *at);
    }
    buffer_put_u8(b, '"');
}

/* A member; the first of its object stands behind '{'. */
static void put_key(struct buffer *b, const char *key) {
    if (b->size && b->bytes[b->size - 1] != '{') buffer_printf(b, ", ");
    put_string(b, key);
    buffer_printf(b, ": ");
}
static void put_text(struct buffer *b, const char *key, const char *value) {
    put_key(b, key);
    put_string(b, value);
}
/* A path that could be taken for something else: relative ones begin with "./". */
static void put_path(struct buffer *b, const char *key, const char *path) {
    put_key(b, key);
    auto_buffer struct buffer text = {0};
    buffer_printf(&text, "%s%s", path[0] == '/' ? "" : "./", path);
    buffer_put_u8(&text, 0);
    if (!text.failed) put_string(b, (const char *)text.bytes);
    b->failed |= text.failed;
}
static void put_number(struct buffer *b, const char *key, uint64_t value) {
    put_key(b, key);
    buffer_printf(b, "%" PRIu64, value);
}
static void put_ns(struct buffer *b, const char *key, uint64_t ns) {
    put_key(b, key);
    if (ns % 1000000000 == 0)
        buffer_printf(b, "\"%" PRIu64 "s\"", ns / 1000000000);
    else
        buffer_printf(b, "\"%" PRIu64 "ns\"", ns);
}
static void put_bool(struct buffer *b, const char *key, bool value) {
    put_key(b, key);
    buffer_printf(b, value ? "true" : "false");
}
static void put_strings(struct buffer *b, const char *key, const struct app_strings *list) {
    put_key(b, key);
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < list->count; i++) {
        if (i) buffer_printf(b, ", ");
        put_string(b, list->items[i]);
    }
    buffer_printf(b, "]");
}
static void next_item(struct buffer *b, uint32_t index) {
    buffer_printf(b, "%s\n    {", index ? "," : "");
}

static void put_program(struct buffer *b, const struct app *app) {
    put_text(b, "kind", "hutch.app/v1");
    put_text(b, "name", app->name);
    put_text(b, "description", app->description);
    if (app->module.kind == APP_MODULE_FILE)
        put_path(b, "module", app->module.text);
    else
        put_text(b, "module", app->module.text);
    put_text(b, "interface", app_interface_word(app->interface));
    put_text(b, "argv0", app->argv0);
    put_strings(b, "args", &app->args);
    put_key(b, "env");
    buffer_printf(b, "{");
    for (uint32_t i = 0; i < app->env_count; i++)
        put_text(b, app->env[i].name, app->env[i].value);
    buffer_printf(b, "}");
    put_key(b, "secrets");
    buffer_printf(b, "{");
    for (uint32_t i = 0; i < app->secret_count; i++)
        put_text(b, app->secrets[i].name, app->secrets[i].file);
    buffer_printf(b, "}");
}

static void put_files(struct buffer *b, const struct app *app) {
    static const char *const kinds[] = {
#define X(name, word) word,
        APP_VOLUME_KINDS(X)
#undef X
    };
    put_key(b, "mounts");
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < app->mount_count; i++) {
        next_item(b, i);
        if (app->mounts[i].kind == APP_MOUNT_PATH)
            put_path(b, "source", app->mounts[i].source);
        else
            put_text(b, "source", app->mounts[i].source);
        put_text(b, "path", app->mounts[i].path);
        buffer_printf(b, "}");
    }
    buffer_printf(b, "]");
    put_key(b, "volumes");
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < app->volume_count; i++) {
        next_item(b, i);
        put_text(b, "name", app->volumes[i].name);
        put_text(b, "path", app->volumes[i].path);
        put_text(b, "kind", kinds[app->volumes[i].kind]);
        put_number(b, "size", app->volumes[i].size_bytes);
        put_number(b, "files", app->volumes[i].files);
        buffer_printf(b, "}");
    }
    buffer_printf(b, "]");
    put_key(b, "routes");
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < app->route_count; i++) {
        next_item(b, i);
        put_text(b, "host", app->routes[i].host);
        put_text(b, "path", app->routes[i].path);
        buffer_printf(b, "}");
    }
    buffer_printf(b, "]");
    if (!app->site.root[0]) return;
    put_key(b, "site");
    buffer_printf(b, "{");
    put_text(b, "root", app->site.root);
    put_strings(b, "index", &app->site.index);
    put_strings(b, "scripts", &app->site.scripts);
    if (app->site.fallback[0]) put_text(b, "fallback", app->site.fallback);
    put_bool(b, "files", app->site.serve_files);
    buffer_printf(b, "}");
}

static void put_limits(struct buffer *b, const struct app_limits *l) {
    put_key(b, "limits");
    buffer_printf(b, "{");
    put_number(b, "memory", l->memory_bytes);
    put_number(b, "stack", l->stack_bytes);
    put_ns(b, "cpu", l->cpu_ns);
    put_ns(b, "wall", l->wall_ns);
    put_ns(b, "start", l->start_ns);
    put_number(b, "body", l->body_bytes);
    put_number(b, "response", l->response_bytes);
    put_number(b, "output", l->output_bytes);
    put_number(b, "instances", l->instances);
    put_number(b, "queue", l->queue);
    put_ns(b, "queue_time", l->queue_ns);
    put_number(b, "files", l->files);
    buffer_printf(b, "}");
}

static void put_request(struct buffer *b, const struct app_request *request) {
    put_text(b, "path", request->path);
    put_text(b, "method", request->method);
    put_key(b, "headers");
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < request->header_count; i++) {
        buffer_printf(b, "%s{", i ? ", " : "");
        put_text(b, "name", request->headers[i].name);
        put_text(b, "value", request->headers[i].value);
        buffer_printf(b, "}");
    }
    buffer_printf(b, "]");
    put_text(b, "body", request->body);
    put_ns(b, "timeout", request->timeout_ns);
    put_key(b, "expect");
    buffer_printf(b, "{");
    put_key(b, "status_codes");
    buffer_printf(b, "[");
    for (uint32_t i = 0; i < request->expect.count; i++)
        buffer_printf(b, "%s%u", i ? ", " : "", request->expect.statuses[i]);
    buffer_printf(b, "]");
    put_text(b, "body_includes", request->expect.body_includes);
    put_text(b, "body_regex", request->expect.body_regex);
    buffer_printf(b, "}");
}

static void put_instances(struct buffer *b, const struct app *app) {
    static const char *const shares[] = {
#define X(name, word) word,
        APP_SHARES(X)
#undef X
    };
    static const char *const survives[] = {
#define X(name, word) word,
        APP_SURVIVES(X)
#undef X
    };
    put_text(b, "reuse", app_reuse_word(app->reuse));
    put_number(b, "max_requests", app->reuse_requests);
    put_key(b, "instaboot");
    if (app->instaboot.enabled) {
        buffer_printf(b, "{");
        put_key(b, "requests");
        buffer_printf(b, "[");
        for (uint32_t i = 0; i < app->instaboot.request_count; i++) {
            next_item(b, i);
            put_request(b, &app->instaboot.requests[i]);
            buffer_printf(b, "}");
        }
        buffer_printf(b, "]");
        put_bool(b, "secrets_at_resume", app->instaboot.secrets_at_resume);
        put_ns(b, "max_age", app->instaboot.max_age_ns);
        buffer_printf(b, "}");
    } else {
        buffer_printf(b, "false");
    }
    if (app->reuse == APP_KEEP) {
        put_key(b, "hibernate");
        buffer_printf(b, "{");
        put_ns(b, "idle", app->hibernate.idle_ns);
        put_text(b, "survives", survives[app->hibernate.survives]);
        buffer_printf(b, "}");
    }
    put_text(b, "share", shares[app->share]);
    put_bool(b, "debug", app->debug);
}

enum status app_json(const struct app *app, struct buffer *b, struct error *err) {
    buffer_printf(b, "{");
    put_program(b, app);
    put_files(b, app);
    put_limits(b, &app->limits);
    put_instances(b, app);
    buffer_printf(b, "}\n");
    return buffer_status(b, err);
}
