/*
 * The maker's end of tools/tenant_requests.h. A program that ends, or does nothing for too
 * long, is an error that says so; its process never outlives the making.
 */
#include "tools/snapshot_make.h"
#include "loader/loader.h"
#include "tools/cli.h"
#include "tools/snapshot_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)4 << 20) /* of it is kept to be looked at */

static uint64_t now_ms(void) {
    struct timespec ts = {0};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the process ------------------------------------------------------------------------- */

enum status maker_start(const struct snapshot_make *make, int snapshot_fd, bool quiet,
                        struct maker_tenant *ret_tenant, struct error *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(pair[0]), close(pair[1]);
        return error_set_errno(err, ST_IO, "cannot start a process");
    }
    if (pid == 0) {
        struct tenant_config config = *make->config;
        struct error failed = {0};
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (nothing >= 0) dup2(nothing, STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO); /* what it prints is no answer of ours */
        int silent = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
        if (silent >= 0) dup2(silent, STDERR_FILENO);
        config.requests.control_fd = pair[1];
        config.requests.listen_fd = -1;
        config.requests.snapshot_fd = snapshot_fd;
        config.requests.prefault = false;
        (void)!cli_become_tenant(&config, make->arena, &failed);
        _exit(cli_report("snapshot", config.name, &failed));
    }
    close(pair[1]);
    *ret_tenant = (struct maker_tenant){
        .pid = pid, .control = pair[0], .cgi = make->config->interface == TENANT_CGI};
    return ST_OK;
}

void maker_stop(struct maker_tenant *t, int *ret_status) {
    *ret_status = 0;
    if (t->control >= 0) close(t->control);
    t->control = -1;
    if (t->pid <= 0) return;
    /* one that waits for a request ends by itself; a busy one is not waited for */
    for (int i = 0; i < 200; i++) {
        if (waitpid(t->pid, ret_status, WNOHANG) != 0) {
            t->pid = 0;
            return;
        }
        usleep(1000);
    }
    kill(t->pid, SIGKILL);
    waitpid(t->pid, ret_status, 0);
    t->pid = 0;
}

enum status maker_ended(struct maker_tenant *t, struct error *err) {
    int status = 0;
    maker_stop(t, &status);
    if (t->cgi)
        return error_set(err, ST_INCOMPATIBLE, "its process ended with %s %d",
                         WIFSIGNALED(status) ? "signal" : "exit status",
                         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (WIFSIGNALED(status))
        return error_set(err, ST_INCOMPATIBLE, "the program was killed by signal %d",
                         WTERMSIG(status));
    return error_set(err, ST_INCOMPATIBLE,
                     "the program ended, with exit status %d, without waiting for a request "
                     "(sock_accept on its request socket)",
                     WEXITSTATUS(status));
}

/* ---- messages ---------------------------------------------------------------------------- */

enum status maker_tell(struct maker_tenant *t, const void *bytes, size_t size, int fd,
                       struct error *err) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(t->control, &message, MSG_NOSIGNAL) < 0) return maker_ended(t, err);
    return ST_OK;
}

static enum status wait_message(struct maker_tenant *t, uint64_t timeout_ms, char wanted,
                                const char *what, struct error *err) {
    char text[600];
    struct pollfd ready = {.fd = t->control, .events = POLLIN};
    int n = poll(&ready, 1, (int)timeout_ms);
    if (n == 0) return error_set(err, ST_LIMIT, "%s took too long", what);
    ssize_t got = n < 0 ? -1 : recv(t->control, text, sizeof text - 1, 0);
    if (got < 0 && errno == EINTR) return wait_message(t, timeout_ms, wanted, what, err);
    if (got <= 0) return maker_ended(t, err);
    text[got] = '\0';
    if (text[0] == wanted) return ST_OK;
    return error_set(err, ST_UNSUPPORTED, "%s: %s", what, text[0] == 'E' ? text + 1 : "?");
}

/* Sends the rest of a request and takes what comes, until the program waits again. */
static enum status exchange(struct maker_tenant *t, int stream,
                            const struct snapshot_request *request, uint64_t timeout_ms,
                            struct buffer *answer, size_t *ret_size, struct error *err) {
    size_t sent = 0;
    bool open = true;
    uint64_t end = now_ms() + timeout_ms;
    *ret_size = 0;
    for (;;) {
        uint64_t now = now_ms();
        struct pollfd fds[2] = {
            {.fd = open ? stream : -1,
             .events = (short)(POLLIN | (sent < request->size_bytes ? POLLOUT : 0))},
            {.fd = t->control, .events = POLLIN}};
        if (now >= end || poll(fds, 2, (int)(end - now)) == 0)
            return error_set(err, ST_LIMIT, "a warm-up request took too long");
        if (fds[0].revents & POLLOUT && sent < request->size_bytes) {
            ssize_t n = send(stream, request->bytes + sent, request->size_bytes - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) sent += (size_t)n;
            if (n < 0 && errno != EAGAIN) sent = request->size_bytes; /* not wanted */
        }
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            char bytes[16384];
            ssize_t n = recv(stream, bytes, sizeof bytes, MSG_DONTWAIT);
            if (n > 0 && answer->size < ANSWER_MAX) buffer_put(answer, bytes, (size_t)n);
            if (n > 0) *ret_size += (size_t)n;
            if (n == 0 || (n < 0 && errno != EAGAIN)) open = false;
        } else if (fds[1].revents) {
            /* All of the answer was taken: it came before this. */
            return wait_message(t, 0, 'N', "a warm-up request", err);
        }
    }
}

