/*
 * Reading an index of which every byte may be wrong. LMDB trusts its pages: one bad byte can
 * send it outside the map, into a division by zero, or to an assertion. A reader's map is
 * read-only and a reader's own memory is bounded (its cursor has a depth that LMDB checks), so
 * all that can happen is a signal, and a signal is caught here and becomes "damaged". Nothing
 * of the sort holds for a writer; that is why writers live in a child process (cache_child.c).
 *
 * The handlers stay installed. A signal outside guard_call goes to whoever had it before.
 */
#include "cache/store.h"

#include <setjmp.h>
#include <signal.h>

static _Thread_local sigjmp_buf *guard_here;

static const int guarded[] = {SIGSEGV, SIGBUS, SIGFPE};
static struct sigaction before[countof(guarded)];

static void on_signal(int number, siginfo_t *info, void *machine) {
    if (guard_here) siglongjmp(*guard_here, 1);
    for (size_t i = 0; i < countof(guarded); i++) {
        if (guarded[i] != number) continue;
        if ((before[i].sa_flags & SA_SIGINFO) && before[i].sa_sigaction) {
            before[i].sa_sigaction(number, info, machine);
        } else if (before[i].sa_handler == SIG_DFL || before[i].sa_handler == SIG_IGN) {
            /* Back to the instruction, which now ends the process as it should. */
            sigaction(number, &before[i], NULL);
        } else {
            before[i].sa_handler(number);
        }
    }
}

void guard_install(void) {
    static bool installed;
    if (installed) return;
    installed = true;
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < countof(guarded); i++) sigaction(guarded[i], &action, &before[i]);
}

bool guard_call(void (*function)(void *context), void *context) {
    sigjmp_buf here;
    sigjmp_buf *volatile outer = guard_here;
    /* The mask need not be saved: with SA_NODEFER the handler runs with the one there was. */
    if (sigsetjmp(here, 0) != 0) {
        guard_here = outer;
        return false;
    }
    guard_here = &here;
    function(context);
    guard_here = outer;
    return true;
}

void guard_escape(void) {
    CHECK(guard_here != NULL);
    siglongjmp(*guard_here, 1);
}
