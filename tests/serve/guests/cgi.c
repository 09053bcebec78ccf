#include "modes.h"

int main(void) {
    static char answer[4096], body[65536];
    const char *path = getenv("PATH_INFO");
    if (path && strcmp(path, "/echo") == 0) {
        printf("Content-Type: text/plain\r\n\r\n");
        for (size_t n; (n = fread(body, 1, sizeof body, stdin)) > 0;)
            fwrite(body, 1, n, stdout);
        return 0;
    }
    if (path && strcmp(path, "/env") == 0) {
        extern char **environ;
        printf("Content-Type: text/plain\r\n\r\n");
        for (char **e = environ; *e; e++) puts(*e);
        return 0;
    }
    size_t size = serve(path ? path : "/", answer, sizeof answer);
    printf("Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
    fwrite(answer, 1, size, stdout);
    return 0;
}
