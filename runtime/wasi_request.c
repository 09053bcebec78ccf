/*
 * The request socket: a descriptor that looks like a listening stream socket, and whose next
 * connection is whatever wasi_config.next_request gives. It has no host descriptor of its own,
 * so a guest can do nothing with it but accept, poll, close, and remember O_NONBLOCK.
 *
 * Up to the call of next_request nothing that the guest can see has changed: a snapshot taken
 * there is resumed by calling sock_accept again.
 */
#include "runtime/wasi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum status wasi_requests_add(struct wasi *w, const struct wasi_config *config,
                              struct error *err) {
    uint32_t number = config->request_socket;
    if (number >= w->capacity || (number > 0 && w->descriptors[number].used))
        return error_set(err, ST_USAGE, "descriptor %u cannot be the request socket", number);
    w->next_request = config->next_request;
    w->next_request_context = config->next_request_context;
    w->request_ready_fd = config->request_ready_fd;
    w->descriptors[number] = (struct wasi_descriptor){
        .used = true,
        .requests = true,
        .filetype = WASI_FILETYPE_SOCKET_STREAM,
        .host_fd = -1,
        .rights_base = WASI_RIGHT_SOCK_ACCEPT | WASI_RIGHT_FD_READ |
                       WASI_RIGHT_POLL_FD_READWRITE | WASI_RIGHT_FD_FDSTAT_SET_FLAGS |
                       WASI_RIGHT_FD_FILESTAT_GET,
        .rights_inheriting = wasi_rights_of_type(WASI_FILETYPE_SOCKET_STREAM, -1),
    };
    return ST_OK;
}

bool wasi_requests_open(const struct wasi *w) {
    for (uint32_t fd = 0; fd < w->capacity; fd++)
        if (w->descriptors[fd].used && w->descriptors[fd].request) return true;
    return false;
}

enum wasi_errno wasi_requests_accept(struct wasi *w, struct wasi_descriptor *d, uint32_t flags,
                                     uint8_t *ret_fd) {
    bool nonblock = d->flags & WASI_FDFLAG_NONBLOCK;
    uint32_t number = 0;
    /* A server that never blocks asks for more while it still answers: first things first. */
    if (nonblock && w->request_ready_fd >= 0 && wasi_requests_open(w)) return WASI_EAGAIN;
    enum wasi_errno e = wasi_descriptor_reserve(w, &number); /* d may have moved */
    if (e != WASI_OK) return e;
    for (uint32_t fd = 0; !nonblock && fd < w->capacity; fd++)
        if (w->descriptors[fd].used && w->descriptors[fd].request)
            shutdown(w->descriptors[fd].host_fd, SHUT_RDWR);
    int host_fd = -1;
    int error = w->next_request(w->next_request_context, nonblock, &host_fd);
    w->request_given = error == 0;
    if (error) return wasi_errno_from_host(error);
    struct wasi_descriptor accepted = {.owned = true,
                                       .request = true,
                                       .filetype = WASI_FILETYPE_SOCKET_STREAM,
                                       .host_fd = host_fd};
    if (flags & WASI_FDFLAG_NONBLOCK) {
        int host_flags = fcntl(host_fd, F_GETFL);
        if (host_flags < 0 || fcntl(host_fd, F_SETFL, host_flags | O_NONBLOCK) < 0) {
            e = wasi_errno_last();
            close(host_fd);
            return e;
        }
    }
    accepted.rights_base =
        wasi_rights_of_type(accepted.filetype, host_fd) & ~WASI_RIGHT_SOCK_ACCEPT;
    wasi_descriptor_put(w, number, &accepted);
    store_u32(ret_fd, number);
    return WASI_OK;
}
