/*
 * Control groups, see cgroup.h and docs/tenants.md.
 *
 *     GROUP            delegated; no process of its own, or no controller could be given on
 *      |-- server      supervisor, front, broker; memory.low: the kernel takes from others
 * first
 *      '-- tenants     guard, zygote, tenants: memory.max under the group's, so that it is a
 *                      tenant that is killed where memory ends; pids.max
 *
 * A controller that the machine does not give is left out, and said to be.
 */
#include "serve/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SERVER_MEMORY_LEAST (UINT64_C(64) << 20)
#define OTHER_PROCESSES 64u /* beside tenants: guard, zygote, those that are ending */

static bool read_file(int dir_fd, const char *name, char *ret, size_t size) {
    auto_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);
    if (n < 0) return false;
    ret[n] = '\0';
    return true;
}

static bool write_file(int dir_fd, const char *name, const char *text) {
    auto_fd int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool write_number(int dir_fd, const char *name, uint64_t number) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return write_file(dir_fd, name, text);
}

/* ---- which group ------------------------------------------------------------------------- */

/* "0::/system.slice/hutch.service" and the mount of type cgroup2. */
bool cgroup_find(const char *cgroup_text, const char *mountinfo_text, char *ret_path,
                 size_t size) {
    const char *group =
        strncmp(cgroup_text, "0::", 3) == 0 ? cgroup_text : strstr(cgroup_text, "\n0::");
    if (!group) return false;
    group += strspn(group, "\n") + 3;
    size_t group_length = strcspn(group, "\n");
    for (const char *line = mountinfo_text; *line;
         line += strcspn(line, "\n"), line += *line != 0) {
        /* 41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw (proc(5)) */
        char root[200], place[1024];
        size_t length = strcspn(line, "\n");
        const char *type = memmem(line, length, " - cgroup2 ", 11);
        if (!type || sscanf(line, "%*s %*s %*s %199s %1023s", root, place) != 2) continue;
        if (strcmp(root, "/") != 0) continue; /* a part of the tree: paths do not begin there */
        bool top = group_length == 1;
        int n = snprintf(ret_path, size, "%s%.*s", place, top ? 0 : (int)group_length, group);
        return n > 0 && (size_t)n < size;
    }
    return false;
}

/* systemd says so by an attribute of the directory (systemd.resource-control(5)). */
static bool is_delegated(const char *path) {
    static const char *const names[] = {"user.delegate", "trusted.delegate"};
    char value[4];
    for (size_t i = 0; i < countof(names); i++)
        if (getxattr(path, names[i], value, sizeof value) == 1 && value[0] == '1') return true;
    return false;
}

/* ---- making ------------------------------------------------------------------------------ */

static int make_child(int dir_fd, const char *name) {
    if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST) return -1;
    return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Memory of the group less what the server needs; of what is above it the kernel knows. */
static uint64_t memory_for_tenants(int dir_fd) {
    char text[64];
    if (!read_file(dir_fd, "memory.max", text, sizeof text) || text[0] < '0' || text[0] > '9')
        return UINT64_MAX;
    uint64_t limit = strtoull(text, NULL, 10), reserve = limit / 16;
    if (reserve < SERVER_MEMORY_LEAST) reserve = SERVER_MEMORY_LEAST;
    return limit > 2 * reserve ? limit - reserve : limit / 2;
}

enum status cgroup_make(int dir_fd, int own_pid, uint32_t max_tenants, struct cgroup *ret_group,
                        struct error *err) {
    static const char *const wanted[] = {"memory", "pids", "cpu"};
    struct cgroup g = {.procs_fd = -1, .memory_bytes = UINT64_MAX};
    auto_fd int server = make_child(dir_fd, "server");
    auto_fd int tenants = server < 0 ? -1 : make_child(dir_fd, "tenants");
    if (tenants < 0) return error_set_errno(err, ST_IO, "cannot make a control group");
    if (own_pid && !write_number(server, "cgroup.procs", (uint64_t)own_pid))
        return error_set_errno(err, ST_IO, "cannot enter a control group");
    for (size_t i = 0; i < countof(wanted); i++) {
        char text[16];
        snprintf(text, sizeof text, "+%s", wanted[i]);
        if (!write_file(dir_fd, "cgroup.subtree_control", text)) continue;
        size_t at = strlen(g.controllers);
        snprintf(g.controllers + at, sizeof g.controllers - at, "%s%s", at ? " " : "",
                 wanted[i]);
    }
    g.memory_bytes = memory_for_tenants(dir_fd);
    g.max_processes = max_tenants + OTHER_PROCESSES;
    bool memory = strstr(g.controllers, "memory"), pids = strstr(g.controllers, "pids");
    if (memory) (void)write_number(server, "memory.low", SERVER_MEMORY_LEAST);
    if ((memory && g.memory_bytes != UINT64_MAX &&
         !write_number(tenants, "memory.max", g.memory_bytes)) ||
        (pids && !write_number(tenants, "pids.max", g.max_processes)))
        return error_set_errno(err, ST_IO, "cannot limit a control group");
    g.procs_fd = openat(tenants, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (g.procs_fd < 0) return error_set_errno(err, ST_IO, "cannot open a control group");
    *ret_group = g;
    return ST_OK;
}

enum status cgroup_enter(const char *wanted, uint32_t max_tenants, struct cgroup *ret_group,
                         struct error *err) {
    char path[1800], own[8192], mounts[65536];
    bool automatic = strcmp(wanted, "auto") == 0;
    *ret_group = (struct cgroup){.procs_fd = -1};
    if (strcmp(wanted, "off") == 0) return ST_OK;
    if (automatic) {
        if (!read_file(AT_FDCWD, "/proc/self/cgroup", own, sizeof own) ||
            !read_file(AT_FDCWD, "/proc/self/mountinfo", mounts, sizeof mounts) ||
            !cgroup_find(own, mounts, path, sizeof path) || !is_delegated(path))
            return ST_OK;
        wanted = path;
    }
    auto_fd int dir = open(wanted, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return error_set_errno(err, ST_IO, "cannot open %s", wanted);
    if (faccessat(dir, "cgroup.subtree_control", F_OK, 0) != 0)
        return error_set(err, ST_UNSUPPORTED, "%s is no control group (version 2)", wanted);
    enum status status = cgroup_make(dir, getpid(), max_tenants, ret_group, err);
    if (status != ST_OK) return error_wrap(err, "%s", wanted);
    snprintf(ret_group->name, sizeof ret_group->name, "%s", wanted);
    return ST_OK;
}
