/*
 * Work on the index in a process of its own. LMDB writes through what it reads, so a damaged
 * page could make it write anywhere in its process: here that process is a child that nobody
 * else depends on. The child holds the index lock, which dies with it, and reports through a
 * page of shared memory; one that ends without a report met a damaged index.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_SECONDS 120u /* for the lock: others hold it for milliseconds */
#define WORK_SECONDS 120u /* a rebuild of a million entries stays below */

enum phase {
    PHASE_START,
    PHASE_WAITING,
    PHASE_WORKING,
    PHASE_DONE
};

struct report {
    volatile int phase;
    enum status status;
    struct error error;
};

void *child_shared(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void child_unshare(void *memory, size_t size) {
    if (memory) munmap(memory, size);
}

/* What a damaged index does to us is for our parent to know: no core file, no last words of the
 * C library on somebody's terminal. */
static void die_in_silence(void) {
    prctl(PR_SET_DUMPABLE, 0);
#ifndef __SANITIZE_ADDRESS__
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0 && dup2(null, STDERR_FILENO) >= 0) close(null);
#endif
}

static void as_a_child(struct cache *c, child_work work, void *context, struct report *report) {
    /* Signals do what they do by default, but for the one that a limit on file sizes sends: it
     * is to be an error like a full disk. Our parent's end is not ours: we are as good as done.
     */
    static const int defaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM, SIGTERM};
    for (size_t i = 0; i < countof(defaults); i++) signal(defaults[i], SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    die_in_silence();
    struct error err = {0};
    report->phase = PHASE_WAITING;
    alarm(WAIT_SECONDS);
    enum status status = ST_OK;
    int lock =
        openat(c->dir, CACHE_INDEX_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        status = error_set_errno(&err, cache_io_status(), "cannot open %s/" CACHE_INDEX_LOCK,
                                 c->path);
    while (status == ST_OK && flock(lock, LOCK_EX) < 0)
        if (errno != EINTR) status = error_set_errno(&err, ST_IO, "cannot lock the index");
    alarm(WORK_SECONDS);
    report->phase = PHASE_WORKING;
    if (status == ST_OK) status = work(c, context, &err);
    report->status = status;
    report->error = err;
    report->phase = PHASE_DONE;
    _exit(0);
}

enum status child_run(struct cache *c, child_work work, void *context, struct error *err) {
    struct report *report = child_shared(sizeof *report);
    if (!report) return error_set(err, ST_NO_MEMORY, "out of memory");
    pid_t child = fork();
    if (child == 0) as_a_child(c, work, context, report);
    enum status status;
    if (child < 0) {
        status = error_set_errno(err, errno == ENOMEM ? ST_NO_MEMORY : ST_IO, "cannot fork");
    } else {
        /* ECHILD: the caller has its children reaped; the report still says how it went. */
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
        if (report->phase == PHASE_DONE) {
            status = report->status;
            if (status != ST_OK && err) *err = report->error;
        } else if (report->phase == PHASE_WORKING) {
            status = error_set(err, ST_DAMAGED, "a process that changed the index died");
        } else {
            status = error_set(err, ST_IO, "the index stays locked by another process");
        }
    }
    child_unshare(report, sizeof *report);
    return status;
}
