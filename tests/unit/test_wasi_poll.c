/*
 * WASI over standard streams that are pipes and sockets: poll_oneoff in both ABIs, and sock_*.
 */
#include "tests/unit/wasi_fixture.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static struct fixture fixture;

static uint64_t now_ns(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void put_clock(uint32_t at, enum wasi_abi abi, uint64_t userdata, uint32_t clock,
                      uint64_t timeout_ns, uint16_t flags) {
    uint8_t *to = fixture.m.base + at;
    memset(to, 0, 56);
    store_u64(to, userdata);
    to[8] = WASI_EVENT_CLOCK;
    if (abi == WASI_SNAPSHOT0) store_u64(to + 16, 0xabcdef); /* an identifier nobody uses */
    uint8_t *rest = to + (abi == WASI_SNAPSHOT0 ? 24 : 16);
    store_u32(rest, clock);
    store_u64(rest + 8, timeout_ns);
    store_u16(rest + 24, flags);
}

static void put_stream(uint32_t at, uint64_t userdata, uint8_t type, uint32_t fd) {
    uint8_t *to = fixture.m.base + at;
    memset(to, 0, 48);
    store_u64(to, userdata);
    to[8] = type;
    store_u32(to + 16, fd);
}

static void on_alarm(int signal) { (void)signal; }

static void test_poll(void) {
    struct fixture *f = &fixture;
    int pipe_fds[2], out_fds[2];
    CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0 && pipe2(out_fds, O_CLOEXEC) == 0);
    struct wasi *w = with_streams(pipe_fds[0], out_fds[1]);
    const uint32_t IN = 256, OUT = 2048;
    const uint8_t *event = f->m.base + OUT;
    uint64_t before;

    for (unsigned abi = 0; abi < 2; abi++) {
        enum wasi_abi a = abi ? WASI_PREVIEW1 : WASI_SNAPSHOT0;
        for (uint32_t clock = 0; clock < 2; clock++) {
            before = now_ns(CLOCK_MONOTONIC);
            uint64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
            put_clock(IN, a, 77, clock, 30000000, 0);
            EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 1, RESULT, a), WASI_OK);
            uint64_t slept = now_ns(CLOCK_MONOTONIC) - before;
            EXPECT(slept >= 30000000 && slept < 3000000000);
            EXPECT(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu < 10000000);
            EXPECT(result32(f) == 1 && load_u64(event) == 77 && load_u64(event + 8) == 0);
        }
        put_clock(IN, a, 78, WASI_CLOCK_REALTIME, now_ns(CLOCK_REALTIME) + 20000000, 1);
        EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 1, RESULT, a), WASI_OK);
        EXPECT(result32(f) == 1 && load_u64(event) == 78);
        put_clock(IN, a, 79, WASI_CLOCK_MONOTONIC, 1, 1); /* long ago */
        EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 1, RESULT, a), WASI_OK);
        EXPECT(result32(f) == 1 && load_u64(event) == 79);
    }
    enum wasi_abi a = WASI_PREVIEW1;
    /* Clocks that cannot be waited for, flags that do not exist. */
    put_clock(IN, a, 1, WASI_CLOCK_PROCESS, 1, 0);
    put_clock(IN + 48, a, 2, 9, 1, 0);
    put_clock(IN + 96, a, 3, 0, 1, 2);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 3, RESULT, a), WASI_OK);
    EXPECT(result32(f) == 3 && load_u16(event + 8) == WASI_ENOTSUP &&
           load_u16(event + 40) == WASI_EINVAL && load_u16(event + 72) == WASI_EINVAL);

    /* An empty pipe times out, a writable one is there at once; then there is something to
     * read. */
    put_stream(IN, 5, WASI_EVENT_FD_READ, 0);
    put_clock(IN + 48, a, 6, 1, 20000000, 0);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 2, RESULT, a), WASI_OK);
    EXPECT(result32(f) == 1 && load_u64(event) == 6 && event[10] == WASI_EVENT_CLOCK);
    put_stream(IN + 96, 7, WASI_EVENT_FD_WRITE, 1);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 3, RESULT, a), WASI_OK);
    EXPECT(result32(f) == 1 && load_u64(event) == 7 && event[10] == WASI_EVENT_FD_WRITE);
    CHECK(write(pipe_fds[1], "hello", 5) == 5);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 2, RESULT, a), WASI_OK);
    EXPECT(result32(f) == 1 && load_u64(event) == 5 && event[10] == WASI_EVENT_FD_READ);
    EXPECT(load_u64(event + 16) == 5 && load_u16(event + 24) == 0);
    close(pipe_fds[1]);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 2, RESULT, a), WASI_OK);
    EXPECT(load_u64(event + 16) == 5 && load_u16(event + 24) == WASI_EVENT_HANGUP);

    /* Descriptors that are not there or may not, types that are none. */
    put_stream(IN, 8, WASI_EVENT_FD_READ, 50);
    put_stream(IN + 48, 9, WASI_EVENT_FD_READ, 1);
    put_stream(IN + 96, 10, 3, 0);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 3, RESULT, a), WASI_OK);
    EXPECT(result32(f) == 3 && load_u16(event + 8) == WASI_EBADF &&
           load_u16(event + 40) == WASI_ENOTCAPABLE && load_u16(event + 72) == WASI_EINVAL);

    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 0, RESULT, a), WASI_EINVAL);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, UINT32_MAX, RESULT, a), WASI_EFAULT);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, MEMORY_SIZE - 47, OUT, 1, RESULT, a), WASI_EFAULT);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, MEMORY_SIZE - 31, 1, RESULT, a), WASI_EFAULT);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 1, MEMORY_SIZE - 3, a), WASI_EFAULT);
    /* Events over the subscriptions themselves: whatever comes, no harm. */
    put_clock(IN, a, 1, 1, 0, 0);
    put_clock(IN + 48, a, 2, 1, 0, 0);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, IN, 2, RESULT, a), WASI_OK);

    /* A signal ends the longest sleep. */
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval timer = {.it_value = {.tv_usec = 30000}};
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &timer, NULL);
    put_clock(IN, a, 1, 1, UINT64_MAX, 0);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, IN, OUT, 1, RESULT, a), WASI_EINTR);
    sigaction(SIGALRM, &old, NULL);

    /* A pipe has no position. */
    EXPECT_ERRNO(wasi_fd_seek(w, f->m, 0, 0, 0, RESULT, a), WASI_ESPIPE);
    EXPECT_ERRNO(wasi_fd_tell(w, f->m, 0, RESULT), WASI_ESPIPE);
    EXPECT_ERRNO(wasi_sock_shutdown(w, f->m, 0, 1), WASI_ENOTSOCK);
    wasi_destroy(w);
    EXPECT(fcntl(pipe_fds[0], F_GETFD) >= 0); /* borrowed: still open */
    close(pipe_fds[0]);
    close(out_fds[0]);
    close(out_fds[1]);
}

