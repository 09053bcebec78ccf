/*
 * A directory to struct cache. It counts only where nobody but us (or root) can write to it,
 * and only on a file system whose locks and mappings hold between processes: not over a
 * network.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define NODE_DIRECTORY "/var/lib/hutch"

int64_t cache_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

enum status cache_io_status(void) {
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ST_LIMIT : ST_IO;
}

const char *cache_kind_name(enum cache_kind kind) {
    switch (kind) {
#define X(name, number, word)                                                                  \
    case name: return word;
        CACHE_KIND_LIST(X)
#undef X
    default: return "?"; /* from an index of a later version */
    }
}

const char *cache_origin_name(enum cache_origin origin) {
    switch (origin) {
#define X(name, number, word)                                                                  \
    case name: return word;
        CACHE_ORIGIN_LIST(X)
#undef X
    default: return "?";
    }
}

struct cache_key cache_key_of(const struct digest *module, const struct digest *compiler) {
    const struct digest parts[] = {*module, *compiler};
    return (struct cache_key){digest_of(parts, sizeof parts)};
}

enum status cache_default_path(const struct cache_options *o, char *ret_path, size_t size,
                               struct error *err) {
    const char *own = getenv("HUTCH_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME"), *state = getenv("STATE_DIRECTORY");
    int n;
    if (o->path)
        n = snprintf(ret_path, size, "%s", o->path);
    else if (own && *own)
        n = snprintf(ret_path, size, "%s", own);
    else if (state && strcmp(state, NODE_DIRECTORY) == 0) /* StateDirectory=, systemd.exec(5) */
        n = snprintf(ret_path, size, "%s", NODE_DIRECTORY);
    else if (xdg && *xdg == '/') /* the XDG specification has relative ones ignored */
        n = snprintf(ret_path, size, "%s/hutch", xdg);
    else if (home && *home)
        n = snprintf(ret_path, size, "%s/.cache/hutch", home);
    else
        return error_set(err, ST_NOT_FOUND, "neither HUTCH_CACHE_DIR nor HOME is set");
    if (n <= 0) return error_set(err, ST_USAGE, "the cache's path is empty");
    if ((size_t)n >= size) return error_set(err, ST_LIMIT, "the cache's path is too long");
    return ST_OK;
}

/* mkdir -p; new directories are ours alone. */
static enum status make_directories(char *path, struct error *err) {
    for (char *at = path + 1;; at++) {
        char end = *at;
        if (end != '/' && end != '\0') continue;
        *at = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            enum status status = cache_io_status();
            error_set_errno(err, status, "cannot make %s", path);
            *at = end;
            return status;
        }
        *at = end;
        if (end == '\0') return ST_OK;
    }
}

enum status cache_subdir(struct cache *c, const char *name, int *ret_fd, struct error *err) {
    for (unsigned tries = 0; tries < 2; tries++) {
        int fd = openat(c->dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            *ret_fd = fd;
            return ST_OK;
        }
        if (errno != ENOENT || c->read_only) break;
        if (mkdirat(c->dir, name, 0700) < 0 && errno != EEXIST) break;
    }
    return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : cache_io_status(),
                           "cannot open %s/%s", c->path, name);
}

/* ---- what makes a directory one of ours -------------------------------------------------- */

static enum status check_owner(struct cache *c, const char *what, int fd, struct error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot look at %s", c->path);
    c->owner = st.st_uid;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return error_set(err, ST_DAMAGED,
                         "%s%s belongs to user %u; code from there would run as you", c->path,
                         what, (unsigned)st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, ST_DAMAGED, "others can write to %s%s (mode %04o)", c->path, what,
                         (unsigned)st.st_mode & 07777u);
    return ST_OK;
}

static enum status check_file_system(struct cache *c, struct error *err) {
    static const struct {
        unsigned type;
        const char *name;
    } remote[] = {{NFS_SUPER_MAGIC, "NFS"},       {0xff534d42u, "CIFS"},
                  {0xfe534d42u, "SMB2"},          {SMB_SUPER_MAGIC, "SMB"},
                  {AFS_SUPER_MAGIC, "AFS"},       {0x00c36400u, "Ceph"},
                  {0x01021997u /* v9fs */, "9p"}, {CODA_SUPER_MAGIC, "Coda"}};
    struct statfs fs;
    if (fstatfs(c->objects, &fs) < 0)
        return error_set_errno(err, ST_IO, "cannot look at %s", c->path);
    for (size_t i = 0; i < countof(remote); i++)
        if ((unsigned)fs.f_type == remote[i].type)
            return error_set(
                err, ST_UNSUPPORTED,
                "%s lies on %s; a cache needs a local file system (HUTCH_CACHE_DIR)", c->path,
                remote[i].name);
    return ST_OK;
}

