/*
 * A snapshot by its name in the store or its path, and the code object that it needs. Bytes of
 * a file are checked against the digest in them; those of the store were, when they came there.
 */
#include "cache/cache.h"
#include "loader/loader.h"
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* The object among what the snapshot's entry refers to. */
static enum status object_by_ref(struct cache *cache, const struct digest *snapshot,
                                 int *ret_fd, struct error *err) {
    struct digest refs[CACHE_REFS_MAX];
    struct cache_entry entry;
    uint32_t count = 0;
    enum status status = cache_refs(cache, snapshot, refs, &count, err);
    if (status != ST_OK) return status;
    for (uint32_t i = 0; i < count; i++)
        if (cache_describe(cache, &refs[i], &entry, err) == ST_OK && entry.kind == CACHE_OBJECT)
            return cache_get(cache, &refs[i], ret_fd, NULL, err);
    return error_set(
        err, ST_NOT_FOUND,
        "the code object it was made with is not in the store: name the module too");
}

static enum status open_stored(const struct cli_options *o, struct cache *cache, int *ret_fd,
                               int *ret_object_fd, struct error *err) {
    struct cache_name name;
    struct cache_entry entry;
    enum status status = cache_name_resolve(cache, o->snapshot, &name, err);
    if (status == ST_OK) status = cache_describe(cache, &name.digest, &entry, err);
    if (status == ST_OK && entry.kind != CACHE_SNAPSHOT)
        status = error_set(err, ST_INCOMPATIBLE, "this names no snapshot, but: %s",
                           cache_kind_name(entry.kind));
    if (status == ST_OK) status = cache_get(cache, &name.digest, ret_fd, NULL, err);
    if (status == ST_OK && !o->file)
        status = object_by_ref(cache, &name.digest, ret_object_fd, err);
    return status;
}

static enum status open_file(const struct cli_options *o, int *ret_fd, struct error *err) {
    auto_fd int fd = open(o->snapshot, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open it");
    enum status status = snapshot_verify_digest(fd, err);
    if (status != ST_OK && o->file) {
        /* The tenant refuses it too, and starts the program instead. */
        error_wrap(err, "--snapshot %s: not used", o->snapshot);
        cli_note("run", o->file, err);
        return ST_OK;
    }
    if (status == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}

enum status cli_open_snapshot(const struct cli_options *o, int *ret_fd, int *ret_object_fd,
                              struct error *err) {
    enum status status;
    if (strchr(o->snapshot, '/') || access(o->snapshot, F_OK) == 0) {
        status = open_file(o, ret_fd, err);
        if (status == ST_OK && !o->file)
            status = error_set(err, ST_USAGE, "a snapshot in a file: name the module too");
    } else {
        struct cache *cache = object_cache_open(o->cache_dir, "run", o->snapshot);
        status = cache ? open_stored(o, cache, ret_fd, ret_object_fd, err)
                       : error_set(err, ST_NOT_FOUND, "there is no cache");
        cache_close(cache);
    }
    return status == ST_OK ? ST_OK : error_wrap(err, "--snapshot %s", o->snapshot);
}
