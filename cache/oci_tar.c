/*
 * A tar file to the entries of an OCI layout and back, by libarchive (ustar and pax; no
 * filters: a compressed tar is not a layout).
 *
 * Reading never makes a path: an entry is a directory of the layout (skipped), one of its two
 * files, or a blob, told by its exact name. Links, devices, sparse files, other names and names
 * that come twice are refused. What a name claims about contents is checked by whoever reads
 * them. A warning of libarchive is an error here.
 */
#include "cache/oci.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>

#define BLOCK_BYTES 65536u

static void free_reader(struct archive **a) { archive_read_free(*a); }
static void free_writer(struct archive **a) { archive_write_free(*a); }
static void free_entry(struct archive_entry **e) { archive_entry_free(*e); }
#define auto_reader __attribute__((cleanup(free_reader)))
#define auto_writer __attribute__((cleanup(free_writer)))
#define auto_entry __attribute__((cleanup(free_entry)))

/* libarchive's words, on one line. */
static enum status archive_failed(struct archive *a, const char *what, struct error *err) {
    int code = archive_errno(a);
    const char *text = archive_error_string(a);
    enum status status = code == ENOMEM ? ST_NO_MEMORY
                         : code == EIO || code == ENOSPC || code == EDQUOT || code == EFBIG
                             ? ST_IO
                             : ST_DAMAGED;
    char line[160];
    snprintf(line, sizeof line, "%s", text ? text : "damaged");
    for (char *c = line; *c; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
    error_set(err, status, "%s: %s", what, line);
    if (err && status == ST_IO) err->saved_errno = code;
    return status;
}

/* ---- reading ----------------------------------------------------------------------------- */

struct seen {
    struct digest blobs[OCI_ENTRIES_MAX];
    uint32_t blob_count, entry_count;
    bool layout, index;
};

enum name_kind {
    NAME_FILE,
    NAME_DIRECTORY,
    NAME_OTHER
};

static enum name_kind read_name(const char *name, struct oci_entry *entry) {
    if (strncmp(name, "./", 2) == 0) name += 2;
    if (strcmp(name, "oci-layout") == 0) {
        entry->kind = OCI_LAYOUT;
        return NAME_FILE;
    }
    if (strcmp(name, "index.json") == 0) {
        entry->kind = OCI_INDEX;
        return NAME_FILE;
    }
    static const char *const directories[] = {
        "", ".", "blobs", "blobs/", "blobs/sha256", "blobs/sha256/"};
    for (size_t i = 0; i < countof(directories); i++)
        if (strcmp(name, directories[i]) == 0) return NAME_DIRECTORY;
    if (strncmp(name, "blobs/sha256/", 13) != 0 || strlen(name + 13) != 64) return NAME_OTHER;
    char text[OCI_DIGEST_SIZE];
    snprintf(text, sizeof text, "sha256:%s", name + 13);
    entry->kind = OCI_BLOB;
    return oci_digest_parse(text, &entry->digest) ? NAME_FILE : NAME_OTHER;
}

static enum status note_seen(struct seen *seen, const struct oci_entry *entry,
                             struct error *err) {
    bool twice = false;
    switch (entry->kind) {
    case OCI_LAYOUT:
        twice = seen->layout;
        seen->layout = true;
        break;
    case OCI_INDEX:
        twice = seen->index;
        seen->index = true;
        break;
    case OCI_BLOB:
        for (uint32_t i = 0; i < seen->blob_count && !twice; i++)
            twice = digest_equal(&seen->blobs[i], &entry->digest);
        if (!twice) seen->blobs[seen->blob_count++] = entry->digest;
        break;
    }
    return twice ? error_set(err, ST_DAMAGED, "the tar file holds an entry twice") : ST_OK;
}

/* One header to an entry of the layout; *ret_skip for directories. */
static enum status judge(struct archive_entry *header, struct seen *seen,
                         struct oci_entry *ret_entry, bool *ret_skip, struct error *err) {
    if (++seen->entry_count > OCI_ENTRIES_MAX)
        return error_set(err, ST_LIMIT, "the tar file has more than %u entries",
                         OCI_ENTRIES_MAX);
    const char *name = archive_entry_pathname(header);
    struct oci_entry entry = {0};
    enum name_kind kind = name ? read_name(name, &entry) : NAME_OTHER;
    char plain[80];
    snprintf(plain, sizeof plain, "%s", name ? name : "?");
    for (char *c = plain; *c; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
    if (archive_entry_hardlink(header) || archive_entry_symlink(header))
        return error_set(err, ST_DAMAGED, "the tar file holds a link: %s", plain);
    unsigned type = archive_entry_filetype(header);
    if (kind == NAME_OTHER || (kind == NAME_DIRECTORY) != (type == AE_IFDIR) ||
        (kind == NAME_FILE && type != AE_IFREG))
        return error_set(err, ST_DAMAGED, "%s does not belong in an OCI layout", plain);
    if (archive_entry_sparse_count(header) > 0 || !archive_entry_size_is_set(header) ||
        archive_entry_size(header) < 0)
        return error_set(err, ST_DAMAGED, "%s is not a plain file", plain);
    *ret_skip = kind == NAME_DIRECTORY;
    entry.size_bytes = (uint64_t)archive_entry_size(header);
    *ret_entry = entry;
    return *ret_skip ? ST_OK : note_seen(seen, &entry, err);
}

static enum status read_entries(struct archive *a, struct seen *seen, oci_visitor visit,
                                void *context, struct error *err) {
    for (bool stop = false; !stop;) {
        struct archive_entry *header = NULL;
        int code = archive_read_next_header(a, &header);
        if (code == ARCHIVE_EOF) break;
        if (code != ARCHIVE_OK) return archive_failed(a, "not a sound tar file", err);
        struct oci_entry entry;
        bool skip = false;
        enum status status = judge(header, seen, &entry, &skip, err);
        if (status == ST_OK && !skip) status = visit(context, &entry, a, &stop, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

enum status oci_tar_read(int fd, oci_visitor visit, void *context, struct error *err) {
    if (lseek(fd, 0, SEEK_SET) < 0) return error_set_errno(err, ST_IO, "cannot read");
    auto_reader struct archive *a = archive_read_new();
    auto_free struct seen *seen = calloc(1, sizeof *seen);
    if (!a || !seen) return error_set(err, ST_NO_MEMORY, "out of memory");
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_fd(a, fd, BLOCK_BYTES) != ARCHIVE_OK)
        return archive_failed(a, "not a tar file", err);
    return read_entries(a, seen, visit, context, err);
}

enum status oci_tar_data(struct archive *archive, void *bytes, size_t capacity,
                         size_t *ret_size, struct error *err) {
    la_ssize_t n = archive_read_data(archive, bytes, capacity);
    if (n < 0) return archive_failed(archive, "cannot read the tar file", err);
    *ret_size = (size_t)n;
    return ST_OK;
}

enum status oci_tar_bytes(struct archive *archive, const struct oci_entry *entry,
                          struct buffer *b, struct error *err) {
    if (entry->size_bytes > OCI_DOCUMENT_MAX_BYTES)
        return error_set(err, ST_LIMIT, "a document of %llu bytes, more than %u",
                         (unsigned long long)entry->size_bytes, OCI_DOCUMENT_MAX_BYTES);
    size_t start = b->size;
    for (;;) {
        uint8_t part[16384];
        size_t n;
        enum status status = oci_tar_data(archive, part, sizeof part, &n, err);
        if (status != ST_OK) return status;
        if (n == 0) break;
        buffer_put(b, part, n);
        if (buffer_status(b, err) != ST_OK) return ST_NO_MEMORY;
    }
    if (b->size - start != entry->size_bytes)
        return error_set(err, ST_DAMAGED, "the tar file is cut off");
    if (entry->kind != OCI_BLOB) return ST_OK;
    struct digest digest = digest_of(b->bytes + start, b->size - start);
    return digest_equal(&digest, &entry->digest)
               ? ST_OK
               : error_set(err, ST_DAMAGED, "a blob's digest is not its name");
}

/* ---- writing ----------------------------------------------------------------------------- */

static enum status write_entry(struct archive *a, const char *name, bool directory,
                               const void *bytes, size_t size, struct error *err) {
    auto_entry struct archive_entry *entry = archive_entry_new();
    if (!entry) return error_set(err, ST_NO_MEMORY, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, directory ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, directory ? 0755 : 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    if (archive_write_header(a, entry) != ARCHIVE_OK)
        return archive_failed(a, "cannot write", err);
    for (size_t done = 0; done < size;) {
        size_t left = size - done;
        la_ssize_t n = archive_write_data(a, (const uint8_t *)bytes + done,
                                          left < (1u << 24) ? left : 1u << 24);
        if (n <= 0) return archive_failed(a, "cannot write", err);
        done += (size_t)n;
    }
    return ST_OK;
}

static int by_digest(const void *a, const void *b) {
    const struct oci_blob *const *x = a, *const *y = b;
    return memcmp((*x)->digest.bytes, (*y)->digest.bytes, sizeof(*x)->digest.bytes);
}

enum status oci_tar_write(int fd, const struct buffer *index, const struct oci_blob *blobs,
                          size_t count, struct error *err) {
    auto_writer struct archive *a = archive_write_new();
    auto_free const struct oci_blob **order = calloc(count ? count : 1, sizeof *order);
    if (!a || !order) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) order[i] = &blobs[i];
    qsort(order, count, sizeof *order, by_digest);
    if (archive_write_set_format_ustar(a) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        archive_write_open_fd(a, fd) != ARCHIVE_OK)
        return archive_failed(a, "cannot write", err);
    enum status status = write_entry(a, "blobs/", true, NULL, 0, err);
    if (status == ST_OK) status = write_entry(a, "blobs/sha256/", true, NULL, 0, err);
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        if (i && digest_equal(&order[i]->digest, &order[i - 1]->digest)) continue;
        char name[DIGEST_HEX_SIZE + 16] = "blobs/sha256/";
        digest_hex(&order[i]->digest, name + 13);
        status = write_entry(a, name, false, order[i]->bytes, order[i]->size, err);
    }
    if (status == ST_OK)
        status = write_entry(a, "index.json", false, index->bytes, index->size, err);
    if (status == ST_OK)
        status = write_entry(a, "oci-layout", false, OCI_LAYOUT_TEXT,
                             sizeof OCI_LAYOUT_TEXT - 1, err);
    if (status == ST_OK && archive_write_close(a) != ARCHIVE_OK)
        status = archive_failed(a, "cannot write", err);
    return status;
}
