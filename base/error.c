/*
 * Errors as values: the message is built where the failure is seen and gains context on its way
 * up. Nothing here allocates, prints or exits, so a failure can be reported out of memory too.
 */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>

const char *status_text(enum status status) {
    static const char *const texts[] = {
#define X(name, text) text,
        STATUS_LIST(X)
#undef X
    };
    return (size_t)status < countof(texts) ? texts[status] : "unknown status";
}

/* Appends to a message and marks the cut where it did not fit. Returns the new length. */
__attribute__((format(printf, 4, 0))) static size_t
append(char *message, size_t size, size_t length, const char *format, va_list args) {
    if (length >= size - 1) return length;
    int n = vsnprintf(message + length, size - length, format, args);
    if (n < 0) return length;
    if ((size_t)n >= size - length) {
        memcpy(message + size - 4, "...", 4);
        return size - 1;
    }
    return length + (size_t)n;
}

enum status error_set(struct error *err, enum status status, const char *format, ...) {
    if (err) {
        *err = (struct error){.status = status};
        va_list args;
        va_start(args, format);
        append(err->message, sizeof err->message, 0, format, args);
        va_end(args);
    }
    return status;
}

enum status error_set_at(struct error *err, enum status status, uint64_t wasm_offset,
                         const char *format, ...) {
    if (err) {
        *err = (struct error){.status = status, .has_offset = true, .wasm_offset = wasm_offset};
        va_list args;
        va_start(args, format);
        append(err->message, sizeof err->message, 0, format, args);
        va_end(args);
    }
    return status;
}

enum status error_set_errno(struct error *err, enum status status, const char *format, ...) {
    int saved = errno;
    if (err) {
        *err = (struct error){.status = status, .saved_errno = saved};
        va_list args;
        va_start(args, format);
        size_t length = append(err->message, sizeof err->message, 0, format, args);
        va_end(args);
        char text[128];
        const char *message = strerror_r(saved, text, sizeof text); /* the GNU variant */
        size_t room = sizeof err->message - length;
        if (room > 1) {
            int n = snprintf(err->message + length, room, ": %s", message);
            if (n >= 0 && (size_t)n >= room)
                memcpy(err->message + sizeof err->message - 4, "...", 4);
        }
    }
    errno = saved;
    return status;
}

enum status error_wrap(struct error *err, const char *format, ...) {
    if (!err) return ST_INTERNAL;
    char inner[sizeof err->message];
    memcpy(inner, err->message, sizeof inner);
    va_list args;
    va_start(args, format);
    size_t length = append(err->message, sizeof err->message, 0, format, args);
    va_end(args);
    size_t room = sizeof err->message - length;
    if (room > 1) {
        int n = snprintf(err->message + length, room, ": %s", inner);
        if (n >= 0 && (size_t)n >= room)
            memcpy(err->message + sizeof err->message - 4, "...", 4);
    }
    return err->status;
}

void check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "hutch: internal error: %s:%d: %s\n", file, line, condition);
    abort();
}
