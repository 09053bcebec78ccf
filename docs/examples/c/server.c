/* Accepts connections on descriptor 3, one request each, and answers. LISTEN_FDS says so. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENING 3

int main(void) {
    char request[8192], answer[256], body[64];
    for (unsigned long count = 1;; count++) {
        int fd = accept(LISTENING, NULL, NULL);
        if (fd < 0) {
            perror("accept");
            return 1;
        }
        size_t size = 0;
        ssize_t n = 0;
        do {
            n = read(fd, request + size, sizeof request - 1 - size);
            size += n > 0 ? (size_t)n : 0;
            request[size] = 0;
        } while (n > 0 && !strstr(request, "\r\n\r\n") && size < sizeof request - 1);
        int body_size = snprintf(body, sizeof body, "request %lu\n", count);
        int answer_size = snprintf(answer, sizeof answer,
                                   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                   "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                                   body_size, body);
        for (int at = 0; at < answer_size; at += (int)n) {
            n = write(fd, answer + at, (size_t)(answer_size - at));
            if (n <= 0) break;
        }
        close(fd);
    }
}
