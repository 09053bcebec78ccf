/*
 * What the instance block of a module holds. The lowering computes addresses from it, the
 * object carries it, and the runtime lays the block out with it: one place says what is
 * counted.
 */
#include "compiler/link.h"

bool module_table_fixed(const struct module *module, uint32_t table) {
    const struct module_table *t = &module->tables[table];
    return !t->imported && !t->exported && !t->grown;
}

static uint32_t clamp(uint64_t entries) {
    return entries > UINT32_MAX ? UINT32_MAX : (uint32_t)entries;
}

uint32_t module_table_capacity(const struct module *module, uint32_t table) {
    const struct abi_limits *limits = &module->tables[table].type.limits;
    return abi_table_capacity(clamp(limits->min), limits->has_max, clamp(limits->max),
                              !module_table_fixed(module, table));
}

struct abi_counts module_counts(const struct module *module) {
    struct abi_counts counts = {
        .memories = module->memory_count,
        .tables = module->table_count,
        .globals = module->global_count,
        .funcs = module->function_count,
        .types = module->type_count,
    };
    for (uint32_t i = 0; i < module->table_count; i++)
        counts.table_entries += module_table_capacity(module, i);
    return counts;
}
