/*
 * Modules built byte by byte for tests, good ones and broken ones: LEB128, vectors and sections
 * on top of struct buffer.
 *
 *     auto_buffer struct buffer m = {0}, types = {0};
 *     build_header(&m);
 *     build_hex(&types, "01 60 00 00");
 *     build_section(&m, 1, &types);
 */
#ifndef HUTCH_TESTS_UNIT_MODULE_BUILDER_H
#define HUTCH_TESTS_UNIT_MODULE_BUILDER_H

#include "base/base.h"

static inline void build_leb(struct buffer *b, uint64_t value) {
    do {
        uint8_t byte = value & 0x7f;
        value >>= 7;
        buffer_put_u8(b, byte | (value ? 0x80 : 0));
    } while (value);
}

static inline void build_header(struct buffer *b) { buffer_put(b, "\0asm\1\0\0\0", 8); }

/* Bytes in hexadecimal; anything that is no digit separates. */
static inline void build_hex(struct buffer *b, const char *hex) {
    unsigned value = 0, digits = 0;
    for (;; hex++) {
        char c = *hex;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 16;
        if (digit < 16) {
            value = value * 16 + digit;
            if (++digits < 2) continue;
        }
        if (digits) buffer_put_u8(b, (uint8_t)value);
        value = digits = 0;
        if (!c) return;
    }
}

/* Appends a section and empties its content. */
static inline void build_section(struct buffer *b, uint8_t id, struct buffer *content) {
    buffer_put_u8(b, id);
    build_leb(b, content->size);
    buffer_put(b, content->bytes, content->size);
    buffer_finish(content);
}

/* The same with the content in hexadecimal. */
static inline void build_section_hex(struct buffer *b, uint8_t id, const char *hex) {
    struct buffer content = {0};
    build_hex(&content, hex);
    build_section(b, id, &content);
}

/*
 * A module with one function of type 0, whose body (locals and code, without the final end) is
 * `body`; `types` is the type section's content in hexadecimal; `before` are whole sections to
 * go between the function and the code section.
 */
static inline void build_function_module(struct buffer *b, const char *types,
                                         const struct buffer *before,
                                         const struct buffer *body) {
    struct buffer code = {0};
    build_header(b);
    build_section_hex(b, 1, types);
    build_section_hex(b, 3, "01 00");
    if (before) buffer_put(b, before->bytes, before->size);
    build_leb(&code, 1);
    build_leb(&code, body->size + 1);
    buffer_put(&code, body->bytes, body->size);
    buffer_put_u8(&code, 0x0b);
    build_section(b, 10, &code);
}

#endif
