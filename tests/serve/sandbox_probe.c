/*
 * What an attacker could do who has taken over a tenant's process, tried from within: the same
 * guard, zygote and sandbox as hutch-tenant's, and in the place of the tenant's loop an
 * attempt. Not part of the product.
 *
 *     sandbox_probe OBJECT ATTEMPT [NUMBER [LAST]]
 *
 * Prints "ATTEMPT: " and what came of it: "allowed", "errno N", or "killed" where the process
 * was ended with SIGSYS; then the layers that hold. Attempts are in the table below; `call N`
 * makes system call N with arguments of zero, or such as could do harm.
 */
#include "loader/loader.h"
#include "loader/sandbox.h"
#include "loader/tenant_config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *attempt;
static long number;

/* ---- within the tenant ------------------------------------------------------------------- */

/* The answer goes to the pool's end as a DONE: status is the errno, or 0. */
static _Noreturn void answer(long result) {
    struct tenant_done done = {.header = tenant_header(TENANT_DONE, sizeof done, 1),
                               .status = result < 0 && result > -4096 ? (int)-result : 0};
    (void)tenant_send(TENANT_CONTROL_FD, &done, sizeof done, NULL, 0, NULL, 0);
    _exit(0);
}

/* Without libc's wrappers and their errno. */
static long call(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long any(void) {
    static const struct timespec at_once;
    if (number == SYS_ppoll) return call(number, 0, 0, (long)&at_once, 0, 0, 0);
    return call(number, 0, 0, 0, 0, 0, 0);
}
/* 32-bit entry: another table of calls. 20 is getpid there, 11 execve. */
static long int80(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    return result;
}
static long x32(void) { return call(0x40000000 | SYS_getpid, 0, 0, 0, 0, 0, 0); }

static long map_code(int prot, int flags, int fd) {
    return call(SYS_mmap, (long)ABI_CODE_BASE, 4096, prot, flags, fd, 0);
}
static long map_object(void) { /* what the loader itself does */
    return map_code(PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, TENANT_OBJECT_FD);
}
static long write_object(void) {
    return map_code(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, TENANT_OBJECT_FD);
}
static long map_anonymous_code(void) {
    return map_code(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}
static long map_private_code(void) {
    return map_code(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, TENANT_OBJECT_FD);
}
static long map_writable_code(void) {
    return map_code(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED,
                    TENANT_OBJECT_FD);
}
static long map_other_code(void) { /* an image's bytes would be the attacker's own */
    return map_code(PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, TENANT_CONFIG_FD);
}
static long protect_code(void) {
    long at = map_object();
    return at < 0 ? at : call(SYS_mprotect, at, 4096, PROT_READ | PROT_WRITE, 0, 0, 0);
}
static long protect_data(void) {
    long at = map_code(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    return call(SYS_mprotect, at, 4096, PROT_READ | PROT_EXEC, 0, 0, 0);
}
static long store_code(void) {
    long at = map_object();
    if (at >= 0) *(volatile char *)at = 0;
    return 0;
}
static long write_by_file(void) {
    struct iovec part = {.iov_base = &number, .iov_len = 1};
    return call(SYS_writev, TENANT_OBJECT_FD, (long)&part, 1, 0, 0, 0);
}
static long read_into_code(void) { /* the kernel writes on our behalf */
    long at = map_object();
    struct iovec part = {.iov_base = (void *)at, .iov_len = 1};
    return at < 0 ? at : call(SYS_readv, TENANT_OBJECT_FD, (long)&part, 1, 0, 0, 0);
}
static long move_code(void) {
    long at = map_object();
    return call(SYS_mremap, at, 4096, 8192, MREMAP_MAYMOVE, 0, 0);
}
static long populate_code(void) { /* the kernel makes pages writable on our behalf */
    long at = map_object();
    return at < 0 ? at : call(SYS_madvise, at, 4096, MADV_POPULATE_WRITE, 0, 0, 0);
}
static long write_config(void) { /* what all instances of an app are started with */
    return call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, TENANT_CONFIG_FD, 0);
}
static long write_config_by_file(void) {
    struct iovec part = {.iov_base = &number, .iov_len = 1};
    return call(SYS_writev, TENANT_CONFIG_FD, (long)&part, 1, 0, 0, 0);
}
static long run_data(void) { /* code of our own: ret */
    static uint8_t code[] = {0xc3};
    ((void (*)(void))(uintptr_t)code)();
    return 0;
}
static long replace_code(void) { /* ... in the place of the shared code, of this process */
    if (map_object() < 0) return -1;
    long at = map_code(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
    if (at < 0) return at;
    *(volatile uint8_t *)at = 0xc3;
    ((void (*)(void))at)();
    return 0;
}
static long open_self(void) {
    return call(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDWR, 0, 0, 0);
}
static long trace(void) { return call(SYS_ptrace, PTRACE_ATTACH, getppid(), 0, 0, 0, 0); }
static long read_other(void) { return call(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0); }
static long write_other(void) { return call(SYS_process_vm_writev, 1, 0, 0, 0, 0, 0); }
static long signal_all(void) { return call(SYS_kill, -1, SIGKILL, 0, 0, 0, 0); }
static long signal_zygote(void) { return call(SYS_kill, 1, SIGKILL, 0, 0, 0, 0); }
static long signal_thread(void) { return call(SYS_tgkill, 1, 1, SIGKILL, 0, 0, 0); }
static long fork_bomb(void) { return call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0); }
static long thread(void) { return call(SYS_clone3, 0, 0, 0, 0, 0, 0); }
static long execute(void) { return call(SYS_execve, (long)"/bin/sh", 0, 0, 0, 0, 0); }
static long new_socket(void) { return call(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0); }
static long more_filter(void) { return call(SYS_seccomp, 0, 0, 0, 0, 0, 0); }
static long own_dumps(void) { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0); }
static long raise_limit(void) { return call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, 0, 0, 0); }
static long duplicate(void) { return call(SYS_fcntl, 0, F_DUPFD, 5, 0, 0, 0); }
static long signal_io(void) { return call(SYS_fcntl, TENANT_CONTROL_FD, F_SETOWN, 1, 0, 0, 0); }
static long terminal(void) {
    return call(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, (long)"x", 0, 0, 0);
}

