/*
 * Every instruction but structured control and branches (spec core 3.4): operands and results.
 * Most have a fixed signature in opcodes.def; those whose types depend on the module or on the
 * operands have a function here. Also notes which tables are written and grown.
 */
#include "compiler/validate.h"

#define TYPE(code_) ((struct valtype){.code = (code_)})
#define I32 TYPE(ABI_I32)
#define FUNCREF TYPE(ABI_FUNCREF)

static struct valtype letter_type(char letter) {
    switch (letter) {
    case 'i': return I32;
    case 'I': return TYPE(ABI_I64);
    case 'f': return TYPE(ABI_F32);
    case 'F': return TYPE(ABI_F64);
    default: return TYPE(ABI_V128);
    }
}

/* An instruction whose row says it all. */
static enum status validate_fixed(struct validator *v, const struct opcode_info *info) {
    for (size_t i = strlen(info->params); i-- > 0;)
        TRY(pop_operand(v, letter_type(info->params[i])));
    for (const char *p = info->results; *p; p++) TRY(push_operand(v, letter_type(*p)));
    return ST_OK;
}

/* ---- indices ---- */

static enum status check_index(const struct validator *v, const char *what, uint32_t index,
                               uint32_t count) {
    if (index < count) return ST_OK;
    return invalid(v, "unknown %s %u: %s, the module has %u", what, index, v->in->info->text,
                   count);
}

static enum status check_memory(const struct validator *v, uint32_t index) {
    return check_index(v, "memory", index, v->module->memory_count);
}

static enum status find_table(struct validator *v, uint32_t index, struct module_table **ret) {
    TRY(check_index(v, "table", index, v->module->table_count));
    *ret = &v->module->tables[index];
    return ST_OK;
}

static enum status check_data(const struct validator *v, uint32_t index) {
    const struct module *m = v->module;
    if (!m->has_data_count)
        return error_set_at(v->err, ST_MALFORMED, v->in->offset,
                            "data count section required: %s", v->in->info->text);
    return check_index(v, "data segment", index, m->data_count);
}

/* ---- calls, parametric, variables, references ---- */

static enum status apply(struct validator *v, const struct functype *type) {
    TRY(pop_operands(v, (struct types){type->param_count, type->params}));
    return push_operands(v, (struct types){type->result_count, type->results});
}

static enum status validate_call(struct validator *v, const struct instruction *in) {
    TRY(check_index(v, "function", in->index, v->module->function_count));
    return apply(v, module_functype(v->module, in->index));
}

static enum status validate_call_indirect(struct validator *v, const struct instruction *in) {
    struct module_table *table;
    TRY(find_table(v, in->index2, &table));
    if (table->type.element.code != ABI_FUNCREF)
        return invalid(v, "type mismatch: call_indirect through table %u of %s", in->index2,
                       type_text(table->type.element));
    TRY(check_index(v, "type", in->index, v->module->type_count));
    TRY(pop_operand(v, I32));
    return apply(v, &v->module->types[in->index].func);
}

static bool is_numeric_or_vector(struct valtype t) {
    return type_is_unknown(t) || !valtype_is_ref(t);
}

static enum status validate_select(struct validator *v) {
    struct valtype a, b;
    TRY(pop_operand(v, I32));
    TRY(pop_any(v, &a));
    TRY(pop_any(v, &b));
    if (!is_numeric_or_vector(a) || !is_numeric_or_vector(b))
        return invalid(v, "type mismatch: select of references must say their type");
    if (!valtype_equal(a, b) && !type_is_unknown(a) && !type_is_unknown(b))
        return invalid(v, "type mismatch: select between %s and %s", type_text(b),
                       type_text(a));
    return push_operand(v, type_is_unknown(a) ? b : a);
}

static enum status validate_select_typed(struct validator *v, const struct instruction *in) {
    if (in->count != 1)
        return invalid(v, "invalid result arity: select of %u types, must be one", in->count);
    TRY(pop_operand(v, I32));
    TRY(pop_operand(v, in->block_value));
    TRY(pop_operand(v, in->block_value));
    return push_operand(v, in->block_value);
}

