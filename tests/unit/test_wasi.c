/*
 * WASI beside paths: arguments, clocks, the descriptor table and its rights, reads and writes,
 * seeks in both ABIs, directories; and allocations that fail.
 */
#include "tests/unit/wasi_fixture.h"

#include <time.h>

static struct fixture fixture;

/* ---- allocations that fail (the linker puts these in: -Wl,--wrap) ------------------------ */

static long allocations_left = -1; /* -1: none fails */

static bool allocation_fails(void) {
    if (allocations_left < 0) return false;
    return allocations_left-- == 0;
}
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size) { return allocation_fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

static void test_out_of_memory(void) {
    struct fixture *f = &fixture;
    static const char *const strings[] = {"a", "b"};
    int fails = 0;
    for (;; fails++) {
        struct wasi_preopen preopens[2] = {{.fd = dup(f->root_fd), .guest_path = "/"},
                                           {.fd = dup(f->root_fd), .guest_path = "other"}};
        struct wasi_config config = {.argc = 2,
                                     .argv = strings,
                                     .envc = 1,
                                     .env = strings,
                                     .stdio = {-1, -1, -1},
                                     .preopen_count = 2,
                                     .preopens = preopens};
        struct wasi *w = NULL;
        struct error err = {0};
        allocations_left = fails;
        enum status status = wasi_create(&config, &w, &err);
        bool all_there = allocations_left >= 0;
        allocations_left = -1;
        if (all_there) {
            EXPECT(status == ST_OK);
            wasi_destroy(w);
            break;
        }
        EXPECT(status == ST_NO_MEMORY && err.status == ST_NO_MEMORY && w == NULL);
        EXPECT(fcntl(preopens[0].fd, F_GETFD) < 0 && fcntl(preopens[1].fd, F_GETFD) < 0);
    }
    EXPECT(fails == 7); /* state, arguments, environment, table, two names */
    /* A table that cannot grow: the call fails, what is open stays. */
    uint32_t fd = 0, opened = 0;
    while (opened < 12 && do_open(f, ROOT, ".", 0, 0, 0, &fd) == WASI_OK) opened++;
    allocations_left = 0;
    EXPECT_ERRNO(do_open(f, ROOT, ".", 0, 0, 0, &fd), WASI_ENOMEM);
    allocations_left = -1;
    EXPECT_ERRNO(do_open(f, ROOT, ".", 0, 0, 0, &fd), WASI_OK);
    for (uint32_t i = 0; i <= opened; i++)
        EXPECT_ERRNO(wasi_fd_close(f->w, f->m, ROOT + 1 + i), WASI_OK);
}

static void test_strings(void) {
    struct fixture *f = &fixture;
    EXPECT_ERRNO(wasi_args_sizes_get(f->w, f->m, RESULT, RESULT + 4), WASI_OK);
    EXPECT(result64(f) == (UINT64_C(19) << 32 | 3)); /* "program", "two words", "" */
    EXPECT_ERRNO(wasi_args_get(f->w, f->m, IOVEC, DATA), WASI_OK);
    EXPECT(memcmp(f->m.base + DATA, "program\0two words\0", 19) == 0);
    EXPECT(load_u32(f->m.base + IOVEC + 4) == DATA + 8);
    EXPECT(load_u32(f->m.base + IOVEC + 8) == DATA + 18);
    EXPECT_ERRNO(wasi_args_get(f->w, f->m, IOVEC, MEMORY_SIZE - 18), WASI_EFAULT);
    EXPECT_ERRNO(wasi_args_get(f->w, f->m, MEMORY_SIZE - 8, DATA), WASI_EFAULT);
    EXPECT_ERRNO(wasi_environ_sizes_get(f->w, f->m, RESULT, RESULT + 4), WASI_OK);
    EXPECT(result64(f) == (UINT64_C(11) << 32 | 2)); /* "A=1", "EMPTY=" */
    EXPECT_ERRNO(wasi_environ_get(f->w, f->m, IOVEC, DATA), WASI_OK);
    EXPECT(memcmp(f->m.base + DATA, "A=1\0EMPTY=", 11) == 0);
}

static void test_clocks_and_random(void) {
    struct fixture *f = &fixture;
    for (uint32_t clock = 0; clock < 4; clock++) {
        EXPECT_ERRNO(wasi_clock_res_get(f->w, f->m, clock, RESULT), WASI_OK);
        EXPECT(result64(f) > 0 && result64(f) <= 1000000000);
        EXPECT_ERRNO(wasi_clock_time_get(f->w, f->m, clock, 0, RESULT), WASI_OK);
    }
    EXPECT_ERRNO(wasi_clock_time_get(f->w, f->m, 0, 0, RESULT), WASI_OK);
    uint64_t seconds = (uint64_t)time(NULL);
    EXPECT(result64(f) / 1000000000 >= seconds - 2 && result64(f) / 1000000000 <= seconds + 1);
    EXPECT_ERRNO(wasi_clock_time_get(f->w, f->m, 4, 0, RESULT), WASI_EINVAL);
    EXPECT_ERRNO(wasi_clock_res_get(f->w, f->m, UINT32_MAX, RESULT), WASI_EINVAL);
    EXPECT_ERRNO(wasi_clock_time_get(f->w, f->m, 0, 0, MEMORY_SIZE - 7), WASI_EFAULT);
    memset(f->m.base + DATA, 0, 1024);
    EXPECT_ERRNO(wasi_random_get(f->w, f->m, DATA, 1000), WASI_OK);
    int zeros = 0;
    for (int i = 0; i < 1000; i++) zeros += f->m.base[DATA + i] == 0;
    EXPECT(zeros < 40 && f->m.base[DATA + 1000] == 0);
    EXPECT_ERRNO(wasi_random_get(f->w, f->m, MEMORY_SIZE, 0), WASI_OK);
    EXPECT_ERRNO(wasi_random_get(f->w, f->m, MEMORY_SIZE - 3, 4), WASI_EFAULT);
    EXPECT_ERRNO(wasi_random_get(f->w, f->m, 1, UINT32_MAX), WASI_EFAULT);
    EXPECT_ERRNO(wasi_sched_yield(f->w, f->m), WASI_OK);
    EXPECT_ERRNO(wasi_proc_raise(f->w, f->m, 9), WASI_ENOTSUP);
}

/* ---- the table --------------------------------------------------------------------------- */

static void test_table(void) {
    struct fixture *f = &fixture;
    uint32_t a = 0, b = 0, last = 0;
    uint64_t rw = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE;
    EXPECT_ERRNO(wasi_fd_prestat_get(f->w, f->m, 2, RESULT), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_prestat_get(f->w, f->m, ROOT, RESULT), WASI_OK);
    EXPECT(result64(f) == UINT64_C(1) << 32);
    EXPECT_ERRNO(wasi_fd_prestat_get(f->w, f->m, 4, RESULT), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_prestat_dir_name(f->w, f->m, ROOT, DATA, 0), WASI_ENAMETOOLONG);
    EXPECT_ERRNO(wasi_fd_prestat_dir_name(f->w, f->m, ROOT, DATA, 1), WASI_OK);
    EXPECT(f->m.base[DATA] == '/');

    EXPECT_ERRNO(do_open(f, ROOT, "a", 0, WASI_OFLAG_CREAT, rw, &a), WASI_OK);
    EXPECT_ERRNO(do_open(f, ROOT, "b", 0, WASI_OFLAG_CREAT, rw, &b), WASI_OK);
    EXPECT(a == 4 && b == 5);
    EXPECT_ERRNO(do_write(f, a, "first"), WASI_OK);
    EXPECT_ERRNO(wasi_fd_renumber(f->w, f->m, a, 6), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_renumber(f->w, f->m, 6, a), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_renumber(f->w, f->m, UINT32_MAX, a), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_renumber(f->w, f->m, a, a), WASI_OK);
    EXPECT_ERRNO(wasi_fd_renumber(f->w, f->m, a, b), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, a), WASI_EBADF);
    EXPECT_ERRNO(do_write(f, b, " more"), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, b), WASI_OK);
    EXPECT_ERRNO(do_stat(f, "a", 0), WASI_OK);
    EXPECT(load_u64(f->m.base + DATA + 32) == 10);

    /* The lowest number first, up to the limit, and again after that. */
    enum wasi_errno e = WASI_OK;
    uint32_t count = 0;
    while ((e = do_open(f, ROOT, ".", 0, WASI_OFLAG_DIRECTORY, 0, &last)) == WASI_OK) {
        if (last != 4 + count) break;
        count++;
    }
    EXPECT_ERRNO(e, WASI_EMFILE);
    EXPECT(count > 200 && 4 + count <= WASI_MAX_DESCRIPTORS);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, 17), WASI_OK);
    EXPECT_ERRNO(do_open(f, ROOT, ".", 0, WASI_OFLAG_DIRECTORY, 0, &last), WASI_OK);
    EXPECT(last == 17);
    for (uint32_t fd = 4; fd < 4 + count; fd++)
        if (wasi_fd_close(f->w, f->m, fd) != WASI_OK) test_failed++;
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, 4), WASI_EBADF);
}

