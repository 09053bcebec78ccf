/*
 * The fuzz harnesses' common ground. A harness is one LLVMFuzzerTestOneInput; libFuzzer drives
 * it under the meson option 'fuzz', and replay.c drives it over a directory in the normal test
 * run.
 */
#ifndef HUTCH_TESTS_FUZZ_FUZZ_H
#define HUTCH_TESTS_FUZZ_FUZZ_H

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/*
 * Turns bytes of chance into a valid module, always the same for the same bytes, and appends it
 * to ret_module. It imports nothing and exports "run": [] -> [i64], which calls every other
 * function and gives a digest of their results, of memory and of globals. It always ends, by
 * returning or by a trap, and leaves nothing to chance: NaNs are made zero as they arise, so
 * two engines agree on every bit.
 */
void smith_module(const uint8_t *bytes, size_t size, struct buffer *ret_module);

#endif
