/* See tracer.h. A tracee stops before and after each call; where it is about to make the call
 * that is to fail, its number becomes -1, and when it comes back the result is ours. */
#include "tests/fault/tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEES_MAX 256u
#define HANG_SECONDS 60u

struct tracee {
    pid_t pid;
    int failing; /* the error to give back from the call it is in, or 0 */
};
struct run {
    struct tracee tracees[TRACEES_MAX];
    unsigned count;
    const struct fault *fault;
    struct fault_result result;
};

static struct tracee *tracee_of(struct run *r, pid_t pid) {
    for (unsigned i = 0; i < r->count; i++)
        if (r->tracees[i].pid == pid) return &r->tracees[i];
    if (r->count == TRACEES_MAX) {
        fprintf(stderr, "tracer: too many processes\n");
        exit(2);
    }
    r->tracees[r->count] = (struct tracee){.pid = pid};
    return &r->tracees[r->count++];
}

static void forget(struct run *r, pid_t pid) {
    for (unsigned i = 0; i < r->count; i++)
        if (r->tracees[i].pid == pid) r->tracees[i--] = r->tracees[--r->count];
}

static void kill_all(struct run *r) {
    for (unsigned i = 0; i < r->count; i++) kill(r->tracees[i].pid, SIGKILL);
}

/* Calls that can fail on a full disk, and on a broken one. */
static bool can_fail(const struct user_regs_struct *regs, int error) {
    switch (regs->orig_rax) {
    case SYS_openat: return error == EIO || (regs->rdx & O_CREAT);
    case SYS_read:
    case SYS_pread64:
    case SYS_getdents64:
    case SYS_unlinkat:
    case SYS_utimensat:
    case SYS_fchmod: return error == EIO;
    case SYS_write:
    case SYS_writev:
    case SYS_pwrite64:
    case SYS_pwritev:
    case SYS_mkdirat:
    case SYS_linkat:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_rename:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_ftruncate:
    case SYS_fallocate: return true;
    default: return false;
    }
}

static void enter_call(struct run *r, struct tracee *t) {
    const struct fault *f = r->fault;
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0) return;
    if (f->kind == FAULT_ERROR && !can_fail(&regs, f->error)) return;
    bool now = r->result.calls++ == f->at && f->kind != FAULT_NONE;
    if (!now) return;
    r->result.hit = true;
    r->result.number = (long)regs.orig_rax;
    if (f->kind == FAULT_KILL_ALL) kill_all(r);
    if (f->kind == FAULT_KILL_ONE) kill(t->pid, SIGKILL);
    if (f->kind == FAULT_ERROR) {
        regs.orig_rax = (unsigned long long)-1;
        t->failing = f->error;
        ptrace(PTRACE_SETREGS, t->pid, NULL, &regs);
    }
}

static void leave_call(struct tracee *t) {
    struct user_regs_struct regs;
    if (!t->failing || ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0) return;
    regs.rax = (unsigned long long)-(long long)t->failing;
    t->failing = 0;
    ptrace(PTRACE_SETREGS, t->pid, NULL, &regs);
}

/* A stop of a tracee; the signal to go on with. */
static int stopped(struct run *r, struct tracee *t, int status) {
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof info, &info) <= 0) return 0;
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) enter_call(r, t);
        if (info.op == PTRACE_SYSCALL_INFO_EXIT) leave_call(t);
        return 0;
    }
    if (status >> 16) return 0; /* fork, exec: nothing to do */
    if (signal == SIGSTOP || signal == SIGTRAP) return 0;
    return signal;
}

static volatile sig_atomic_t ticks;
static void on_alarm(int number) {
    (void)number;
    ticks++;
}

static void trace(struct run *r, pid_t first) {
    unsigned last_calls = 0;
    ticks = 0;
    /* Until there is none left: a child may be there that has not been seen stopping yet, when
     * all that were seen are gone. */
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR) {
            if (ticks < 2) continue;
            r->result.hung = r->result.calls == last_calls;
            if (r->result.hung) kill_all(r);
            last_calls = r->result.calls;
            ticks = 0;
            continue;
        }
        if (pid < 0) return;
        struct tracee *t = tracee_of(r, pid);
        if (WIFSTOPPED(status) && r->result.hit && r->fault->kind == FAULT_KILL_ALL)
            kill(pid, SIGKILL); /* born too late to have been killed with the others */
        if (WIFSTOPPED(status)) {
            int signal = stopped(r, t, status);
            ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal);
            continue;
        }
        if (pid == first) r->result.status = status;
        forget(r, pid);
    }
}

struct fault_result fault_run(int (*function)(void *context), void *context,
                              const struct fault *fault) {
    struct run run = {.fault = fault};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (fault->quiet && null >= 0)
            for (int fd = 1; fd < 3; fd++) dup2(null, fd);
        if (null >= 0) close(null);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        int result = function(context);
        fflush(NULL);
        _exit(result);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        perror("tracer");
        exit(2);
    }
    ptrace(PTRACE_SETOPTIONS, pid, NULL,
           (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                    PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL));
    tracee_of(&run, pid);
    struct sigaction action = {.sa_handler = on_alarm}, before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval often = {{HANG_SECONDS / 2, 0}, {HANG_SECONDS / 2, 0}}, never = {{0}, {0}};
    setitimer(ITIMER_REAL, &often, NULL);
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    trace(&run, pid);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    return run.result;
}
