/*
 * An app.yaml to a bundle: the module and every directory it names become layers, and the
 * description that travels says their digests instead. What a module of the store brings along
 * (CPython its library) comes too: images that the app does not mount itself, variables that it
 * does not set, arguments before its own.
 *
 * Secrets stay behind: the description keeps their names and files, relative to where the node
 * keeps the app's secrets.
 */
#include "serve/app.h"
#include "tools/bundle_parts.h"
#include "tools/stored_app.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool bundle_is_app(const char *path) {
    struct stat st;
    const char *dot = strrchr(path, '.');
    return (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0)) ||
           (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

struct packing {
    struct bundle_parts *parts;
    struct app *app;
    struct stored_app base; /* where the module is a name in the store */
};

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

/* "sha256:HEX", as long as the app lives. */
static const char *digest_text(struct app *app, const struct digest *digest) {
    char text[DIGEST_HEX_SIZE + 8] = "sha256:";
    digest_hex(digest, text + 7);
    return arena_string(&app->arena, text, strlen(text));
}

/* ---- the module -------------------------------------------------------------------------- */

static enum status read_stored(struct packing *p, struct buffer *wasm, struct error *err) {
    const char *name = p->app->module.text;
    if (!p->parts->cache) return error_set(err, ST_NOT_FOUND, "there is no cache");
    auto_fd int fd = -1;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = stored_app_open(p->parts->cache, name, &p->base, err);
    if (status == ST_OK) status = cache_get(p->parts->cache, &p->base.module, &fd, NULL, err);
    if (status == ST_OK) status = cli_map_file(fd, &bytes, &size, err);
    if (status != ST_OK) return error_wrap(err, "module %s", name);
    buffer_put(wasm, bytes, size);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return buffer_status(wasm, err);
}

static enum status add_module(struct packing *p, struct error *err) {
    struct app *app = p->app;
    auto_buffer struct buffer wasm = {0};
    enum status status = app->module.kind == APP_MODULE_NAME
                             ? read_stored(p, &wasm, err)
                             : module_file_read(app->module.text, &wasm, NULL, err);
    if (status != ST_OK) return status;
    struct digest digest = digest_of(wasm.bytes, wasm.size);
    const char *text = digest_text(app, &digest);
    if (!text) return no_memory(err);
    status =
        bundle_add_module(p->parts, p->parts->statement.name, &wasm, app->module.text, err);
    app->module = (struct app_module){APP_MODULE_NAME, text};
    return status;
}

/* ---- files ------------------------------------------------------------------------------- */

static enum status open_stored_image(struct packing *p, const char *source, int *ret_fd,
                                     struct error *err) {
    char name[CACHE_NAME_MAX];
    bool is_digest = false;
    struct digest digest;
    if (!p->parts->cache) return error_set(err, ST_NOT_FOUND, "there is no cache");
    enum status status = cache_name_parse(source, name, &is_digest, &digest, err);
    return status == ST_OK ? cache_get(p->parts->cache, &digest, ret_fd, NULL, err) : status;
}

static enum status add_mount(struct packing *p, struct app_mount *mount, struct error *err) {
    auto_fd int fd = -1;
    struct digest digest;
    enum status status = mount->kind == APP_MOUNT_DIGEST
                             ? open_stored_image(p, mount->source, &fd, err)
                             : bundle_image_open(mount->source, &fd, err);
    if (status == ST_OK) status = bundle_add_image(p->parts, mount->path, fd, &digest, err);
    if (status != ST_OK) return error_wrap(err, "mounts: %s", mount->source);
    mount->kind = APP_MOUNT_DIGEST;
    mount->source = digest_text(p->app, &digest);
    return mount->source ? ST_OK : no_memory(err);
}

static enum status add_mounts(struct packing *p, struct error *err) {
    struct app *app = p->app;
    const struct stored_app *base = &p->base;
    struct app_mount *mounts =
        arena_array(&app->arena, (size_t)app->mount_count + base->image_count, sizeof *mounts);
    if (!mounts) return no_memory(err);
    uint32_t count = app->mount_count;
    if (count) memcpy(mounts, app->mounts, count * sizeof *mounts);
    enum status status = ST_OK;
    for (uint32_t i = 0; i < count && status == ST_OK; i++)
        status = add_mount(p, &mounts[i], err);
    for (uint32_t i = 0; i < base->image_count && status == ST_OK; i++) {
        const char *path = base->images[i].path;
        bool own = false;
        for (uint32_t k = 0; k < app->mount_count; k++)
            own = own || strcmp(app->mounts[k].path, path) == 0;
        if (own) continue;
        struct digest digest;
        status = bundle_add_image(p->parts, path, base->images[i].fd, &digest, err);
        if (status != ST_OK) break;
        mounts[count++] =
            (struct app_mount){.kind = APP_MOUNT_DIGEST,
                               .source = digest_text(app, &digest),
                               .path = arena_string(&app->arena, path, strlen(path))};
        if (!mounts[count - 1].source || !mounts[count - 1].path) status = no_memory(err);
    }
    app->mounts = mounts;
    app->mount_count = count;
    return status;
}

/* ---- what the program is started with ---------------------------------------------------- */

static enum status add_args(struct packing *p, struct error *err) {
    struct app *app = p->app;
    const struct bundle_words *base = &p->base.statement.args;
    const char **items =
        arena_array(&app->arena, (size_t)base->count + app->args.count, sizeof *items);
    if (!items) return no_memory(err);
    for (uint32_t i = 0; i < base->count; i++) {
        items[i] = arena_string(&app->arena, base->words[i], strlen(base->words[i]));
        if (!items[i]) return no_memory(err);
    }
    for (uint32_t i = 0; i < app->args.count; i++) items[base->count + i] = app->args.items[i];
    app->args = (struct app_strings){items, base->count + app->args.count};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < app->args.count && status == ST_OK; i++)
        status = bundle_words_add(&p->parts->statement.args, items[i], err);
    return status;
}

