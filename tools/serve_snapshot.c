/*
 * The snapshot that an app's instances start from: made when the app is deployed, of the
 * program as it waits for its first request, after the warm-up requests of app.yaml. Kept in
 * the store, unless secrets have been in the program's memory: then in memory alone.
 *
 * What a snapshot depends on is in its key: the object, everything the program is given, the
 * images, the warm-up requests. Without one the app is served all the same, only slower; so a
 * failure is said, and no error.
 */
#include "tools/serve_cli.h"

#include "tools/snapshot_make.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_TIMEOUT_MS UINT64_C(60000)

static void say(const char *text) { fprintf(stderr, "hutch: serve: %s\n", text); }

static const struct app_request plain = {.method = "GET", .path = "/", .body = ""};

/* Files of the store never change, and a file that is none of its is known by what changes
 * where it does. */
static void put_file(struct buffer *b, int fd) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) memset(&st, 0, sizeof st);
    buffer_put_u64(b, (uint64_t)st.st_dev);
    buffer_put_u64(b, (uint64_t)st.st_ino);
    buffer_put_u64(b, (uint64_t)st.st_size);
    buffer_put_u64(b, (uint64_t)st.st_ctim.tv_sec);
    buffer_put_u64(b, (uint64_t)st.st_ctim.tv_nsec);
}

static enum status make_key(const struct serve_kit *kit, const struct tenant_config *config,
                            const struct buffer *requests, uint32_t count,
                            struct cache_key *ret_key, struct error *err) {
    static const char purpose[] = "hutch serve snapshot 1";
    auto_buffer struct buffer b = {0};
    tenant_config_text(config, &b);
    buffer_put_u64(&b, abi_fingerprint());
    buffer_put_u64(&b, config->max_memory_bytes);
    buffer_put_u64(&b, config->max_stack_bytes);
    put_file(&b, kit->object_fd);
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        const struct tenant_dir *d = &kit->dirs[i];
        buffer_put_str(&b, d->guest, strlen(d->guest));
        buffer_put_u32(&b, (d->image ? 1u : 0) | (d->memory ? 2u : 0));
        buffer_put_u64(&b, d->size_bytes);
        put_file(&b, d->fd);
    }
    for (uint32_t i = 0; i < count; i++)
        buffer_put_str(&b, requests[i].bytes, requests[i].size);
    struct digest all = digest_of(b.bytes, b.size), what = digest_of(purpose, sizeof purpose);
    *ret_key = cache_key_of(&all, &what);
    return buffer_status(&b, err);
}

static enum status keep(struct cache *cache, const struct cache_key *key, int *fd,
                        struct error *err) {
    struct cache_entry entry = {
        .kind = CACHE_SNAPSHOT, .origin = CACHE_COMPILED, .has_key = true, .key = *key};
    int kept = -1;
    if (lseek(*fd, 0, SEEK_SET) < 0) return error_set_errno(err, ST_IO, "cannot rewind");
    enum status status = cache_put_fd(cache, *fd, &entry, NULL, NULL, &kept, err);
    if (status != ST_OK) return status;
    close(*fd);
    *fd = kept;
    return ST_OK;
}

static enum status make(struct cache *cache, struct serve_kit *kit,
                        const struct tenant_config *config, const struct buffer *bytes,
                        uint32_t count, struct error *err) {
    struct cache_key key;
    struct error ignored = {0};
    const struct app *app = kit->app;
    bool kept = cache && !app->secret_count;
    enum status status = make_key(kit, config, bytes, count, &key, err);
    if (status != ST_OK) return status;
    if (kept && cache_find(cache, &key, &kit->snapshot_fd, NULL, &ignored) == ST_OK)
        return ST_OK;
    auto_fd int fd = -1;
    struct snapshot_request *requests =
        arena_array(&kit->arena, (size_t)count + 1, sizeof *requests);
    if (!requests) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < count; i++)
        requests[i] = (struct snapshot_request){bytes[i].bytes, bytes[i].size};
    struct snapshot_make wanted = {.config = config,
                                   .arena = &kit->arena,
                                   .warm_ups = requests,
                                   .warm_up_count = app->instaboot.request_count,
                                   .trial = &requests[count - 1],
                                   .timeout_ms = STEP_TIMEOUT_MS};
    for (uint32_t i = 0; i < app->instaboot.request_count; i++)
        if (app->instaboot.requests[i].timeout_ns / 1000000 > wanted.timeout_ms)
            wanted.timeout_ms = app->instaboot.requests[i].timeout_ns / 1000000;
    status = snapshot_make(&wanted, &fd, err);
    if (status == ST_OK && kept) status = keep(cache, &key, &fd, err);
    if (status == ST_OK) kit->snapshot_fd = steal_fd(&fd);
    return status;
}

/* The requests that are sent; without any, one that is not for warming up but to see what a
 * first request touches. */
static enum status write_requests(const struct app *app, struct buffer *bytes,
                                  struct error *err) {
    enum status status = ST_OK;
    uint32_t count = app->instaboot.request_count;
    for (uint32_t i = 0; i < count && status == ST_OK; i++)
        status = serve_warm_up(app, &app->instaboot.requests[i], &bytes[i], err);
    return count ? status : serve_warm_up(app, &plain, &bytes[0], err);
}

void serve_kit_snapshot(struct cache *cache, struct serve_kit *kit) {
    const struct app *app = kit->app;
    /* A CGI program never waits for a request: it is started for one. */
    if (!app->instaboot.enabled || app->interface == APP_CGI) return;
    struct error err = {0};
    uint32_t count = app->instaboot.request_count ? app->instaboot.request_count : 1;
    struct buffer *bytes = arena_array(&kit->arena, count, sizeof *bytes);
    struct tenant_config config = {
        .object_fd = kit->object_fd,
        .profile_fd = -1,
        .interface = app->interface == APP_FASTCGI ? TENANT_FASTCGI : TENANT_HTTP,
        .max_memory_bytes = app->limits.memory_bytes,
        .max_stack_bytes = app->limits.stack_bytes,
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
    enum status status = bytes ? write_requests(app, bytes, &err)
                               : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK) status = make(cache, kit, &config, bytes, count, &err);
    for (uint32_t i = 0; bytes && i < count; i++) buffer_finish(&bytes[i]);
    if (status == ST_OK) return;
    error_wrap(&err, "%s: no snapshot, so instances start from the beginning", app->file);
    say(err.message);
}
