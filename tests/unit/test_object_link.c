/*
 * What linking refuses, and what it makes of data segments. Arguments: the three relocatable
 * objects of the fixture, then those that break a promise of the code generator: data, an
 * undefined symbol, an absolute address, a function that is there twice.
 */
#include "tests/unit/object_fixture.h"

#include <elf.h>

static void expect_refusal(char *const *good, char *bad, enum abi_placement placement,
                           const char *part) {
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    char *const paths[] = {good[0], good[1], good[2], bad};
    EXPECT(fixture_link(&m, placement, paths, 4, &object, &err) == ST_INTERNAL);
    EXPECT(object.size == 0);
    if (!strstr(err.message, part)) EXPECT_STR(err.message, part);
}

static void refusals(char **argv) {
    expect_refusal(argv, argv[3], ABI_PINNED, "section .data (4 bytes) has no place");
    expect_refusal(argv, argv[4], ABI_PINNED, "undefined symbol nowhere");
    expect_refusal(argv, argv[5], ABI_RELOCATABLE,
                   "relocation 64 (1) against f2 is absolute in code that is mapped anywhere");
    expect_refusal(argv, argv[6], ABI_PINNED, "symbol f2 is defined in partitions 2 and 3");

    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    char *const fixed[] = {argv[0], argv[1], argv[2], argv[5]};
    EXPECT(fixture_link(&m, ABI_PINNED, fixed, 4, &object, &err) == ST_OK);
    buffer_finish(&object);
    EXPECT(fixture_link(&m, ABI_PINNED, argv, 1, &object, &err) == ST_INTERNAL);
    EXPECT_STR(err.message, "no partition defines f1");

    struct compile_options options = compile_defaults();
    struct link_object junk = {(const uint8_t *)"not an object at all", 20};
    struct link_input input = {
        .module = &m, .options = &options, .objects = &junk, .object_count = 1};
    EXPECT(link_objects(&input, &object, &err) == ST_INTERNAL);
    EXPECT(object.size == 0);
}

/* One relocation against bytes of our own. */
static enum status patch(uint32_t type, uint8_t *bytes, uint64_t size, uint64_t at,
                         uint64_t place, uint64_t value, bool movable, struct error *err) {
    struct relocation r = {.type = type,
                           .section = ".text",
                           .symbol = "f7",
                           .movable = movable,
                           .bytes = bytes,
                           .size = size,
                           .at = at,
                           .place = place,
                           .value = value,
                           .addend = -4};
    return relocate(&r, err);
}

static void relocations(void) {
    struct error err = {0};
    uint8_t call[] = {0xe8, 0, 0, 0, 0};
    EXPECT(patch(R_X86_64_PLT32, call, 5, 1, 0x1001, 0x2005, true, &err) == ST_OK);
    EXPECT(memcmp(call, "\xe8\x00\x10\x00\x00", 5) == 0);
    EXPECT(patch(R_X86_64_PC32, call, 5, 1, 0x1001, 0x1001 + (UINT64_C(1) << 31) + 4, true,
                 &err) == ST_INTERNAL);
    EXPECT_STR(err.message, ".text+0x1: relocation PC32 (2) against f7 is out of reach");
    EXPECT(patch(R_X86_64_PC32, call, 5, 2, 0x1001, 0x2000, true, &err) == ST_INTERNAL);
    EXPECT_STR(err.message,
               ".text+0x2: relocation PC32 (2) against f7 lies outside its section");
    EXPECT(patch(R_X86_64_64, call, 5, 0, 0, 1, true, &err) == ST_INTERNAL);
    EXPECT(patch(R_X86_64_32, call, 5, 0, 0, UINT64_C(1) << 33, false, &err) == ST_INTERNAL);
    EXPECT(patch(R_X86_64_32, call, 5, 0, 0, 0x11223348, false, &err) == ST_OK);
    EXPECT(memcmp(call, "\x44\x33\x22\x11", 4) == 0);
    EXPECT(patch(R_X86_64_TPOFF32, call, 5, 0, 0, 0, true, &err) == ST_INTERNAL);

    uint8_t mov[] = {0x48, 0x8b, 0x05, 0, 0, 0, 0}; /* mov f7@GOTPCREL(%rip), %rax */
    EXPECT(patch(R_X86_64_REX_GOTPCRELX, mov, 7, 3, 0x1003, 0x1107, true, &err) == ST_OK);
    EXPECT(memcmp(mov, "\x48\x8d\x05\x00\x01\x00\x00", 7) == 0);
    uint8_t indirect_call[] = {0xff, 0x15, 0, 0, 0, 0};
    EXPECT(patch(R_X86_64_GOTPCRELX, indirect_call, 6, 2, 0x1002, 0x1106, true, &err) == ST_OK);
    EXPECT(memcmp(indirect_call, "\x67\xe8\x00\x01\x00\x00", 6) == 0);
    uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};
    EXPECT(patch(R_X86_64_GOTPCRELX, jump, 6, 2, 0x1002, 0x1105, true, &err) == ST_OK);
    EXPECT(memcmp(jump, "\xe9\x00\x01\x00\x00\x90", 6) == 0);
    uint8_t cmp[] = {0x48, 0x3b, 0x05, 0, 0, 0, 0}; /* cmp: no address to be had */
    EXPECT(patch(R_X86_64_REX_GOTPCRELX, cmp, 7, 3, 0x1003, 0x1107, true, &err) == ST_INTERNAL);
}

