/*
 * A program under watch, while a CGI program is made to a snapshot: someone is told of each
 * call before it has an effect, and may write the program out there. tame: clocks and random
 * numbers follow from the number of the call and a seed alone, so that two runs of the same
 * requests do the same, and what differs between two runs differs for their requests.
 */
#include "runtime/wasi.h"

#define TAME_STEP_NS UINT64_C(1000)
#define TAME_SEED_NS UINT64_C(100123456789) /* other seconds, and other fractions */

void wasi_watch(struct wasi *w, struct wasi_watch *watch) { w->watch = watch; }

bool wasi_call_is_request(const char *name, const union abi_value *slots) {
    static const char *const of_streams[] = {"fd_read",   "fd_pread",    "fd_write",
                                             "fd_pwrite", "fd_seek",     "sock_recv",
                                             "sock_send", "sock_accept", "sock_shutdown"};
    if (strcmp(name, "proc_exit") == 0 || strcmp(name, "poll_oneoff") == 0) return true;
    for (size_t i = 0; i < countof(of_streams); i++)
        if (strcmp(name, of_streams[i]) == 0) return slots[0].u32 < 2;
    return false;
}

/* splitmix64 */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

enum wasi_errno wasi_tame_random(const struct wasi_watch *watch, uint8_t *to, uint32_t size) {
    for (uint32_t i = 0; i < size; i++)
        to[i] = (uint8_t)(mix((watch->number << 32 | i / 8) ^ mix(watch->seed)) >> (i % 8 * 8));
    return WASI_OK;
}

uint64_t wasi_tame_time_ns(const struct wasi_watch *watch) {
    return WASI_TAME_START_NS + watch->seed * TAME_SEED_NS + watch->number * TAME_STEP_NS;
}
