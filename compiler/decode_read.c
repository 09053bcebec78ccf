/*
 * The primitive things of the binary format (spec core 5.2) out of a bounded reader, each
 * failure with the official scripts' words, what was being read, and its offset in the module.
 */
#include "compiler/decode.h"

static enum status truncated(const struct reader *r, const char *what, struct error *err) {
    return error_set_at(err, ST_MALFORMED, reader_offset(r),
                        "unexpected end of section or function: bytes end in the %s", what);
}

static enum status leb_status(const struct reader *r, const uint8_t *at, enum leb_result result,
                              const char *what, struct error *err) {
    uint64_t offset = (uint64_t)(at - r->start);
    switch (result) {
    case LEB_OK: return ST_OK;
    case LEB_TRUNCATED: return truncated(r, what, err);
    case LEB_TOO_LONG:
        return error_set_at(err, ST_MALFORMED, offset,
                            "integer representation too long: LEB128 of the %s", what);
    case LEB_TOO_LARGE: break;
    }
    return error_set_at(err, ST_MALFORMED, offset,
                        "integer too large: LEB128 of the %s has bits that do not fit its type",
                        what);
}

enum status read_byte(struct reader *r, const char *what, uint8_t *ret, struct error *err) {
    if (r->at == r->end) return truncated(r, what, err);
    *ret = *r->at++;
    return ST_OK;
}

enum status read_u32(struct reader *r, const char *what, uint32_t *ret, struct error *err) {
    const uint8_t *at = r->at;
    if (at < r->end && *at < 0x80) { /* nearly all of them */
        *ret = *at;
        r->at++;
        return ST_OK;
    }
    return leb_status(r, at, reader_leb_u32(r, ret), what, err);
}

enum status read_u64(struct reader *r, const char *what, uint64_t *ret, struct error *err) {
    const uint8_t *at = r->at;
    return leb_status(r, at, reader_leb_u64(r, ret), what, err);
}

enum status read_s32(struct reader *r, const char *what, int32_t *ret, struct error *err) {
    const uint8_t *at = r->at;
    return leb_status(r, at, reader_leb_s32(r, ret), what, err);
}

enum status read_s33(struct reader *r, const char *what, int64_t *ret, struct error *err) {
    const uint8_t *at = r->at;
    return leb_status(r, at, reader_leb_s33(r, ret), what, err);
}

enum status read_s64(struct reader *r, const char *what, int64_t *ret, struct error *err) {
    const uint8_t *at = r->at;
    return leb_status(r, at, reader_leb_s64(r, ret), what, err);
}

enum status read_bytes(struct reader *r, const char *what, size_t size, const uint8_t **ret,
                       struct error *err) {
    if (reader_left(r) < size) {
        r->at = r->end;
        return truncated(r, what, err);
    }
    *ret = r->at;
    r->at += size;
    return ST_OK;
}

enum status read_count(struct reader *r, const char *what, uint32_t limit, uint32_t *ret,
                       struct error *err) {
    uint64_t at = reader_offset(r);
    uint32_t count;
    TRY(read_u32(r, what, &count, err));
    if (count > reader_left(r))
        return error_set_at(err, ST_MALFORMED, at,
                            "unexpected end of section or function: %s is %u, but %zu bytes "
                            "are left",
                            what, count, reader_left(r));
    if (count > limit)
        return error_set_at(err, ST_LIMIT, at, "%s is %u, at most %u are supported", what,
                            count, limit);
    *ret = count;
    return ST_OK;
}

enum status read_name(struct reader *r, const char *what, const uint8_t **ret,
                      uint32_t *ret_length, struct error *err) {
    uint64_t at = reader_offset(r);
    uint32_t length;
    const uint8_t *bytes;
    TRY(read_u32(r, what, &length, err));
    if (length > reader_left(r))
        return error_set_at(err, ST_MALFORMED, at,
                            "length out of bounds: the %s has %u bytes, but %zu are left", what,
                            length, reader_left(r));
    TRY(read_bytes(r, what, length, &bytes, err));
    if (!utf8_valid(bytes, length))
        return error_set_at(err, ST_MALFORMED, at, "malformed UTF-8 encoding of the %s", what);
    *ret = bytes;
    *ret_length = length;
    return ST_OK;
}
