/*
 * A tree of files on the host, and the image of it in memory that ends where an unreadable page
 * begins. What the tests of the writer, of the reader and of WASI on images share.
 */
#ifndef HUTCH_TESTS_UNIT_IMAGE_FIXTURE_H
#define HUTCH_TESTS_UNIT_IMAGE_FIXTURE_H

#include "cache/cache.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image_tree {
    char directory[64];
    int fd;
};

static inline void tree_create(struct image_tree *t) {
    snprintf(t->directory, sizeof t->directory, "/tmp/hutch-image-XXXXXX");
    CHECK(mkdtemp(t->directory));
    t->fd = open(t->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(t->fd >= 0);
}
static inline int tree_remove_entry(const char *path, const struct stat *st, int type,
                                    struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}
static inline void tree_destroy(struct image_tree *t) {
    close(t->fd);
    nftw(t->directory, tree_remove_entry, 200, FTW_DEPTH | FTW_PHYS);
}

/* size bytes that depend on the name and the place. */
static inline void tree_file(const struct image_tree *t, const char *name, size_t size) {
    int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *bytes = malloc(size + 1);
    CHECK(fd >= 0 && bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251 + (uint8_t)name[strlen(name) - 1]);
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    free(bytes);
    close(fd);
}
static inline void tree_dir(const struct image_tree *t, const char *name) {
    CHECK(mkdirat(t->fd, name, 0700) == 0);
}
static inline void tree_link(const struct image_tree *t, const char *target, const char *name) {
    CHECK(symlinkat(target, t->fd, name) == 0);
}

/* A bit of everything: sizes around a block, links of every kind, directories of several
 * blocks. */
static inline void tree_fill(const struct image_tree *t) {
    static const size_t sizes[] = {0,    1,    31,   4031, 4032, 4063, 4064,  4065,
                                   4095, 4096, 4097, 8160, 8191, 8192, 12289, 300000};
    char name[300];
    for (size_t i = 0; i < countof(sizes); i++) {
        snprintf(name, sizeof name, "size%zu", sizes[i]);
        tree_file(t, name, sizes[i]);
    }
    tree_dir(t, "empty");
    tree_dir(t, "sub");
    tree_dir(t, "sub/sub");
    tree_file(t, "sub/sub/deep", 5000);
    tree_file(t, "sub/-before-the-dots", 3);
    tree_file(t, "sub/\xff\xfe not utf-8 \x01", 9);
    tree_link(t, "size31", "link");
    tree_link(t, "sub/sub", "dirlink");
    tree_link(t, "../size1", "sub/up");
    tree_link(t, "../../x", "sub/out");
    tree_link(t, "/etc/passwd", "absolute");
    tree_link(t, "loop", "loop");
    tree_link(t, "nowhere", "dangling");
    tree_link(t, "link", "link2");
    tree_link(t, "size1/", "slashed");
    tree_dir(t, "many");
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof name, "many/%d", i * 37 % 1009);
        tree_file(t, name, (size_t)(i % 5));
    }
    tree_dir(t, "long");
    for (int i = 0; i < 40; i++) {
        memset(name, 'x', sizeof name);
        memcpy(name, "long/", 5);
        name[100 + i] = 'y';
        name[5 + 255 - i % 3] = 0;
        tree_file(t, name, 1);
    }
}

struct image_copy {
    uint8_t *mapping, *bytes;
    size_t size, mapping_bytes;
};

/* Writes the image of a tree into a memory file, whose descriptor it gives. */
static inline enum status tree_write(const struct image_tree *t, bool keep_times, int *ret_fd,
                                     struct erofs_summary *ret_summary, struct error *err) {
    struct erofs_options options = {.time_s = EROFS_TIME_DEFAULT, .keep_times = keep_times};
    auto_fd int fd = memfd_create("image", MFD_CLOEXEC);
    CHECK(fd >= 0);
    enum status status = erofs_write(t->fd, &options, fd, ret_summary, err);
    if (status == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}

/* size bytes right before a page that nobody may touch. */
static inline struct image_copy copy_create(size_t size) {
    struct image_copy c = {.size = size};
    size_t room = (size_t)align_up(size, 4096);
    c.mapping_bytes = room + 4096;
    c.mapping =
        mmap(NULL, c.mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(c.mapping != MAP_FAILED);
    CHECK(mprotect(c.mapping + room, 4096, PROT_NONE) == 0);
    c.bytes = c.mapping + room - size;
    return c;
}
static inline struct image_copy copy_of(int fd) {
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    struct image_copy c = copy_create((size_t)st.st_size);
    CHECK(pread(fd, c.bytes, c.size, 0) == (ssize_t)c.size);
    return c;
}
static inline void copy_destroy(struct image_copy *c) { munmap(c->mapping, c->mapping_bytes); }

static inline struct image_copy tree_image(const struct image_tree *t) {
    struct error err = {0};
    struct erofs_summary summary;
    auto_fd int fd = -1;
    enum status status = tree_write(t, false, &fd, &summary, &err);
    if (status != ST_OK) printf("%s\n", err.message);
    CHECK(status == ST_OK);
    return copy_of(fd);
}

#endif
