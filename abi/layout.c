/*
 * The instance block's layout from the counts of what an instance has, and the fingerprint of
 * the whole contract. Compiler and runtime both call abi_layout_compute with the counts stored
 * in the object, so that neither can place a field where the other does not look for it.
 */
#include "abi/abi.h"

/* A relocatable block lies anywhere, but generated code reaches its fields by 32-bit offsets.
 */
#define RELOCATABLE_MAX_BYTES (UINT64_C(1) << 30)

/* Reserves count objects of size bytes at *at, aligned. Returns where they begin. */
static uint64_t place(uint64_t *at, uint64_t count, uint64_t size, uint64_t align) {
    uint64_t start = align_up(*at, align);
    *at = start + count * size;
    return start;
}

enum status abi_layout_compute(enum abi_placement placement, const struct abi_counts *counts,
                               struct abi_layout *ret_layout, struct error *err) {
    bool pinned = placement == ABI_PINNED;
    uint64_t limit = pinned ? ABI_INSTANCE_SIZE - ABI_INSTANCE_GUARD : RELOCATABLE_MAX_BYTES;
    if (pinned && counts->table_entries > limit / ABI_TABLE_ENTRY_SIZE)
        return error_set(err, ST_LIMIT, "%llu table entries do not fit the instance block",
                         (unsigned long long)counts->table_entries);
    /* 32-bit counts times small sizes: no sum below wraps 64 bits. */
    struct abi_layout l = {0};
    uint64_t at = sizeof(struct abi_instance);
    l.memories = place(&at, counts->memories, sizeof(struct abi_memory), 16);
    l.tables = place(&at, counts->tables, sizeof(struct abi_table), 16);
    l.globals = place(&at, counts->globals, ABI_SLOT_SIZE, ABI_SLOT_SIZE);
    l.funcs = place(&at, counts->funcs, ABI_FUNC_SIZE, ABI_FUNC_SIZE);
    l.tags = place(&at, counts->tags, sizeof(uint64_t), sizeof(uint64_t));
    l.exception_bytes =
        ABI_EXCEPTION_HEADER + (uint64_t)counts->exception_values * ABI_SLOT_SIZE;
    l.exceptions = place(&at, counts->exceptions, l.exception_bytes, ABI_SLOT_SIZE);
    if (pinned) {
        l.entries = place(&at, counts->table_entries, ABI_TABLE_ENTRY_SIZE, 64);
    } else {
        l.type_ids = place(&at, counts->types, sizeof(uint32_t), 16);
        l.memory_refs = place(&at, counts->memories, sizeof(uint64_t), 16);
        l.table_refs = place(&at, counts->tables, sizeof(uint64_t), 16);
        l.global_refs = place(&at, counts->globals, sizeof(uint64_t), 16);
    }
    l.size_bytes = align_up(at, 64);
    if (l.size_bytes > limit)
        return error_set(err, ST_LIMIT,
                         "functions, globals and tables need an instance block of %llu bytes, "
                         "more than %llu",
                         (unsigned long long)l.size_bytes, (unsigned long long)limit);
    *ret_layout = l;
    return ST_OK;
}

uint32_t abi_table_capacity(uint32_t min, bool has_max, uint32_t max, bool can_grow) {
    if (!can_grow) return min;
    uint32_t room = (uint32_t)(ABI_TABLE_SPACING / ABI_TABLE_ENTRY_SIZE);
    uint32_t wanted = has_max && max < room ? max : room;
    return wanted < min ? min : wanted;
}

/* Records in the block: 1024 of the small exceptions that there are, fewer of large ones. */
#define EXCEPTIONS_MAX 1024u
#define EXCEPTIONS_MIN 16u
#define EXCEPTIONS_BYTES UINT64_C(262144)

uint32_t abi_exception_capacity(uint32_t value_count) {
    uint64_t bytes = ABI_EXCEPTION_HEADER + (uint64_t)value_count * ABI_SLOT_SIZE;
    uint64_t fit = EXCEPTIONS_BYTES / bytes;
    if (fit > EXCEPTIONS_MAX) return EXCEPTIONS_MAX;
    return fit < EXCEPTIONS_MIN ? EXCEPTIONS_MIN : (uint32_t)fit;
}

/* Entries in the block, of all tables together: 4 of its 16 MiB. */
#define TABLES_INSIDE_MAX UINT64_C(262144)

/* Whether a table lies in the block, where *inside entries of tables before it do. */
static bool fits_inside(uint32_t capacity, uint64_t *inside) {
    if (capacity > TABLES_INSIDE_MAX - *inside) return false;
    *inside += capacity;
    return true;
}

uint64_t abi_table_address(const struct abi_layout *layout, const uint32_t *capacities,
                           uint32_t table) {
    uint64_t inside = 0;
    for (uint32_t i = 0; i < table; i++) fits_inside(capacities[i], &inside);
    uint64_t before = inside;
    if (!fits_inside(capacities[table], &inside))
        return ABI_TABLES_BASE + table * ABI_TABLE_SPACING;
    return ABI_INSTANCE_BASE + layout->entries + before * ABI_TABLE_ENTRY_SIZE;
}

uint64_t abi_table_entries(const uint32_t *capacities, uint32_t table_count) {
    uint64_t inside = 0;
    for (uint32_t i = 0; i < table_count; i++) fits_inside(capacities[i], &inside);
    return inside;
}

/* FNV-1a: not against an attacker (a digest does that), but against mixing builds up. */
static void mix(uint64_t *hash, uint64_t value) {
    for (unsigned i = 0; i < 8; i++) {
        *hash ^= (value >> (8 * i)) & 0xff;
        *hash *= UINT64_C(0x100000001b3);
    }
}

