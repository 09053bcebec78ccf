/* HTTP: the environment as it was at the start and as the host has it now, and the first
 * request's path that this memory has seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wasi/api.h>

static const char *now(const char *name) {
    static char bytes[65536];
    static uint8_t *at[256];
    __wasi_size_t count, size;
    if (__wasi_environ_sizes_get(&count, &size) || count > 255 || size > sizeof bytes)
        return "?";
    if (__wasi_environ_get(at, (uint8_t *)bytes)) return "?";
    for (unsigned i = 0; i < count; i++)
        if (strncmp((char *)at[i], name, strlen(name)) == 0 && at[i][strlen(name)] == '=')
            return (char *)at[i] + strlen(name) + 1;
    return "-";
}

int main(void) {
    static char request[65536], head[200], body[2000], first[100];
    char *start = strdup(getenv("SECRET") ? getenv("SECRET") : "-");
    for (;;) {
        int fd = accept(3, NULL, NULL);
        if (fd < 0) return 1;
        size_t size = 0;
        ssize_t n;
        do {
            n = read(fd, request + size, sizeof request - 1 - size);
            if (n > 0) size += (size_t)n;
            request[size] = 0;
        } while (n > 0 && !strstr(request, "\r\n\r\n"));
        char *path = strchr(request, ' ');
        if (path) {
            path[1 + strcspn(path + 1, " ")] = 0;
            if (!first[0]) snprintf(first, sizeof first, "%s", path + 1);
            int status = strstr(path, "fail") ? 500 : 200;
            n = snprintf(body, sizeof body, "start %s, now %s, plain %s, first %s", start,
                         now("SECRET"), now("PLAIN"), first);
            size = (size_t)snprintf(head, sizeof head,
                                    "HTTP/1.1 %d X\r\nConnection: close\r\n"
                                    "Content-Length: %zd\r\n\r\n",
                                    status, n);
            write(fd, head, size);
            write(fd, body, (size_t)n);
        }
        close(fd);
    }
}
