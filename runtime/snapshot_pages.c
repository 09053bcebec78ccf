/*
 * Which pages of this process are its own: one ioctl for many regions. A page of a private
 * mapping that was written, or populated for writing, is anonymous memory and no longer the
 * file's; one that was only read is the file's, or the shared page of zeros.
 */
#include "runtime/snapshot_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* struct pm_scan_arg of linux/fs.h */
struct scan_argument {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
        category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_argument)

static int pagemap_fd = -1;

enum status snapshot_prepare(int proc_fd, struct error *err) {
    if (pagemap_fd >= 0) close(pagemap_fd);
    pagemap_fd = proc_fd >= 0 ? openat(proc_fd, "self/pagemap", O_RDONLY | O_CLOEXEC)
                              : open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap_fd < 0) return error_set_errno(err, ST_UNSUPPORTED, "/proc/self/pagemap");
    struct scan_argument probe = {.size = sizeof probe, .return_mask = PAGES_PRESENT};
    if (ioctl(pagemap_fd, SCAN_IOCTL, &probe) >= 0) return ST_OK;
    enum status status = error_set_errno(err, ST_UNSUPPORTED, "PAGEMAP_SCAN (Linux 6.7)");
    close(pagemap_fd);
    pagemap_fd = -1;
    return status;
}

static far_zeros _Alignas(ABI_HOST_PAGE) struct pages_region regions[PAGES_MAX_REGIONS];

void pages_give_back(void) { (void)madvise(regions, sizeof regions, MADV_DONTNEED); }

enum status pages_scan(uint64_t start, uint64_t end, bool private_only, pages_visitor visit,
                       void *context, struct error *err) {
    if (pagemap_fd < 0)
        return error_set(err, ST_UNSUPPORTED, "which pages were touched is not known here");
    while (start < end) {
        struct scan_argument scan = {
            .size = sizeof scan,
            .start = start,
            .end = end,
            .vec = (uint64_t)regions,
            .vec_len = PAGES_MAX_REGIONS,
            .category_anyof_mask = PAGES_PRESENT | PAGES_SWAPPED,
            .return_mask = PAGES_FILE | PAGES_ZERO,
        };
        if (private_only) {
            scan.category_inverted = PAGES_FILE | PAGES_ZERO;
            scan.category_mask = PAGES_FILE | PAGES_ZERO;
        }
        int count = ioctl(pagemap_fd, SCAN_IOCTL, &scan);
        if (count < 0) return error_set_errno(err, ST_IO, "PAGEMAP_SCAN");
        for (int i = 0; i < count; i++) {
            bool is_private = !(regions[i].categories & (PAGES_FILE | PAGES_ZERO));
            enum status status = visit(context, regions[i].start,
                                       regions[i].end - regions[i].start, is_private, err);
            if (status != ST_OK) return status;
        }
        if (scan.walk_end <= start) break;
        start = scan.walk_end;
    }
    return ST_OK;
}
