/*
 * A persistent volume of an app -> its holder's control connection, for the kit
 * (docs/volumes.md).
 *
 *     STATE/volumes/APP/NAME/files     what guests see
 *     STATE/volumes/APP/NAME/socket    where the holder is found by a broker that did not start
 * it
 *
 * A holder goes on while anybody has a connection to it, whatever becomes of the broker: the
 * front's tenants keep their files. So the broker asks the one that is there before it starts
 * another; the lock on the directory says which is the case.
 */
#include "tools/serve_cli.h"

#include "tools/volume_start.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HANDOVER_MS 5000 /* for a holder that is just starting, or ending */

/* One that this broker has a connection to: the same one is given out again, so that an app
 * that has not changed is seen to be the same. */
struct kit_volume {
    struct kit_volume *next;
    char *key; /* "app/name" */
    int control_fd;
};

/* A volume's name as that of a directory: other bytes than the plain ones as %XX. */
static void put_name(const char *name, char *to, size_t size) {
    size_t at = 0;
    for (const char *c = name; *c && at + 4 < size; c++) {
        bool plain = isalnum((unsigned char)*c) || strchr("-_", *c) || (*c == '.' && at > 0);
        at += (size_t)snprintf(to + at, size - at, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    to[at] = '\0';
}

/* dir_fd/name, made where it is not there. */
static enum status enter(int *dir_fd, const char *name, struct error *err) {
    if (mkdirat(*dir_fd, name, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ST_IO, "cannot make the directory %s", name);
    int fd = openat(*dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open the directory %s", name);
    close(*dir_fd);
    *dir_fd = fd;
    return ST_OK;
}

/* The path of a Unix socket has little room; through its directory's descriptor it is short. */
static socklen_t address_of(int place_fd, struct sockaddr_un *ret) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/socket", place_fd);
    return sizeof *ret;
}

static enum status start_holder(int place_fd, int files_fd, const char *key, int *ret_control,
                                struct error *err) {
    struct sockaddr_un address;
    socklen_t size = address_of(place_fd, &address);
    auto_fd int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener < 0) return error_set_errno(err, ST_IO, "cannot make a socket");
    /* Left by a holder that is no more: we have the lock. */
    (void)unlinkat(place_fd, "socket", 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 16) < 0)
        return error_set_errno(err, ST_IO, "cannot listen at the volume's socket");
    (void)fchmodat(place_fd, "socket", 0600, 0);
    return volume_start(files_fd, listener, key, ret_control, err);
}

static enum status connect_holder(int place_fd, int *ret_control, struct error *err) {
    struct sockaddr_un address;
    socklen_t size = address_of(place_fd, &address);
    auto_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, size) < 0)
        return error_set_errno(err, ST_IO, "cannot reach the process of the volume");
    *ret_control = steal_fd(&fd);
    return ST_OK;
}

/* The one that is there, or a new one. */
static enum status reach_holder(int place_fd, int files_fd, const char *key, int *ret_control,
                                struct error *err) {
    for (int waited = 0;; waited += 50) {
        enum status status = volume_lock(files_fd, err);
        if (status == ST_OK) return start_holder(place_fd, files_fd, key, ret_control, err);
        if (status != ST_LIMIT) return status;
        status = connect_holder(place_fd, ret_control, err);
        if (status == ST_OK || waited >= HANDOVER_MS) return status;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

static bool has_gone(int control_fd) {
    struct pollfd p = {.fd = control_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

static enum status open_place(const struct kit_maker *m, const struct app *app,
                              const struct app_volume *volume, int *ret_place, int *ret_files,
                              struct error *err) {
    char name[256];
    put_name(volume->name, name, sizeof name);
    if (!m->state_dir)
        return error_set(err, ST_NOT_FOUND, "there is no place for it: give --state-dir");
    auto_fd int place = open(m->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place < 0) return error_set_errno(err, ST_IO, "cannot open %s", m->state_dir);
    const char *const parts[] = {"volumes", app->name, name};
    enum status status = ST_OK;
    for (size_t i = 0; i < countof(parts) && status == ST_OK; i++)
        status = enter(&place, parts[i], err);
    auto_fd int files = status == ST_OK ? fcntl(place, F_DUPFD_CLOEXEC, 3) : -1;
    if (status == ST_OK) status = enter(&files, "files", err);
    if (status != ST_OK) return status;
    *ret_place = steal_fd(&place);
    *ret_files = steal_fd(&files);
    return ST_OK;
}

static struct kit_volume *known(struct kit_maker *m, const char *key) {
    for (struct kit_volume *v = m->volumes; v; v = v->next)
        if (strcmp(v->key, key) == 0) return v;
    struct kit_volume *v = calloc(1, sizeof *v);
    if (!v || !(v->key = strdup(key))) {
        free(v);
        return NULL;
    }
    v->control_fd = -1;
    v->next = m->volumes;
    m->volumes = v;
    return v;
}

static enum status reach(struct kit_maker *m, struct kit_volume *v, const struct app *app,
                         const struct app_volume *volume, struct error *err) {
    auto_fd int place = -1;
    auto_fd int files = -1;
    enum status status = ST_OK;
    if (v->control_fd >= 0 && has_gone(v->control_fd)) {
        close(v->control_fd);
        v->control_fd = -1;
    }
    if (v->control_fd < 0) {
        status = open_place(m, app, volume, &place, &files, err);
        if (status == ST_OK) status = reach_holder(place, files, v->key, &v->control_fd, err);
    }
    if (status != ST_OK) return status;
    return volume_limit(v->control_fd, volume->size_bytes, volume->files, app->limits.files,
                        err);
}

enum status serve_volume_open(struct kit_maker *m, const struct app *app,
                              const struct app_volume *volume, int *ret_fd, struct error *err) {
    char key[512];
    snprintf(key, sizeof key, "%s/%s", app->name, volume->name);
    struct kit_volume *v = known(m, key);
    if (!v) return error_set(err, ST_NO_MEMORY, "out of memory");
    /* One that was reached may have been ending just then. */
    enum status status = ST_NOT_FOUND;
    for (int i = 0; i < 3 && status == ST_NOT_FOUND; i++) {
        status = reach(m, v, app, volume, err);
        if (status != ST_OK && v->control_fd >= 0) {
            close(v->control_fd);
            v->control_fd = -1;
        }
    }
    if (status != ST_OK) return status;
    *ret_fd = fcntl(v->control_fd, F_DUPFD_CLOEXEC, 3);
    return *ret_fd < 0 ? error_set_errno(err, ST_IO, "cannot duplicate a descriptor") : ST_OK;
}

enum status serve_kit_mend(void *context, struct serve_kit *kit, struct error *err) {
    struct kit_maker *m = context;
    const struct app *app = kit->app;
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        struct tenant_dir *dir = &kit->dirs[i];
        const struct app_volume *volume = NULL;
        for (uint32_t j = 0; j < app->volume_count && dir->volume; j++)
            if (strcmp(app->volumes[j].path, dir->guest) == 0) volume = &app->volumes[j];
        if (!volume || (dir->fd >= 0 && !has_gone(dir->fd))) continue;
        int fd = -1;
        enum status status = serve_volume_open(m, app, volume, &fd, err);
        if (status != ST_OK) return error_wrap(err, "volumes: %s", volume->path);
        if (dir->fd >= 0) close(dir->fd);
        dir->fd = fd;
    }
    return ST_OK;
}
