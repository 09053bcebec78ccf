/*
 * Tables that nobody changes. Where a table is neither imported, exported nor written and its
 * active segments say where they go, what call_indirect finds in it is known now:
 *
 *   candidates   functions of the wanted type: with a single one at a single index the call is
 * a comparison and a direct call calls<T>.<C> for table T and type C an array of code addresses
 * in .rodata, an entry for each index; those of another type and null ones are the stub of
 * their trap, whose return address names the call as it always does. No type is compared at
 * all.
 *
 * Pinned code alone: its addresses are constants, and it has no instance to switch to. Arrays
 * are made for the types of lowest index, of all tables together, until ARRAYS_BYTES are full;
 * which those are follows from the module, so that every partition knows.
 */
#include "compiler/lower.h"

#define ARRAYS_BYTES (UINT64_C(256) << 10)
#define ENTRY_BYTES 8u
#define NULL_ENTRY UINT32_MAX

struct constant_table {
    uint32_t size;
    uint32_t *functions;   /* at each index, or NULL_ENTRY */
    uint64_t *by_function; /* function << 32 | index, in order; null entries are the last */
};

static bool put_segment(struct constant_table *t, const struct module_elem *elem) {
    const struct abi_const_expr *offset = &elem->offset.program;
    if (offset->count != 1 || offset->steps[0].op != ABI_CONST_VALUE) return false;
    uint32_t at = offset->steps[0].value.u32;
    if (at > t->size || elem->count > t->size - at) return false; /* it will trap */
    for (uint32_t i = 0; i < elem->count; i++) {
        if (elem->funcs) {
            t->functions[at + i] = elem->funcs[i];
            continue;
        }
        const struct abi_const_expr *expr = &elem->exprs[i].program;
        if (expr->count != 1) return false;
        if (expr->steps[0].op == ABI_CONST_REF_FUNC)
            t->functions[at + i] = expr->steps[0].index;
        else if (expr->steps[0].op == ABI_CONST_VALUE && expr->steps[0].value.u64 == 0)
            t->functions[at + i] = NULL_ENTRY;
        else
            return false;
    }
    return true;
}

