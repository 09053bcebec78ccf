/*
 * The one place that prints an error, and the exit statuses. Shared by `hutch` and
 * `hutch-tenant`: to a person they are one program.
 */
#ifndef HUTCH_TOOLS_REPORT_H
#define HUTCH_TOOLS_REPORT_H

#include "base/base.h"

/* docs/cli.md */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_TRAPPED = 134, /* what a shell shows for SIGABRT; wasmtime's too */
};

/* "hutch: WHAT FILE: message at 0x3f2" on stderr, control bytes replaced. file may be NULL.
 * Returns the exit status that belongs to err->status. */
int cli_report(const char *what, const char *file, const struct error *err);
/* "hutch: WHAT FILE: note: ..." */
void cli_note(const char *what, const char *file, const struct error *err);

/* "hutch: run FILE: " and the text of a trap's report, several lines. */
void cli_report_trap(const char *file, const char *report);

#endif
