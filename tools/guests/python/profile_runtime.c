/*
 * What clang's profile counters need at run time: at the end of the program they are written as
 * a raw profile, which llvm-profdata reads, to the file that $LLVM_PROFILE_FILE names. LLVM's
 * own library for this is not built for wasm32. Linked into the interpreter that build-python
 * trains, and into no other.
 *
 * Training has to count the same each time, so there is no chance in it and no time either:
 * link with --wrap for the calls of WASI below.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

/* clang's own header: the layout is that of the compiler which made the counters. */
typedef uint32_t IntPtrT;
enum {
#define VALUE_PROF_KIND(Enumerator, Value, Descr) Enumerator = Value,
#include <profile/InstrProfData.inc>
};
typedef struct {
#define INSTR_PROF_DATA(Type, LLVMType, Name, Initializer) Type Name;
#include <profile/InstrProfData.inc>
} data_record;
typedef struct {
#define INSTR_PROF_RAW_HEADER(Type, Name, Initializer) Type Name;
#include <profile/InstrProfData.inc>
} raw_header;
#include <profile/InstrProfData.inc>

/* Bounds of sections, from the linker. */
extern const data_record data_start[] __asm__("__start___llvm_prf_data");
extern const data_record data_stop[] __asm__("__stop___llvm_prf_data");
extern const uint64_t counters_start[] __asm__("__start___llvm_prf_cnts");
extern const uint64_t counters_stop[] __asm__("__stop___llvm_prf_cnts");
extern const char names_start[] __asm__("__start___llvm_prf_names");
extern const char names_stop[] __asm__("__stop___llvm_prf_names");

/* Each object with counters asks for this name. */
int __llvm_profile_runtime;

__attribute__((destructor)) static void write_profile(void) {
    const char *path = getenv("LLVM_PROFILE_FILE");
    if (!path) return;
    raw_header header = {
        .Magic = INSTR_PROF_RAW_MAGIC_32,
        .Version = INSTR_PROF_RAW_VERSION,
        .NumData = data_stop - data_start,
        .NumCounters = counters_stop - counters_start,
        .NamesSize = names_stop - names_start,
        .CountersDelta = (uint32_t)((uintptr_t)counters_start - (uintptr_t)data_start),
        .NamesDelta = (uintptr_t)names_start,
        .ValueKindLast = IPVK_Last,
    };
    static const char padding[8];
    FILE *file = fopen(path, "wb");
    int ok = file && fwrite(&header, sizeof header, 1, file) == 1 &&
             fwrite(data_start, sizeof *data_start, header.NumData, file) == header.NumData &&
             fwrite(counters_start, sizeof *counters_start, header.NumCounters, file) ==
                 header.NumCounters &&
             fwrite(names_start, 1, header.NamesSize, file) == header.NamesSize &&
             fwrite(padding, 1, -header.NamesSize % 8, file) == -header.NamesSize % 8;
    if (file && fclose(file)) ok = 0;
    if (ok) return;
    perror(path);
    _exit(1);
}

/* Time goes by with each question for it, a microsecond, and with each wait, at once. */
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
