#include "modes.h"
#include <sys/socket.h>

static void put(int fd, const char *bytes, size_t size) {
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n <= 0) return;
        bytes += n;
        size -= (size_t)n;
    }
}

int main(void) {
    static char request[65536], answer[4096], head[200];
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
            path++;
            path[strcspn(path, " ?")] = 0;
            size = serve(path, answer, sizeof answer);
            n = snprintf(head, sizeof head,
                         "HTTP/1.1 200 OK\r\nConnection: close\r\n"
                         "Content-Type: text/plain\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         size);
            put(fd, head, (size_t)n);
            put(fd, answer, size);
        }
        close(fd);
        if (path && strncmp(path, "/linger/", 8) == 0) usleep((useconds_t)atol(path + 8));
    }
}
