/*
 * The limit is asked for each time: an operator may move it while the server runs (prlimit(1)).
 * How many are open the size of /proc/self/fd says since Linux 6.2; before, the number of a new
 * descriptor says it as far as there are no holes below.
 */
#include "serve/fd_room.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Tenants being forked, with what each takes, and some more for clients, logs, files. */
#define KEPT_MOST 192u

static uint64_t limit_now(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : UINT64_MAX;
}

static uint64_t open_now(void) {
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return (uint64_t)st.st_size;
    int probe = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (probe < 0) return UINT64_MAX / 2;
    close(probe);
    return (uint64_t)probe;
}

bool fd_room_is_short(enum fd_use use, uint32_t promised) {
    uint64_t limit = limit_now();
    uint64_t kept = limit / 4 < KEPT_MOST ? limit / 4 : KEPT_MOST;
    return open_now() + promised >= limit - kept * use;
}

const char *fd_room_text(char ret_text[160]) {
    snprintf(ret_text, 160,
             "out of file descriptors, there may be %llu: raise LimitNOFILE= (ulimit -Hn)",
             (unsigned long long)limit_now());
    return ret_text;
}
