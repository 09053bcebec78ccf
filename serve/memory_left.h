#ifndef HUTCH_SERVE_MEMORY_LEFT_H
#define HUTCH_SERVE_MEMORY_LEFT_H

#include "base/base.h"

/* UINT64_MAX where the kernel does not say. ret_total: what there could be at most, the
 * machine's or a control group's; likewise. */
uint64_t memory_left_bytes(uint64_t *ret_total);

#endif
