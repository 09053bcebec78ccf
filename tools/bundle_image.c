/*
 * An image for a bundle: a file that `hutch image create` made, checked from end to end, or a
 * directory, of which one is made as that command does, in a file without a name.
 */
#include "runtime/runtime.h"
#include "tools/bundle_cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status check(int fd, struct error *err) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_map_file(fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    if (!bytes) return error_set(err, ST_MALFORMED, "the file is empty");
    struct image image;
    status = image_open(bytes, size, &image, err);
    if (status == ST_OK) status = image_check(&image, err);
    munmap((void *)(uintptr_t)bytes, size);
    return status;
}

/* Where temporary files lie that may be large. */
static enum status unnamed_file(int *ret_fd, struct error *err) {
    const char *directory = getenv("TMPDIR");
    int fd = open(directory && *directory ? directory : "/var/tmp",
                  O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return cli_memory_file("hutch-image", ret_fd, err);
    *ret_fd = fd;
    return ST_OK;
}

static enum status make(int tree, int *ret_fd, struct error *err) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    struct erofs_options options = {.time_s = EROFS_TIME_DEFAULT};
    enum status status = ST_OK;
    if (epoch && *epoch)
        status = arguments_number("image (SOURCE_DATE_EPOCH)", epoch, 0, UINT64_C(1) << 40,
                                  &options.time_s, err);
    auto_fd int fd = -1;
    if (status == ST_OK) status = unnamed_file(&fd, err);
    struct erofs_summary summary;
    if (status == ST_OK) status = erofs_write(tree, &options, fd, &summary, err);
    if (status == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}

enum status bundle_image_open(const char *path, int *ret_fd, struct error *err) {
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot open");
    auto_fd int made = -1;
    enum status status = ST_OK;
    if (S_ISDIR(st.st_mode)) {
        if ((status = make(fd, &made, err)) != ST_OK) return status;
        close(steal_fd(&fd));
        fd = steal_fd(&made);
    }
    if ((status = check(fd, err)) == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}
