/*
 * The whole compiler in one function: decode, validate, plan, compile, link.
 */
#include "compiler/compiler.h"
#include "compiler/link.h"
#include "compiler/partition.h"
#include "compiler/profile.h"

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

/* The profile's part of it: what to count, or what was counted. */
static enum status plan_profile(struct module *module, const struct compile_options *options,
                                struct arena *arena, struct profile_plan *plan,
                                struct error *err) {
    if (!options->profile_generate && !options->profile_size) return ST_OK;
    enum status status = profile_plan(module, options, arena, plan, err);
    if (status != ST_OK) return error_wrap(err, "profile");
    uint32_t all = plan->own.function_count;
    char text[160] = "";
    if (plan->known && plan->known_count == 0)
        snprintf(text, sizeof text, "the profile is of another program: not used");
    else if (plan->known && plan->stale_count)
        snprintf(text, sizeof text, "the profile does not know %u of %u functions",
                 plan->stale_count, all);
    if (text[0] && options->note) options->note(options->note_context, text);
    if (plan->generate || plan->known_count) module->profile = plan;
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
    struct profile_plan profile;
    status = plan_profile(module, options, &arena, &profile, err);
    if (status != ST_OK) return status;
    struct partitions partitions;
    status = partitions_plan(module, &arena, &partitions, err);
    if (status != ST_OK) return status;
    status = partitions_compile(module, &resolved, &partitions, err);
    struct link_object *objects = arena_array(&arena, partitions.count, sizeof *objects);
    if (status == ST_OK && !objects) status = error_set(err, ST_NO_MEMORY, "out of memory");
    auto_buffer struct buffer tables = {0};
    if (status == ST_OK && module->profile && module->profile->generate) {
        profile_write_tables(&module->profile->own, &tables);
        status = buffer_status(&tables, err);
    }
    if (status == ST_OK) {
        for (uint32_t i = 0; i < partitions.count; i++) {
            LLVMMemoryBufferRef object = partitions.items[i].object;
            objects[i].bytes = (const uint8_t *)LLVMGetBufferStart(object);
            objects[i].size = LLVMGetBufferSize(object);
        }
        struct link_input input = {.module = module,
                                   .options = &resolved,
                                   .profile = tables.size ? &tables : NULL,
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
