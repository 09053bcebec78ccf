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

bool module_memory_below_4g(const struct module *module) {
    return module->memory_count == 1 && module->imported_memories == 0 &&
           module->memories[0].limits.min <= ABI_MEMORY32_GROW_PAGES;
}

static uint32_t clamp(uint64_t entries) {
    return entries > UINT32_MAX ? UINT32_MAX : (uint32_t)entries;
}

void module_table_capacities(const struct module *module, uint32_t *ret_capacities) {
    for (uint32_t i = 0; i < module->table_count; i++) {
        const struct abi_limits *limits = &module->tables[i].type.limits;
        ret_capacities[i] =
            abi_table_capacity(clamp(limits->min), limits->has_max, clamp(limits->max),
                               !module_table_fixed(module, i));
    }
}

struct abi_counts module_counts(const struct module *module) {
    uint32_t capacities[MODULE_MAX_TABLES];
    CHECK(module->table_count <= MODULE_MAX_TABLES);
    module_table_capacities(module, capacities);
    uint32_t values = 0;
    for (uint32_t i = 0; i < module->tag_count; i++) {
        uint32_t count = module->types[module->tags[i].type].func.param_count;
        if (count > values) values = count;
    }
    return (struct abi_counts){
        .tags = module->tag_count,
        .exceptions = module->tag_count ? abi_exception_capacity(values) : 0,
        .exception_values = values,
        .memories = module->memory_count,
        .tables = module->table_count,
        .globals = module->global_count,
        .funcs = module->function_count,
        .types = module->type_count,
        .table_entries = abi_table_entries(capacities, module->table_count),
    };
}