/* Every number that could be a descriptor: which are there, beyond the six that must be. */
static long guess_descriptors(void) {
    long others = 0;
    for (int fd = 0; fd < 4096; fd++) {
        if (call(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0) == -EBADF) continue;
        if (fd <= TENANT_OBJECT_FD) continue;
        /* the map of its own pages can only be asked about pages */
        char byte;
        if (call(SYS_pread64, fd, (long)&byte, 1, 0, 0, 0) == -EBADF)
            others++;
        else if (fd != TENANT_OBJECT_FD + 1 && fd != TENANT_OBJECT_FD + 3)
            others++;
    }
    return others ? -others : 0;
}
static long memory(void) {
    long got = 0;
    for (;;) { /* until the limit says no */
        long at = call(SYS_mmap, 0, 64 << 20, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at < 0) return at;
        if (++got > 1000) return 0;
    }
}
static long deep_stack(void) {
    volatile char room[16 << 20];
    for (size_t i = sizeof room; i > 0; i -= 4096) room[i - 1] = 1;
    return 0;
}
static long send_descriptor(void) { /* the pool takes none */
    int fds[2] = {TENANT_OBJECT_FD, TENANT_OBJECT_FD};
    struct tenant_done done = {.header = tenant_header(TENANT_DONE, sizeof done, 1)};
    return -tenant_send(TENANT_CONTROL_FD, &done, sizeof done, NULL, 0, fds, 2);
}

