/*
 * Control groups (version 2): the server's own processes in one, all tenants in another beside
 * it, so that what tenants use up is taken from tenants. Where systemd has delegated the
 * service's group (Delegate=yes), or the operator names one.
 */
#ifndef HUTCH_SERVE_CGROUP_H
#define HUTCH_SERVE_CGROUP_H

#include "base/base.h"

struct cgroup {
    int procs_fd;         /* of the tenants' group: who writes "0" is in it; or -1: no groups */
    char name[2048];      /* of the group, for people */
    char controllers[64]; /* that hold tenants: "memory pids" */
    uint64_t memory_bytes;  /* of all tenants; UINT64_MAX: no limit of ours */
    uint32_t max_processes; /* likewise */
};
/*
 * Moves this process to GROUP/server, makes GROUP/tenants. wanted: "auto" (the group that was
 * delegated to this process; none is no error), "off", or a directory of the cgroup2 file
 * system. Nothing happens, procs_fd -1, where there is none. ST_IO, ST_UNSUPPORTED.
 */
enum status cgroup_enter(const char *wanted, uint32_t max_tenants, struct cgroup *ret_group,
                         struct error *err) must_check;
/* The same in a directory that is one; own_pid 0: nobody is moved (for tests). */
enum status cgroup_make(int dir_fd, int own_pid, uint32_t max_tenants, struct cgroup *ret_group,
                        struct error *err) must_check;
/* The group that /proc/self/cgroup and /proc/self/mountinfo name, as a path. */
bool cgroup_find(const char *cgroup_text, const char *mountinfo_text, char *ret_path,
                 size_t size);

#endif
