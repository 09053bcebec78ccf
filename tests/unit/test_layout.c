/* The instance block's layout, table capacities, and the words of names.c. */
#include "abi/abi.h"
#include "tests/unit/test.h"

static void layouts(void) {
    struct abi_counts counts = {
        .memories = 1, .tables = 2, .globals = 3, .funcs = 4, .types = 5, .table_entries = 6};
    struct abi_layout pinned, relocatable;
    struct error err = {0};
    EXPECT(abi_layout_compute(ABI_PINNED, &counts, &pinned, &err) == ST_OK);
    EXPECT(abi_layout_compute(ABI_RELOCATABLE, &counts, &relocatable, &err) == ST_OK);
    EXPECT(pinned.memories >= sizeof(struct abi_instance));
    EXPECT(pinned.tables >= pinned.memories + sizeof(struct abi_memory));
    EXPECT(pinned.globals >= pinned.tables + 2 * sizeof(struct abi_table));
    EXPECT(pinned.funcs >= pinned.globals + 3 * ABI_SLOT_SIZE);
    EXPECT(pinned.entries >= pinned.funcs + 4 * ABI_FUNC_SIZE);
    EXPECT(pinned.size_bytes >= pinned.entries + 6 * ABI_TABLE_ENTRY_SIZE);
    EXPECT(pinned.globals % 16 == 0 && pinned.funcs % 16 == 0 && pinned.entries % 16 == 0);
    EXPECT(pinned.type_ids == 0 && pinned.memory_refs == 0);
    EXPECT(relocatable.type_ids >= relocatable.funcs + 4 * ABI_FUNC_SIZE);
    EXPECT(relocatable.memory_refs >= relocatable.type_ids + 5 * 4);
    EXPECT(relocatable.table_refs >= relocatable.memory_refs + 8);
    EXPECT(relocatable.global_refs >= relocatable.table_refs + 2 * 8);
    EXPECT(relocatable.size_bytes >= relocatable.global_refs + 3 * 8);
    EXPECT(relocatable.entries == 0);
}

static void limits(void) {
    struct abi_layout l;
    struct error err = {0};
    struct abi_counts many = {.table_entries = UINT64_MAX};
    EXPECT(abi_layout_compute(ABI_PINNED, &many, &l, &err) == ST_LIMIT);
    EXPECT(strstr(err.message, "table entries") != NULL);
    many = (struct abi_counts){.funcs = 1000000};
    EXPECT(abi_layout_compute(ABI_PINNED, &many, &l, &err) == ST_LIMIT);
    EXPECT(strstr(err.message, "instance block") != NULL);
    EXPECT(abi_layout_compute(ABI_RELOCATABLE, &many, &l, &err) == ST_OK);
    many = (struct abi_counts){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                               UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX};
    EXPECT(abi_layout_compute(ABI_RELOCATABLE, &many, &l, &err) == ST_LIMIT);
    /* the last that fits, and one more */
    uint64_t room = ABI_INSTANCE_SIZE - ABI_INSTANCE_GUARD;
    many = (struct abi_counts){.table_entries =
                                   (room - sizeof(struct abi_instance)) / ABI_TABLE_ENTRY_SIZE};
    EXPECT(abi_layout_compute(ABI_PINNED, &many, &l, &err) == ST_OK);
    EXPECT(l.size_bytes <= room);
    many.table_entries += 4;
    EXPECT(abi_layout_compute(ABI_PINNED, &many, &l, &err) == ST_LIMIT);
}

static void capacities(void) {
    EXPECT(abi_table_capacity(7, false, 0, false) == 7);
    EXPECT(abi_table_capacity(7, true, 7, true) == 7);
    EXPECT(abi_table_capacity(7, true, 20, true) == 20);
    EXPECT(abi_table_capacity(7, true, 20, false) == 7);
    uint32_t open = abi_table_capacity(7, false, 0, true);
    EXPECT(open == ABI_TABLE_SPACING / ABI_TABLE_ENTRY_SIZE);
    EXPECT(abi_table_capacity(7, true, UINT32_MAX, true) == open);
    EXPECT(abi_table_capacity(UINT32_MAX, false, 0, true) == UINT32_MAX);
}

/* Small tables lie in the block one after the other, large ones each at a place of their own.
 */
static void addresses(void) {
    struct abi_layout l = {.entries = 0x1000};
    uint32_t sizes[] = {10, UINT32_MAX, 5, 262144 - 15, 1, 0};
    uint64_t block = ABI_INSTANCE_BASE + 0x1000;
    EXPECT(abi_table_address(&l, sizes, 0) == block);
    EXPECT(abi_table_address(&l, sizes, 1) == ABI_TABLES_BASE + ABI_TABLE_SPACING);
    EXPECT(abi_table_address(&l, sizes, 2) == block + 160);
    EXPECT(abi_table_address(&l, sizes, 3) == block + 240);
    EXPECT(abi_table_address(&l, sizes, 4) == ABI_TABLES_BASE + 4 * ABI_TABLE_SPACING);
    EXPECT(abi_table_address(&l, sizes, 5) == block + 16 * UINT64_C(262144));
    EXPECT(abi_table_entries(sizes, 6) == 262144);
    EXPECT(abi_table_entries(sizes, 0) == 0);
}

static void words(void) {
    struct valtype many[64];
    for (size_t i = 0; i < countof(many); i++) many[i] = (struct valtype){ABI_I64, 0};
    struct valtype two[] = {{ABI_I32, 0}, {ABI_EXTERNREF, 0}};
    char text[64];
    struct functype f = {2, 1, two, many};
    functype_print(&f, text, sizeof text);
    EXPECT_STR(text, "(i32, externref) -> (i64)");
    functype_print(&f, text, 11);
    EXPECT_STR(text, "(i32, e...");
    f = (struct functype){0, 64, NULL, many};
    functype_print(&f, text, sizeof text);
    EXPECT(strlen(text) == sizeof text - 1);
    EXPECT(strcmp(text + sizeof text - 4, "...") == 0);
    EXPECT_STR(valtype_name((struct valtype){0x12, 0}), "?");
    EXPECT_STR(abi_trap_message(TRAP_UNREACHABLE), "unreachable");
    EXPECT_STR(abi_trap_message(TRAP_COUNT), "unknown trap");
    EXPECT_STR(abi_helper_name(ABI_HELPER_ELEM_DROP), "ELEM_DROP");
    EXPECT_STR(abi_section_name(ABI_SECTION_NAMES), ".hutch.names");
    EXPECT_STR(abi_cpu_feature_name(18), "avx512vl");
    EXPECT_STR(abi_cpu_feature_name(63), "unknown CPU feature");

    struct functype a = {2, 0, two, NULL}, b = {2, 0, many, NULL};
    EXPECT(functype_equal(&a, &a) && !functype_equal(&a, &b));
    EXPECT(abi_fingerprint() != 0 && abi_fingerprint() == abi_fingerprint());
}

int main(void) {
    layouts();
    limits();
    capacities();
    addresses();
    words();
    return test_end();
}
