/*
 * hutch run: finds the object of a module (or compiles it and keeps the object), opens the
 * directories the guest may use, and becomes hutch-tenant with those descriptors and no others.
 * From then on the process is the guest's: its exit status, its signals, its terminal.
 */
#include "cache/cache.h"
#include "loader/tenant_config.h"
#include "tools/cgi_order.h"
#include "tools/cli.h"
#include "tools/stored_app.h"
#include "tools/volume_start.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static struct object_wanted wanted(const struct cli_options *o) {
    return (struct object_wanted){
        .command = "run", .file = o->file, .options = &o->compile, .imported = true};
}

/* The object of what a name in the store means. */
static enum status open_named(const struct cli_options *o, int *ret_fd,
                              struct stored_app *ret_app, struct error *err) {
    struct object_wanted want = wanted(o);
    struct cache *cache = object_cache_open(o->cache_dir, "run", o->file);
    if (!cache) return error_set(err, ST_NOT_FOUND, "there is neither such a file nor a cache");
    enum status status = stored_app_open(cache, o->file, ret_app, err);
    want.module = ret_app->module;
    if (status == ST_OK) status = object_obtain(cache, &want, ret_fd, err);
    cache_close(cache);
    return status;
}

/* The object of a module's file. One that was hashed before and has not changed since is not
 * even read, where its object is kept. */
static enum status open_module(const struct cli_options *o, int file, int *ret_fd,
                               struct error *err) {
    auto_buffer struct buffer wasm = {0};
    struct object_wanted want = wanted(o);
    struct stat before;
    struct error ignored = {0};
    enum status status = ST_NOT_FOUND;
    struct cache *cache = o->no_cache ? NULL : object_cache_open(o->cache_dir, "run", o->file);
    if (cache && cache_file_known(cache, file, &want.module)) {
        status = object_find(cache, &want, ret_fd, &ignored);
        want.looked = true;
    }
    if (status != ST_OK) {
        struct digest known = want.module;
        bool steady = cache && cache_file_steady(file, &before);
        status = module_file_read_fd(file, o->file, &wasm, NULL, err);
        if (status == ST_OK) {
            want.module = digest_of(wasm.bytes, wasm.size);
            want.looked = want.looked && digest_equal(&known, &want.module);
            want.wasm = &wasm;
            if (steady) cache_file_remember(cache, file, &before, &want.module);
            status = object_obtain(cache, &want, ret_fd, err);
        }
    }
    cache_close(cache);
    return status;
}

/* "python:3.11": no file, and what only a name has. */
static bool is_store_name(const char *text) {
    char name[CACHE_NAME_MAX];
    bool is_digest;
    struct digest digest;
    return strpbrk(text, ":@") && access(text, F_OK) < 0 && errno == ENOENT &&
           cache_name_parse(text, name, &is_digest, &digest, NULL) == ST_OK;
}

/* Of a regular file, without reading from it. */
static bool begins_with(int file, const void *bytes, size_t size) {
    uint8_t start[8];
    return size <= sizeof start && pread(file, start, size, 0) == (ssize_t)size &&
           memcmp(start, bytes, size) == 0;
}

static enum status open_object(const struct cli_options *o, int *ret_fd,
                               struct stored_app *ret_app, struct error *err) {
    if (is_store_name(o->file)) return open_named(o, ret_fd, ret_app, err);
    auto_fd int file = -1;
    enum status status = module_file_open(o->file, &file, err);
    if (status != ST_OK) return status;
    if (!begins_with(file, "\177ELF", 4)) return open_module(o, file, ret_fd, err);
    if (!o->allow_precompiled)
        return error_set(err, ST_INCOMPATIBLE,
                         "this is native code, compiled before; to run it in spite of what it "
                         "could do, say --allow-precompiled");
    struct abi_compat compat;
    if ((status = object_file_check(file, true, &compat, err)) != ST_OK) return status;
    *ret_fd = steal_fd(&file);
    return ST_OK;
}

/* *fd: the directory, then the session to the process that holds it. */
static enum status open_volume(const struct cli_dir *dir, int *fd, struct error *err) {
    auto_fd int directory = steal_fd(fd);
    auto_fd int control = -1;
    enum status status = volume_lock(directory, err);
    if (status == ST_OK) status = volume_start(directory, -1, dir->host, &control, err);
    if (status == ST_OK) status = volume_limit(control, dir->size_bytes, dir->inodes, 0, err);
    if (status != ST_OK) return status;
    errno = holder_open_session(control, fd);
    return errno ? error_set_errno(err, ST_IO, "no session") : ST_OK;
}

