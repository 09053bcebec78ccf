/* Leaves small images in a directory: the seeds of tests/fuzz/fuzz_image. */
#include "tests/unit/image_fixture.h"

int main(int argc, char **argv) {
    CHECK(argc == 2);
    (void)mkdir(argv[1], 0777);
    for (int kind = 0; kind < 3; kind++) {
        struct image_tree tree;
        struct error err = {0};
        struct erofs_summary summary;
        char path[4096];
        tree_create(&tree);
        if (kind > 0) {
            tree_file(&tree, "f1", 5);
            tree_dir(&tree, "sub");
            tree_dir(&tree, "a");
            tree_file(&tree, "a/b", 4100);
            tree_link(&tree, "f1", "link");
            tree_link(&tree, "../a", "sub/up");
        }
        for (int i = 0; kind > 1 && i < 200; i++) {
            snprintf(path, sizeof path, "sub/name-%d", i);
            tree_file(&tree, path, (size_t)i);
        }
        snprintf(path, sizeof path, "%s/%d.erofs", argv[1], kind);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        struct erofs_options options = {.time_s = EROFS_TIME_DEFAULT};
        CHECK(fd >= 0 && erofs_write(tree.fd, &options, fd, &summary, &err) == ST_OK);
        close(fd);
        tree_destroy(&tree);
    }
    return 0;
}
