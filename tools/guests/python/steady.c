/*
 * A world without chance and time, for an interpreter that is trained: it has to count the same
 * whenever and wherever it runs. Linked with --wrap for the calls of WASI below, and into no
 * interpreter that is kept.
 */
#include <stdint.h>
#include <wasi/api.h>

/* Time goes by a microsecond with each question for it, and with each wait at once. */
static __wasi_timestamp_t now = UINT64_C(1700000000000000000);

__wasi_errno_t __wrap___wasi_clock_time_get(__wasi_clockid_t clock,
                                            __wasi_timestamp_t precision,
                                            __wasi_timestamp_t *time) {
    (void)clock, (void)precision;
    *time = now += 1000;
    return 0;
}

__wasi_errno_t __wrap___wasi_poll_oneoff(const __wasi_subscription_t *subscriptions,
                                         __wasi_event_t *events, __wasi_size_t count,
                                         __wasi_size_t *happened) {
    for (__wasi_size_t i = 0; i < count; i++) {
        if (subscriptions[i].u.tag != __WASI_EVENTTYPE_CLOCK) continue;
        const __wasi_subscription_clock_t *clock = &subscriptions[i].u.u.clock;
        int absolute = clock->flags & __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
        __wasi_timestamp_t until = clock->timeout + (absolute ? 0 : now);
        if (until > now) now = until;
        *events = (__wasi_event_t){.userdata = subscriptions[i].userdata,
                                   .type = __WASI_EVENTTYPE_CLOCK};
        *happened = 1;
        return 0;
    }
    return __WASI_ERRNO_NOTSUP;
}

__wasi_errno_t __wrap___wasi_random_get(uint8_t *buffer, __wasi_size_t size) {
    static uint64_t state = 1;
    for (__wasi_size_t i = 0; i < size; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        buffer[i] = state >> 56;
    }
    return 0;
}
