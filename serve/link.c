/*
 * Packets between the server's processes. See link.h.
 */
#include "serve/fd_room.h"
#include "serve/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * LINK_MAX_FDS)];
};

enum status link_send(int fd, enum link_type type, const int *fds, uint32_t fd_count,
                      struct error *err) {
    uint32_t head[2] = {(uint32_t)type, fd_count};
    struct iovec piece = {head, sizeof head};
    union control control = {0};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd_count > LINK_MAX_FDS)
        return error_set(err, ST_LIMIT, "an app with %u descriptors, at most %u are passed on",
                         fd_count, LINK_MAX_FDS);
    if (fd_count) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do n = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0) return error_set_errno(err, ST_IO, "cannot reach another process of the server");
    return ST_OK;
}

enum status link_receive(int fd, struct link_message *ret, struct error *err) {
    uint32_t head[2] = {0};
    struct iovec piece = {head, sizeof head};
    union control control;
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;
    do n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0) return error_set(err, ST_NOT_FOUND, "the other process has gone");
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return error_set(err, ST_LIMIT, "no message");
    if (n < 0 && errno == ECONNRESET)
        return error_set(err, ST_NOT_FOUND, "the other process has gone");
    if (n < 0) return error_set_errno(err, ST_IO, "cannot read from another process");
    *ret = (struct link_message){.type = head[0]};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && ret->fd_count < LINK_MAX_FDS; i++)
            memcpy(&ret->fds[ret->fd_count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if ((size_t)n == sizeof head && head[1] == ret->fd_count &&
        !(message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
        return ST_OK;
    bool cut = message.msg_flags & MSG_CTRUNC && (size_t)n == sizeof head;
    char text[160];
    link_close_fds(ret);
    if (cut) return error_set(err, ST_NO_MEMORY, "an app is missing: %s", fd_room_text(text));
    return error_set(err, ST_INTERNAL, "a message between processes is malformed");
}

void link_close_fds(struct link_message *message) {
    for (uint32_t i = 0; i < message->fd_count; i++)
        if (message->fds[i] >= 0) close(message->fds[i]);
    message->fd_count = 0;
}
