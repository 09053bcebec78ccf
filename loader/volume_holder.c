/*
 * The process that holds one persistent volume of one app (docs/volumes.md): a directory, and a
 * socket to each tenant of the app. Tenants open nothing; what they want of the directory they
 * ask here, where it is checked and counted (runtime/volume.h).
 *
 *     control connections   from the broker and the front: limits; another tenant's session
 *     listening socket      where a new broker finds a holder that its predecessor has started
 *     sessions              of tenants, whom nobody trusts
 *
 * It belongs to one app, opens nothing outside of the directory (Landlock, openat2), and ends
 * with its last connection: when the server has ended, and nobody has it in use any more.
 */
#include "loader/sandbox.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

enum peer_kind {
    PEER_LISTENER,
    PEER_CONTROL,
    PEER_SESSION
};
struct peer {
    enum peer_kind kind;
    int fd;
    struct volume_session *session;
};
struct holder {
    struct volume *volume;
    int epoll_fd;
    uint32_t connections; /* beside the listening socket */
};

static _Noreturn void fail(const char *what, const struct error *err) {
    fprintf(stderr, "hutch: volume: %s: %s\n", what, err ? err->message : strerror(errno));
    exit(1);
}

/* ---- peers ------------------------------------------------------------------------------- */

/* Takes over fd, in any case. */
static void add_peer(struct holder *h, enum peer_kind kind, int fd) {
    auto_fd int owned = fd;
    struct error ignored = {0};
    struct peer *p = calloc(1, sizeof *p);
    if (!p) return;
    *p = (struct peer){.kind = kind, .fd = fd};
    if (kind == PEER_SESSION &&
        volume_session_open(h->volume, &p->session, &ignored) != ST_OK) {
        free(p);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (p->session) volume_session_close(p->session);
        free(p);
        return;
    }
    (void)steal_fd(&owned);
    h->connections += kind != PEER_LISTENER;
}

static void drop_peer(struct holder *h, struct peer *p) {
    if (p->session) volume_session_close(p->session);
    close(p->fd);
    free(p);
    h->connections--;
}

static void accept_control(struct holder *h, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) add_peer(h, PEER_CONTROL, fd);
}

/* false: the connection is over. */
static bool take_control(struct holder *h, int fd) {
    union {
        struct tenant_header header;
        struct holder_limits limits;
        struct holder_session session;
    } m;
    int passed = -1;
    uint32_t count = 0;
    ssize_t got = tenant_receive(fd, &m, sizeof m, &passed, 1, &count);
    if (got == -EINTR || got == -EAGAIN) return true;
    if (got <= 0) return false;
    if (m.header.type == HOLDER_SESSION && count == 1 && (size_t)got == sizeof m.session) {
        add_peer(h, PEER_SESSION, passed);
        return true;
    }
    if (count) close(passed);
    if (m.header.type != HOLDER_LIMITS || (size_t)got != sizeof m.limits) return false;
    volume_set_limits(h->volume, &(struct volume_limits){.bytes = m.limits.bytes,
                                                         .names = m.limits.names,
                                                         .files = m.limits.files});
    struct volume_use use = volume_use(h->volume);
    struct holder_holds holds = {.header = tenant_header(HOLDER_HOLDS, sizeof holds, 0),
                                 .bytes = use.bytes,
                                 .names = use.names};
    return tenant_send(fd, &holds, sizeof holds, NULL, 0, NULL, 0) == 0;
}

static void serve(struct holder *h) {
    while (h->connections) {
        struct epoll_event events[32];
        int n = epoll_wait(h->epoll_fd, events, 32, -1);
        if (n < 0 && errno != EINTR) fail("epoll", NULL);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            bool stays = true;
            switch (p->kind) {
            case PEER_LISTENER: accept_control(h, p->fd); break;
            case PEER_CONTROL: stays = take_control(h, p->fd); break;
            case PEER_SESSION: stays = volume_session_serve(p->session, p->fd); break;
            }
            if (!stays) drop_peer(h, p); /* one event for each in a round */
        }
    }
}

/* ---- its own walls ----------------------------------------------------------------------- */

/* Everything beneath the directory but running files and making devices; nothing elsewhere. */
static void enter_landlock(int dir_fd) {
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 2) return; /* the first one forbids to move files between directories */
    uint64_t handled = (UINT64_C(1) << 14) - 1;
    if (version >= 3) handled |= UINT64_C(1) << 14; /* truncate */
    if (version >= 5) handled |= UINT64_C(1) << 15; /* ioctl of devices */
    struct {
        uint64_t files, network, scoped;
    } ruleset = {
        .files = handled, .network = version >= 4 ? 3 : 0, .scoped = version >= 6 ? 3 : 0};
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    auto_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
    if (fd < 0) return;
    struct landlock_path_beneath_attr beneath = {
        .allowed_access =
            handled &
            ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                        LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                        LANDLOCK_ACCESS_FS_MAKE_SOCK) &
            ~(UINT64_C(1) << 15),
        .parent_fd = dir_fd};
    if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0)
        (void)syscall(SYS_landlock_restrict_self, fd, 0);
}

static void enter_walls(int dir_fd) {
    struct rlimit none = {0};
    (void)setrlimit(RLIMIT_CORE, &none);
    umask(077);
    (void)unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        (void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    (void)syscall(SYS_capset, &header, data);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("no new privileges", NULL);
    (void)prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
    enter_landlock(dir_fd);
    errno = seccomp_enter_volume();
    if (errno) fail("seccomp", NULL);
}

int volume_holder_main(const struct holder_options *options) {
    struct error err = {0};
    struct holder h = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (h.epoll_fd < 0) fail("epoll", NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    enter_walls(options->dir_fd);
    if (volume_open(options->dir_fd, &h.volume, &err) != ST_OK) fail(options->name, &err);
    if (options->listen_fd >= 0) add_peer(&h, PEER_LISTENER, options->listen_fd);
    add_peer(&h, PEER_CONTROL, options->control_fd);
    serve(&h);
    return 0;
}