static void test_rights(void) {
    struct fixture *f = &fixture;
    uint32_t fd = 0, dir = 0;
    uint64_t rights = WASI_RIGHT_FD_READ | WASI_RIGHT_FD_WRITE | WASI_RIGHT_FD_SEEK;
    EXPECT_ERRNO(do_open(f, ROOT, "r", 0, WASI_OFLAG_CREAT, rights, &fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_fdstat_get(f->w, f->m, fd, DATA), WASI_OK);
    EXPECT(f->m.base[DATA] == WASI_FILETYPE_REGULAR_FILE);
    EXPECT(load_u64(f->m.base + DATA + 8) == rights);
    EXPECT_ERRNO(wasi_fd_filestat_get(f->w, f->m, fd, DATA, WASI_PREVIEW1), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_sync(f->w, f->m, fd), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_datasync(f->w, f->m, fd), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_advise(f->w, f->m, fd, 0, 0, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_allocate(f->w, f->m, fd, 0, 1), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_filestat_set_size(f->w, f->m, fd, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(f->w, f->m, fd, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_tell(f->w, f->m, fd, RESULT), WASI_OK); /* seek includes tell */
    EXPECT_ERRNO(wasi_fd_fdstat_set_rights(f->w, f->m, fd, rights | WASI_RIGHT_FD_SYNC, 0),
                 WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_fdstat_set_rights(f->w, f->m, fd, WASI_RIGHT_FD_SEEK, 0), WASI_OK);
    EXPECT_ERRNO(do_write(f, fd, "x"), WASI_EBADF);
    EXPECT_ERRNO(do_read(f, fd, 1), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_fdstat_set_rights(f->w, f->m, fd, rights, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);

    /* A directory with few rights gives no more than it may. */
    uint32_t length = put_text(f, PATH_A, ".");
    uint64_t inheriting = WASI_RIGHT_FD_READ | WASI_RIGHT_PATH_OPEN;
    EXPECT_ERRNO(wasi_path_open(f->w, f->m, ROOT, 0, PATH_A, length, WASI_OFLAG_DIRECTORY,
                                WASI_RIGHT_PATH_OPEN | WASI_RIGHT_FD_SEEK, inheriting, 0,
                                RESULT),
                 WASI_OK);
    dir = result32(f);
    EXPECT_ERRNO(wasi_fd_fdstat_get(f->w, f->m, dir, DATA), WASI_OK);
    EXPECT(load_u64(f->m.base + DATA + 8) == WASI_RIGHT_PATH_OPEN);
    EXPECT(load_u64(f->m.base + DATA + 16) == inheriting);
    EXPECT_ERRNO(do_open(f, dir, "r", 0, 0, WASI_RIGHT_FD_WRITE, &fd), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(do_open(f, dir, "r2", 0, WASI_OFLAG_CREAT, 0, &fd), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(do_open(f, dir, "r", 0, WASI_OFLAG_TRUNC, 0, &fd), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(do_open(f, dir, "r", 0, 0, ALL & ~WASI_RIGHT_FD_WRITE, &fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_fdstat_get(f->w, f->m, fd, DATA), WASI_OK);
    EXPECT(load_u64(f->m.base + DATA + 8) == WASI_RIGHT_FD_READ);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
    length = put_text(f, PATH_A, "r");
    EXPECT_ERRNO(wasi_path_unlink_file(f->w, f->m, dir, PATH_A, length), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_create_directory(f->w, f->m, dir, PATH_A, length), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, DATA, 100, 0, RESULT), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, dir), WASI_OK);
}

/* ---- files ------------------------------------------------------------------------------- */

static void test_io(void) {
    struct fixture *f = &fixture;
    uint32_t fd = 0;
    EXPECT_ERRNO(do_open(f, ROOT, "io", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
    /* Empty pieces, a piece at the very end, one beyond. */
    put_text(f, MEMORY_SIZE - 4, "tail");
    put_text(f, DATA, "head ");
    put_iovec(f, 0, MEMORY_SIZE, 0);
    put_iovec(f, 1, DATA, 5);
    put_iovec(f, 2, 0, 0);
    put_iovec(f, 3, MEMORY_SIZE - 4, 4);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 4, RESULT), WASI_OK);
    EXPECT(result32(f) == 9);
    put_iovec(f, 3, MEMORY_SIZE - 4, 5);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 4, RESULT), WASI_EFAULT);
    put_iovec(f, 3, UINT32_MAX, 2);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 4, RESULT), WASI_EFAULT);
    put_iovec(f, 3, 1, UINT32_MAX);
    EXPECT_ERRNO(wasi_fd_read(f->w, f->m, fd, IOVEC, 4, RESULT), WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 0x20000000, RESULT), WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, MEMORY_SIZE - 7, 1, RESULT), WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 1, MEMORY_SIZE - 3), WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 0, RESULT), WASI_OK);
    EXPECT(result32(f) == 0);

    EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 0, 0, RESULT, WASI_PREVIEW1), WASI_OK);
    EXPECT_ERRNO(do_read(f, fd, 20), WASI_OK);
    EXPECT(result32(f) == 9 && memcmp(f->m.base + DATA, "head tail", 10) == 0);
    EXPECT_ERRNO(do_read(f, fd, 20), WASI_OK);
    EXPECT(result32(f) == 0);

    put_text(f, DATA, "HE");
    put_iovec(f, 0, DATA, 2);
    EXPECT_ERRNO(wasi_fd_pwrite(f->w, f->m, fd, IOVEC, 1, 0, RESULT), WASI_OK);
    EXPECT_ERRNO(wasi_fd_pwrite(f->w, f->m, fd, IOVEC, 1, UINT64_MAX, RESULT), WASI_EINVAL);
    put_iovec(f, 0, DATA, 4);
    EXPECT_ERRNO(wasi_fd_pread(f->w, f->m, fd, IOVEC, 1, 0, RESULT), WASI_OK);
    EXPECT(memcmp(f->m.base + DATA, "HEad", 4) == 0);
    EXPECT_ERRNO(wasi_fd_tell(f->w, f->m, fd, RESULT), WASI_OK);
    EXPECT(result64(f) == 9); /* unmoved by pread and pwrite */

    /* More pieces than one system call takes: a short count, and no error. */
    for (uint32_t i = 0; i < 500; i++) put_iovec(f, i, DATA, 1);
    EXPECT_ERRNO(wasi_fd_write(f->w, f->m, fd, IOVEC, 500, RESULT), WASI_OK);
    EXPECT(result32(f) == 500);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);

    EXPECT_ERRNO(do_read(f, ROOT, 4), WASI_EISDIR);
    EXPECT_ERRNO(do_write(f, ROOT, "x"), WASI_EISDIR);
    EXPECT_ERRNO(do_read(f, 0, 4), WASI_EBADF); /* a stream the host does not have */
    EXPECT_ERRNO(do_write(f, 1, "x"), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, 1, 0, 0, RESULT, WASI_PREVIEW1), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_sync(f->w, f->m, 1), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(do_read(f, 99, 4), WASI_EBADF);
}

