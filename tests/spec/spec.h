/*
 * The runner of the official test scripts, in the JSON form of wast2json.
 *
 *   spec_runner.c     main: a child process for each script, the summary
 *   spec_results.c    what a child found, handed to its parent
 *   spec_script.c     the commands of one script
 *   spec_world.c      definitions, instances, registered names
 *   spec_values.c     values in JSON to slots, results compared
 *   spectest_host.c   the module "spectest" given by the host (pinned placement)
 *   spectest_module.c the same as a module (relocatable placement)
 *
 * What counts: every command but `register` is one check. It passes, fails, or is skipped with
 * a reason: the feature of Wasm 3.0 or later a module needs (in the compiler's words), what a
 * skipped module would have been needed for, the text format, or (pinned placement) a second
 * living instance. assert_invalid and assert_malformed pass where the module is refused as
 * malformed or invalid: which of the two is not compared, since a decoder may find first what a
 * validator was asked about; nor are the words of that refusal. The words of a trap are
 * compared.
 */
#ifndef HUTCH_TESTS_SPEC_H
#define HUTCH_TESTS_SPEC_H

#include "base/base.h"
#include "compiler/compiler.h"
#include "loader/loader.h"
#include "runtime/runtime.h"

#include <jansson.h>

/* ---- spec_results.c: written by the child as it goes, so that a crash loses nothing ---- */
struct results {
    uint32_t passed; /* in memory shared with the parent, like the next two */
    uint32_t command, command_count;
    char command_name[120];
};
struct result_sink {
    struct results *shared;
    int events_fd;
};
printf_like(3, 4) void result_event(struct result_sink *sink, char kind, const char *format,
                                    ...);

/* ---- spec_values.c ---- */
enum value_outcome {
    VALUE_OK,
    VALUE_WRONG,
    VALUE_UNKNOWN_TYPE
};
/* An argument; also its type's code. */
enum value_outcome value_from_json(const json_t *json, struct valtype *ret_type,
                                   union abi_value *ret_value);
/* Does a result agree with what is expected? ret_text says what came instead. */
enum value_outcome value_matches(const json_t *expected, struct valtype type,
                                 const union abi_value *value, char *ret_text, size_t size);

/* ---- spec_world.c ---- */
enum thing_state {
    THING_LIVE,
    THING_SKIPPED, /* reason says why */
    THING_FAILED,  /* reported where it failed; what needs it fails too */
    THING_DEAD,    /* pinned: gave way to the next instance */
};
struct definition {
    char *name; /* "$M", or NULL */
    enum thing_state state;
    char reason[200];
    struct buffer imports; /* skipped: the import section's bytes */
    int object_fd;
    struct loaded *loaded; /* relocatable: mapped; pinned: while its instance lives */
};
struct live_instance {
    char *name;
    enum thing_state state;
    char reason[200];
    struct definition *definition;
    struct instance *instance;
};
struct registered {
    char *name;
    size_t name_length;
    struct live_instance *of;
};

struct world {
    struct compile_options options;
    unsigned cpu_level; /* of struct script_options */
    struct definition **definitions;
    struct live_instance **instances;
    struct registered *registered;
    size_t definition_count, instance_count, registered_count;
    struct definition *last_definition;
    struct live_instance *last_instance;
    struct live_instance *pinned; /* the one that lives */
};

#define REASON_SEVERAL "needs several instances"

struct script_options {
    enum abi_placement placement;
    enum compile_level level;
    const char *target; /* NULL: this processor */
    unsigned cpu_level; /* what instances take it for (abi_cpu_level); 0: what it is */
};

enum status world_init(struct world *world, const struct script_options *options,
                       struct error *err) must_check;
/* Compiles; remembered also where it failed. ST_UNSUPPORTED makes it a skipped definition. */
struct definition *world_define(struct world *world, const char *name, const uint8_t *bytes,
                                size_t size, struct error *err);
struct definition *world_find_definition(struct world *world, const char *name);

enum instantiate_outcome {
    INSTANTIATE_OK,
    INSTANTIATE_SKIPPED, /* reason in the instance */
    INSTANTIATE_TRAPPED, /* report filled in */
    INSTANTIATE_ERROR,   /* err filled in */
};
enum instantiate_outcome world_instantiate(struct world *world, struct definition *definition,
                                           const char *name, struct live_instance **ret,
                                           struct trap_report *report, struct error *err);
struct live_instance *world_find_instance(struct world *world, const char *name);
bool world_register(struct world *world, const char *as, size_t length,
                    struct live_instance *of);
struct registered *world_find_registered(struct world *world, const char *name, size_t length);

/* "64-bit memory needs Wasm 3.0 memory64" -> "needs Wasm 3.0 memory64" */
void feature_of(const char *message, char ret_reason[200]);

/* ---- spectest_host.c ---- */
bool spectest_resolve(const char *name, size_t length, struct extern_value *ret);
extern const uint8_t spectest_module[];
extern const size_t spectest_module_size;

/* ---- spec_script.c ---- */
/* Runs all commands of the script at path. */
void script_run(const char *path, const struct script_options *options,
                struct result_sink *sink);

#endif
