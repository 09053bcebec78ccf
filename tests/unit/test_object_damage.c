/*
 * Damaged code objects: every bit flipped, every length cut, every field set to extreme values.
 * Each must be refused, or what was read must still be whole: then everything that the decoded
 * object points at is touched, so that a sanitizer sees a bound that was missed. Arguments: the
 * three relocatable objects.
 */
#include "loader/object.h"
#include "tests/unit/object_fixture.h"
#include "tests/unit/object_touch.h"

static uint64_t sink;
static unsigned long refused, accepted, unexplained;

/* Reads `size` bytes, which must be refused with a message, or hold together. */
static enum status try_read(const uint8_t *bytes, uint64_t size) {
    struct error err = {0};
    auto_arena struct arena arena = {.limit_bytes = 64 * size + 65536};
    struct abi_object o;
    enum status status = object_read(bytes, size, true, &arena, &o, &err);
    if (status == ST_OK) {
        accepted++;
        sink += object_touch(&o, bytes, size);
    } else {
        refused++;
        if (err.message[0] == 0 || err.status != status ||
            (status != ST_DAMAGED && status != ST_INCOMPATIBLE && status != ST_LIMIT))
            unexplained++;
    }
    return status;
}

static void flip_every_byte(const struct buffer *object) {
    unsigned long missed = 0;
    for (size_t i = 0; i < object->size; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        object->bytes[i] ^= bit;
        try_read(object->bytes, object->size);
        if (i % 29 == 0)
            missed += object_verify_digest(object->bytes, object->size, NULL) == ST_OK;
        object->bytes[i] ^= bit;
    }
    EXPECT(missed == 0);
    EXPECT(try_read(object->bytes, object->size) == ST_OK);
}

static void cut_everywhere(const struct buffer *object) {
    unsigned long let_through = 0;
    for (size_t size = 0; size < object->size; size++) {
        /* a copy of just that size, so that a read behind it is seen */
        if (size > 4096 && size % 61 && size + 600 < object->size) continue;
        auto_free uint8_t *part = malloc(size ? size : 1);
        CHECK(part);
        if (size) memcpy(part, object->bytes, size);
        let_through += try_read(part, size) == ST_OK;
        let_through += object_verify_digest(part, size, NULL) == ST_OK;
    }
    EXPECT(let_through == 0);
}

/* Every 32-bit field (at any offset) becomes what breaks sloppy arithmetic. */
static void extreme_fields(const struct buffer *object) {
    static const uint32_t values[] = {0, 0x7f, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i + 4 <= object->size; i++) {
        /* code, image and debug information are not looked at when reading */
        if (i >= 0x1000 && i + 4096 < object->size) continue;
        uint8_t saved[4];
        memcpy(saved, object->bytes + i, 4);
        for (size_t v = 0; v < countof(values); v++) {
            memcpy(object->bytes + i, &values[v], 4);
            try_read(object->bytes, object->size);
        }
        memcpy(object->bytes + i, saved, 4);
    }
    EXPECT(try_read(object->bytes, object->size) == ST_OK);
}

/* Overwrites bytes, expects this message, and puts them back. */
static void expect_message(const struct buffer *object, size_t at, const void *bytes,
                           size_t size, enum status status, const char *part) {
    uint8_t saved[16];
    memcpy(saved, object->bytes + at, size);
    memcpy(object->bytes + at, bytes, size);
    struct error err = {0};
    auto_arena struct arena arena = {0};
    struct abi_object o;
    EXPECT(object_read(object->bytes, object->size, true, &arena, &o, &err) == status);
    if (!strstr(err.message, part)) EXPECT_STR(err.message, part);
    memcpy(object->bytes + at, saved, size);
}

static void reasons(const struct buffer *object) {
    const size_t compat = OBJECT_COMPAT_OFFSET;
    expect_message(object, 0, "MZ", 2, ST_DAMAGED, "not a code object: wrong magic");
    expect_message(object, compat, "HUTCHOBK", 8, ST_DAMAGED, "wrong magic");
    expect_message(object, compat + 8, "\x02\0\0\0", 4, ST_INCOMPATIBLE, "format version 2");
    expect_message(object, compat + 12, "\xb7\0", 2, ST_INCOMPATIBLE, "architecture aarch64");
    expect_message(object, compat + 16, "\1\2\3\4\5\6\7\x8", 8, ST_INCOMPATIBLE,
                   "ABI fingerprint 0807060504030201");
    expect_message(object, compat + 24, "\0\0\0\0\0\0\0\x80", 8, ST_INCOMPATIBLE,
                   "this processor has no unknown CPU feature");
    expect_message(object, compat + 14, "\2", 1, ST_DAMAGED, "damaged section .hutch.compat");
    uint64_t missing = ABI_X86_64_V4 & ~abi_cpu_features();
    if (missing)
        expect_message(object, compat + 24, &missing, 8, ST_INCOMPATIBLE,
                       abi_cpu_feature_name((unsigned)__builtin_ctzll(missing)));
    /* program header 1: writable code; code that does not begin on a page */
    expect_message(object, 64 + 56 + 4, "\7", 1, ST_DAMAGED, "is writable");
    expect_message(object, 64 + 4, "\5", 1, ST_DAMAGED, "not one of a code object");
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    EXPECT(fixture_link(&m, ABI_PINNED, argv + 1, 3, &object, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    if (err.status == ST_OK) {
        reasons(&object);
        flip_every_byte(&object);
        cut_everywhere(&object);
        extreme_fields(&object);
        printf("%lu refused, %lu read (%llx)\n", refused, accepted, (unsigned long long)sink);
        EXPECT(unexplained == 0);
        EXPECT(refused > 1000 && accepted > 1000);
    }
    return test_end();
}
