/*
 * The one cursor through which bytes that are not trusted are read: fixed little-endian fields,
 * LEB128 (spec core 5.2.2) and UTF-8 (spec core 5.2.4).
 */
#include "base/base.h"

const uint8_t *reader_bytes(struct reader *r, size_t size) {
    if (r->failed || reader_left(r) < size) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *bytes = r->at;
    r->at += size;
    return bytes;
}

uint8_t reader_u8(struct reader *r) {
    const uint8_t *p = reader_bytes(r, 1);
    return p ? *p : 0;
}

static uint64_t read_le(struct reader *r, unsigned size) {
    const uint8_t *p = reader_bytes(r, size);
    uint64_t v = 0;
    if (p)
        for (unsigned i = 0; i < size; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint16_t reader_u16(struct reader *r) { return (uint16_t)read_le(r, 2); }
uint32_t reader_u32(struct reader *r) { return (uint32_t)read_le(r, 4); }
uint64_t reader_u64(struct reader *r) { return read_le(r, 8); }

/*
 * Unsigned LEB128 of at most `bits` bits. The last byte that may exist holds bits % 7 bits (or
 * 7), and what lies above them must be zero.
 */
static enum leb_result leb_unsigned(struct reader *r, unsigned bits, uint64_t *ret) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (r->failed || r->at == r->end) {
            r->failed = true;
            return LEB_TRUNCATED;
        }
        uint8_t byte = *r->at++;
        unsigned room = bits - shift;
        if (room <= 7) { /* the last byte allowed */
            if (byte & 0x80) return LEB_TOO_LONG;
            if (room < 7 && (byte >> room) != 0) return LEB_TOO_LARGE;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return LEB_OK;
        }
    }
}

/* Signed LEB128: unused bits of the last byte must all equal the sign bit. */
static enum leb_result leb_signed(struct reader *r, unsigned bits, int64_t *ret) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (r->failed || r->at == r->end) {
            r->failed = true;
            return LEB_TRUNCATED;
        }
        uint8_t byte = *r->at++;
        unsigned room = bits - shift;
        if (room <= 7) {
            if (byte & 0x80) return LEB_TOO_LONG;
            uint8_t top = (uint8_t)((byte & 0x7f) >> (room - 1)); /* sign bit and above */
            if (top != 0 && top != (uint8_t)(0x7f >> (room - 1))) return LEB_TOO_LARGE;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            unsigned used = shift + 7;
            if (used < 64 && (byte & 0x40)) value |= ~(uint64_t)0 << used;
            *ret = (int64_t)value;
            return LEB_OK;
        }
    }
}

enum leb_result reader_leb_u32(struct reader *r, uint32_t *ret) {
    uint64_t v;
    enum leb_result result = leb_unsigned(r, 32, &v);
    if (result == LEB_OK) *ret = (uint32_t)v;
    return result;
}

enum leb_result reader_leb_u64(struct reader *r, uint64_t *ret) {
    return leb_unsigned(r, 64, ret);
}

enum leb_result reader_leb_s32(struct reader *r, int32_t *ret) {
    int64_t v;
    enum leb_result result = leb_signed(r, 32, &v);
    if (result == LEB_OK) *ret = (int32_t)v;
    return result;
}

enum leb_result reader_leb_s33(struct reader *r, int64_t *ret) {
    return leb_signed(r, 33, ret);
}
enum leb_result reader_leb_s64(struct reader *r, int64_t *ret) {
    return leb_signed(r, 64, ret);
}

bool utf8_valid(const uint8_t *p, size_t size) {
    const uint8_t *end = p + size;
    while (p < end) {
        uint8_t lead = *p++;
        if (lead < 0x80) continue;
        unsigned more;
        uint8_t low = 0x80, high = 0xbf; /* what the second byte may be */
        if (lead >= 0xc2 && lead <= 0xdf) {
            more = 1;
        } else if (lead >= 0xe0 && lead <= 0xef) {
            more = 2;
            if (lead == 0xe0) low = 0xa0;  /* overlong */
            if (lead == 0xed) high = 0x9f; /* surrogates */
        } else if (lead >= 0xf0 && lead <= 0xf4) {
            more = 3;
            if (lead == 0xf0) low = 0x90;  /* overlong */
            if (lead == 0xf4) high = 0x8f; /* above U+10FFFF */
        } else {
            return false;
        }
        if ((size_t)(end - p) < more || *p < low || *p > high) return false;
        for (unsigned i = 1; i < more; i++)
            if ((p[i] & 0xc0) != 0x80) return false;
        p += more;
    }
    return true;
}
