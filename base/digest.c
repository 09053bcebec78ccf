/* SHA-256 through libcrypto, as a value type. */
#include "base/base.h"

#include <openssl/evp.h>

struct digest digest_of(const void *bytes, size_t size) {
    struct digest digest;
    unsigned length = 0;
    CHECK(EVP_Digest(bytes, size, digest.bytes, &length, EVP_sha256(), NULL) == 1);
    CHECK(length == sizeof digest.bytes);
    return digest;
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