/* Parameters, then runs, of which there are few or at least each has cost bytes of its own. */
static enum status local_type(const struct validator *v, uint32_t index, struct valtype *ret) {
    TRY(check_index(v, "local", index, v->function->local_count));
    if (index < v->type->param_count) {
        *ret = v->type->params[index];
        return ST_OK;
    }
    index -= v->type->param_count;
    uint32_t low = 0, high = v->function->local_run_count - 1;
    while (low < high) { /* the first run that ends behind index */
        uint32_t middle = low + (high - low) / 2;
        if (v->run_ends[middle] > index)
            high = middle;
        else
            low = middle + 1;
    }
    *ret = v->function->local_runs[low].type;
    return ST_OK;
}

static enum status validate_local(struct validator *v, const struct instruction *in) {
    struct valtype type;
    TRY(local_type(v, in->index, &type));
    if (in->opcode != OP_LOCAL_GET) TRY(pop_operand(v, type));
    if (in->opcode != OP_LOCAL_SET) TRY(push_operand(v, type));
    return ST_OK;
}

static enum status validate_global(struct validator *v, const struct instruction *in) {
    TRY(check_index(v, "global", in->index, v->module->global_count));
    const struct abi_global_type *type = &v->module->globals[in->index].type;
    if (in->opcode == OP_GLOBAL_GET) return push_operand(v, type->type);
    if (!type->mutable) return invalid(v, "immutable global %u: global.set", in->index);
    return pop_operand(v, type->type);
}

static enum status validate_ref_is_null(struct validator *v) {
    struct valtype type;
    TRY(pop_any(v, &type));
    if (!type_is_unknown(type) && !valtype_is_ref(type))
        return invalid(v, "type mismatch: ref.is_null needs a reference, found %s",
                       type_text(type));
    return push_operand(v, I32);
}

static enum status validate_ref_func(struct validator *v, const struct instruction *in) {
    TRY(check_index(v, "function", in->index, v->module->function_count));
    if (!v->module->functions[in->index].declared)
        return invalid(v,
                       "undeclared function reference: ref.func %u, but no export, elem "
                       "segment or global names it",
                       in->index);
    return push_operand(v, FUNCREF);
}

/* ---- tables ---- */

static enum status validate_table(struct validator *v, const struct instruction *in) {
    struct module_table *table;
    TRY(find_table(v, in->index, &table));
    struct valtype element = table->type.element;
    switch (in->opcode) {
    case OP_TABLE_GET: TRY(pop_operand(v, I32)); return push_operand(v, element);
    case OP_TABLE_SET:
        table->written = true;
        TRY(pop_operand(v, element));
        return pop_operand(v, I32);
    case OP_TABLE_GROW:
        table->written = table->grown = true;
        TRY(pop_operand(v, I32));
        TRY(pop_operand(v, element));
        return push_operand(v, I32);
    case OP_TABLE_FILL:
        table->written = true;
        TRY(pop_operand(v, I32));
        TRY(pop_operand(v, element));
        return pop_operand(v, I32);
    default: /* table.size */ return push_operand(v, I32);
    }
}

static enum status validate_table_copy(struct validator *v, const struct instruction *in) {
    struct module_table *to, *from;
    TRY(find_table(v, in->index, &to));
    TRY(find_table(v, in->index2, &from));
    if (!valtype_equal(to->type.element, from->type.element))
        return invalid(v, "type mismatch: table.copy from table %u of %s to table %u of %s",
                       in->index2, type_text(from->type.element), in->index,
                       type_text(to->type.element));
    to->written = true;
    return validate_fixed(v, in->info);
}

static enum status validate_table_init(struct validator *v, const struct instruction *in) {
    struct module_table *table;
    TRY(find_table(v, in->index2, &table));
    TRY(check_index(v, "elem segment", in->index, v->module->elem_count));
    struct valtype type = v->module->elems[in->index].type;
    if (!valtype_equal(table->type.element, type))
        return invalid(v,
                       "type mismatch: table.init of table %u of %s from elem segment %u of "
                       "%s",
                       in->index2, type_text(table->type.element), in->index, type_text(type));
    table->written = true;
    return validate_fixed(v, in->info);
}

/* ---- memory and lanes ---- */

