/* Which block of a function comes before which on every way to it. Private to compiler/. */
#ifndef HUTCH_COMPILER_DOMINATE_H
#define HUTCH_COMPILER_DOMINATE_H

#include "base/base.h"

#include <llvm-c/Core.h>

struct dominators {
    struct dominator_slot *slots; /* blocks to numbers, open-addressed */
    uint32_t slot_count;          /* a power of two */
    uint32_t count;               /* blocks that can be reached, numbered from the entry on */
    uint32_t *above;              /* of each, the nearest block that dominates it */
};

/* false where there is no memory; finish it after use. */
bool dominators_find(LLVMValueRef function, struct dominators *ret);
/* Whether every way to `below` leads through `above`, another block or the same. */
bool dominators_hold(const struct dominators *d, LLVMBasicBlockRef above,
                     LLVMBasicBlockRef below);
void dominators_finish(struct dominators *d);

#endif
