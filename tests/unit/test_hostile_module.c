/*
 * Modules made to hurt: cut at every byte, with every bit flipped, with counts that lie,
 * deeper, wider and longer than anything real. Each must end in a status within a second or
 * few, and in memory bounded by the input. Allocations are failed one by one (malloc is
 * wrapped).
 */
#include "compiler/module.h"
#include "compiler/opcodes.h"
#include "tests/unit/module_builder.h"
#include "tests/unit/test.h"

#include <time.h>

/* ---- malloc that fails ---- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
static long allocations_left = -1; /* -1: no end */
static long allocations;

void *__wrap_malloc(size_t size) {
    allocations++;
    if (allocations_left == 0) return NULL;
    if (allocations_left > 0) allocations_left--;
    return __real_malloc(size);
}

/* ---- */

/* One of everything, as in test_decode.c, with more code. */
static void build_everything(struct buffer *b) {
    build_header(b);
    build_section_hex(b, 1, "03 60 02 7f 7e 01 7d 60 00 00 60 01 7f 02 7f 7f");
    build_section_hex(b, 2,
                      "04 01 6d 01 66 00 00 01 6d 01 74 01 70 01 01 02 01 6d 01 6d 02 00 "
                      "01 01 6d 01 67 03 7f 01");
    build_section_hex(b, 3, "03 01 01 00");
    build_section_hex(b, 4, "01 6f 00 05");
    build_section_hex(b, 6, "02 7e 00 42 7f 0b 7f 00 41 02 41 03 6c 0b");
    build_section_hex(b, 7, "04 01 61 00 01 01 62 01 01 01 63 03 00 01 64 02 00");
    build_section_hex(b, 8, "02");
    build_section_hex(b, 9,
                      "03 00 41 00 0b 01 01 05 70 02 d2 00 0b d0 70 0b 02 00 41 01 0b 00 "
                      "01 02");
    build_section_hex(b, 12, "02");
    build_section_hex(b, 10,
                      "03"
                      "02 00 0b"
                      "2e 02 02 7f 03 7c" /* 46 bytes */
                      "02 40 03 40 41 00 0d 01 41 01 0e 02 00 01 00 0b 0b"
                      "41 00 41 00 04 02 41 00 05 41 01 0b 1a 1a"
                      "41 00 28 02 04 1a 01 01 01 0b"
                      "21 00" /* 33 bytes */
                      "41 00 42 00 41 00 11 00 00 1a"
                      "41 00 fd 0f fd 15 0f 1a"
                      "41 00 41 00 41 00 fc 08 00 00"
                      "20 00 b2 0b");
    build_section_hex(b, 11, "02 00 41 03 0b 02 68 69 01 01 21");
    build_section_hex(b, 0,
                      "04 6e 61 6d 65 00 04 03 6d 6f 64 01 09 02 01 01 78 02 03 79 1b 7a");
}

/* On a copy of exactly this size, so that a sanitizer sees a read beyond it. */
static enum status check(const uint8_t *bytes, size_t size, struct error *err) {
    *err = (struct error){0};
    uint8_t *copy = __real_malloc(size ? size : 1);
    if (!copy) return ST_NO_MEMORY;
    if (size) memcpy(copy, bytes, size);
    enum status status = compile_check(copy, size, err);
    free(copy);
    return status;
}

static bool is_verdict(enum status status, const struct error *err, size_t size) {
    if (status == ST_OK) return true;
    if (status != ST_MALFORMED && status != ST_INVALID && status != ST_UNSUPPORTED &&
        status != ST_LIMIT)
        return false;
    return err->status == status && err->message[0] && !strchr(err->message, '\n') &&
           (!err->has_offset || err->wasm_offset <= size);
}

static void test_truncated(const struct buffer *b) {
    for (size_t size = 0; size < b->size; size++) {
        struct error err;
        enum status status = check(b->bytes, size, &err);
        if (!is_verdict(status, &err, size)) printf("cut at %zu: %s\n", size, err.message);
        EXPECT(is_verdict(status, &err, size));
        if (size < 8) EXPECT(status == ST_MALFORMED);
    }
}

static void test_flipped(const struct buffer *b) {
    for (size_t i = 0; i < b->size; i++) {
        uint8_t old = b->bytes[i];
        bool good = true;
        for (unsigned v = 0; v < 256; v++) {
            struct error err;
            b->bytes[i] = (uint8_t)v;
            enum status status = check(b->bytes, b->size, &err);
            if (is_verdict(status, &err, b->size)) continue;
            good = false;
            printf("byte %zu as %02x: %s: %s\n", i, v, status_text(status), err.message);
        }
        b->bytes[i] = old;
        EXPECT(good);
    }
}