static enum status validate_access(struct validator *v, const struct instruction *in) {
    TRY(check_memory(v, in->index));
    if (in->align_log2 > 4 || (1u << in->align_log2) > in->info->access_bytes)
        return invalid(v, "alignment must not be larger than natural: %s of %u bytes at 2^%u",
                       in->info->text, in->info->access_bytes, in->align_log2);
    if (in->memory_offset > UINT32_MAX)
        return invalid(v, "offset out of range: %llu in a 32-bit memory",
                       (unsigned long long)in->memory_offset);
    if (in->info->immediate == IMM_MEMARG_LANE && in->lane >= 16 / in->info->access_bytes)
        return invalid(v, "invalid lane index %u: %s", in->lane, in->info->text);
    return validate_fixed(v, in->info);
}

static enum status validate_lane(struct validator *v, const struct instruction *in) {
    /* The number after the x of the shape: i8x16.extract_lane_s. */
    const char *x = strchr(in->info->text, 'x');
    unsigned lanes = x ? (unsigned)strtoul(x + 1, NULL, 10) : 0;
    if (in->lane >= lanes)
        return invalid(v, "invalid lane index %u: %s has %u", in->lane, in->info->text, lanes);
    return validate_fixed(v, in->info);
}

static enum status validate_shuffle(struct validator *v, const struct instruction *in) {
    for (unsigned i = 0; i < 16; i++)
        if (in->bytes[i] >= 32)
            return invalid(v, "invalid lane index %u: i8x16.shuffle has 32", in->bytes[i]);
    return validate_fixed(v, in->info);
}

/* By opcode, where a fixed signature is not all. */
static enum status validate_by_opcode(struct validator *v, const struct instruction *in) {
    struct valtype any;
    switch (in->opcode) {
    case OP_CALL: return validate_call(v, in);
    case OP_CALL_INDIRECT: return validate_call_indirect(v, in);
    case OP_DROP: return pop_any(v, &any);
    case OP_SELECT: return validate_select(v);
    case OP_SELECT_T: return validate_select_typed(v, in);
    case OP_LOCAL_GET:
    case OP_LOCAL_SET:
    case OP_LOCAL_TEE: return validate_local(v, in);
    case OP_GLOBAL_GET:
    case OP_GLOBAL_SET: return validate_global(v, in);
    case OP_REF_NULL: return push_operand(v, in->block_value);
    case OP_REF_IS_NULL: return validate_ref_is_null(v);
    case OP_REF_FUNC: return validate_ref_func(v, in);
    case OP_TABLE_GET:
    case OP_TABLE_SET:
    case OP_TABLE_GROW:
    case OP_TABLE_FILL: return validate_table(v, in);
    default: return error_set(v->err, ST_INTERNAL, "no rule for %s", in->info->text);
    }
}

enum status validate_instruction(struct validator *v, const struct instruction *in) {
    switch (in->info->immediate) {
    case IMM_MEMARG:
    case IMM_MEMARG_LANE: return validate_access(v, in);
    case IMM_MEMORY: TRY(check_memory(v, in->index)); break;
    case IMM_MEMORY_MEMORY:
        TRY(check_memory(v, in->index));
        TRY(check_memory(v, in->index2));
        break;
    case IMM_DATA_MEMORY:
        TRY(check_memory(v, in->index2));
        TRY(check_data(v, in->index));
        break;
    case IMM_DATA: TRY(check_data(v, in->index)); break;
    case IMM_ELEM: TRY(check_index(v, "elem segment", in->index, v->module->elem_count)); break;
    case IMM_ELEM_TABLE: return validate_table_init(v, in);
    case IMM_TABLE_TABLE: return validate_table_copy(v, in);
    case IMM_TABLE: return validate_table(v, in);
    case IMM_LANE: return validate_lane(v, in);
    case IMM_SHUFFLE: return validate_shuffle(v, in);
    case IMM_NONE:
    case IMM_BLOCK:
    case IMM_CATCHES:
    case IMM_TAG:
    case IMM_LABEL:
    case IMM_LABELS:
    case IMM_FUNC:
    case IMM_INDIRECT:
    case IMM_LOCAL:
    case IMM_GLOBAL:
    case IMM_TYPES:
    case IMM_I32:
    case IMM_I64:
    case IMM_F32:
    case IMM_F64:
    case IMM_V128:
    case IMM_HEAP_TYPE: break;
    }
    if (in->info->params[0] == '*') return validate_by_opcode(v, in);
    return validate_fixed(v, in->info);
}
