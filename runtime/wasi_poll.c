/*
 * Clocks and poll_oneoff. Subscriptions become one ppoll(2): each has the entry of its own
 * number in the pollfd array (-1 for clocks), and the earliest clock is the timeout, so a sleep
 * is one system call that takes no CPU time. A signal ends it with EINTR.
 *
 * Relative times count from the start of the call; the clocks are read again after each wait,
 * because a timeout may end early and the real-time clock may be set meanwhile. Subscriptions
 * are read from the guest's memory again when events are written: out may overlap in, and then
 * what comes of it is the guest's own affair.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool host_clock(uint32_t clock, clockid_t *ret) {
    static const clockid_t clocks[] = {
        [WASI_CLOCK_REALTIME] = CLOCK_REALTIME,
        [WASI_CLOCK_MONOTONIC] = CLOCK_MONOTONIC,
        [WASI_CLOCK_PROCESS] = CLOCK_PROCESS_CPUTIME_ID,
        [WASI_CLOCK_THREAD] = CLOCK_THREAD_CPUTIME_ID,
    };
    if (clock >= countof(clocks)) return false;
    *ret = clocks[clock];
    return true;
}

static enum wasi_errno clock_read(int (*call)(clockid_t, struct timespec *),
                                  struct guest_memory m, uint32_t clock, uint32_t ret_ns) {
    clockid_t id;
    struct timespec ts;
    if (!host_clock(clock, &id)) return WASI_EINVAL;
    uint8_t *to = guest_range(m, ret_ns, 8);
    if (!to) return WASI_EFAULT;
    if (call(id, &ts) != 0) return wasi_errno_last();
    store_u64(to, wasi_ns_of_timespec(&ts));
    return WASI_OK;
}

enum wasi_errno wasi_clock_res_get(struct wasi *w, struct guest_memory m, uint32_t clock,
                                   uint32_t ret_ns) {
    (void)w;
    return clock_read(clock_getres, m, clock, ret_ns);
}

enum wasi_errno wasi_clock_time_get(struct wasi *w, struct guest_memory m, uint32_t clock,
                                    uint64_t precision_ns, uint32_t ret_ns) {
    (void)precision_ns; /* every answer is as precise as the host's */
    if (w->watch && w->watch->tame) {
        uint8_t *to = guest_range(m, ret_ns, 8);
        if (!to) return WASI_EFAULT;
        store_u64(to, wasi_tame_time_ns(w->watch));
        return WASI_OK;
    }
    return clock_read(clock_gettime, m, clock, ret_ns);
}

/* ---- subscriptions ----------------------------------------------------------------------- */

#define EVENT_SIZE 32u
#define SUBSCRIPTION_SIZE(abi) ((abi) == WASI_SNAPSHOT0 ? 56u : 48u)

struct subscription {
    uint64_t userdata;
    uint8_t type;
    uint32_t fd;
    uint32_t clock;
    bool absolute, bad_flags;
    uint64_t timeout_ns;
};

static struct subscription subscription_load(const uint8_t *from, enum wasi_abi abi) {
    struct subscription s = {.userdata = load_u64(from), .type = from[8]};
    if (s.type != WASI_EVENT_CLOCK) {
        s.fd = load_u32(from + 16);
        return s;
    }
    /* snapshot 0 has an identifier in front: {u64 identifier}, u32 clock, u64 timeout,
     * u64 precision, u16 flags. */
    const uint8_t *clock = from + (abi == WASI_SNAPSHOT0 ? 24 : 16);
    uint16_t flags = load_u16(clock + 24);
    s.clock = load_u32(clock);
    s.timeout_ns = load_u64(clock + 8);
    s.absolute = flags & WASI_SUBCLOCK_ABSTIME;
    s.bad_flags = flags & ~WASI_SUBCLOCK_ABSTIME;
    return s;
}

static uint64_t now_ns(clockid_t id) {
    struct timespec ts = {0};
    clock_gettime(id, &ts);
    return wasi_ns_of_timespec(&ts);
}

/* How long until a clock's time has come: 0 where it has. Relative times count from start_ns, a
 * monotonic time. */
