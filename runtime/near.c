/*
 * Hints from [NEAR_FROM, ABI_PROFILE_BASE): above any code object that was ever seen, and where
 * one reaches that far, or a mapping lies there, the kernel takes another address. Never
 * given again, for few files are mapped in the life of a process; when it is used up, the
 * kernel chooses.
 */
#include "runtime/near.h"
#include "abi/abi.h"

#define NEAR_FROM (ABI_PROFILE_BASE - (UINT64_C(128) << 20))

void *near_hint(uint64_t size_bytes) {
    static near_data uint64_t next = NEAR_FROM;
    if ((uint64_t)(uintptr_t)&next >= ABI_CODE_BASE) return NULL; /* the program is not near */
    if (size_bytes > ABI_PROFILE_BASE - next) return NULL;
    uint64_t at = next;
    next += align_up(size_bytes, ABI_HOST_PAGE);
    return (void *)(uintptr_t)at;
}
