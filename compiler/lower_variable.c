/*
 * Locals, globals, references and reading of tables (spec core 4.4.4 to 4.4.6). Locals are
 * allocas until mem2reg. A global that never changes and whose value the module gives is a
 * constant.
 */
#include "compiler/lower.h"

static LLVMValueRef constant_of(struct lower *f, const struct module_global *global) {
    if (global->imported || global->type.mutable || global->init.program.count != 1)
        return NULL;
    const struct abi_const_step *step = &global->init.program.steps[0];
    if (step->op != ABI_CONST_VALUE) return NULL;
    struct lower_module *m = f->m;
    switch (global->type.type.code) {
    case ABI_I32: return LLVMConstInt(m->i32, step->value.u32, false);
    case ABI_I64: return LLVMConstInt(m->i64, step->value.u64, false);
    case ABI_F32: return LLVMConstBitCast(LLVMConstInt(m->i32, step->value.u32, false), m->f32);
    case ABI_F64: return LLVMConstBitCast(LLVMConstInt(m->i64, step->value.u64, false), m->f64);
    default: return NULL;
    }
}

static void emit_global_get(struct lower *f, uint32_t index) {
    const struct module_global *global = &f->m->module->globals[index];
    LLVMValueRef value = constant_of(f, global);
    if (!value)
        value =
            lower_load_instance(f, lower_type(f->m, global->type.type), place_global(f, index));
    lower_push(f, value);
}

static LLVMValueRef table_field(struct lower *f, uint32_t table, LLVMTypeRef type,
                                uint64_t offset) {
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    LLVMValueRef address =
        LLVMBuildGEP2(f->builder, f->m->i8, place_table(f, table), &index, 1, "");
    return lower_load_instance(f, type, address);
}

LLVMValueRef lower_table_size(struct lower *f, uint32_t table) {
    const struct module_table *t = &f->m->module->tables[table];
    if (!t->imported && !t->exported && !t->grown)
        return LLVMConstInt(f->m->i32, t->type.limits.min, false);
    return table_field(f, table, f->m->i32, offsetof(struct abi_table, size));
}

LLVMValueRef lower_table_entry(struct lower *f, uint32_t table, LLVMValueRef index) {
    LLVMValueRef entries;
    if (f->m->table_entries)
        entries = place_instance_field(f, f->m->table_entries[table] - ABI_INSTANCE_BASE);
    else
        entries = table_field(f, table, f->m->ptr, offsetof(struct abi_table, entries));
    LLVMValueRef wide = LLVMBuildZExt(f->builder, index, f->m->i64, "");
    LLVMValueRef scaled = LLVMBuildShl(f->builder, wide, LLVMConstInt(f->m->i64, 4, false), "");
    return LLVMBuildGEP2(f->builder, f->m->i8, entries, &scaled, 1, "");
}

LLVMValueRef lower_entry_field(struct lower *f, LLVMValueRef entry, LLVMTypeRef type,
                               uint64_t offset) {
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    LLVMValueRef address = LLVMBuildGEP2(f->builder, f->m->i8, entry, &index, 1, "");
    return lower_load_instance(f, type, address);
}

static void emit_table_get(struct lower *f, uint32_t table) {
    LLVMValueRef index = lower_pop(f);
    lower_trap_if(f,
                  LLVMBuildICmp(f->builder, LLVMIntUGE, index, lower_table_size(f, table), ""),
                  TRAP_TABLE_OUT_OF_BOUNDS);
    LLVMValueRef entry = lower_table_entry(f, table, index);
    LLVMValueRef value;
    if (f->m->options->placement == ABI_PINNED &&
        f->m->module->tables[table].type.element.code == ABI_FUNCREF)
        value = LLVMBuildZExt(
            f->builder,
            lower_entry_field(f, entry, f->m->i32, offsetof(struct abi_table_entry, ref32)),
            f->m->i64, "");
    else
        value = lower_entry_field(f, entry, f->m->i64, offsetof(struct abi_table_entry, word));
    lower_push(f, value);
}

static void emit_select(struct lower *f) {
    LLVMValueRef condition = LLVMBuildICmp(f->builder, LLVMIntNE, lower_pop(f),
                                           LLVMConstInt(f->m->i32, 0, false), "");
    LLVMValueRef second = lower_pop(f), first = lower_pop(f);
    lower_profile_branch(f, condition);
    LLVMValueRef select = LLVMBuildSelect(f->builder, condition, first, second, "");
    if (LLVMIsASelectInst(select)) lower_profile_weigh(f, select);
    lower_push(f, select);
}

bool lower_variable(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    switch (in->opcode) {
    case OP_LOCAL_GET:
        lower_push(f, LLVMBuildLoad2(f->builder, lower_type(m, f->local_types[in->index]),
                                     lower_local(f, in->index), ""));
        break;
    case OP_LOCAL_SET:
        LLVMBuildStore(f->builder, lower_pop(f), lower_local(f, in->index));
        break;
    case OP_LOCAL_TEE:
        LLVMBuildStore(f->builder, f->stack[f->stack_size - 1], lower_local(f, in->index));
        break;
    case OP_GLOBAL_GET: emit_global_get(f, in->index); break;
    case OP_GLOBAL_SET:
        lower_store_instance(f, lower_pop(f), place_global(f, in->index));
        break;
    case OP_DROP: lower_pop(f); break;
    case OP_SELECT:
    case OP_SELECT_T: emit_select(f); break;
    case OP_REF_NULL: lower_push(f, LLVMConstInt(m->i64, 0, false)); break;
    case OP_REF_IS_NULL:
        lower_push(f, LLVMBuildZExt(f->builder,
                                    LLVMBuildICmp(f->builder, LLVMIntEQ, lower_pop(f),
                                                  LLVMConstInt(m->i64, 0, false), ""),
                                    m->i32, ""));
        break;
    case OP_REF_FUNC:
        lower_push(f, LLVMBuildPtrToInt(f->builder, place_func(f, in->index), m->i64, ""));
        break;
    case OP_TABLE_GET: emit_table_get(f, in->index); break;
    case OP_TABLE_SIZE: lower_push(f, lower_table_size(f, in->index)); break;
    default: return false;
    }
    return true;
}
