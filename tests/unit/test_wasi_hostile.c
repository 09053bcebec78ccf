/*
 * Every function of both lists with arguments an attacker would choose: addresses around the
 * end of memory, enormous counts, any descriptor, paths that try to get out. Nothing may crash,
 * hang or block, no byte around the memory is touched (it lies between unreadable pages), and
 * what lies outside of the preopened directory is neither changed nor opened.
 */
#include "tests/unit/wasi_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

static struct fixture fixture;

struct entry {
    const char *name;
    enum wasi_errno (*call)(struct wasi *w, struct guest_memory m, const uint64_t *args);
    const char *params; /* "i32 i64 ..." */
};

#define I32(n) ((uint32_t)args[n])
#define I64(n) (args[n])
#define WASI_FUNCTION(name, params, call)                                                      \
    static enum wasi_errno call_##name(struct wasi *w, struct guest_memory m,                  \
                                       const uint64_t *args) {                                 \
        (void)args;                                                                            \
        return call;                                                                           \
    }
#define WASI_UNSTABLE(name, params, call)                                                      \
    static enum wasi_errno old_call_##name(struct wasi *w, struct guest_memory m,              \
                                           const uint64_t *args) {                             \
        return call;                                                                           \
    }
#include "runtime/wasi_functions.def"

static const struct entry entries[] = {
#define WASI_FUNCTION(name, params, call) {#name, call_##name, #params},
#define WASI_UNSTABLE(name, params, call) {"old " #name, old_call_##name, #params},
#include "runtime/wasi_functions.def"
};

