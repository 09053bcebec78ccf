/*
 * What the parts of a bundle share. Private to cache/; docs/bundle.md is the format.
 *
 *   bundle_statement.c  the signed statement <-> JSON
 *   bundle_signature.c  a statement's signatures <-> JSON, and whose they are
 *   bundle_write.c      layers -> an OCI layout in one file
 *   bundle_open.c       a file -> struct bundle: everything but the layers' bytes, checked
 *   bundle_import.c     struct bundle -> entries and names of the store
 */
#ifndef HUTCH_CACHE_BUNDLE_H
#define HUTCH_CACHE_BUNDLE_H

#include "cache/cache.h"
#include "cache/oci.h"

#define BUNDLE_VERSION 1u
#define BUNDLE_ARTIFACT "application/vnd.hutch.app.v1"
#define BUNDLE_MEDIA_STATEMENT "application/vnd.hutch.app.statement.v1+json"
#define BUNDLE_MEDIA_SIGNATURE "application/vnd.hutch.signature.v1+json+zstd"
#define BUNDLE_SIGNATURES_MAX 8u
#define BUNDLE_SIGNATURE_MAX_BYTES 4096u /* uncompressed */
#define BUNDLE_LAYERS_MAX 256u           /* an import holds two descriptors for each */

struct bundle {
    int fd;
    bool own_fd;
    struct digest manifest, statement_digest;
    struct buffer statement_bytes;
    struct bundle_statement statement;
    struct bundle_signer signer;
};

const char *bundle_media_type(enum bundle_kind kind);

/* ---- bundle_open.c ---- */
/* A file without a name, on a disk where there is one: in $TMPDIR, else /var/tmp, else memory.
 */
enum status bundle_temporary(int *ret_fd, struct error *err) must_check;
/* Appends to a file. ST_IO. */
enum status bundle_append(int fd, const uint8_t *bytes, size_t size,
                          struct error *err) must_check;

/* ---- bundle_statement.c ---- */
/* Appends the statement's one text. */
enum status bundle_statement_print(const struct bundle_statement *statement, struct buffer *b,
                                   struct error *err) must_check;

/* ---- bundle_signature.c ---- */
/* Appends a signature of the statement with this digest, as its layer holds it, uncompressed.
 */
enum status bundle_signature_print(const struct digest *statement,
                                   const struct sign_secret *secret, struct buffer *b,
                                   struct error *err) must_check;
/*
 * Judges one signature. signer is that of the signatures before it, updated: a trusted key is
 * never replaced. ST_DAMAGED where a key we know has not made it.
 */
enum status bundle_signature_judge(const struct buffer *b, const struct digest *statement,
                                   const struct trust *trust, struct bundle_signer *signer,
                                   struct error *err) must_check;

#endif
