/*
 * Addresses to listening sockets. See listen.h.
 */
#include "serve/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static enum status add(struct listen_sockets *s, enum listen_kind kind, int fd,
                       const char *name, const char *path, struct error *err) {
    if (s->count == LISTEN_MAX) {
        close(fd);
        return error_set(err, ST_LIMIT, "more than %u sockets to listen on", LISTEN_MAX);
    }
    struct listen_socket *l = &s->at[s->count++];
    *l = (struct listen_socket){.kind = kind, .fd = fd};
    snprintf(l->name, sizeof l->name, "%s", name);
    snprintf(l->unlink, sizeof l->unlink, "%s", path);
    return ST_OK;
}

/* Whether somebody still listens there: a socket left by a server that was killed is removed.
 */
static bool is_alive(const struct sockaddr_un *address) {
    auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return true;
    return connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
           errno != ECONNREFUSED;
}

static enum status open_unix(struct listen_sockets *s, enum listen_kind kind, const char *path,
                             struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    char name[160];
    if (!*path || strlen(path) >= sizeof address.sun_path)
        return error_set(err, ST_USAGE, "%s: a socket's path has 1 to 107 bytes", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot make a socket");
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (is_alive(&address))
            return error_set(err, ST_IO, "%s: another server listens there", path);
        unlink(path);
    }
    /* who may connect is settled before anybody can */
    mode_t before = umask(0117);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(before);
    if (bound < 0 || listen(fd, BACKLOG) < 0)
        return error_set_errno(err, ST_IO, "cannot listen on %s", path);
    snprintf(name, sizeof name, "unix:%s", path);
    return add(s, kind, steal_fd(&fd), name, path, err);
}

static void name_socket(int fd, char *name, size_t size) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char host[64], port[8];
    snprintf(name, size, "?");
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return;
    if (address.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const void *)&address;
        snprintf(name, size, "unix:%s", un->sun_path);
        return;
    }
    if (getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(name, size, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static enum status open_address(struct listen_sockets *s, enum listen_kind kind,
                                const struct addrinfo *a, bool any, const char *text,
                                struct error *err) {
    int on = 1, off = 0;
    char name[160];
    auto_fd int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot listen on %s", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return error_set_errno(err, ST_IO, "cannot listen on %s", text);
    name_socket(fd, name, sizeof name);
    return add(s, kind, steal_fd(&fd), name, "", err);
}

enum status listen_open(struct listen_sockets *s, enum listen_kind kind, const char *text,
                        struct error *err) {
    if (strncmp(text, "unix:", 5) == 0) return open_unix(s, kind, text + 5, err);
    if (text[0] == '/') return open_unix(s, kind, text, err);
    char host[256] = "";
    const char *port = text, *colon = strrchr(text, ':');
    if (colon) {
        size_t length = (size_t)(colon - text);
        const char *from = text;
        if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
            from++;
            length -= 2;
        }
        if (length >= sizeof host) return error_set(err, ST_USAGE, "%s: no address", text);
        memcpy(host, from, length);
        host[length] = '\0';
        port = colon + 1;
    }
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    if (port[0] < '0' || port[0] > '9' || *end || number > 65535)
        return error_set(err, ST_USAGE,
                         "%s: no address to listen on; HOST:PORT, PORT or unix:/PATH", text);
    bool any = !host[0];
    struct addrinfo hints = {.ai_family = any ? AF_INET6 : AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(any ? NULL : host, port, &hints, &found);
    if (code != 0) return error_set(err, ST_USAGE, "%s: %s", text, gai_strerror(code));
    enum status status = open_address(s, kind, found, any, text, err);
    if (status != ST_OK && any) { /* a machine without IPv6 */
        freeaddrinfo(found);
        found = NULL;
        hints.ai_family = AF_INET;
        if (getaddrinfo(NULL, port, &hints, &found) == 0)
            status = open_address(s, kind, found, any, text, err);
    }
    if (found) freeaddrinfo(found);
    return status;
}

enum status listen_inherit(struct listen_sockets *s, struct error *err) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    if (!pid || !count || strtol(pid, NULL, 10) != getpid()) return ST_OK;
    long n = strtol(count, NULL, 10);
    for (int fd = 3; n > 0 && fd < 3 + n; fd++) {
        char name[160], kind[64] = "";
        int listening = 0;
        socklen_t size = sizeof listening;
        size_t length = names ? strcspn(names, ":") : 0;
        if (names) {
            snprintf(kind, sizeof kind, "%.*s", (int)(length < 63 ? length : 63), names);
            names += length + (names[length] == ':');
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
            return error_set(err, ST_USAGE,
                             "descriptor %d of systemd is no listening socket; Accept=no and "
                             "ListenStream= are needed",
                             fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        name_socket(fd, name, sizeof name);
        enum status status = add(s,
                                 strcmp(kind, "fastcgi") == 0 ? LISTEN_FASTCGI
                                 : strcmp(kind, "admin") == 0 ? LISTEN_ADMIN
                                                              : LISTEN_HTTP,
                                 fd, name, "", err);
        if (status != ST_OK) return status;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return ST_OK;
}

void listen_close(struct listen_sockets *s, bool remove_paths) {
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->at[i].fd >= 0) close(s->at[i].fd);
        s->at[i].fd = -1;
        if (remove_paths && s->at[i].unlink[0]) unlink(s->at[i].unlink);
    }
}
