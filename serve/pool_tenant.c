/*
 * One tenant from its fork to its end. What it says on its control socket is attackers'
 * material: every message is checked against what it may say now, and anything else ends it.
 * How it ended and what CPU time it took, the zygote and the kernel say.
 *
 * A tenant is ended by SIGKILL through its pidfd, whatever it is doing: nothing in it is worth
 * an orderly end. It keeps its slot (and with it its uid) until the zygote has reaped it.
 */
#include "serve/fd_room.h"
#include "serve/pool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BACKSTOP_NS UINT64_C(50000000)
#define DEATH_MS 100
/* At most so many are being forked at a time: a burst of requests must not starve the loop. */
#define MAX_STARTING 32u
#define SAY_AGAIN_NS UINT64_C(10000000000)

static uint64_t serial_of(const struct pool_tenant *t) { return t->id >> 16; }

/* ---- CPU time ---------------------------------------------------------------------------- */

bool tenant_cpu_ns(const struct pool_tenant *t, uint64_t *ret_ns) {
    struct timespec ts;
    if (t->pid <= 0 || t->pidfd < 0) return false;
    /* clock_getcpuclockid(3) without its check, which is one more system call */
    clockid_t clock = (clockid_t)((~(unsigned)t->pid << 3) | 2);
    if (clock_gettime(clock, &ts) != 0) return false;
    *ret_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return true;
}

void tenant_account(struct pool_tenant *t, uint64_t now_ns) {
    if (now_ns <= t->accounted_ns) return;
    if (t->app) t->app->numbers.overhead_cpu_ns += now_ns - t->accounted_ns;
    t->accounted_ns = now_ns;
}

/* PIDFD_GET_INFO of linux/pidfd.h (6.13), as far as its first version goes. */
struct pidfd_answer {
    uint64_t mask, cgroup;
    uint32_t pid, others[11];
};
#define PIDFD_ASK _IOWR(0xff, 11, struct pidfd_answer)

/* The pid here of the process behind a pidfd (its number in the zygote's namespace is another).
 */
static pid_t pid_of(int pidfd) {
    struct pidfd_answer answer = {.mask = 1};
    _Static_assert(sizeof answer == 64, "PIDFD_INFO_SIZE_VER0");
    if (ioctl(pidfd, PIDFD_ASK, &answer) == 0 && answer.mask & 1) return (pid_t)answer.pid;
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) return -1;
    text[n] = '\0';
    const char *at = strstr(text, "\nPid:");
    return at ? (pid_t)strtol(at + 5, NULL, 10) : -1;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void close_control(struct pool_tenant *t) {
    if (t->control < 0) return;
    event_del(&t->control_event);
    close(t->control);
    t->control = -1;
}

/* Takes it out of the list and the counts of its state. */
static void leave_state(struct pool_tenant *t) {
    switch (t->state) {
    case POOL_TENANT_STARTING: t->pool->starting_count--; break;
    case POOL_TENANT_SPARE:
        TAILQ_REMOVE(&t->pool->spares, t, link);
        t->pool->spare_count--;
        break;
    case POOL_TENANT_PREPARED:
        TAILQ_REMOVE(&t->app->prepared, t, link);
        t->app->prepared_count--;
        t->pool->prepared_count--;
        break;
    case POOL_TENANT_WARMING: t->app->warming_count--; break;
    case POOL_TENANT_IDLE:
        TAILQ_REMOVE(&t->app->idle, t, link);
        t->app->idle_count--;
        break;
    case POOL_TENANT_BUSY: t->app->busy_count--; break;
    case POOL_TENANT_ENDING: break;
    }
}

/* Puts it into those of another, which it is in from now on. */
static void enter_state(struct pool_tenant *t, enum pool_tenant_state state) {
    switch (state) {
    case POOL_TENANT_STARTING: t->pool->starting_count++; break;
    case POOL_TENANT_SPARE:
        TAILQ_INSERT_TAIL(&t->pool->spares, t, link);
        t->pool->spare_count++;
        break;
    case POOL_TENANT_PREPARED:
        TAILQ_INSERT_TAIL(&t->app->prepared, t, link);
        t->app->prepared_count++;
        t->pool->prepared_count++;
        break;
    case POOL_TENANT_WARMING: t->app->warming_count++; break;
    case POOL_TENANT_IDLE:
        /* The last used is the first to be used again: its pages are warm, the others age. */
        TAILQ_INSERT_HEAD(&t->app->idle, t, link);
        t->app->idle_count++;
        break;
    case POOL_TENANT_BUSY: t->app->busy_count++; break;
    case POOL_TENANT_ENDING: break;
    }
    t->state = state;
}

