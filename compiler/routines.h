/*
 * The memory routines of a code object.
 */
#ifndef HUTCH_COMPILER_ROUTINES_H
#define HUTCH_COMPILER_ROUTINES_H

#include "compiler/lower.h"

/*
 * Adds hidden definitions of memcpy, memmove and memset to m->llvm. LLVM makes up calls of
 * them, and memory.copy and memory.fill end there. One partition of an object has them.
 * ST_INTERNAL where LLVM refuses the text, which is part of this program.
 */
enum status routines_add(struct lower_module *m, struct error *err) must_check;

/* Likewise what lower_known.c calls: functions of this partition alone, with this prefix; and,
 * first, the same functions for x86-64-v3, whatever the target. */
#define KNOWN_PREFIX "known_"
#define KNOWN_WIDE_PREFIX "known_wide_"
enum status routines_add_wide(struct lower_module *m, struct error *err) must_check;
enum status routines_add_known(struct lower_module *m, struct error *err) must_check;

#endif
