/*
 * Logs: lines of JSON to a file, standard output or standard error. Lines are collected during
 * one turn of the event loop and written at its end.
 */
#ifndef HUTCH_SERVE_LOG_H
#define HUTCH_SERVE_LOG_H

#include "base/base.h"

struct event_base;
struct log;
/* name: a path, "-" (standard_fd) or "off". ST_IO. */
enum status log_open(struct event_base *base, const char *name, int standard_fd,
                     struct log **ret_log, struct error *err) must_check;
void log_reopen(struct log *log); /* after a rotation; keeps the old one where it cannot */
void log_flush(struct log *log);
void log_close(struct log *log);

/* One line: begin, fields, end. Nothing is done where log is off. */
bool log_begin(struct log *log, uint64_t unix_ns); /* {"time":"...Z"; false: off */
void log_text(struct log *log, const char *name, const char *text); /* NULL: no field */
void log_bytes(struct log *log, const char *name, const char *bytes, size_t size);
void log_number(struct log *log, const char *name, uint64_t number);
void log_seconds(struct log *log, const char *name, uint64_t ns);
void log_flag(struct log *log, const char *name, bool flag);
void log_end(struct log *log);

/* Appends a JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void json_put_string(struct buffer *b, const char *bytes, size_t size);

#endif
