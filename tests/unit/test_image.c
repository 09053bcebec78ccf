/*
 * The image reader: names found and not found, paths and their ways out, and images that were
 * cut off or changed, byte by byte. An image lies right before an unreadable page here.
 */
#include "tests/unit/image_fixture.h"
#include "tests/unit/image_touch.h"
#include "tests/unit/test.h"

#include <time.h>

static struct image_tree tree;
static struct image_copy copy;
static struct image image;

static enum image_result walk(const char *path, bool follow, struct image_node *ret) {
    return image_walk(&image, image.root, path, follow, ret);
}

#define EXPECT_WALK(path, follow, expected)                                                    \
    do {                                                                                       \
        struct image_node node_;                                                               \
        enum image_result actual_ = walk(path, follow, &node_);                                \
        if (actual_ == (expected)) {                                                           \
            test_passed++;                                                                     \
        } else {                                                                               \
            test_failed++;                                                                     \
            printf("%s:%d: %.60s: %d, expected %d\n", __FILE__, __LINE__, path, (int)actual_,  \
                   (int)(expected));                                                           \
        }                                                                                      \
    } while (0)

/* ---- names ------------------------------------------------------------------------------- */

static void test_names(void) {
    struct image_node many;
    uint64_t number = 0;
    EXPECT(walk("many", true, &many) == IMAGE_OK && many.size_bytes > 2 * 4096);
    int found = 0;
    for (int i = 0; i < 1009; i++) {
        char name[16];
        int length = snprintf(name, sizeof name, "%d", i);
        enum image_result result = image_find(&image, &many, name, (size_t)length, &number);
        bool there = faccessat(tree.fd, "many", F_OK, 0) == 0;
        char path[32];
        snprintf(path, sizeof path, "many/%d", i);
        there = there && faccessat(tree.fd, path, F_OK, 0) == 0;
        EXPECT(result == (there ? IMAGE_OK : IMAGE_ABSENT));
        found += result == IMAGE_OK;
        /* Neighbours of a name that are none. */
        EXPECT(image_find(&image, &many, path, strlen(path), &number) == IMAGE_ABSENT);
        name[length] = 1;
        EXPECT(image_find(&image, &many, name, (size_t)length + 1, &number) == IMAGE_ABSENT);
    }
    EXPECT(found == 700);
    EXPECT(image_find(&image, &many, "", 0, &number) == IMAGE_ABSENT);
    EXPECT(image_find(&image, &many, "\xff", 1, &number) == IMAGE_ABSENT);
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    EXPECT(image_find(&image, &many, long_name, 255, &number) == IMAGE_ABSENT);
    EXPECT(image_find(&image, &many, long_name, 256, &number) == IMAGE_TOO_LONG);
}

static void test_entries(void) {
    struct image_node sub, many;
    struct image_entry entry;
    EXPECT(walk("sub", true, &sub) == IMAGE_OK && walk("many", true, &many) == IMAGE_OK);
    EXPECT(image_entry_at(&image, &sub, 0, &entry) == IMAGE_OK);
    EXPECT(entry.name_length == 16 && entry.name[0] == '-'); /* sorted before the dots */
    uint64_t count = 0;
    for (uint64_t at = 0; image_entry_at(&image, &many, at, &entry) == IMAGE_OK;
         at = entry.next)
        count++;
    EXPECT(count == 702);
    /* Positions that are none. */
    EXPECT(image_entry_at(&image, &many, 1, &entry) == IMAGE_INVALID);
    EXPECT(image_entry_at(&image, &many, 4092, &entry) == IMAGE_INVALID);
    EXPECT(image_entry_at(&image, &many, 4096 - 4, &entry) == IMAGE_INVALID);
    EXPECT(image_entry_at(&image, &many, UINT64_MAX, &entry) == IMAGE_ABSENT);
    EXPECT(image_entry_at(&image, &many, many.size_bytes, &entry) == IMAGE_ABSENT);
}

/* ---- paths ------------------------------------------------------------------------------- */

