/*
 * The module "spectest" as host-provided imports, for pinned placement, where nothing but the
 * one instance lives: each importer gets a fresh memory and table, as there is but one
 * importer.
 */
#include "tests/spec/spec.h"

static enum host_result print_nothing(void *context, struct instance *caller,
                                      union abi_value *slots) {
    (void)context, (void)caller, (void)slots;
    return HOST_OK;
}

static const struct valtype i32_f32[] = {{.code = ABI_I32}, {.code = ABI_F32}};
static const struct valtype f64_f64[] = {{.code = ABI_F64}, {.code = ABI_F64}};
static const struct valtype i64[] = {{.code = ABI_I64}};
static const struct valtype f32[] = {{.code = ABI_F32}};

static const struct {
    const char *name;
    uint32_t param_count;
    const struct valtype *params;
} functions[] = {
    {"print", 0, NULL},
    {"print_i32", 1, i32_f32},
    {"print_i64", 1, i64},
    {"print_f32", 1, f32},
    {"print_f64", 1, f64_f64},
    {"print_i32_f32", 2, i32_f32},
    {"print_f64_f64", 2, f64_f64},
};

static bool is(const char *name, size_t length, const char *word) {
    return strlen(word) == length && memcmp(name, word, length) == 0;
}

bool spectest_resolve(const char *name, size_t length, struct extern_value *ret) {
    *ret = (struct extern_value){.source = EXTERN_HOST};
    for (size_t i = 0; i < countof(functions); i++)
        if (is(name, length, functions[i].name)) {
            ret->kind = ABI_EXTERN_FUNC;
            ret->function = print_nothing;
            ret->function_type = (struct functype){.param_count = functions[i].param_count,
                                                   .params = functions[i].params};
            return true;
        }
    if (is(name, length, "table")) {
        ret->kind = ABI_EXTERN_TABLE;
        ret->table.element.code = ABI_FUNCREF;
        ret->table.limits = (struct abi_limits){.min = 10, .max = 20, .has_max = true};
        return true;
    }
    if (is(name, length, "memory")) {
        ret->kind = ABI_EXTERN_MEMORY;
        ret->memory = (struct abi_limits){.min = 1, .max = 2, .has_max = true};
        return true;
    }
    ret->kind = ABI_EXTERN_GLOBAL;
    if (is(name, length, "global_i32")) {
        ret->global.type.code = ABI_I32;
        ret->global_value.i32 = 666;
    } else if (is(name, length, "global_i64")) {
        ret->global.type.code = ABI_I64;
        ret->global_value.i64 = 666;
    } else if (is(name, length, "global_f32")) {
        ret->global.type.code = ABI_F32;
        ret->global_value.f32 = 666.6f;
    } else if (is(name, length, "global_f64")) {
        ret->global.type.code = ABI_F64;
        ret->global_value.f64 = 666.6;
    } else {
        return false;
    }
    return true;
}