/* What a tenant gets when it is to hibernate: a file, for writing alone. */
static int hibernate_fd = -1;
static long hibernate_write_it(void) {
    struct iovec part = {.iov_base = &number, .iov_len = 8};
    long n = call(SYS_writev, hibernate_fd, (long)&part, 1, 0, 0, 0);
    return n == 8 ? 0 : n;
}
static long hibernate_read(void) {
    struct iovec part = {.iov_base = &number, .iov_len = 1};
    return call(SYS_readv, hibernate_fd, (long)&part, 1, 0, 0, 0);
}
static long hibernate_pread(void) {
    return call(SYS_pread64, hibernate_fd, (long)&number, 8, 0, 0, 0);
}
static long hibernate_map(void) {
    return call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, hibernate_fd, 0);
}
static long hibernate_map_private(void) {
    return call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, hibernate_fd, 0);
}
static long hibernate_run(void) { /* code of our own, from a file that we have written */
    return map_code(PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, hibernate_fd);
}
static long hibernate_cut(void) { return call(SYS_ftruncate, hibernate_fd, 0, 0, 0, 0, 0); }
static long hibernate_reserve(void) {
    return call(SYS_fallocate, hibernate_fd, 0, 0, 1L << 40, 0, 0);
}
static long hibernate_as_object(void) { /* its number is taken */
    long closed = call(SYS_close, TENANT_OBJECT_FD, 0, 0, 0, 0, 0);
    return closed < 0 ? closed : call(SYS_fcntl, hibernate_fd, F_DUPFD, 0, 0, 0, 0);
}

/* clang-format off */
static const struct {
    const char *name;
    long (*run)(void);
} attempts[] = {
    {"call", any}, {"int80", int80}, {"x32", x32}, {"map-object", map_object},
    {"write-object", write_object}, {"map-anonymous-code", map_anonymous_code},
    {"map-private-code", map_private_code}, {"map-writable-code", map_writable_code},
    {"map-other-code", map_other_code}, {"protect-code", protect_code},
    {"protect-data", protect_data}, {"store-code", store_code},
    {"write-by-file", write_by_file}, {"read-into-code", read_into_code},
    {"populate-code", populate_code}, {"write-config", write_config},
    {"write-config-by-file", write_config_by_file}, {"run-data", run_data},
    {"replace-code", replace_code}, {"move-code", move_code}, {"open-self", open_self}, {"trace", trace},
    {"read-other", read_other}, {"write-other", write_other}, {"signal-all", signal_all},
    {"signal-zygote", signal_zygote}, {"signal-thread", signal_thread}, {"fork", fork_bomb},
    {"thread", thread}, {"execute", execute}, {"socket", new_socket}, {"filter", more_filter},
    {"dumpable", own_dumps}, {"raise-limit", raise_limit}, {"duplicate", duplicate},
    {"signal-io", signal_io}, {"terminal", terminal}, {"descriptors", guess_descriptors},
    {"hibernate-write", hibernate_write_it}, {"hibernate-read", hibernate_read},
    {"hibernate-pread", hibernate_pread}, {"hibernate-map", hibernate_map},
    {"hibernate-map-private", hibernate_map_private}, {"hibernate-run", hibernate_run},
    {"hibernate-cut", hibernate_cut}, {"hibernate-reserve", hibernate_reserve},
    {"hibernate-as-object", hibernate_as_object},
    {"memory", memory}, {"stack", deep_stack}, {"send-descriptor", send_descriptor},
};
/* clang-format on */

/* In the place of loader/tenant.c's. */
_Noreturn void tenant_main(uint32_t layers) {
    struct tenant_up up = {.header = tenant_header(TENANT_UP, sizeof up, 0), .layers = layers};
    (void)tenant_send(TENANT_CONTROL_FD, &up, sizeof up, NULL, 0, NULL, 0);
    int fds[TENANT_MAX_FDS];
    uint32_t count = 0;
    struct tenant_assign assign;
    if (tenant_receive(TENANT_CONTROL_FD, &assign, sizeof assign, fds, TENANT_MAX_FDS,
                       &count) <= 0)
        _exit(0);
    number = (long)assign.header.id; /* the zygote's is the first */
    CHECK(count >= 2 && fds[0] == TENANT_CONFIG_FD && fds[1] == TENANT_OBJECT_FD);
    if (count > 2) hibernate_fd = fds[2];
    for (size_t i = 0; i < countof(attempts); i++)
        if (strcmp(attempts[i].name, attempt) == 0) answer(attempts[i].run());
    _exit(3);
}

/* ---- in the place of the pool ------------------------------------------------------------ */

static void expect(int socket, void *message, size_t size, enum tenant_message_type type,
                   int *ret_fd) {
    int fd = -1;
    uint32_t count = 0;
    ssize_t got;
    do got = tenant_receive(socket, message, size, &fd, 1, &count);
    while (got == -EINTR);
    if (got <= 0 || ((struct tenant_header *)message)->type != type) {
        printf("%s: wanted message %d, got %zd\n", attempt, type, got);
        exit(1);
    }
    if (ret_fd) *ret_fd = fd;
}

