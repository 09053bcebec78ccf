/*
 * What a compiler may do, as a filter of system calls made with libseccomp. The module it reads
 * is an attacker's, and LLVM is large: whoever takes it over finds a process that can compute,
 * and hand over bytes that are then checked as any object is.
 *
 * The calls fall in three lists. What needs no look at its arguments; what is allowed under a
 * condition; and what LLVM and libc try in passing and can do without, which fails with the
 * errno that says so. clone3 is among the latter, since its flags lie in memory, where no
 * filter can look: libc then takes clone (glibc, sysdeps/unix/sysv/linux/clone-internal.c, on
 * ENOSYS).
 */
#include "tools/compiler_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* clang-format off */
#define PLAIN_CALLS(X)                                                                              \
    /* memory */                                                                                   \
    X(munmap) X(mremap) X(madvise) X(brk)                                                          \
    /* threads */                                                                                  \
    X(futex) X(set_robust_list) X(rseq) X(exit) X(sched_yield) X(sched_getaffinity) X(gettid)      \
    /* the descriptors there are, and files in memory (libelf writes to one) */                    \
    X(read) X(write) X(writev) X(pread64) X(pwrite64) X(lseek) X(fstat) X(close) X(memfd_create)   \
    X(ftruncate)                                                                                   \
    /* signals, among them those with which LLVM says that it gave up */                           \
    X(rt_sigaction) X(rt_sigprocmask) X(rt_sigreturn) X(sigaltstack) X(getpid)                     \
    /* clocks and counts */                                                                        \
    X(clock_gettime) X(clock_nanosleep) X(gettimeofday) X(getrusage) X(sysinfo) X(getrandom)       \
    X(exit_group)

#define REFUSED_CALLS(X)                                                                           \
    X(clone3, ENOSYS) X(openat, EACCES) X(open, EACCES) X(access, EACCES) X(readlink, EACCES)      \
    X(newfstatat, EACCES) X(statx, ENOSYS) X(ioctl, ENOTTY) X(prctl, EPERM) X(unlink, EACCES)      \
    X(sched_setaffinity, EPERM)
/* clang-format on */

#define NO_EXECUTION(argument) SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)
#define THREAD_FLAGS (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)

/* 0 or a negative errno, as libseccomp has it. */
static int fill(scmp_filter_ctx filter) {
    int e = 0;
#define PLAIN(call)                                                                            \
    if (e == 0) e = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(call), 0);
    PLAIN_CALLS(PLAIN)
#undef PLAIN
#define REFUSED(call, error)                                                                   \
    if (e == 0) e = seccomp_rule_add(filter, SCMP_ACT_ERRNO(error), SCMP_SYS(call), 0);
    REFUSED_CALLS(REFUSED)
#undef REFUSED
#define ALLOW_IF(call, ...)                                                                    \
    if (e == 0) e = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(call), __VA_ARGS__);
    ALLOW_IF(mmap, 1, NO_EXECUTION(2))
    ALLOW_IF(mprotect, 1, NO_EXECUTION(2))
    ALLOW_IF(clone, 1, SCMP_CMP(0, SCMP_CMP_MASKED_EQ, THREAD_FLAGS, THREAD_FLAGS))
    /* abort(3) */
    ALLOW_IF(tgkill, 1, SCMP_CMP(0, SCMP_CMP_EQ, (scmp_datum_t)getpid()))
    /* is it open? */
    ALLOW_IF(fcntl, 1, SCMP_CMP(1, SCMP_CMP_EQ, F_GETFD))
    ALLOW_IF(fcntl, 1, SCMP_CMP(1, SCMP_CMP_EQ, F_GETFL))
    /* limits may be asked for, not set */
    ALLOW_IF(prlimit64, 1, SCMP_CMP(2, SCMP_CMP_EQ, 0))
#undef ALLOW_IF
    return e;
}

/* In place of libc's, for libelf and LLVM: those ask newfstatat with an empty path, and no
 * filter can look at a path. Of two names, since a libc call is another with 64-bit offsets
 * asked for. */
int fstat_of_libraries(int fd, struct stat *ret_stat) __asm__("fstat");
int fstat_of_libraries(int fd, struct stat *ret_stat) {
    return (int)syscall(SYS_fstat, fd, ret_stat);
}
int fstat64_of_libraries(int fd, struct stat *ret_stat) __asm__("fstat64");
int fstat64_of_libraries(int fd, struct stat *ret_stat) {
    return fstat_of_libraries(fd, ret_stat);
}

enum status compiler_seal(struct error *err) {
    /* Not to be traced or dumped by others of the same user. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter) return error_set(err, ST_NO_MEMORY, "out of memory");
    int e = fill(filter);
    if (e == 0) e = seccomp_load(filter); /* which sets no_new_privs first */
    seccomp_release(filter);
    if (e == 0) return ST_OK;
    errno = -e;
    return error_set_errno(err, e == -ENOMEM ? ST_NO_MEMORY : ST_UNSUPPORTED,
                           "cannot filter system calls");
}
