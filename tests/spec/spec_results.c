/*
 * Findings of a child process: a counter in shared memory and an event a line in a shared file,
 * written at once, so that a crash in the middle of a script loses nothing that came before.
 * A line is: kind, command number, text. Kinds: F failure, f one that follows from another, S
 * skip, N note.
 */
#include "tests/spec/spec.h"

#include <stdarg.h>
#include <unistd.h>

void result_event(struct result_sink *sink, char kind, const char *format, ...) {
    char line[700];
    int n = snprintf(line, sizeof line, "%c%u\t%s\t", kind, sink->shared->command,
                     sink->shared->command_name);
    if (n < 0) return;
    size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + length, sizeof line - length, format, args);
    va_end(args);
    length = n > 0 ? length + (size_t)n : length;
    if (length > sizeof line - 2) length = sizeof line - 2;
    for (size_t i = 0; i < length; i++)
        if (line[i] == '\n') line[i] = ' ';
    line[length] = '\n';
    if (write(sink->events_fd, line, length + 1) < 0) abort();
}
