/*
 * What a guest writes: one pipe a tenant, its bytes cut into lines and tagged with the request
 * that is under way. A guest that writes more than its limit during a request is cut off: the
 * rest is read and dropped, with one remark. Nothing is ever waited for, so a guest that floods
 * the log slows down itself alone.
 */
#include "serve/pool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LINE_BYTES 4000u /* longer lines come in pieces */
#define READS_AT_ONCE 8u /* then others are heard */

struct pool_log {
    struct pool_tenant *tenant;
    int fd;
    struct event event;
    uint64_t request, request_bytes; /* which request, and how much of it so far */
    bool cut;
    char *line; /* LINE_BYTES, made with the first byte */
    size_t length;
};

static void emit(struct pool_log *log, const char *text, size_t length, bool remark) {
    const struct pool_tenant *t = log->tenant;
    const struct pool_options *o = &t->pool->options;
    if (!o->log) return;
    o->log(o->context, &(struct pool_log_line){.app = t->app,
                                               .tenant = t->id >> 16,
                                               .request = log->request,
                                               .text = text,
                                               .length = length,
                                               .remark = remark});
}

static void flush(struct pool_log *log) {
    if (log->length) emit(log, log->line, log->length, false);
    log->length = 0;
}

static void take(struct pool_log *log, const char *bytes, size_t size) {
    struct pool_app *app = log->tenant->app;
    uint64_t limit = app->config.limits.log_bytes;
    app->numbers.log_bytes += size;
    if (limit && log->request_bytes + size > limit) {
        size_t rest = limit > log->request_bytes ? (size_t)(limit - log->request_bytes) : 0;
        log->request_bytes += size;
        size = rest;
    } else {
        log->request_bytes += size;
    }
    while (size > 0) {
        const char *newline = memchr(bytes, '\n', size);
        size_t piece = newline ? (size_t)(newline - bytes) : size;
        size_t room = LINE_BYTES - log->length;
        if (piece > room) {
            piece = room;
            newline = NULL;
        }
        memcpy(log->line + log->length, bytes, piece);
        log->length += piece;
        bytes += piece;
        size -= piece;
        if (newline) {
            emit(log, log->line, log->length, false);
            log->length = 0;
            bytes++;
            size--;
        } else if (log->length == LINE_BYTES) {
            flush(log);
        }
    }
    if (limit && log->request_bytes > limit && !log->cut) {
        static const char remark[] = "output limit reached; the rest is dropped";
        flush(log);
        emit(log, remark, sizeof remark - 1, true);
        log->cut = true;
    }
}

/* false at the end of what there is. */
static bool read_once(struct pool_log *log) {
    char bytes[16384];
    ssize_t n = read(log->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) return true;
    if (n <= 0) {
        if (n == 0) event_del(&log->event); /* every writer has closed it */
        return false;
    }
    const struct pool_request *r = log->tenant->request;
    uint64_t request = r ? r->submission.id : 0;
    if (request != log->request) {
        flush(log);
        log->request = request;
        log->request_bytes = 0;
        log->cut = false;
    }
    if (!log->line) log->line = malloc(LINE_BYTES);
    if (log->line) take(log, bytes, (size_t)n);
    return true;
}

static void on_readable(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool_log *log = context;
    for (unsigned i = 0; i < READS_AT_ONCE && read_once(log); i++) continue;
}

void log_drain(struct pool_log *log) {
    /* At most what fits into a pipe: a guest may still be writing. */
    for (unsigned i = 0; i < 64 && read_once(log); i++) continue;
    flush(log);
}

struct pool_log *log_create(struct pool_tenant *tenant, int *ret_write) {
    int ends[2];
    struct pool_log *log = calloc(1, sizeof *log);
    if (!log || pipe2(ends, O_CLOEXEC) != 0) {
        free(log);
        return NULL;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    log->tenant = tenant;
    log->fd = ends[0];
    event_assign(&log->event, tenant->pool->base, log->fd, EV_READ | EV_PERSIST, on_readable,
                 log);
    event_add(&log->event, NULL);
    *ret_write = ends[1];
    return log;
}

void log_destroy(struct pool_log *log) {
    event_del(&log->event);
    close(log->fd);
    free(log->line);
    free(log);
}