static enum status send_request(struct maker_tenant *t, const struct snapshot_make *make,
                                const struct snapshot_request *request, bool checked,
                                const char *what, struct error *err) {
    int pair[2];
    auto_buffer struct buffer answer = {0};
    size_t size = 0;
    uint64_t start_ms = now_ms();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    enum status status = maker_tell(t, "R", 1, pair[1], err);
    close(pair[1]);
    if (status == ST_OK)
        status = exchange(t, pair[0], request, make->timeout_ms, &answer, &size, err);
    close(pair[0]);
    if (status == ST_OK) status = buffer_status(&answer, err);
    if (status == ST_OK && make->check && checked)
        status = make->check(make->context, (uint32_t)(request - make->warm_ups), answer.bytes,
                             answer.size, err);
    if (status != ST_OK || !make->note) return status;
    char text[200], line[100] = {0};
    if (answer.size) memcpy(line, answer.bytes, answer.size < 99 ? answer.size : 99);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '\0';
    snprintf(text, sizeof text, "%s: %s, %zu bytes, %llu ms", what,
             size == 0 ? "no answer" : line, size, (unsigned long long)(now_ms() - start_ms));
    make->note(text);
    return ST_OK;
}

/* ---- making ------------------------------------------------------------------------------ */

enum status maker_ask(struct maker_tenant *t, const struct snapshot_make *make, char type,
                      int fd, const char *what, struct error *err) {
    enum status status = maker_tell(t, &type, 1, fd, err);
    return status == ST_OK ? wait_message(t, make->timeout_ms, 'K', what, err) : status;
}

static enum status first_run(const struct snapshot_make *make, int fd, struct error *err) {
    struct maker_tenant t = {.control = -1};
    int ignored;
    enum status status = maker_start(make, -1, false, &t, err);
    if (status == ST_OK) status = wait_message(&t, make->timeout_ms, 'N', "starting", err);
    for (uint32_t i = 0; status == ST_OK && i < make->warm_up_count; i++) {
        char what[40];
        snprintf(what, sizeof what, "warm-up request %u", i + 1);
        status = send_request(&t, make, &make->warm_ups[i], true, what, err);
    }
    if (status == ST_OK) status = maker_ask(&t, make, 'S', fd, "the snapshot", err);
    maker_stop(&t, &ignored);
    return status;
}

/* What the first request after a resume touches. */
static enum status trial_run(const struct snapshot_make *make, int fd, struct error *err) {
    struct maker_tenant t = {.control = -1};
    int ignored;
    auto_fd int record = -1;
    enum status status = cli_memory_file("hutch-touched", &record, err);
    if (status == ST_OK) status = maker_start(make, fd, false, &t, err);
    if (status == ST_OK) status = wait_message(&t, make->timeout_ms, 'N', "resuming", err);
    if (status == ST_OK)
        status = send_request(&t, make, make->trial, false, "trial request", err);
    if (status == ST_OK) status = maker_ask(&t, make, 'W', record, "the working set", err);
    maker_stop(&t, &ignored);
    if (status != ST_OK) return status;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    if ((status = cli_map_file(record, &bytes, &size, err)) != ST_OK) return status;
    return snapshot_add_ranges(fd, bytes, size, err);
}

enum status snapshot_make(const struct snapshot_make *make, int *ret_fd, struct error *err) {
    auto_fd int fd = -1;
    if (make->config->interface == TENANT_CGI) return snapshot_make_cgi(make, ret_fd, err);
    enum status status = cli_memory_file("hutch-snapshot", &fd, err);
    if (status == ST_OK) status = first_run(make, fd, err);
    if (status != ST_OK) return status;
    struct error failed = {0};
    if (make->trial && trial_run(make, fd, &failed) != ST_OK && make->note) {
        error_wrap(&failed, "the working set is not known");
        make->note(failed.message);
    }
    if ((status = snapshot_seal(fd, err)) != ST_OK) return status;
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}
