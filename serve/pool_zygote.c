/*
 * The zygote as the pool sees it: a process of hutch-tenant, started with one descriptor, asked
 * for tenants, believed about their end. It is small enough to be trusted, but not to live for
 * ever: when its socket ends, every tenant has died with it, and another is started, at once
 * the first time, then ever more slowly.
 */
#include "serve/pool_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_FIRST_NS UINT64_C(20000000)
#define RESTART_MAX_NS UINT64_C(2000000000)
#define STEADY_NS UINT64_C(10000000000) /* has lived so long: what was before is forgotten */

static struct pool_tenant *find_tenant(struct pool *pool, uint64_t id) {
    uint32_t slot = id & 0xffff;
    struct pool_tenant *tenant = slot < POOL_MAX_SLOTS ? pool->slots[slot] : NULL;
    return tenant && tenant->id == id ? tenant : NULL;
}

static void on_restart(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool *pool = context;
    struct error err = {0};
    pool->numbers.zygote_restarts++;
    if (zygote_start(pool, &err) == ST_OK) return;
    pool_event(pool, "the zygote cannot be started again: %s", err.message);
    pool_set_timer(&pool->zygote.restart, RESTART_MAX_NS);
}

/* The process and all its tenants are gone, or are made to be. */
static void bury(struct pool *pool) {
    struct zygote *z = &pool->zygote;
    if (z->socket >= 0) {
        event_del(&z->event);
        close(z->socket);
        z->socket = -1;
    }
    z->ready = false;
    if (z->pid > 0) {
        kill(z->pid, SIGKILL);
        while (waitpid(z->pid, NULL, 0) < 0 && errno == EINTR) continue;
        z->pid = 0;
    }
    for (uint32_t slot = 0; slot < POOL_MAX_SLOTS; slot++) {
        struct pool_tenant *t = pool->slots[slot];
        if (!t) continue;
        /* One that may still go on with its request must not share it with another. */
        if (t->request && !tenant_kill_now(t)) t->request->again = true;
        tenant_ended(t, -1, 0);
    }
}

static void zygote_lost(struct pool *pool, const char *why) {
    struct zygote *z = &pool->zygote;
    bool steady = pool_now_ns() - z->started_ns > STEADY_NS;
    pool_event(pool, "the zygote %s; tenants are started again", why);
    bury(pool);
    z->failures = steady ? 1 : z->failures + 1;
    uint32_t doublings = z->failures > 8 ? 7 : z->failures - 1;
    uint64_t wait = RESTART_FIRST_NS << doublings;
    pool_set_timer(&z->restart, wait > RESTART_MAX_NS ? RESTART_MAX_NS : wait);
}

union zygote_message {
    struct tenant_header header;
    struct zygote_ready ready;
    struct zygote_forked forked;
    struct zygote_failed failed;
    struct zygote_ended ended;
};

static void take_message(struct pool *pool, const union zygote_message *m, size_t size,
                         int pidfd) {
    struct zygote *z = &pool->zygote;
    struct pool_tenant *tenant = find_tenant(pool, m->header.id);
    switch (m->header.type) {
    case ZYGOTE_READY:
        if (size != sizeof m->ready) break;
        z->ready = true;
        z->layers = m->ready.layers;
        pool_wake(pool);
        return;
    case ZYGOTE_FORKED:
        if (size != sizeof m->forked || pidfd < 0) break;
        if (tenant)
            tenant_forked(tenant, pidfd);
        else
            close(pidfd);
        return;
    case ZYGOTE_FAILED:
        if (size != sizeof m->failed) break;
        pool_event(pool, "a tenant cannot be started: %s", strerror(m->failed.saved_errno));
        if (tenant) {
            tenant_end(tenant);
            tenant_ended(tenant, -1, 0);
        }
        return;
    case ZYGOTE_ENDED:
        if (size != sizeof m->ended) break;
        if (tenant) tenant_ended(tenant, m->ended.status, m->ended.cpu_ns);
        return;
    default: break;
    }
    if (pidfd >= 0) close(pidfd);
    zygote_lost(pool, "says something odd");
}

