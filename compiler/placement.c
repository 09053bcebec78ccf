/*
 * Where a field of the instance block and the base of a memory lie: the one file in which
 * pinned and relocatable code differ.
 *
 * Pinned: constants of the address map. They enter the IR as calls of two anchors, ptr
 * @hutch.instance() and ptr @hutch.memory(), memory(none), one of each in a function, and
 * become constants only when the optimiser is done (optimise.c): a constant base in the middle
 * end makes GVN walk every user of it in the module.
 *
 * Relocatable: the first argument is the instance; bases and descriptors are loaded from it.
 */
#include "compiler/lower.h"

static LLVMValueRef offset_from(struct lower *f, LLVMBuilderRef builder, LLVMValueRef base,
                                uint64_t offset) {
    if (offset == 0) return base;
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    return LLVMBuildGEPWithNoWrapFlags(builder, f->m->i8, base, &index, 1, "",
                                       LLVMGEPFlagNUW | LLVMGEPFlagInBounds);
}

static bool relocatable(const struct lower *f) {
    return f->m->options->placement == ABI_RELOCATABLE;
}

static LLVMValueRef instance_base(struct lower *f) {
    if (!f->instance)
        f->instance = relocatable(f) ? f->instance_argument
                                     : LLVMBuildCall2(f->entry_builder, f->m->anchor_type,
                                                      f->m->instance_anchor, NULL, 0, "inst");
    return f->instance;
}

LLVMValueRef place_instance_field(struct lower *f, uint64_t offset) {
    return offset_from(f, f->builder, instance_base(f), offset);
}

/* A load in the entry block of something that never changes while the instance lives. */
static LLVMValueRef load_invariant(struct lower *f, LLVMTypeRef type, LLVMValueRef address) {
    LLVMValueRef load = LLVMBuildLoad2(f->entry_builder, type, address, "");
    LLVMSetMetadata(
        load, f->m->invariant_kind,
        LLVMMetadataAsValue(f->m->context, LLVMMDNodeInContext2(f->m->context, NULL, 0)));
    return load;
}

/*
 * Address of item `index` of the array at `offset`, items of `item_size`; an imported item of
 * relocatable code is reached through the pointers at `refs_offset`.
 */
static LLVMValueRef item(struct lower *f, LLVMBuilderRef builder, uint64_t offset,
                         uint64_t item_size, uint64_t refs_offset, uint32_t index,
                         uint32_t imported) {
    LLVMValueRef instance = instance_base(f);
    if (relocatable(f) && index < imported)
        return load_invariant(
            f, f->m->ptr,
            offset_from(f, f->entry_builder, instance, refs_offset + 8 * (uint64_t)index));
    return offset_from(f, builder, instance, offset + item_size * index);
}

LLVMValueRef place_memory(struct lower *f, uint32_t memory) {
    const struct abi_layout *layout = &f->m->layout;
    return item(f, f->builder, layout->memories, sizeof(struct abi_memory), layout->memory_refs,
                memory, f->m->module->imported_memories);
}

LLVMValueRef place_table(struct lower *f, uint32_t table) {
    const struct abi_layout *layout = &f->m->layout;
    return item(f, f->builder, layout->tables, sizeof(struct abi_table), layout->table_refs,
                table, f->m->module->imported_tables);
}

LLVMValueRef place_global(struct lower *f, uint32_t global) {
    const struct abi_layout *layout = &f->m->layout;
    return item(f, f->builder, layout->globals, ABI_SLOT_SIZE, layout->global_refs, global,
                f->m->module->imported_globals);
}

LLVMValueRef place_func(struct lower *f, uint32_t function) {
    return place_instance_field(f, f->m->layout.funcs + ABI_FUNC_SIZE * (uint64_t)function);
}

LLVMValueRef place_memory_base(struct lower *f, uint32_t memory) {
    if (!f->memory) {
        if (relocatable(f)) {
            const struct abi_layout *layout = &f->m->layout;
            LLVMValueRef descriptor =
                item(f, f->entry_builder, layout->memories, sizeof(struct abi_memory),
                     layout->memory_refs, memory, f->m->module->imported_memories);
            f->memory = load_invariant(f, f->m->ptr,
                                       offset_from(f, f->entry_builder, descriptor,
                                                   offsetof(struct abi_memory, base)));
        } else {
            f->memory = LLVMBuildCall2(f->entry_builder, f->m->anchor_type, f->m->memory_anchor,
                                       NULL, 0, "mem");
        }
    }
    return f->memory;
}

/* Each counter has an address of its own: no use of it is far from another. */
LLVMValueRef place_profile(struct lower *f, uint64_t offset) {
    if (!relocatable(f))
        return LLVMConstIntToPtr(LLVMConstInt(f->m->i64, ABI_PROFILE_BASE + offset, false),
                                 f->m->ptr);
    if (!f->profile_base)
        f->profile_base = load_invariant(f, f->m->ptr,
                                         offset_from(f, f->entry_builder, instance_base(f),
                                                     offsetof(struct abi_instance, profile)));
    return offset_from(f, f->builder, f->profile_base, offset);
}

LLVMValueRef place_type_id(struct lower *f, uint32_t canonical) {
    if (!relocatable(f)) return LLVMConstInt(f->m->i32, (uint64_t)canonical + 1, false);
    LLVMValueRef address = offset_from(f, f->entry_builder, instance_base(f),
                                       f->m->layout.type_ids + 4 * (uint64_t)canonical);
    return load_invariant(f, f->m->i32, address);
}
