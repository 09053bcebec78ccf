/*
 * Snapshots for a bundle: one that `hutch snapshot create` has written, or made here, by
 * running the program as the node will: a snapshot fits only a program that is started with the
 * same object, arguments, environment, files and request socket.
 */
#include "loader/loader.h"
#include "tools/app_kit.h"
#include "tools/bundle_parts.h"
#include "tools/snapshot_make.h"
#include "tools/stored_app.h"

#include <unistd.h>

#define STEP_TIMEOUT_MS UINT64_C(60000)

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

/* The file that a layer's bytes are mapped from. */
static int layer_fd(const struct bundle_parts *p, const struct bundle_layer *layer) {
    for (uint32_t i = 0; i < p->map_count; i++)
        if (p->maps[i].bytes == layer->bytes) return p->maps[i].fd;
    return -1;
}

/* ---- adding ------------------------------------------------------------------------------ */

/* The layer of the object with this content digest, or NULL. */
static const struct bundle_layer *object_with(const struct bundle_parts *p,
                                              const struct digest *content) {
    for (uint32_t i = 0; i < p->statement.layer_count; i++) {
        const struct bundle_layer *layer = &p->statement.layers[i];
        auto_arena struct arena arena = {0};
        struct abi_object object;
        struct error ignored = {0};
        if (layer->kind == BUNDLE_OBJECT &&
            object_read(layer->bytes, layer->content_size, false, &arena, &object, &ignored) ==
                ST_OK &&
            digest_equal(&object.compat.content, content))
            return layer;
    }
    return NULL;
}