static void test_seek(void) {
    struct fixture *f = &fixture;
    uint32_t fd = 0;
    write_file(f->root_fd, "seek", "0123456789");
    EXPECT_ERRNO(do_open(f, ROOT, "seek", 0, 0, ALL & ~WASI_RIGHT_FD_WRITE, &fd), WASI_OK);
    /* SET 4, CUR +2, END -1 in the two orders of the constants. */
    static const uint32_t order[2][3] = {
        [WASI_SNAPSHOT0] = {2, 0, 1},
        [WASI_PREVIEW1] = {0, 1, 2},
    };
    for (unsigned abi = 0; abi < 2; abi++) {
        enum wasi_abi a = abi ? WASI_PREVIEW1 : WASI_SNAPSHOT0;
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 4, order[abi][0], RESULT, a), WASI_OK);
        EXPECT(result64(f) == 4);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 2, order[abi][1], RESULT, a), WASI_OK);
        EXPECT(result64(f) == 6);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, UINT64_MAX, order[abi][2], RESULT, a),
                     WASI_OK);
        EXPECT(result64(f) == 9);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 0, 3, RESULT, a), WASI_EINVAL);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 0, 256, RESULT, a), WASI_EINVAL);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, UINT64_MAX, order[abi][0], RESULT, a),
                     WASI_EINVAL);
        EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 0, 0, MEMORY_SIZE - 7, a), WASI_EFAULT);
    }
    EXPECT_ERRNO(wasi_fd_fdstat_set_rights(f->w, f->m, fd, WASI_RIGHT_FD_TELL, 0), WASI_OK);
    EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 0, 1, RESULT, WASI_PREVIEW1), WASI_OK);
    EXPECT(result64(f) == 9);
    EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, fd, 1, 1, RESULT, WASI_PREVIEW1), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_seek(f->w, f->m, ROOT, 0, 0, RESULT, WASI_PREVIEW1), WASI_EISDIR);
}

