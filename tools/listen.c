/*
 * "127.0.0.1:8080", "[::1]:8080", "8080", "unix:/run/app.sock" to a listening socket.
 */
#include "tools/cli.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

static enum status listen_unix(const char *path, int *ret_fd, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof address.sun_path)
        return error_set(err, ST_USAGE, "--listen unix:%s: no path of 1 to %zu bytes", path,
                         sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0)
        return error_set_errno(err, ST_IO, "cannot listen on unix:%s", path);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status cli_listen(const char *text, int *ret_fd, struct error *err) {
    if (strncmp(text, "unix:", 5) == 0) return listen_unix(text + 5, ret_fd, err);
    char host[128] = "127.0.0.1";
    const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
    if (colon) {
        size_t length = (size_t)(colon - text);
        bool brackets = length >= 2 && text[0] == '[' && text[length - 1] == ']';
        if (brackets) text++, length -= 2;
        if (length == 0 || length >= sizeof host)
            return error_set(err, ST_USAGE, "--listen %s: give ADDRESS:PORT", text);
        memcpy(host, text, length);
        host[length] = '\0';
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    int result = *port ? getaddrinfo(host, port, &hints, &found) : EAI_SERVICE;
    if (result != 0)
        return error_set(err, ST_USAGE,
                         "--listen: give a numeric ADDRESS:PORT, PORT or "
                         "unix:PATH");
    auto_fd int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                 bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    freeaddrinfo(found);
    if (!bound) return error_set_errno(err, ST_IO, "cannot listen on %s port %s", host, port);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}