static int compare(const void *left, const void *right) {
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static bool sort_by_function(struct constant_table *t, struct arena *arena) {
    t->by_function = arena_array(arena, t->size, sizeof *t->by_function);
    if (!t->by_function) return false;
    for (uint32_t i = 0; i < t->size; i++)
        t->by_function[i] = (uint64_t)t->functions[i] << 32 | i;
    qsort(t->by_function, t->size, sizeof *t->by_function, compare);
    return true;
}

static bool read_table(const struct module *module, uint32_t table, struct arena *arena,
                       struct constant_table *ret) {
    const struct module_table *t = &module->tables[table];
    if (t->imported || t->exported || t->written || t->grown ||
        t->type.element.code != ABI_FUNCREF || t->type.limits.is_64 ||
        t->type.limits.min > ARRAYS_BYTES / ENTRY_BYTES)
        return false;
    ret->size = (uint32_t)t->type.limits.min;
    ret->functions = arena_array(arena, ret->size, sizeof *ret->functions);
    if (!ret->functions) return false;
    for (uint32_t i = 0; i < ret->size; i++) ret->functions[i] = NULL_ENTRY;
    for (uint32_t i = 0; i < module->elem_count; i++) {
        const struct module_elem *elem = &module->elems[i];
        if (elem->mode == ABI_SEGMENT_ACTIVE && elem->table == table && !put_segment(ret, elem))
            return false;
    }
    return sort_by_function(ret, arena);
}

static uint32_t canonical_of(const struct module *module, uint32_t function) {
    return module->types[module->functions[function].type].canonical;
}

/* ---- planning ---------------------------------------------------------------------------- */

/* What there is of one type in one table. */
struct lower_calls {
    bool array;               /* calls<T>.<C> exists */
    bool some;                /* an entry of the type */
    bool many;                /* ... at two indices or more */
    uint32_t index, function; /* of the first */
};

static void count_candidates(const struct module *module, const struct constant_table *t,
                             struct lower_calls *calls) {
    for (uint32_t i = 0; i < t->size; i++) {
        if (t->functions[i] == NULL_ENTRY) continue;
        struct lower_calls *c = &calls[canonical_of(module, t->functions[i])];
        if (c->some) {
            c->many = true;
        } else {
            c->some = true;
            c->index = i;
            c->function = t->functions[i];
        }
    }
}

enum status lower_plan_calls(struct lower_module *m, struct arena *arena, struct error *err) {
    const struct module *module = m->module;
    if (m->options->placement != ABI_PINNED || module->table_count == 0) return ST_OK;
    m->constant_tables = arena_array(arena, module->table_count, sizeof *m->constant_tables);
    m->calls = arena_array(arena, module->table_count, sizeof *m->calls);
    if (!m->constant_tables || !m->calls) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint64_t left = ARRAYS_BYTES;
    for (uint32_t table = 0; table < module->table_count; table++) {
        struct constant_table *t = &m->constant_tables[table];
        if (!read_table(module, table, arena, t)) continue;
        struct lower_calls *calls = arena_array(arena, module->type_count, sizeof *calls);
        if (!calls) return error_set(err, ST_NO_MEMORY, "out of memory");
        count_candidates(module, t, calls);
        for (uint32_t c = 0; c < module->type_count; c++) {
            uint64_t bytes = (uint64_t)t->size * ENTRY_BYTES;
            if (!calls[c].many || bytes > left) continue;
            calls[c].array = true;
            left -= bytes;
        }
        m->calls[table] = calls;
    }
    return ST_OK;
}

/* ---- arrays ------------------------------------------------------------------------------ */

static LLVMValueRef array_of(struct lower_module *m, uint32_t table, uint32_t canonical) {
    char name[40];
    snprintf(name, sizeof name, "calls%u.%u", table, canonical);
    LLVMValueRef array = LLVMGetNamedGlobal(m->llvm, name);
    if (array) return array;
    array =
        LLVMAddGlobal(m->llvm, LLVMArrayType2(m->ptr, m->constant_tables[table].size), name);
    LLVMSetGlobalConstant(array, true);
    LLVMSetVisibility(array, LLVMHiddenVisibility);
    LLVMSetAlignment(array, ENTRY_BYTES);
    return array;
}

enum status lower_define_calls(struct lower_module *m, struct arena *arena, struct error *err) {
    for (uint32_t table = 0; m->calls && table < m->module->table_count; table++) {
        const struct constant_table *t = &m->constant_tables[table];
        LLVMValueRef *entries = arena_array(arena, t->size, sizeof *entries);
        if (!entries) return error_set(err, ST_NO_MEMORY, "out of memory");
        for (uint32_t c = 0; m->calls[table] && c < m->module->type_count; c++) {
            if (!m->calls[table][c].array) continue;
            for (uint32_t i = 0; i < t->size; i++) {
                uint32_t function = t->functions[i];
                entries[i] = function == NULL_ENTRY
                                 ? lower_trap_stub(m, TRAP_UNINITIALIZED_ELEMENT)
                             : canonical_of(m->module, function) == c
                                 ? lower_function_value(m, function)
                                 : lower_trap_stub(m, TRAP_INDIRECT_CALL_MISMATCH);
            }
            LLVMSetInitializer(array_of(m, table, c),
                               LLVMConstArray2(m->ptr, entries, t->size));
        }
    }
    return ST_OK;
}

/* ---- calls ------------------------------------------------------------------------------- */

bool lower_only_callee(const struct lower *f, uint32_t table, uint32_t canonical,
                       uint32_t *ret_index, uint32_t *ret_function) {
    const struct lower_module *m = f->m;
    if (!m->calls || !m->calls[table]) return false;
    const struct lower_calls *calls = &m->calls[table][canonical];
    if (!calls->some || calls->many) return false;
    *ret_index = calls->index;
    *ret_function = calls->function;
    return true;
}

bool lower_only_index(const struct lower *f, uint32_t table, uint32_t function,
                      uint32_t *ret_index) {
    const struct lower_module *m = f->m;
    if (!m->calls || !m->calls[table]) return false;
    const struct constant_table *t = &m->constant_tables[table];
    uint32_t low = 0, high = t->size; /* the first that is not below the function */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->by_function[middle] >> 32 < function)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == t->size || t->by_function[low] >> 32 != function) return false;
    if (low + 1 < t->size && t->by_function[low + 1] >> 32 == function) return false;
    *ret_index = (uint32_t)t->by_function[low];
    return true;
}

LLVMValueRef lower_callee(struct lower *f, uint32_t table, uint32_t canonical,
                          LLVMValueRef index) {
    struct lower_module *m = f->m;
    if (!m->calls || !m->calls[table]) return NULL;
    const struct constant_table *t = &m->constant_tables[table];
    if (LLVMIsAConstantInt(index)) { /* in range: that was checked */
        uint64_t at = LLVMConstIntGetZExtValue(index);
        if (at < t->size && t->functions[at] != NULL_ENTRY &&
            canonical_of(m->module, t->functions[at]) == canonical)
            return lower_function_value(m, t->functions[at]);
    }
    if (!m->calls[table][canonical].array) return NULL;
    LLVMValueRef wide = LLVMBuildZExt(f->builder, index, m->i64, "");
    LLVMValueRef entry =
        LLVMBuildGEP2(f->builder, m->ptr, array_of(m, table, canonical), &wide, 1, "");
    return lower_load_instance(f, m->ptr, entry);
}