static void test_attributes(void) {
    struct fixture *f = &fixture;
    struct stat st;
    uint32_t fd = 0;
    EXPECT_ERRNO(do_open(f, ROOT, "attr", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_size(f->w, f->m, fd, 1234), WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_size(f->w, f->m, fd, UINT64_MAX), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 5, 7000000001,
                                            WASI_FST_ATIM | WASI_FST_MTIM),
                 WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, 3), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, 12), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, 16), WASI_EINVAL);
    CHECK(fstatat(f->root_fd, "attr", &st, 0) == 0 && st.st_size == 1234);
    memset(f->m.base + DATA, 0xff, 64);
    EXPECT_ERRNO(wasi_fd_filestat_get(f->w, f->m, fd, DATA, WASI_PREVIEW1), WASI_OK);
    const uint8_t *at = f->m.base + DATA;
    EXPECT(load_u64(at) == st.st_dev && load_u64(at + 8) == st.st_ino);
    EXPECT(load_u64(at + 16) == WASI_FILETYPE_REGULAR_FILE && load_u64(at + 24) == 1);
    EXPECT(load_u64(at + 32) == 1234 && load_u64(at + 40) == 5);
    EXPECT(load_u64(at + 48) == 7000000001 && load_u64(at + 56) > 7000000001);
    memset(f->m.base + DATA, 0xff, 64);
    EXPECT_ERRNO(wasi_fd_filestat_get(f->w, f->m, fd, DATA, WASI_SNAPSHOT0), WASI_OK);
    EXPECT(load_u64(at + 16) == (UINT64_C(1) << 32 | WASI_FILETYPE_REGULAR_FILE));
    EXPECT(load_u64(at + 24) == 1234 && load_u64(at + 40) == 7000000001);
    EXPECT(load_u64(at + 56) == UINT64_MAX); /* 56 bytes and no more */
    EXPECT_ERRNO(wasi_fd_filestat_get(f->w, f->m, fd, MEMORY_SIZE - 56, WASI_SNAPSHOT0),
                 WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_get(f->w, f->m, fd, MEMORY_SIZE - 56, WASI_PREVIEW1),
                 WASI_EFAULT);

    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(f->w, f->m, fd, WASI_FDFLAG_APPEND), WASI_OK);
    EXPECT_ERRNO(wasi_fd_fdstat_get(f->w, f->m, fd, DATA), WASI_OK);
    EXPECT(load_u16(at + 2) == WASI_FDFLAG_APPEND);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(f->w, f->m, fd, WASI_FDFLAG_SYNC), WASI_ENOTSUP);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(f->w, f->m, fd, 32), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_advise(f->w, f->m, fd, 0, 0, 5), WASI_OK);
    EXPECT_ERRNO(wasi_fd_advise(f->w, f->m, fd, 0, 0, 6), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_advise(f->w, f->m, fd, UINT64_MAX, 1, 0), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_allocate(f->w, f->m, fd, 0, 0), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_allocate(f->w, f->m, fd, UINT64_MAX, 2), WASI_EFBIG);
    EXPECT_ERRNO(wasi_fd_allocate(f->w, f->m, ROOT, 0, 1), WASI_EISDIR);
    EXPECT_ERRNO(wasi_fd_sync(f->w, f->m, fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_datasync(f->w, f->m, fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_sync(f->w, f->m, ROOT), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
}

/* ---- directories ------------------------------------------------------------------------- */

/* Reads a directory with a buffer of this size; the sum of what its names "fN" say. */
static long sum_of_names(uint32_t dir, uint32_t size, int *ret_others, bool remove_on_the_way) {
    struct fixture *f = &fixture;
    uint64_t cookie = 0;
    long sum = 0;
    for (int rounds = 0; rounds < 100000; rounds++) {
        enum wasi_errno e = wasi_fd_readdir(f->w, f->m, dir, DATA, size, cookie, RESULT);
        uint32_t used = result32(f), at = 0;
        if (e != WASI_OK || used > size) return -1;
        while (used - at >= 24) {
            const uint8_t *entry = f->m.base + DATA + at;
            uint32_t length = load_u32(entry + 16);
            if (used - at - 24 < length) break;
            char name[256] = {0};
            memcpy(name, entry + 24, length);
            cookie = load_u64(entry);
            if (name[0] == 'f') {
                sum += strtol(name + 1, NULL, 10);
                if (entry[20] != WASI_FILETYPE_REGULAR_FILE) return -1;
                char path[300];
                snprintf(path, sizeof path, "many/%s", name);
                if (remove_on_the_way) unlinkat(f->root_fd, path, 0);
            } else {
                ++*ret_others;
                if (entry[20] != WASI_FILETYPE_DIRECTORY) return -1;
            }
            at += 24 + length;
        }
        if (used < size) return sum;
        if (at == 0) return -2; /* the buffer is too small for one entry */
    }
    return -3;
}

static void test_readdir(void) {
    struct fixture *f = &fixture;
    uint32_t dir = 0;
    const int count = 700;
    CHECK(mkdirat(f->root_fd, "many", 0700) == 0);
    for (int i = 1; i <= count; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/f%d", i);
        write_file(f->root_fd, name, "");
    }
    EXPECT_ERRNO(do_open(f, ROOT, "many", 0, WASI_OFLAG_DIRECTORY, WASI_RIGHT_FD_READDIR, &dir),
                 WASI_OK);
    static const uint32_t sizes[] = {3900, 1000, 256, 64, 28};
    for (size_t i = 0; i < countof(sizes); i++) {
        int others = 0;
        EXPECT(sum_of_names(dir, sizes[i], &others, false) == (long)count * (count + 1) / 2);
        EXPECT(others == 2);
    }
    int others = 0;
    EXPECT(sum_of_names(dir, 27, &others, false) == -2);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, DATA, 0, 0, RESULT), WASI_OK);
    EXPECT(result32(f) == 0);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, DATA, 64, UINT64_MAX, RESULT), WASI_EINVAL);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, MEMORY_SIZE - 63, 64, 0, RESULT),
                 WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, DATA, 64, 0, MEMORY_SIZE - 3), WASI_EFAULT);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, 99, DATA, 64, 0, RESULT), WASI_EBADF);
    /* Every entry is seen once also where those already seen are removed meanwhile. */
    EXPECT(sum_of_names(dir, 256, &others, true) == (long)count * (count + 1) / 2);
    others = 0;
    EXPECT(sum_of_names(dir, 256, &others, false) == 0 && others == 2);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, dir), WASI_OK);
    EXPECT_ERRNO(do_open(f, ROOT, "io", 0, 0, ALL & ~WASI_RIGHT_FD_WRITE, &dir), WASI_OK);
    EXPECT_ERRNO(wasi_fd_readdir(f->w, f->m, dir, DATA, 64, 0, RESULT), WASI_ENOTDIR);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, dir), WASI_OK);
}

