/*
 * A name to what it runs: through the index to a module, or to the statement of an imported
 * bundle and from there to its first module, its images, arguments and variables. The statement
 * was checked when it was imported, and an entry of the store does not change.
 */
#include "tools/stored_app.h"

#include "tools/cli.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static enum status read_statement(struct cache *cache, const struct digest *digest,
                                  struct bundle_statement *ret_statement, struct error *err) {
    auto_fd int fd = -1;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cache_get(cache, digest, &fd, NULL, err);
    if (status == ST_OK) status = cli_map_file(fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    status = bundle_statement_parse(bytes, size, ret_statement, err);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return status;
}

static enum status open_images(struct cache *cache, struct stored_app *app, struct error *err) {
    const struct bundle_statement *s = &app->statement;
    app->images = calloc((size_t)s->layer_count + 1, sizeof *app->images);
    if (!app->images) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < s->layer_count; i++) {
        if (s->layers[i].kind != BUNDLE_IMAGE) continue;
        struct stored_image *image = &app->images[app->image_count];
        *image = (struct stored_image){-1, s->layers[i].name};
        enum status status = cache_get(cache, &s->layers[i].content, &image->fd, NULL, err);
        if (status != ST_OK) {
            error_wrap(err, "its image for %s is gone (import the bundle again)", image->path);
            return status;
        }
        app->image_count++;
    }
    return ST_OK;
}

/* The entry's kind is what the store was told when it was put there, after the bundle's
 * signature had been looked at: a statement that nobody signed cannot call something else of
 * the store a snapshot. */
static enum status open_snapshots(struct cache *cache, struct stored_app *app,
                                  struct error *err) {
    const struct bundle_statement *s = &app->statement;
    app->snapshots = calloc((size_t)s->layer_count + 1, sizeof *app->snapshots);
    if (!app->snapshots) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const struct bundle_layer *layer = &s->layers[i];
        struct cache_entry entry;
        struct error ignored = {0};
        int fd = -1;
        if (layer->kind != BUNDLE_SNAPSHOT ||
            cache_describe(cache, &layer->content, &entry, &ignored) != ST_OK ||
            entry.kind != CACHE_SNAPSHOT ||
            cache_get(cache, &layer->content, &fd, NULL, &ignored) != ST_OK)
            continue;
        app->snapshots[app->snapshot_count++] = (struct stored_snapshot){fd, layer};
    }
    return ST_OK;
}

static enum status open_app(struct cache *cache, const struct digest *digest,
                            struct stored_app *app, struct error *err) {
    enum status status = read_statement(cache, digest, &app->statement, err);
    if (status != ST_OK) return status;
    const struct bundle_statement *s = &app->statement;
    uint32_t i = 0; /* there is a module: bundle_statement_parse has looked */
    while (i < s->layer_count && s->layers[i].kind != BUNDLE_MODULE) i++;
    if (i == s->layer_count) return error_set(err, ST_NOT_FOUND, "it has no module");
    app->module = s->layers[i].content;
    status = open_images(cache, app, err);
    return status == ST_OK ? open_snapshots(cache, app, err) : status;
}

enum status stored_app_open(struct cache *cache, const char *text, struct stored_app *ret_app,
                            struct error *err) {
    struct cache_name name;
    struct cache_entry entry;
    struct stored_app app = {0};
    enum status status = cache_name_resolve(cache, text, &name, err);
    if (status == ST_OK) status = cache_describe(cache, &name.digest, &entry, err);
    if (status == ST_NOT_FOUND)
        return error_set(err, status, "there is no such app or module in %s",
                         cache_path(cache));
    if (status != ST_OK) return status;
    if (entry.kind == CACHE_MANIFEST)
        status = open_app(cache, &name.digest, &app, err);
    else if (entry.kind == CACHE_MODULE)
        app.module = name.digest;
    else
        status =
            error_set(err, ST_UNSUPPORTED, "this names neither a module nor an app, but: %s",
                      cache_kind_name(entry.kind));
    if (status == ST_OK)
        *ret_app = app;
    else
        stored_app_close(&app);
    return status;
}

void stored_app_close(struct stored_app *app) {
    for (uint32_t i = 0; i < app->image_count; i++)
        if (app->images[i].fd >= 0) close(app->images[i].fd);
    free(app->images);
    for (uint32_t i = 0; i < app->snapshot_count; i++) close(app->snapshots[i].fd);
    free(app->snapshots);
    bundle_statement_finish(&app->statement);
    *app = (struct stored_app){0};
}

void stored_app_program(const char *text, const struct stored_app *app,
                        char ret_name[CACHE_NAME_MAX]) {
    if (strncmp(text, "sha256:", 7) == 0)
        text = app->statement.name[0] ? app->statement.name : "app";
    size_t length = strcspn(text, ":@"), start = length;
    while (start > 0 && text[start - 1] != '/') start--;
    snprintf(ret_name, CACHE_NAME_MAX, "%.*s", (int)(length - start), text + start);
}
