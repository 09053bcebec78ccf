/*
 * Control groups, as far as files can show them: which group is ours, what is written where.
 * The kernel's own are used by tests/serve (control_groups), with the controllers that it has.
 */
#include "serve/cgroup.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[] = "/tmp/hutch-cgroup-XXXXXX";

static void path_of_a_group(void) {
    static const char mounts[] =
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "40 31 0:38 /part /somewhere rw - cgroup2 cgroup2 rw\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    char path[200] = "";
    EXPECT(cgroup_find("0::/system.slice/hutch.service\n", mounts, path, sizeof path));
    EXPECT_STR(path, "/sys/fs/cgroup/unified/system.slice/hutch.service");
    EXPECT(cgroup_find("9:name=systemd:/x\n8:pids:/y\n0::/\n", mounts, path, sizeof path));
    EXPECT_STR(path, "/sys/fs/cgroup/unified");
    EXPECT(!cgroup_find("8:pids:/y\n", mounts, path, sizeof path));
    EXPECT(!cgroup_find("0::/x\n", "1 2 0:3 / /x rw - tmpfs tmpfs rw\n", path, sizeof path));
    EXPECT(!cgroup_find("0::/a-name-that-has-no-room\n", mounts, path, 40));
    EXPECT(!cgroup_find("0::/x\n", "", path, sizeof path));
}

static void put(const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", place, name);
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *get(const char *name) {
    static char text[100];
    char path[300];
    snprintf(path, sizeof path, "%s/%s", place, name);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f) fclose(f);
    return text;
}

static void what_is_written(void) {
    struct error err = {0};
    struct cgroup g;
    char path[300];
    int dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *const files[] = {"cgroup.subtree_control", "memory.max",
                                 "server/cgroup.procs",    "server/memory.low",
                                 "tenants/cgroup.procs",   "tenants/memory.max",
                                 "tenants/pids.max"};
    const char *const groups[] = {"server", "tenants"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", place, groups[i]);
        EXPECT(mkdir(path, 0755) == 0);
    }
    for (size_t i = 0; i < countof(files); i++) put(files[i], "");
    put("memory.max", "2147483648\n");
    EXPECT(cgroup_make(dir, 4711, 1000, &g, &err) == ST_OK && g.procs_fd >= 0);
    EXPECT_STR(get("server/cgroup.procs"), "4711");
    EXPECT_STR(get("server/memory.low"), "67108864");
    EXPECT_STR(get("tenants/pids.max"), "1064");
    EXPECT_STR(get("tenants/memory.max"), "2013265920"); /* 2G less a sixteenth */
    EXPECT_STR(g.controllers, "memory pids cpu");
    close(g.procs_fd);
    put("tenants/memory.max", "");
    put("memory.max", "max\n");
    EXPECT(cgroup_make(dir, 0, 1000, &g, &err) == ST_OK && g.memory_bytes == UINT64_MAX);
    EXPECT_STR(get("tenants/memory.max"), "");
    close(g.procs_fd);
    /* small: half at least is the server's */
    put("memory.max", "100000000\n");
    EXPECT(cgroup_make(dir, 0, 1000, &g, &err) == ST_OK);
    EXPECT_STR(get("tenants/memory.max"), "50000000");
    close(g.procs_fd);
    /* no controllers are given: nothing is limited, and it is said */
    snprintf(path, sizeof path, "%s/cgroup.subtree_control", place);
    EXPECT(unlink(path) == 0);
    put("tenants/pids.max", "");
    EXPECT(cgroup_make(dir, 0, 1000, &g, &err) == ST_OK);
    EXPECT_STR(g.controllers, "");
    EXPECT_STR(get("tenants/pids.max"), "");
    close(g.procs_fd);
    EXPECT(cgroup_enter("off", 10, &g, &err) == ST_OK && g.procs_fd == -1);
    EXPECT(cgroup_enter(place, 10, &g, &err) == ST_UNSUPPORTED && g.procs_fd == -1);
    EXPECT(cgroup_enter("/nowhere", 10, &g, &err) == ST_IO);
    close(dir);
}

int main(void) {
    char command[64];
    EXPECT(mkdtemp(place) != NULL);
    path_of_a_group();
    what_is_written();
    snprintf(command, sizeof command, "rm -rf %s", place);
    EXPECT(system(command) == 0);
    return test_end();
}
