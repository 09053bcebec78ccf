/*
 * How an imported app is served: the description in its bundle's statement, read as app.yaml
 * is, after the same check as at import: it names nothing but what the bundle brought.
 */
#include "serve/app.h"
#include "tools/bundle_parts.h"
#include "tools/stored_app.h"

/* "blog:1", "blog@sha256:..." -> SECRETS/blog; "sha256:HEX" -> SECRETS/HEX. A name has been
 * checked: its words lead nowhere else. */
static enum status secrets_of(const char *secrets, const char *text, char *ret_path,
                              size_t size, struct error *err) {
    if (strncmp(text, "sha256:", 7) == 0) text += 7;
    int n = snprintf(ret_path, size, "%s/%.*s", secrets, (int)strcspn(text, ":@"), text);
    return n > 0 && (size_t)n < size ? ST_OK : error_set(err, ST_LIMIT, "the path is too long");
}

enum status stored_app_describe(struct cache *cache, const char *text, const char *secrets,
                                struct app **ret_app, struct error *err) {
    struct stored_app stored;
    char directory[4096];
    enum status status = stored_app_open(cache, text, &stored, err);
    if (status != ST_OK) return status;
    const struct bundle_statement *s = &stored.statement;
    if (!s->app)
        status = error_set(err, ST_NOT_FOUND,
                           "it came without a description of how to serve it (hutch bundle "
                           "APP-DIRECTORY gives it one)");
    else
        status = bundle_check_app(s, err);
    if (status == ST_OK) status = secrets_of(secrets, text, directory, sizeof directory, err);
    if (status == ST_OK)
        status = app_parse(s->app, strlen(s->app), text, directory, ret_app, err);
    stored_app_close(&stored);
    return status;
}
