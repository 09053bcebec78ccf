/*
 * Connections of HTTP/1.1 clients. One struct a connection; it frees itself when it ends.
 */
#ifndef HUTCH_SERVE_HTTP_SERVER_H
#define HUTCH_SERVE_HTTP_SERVER_H

#include "serve/exchange.h"

#include <sys/socket.h>
#include <sys/time.h>

struct http_timeouts {
    struct timeval head;  /* a whole head, from its first byte (or the connection's start) */
    struct timeval body;  /* without a byte of a body that is still to come */
    struct timeval write; /* without a byte taken of what is to be sent */
    struct timeval idle;  /* between requests */
};

/* Takes fd over. */
void http_server_accept(struct front *front, evutil_socket_t fd, const struct sockaddr *peer,
                        socklen_t peer_size);
/* Closes connections that wait for a request, and the others after their answer. */
void http_server_drain(struct front *front);

#endif
