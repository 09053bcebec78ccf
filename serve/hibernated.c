/*
 * The directory of hibernated guests: names to what a file may be given to, and back. A file is
 * written under a temporary name and published by rename; it is there, whole, or not. It is
 * removed before the guest that goes on from it gets its first request, so that no state is
 * continued twice.
 */
#include "serve/hibernated.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES 256u
#define REBOOT_WORD "reboot"

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* ---- names ------------------------------------------------------------------------------- */

/* Takes '.' and 16 digits from the end of [text, *end). */
static bool take_number(const char *text, const char **end, uint64_t *ret) {
    uint64_t value = 0;
    if (*end - text < 17) return false;
    for (const char *at = *end - 16; at < *end; at++) {
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'))) return false;
        value = value << 4 | (uint64_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
    }
    *end -= 17;
    *ret = value;
    return **end == '.';
}

/* NULL: no name of ours, or of no use in this boot (*ret_stale). *ret_app_length: of the app's
 * name, with which it begins. */
static struct hibernated *parse(const struct hibernated_dir *dir, const char *name,
                                size_t *ret_app_length, bool *ret_stale) {
    const char *dot = strrchr(name, '.');
    struct hibernated h = {0};
    *ret_stale = false;
    if (!dot) return NULL;
    const char *end = dot;
    if (!take_number(name, &end, &h.serial) || !take_number(name, &end, &h.key.config) ||
        !take_number(name, &end, &h.key.snapshot) || !take_number(name, &end, &h.key.object) ||
        end == name)
        return NULL;
    h.reboot = strcmp(dot + 1, REBOOT_WORD) == 0;
    if (!h.reboot && strcmp(dot + 1, dir->boot) != 0) {
        *ret_stale = strlen(dot + 1) == 8;
        return NULL;
    }
    struct hibernated *copy = malloc(sizeof *copy);
    h.name = copy ? strdup(name) : NULL;
    if (!h.name) {
        free(copy);
        return NULL;
    }
    *ret_app_length = (size_t)(end - name);
    *copy = h;
    return copy;
}

static void temporary_name(uint64_t number, char ret[32]) {
    snprintf(ret, 32, "tmp.%llu", (unsigned long long)number);
}

static void free_one(struct hibernated *h) {
    free(h->name);
    free(h);
}

/* ---- the lists --------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right) {
    const struct hibernated_app *a = left, *b = right;
    return strcmp(a->name, b->name);
}

struct hibernated_app *hibernated_of(const struct hibernated_dir *dir, const char *app) {
    struct hibernated_app key = {.name = (char *)(uintptr_t)app};
    struct hibernated_app **found = dir ? tfind(&key, &dir->apps, by_name) : NULL;
    return found ? *found : NULL;
}

static struct hibernated_app *find_or_add(struct hibernated_dir *dir, char *name) {
    struct hibernated_app *app = hibernated_of(dir, name);
    if (app) {
        free(name);
        return app;
    }
    app = calloc(1, sizeof *app);
    if (app) {
        *app = (struct hibernated_app){.name = name};
        TAILQ_INIT(&app->list);
        if (tsearch(app, &dir->apps, by_name)) return app;
    }
    free(app);
    free(name);
    return NULL;
}

/* false: no memory, and h is freed. */
static bool insert(struct hibernated_dir *dir, struct hibernated *h, size_t app_length) {
    struct hibernated *at;
    char *app = strndup(h->name, app_length);
    h->of = app ? find_or_add(dir, app) : NULL;
    if (!h->of) {
        free_one(h);
        return false;
    }
    TAILQ_FOREACH(at, &h->of->list, of_app) if (at->serial <= h->serial) break;
    if (at)
        TAILQ_INSERT_BEFORE(at, h, of_app);
    else
        TAILQ_INSERT_TAIL(&h->of->list, h, of_app);
    TAILQ_INSERT_HEAD(&dir->all, h, link);
    if (h->serial > dir->last_serial) dir->last_serial = h->serial;
    dir->count++;
    dir->bytes += h->bytes;
    return true;
}

static void forget(struct hibernated_dir *dir, struct hibernated *h) {
    struct hibernated_app *app = h->of;
    TAILQ_REMOVE(&dir->all, h, link);
    TAILQ_REMOVE(&app->list, h, of_app);
    dir->count--;
    dir->bytes -= h->bytes;
    free_one(h);
    if (!TAILQ_EMPTY(&app->list)) return;
    tdelete(app, &dir->apps, by_name);
    free(app->name);
    free(app);
}

/* ---- opening ----------------------------------------------------------------------------- */

static enum status read_boot(char ret[9], struct error *err) {
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[64] = "";
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) return error_set_errno(err, ST_IO, "cannot read %s", path);
    struct digest digest = digest_of(text, (size_t)n);
    for (int i = 0; i < 4; i++) snprintf(ret + 2 * i, 3, "%02x", digest.bytes[i]);
    return ST_OK;
}

