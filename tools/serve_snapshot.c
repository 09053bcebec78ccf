/*
 * The snapshot that an app's instances start from: what an imported app brought along, where it
 * fits; else made when the app is deployed, of the program as it waits for its first request,
 * after the warm-up requests of app.yaml. Kept in the store, unless secrets have been in the
 * program's memory: then in memory alone.
 *
 * What a snapshot depends on is in its key: the object, everything the program is given, the
 * images, the warm-up requests. Without one the app is served all the same, only slower; so a
 * failure is said, and no error.
 */
#include "tools/serve_cli.h"

#include "loader/tenant_protocol.h"
#include "runtime/runtime.h"
#include "tools/app_kit.h"
#include "tools/stored_app.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void say(const char *text) { fprintf(stderr, "hutch: serve: %s\n", text); }

/* An image. One of the store never changes but for the time of its last use, and that changes
 * st_ctim too; another file is known by what changes where it does. What an image holds is in
 * the snapshot itself, and compared when it goes on. */
static void put_file(struct buffer *b, int fd) {
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) memset(&st, 0, sizeof st);
    buffer_put_u64(b, (uint64_t)st.st_dev);
    buffer_put_u64(b, (uint64_t)st.st_ino);
    buffer_put_u64(b, (uint64_t)st.st_size);
    buffer_put_u64(b, (uint64_t)st.st_mtim.tv_sec);
    buffer_put_u64(b, (uint64_t)st.st_mtim.tv_nsec);
}

static enum status make_key(const struct serve_kit *kit, const struct tenant_config *config,
                            const struct app_requests *requests, struct cache_key *ret_key,
                            struct error *err) {
    static const char purpose[] = "hutch serve snapshot 2";
    auto_buffer struct buffer b = {0};
    tenant_config_text(config, &b);
    buffer_put_u64(&b, abi_fingerprint());
    buffer_put_u64(&b, config->max_memory_bytes);
    buffer_put_u64(&b, config->max_stack_bytes);
    buffer_put(&b, kit->object.bytes, sizeof kit->object.bytes);
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        const struct tenant_dir *d = &kit->dirs[i];
        buffer_put_str(&b, d->guest, strlen(d->guest));
        buffer_put_u32(&b, (d->image ? 1u : 0) | (d->memory ? 2u : 0) | (d->volume ? 4u : 0));
        buffer_put_u64(&b, d->size_bytes);
        if (!d->volume) put_file(&b, d->fd);
    }
    for (uint32_t i = 0; i < requests->count; i++) {
        buffer_put_str(&b, requests->bytes[i].bytes, requests->bytes[i].size);
        buffer_put_str(&b, requests->env[i].bytes, requests->env[i].size);
    }
    /* One that was made where another answer was right is another. */
    for (uint32_t i = 0; i < kit->app->instaboot.request_count; i++) {
        const struct app_expect *expect = &kit->app->instaboot.requests[i].expect;
        for (uint32_t j = 0; j < expect->count; j++) buffer_put_u32(&b, expect->statuses[j]);
        buffer_put_str(&b, expect->body_includes, strlen(expect->body_includes));
        buffer_put_str(&b, expect->body_regex, strlen(expect->body_regex));
    }
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

/* What the bundle of an imported app brought. Says why none of it is used, where there is any.
 */
static bool find_imported(struct cache *cache, struct serve_kit *kit,
                          const struct tenant_config *config) {
    const struct app *app = kit->app;
    struct stored_app stored;
    struct error ignored = {0}, reason = {0};
    char name[CACHE_NAME_MAX];
    bool is_digest;
    struct digest digest;
    /* A secret is in the program's configuration, and was not there when the app was bundled.
     */
    bool bound = app->secret_count && !app->instaboot.secrets_at_resume;
    if (!cache || bound || access(app->file, F_OK) == 0 ||
        cache_name_parse(app->file, name, &is_digest, &digest, &ignored) != ST_OK ||
        stored_app_open(cache, app->file, &stored, &ignored) != ST_OK)
        return false;
    bool found = stored_app_snapshot(&stored, config, &kit->snapshot_fd, &reason) == ST_OK;
    if (!found && stored.snapshot_count) {
        error_wrap(&reason, "%s: the snapshot in its bundle is not used", app->file);
        say(reason.message);
    }
    stored_app_close(&stored);
    return found;
}

