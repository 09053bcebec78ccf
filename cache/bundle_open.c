/*
 * A tar file to struct bundle: layout, index, manifest, statement and signatures, read and
 * checked; the layers' bytes are left to bundle_import.c.
 *
 * The file is scanned once for its shape (oci_tar.c refuses what does not belong), then once
 * for each document by its digest. If it changes under us, a digest does not hold.
 *
 *     index.json -> manifest (digest, size) -> config = statement (digest, size)
 *                                           -> layers: as the statement lists them, in any
 * order, and signatures; nothing else
 */
#include "cache/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAR_MAGIC_AT 257u /* POSIX.1-2017, pax: ustar header block */
#define TAR_MAGIC_END 262u

/* ---- the shape, and index.json ----------------------------------------------------------- */

struct shape {
    bool layout, index;
    struct buffer index_bytes;
};

static enum status see_shape(void *context, const struct oci_entry *entry,
                             struct archive *archive, bool *ret_stop, struct error *err) {
    struct shape *shape = context;
    *ret_stop = false;
    if (entry->kind == OCI_INDEX) {
        shape->index = true;
        return oci_tar_bytes(archive, entry, &shape->index_bytes, err);
    }
    if (entry->kind != OCI_LAYOUT) return ST_OK;
    shape->layout = true;
    auto_buffer struct buffer b = {0};
    json_t *value = NULL;
    enum status status = oci_tar_bytes(archive, entry, &b, err);
    if (status == ST_OK) status = oci_json_parse(b.bytes, b.size, "oci-layout", &value, err);
    if (status != ST_OK) return status;
    char version[16];
    if (!oci_json_string(value, "imageLayoutVersion", version, sizeof version) ||
        strcmp(version, "1.0.0") != 0)
        status = error_set(err, ST_UNSUPPORTED, "oci-layout is not of version 1.0.0");
    json_decref(value);
    return status;
}

/* ---- documents by digest ----------------------------------------------------------------- */

struct wanted {
    const struct oci_descriptor *descriptor;
    struct buffer *bytes;
    bool found;
};

static enum status take_wanted(void *context, const struct oci_entry *entry,
                               struct archive *archive, bool *ret_stop, struct error *err) {
    struct wanted *w = context;
    if (entry->kind != OCI_BLOB || !digest_equal(&entry->digest, &w->descriptor->digest))
        return ST_OK;
    if (entry->size_bytes != w->descriptor->size_bytes)
        return error_set(err, ST_DAMAGED, "a blob is not of the %llu bytes it is listed with",
                         (unsigned long long)w->descriptor->size_bytes);
    w->found = *ret_stop = true;
    return oci_tar_bytes(archive, entry, w->bytes, err);
}

static enum status read_document(int fd, const struct oci_descriptor *descriptor,
                                 const char *what, struct buffer *b, struct error *err) {
    struct wanted wanted = {descriptor, b, false};
    enum status status = oci_tar_read(fd, take_wanted, &wanted, err);
    if (status != ST_OK) return error_wrap(err, "%s", what);
    if (!wanted.found) return error_set(err, ST_DAMAGED, "%s is not in the tar file", what);
    return ST_OK;
}

/* ---- manifest against statement ---------------------------------------------------------- */

static bool same_layer(const struct bundle_layer *layer, const struct oci_descriptor *d) {
    return digest_equal(&layer->blob, &d->digest) && layer->blob_size == d->size_bytes &&
           strcmp(bundle_media_type(layer->kind), d->media_type) == 0;
}

/* Every layer of the manifest is in the statement or a signature, and the other way round. */
static enum status compare_layers(const struct bundle_statement *s,
                                  const struct oci_manifest *m, struct error *err) {
    uint32_t signatures = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        bool known = strcmp(m->layers[i].media_type, BUNDLE_MEDIA_SIGNATURE) == 0;
        signatures += known;
        for (uint32_t k = 0; k < s->layer_count && !known; k++)
            known = same_layer(&s->layers[k], &m->layers[i]);
        if (!known)
            return error_set(err, ST_DAMAGED,
                             "layer %u of the manifest is not in the signed statement", i);
    }
    if (signatures > BUNDLE_SIGNATURES_MAX)
        return error_set(err, ST_LIMIT, "%u signatures are more than %u", signatures,
                         BUNDLE_SIGNATURES_MAX);
    for (uint32_t k = 0; k < s->layer_count; k++) {
        bool known = false;
        for (uint32_t i = 0; i < m->layer_count && !known; i++)
            known = same_layer(&s->layers[k], &m->layers[i]);
        if (!known)
            return error_set(err, ST_DAMAGED,
                             "layer %u of the signed statement is not in the manifest", k);
    }
    return ST_OK;
}