static enum status scan(struct hibernated_dir *dir, struct error *err) {
    int copy = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        if (copy >= 0) close(copy);
        return error_set_errno(err, ST_IO, "cannot read the directory");
    }
    for (struct dirent *entry; (entry = readdir(list));) {
        struct stat st;
        bool stale = false;
        size_t app_length = 0;
        struct hibernated *h = parse(dir, entry->d_name, &app_length, &stale);
        if (stale || strncmp(entry->d_name, "tmp.", 4) == 0)
            unlinkat(dir->fd, entry->d_name, 0);
        if (!h) continue;
        if (fstatat(dir->fd, h->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) {
            free_one(h);
            continue;
        }
        h->bytes = (uint64_t)st.st_size;
        if (!insert(dir, h, app_length)) {
            closedir(list);
            return error_set(err, ST_NO_MEMORY, "out of memory");
        }
    }
    closedir(list);
    return ST_OK;
}

enum status hibernated_open(const char *path, struct hibernated_dir **ret_dir,
                            struct error *err) {
    struct hibernated_dir *dir = calloc(1, sizeof *dir);
    if (!dir) return error_set(err, ST_NO_MEMORY, "out of memory");
    TAILQ_INIT(&dir->all);
    dir->lock_fd = -1;
    enum status status = ST_OK;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        status = error_set_errno(err, ST_IO, "cannot make %s", path);
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (status == ST_OK && dir->fd < 0)
        status = error_set_errno(err, ST_IO, "cannot open %s", path);
    /* guests' memory: nobody else's business, whatever the directory was made with */
    if (status == ST_OK && fchmod(dir->fd, 0700) != 0)
        status = error_set_errno(err, ST_IO, "%s", path);
    if (status == ST_OK) {
        dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (dir->lock_fd < 0)
            status = error_set_errno(err, ST_IO, "cannot open %s/lock", path);
        else if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0)
            status = errno == EWOULDBLOCK
                         ? error_set(err, ST_LIMIT, "%s is another server's", path)
                         : error_set_errno(err, ST_IO, "cannot lock %s", path);
    }
    if (status == ST_OK) status = read_boot(dir->boot, err);
    if (status == ST_OK) status = scan(dir, err);
    if (status != ST_OK) {
        hibernated_close(dir);
        return status;
    }
    *ret_dir = dir;
    return ST_OK;
}

void hibernated_close(struct hibernated_dir *dir) {
    struct hibernated *h;
    if (!dir) return;
    while ((h = TAILQ_FIRST(&dir->all))) forget(dir, h);
    if (dir->fd >= 0) close(dir->fd);
    if (dir->lock_fd >= 0) close(dir->lock_fd);
    free(dir);
}

/* ---- writing ----------------------------------------------------------------------------- */

enum status hibernated_create(struct hibernated_dir *dir, bool reboot, int *ret_fd,
                              uint64_t *ret_number, struct error *err) {
    char name[32];
    uint64_t number = dir->next_temporary++;
    temporary_name(number, name);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir->fd, name, flags | (reboot ? O_DSYNC : 0), 0600);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot make a file for a hibernated guest");
    *ret_fd = fd;
    *ret_number = number;
    return ST_OK;
}

void hibernated_abandon(struct hibernated_dir *dir, uint64_t number) {
    char name[32];
    temporary_name(number, name);
    unlinkat(dir->fd, name, 0);
}

