/*
 * How much memory is left for tenants: what the kernel calls available, or less where a control
 * group of this process (or one above it) allows less. What a group uses counts without the
 * files it has read, which the kernel takes back first.
 */
#include "serve/memory_left.h"

#include <fcntl.h>
#include <unistd.h>

static bool read_text(const char *path, char *ret, size_t size) {
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);
    if (n < 0) return false;
    ret[n] = '\0';
    return true;
}

/* The number behind a word at the beginning of a line. */
static bool field(const char *text, const char *word, uint64_t *ret) {
    size_t length = strlen(word);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, length) != 0) continue;
        *ret = strtoull(line + length, NULL, 10);
        return true;
    }
    return false;
}

static bool number(const char *group, const char *file, uint64_t *ret) {
    char path[4200], text[64];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, file);
    if (!read_text(path, text, sizeof text) || text[0] < '0' || text[0] > '9') return false;
    *ret = strtoull(text, NULL, 10);
    return true;
}

static uint64_t left_of_group(const char *group, uint64_t *total) {
    char path[4200], text[8192];
    uint64_t limit = UINT64_MAX, high = 0, used = 0, files = 0;
    (void)number(group, "memory.max", &limit);
    if (number(group, "memory.high", &high) && high < limit) limit = high;
    if (limit < *total) *total = limit;
    if (limit == UINT64_MAX || !number(group, "memory.current", &used)) return UINT64_MAX;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.stat", group);
    if (read_text(path, text, sizeof text)) (void)field(text, "inactive_file ", &files);
    used = used > files ? used - files : 0;
    return limit > used ? limit - used : 0;
}

uint64_t memory_left_bytes(uint64_t *ret_total) {
    char text[8192], *group, *end;
    uint64_t total = UINT64_MAX, left = UINT64_MAX;
    if (read_text("/proc/meminfo", text, sizeof text)) {
        if (field(text, "MemTotal:", &total)) total <<= 10;
        if (field(text, "MemAvailable:", &left)) left <<= 10;
    }
    *ret_total = total;
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return left;
    group = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!group) return left; /* not version 2 of control groups */
    group += group[0] == '\n' ? 4 : 3;
    group[strcspn(group, "\n")] = '\0';
    for (;;) {
        uint64_t here = left_of_group(group[0] == '/' && !group[1] ? "" : group, &total);
        if (here < left) left = here;
        *ret_total = total;
        end = strrchr(group, '/');
        if (!end || !group[1]) return left;
        end[end == group] = '\0'; /* the one above, at last "/" */
    }
}