static void mix_text(uint64_t *hash, const char *text) {
    for (; *text; text++) mix(hash, (uint8_t)*text);
    mix(hash, 0);
}

/* Count this up where the contract changes in a way that no list or struct shows. */
#define ABI_REVISION 4

static uint64_t fingerprint(void) {
    static const uint64_t numbers[] = {
        ABI_REVISION,
        ABI_OBJECT_VERSION,
        /* the address map */
        ABI_CODE_BASE,
        ABI_INSTANCE_BASE,
        ABI_INSTANCE_SIZE,
        ABI_INSTANCE_GUARD,
        ABI_MEMORY_BASE,
        ABI_MEMORY_RESERVE,
        ABI_STACK_TOP,
        ABI_WASM_PAGE,
        ABI_MEMORY32_GROW_PAGES,
        ABI_HOST_PAGE,
        ABI_GATE_HELPER,
        ABI_GATE_RETURN,
        ABI_TABLES_BASE,
        ABI_TABLE_SPACING,
        TABLES_INSIDE_MAX,
        ABI_PROFILE_BASE,
        ABI_PROFILE_SIZE,
        ABI_PROFILE_TARGETS,
        ABI_PROFILE_VERSION,
        offsetof(struct abi_instance, profile),
        /* structs that generated code reads */
        sizeof(struct abi_instance),
        offsetof(struct abi_instance, gate),
        offsetof(struct abi_instance, guest_sp),
        offsetof(struct abi_instance, stack_low),
        offsetof(struct abi_instance, host),
        offsetof(struct abi_instance, cpu_level),
        sizeof(struct abi_memory),
        offsetof(struct abi_memory, base),
        offsetof(struct abi_memory, size_bytes),
        offsetof(struct abi_memory, size_pages),
        offsetof(struct abi_memory, max_pages),
        sizeof(struct abi_table),
        offsetof(struct abi_table, entries),
        offsetof(struct abi_table, size),
        offsetof(struct abi_table, max),
        offsetof(struct abi_table, capacity),
        offsetof(struct abi_table, type_code),
        sizeof(struct abi_table_entry),
        offsetof(struct abi_table_entry, word),
        offsetof(struct abi_table_entry, type_id),
        offsetof(struct abi_table_entry, ref32),
        sizeof(struct abi_func),
        offsetof(struct abi_func, code),
        offsetof(struct abi_func, instance),
        offsetof(struct abi_func, type_id),
        offsetof(struct abi_func, index),
        offsetof(struct abi_func, entry),
        ABI_SLOT_SIZE,
        ABI_I32,
        ABI_I64,
        ABI_F32,
        ABI_F64,
        ABI_V128,
        ABI_FUNCREF,
        ABI_EXTERNREF,
        ABI_EXNREF,
        sizeof(struct abi_exception),
        offsetof(struct abi_exception, tag),
        offsetof(struct abi_exception, state),
        EXCEPTIONS_MAX,
        EXCEPTIONS_MIN,
        EXCEPTIONS_BYTES,
        ABI_EXCEPTION_THROWN,
        ABI_EXCEPTION_HELD,
        ABI_EXTERN_TAG,
        ABI_REF_NULL,
        ABI_REF,
        ABI_CONST_VALUE,
        ABI_CONST_GLOBAL_GET,
        ABI_CONST_REF_FUNC,
        ABI_CONST_I32_ADD,
        ABI_CONST_I64_MUL,
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < countof(numbers); i++) mix(&hash, numbers[i]);
#define HELPER(name, params, results)                                                          \
    mix_text(&hash, #name);                                                                    \
    mix_text(&hash, params);                                                                   \
    mix_text(&hash, results);
#include "abi/helpers.def"
#define TRAP(name, message) mix_text(&hash, #name);
#include "abi/traps.def"
#define SECTION(name, elf_name, flags)                                                         \
    mix_text(&hash, elf_name);                                                                 \
    mix_text(&hash, flags);
#include "abi/sections.def"
#define FEATURE(bit, name)                                                                     \
    mix(&hash, bit);                                                                           \
    mix_text(&hash, name);
    ABI_X86_FEATURES(FEATURE)
#undef FEATURE
    /* the layout function itself, seen through one example of each placement */
    static const struct abi_counts counts = {.memories = 2,
                                             .tables = 3,
                                             .globals = 5,
                                             .funcs = 7,
                                             .types = 11,
                                             .tags = 17,
                                             .exceptions = 19,
                                             .exception_values = 23,
                                             .table_entries = 13};
    for (int placement = ABI_PINNED; placement <= ABI_RELOCATABLE; placement++) {
        struct abi_layout l;
        if (abi_layout_compute((enum abi_placement)placement, &counts, &l, NULL) != ST_OK)
            continue;
        const uint64_t fields[] = {l.memories,
                                   l.tables,
                                   l.globals,
                                   l.funcs,
                                   l.type_ids,
                                   l.memory_refs,
                                   l.table_refs,
                                   l.global_refs,
                                   l.entries,
                                   l.size_bytes,
                                   l.tags,
                                   l.exceptions,
                                   l.exception_bytes,
                                   abi_exception_capacity(1),
                                   abi_exception_capacity(100)};
        for (size_t i = 0; i < countof(fields); i++) mix(&hash, fields[i]);
    }
    return hash;
}

uint64_t abi_fingerprint(void) {
    static uint64_t known; /* 0 would be worked out each time, and right */
    if (known == 0) known = fingerprint();
    return known;
}