static void test_sockets(void) {
    struct fixture *f = &fixture;
    int pair[2], datagrams[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams) == 0);
    struct wasi *w = with_streams(pair[0], datagrams[0]);
    EXPECT_ERRNO(wasi_fd_fdstat_get(w, f->m, 0, DATA), WASI_OK);
    EXPECT(f->m.base[DATA] == WASI_FILETYPE_SOCKET_STREAM);
    EXPECT_ERRNO(wasi_fd_fdstat_get(w, f->m, 1, DATA), WASI_OK);
    EXPECT(f->m.base[DATA] == WASI_FILETYPE_SOCKET_DGRAM);
    put_iovec(f, 0, DATA, put_text(f, DATA, "over"));
    EXPECT_ERRNO(wasi_sock_send(w, f->m, 0, IOVEC, 1, 0, RESULT), WASI_OK);
    EXPECT(result32(f) == 4);
    EXPECT_ERRNO(wasi_sock_send(w, f->m, 0, IOVEC, 1, 1, RESULT), WASI_EINVAL);
    char text[8] = {0};
    EXPECT(read(pair[1], text, 8) == 4 && strcmp(text, "over") == 0);
    CHECK(write(pair[1], "answer", 6) == 6 && write(datagrams[1], "datagram", 8) == 8);
    EXPECT_ERRNO(wasi_sock_recv(w, f->m, 0, IOVEC, 1, WASI_RI_PEEK, RESULT, RESULT + 4),
                 WASI_OK);
    EXPECT_ERRNO(wasi_sock_recv(w, f->m, 0, IOVEC, 1, WASI_RI_WAITALL, RESULT, RESULT + 4),
                 WASI_OK);
    EXPECT(result32(f) == 4 && memcmp(f->m.base + DATA, "answ", 4) == 0);
    EXPECT_ERRNO(wasi_sock_recv(w, f->m, 1, IOVEC, 1, 0, RESULT, RESULT + 4), WASI_OK);
    EXPECT(result32(f) == 4 && load_u16(f->m.base + RESULT + 4) == WASI_RO_DATA_TRUNCATED);
    EXPECT_ERRNO(wasi_sock_recv(w, f->m, 0, IOVEC, 1, 4, RESULT, RESULT + 4), WASI_EINVAL);
    EXPECT_ERRNO(wasi_sock_recv(w, f->m, 0, IOVEC, 1, 0, RESULT, MEMORY_SIZE - 1), WASI_EFAULT);
    EXPECT_ERRNO(wasi_sock_shutdown(w, f->m, 0, 0), WASI_EINVAL);
    EXPECT_ERRNO(wasi_sock_shutdown(w, f->m, 0, 4), WASI_EINVAL);
    EXPECT_ERRNO(wasi_sock_shutdown(w, f->m, 0, WASI_SD_WR), WASI_OK);
    EXPECT_ERRNO(wasi_sock_send(w, f->m, 0, IOVEC, 1, 0, RESULT), WASI_EPIPE); /* no SIGPIPE */
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 0, 0, RESULT), WASI_EINVAL); /* it does not listen */
    EXPECT_ERRNO(wasi_sock_recv(f->w, f->m, ROOT, IOVEC, 1, 0, RESULT, RESULT + 4),
                 WASI_ENOTSOCK);
    EXPECT_ERRNO(wasi_sock_accept(f->w, f->m, 99, 0, RESULT), WASI_EBADF);
    wasi_destroy(w);
    for (int i = 0; i < 2; i++) close(pair[i]), close(datagrams[i]);
}

