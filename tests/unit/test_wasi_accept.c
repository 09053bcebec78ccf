/*
 * /dev/hutch/accept: what opening it gives, what its directory answers, and that nothing else
 * can be done to either.
 */
#include "tests/unit/wasi_fixture.h"

#include <sys/socket.h>

#define DIRECTORY 4u /* behind the request socket */

static struct fixture fixture;

struct requests {
    int fds[4];
    int count, asked;
};

static int next_request(void *context, bool nonblock, int *ret_fd) {
    struct requests *r = context;
    r->asked++;
    if (r->count == 0) return nonblock ? EAGAIN : ECONNABORTED;
    *ret_fd = r->fds[--r->count];
    return 0;
}

static struct wasi *create(struct requests *r, uint32_t max_files) {
    struct wasi_config config = {.stdio = {-1, -1, -1},
                                 .next_request = next_request,
                                 .next_request_context = r,
                                 .request_socket = 3,
                                 .request_ready_fd = -1,
                                 .max_files = max_files};
    struct wasi *w = NULL;
    struct error err = {0};
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    return w;
}

static enum wasi_errno open_as(struct wasi *w, const char *path, uint32_t oflags, uint64_t base,
                               uint32_t fdflags) {
    uint32_t length = put_text(&fixture, PATH_A, path);
    return wasi_path_open(w, fixture.m, DIRECTORY, 1, PATH_A, length, oflags, base, ALL,
                          fdflags, RESULT);
}

static void test_accept(void) {
    struct fixture *f = &fixture;
    int one[2], two[2], three[2];
    char text[8] = {0};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, three) == 0);
    struct requests r = {.fds = {three[0], two[0], one[0]}, .count = 3};
    struct wasi *w = create(&r, 1);
    EXPECT_ERRNO(wasi_fd_prestat_get(w, f->m, DIRECTORY, DATA), WASI_OK);
    EXPECT(load_u32(f->m.base + DATA) == 0 && load_u32(f->m.base + DATA + 4) == 10);
    EXPECT_ERRNO(wasi_fd_prestat_dir_name(w, f->m, DIRECTORY, DATA, 10), WASI_OK);
    EXPECT(memcmp(f->m.base + DATA, "/dev/hutch", 10) == 0);

    /* As a program in a language with files does it: open, look, read, write, close. */
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 0), WASI_OK);
    uint32_t stream = result32(f);
    EXPECT(stream == 5 && r.asked == 1);
    EXPECT_ERRNO(wasi_fd_fdstat_get(w, f->m, stream, DATA), WASI_OK);
    EXPECT(f->m.base[DATA] == WASI_FILETYPE_SOCKET_STREAM &&
           load_u16(f->m.base + DATA + 2) == 0);
    uint64_t rights = load_u64(f->m.base + DATA + 8);
    EXPECT(rights & WASI_RIGHT_FD_READ && rights & WASI_RIGHT_FD_WRITE &&
           !(rights & (WASI_RIGHT_SOCK_ACCEPT | WASI_RIGHT_FD_SEEK | WASI_RIGHT_FD_TELL)));
    EXPECT_ERRNO(wasi_fd_filestat_get(w, f->m, stream, DATA, WASI_PREVIEW1), WASI_OK);
    EXPECT_ERRNO(wasi_fd_seek(w, f->m, stream, 0, 1, RESULT, WASI_PREVIEW1), WASI_ESPIPE);
    EXPECT_ERRNO(wasi_fd_tell(w, f->m, stream, RESULT), WASI_ESPIPE);
    CHECK(write(one[1], "ask", 3) == 3);
    put_iovec(f, 0, DATA, 8);
    EXPECT_ERRNO(wasi_fd_read(w, f->m, stream, IOVEC, 1, RESULT), WASI_OK);
    EXPECT(result32(f) == 3 && memcmp(f->m.base + DATA, "ask", 3) == 0);
    put_iovec(f, 0, DATA, put_text(f, DATA, "told"));
    EXPECT_ERRNO(wasi_fd_write(w, f->m, stream, IOVEC, 1, RESULT), WASI_OK);
    EXPECT(read(one[1], text, 8) == 4 && memcmp(text, "told", 4) == 0);
    /* Accepting again ends the request before, as sock_accept does; the limit of files is not
     * for it; and what was not asked for is not given. */
    EXPECT_ERRNO(open_as(w, ".//./accept", WASI_OFLAG_CREAT | WASI_OFLAG_TRUNC,
                         WASI_RIGHT_FD_READ, WASI_FDFLAG_NONBLOCK),
                 WASI_OK);
    uint32_t other = result32(f);
    EXPECT(other == 6 && (fcntl(two[0], F_GETFL) & O_NONBLOCK));
    EXPECT(read(one[1], text, 8) == 0);
    put_iovec(f, 0, DATA, 4);
    EXPECT_ERRNO(wasi_fd_write(w, f->m, other, IOVEC, 1, RESULT), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_read(w, f->m, other, IOVEC, 1, RESULT), WASI_EAGAIN);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, stream, 0, RESULT), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, stream), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, other), WASI_OK);
    EXPECT(read(two[1], text, 8) == 0);
    /* The same queue, whichever way it is asked; and what the listening socket says of
     * blocking. */
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_OK);
    EXPECT(r.asked == 3 && r.count == 0);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, result32(f)), WASI_OK);
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 0), WASI_ECONNABORTED);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(w, f->m, 3, WASI_FDFLAG_NONBLOCK), WASI_OK);
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 0), WASI_EAGAIN);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, 3), WASI_OK);
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 0), WASI_ENXIO);
    EXPECT(r.asked == 5);
    wasi_destroy(w);
    close(one[1]), close(two[1]), close(three[1]);
}

