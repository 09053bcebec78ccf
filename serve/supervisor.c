/*
 * The supervisor: the parent of the server's processes. It holds the listening sockets, so that
 * a client may connect while the front is started again, touches no request and no app, and
 * turns signals into messages:
 *
 *   SIGHUP            read the apps again, open the logs again
 *   SIGTERM, SIGINT   finish what is under way, then end; a second one ends at once
 *
 * A child that dies is started again, after a pause that grows where it dies young. Children
 * die with the supervisor (PR_SET_PDEATHSIG), tenants with the front.
 */
#include "serve/broker.h"
#include "serve/cgroup.h"
#include "serve/front.h"
#include "serve/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
#define YOUNG_NS SECOND_NS
#define PAUSE_MAX_NS (5 * SECOND_NS)
#define BROKER_END_MS 5000

enum {
    CHILD_BROKER,
    CHILD_FRONT,
    CHILD_COUNT
};
static const char *const child_names[] = {"broker", "front"};

struct child {
    pid_t pid; /* 0: not running */
    int control_fd;
    uint64_t started_ns, pause_ns, start_at_ns;
};

struct supervisor {
    const struct serve_options *options;
    struct listen_sockets sockets;
    struct child children[CHILD_COUNT];
    int signals;
    sigset_t before;
    bool ready, draining, failed, over;
    uint64_t kill_at_ns, draining_since_ns;
};

static void say(const char *format, ...) printf_like(1, 2);
static void say(const char *format, ...) {
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "hutch: serve: %s\n", text);
}

/* ---- children ---------------------------------------------------------------------------- */

static void run_child(struct supervisor *s, int which, int control_fd, pid_t parent)
    __attribute__((noreturn));
static void run_child(struct supervisor *s, int which, int control_fd, pid_t parent) {
    struct error err = {0};
    char name[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    setpgid(0, 0); /* a terminal's Ctrl-C is for the supervisor */
    snprintf(name, sizeof name, "hutch-%s", child_names[which]);
    prctl(PR_SET_NAME, name);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    close(s->signals);
    for (int i = 0; i < CHILD_COUNT; i++)
        if (s->children[i].control_fd >= 0) close(s->children[i].control_fd);
    unsetenv("NOTIFY_SOCKET");
    enum status status;
    if (which == CHILD_FRONT) {
        status = front_run(s->options, &s->sockets, control_fd, &err);
    } else {
        listen_close(&s->sockets, false);
        status = broker_run(s->options, control_fd, &err);
    }
    if (status != ST_OK) say("%s", err.message);
    fflush(NULL);
    _exit(status == ST_OK ? 0 : 1);
}

static enum status start(struct supervisor *s, int which, struct error *err) {
    struct child *c = &s->children[which];
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run_child(s, which, ends[1], parent);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_set_errno(err, ST_IO, "cannot start the %s", child_names[which]);
    }
    c->pid = pid;
    c->control_fd = ends[0];
    c->started_ns = clock_steady_ns();
    return ST_OK;
}

/* Gives front and broker a new link to each other: whenever one of them is new. */
static void join(struct supervisor *s) {
    struct error err = {0};
    int ends[2];
    if (!s->children[CHILD_BROKER].pid || !s->children[CHILD_FRONT].pid) return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        say("cannot make a socket: %s", strerror(errno));
        return;
    }
    for (int i = 0; i < CHILD_COUNT; i++) {
        /* one that cannot be reached is dying, and joined when it is started again */
        if (link_send(s->children[i].control_fd, LINK_PEER, &ends[i], 1, &err) != ST_OK)
            continue;
    }
    close(ends[0]);
    close(ends[1]);
}

static void send_child(struct supervisor *s, int which, enum link_type type) {
    struct error err = {0};
    if (s->children[which].control_fd < 0) return;
    if (link_send(s->children[which].control_fd, type, NULL, 0, &err) != ST_OK)
        say("%s: %s", child_names[which], err.message);
}

static void child_ended(struct supervisor *s, int which, int status) {
    struct child *c = &s->children[which];
    uint64_t now = clock_steady_ns();
    close(c->control_fd);
    c->control_fd = -1;
    c->pid = 0;
    if (s->draining) {
        if (which == CHILD_FRONT) s->over = true;
        return;
    }
    if (!s->ready && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        s->failed = s->over = true; /* it has said why */
        return;
    }
    if (WIFSIGNALED(status))
        say("the %s was killed by signal %d (%s); it is started again", child_names[which],
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        say("the %s ended with status %d; it is started again", child_names[which],
            WEXITSTATUS(status));
    bool young = now - c->started_ns < YOUNG_NS;
    c->pause_ns = !young ? 0 : c->pause_ns ? c->pause_ns * 2 : SECOND_NS / 10;
    if (c->pause_ns > PAUSE_MAX_NS) c->pause_ns = PAUSE_MAX_NS;
    c->start_at_ns = now + c->pause_ns;
}

static void reap(struct supervisor *s) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int i = 0; i < CHILD_COUNT; i++)
            if (s->children[i].pid == pid) child_ended(s, i, status);
}

