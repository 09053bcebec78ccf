/*
 * Limits in time. A request has one timer, set to the moment at which it could first break a
 * limit: the end of its wall-clock time, or now plus the CPU time that it has left, for a
 * process with one thread cannot use more. There the clocks are read; mostly the timer is just
 * set again.
 *
 * A guest that has broken a limit is interrupted with SIGALRM (runtime/interrupt.c), so that it
 * traps and its backtrace can be told. The signal is repeated, for it may come between two
 * system calls; a process that does not answer is killed.
 */
#include "serve/pool_private.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INTERRUPT_REPEAT_NS UINT64_C(4000000)
#define INTERRUPT_PATIENCE_NS UINT64_C(40000000)
#define CPU_CHECK_MIN_NS UINT64_C(2000000)
/* Whether a request was taken is looked at after so long, then each time as long again. */
#define TAKEN_LOOK_NS UINT64_C(10000000)

static void interrupt(struct pool_request *r) {
    if (pool_now_ns() - r->broken_ns > INTERRUPT_PATIENCE_NS) {
        tenant_end(r->tenant);
        return;
    }
    if (r->tenant->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, r->tenant->pidfd, SIGALRM, NULL, 0);
    pool_set_timer(&r->timer, INTERRUPT_REPEAT_NS);
}

void limit_break(struct pool_request *r, enum pool_limit limit) {
    if (r->broken || r->cancelled) return;
    r->broken = limit;
    r->broken_ns = pool_now_ns();
    interrupt(r);
}

/* Which limit is broken now, and when the next could be. cpu_ns is what the process has used,
 * where it is known. */
static enum pool_limit check(const struct pool_request *r, bool known, uint64_t cpu_ns,
                             uint64_t *ret_wait_ns) {
    const struct pool_limits *limits = &r->limits;
    uint64_t wait = UINT64_MAX, lived = pool_now_ns() - r->limits_from_ns;
    uint64_t longest = r->starting ? limits->start_ns : limits->wall_ns;
    if (longest) {
        if (lived >= longest) return r->starting ? POOL_LIMIT_START : POOL_LIMIT_WALL;
        wait = longest - lived;
    }
    if (r->starting) {
        uint64_t look = lived < TAKEN_LOOK_NS ? TAKEN_LOOK_NS : lived;
        if (look < wait) wait = look;
    }
    if (limits->cpu_ns && known) {
        uint64_t used = cpu_ns > r->cpu_start_ns ? cpu_ns - r->cpu_start_ns : 0;
        if (used >= limits->cpu_ns) return POOL_LIMIT_CPU;
        uint64_t left = limits->cpu_ns - used;
        if (left < CPU_CHECK_MIN_NS) left = CPU_CHECK_MIN_NS;
        if (left < wait) wait = left;
    }
    *ret_wait_ns = wait;
    return POOL_LIMIT_NONE;
}

static void on_timer(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events;
    struct pool_request *r = context;
    if (!r->tenant) {
        request_fail(r, POOL_LIMIT, POOL_LIMIT_QUEUE, "");
        return;
    }
    if (r->told) return;
    if (r->broken) {
        interrupt(r);
        return;
    }
    if (r->starting && tenant_has_read(r->tenant)) {
        tenant_taken(r->tenant);
        return;
    }
    uint64_t wait = 0, cpu_ns = 0;
    bool known = tenant_cpu_ns(r->tenant, &cpu_ns);
    enum pool_limit limit = check(r, known, cpu_ns, &wait);
    if (limit != POOL_LIMIT_NONE)
        limit_break(r, limit);
    else if (wait != UINT64_MAX)
        pool_set_timer(&r->timer, wait);
}

void limit_queued(struct pool_request *r) {
    event_assign(&r->timer, r->app->pool->base, -1, 0, on_timer, r);
    if (r->limits.queue_ns) pool_set_timer(&r->timer, r->limits.queue_ns);
}

void limit_started(struct pool_request *r, uint64_t cpu_ns) {
    uint64_t wait = 0;
    r->limits_from_ns = pool_now_ns();
    event_del(&r->timer);
    if (check(r, true, cpu_ns, &wait) == POOL_LIMIT_NONE && wait != UINT64_MAX)
        pool_set_timer(&r->timer, wait);
}
