/*
 * Sources to kits, and kits to the front. A reload that fails leaves everything as it was: the
 * new set is complete before the old one is given up.
 */
#include "serve/broker.h"

#include "serve/link.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEP_COUNTS_MS 60000

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

static void keep_counts(struct broker *b) {
    for (uint32_t i = 0; i < b->kit_count && b->options->keep_counts; i++)
        b->options->keep_counts(b->options->context, &b->kits[i]);
}

static void free_kits(struct kit_list *list) {
    for (uint32_t i = 0; i < list->count; i++) serve_kit_finish(&list->at[i]);
    free(list->at);
    *list = (struct kit_list){0};
}

/* Takes the app over. */
static enum status add_app(struct broker *b, struct kit_list *list, struct app *app,
                           struct error *err) {
    struct serve_kit kit = {.app = app, .object_fd = -1, .snapshot_fd = -1, .counters_fd = -1};
    struct serve_kit *more = NULL;
    enum status status = b->options->make_kit(b->options->context, &kit, err);
    if (status == ST_OK &&
        !(more = realloc(list->at, (list->count + (size_t)1) * sizeof *more)))
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) {
        serve_kit_finish(&kit);
        return status;
    }
    list->at = more;
    serve_kit_share(&kit);
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

/* A file, a directory with app.yaml, or a directory of apps. */
static enum status read_path(struct broker *b, struct kit_list *list, const char *path,
                             struct error *err) {
    auto_arena struct arena arena = {0};
    struct app_strings files = {0};
    enum status status = app_find_files(path, &arena, &files, err);
    for (uint32_t i = 0; i < files.count && status == ST_OK; i++)
        status = read_one(b, list, files.items[i], err);
    return status;
}

static enum status read_source(struct broker *b, struct kit_list *list, const char *source,
                               struct error *err) {
    struct stat st;
    if (stat(source, &st) == 0) return read_path(b, list, source, err);
    bool is_path = strchr(source, '/') || strstr(source, ".yaml") || strstr(source, ".yml");
    if (is_path || !b->options->read_name)
        return error_set_errno(err, ST_NOT_FOUND, "%s", source);
    struct app *app = NULL;
    enum status status = b->options->read_name(b->options->context, source, &app, err);
    return status == ST_OK ? add_app(b, list, app, err) : status;
}

static enum status check_conflicts(const struct kit_list *list, struct error *err) {
    auto_free struct app **apps = calloc((size_t)list->count + 1, sizeof(struct app *));
    if (!apps) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < list->count; i++) apps[i] = list->at[i].app;
    return app_conflicts(apps, list->count, err);
}

static void take_counts(struct broker *b, struct kit_list *list) {
    for (uint32_t i = 0; i < list->count && b->options->take_counts; i++)
        for (uint32_t j = 0; j < b->kit_count; j++)
            if (strcmp(b->kits[j].app->name, list->at[i].app->name) == 0)
                b->options->take_counts(b->options->context, &list->at[i], &b->kits[j]);
}

static enum status read_all(struct broker *b, struct error *err) {
    struct kit_list list = {0};
    enum status status = ST_OK;
    keep_counts(b); /* what a new kit does not take over, it goes on from */
    for (uint32_t i = 0; i < b->options->source_count && status == ST_OK; i++)
        status = read_source(b, &list, b->options->sources[i], err);
    if (b->options->read_done) b->options->read_done(b->options->context);
    if (status == ST_OK) status = check_conflicts(&list, err);
    if (status != ST_OK) {
        free_kits(&list);
        return status;
    }
    take_counts(b, &list);
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

/* Without reading the apps: they may be half-written just now. */
static void mend(struct broker *b) {
    struct error err = {0};
    for (uint32_t i = 0; i < b->kit_count && b->options->mend_kit; i++)
        if (b->options->mend_kit(b->options->context, &b->kits[i], &err) != ST_OK)
            fprintf(stderr, "hutch: serve: %s: %s\n", b->kits[i].app->name, err.message);
    send_all(b);
}

static void take(struct broker *b, struct link_message *message) {
    if (message->type == LINK_PEER && message->fd_count) {
        if (b->front_fd >= 0) close(b->front_fd);
        b->front_fd = steal_fd(&message->fds[0]);
        send_all(b);
    }
    if (message->type == LINK_RELOAD) reload(b);
    if (message->type == LINK_MEND) mend(b);
    link_close_fds(message);
}

/* A message of the supervisor's or the front's. false: the supervisor is gone. */
static bool serve_links(struct broker *b) {
    struct error ignored = {0};
    struct link_message message;
    struct pollfd polled[2] = {{.fd = b->control_fd, .events = POLLIN},
                               {.fd = b->front_fd, .events = POLLIN}};
    int ready = poll(polled, 2, b->options->keep_counts ? KEEP_COUNTS_MS : -1);
    if (ready < 0) return errno == EINTR;
    if (ready == 0) keep_counts(b);
    if (polled[1].revents) {
        if (link_receive(b->front_fd, &message, &ignored) == ST_OK) {
            take(b, &message);
        } else {
            close(b->front_fd); /* the supervisor brings the next one's */
            b->front_fd = -1;
        }
    }
    if (!polled[0].revents) return true;
    if (link_receive(b->control_fd, &message, &ignored) != ST_OK) return false;
    take(b, &message);
    return true;
}

enum status broker_run(const struct serve_options *options, int control_fd, struct error *err) {
    struct broker b = {.options = options, .control_fd = control_fd, .front_fd = -1};
    enum status status = read_all(&b, err);
    while (status == ST_OK && serve_links(&b)) continue;
    keep_counts(&b);
    return status;
}