static void test_paths(void) {
    struct image_node node;
    EXPECT(walk(".", true, &node) == IMAGE_OK && node.number == image.root);
    EXPECT(walk("sub/..", true, &node) == IMAGE_OK && node.number == image.root);
    EXPECT(walk("./sub//sub/./../sub/deep", true, &node) == IMAGE_OK &&
           node.size_bytes == 5000);
    EXPECT(walk("dirlink/deep", false, &node) == IMAGE_OK && node.size_bytes == 5000);
    EXPECT(walk("dirlink/../../size31", false, &node) == IMAGE_OK && node.size_bytes == 31);
    EXPECT(walk("link", true, &node) == IMAGE_OK && node.size_bytes == 31);
    EXPECT(walk("link2", true, &node) == IMAGE_OK && node.size_bytes == 31);
    EXPECT(walk("link", false, &node) == IMAGE_OK && node.type == IMAGE_SYMLINK);
    EXPECT(walk("sub/up", true, &node) == IMAGE_OK && node.size_bytes == 1);
    EXPECT(walk("dirlink/", false, &node) == IMAGE_OK && node.type == IMAGE_DIRECTORY);

    EXPECT_WALK("", true, IMAGE_ABSENT);
    EXPECT_WALK("nothing", true, IMAGE_ABSENT);
    EXPECT_WALK("nothing/x", true, IMAGE_ABSENT);
    EXPECT_WALK("dangling", true, IMAGE_ABSENT);
    EXPECT_WALK("dangling", false, IMAGE_OK);
    EXPECT_WALK("..", true, IMAGE_ESCAPES);
    EXPECT_WALK("sub/../..", true, IMAGE_ESCAPES);
    EXPECT_WALK("sub/../../size1", true, IMAGE_ESCAPES);
    EXPECT_WALK("/size1", true, IMAGE_ESCAPES);
    EXPECT_WALK("absolute", true, IMAGE_ESCAPES);
    EXPECT_WALK("absolute", false, IMAGE_OK);
    EXPECT_WALK("absolute/", false, IMAGE_ESCAPES);
    EXPECT_WALK("sub/out", true, IMAGE_ESCAPES);
    EXPECT_WALK("loop", true, IMAGE_LOOPS);
    EXPECT_WALK("loop", false, IMAGE_OK);
    EXPECT_WALK("size1/x", true, IMAGE_NOT_DIRECTORY);
    EXPECT_WALK("size1/", true, IMAGE_NOT_DIRECTORY);
    EXPECT_WALK("size1/.", true, IMAGE_NOT_DIRECTORY);
    EXPECT_WALK("size1/..", true, IMAGE_NOT_DIRECTORY);
    EXPECT_WALK("slashed", true, IMAGE_NOT_DIRECTORY);
    /* Beneath a directory that is not the root. */
    EXPECT(walk("sub", true, &node) == IMAGE_OK);
    uint64_t sub = node.number;
    EXPECT(image_walk(&image, sub, "sub/deep", true, &node) == IMAGE_OK);
    EXPECT(image_walk(&image, sub, "..", true, &node) == IMAGE_ESCAPES);
    EXPECT(image_walk(&image, sub, "up", true, &node) == IMAGE_ESCAPES);
    char path[5000];
    memset(path, 'x', sizeof path);
    path[300] = 0;
    EXPECT_WALK(path, true, IMAGE_TOO_LONG);
    /* A path that would grow beyond what one may be, through links. */
    for (size_t i = 0; i < 4093; i += 2) memcpy(path + i, "./", 3);
    memcpy(path, "link/", 5);
    EXPECT_WALK(path, true, IMAGE_TOO_LONG);
}

/* ---- damage ------------------------------------------------------------------------------ */

static double seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Opens, checks and reads through whatever this has become. */
static bool try_bytes(const uint8_t *bytes, size_t size) {
    struct image damaged;
    struct error err = {0};
    static volatile uint64_t sink;
    if (image_open(bytes, size, &damaged, &err) != ST_OK) {
        EXPECT(err.message[0] && err.status != ST_INTERNAL);
        return false;
    }
    enum status status = image_check(&damaged, &err);
    if (status != ST_OK && status != ST_DAMAGED && status != ST_LIMIT) EXPECT(!"status");
    sink += image_touch(&damaged, 1000);
    return status == ST_OK;
}

static void test_cut(void) {
    uint64_t refused = 0, count = 0;
    for (size_t size = 0; size < copy.size; size += size < 6000 ? 13 : 997) {
        struct image_copy cut = copy_create(size);
        memcpy(cut.bytes, copy.bytes, size);
        refused += !try_bytes(cut.bytes, size);
        count++;
        copy_destroy(&cut);
    }
    EXPECT(refused == count);
}

