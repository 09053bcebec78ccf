/*
 * Chunked bodies to data, as a machine over bytes that stops at every piece of data.
 */
#include "serve/http_chunked.h"

#define OVERHEAD_MAX 8192u /* of a size line with its extensions; of all trailers */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool is_control(char c) { return (unsigned char)c < 0x20 && c != '\t'; }

/* One byte outside of data. false: malformed. */
static bool step(struct http_chunked *k, char c) {
    switch (k->state) {
    case CHUNKED_SIZE:
    case CHUNKED_SIZE_MORE: {
        int digit = hex(c);
        if (digit >= 0) {
            if (k->left >> 56) return false;
            k->left = k->left * 16 + (uint64_t)digit;
            k->state = CHUNKED_SIZE_MORE;
            return true;
        }
        if (k->state == CHUNKED_SIZE) return false;
        if (c != '\r' && c != ';') return false;
        k->state = c == '\r' ? CHUNKED_SIZE_LF : CHUNKED_EXTENSION;
        return true;
    }
    case CHUNKED_EXTENSION:
        if (c == '\r') k->state = CHUNKED_SIZE_LF;
        return c == '\r' || !is_control(c);
    case CHUNKED_SIZE_LF:
        k->state = k->left ? CHUNKED_DATA : CHUNKED_TRAILER;
        k->overhead = 0;
        return c == '\n';
    case CHUNKED_DATA_CR: k->state = CHUNKED_DATA_LF; return c == '\r';
    case CHUNKED_DATA_LF: k->state = CHUNKED_SIZE; return c == '\n';
    case CHUNKED_TRAILER:
        k->state = c == '\r' ? CHUNKED_END_LF : CHUNKED_TRAILER_MORE;
        return c == '\r' || (!is_control(c) && c != ' ' && c != '\t' && c != ':');
    case CHUNKED_TRAILER_MORE:
        if (c == '\r') k->state = CHUNKED_TRAILER_LF;
        return c == '\r' || !is_control(c);
    case CHUNKED_TRAILER_LF: k->state = CHUNKED_TRAILER; return c == '\n';
    case CHUNKED_END_LF: k->state = CHUNKED_DONE; return c == '\n';
    case CHUNKED_DATA:
    case CHUNKED_DONE: break;
    }
    return false;
}

ptrdiff_t http_chunked_read(struct http_chunked *k, const char *bytes, size_t size,
                            const char **ret_data, size_t *ret_size) {
    size_t used = 0;
    *ret_data = NULL;
    *ret_size = 0;
    while (used < size && k->state != CHUNKED_DONE) {
        if (k->state == CHUNKED_DATA) {
            size_t take = size - used < k->left ? size - used : (size_t)k->left;
            *ret_data = bytes + used;
            *ret_size = take;
            k->left -= take;
            if (!k->left) k->state = CHUNKED_DATA_CR;
            return (ptrdiff_t)(used + take);
        }
        if (++k->overhead > OVERHEAD_MAX || !step(k, bytes[used])) return -1;
        used++;
    }
    return (ptrdiff_t)used;
}
