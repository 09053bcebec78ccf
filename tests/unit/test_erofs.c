/*
 * The image writer: what it writes is read back by the reader and compared with the tree; the
 * same files give the same bytes; what cannot be in an image is refused by name. The check with
 * fsck.erofs is in tests/integration/test_image.py.
 */
#include "tests/unit/image_fixture.h"
#include "tests/unit/test.h"

#include <errno.h>

/* ---- against the tree -------------------------------------------------------------------- */

static uint64_t compared;

static void compare_file(const struct image_node *node, int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint8_t *bytes = malloc((size_t)node->size_bytes + 1);
    CHECK(fd >= 0 && bytes);
    EXPECT(read(fd, bytes, (size_t)node->size_bytes + 1) == (ssize_t)node->size_bytes);
    for (uint64_t at = 0, size = 0; at < node->size_bytes; at += size) {
        const uint8_t *piece = image_data(node, at, &size);
        bool same = piece && memcmp(piece, bytes + at, size) == 0;
        EXPECT(same);
        if (!same) break;
    }
    free(bytes);
    close(fd);
}

static void compare_node(const struct image *image, uint64_t number, int dir_fd,
                         const char *name) {
    struct image_node node;
    struct stat st;
    EXPECT(image_node(image, number, &node) == IMAGE_OK);
    EXPECT(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
    EXPECT(node.mtime_s == EROFS_TIME_DEFAULT && node.mtime_ns == 0);
    compared++;
    if (S_ISREG(st.st_mode)) {
        EXPECT(node.type == IMAGE_FILE && node.size_bytes == (uint64_t)st.st_size);
        EXPECT(node.mode == (st.st_mode & S_IXUSR ? 0755 : 0644) && node.links == 1);
        compare_file(&node, dir_fd, name);
    } else if (S_ISLNK(st.st_mode)) {
        char target[4096];
        uint64_t size = 0;
        ssize_t length = readlinkat(dir_fd, name, target, sizeof target);
        const uint8_t *bytes = image_data(&node, 0, &size);
        EXPECT(node.type == IMAGE_SYMLINK && length > 0 && size == (uint64_t)length);
        EXPECT(bytes && memcmp(bytes, target, size) == 0);
    } else {
        EXPECT(node.type == IMAGE_DIRECTORY && node.mode == 0755);
        EXPECT(node.links == st.st_nlink);
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(fd >= 0);
        struct image_entry entry;
        for (uint64_t at = 0; image_entry_at(image, &node, at, &entry) == IMAGE_OK;
             at = entry.next) {
            char child[256] = {0};
            memcpy(child, entry.name, entry.name_length);
            if (strcmp(child, ".") && strcmp(child, ".."))
                compare_node(image, entry.number, fd, child);
        }
        close(fd);
    }
}

static void test_tree(void) {
    struct image_tree tree;
    struct error err = {0};
    struct image image;
    tree_create(&tree);
    tree_fill(&tree);
    struct erofs_summary s = {0};
    int fd = -1;
    EXPECT(tree_write(&tree, false, &fd, &s, &err) == ST_OK);
    struct image_copy copy = copy_of(fd);
    close(fd);
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK);
    EXPECT(image_check(&image, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    compare_node(&image, image.root, tree.fd, ".");
    EXPECT(compared == image.inode_count && compared == s.files + s.directories + s.symlinks);
    EXPECT(s.files == 16 + 3 + 700 + 40 && s.directories == 6 && s.symlinks == 9);
    EXPECT(s.image_bytes == copy.size);
    /* Packed: not more than the files and a twentieth, in spite of 700 tiny ones. */
    EXPECT(s.image_bytes < s.file_bytes + s.file_bytes / 20 + 65536);
    copy_destroy(&copy);
    tree_destroy(&tree);
}

/* ---- the same bytes ---------------------------------------------------------------------- */

static bool same_bytes(const struct image_copy *a, const struct image_copy *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static void test_reproducible(void) {
    struct image_tree one, two;
    tree_create(&one);
    tree_create(&two);
    tree_fill(&one);
    /* Other order, permissions, times, and names that came and went. */
    tree_dir(&two, "sub");
    tree_file(&two, "zzz", 100);
    CHECK(unlinkat(two.fd, "zzz", 0) == 0 && unlinkat(two.fd, "sub", AT_REMOVEDIR) == 0);
    tree_fill(&two);
    struct timespec times[2] = {{1000000000, 5}, {1000000000, 5}};
    CHECK(utimensat(two.fd, "size1", times, 0) == 0 && fchmodat(two.fd, "size1", 0640, 0) == 0);
    CHECK(fchmodat(two.fd, "sub", 0777, 0) == 0);
    struct image_copy a = tree_image(&one), b = tree_image(&two), again = tree_image(&one);
    EXPECT(same_bytes(&a, &b));
    EXPECT(same_bytes(&a, &again));
    copy_destroy(&b);
    /* And other bytes for what is no longer the same. */
    CHECK(fchmodat(two.fd, "size1", 0740, 0) == 0);
    b = tree_image(&two);
    EXPECT(!same_bytes(&a, &b));
    struct image first, second;
    struct error err = {0};
    EXPECT(image_open(a.bytes, a.size, &first, &err) == ST_OK);
    EXPECT(image_open(b.bytes, b.size, &second, &err) == ST_OK);
    EXPECT(first.id != second.id);
    copy_destroy(&a);
    copy_destroy(&b);
    copy_destroy(&again);
    tree_destroy(&one);
    tree_destroy(&two);
}

static void test_times(void) {
    struct image_tree tree;
    struct error err = {0};
    struct erofs_summary s;
    struct image image;
    struct image_node node;
    int fd = -1;
    tree_create(&tree);
    tree_file(&tree, "a", 5000);
    struct timespec times[2] = {{1, 0}, {1234567890, 987654321}};
    CHECK(utimensat(tree.fd, "a", times, 0) == 0);
    EXPECT(tree_write(&tree, true, &fd, &s, &err) == ST_OK);
    struct image_copy copy = copy_of(fd);
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK);
    EXPECT(image_check(&image, &err) == ST_OK);
    EXPECT(image_walk(&image, image.root, "a", true, &node) == IMAGE_OK);
    EXPECT(node.mtime_s == 1234567890 && node.mtime_ns == 987654321);
    close(fd);
    copy_destroy(&copy);
    tree_destroy(&tree);
}

/* ---- what is refused --------------------------------------------------------------------- */

static void test_refused(void) {
    struct image_tree tree;
    struct error err = {0};
    struct erofs_summary s;
    int fd = -1;
    tree_create(&tree);
    tree_dir(&tree, "sub");
    CHECK(mkfifoat(tree.fd, "sub/pipe", 0600) == 0);
    EXPECT(tree_write(&tree, false, &fd, &s, &err) == ST_UNSUPPORTED);
    EXPECT_STR(err.message,
               "sub/pipe: an image holds files, directories and symbolic links, not pipes");
    CHECK(unlinkat(tree.fd, "sub/pipe", 0) == 0);
    EXPECT(tree_write(&tree, false, &fd, &s, &err) == ST_OK);
    close(fd);
    fd = -1;

    /* As deep as a reader goes, and one deeper. */
    int at = dup(tree.fd);
    for (unsigned i = 0; i < IMAGE_MAX_DEPTH; i++) {
        CHECK(mkdirat(at, "d", 0700) == 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
    }
    EXPECT(tree_write(&tree, false, &fd, &s, &err) == ST_OK);
    struct image_copy copy = copy_of(fd);
    struct image image;
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK);
    EXPECT(image_check(&image, &err) == ST_OK);
    close(fd);
    copy_destroy(&copy);
    fd = -1;
    CHECK(mkdirat(at, "d", 0700) == 0);
    EXPECT(tree_write(&tree, false, &fd, &s, &err) == ST_LIMIT);
    close(at);

    /* A descriptor that cannot be written. */
    int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct erofs_options options = {0};
    struct image_tree small;
    tree_create(&small);
    EXPECT(erofs_write(small.fd, &options, read_only, &s, &err) == ST_IO);
    close(read_only);
    tree_destroy(&small);
    tree_destroy(&tree);
}

/* A hard link becomes a file of its own, and an empty tree is an image too. */
static void test_corners(void) {
    struct image_tree tree;
    struct error err = {0};
    struct image image;
    struct image_node a, b;
    tree_create(&tree);
    struct image_copy copy = tree_image(&tree);
    EXPECT(copy.size == 4096);
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK && image.inode_count == 1);
    EXPECT(image_check(&image, &err) == ST_OK);
    copy_destroy(&copy);
    tree_file(&tree, "a", 10);
    CHECK(linkat(tree.fd, "a", tree.fd, "b", 0) == 0);
    copy = tree_image(&tree);
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK);
    EXPECT(image_walk(&image, image.root, "a", true, &a) == IMAGE_OK);
    EXPECT(image_walk(&image, image.root, "b", true, &b) == IMAGE_OK);
    EXPECT(a.number != b.number && a.links == 1 && b.size_bytes == 10);
    copy_destroy(&copy);
    tree_destroy(&tree);
}

int main(void) {
    test_tree();
    test_reproducible();
    test_times();
    test_refused();
    test_corners();
    return test_end();
}