enum status hibernated_publish(struct hibernated_dir *dir, uint64_t number, const char *app,
                               const struct hibernated_key *key, bool reboot, uint64_t bytes,
                               struct hibernated **ret, struct error *err) {
    char temporary[32], name[NAME_BYTES];
    size_t app_length = 0;
    bool stale;
    uint64_t serial = now_ns();
    if (serial <= dir->last_serial) serial = dir->last_serial + 1;
    int n = snprintf(name, sizeof name, "%s.%016llx.%016llx.%016llx.%016llx.%s", app,
                     (unsigned long long)key->object, (unsigned long long)key->snapshot,
                     (unsigned long long)key->config, (unsigned long long)serial,
                     reboot ? REBOOT_WORD : dir->boot);
    if (n < 0 || (size_t)n >= sizeof name)
        return error_set(err, ST_LIMIT, "the app's name is too long");
    struct hibernated *h = parse(dir, name, &app_length, &stale);
    if (!h) return error_set(err, ST_NO_MEMORY, "out of memory");
    h->bytes = bytes;
    temporary_name(number, temporary);
    if (renameat(dir->fd, temporary, dir->fd, name) != 0 || (reboot && fsync(dir->fd) != 0)) {
        error_set_errno(err, ST_IO, "cannot publish a hibernated guest");
        unlinkat(dir->fd, name, 0);
        free_one(h);
        return ST_IO;
    }
    if (!insert(dir, h, app_length)) {
        unlinkat(dir->fd, name, 0);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    *ret = h;
    return ST_OK;
}

/* ---- and on ------------------------------------------------------------------------------ */

struct hibernated *hibernated_find(const struct hibernated_dir *dir, const char *app,
                                   const struct hibernated_key *key) {
    struct hibernated *h;
    const struct hibernated_app *of = hibernated_of(dir, app);
    if (!of) return NULL;
    TAILQ_FOREACH(h, &of->list, of_app)
    if (!h->taken && h->key.object == key->object && h->key.snapshot == key->snapshot &&
        h->key.config == key->config)
        return h;
    return NULL;
}

enum status hibernated_read(const struct hibernated_dir *dir, const struct hibernated *h,
                            int *ret_fd, struct error *err) {
    int fd = openat(dir->fd, h->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open %s", h->name);
    *ret_fd = fd;
    return ST_OK;
}

enum status hibernated_remove(struct hibernated_dir *dir, struct hibernated *h,
                              struct error *err) {
    enum status status = ST_OK;
    if ((unlinkat(dir->fd, h->name, 0) != 0 && errno != ENOENT) ||
        (h->reboot && fsync(dir->fd) != 0))
        status = error_set_errno(err, ST_IO, "cannot remove %s", h->name);
    forget(dir, h);
    return status;
}

void hibernated_set_aside(struct hibernated_dir *dir, struct hibernated *h) {
    char name[NAME_BYTES + 8];
    snprintf(name, sizeof name, "lost.%s", h->name);
    if (renameat(dir->fd, h->name, dir->fd, name) != 0) unlinkat(dir->fd, h->name, 0);
    forget(dir, h);
}

void hibernated_clean(struct hibernated_dir *dir, uint64_t age_ns,
                      bool (*is_served)(void *context, const struct hibernated *h),
                      void *context) {
    uint64_t now = now_ns();
    struct hibernated *h, *next;
    struct error ignored = {0};
    for (h = TAILQ_FIRST(&dir->all); h; h = next) {
        next = TAILQ_NEXT(h, link);
        if (!h->taken && now - h->serial > age_ns && now > h->serial && !is_served(context, h))
            (void)!hibernated_remove(dir, h, &ignored);
    }
    int copy = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        if (copy >= 0) close(copy);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list));) {
        struct stat st;
        if (strncmp(entry->d_name, "lost.", 5) != 0 ||
            fstatat(dir->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        uint64_t since = (uint64_t)st.st_mtim.tv_sec * UINT64_C(1000000000);
        if (now > since && now - since > age_ns) unlinkat(dir->fd, entry->d_name, 0);
    }
    closedir(list);
}
