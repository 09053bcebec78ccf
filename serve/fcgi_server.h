/*
 * Connections of web servers that speak FastCGI to us (nginx, Caddy, Apache): the front is
 * their application. One request at a time on a connection, as all of them do it. The variables
 * are believed: where a client comes from, whether it used TLS. Who may connect is up to the
 * listening socket (a Unix socket, loopback).
 */
#ifndef HUTCH_SERVE_FCGI_SERVER_H
#define HUTCH_SERVE_FCGI_SERVER_H

#include "serve/exchange.h"

void fcgi_server_accept(struct front *front, evutil_socket_t fd); /* takes fd over */
void fcgi_server_drain(struct front *front);

/* ---- fcgi_params.c ---- */
/* What a web server's variables say. Strings are owned by text. */
struct fcgi_params {
    struct buffer text; /* all strings, terminated */
    struct http_request request;
    const char *remote_address, *remote_port, *server_address, *server_port;
    bool https;
    bool has_length; /* CONTENT_LENGTH is given */
};
/* Reads the content of PARAMS. Returns 0, or the HTTP status to refuse it with; finish it
 * either way. The request's framing is that of the variables. */
int fcgi_params_read(const uint8_t *bytes, size_t size, struct fcgi_params *ret_params,
                     const char **ret_reason);
void fcgi_params_finish(struct fcgi_params *params);

#endif