/* instaboot.max_age. */
static bool is_too_old(const struct app *app, int fd) {
    struct snapshot *snapshot;
    struct snapshot_facts facts;
    struct error ignored = {0};
    if (!app->instaboot.max_age_ns) return false;
    if (snapshot_open(fcntl(fd, F_DUPFD_CLOEXEC, 3), &snapshot, &ignored) != ST_OK) return true;
    snapshot_describe(snapshot, &facts);
    snapshot_close(snapshot);
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return now > facts.created_ns && now - facts.created_ns > app->instaboot.max_age_ns;
}

static enum status make(struct cache *cache, struct serve_kit *kit,
                        const struct tenant_config *config, const struct app_requests *requests,
                        struct error *err) {
    struct cache_key key;
    struct error ignored = {0};
    const struct app *app = kit->app;
    bool kept = cache && (!app->secret_count || app->instaboot.secrets_at_resume);
    enum status status = make_key(kit, config, requests, &key, err);
    if (status != ST_OK) return status;
    if (kept && cache_find(cache, &key, &kit->snapshot_fd, NULL, &ignored) == ST_OK) {
        if (!is_too_old(app, kit->snapshot_fd)) return ST_OK;
        close(kit->snapshot_fd);
        kit->snapshot_fd = -1;
    }
    auto_fd int fd = -1;
    status = app_snapshot_make(kit, config, requests, &fd, err);
    if (status == ST_OK && kept) status = keep(cache, &key, &fd, err);
    if (status == ST_OK) kit->snapshot_fd = steal_fd(&fd);
    return status;
}

/* The program that is frozen is one tenant more, with sessions of its own. */
static enum status open_sessions(struct serve_kit *kit, struct tenant_config *config,
                                 struct error *err) {
    struct tenant_dir *dirs = arena_array(&kit->arena, kit->dir_count, sizeof *dirs);
    if (!dirs) return error_set(err, ST_NO_MEMORY, "out of memory");
    config->dirs = dirs;
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        dirs[i] = kit->dirs[i];
        if (dirs[i].volume) dirs[i].fd = -1;
    }
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        if (!dirs[i].volume) continue;
        errno = holder_open_session(kit->dirs[i].fd, &dirs[i].fd);
        if (errno) return error_set_errno(err, ST_IO, "volume %s", dirs[i].guest);
    }
    return ST_OK;
}

static void close_sessions(const struct tenant_config *config) {
    for (uint32_t i = 0; i < config->dir_count; i++)
        if (config->dirs[i].volume && config->dirs[i].fd >= 0) close(config->dirs[i].fd);
}

void serve_kit_snapshot(struct cache *cache, struct serve_kit *kit) {
    const struct app *app = kit->app;
    if (!app->instaboot.enabled) return;
    struct error err = {0};
    struct app_requests requests = {0};
    struct tenant_config config;
    app_kit_config(kit, &config);
    if (find_imported(cache, kit, &config)) return;
    enum status status = open_sessions(kit, &config, &err);
    if (status == ST_OK && app->instaboot.secrets_at_resume)
        status = app_kit_blank_secrets(kit, &config, &err);
    if (status == ST_OK) status = app_requests_make(kit, &requests, &err);
    if (status == ST_OK) status = make(cache, kit, &config, &requests, &err);
    app_requests_finish(&requests);
    close_sessions(&config);
    if (status == ST_OK) return;
    error_wrap(&err, "%s: no snapshot, so instances start from the beginning", app->file);
    say(err.message);
}
