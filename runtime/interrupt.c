/*
 * Interrupts: a guest that runs too long, or that someone wants to end, gets TRAP_INTERRUPT.
 * One timer sends SIGALRM to the thread that runs guests. Where the signal finds guest code,
 * the guest is left at once; elsewhere gate_interrupt stays set and the gate looks at it before
 * it goes to guest code. The timer then repeats, so that a signal that came just before a
 * system call began to block is followed by another that ends it with EINTR.
 */
#include "runtime/trap.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REPEAT_NS 5000000

static struct sigaction old_alarm;
static bool installed;
static timer_t timer;
static pid_t timer_process; /* timers do not survive a fork */
static pid_t guest_thread;

static pid_t thread_id(void) { return (pid_t)syscall(SYS_gettid); }

/* Async-signal-safe. first_ns 0 disarms. */
static void timer_set(uint64_t first_ns) {
    if (timer_process != getpid()) return;
    struct itimerspec when = {0};
    if (first_ns) {
        when.it_value.tv_sec = (time_t)(first_ns / 1000000000u);
        when.it_value.tv_nsec = (long)(first_ns % 1000000000u);
        when.it_interval.tv_nsec = REPEAT_NS;
    }
    timer_settime(timer, 0, &when, NULL);
}

static void on_alarm(int signal, siginfo_t *info, void *context_pointer) {
    (void)info;
    int saved = errno;
    ucontext_t *context = context_pointer;
    if (thread_id() != guest_thread && timer_process == getpid()) {
        syscall(SYS_tgkill, getpid(), guest_thread, signal);
        errno = saved;
        return;
    }
    gate_interrupt = 1;
    struct crossing *c = gate_current;
    if (!c) {
        timer_set(0); /* the next call sees the flag */
        errno = saved;
        return;
    }
    uint64_t pc = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
    bool in_guest = trap_find_code(pc) != NULL;
    bool entering = pc >= (uint64_t)gate_enter_window && pc < (uint64_t)gate_enter_window_end;
    bool returning =
        pc >= (uint64_t)gate_return_window && pc < (uint64_t)gate_return_window_end;
    if (in_guest || entering || returning) {
        c->result = CALL_TRAPPED;
        c->trap = TRAP_INTERRUPT;
        c->detail[0] = 0;
        c->has_registers = !entering;
        if (in_guest)
            trap_context_registers(context, &c->registers);
        else if (returning)
            gate_saved_registers(c, &c->registers);
        trap_leave(context, c);
    } else {
        timer_set(REPEAT_NS);
    }
    errno = saved;
}

static enum status timer_make(struct error *err) {
    if (timer_process == getpid()) return ST_OK;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    guest_thread = thread_id();
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = guest_thread;
#else
    event._sigev_un._tid = guest_thread;
#endif
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return error_set_errno(err, ST_IO, "cannot create a timer");
    timer_process = getpid();
    return ST_OK;
}

enum status interrupt_install(struct error *err) {
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGALRM, &action, &old_alarm) != 0)
        return error_set_errno(err, ST_IO, "cannot install a signal handler");
    installed = true;
    gate_interrupt = 0;
    return timer_make(err);
}

void interrupt_uninstall(void) {
    if (!installed) return;
    if (timer_process == getpid()) timer_delete(timer);
    timer_process = 0;
    sigaction(SIGALRM, &old_alarm, NULL);
    installed = false;
    gate_interrupt = 0;
}

void runtime_interrupt(void) {
    int saved = errno;
    gate_interrupt = 1;
    if (installed) timer_set(1);
    errno = saved;
}

bool runtime_interrupt_pending(void) { return gate_interrupt != 0; }

void trap_interrupt_done(void) {
    timer_set(0);
    gate_interrupt = 0;
}

enum status runtime_set_timeout(uint64_t nanoseconds, struct error *err) {
    if (!installed) return error_set(err, ST_USAGE, "the runtime is not initialised");
    enum status st = timer_make(err);
    if (st != ST_OK) return st;
    timer_set(0);
    gate_interrupt = 0;
    if (nanoseconds) timer_set(nanoseconds);
    return ST_OK;
}