/* Opens the directories and images; close-on-exec still. */
static enum status open_dirs(const struct cli_options *o, struct tenant_dir *ret_dirs,
                             struct error *err) {
    for (uint32_t i = 0; i < o->dir_count; i++) {
        const struct cli_dir *dir = &o->dirs[i];
        int kind = dir->image ? O_NOCTTY | O_NONBLOCK : O_DIRECTORY;
        int fd = dir->host ? open(dir->host, O_RDONLY | O_CLOEXEC | kind) : -1;
        if (fd < 0 && dir->host)
            return error_set_errno(err, ST_IO, "cannot open the %s %s",
                                   dir->image ? "image" : "directory", dir->host);
        if (dir->volume) {
            enum status status = open_volume(dir, &fd, err);
            if (status != ST_OK) return error_wrap(err, "--volume %s", dir->host);
        }
        ret_dirs[i] = (struct tenant_dir){.fd = fd,
                                          .guest = dir->guest,
                                          .read_only = dir->read_only,
                                          .image = dir->image,
                                          .memory = dir->memory,
                                          .volume = dir->volume,
                                          .size_bytes = dir->size_bytes,
                                          .inodes = dir->inodes};
    }
    return ST_OK;
}

/* Of equal names the last one counts. */
static void set_variable(const char **env, uint32_t *count, const char *pair) {
    size_t length = strcspn(pair, "=");
    uint32_t at = 0;
    while (at < *count && strncmp(env[at], pair, length + 1) != 0) at++;
    env[at] = pair;
    if (at == *count) ++*count;
}

/* "NAME" becomes "NAME=VALUE" from our environment. */
static enum status resolve_env(const struct cli_options *o, struct arena *arena,
                               const char **ret_env, uint32_t *ret_count, struct error *err) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < o->env_count; i++) {
        const char *text = o->env[i];
        size_t length = strcspn(text, "=");
        if (!text[length]) {
            const char *value = getenv(text);
            if (!value)
                return error_set(err, ST_NOT_FOUND, "--env %s: there is no such variable",
                                 text);
            size_t size = length + strlen(value) + 2;
            char *pair = arena_alloc(arena, size);
            if (!pair) return error_set(err, ST_NO_MEMORY, "out of memory");
            snprintf(pair, size, "%s=%s", text, value);
            text = pair;
        }
        set_variable(ret_env, &count, text);
    }
    *ret_count = count;
    return ST_OK;
}

/*
 * The arguments of the program; and where it is an app of the store, what its bundle says goes
 * first: arguments, variables, images. So whoever runs it can add to them, set a variable anew,
 * and lay a directory over an image (a C library takes the last one given of equal paths).
 */
static enum status add_app(const struct cli_options *o, const struct stored_app *app,
                           struct arena *arena, struct tenant_config *config,
                           struct error *err) {
    static char program[CACHE_NAME_MAX];
    const struct bundle_statement *s = &app->statement;
    bool stored = is_store_name(o->file);
    uint32_t given = o->invoke ? 0 : s->args.count, argc = 0, envc = 0, dir_count = 0;
    const char **argv =
        arena_array(arena, (size_t)given + (size_t)o->argument_count + 1, sizeof *argv);
    const char **env = arena_array(arena, (size_t)s->env.count + config->envc, sizeof *env);
    struct tenant_dir *dirs =
        arena_array(arena, (size_t)app->image_count + config->dir_count, sizeof *dirs);
    if (!argv || !env || !dirs) return error_set(err, ST_NO_MEMORY, "out of memory");
    const char *slash = strrchr(o->file, '/');
    if (stored) stored_app_program(o->file, app, program);
    argv[argc++] = o->argv0 ? o->argv0 : stored ? program : slash ? slash + 1 : o->file;
    for (uint32_t i = 0; i < given; i++) argv[argc++] = s->args.words[i];
    for (int i = 0; i < o->argument_count; i++) argv[argc++] = o->arguments[i];
    for (uint32_t i = 0; i < s->env.count; i++) set_variable(env, &envc, s->env.words[i]);
    for (uint32_t i = 0; i < config->envc; i++) set_variable(env, &envc, config->env[i]);
    for (uint32_t i = 0; i < app->image_count; i++)
        dirs[dir_count++] = (struct tenant_dir){.fd = app->images[i].fd,
                                                .guest = app->images[i].path,
                                                .read_only = true,
                                                .image = true};
    for (uint32_t i = 0; i < config->dir_count; i++) dirs[dir_count++] = config->dirs[i];
    config->argc = argc;
    config->argv = argv;
    config->envc = envc;
    config->env = env;
    config->dir_count = dir_count;
    config->dirs = dirs;
    return ST_OK;
}

