/* What wasi.h and the headers beside it declare. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <syslog.h>
#include <ucontext.h>
#include <wasi/api.h>

int h_errno;

static int no(void) {
    errno = ENOSYS;
    return -1;
}
static void *none(void) {
    errno = ENOSYS;
    return NULL;
}

/* ---- descriptors, owners, modes ---- */

/* The three standard streams are the ones PHP duplicates: they are shared instead. */
int dup(int fd) {
    if (fd >= 0 && fd <= 2) return fd;
    return no();
}
int dup2(int fd, int to) { return fd == to ? fd : no(); }
int pipe(int fds[2]) { return no(); }
int getdtablesize(void) { return 1024; }
uid_t getuid(void) { return 0; }
uid_t geteuid(void) { return 0; }
gid_t getgid(void) { return 0; }
gid_t getegid(void) { return 0; }
int getgroups(int count, gid_t *groups) { return 0; }
int chown(const char *path, uid_t uid, gid_t gid) { return 0; }
int lchown(const char *path, uid_t uid, gid_t gid) { return 0; }
int fchown(int fd, uid_t uid, gid_t gid) { return 0; }
int chmod(const char *path, mode_t mode) { return 0; }
int fchmod(int fd, mode_t mode) { return 0; }
mode_t umask(mode_t mode) { return 022; }
int flock(int fd, int operation) { return 0; }

struct passwd *getpwuid(uid_t uid) { return none(); }
struct passwd *getpwnam(const char *name) { return none(); }
struct group *getgrgid(gid_t gid) { return none(); }
struct group *getgrnam(const char *name) { return none(); }

static int fill(char *pattern) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(pattern);
    unsigned char random[6];
    if (length < 6 || strcmp(pattern + length - 6, "XXXXXX") != 0) return EINVAL;
    int error = __wasi_random_get(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        pattern[length - 6 + i] = letters[random[i] % (sizeof letters - 1)];
    return error;
}
void arc4random_buf(void *bytes, size_t size) {
    if (__wasi_random_get(bytes, size)) abort();
}
int mkstemp(char *pattern) {
    for (int tries = 0; tries < 100; tries++) {
        int error = fill(pattern);
        if (error) {
            errno = error;
            return -1;
        }
        int fd = open(pattern, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 || errno != EEXIST) return fd;
        memcpy(pattern + strlen(pattern) - 6, "XXXXXX", 6);
    }
    return -1;
}
char *mktemp(char *pattern) {
    int error = fill(pattern);
    if (error) {
        errno = error;
        *pattern = 0;
    }
    return pattern;
}

/* ---- processes ---- */

pid_t fork(void) { return no(); }
pid_t setsid(void) { return no(); }
pid_t getpgrp(void) { return 1; }
int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
    if (old) memset(old, 0, sizeof *old);
    return 0;
}
int sigemptyset(sigset_t *set) {
    memset(set, 0, sizeof *set);
    return 0;
}
int kill(pid_t pid, int signal) { return no(); }
int execv(const char *path, char *const arguments[]) { return no(); }
FILE *popen(const char *command, const char *mode) { return none(); }
int pclose(FILE *stream) { return no(); }
FILE *tmpfile(void) { return none(); }
pid_t wait(int *status) { return no(); }
pid_t waitpid(pid_t pid, int *status, int options) { return no(); }

void openlog(const char *name, int options, int facility) {}
void closelog(void) {}
void syslog(int priority, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* ---- names and sockets ---- */

struct hostent *gethostbyname(const char *name) {
    h_errno = HOST_NOT_FOUND;
    return NULL;
}
struct hostent *gethostbyaddr(const void *address, socklen_t length, int type) {
    return gethostbyname("");
}
int getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                socklen_t host_size, char *service, socklen_t service_size, int flags) {
    return EAI_FAIL;
}
struct servent *getservbyname(const char *name, const char *protocol) { return NULL; }
struct servent *getservbyport(int port, const char *protocol) { return NULL; }
struct protoent *getprotobyname(const char *name) { return NULL; }
struct protoent *getprotobynumber(int number) { return NULL; }

int socket(int domain, int type, int protocol) { return no(); }
int socketpair(int domain, int type, int protocol, int fds[2]) { return no(); }
int bind(int fd, const struct sockaddr *address, socklen_t length) { return no(); }
int listen(int fd, int backlog) { return no(); }
int connect(int fd, const struct sockaddr *address, socklen_t length) { return no(); }
int getsockname(int fd, struct sockaddr *address, socklen_t *length) { return no(); }
int setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    return no();
}

