/*
 * What the WASI tests share: a directory tree with something outside of the preopen that nobody
 * may reach, a WASI program over it, and a guest memory of two pages between unreadable ones.
 *
 *     TMP/root       preopened as "/", descriptor 3
 *     TMP/outside    secret, dir/
 */
#ifndef HUTCH_TESTS_UNIT_WASI_FIXTURE_H
#define HUTCH_TESTS_UNIT_WASI_FIXTURE_H

#include "runtime/wasi.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_SIZE 8192u
#define ROOT 3u
#define ALL WASI_RIGHTS_ALL

/* Fixed places in guest memory. */
enum {
    PATH_A = 64,
    PATH_B = 2048,
    RESULT = 16,
    IOVEC = 32,
    DATA = 4200
};

struct fixture {
    char directory[64];
    int root_fd, outside_fd;
    struct wasi *w;
    struct guest_memory m;
    uint8_t *mapping;
};

#define EXPECT_ERRNO(call, expected)                                                           \
    do {                                                                                       \
        enum wasi_errno actual_ = (call);                                                      \
        if (actual_ == (expected)) {                                                           \
            test_passed++;                                                                     \
        } else {                                                                               \
            test_failed++;                                                                     \
            printf("%s:%d: %s: errno %d, expected %d\n", __FILE__, __LINE__, #call,            \
                   (int)actual_, (int)(expected));                                             \
        }                                                                                      \
    } while (0)