/* Nothing of this reaches the server. */
static void test_refused(void) {
    struct fixture *f = &fixture;
    struct requests r = {0};
    struct wasi *w = create(&r, 0);
    const uint32_t D = DIRECTORY, C = WASI_OFLAG_CREAT;
    EXPECT_ERRNO(open_as(w, "accept", WASI_OFLAG_DIRECTORY, ALL, 0), WASI_ENOTDIR);
    EXPECT_ERRNO(open_as(w, "accept", C | WASI_OFLAG_EXCL, ALL, 0), WASI_EEXIST);
    for (uint32_t flag = 1; flag < 32; flag *= 2)
        if (flag != WASI_FDFLAG_NONBLOCK)
            EXPECT_ERRNO(open_as(w, "accept", 0, ALL, flag), WASI_EINVAL);
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 32), WASI_EINVAL);
    EXPECT_ERRNO(open_as(w, "accept/", 0, ALL, 0), WASI_ENOTDIR);
    EXPECT_ERRNO(open_as(w, "accept/x", 0, ALL, 0), WASI_ENOTDIR);
    EXPECT_ERRNO(open_as(w, "acceptance", 0, ALL, 0), WASI_ENOENT);
    EXPECT_ERRNO(open_as(w, "accep", 0, ALL, 0), WASI_ENOENT);
    EXPECT_ERRNO(open_as(w, "other", C, ALL, 0), WASI_EROFS);
    EXPECT_ERRNO(open_as(w, "..", 0, WASI_RIGHT_FD_READ, 0), WASI_EPERM);
    EXPECT_ERRNO(open_as(w, "./../x", C, WASI_RIGHT_FD_READ, 0), WASI_EPERM);
    EXPECT_ERRNO(open_as(w, "..x", 0, WASI_RIGHT_FD_READ, 0), WASI_ENOENT);
    EXPECT_ERRNO(open_as(w, "/dev/hutch/accept", 0, WASI_RIGHT_FD_READ, 0), WASI_EPERM);
    EXPECT_ERRNO(open_as(w, "", 0, ALL, 0), WASI_ENOENT);
    EXPECT_ERRNO(open_as(w, ".", 0, ALL, 0), WASI_EISDIR);
    EXPECT_ERRNO(open_as(w, ".", C | WASI_OFLAG_EXCL, 0, 0), WASI_EEXIST);
    EXPECT_ERRNO(wasi_path_open(w, f->m, D, 1, PATH_A, 1, 0, ALL, ALL, 0, MEMORY_SIZE - 2),
                 WASI_EFAULT);
    uint32_t n = put_text(f, PATH_A, "accept"), n2 = put_text(f, PATH_B, "x");
    EXPECT_ERRNO(wasi_path_create_directory(w, f->m, D, PATH_B, n2), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_unlink_file(w, f->m, D, PATH_A, n), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_remove_directory(w, f->m, D, PATH_A, n), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_rename(w, f->m, D, PATH_A, n, D, PATH_B, n2), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_link(w, f->m, D, 0, PATH_A, n, D, PATH_B, n2), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_symlink(w, f->m, PATH_B, n2, D, PATH_A, n), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_readlink(w, f->m, D, PATH_A, n, DATA, 8, RESULT), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_path_filestat_set_times(w, f->m, D, 0, PATH_A, n, 0, 0, 0),
                 WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(w, f->m, D, 0, 0, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_sync(w, f->m, D), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_datasync(w, f->m, D), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(w, f->m, D, 0), WASI_ENOTCAPABLE);
    EXPECT_ERRNO(wasi_fd_advise(w, f->m, D, 0, 0, 0), WASI_EISDIR);
    put_iovec(f, 0, DATA, 8);
    EXPECT_ERRNO(wasi_fd_read(w, f->m, D, IOVEC, 1, RESULT), WASI_EISDIR);
    EXPECT_ERRNO(wasi_fd_write(w, f->m, D, IOVEC, 1, RESULT), WASI_EISDIR);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, D, 0, RESULT), WASI_ENOTSOCK);
    EXPECT(r.asked == 0);
    /* Closed, it is gone; so it is for a program without a request socket. */
    EXPECT_ERRNO(wasi_fd_close(w, f->m, D), WASI_OK);
    EXPECT_ERRNO(open_as(w, "accept", 0, ALL, 0), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_prestat_get(f->w, f->m, ROOT + 1, DATA), WASI_EBADF);
    wasi_destroy(w);
}