static void kill_process(struct pool_tenant *t) {
    if (t->pidfd >= 0) syscall(SYS_pidfd_send_signal, t->pidfd, SIGKILL, NULL, 0);
    t->killed_ns = pool_now_ns();
}

bool tenant_kill_now(struct pool_tenant *t) {
    if (t->pidfd < 0) return true; /* it was never asked for anything */
    struct pollfd dead = {.fd = t->pidfd, .events = POLLIN};
    kill_process(t);
    return poll(&dead, 1, DEATH_MS) == 1;
}

static void on_backstop(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool_tenant *t = context;
    if (t->writing && t->state != POOL_TENANT_ENDING) {
        hibernate_watch(t);
        return;
    }
    if (t->state != POOL_TENANT_ENDING) {
        tenant_end(t); /* it has not come up in time */
        return;
    }
    kill_process(t);
    pool_set_timer(&t->backstop, BACKSTOP_NS * 10);
}

void tenant_end(struct pool_tenant *t) {
    if (t->state == POOL_TENANT_ENDING) return;
    /* Not wanted, or it cannot be: until the next cold start there is no other. */
    if (t->state == POOL_TENANT_PREPARED) t->app->prepared_wanted = 0;
    leave_state(t);
    /* One that sleeps now does so for a while; a fresh one is about to have another. */
    if (t->app && --t->app->tenant_count == 0 && t->app->config.hibernates)
        app_close_config(t->app);
    enter_state(t, POOL_TENANT_ENDING);
    kill_process(t);
    close_control(t);
    pool_set_timer(&t->backstop, BACKSTOP_NS);
}

static void describe_death(int status, char *ret_text, size_t size) {
    if (status == -1)
        snprintf(ret_text, size, "the tenant's process went with the zygote");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        snprintf(ret_text, size, "the tenant's process made a system call that is not allowed");
    else if (WIFSIGNALED(status))
        snprintf(ret_text, size, "the tenant's process was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(ret_text, size, "the tenant's process ended with status %d",
                 WEXITSTATUS(status));
}

static void forget(struct pool_tenant *t) {
    event_del(&t->backstop);
    if (t->pidfd >= 0) close(t->pidfd);
    if (t->log_end >= 0) close(t->log_end);
    t->pool->slots[t->slot] = NULL;
    t->pool->tenant_count--;
    if (t->app) t->app->process_count--;
    free(t);
}

/* ---- what it says ------------------------------------------------------------------------ */

union tenant_answer {
    struct tenant_header header;
    struct tenant_up up;
    struct tenant_ready ready;
    struct tenant_done done;
    struct tenant_failed failed;
    struct tenant_hibernated hibernated;
    char bytes[TENANT_MAX_ANSWER_BYTES];
};

static void become_spare(struct pool_tenant *t) {
    if (!t->up || t->pidfd < 0) return;
    t->log = log_create(t, &t->log_end); /* now, when nobody waits for it */
    if (!t->log) {
        tenant_end(t);
        return;
    }
    leave_state(t);
    enter_state(t, POOL_TENANT_SPARE);
    event_del(&t->backstop);
    pool_wake(t->pool);
}

void tenant_set_idle(struct pool_tenant *t) {
    leave_state(t);
    enter_state(t, POOL_TENANT_IDLE);
    t->idle_since_ns = pool_now_ns();
    pool_wake(t->pool);
}

static bool take_up(struct pool_tenant *t, const struct tenant_up *up) {
    if (t->up || t->state != POOL_TENANT_STARTING) return false;
    t->up = true;
    struct zygote *z = &t->pool->zygote;
    bool first = !(z->layers >> SANDBOX_SECCOMP & 1);
    z->layers |= up->layers;
    if (first)
        for (unsigned i = 0; i < SANDBOX_LAYER_COUNT; i++)
            if (!(z->layers >> i & 1))
                pool_event(t->pool, "the sandbox of tenants has no %s",
                           sandbox_layer_name((enum sandbox_layer)i));
    become_spare(t);
    return true;
}

bool tenant_has_read(const struct pool_tenant *t) {
    int unread = 0;
    struct pollfd p = {.fd = t->control};
    /* In this order: the death of one that has not read makes it look as if it had. */
    return t->control >= 0 && ioctl(t->control, SIOCOUTQ, &unread) == 0 && unread == 0 &&
           poll(&p, 1, 0) == 0;
}

