/*
 * Damaged code objects: every bit flipped, every length cut, every field set to extreme values.
 * Each must be refused, or what was read must still be whole: then everything that the decoded
 * object points at is touched, so that a sanitizer sees a bound that was missed. Arguments: the
 * three relocatable objects.
 */
#include "loader/object.h"
#include "tests/unit/object_fixture.h"

/* Adds up everything an object holds. */
static uint64_t touch_bytes(const void *bytes, uint64_t size) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += ((const uint8_t *)bytes)[i];
    return sum;
}

static uint64_t touch_expr(const struct abi_const_expr *expr) {
    return touch_bytes(expr->steps, expr->count * sizeof *expr->steps);
}

static uint64_t touch_type(const struct functype *f) {
    return touch_bytes(f->params, f->param_count * sizeof *f->params) +
           touch_bytes(f->results, f->result_count * sizeof *f->results);
}

static uint64_t touch(const struct abi_object *o, const uint8_t *file, uint64_t size) {
    uint64_t sum = touch_bytes(file + o->text_offset, o->text_size) +
                   touch_bytes(file + o->rodata_offset, o->rodata_size) +
                   touch_bytes(file + o->eh_frame_offset, o->eh_frame_size) +
                   touch_bytes(file + o->eh_frame_hdr_offset, o->eh_frame_hdr_size) +
                   touch_bytes(file + o->lines_offset, o->lines_size) +
                   touch_bytes(file + o->names_offset, o->names_size);
    for (uint32_t i = 0; i < o->type_count; i++) sum += touch_type(&o->types[i].func);
    for (uint32_t i = 0; i < o->import_count; i++)
        sum += touch_bytes(o->imports[i].module, o->imports[i].module_length) +
               touch_bytes(o->imports[i].name, o->imports[i].name_length);
    for (uint32_t i = 0; i < o->export_count; i++)
        sum += touch_bytes(o->exports[i].name, o->exports[i].name_length);
    for (uint32_t i = 0; i < o->function_count; i++)
        sum += touch_type(&o->types[o->functions[i].type].func) +
               touch_bytes(file + o->text_offset + o->functions[i].code_offset,
                           o->functions[i].code_size);
    for (uint32_t i = 0; i < o->table_count; i++)
        sum += o->table_capacities[i] + o->table_fixed[i] + o->tables[i].limits.min;
    for (uint32_t i = 0; i < o->memory_count; i++) sum += o->memories[i].min;
    for (uint32_t i = 0; i < o->global_count; i++) sum += touch_expr(&o->globals[i].init);
    for (uint32_t i = 0; i < o->elem_count; i++) {
        const struct abi_elem *elem = &o->elems[i];
        sum += touch_expr(&elem->offset);
        for (uint32_t k = 0; k < elem->count; k++)
            sum +=
                elem->funcs ? o->functions[elem->funcs[k]].type : touch_expr(&elem->exprs[k]);
    }
    for (uint32_t i = 0; i < o->data_count; i++)
        sum +=
            touch_expr(&o->datas[i].offset) + touch_bytes(o->datas[i].bytes, o->datas[i].size);
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        uint64_t at = o->image_offset + o->page_runs[i].image_page * ABI_HOST_PAGE;
        uint64_t bytes = o->page_runs[i].count * ABI_HOST_PAGE;
        CHECK(at <= size && bytes <= size - at);
        sum += touch_bytes(file + at, bytes);
    }
    for (uint32_t i = 0; i < o->trap_stub_count; i++)
        sum += file[o->text_offset + o->trap_stubs[i].code_offset];
    return sum;
}

static uint64_t sink;
static unsigned long refused, accepted;

/* Reads `size` bytes, which must be refused with a message, or hold together. */
static enum status try_read(const uint8_t *bytes, uint64_t size) {
    struct error err = {0};
    auto_arena struct arena arena = {.limit_bytes = 64 * size + 65536};
    struct abi_object o;
    enum status status = object_read(bytes, size, true, &arena, &o, &err);
    if (status == ST_OK) {
        accepted++;
        sink += touch(&o, bytes, size);
    } else {
        refused++;
        if (err.message[0] == 0 || err.status != status ||
            (status != ST_DAMAGED && status != ST_INCOMPATIBLE && status != ST_LIMIT))
            EXPECT(!"a refusal with its reason");
    }
    return status;
}

static void flip_every_byte(const struct buffer *object) {
    unsigned long missed = 0;
    for (size_t i = 0; i < object->size; i++) {
        object->bytes[i] ^= (uint8_t)(1u << (i % 8));
        try_read(object->bytes, object->size);
        if (i % 7 == 0)
            missed += object_verify_digest(object->bytes, object->size, NULL) == ST_OK;
        object->bytes[i] ^= 0xff;
        try_read(object->bytes, object->size);
        object->bytes[i] ^= (uint8_t)(0xffu ^ (1u << (i % 8)));
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
    static const uint32_t values[] = {0,          1,          0x7f,      0x7fffffff,
                                      0x80000000, 0xffffffff, 0xfffff000};
    for (size_t i = 0; i + 4 <= object->size; i++) {
        if (i >= 0x1000 && i < 0x5000) continue; /* code and image */
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
        EXPECT(refused > 1000 && accepted > 1000);
    }
    return test_end();
}