static void start_again(struct supervisor *s) {
    bool started = false;
    for (int i = 0; i < CHILD_COUNT && !s->draining && !s->over; i++) {
        struct child *c = &s->children[i];
        struct error err = {0};
        if (c->pid || clock_steady_ns() < c->start_at_ns) continue;
        if (start(s, i, &err) == ST_OK) {
            started = true;
        } else {
            say("%s", err.message);
            c->start_at_ns = clock_steady_ns() + SECOND_NS;
        }
    }
    if (started) join(s);
}

/* ---- signals and messages ---------------------------------------------------------------- */

static void begin_drain(struct supervisor *s) {
    uint64_t now = clock_steady_ns();
    if (s->draining) {
        /* timeout(1) and others signal a process and then its group: that is one signal */
        if (now - s->draining_since_ns < SECOND_NS / 4) return;
        say("ending at once");
        s->over = true;
        return;
    }
    s->draining = true;
    s->draining_since_ns = now;
    s->kill_at_ns = now + s->options->drain_ns + 2 * SECOND_NS;
    notify("STOPPING=1\nSTATUS=finishing the requests under way");
    listen_close(&s->sockets, true);
    if (s->children[CHILD_FRONT].pid)
        send_child(s, CHILD_FRONT, LINK_DRAIN);
    else
        s->over = true;
}

static void take_signals(struct supervisor *s) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) reap(s);
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) begin_drain(s);
        if (info.ssi_signo == SIGHUP && !s->draining) {
            notify_reloading();
            send_child(s, CHILD_FRONT, LINK_REOPEN);
            send_child(s, CHILD_BROKER, LINK_RELOAD);
        }
    }
}

static void say_ready(struct supervisor *s) {
    static const char *const kinds[] = {
        [LISTEN_HTTP] = "HTTP", [LISTEN_FASTCGI] = "FastCGI", [LISTEN_ADMIN] = "admin"};
    s->ready = true;
    for (uint32_t i = 0; i < s->sockets.count; i++)
        say("listening on %s (%s)", s->sockets.at[i].name, kinds[s->sockets.at[i].kind]);
    say("ready");
    notify("READY=1\nSTATUS=serving");
}

static void take_message(struct supervisor *s, int which) {
    struct link_message message;
    struct error err = {0};
    /* an end that is closed shows again as SIGCHLD */
    if (link_receive(s->children[which].control_fd, &message, &err) != ST_OK) return;
    link_close_fds(&message);
    if (message.type == LINK_READY && !s->ready) say_ready(s);
    if (message.type == LINK_RELOADED) {
        say("the apps were read again");
        notify("READY=1\nSTATUS=serving");
    }
    if (message.type == LINK_FAILED)
        notify("READY=1\nSTATUS=the last reload failed; serving the apps of before");
}

static int wait_ms(const struct supervisor *s) {
    uint64_t now = clock_steady_ns(), until = UINT64_MAX;
    for (int i = 0; i < CHILD_COUNT && !s->draining; i++)
        if (!s->children[i].pid && s->children[i].start_at_ns < until)
            until = s->children[i].start_at_ns;
    if (s->draining && s->kill_at_ns < until) until = s->kill_at_ns;
    if (until == UINT64_MAX) return -1;
    return until <= now ? 0 : (int)((until - now) / 1000000) + 1;
}

static void turn(struct supervisor *s) {
    struct pollfd polled[CHILD_COUNT + 1] = {{.fd = s->signals, .events = POLLIN}};
    for (int i = 0; i < CHILD_COUNT; i++)
        polled[i + 1] = (struct pollfd){.fd = s->children[i].control_fd, .events = POLLIN};
    if (poll(polled, CHILD_COUNT + 1, wait_ms(s)) < 0 && errno != EINTR) {
        s->over = s->failed = true;
        return;
    }
    for (int i = 0; i < CHILD_COUNT; i++)
        if (polled[i + 1].revents & POLLIN) take_message(s, i);
    take_signals(s);
    reap(s);
    if (s->draining && !s->over && clock_steady_ns() > s->kill_at_ns) {
        say("the time to drain is over; requests under way are broken off");
        s->over = true;
    }
    start_again(s);
}

