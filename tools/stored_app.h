/*
 * What a name in the store runs. Kept out of cli.h, which programs without the store's library
 * include too.
 */
#ifndef HUTCH_TOOLS_STORED_APP_H
#define HUTCH_TOOLS_STORED_APP_H

#include "cache/cache.h"

struct stored_app {
    struct digest module;
    /* What its bundle says; empty where the name is a module's. */
    struct bundle_statement statement;
    /* The images that the program sees, open for reading; path is the statement's. */
    struct stored_image {
        int fd;
        const char *path;
    } *images;
    uint32_t image_count;
    /* Snapshots that came with it, open for reading; those that are gone, or were not taken for
     * want of trust, are not among them. */
    struct stored_snapshot {
        int fd;
        const struct bundle_layer *layer; /* the statement's */
    } *snapshots;
    uint32_t snapshot_count;
};

/*
 * "python:3.11", "python@sha256:...", "sha256:...": a module, or an app that was imported. All
 * of it is open and so kept from the store's collection. ST_NOT_FOUND (also where a part of it
 * is gone), ST_USAGE (it is no such name), ST_UNSUPPORTED (it is neither).
 */
enum status stored_app_open(struct cache *cache, const char *text, struct stored_app *ret_app,
                            struct error *err) must_check;
void stored_app_close(struct stored_app *app);
/*
 * The one of its snapshots that a program started so (config: object, arguments, environment,
 * request socket) can go on from. Whoever resumes it looks at the whole of it once more.
 * ST_NOT_FOUND, ST_INCOMPATIBLE, ST_DAMAGED say why there is none. stored_app_snapshot.c.
 */
struct tenant_config;
enum status stored_app_snapshot(const struct stored_app *app,
                                const struct tenant_config *config, int *ret_fd,
                                struct error *err) must_check;
/*
 * How an imported app is served: what app.yaml said when it was bundled, with digests of the
 * store in place of paths. Its secrets, which it names by relative paths, lie beneath
 * secrets/NAME, where NAME is the text without its tag (or a bare digest's hex digits): what
 * whoever serves it calls it, never what a bundle calls itself. ST_NOT_FOUND (also where it
 * came without), ST_DAMAGED (it asks for what it did not bring). stored_description.c: for
 * programs that read app.yaml anyway.
 */
struct app;
enum status stored_app_describe(struct cache *cache, const char *text, const char *secrets,
                                struct app **ret_app, struct error *err) must_check;
/* What its program is called: "python", also for "lib/python:3.11". */
void stored_app_program(const char *text, const struct stored_app *app,
                        char ret_name[CACHE_NAME_MAX]);

#endif
