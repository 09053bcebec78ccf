/*
 * Constant expressions (spec core 3.4.14) as the little stack programs of abi.h. Validation has
 * fixed their types and that a global is initialised before it is read; what a program does to
 * its stack is checked once, when the instance is made.
 */
#include "runtime/instance.h"

#define STACK_DEPTH 256

enum status const_expr_check(const struct abi_object *object, const struct abi_const_expr *expr,
                             struct error *err) {
    uint32_t depth = 0;
    for (uint32_t i = 0; i < expr->count; i++) {
        const struct abi_const_step *step = &expr->steps[i];
        switch (step->op) {
        case ABI_CONST_GLOBAL_GET:
        case ABI_CONST_REF_FUNC:
            if (step->index >= (step->op == ABI_CONST_REF_FUNC ? object->function_count
                                                               : object->global_count))
                return error_set(err, ST_DAMAGED,
                                 "a constant expression names what is not there");
            depth++;
            break;
        case ABI_CONST_VALUE: depth++; break;
        case ABI_CONST_I32_ADD:
        case ABI_CONST_I32_SUB:
        case ABI_CONST_I32_MUL:
        case ABI_CONST_I64_ADD:
        case ABI_CONST_I64_SUB:
        case ABI_CONST_I64_MUL:
            if (depth < 2)
                return error_set(err, ST_DAMAGED, "a constant expression underflows its stack");
            depth--;
            break;
        default: return error_set(err, ST_DAMAGED, "a constant expression has an unknown step");
        }
        if (depth > STACK_DEPTH)
            return error_set(err, ST_LIMIT, "a constant expression is deeper than %d values",
                             STACK_DEPTH);
    }
    if (depth != 1)
        return error_set(err, ST_DAMAGED, "a constant expression gives no one value");
    return ST_OK;
}

union abi_value const_expr_value(struct instance *instance, const struct abi_const_expr *expr) {
    union abi_value stack[STACK_DEPTH];
    uint32_t depth = 0;
    for (uint32_t i = 0; i < expr->count; i++) {
        const struct abi_const_step *step = &expr->steps[i];
        switch (step->op) {
        case ABI_CONST_VALUE:
        case ABI_CONST_GLOBAL_GET:
        case ABI_CONST_REF_FUNC:
            CHECK(depth < STACK_DEPTH);
            if (step->op == ABI_CONST_VALUE) {
                stack[depth] = step->value;
            } else if (step->op == ABI_CONST_GLOBAL_GET) {
                CHECK(step->index < instance->object->global_count);
                stack[depth] = *instance->globals[step->index].cell;
            } else {
                stack[depth] =
                    (union abi_value){.ref = (uint64_t)instance_func(instance, step->index)};
            }
            depth++;
            continue;
        case ABI_CONST_I32_ADD:
        case ABI_CONST_I32_SUB:
        case ABI_CONST_I32_MUL:
        case ABI_CONST_I64_ADD:
        case ABI_CONST_I64_SUB:
        case ABI_CONST_I64_MUL: break;
        default: CHECK(false && "a constant expression with an unknown step");
        }
        CHECK(depth >= 2);
        union abi_value b = stack[--depth], *a = &stack[depth - 1];
        switch (step->op) {
        case ABI_CONST_I32_ADD: a->u32 += b.u32; break;
        case ABI_CONST_I32_SUB: a->u32 -= b.u32; break;
        case ABI_CONST_I32_MUL: a->u32 *= b.u32; break;
        case ABI_CONST_I64_ADD: a->u64 += b.u64; break;
        case ABI_CONST_I64_SUB: a->u64 -= b.u64; break;
        case ABI_CONST_I64_MUL: a->u64 *= b.u64; break;
        case ABI_CONST_VALUE:
        case ABI_CONST_GLOBAL_GET:
        case ABI_CONST_REF_FUNC:
        default: break;
        }
    }
    CHECK(depth == 1);
    return stack[0];
}