static bool sets(const struct app *app, const char *name, size_t length) {
    for (uint32_t i = 0; i < app->env_count; i++)
        if (strncmp(app->env[i].name, name, length) == 0 && !app->env[i].name[length])
            return true;
    return false;
}

static enum status add_env(struct packing *p, struct error *err) {
    struct app *app = p->app;
    const struct bundle_words *base = &p->base.statement.env;
    struct app_variable *env =
        arena_array(&app->arena, (size_t)base->count + app->env_count, sizeof *env);
    if (!env) return no_memory(err);
    uint32_t count = 0;
    for (uint32_t i = 0; i < base->count; i++) {
        const char *word = base->words[i];
        size_t length = strcspn(word, "=");
        if (sets(app, word, length)) continue;
        char *name = arena_string(&app->arena, word, length);
        char *value = arena_string(&app->arena, word + length + 1, strlen(word + length + 1));
        if (!name || !value) return no_memory(err);
        env[count++] = (struct app_variable){name, value};
    }
    for (uint32_t i = 0; i < app->env_count; i++) env[count++] = app->env[i];
    app->env = env;
    app->env_count = count;
    for (uint32_t i = 0; i < count; i++) {
        auto_buffer struct buffer word = {0};
        buffer_printf(&word, "%s=%s", env[i].name, env[i].value);
        buffer_put_u8(&word, 0);
        enum status status = buffer_status(&word, err);
        if (status == ST_OK)
            status = bundle_words_add(&p->parts->statement.env, (char *)word.bytes, err);
        if (status != ST_OK) return error_wrap(err, "env: %s", env[i].name);
    }
    return ST_OK;
}

/* app_read has put the directory of app.yaml before them. */
static enum status name_secrets(struct packing *p, struct error *err) {
    struct app *app = p->app;
    struct app_secret *secrets = arena_array(&app->arena, app->secret_count, sizeof *secrets);
    if (!secrets) return no_memory(err);
    const char *slash = strrchr(app->file, '/');
    size_t directory = slash ? (size_t)(slash - app->file) + 1 : 0;
    for (uint32_t i = 0; i < app->secret_count; i++) {
        secrets[i] = app->secrets[i];
        if (strncmp(secrets[i].file, app->file, directory) == 0) secrets[i].file += directory;
        if (!bundle_stays_beneath(secrets[i].file))
            return error_set(err, ST_INVALID,
                             "secrets: %s: in a bundle a secret's file is relative, since it "
                             "lies on another machine",
                             secrets[i].file);
    }
    app->secrets = secrets;
    return ST_OK;
}

/* ---- the app ----------------------------------------------------------------------------- */

static enum status describe(struct packing *p, struct error *err) {
    auto_buffer struct buffer json = {0};
    enum status status = app_json(p->app, &json, err);
    if (status != ST_OK) return status;
    buffer_put_u8(&json, 0);
    if ((status = buffer_status(&json, err)) != ST_OK) return status;
    /* With its keys in order, as the statement will have it: the order of variables is seen. */
    json_t *value = json_loads((char *)json.bytes, 0, NULL);
    p->parts->statement.app = value ? json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    json_decref(value);
    return p->parts->statement.app ? ST_OK : no_memory(err);
}

static enum status pack(struct packing *p, const char *name, struct error *err) {
    struct app *app = p->app;
    for (uint32_t i = 0; i < app->note_count; i++) {
        struct error note = {0};
        error_set(&note, ST_INVALID, "%s:%u: %s", app->file, app->notes[i].line,
                  app->notes[i].text);
        cli_note("bundle", NULL, &note);
    }
    enum status status =
        bundle_full_name(name ? name : app->name, p->parts->statement.name, err);
    if (status == ST_OK) status = add_module(p, err);
    if (status == ST_OK) status = add_mounts(p, err);
    if (status == ST_OK) status = add_args(p, err);
    if (status == ST_OK) status = add_env(p, err);
    if (status == ST_OK) status = name_secrets(p, err);
    if (status == ST_OK) status = describe(p, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "%s", app->file);
}

enum status bundle_add_app(struct bundle_parts *parts, const char *path, const char *name,
                           struct error *err) {
    struct packing p = {.parts = parts};
    enum status status = app_read(path, &p.app, err);
    if (status != ST_OK) return status;
    status = pack(&p, name, err);
    stored_app_close(&p.base);
    app_free(p.app);
    return status;
}
