/*
 * Sources to kits, and kits to the front. A reload that fails leaves everything as it was: the
 * new set is complete before the old one is given up.
 */
#include "serve/broker.h"

#include "serve/link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

struct broker {
    const struct serve_options *options;
    int control_fd, front_fd;
    struct serve_kit *kits;
    uint32_t kit_count;
};

struct kit_list {
    struct serve_kit *at;
    uint32_t count;
};

static void free_kits(struct kit_list *list) {
    for (uint32_t i = 0; i < list->count; i++) serve_kit_finish(&list->at[i]);
    free(list->at);
    *list = (struct kit_list){0};
}

/* Takes the app over. */
static enum status add_app(struct broker *b, struct kit_list *list, struct app *app,
                           struct error *err) {
    struct serve_kit kit = {.app = app, .object_fd = -1, .snapshot_fd = -1};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->at[i].app->name, app->name) == 0)
            status = error_set(err, ST_INVALID, "%s: another app is named '%s', too (%s)",
                               app->file, app->name, list->at[i].app->file);
    struct serve_kit *more = NULL;
    if (status == ST_OK) status = b->options->make_kit(b->options->context, &kit, err);
    if (status == ST_OK &&
        !(more = realloc(list->at, (list->count + (size_t)1) * sizeof *more)))
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) {
        serve_kit_finish(&kit);
        return status;
    }
    list->at = more;
    list->at[list->count++] = kit;
    return ST_OK;
}

static enum status read_one(struct broker *b, struct kit_list *list, const char *path,
                            struct error *err) {
    struct app *app = NULL;
    enum status status = app_read(path, &app, err);
    if (status == ST_OK) status = app_check_files(app, err);
    if (status != ST_OK) {
        app_free(app);
        return status;
    }
    return add_app(b, list, app, err);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_yaml(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    if (entry->d_name[0] == '.') return 0;
    return (length > 5 && strcmp(entry->d_name + length - 5, ".yaml") == 0) ||
           (length > 4 && strcmp(entry->d_name + length - 4, ".yml") == 0);
}

/* A directory with app.yaml is an app; another is one of app files, in the order of names. */
static enum status read_directory(struct broker *b, struct kit_list *list, const char *path,
                                  struct error *err) {
    char name[4096];
    snprintf(name, sizeof name, "%s/app.yaml", path);
    if (access(name, F_OK) == 0) return read_one(b, list, path, err);
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_yaml, by_name);
    if (count < 0) return error_set_errno(err, ST_IO, "%s: cannot read the directory", path);
    enum status status = ST_OK;
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (status == ST_OK) status = read_one(b, list, name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static enum status read_source(struct broker *b, struct kit_list *list, const char *source,
                               struct error *err) {
    struct stat st;
    if (stat(source, &st) == 0)
        return S_ISDIR(st.st_mode) ? read_directory(b, list, source, err)
                                   : read_one(b, list, source, err);
    bool is_path = strchr(source, '/') || strstr(source, ".yaml") || strstr(source, ".yml");
    if (is_path || !b->options->read_name)
        return error_set_errno(err, ST_NOT_FOUND, "%s", source);
    struct app *app = NULL;
    enum status status = b->options->read_name(b->options->context, source, &app, err);
    return status == ST_OK ? add_app(b, list, app, err) : status;
}

static enum status read_all(struct broker *b, struct error *err) {
    struct kit_list list = {0};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < b->options->source_count && status == ST_OK; i++)
        status = read_source(b, &list, b->options->sources[i], err);
    if (status != ST_OK) {
        free_kits(&list);
        return status;
    }
    struct kit_list old = {b->kits, b->kit_count};
    free_kits(&old);
    b->kits = list.at;
    b->kit_count = list.count;
    return ST_OK;
}

/* ---- links ------------------------------------------------------------------------------- */

/* To the front; one that has gone is replaced by the supervisor, which tells. */
static void send_all(struct broker *b) {
    struct error err = {0};
    enum status status = b->front_fd < 0 ? ST_NOT_FOUND : ST_OK;
    for (uint32_t i = 0; i < b->kit_count && status == ST_OK; i++) {
        status = kit_send(b->front_fd, &b->kits[i], &err);
        if (status == ST_LIMIT) {
            fprintf(stderr, "hutch: serve: %s: %s\n", b->kits[i].app->name, err.message);
            status = ST_OK;
        }
    }
    if (status == ST_OK) status = link_send(b->front_fd, LINK_KITS_END, NULL, 0, &err);
    if (status != ST_OK && b->front_fd >= 0) {
        close(b->front_fd);
        b->front_fd = -1;
    }
}

static void reload(struct broker *b) {
    struct error err = {0};
    if (read_all(b, &err) == ST_OK) {
        send_all(b);
        return;
    }
    fprintf(stderr, "hutch: serve: the apps stay as they were: %s\n", err.message);
    if (link_send(b->control_fd, LINK_FAILED, NULL, 0, &err) != ST_OK) _exit(0);
}

static void take(struct broker *b, struct link_message *message) {
    if (message->type == LINK_PEER && message->fd_count) {
        if (b->front_fd >= 0) close(b->front_fd);
        b->front_fd = steal_fd(&message->fds[0]);
        send_all(b);
    }
    if (message->type == LINK_RELOAD) reload(b);
    link_close_fds(message);
}

enum status broker_run(const struct serve_options *options, int control_fd, struct error *err) {
    struct broker b = {.options = options, .control_fd = control_fd, .front_fd = -1};
    enum status status = read_all(&b, err);
    while (status == ST_OK) {
        struct link_message message;
        struct error ignored = {0};
        if (link_receive(control_fd, &message, &ignored) != ST_OK) break;
        take(&b, &message);
    }
    return status;
}
