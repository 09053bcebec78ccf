/*
 * hutch-tenant --zygote: a process that is ready to be a tenant, forked whenever the pool wants
 * one. Three kinds of process come of it:
 *
 *     guard     what the server started. Makes the zygote in namespaces of its own, writes its
 *               user map, and waits for it: when the guard dies, so does the zygote
 *     zygote    process 1 of the pid namespace: when it dies, the kernel ends every tenant
 *     tenants   forked; seal themselves, then wait for an app (tenant.c)
 *
 * The zygote has one thread and allocates nothing that grows: it reads a message, forks,
 * answers. It never sees an app's descriptor. The signal handlers and the guest stack of the
 * runtime are set up before the first fork, so that tenants begin with them.
 */
#include "loader/sandbox.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Room for every tenant's, and how much of it is accessible until the app says otherwise
 * (runtime_limit_stack): limits.stack's default, so that most apps say nothing else. */
#define STACK_BYTES (UINT64_C(64) << 20)
#define USUAL_STACK_BYTES (UINT64_C(8) << 20)
#define ZYGOTE_SOCKET_FD TENANT_CONTROL_FD /* replaced by the control socket in a tenant */
#define MAX_LIVING 65536u

/* Which tenant each child is: by pid, small and dense in a namespace of its own. */
struct child {
    pid_t pid;
    uint64_t id;
};
/* Mapped, and not inherited: a page that the zygote writes after a fork would stay behind as
 * the tenant's own. */
static struct children {
    uint32_t count;
    struct child list[MAX_LIVING];
} *children;

static struct child *find_child(pid_t pid) {
    for (uint32_t i = 0, at = (uint32_t)pid % MAX_LIVING; i < MAX_LIVING;
         i++, at = (at + 1) % MAX_LIVING)
        if (children->list[at].pid == pid) return &children->list[at];
    return NULL;
}

/* ---- tenants ----------------------------------------------------------------------------- */

static _Noreturn void begin_tenant(uintptr_t layers) {
    spare_touch();
    tenant_main((uint32_t)layers);
}

static _Noreturn void be_tenant(struct sandbox *s, int control, uint32_t slot) {
    /* The only descriptors from here on: 0 to 2, which lead nowhere, and 3. */
    if (dup3(control, TENANT_CONTROL_FD, O_CLOEXEC) < 0) _exit(1);
    close(control);
    sandbox_enter_tenant(s, slot);
    close(TENANT_CONFIG_FD);
    close(TENANT_OBJECT_FD);
    /* The zygote's frames are of no use any more: the stack begins anew, at the end of the page
     * that is this process's own already, so that those above stay the zygote's. As after a
     * call, there is room for an address to return to. */
    uintptr_t top = ((uintptr_t)__builtin_frame_address(0) | 4095) + 1;
    begin_at(top - sizeof top, (uintptr_t)begin_tenant, s->layers);
}

static void answer_failed(uint64_t id, int error) {
    struct zygote_failed failed = {
        .header = tenant_header(ZYGOTE_FAILED, sizeof failed, id),
        .saved_errno = error,
    };
    if (tenant_send(ZYGOTE_SOCKET_FD, &failed, sizeof failed, NULL, 0, NULL, 0) != 0) _exit(0);
}

static void fork_tenant(struct sandbox *s, const struct zygote_fork *message, int control) {
    uint64_t id = message->header.id;
    struct child *child = children->count < MAX_LIVING ? find_child(0) : NULL;
    if (!child) {
        answer_failed(id, EAGAIN);
        return;
    }
    /* There is one thread and no handler: none of what fork(3) does besides, which writes to
     * pages. */
    pid_t pid = _Fork();
    if (pid == 0) be_tenant(s, control, message->slot);
    if (pid < 0) {
        answer_failed(id, errno);
        return;
    }
    /* Reaped by nobody but this thread, so the number is still the child's. */
    auto_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int error = errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
        answer_failed(id, error);
        return;
    }
    uint32_t at = (uint32_t)pid % MAX_LIVING;
    while (children->list[at].pid) at = (at + 1) % MAX_LIVING;
    children->list[at] = (struct child){.pid = pid, .id = id};
    children->count++;
    struct zygote_forked forked = {
        .header = tenant_header(ZYGOTE_FORKED, sizeof forked, id),
    };
    if (tenant_send(ZYGOTE_SOCKET_FD, &forked, sizeof forked, NULL, 0, &pidfd, 1) != 0)
        _exit(0);
}

