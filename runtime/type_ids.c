/*
 * Type ids of relocatable code: function types of all modules in the process, each structure
 * once. Modules that call each other through tables compare these ids. Grows only;
 * type_ids_finish at the end of the runtime.
 */
#include "runtime/instance.h"

/* An open hash table of ids; id i is types[i - 1]. */
static struct functype *types;
static uint32_t type_count, type_capacity;
static uint32_t *slots;
static uint32_t slot_count; /* a power of two, or 0 */

static uint64_t mix(uint64_t hash, struct valtype type) {
    hash = (hash ^ type.code) * UINT64_C(0x100000001b3);
    return (hash ^ type.heap) * UINT64_C(0x100000001b3);
}

static uint64_t hash_of(const struct functype *type) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < type->param_count; i++) hash = mix(hash, type->params[i]);
    hash = mix(hash, (struct valtype){0});
    for (uint32_t i = 0; i < type->result_count; i++) hash = mix(hash, type->results[i]);
    return hash ^ hash >> 32;
}

/* The slot that holds this type, or the empty one where it belongs. */
static uint32_t *find(const struct functype *type) {
    uint32_t at = (uint32_t)hash_of(type) & (slot_count - 1);
    while (slots[at] && !functype_equal(&types[slots[at] - 1], type))
        at = (at + 1) & (slot_count - 1);
    return &slots[at];
}

/* Room for one more. */
static bool grow(void) {
    if (type_count == type_capacity) {
        uint32_t capacity = type_capacity ? type_capacity * 2 : 64;
        struct functype *bigger = realloc(types, capacity * sizeof *types);
        if (!bigger) return false;
        types = bigger;
        type_capacity = capacity;
    }
    if (slot_count > 2 * type_count) return true;
    uint32_t count = slot_count ? slot_count * 2 : 256;
    uint32_t *bigger = calloc(count, sizeof *slots);
    if (!bigger) return false;
    free(slots);
    slots = bigger;
    slot_count = count;
    for (uint32_t i = 0; i < type_count; i++) *find(&types[i]) = i + 1;
    return true;
}

static enum status out_of_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory for function types");
}

enum status type_id_of(const struct functype *type, uint32_t *ret, struct error *err) {
    if (type_count > UINT32_MAX / 8) return error_set(err, ST_LIMIT, "too many function types");
    if (!grow()) return out_of_memory(err);
    uint32_t *slot = find(type);
    if (!*slot) {
        size_t total = (size_t)type->param_count + type->result_count;
        struct valtype *copy = calloc(total ? total : 1, sizeof *copy);
        if (!copy) return out_of_memory(err);
        for (uint32_t i = 0; i < type->param_count; i++) copy[i] = type->params[i];
        for (uint32_t i = 0; i < type->result_count; i++)
            copy[type->param_count + i] = type->results[i];
        types[type_count] = (struct functype){.param_count = type->param_count,
                                              .result_count = type->result_count,
                                              .params = copy,
                                              .results = copy + type->param_count};
        *slot = ++type_count;
    }
    *ret = *slot;
    return ST_OK;
}

void type_ids_finish(void) {
    for (uint32_t i = 0; i < type_count; i++) {
        const struct valtype *copy = types[i].params;
        free((void *)(uintptr_t)copy);
    }
    free(types);
    free(slots);
    types = NULL;
    slots = NULL;
    type_count = type_capacity = slot_count = 0;
}
