/*
 * The whole compiler in one function: decode, validate, plan, compile, link.
 */
#include "compiler/compiler.h"
#include "compiler/link.h"
#include "compiler/partition.h"

/* A few megabytes can declare billions of locals, each of which costs the lowering a little. */
static enum status check_locals(const struct module *module, struct error *err) {
    uint64_t total = 0;
    for (uint32_t i = module->imported_functions; i < module->function_count; i++)
        total += module->functions[i].local_count;
    if (total > MODULE_MAX_TOTAL_LOCALS)
        return error_set(err, ST_LIMIT, "the functions have %llu locals in all, more than %llu",
                         (unsigned long long)total,
                         (unsigned long long)MODULE_MAX_TOTAL_LOCALS);
    return ST_OK;
}

static enum status compile_decoded(struct module *module, const struct compile_options *options,
                                   struct buffer *ret_object, struct error *err) {
    enum status status = module_validate(module, err);
    if (status == ST_OK) status = check_locals(module, err);
    if (status != ST_OK) return status;
    const char *cpu;
    uint64_t features;
    status = compile_resolve_target(options->target, &cpu, &features, err);
    if (status != ST_OK) return status;
    struct compile_options resolved = *options;
    resolved.target = cpu;

    auto_arena struct arena arena = {0};
    struct partitions partitions;
    status = partitions_plan(module, &arena, &partitions, err);
    if (status != ST_OK) return status;
    status = partitions_compile(module, &resolved, &partitions, err);
    struct link_object *objects = arena_array(&arena, partitions.count, sizeof *objects);
    if (status == ST_OK && !objects) status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK) {
        for (uint32_t i = 0; i < partitions.count; i++) {
            LLVMMemoryBufferRef object = partitions.items[i].object;
            objects[i].bytes = (const uint8_t *)LLVMGetBufferStart(object);
            objects[i].size = LLVMGetBufferSize(object);
        }
        struct link_input input = {.module = module,
                                   .options = &resolved,
                                   .cpu_features = features,
                                   .objects = objects,
                                   .object_count = partitions.count};
        status = link_objects(&input, ret_object, err);
    }
    partitions_finish(&partitions);
    return status;
}

enum status compile_module(const uint8_t *wasm, size_t size_bytes,
                           const struct compile_options *options, struct buffer *ret_object,
                           struct error *err) {
    struct error local;
    if (!err) err = &local;
    *err = (struct error){0};
    struct module module;
    enum status status = module_decode(wasm, size_bytes, &module, err);
    if (status == ST_OK) status = compile_decoded(&module, options, ret_object, err);
    module_finish(&module);
    return status;
}
