/*
 * Branch hints: which way a module's own if and br_if usually go. Private to compiler/. Such a
 * section is made of a profile by hint_write.c (profile.h).
 */
#ifndef HUTCH_COMPILER_BRANCH_HINTS_H
#define HUTCH_COMPILER_BRANCH_HINTS_H

#include "compiler/module.h"

#define BRANCH_HINTS_SECTION "metadata.code.branch_hint"

/* Sorted by offset, which is from the beginning of the function's body. */
struct branch_hint {
    uint32_t offset;
    bool taken; /* with a condition that is not 0 */
};

/* Whether a custom section of this name holds them. */
static inline bool is_branch_hints(const uint8_t *name, size_t length) {
    return length == strlen(BRANCH_HINTS_SECTION) &&
           memcmp(name, BRANCH_HINTS_SECTION, length) == 0;
}
/* Best effort: of a damaged section nothing is taken. */
void module_decode_hints(struct module *module, const uint8_t *bytes, size_t size);
/* The hint of the instruction at this offset of the module, or NULL. Offsets must come in
 * order; *next is 0 before the first. */
const struct branch_hint *branch_hint_at(const struct module_function *function,
                                         uint64_t offset, uint32_t *next);

#endif
