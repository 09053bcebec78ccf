/*
 * Bytes to a zstd blob and back (RFC 8878). A blob is one frame and nothing after it; its
 * content size stands in the frame's header, and no window is larger than 128 MiB.
 *
 * Unpacking streams: compressed bytes are hashed as they come in, decompressed ones as they go
 * out, and it ends at the first byte beyond what was declared, so that a bomb costs what it was
 * declared to cost and no more.
 */
#include "cache/oci.h"

#include <zstd.h>

#define WINDOW_LOG_MAX 27
#define PART_BYTES 131072u

static void free_compressor(ZSTD_CCtx **c) { ZSTD_freeCCtx(*c); }
static void free_decompressor(ZSTD_DStream **d) { ZSTD_freeDStream(*d); }
static void free_context(EVP_MD_CTX **c) { EVP_MD_CTX_free(*c); }
#define auto_compressor __attribute__((cleanup(free_compressor)))
#define auto_decompressor __attribute__((cleanup(free_decompressor)))
#define auto_context __attribute__((cleanup(free_context)))

enum status oci_blob_pack(const void *bytes, size_t size, int level, struct buffer *ret_blob,
                          struct error *err) {
    auto_compressor ZSTD_CCtx *c = ZSTD_createCCtx();
    if (!c) return error_set(err, ST_NO_MEMORY, "out of memory");
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 0); /* SHA-256 does that */
    if (level >= 10) ZSTD_CCtx_setParameter(c, ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, level >= 10 ? WINDOW_LOG_MAX : 0);
    size_t bound = ZSTD_compressBound(size), start = ret_blob->size;
    if (ZSTD_isError(bound)) return error_set(err, ST_LIMIT, "%zu bytes are too many", size);
    buffer_put_zero(ret_blob, bound);
    if (buffer_status(ret_blob, err) != ST_OK) return ST_NO_MEMORY;
    size_t n = ZSTD_compress2(c, ret_blob->bytes + start, bound, bytes, size);
    if (ZSTD_isError(n))
        return error_set(err, ST_NO_MEMORY, "cannot compress: %s", ZSTD_getErrorName(n));
    ret_blob->size = start + n;
    return ST_OK;
}

/* ---- unpacking --------------------------------------------------------------------------- */

static ZSTD_DStream *new_decompressor(void) {
    ZSTD_DStream *d = ZSTD_createDStream();
    if (d) ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    return d;
}

struct unpacking {
    ZSTD_DStream *zstd;
    EVP_MD_CTX *in_hash, *out_hash;
    uint64_t in_size, out_size, out_limit;
    bool ended; /* the frame is complete */
    const struct oci_sink *sink;
    uint8_t *part; /* PART_BYTES */
};

/* Compressed bytes through the decompressor to the sink. */
static enum status unpack_part(struct unpacking *u, const uint8_t *bytes, size_t size,
                               struct error *err) {
    ZSTD_inBuffer in = {bytes, size, 0};
    bool more = true; /* the decompressor may hold more than it gave */
    while (in.pos < in.size || more) {
        if (u->ended)
            return in.pos < in.size ? error_set(err, ST_DAMAGED, "a blob goes on after its end")
                                    : ST_OK;
        ZSTD_outBuffer out = {u->part, PART_BYTES, 0};
        size_t left = ZSTD_decompressStream(u->zstd, &out, &in);
        if (ZSTD_isError(left))
            return error_set(err, ST_DAMAGED, "a blob cannot be decompressed: %s",
                             ZSTD_getErrorName(left));
        if (out.pos > u->out_limit - u->out_size)
            return error_set(err, ST_DAMAGED,
                             "a blob is larger than the %llu bytes it declares",
                             (unsigned long long)u->out_limit);
        u->out_size += out.pos;
        EVP_DigestUpdate(u->out_hash, u->part, out.pos);
        enum status status = u->sink->take(u->sink->context, u->part, out.pos, err);
        if (status != ST_OK) return status;
        u->ended = left == 0;
        more = out.pos == out.size;
    }
    return ST_OK;
}

static bool hash_is(EVP_MD_CTX *context, const struct digest *expected) {
    struct digest digest;
    return EVP_DigestFinal_ex(context, digest.bytes, NULL) == 1 &&
           digest_equal(&digest, expected);
}

static enum status unpack(struct unpacking *u, struct archive *archive,
                          const struct oci_expected *expected, struct error *err) {
    auto_free uint8_t *in = malloc(PART_BYTES);
    if (!in) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (;;) {
        size_t n;
        enum status status = oci_tar_data(archive, in, PART_BYTES, &n, err);
        if (status != ST_OK) return status;
        if (n == 0) break;
        u->in_size += n;
        if (u->in_size > expected->blob_size) break;
        EVP_DigestUpdate(u->in_hash, in, n);
        if ((status = unpack_part(u, in, n, err)) != ST_OK) return status;
    }
    if (u->in_size != expected->blob_size)
        return error_set(err, ST_DAMAGED, "a blob is not of the %llu bytes it declares",
                         (unsigned long long)expected->blob_size);
    if (!u->ended || u->out_size != expected->content_size)
        return error_set(err, ST_DAMAGED, "a blob holds less than the %llu bytes it declares",
                         (unsigned long long)expected->content_size);
    if (!hash_is(u->in_hash, &expected->blob))
        return error_set(err, ST_DAMAGED, "a blob's digest is not its name");
    if (!hash_is(u->out_hash, &expected->content))
        return error_set(err, ST_DAMAGED,
                         "a blob's contents have another digest than declared");
    return ST_OK;
}

enum status oci_blob_unpack(struct archive *archive, const struct oci_expected *expected,
                            const struct oci_sink *sink, struct error *err) {
    auto_decompressor ZSTD_DStream *zstd = new_decompressor();
    auto_context EVP_MD_CTX *in_hash = EVP_MD_CTX_new();
    auto_context EVP_MD_CTX *out_hash = EVP_MD_CTX_new();
    auto_free uint8_t *part = malloc(PART_BYTES);
    if (!zstd || !in_hash || !out_hash || !part ||
        EVP_DigestInit_ex(in_hash, EVP_sha256(), NULL) != 1 ||
        EVP_DigestInit_ex(out_hash, EVP_sha256(), NULL) != 1)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    struct unpacking u = {.zstd = zstd,
                          .in_hash = in_hash,
                          .out_hash = out_hash,
                          .out_limit = expected->content_size,
                          .sink = sink,
                          .part = part};
    return unpack(&u, archive, expected, err);
}

enum status oci_blob_unpack_small(const struct buffer *blob, size_t limit_bytes,
                                  struct buffer *b, struct error *err) {
    auto_decompressor ZSTD_DStream *zstd = new_decompressor();
    auto_free uint8_t *out_bytes = malloc(limit_bytes + 1);
    if (!zstd || !out_bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    ZSTD_inBuffer in = {blob->bytes, blob->size, 0};
    ZSTD_outBuffer out = {out_bytes, limit_bytes + 1, 0};
    size_t left = ZSTD_decompressStream(zstd, &out, &in);
    if (ZSTD_isError(left) || left != 0 || in.pos != in.size || out.pos > limit_bytes)
        return error_set(err, ST_DAMAGED, "a small blob is damaged or too large");
    buffer_put(b, out_bytes, out.pos);
    return buffer_status(b, err);
}