/* The zygote, and what it said: which of its tenants ended, and how. */
static int try_one(int zygote, const char *object, uint32_t *ret_layers) {
    static uint64_t id;
    int ends[2], pidfd;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return 1;
    struct zygote_fork fork_message = {
        .header = tenant_header(ZYGOTE_FORK, sizeof fork_message, ++id), .slot = 7};
    if (tenant_send(zygote, &fork_message, sizeof fork_message, NULL, 0, &ends[1], 1) != 0)
        return 1;
    close(ends[1]);
    struct zygote_forked forked;
    expect(zygote, &forked, sizeof forked, ZYGOTE_FORKED, &pidfd);
    struct tenant_up up;
    expect(ends[0], &up, sizeof up, TENANT_UP, NULL);
    *ret_layers = up.layers;
    auto_fd int object_fd = open(object, O_RDONLY | O_CLOEXEC);
    auto_fd int config_fd = -1;
    const struct tenant_config config = {.name = "probe", .profile_fd = -1};
    struct error err = {0};
    if (tenant_config_write(&config, &config_fd, &err) != ST_OK) return 1;
    /* as the pool opens it (serve/hibernated.c) */
    char path[] = "/tmp/hutch-probe-XXXXXX";
    auto_fd int made = mkstemp(path);
    auto_fd int file_fd = open(path, O_WRONLY | O_CLOEXEC);
    unlink(path);
    int fds[3] = {config_fd, object_fd, file_fd};
    uint32_t fd_count = strncmp(attempt, "hibernate", 9) == 0 ? 3 : 2;
    struct tenant_assign assign = {
        .header = tenant_header(TENANT_ASSIGN, sizeof assign, (uint64_t)number)};
    if (tenant_send(ends[0], &assign, sizeof assign, NULL, 0, fds, fd_count) != 0) return 1;
    struct tenant_done done;
    ssize_t got;
    do got = tenant_receive(ends[0], &done, sizeof done, NULL, 0, NULL);
    while (got == -EINTR);
    struct zygote_ended ended;
    expect(zygote, &ended, sizeof ended, ZYGOTE_ENDED, NULL);
    close(pidfd);
    close(ends[0]);
    if (WIFSIGNALED(ended.status) && WTERMSIG(ended.status) == SIGSYS)
        printf("%s %ld: killed\n", attempt, number);
    else if (WIFSIGNALED(ended.status))
        printf("%s %ld: signal %d\n", attempt, number, WTERMSIG(ended.status));
    else if (got <= 0)
        printf("%s %ld: ended with status %d\n", attempt, number, WEXITSTATUS(ended.status));
    else if (done.status)
        printf("%s %ld: errno %d\n", attempt, number, done.status);
    else
        printf("%s %ld: allowed\n", attempt, number);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    attempt = strdup(argv[2]); /* the first stack stays behind */
    long from = argc > 3 ? atol(argv[3]) : 0, to = argc > 4 ? atol(argv[4]) : from;
    uint32_t layers = 0;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        _exit(zygote_main(&(struct zygote_options){.socket_fd = ends[1],
                                                   .uid_base = 2000000000,
                                                   .uid_count = 65536,
                                                   .max_memory_bytes = 1 << 30}));
    }
    close(ends[1]);
    struct zygote_ready ready;
    expect(ends[0], &ready, sizeof ready, ZYGOTE_READY, NULL);
    for (number = from; number <= to; number++)
        if (try_one(ends[0], argv[1], &layers) != 0) return 1;
    close(ends[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    printf("layers:");
    for (unsigned i = 0; i < SANDBOX_LAYER_COUNT; i++)
        if (layers >> i & 1) printf(" %s,", sandbox_layer_name((enum sandbox_layer)i));
    putchar('\n');
    int allowed[64];
    uint32_t count = seccomp_allowed(allowed);
    printf("allowed:");
    for (uint32_t i = 0; i < count; i++) printf(" %d", allowed[i]);
    putchar('\n');
    return 0;
}