/* How PHP finds out that it is to speak FastCGI: descriptor 0 is a socket that is connected to
 * nobody. Connections have no addresses here, so every socket is one, unless there is a request
 * of CGI, whose body comes through it. */
int getpeername(int fd, struct sockaddr *address, socklen_t *length) {
    __wasi_fdstat_t stat;
    int error = __wasi_fd_fdstat_get(fd, &stat);
    if (!error && getenv("REQUEST_METHOD")) error = EINVAL;
    if (!error) error = stat.fs_filetype == __WASI_FILETYPE_SOCKET_STREAM ? ENOTCONN : ENOTSOCK;
    errno = error;
    return -1;
}
ssize_t sendto(int fd, const void *bytes, size_t size, int flags,
               const struct sockaddr *address, socklen_t length) {
    return send(fd, bytes, size, flags);
}
ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *address,
                 socklen_t *length) {
    return recv(fd, bytes, size, flags);
}

/* ---- memory of PHP's allocator ---- */

/*
 * It asks for blocks of 2 MiB that begin at a multiple of that, and gives them back whole or,
 * of a large one, the end. So a block is so many units; what was given back lies in a table of
 * runs, lowest first. Units fresh from the end of memory are zero, others are where the
 * allocator looks for it: in their first page.
 */
#define UNIT ((uintptr_t)2 << 20)
#define WASM_PAGE ((uintptr_t)65536)
#define ZERO_BYTES 65536
#define RUNS_MAX 512

static struct run {
    uintptr_t start, end;
} runs[RUNS_MAX];
static unsigned run_count;

static void remove_run(unsigned at) {
    memmove(&runs[at], &runs[at + 1], (--run_count - at) * sizeof *runs);
}

static void add_run(uintptr_t start, uintptr_t end) {
    unsigned at = 0;
    while (at < run_count && runs[at].start < start) at++;
    if (at > 0 && runs[at - 1].end == start) {
        runs[at - 1].end = end;
        if (at < run_count && runs[at].start == end) {
            runs[at - 1].end = runs[at].end;
            remove_run(at);
        }
    } else if (at < run_count && runs[at].start == end) {
        runs[at].start = start;
    } else if (run_count < RUNS_MAX) { /* else it is lost */
        memmove(&runs[at + 1], &runs[at], (run_count++ - at) * sizeof *runs);
        runs[at] = (struct run){start, end};
    }
}

static uintptr_t round_up(uintptr_t value, uintptr_t to) { return (value + to - 1) / to * to; }

void *mmap(void *hint, size_t size, int protection, int flags, int fd, off_t offset) {
    if (!(flags & MAP_ANON) || (flags & MAP_STACK) || size == 0 || size > (uintptr_t)1 << 31) {
        errno = flags & MAP_ANON && !(flags & MAP_STACK) ? ENOMEM : ENOSYS;
        return MAP_FAILED;
    }
    uintptr_t bytes = round_up(size, UNIT);
    for (unsigned i = 0; i < run_count; i++) {
        if (runs[i].end - runs[i].start < bytes) continue;
        uintptr_t start = runs[i].start;
        runs[i].start += bytes;
        if (runs[i].start == runs[i].end) remove_run(i);
        memset((void *)start, 0, ZERO_BYTES);
        return (void *)start;
    }
    uintptr_t end = __builtin_wasm_memory_size(0) * WASM_PAGE, start = round_up(end, UNIT);
    if (start > UINTPTR_MAX - bytes ||
        __builtin_wasm_memory_grow(0, (start + bytes - end) / WASM_PAGE) == SIZE_MAX) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)start;
}

int munmap(void *address, size_t size) {
    uintptr_t start = round_up((uintptr_t)address, UNIT);
    uintptr_t end = round_up((uintptr_t)address + size, UNIT);
    if (start < end) add_run(start, end);
    return 0;
}
int mprotect(void *address, size_t size, int protection) { return 0; }
int madvise(void *address, size_t size, int advice) { return 0; }

/* ---- fibers ---- */

/* Not reached: a fiber's stack cannot be had. */
int getcontext(ucontext_t *context) { return no(); }
void makecontext(ucontext_t *context, void (*function)(void), int count, ...) { abort(); }
int swapcontext(ucontext_t *save, const ucontext_t *next) {
    abort();
    return no();
}
