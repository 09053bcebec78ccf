/*
 * reserve: address ranges of a pinned instance that the process has mapped beforehand. Private
 * to runtime; runtime_reserve is in runtime.h.
 */
#ifndef HUTCH_RUNTIME_RESERVE_H
#define HUTCH_RUNTIME_RESERVE_H

#include "runtime/runtime.h"

enum reserved {
    RESERVED_BLOCK,
    RESERVED_MEMORY
};
/* Of the memory so much may be accessible already; a page of the block is. */
#define RESERVED_OPEN_BYTES ABI_WASM_PAGE

/* Once, for each range: whether it is mapped. It is the caller's then. */
bool reserve_take(enum reserved range);
/* Makes present what any instance touches, where the ranges are reserved. */
void reserve_touch(void);

#endif