void tenant_taken(struct pool_tenant *t) {
    t->app->failures = 0;
    t->request->starting = false;
    request_close_stream(t->request);
    uint64_t cpu_ns = 0;
    (void)tenant_cpu_ns(t, &cpu_ns);
    limit_started(t->request, cpu_ns);
}

static bool take_ready(struct pool_tenant *t, const struct tenant_ready *ready) {
    if (t->ready) return false;
    t->ready = true;
    t->memory_bytes = ready->memory_bytes;
    t->app->failures = 0;
    if (t->state == POOL_TENANT_BUSY) {
        /* mostly; else the pool has seen it already */
        if (t->request && t->request->starting) tenant_taken(t);
        return true;
    }
    if (t->state != POOL_TENANT_WARMING) return false;
    event_del(&t->backstop);
    if (t->resuming && t->app->removed) {
        tenant_end(t); /* nobody will ask it; its file stays as it is */
        return true;
    }
    if (t->resuming) hibernate_resumed(t);
    tenant_set_idle(t);
    return true;
}

/* Everything but the CPU time, which may have to wait for the process's end. */
static void set_outcome(struct pool_request *r, const struct tenant_done *done,
                        const char *text) {
    struct pool_outcome *o = &r->outcome;
    o->status = done->status;
    if (o->memory_peak_bytes < done->memory_bytes) o->memory_peak_bytes = done->memory_bytes;
    request_set_report(r, text, done->text_bytes);
    r->told = true;
    if (r->broken || r->cancelled) return; /* request_over says so */
    if (done->end == TENANT_RETURNED) {
        o->end = POOL_DONE;
    } else if (done->end == TENANT_EXITED) {
        bool cgi = r->app->config.interface == POOL_CGI;
        o->end = cgi && done->status == 0 ? POOL_DONE : POOL_EXITED;
    } else {
        o->end = POOL_TRAPPED;
    }
    /* A guest that was refused memory seldom knows better than to give up. */
    if (done->memory_refused && o->end != POOL_DONE) {
        o->end = POOL_LIMIT;
        o->limit = POOL_LIMIT_MEMORY;
    }
}

static bool take_done(struct pool_tenant *t, const struct tenant_done *done, const char *text) {
    struct pool_request *r = t->request;
    if (done->end > TENANT_TRAPPED) return false;
    if (!r || done->header.id == 0) {
        /* The guest ended before it asked for a request, or between two. */
        if (done->end == TENANT_RETURNED || done->header.id) return false;
        if (r) {
            set_outcome(r, done, text);
            r->outcome.end = done->end == TENANT_TRAPPED ? POOL_TRAPPED : POOL_EXITED;
        } else if (t->state == POOL_TENANT_WARMING) {
            t->app->failures++;
            pool_event(t->pool, "app %s: the guest ended before its first request: %.*s",
                       t->app->name, (int)done->text_bytes, text);
        }
        tenant_end(t); /* request_over follows from tenant_ended */
        return true;
    }
    if (done->header.id != r->submission.id || r->told) return false;
    t->memory_bytes = done->memory_bytes;
    t->app->failures = 0;
    set_outcome(r, done, text);
    uint64_t now_ns = 0;
    bool known = tenant_cpu_ns(t, &now_ns);
    const struct pool_app *app = t->app;
    bool stays = known && done->end == TENANT_RETURNED && !done->last && !r->broken &&
                 !r->cancelled && app->config.reuse != POOL_FRESH && !app->removed &&
                 !(app->config.reuse_requests && t->requests >= app->config.reuse_requests);
    if (known) {
        r->outcome.cpu_ns = now_ns > r->cpu_start_ns ? now_ns - r->cpu_start_ns : 0;
        t->cpu_ns += r->outcome.cpu_ns;
        t->accounted_ns = now_ns;
        log_drain(t->log);
        t->request = NULL;
        request_over(r);
    }
    if (stays)
        tenant_set_idle(t);
    else
        tenant_end(t);
    return true;
}

static bool take_failed(struct pool_tenant *t, enum status status, const char *text,
                        size_t length) {
    if (t->resuming) {
        if (!hibernate_refused(t, status, text, length)) t->app->failures++;
        tenant_end(t);
        return true;
    }
    t->app->failures++;
    if (t->request) {
        t->request->outcome.end = POOL_DIED;
        t->request->told = true;
        request_set_report(t->request, text, length);
    } else {
        pool_event(t->pool, "app %s cannot be started: %.*s", t->app->name, (int)length, text);
    }
    tenant_end(t);
    return true;
}