/* ---- the beginning and the end ----------------------------------------------------------- */

static enum status open_sockets(struct supervisor *s, struct error *err) {
    const struct serve_options *o = s->options;
    const struct {
        const char *const *at;
        uint32_t count;
        enum listen_kind kind;
    } lists[] = {{o->listen, o->listen_count, LISTEN_HTTP},
                 {o->fastcgi_listen, o->fastcgi_count, LISTEN_FASTCGI},
                 {o->admin_listen, o->admin_count, LISTEN_ADMIN}};
    enum status status = listen_inherit(&s->sockets, err);
    for (size_t l = 0; l < countof(lists); l++)
        for (uint32_t i = 0; i < lists[l].count && status == ST_OK; i++)
            status = listen_open(&s->sockets, lists[l].kind, lists[l].at[i], err);
    bool clients = false;
    for (uint32_t i = 0; i < s->sockets.count; i++)
        clients |= s->sockets.at[i].kind != LISTEN_ADMIN;
    if (status == ST_OK && !clients)
        status = listen_open(&s->sockets, LISTEN_HTTP, "127.0.0.1:8080", err);
    return status;
}

/* Connections and tenants are descriptors: as many as may be. */
static void raise_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A broker that keeps counts ends by itself once its link is closed. */
static void let_end(struct supervisor *s, struct child *c) {
    if (!s->options->keep_counts || c != &s->children[CHILD_BROKER]) return;
    auto_fd int pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    close(c->control_fd);
    c->control_fd = -1;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    (void)!poll(&p, 1, BROKER_END_MS);
}

static void end_children(struct supervisor *s) {
    for (int i = CHILD_COUNT; i-- > 0;) { /* the front first: it may still count */
        struct child *c = &s->children[i];
        if (!c->pid) continue;
        let_end(s, c);
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        if (c->control_fd >= 0) close(c->control_fd);
    }
}

/* Before there is any other process. */
static enum status enter_group(struct serve_options *options, struct error *err) {
    struct cgroup group = {.procs_fd = -1};
    uint32_t tenants = options->max_tenants ? options->max_tenants : 10000;
    enum status status =
        cgroup_enter(options->cgroup ? options->cgroup : "auto", tenants, &group, err);
    if (status != ST_OK) return error_wrap(err, "control group");
    options->tenants_group_fd = group.procs_fd;
    if (group.procs_fd < 0) return ST_OK;
    say("tenants are in the control group %s/tenants (%s)", group.name,
        group.controllers[0] ? group.controllers : "no controller is available");
    return ST_OK;
}

enum status serve_run(const struct serve_options *given, struct error *err) {
    struct serve_options own = *given, *options = &own;
    struct supervisor s = {.options = options, .signals = -1};
    sigset_t signals;
    for (int i = 0; i < CHILD_COUNT; i++) s.children[i].control_fd = -1;
    raise_limit();
    /* What outlives the broker (holders of volumes) is ours to reap. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &s.before);
    s.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.signals < 0) return error_set_errno(err, ST_IO, "cannot receive signals");
    enum status status = open_sockets(&s, err);
    if (status == ST_OK) status = enter_group(options, err);
    for (int i = 0; i < CHILD_COUNT && status == ST_OK; i++) status = start(&s, i, err);
    if (status == ST_OK) {
        join(&s);
        while (!s.over) turn(&s);
    }
    end_children(&s);
    listen_close(&s.sockets, true);
    close(s.signals);
    if (status == ST_OK && s.failed)
        status = error_set(err, ST_EXIT, "the server could not start"); /* said by a child */
    return status;
}

struct serve_options serve_defaults(void) {
    return (struct serve_options){.tenants_group_fd = -1,
                                  .access_log = "-",
                                  .log = "-",
                                  .spares = 2,
                                  .prepared = 2,
                                  .max_hibernated_bytes = UINT64_C(16) << 30,
                                  .keep_free_bytes = UINT64_MAX,
                                  .max_connections = 8192,
                                  .head_bytes = 32 << 10,
                                  .line_bytes = 8 << 10,
                                  .head_ns = 10 * SECOND_NS,
                                  .body_ns = 30 * SECOND_NS,
                                  .write_ns = 30 * SECOND_NS,
                                  .idle_ns = 60 * SECOND_NS,
                                  .drain_ns = 30 * SECOND_NS};
}
