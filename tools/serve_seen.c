/*
 * What one reading of the apps has made of files and directories so far: of a module its
 * object, of a directory its image. Five hundred apps on one module and the same directories
 * hash and compile it, and make the images, once; every further app gets another descriptor of
 * the same file.
 *
 * Known again by path, and by what stat(2) says of it. What lies beneath a directory is taken
 * as it was when the first app asked; the next reading looks again.
 */
#include "tools/serve_cli.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct kit_seen {
    struct kit_seen *next;
    enum serve_seen_kind kind;
    struct stat st;
    int fd;
    char path[];
};

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool serve_seen_find(const struct kit_maker *m, enum serve_seen_kind kind, const char *path,
                     struct stat *ret_st, int *ret_fd) {
    if (stat(path, ret_st) != 0) *ret_st = (struct stat){0};
    for (const struct kit_seen *s = m->seen; s; s = s->next) {
        if (s->kind != kind || strcmp(s->path, path) != 0 || !same_file(&s->st, ret_st))
            continue;
        int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0) return false;
        *ret_fd = fd;
        return true;
    }
    return false;
}

/* Where it cannot be kept, it is made again. */
void serve_seen_keep(struct kit_maker *m, enum serve_seen_kind kind, const char *path,
                     const struct stat *st, int fd) {
    size_t size = strlen(path) + 1;
    if (st->st_ino == 0) return; /* it was not there */
    struct kit_seen *s = malloc(sizeof *s + size);
    int copy = s ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (copy < 0) {
        free(s);
        return;
    }
    *s = (struct kit_seen){.next = m->seen, .kind = kind, .st = *st, .fd = copy};
    memcpy(s->path, path, size);
    m->seen = s;
}

void serve_seen_forget(void *context) {
    struct kit_maker *m = context;
    while (m->seen) {
        struct kit_seen *s = m->seen;
        m->seen = s->next;
        close(s->fd);
        free(s);
    }
}
