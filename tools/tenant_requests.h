/*
 * Where a program that is not served gets its requests from: connections of a listening socket
 * (`hutch run --listen`), or whoever makes a snapshot of it (`hutch snapshot create`), who
 * sends them over a control socket, one SOCK_SEQPACKET message each:
 *
 *     tenant: 'N'          it waits for a request
 *     maker:  'R' + fd     here is one: a stream socket
 *             'S' + fd     write a snapshot of yourself to this empty file
 *             'W' + fd     write to this empty file what has been touched since the resume
 *     tenant: 'K'          done (answers S and W)
 *             'E' message  it cannot be done
 *
 * The maker ends the tenant by closing the socket.
 */
#ifndef HUTCH_TOOLS_TENANT_REQUESTS_H
#define HUTCH_TOOLS_TENANT_REQUESTS_H

#include "loader/tenant_config.h"
#include "runtime/runtime.h"

#include <sys/types.h>

struct requests {
    const struct tenant_config *config;
    struct instance *instance;
    struct wasi *wasi;
    struct snapshot *snapshot; /* resumed from; or NULL */
    bool running;              /* the program's main function has been called */
    bool answered;             /* a request was given out since the start or the last reset */
};

/* One message and the descriptor beside it, or -1. 0 at the end. */
ssize_t requests_receive(int socket, void *ret_bytes, size_t size_bytes, int *ret_fd);
/* Answers S and W until the maker closes the socket, which ends the process. */
_Noreturn void requests_obey(const struct requests *requests);
/* A wasi_next_request; context is a struct requests. */
int requests_next(void *context, bool nonblock, int *ret_fd);

#endif
