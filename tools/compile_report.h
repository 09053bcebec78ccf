/*
 * Between `hutch` and its child `hutch-compiler`: descriptors at fixed numbers, options in argv
 * (placement, level, target, jobs, lines, counters, dump directory), and a pipe with a line a
 * report:
 *
 *     P step done total            progress
 *     E status errno offset text   the error; offset is "-" where there is none
 *
 * hutch takes the child's word for nothing but that: what it reads is bounded and checked.
 */
#ifndef HUTCH_TOOLS_COMPILE_REPORT_H
#define HUTCH_TOOLS_COMPILE_REPORT_H

#include "base/base.h"

#define REPORT_FD_WASM 3    /* a memory file: the module */
#define REPORT_FD_OBJECT 4  /* an empty memory file for the object */
#define REPORT_FD_REPORT 5  /* the pipe */
#define REPORT_FD_PROFILE 6 /* a memory file: a profile to compile by, or empty */
#define REPORT_MAX_BYTES 65536

/* Writers: false where the other end is gone. */
bool report_progress(int fd, const char *step, uint32_t done, uint32_t total);
bool report_error(int fd, const struct error *err);

/* Readers. Takes complete progress lines off the report; the last one decides. */
void report_take_progress(struct buffer *report, char *ret_step, size_t step_size,
                          uint32_t *ret_done, uint32_t *ret_total);
/* true where the report holds an error, which is then in err. */
bool report_take_error(const struct buffer *report, struct error *err);

#endif
