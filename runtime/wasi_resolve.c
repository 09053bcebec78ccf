/*
 * Imports to functions. For each line of wasi_functions.def: its type, made from the letters of
 * the parameters, and a host_function that takes the parameters out of the slots, calls the
 * function with the caller's memory 0, and puts the errno into the first slot. Both modules,
 * wasi_snapshot_preview1 and wasi_unstable, come from the same list.
 *
 * A known name is resolved whatever type the import has: the type here goes along, and whoever
 * links compares the two and reports both.
 */
#include "runtime/wasi.h"

/* A module that has no memory may still import WASI: every address is then out of bounds. */
static struct guest_memory caller_memory(const struct instance *caller) {
    if (instance_code(caller)->object->memory_count == 0) return (struct guest_memory){0};
    return instance_memory(caller, 0);
}

#define I32(n) slots[n].u32
#define I64(n) slots[n].u64
#define CALL_BODY(name, call)                                                                  \
    struct wasi *w = context;                                                                  \
    wasi_watched(w, #name, slots);                                                             \
    struct guest_memory m = caller_memory(caller);                                             \
    slots[0].u64 = (uint64_t)(call);                                                           \
    return HOST_OK;

#define WASI_FUNCTION(name, params, call)                                                      \
    static enum host_result preview1_##name(void *context, struct instance *caller,            \
                                            union abi_value *slots) {                          \
        CALL_BODY(name, call)                                                                  \
    }
#define WASI_UNSTABLE(name, params, call)                                                      \
    static enum host_result unstable_##name(void *context, struct instance *caller,            \
                                            union abi_value *slots) {                          \
        CALL_BODY(name, call)                                                                  \
    }
#include "runtime/wasi_functions.def"

static enum host_result preview1_proc_exit(void *context, struct instance *caller,
                                           union abi_value *slots) {
    wasi_watched(context, "proc_exit", slots);
    instance_set_exit(caller, slots[0].i32);
    return HOST_EXIT;
}

/* hutch.generation() -> i64: docs/snapshot.md. */
static enum host_result hutch_generation(void *context, struct instance *caller,
                                         union abi_value *slots) {
    (void)caller;
    const struct wasi *w = context;
    slots[0].u64 = w->watch && w->watch->tame ? 0 : w->generation;
    return HOST_OK;
}

/* The types: an array for each line, with one element more so that none is empty. */
#define i32 {ABI_I32, 0},
#define i64 {ABI_I64, 0},
#define WASI_FUNCTION(name, params, call)                                                      \
    static const struct valtype params_of_##name[] = {params{0, 0}};
#define WASI_UNSTABLE(name, params, call)
#include "runtime/wasi_functions.def"
static const struct valtype params_of_proc_exit[] = {i32{0, 0}};
#undef i32
#undef i64
static const struct valtype errno_result[] = {{ABI_I32, 0}};
static const struct valtype generation_result[] = {{ABI_I64, 0}};

#define PARAMS(name) countof(params_of_##name) - 1, params_of_##name
struct wasi_function {
    const char *name;
    uint32_t param_count;
    const struct valtype *params;
    host_function function;
};
static const struct wasi_function preview1_functions[] = {
#define WASI_FUNCTION(name, params, call) {#name, PARAMS(name), preview1_##name},
#define WASI_UNSTABLE(name, params, call)
#include "runtime/wasi_functions.def"
    {"proc_exit", PARAMS(proc_exit), preview1_proc_exit},
};
static const struct wasi_function unstable_functions[] = {
#define WASI_FUNCTION(name, params, call)
#define WASI_UNSTABLE(name, params, call) {#name, PARAMS(name), unstable_##name},
#include "runtime/wasi_functions.def"
};

static const struct wasi_function *find_function(const struct wasi_function *list, size_t count,
                                                 const char *name, uint32_t length) {
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i].name) == length && memcmp(list[i].name, name, length) == 0)
            return &list[i];
    return NULL;
}

static bool module_is(const struct abi_import *import, const char *name) {
    return import->module_length == strlen(name) &&
           memcmp(import->module, name, import->module_length) == 0;
}

bool wasi_resolve(void *context, const struct abi_import *import,
                  const struct abi_type *function_type, struct extern_value *ret) {
    (void)function_type;
    const struct wasi_function *found = NULL;
    bool unstable = module_is(import, "wasi_unstable");
    if (module_is(import, "hutch") && import->kind == ABI_EXTERN_FUNC &&
        import->name_length == 10 && memcmp(import->name, "generation", 10) == 0) {
        *ret = (struct extern_value){
            .kind = ABI_EXTERN_FUNC,
            .source = EXTERN_HOST,
            .function = hutch_generation,
            .context = context,
            .function_type = {.result_count = 1, .results = generation_result},
        };
        return true;
    }
    if (!unstable && !module_is(import, "wasi_snapshot_preview1")) return false;
    if (import->kind != ABI_EXTERN_FUNC) return false;
    if (unstable)
        found = find_function(unstable_functions, countof(unstable_functions), import->name,
                              import->name_length);
    if (!found)
        found = find_function(preview1_functions, countof(preview1_functions), import->name,
                              import->name_length);
    if (!found) return false;
    bool has_result = found->function != preview1_proc_exit;
    *ret = (struct extern_value){
        .kind = ABI_EXTERN_FUNC,
        .source = EXTERN_HOST,
        .function = found->function,
        .context = context,
        .function_type = {.param_count = found->param_count,
                          .result_count = has_result,
                          .params = found->params,
                          .results = has_result ? errno_result : NULL},
    };
    return true;
}