static enum status judge_signatures(struct bundle *b, const struct oci_manifest *m,
                                    const struct trust *trust, struct error *err) {
    for (uint32_t i = 0; i < m->layer_count; i++) {
        if (strcmp(m->layers[i].media_type, BUNDLE_MEDIA_SIGNATURE) != 0) continue;
        auto_buffer struct buffer packed = {0}, plain = {0};
        enum status status = read_document(b->fd, &m->layers[i], "the signature", &packed, err);
        if (status != ST_OK) return status;
        if (oci_blob_unpack_small(&packed, BUNDLE_SIGNATURE_MAX_BYTES, &plain, err) != ST_OK)
            return error_wrap(err, "the signature");
        status = bundle_signature_judge(&plain, &b->statement_digest, trust, &b->signer, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

/* ---- opening ----------------------------------------------------------------------------- */

enum status bundle_temporary(int *ret_fd, struct error *err) {
    const char *directory = getenv("TMPDIR");
    int fd = open(directory && *directory ? directory : "/var/tmp",
                  O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) fd = memfd_create("hutch-bundle", MFD_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot make a temporary file");
    *ret_fd = fd;
    return ST_OK;
}

enum status bundle_append(int fd, const uint8_t *bytes, size_t size, struct error *err) {
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write a temporary file");
        bytes += n;
        size -= (size_t)n;
    }
    return ST_OK;
}

/* A pipe's bytes in a file without a name: the tar file is read more than once. */
static enum status spool(struct bundle *b, struct error *err) {
    struct stat st;
    if (fstat(b->fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot read");
    if (S_ISREG(st.st_mode)) return ST_OK;
    if (S_ISDIR(st.st_mode))
        return error_set(err, ST_UNSUPPORTED,
                         "a directory: a bundle is an OCI layout in one tar file (skopeo's "
                         "oci-archive:)");
    auto_fd int fd = -1;
    enum status status = bundle_temporary(&fd, err);
    if (status != ST_OK) return status;
    uint64_t size = 0;
    uint8_t part[65536];
    size_t kept = 0; /* of the first block, until there is enough to tell */
    for (;;) {
        ssize_t n = read(b->fd, part + kept, sizeof part - kept);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot read");
        if (n == 0 && kept == 0) break;
        n += (ssize_t)kept;
        if (size == 0 && (size_t)n < TAR_MAGIC_END && (size_t)n != kept) {
            kept = (size_t)n;
            continue;
        }
        kept = 0;
        /* An endless stream of something else does not fill the disk first. */
        if (size == 0 &&
            ((size_t)n < TAR_MAGIC_END || memcmp(part + TAR_MAGIC_AT, "ustar", 5) != 0))
            return error_set(err, ST_DAMAGED, "not a tar file");
        size += (uint64_t)n;
        if (size > BUNDLE_MAX_BYTES_DEFAULT)
            return error_set(err, ST_LIMIT, "the bundle is larger than 16 GiB");
        if ((status = bundle_append(fd, part, (size_t)n, err)) != ST_OK) return status;
    }
    b->fd = steal_fd(&fd);
    b->own_fd = true;
    return ST_OK;
}

static enum status read_index(struct bundle *b, struct oci_descriptor *ret_manifest,
                              struct error *err) {
    struct shape shape = {0};
    enum status status = oci_tar_read(b->fd, see_shape, &shape, err);
    if (status == ST_OK && (!shape.layout || !shape.index))
        status = error_set(err, ST_DAMAGED, "not a bundle: the tar file holds no %s",
                           shape.layout ? "index.json" : "oci-layout");
    if (status == ST_OK) status = oci_index_parse(&shape.index_bytes, ret_manifest, err);
    buffer_finish(&shape.index_bytes);
    return status;
}

static enum status read_manifest(struct bundle *b, struct oci_manifest *ret_manifest,
                                 struct error *err) {
    struct oci_descriptor descriptor = {0};
    enum status status = read_index(b, &descriptor, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer bytes = {0};
    status = read_document(b->fd, &descriptor, "the manifest", &bytes, err);
    if (status != ST_OK) return status;
    b->manifest = descriptor.digest;
    return oci_manifest_parse(&bytes, ret_manifest, err);
}

static enum status read_statement(struct bundle *b, const struct oci_manifest *m,
                                  struct error *err) {
    if (strcmp(m->config.media_type, BUNDLE_MEDIA_STATEMENT) != 0)
        return error_set(err, ST_UNSUPPORTED,
                         "not a bundle of hutch: an image with a config of "
                         "type %s",
                         m->config.media_type);
    enum status status =
        read_document(b->fd, &m->config, "the statement", &b->statement_bytes, err);
    if (status != ST_OK) return status;
    b->statement_digest = m->config.digest;
    return bundle_statement_parse(b->statement_bytes.bytes, b->statement_bytes.size,
                                  &b->statement, err);
}

enum status bundle_open(int fd, const struct trust *trust, struct bundle **ret_bundle,
                        struct error *err) {
    struct bundle *b = calloc(1, sizeof *b);
    if (!b) return error_set(err, ST_NO_MEMORY, "out of memory");
    b->fd = fd;
    struct oci_manifest manifest = {0};
    enum status status = spool(b, err);
    if (status == ST_OK) status = read_manifest(b, &manifest, err);
    if (status == ST_OK) status = read_statement(b, &manifest, err);
    if (status == ST_OK) status = compare_layers(&b->statement, &manifest, err);
    if (status == ST_OK) status = judge_signatures(b, &manifest, trust, err);
    oci_manifest_finish(&manifest);
    if (status == ST_OK)
        *ret_bundle = b;
    else
        bundle_close(b);
    return status;
}

void bundle_close(struct bundle *b) {
    if (!b) return;
    if (b->own_fd) close(b->fd);
    bundle_statement_finish(&b->statement);
    buffer_finish(&b->statement_bytes);
    free(b);
}

const struct bundle_statement *bundle_statement_of(const struct bundle *bundle) {
    return &bundle->statement;
}

const struct bundle_signer *bundle_signer_of(const struct bundle *bundle) {
    return &bundle->signer;
}

struct digest bundle_digest(const struct bundle *bundle) { return bundle->manifest; }
