/*
 * Constant expressions (spec core 3.4.14) to programs of struct abi_const_step: checked on a
 * small stack of types, and the steps are the instructions but the final end. Extended constant
 * expressions (add, sub, mul of i32 and i64) and any immutable global that is defined before
 * are 3.0's, and cost nothing here.
 *
 * The depth of the stack is at most MODULE_MAX_CONST_DEPTH, so that whoever runs the program
 * can do so on a fixed stack.
 */
#include "compiler/validate.h"

struct const_stack {
    struct valtype types[MODULE_MAX_CONST_DEPTH];
    uint32_t depth;
};

static enum status push(struct const_stack *s, const struct instruction *in, uint8_t code,
                        struct error *err) {
    if (s->depth == MODULE_MAX_CONST_DEPTH)
        return error_set_at(err, ST_LIMIT, in->offset,
                            "constant expression holds more than %u values",
                            MODULE_MAX_CONST_DEPTH);
    s->types[s->depth++] = (struct valtype){.code = code};
    return ST_OK;
}

static enum status binary(struct const_stack *s, const struct instruction *in, uint8_t code,
                          enum abi_const_op op, struct abi_const_step *step,
                          struct error *err) {
    for (int i = 0; i < 2; i++) {
        if (s->depth == 0)
            return error_set_at(err, ST_INVALID, in->offset,
                                "type mismatch: %s needs two operands", in->info->text);
        struct valtype type = s->types[--s->depth];
        if (type.code != code)
            return error_set_at(err, ST_INVALID, in->offset,
                                "type mismatch: %s needs %s, found %s", in->info->text,
                                valtype_name((struct valtype){.code = code}),
                                valtype_name(type));
    }
    step->op = op;
    return push(s, in, code, err);
}

static enum status global_get(const struct module *m, struct const_stack *s,
                              const struct instruction *in, uint32_t visible_globals,
                              struct abi_const_step *step, struct error *err) {
    if (in->index >= visible_globals)
        return error_set_at(err, ST_INVALID, in->offset,
                            "unknown global %u in a constant expression: %u are defined before",
                            in->index, visible_globals);
    const struct abi_global_type *type = &m->globals[in->index].type;
    if (type->mutable)
        return error_set_at(err, ST_INVALID, in->offset,
                            "constant expression required: global %u is mutable", in->index);
    step->op = ABI_CONST_GLOBAL_GET;
    step->index = in->index;
    return push(s, in, type->type.code, err);
}

static enum status one_step(struct module *m, struct const_stack *s,
                            const struct instruction *in, uint32_t visible_globals,
                            struct abi_const_step *step, struct error *err) {
    *step = (struct abi_const_step){.op = ABI_CONST_VALUE};
    switch (in->opcode) {
    case OP_I32_CONST: step->value.u32 = (uint32_t)in->bits; return push(s, in, ABI_I32, err);
    case OP_I64_CONST: step->value.u64 = in->bits; return push(s, in, ABI_I64, err);
    case OP_F32_CONST: step->value.u32 = (uint32_t)in->bits; return push(s, in, ABI_F32, err);
    case OP_F64_CONST: step->value.u64 = in->bits; return push(s, in, ABI_F64, err);
    case OP_V128_CONST:
        memcpy(step->value.v128, in->bytes, 16);
        return push(s, in, ABI_V128, err);
    case OP_REF_NULL: return push(s, in, in->block_value.code, err); /* a slot of zeros */
    case OP_REF_FUNC:
        if (in->index >= m->function_count)
            return error_set_at(err, ST_INVALID, in->offset,
                                "unknown function %u: ref.func, the module has %u", in->index,
                                m->function_count);
        m->functions[in->index].declared = true;
        step->op = ABI_CONST_REF_FUNC;
        step->index = in->index;
        return push(s, in, ABI_FUNCREF, err);
    case OP_GLOBAL_GET: return global_get(m, s, in, visible_globals, step, err);
    case OP_I32_ADD: return binary(s, in, ABI_I32, ABI_CONST_I32_ADD, step, err);
    case OP_I32_SUB: return binary(s, in, ABI_I32, ABI_CONST_I32_SUB, step, err);
    case OP_I32_MUL: return binary(s, in, ABI_I32, ABI_CONST_I32_MUL, step, err);
    case OP_I64_ADD: return binary(s, in, ABI_I64, ABI_CONST_I64_ADD, step, err);
    case OP_I64_SUB: return binary(s, in, ABI_I64, ABI_CONST_I64_SUB, step, err);
    case OP_I64_MUL: return binary(s, in, ABI_I64, ABI_CONST_I64_MUL, step, err);
    default:
        return error_set_at(err, ST_INVALID, in->offset,
                            "constant expression required: %s is not constant", in->info->text);
    }
}

static struct reader expr_reader(const struct module *m, const struct module_expr *expr) {
    struct reader r = reader_over(m->bytes, m->size);
    r.at = m->bytes + expr->offset;
    r.end = r.at + expr->size;
    return r;
}

enum status validate_expr(struct module *m, struct module_expr *expr, struct valtype type,
                          uint32_t visible_globals, struct error *err) {
    struct instruction in;
    uint32_t count = 0;
    struct reader r = expr_reader(m, expr);
    do { /* decoding has found this to be well-formed, so it ends */
        TRY(instruction_decode(&r, &in, err));
        count++;
    } while (r.at < r.end);

    struct abi_const_step *steps = arena_array(&m->arena, count, sizeof *steps);
    if (!steps) return error_set(err, ST_NO_MEMORY, "out of memory for constant expressions");
    struct const_stack stack = {.depth = 0};
    r = expr_reader(m, expr);
    for (uint32_t i = 0;; i++) {
        TRY(instruction_decode(&r, &in, err));
        if (in.opcode == OP_END) break; /* no other can end it: blocks are not constant */
        TRY(one_step(m, &stack, &in, visible_globals, &steps[i], err));
    }
    if (stack.depth != 1)
        return error_set_at(err, ST_INVALID, in.offset,
                            "type mismatch: constant expression leaves %u values, must be one",
                            stack.depth);
    if (!valtype_equal(stack.types[0], type))
        return error_set_at(err, ST_INVALID, in.offset,
                            "type mismatch: constant expression must be %s, is %s",
                            valtype_name(type), valtype_name(stack.types[0]));
    expr->program = (struct abi_const_expr){.count = count - 1, .steps = steps};
    return ST_OK;
}