static enum wasi_errno clock_left(const struct subscription *s, uint64_t start_ns,
                                  uint64_t *ret_ns) {
    if (s->clock > WASI_CLOCK_THREAD || s->bad_flags) return WASI_EINVAL;
    /* CPU time does not pass in a sleep. */
    if (s->clock > WASI_CLOCK_MONOTONIC) return WASI_ENOTSUP;
    uint64_t now = now_ns(CLOCK_MONOTONIC), end;
    if (!s->absolute) {
        if (add_overflows(start_ns, s->timeout_ns, &end)) end = UINT64_MAX;
    } else {
        if (s->clock == WASI_CLOCK_REALTIME) now = now_ns(CLOCK_REALTIME);
        end = s->timeout_ns;
    }
    *ret_ns = end > now ? end - now : 0;
    return WASI_OK;
}

/* The descriptor of a read or write subscription. */
static enum wasi_errno stream_of(struct wasi *w, const struct subscription *s,
                                 struct wasi_descriptor **ret) {
    uint64_t right = s->type == WASI_EVENT_FD_READ ? WASI_RIGHT_FD_READ : WASI_RIGHT_FD_WRITE;
    struct wasi_descriptor *d = wasi_descriptor_at(w, s->fd);
    if (!d || (d->host_fd < 0 && !d->image && !d->files && !d->requests && !d->volume))
        return WASI_EBADF;
    if (d->filetype == WASI_FILETYPE_DIRECTORY) return WASI_EBADF;
    if (d->volume) { /* rights are looked at where the file is */
        *ret = d;
        return WASI_OK;
    }
    return wasi_descriptor_get(w, s->fd, right | WASI_RIGHT_POLL_FD_READWRITE, ret);
}

/* What to poll for a descriptor: -1 for nothing; *ret_ready: it is ready at once. */
static int poll_fd_of(const struct wasi *w, const struct wasi_descriptor *d, bool *ret_ready) {
    *ret_ready = d->image || d->files || d->volume;
    if (!d->requests) return d->host_fd;
    /* Accepting is what tells the other side that a request has ended. */
    if (w->request_ready_fd < 0 || w->request_given) *ret_ready = !wasi_requests_open(w);
    return w->request_ready_fd;
}

/* ---- events ------------------------------------------------------------------------------ */

static uint64_t bytes_to_read(const struct wasi_descriptor *d) {
    if (d->volume) return wasi_volume_bytes_left(d);
    if (d->image || d->files) {
        uint64_t size = 0;
        if (d->files)
            size = wasi_files_size(d);
        else if (wasi_image_size(d, &size) != WASI_OK)
            return 0;
        return d->position < size ? size - d->position : 0;
    }
    if (d->requests) return 1; /* connections that wait, as far as anyone knows */
    if (d->filetype == WASI_FILETYPE_REGULAR_FILE) {
        struct stat st;
        off_t at = lseek(d->host_fd, 0, SEEK_CUR);
        if (fstat(d->host_fd, &st) != 0 || at < 0 || at >= st.st_size) return 0;
        return (uint64_t)(st.st_size - at);
    }
    int bytes = 0;
    if (ioctl(d->host_fd, FIONREAD, &bytes) != 0 || bytes < 0) return 0;
    return (uint64_t)bytes;
}

struct event {
    enum wasi_errno error;
    uint64_t nbytes;
    uint16_t flags;
};

static void event_store(uint8_t *to, const struct subscription *s, const struct event *event) {
    memset(to, 0, EVENT_SIZE);
    store_u64(to, s->userdata);
    store_u16(to + 8, (uint16_t)event->error);
    to[10] = s->type;
    store_u64(to + 16, event->nbytes);
    store_u16(to + 24, event->flags);
}

