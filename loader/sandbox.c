/*
 * The layers around a tenant besides its filter. Those that cost time or rights are put on
 * once, in the zygote, and inherited: namespaces come from how it was cloned (zygote.c); here
 * follow the empty root, resource limits, Landlock, capabilities. What is a tenant's own comes
 * after the fork: its uid, the loss of the last capabilities, the filter.
 *
 * Nothing here is a reason not to start: a layer that cannot be had is reported, and the
 * operator decides. docs/tenants.md has the list and what is lost without each.
 */
#include "loader/sandbox.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

static void layer_holds(struct sandbox *s, enum sandbox_layer layer, bool holds) {
    if (holds) s->layers |= 1u << layer;
}

static bool layer_is_on(const struct sandbox *s, enum sandbox_layer layer) {
    return s->layers >> layer & 1;
}

/* ---- users ------------------------------------------------------------------------------- */

static bool write_proc(pid_t process, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)process, name);
    auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);
    return fd >= 0 && write(fd, text, length) == (ssize_t)length;
}

bool sandbox_map_users(const struct sandbox *s, pid_t process) {
    char uids[64], gids[64];
    if (s->root) {
        snprintf(uids, sizeof uids, "0 %u %u\n", s->options.uid_base, s->options.uid_count);
        snprintf(gids, sizeof gids, "%s", uids);
    } else {
        /* user_namespaces(7): without rights outside, one's own uid only, and the gid only
         * after setgroups was given up */
        snprintf(uids, sizeof uids, "0 %u 1\n", (unsigned)getuid());
        snprintf(gids, sizeof gids, "0 %u 1\n", (unsigned)getgid());
        if (!write_proc(process, "setgroups", "deny")) return false;
    }
    return write_proc(process, "uid_map", uids) && write_proc(process, "gid_map", gids);
}

/* ---- files ------------------------------------------------------------------------------- */

/* An empty file system that cannot be written to takes the place of the root; the old one is
 * unmounted, so that no path leads anywhere (pivot_root(2)). */
static bool enter_empty_root(void) {
    /* Nothing of this goes back to whoever started us. */
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
    /* Any directory that is everywhere. */
    const char *place = "/proc";
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("none", place, "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555") != 0)
        return false;
    if (chdir(place) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) return false;
    /* The old root now lies on top of the new one. */
    if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) return false;
    return mount("none", "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) == 0;
}

/* Everything Landlock knows about on this kernel, with no rule that allows any of it: a ruleset
 * for each tenant to put on itself, or -1. */
static int make_landlock(void) {
    struct {
        uint64_t files, network, scoped; /* as the kernel's struct has grown */
    } handled = {0};
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) return -1;
    /* bits by version: 13 file rights, then refer, truncate, (network,) ioctl */
    handled.files = (UINT64_C(1) << 13) - 1;
    if (version >= 2) handled.files |= UINT64_C(1) << 13;
    if (version >= 3) handled.files |= UINT64_C(1) << 14;
    if (version >= 5) handled.files |= UINT64_C(1) << 15;
    if (version >= 4) handled.network = 3; /* bind, connect */
    if (version >= 6) handled.scoped = 3;  /* abstract sockets, signals */
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
}

/* ---- capabilities ------------------------------------------------------------------------ */

static bool set_capabilities(uint64_t wanted) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)wanted, .permitted = (uint32_t)wanted},
        {.effective = (uint32_t)(wanted >> 32), .permitted = (uint32_t)(wanted >> 32)},
    };
    return syscall(SYS_capset, &header, data) == 0;
}

/* Keeps what is needed to give each tenant its uid, and nothing that could come back by exec.
 */
static void drop_capabilities(const struct sandbox *s) {
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        (void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
    uint64_t kept = s->root ? UINT64_C(1) << CAP_SETUID | UINT64_C(1) << CAP_SETGID : 0;
    (void)set_capabilities(kept);
}

static bool has_no_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &header, data) != 0) return false;
    return !(data[0].permitted | data[1].permitted | data[0].effective | data[1].effective |
             data[0].inheritable | data[1].inheritable);
}

/* ---- limits ------------------------------------------------------------------------------ */

