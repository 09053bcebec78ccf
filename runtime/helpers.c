/*
 * The helpers of abi/helpers.def: arguments in the slots of generated code, in the order of the
 * row, results back into slot 0. Indices of tables, memories and segments were validated by the
 * compiler; the checks of them are invariants, not traps.
 */
#include "runtime/instance.h"
#include "runtime/table.h"

enum abi_trap helper_run(struct instance *instance, uint32_t helper, union abi_value *slots) {
    /* i32 arguments, read as unsigned: spec core 4.3.2 */
    uint32_t a = slots[0].u32, b = slots[1].u32;
    switch (helper) {
    case ABI_HELPER_MEMORY_GROW:
        CHECK(a < instance->object->memory_count);
        slots[0].i32 = memory_grow(instance->memories[a], b);
        return TRAP_NONE;
    case ABI_HELPER_MEMORY_INIT:
        return memory_init(instance, a, b, slots[2].u32, slots[3].u32, slots[4].u32);
    case ABI_HELPER_DATA_DROP:
        CHECK(a < instance->object->data_count);
        instance->data_dropped[a] = true;
        return TRAP_NONE;
    case ABI_HELPER_TABLE_SET: return table_set(instance, a, b, slots[2].ref);
    case ABI_HELPER_TABLE_GROW:
        slots[0].i32 = table_grow(instance, a, slots[1].ref, slots[2].u32);
        return TRAP_NONE;
    case ABI_HELPER_TABLE_FILL: return table_fill(instance, a, b, slots[2].ref, slots[3].u32);
    case ABI_HELPER_TABLE_COPY:
        return table_copy(instance, a, b, slots[2].u32, slots[3].u32, slots[4].u32);
    case ABI_HELPER_TABLE_INIT:
        return table_init(instance, a, b, slots[2].u32, slots[3].u32, slots[4].u32);
    case ABI_HELPER_ELEM_DROP:
        CHECK(a < instance->object->elem_count);
        instance->elem_dropped[a] = true;
        return TRAP_NONE;
    case ABI_HELPER_THROW: return exception_throw(instance, a, slots + 1);
    case ABI_HELPER_THROW_REF: return exception_throw_ref(slots[0].ref);
    default: CHECK(false && "generated code calls a helper that does not exist");
    }
    return TRAP_HOST;
}
