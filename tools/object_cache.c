/*
 * Objects kept from one run to the next: the directory $HUTCH_CACHE_DIR, else
 * $XDG_CACHE_HOME/hutch, else ~/.cache/hutch, with a file objects/KEY.hutch for each key,
 * published all or nothing and never written to again. The key covers the module's bytes, the
 * compiler and its options.
 *
 * What lies there is native code that will run as us, so a file counts only where nobody else
 * can write to it, and only after the loader's reader has found nothing wrong with it. Anything
 * else is treated as not there, and the next compilation takes its place.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/loader.h"

/* The cache's directory into ret_path. */
static enum status cache_directory(char *ret_path, size_t size, struct error *err) {
    const char *own = getenv("HUTCH_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int n;
    if (own && *own)
        n = snprintf(ret_path, size, "%s", own);
    else if (xdg && *xdg == '/') /* the XDG specification has relative ones ignored */
        n = snprintf(ret_path, size, "%s/hutch", xdg);
    else if (home && *home)
        n = snprintf(ret_path, size, "%s/.cache/hutch", home);
    else
        return error_set(err, ST_NOT_FOUND, "neither HUTCH_CACHE_DIR nor HOME is set");
    if (n < 0 || (size_t)n >= size) return error_set(err, ST_LIMIT, "the path is too long");
    return ST_OK;
}

/* mkdir -p; new directories are ours alone. */
static enum status make_directories(char *path, struct error *err) {
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        int made = mkdir(path, 0700);
        bool failed = made < 0 && errno != EEXIST;
        if (failed) error_set_errno(err, ST_IO, "cannot make %s", path);
        *at = '/';
        if (failed) return ST_IO;
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ST_IO, "cannot make %s", path);
    return ST_OK;
}

/* objects/ of the cache, opened. */
static enum status open_objects(bool make, int *ret_fd, struct error *err) {
    char path[4096];
    enum status status = cache_directory(path, sizeof path - sizeof "/objects", err);
    if (status != ST_OK) return status;
    strcat(path, "/objects");
    if (make && (status = make_directories(path, err)) != ST_OK) return status;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "cannot open %s",
                               path);
    *ret_fd = fd;
    return ST_OK;
}

static void file_name(const struct object_key *key, char ret_name[DIGEST_HEX_SIZE + 8]) {
    digest_hex(&key->name, ret_name);
    strcat(ret_name, ".hutch");
}

/* Nobody but us and root may have written it. */
static bool safe_to_trust(const struct stat *st) {
    return (st->st_uid == geteuid() || st->st_uid == 0) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

enum status object_file_check(int fd, bool check_host, struct abi_compat *ret_compat,
                              struct error *err) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_map_file(fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    if (!bytes) return error_set(err, ST_DAMAGED, "truncated code object: 0 bytes");
    auto_arena struct arena arena = {0};
    struct abi_object object;
    status = object_read(bytes, size, check_host, &arena, &object, err);
    if (status == ST_OK) status = object_verify_digest(bytes, size, err);
    if (status == ST_OK) *ret_compat = object.compat;
    munmap((void *)(uintptr_t)bytes, size);
    return status;
}

static struct digest key_name(const struct digest *module, const struct digest *compiler) {
    const struct digest parts[] = {*module, *compiler};
    return digest_of(parts, sizeof parts);
}

enum status object_cache_key(const struct buffer *wasm, const struct compile_options *options,
                             struct object_key *ret_key, struct error *err) {
    struct digest compiler;
    enum status status = compile_fingerprint(options, &compiler, err);
    if (status != ST_OK) return status;
    struct digest module = digest_of(wasm->bytes, wasm->size);
    ret_key->name = key_name(&module, &compiler);
    return ST_OK;
}

/* true where the file holds what its name says and can run here. */
static bool usable(int fd, const struct object_key *key) {
    struct stat st;
    struct abi_compat compat;
    struct error err = {0};
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !safe_to_trust(&st) ||
        object_file_check(fd, true, &compat, &err) != ST_OK)
        return false;
    struct digest name = key_name(&compat.module, &compat.compiler);
    return digest_equal(&key->name, &name);
}

enum status object_cache_find(const struct object_key *key, int *ret_fd, struct error *err) {
    auto_fd int dir = -1;
    enum status status = open_objects(false, &dir, err);
    if (status != ST_OK) return status;
    struct stat st;
    if (fstat(dir, &st) < 0 || !safe_to_trust(&st))
        return error_set(err, ST_DAMAGED, "the cache can be written by others");
    char name[DIGEST_HEX_SIZE + 8];
    file_name(key, name);
    auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || !usable(fd, key))
        return error_set(err, ST_NOT_FOUND, "%s is not in the cache", name);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status object_cache_keep(const struct object_key *key, int object_fd, struct error *err) {
    auto_fd int dir = -1;
    enum status status = open_objects(true, &dir, err);
    if (status != ST_OK) return status;
    const uint8_t *bytes;
    size_t size;
    if ((status = cli_map_file(object_fd, &bytes, &size, err)) != ST_OK) return status;
    char name[DIGEST_HEX_SIZE + 8];
    file_name(key, name);
    status = file_publish(dir, name, bytes, size, 0444, err);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return status;
}