static void test_out_of_memory(const struct buffer *b) {
    struct error err = {0};
    allocations = 0;
    EXPECT(compile_check(b->bytes, b->size, &err) == ST_OK);
    long needed = allocations;
    EXPECT(needed > 1);
    for (long i = 0; i < needed; i++) {
        allocations_left = i;
        enum status status = compile_check(b->bytes, b->size, &err);
        allocations_left = -1;
        /* qsort and names do without */
        EXPECT(status == ST_NO_MEMORY || status == ST_OK);
        if (i == 0) EXPECT(status == ST_NO_MEMORY);
    }
}

/* A vector length or size of 2^32-1 (and 2^64-1, as a LEB128 that does not fit) in each
 * section. */
static void test_lying_counts(void) {
    static const char *const lies[] = {"ff ff ff ff 0f", "ff ff ff ff ff ff ff ff ff 01",
                                       "80 80 80 80 80 80 80 80 80 00", "ff ff ff 7f"};
    for (uint8_t id = 0; id <= 12; id++)
        for (size_t i = 0; i < countof(lies); i++) {
            if (id == 8 || id == 12) continue; /* an index and a count of their own */
            auto_buffer struct buffer b = {0}, size = {0};
            build_header(&b);
            build_section_hex(&b, id, lies[i]);
            struct error err;
            EXPECT(check(b.bytes, b.size, &err) == ST_MALFORMED);
            build_header(&size);
            buffer_put_u8(&size, id);
            build_hex(&size, lies[i]);
            EXPECT(check(size.bytes, size.size, &err) == ST_MALFORMED);
        }
}

/* ---- large ones, against the clock ---- */

static enum status timed(const char *what, const struct buffer *b, double limit_seconds,
                         struct error *err) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    *err = (struct error){0};
    enum status status = compile_check(b->bytes, b->size, err);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    printf("%-32s %9zu bytes %6.2f s  %s\n", what, b->size, seconds, err->message);
    EXPECT(seconds < limit_seconds);
    return status;
}

static void repeat(struct buffer *b, const char *hex, uint32_t times) {
    auto_buffer struct buffer one = {0};
    build_hex(&one, hex);
    for (uint32_t i = 0; i < times; i++) buffer_put(b, one.bytes, one.size);
}

static enum status timed_body(const char *what, const char *types, struct buffer *body,
                              struct error *err) {
    auto_buffer struct buffer m = {0};
    build_function_module(&m, types, NULL, body);
    enum status status = timed(what, &m, 10, err);
    buffer_finish(body);
    return status;
}

static void test_nesting(void) {
    struct error err;
    struct buffer body = {0};
    buffer_put_u8(&body, 0);
    repeat(&body, "02 40", 100000);
    repeat(&body, "0b", 100000);
    EXPECT(timed_body("100,000 blocks deep", "01 60 00 00", &body, &err) == ST_LIMIT);
    buffer_put_u8(&body, 0);
    repeat(&body, "02 40", MODULE_MAX_NESTING);
    repeat(&body, "0b", MODULE_MAX_NESTING);
    EXPECT(timed_body("as deep as allowed", "01 60 00 00", &body, &err) == ST_OK);
    buffer_put_u8(&body, 0);
    repeat(&body, "41 00 04 40", 100000);
    EXPECT(timed_body("100,000 ifs, no end", "01 60 00 00", &body, &err) == ST_LIMIT);

    struct buffer m = {0}, global = {0};
    build_header(&m);
    build_hex(&global, "01 7f 00");
    repeat(&global, "02 7f", 1000000);
    repeat(&global, "0b", 1000000);
    build_hex(&global, "0b");
    build_section(&m, 6, &global);
    EXPECT(timed("blocks in a constant", &m, 5, &err) == ST_INVALID);
    buffer_finish(&m);
    build_header(&m);
    build_hex(&global, "01 7f 00");
    repeat(&global, "41 00", 1000000);
    build_hex(&global, "0b");
    build_section(&m, 6, &global);
    EXPECT(timed("a million constants", &m, 5, &err) == ST_LIMIT);
    buffer_finish(&m);
}

