/*
 * Whether the description of an app that came in a bundle keeps to the bundle: it could
 * otherwise have any file of the node mounted, run or read to a guest.
 */
#include "serve/app.h"
#include "tools/bundle_parts.h"

bool bundle_stays_beneath(const char *file) {
    return file[0] != '/' && strcmp(file, "..") != 0 && strncmp(file, "../", 3) != 0 &&
           !strstr(file, "/../") &&
           !(strlen(file) > 3 && strcmp(file + strlen(file) - 3, "/..") == 0);
}

static bool holds(const struct bundle_statement *s, enum bundle_kind kind, const char *text) {
    for (uint32_t i = 0; i < s->layer_count; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&s->layers[i].content, hex);
        if (s->layers[i].kind == kind && strncmp(text, "sha256:", 7) == 0 &&
            strcmp(text + 7, hex) == 0)
            return true;
    }
    return false;
}

enum status bundle_check_app(const struct bundle_statement *s, struct error *err) {
    if (!s->app) return ST_OK;
    struct app *app = NULL;
    enum status status = app_parse(s->app, strlen(s->app), "the bundle's app", "", &app, err);
    if (status != ST_OK) return status;
    if (app->module.kind != APP_MODULE_NAME || !holds(s, BUNDLE_MODULE, app->module.text))
        status = error_set(err, ST_DAMAGED,
                           "the bundle's app runs what the bundle does not "
                           "hold: %.80s",
                           app->module.text);
    for (uint32_t i = 0; i < app->mount_count && status == ST_OK; i++)
        if (app->mounts[i].kind != APP_MOUNT_DIGEST ||
            !holds(s, BUNDLE_IMAGE, app->mounts[i].source))
            status = error_set(err, ST_DAMAGED,
                               "the bundle's app mounts what the bundle does "
                               "not hold: %.80s",
                               app->mounts[i].source);
    for (uint32_t i = 0; i < app->secret_count && status == ST_OK; i++)
        if (!bundle_stays_beneath(app->secrets[i].file))
            status = error_set(err, ST_DAMAGED,
                               "the bundle's app asks for a file of this node: %.80s",
                               app->secrets[i].file);
    app_free(app);
    return status;
}
