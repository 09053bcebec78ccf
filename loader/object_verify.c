/*
 * The content digest of a code object: SHA-256 of the whole file, its own 32 bytes taken as
 * zeros. In a file of its own since it needs a hash, which a tenant does without: the broker
 * that hands out objects has checked them.
 */
#include "loader/loader.h"
#include "loader/object.h"

enum status object_verify_digest(const uint8_t *bytes, uint64_t size_bytes, struct error *err) {
    const uint64_t at = OBJECT_COMPAT_OFFSET + OBJECT_COMPAT_DIGEST;
    static const struct digest zeros;
    struct digest expected, found;
    if (size_bytes < at + sizeof expected)
        return error_set(err, ST_DAMAGED, "truncated code object: %llu bytes",
                         (unsigned long long)size_bytes);
    memcpy(expected.bytes, bytes + at, sizeof expected.bytes);
    struct digest_stream stream;
    digest_start(&stream);
    digest_add(&stream, bytes, at);
    digest_add(&stream, zeros.bytes, sizeof zeros.bytes);
    digest_add(&stream, bytes + at + sizeof zeros.bytes, size_bytes - at - sizeof zeros.bytes);
    found = digest_end(&stream);
    if (!digest_equal(&expected, &found)) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&found, hex);
        return error_set(err, ST_DAMAGED,
                         "digest mismatch: the contents are not what was written "
                         "(they have %.16s...)",
                         hex);
    }
    return ST_OK;
}
