/*
 * Library routines that modules carry, known by their bodies: memcpy, strlen and their kin from
 * wasi-libc and others. What is known is compiled to native vector code with the same result
 * and the same traps; the original stays for the cases that the vector code leaves to it.
 */
#ifndef HUTCH_COMPILER_KNOWN_H
#define HUTCH_COMPILER_KNOWN_H

#include "compiler/module.h"

enum known_routine {
#define ROUTINE(name, params) KNOWN_##name,
#define KNOWN(name, digest, source)
#include "compiler/known.def"
    KNOWN_COUNT
};

/*
 * The first 16 bytes of SHA-256 over what a function does: its type, its locals, and of each
 * instruction the opcode (u32) and its immediates exactly; of a call the callee's digest. false
 * where it does anything that no such routine does (globals, tables, floats, other memories,
 * calls of functions that call).
 */
#define KNOWN_DIGEST_SIZE 16
bool known_digest(const struct module *module, uint32_t function,
                  uint8_t ret_digest[KNOWN_DIGEST_SIZE]) must_check;
/* Which routine a function is, or KNOWN_COUNT. */
enum known_routine known_find(const struct module *module, uint32_t function);
const char *known_name(enum known_routine routine);
uint32_t known_param_count(enum known_routine routine);

#endif