/* Both limits; lowered to what is allowed where value is more. */
static bool limit(int what, uint64_t value) {
    struct rlimit old;
    if (getrlimit((__rlimit_resource_t)what, &old) != 0) return false;
    if (old.rlim_max < value) value = old.rlim_max;
    struct rlimit now = {.rlim_cur = value, .rlim_max = value};
    return setrlimit((__rlimit_resource_t)what, &now) == 0;
}

/* RLIMIT_AS cannot be used: a linear memory reserves 8 GiB of addresses. RLIMIT_DATA counts
 * what is private and writable. */
static bool enter_limits(const struct sandbox *s) {
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, s->options.max_memory_bytes) &&
           limit(RLIMIT_DATA, s->options.max_memory_bytes) && limit(RLIMIT_MEMLOCK, 0) &&
           limit(RLIMIT_MSGQUEUE, 0) && limit(RLIMIT_STACK, 1 << 20) &&
           limit(RLIMIT_NOFILE, 256);
}

/* ---- the two moments --------------------------------------------------------------------- */

void sandbox_enter_zygote(struct sandbox *s) {
    s->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool own_users = layer_is_on(s, SANDBOX_USER_NAMESPACE);
    if (s->root) {
        /* In its namespace, root is the first uid of the range; without one, take that. */
        gid_t gid = own_users ? 0 : s->options.uid_base;
        uid_t uid = own_users ? 0 : s->options.uid_base;
        bool mounted = layer_is_on(s, SANDBOX_MOUNT_NAMESPACE);
        if (own_users && (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0))
            _exit(1);
        if (mounted) layer_holds(s, SANDBOX_EMPTY_ROOT, enter_empty_root());
        (void)setgroups(0, NULL);
        if (!own_users) {
            (void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
            /* Root of a container may not have these uids: then all keep the one there is. */
            if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) s->root = false;
        }
    } else if (layer_is_on(s, SANDBOX_MOUNT_NAMESPACE)) {
        layer_holds(s, SANDBOX_EMPTY_ROOT, enter_empty_root());
    }
    drop_capabilities(s);
    layer_holds(s, SANDBOX_NO_NEW_PRIVS, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    layer_holds(s, SANDBOX_MDWE, prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0);
    s->landlock_fd = make_landlock();
    layer_holds(s, SANDBOX_LIMITS, enter_limits(s));
    /* No core dumps, no ptrace by others of the same uid, /proc files for root alone. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    /* After the last change of uid, which takes it back. */
    layer_holds(s, SANDBOX_PARENT_DEATH, prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0);
}

/* The map of its own pages, which a tenant that goes back to a snapshot reads (PAGEMAP_SCAN). A
 * process that cannot be dumped does not own its files in /proc. */
static void prepare_snapshots(const struct sandbox *s) {
    struct error ignored = {0};
    if (s->proc_fd < 0) return;
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    (void)!snapshot_prepare(s->proc_fd, &ignored); /* who needs it is told */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    close(s->proc_fd);
}

void sandbox_enter_tenant(struct sandbox *s, uint32_t slot) {
    prepare_snapshots(s);
    if (s->landlock_fd >= 0) {
        layer_holds(s, SANDBOX_LANDLOCK,
                    syscall(SYS_landlock_restrict_self, s->landlock_fd, 0) == 0);
        close(s->landlock_fd);
    }
    if (s->root) {
        uint32_t own = 1 + slot % (s->options.uid_count - 1);
        if (!layer_is_on(s, SANDBOX_USER_NAMESPACE)) own += s->options.uid_base;
        if (setresgid(own, own, own) != 0 || setresuid(own, own, own) != 0) _exit(1);
        layer_holds(s, SANDBOX_OWN_UID, true);
    }
    (void)set_capabilities(0);
    layer_holds(s, SANDBOX_NO_CAPABILITIES, has_no_capabilities());
    if (!limit(RLIMIT_NPROC, 0)) s->layers &= ~(1u << SANDBOX_LIMITS);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* setuid may have set it back */
    if (layer_is_on(s, SANDBOX_PARENT_DEATH) && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        _exit(1);
    int error = seccomp_enter();
    if (error) {
        /* Without it there is no sandbox worth the name. */
        _exit(1);
    }
    layer_holds(s, SANDBOX_SECCOMP, true);
}
