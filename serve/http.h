/*
 * HTTP/1.1 messages (RFC 9110, RFC 9112) as the front reads and writes them: a request's head
 * from the bytes of a client, a response's head to bytes.
 *
 *   http_lint.c      the strict rules that a head is held to before anything else reads it
 *   http_request.c   a head's bytes -> struct http_request
 *   http_response.c  struct http_response -> bytes, and the pages of our own errors
 *   http_server.c    connections of clients
 *
 * Ownership: a request owns one block with all its strings, which are terminated. Threads:
 * none.
 */
#ifndef HUTCH_SERVE_HTTP_H
#define HUTCH_SERVE_HTTP_H

#include "base/base.h"

#include <sys/types.h>

#define HTTP_MAX_FIELDS 100u /* of a head; more is 431, or 502 from an app */

struct http_field {
    const char *name, *value; /* value: without spaces around it */
};
struct http_fields {
    struct http_field *at;
    uint32_t count, capacity;
    bool failed; /* out of memory, or too many */
};

struct http_request {
    char *block; /* what the strings lie in */
    const char *method, *target;
    const char *path;     /* percent-decoded, dot segments resolved; starts with '/', or "*" */
    const char *query;    /* without '?'; NULL where there is none */
    const char *raw_path; /* the path as it was sent; not terminated */
    size_t raw_path_length;
    const char *host; /* with its port, as sent; "" for HTTP/1.0 without one */
    struct http_fields fields;
    int minor;              /* HTTP/1.minor */
    int64_t content_length; /* -1: not known (chunked), 0: no body */
    bool chunked, keep_alive, expects_continue;
    bool head; /* the method is HEAD */
};

struct http_limits {
    size_t line_bytes; /* of the request line: 414 beyond */
    size_t head_bytes; /* of line and fields: 431 beyond */
};

/* ---- http_request.c ---- */

/*
 * How far the head at the start of bytes goes. Returns 0 and *ret_size where it is complete
 * (0: more bytes are needed), else the status to refuse it with.
 */
int http_head_find(const char *bytes, size_t size, const struct http_limits *limits,
                   size_t *ret_size);
/*
 * Reads a complete head of size bytes. Returns 0, or the HTTP status to refuse it with and in
 * ret_reason a few words for the log; ret_request is valid (and to be finished) either way.
 */
int http_request_read(const char *bytes, size_t size, struct http_request *ret_request,
                      const char **ret_reason);
void http_request_finish(struct http_request *request);
/* The first field of that name, or NULL. */
const char *http_field_get(const struct http_fields *fields, const char *name);
/* Whether a comma-separated field holds the token. */
bool http_field_has_token(const struct http_fields *fields, const char *name,
                          const char *token);
void http_fields_add(struct http_fields *fields, const char *name, const char *value);
/* All of that name. */
void http_fields_remove(struct http_fields *fields, const char *name);
void http_fields_finish(struct http_fields *fields);
/* Fields that concern one connection only, and are not passed on (RFC 9110 7.6.1). */
bool http_field_is_hop(const struct http_fields *fields, const char *name);
/* The decoded path with its dot segments resolved, into ret (as long as path and 2 bytes more).
 * false where it is malformed, holds a NUL or climbs above the root. */
bool http_path_resolve(const char *path, size_t length, char *ret);

/* ---- http_lint.c ---- */
/*
 * RFC 9112 without its leniencies, all of which somebody has smuggled a request with: every
 * line ends with CR LF, no other CR, LF or NUL, no folded lines, a field's name is a token with
 * the colon right behind it, one space between the parts of the request line. Returns NULL or
 * what is wrong.
 */
const char *http_lint_head(const char *bytes, size_t size);
bool http_is_token(const char *text, size_t length);
/* A field's value: no control bytes but tab. */
bool http_is_value(const char *text, size_t length);
/* Digits only, at most 18 of them: -1 where it is not a length. */
int64_t http_length(const char *text);

/* ---- http_response.c ---- */

struct http_response {
    int status;
    struct http_fields fields; /* without framing; names and values borrowed */
    int64_t content_length;    /* -1: not known beforehand */
};
struct evbuffer;
/* How the end of a body is told. */
enum http_framing {
    HTTP_NO_BODY,
    HTTP_LENGTH,
    HTTP_CHUNKED,
    HTTP_UNTIL_CLOSE
};
const char *http_reason(int status);
/* Appends the head; adds Date where the app gave none. */
void http_response_write(const struct http_response *response, int request_minor,
                         enum http_framing framing, bool keep_alive, struct evbuffer *out);
/* Whether a response to that method with that status has a body at all. */
bool http_has_body(bool head, int status);
/* The current time as in a Date field; remembered for the second. */
const char *http_date(void);
/* The page of an error of our own, as text. */
void http_error_page(int status, struct evbuffer *out);

#endif
