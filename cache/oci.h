/*
 * An OCI image layout in a tar file (image-spec 1.1: image-layout.md, manifest.md,
 * descriptor.md), as far as a bundle needs it. Private to cache/.
 *
 *   oci_tar.c   tar <-> entries of the layout, by libarchive; nothing is unpacked to a path
 *   oci_json.c  descriptors, index, manifest <-> JSON
 *   oci_blob.c  zstd blobs <-> bytes, hashed on both sides of the compression
 */
#ifndef HUTCH_CACHE_OCI_H
#define HUTCH_CACHE_OCI_H

#include "base/base.h"

#include <jansson.h>
#include <openssl/evp.h>

#define OCI_MEDIA_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define OCI_DOCUMENT_MAX_BYTES (UINT32_C(4) << 20) /* registries take manifests up to 4 MiB */
#define OCI_ENTRIES_MAX 4096u                      /* of the tar file */
#define OCI_LAYERS_MAX 1024u

/* ---- oci_tar.c ---- */

/* A file of the layout: a blob by its name, or one of the two files beside the blobs. */
enum oci_entry_kind {
    OCI_LAYOUT,
    OCI_INDEX,
    OCI_BLOB
};
struct oci_entry {
    enum oci_entry_kind kind;
    struct digest digest; /* what a blob's name claims; nothing is checked yet */
    uint64_t size_bytes;
};
struct archive;
/*
 * Called for each file. It may read the contents with oci_tar_data, any part of them. Setting
 * *ret_stop ends the reading.
 */
typedef enum status (*oci_visitor)(void *context, const struct oci_entry *entry,
                                   struct archive *archive, bool *ret_stop, struct error *err);
/* fd: a regular file, read from its start. Anything but plain files of a layout is refused. */
enum status oci_tar_read(int fd, oci_visitor visit, void *context,
                         struct error *err) must_check;
/* The next bytes of the entry: *ret_size is 0 at its end. */
enum status oci_tar_data(struct archive *archive, void *bytes, size_t capacity,
                         size_t *ret_size, struct error *err) must_check;
/* Appends the whole entry, which must be as long as it said and fit its name. */
enum status oci_tar_bytes(struct archive *archive, const struct oci_entry *entry,
                          struct buffer *b, struct error *err) must_check;

struct oci_blob {
    struct digest digest;
    const uint8_t *bytes;
    size_t size;
};
/* A layout of these blobs: sorted, without times and owners. Equal ones are written once. */
enum status oci_tar_write(int fd, const struct buffer *index, const struct oci_blob *blobs,
                          size_t count, struct error *err) must_check;

/* ---- oci_json.c ---- */

struct oci_descriptor {
    char media_type[128];
    struct digest digest;
    uint64_t size_bytes;
};
struct oci_manifest {
    struct oci_descriptor config;
    struct oci_descriptor *layers; /* owned */
    uint32_t layer_count;
};
#define OCI_DIGEST_SIZE (sizeof "sha256:" + 64)
void oci_digest_text(const struct digest *digest, char ret_text[OCI_DIGEST_SIZE]);
bool oci_digest_parse(const char *text, struct digest *ret_digest);
/* A JSON object from bytes; duplicate keys and what follows it are errors. what: for messages.
 */
enum status oci_json_parse(const void *bytes, size_t size, const char *what,
                           json_t **ret_object, struct error *err) must_check;
/* Appends the one text of a value: sorted keys, no blanks. Takes the reference; NULL is no
 * memory. */
enum status oci_json_print(json_t *value, struct buffer *b, struct error *err) must_check;
/* A descriptor with annotations (taken over, may be NULL). NULL where out of memory. */
json_t *oci_descriptor_json(const char *media_type, const struct digest *digest,
                            uint64_t size_bytes, json_t *annotations);
/* The one manifest of an index. */
enum status oci_index_parse(const struct buffer *b, struct oci_descriptor *ret_manifest,
                            struct error *err) must_check;
enum status oci_manifest_parse(const struct buffer *b, struct oci_manifest *ret_manifest,
                               struct error *err) must_check;
void oci_manifest_finish(struct oci_manifest *manifest);
/* Members of an object; false where missing or of another type, too long, negative. */
bool oci_json_string(const json_t *object, const char *key, char *ret_text, size_t size);
bool oci_json_digest(const json_t *object, const char *key, struct digest *ret_digest);
bool oci_json_number(const json_t *object, const char *key, uint64_t *ret_number);

/* ---- oci_blob.c ---- */

/* What a blob must be; blob and content are checked to the byte. */
struct oci_expected {
    struct digest blob, content;
    uint64_t blob_size, content_size;
};
enum status oci_blob_pack(const void *bytes, size_t size, int level, struct buffer *ret_blob,
                          struct error *err) must_check;
/* Where decompressed bytes go, piece by piece. They count only once the whole blob was good. */
struct oci_sink {
    enum status (*take)(void *context, const uint8_t *bytes, size_t size, struct error *err);
    void *context;
};
/* Streams an entry's contents, decompressed, to sink. Stops at the first byte too many. */
enum status oci_blob_unpack(struct archive *archive, const struct oci_expected *expected,
                            const struct oci_sink *sink, struct error *err) must_check;
/* The same for a blob in memory, appended to b: small ones, at most limit_bytes. */
enum status oci_blob_unpack_small(const struct buffer *blob, size_t limit_bytes,
                                  struct buffer *b, struct error *err) must_check;

#endif
