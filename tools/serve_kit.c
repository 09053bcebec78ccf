/*
 * An app -> its kit: the code object (from the store, or compiled), the images of its mounts,
 * its arguments and environment. Runs in the broker's process. docs/app.md says what each key
 * of app.yaml means.
 */
#include "tools/serve_cli.h"

#include "tools/app_kit.h"
#include "loader/loader.h"
#include "tools/bundle_cli.h"
#include "tools/stored_app.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX_BYTES ((size_t)64 << 10)

static enum status out_of_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

/* The store; without one everything is compiled at every start. */
static struct cache *open_cache(struct kit_maker *m, const char *file) {
    if (!m->opened) m->cache = object_cache_open(m->cache_dir, "serve", file);
    m->opened = true;
    return m->cache;
}

/* ---- the module -------------------------------------------------------------------------- */

static enum status obtain(struct kit_maker *m, const struct app *app,
                          const struct digest *module, const struct buffer *wasm, int *ret_fd,
                          struct error *err) {
    struct object_wanted want = {.command = "serve",
                                 .file = app->module.text,
                                 .options = &m->compile,
                                 .module = *module,
                                 .wasm = wasm,
                                 .imported = !m->profile_dir};
    return object_obtain(open_cache(m, app->file), &want, ret_fd, err);
}

static enum status module_from_file(struct kit_maker *m, struct serve_kit *kit,
                                    struct error *err) {
    const char *path = kit->app->module.text;
    struct stat st;
    if (serve_seen_find(m, SERVE_SEEN_MODULE, path, &st, &kit->object_fd)) return ST_OK;
    auto_buffer struct buffer wasm = {0};
    enum status status = module_file_read(path, &wasm, NULL, err);
    if (status != ST_OK) return status;
    struct digest digest = digest_of(wasm.bytes, wasm.size);
    status = obtain(m, kit->app, &digest, &wasm, &kit->object_fd, err);
    if (status == ST_OK) serve_seen_keep(m, SERVE_SEEN_MODULE, path, &st, kit->object_fd);
    return status;
}

static enum status copy_string(struct serve_kit *kit, const char *text, const char **ret,
                               struct error *err) {
    *ret = arena_string(&kit->arena, text, strlen(text));
    return *ret ? ST_OK : out_of_memory(err);
}

/* What the bundle says comes first: the app's own arguments and variables are added. */
static enum status module_from_store(struct kit_maker *m, struct serve_kit *kit,
                                     struct error *err) {
    struct stored_app stored = {0};
    struct cache *cache = open_cache(m, kit->app->file);
    if (!cache) return error_set(err, ST_NOT_FOUND, "the store cannot be opened");
    enum status status = stored_app_open(cache, kit->app->module.text, &stored, err);
    if (status == ST_OK)
        status = obtain(m, kit->app, &stored.module, NULL, &kit->object_fd, err);
    const struct bundle_statement *s = &stored.statement;
    for (uint32_t i = 0; i < s->args.count && status == ST_OK; i++)
        status = copy_string(kit, s->args.words[i], &kit->argv[kit->argc++], err);
    for (uint32_t i = 0; i < s->env.count && status == ST_OK; i++)
        status = copy_string(kit, s->env.words[i], &kit->env[kit->envc++], err);
    for (uint32_t i = 0; i < stored.image_count && status == ST_OK; i++) {
        struct tenant_dir dir = {
            .fd = steal_fd(&stored.images[i].fd), .read_only = true, .image = true};
        status = copy_string(kit, stored.images[i].path, &dir.guest, err);
        kit->dirs[kit->dir_count++] = dir;
    }
    stored_app_close(&stored);
    return status;
}

/* share: none: a copy of the code in memory of its own, so that nobody's timing of it tells
 * what this app runs. Otherwise the pages are read here, and so counted as the broker's
 * (cgroups charge a page to whom it came for first), not as some tenant's. */
