/*
 * Requests for a program that is not served (tenant_requests.h). The maker of a snapshot is
 * hutch itself, so its messages are believed; what the guest does with a connection is its
 * own affair.
 */
#include "tools/tenant_requests.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static int accept_connection(int listen_fd, bool nonblock, int *ret_fd) {
    for (;;) {
        struct pollfd ready = {.fd = listen_fd, .events = POLLIN};
        int n = poll(&ready, 1, nonblock ? 0 : -1);
        if (n == 0) return EAGAIN;
        int fd = n < 0 ? -1 : accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        if (errno == EINTR && runtime_interrupt_pending()) return EINTR;
        /* a connection that was gone again, or someone else's by now */
        if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) return errno;
    }
}

/* ---- a maker of snapshots ---------------------------------------------------------------- */

ssize_t requests_receive(int socket, void *ret_bytes, size_t size_bytes, int *ret_fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec bytes = {.iov_base = ret_bytes, .iov_len = size_bytes};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    *ret_fd = -1;
    ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return n;
}

static enum status write_record(const struct requests *r, int fd, struct error *err) {
    auto_buffer struct buffer b = {0};
    if (!r->snapshot) return error_set(err, ST_USAGE, "this program was not resumed");
    enum status status = snapshot_record(r->snapshot, r->instance, &b, err);
    for (size_t at = 0; status == ST_OK && at < b.size;) {
        ssize_t n = write(fd, b.bytes + at, b.size - at);
        if (n < 0 && errno != EINTR) status = error_set_errno(err, ST_IO, "cannot write");
        if (n > 0) at += (size_t)n;
    }
    return status;
}

static enum status write_snapshot(const struct requests *r, int fd, struct error *err) {
    auto_buffer struct buffer text = {0};
    if (!r->running) return error_set(err, ST_UNSUPPORTED, "the program is still starting");
    tenant_config_text(r->config, &text);
    enum status status = buffer_status(&text, err);
    if (status != ST_OK) return status;
    return snapshot_write(r->instance, r->wasi, (const char *)text.bytes, fd, err);
}

static void answer(int socket, enum status status, const struct error *err) {
    char text[sizeof err->message + 1] = {'K'};
    size_t size = 1;
    if (status != ST_OK) {
        text[0] = 'E';
        size += strlen(err->message);
        memcpy(text + 1, err->message, size - 1);
    }
    (void)!send(socket, text, size, MSG_NOSIGNAL);
}

static int next_from_maker(const struct requests *r, int *ret_fd) {
    int socket = r->config->requests.control_fd;
    if (send(socket, "N", 1, MSG_NOSIGNAL) < 0) _exit(0);
    for (;;) {
        struct error err = {0};
        char type = 0;
        int fd = -1;
        ssize_t n = requests_receive(socket, &type, 1, &fd);
        if (n < 0 && errno == EINTR) {
            if (runtime_interrupt_pending()) return EINTR;
            continue;
        }
        if (n <= 0) _exit(0); /* no one wants anything of it any more */
        if (type == 'R') {
            *ret_fd = fd;
            return 0;
        }
        answer(socket, type == 'S' ? write_snapshot(r, fd, &err) : write_record(r, fd, &err),
               &err);
        close(fd);
    }
}

void requests_obey(const struct requests *r) {
    int socket = r->config->requests.control_fd;
    for (;;) {
        struct error err = {0};
        char type = 0;
        int fd = -1;
        ssize_t n = requests_receive(socket, &type, 1, &fd);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) _exit(0);
        answer(socket, type == 'S' ? write_snapshot(r, fd, &err) : write_record(r, fd, &err),
               &err);
        close(fd);
    }
}

int requests_next(void *context, bool nonblock, int *ret_fd) {
    struct requests *r = context;
    const struct tenant_requests *from = &r->config->requests;
    if (from->reset && r->snapshot && r->answered) {
        r->answered = false;
        instance_restart(r->instance);
        return ECANCELED;
    }
    r->answered = true;
    if (from->listen_fd >= 0) return accept_connection(from->listen_fd, nonblock, ret_fd);
    return next_from_maker(r, ret_fd);
}
