/*
 * A bundle in the making: its statement, and the bytes that the statement's layers borrow.
 *
 *   bundle_parts.c   modules with their objects, images -> layers
 *   bundle_snapshot.c   a snapshot file, or the program itself -> layers
 *   bundle_app.c     a directory with an app.yaml -> the app's description and its layers
 *   bundle_app_check.c   a description -> whether it keeps to its bundle
 */
#ifndef HUTCH_TOOLS_BUNDLE_PARTS_H
#define HUTCH_TOOLS_BUNDLE_PARTS_H

#include "tools/bundle_cli.h"

#define BUNDLE_TARGETS_MAX 8u

struct bundle_parts {
    /* given */
    const struct compile_options *compile;
    const char *const *targets;
    uint32_t target_count; /* 0: modules only */
    struct cache *cache;   /* where objects are looked up and kept; may be NULL */
    /* made */
    struct bundle_statement statement;
    struct buffer *modules;
    struct bundle_map {
        const uint8_t *bytes;
        size_t size;
        int fd; /* the file */
    } *maps;
    uint32_t module_count, map_count;
};

void bundle_parts_finish(struct bundle_parts *parts);
/* Room for one layer more; it is zero. NULL: no memory. */
struct bundle_layer *bundle_add_layer(struct bundle_parts *parts, struct error *err);
/* Maps a file for as long as the parts live. */
enum status bundle_keep_map(struct bundle_parts *parts, int fd, const uint8_t **ret_bytes,
                            size_t *ret_size, struct error *err) must_check;
/* "python" -> "python:latest". ST_USAGE where it is no name, or one by digest. */
enum status bundle_full_name(const char *text, char ret_name[CACHE_NAME_MAX],
                             struct error *err) must_check;
/* Adds a module, whose bytes are taken over, and its objects. file: for messages. */
enum status bundle_add_module(struct bundle_parts *parts, const char *name, struct buffer *wasm,
                              const char *file, struct error *err) must_check;
/* Adds an image, which is mapped; ret_digest may be NULL. */
enum status bundle_add_image(struct bundle_parts *parts, const char *guest, int fd,
                             struct digest *ret_digest, struct error *err) must_check;

/* Adds a snapshot, checked, of one of the objects that are there. */
enum status bundle_add_snapshot(struct bundle_parts *parts, int fd,
                                struct error *err) must_check;
/*
 * Makes and adds a snapshot for each object of the first module that this machine can run: of
 * an app as it would be served, of a module as `hutch run NAME --listen` would start it. After
 * everything else is there. ST_UNSUPPORTED where none can be made.
 */
enum status bundle_make_snapshots(struct bundle_parts *parts, struct error *err) must_check;

/*
 * Adds an app: path is its app.yaml, or a directory that holds one. Its module comes first, so
 * that its name runs it; what app.yaml names by path is in the bundle from then on, and the
 * description says digests in place of paths. name: what the app is called; NULL: as app.yaml
 * says.
 */
enum status bundle_add_app(struct bundle_parts *parts, const char *path, const char *name,
                           struct error *err) must_check;
/* true for what is no module but an app: a directory, or a file *.yaml or *.yml. */
bool bundle_is_app(const char *path);
/* true where a relative path leads nowhere else. */
bool bundle_stays_beneath(const char *file);
/*
 * A description that came in a bundle names nothing but what the bundle holds: no path of the
 * node it is imported on. ST_DAMAGED, ST_INVALID.
 */
enum status bundle_check_app(const struct bundle_statement *statement,
                             struct error *err) must_check;

#endif
