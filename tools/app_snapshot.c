/*
 * The snapshot of an app, as it waits for its first request after the warm-up requests of
 * app.yaml; of a CGI program, at the end of its start-up, tried with the warm-up requests.
 */
#include "tools/app_kit.h"
#include "tools/snapshot_make.h"

#define STEP_TIMEOUT_MS UINT64_C(60000)

void app_kit_config(const struct serve_kit *kit, struct tenant_config *ret_config) {
    const struct app *app = kit->app;
    *ret_config = (struct tenant_config){
        .object_fd = kit->object_fd,
        .profile_fd = -1,
        .interface = app->interface == APP_CGI       ? TENANT_CGI
                     : app->interface == APP_FASTCGI ? TENANT_FASTCGI
                                                     : TENANT_HTTP,
        .max_memory_bytes = app->limits.memory_bytes,
        .max_stack_bytes = app->limits.stack_bytes,
        .max_files = app->limits.files,
        .name = app->name,
        .argc = kit->argc,
        .argv = kit->argv,
        .envc = kit->envc,
        .env = kit->env,
        .dir_count = kit->dir_count,
        .dirs = kit->dirs,
        .requests = {.socket = app->interface == APP_CGI       ? TENANT_NO_REQUESTS
                               : app->interface == APP_FASTCGI ? 0
                                                               : 3,
                     .listen_fd = -1,
                     .control_fd = -1,
                     .snapshot_fd = -1,
                     .environment_at_resume = app->instaboot.secrets_at_resume},
    };
}

enum status app_kit_blank_secrets(struct serve_kit *kit, struct tenant_config *config,
                                  struct error *err) {
    const struct app *app = kit->app;
    const char **env =
        arena_array(&kit->arena, (size_t)kit->envc + app->secret_count, sizeof *env);
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    config->env = env;
    config->envc = 0;
    for (uint32_t i = 0; i < kit->envc; i++) {
        size_t length = strcspn(kit->env[i], "=");
        bool secret = false;
        for (uint32_t j = 0; j < app->secret_count; j++)
            secret |= strlen(app->secrets[j].name) == length &&
                      strncmp(app->secrets[j].name, kit->env[i], length) == 0;
        if (!secret) env[config->envc++] = kit->env[i];
    }
    for (uint32_t i = 0; i < app->secret_count; i++) {
        size_t size = strlen(app->secrets[i].name) + 2;
        char *blank = arena_alloc(&kit->arena, size);
        if (!blank) return error_set(err, ST_NO_MEMORY, "out of memory");
        snprintf(blank, size, "%s=", app->secrets[i].name);
        env[config->envc++] = blank;
    }
    return ST_OK;
}

enum status app_requests_make(struct serve_kit *kit, struct app_requests *ret_requests,
                              struct error *err) {
    static const struct app_request plain = {.method = "GET", .path = "/", .body = ""};
    const struct app_instaboot *boot = &kit->app->instaboot;
    uint32_t count = boot->request_count ? boot->request_count : 1;
    struct buffer *bytes = arena_array(&kit->arena, (size_t)count * 2, sizeof *bytes);
    if (!bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    *ret_requests = (struct app_requests){.bytes = bytes, .env = bytes + count, .count = count};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < count && status == ST_OK; i++)
        status = serve_warm_up(kit, boot->request_count ? &boot->requests[i] : &plain,
                               &bytes[i], &bytes[count + i], err);
    return status;
}

void app_requests_finish(struct app_requests *requests) {
    for (uint32_t i = 0; i < requests->count; i++) {
        buffer_finish(&requests->bytes[i]);
        buffer_finish(&requests->env[i]);
    }
    *requests = (struct app_requests){0};
}

/* The strings in b, one after the other. */
static enum status take_env(struct arena *arena, const struct buffer *b,
                            struct snapshot_request *to, struct error *err) {
    uint32_t count = 0;
    for (size_t at = 0; at < b->size; at++) count += b->bytes[at] == 0;
    const char **env = arena_array(arena, (size_t)count + 1, sizeof *env);
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    const char *at = (const char *)b->bytes;
    for (uint32_t i = 0; i < count; i++, at += strlen(at) + 1) env[i] = at;
    to->env = env;
    to->envc = count;
    return ST_OK;
}

static enum status check_answer(void *context, uint32_t warm_up, const uint8_t *bytes,
                                size_t size, struct error *err) {
    const struct app *app = context;
    return serve_expect(app, &app->instaboot.requests[warm_up], bytes, size, err);
}

enum status app_snapshot_make(struct serve_kit *kit, const struct tenant_config *config,
                              const struct app_requests *requests, int *ret_fd,
                              struct error *err) {
    const struct app_instaboot *boot = &kit->app->instaboot;
    struct snapshot_request *list = arena_array(&kit->arena, requests->count, sizeof *list);
    if (!list) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < requests->count; i++) {
        list[i] = (struct snapshot_request){.bytes = requests->bytes[i].bytes,
                                            .size_bytes = requests->bytes[i].size};
        enum status status = take_env(&kit->arena, &requests->env[i], &list[i], err);
        if (status != ST_OK) return status;
    }
    struct snapshot_make wanted = {.config = config,
                                   .arena = &kit->arena,
                                   .warm_ups = list,
                                   .warm_up_count = boot->request_count,
                                   .trial = &list[requests->count - 1],
                                   .timeout_ms = STEP_TIMEOUT_MS,
                                   .check = boot->request_count ? check_answer : NULL,
                                   .context = kit->app};
    for (uint32_t i = 0; i < boot->request_count; i++)
        if (boot->requests[i].timeout_ns / 1000000 > wanted.timeout_ms)
            wanted.timeout_ms = boot->requests[i].timeout_ns / 1000000;
    return snapshot_make(&wanted, ret_fd, err);
}
