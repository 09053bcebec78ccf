/*
 * One record of the usage file <-> 128 bytes. The layout is in docs/usage.md.
 */
#include "serve/usage.h"

#include <endian.h>

#define USAGE_VERSION 1u

static void put16(uint8_t *at, uint16_t v) {
    v = htole16(v);
    memcpy(at, &v, sizeof v);
}
static void put32(uint8_t *at, uint32_t v) {
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}
static void put64(uint8_t *at, uint64_t v) {
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

void usage_record_encode(const struct usage_record *r, uint8_t b[USAGE_RECORD_BYTES]) {
    memset(b, 0, USAGE_RECORD_BYTES);
    b[4] = (uint8_t)r->type;
    b[5] = USAGE_VERSION;
    put64(b + 8, r->sequence);
    if (r->type == USAGE_FILE)
        put64(b + 16, r->file_id);
    else
        put32(b + 16, r->app);
    if (r->type == USAGE_APP) {
        uint32_t length = r->name_length < USAGE_NAME_MAX ? r->name_length : USAGE_NAME_MAX;
        put32(b + 20, length);
        memcpy(b + 24, r->name, length);
    } else {
        if (r->type != USAGE_FILE) {
            put16(b + 20, r->status);
            b[22] = r->trouble;
            b[23] = r->flags;
        }
        put64(b + 24, r->request);
        put64(b + 32, r->began_unix_ns);
        put64(b + 40, r->wall_ns);
        put64(b + 48, r->queue_ns);
        put64(b + 56, r->cpu_ns);
        put64(b + 64, r->received_bytes);
        put64(b + 72, r->sent_bytes);
        put64(b + 80, r->memory_peak_bytes);
        put64(b + 88, r->tenant);
    }
    put32(b, crc32c(~0u, b + 4, USAGE_RECORD_BYTES - 4));
}

enum status usage_record_decode(const uint8_t b[USAGE_RECORD_BYTES], struct usage_record *ret,
                                struct error *err) {
    struct reader r = reader_over(b, USAGE_RECORD_BYTES);
    if (reader_u32(&r) != crc32c(~0u, b + 4, USAGE_RECORD_BYTES - 4))
        return error_set(err, ST_DAMAGED, "the record's checksum does not hold");
    uint8_t type = reader_u8(&r), version = reader_u8(&r);
    if (version != USAGE_VERSION || type < USAGE_FILE || type > USAGE_OVERHEAD)
        return error_set(err, ST_UNSUPPORTED, "a record of version %u, type %u", version, type);
    reader_u16(&r);
    *ret = (struct usage_record){.type = (enum usage_type)type, .sequence = reader_u64(&r)};
    if (ret->type == USAGE_FILE) {
        ret->file_id = reader_u64(&r);
    } else {
        ret->app = reader_u32(&r);
        if (ret->type == USAGE_APP) {
            ret->name_length = reader_u32(&r);
            ret->name = (const char *)b + 24;
            if (ret->name_length > USAGE_NAME_MAX)
                return error_set(err, ST_DAMAGED, "a name of %u bytes", ret->name_length);
            return ST_OK;
        }
        ret->status = reader_u16(&r);
        ret->trouble = reader_u8(&r);
        ret->flags = reader_u8(&r);
    }
    ret->request = reader_u64(&r);
    ret->began_unix_ns = reader_u64(&r);
    ret->wall_ns = reader_u64(&r);
    ret->queue_ns = reader_u64(&r);
    ret->cpu_ns = reader_u64(&r);
    ret->received_bytes = reader_u64(&r);
    ret->sent_bytes = reader_u64(&r);
    ret->memory_peak_bytes = reader_u64(&r);
    ret->tenant = reader_u64(&r);
    return ST_OK;
}
