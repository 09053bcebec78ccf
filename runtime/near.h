/*
 * near: where the host's own mappings of files had best lie in a process whose program lies
 * near the guest (loader/zygote_place.c): there each further corner of the address space costs
 * three pages of page tables. Private to the runtime.
 */
#ifndef HUTCH_RUNTIME_NEAR_H
#define HUTCH_RUNTIME_NEAR_H

#include <stdint.h>

/* A hint for mmap: room for size_bytes that nothing was hinted at before; or NULL. */
void *near_hint(uint64_t size_bytes);

#endif
