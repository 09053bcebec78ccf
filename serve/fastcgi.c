/*
 * FastCGI records and name-value pairs to bytes and back (FastCGI 1.0, sections 3.3 and 3.4).
 */
#include "serve/fastcgi.h"

#include <event2/buffer.h>

bool fcgi_header_read(const uint8_t b[FCGI_HEADER_SIZE], struct fcgi_header *ret_header) {
    *ret_header = (struct fcgi_header){.type = b[1],
                                       .id = (uint16_t)(b[2] << 8 | b[3]),
                                       .content_bytes = (uint16_t)(b[4] << 8 | b[5]),
                                       .padding_bytes = b[6]};
    return b[0] == 1;
}

void fcgi_put_header(struct evbuffer *out, enum fcgi_type type, uint16_t id, size_t size) {
    uint8_t header[FCGI_HEADER_SIZE] = {1,           (uint8_t)type,        (uint8_t)(id >> 8),
                                        (uint8_t)id, (uint8_t)(size >> 8), (uint8_t)size};
    evbuffer_add(out, header, sizeof header);
}

void fcgi_put(struct evbuffer *out, enum fcgi_type type, uint16_t id, const void *bytes,
              size_t size) {
    const uint8_t *at = bytes;
    while (size) {
        size_t piece = size < FCGI_CONTENT_MAX ? size : FCGI_CONTENT_MAX;
        fcgi_put_header(out, type, id, piece);
        evbuffer_add(out, at, piece);
        at += piece;
        size -= piece;
    }
}

void fcgi_put_end(struct evbuffer *out, uint16_t id, uint32_t app_status, uint8_t status) {
    uint8_t body[8] = {(uint8_t)(app_status >> 24), (uint8_t)(app_status >> 16),
                       (uint8_t)(app_status >> 8), (uint8_t)app_status, status};
    fcgi_put(out, FCGI_END_REQUEST, id, body, sizeof body);
}

static void put_size(struct buffer *b, size_t size) {
    if (size > 127) {
        buffer_put_u8(b, (uint8_t)(0x80 | size >> 24));
        buffer_put_u8(b, (uint8_t)(size >> 16));
        buffer_put_u8(b, (uint8_t)(size >> 8));
    }
    buffer_put_u8(b, (uint8_t)size);
}

void fcgi_put_pair(struct buffer *b, const char *name, size_t name_size, const char *value,
                   size_t value_size) {
    put_size(b, name_size);
    put_size(b, value_size);
    buffer_put(b, name, name_size);
    buffer_put(b, value, value_size);
}

static size_t read_size(struct reader *r) {
    size_t size = reader_u8(r);
    if (size < 128) return size;
    size = (size & 0x7f) << 24;
    size |= (size_t)reader_u8(r) << 16;
    size |= (size_t)reader_u8(r) << 8;
    return size | reader_u8(r);
}

bool fcgi_read_pair(struct reader *r, const char **ret_name, size_t *ret_name_size,
                    const char **ret_value, size_t *ret_value_size) {
    if (!reader_left(r)) return false;
    *ret_name_size = read_size(r);
    *ret_value_size = read_size(r);
    if (r->failed) return false;
    *ret_name = (const char *)reader_bytes(r, *ret_name_size);
    *ret_value = (const char *)reader_bytes(r, *ret_value_size);
    return !r->failed;
}