/* The snapshot that came with an app, if it fits; else the program starts from the beginning.
 */
static void bring_snapshot(const struct cli_options *o, const struct stored_app *app,
                           struct tenant_config *config) {
    struct error reason = {0};
    if (stored_app_snapshot(app, config, &config->requests.snapshot_fd, &reason) == ST_OK)
        return;
    error_wrap(&reason, "the snapshot in its bundle is not used");
    cli_note("run", o->file, &reason);
}

enum status cli_tenant_config(struct cli_options *o, struct arena *arena,
                              struct stored_app *ret_app, struct tenant_config *ret_config,
                              struct error *err) {
    const char **env = arena_array(arena, o->env_count, sizeof *env);
    struct tenant_dir *dirs = arena_array(arena, o->dir_count, sizeof *dirs);
    if (!env || !dirs) return error_set(err, ST_NO_MEMORY, "out of memory");
    struct tenant_config config = {
        .object_fd = -1,
        .profile_fd = -1,
        .max_memory_bytes = o->max_memory_bytes,
        .max_stack_bytes = o->max_stack_bytes,
        .timeout_ns = o->timeout_ns,
        .name = o->file,
        .invoke = o->invoke,
        .env = env,
        .dirs = dirs,
        .dir_count = o->dir_count,
        .requests = {.socket = o->fastcgi ? 0 : 3,
                     .listen_fd = -1,
                     .control_fd = -1,
                     .snapshot_fd = -1,
                     .prefault = !o->no_prefault,
                     .reset = o->reset},
    };
    enum status status;
    if ((status = resolve_env(o, arena, env, &config.envc, err)) != ST_OK) return status;
    if ((status = open_dirs(o, dirs, err)) != ST_OK) return status;
    if ((status = cli_profile_load(o, err)) != ST_OK) return status;
    if (o->snapshot)
        status = cli_open_snapshot(o, &config.requests.snapshot_fd, &config.object_fd, err);
    if (status == ST_OK && o->file) status = open_object(o, &config.object_fd, ret_app, err);
    if (status == ST_OK && o->file) status = add_app(o, ret_app, arena, &config, err);
    if (status == ST_OK && o->listen && !o->snapshot && ret_app->snapshot_count)
        bring_snapshot(o, ret_app, &config);
    if (status == ST_OK && o->profile_out)
        status = cli_profile_open_output(o->profile_out, &config.profile_fd, err);
    if (!o->file) config.name = o->snapshot; /* the rest is as it was then: argc is 0 */
    if (status == ST_OK) *ret_config = config;
    return status;
}

enum status cli_cgi_config(struct tenant_config *config, struct arena *arena,
                           struct error *err) {
    const char **env = arena_array(arena, (size_t)config->envc + 1, sizeof *env);
    uint32_t count = 0;
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    config->interface = TENANT_CGI;
    config->requests.socket = TENANT_NO_REQUESTS;
    config->requests.env_count = config->envc; /* what it was given lies in the snapshot */
    if (!config->argc) return ST_OK;
    for (uint32_t i = 0; i < config->envc; i++)
        if (!cgi_is_request_variable(config->env[i])) env[count++] = config->env[i];
    config->requests.env_count = config->envc - count;
    for (uint32_t i = 0; i < config->envc; i++)
        if (cgi_is_request_variable(config->env[i])) env[count++] = config->env[i];
    config->env = env;
    return ST_OK;
}

static enum status run(struct cli_options *o, struct error *err) {
    auto_arena struct arena arena = {0};
    struct stored_app app = {0}; /* lives until this process becomes another */
    struct tenant_config config;
    enum status status = cli_tenant_config(o, &arena, &app, &config, err);
    if (status == ST_OK && o->listen)
        status = cli_listen(o->listen, &config.requests.listen_fd, err);
    if (status == ST_OK && !o->listen) {
        config.requests.socket = TENANT_NO_REQUESTS;
        if (o->snapshot) status = cli_cgi_config(&config, &arena, err);
    }
    if (status == ST_OK) status = cli_become_tenant(&config, &arena, err);
    stored_app_close(&app); /* it failed */
    return status;
}

int cmd_run(int argc, char **argv) {
    struct cli_options options;
    struct error err = {0};
    int result = EXIT_DONE;
    enum status status = cli_options_parse(CLI_RUN, argc, argv, &options, &err);
    if (status == ST_OK && options.help) {
        help_print("run");
    } else {
        if (status == ST_OK) status = run(&options, &err); /* returns only where it failed */
        result = cli_report("run", options.file, &err);
    }
    cli_options_finish(&options);
    return result;
}
