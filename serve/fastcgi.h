/*
 * FastCGI 1.0 records, both ways: the front speaks it to tenants (as a web server does) and to
 * web servers in front of it (as an application does).
 *
 *     version 1 | type 1 | request id 2 | content length 2 | padding 1 | reserved 1 | content
 * ...
 */
#ifndef HUTCH_SERVE_FASTCGI_H
#define HUTCH_SERVE_FASTCGI_H

#include "base/base.h"

struct evbuffer;

enum fcgi_type {
    FCGI_BEGIN_REQUEST = 1,
    FCGI_ABORT_REQUEST,
    FCGI_END_REQUEST,
    FCGI_PARAMS,
    FCGI_STDIN,
    FCGI_STDOUT,
    FCGI_STDERR,
    FCGI_DATA,
    FCGI_GET_VALUES,
    FCGI_GET_VALUES_RESULT,
    FCGI_UNKNOWN_TYPE
};
enum {
    FCGI_RESPONDER = 1,
    FCGI_KEEP_CONN = 1,
    FCGI_REQUEST_COMPLETE = 0,
    FCGI_CANT_MPX_CONN = 1,
    FCGI_OVERLOADED = 2,
    FCGI_UNKNOWN_ROLE = 3
};
#define FCGI_HEADER_SIZE 8u
#define FCGI_CONTENT_MAX 65535u

struct fcgi_header {
    uint8_t type;
    uint16_t id;
    uint16_t content_bytes;
    uint8_t padding_bytes;
};
/* false where the version is not 1. */
bool fcgi_header_read(const uint8_t bytes[FCGI_HEADER_SIZE], struct fcgi_header *ret_header);
void fcgi_put_header(struct evbuffer *out, enum fcgi_type type, uint16_t id, size_t size);
/* size bytes as records of that type; none for size 0 (which would end the stream). */
void fcgi_put(struct evbuffer *out, enum fcgi_type type, uint16_t id, const void *bytes,
              size_t size);
void fcgi_put_end(struct evbuffer *out, uint16_t id, uint32_t app_status, uint8_t status);
/* One name and value in the protocol's own form. */
void fcgi_put_pair(struct buffer *b, const char *name, size_t name_size, const char *value,
                   size_t value_size);
/* The next pair; false at the end, and where it is malformed (r->failed then). Borrowed. */
bool fcgi_read_pair(struct reader *r, const char **ret_name, size_t *ret_name_size,
                    const char **ret_value, size_t *ret_value_size);

#endif
