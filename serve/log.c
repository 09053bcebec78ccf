/*
 * Lines of JSON. See log.h.
 */
#include "serve/log.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_BYTES ((size_t)64 << 10)

struct log {
    const char *name;
    int fd;
    bool owned;
    struct buffer lines;
    struct event *flush;
    time_t second; /* that stamp stands for */
    char stamp[32];
};

void json_put_string(struct buffer *b, const char *bytes, size_t size) {
    bool valid = utf8_valid((const uint8_t *)bytes, size);
    buffer_put_u8(b, '"');
    for (size_t i = 0; i < size;) {
        size_t plain = i;
        while (plain < size) {
            unsigned char c = (unsigned char)bytes[plain];
            if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f || (c >= 0x80 && !valid)) break;
            plain++;
        }
        buffer_put(b, bytes + i, plain - i);
        i = plain;
        if (i == size) break;
        unsigned char c = (unsigned char)bytes[i++];
        if (c == '"' || c == '\\')
            buffer_printf(b, "\\%c", c);
        else if (c >= 0x80)
            buffer_put(b, "\\ufffd", 6);
        else if (c == '\n')
            buffer_put(b, "\\n", 2);
        else
            buffer_printf(b, "\\u%04x", c);
    }
    buffer_put_u8(b, '"');
}

void log_flush(struct log *log) {
    for (size_t at = 0; at < log->lines.size;) {
        ssize_t n = write(log->fd, log->lines.bytes + at, log->lines.size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* a full disk must not stop the server: the lines are lost */
        at += (size_t)n;
    }
    log->lines.size = 0;
    log->lines.failed = false;
}

static void on_flush(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    log_flush(context);
}

static int open_path(const char *name) {
    return open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

enum status log_open(struct event_base *base, const char *name, int standard_fd,
                     struct log **ret_log, struct error *err) {
    auto_free struct log *log = calloc(1, sizeof *log);
    if (!log) return error_set(err, ST_NO_MEMORY, "out of memory");
    log->name = name;
    log->fd = -1;
    log->second = -1;
    if (strcmp(name, "-") == 0) {
        log->fd = standard_fd;
    } else if (strcmp(name, "off") != 0) {
        log->owned = true;
        log->fd = open_path(name);
        if (log->fd < 0) return error_set_errno(err, ST_IO, "cannot open the log %s", name);
    }
    log->flush = event_new(base, -1, 0, on_flush, log);
    if (!log->flush) return error_set(err, ST_NO_MEMORY, "out of memory");
    *ret_log = steal(log);
    return ST_OK;
}

void log_reopen(struct log *log) {
    if (!log->owned) return;
    log_flush(log);
    int fd = open_path(log->name);
    if (fd < 0) return;
    close(log->fd);
    log->fd = fd;
}

void log_close(struct log *log) {
    if (!log) return;
    log_flush(log);
    if (log->owned) close(log->fd);
    event_free(log->flush);
    buffer_finish(&log->lines);
    free(log);
}

bool log_begin(struct log *log, uint64_t unix_ns) {
    if (log->fd < 0) return false;
    time_t second = (time_t)(unix_ns / 1000000000u);
    if (second != log->second) {
        struct tm tm;
        gmtime_r(&second, &tm);
        strftime(log->stamp, sizeof log->stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        log->second = second;
    }
    buffer_printf(&log->lines, "{\"time\":\"%s.%06uZ\"", log->stamp,
                  (unsigned)(unix_ns / 1000 % 1000000));
    return true;
}

void log_bytes(struct log *log, const char *name, const char *bytes, size_t size) {
    buffer_printf(&log->lines, ",\"%s\":", name);
    json_put_string(&log->lines, bytes, size);
}

void log_text(struct log *log, const char *name, const char *text) {
    if (text) log_bytes(log, name, text, strlen(text));
}

void log_number(struct log *log, const char *name, uint64_t number) {
    buffer_printf(&log->lines, ",\"%s\":%llu", name, (unsigned long long)number);
}

void log_seconds(struct log *log, const char *name, uint64_t ns) {
    buffer_printf(&log->lines, ",\"%s\":%llu.%06u", name,
                  (unsigned long long)(ns / 1000000000u), (unsigned)(ns / 1000 % 1000000));
}

void log_flag(struct log *log, const char *name, bool flag) {
    buffer_printf(&log->lines, ",\"%s\":%s", name, flag ? "true" : "false");
}

void log_end(struct log *log) {
    buffer_put(&log->lines, "}\n", 2);
    if (log->lines.size > FLUSH_BYTES)
        log_flush(log);
    else
        event_active(log->flush, EV_TIMEOUT, 0);
}