static bool take_message(struct pool_tenant *t, const union tenant_answer *m, size_t size) {
    switch (m->header.type) {
    case TENANT_UP: return size == sizeof m->up && take_up(t, &m->up);
    case TENANT_READY: return size == sizeof m->ready && t->app && take_ready(t, &m->ready);
    case TENANT_DONE:
        return t->app && size >= sizeof m->done &&
               m->done.text_bytes <= TENANT_MAX_TEXT_BYTES &&
               size == sizeof m->done + m->done.text_bytes &&
               take_done(t, &m->done, m->bytes + sizeof m->done);
    case TENANT_FAILED:
        return t->app && size >= sizeof m->failed &&
               m->failed.text_bytes <= TENANT_MAX_TEXT_BYTES &&
               size == sizeof m->failed + m->failed.text_bytes &&
               take_failed(t, (enum status)m->failed.status, m->bytes + sizeof m->failed,
                           m->failed.text_bytes);
    case TENANT_HIBERNATED:
        return t->app && size >= sizeof m->hibernated &&
               m->hibernated.text_bytes <= TENANT_MAX_TEXT_BYTES &&
               size == sizeof m->hibernated + m->hibernated.text_bytes &&
               hibernate_take(t, &m->hibernated, m->bytes + sizeof m->hibernated);
    default: return false;
    }
}

static void on_control(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool_tenant *t = context;
    static union tenant_answer answer;
    /* One a time: what it says may end it, and others want to be heard. */
    ssize_t got = tenant_receive(t->control, &answer, sizeof answer, NULL, 0, NULL);
    if (got == -ECONNRESET) t->untaken = true; /* said once, and before what it has said */
    if (got == -EAGAIN || got == -EINTR || got == -ECONNRESET) return;
    if (got > 0 && take_message(t, &answer, (size_t)got)) return;
    if (got > 0 || got == -EPROTO)
        pool_event(t->pool, "tenant %llu%s%s says something odd and is ended",
                   (unsigned long long)serial_of(t), t->app ? " of app " : "",
                   t->app ? t->app->name : "");
    tenant_end(t);
}

/* What a dead one had said, and nobody has heard yet: the zygote's word of its end may come
 * first; and whether it had taken its request, which then is nobody else's. One
 * that goes on from a file has no request before it was heard: its file is as it was. */
static void hear_out(struct pool_tenant *t) {
    static union tenant_answer answer;
    while (t->control >= 0 && !t->resuming) {
        ssize_t got = tenant_receive(t->control, &answer, sizeof answer, NULL, 0, NULL);
        if (got == -ECONNRESET) t->untaken = true;
        if (got == -EINTR || got == -ECONNRESET) continue;
        if (got <= 0 || !take_message(t, &answer, (size_t)got)) return;
    }
}

void tenant_ended(struct pool_tenant *t, int status, uint64_t cpu_ns) {
    struct pool *pool = t->pool;
    t->pid = 0; /* the number may be another's by now: no clock is read */
    hear_out(t);
    struct pool_request *request = t->request;
    tenant_end(t);
    hibernate_tenant_ended(t, status == -1);
    if (t->log) {
        log_drain(t->log);
        log_destroy(t->log);
    }
    if (request) {
        uint64_t spent = cpu_ns > request->cpu_start_ns ? cpu_ns - request->cpu_start_ns : 0;
        request->outcome.cpu_ns = spent;
        t->cpu_ns += spent;
        t->accounted_ns = cpu_ns;
        if (!request->told && !request->broken && !request->cancelled) {
            if (request->starting && t->untaken && !request->again && !pool->closing) {
                request_again(request);
                request = NULL;
            }
        }
    }
    if (request) {
        if (!request->told && !request->broken && !request->cancelled) {
            char text[160];
            describe_death(status, text, sizeof text);
            request->outcome.end = POOL_DIED;
            request_set_report(request, text, strlen(text));
        }
        request_over(request);
    }
    tenant_account(t, cpu_ns);
    forget(t);
    pool_wake(pool);
}

/* ---- the beginning ----------------------------------------------------------------------- */

