/*
 * The lines of compile_report.h, written and read. One file for both directions: they cannot
 * drift apart.
 */
#include "tools/compile_report.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

static bool write_line(int fd, const char *line, int length, size_t size) {
    if (length < 0) return false;
    size_t left = (size_t)length < size ? (size_t)length : size - 1;
    while (left) {
        ssize_t n = write(fd, line, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        line += n;
        left -= (size_t)n;
    }
    return true;
}

bool report_progress(int fd, const char *step, uint32_t done, uint32_t total) {
    char line[128];
    int n = snprintf(line, sizeof line, "P %.60s\t%u %u\n", step, done, total);
    return write_line(fd, line, n, sizeof line);
}

bool report_error(int fd, const struct error *err) {
    char line[sizeof err->message + 96], offset[24] = "-";
    if (err->has_offset) snprintf(offset, sizeof offset, "%" PRIu64, err->wasm_offset);
    int n = snprintf(line, sizeof line, "E %d %d %s\t%s\n", (int)err->status, err->saved_errno,
                     offset, err->message);
    /* the message may hold a line feed, but nothing follows it */
    return write_line(fd, line, n, sizeof line);
}

/* The line at *at, terminated inside the report; NULL where no complete one is left. */
static char *next_line(const struct buffer *report, size_t *at) {
    if (*at >= report->size) return NULL;
    char *line = (char *)report->bytes + *at;
    char *end = memchr(line, '\n', report->size - *at);
    if (!end) return NULL;
    *at += (size_t)(end - line) + 1;
    return line;
}

void report_take_progress(struct buffer *report, char *ret_step, size_t step_size,
                          uint32_t *ret_done, uint32_t *ret_total) {
    size_t at = 0, taken = 0;
    for (char *line; (line = next_line(report, &at)) && line[0] == 'P'; taken = at) {
        char *end = (char *)report->bytes + at - 1;
        *end = '\0';
        char *tab = strchr(line, '\t');
        uint32_t done, total;
        if (tab && sscanf(tab, "%" SCNu32 " %" SCNu32, &done, &total) == 2) {
            *tab = '\0';
            snprintf(ret_step, step_size, "%s", line + 2);
            *ret_done = done;
            *ret_total = total;
        }
    }
    if (taken) {
        memmove(report->bytes, report->bytes + taken, report->size - taken);
        report->size -= taken;
    }
}

bool report_take_error(const struct buffer *report, struct error *err) {
    if (report->size < 2 || report->bytes[0] != 'E') return false;
    char text[sizeof err->message + 96];
    size_t size = report->size < sizeof text - 1 ? report->size : sizeof text - 1;
    memcpy(text, report->bytes, size);
    text[size] = '\0';
    if (text[size - 1] == '\n') text[size - 1] = '\0';
    char *tab = strchr(text, '\t');
    if (!tab) return false;
    *tab = '\0';
    int status = 0, saved_errno = 0;
    char offset[24] = "";
    if (sscanf(text, "E %d %d %23s", &status, &saved_errno, offset) != 3) return false;
    if (status <= ST_OK || status > ST_INTERNAL) status = ST_INTERNAL;
    uint64_t at = 0;
    if (sscanf(offset, "%" SCNu64, &at) == 1)
        error_set_at(err, (enum status)status, at, "%s", tab + 1);
    else
        error_set(err, (enum status)status, "%s", tab + 1);
    err->saved_errno = saved_errno;
    return true;
}
