/*
 * Tables (spec core 4.2.7). How an entry is written depends on the placement and on what the
 * table holds: abi.h, struct abi_table_entry. Pinned entries lie where abi_table_address says,
 * in the instance block or in a mapping of their own; relocatable ones lie anywhere. Either way
 * they are reserved up to the capacity, so that they never move.
 */
#include "runtime/instance.h"
#include "runtime/table.h"

#include <sys/mman.h>

/* Maps the entries of a table that is not in the instance block, at address or anywhere. */
static enum status map_entries(struct table *table, uint64_t address, uint32_t capacity,
                               struct error *err) {
    uint64_t bytes = align_up((uint64_t)capacity * ABI_TABLE_ENTRY_SIZE + 1, ABI_HOST_PAGE);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *mapping = mmap((void *)address, bytes, PROT_READ | PROT_WRITE,
                         flags | (address ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (mapping == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY, "cannot reserve a table of %u entries",
                               capacity);
    table->mapping = mapping;
    table->mapping_bytes = bytes;
    return ST_OK;
}

enum status table_create(struct table *table, struct abi_table *abi, uint64_t address,
                         uint32_t capacity, const struct abi_table_type *type,
                         uint32_t max_entries, struct error *err) {
    const struct abi_limits *limits = &type->limits;
    if (limits->is_64) return error_set(err, ST_UNSUPPORTED, "a table is 64-bit");
    if (max_entries == 0) max_entries = TABLE_DEFAULT_MAX;
    if (limits->min > max_entries)
        return error_set(err, ST_LIMIT,
                         "a table begins with %llu entries, more than the limit of %u",
                         (unsigned long long)limits->min, max_entries);
    uint32_t min = (uint32_t)limits->min;
    uint32_t max =
        limits->has_max && limits->max < max_entries ? (uint32_t)limits->max : max_entries;
    /* a host's or another instance's table may be larger than what the module declares */
    if (!address && capacity < max) capacity = max;
    if (min > capacity)
        return error_set(err, ST_LIMIT, "a table begins with %u entries, room is for %u", min,
                         capacity);
    if (capacity > max) capacity = max;
    if (max > capacity) max = capacity;
    *table = (struct table){0};
    uint64_t block_end = ABI_INSTANCE_BASE + ABI_INSTANCE_SIZE;
    if (!address || address >= block_end) {
        enum status status = map_entries(table, address, capacity, err);
        if (status != ST_OK) return status;
        address = (uint64_t)table->mapping;
    }
    table->abi = abi;
    table->declared = *type;
    uint64_t entries = address;
    *abi = (struct abi_table){.entries = entries,
                              .size = min,
                              .max = max,
                              .capacity = capacity,
                              .type_code = type->element.code};
    return ST_OK;
}

void table_destroy(struct table *table) {
    if (table->mapping) munmap(table->mapping, table->mapping_bytes);
    *table = (struct table){0};
}

static struct abi_table_entry entry_of(enum abi_placement placement, const struct abi_table *t,
                                       uint64_t ref) {
    if (t->type_code != ABI_FUNCREF) return (struct abi_table_entry){.word = ref};
    if (!ref) return (struct abi_table_entry){0};
    const struct abi_func *func = (const struct abi_func *)ref;
    if (placement == ABI_PINNED)
        return (struct abi_table_entry){
            .word = func->code, .type_id = func->type_id, .ref32 = (uint32_t)ref};
    return (struct abi_table_entry){.word = ref, .type_id = func->type_id};
}

static struct abi_table_entry *entries_of(const struct abi_table *table) {
    return (struct abi_table_entry *)table->entries;
}

/* Index and length against a size, without wrapping. */
static bool outside(uint32_t at, uint32_t length, uint32_t size) {
    return at > size || length > size - at;
}

enum abi_trap table_set(struct instance *instance, uint32_t table, uint32_t index,
                        uint64_t ref) {
    struct abi_table *t = table_at(instance, table);
    if (index >= t->size) return TRAP_TABLE_OUT_OF_BOUNDS;
    entries_of(t)[index] = entry_of(instance->placement, t, ref);
    return TRAP_NONE;
}

enum abi_trap table_fill(struct instance *instance, uint32_t table, uint32_t at, uint64_t ref,
                         uint32_t length) {
    struct abi_table *t = table_at(instance, table);
    if (outside(at, length, t->size)) return TRAP_TABLE_OUT_OF_BOUNDS;
    struct abi_table_entry entry = entry_of(instance->placement, t, ref);
    for (uint32_t i = 0; i < length; i++) entries_of(t)[at + i] = entry;
    return TRAP_NONE;
}

int32_t table_grow(struct instance *instance, uint32_t table, uint64_t ref, uint32_t delta) {
    struct abi_table *t = table_at(instance, table);
    uint32_t old = t->size;
    if (delta > t->max - old) return -1;
    t->size = old + delta;
    if (table_fill(instance, table, old, ref, delta) != TRAP_NONE) return -1;
    return (int32_t)old;
}

enum abi_trap table_copy(struct instance *instance, uint32_t to_table, uint32_t from_table,
                         uint32_t to, uint32_t from, uint32_t length) {
    struct abi_table *d = table_at(instance, to_table), *s = table_at(instance, from_table);
    if (outside(from, length, s->size) || outside(to, length, d->size))
        return TRAP_TABLE_OUT_OF_BOUNDS;
    if (length)
        memmove(entries_of(d) + to, entries_of(s) + from,
                (size_t)length * ABI_TABLE_ENTRY_SIZE);
    return TRAP_NONE;
}

enum abi_trap table_init(struct instance *instance, uint32_t table, uint32_t segment,
                         uint32_t to, uint32_t from, uint32_t length) {
    struct abi_table *t = table_at(instance, table);
    CHECK(segment < instance->object->elem_count);
    code_completed(instance->code);
    const struct abi_elem *elem = &instance->object->elems[segment];
    uint32_t size = instance->elem_dropped[segment] ? 0 : elem->count;
    if (outside(from, length, size) || outside(to, length, t->size))
        return TRAP_TABLE_OUT_OF_BOUNDS;
    for (uint32_t i = 0; i < length; i++) {
        uint64_t ref = elem->funcs ? (uint64_t)instance_func(instance, elem->funcs[from + i])
                                   : const_expr_value(instance, &elem->exprs[from + i]).ref;
        entries_of(t)[to + i] = entry_of(instance->placement, t, ref);
    }
    return TRAP_NONE;
}

struct abi_table *table_at(struct instance *instance, uint32_t table) {
    CHECK(table < instance->object->table_count);
    return instance->tables[table]->abi;
}
