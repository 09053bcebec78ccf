/*
 * Listening sockets: addresses as an operator writes them, and systemd's.
 *
 *     8080, :8080            all addresses, IPv6 and IPv4
 *     127.0.0.1:8080, [::1]:8080, localhost:8080
 *     unix:/run/hutch.sock, /run/hutch.sock
 */
#ifndef HUTCH_SERVE_LISTEN_H
#define HUTCH_SERVE_LISTEN_H

#include "base/base.h"

enum listen_kind {
    LISTEN_HTTP,
    LISTEN_FASTCGI,
    LISTEN_ADMIN
};
struct listen_socket {
    enum listen_kind kind;
    int fd;           /* close-on-exec, non-blocking */
    char name[160];   /* "127.0.0.1:8080", with the port that it got; "unix:/run/..." */
    char unlink[108]; /* a path of ours, to be removed at the end; or "" */
};
#define LISTEN_MAX 64u
struct listen_sockets {
    struct listen_socket at[LISTEN_MAX];
    uint32_t count;
};
/* ST_USAGE for what is no address, ST_IO. */
enum status listen_open(struct listen_sockets *sockets, enum listen_kind kind,
                        const char *address, struct error *err) must_check;
/* Sockets that systemd passed (sd_listen_fds(3)): one named "fastcgi" or "admin"
 * (FileDescriptorName=) is for that, the others are HTTP. */
enum status listen_inherit(struct listen_sockets *sockets, struct error *err) must_check;
/* Closes; unlink: also removes paths. */
void listen_close(struct listen_sockets *sockets, bool remove_paths);

#endif