static uint64_t timeval_ns(const struct timeval *t) {
    return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_usec * 1000u;
}

static void tell_ended(pid_t pid, int status, const struct rusage *usage) {
    struct child *child = find_child(pid);
    if (!child) return;
    struct zygote_ended ended = {
        .header = tenant_header(ZYGOTE_ENDED, sizeof ended, child->id),
        .status = status,
        .cpu_ns = timeval_ns(&usage->ru_utime) + timeval_ns(&usage->ru_stime),
    };
    child->pid = 0;
    children->count--;
    if (tenant_send(ZYGOTE_SOCKET_FD, &ended, sizeof ended, NULL, 0, NULL, 0) != 0) _exit(0);
}

/*
 * Which child has ended. Asking the kernel for any child makes it walk through all of them,
 * 5,000 perhaps, so the one that the signal names is asked for; signals that came together are
 * one, and the rest is found when nothing else is to be done.
 */
static volatile pid_t ended_pid; /* written by on_child, which runs within ppoll alone */
static bool others_ended;

static void reap_one(void) {
    int status;
    struct rusage usage;
    pid_t pid = ended_pid;
    if (!pid) return;
    ended_pid = 0;
    others_ended = true;
    if (wait4(pid, &status, WNOHANG, &usage) == pid) tell_ended(pid, status, &usage);
}

static void reap_others(void) {
    int status;
    struct rusage usage;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        tell_ended(pid, status, &usage);
    others_ended = false;
}

/* ---- the zygote -------------------------------------------------------------------------- */

static void on_child(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    ended_pid = info->si_pid;
}

static _Noreturn void serve(struct sandbox *s) {
    struct zygote_ready ready = {.header = tenant_header(ZYGOTE_READY, sizeof ready, 0),
                                 .layers = s->layers};
    if (tenant_send(ZYGOTE_SOCKET_FD, &ready, sizeof ready, NULL, 0, NULL, 0) != 0) _exit(0);
    sigset_t open;
    sigemptyset(&open);
    struct pollfd socket = {.fd = ZYGOTE_SOCKET_FD, .events = POLLIN};
    for (;;) {
        const struct timespec soon = {.tv_nsec = 5000000};
        int n = ppoll(&socket, 1, others_ended ? &soon : NULL, &open);
        reap_one();
        if (n == 0) reap_others();
        if (n <= 0) continue;
        struct zygote_fork message;
        uint32_t count = 0;
        int control = -1;
        ssize_t got =
            tenant_receive(ZYGOTE_SOCKET_FD, &message, sizeof message, &control, 1, &count);
        if (got <= 0) _exit(got == 0 ? 0 : 1); /* the pool has gone */
        if (message.header.type != ZYGOTE_FORK || (size_t)got != sizeof message || count != 1)
            _exit(1);
        fork_tenant(s, &message, control);
        close(control);
    }
}

static _Noreturn void be_zygote(struct sandbox *s, int go) {
    char byte;
    ssize_t n;
    while ((n = read(go, &byte, 1)) < 0 && errno == EINTR) continue;
    if (n != 1) _exit(1); /* the guard is dead */
    s->layers |= (uint32_t)(unsigned char)byte;
    if (dup3(s->options.socket_fd, ZYGOTE_SOCKET_FD, O_CLOEXEC) < 0 &&
        s->options.socket_fd != ZYGOTE_SOCKET_FD)
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    if (null < 0) _exit(1);
    for (int fd = 0; fd <= 2; fd++)
        if (dup2(null, fd) < 0) _exit(1);
    if (close_range(ZYGOTE_SOCKET_FD + 1, UINT_MAX, 0) != 0) _exit(1);
    /* Kept free for what ASSIGN brings. */
    if (dup2(0, TENANT_CONFIG_FD) < 0 || dup2(0, TENANT_OBJECT_FD) < 0) _exit(1);

    void *table = mmap(NULL, sizeof *children, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED || madvise(table, sizeof *children, MADV_DONTFORK) != 0) _exit(1);
    children = table;
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &blocked, NULL) != 0) _exit(1);
    if (sigaction(SIGCHLD, &action, NULL) != 0) _exit(1);
    signal(SIGPIPE, SIG_IGN); /* a guest sees EPIPE */
    signal(SIGXFSZ, SIG_IGN);
    struct error err = {0};
    if (runtime_init(ABI_PINNED, STACK_BYTES, &err) != ST_OK ||
        runtime_limit_stack(USUAL_STACK_BYTES, &err) != ST_OK || runtime_reserve(&err) != ST_OK)
        _exit(1);
    /* What each tenant would work out for itself, and write into a page of its own. */
    (void)abi_cpu_features();
    (void)abi_fingerprint();
    (void)crc32c(0, "", 0);
    sandbox_enter_zygote(s);
    seccomp_prepare();
    serve(s);
}