/* xorshift: the same sequence each time. */
static uint64_t seed = 88172645463325252u;
static uint32_t any(uint32_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

static uint32_t param_count(const struct entry *e) {
    uint32_t count = 0;
    for (const char *at = e->params; (at = strchr(at, 'i')); at++) count++;
    return count;
}

/* Paths at known addresses, for the calls to find. */
static const char *const paths[] = {
    ".",  "..",         "file",    "sub",           "sub/x",           "../outside/secret",
    "up", "up/secret",  "new/..",  "sub/../../x",   "/etc/passwd",     "up/../outside/dir",
    "y/", "sub/up/dir", "sub/new", "link_absolute", "link_absolute/x", "up/",
};
#define PATHS_AT 1024u
#define PATH_STEP 32u

static void prepare_memory(void) {
    memset(fixture.m.base, 0, MEMORY_SIZE);
    for (uint32_t i = 0; i < countof(paths); i++)
        put_text(&fixture, PATHS_AT + i * PATH_STEP, paths[i]);
    for (uint32_t i = 0; i < 64; i++) { /* vectors */
        store_u32(fixture.m.base + 64 + i * 8, 4096 + any(4096));
        store_u32(fixture.m.base + 64 + i * 8 + 4, any(8) ? any(64) : any(8192));
    }
}

static uint64_t hostile_value(bool wide) {
    static const uint32_t odd[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   7,
                                   8,
                                   MEMORY_SIZE - 1,
                                   MEMORY_SIZE,
                                   MEMORY_SIZE + 1,
                                   0x7fffffff,
                                   0x80000000,
                                   0xfffffff8,
                                   0xffffffff,
                                   MEMORY_SIZE - 8,
                                   64};
    if (wide && any(2))
        return any(2) ? UINT64_MAX - any(3) : (uint64_t)INT64_MAX - any(2) + any(4);
    switch (any(4)) {
    case 0: return odd[any(countof(odd))];
    case 1: return any(12);
    case 2: return any(MEMORY_SIZE + 64);
    default: return (uint64_t)any(UINT32_MAX) << any(3);
    }
}

/* Arguments that make sense for most: small descriptors, addresses of paths with their lengths.
 */
static void plausible(const struct entry *e, uint64_t *args) {
    uint32_t count = param_count(e);
    bool is_path = strstr(e->name, "path_") != NULL;
    for (uint32_t i = 0; i < count; i++) {
        args[i] = any(16) ? any(9) : hostile_value(false);
        if (i > 0 && any(3) == 0) args[i] = 64 + any(4096);
    }
    if (!is_path) return;
    /* (address, length) somewhere among the parameters, and rights that allow something. */
    for (uint32_t i = 0; i + 1 < count; i++) {
        if (any(2)) continue;
        uint32_t which = any(countof(paths));
        args[i] = PATHS_AT + which * PATH_STEP;
        args[i + 1] = strlen(paths[which]);
        i++;
    }
    if (strcmp(e->name, "path_open") == 0) {
        uint32_t which = any(countof(paths));
        uint64_t file = ALL & ~(uint64_t)WASI_RIGHT_FD_WRITE;
        const uint64_t open_args[9] = {3 + any(3),
                                       any(2),
                                       PATHS_AT + which * PATH_STEP,
                                       strlen(paths[which]),
                                       any(16),
                                       any(2) ? ALL : file,
                                       ALL,
                                       any(4) ? 0 : any(32),
                                       16};
        memcpy(args, open_args, sizeof open_args);
    }
}

/* Names that an open host descriptor lies under our root, or is nothing of a file system. */
static void expect_descriptors_inside(void) {
    char link[64], target[512], root[128];
    snprintf(root, sizeof root, "%s/root", fixture.directory);
    int outside = 0;
    for (uint32_t fd = 3; fd < fixture.w->capacity; fd++) {
        const struct wasi_descriptor *d = wasi_descriptor_at(fixture.w, fd);
        if (!d) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", d->host_fd);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length < 0) continue; /* no /proc here */
        target[length] = 0;
        if (strncmp(target, root, strlen(root)) != 0) {
            printf("descriptor %u is %s\n", fd, target);
            outside++;
        }
    }
    EXPECT(outside == 0);
}

static void expect_outside_untouched(void) {
    struct stat st;
    EXPECT(fstatat(fixture.outside_fd, "secret", &st, AT_SYMLINK_NOFOLLOW) == 0);
    EXPECT(st.st_size == 6 && st.st_nlink == 1 && st.st_mtim.tv_sec > 1000000000);
    EXPECT(fstatat(fixture.outside_fd, "dir", &st, AT_SYMLINK_NOFOLLOW) == 0);
    int count = 0;
    DIR *dir = fdopendir(openat(fixture.outside_fd, ".", O_RDONLY | O_DIRECTORY));
    CHECK(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    EXPECT(count == 4);
}

static void restart(void) {
    wasi_destroy(fixture.w);
    fixture.w = fixture_wasi(&fixture, any(4) == 0);
}

static void test_calls(uint32_t rounds) {
    uint32_t succeeded = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        const struct entry *e = &entries[any(countof(entries))];
        uint64_t args[9] = {0};
        if (round % 64 == 0) prepare_memory();
        if (round % 2000 == 0) {
            expect_descriptors_inside();
            restart();
        }
        if (any(3) == 0)
            for (uint32_t i = 0; i < 9; i++) args[i] = hostile_value(strstr(e->params, "i64"));
        else
            plausible(e, args);
        if (e->call(fixture.w, fixture.m, args) == WASI_OK) succeeded++;
    }
    EXPECT(succeeded > rounds / 50);
}

/* A module without memory: every address is out of bounds. */
static void test_no_memory(void) {
    struct guest_memory none = {0};
    for (size_t i = 0; i < countof(entries); i++) {
        uint64_t args[9] = {3, 8, 8, 8, 8, 8, 8, 8, 8};
        (void)entries[i].call(fixture.w, none, args);
    }
    restart();
    EXPECT_ERRNO(wasi_fd_write(fixture.w, none, 1, 0, 0, 0), WASI_EBADF);
    EXPECT_ERRNO(wasi_args_sizes_get(fixture.w, none, 0, 4), WASI_EFAULT);
    EXPECT_ERRNO(wasi_path_create_directory(fixture.w, none, ROOT, 0, 1), WASI_EFAULT);
    restart();
}

static void on_alarm(int signal) { (void)signal; }

int main(void) {
    /* A call that would block is interrupted; no file grows. */
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval tick = {.it_interval = {.tv_usec = 20000}, .it_value = {.tv_usec = 20000}};
    struct rlimit small = {1 << 20, 1 << 20};
    sigaction(SIGALRM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    setitimer(ITIMER_REAL, &tick, NULL);

    fixture_create(&fixture);
    write_file(fixture.root_fd, "file", "file");
    CHECK(mkdirat(fixture.root_fd, "sub", 0700) == 0);
    CHECK(symlinkat("../outside", fixture.root_fd, "up") == 0);
    CHECK(symlinkat("../../outside", fixture.root_fd, "sub/up") == 0);
    CHECK(symlinkat(fixture.directory, fixture.root_fd, "link_absolute") == 0);
    test_no_memory();
    test_calls(200000);
    expect_descriptors_inside();
    expect_outside_untouched();
    fixture_destroy(&fixture);
    return test_end();
}