static inline void write_file(int dir_fd, const char *name, const char *text) {
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static inline struct wasi *fixture_wasi(const struct fixture *f, bool read_only) {
    static const char *const argv[] = {"program", "two words", ""};
    static const char *const env[] = {"A=1", "EMPTY="};
    struct wasi_preopen preopen = {
        .fd = dup(f->root_fd), .guest_path = "/", .read_only = read_only};
    struct wasi_config config = {.argc = 3,
                                 .argv = argv,
                                 .envc = 2,
                                 .env = env,
                                 .preopen_count = 1,
                                 .preopens = &preopen,
                                 .stdio = {-1, -1, -1}};
    struct wasi *w = NULL;
    struct error err = {0};
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    return w;
}

static inline void fixture_create(struct fixture *f) {
    memset(f, 0, sizeof *f);
    snprintf(f->directory, sizeof f->directory, "/tmp/hutch-wasi-XXXXXX");
    CHECK(mkdtemp(f->directory));
    int top = open(f->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(top >= 0 && mkdirat(top, "root", 0700) == 0 && mkdirat(top, "outside", 0700) == 0);
    f->root_fd = openat(top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->outside_fd = openat(top, "outside", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(f->root_fd >= 0 && f->outside_fd >= 0);
    close(top);
    write_file(f->outside_fd, "secret", "secret");
    CHECK(mkdirat(f->outside_fd, "dir", 0700) == 0);
    f->mapping = mmap(NULL, MEMORY_SIZE + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(f->mapping != MAP_FAILED);
    f->m = (struct guest_memory){.base = f->mapping + 4096, .size_bytes = MEMORY_SIZE};
    CHECK(mprotect(f->m.base, MEMORY_SIZE, PROT_READ | PROT_WRITE) == 0);
    f->w = fixture_wasi(f, false);
}

/* A program with these standard streams and nothing else. */
static inline struct wasi *with_streams(int in, int out) {
    struct wasi_config config = {.stdio = {in, out, -1}};
    struct wasi *w = NULL;
    struct error err = {0};
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    return w;
}

static inline int remove_entry(const char *path, const struct stat *st, int type,
                               struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void fixture_destroy(struct fixture *f) {
    wasi_destroy(f->w);
    munmap(f->mapping, MEMORY_SIZE + 8192);
    close(f->root_fd);
    close(f->outside_fd);
    nftw(f->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Puts text at a guest address; returns its length. */
static inline uint32_t put_text(struct fixture *f, uint32_t address, const char *text) {
    size_t length = strlen(text);
    memcpy(f->m.base + address, text, length);
    return (uint32_t)length;
}

static inline uint32_t result32(const struct fixture *f) {
    return load_u32(f->m.base + RESULT);
}
static inline uint64_t result64(const struct fixture *f) {
    return load_u64(f->m.base + RESULT);
}

/* ---- the functions with host strings ----------------------------------------------------- */

static inline enum wasi_errno do_open(struct fixture *f, uint32_t dir, const char *path,
                                      uint32_t lookup, uint32_t oflags, uint64_t rights,
                                      uint32_t *ret_fd) {
    uint32_t length = put_text(f, PATH_A, path);
    enum wasi_errno e =
        wasi_path_open(f->w, f->m, dir, lookup, PATH_A, length, oflags, rights, ALL, 0, RESULT);
    if (e == WASI_OK) *ret_fd = result32(f);
    return e;
}
/* Opens, and closes what was opened. */
static inline enum wasi_errno try_open(struct fixture *f, const char *path, uint32_t oflags,
                                       uint64_t rights) {
    uint32_t fd = 0;
    enum wasi_errno e = do_open(f, ROOT, path, 1, oflags, rights, &fd);
    if (e == WASI_OK) (void)wasi_fd_close(f->w, f->m, fd);
    return e;
}
static inline enum wasi_errno do_mkdir(struct fixture *f, const char *path) {
    return wasi_path_create_directory(f->w, f->m, ROOT, PATH_A, put_text(f, PATH_A, path));
}
static inline enum wasi_errno do_rmdir(struct fixture *f, const char *path) {
    return wasi_path_remove_directory(f->w, f->m, ROOT, PATH_A, put_text(f, PATH_A, path));
}
static inline enum wasi_errno do_unlink(struct fixture *f, const char *path) {
    return wasi_path_unlink_file(f->w, f->m, ROOT, PATH_A, put_text(f, PATH_A, path));
}
static inline enum wasi_errno do_stat(struct fixture *f, const char *path, uint32_t lookup) {
    return wasi_path_filestat_get(f->w, f->m, ROOT, lookup, PATH_A, put_text(f, PATH_A, path),
                                  DATA, WASI_PREVIEW1);
}
static inline enum wasi_errno do_utimes(struct fixture *f, const char *path, uint32_t lookup) {
    return wasi_path_filestat_set_times(f->w, f->m, ROOT, lookup, PATH_A,
                                        put_text(f, PATH_A, path), 1, 2,
                                        WASI_FST_ATIM | WASI_FST_MTIM);
}
static inline enum wasi_errno do_readlink(struct fixture *f, const char *path, uint32_t size) {
    return wasi_path_readlink(f->w, f->m, ROOT, PATH_A, put_text(f, PATH_A, path), DATA, size,
                              RESULT);
}
static inline enum wasi_errno do_symlink(struct fixture *f, const char *to, const char *path) {
    uint32_t to_length = put_text(f, PATH_A, to), length = put_text(f, PATH_B, path);
    return wasi_path_symlink(f->w, f->m, PATH_A, to_length, ROOT, PATH_B, length);
}
static inline enum wasi_errno do_link(struct fixture *f, const char *from, const char *to) {
    uint32_t from_length = put_text(f, PATH_A, from), to_length = put_text(f, PATH_B, to);
    return wasi_path_link(f->w, f->m, ROOT, 0, PATH_A, from_length, ROOT, PATH_B, to_length);
}
static inline enum wasi_errno do_rename(struct fixture *f, const char *from, const char *to) {
    uint32_t from_length = put_text(f, PATH_A, from), to_length = put_text(f, PATH_B, to);
    return wasi_path_rename(f->w, f->m, ROOT, PATH_A, from_length, ROOT, PATH_B, to_length);
}
static inline void put_iovec(struct fixture *f, uint32_t number, uint32_t at, uint32_t size) {
    store_u32(f->m.base + IOVEC + number * 8, at);
    store_u32(f->m.base + IOVEC + number * 8 + 4, size);
}
static inline enum wasi_errno do_write(struct fixture *f, uint32_t fd, const char *text) {
    put_iovec(f, 0, DATA, put_text(f, DATA, text));
    return wasi_fd_write(f->w, f->m, fd, IOVEC, 1, RESULT);
}
static inline enum wasi_errno do_read(struct fixture *f, uint32_t fd, uint32_t size) {
    memset(f->m.base + DATA, 0, size + 1);
    put_iovec(f, 0, DATA, size);
    return wasi_fd_read(f->w, f->m, fd, IOVEC, 1, RESULT);
}

#endif