/* Every byte of the first blocks (superblock, inodes, directories), one at a time. */
static void test_changed(void) {
    struct image_tree small;
    tree_create(&small);
    tree_dir(&small, "a");
    tree_file(&small, "a/b", 5000);
    tree_file(&small, "c", 10);
    tree_link(&small, "a/b", "l");
    struct image_copy c = tree_image(&small);
    uint8_t *super = c.bytes + 1024;
    uint64_t unnoticed = 0, tried = 0;
    EXPECT(try_bytes(c.bytes, c.size));
    /* With its checksum, block 0 cannot change unnoticed from the superblock on. */
    for (size_t at = 1024; at < 4096; at++) {
        struct image damaged;
        struct error err = {0};
        c.bytes[at] ^= 0x10;
        EXPECT(image_open(c.bytes, c.size, &damaged, &err) != ST_OK ||
               at - 1024 == 8 /* the flag that there is one */);
        c.bytes[at] ^= 0x10;
    }
    super[8] &= (uint8_t)~1u; /* no checksum: an attacker makes one that fits */
    EXPECT(try_bytes(c.bytes, c.size));
    double start = seconds();
    static const uint8_t values[] = {0x00, 0xff, 0x01, 0x80, 0x7f, 0x20};
    for (size_t at = 1024; at < c.size && at < 8192; at++) {
        uint8_t was = c.bytes[at];
        for (size_t v = 0; v < countof(values) + 1; v++) {
            c.bytes[at] = v < countof(values) ? values[v] : (uint8_t)(was ^ 1);
            unnoticed += try_bytes(c.bytes, c.size);
            tried++;
        }
        c.bytes[at] = was;
    }
    EXPECT(tried > 20000 && unnoticed < tried);
    EXPECT(seconds() - start < 100);
    copy_destroy(&c);
    tree_destroy(&small);
}

/* Mazes: directories that hold themselves and each other. */
static void test_mazes(void) {
    struct image_tree small;
    struct image maze;
    struct image_node node;
    struct image_entry entry;
    struct error err = {0};
    tree_create(&small);
    tree_dir(&small, "a");
    tree_dir(&small, "b");
    struct image_copy c = tree_image(&small);
    c.bytes[1024 + 8] &= (uint8_t)~1u;
    EXPECT(image_open(c.bytes, c.size, &maze, &err) == ST_OK);
    EXPECT(image_node(&maze, maze.root, &node) == IMAGE_OK);
    /* Both names of the root lead to the root. */
    for (uint64_t at = 0; image_entry_at(&maze, &node, at, &entry) == IMAGE_OK;
         at = entry.next) {
        if (entry.name[0] != '.') {
            size_t place = (size_t)(node.tail - c.bytes) + (size_t)at;
            memset(c.bytes + place, 0, 8);
            c.bytes[place] = (uint8_t)maze.root;
        }
    }
    double start = seconds();
    EXPECT(image_check(&maze, &err) == ST_LIMIT || err.status == ST_DAMAGED);
    (void)image_touch(&maze, 300);
    EXPECT(image_walk(&maze, maze.root, "a/b/a/b/a/b", true, &node) == IMAGE_OK);
    EXPECT(image_walk(&maze, maze.root, "a/../../..", true, &node) == IMAGE_ESCAPES);
    EXPECT(seconds() - start < 20);
    copy_destroy(&c);
    tree_destroy(&small);
}

/* Chance: several bytes of the large image at once. */
static void test_random(void) {
    uint64_t state = 88172645463325252u;
    struct image_copy c = copy_create(copy.size);
    memcpy(c.bytes, copy.bytes, copy.size);
    c.bytes[1024 + 8] &= (uint8_t)~1u;
    for (int round = 0; round < 400; round++) {
        uint8_t was[12];
        size_t at[12];
        for (int i = 0; i < 12; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            at[i] = 1024 + (size_t)(state % 60000);
            was[i] = c.bytes[at[i]];
            c.bytes[at[i]] = (uint8_t)(state >> 56);
        }
        (void)try_bytes(c.bytes, c.size);
        for (int i = 11; i >= 0; i--) c.bytes[at[i]] = was[i];
    }
    EXPECT(try_bytes(c.bytes, c.size));
    copy_destroy(&c);
}

int main(void) {
    struct error err = {0};
    tree_create(&tree);
    tree_fill(&tree);
    copy = tree_image(&tree);
    EXPECT(image_open(copy.bytes, copy.size, &image, &err) == ST_OK);
    test_names();
    test_entries();
    test_paths();
    test_cut();
    test_changed();
    test_mazes();
    test_random();
    copy_destroy(&copy);
    tree_destroy(&tree);
    return test_end();
}