/* ---- the image --------------------------------------------------------------------------- */

struct segment {
    uint32_t offset;
    const char *bytes;
    uint64_t size;
};

/* The image of a module of memory_pages with these segments and no others. */
static enum status image_of(uint32_t memory_pages, const struct segment *segments,
                            uint32_t count, const struct module_elem *elem, struct arena *arena,
                            struct memory_image *ret) {
    struct module m = fixture_module();
    struct module_memory memory = {.limits = {.min = memory_pages}};
    m.memories = &memory;
    struct module_data *datas = arena_array(arena, count, sizeof *datas);
    struct abi_const_step *steps = arena_array(arena, count, sizeof *steps);
    CHECK(datas && steps);
    for (uint32_t i = 0; i < count; i++) {
        steps[i].value.u32 = segments[i].offset;
        datas[i] = (struct module_data){.mode = ABI_SEGMENT_ACTIVE,
                                        .offset = {.program = {1, &steps[i]}},
                                        .bytes = (const uint8_t *)segments[i].bytes,
                                        .size = segments[i].size};
    }
    m.datas = datas;
    m.data_count = count;
    struct module_elem copy = elem ? *elem : fixture_elems[0];
    m.elems = &copy;
    m.elem_count = 1;
    return memory_image_build(&m, arena, ret, NULL);
}

static void images(void) {
    auto_arena struct arena arena = {0};
    struct memory_image image;
    static const char zeros[10000];
    /* overlapping segments in order, a page of zeros between, the last byte of memory */
    const struct segment in_order[] = {{0, "first", 5}, {2, "XY", 2},    {8192, zeros, 4096},
                                       {12288, "z", 1}, {65535, "e", 1}, {65536, "", 0}};
    EXPECT(image_of(1, in_order, 6, NULL, &arena, &image) == ST_OK);
    EXPECT(image.run_count == 3 && image.pages.size == 3 * 4096);
    EXPECT(memcmp(image.pages.bytes, "fiXYt", 5) == 0);
    EXPECT(image.runs[1].guest_page == 3 && image.runs[1].image_page == 1);
    EXPECT(image.runs[2].guest_page == 15 && image.pages.bytes[3 * 4096 - 1] == 'e');
    for (int i = 0; i < 6; i++) EXPECT(image.in_image[i]);
    buffer_finish(&image.pages);

    /* a byte too far: it and what follows wait for their turn */
    const struct segment traps[] = {{0, "a", 1}, {65535, "bc", 2}, {1, "d", 1}};
    EXPECT(image_of(1, traps, 3, NULL, &arena, &image) == ST_OK);
    EXPECT(image.in_image[0] && !image.in_image[1] && !image.in_image[2]);
    EXPECT(memcmp(image.pages.bytes, "a\0", 2) == 0);
    buffer_finish(&image.pages);

    /* the whole memory, and a segment at its end */
    const struct segment far[] = {{UINT32_MAX, "!", 1}};
    EXPECT(image_of(65536, far, 1, NULL, &arena, &image) == ST_OK);
    EXPECT(image.run_count == 1 && image.runs[0].guest_page == (1u << 20) - 1);
    buffer_finish(&image.pages);

    /* an element segment that traps comes before any data */
    struct module_elem trapping = fixture_elems[0];
    trapping.count = 3; /* from 1 on, in a table of 3 */
    EXPECT(image_of(1, traps, 1, &trapping, &arena, &image) == ST_OK);
    EXPECT(!image.in_image[0] && image.run_count == 0 && image.pages.size == 0);
    buffer_finish(&image.pages);

    /* bytes a page apart would take pages for each: not worth it */
    struct segment sparse[6000];
    for (uint32_t i = 0; i < 6000; i++) sparse[i] = (struct segment){i * 8192, "s", 1};
    EXPECT(image_of(1000, sparse, 4000, NULL, &arena, &image) == ST_OK);
    EXPECT(image.run_count == 4000 && image.in_image[3999]);
    buffer_finish(&image.pages);
    EXPECT(image_of(1000, sparse, 6000, NULL, &arena, &image) == ST_OK);
    EXPECT(image.run_count == 0 && !image.in_image[0]);
    buffer_finish(&image.pages);
}

int main(int argc, char **argv) {
    if (argc != 8) return 2;
    refusals(argv + 1);
    relocations();
    images();
    return test_end();
}
