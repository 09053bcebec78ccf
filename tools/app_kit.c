/*
 * What app.yaml itself says of the program, into its kit: arguments, environment, volumes. The
 * same in `hutch serve` and where `hutch bundle` makes a snapshot, which is bound to all of it.
 */
#include "tools/app_kit.h"

#include <string.h>

static enum status out_of_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

enum status app_kit_begin(struct serve_kit *kit, struct error *err) {
    const struct app *app = kit->app;
    /* room for what a bundle may bring, too; its own limits are lower */
    const uint32_t most = 1024;
    kit->argv = arena_array(&kit->room, (size_t)app->args.count + most, sizeof *kit->argv);
    kit->env = arena_array(&kit->room, (size_t)app->env_count + app->secret_count + most,
                           sizeof *kit->env);
    kit->dirs = arena_array(&kit->room, (size_t)app->mount_count + app->volume_count + most,
                            sizeof *kit->dirs);
    if (!kit->argv || !kit->env || !kit->dirs) return out_of_memory(err);
    kit->argv[kit->argc++] = app->argv0;
    return ST_OK;
}

enum status app_kit_settle(struct serve_kit *kit, struct error *err) {
    const char **argv = arena_array(&kit->arena, (size_t)kit->argc + 1, sizeof *argv);
    const char **env = arena_array(&kit->arena, (size_t)kit->envc + 1, sizeof *env);
    struct tenant_dir *dirs =
        arena_array(&kit->arena, (size_t)kit->dir_count + 1, sizeof *dirs);
    if (!argv || !env || !dirs) return out_of_memory(err);
    memcpy(argv, kit->argv, kit->argc * sizeof *argv);
    memcpy(env, kit->env, kit->envc * sizeof *env);
    memcpy(dirs, kit->dirs, kit->dir_count * sizeof *dirs);
    kit->argv = argv;
    kit->env = env;
    kit->dirs = dirs;
    arena_finish(&kit->room);
    return ST_OK;
}

/* Private ones lie in a tenant's memory. Persistent ones are the node's, which gives their
 * descriptors; -1 for now. */
static void add_volume(struct serve_kit *kit, const struct app_volume *volume) {
    if (volume->kind == APP_PERSISTENT) {
        kit->dirs[kit->dir_count++] =
            (struct tenant_dir){.fd = -1, .guest = volume->path, .volume = true};
        return;
    }
    struct tenant_dir *dir = NULL; /* a mount that it lies over */
    for (uint32_t i = 0; i < kit->dir_count; i++)
        if (kit->dirs[i].image && strcmp(kit->dirs[i].guest, volume->path) == 0)
            dir = &kit->dirs[i];
    if (!dir) {
        dir = &kit->dirs[kit->dir_count++];
        *dir = (struct tenant_dir){.fd = -1, .guest = volume->path};
    }
    dir->read_only = false;
    dir->memory = true;
    dir->size_bytes = volume->size_bytes;
    dir->inodes = volume->files;
}

enum status app_kit_variable(struct serve_kit *kit, const char *name, const char *value,
                             struct error *err) {
    size_t length = strlen(name), size = length + strlen(value) + 2;
    char *pair = arena_alloc(&kit->arena, size);
    if (!pair) return out_of_memory(err);
    snprintf(pair, size, "%s=%s", name, value);
    uint32_t at = 0; /* of equal names the last one counts */
    while (at < kit->envc && strncmp(kit->env[at], pair, length + 1) != 0) at++;
    kit->env[at] = pair;
    if (at == kit->envc) kit->envc++;
    return ST_OK;
}

enum status app_kit_finish(struct serve_kit *kit, struct error *err) {
    const struct app *app = kit->app;
    enum status status = ST_OK;
    for (uint32_t i = 0; i < app->args.count; i++) kit->argv[kit->argc++] = app->args.items[i];
    for (uint32_t i = 0; i < app->volume_count; i++) add_volume(kit, &app->volumes[i]);
    if (status == ST_OK && app->interface == APP_HTTP)
        status = app_kit_variable(kit, "LISTEN_FDS", "1", err); /* descriptor 3 */
    for (uint32_t i = 0; i < app->env_count && status == ST_OK; i++)
        status = app_kit_variable(kit, app->env[i].name, app->env[i].value, err);
    return status;
}
