/* As little of FastCGI as will do: one request a connection, PATH_INFO found by its bytes. */
#include "modes.h"
#include <sys/socket.h>

static unsigned char bytes[70000];

static int fill(int fd, size_t size) {
    size_t at = 0;
    while (at < size) {
        ssize_t n = read(fd, bytes + at, size - at);
        if (n <= 0) return 0;
        at += (size_t)n;
    }
    return 1;
}

static void put(int fd, int type, const char *content, size_t size) {
    static unsigned char out[5000];
    unsigned char head[8] = {
        1, (unsigned char)type, 0, 1, (unsigned char)(size >> 8), (unsigned char)size, 0, 0};
    memcpy(out, head, 8);
    memcpy(out + 8, content, size);
    for (size_t at = 0; at < size + 8;) {
        ssize_t n = write(fd, out + at, size + 8 - at);
        if (n <= 0) return;
        at += (size_t)n;
    }
}

int main(void) {
    static char answer[4096], path[200];
    for (;;) {
        int fd = accept(0, NULL, NULL);
        if (fd < 0) return 1;
        strcpy(path, "/");
        for (;;) {
            if (!fill(fd, 8)) break;
            int type = bytes[1];
            size_t size = (size_t)(bytes[4] << 8 | bytes[5]), padding = bytes[6];
            if (!fill(fd, size + padding)) break;
            for (size_t i = 0; type == 4 && i + 11 < size; i++)
                if (memcmp(bytes + i, "\x09", 1) == 0 &&
                    memcmp(bytes + i + 2, "PATH_INFO", 9) == 0) {
                    size_t length = bytes[i + 1];
                    memcpy(path, bytes + i + 11, length);
                    path[length] = 0;
                }
            if (type != 5 || size) continue;
            static const char head[] = "Content-Type: text/plain\r\n\r\n";
            size = serve(path, answer, sizeof answer);
            put(fd, 6, head, sizeof head - 1);
            if (size) put(fd, 6, answer, size);
            put(fd, 3, "\0\0\0\0\0\0\0", 8);
            break;
        }
        close(fd);
    }
}
