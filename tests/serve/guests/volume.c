/* HTTP: what the path says is done on files beneath /data (a volume), and how it went is the
 * answer: "ok ..." or the errno's text. Descriptors of /keep/ stay open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char answer[1 << 20];

static int fill(int fd, long size) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    while (size > 0) {
        ssize_t n = write(fd, block, size < 65536 ? (size_t)size : sizeof block);
        if (n < 0) return -1;
        size -= n;
    }
    return 0;
}

static const char *run(const char *op, const char *a, const char *b) {
    static char text[300];
    int fd = -1, r = -1;
    struct stat st;
    if (strcmp(op, "put") == 0 || strcmp(op, "append") == 0) {
        fd = open(a, O_WRONLY | O_CREAT | (op[0] == 'p' ? O_TRUNC : O_APPEND), 0666);
        r = fd < 0 ? -1 : write(fd, b, strlen(b)) == (ssize_t)strlen(b) ? 0 : -1;
    } else if (strcmp(op, "fill") == 0) {
        fd = open(a, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        r = fd < 0 ? -1 : fill(fd, atol(b));
    } else if (strcmp(op, "keep") == 0) {
        r = open(a, O_RDWR | O_CREAT, 0666);
    } else if (strcmp(op, "truncate") == 0) {
        fd = open(a, O_RDWR | O_CREAT, 0666);
        r = fd < 0 ? -1 : ftruncate(fd, atoll(b));
    } else if (strcmp(op, "allocate") == 0) {
        fd = open(a, O_RDWR | O_CREAT, 0666);
        r = fd < 0 ? -1 : (errno = posix_fallocate(fd, 0, atoll(b))) ? -1 : 0;
    } else if (strcmp(op, "many") == 0) {
        for (int i = 0; i < atoi(b); i++) {
            snprintf(text, sizeof text, "%s%d", a, i);
            fd = open(text, O_WRONLY | O_CREAT, 0666);
            if (fd < 0) {
                snprintf(text, sizeof text, "%s at %d", strerror(errno), i);
                return text;
            }
            close(fd);
        }
        return "ok";
    } else if (strcmp(op, "open") == 0) {
        for (int i = 0; i < atoi(b); i++)
            if (open(a, O_RDONLY) < 0) {
                snprintf(text, sizeof text, "%s at %d", strerror(errno), i);
                return text;
            }
        return "ok";
    } else if (strcmp(op, "get") == 0) {
        fd = open(a, O_RDONLY);
        r = fd < 0 ? -1 : (int)read(fd, answer, sizeof answer - 1);
        if (r >= 0) {
            answer[r] = 0;
            close(fd);
            return answer;
        }
    } else if (strcmp(op, "size") == 0) {
        r = stat(a, &st);
        if (r < 0) return strerror(errno);
        snprintf(text, sizeof text, "ok %lld", (long long)st.st_size);
        return text;
    } else if (strcmp(op, "mkdir") == 0) {
        r = mkdir(a, 0777);
    } else if (strcmp(op, "rmdir") == 0) {
        r = rmdir(a);
    } else if (strcmp(op, "unlink") == 0) {
        r = unlink(a);
    } else if (strcmp(op, "symlink") == 0) {
        r = symlink(b, a);
    } else if (strcmp(op, "link") == 0) {
        r = link(b, a);
    } else if (strcmp(op, "rename") == 0) {
        r = rename(b, a);
    } else if (strcmp(op, "exit") == 0) {
        exit(0);
    } else {
        return "?";
    }
    const char *result = r < 0 ? strerror(errno) : "ok";
    if (fd >= 0) close(fd);
    return result;
}

/* "/op/name/rest": names with '!' for '/'. */
static const char *serve(char *path) {
    static char a[600], b[600];
    char *op = path + 1, *name = strchr(op, '/');
    if (!name) return "?";
    *name++ = 0;
    char *rest = strchr(name, '/');
    if (rest) *rest++ = 0;
    snprintf(a, sizeof a, "/data/%s", name);
    snprintf(b, sizeof b, strcmp(op, "link") && strcmp(op, "rename") ? "%s" : "/data/%s",
             rest ? rest : "");
    for (char *c = a; *c; c++)
        if (*c == '!') *c = '/';
    for (char *c = b; *c; c++)
        if (*c == '!') *c = '/';
    return run(op, a, b);
}

int main(void) {
    static char request[65536], head[200];
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
            const char *text = serve(path);
            size = strlen(text);
            n = snprintf(head, sizeof head,
                         "HTTP/1.1 200 OK\r\nConnection: close\r\n"
                         "Content-Length: %zu\r\n\r\n",
                         size);
            write(fd, head, (size_t)n);
            while (size) {
                n = write(fd, text, size);
                if (n <= 0) break;
                text += n;
                size -= (size_t)n;
            }
        }
        close(fd);
    }
}