/* ---- what wasi_create takes and refuses ---------------------------------------------------
 */

static void test_create(void) {
    struct fixture *f = &fixture;
    struct wasi *w = NULL;
    struct error err = {0};
    struct wasi_preopen preopen = {.guest_path = "x"};
    struct wasi_config config = {
        .stdio = {-1, -1, -1}, .preopen_count = 1, .preopens = &preopen};
    preopen.fd = openat(f->outside_fd, "secret", O_RDONLY);
    EXPECT(wasi_create(&config, &w, &err) == ST_IO && strstr(err.message, "not a directory"));
    EXPECT(fcntl(preopen.fd, F_GETFD) < 0); /* taken over and closed */
    /* One opened with O_PATH can be listed all the same. */
    preopen.fd = openat(f->root_fd, ".", O_PATH | O_DIRECTORY);
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, ROOT, DATA, 512, 0, RESULT), WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(w, f->m, ROOT, 0, 0, WASI_FST_MTIM_NOW), WASI_OK);
    wasi_destroy(w);
    wasi_destroy(NULL);
    /* A standard stream that was closed before we came is one the host does not have. */
    int closed = dup(f->root_fd);
    close(closed);
    w = with_streams(closed, closed);
    EXPECT_ERRNO(do_read(f, 0, 1), WASI_EBADF);
    wasi_destroy(w);
    /* A directory that came as a standard stream is no way in. */
    w = with_streams(f->root_fd, -1);
    uint32_t length = put_text(f, PATH_A, "io");
    EXPECT_ERRNO(wasi_path_open(w, f->m, 0, 0, PATH_A, length, 0, 0, 0, 0, RESULT),
                 WASI_ENOTCAPABLE);
    wasi_destroy(w);
}

int main(void) {
    fixture_create(&fixture);
    test_out_of_memory();
    test_strings();
    test_clocks_and_random();
    test_table();
    test_rights();
    test_io();
    test_seek();
    test_attributes();
    test_readdir();
    test_create();
    fixture_destroy(&fixture);
    return test_end();
}