static void test_look(void) {
    struct fixture *f = &fixture;
    const uint8_t *data = f->m.base + DATA;
    struct requests r = {0};
    struct wasi *w = create(&r, 0);
    const uint32_t D = DIRECTORY;
    for (unsigned abi = 0; abi < 2; abi++) {
        enum wasi_abi a = abi ? WASI_PREVIEW1 : WASI_SNAPSHOT0;
        EXPECT_ERRNO(wasi_fd_filestat_get(w, f->m, D, DATA, a), WASI_OK);
        EXPECT(data[16] == WASI_FILETYPE_DIRECTORY);
        uint32_t n = put_text(f, PATH_A, "accept");
        EXPECT_ERRNO(wasi_path_filestat_get(w, f->m, D, 1, PATH_A, n, DATA, a), WASI_OK);
        EXPECT(data[16] == WASI_FILETYPE_CHARACTER_DEVICE);
        EXPECT_ERRNO(wasi_path_filestat_get(w, f->m, D, 0, PATH_A, n - 1, DATA, a),
                     WASI_ENOENT);
        EXPECT_ERRNO(wasi_path_filestat_get(w, f->m, D, 4, PATH_A, n, DATA, a), WASI_EINVAL);
    }
    EXPECT_ERRNO(open_as(w, ".", WASI_OFLAG_DIRECTORY, WASI_RIGHT_FD_READDIR, 0), WASI_OK);
    uint32_t opened = result32(f);
    EXPECT_ERRNO(wasi_fd_prestat_get(w, f->m, opened, DATA), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, opened, DATA, 512, 0, RESULT), WASI_OK);
    EXPECT(result32(f) == 3 * 24 + 1 + 2 + 6);
    EXPECT(memcmp(data + 24, ".", 1) == 0 && memcmp(data + 25, "\2\0\0", 3) == 0);
    EXPECT(memcmp(data + 24 + 1 + 24 + 2 + 24, "accept", 6) == 0);
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, opened, DATA, 512, 2, RESULT), WASI_OK);
    EXPECT(result32(f) == 30 && load_u64(data) == 3 && load_u32(data + 16) == 6);
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, opened, DATA, 27, 2, RESULT), WASI_OK);
    EXPECT(result32(f) == 27 && memcmp(data + 24, "acc", 3) == 0); /* cut off: there is more */
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, opened, DATA, 512, 3, RESULT), WASI_OK);
    EXPECT(result32(f) == 0);
    EXPECT_ERRNO(wasi_fd_readdir(w, f->m, opened, DATA, 512, UINT64_MAX, RESULT), WASI_OK);
    EXPECT(result32(f) == 0);

    /* Saved and restored with everything else; not for a program that has no such directory. */
    struct buffer b = {0};
    struct error err = {0};
    struct wasi *again = create(&r, 0);
    CHECK(wasi_state_save(w, &b, &err) == ST_OK);
    EXPECT(wasi_state_restore(again, b.bytes, b.size, true, &err) == ST_OK);
    EXPECT_ERRNO(wasi_fd_readdir(again, f->m, opened, DATA, 512, 0, RESULT), WASI_OK);
    EXPECT_ERRNO(wasi_fd_prestat_get(again, f->m, D, DATA), WASI_OK);
    EXPECT(wasi_state_restore(f->w, b.bytes, b.size, true, &err) == ST_INCOMPATIBLE);
    buffer_finish(&b);
    wasi_destroy(again);
    EXPECT(r.asked == 0);
    wasi_destroy(w);
}

int main(void) {
    fixture_create(&fixture);
    test_accept();
    test_refused();
    test_look();
    fixture_destroy(&fixture);
    return test_end();
}