static void test_wide(void) {
    struct error err;
    struct buffer body = {0};
    /* br_table with labels to 5,000 blocks, over and over */
    build_hex(&body, "00");
    repeat(&body, "02 40", 5000);
    build_hex(&body, "41 00 0e");
    build_leb(&body, 7000000);
    for (uint32_t i = 0; i < 3500000; i++)
        build_leb(&body, i % 2 ? 127 : 0), buffer_put_u8(&body, (uint8_t)(i % 128));
    build_leb(&body, 0);
    repeat(&body, "0b", 5000);
    EXPECT(timed_body("7,000,000 labels", "01 60 00 00", &body, &err) == ST_OK);

    /* 1000 values to and fro for each two bytes */
    struct buffer types = {0}, m = {0}, section = {0};
    build_leb(&types, 1);
    buffer_put_u8(&types, 0x60);
    for (int i = 0; i < 2; i++) {
        build_leb(&types, 1000);
        for (int j = 0; j < 1000; j++) buffer_put_u8(&types, ABI_I32);
    }
    for (int grow = 0; grow < 2; grow++) {
        build_header(&m);
        buffer_put(&section, types.bytes, types.size);
        if (grow) { /* [] -> [i32 x 1000]: the operand stack would grow to 3.8 billion */
            buffer_finish(&section);
            build_hex(&section, "01 60 00");
            build_leb(&section, 1000);
            for (int j = 0; j < 1000; j++) buffer_put_u8(&section, ABI_I32);
        }
        build_section(&m, 1, &section);
        build_section_hex(&m, 3, "01 00");
        buffer_put_u8(&body, 0);
        for (int i = 0; i < 1000 && !grow; i++) build_hex(&body, "41 00");
        repeat(&body, "10 00", 1000000);
        build_leb(&section, 1);
        build_leb(&section, body.size + 1);
        buffer_put(&section, body.bytes, body.size);
        buffer_put_u8(&section, 0x0b);
        build_section(&m, 10, &section);
        buffer_finish(&body);
        enum status status =
            timed(grow ? "a million calls, 1000 results" : "a million calls, 1000 values", &m,
                  30, &err);
        EXPECT(status == ST_LIMIT);
        buffer_finish(&m);
    }
    buffer_finish(&types);
}

static void test_locals(void) {
    struct error err;
    struct buffer body = {0};
    build_leb(&body, 49000);
    for (int i = 0; i < 49000; i++) build_hex(&body, i % 2 ? "01 7f" : "01 7e");
    repeat(&body, "20 e7 fe 02 1a", 1000000); /* local 48999 */
    EXPECT(timed_body("a million gets, 49,000 runs", "01 60 00 00", &body, &err) == ST_OK);

    /* many functions with many locals in few bytes */
    struct buffer m = {0}, section = {0};
    build_header(&m);
    build_section_hex(&m, 1, "01 60 00 00");
    build_leb(&section, 1000000);
    buffer_put_zero(&section, 1000000);
    build_section(&m, 3, &section);
    build_leb(&section, 1000000);
    repeat(&section, "06 01 d0 86 03 7f 0b", 1000000); /* 50,000 of i32 */
    build_section(&m, 10, &section);
    EXPECT(timed("a million bodies, 50,000 locals", &m, 10, &err) == ST_OK);
    buffer_finish(&m);
}

static void test_many(void) {
    struct error err;
    struct buffer m = {0}, section = {0};
    build_header(&m);
    build_leb(&section, 1000000);
    for (uint32_t i = 0; i < 1000000; i++) { /* 64 different ones, again and again */
        build_hex(&section, "60 03");
        for (uint32_t j = 0; j < 3; j++)
            buffer_put_u8(&section, (uint8_t)(ABI_F64 + (i >> 2 * j) % 4));
        build_hex(&section, "00");
    }
    build_section(&m, 1, &section);
    EXPECT(timed("a million types", &m, 10, &err) == ST_OK);
    buffer_finish(&m);

    build_header(&m);
    build_section_hex(&m, 6, "01 7f 00 41 00 0b");
    build_leb(&section, 1000000);
    for (uint32_t i = 0; i < 1000000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%08u", i);
        build_leb(&section, 8);
        buffer_put(&section, name, 8);
        build_hex(&section, "03 00");
    }
    build_section(&m, 7, &section);
    EXPECT(timed("a million exports", &m, 10, &err) == ST_OK);
    buffer_finish(&m);

    build_header(&m);
    build_leb(&section, 1000000);
    repeat(&section, "7f 00 41 00 0b", 1000000);
    build_section(&m, 6, &section);
    build_leb(&section, 1);
    build_hex(&section, "05 6f");
    build_leb(&section, 3000000);
    repeat(&section, "d0 6f 0b", 3000000);
    build_section(&m, 9, &section);
    EXPECT(timed("a million globals, elements", &m, 10, &err) == ST_OK);
    buffer_finish(&m);

    build_header(&m);
    build_leb(&section, 1000001);
    buffer_put_zero(&section, 1000001);
    build_section(&m, 3, &section);
    EXPECT(timed("a million and one functions", &m, 10, &err) == ST_LIMIT);
    buffer_finish(&m);

    build_header(&m);
    build_hex(&section, "04 6e 61 6d 65 01 80 80 80 01");
    build_leb(&section, 0);
    for (int i = 0; i < 2000000; i++) buffer_put_u8(&section, (uint8_t)i);
    build_section(&m, 0, &section);
    EXPECT(timed("a name section of noise", &m, 10, &err) == ST_OK);
    buffer_finish(&m);
}

int main(void) {
    auto_buffer struct buffer b = {0};
    build_everything(&b);
    struct error err;
    EXPECT(check(b.bytes, b.size, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    test_truncated(&b);
    test_flipped(&b);
    test_out_of_memory(&b);
    test_lying_counts();
    test_nesting();
    test_wide();
    test_locals();
    test_many();
    return test_end();
}
