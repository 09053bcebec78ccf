/*
 * Where apps lie, and what they name on this machine: is it there, and of the right kind? Asked
 * before an app is deployed, so that a typing error is a message and not a failing request.
 */
#include "serve/app.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status missing(const struct app *app, const char *key, const char *path,
                           struct error *err) {
    return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "%s: %s: %s", app->file,
                           key, path);
}

static enum status check_module(const struct app *app, struct error *err) {
    if (app->module.kind != APP_MODULE_FILE) return ST_OK;
    auto_fd int fd = open(app->module.text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return missing(app, "module", app->module.text, err);
    uint8_t magic[4] = {0};
    if (read(fd, magic, sizeof magic) != (ssize_t)sizeof magic ||
        memcmp(magic, "\0asm", 4) != 0)
        return error_set(err, ST_INVALID, "%s: module: %s is no WebAssembly module", app->file,
                         app->module.text);
    return ST_OK;
}

/* EROFS's magic number stands at 1024. */
static bool is_image(int fd) {
    static const uint8_t magic[4] = {0xe2, 0xe1, 0xf5, 0xe0};
    uint8_t bytes[4];
    return pread(fd, bytes, sizeof bytes, 1024) == (ssize_t)sizeof bytes &&
           memcmp(bytes, magic, sizeof magic) == 0;
}

static enum status check_mount(const struct app *app, const struct app_mount *mount,
                               struct error *err) {
    struct stat about;
    auto_fd int fd = open(mount->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) != 0) return missing(app, "mounts", mount->source, err);
    if (S_ISDIR(about.st_mode) || (S_ISREG(about.st_mode) && is_image(fd))) return ST_OK;
    return error_set(err, ST_INVALID,
                     "%s: mounts: %s is neither a directory nor a file image (hutch image "
                     "create makes one)",
                     app->file, mount->source);
}

static enum status check_secret(const struct app *app, const struct app_secret *secret,
                                struct error *err) {
    struct stat about;
    auto_fd int fd = open(secret->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &about) != 0) return missing(app, "secrets", secret->file, err);
    if (!S_ISREG(about.st_mode))
        return error_set(err, ST_INVALID, "%s: secrets: %s is no file", app->file,
                         secret->file);
    if (about.st_mode & (S_IWGRP | S_IRWXO))
        return error_set(err, ST_INVALID,
                         "%s: secrets: %s: others can read or change it (mode %04o): chmod 600",
                         app->file, secret->file, (unsigned)about.st_mode & 07777);
    if (about.st_size > 128 << 10)
        return error_set(err, ST_INVALID, "%s: secrets: %s is larger than 128 KiB", app->file,
                         secret->file);
    return ST_OK;
}

enum status app_check_files(const struct app *app, struct error *err) {
    enum status status = check_module(app, err);
    for (uint32_t i = 0; i < app->mount_count && status == ST_OK; i++)
        if (app->mounts[i].kind == APP_MOUNT_PATH)
            status = check_mount(app, &app->mounts[i], err);
    for (uint32_t i = 0; i < app->secret_count && status == ST_OK; i++)
        status = check_secret(app, &app->secrets[i], err);
    return status;
}

/* ---- where apps lie ---------------------------------------------------------------------- */

static enum status add(struct arena *arena, struct app_strings *files, const char *directory,
                       const char *name, const char *rest, struct error *err) {
    size_t size = strlen(directory) + strlen(name) + strlen(rest) + 3;
    char *path = arena_alloc(arena, size);
    const char **items = arena_array(arena, (size_t)files->count + 1, sizeof *items);
    if (!path || !items) return error_set(err, ST_NO_MEMORY, "out of memory");
    size_t length = strlen(directory);
    bool slash = length && directory[length - 1] != '/';
    if (strcmp(directory, ".") == 0) directory += length, slash = false;
    snprintf(path, size, "%s%s%s%s", directory, slash ? "/" : "", name, rest);
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode)) return ST_OK;
    if (files->count) memcpy(items, files->items, files->count * sizeof *items);
    items[files->count++] = path;
    files->items = items;
    return ST_OK;
}

static void cleanup_dir(DIR **dir) {
    if (*dir) closedir(*dir);
}

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum status app_find_files(const char *path, struct arena *arena, struct app_strings *files,
                           struct error *err) {
    uint32_t before = files->count;
    struct stat about;
    if (stat(path, &about) != 0)
        return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "%s", path);
    if (!S_ISDIR(about.st_mode)) return add(arena, files, "", path, "", err);
    enum status status = add(arena, files, path, "app.yaml", "", err);
    if (status != ST_OK || files->count > before) return status;
    __attribute__((cleanup(cleanup_dir))) DIR *dir = opendir(path);
    if (!dir) return error_set_errno(err, ST_IO, "%s", path);
    for (struct dirent *entry; status == ST_OK && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        const char *dot = strrchr(entry->d_name, '.');
        bool yaml = dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
        status = add(arena, files, path, entry->d_name, yaml ? "" : "/app.yaml", err);
    }
    if (status != ST_OK) return status;
    if (files->count == before)
        return error_set(err, ST_NOT_FOUND, "%s: holds no app.yaml and no NAME.yaml", path);
    const char **items = arena_array(arena, files->count, sizeof *items);
    if (!items) return error_set(err, ST_NO_MEMORY, "out of memory");
    memcpy(items, files->items, files->count * sizeof *items);
    qsort(items + before, files->count - before, sizeof *items, compare);
    files->items = items;
    return ST_OK;
}

static enum status conflict(const struct app *a, const struct app *b, struct error *err) {
    if (strcmp(a->name, b->name) == 0)
        return error_set(err, ST_INVALID, "%s: name: '%s' is also the name of %s", b->file,
                         b->name, a->file);
    for (uint32_t i = 0; i < a->route_count; i++)
        for (uint32_t j = 0; j < b->route_count; j++)
            if (strcmp(a->routes[i].host, b->routes[j].host) == 0 &&
                strcmp(a->routes[i].path, b->routes[j].path) == 0)
                return error_set(
                    err, ST_INVALID,
                    "%s: routes: %s%s is also a route of app %s (%s); give the app "
                    "a host or a path of its own",
                    b->file, *b->routes[j].host ? b->routes[j].host : "(any host)",
                    b->routes[j].path, a->name, a->file);
    return ST_OK;
}

enum status app_conflicts(struct app *const *apps, uint32_t count, struct error *err) {
    enum status status = ST_OK;
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t j = 0; j < i && status == ST_OK; j++)
            status = conflict(apps[j], apps[i], err);
    return status;
}
