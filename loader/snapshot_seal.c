/*
 * The digest of a snapshot file: SHA-256 of all of it, its own 32 bytes taken as zero. Apart
 * from runtime/snapshot*.c because a tenant has no use for it: who hands it a file has checked.
 */
#include "loader/loader.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the file; also the one that stands in it. */
static enum status digests(int fd, struct digest *ret_of, struct digest *ret_in,
                           struct error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(SNAPSHOT_DIGEST_OFFSET + 32))
        return error_set(err, ST_DAMAGED, "not a snapshot");
    uint8_t *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot map the snapshot");
    memcpy(ret_in->bytes, bytes + SNAPSHOT_DIGEST_OFFSET, 32);
    memset(bytes + SNAPSHOT_DIGEST_OFFSET, 0, 32);
    *ret_of = digest_of(bytes, (size_t)st.st_size);
    munmap(bytes, (size_t)st.st_size);
    return ST_OK;
}

enum status snapshot_seal(int fd, struct error *err) {
    struct digest of, in;
    enum status status = digests(fd, &of, &in, err);
    if (status != ST_OK) return status;
    if (pwrite(fd, of.bytes, 32, SNAPSHOT_DIGEST_OFFSET) != 32)
        return error_set_errno(err, ST_IO, "cannot write the snapshot");
    return ST_OK;
}

enum status snapshot_verify_digest(int fd, struct error *err) {
    struct digest of, in;
    enum status status = digests(fd, &of, &in, err);
    if (status != ST_OK || digest_equal(&of, &in)) return status;
    return error_set(
        err, ST_DAMAGED,
        "digest mismatch: the snapshot is not what was written (damaged or altered)");
}