static enum status place_object(struct serve_kit *kit, struct error *err) {
    struct stat st;
    if (fstat(kit->object_fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot read it");
    if (kit->app->share != APP_SHARE_NONE) {
        (void)!readahead(kit->object_fd, 0, (size_t)st.st_size);
        return ST_OK;
    }
    auto_fd int copy = memfd_create("hutch-code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot make a memory file");
    for (off_t at = 0; at < st.st_size;) {
        ssize_t n = sendfile(copy, kit->object_fd, &at, (size_t)(st.st_size - at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_set_errno(err, ST_IO, "cannot copy the code");
    }
    const unsigned seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    if (fcntl(copy, F_ADD_SEALS, seals) < 0)
        return error_set_errno(err, ST_IO, "cannot seal a memory file");
    /* As it is handed on, for reading only. */
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open a memory file");
    close(kit->object_fd);
    kit->object_fd = fd;
    return ST_OK;
}

/* What hibernated instances are bound to. */
static enum status identify_object(struct serve_kit *kit, struct error *err) {
    struct loaded *loaded = NULL;
    int copy = fcntl(kit->object_fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot duplicate a descriptor");
    enum status status = loader_open_brief(copy, &loaded, err);
    if (status != ST_OK) return status;
    kit->object = loaded->object.compat.content;
    loader_close(loaded);
    return ST_OK;
}

/* ---- mounts ------------------------------------------------------------------------------ */

/* Into the store, where the same image is the same file: so a reload knows what has changed. */
static void keep_image(struct cache *cache, int *fd) {
    struct cache_entry entry = {.kind = CACHE_IMAGE, .origin = CACHE_COMPILED};
    struct error ignored = {0};
    int kept = -1;
    if (!cache || lseek(*fd, 0, SEEK_SET) < 0) return;
    if (cache_put_fd(cache, *fd, &entry, NULL, NULL, &kept, &ignored) != ST_OK) return;
    close(*fd);
    *fd = kept;
}

static enum status open_mount(struct kit_maker *m, struct serve_kit *kit,
                              const struct app_mount *mount, struct error *err) {
    struct tenant_dir dir = {.fd = -1, .guest = mount->path, .read_only = true, .image = true};
    struct cache *cache = open_cache(m, kit->app->file);
    enum status status;
    struct stat st;
    if (mount->kind == APP_MOUNT_PATH &&
        serve_seen_find(m, SERVE_SEEN_MOUNT, mount->source, &st, &dir.fd)) {
        status = ST_OK;
    } else if (mount->kind == APP_MOUNT_PATH) {
        status = bundle_image_open(mount->source, &dir.fd, err);
        if (status == ST_OK) {
            keep_image(cache, &dir.fd);
            serve_seen_keep(m, SERVE_SEEN_MOUNT, mount->source, &st, dir.fd);
        }
    } else {
        struct cache_name name;
        if (!cache) return error_set(err, ST_NOT_FOUND, "the store cannot be opened");
        status = cache_name_resolve(cache, mount->source, &name, err);
        if (status == ST_OK) status = cache_get(cache, &name.digest, &dir.fd, NULL, err);
    }
    if (status != ST_OK) return error_wrap(err, "mounts: %s", mount->source);
    kit->dirs[kit->dir_count++] = dir;
    return ST_OK;
}

/* ---- environment ------------------------------------------------------------------------- */

static enum status add_secret(struct serve_kit *kit, const struct app_secret *secret,
                              struct error *err) {
    auto_buffer struct buffer b = {0};
    enum status status = file_read(AT_FDCWD, secret->file, SECRET_MAX_BYTES, &b, err);
    if (status != ST_OK) return error_wrap(err, "secrets: %s", secret->name);
    if (b.size && b.bytes[b.size - 1] == '\n') b.size--;
    buffer_put_u8(&b, 0);
    if (b.failed) return out_of_memory(err);
    if (strlen((const char *)b.bytes) + 1 != b.size)
        return error_set(err, ST_INVALID, "secrets: %s: %s holds a NUL byte", secret->name,
                         secret->file);
    status = app_kit_variable(kit, secret->name, (const char *)b.bytes, err);
    explicit_bzero(b.bytes, b.size);
    return status;
}

enum status serve_kit_make(void *context, struct serve_kit *kit, struct error *err) {
    struct kit_maker *m = context;
    const struct app *app = kit->app;
    enum status status = app_kit_begin(kit, err);
    if (status != ST_OK) return status;
    status = app->module.kind == APP_MODULE_FILE ? module_from_file(m, kit, err)
                                                 : module_from_store(m, kit, err);
    if (status != ST_OK) return error_wrap(err, "%s: module %s", app->file, app->module.text);
    if ((status = place_object(kit, err)) != ST_OK ||
        (status = identify_object(kit, err)) != ST_OK)
        return error_wrap(err, "%s: module %s", app->file, app->module.text);
    if (m->profile_dir && (status = serve_counts_begin(m, kit, err)) != ST_OK)
        return error_wrap(err, "%s", app->file);
    for (uint32_t i = 0; i < app->mount_count && status == ST_OK; i++)
        status = open_mount(m, kit, &app->mounts[i], err);
    if (status == ST_OK) status = app_kit_finish(kit, err);
    if (status == ST_OK) status = serve_kit_mend(m, kit, err); /* volumes */
    for (uint32_t i = 0; i < app->secret_count && status == ST_OK; i++)
        status = add_secret(kit, &app->secrets[i], err);
    if (status != ST_OK) return error_wrap(err, "%s", app->file);
    /* a snapshot holds no counters */
    if (!m->profile_dir) serve_kit_snapshot(m->cache, kit);
    return app_kit_settle(kit, err);
}

enum status serve_kit_read_name(void *context, const char *name, struct app **ret_app,
                                struct error *err) {
    struct kit_maker *m = context;
    struct cache *cache = open_cache(m, name);
    if (!cache) return error_set(err, ST_NOT_FOUND, "%s: the store cannot be opened", name);
    enum status status = stored_app_describe(cache, name, m->secrets_dir, ret_app, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "%s", name);
}
