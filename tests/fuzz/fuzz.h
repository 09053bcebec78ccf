/*
 * The fuzz harnesses' common ground. A harness is one LLVMFuzzerTestOneInput; libFuzzer drives
 * it under the meson option 'fuzz', and replay.c drives it over a directory in the normal test
 * run.
 */
#ifndef HUTCH_TESTS_FUZZ_FUZZ_H
#define HUTCH_TESTS_FUZZ_FUZZ_H

#include "compiler/compiler.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/*
 * Turns bytes of chance into a valid module, always the same for the same bytes, and appends it
 * to ret_module. It imports nothing and exports "run": [] -> [i64], which calls every other
 * function and gives a digest of their results, of memory and of globals. It always ends, by
 * returning or by a trap, and leaves nothing to chance: NaNs are made zero as they arise, so
 * two engines agree on every bit.
 */
void smith_module(const uint8_t *bytes, size_t size, struct buffer *ret_module);
/* Likewise, of a module that throws and catches exceptions. */
void smith_throwing_module(const uint8_t *bytes, size_t size, struct buffer *ret_module);
/* The chance that a seed stands for, always the same. */
#define SMITH_CHANCE_BYTES 2800u
void smith_chance(uint64_t seed, uint8_t ret_bytes[SMITH_CHANCE_BYTES]);

/*
 * Compiles one of the smith's modules, instantiates it in this process and calls "run". The
 * outcome as text: the result in decimal, or "trap: " and the trap's message. ST_OK also for a
 * trap. All calls in a process must be for the same placement.
 */
#define OUTCOME_SIZE 96
enum status smith_run(const uint8_t *module, size_t size, enum abi_placement placement,
                      enum compile_level level, char ret_outcome[OUTCOME_SIZE],
                      struct error *err) must_check;
/* Twice: with counters, and compiled by what those counted. */
enum status smith_run_profiled(const uint8_t *module, size_t size, enum abi_placement placement,
                               enum compile_level level, char ret_counted[OUTCOME_SIZE],
                               char ret_outcome[OUTCOME_SIZE], struct error *err) must_check;

#endif