/* ---- the guard --------------------------------------------------------------------------- */

struct begin {
    const struct sandbox *sandbox;
    int go_read, go_write;
};
static _Noreturn void begin_zygote(const struct begin *begin) {
    /* on the stack, whose pages a tenant has for itself in any case */
    struct sandbox sandbox = *begin->sandbox;
    close(begin->go_write);
    be_zygote(&sandbox, begin->go_read);
}

/* fork, in new namespaces. The child goes on on the same stack (zygote_place.c). */
static pid_t clone_into(int namespaces, const struct begin *begin) {
    pid_t pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) begin_zygote(begin);
    return pid;
}

static const int namespaces_all =
    CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

static const uint32_t layers_of_namespaces =
    1u << SANDBOX_PID_NAMESPACE | 1u << SANDBOX_MOUNT_NAMESPACE |
    1u << SANDBOX_NETWORK_NAMESPACE | 1u << SANDBOX_IPC_NAMESPACE;

int zygote_main(const struct zygote_options *options) {
    static struct sandbox sandbox;
    static struct begin begin;
    sandbox.options = *options;
    if (options->uid_count < 2) return 1;
    /* Before the first fork, so that all are in it. */
    if (options->group_fd >= 0) {
        if (write(options->group_fd, "0", 1) != 1) return 1;
        close(options->group_fd);
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return 1;
    auto_fd int go_read = -1;
    auto_fd int go_write = -1;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return 1;
    go_read = ends[0];
    go_write = ends[1];
    begin = (struct begin){.sandbox = &sandbox, .go_read = go_read, .go_write = go_write};

    /* As an ordinary user, the other namespaces can only be had within a user namespace. Root
     * of a container may be no better off. */
    const struct {
        int flags;
        bool as_root;
    } attempts[] = {
        {namespaces_all | CLONE_NEWUSER, true},
        {namespaces_all, true},
        {namespaces_all | CLONE_NEWUSER, false},
        {0, true},
    };
    bool root = geteuid() == 0;
    pid_t pid = -1;
    uint32_t layers = 0;
    for (size_t i = 0; i < countof(attempts) && pid < 0; i++) {
        int flags = attempts[i].flags;
        sandbox.root = root && attempts[i].as_root;
        layers = flags ? layers_of_namespaces : 0;
        if (flags & CLONE_NEWUSER) layers |= 1u << SANDBOX_USER_NAMESPACE;
        pid = clone_into(flags, &begin);
        if (pid > 0 && (flags & CLONE_NEWUSER) && !sandbox_map_users(&sandbox, pid)) {
            kill(pid, SIGKILL);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
            pid = -1;
        }
    }
    if (pid < 0) return 1;
    _Static_assert(SANDBOX_IPC_NAMESPACE < 8, "one byte tells the zygote its namespaces");
    char byte = (char)(unsigned char)layers;
    if (write(go_write, &byte, 1) != 1) return 1;
    /* What remains of this process holds nothing and can do nothing. */
    close_range(0, UINT_MAX, 0);
    if (sandbox.root) {
        uint32_t nobody = options->uid_base;
        if (setresgid(nobody, nobody, nobody) != 0 || setresuid(nobody, nobody, nobody) != 0) {
            /* A container without such a uid: it stays root there, with nothing to hold on to.
             */
        }
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return 1;
    }
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
