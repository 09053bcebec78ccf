/*
 * The chunked transfer coding, read (RFC 9112 7.1). Strict: hexadecimal digits only, CR LF
 * only, extensions and trailers without control bytes and bounded; both are dropped.
 */
#ifndef HUTCH_SERVE_HTTP_CHUNKED_H
#define HUTCH_SERVE_HTTP_CHUNKED_H

#include "base/base.h"

enum http_chunked_state {
    CHUNKED_SIZE, /* the first digit of a size */
    CHUNKED_SIZE_MORE,
    CHUNKED_EXTENSION,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER, /* the first byte of a line */
    CHUNKED_TRAILER_MORE,
    CHUNKED_TRAILER_LF,
    CHUNKED_END_LF,
    CHUNKED_DONE
};
/* Zero-initialised is the beginning of a body. */
struct http_chunked {
    enum http_chunked_state state;
    uint64_t left;     /* of the chunk */
    uint32_t overhead; /* bytes of the current size line, or of all trailers */
};
/*
 * Reads on until it meets data, the end, or the end of bytes. Returns how many bytes it used,
 * or -1 where they are malformed. ret_data and ret_size: data among the bytes used (size 0:
 * none). Call again with what is left while something was used and state is not CHUNKED_DONE.
 */
ptrdiff_t http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t size,
                            const char **ret_data, size_t *ret_size);

#endif