static struct pool_tenant *make(struct pool *pool) {
    struct pool_tenant *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    uint32_t slot = pool->next_slot;
    while (pool->slots[slot]) slot = (slot + 1) % POOL_MAX_SLOTS; /* max_tenants is fewer */
    pool->next_slot = (slot + 1) % POOL_MAX_SLOTS;
    t->pool = pool;
    t->slot = slot;
    t->id = ++pool->next_serial << 16 | slot;
    t->control = t->pidfd = t->log_end = -1;
    t->born_ns = pool_now_ns();
    enter_state(t, POOL_TENANT_STARTING);
    event_assign(&t->backstop, pool->base, -1, 0, on_backstop, t);
    pool->slots[slot] = t;
    pool->tenant_count++;
    return t;
}

/* Said once in a while, for it is found at every turn. */
static bool cannot_start(struct pool *pool, const char *why) {
    uint64_t now = pool_now_ns();
    if (!pool->short_said_ns || now - pool->short_said_ns >= SAY_AGAIN_NS) {
        pool_event(pool, "no tenant can be started: %s", why);
        pool->short_said_ns = now;
    }
    return false;
}

static bool start_one(struct pool *pool) {
    int ends[2];
    char text[160];
    /* a pidfd, a log, a configuration for each that has none yet */
    if (fd_room_is_short(FD_FOR_TENANT, 3 * (pool->starting_count + pool->spare_count) + 4)) {
        pool_make_room(pool);
        return cannot_start(pool, fd_room_text(text));
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return cannot_start(pool, errno == EMFILE ? fd_room_text(text) : strerror(errno));
    auto_fd int ours = ends[0];
    auto_fd int theirs = ends[1];
    struct pool_tenant *t = fcntl(ours, F_SETFL, O_NONBLOCK) == 0 ? make(pool) : NULL;
    if (!t) return false;
    if (!zygote_ask(pool, t, theirs)) {
        /* It is busy, and wakes us with its answer, or dead, and its socket will say so. */
        leave_state(t);
        forget(t);
        return false;
    }
    t->control = steal_fd(&ours);
    event_assign(&t->control_event, pool->base, t->control, EV_READ | EV_PERSIST, on_control,
                 t);
    event_add(&t->control_event, NULL);
    pool_set_timer(&t->backstop, UINT64_C(10000000000));
    pool->numbers.forks++;
    return true;
}

/* A fork and the sealing of what comes of it take as long as a cold start: while one is under
 * way and there are spares for others, it has the processors to itself. */
static bool puts_off(struct pool *pool, uint32_t wanted) {
    uint32_t ready = pool->spare_count + pool->starting_count;
    if (!pool->cold_count || wanted > pool->options.spares ||
        ready < (pool->options.spares + 1) / 2) {
        pool->spares_from_ns = 0;
        return false;
    }
    uint64_t now = pool_now_ns();
    if (!pool->spares_from_ns) pool->spares_from_ns = now;
    uint64_t waited = now - pool->spares_from_ns;
    if (waited >= POOL_LATER_NS) return false;
    /* the loop's idea of now is older: it may come too early, and is set again */
    if (!event_pending(&pool->later, EV_TIMEOUT, NULL))
        pool_set_timer(&pool->later, POOL_LATER_NS - waited);
    return true;
}

void tenants_start(struct pool *pool) {
    if (!pool->zygote.ready || pool->closing) return;
    uint32_t wanted = pool->options.spares, count;
    struct pool_app *app;
    TAILQ_FOREACH(app, &pool->active, active_link)
    if (app_wants_tenants(app, &count)) wanted += count;
    if (wanted > pool->options.spares && pool->tenant_count >= pool->options.max_tenants &&
        !prepared_give_up(pool))
        pool_make_room(pool);
    if (pool->spare_count + pool->starting_count >= wanted)
        pool->spares_from_ns = 0;
    else if (puts_off(pool, wanted))
        return;
    while (pool->spare_count + pool->starting_count < wanted &&
           pool->starting_count < MAX_STARTING &&
           pool->tenant_count < pool->options.max_tenants)
        if (!start_one(pool)) return;
}

void tenant_forked(struct pool_tenant *t, int pidfd) {
    t->pidfd = pidfd;
    t->pid = pid_of(pidfd);
    if (t->state == POOL_TENANT_STARTING)
        become_spare(t);
    else
        kill_process(t); /* it was to end before it was known */
}

/* ---- its app and its requests ------------------------------------------------------------ */

/* What ASSIGN sends, with a session of its own for each volume. 0 or an errno. */
static int send_assignment(struct pool_tenant *t, struct pool_app *app, int log_end,
                           int hibernated_fd, bool prepared, bool asked) {
    struct tenant_assign message = {
        .header = tenant_header(TENANT_ASSIGN, sizeof message, 0),
        .hibernated = hibernated_fd >= 0,
        .prepared = prepared,
        .asked = asked,
    };
    int fds[TENANT_MAX_FDS], error = 0;
    uint32_t opened = 0, count = app->fd_count;
    struct error err = {0};
    if (app_open_config(app, &err) != ST_OK) {
        pool_event(app->pool, "app %s: %s", app->name, err.message);
        return err.saved_errno ? err.saved_errno : ENOMEM;
    }
    memcpy(fds, app->fds, sizeof fds);
    fds[TENANT_ASSIGNED_LOG] = log_end;
    for (; opened < app->fd_count && !error; opened++)
        if (app->volumes >> opened & 1) error = holder_open_session(fds[opened], &fds[opened]);
    bool lost = error != 0;
    if (hibernated_fd >= 0) fds[count++] = hibernated_fd;
    if (!error) error = tenant_send(t->control, &message, sizeof message, NULL, 0, fds, count);
    for (uint32_t i = 0; i < opened; i++)
        if (app->volumes >> i & 1 && fds[i] != app->fds[i]) close(fds[i]);
    if (lost) app_lost_volume(app);
    return error;
}

void tenant_move(struct pool_tenant *t, struct pool_app *to) {
    struct pool_app *from = t->app;
    enum pool_tenant_state state = t->state;
    leave_state(t);
    if (state != POOL_TENANT_ENDING) {
        from->tenant_count--;
        to->tenant_count++;
    }
    from->process_count--;
    to->process_count++;
    t->app = to;
    if (t->request) t->request->app = to;
    if (t->resuming) {
        from->coming_count--;
        to->coming_count++;
    }
    enter_state(t, state);
}

static bool assign(struct pool_tenant *t, struct pool_app *app, int hibernated_fd,
                   bool prepared, bool asked) {
    leave_state(t);
    t->app = app;
    app->tenant_count++;
    app->process_count++;
    enter_state(t, prepared ? POOL_TENANT_PREPARED : POOL_TENANT_WARMING);
    int error = send_assignment(t, app, t->log_end, hibernated_fd, prepared, asked);
    close(t->log_end);
    t->log_end = -1;
    if (error) {
        tenant_end(t);
        return false;
    }
    return true;
}

bool tenant_assign(struct pool_tenant *t, struct pool_app *app, int hibernated_fd, bool asked) {
    if (!assign(t, app, hibernated_fd, false, asked)) return false;
    if (app->config.limits.start_ns) pool_set_timer(&t->backstop, app->config.limits.start_ns);
    return true;
}

bool tenant_prepare(struct pool_tenant *t, struct pool_app *app) {
    return assign(t, app, -1, true, true);
}

bool tenant_send_request(struct pool_tenant *t, struct pool_request *r) {
    bool prepared = t->state == POOL_TENANT_PREPARED;
    bool cold = prepared || t->state == POOL_TENANT_WARMING;
    struct tenant_request message = {
        .header =
            tenant_header(TENANT_REQUEST, sizeof message + r->env_bytes, r->submission.id),
        .env_count = r->submission.envc,
        .env_bytes = r->env_bytes,
    };
    /* What a cold tenant has used so far (its fork, its sandbox) nobody asked it for. */
    uint64_t cpu_ns = 0;
    if (!tenant_cpu_ns(t, &cpu_ns) ||
        tenant_send(t->control, &message, sizeof message, r->env, r->env_bytes,
                    &r->submission.stream_fd, 1) != 0) {
        tenant_end(t); /* it has died meanwhile; the request does not know it */
        return false;
    }
    leave_state(t);
    event_del(&t->backstop);
    enter_state(t, POOL_TENANT_BUSY);
    t->request = r;
    t->requests++;
    tenant_account(t, cpu_ns);
    r->tenant = t;
    r->starting = cold;
    r->cold = cold || (t->went_on && t->requests == 1);
    t->pool->cold_count += r->cold;
    if (cold) prepared_note(t->app, prepared);
    if (t->writing) hibernate_cancel(t);
    r->cpu_start_ns = cpu_ns;
    r->started_ns = pool_now_ns();
    /* A cold tenant may die before the guest has seen anything of the request: then the stream
     * goes to another. */
    if (!cold) request_close_stream(r);
    limit_started(r, cpu_ns);
    if (r->submission.started) r->submission.started(r->submission.context, serial_of(t));
    return true;
}