/* "2G", "500M", "4096"; a limit that is misspelt must not be none. */
static enum status size_from_environment(const char *name, uint64_t otherwise,
                                         uint64_t *ret_bytes, struct error *err) {
    const char *text = getenv(name);
    *ret_bytes = otherwise;
    if (!text || !*text) return ST_OK;
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10), unit = 1;
    if (*end == 'K') unit = UINT64_C(1) << 10;
    if (*end == 'M') unit = UINT64_C(1) << 20;
    if (*end == 'G') unit = UINT64_C(1) << 30;
    if (*end == 'T') unit = UINT64_C(1) << 40;
    if (*text < '0' || *text > '9' || errno || (unit != 1 && end[1]) || (unit == 1 && *end) ||
        mul_overflows(value, unit, &value))
        return error_set(err, ST_INVALID, "%s is '%.40s', which is no size: 2G, 500M", name,
                         text);
    *ret_bytes = value;
    return ST_OK;
}

static enum status set_options(struct cache *c, const struct cache_options *o,
                               struct error *err) {
    c->describe_object = o->describe_object;
    c->max_bytes = o->max_bytes;
    enum status status = ST_OK;
    if (!c->max_bytes)
        status = size_from_environment("HUTCH_CACHE_MAX_SIZE", CACHE_MAX_BYTES_DEFAULT,
                                       &c->max_bytes, err);
    c->min_free_bytes = o->min_free_bytes;
    struct statvfs fs;
    if (c->min_free_bytes == 0 && fstatvfs(c->objects, &fs) == 0) {
        uint64_t twentieth = (uint64_t)fs.f_blocks * fs.f_frsize / 20;
        c->min_free_bytes =
            twentieth < CACHE_MIN_FREE_DEFAULT ? twentieth : CACHE_MIN_FREE_DEFAULT;
    }
    return status;
}

static enum status open_path(struct cache *c, struct error *err) {
    enum status status;
    c->dir = open(c->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->dir < 0 && errno == ENOENT && !c->read_only) {
        if ((status = make_directories(c->path, err)) != ST_OK) return status;
        c->dir = open(c->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (c->dir < 0)
        return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "cannot open %s",
                               c->path);
    if ((status = check_owner(c, "", c->dir, err)) != ST_OK) return status;
    if (c->owner != geteuid() && geteuid() != 0)
        c->read_only = true; /* root's, seen by a user */
    if ((status = cache_subdir(c, "objects", &c->objects, err)) != ST_OK) return status;
    if ((status = check_owner(c, "/objects", c->objects, err)) != ST_OK) return status;
    return check_file_system(c, err);
}

enum status cache_open(const struct cache_options *options, struct cache **ret_cache,
                       struct error *err) {
    char path[4096];
    enum status status = cache_default_path(options, path, sizeof path, err);
    if (status != ST_OK) return status;
    char *absolute = NULL;
    if (path[0] != '/') { /* who changes directory later still means this one */
        auto_free char *here = getcwd(NULL, 0);
        if (!here || asprintf(&absolute, "%s/%s", here, path) < 0) absolute = NULL;
    } else {
        absolute = strdup(path);
    }
    struct cache *c = calloc(1, sizeof *c);
    if (!c || !absolute) {
        free(c);
        free(absolute);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    *c = (struct cache){
        .path = absolute, .dir = -1, .objects = -1, .read_only = options->read_only};
    guard_install();
    if ((status = open_path(c, err)) != ST_OK ||
        (status = set_options(c, options, err)) != ST_OK) {
        cache_close(c);
        return status;
    }
    counters_open(c);
    *ret_cache = c;
    return ST_OK;
}

void cache_close(struct cache *c) {
    if (!c) return;
    index_close(c);
    counters_close(c);
    if (c->objects >= 0) close(c->objects);
    if (c->dir >= 0) close(c->dir);
    buffer_finish(&c->scratch);
    free(c->path);
    free(c);
}

const char *cache_path(const struct cache *cache) { return cache->path; }