static void on_message(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool *pool = context;
    for (int i = 0; i < 64 && pool->zygote.socket >= 0; i++) {
        union zygote_message message;
        int pidfd = -1;
        uint32_t count = 0;
        ssize_t got =
            tenant_receive(pool->zygote.socket, &message, sizeof message, &pidfd, 1, &count);
        if (got == -EAGAIN || got == -EINTR) return;
        if (got <= 0) {
            zygote_lost(pool, "has died");
            return;
        }
        take_message(pool, &message, (size_t)got, count ? pidfd : -1);
    }
}

/* posix_spawn of hutch-tenant --zygote 3 ... */
static int spawn(const struct pool *pool, int socket, pid_t *ret_pid) {
    const struct pool_options *o = &pool->options;
    char base[16], count[16], memory[24];
    snprintf(base, sizeof base, "%u", o->uid_base);
    snprintf(count, sizeof count, "%u", o->uid_count);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)o->max_memory_bytes);
    char program[] = "hutch-tenant", option[] = "--zygote", three[] = "3", four[] = "4";
    bool group = o->group_fd > 0;
    char *const argv[] = {program, option, three, base, count, memory, group ? four : NULL,
                          NULL};
    char *const env[] = {NULL}; /* the server's environment is none of its business */
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    /* A group of its own: a Ctrl-C at the terminal is the server's to handle. */
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
    if ((error = posix_spawnattr_setflags(&attributes, flags)) == 0 &&
        (error = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
        (error = posix_spawnattr_setsigdefault(&attributes, &all)) == 0 &&
        (error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)) == 0 &&
        (error = posix_spawn_file_actions_adddup2(&actions, 0, 1)) == 0 &&
        /* dup2 onto itself takes close-on-exec off as well */
        (error = posix_spawn_file_actions_adddup2(&actions, socket, 3)) == 0 &&
        (!group || (error = posix_spawn_file_actions_adddup2(&actions, o->group_fd, 4)) == 0) &&
        (error = posix_spawn_file_actions_addclosefrom_np(&actions, group ? 5 : 4)) == 0)
        error = posix_spawn(ret_pid, pool->tenant_program, &actions, &attributes, argv, env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

enum status zygote_start(struct pool *pool, struct error *err) {
    struct zygote *z = &pool->zygote;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    auto_fd int ours = ends[0];
    auto_fd int theirs = ends[1];
    if (fcntl(ours, F_SETFL, O_NONBLOCK) != 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    int error = spawn(pool, theirs, &z->pid);
    if (error) {
        errno = error;
        z->pid = 0;
        return error_set_errno(err, ST_IO, "cannot start %s", pool->tenant_program);
    }
    z->started_ns = pool_now_ns();
    z->socket = steal_fd(&ours);
    event_assign(&z->event, pool->base, z->socket, EV_READ | EV_PERSIST, on_message, pool);
    event_assign(&z->restart, pool->base, -1, 0, on_restart, pool);
    event_add(&z->event, NULL);
    return ST_OK;
}

void zygote_stop(struct pool *pool) {
    bury(pool);
    if (event_initialized(&pool->zygote.restart)) event_del(&pool->zygote.restart);
}

bool zygote_ask(struct pool *pool, struct pool_tenant *tenant, int control_end) {
    if (!pool->zygote.ready) return false;
    struct zygote_fork message = {
        .header = tenant_header(ZYGOTE_FORK, sizeof message, tenant->id),
        .slot = tenant->slot,
    };
    /* EAGAIN: it has not come round yet; so many are on their way. */
    return tenant_send(pool->zygote.socket, &message, sizeof message, NULL, 0, &control_end,
                       1) == 0;
}
