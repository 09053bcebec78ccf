/*
 * Which pages of this process have been touched: PAGEMAP_SCAN of /proc/self/pagemap
 * (Linux 6.7). Private to the snapshot files. The descriptor belongs to the process that opened
 * it, so it is opened after a fork and before /proc is out of reach.
 */
#ifndef HUTCH_RUNTIME_SNAPSHOT_PAGES_H
#define HUTCH_RUNTIME_SNAPSHOT_PAGES_H

#include "runtime/snapshot.h"

/* linux/fs.h of Linux 6.7; Debian 12's headers are older. */
struct pages_region {
    uint64_t start, end; /* addresses */
    uint64_t categories;
};
enum {
    PAGES_WRITTEN = 1 << 1,
    PAGES_FILE = 1 << 2,
    PAGES_PRESENT = 1 << 3,
    PAGES_SWAPPED = 1 << 4,
    PAGES_ZERO = 1 << 5,
};
#define PAGES_MAX_REGIONS 512u

/*
 * Calls visit for each stretch of [start, end) whose pages are there: private ones (a page of
 * their own, present or swapped out), or shared ones (a file's, or the page of zeros).
 * ST_UNSUPPORTED where the kernel cannot tell.
 */
typedef enum status (*pages_visitor)(void *context, uint64_t start, uint64_t size_bytes,
                                     bool is_private, struct error *err);
enum status pages_scan(uint64_t start, uint64_t end, bool private_only, pages_visitor visit,
                       void *context, struct error *err) must_check;
/* What it wrote down is no memory of this process, until it is called again. */
void pages_give_back(void);

#endif
