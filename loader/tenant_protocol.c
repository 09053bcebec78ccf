/*
 * Messages of tenant_protocol.h to packets and back: what is too long, cut, or carries a header
 * that does not fit is no message, and descriptors nobody asked for are closed.
 */
#include "loader/tenant_protocol.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

const char *sandbox_layer_name(enum sandbox_layer layer) {
    static const char *const names[] = {
#define X(name, text) [name] = text,
        SANDBOX_LAYERS(X)
#undef X
    };
    return layer < SANDBOX_LAYER_COUNT ? names[layer] : "?";
}

struct tenant_header tenant_header(unsigned type, size_t size_bytes, uint64_t id) {
    return (struct tenant_header){.version = TENANT_PROTOCOL_VERSION,
                                  .type = (uint16_t)type,
                                  .size_bytes = (uint32_t)size_bytes,
                                  .id = id};
}

/* Room for a message's descriptors, aligned as the kernel wants it. */
union fd_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(TENANT_MAX_FDS * sizeof(int))];
};

int tenant_send(int socket, const void *head, size_t head_bytes, const void *tail,
                size_t tail_bytes, const int *fds, uint32_t fd_count) {
    /* sendmsg does not change what it sends */
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)head, .iov_len = head_bytes},
        {.iov_base = (void *)(uintptr_t)tail, .iov_len = tail_bytes},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = tail_bytes ? 2 : 1};
    union fd_room room;
    if (fd_count > TENANT_MAX_FDS) return E2BIG;
    if (fd_count) {
        memset(&room, 0, sizeof room);
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof *fds);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof *fds);
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof *fds);
    }
    for (;;) {
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent >= 0) return 0; /* a packet is sent whole */
        if (errno != EINTR) return errno;
    }
}

static void take_fds(struct msghdr *message, int *ret_fds, uint32_t max_fds,
                     uint32_t *ret_fd_count) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*ret_fd_count < max_fds)
                ret_fds[(*ret_fd_count)++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t tenant_receive(int socket, void *buffer, size_t size_bytes, int *ret_fds,
                       uint32_t max_fds, uint32_t *ret_fd_count) {
    struct iovec part = {.iov_base = buffer, .iov_len = size_bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union fd_room room;
    uint32_t count = 0;
    CHECK(max_fds <= TENANT_MAX_FDS);
    if (max_fds) {
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(max_fds * sizeof *ret_fds);
    }
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return -errno;
    if (max_fds) take_fds(&message, ret_fds, max_fds, &count);
    if (got == 0 && count == 0) return 0;
    struct tenant_header header;
    bool good = (size_t)got >= sizeof header && !(message.msg_flags & MSG_TRUNC);
    if (good && max_fds) good = !(message.msg_flags & MSG_CTRUNC);
    if (good) {
        memcpy(&header, buffer, sizeof header);
        good = header.version == TENANT_PROTOCOL_VERSION && header.size_bytes == (size_t)got;
    }
    if (good) {
        if (ret_fd_count) *ret_fd_count = count;
        return got;
    }
    for (uint32_t i = 0; i < count; i++) close(ret_fds[i]);
    return -EPROTO;
}

int holder_open_session(int control_fd, int *ret_fd) {
    int ends[2];
    struct holder_session message = {.header =
                                         tenant_header(HOLDER_SESSION, sizeof message, 0)};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno;
    int error = tenant_send(control_fd, &message, sizeof message, NULL, 0, &ends[1], 1);
    close(ends[1]);
    if (error)
        close(ends[0]);
    else
        *ret_fd = ends[0];
    return error;
}