/* Whether a subscription has an event now, and which. */
static bool event_of(struct wasi *w, const struct subscription *s, uint64_t start_ns,
                     short revents, struct event *ret) {
    struct event event = {0};
    if (s->type == WASI_EVENT_CLOCK) {
        uint64_t left = 0;
        event.error = clock_left(s, start_ns, &left);
        *ret = event;
        return event.error != WASI_OK || left == 0;
    }
    struct wasi_descriptor *d = NULL;
    event.error = s->type > WASI_EVENT_FD_WRITE ? WASI_EINVAL : stream_of(w, s, &d);
    if (event.error == WASI_OK) {
        bool ready = false;
        poll_fd_of(w, d, &ready);
        if (revents == 0 && !ready) return false;
        if (revents & POLLNVAL) event.error = WASI_EBADF;
        if (s->type == WASI_EVENT_FD_READ) event.nbytes = bytes_to_read(d);
        /* An error of the stream shows when it is read or written. */
        if (revents & (POLLHUP | POLLRDHUP | POLLERR)) event.flags = WASI_EVENT_HANGUP;
    }
    *ret = event;
    return true;
}

/* Fills the pollfd array; *ret_wait_ns is the earliest time, UINT64_MAX for none. */
static void prepare(struct wasi *w, const uint8_t *in, uint32_t count, enum wasi_abi abi,
                    uint64_t start_ns, struct pollfd *fds, uint64_t *ret_wait_ns) {
    uint64_t wait_ns = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct subscription s = subscription_load(in + (size_t)i * SUBSCRIPTION_SIZE(abi), abi);
        struct wasi_descriptor *d = NULL;
        enum wasi_errno e = WASI_EINVAL;
        uint64_t left = UINT64_MAX;
        fds[i] = (struct pollfd){.fd = -1};
        if (s.type == WASI_EVENT_CLOCK) {
            e = clock_left(&s, start_ns, &left);
            /* Someone may set the clock: do not sleep through that. */
            const uint64_t second = UINT64_C(1000000000);
            if (s.absolute && s.clock == WASI_CLOCK_REALTIME && left > second) left = second;
        } else if (s.type <= WASI_EVENT_FD_WRITE) {
            e = stream_of(w, &s, &d);
            if (e == WASI_OK) {
                bool ready = false;
                fds[i].fd = poll_fd_of(w, d, &ready);
                if (ready) left = 0; /* at once */
                fds[i].events = s.type == WASI_EVENT_FD_READ ? POLLIN | POLLRDHUP : POLLOUT;
            }
        }
        if (e != WASI_OK) left = 0; /* the error is an event, at once */
        if (left < wait_ns) wait_ns = left;
    }
    *ret_wait_ns = wait_ns;
}

enum wasi_errno wasi_poll_oneoff(struct wasi *w, struct guest_memory m, uint32_t in,
                                 uint32_t out, uint32_t count, uint32_t ret_n,
                                 enum wasi_abi abi) {
    const uint8_t *subscriptions = guest_array(m, in, count, SUBSCRIPTION_SIZE(abi));
    uint8_t *events = guest_array(m, out, count, EVENT_SIZE);
    uint8_t *n = guest_range(m, ret_n, 4);
    if (!subscriptions || !events || !n) return WASI_EFAULT;
    if (count == 0 || count > WASI_MAX_SUBSCRIPTIONS) return WASI_EINVAL;
    uint64_t start_ns = now_ns(CLOCK_MONOTONIC);
    struct pollfd *fds = w->scratch->pollfds;
    wasi_scratch_use(w, count * sizeof *fds);
    for (;;) {
        uint64_t wait_ns;
        uint32_t happened = 0;
        prepare(w, subscriptions, count, abi, start_ns, fds, &wait_ns);
        struct timespec timeout = wasi_timespec_of_ns(wait_ns);
        if (ppoll(fds, count, wait_ns == UINT64_MAX ? NULL : &timeout, NULL) < 0)
            return wasi_errno_last();
        for (uint32_t i = 0; i < count; i++) {
            struct event event;
            struct subscription s =
                subscription_load(subscriptions + (size_t)i * SUBSCRIPTION_SIZE(abi), abi);
            if (event_of(w, &s, start_ns, fds[i].revents, &event))
                event_store(events + (size_t)happened++ * EVENT_SIZE, &s, &event);
        }
        if (happened == 0) continue; /* a timeout that came early, or a clock that was set */
        store_u32(n, happened);
        return WASI_OK;
    }
}
