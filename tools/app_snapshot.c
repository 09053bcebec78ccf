/*
 * The snapshot of an app, as it waits for its first request after the warm-up requests of
 * app.yaml.
 */
#include "tools/app_kit.h"
#include "tools/snapshot_make.h"

#define STEP_TIMEOUT_MS UINT64_C(60000)

void app_kit_config(const struct serve_kit *kit, struct tenant_config *ret_config) {
    const struct app *app = kit->app;
    *ret_config = (struct tenant_config){
        .object_fd = kit->object_fd,
        .profile_fd = -1,
        .interface = app->interface == APP_FASTCGI ? TENANT_FASTCGI : TENANT_HTTP,
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
        .requests = {.socket = app->interface == APP_FASTCGI ? 0 : 3,
                     .listen_fd = -1,
                     .control_fd = -1,
                     .snapshot_fd = -1},
    };
}

enum status app_requests_make(struct serve_kit *kit, struct app_requests *ret_requests,
                              struct error *err) {
    static const struct app_request plain = {.method = "GET", .path = "/", .body = ""};
    const struct app_instaboot *boot = &kit->app->instaboot;
    uint32_t count = boot->request_count ? boot->request_count : 1;
    struct buffer *bytes = arena_array(&kit->arena, count, sizeof *bytes);
    if (!bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    *ret_requests = (struct app_requests){bytes, count};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < count && status == ST_OK; i++)
        status = serve_warm_up(kit->app, boot->request_count ? &boot->requests[i] : &plain,
                               &bytes[i], err);
    return status;
}

void app_requests_finish(struct app_requests *requests) {
    for (uint32_t i = 0; i < requests->count; i++) buffer_finish(&requests->bytes[i]);
    *requests = (struct app_requests){0};
}

enum status app_snapshot_make(struct serve_kit *kit, const struct tenant_config *config,
                              const struct app_requests *requests, int *ret_fd,
                              struct error *err) {
    const struct app_instaboot *boot = &kit->app->instaboot;
    struct snapshot_request *list = arena_array(&kit->arena, requests->count, sizeof *list);
    if (!list) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < requests->count; i++)
        list[i] = (struct snapshot_request){requests->bytes[i].bytes, requests->bytes[i].size};
    struct snapshot_make wanted = {.config = config,
                                   .arena = &kit->arena,
                                   .warm_ups = list,
                                   .warm_up_count = boot->request_count,
                                   .trial = &list[requests->count - 1],
                                   .timeout_ms = STEP_TIMEOUT_MS};
    for (uint32_t i = 0; i < boot->request_count; i++)
        if (boot->requests[i].timeout_ns / 1000000 > wanted.timeout_ms)
            wanted.timeout_ms = boot->requests[i].timeout_ns / 1000000;
    return snapshot_make(&wanted, ret_fd, err);
}
