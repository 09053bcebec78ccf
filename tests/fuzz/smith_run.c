/*
 * A module to what it does: compile, map, instantiate, call "run", all in this process.
 */
#include "loader/loader.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static enum status ensure_runtime(enum abi_placement placement, struct error *err) {
    static bool ready;
    if (ready) return ST_OK;
    enum status status = runtime_init(placement, 1 << 20, err);
    ready = status == ST_OK;
    return status;
}

static bool no_imports(void *context, const struct abi_import *import,
                       const struct abi_type *function_type, struct extern_value *ret) {
    (void)context, (void)import, (void)function_type, (void)ret;
    return false;
}

static enum status run_instance(struct instance *instance, char ret_outcome[OUTCOME_SIZE],
                                struct error *err) {
    const struct abi_export *run = instance_export(instance, "run", 3);
    if (!run) return error_set(err, ST_NOT_FOUND, "no export \"run\"");
    struct trap_report report;
    union abi_value slots[1] = {{.i64 = 0}};
    enum call_result result = instance_initialise(instance, &report);
    if (result == CALL_RETURNED)
        result = instance_call(instance, instance_func(instance, run->index), slots, &report);
    if (result == CALL_RETURNED)
        snprintf(ret_outcome, OUTCOME_SIZE, "%lld", (long long)slots[0].i64);
    else
        snprintf(ret_outcome, OUTCOME_SIZE, "trap: %s", abi_trap_message(report.trap));
    return ST_OK;
}

/* profile: what an instrumented object counted is appended there; or NULL. */
static enum status run_loaded(struct loaded *loaded, char ret_outcome[OUTCOME_SIZE],
                              struct buffer *profile, struct error *err) {
    enum status status = runtime_add_code(&loaded->code, err);
    if (status != ST_OK) return status;
    struct instance_limits limits = {0};
    struct instance *instance = NULL;
    status = instance_create(&loaded->code, &limits, no_imports, NULL, &instance, err);
    if (status == ST_OK) status = run_instance(instance, ret_outcome, err);
    if (status == ST_OK && profile) status = instance_profile(instance, NULL, 0, profile, err);
    if (instance) instance_destroy(instance);
    runtime_remove_code(&loaded->code);
    return status;
}

static enum status compile_and_run(const uint8_t *module, size_t size,
                                   const struct compile_options *options,
                                   char ret_outcome[OUTCOME_SIZE], struct buffer *profile,
                                   struct error *err) {
    auto_buffer struct buffer object = {0};
    enum status status = ensure_runtime(options->placement, err);
    if (status == ST_OK) status = compile_module(module, size, options, &object, err);
    if (status != ST_OK) return status;
    auto_fd int fd = memfd_create("smith", MFD_CLOEXEC);
    if (fd < 0 || write(fd, object.bytes, object.size) != (ssize_t)object.size)
        return error_set_errno(err, ST_IO, "cannot write the object");
    struct loaded *loaded = NULL;
    status = loader_open(steal_fd(&fd), &loaded, err);
    if (status != ST_OK) return status;
    status = loader_map(loaded, err);
    if (status == ST_OK) status = run_loaded(loaded, ret_outcome, profile, err);
    loader_close(loaded);
    return status;
}

static struct compile_options options_for(enum abi_placement placement,
                                          enum compile_level level) {
    struct compile_options options = compile_defaults();
    options.placement = placement;
    options.level = level;
    options.jobs = 1;
    return options;
}

enum status smith_run(const uint8_t *module, size_t size, enum abi_placement placement,
                      enum compile_level level, char ret_outcome[OUTCOME_SIZE],
                      struct error *err) {
    struct compile_options options = options_for(placement, level);
    return compile_and_run(module, size, &options, ret_outcome, NULL, err);
}

enum status smith_run_profiled(const uint8_t *module, size_t size, enum abi_placement placement,
                               enum compile_level level, char ret_counted[OUTCOME_SIZE],
                               char ret_outcome[OUTCOME_SIZE], struct error *err) {
    auto_buffer struct buffer profile = {0};
    struct compile_options options = options_for(placement, level);
    options.profile_generate = true;
    enum status status = compile_and_run(module, size, &options, ret_counted, &profile, err);
    if (status != ST_OK) return status;
    options.profile_generate = false;
    options.profile = profile.bytes;
    options.profile_size = profile.size;
    return compile_and_run(module, size, &options, ret_outcome, NULL, err);
}