/* ---- the request socket ------------------------------------------------------------------ */

struct requests {
    int fds[4];
    int count, asked;
    bool last_nonblock;
};

static int next_request(void *context, bool nonblock, int *ret_fd) {
    struct requests *r = context;
    r->asked++;
    r->last_nonblock = nonblock;
    if (r->count == 0) return EAGAIN;
    *ret_fd = r->fds[--r->count];
    return 0;
}

/* Polls descriptor 3 for reading, with a timeout of a millisecond: how many events. */
static uint32_t poll_requests(struct fixture *f, struct wasi *w, uint8_t *ret_type) {
    uint8_t *in = f->m.base + DATA;
    memset(in, 0, 96);
    in[8] = WASI_EVENT_FD_READ;
    store_u32(in + 16, 3);
    in[48 + 8] = WASI_EVENT_CLOCK;
    store_u32(in + 48 + 16, WASI_CLOCK_MONOTONIC);
    store_u64(in + 48 + 24, 1000000);
    EXPECT_ERRNO(wasi_poll_oneoff(w, f->m, DATA, DATA + 96, 2, RESULT, WASI_PREVIEW1), WASI_OK);
    *ret_type = f->m.base[DATA + 96 + 10];
    return result32(f);
}

static void test_requests(void) {
    struct fixture *f = &fixture;
    int one[2], two[2], signal[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    CHECK(pipe(signal) == 0);
    struct requests r = {.fds = {two[0], one[0]}, .count = 2};
    struct wasi_config config = {.stdio = {-1, -1, -1},
                                 .next_request = next_request,
                                 .next_request_context = &r,
                                 .request_socket = 3,
                                 .request_ready_fd = -1};
    struct wasi *w = NULL;
    struct error err = {0};
    uint8_t type = 0;
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    EXPECT_ERRNO(wasi_fd_fdstat_get(w, f->m, 3, DATA), WASI_OK);
    EXPECT(f->m.base[DATA] == WASI_FILETYPE_SOCKET_STREAM);
    EXPECT_ERRNO(wasi_fd_filestat_get(w, f->m, 3, DATA, WASI_PREVIEW1), WASI_OK);
    EXPECT_ERRNO(wasi_fd_prestat_get(w, f->m, 3, DATA), WASI_OK);
    EXPECT(load_u32(f->m.base + DATA) == 1); /* not a directory, and not the last one */
    EXPECT_ERRNO(wasi_fd_prestat_dir_name(w, f->m, 3, DATA, 0), WASI_EBADF);
    EXPECT_ERRNO(wasi_fd_prestat_get(w, f->m, 4, DATA), WASI_OK); /* test_wasi_accept.c */
    EXPECT_ERRNO(wasi_fd_prestat_get(w, f->m, 5, DATA), WASI_EBADF);
    EXPECT(poll_requests(f, w, &type) == 1 && type == WASI_EVENT_FD_READ);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_OK);
    EXPECT(result32(f) == 5 && !r.last_nonblock);
    EXPECT(poll_requests(f, w, &type) == 1 && type == WASI_EVENT_CLOCK); /* one at a time */
    put_iovec(f, 0, DATA, put_text(f, DATA, "over"));
    EXPECT_ERRNO(wasi_fd_write(w, f->m, 5, IOVEC, 1, RESULT), WASI_OK);
    EXPECT_ERRNO(wasi_sock_shutdown(w, f->m, 5, WASI_SD_WR), WASI_OK);
    char text[8] = {0};
    EXPECT(read(one[1], text, 8) == 4 && read(one[1], text, 8) == 0);
    /* the guest forgets to close: the peer sees the end all the same */
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, WASI_FDFLAG_NONBLOCK, RESULT), WASI_OK);
    EXPECT(result32(f) == 6 && (fcntl(two[0], F_GETFL) & O_NONBLOCK));
    EXPECT(send(one[1], "x", 1, MSG_NOSIGNAL) < 0);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, 5), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, 6), WASI_OK);
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(w, f->m, 3, WASI_FDFLAG_NONBLOCK), WASI_OK);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_EAGAIN);
    EXPECT(r.last_nonblock && r.asked == 3);
    EXPECT_ERRNO(wasi_fd_read(w, f->m, 3, IOVEC, 1, RESULT), WASI_EBADF);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, MEMORY_SIZE - 1), WASI_EFAULT);
    EXPECT(r.asked == 3);
    wasi_destroy(w);
    /* with a descriptor that says when: ready when that one is */
    config.request_socket = 0;
    config.request_ready_fd = signal[0];
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    EXPECT_ERRNO(wasi_fd_renumber(w, f->m, 0, 1), WASI_OK);
    EXPECT_ERRNO(wasi_fd_renumber(w, f->m, 1, 2), WASI_OK);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 0, 0, RESULT), WASI_EBADF);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 2, 0, RESULT), WASI_EAGAIN);
    wasi_destroy(w);
    config.request_socket = 3;
    CHECK(wasi_create(&config, &w, &err) == ST_OK);
    EXPECT(poll_requests(f, w, &type) == 1 && type == WASI_EVENT_CLOCK);
    CHECK(write(signal[1], "x", 1) == 1);
    EXPECT(poll_requests(f, w, &type) == 1 && type == WASI_EVENT_FD_READ);
    CHECK(read(signal[0], text, 1) == 1);
    /* a server that never blocks: the stream it has comes first, and accepting ends the request
     */
    int three[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, three) == 0);
    r = (struct requests){.fds = {three[0]}, .count = 1};
    EXPECT_ERRNO(wasi_fd_fdstat_set_flags(w, f->m, 3, WASI_FDFLAG_NONBLOCK), WASI_OK);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_OK);
    uint32_t stream = result32(f);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_EAGAIN);
    EXPECT(r.asked == 1 && poll_requests(f, w, &type) == 1 && type == WASI_EVENT_CLOCK);
    EXPECT_ERRNO(wasi_fd_close(w, f->m, stream), WASI_OK);
    EXPECT(poll_requests(f, w, &type) == 1 && type == WASI_EVENT_FD_READ);
    EXPECT_ERRNO(wasi_sock_accept(w, f->m, 3, 0, RESULT), WASI_EAGAIN);
    EXPECT(r.asked == 2 && poll_requests(f, w, &type) == 1 && type == WASI_EVENT_CLOCK);
    wasi_destroy(w);
    close(three[1]);
    config.request_socket = 2000;
    EXPECT(wasi_create(&config, &w, &err) == ST_USAGE);
    close(one[1]), close(two[1]), close(signal[0]), close(signal[1]);
}

int main(void) {
    fixture_create(&fixture);
    test_poll();
    test_sockets();
    test_requests();
    fixture_destroy(&fixture);
    return test_end();
}
