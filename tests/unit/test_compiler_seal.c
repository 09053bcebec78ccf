/*
 * The compiler's seal from within: each attempt in a process of its own, sealed or, to see that
 * it would come to something, not.
 */
#include "tests/unit/test.h"
#include "tools/compiler_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What came of an attempt: 0, an errno, or a signal's number and DIED. */
#define DIED 1000

static int failed_or(bool done) { return done ? 0 : errno; }

static int open_file(void) { return failed_or(open("/etc/passwd", O_RDONLY) >= 0); }
static int make_file(void) { return failed_or(open("/tmp", O_TMPFILE | O_WRONLY, 0600) >= 0); }
static int make_socket(void) { return failed_or(socket(AF_INET, SOCK_STREAM, 0) >= 0); }
static int start_process(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    return failed_or(child > 0);
}
static int run_program(void) {
    char program[] = "/bin/true", *arguments[] = {program, NULL};
    execv(program, arguments);
    return errno;
}
static int trace_parent(void) { return failed_or(ptrace(PTRACE_SEIZE, getppid(), 0, 0) == 0); }
static int signal_parent(void) { return failed_or(kill(getppid(), 0) == 0); }
static int map_code(void) {
    return failed_or(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0) != MAP_FAILED);
}
static int protect_code(void) {
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return failed_or(mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
}
static int write_by_memory(void) { return failed_or(open("/proc/self/mem", O_RDWR) >= 0); }
static int raise_limit(void) {
    struct rlimit limit = {1, 1};
    return failed_or(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void *count(void *argument) {
    (*(int *)argument)++;
    return NULL;
}
/* What a compiler does: memory, threads with large stacks, its descriptors. */
static int compute(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 20);
    int counted = 0;
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        int e = pthread_create(&thread, &attributes, count, &counted);
        if (e) return e;
        pthread_join(thread, NULL);
    }
    char *memory = malloc(1 << 20);
    if (!memory) return ENOMEM;
    memory = realloc(memory, 64 << 20);
    if (!memory) return ENOMEM;
    memset(memory, 1, 64 << 20);
    free(memory);
    fputs("", stderr);
    return counted == 4 ? failed_or(write(STDERR_FILENO, "", 0) == 0) : EINVAL;
}
static int give_up(void) { abort(); }

static int come_to(int (*attempt)(void), bool sealed) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct error err = {0};
        if (sealed && compiler_seal(&err) != ST_OK) _exit(255);
        _exit(attempt());
    }
    int status = 0;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? DIED + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(void) {
    static const struct {
        const char *name;
        int (*attempt)(void);
        int free, sealed;
    } attempts[] = {
        {"open a file", open_file, 0, EACCES},
        {"make a file", make_file, 0, EACCES},
        {"make a socket", make_socket, 0, DIED + SIGSYS},
        {"start a process", start_process, 0, DIED + SIGSYS},
        {"run a program", run_program, 0, DIED + SIGSYS},
        {"trace the parent", trace_parent, 0, DIED + SIGSYS},
        {"signal the parent", signal_parent, 0, DIED + SIGSYS},
        {"map code", map_code, 0, DIED + SIGSYS},
        {"make code of data", protect_code, 0, DIED + SIGSYS},
        {"open its memory", write_by_memory, 0, EACCES},
        {"set a limit", raise_limit, 0, DIED + SIGSYS},
        {"compute", compute, 0, 0},
        {"give up", give_up, DIED + SIGABRT, DIED + SIGABRT},
    };
    for (size_t i = 0; i < countof(attempts); i++) {
        int came = come_to(attempts[i].attempt, false);
        if (came != attempts[i].free) printf("%s, unsealed: %d\n", attempts[i].name, came);
        EXPECT(came == attempts[i].free);
        came = come_to(attempts[i].attempt, true);
        if (came != attempts[i].sealed) printf("%s, sealed: %d\n", attempts[i].name, came);
        EXPECT(came == attempts[i].sealed);
    }
    return test_end();
}
