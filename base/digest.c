/*
 * SHA-256 as a value type: libcrypto's own code, but taken out of its static archive
 * (sha256.sh), with names of its own.
 */
#include "base/base.h"

#include <openssl/sha.h>

/* SHA256_Init, SHA256_Update and SHA256_Final. They return 1; nothing in them can fail. */
int digest_sha256_init(SHA256_CTX *context);
int digest_sha256_update(SHA256_CTX *context, const void *bytes, size_t size);
int digest_sha256_final(unsigned char *digest, SHA256_CTX *context);

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct digest_stream), "room for the state");

void digest_start(struct digest_stream *stream) {
    SHA256_CTX context;
    digest_sha256_init(&context);
    memcpy(stream, &context, sizeof context);
}

void digest_add(struct digest_stream *stream, const void *bytes, size_t size) {
    SHA256_CTX context;
    memcpy(&context, stream, sizeof context);
    digest_sha256_update(&context, bytes, size);
    memcpy(stream, &context, sizeof context);
}

struct digest digest_end(struct digest_stream *stream) {
    SHA256_CTX context;
    struct digest digest;
    memcpy(&context, stream, sizeof context);
    digest_sha256_final(digest.bytes, &context);
    return digest;
}

struct digest digest_of(const void *bytes, size_t size) {
    struct digest_stream stream;
    digest_start(&stream);
    digest_add(&stream, bytes, size);
    return digest_end(&stream);
}

bool digest_equal(const struct digest *a, const struct digest *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void digest_hex(const struct digest *digest, char ret_hex[DIGEST_HEX_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof digest->bytes; i++) {
        ret_hex[2 * i] = digits[digest->bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    ret_hex[DIGEST_HEX_SIZE - 1] = 0;
}