static enum status add(struct bundle_parts *p, int fd, const struct snapshot_facts *facts,
                       struct error *err) {
    const uint8_t *bytes;
    size_t size;
    const struct bundle_layer *of = object_with(p, &facts->object);
    if (!of)
        return error_set(err, ST_INCOMPATIBLE,
                         "the snapshot was made with another code object than those of the "
                         "bundle (--target, -O)");
    struct digest object = digest_of(of->bytes, of->content_size), module = of->target.module;
    enum status status = bundle_keep_map(p, fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    struct bundle_layer *layer = bundle_add_layer(p, err); /* moves the others */
    if (!layer) return ST_NO_MEMORY;
    layer->kind = BUNDLE_SNAPSHOT;
    layer->bytes = bytes;
    layer->content_size = size;
    layer->object = object;
    layer->target.module = module;
    snprintf(layer->target.abi, sizeof layer->target.abi, "%016llx",
             (unsigned long long)facts->abi_fingerprint);
    return ST_OK;
}

enum status bundle_add_snapshot(struct bundle_parts *p, int fd, struct error *err) {
    struct snapshot *snapshot = NULL;
    struct snapshot_facts facts;
    enum status status = snapshot_verify_digest(fd, err);
    if (status != ST_OK) return status;
    int copy = dup(fd);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
    if ((status = snapshot_open(copy, &snapshot, err)) != ST_OK) return status;
    snapshot_describe(snapshot, &facts);
    status = add(p, fd, &facts, err);
    snapshot_close(snapshot);
    return status;
}

/* ---- an app, as it is served ------------------------------------------------------------- */

static enum status add_mount(const struct bundle_parts *p, const struct app_mount *mount,
                             struct serve_kit *kit, struct error *err) {
    for (uint32_t i = 0; i < p->statement.layer_count; i++) {
        const struct bundle_layer *layer = &p->statement.layers[i];
        if (layer->kind != BUNDLE_IMAGE || strcmp(layer->name, mount->path) != 0) continue;
        kit->dirs[kit->dir_count++] = (struct tenant_dir){
            .fd = layer_fd(p, layer), .guest = mount->path, .read_only = true, .image = true};
        return ST_OK;
    }
    return error_set(err, ST_NOT_FOUND, "%s: no such image", mount->path);
}

static enum status make_of_app(const struct bundle_parts *p, struct serve_kit *kit, int *ret_fd,
                               struct error *err) {
    const struct app *app = kit->app;
    if (!app->instaboot.enabled)
        return error_set(err, ST_UNSUPPORTED,
                         "app.yaml says nothing of instaboot, so no node would use it");
    if (app->secret_count && !app->instaboot.secrets_at_resume)
        return error_set(err, ST_UNSUPPORTED,
                         "the app has secrets, which would be in its memory: its nodes make "
                         "their own");
    for (uint32_t i = 0; i < app->volume_count; i++)
        if (app->volumes[i].kind == APP_PERSISTENT)
            return error_set(err, ST_UNSUPPORTED,
                             "the app has a persistent volume, which is its node's: nodes make "
                             "their own");
    enum status status = app_kit_begin(kit, err);
    for (uint32_t i = 0; i < app->mount_count && status == ST_OK; i++)
        status = add_mount(p, &app->mounts[i], kit, err);
    if (status == ST_OK) status = app_kit_finish(kit, err);
    if (status != ST_OK) return status;
    struct tenant_config config;
    struct app_requests requests = {0};
    app_kit_config(kit, &config);
    status = app->secret_count ? app_kit_blank_secrets(kit, &config, err) : ST_OK;
    if (status == ST_OK) status = app_requests_make(kit, &requests, err);
    if (status == ST_OK) status = app_snapshot_make(kit, &config, &requests, ret_fd, err);
    app_requests_finish(&requests);
    return status;
}

/* ---- a module, as `hutch run NAME --listen` starts it -------------------------------------
 */

static void say(const char *text) {
    struct error err = {0};
    error_set(&err, ST_INVALID, "%s", text);
    cli_note("bundle", NULL, &err);
}

static enum status make_of_module(const struct bundle_parts *p, int object_fd,
                                  struct arena *arena, int *ret_fd, struct error *err) {
    static const char plain[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: hutch\r\n"
                                "X-Edge-Instaboot: 1\r\nConnection: close\r\n\r\n";
    const struct bundle_statement *s = &p->statement;
    const struct stored_app nothing = {0};
    char program[CACHE_NAME_MAX];
    stored_app_program(s->name, &nothing, program);
    const char **argv = arena_array(arena, (size_t)s->args.count + 1, sizeof *argv);
    struct tenant_dir *dirs = arena_array(arena, s->layer_count, sizeof *dirs);
    if (!argv || !dirs) return no_memory(err);
    argv[0] = program;
    for (uint32_t i = 0; i < s->args.count; i++) argv[i + 1] = s->args.words[i];
    struct tenant_config config = {
        .object_fd = object_fd,
        .profile_fd = -1,
        .max_stack_bytes = CLI_STACK_DEFAULT,
        .name = s->name,
        .argc = s->args.count + 1,
        .argv = argv,
        .envc = s->env.count,
        .env = (const char *const *)s->env.words,
        .dirs = dirs,
        .requests = {.socket = 3, .listen_fd = -1, .control_fd = -1, .snapshot_fd = -1},
    };
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (s->layers[i].kind == BUNDLE_IMAGE)
            dirs[config.dir_count++] = (struct tenant_dir){.fd = layer_fd(p, &s->layers[i]),
                                                           .guest = s->layers[i].name,
                                                           .read_only = true,
                                                           .image = true};
    const struct snapshot_request trial = {.bytes = (const uint8_t *)plain,
                                           .size_bytes = sizeof plain - 1};
    const struct snapshot_make wanted = {.config = &config,
                                         .arena = arena,
                                         .trial = &trial,
                                         .timeout_ms = STEP_TIMEOUT_MS,
                                         .note = say};
    return snapshot_make(&wanted, ret_fd, err);
}

/* ---- each object ------------------------------------------------------------------------- */

static enum status make_one(const struct bundle_parts *p, int object_fd, int *ret_fd,
                            struct error *err) {
    const char *text = p->statement.app;
    if (!text) {
        auto_arena struct arena arena = {0};
        return make_of_module(p, object_fd, &arena, ret_fd, err);
    }
    /* The description as a node reads it, so that nothing is another here. */
    struct serve_kit kit = {.object_fd = object_fd, .snapshot_fd = -1, .counters_fd = -1};
    enum status status = app_parse(text, strlen(text), "the app", "", &kit.app, err);
    if (status == ST_OK) status = make_of_app(p, &kit, ret_fd, err);
    app_free(kit.app);
    arena_reset(&kit.arena); /* the descriptors are the parts' */
    return status;
}

enum status bundle_make_snapshots(struct bundle_parts *p, struct error *err) {
    const uint32_t count = p->statement.layer_count;
    const struct bundle_layer *first = &p->statement.layers[0]; /* a module: they come first */
    struct digest module = digest_of(first->bytes, first->content_size);
    struct error unfit = {0};
    uint32_t made = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct bundle_layer layer = p->statement.layers[i]; /* they move */
        if (layer.kind != BUNDLE_OBJECT || !digest_equal(&layer.target.module, &module))
            continue;
        auto_arena struct arena arena = {0};
        struct abi_object object;
        if (object_read(layer.bytes, layer.content_size, true, &arena, &object, &unfit) !=
            ST_OK) {
            error_wrap(&unfit, "no snapshot for %s", layer.target.target);
            cli_note("bundle", NULL, &unfit);
            continue;
        }
        auto_fd int fd = -1;
        enum status status = make_one(p, layer_fd(p, &layer), &fd, err);
        if (status == ST_OK) status = bundle_add_snapshot(p, fd, err);
        if (status != ST_OK)
            return error_wrap(err, "--instaboot: snapshot for %s", layer.target.target);
        made++;
    }
    return made ? ST_OK
                : error_set(err, ST_UNSUPPORTED,
                            "--instaboot: there is no object that this machine can run");
}
