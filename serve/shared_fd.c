/*
 * A table by descriptor number of what is shared, and chains through it by what the files are.
 * Where memory is short a descriptor is not shared, and all goes on.
 */
#include "serve/shared_fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    dev_t device;
    ino_t inode;
    int flags; /* as it was opened */
};
struct shared {
    uint32_t users; /* 0: this number is not shared */
    int next;       /* in its chain; -1: the last */
    struct file file;
};
static struct shared *table; /* by descriptor */
static int *heads;           /* of chains; as many as the table has places */
static int capacity;         /* of both, a power of 2; 0 at first */

static uint32_t chain_of(const struct file *f) {
    uint64_t mixed = (uint64_t)f->inode * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)f->device;
    return (uint32_t)(mixed >> 32) & (uint32_t)(capacity - 1);
}

static void link_up(int fd) {
    int *head = &heads[chain_of(&table[fd].file)];
    table[fd].next = *head;
    *head = fd;
}

static bool make_room(int fd) {
    if (fd < capacity) return true;
    int wanted = capacity ? capacity : 64;
    while (wanted <= fd) wanted *= 2;
    struct shared *more = realloc(table, (size_t)wanted * sizeof *more);
    if (more) table = more;
    int *chains = more ? realloc(heads, (size_t)wanted * sizeof *chains) : NULL;
    if (!chains) return false;
    heads = chains;
    memset(table + capacity, 0, (size_t)(wanted - capacity) * sizeof *table);
    capacity = wanted;
    for (int i = 0; i < capacity; i++) heads[i] = -1;
    for (int i = 0; i < capacity; i++)
        if (table[i].users) link_up(i);
    return true;
}

static bool is_shared(int fd) { return fd >= 0 && fd < capacity && table[fd].users > 0; }

/* Whether it is a file that can be shared; *ret_found is the descriptor that is, or -1. */
static bool look_up(int fd, struct file *ret_file, int *ret_found) {
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    *ret_found = -1;
    if (flags < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    *ret_file = (struct file){st.st_dev, st.st_ino, flags};
    for (int i = capacity ? heads[chain_of(ret_file)] : -1; i >= 0; i = table[i].next) {
        const struct file *f = &table[i].file;
        if (f->device == st.st_dev && f->inode == st.st_ino && f->flags == flags) {
            *ret_found = i;
            break;
        }
    }
    return true;
}

static void share(int fd, const struct file *file) {
    if (!make_room(fd)) return;
    table[fd] = (struct shared){.users = 1, .file = *file};
    link_up(fd);
}

int shared_fd_take(int fd) {
    struct file file;
    int found;
    if (fd < 0 || !look_up(fd, &file, &found)) return fd;
    if (found < 0) {
        share(fd, &file);
        return fd;
    }
    CHECK(found != fd); /* it was taken before */
    table[found].users++;
    close(fd);
    return found;
}

int shared_fd_copy(int fd) {
    struct file file;
    int found = fd;
    bool can = is_shared(fd) || look_up(fd, &file, &found);
    if (can && found >= 0) {
        table[found].users++;
        return found;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0 && can) share(copy, &file);
    return copy;
}

void shared_fd_release(int fd) {
    if (is_shared(fd)) {
        if (--table[fd].users) return;
        int *link = &heads[chain_of(&table[fd].file)];
        while (*link != fd) link = &table[*link].next;
        *link = table[fd].next;
    }
    if (fd >= 0) close(fd);
}
