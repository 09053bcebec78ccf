/*
 * compiler_seal: takes from hutch-compiler what a compiler does not need. Private to tools, but
 * for the test.
 */
#ifndef HUTCH_TOOLS_COMPILER_SEAL_H
#define HUTCH_TOOLS_COMPILER_SEAL_H

#include "base/base.h"

/* From here on the process computes, has memory and threads, reads and writes the descriptors
 * it has, and ends: no file is opened, no socket made, no program started, no memory becomes
 * executable. What compiling may try in passing fails with an errno; anything else ends the
 * process (SIGSYS). ST_UNSUPPORTED where the kernel has no seccomp filters, and nothing is then
 * taken. Before the first thread is started; sources: seccomp(2), prctl(2). */
must_check enum status compiler_seal(struct error *err);

#endif
