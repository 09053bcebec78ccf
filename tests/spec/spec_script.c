/*
 * The commands of one script, in order: JSON in, findings out (spec.h says what counts).
 */
#include "tests/spec/spec.h"

#include <fcntl.h>

struct script {
    struct world world;
    struct result_sink *sink;
    char directory[4096];
    const json_t *command;
};

static void pass(struct script *s) { s->sink->shared->passed++; }

#define fail(s, ...) result_event((s)->sink, 'F', __VA_ARGS__)
#define skip(s, ...) result_event((s)->sink, 'S', __VA_ARGS__)

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* What stands in the way of using this instance: true where it was reported. */
static bool not_usable(struct script *s, const struct live_instance *i) {
    if (!i) {
        fail(s, "there is no such instance");
    } else if (i->state == THING_SKIPPED) {
        skip(s, "%s", i->reason);
    } else if (i->state == THING_FAILED) {
        result_event(s->sink, 'f', "follows from an earlier failure");
    } else if (i->state == THING_DEAD) {
        skip(s, "%s", REASON_SEVERAL);
    } else {
        return false;
    }
    return true;
}

/* The file a command names, read. */
static bool read_module(struct script *s, struct buffer *b) {
    const char *name = text_of(s->command, "filename");
    char path[4200];
    struct error err = {0};
    if (!name) {
        fail(s, "the command names no file");
        return false;
    }
    snprintf(path, sizeof path, "%s/%s", s->directory, name);
    if (file_read(AT_FDCWD, path, UINT64_C(1) << 28, b, &err) == ST_OK) return true;
    fail(s, "%s", err.message);
    return false;
}

static bool is_text(const struct script *s) {
    const char *type = text_of(s->command, "module_type");
    return type && strcmp(type, "text") == 0;
}

/* ---- modules ---- */

static void do_definition(struct script *s) {
    auto_buffer struct buffer wasm = {0};
    struct error err = {0};
    if (is_text(s)) {
        skip(s, "text format");
        return;
    }
    if (!read_module(s, &wasm)) return;
    struct definition *d =
        world_define(&s->world, text_of(s->command, "name"), wasm.bytes, wasm.size, &err);
    if (d->state == THING_SKIPPED)
        skip(s, "%s", d->reason);
    else if (d->state == THING_FAILED)
        fail(s, "%s: %s (%s)", text_of(s->command, "filename"), err.message,
             status_text(err.status));
    else
        pass(s);
}

static void do_instance(struct script *s, const char *definition_name) {
    struct definition *d = world_find_definition(&s->world, definition_name);
    struct live_instance *instance;
    struct trap_report report;
    struct error err = {0};
    if (!d) {
        fail(s, "there is no such definition");
        return;
    }
    switch (world_instantiate(&s->world, d, text_of(s->command, "name"), &instance, &report,
                              &err)) {
    case INSTANTIATE_OK: pass(s); break;
    case INSTANTIATE_SKIPPED: not_usable(s, instance); break;
    case INSTANTIATE_TRAPPED: fail(s, "trapped: %s", abi_trap_message(report.trap)); break;
    case INSTANTIATE_ERROR: fail(s, "%s (%s)", err.message, status_text(err.status)); break;
    }
}

static void do_register(struct script *s) {
    const json_t *as = json_object_get(s->command, "as");
    struct live_instance *i = world_find_instance(&s->world, text_of(s->command, "name"));
    if (!as || !world_register(&s->world, json_string_value(as), json_string_length(as), i))
        fail(s, "nothing to register");
}

/* ---- actions ---- */

enum action_outcome {
    ACTION_RETURNED,
    ACTION_TRAPPED,
    ACTION_REPORTED
};

#define MAX_VALUES 1001
struct action_result {
    union abi_value slots[MAX_VALUES];
    const struct valtype *types;
    struct valtype type; /* of a global */
    uint32_t count;
    struct trap_report report;
};

static enum action_outcome do_invoke(struct script *s, struct instance *instance,
                                     uint32_t index, const json_t *arguments,
                                     struct action_result *result) {
    const struct functype *type = instance_functype(instance, index);
    if (json_array_size(arguments) != type->param_count) {
        fail(s, "%zu arguments for %u parameters", json_array_size(arguments),
             type->param_count);
        return ACTION_REPORTED;
    }
    for (uint32_t i = 0; i < type->param_count && i < MAX_VALUES; i++) {
        struct valtype given;
        switch (value_from_json(json_array_get(arguments, i), &given, &result->slots[i])) {
        case VALUE_OK: break;
        case VALUE_WRONG: fail(s, "argument %u cannot be read", i); return ACTION_REPORTED;
        case VALUE_UNKNOWN_TYPE: skip(s, "needs Wasm 3.0 values"); return ACTION_REPORTED;
        }
        if (!valtype_equal(given, type->params[i])) {
            fail(s, "argument %u is %s, the parameter %s", i, valtype_name(given),
                 valtype_name(type->params[i]));
            return ACTION_REPORTED;
        }
    }
    result->types = type->results;
    result->count = type->result_count;
    switch (instance_call(instance, instance_func(instance, index), result->slots,
                          &result->report)) {
    case CALL_RETURNED: return ACTION_RETURNED;
    case CALL_TRAPPED: return ACTION_TRAPPED;
    case CALL_EXITED: fail(s, "exited"); return ACTION_REPORTED;
    }
    return ACTION_REPORTED;
}

static enum action_outcome do_action(struct script *s, struct action_result *result) {
    const json_t *action = json_object_get(s->command, "action");
    const json_t *field = json_object_get(action, "field");
    const char *kind = text_of(action, "type");
    const struct live_instance *i = world_find_instance(&s->world, text_of(action, "module"));
    if (not_usable(s, i)) return ACTION_REPORTED;
    const struct abi_export *export =
        field
            ? instance_export(i->instance, json_string_value(field), json_string_length(field))
            : NULL;
    bool get = kind && strcmp(kind, "get") == 0;
    if (!export || export->kind != (get ? ABI_EXTERN_GLOBAL : ABI_EXTERN_FUNC)) {
        fail(s, "there is no such export");
        return ACTION_REPORTED;
    }
    if (!get)
        return do_invoke(s, i->instance, export->index, json_object_get(action, "args"),
                         result);
    result->slots[0] = instance_global(i->instance, export->index);
    result->type = instance_code(i->instance)->object->globals[export->index].type.type;
    result->types = &result->type;
    result->count = 1;
    return ACTION_RETURNED;
}

static void fail_trapped(struct script *s, const struct action_result *result) {
    fail(s, "trapped: %s %s", abi_trap_message(result->report.trap), result->report.detail);
}

static void do_return(struct script *s, struct action_result *result) {
    const json_t *expected = json_object_get(s->command, "expected");
    enum action_outcome outcome = do_action(s, result);
    if (outcome == ACTION_TRAPPED) fail_trapped(s, result);
    if (outcome != ACTION_RETURNED) return;
    if (expected && json_array_size(expected) != result->count) {
        fail(s, "%u results, %zu expected", result->count, json_array_size(expected));
        return;
    }
    for (uint32_t i = 0; expected && i < result->count; i++) {
        char text[400];
        switch (value_matches(json_array_get(expected, i), result->types[i], &result->slots[i],
                              text, sizeof text)) {
        case VALUE_OK: break;
        case VALUE_WRONG: fail(s, "result %u: %s", i, text); return;
        case VALUE_UNKNOWN_TYPE: skip(s, "needs Wasm 3.0 values"); return;
        }
    }
    pass(s);
}

/* "uninitialized element" for "uninitialized element 2" and the other way round. */
static bool words_agree(const char *wanted, const char *got) {
    size_t a = strlen(wanted), b = strlen(got);
    return strncmp(wanted, got, a < b ? a : b) == 0;
}

static void check_trap(struct script *s, const struct trap_report *report) {
    const char *wanted = text_of(s->command, "text");
    const char *got = abi_trap_message(report->trap);
    if (wanted && words_agree(wanted, got))
        pass(s);
    else
        fail(s, "trapped with '%s', expected '%s'", got, wanted ? wanted : "");
}

static void do_trap(struct script *s, struct action_result *result) {
    switch (do_action(s, result)) {
    case ACTION_RETURNED:
        fail(s, "returned, expected '%s'", text_of(s->command, "text"));
        break;
    case ACTION_TRAPPED: check_trap(s, &result->report); break;
    case ACTION_REPORTED: break;
    }
}

static void do_exception(struct script *s, struct action_result *result) {
    switch (do_action(s, result)) {
    case ACTION_RETURNED: fail(s, "returned, expected an exception"); break;
    case ACTION_TRAPPED:
        if (result->report.trap == TRAP_UNCAUGHT_EXCEPTION)
            pass(s);
        else
            fail_trapped(s, result);
        break;
    case ACTION_REPORTED: break;
    }
}

/* ---- modules that must be refused ---- */

static void do_refused(struct script *s) {
    auto_buffer struct buffer wasm = {0};
    struct error err = {0};
    if (is_text(s)) {
        skip(s, "text format");
        return;
    }
    if (!read_module(s, &wasm)) return;
    enum status status = compile_check(wasm.bytes, wasm.size, &err);
    if (status == ST_UNSUPPORTED) {
        char reason[200];
        feature_of(err.message, reason);
        skip(s, "%s", reason);
    } else if (status == ST_MALFORMED || status == ST_INVALID) {
        pass(s);
    } else {
        fail(s, "%s: %s%s, expected '%s'", text_of(s->command, "filename"),
             status == ST_OK ? "accepted" : "refused otherwise: ", err.message,
             text_of(s->command, "text"));
    }
}

/* assert_unlinkable and assert_uninstantiable: the last definition, or one in a file. */
static void do_not_instantiated(struct script *s, bool unlinkable) {
    struct live_instance *before = s->world.last_instance, *instance;
    struct trap_report report;
    struct error err = {0};
    if (json_object_get(s->command, "filename")) {
        auto_buffer struct buffer wasm = {0};
        if (!read_module(s, &wasm)) return;
        world_define(&s->world, NULL, wasm.bytes, wasm.size, &err);
    }
    struct definition *d = world_find_definition(&s->world, text_of(s->command, "module"));
    if (!d) {
        fail(s, "there is no such definition");
        return;
    }
    switch (world_instantiate(&s->world, d, NULL, &instance, &report, &err)) {
    case INSTANTIATE_SKIPPED: not_usable(s, instance); break;
    case INSTANTIATE_OK:
        fail(s, "instantiated, expected '%s'", text_of(s->command, "text"));
        break;
    case INSTANTIATE_TRAPPED:
        if (unlinkable)
            fail(s, "linked and trapped: %s", abi_trap_message(report.trap));
        else
            check_trap(s, &report);
        break;
    case INSTANTIATE_ERROR:
        if (unlinkable && err.status == ST_UNLINKABLE)
            pass(s);
        else
            fail(s, "%s (%s)", err.message, status_text(err.status));
        break;
    }
    s->world.last_instance = before; /* scripts go on with the module before */
}

/* ---- the script ---- */

static void name_command(struct script *s, const char *type) {
    const json_t *action = json_object_get(s->command, "action");
    const char *field = text_of(action, "field"), *file = text_of(s->command, "filename");
    const char *more = field ? field : file;
    const json_t *line = json_object_get(s->command, "line");
    char *name = s->sink->shared->command_name;
    snprintf(name, sizeof s->sink->shared->command_name, "%s%s%s", type, more ? " " : "",
             more ? more : "");
    if (line) { /* wast2json's; the official JSON has none */
        size_t length = strlen(name), size = sizeof s->sink->shared->command_name;
        snprintf(name + length, size - length, " (line %lld)",
                 (long long)json_integer_value(line));
    }
    for (; *name; name++)
        if ((unsigned char)*name < ' ') *name = '?';
}

static void do_command(struct script *s, struct action_result *result) {
    const char *type = text_of(s->command, "type");
    if (!type) type = "?";
    name_command(s, type);
    if (strcmp(type, "module_definition") == 0) {
        do_definition(s);
    } else if (strcmp(type, "module_instance") == 0) {
        do_instance(s, text_of(s->command, "module"));
    } else if (strcmp(type, "module") == 0) { /* both in one, as wast2json has it */
        do_definition(s);
        do_instance(s, NULL);
    } else if (strcmp(type, "register") == 0) {
        do_register(s);
    } else if (strcmp(type, "action") == 0 || strcmp(type, "assert_return") == 0) {
        do_return(s, result);
    } else if (strcmp(type, "assert_trap") == 0 || strcmp(type, "assert_exhaustion") == 0) {
        do_trap(s, result);
    } else if (strcmp(type, "assert_invalid") == 0 || strcmp(type, "assert_malformed") == 0) {
        do_refused(s);
    } else if (strcmp(type, "assert_unlinkable") == 0) {
        do_not_instantiated(s, true);
    } else if (strcmp(type, "assert_uninstantiable") == 0) {
        do_not_instantiated(s, false);
    } else if (strcmp(type, "assert_exception") == 0) {
        do_exception(s, result);
    } else if (strcmp(type, "assert_invalid_custom") == 0 ||
               strcmp(type, "assert_malformed_custom") == 0) {
        skip(s, "contents of custom sections");
    } else {
        fail(s, "unknown command");
    }
}

void script_run(const char *path, const struct script_options *options,
                struct result_sink *sink) {
    static struct script s; /* large, and one script a process */
    static struct action_result result;
    struct error err = {0};
    json_error_t json_error;
    s.sink = sink;
    snprintf(s.directory, sizeof s.directory, "%s", path);
    char *slash = strrchr(s.directory, '/');
    if (slash)
        *slash = '\0';
    else
        snprintf(s.directory, sizeof s.directory, ".");
    json_t *script = json_load_file(path, JSON_ALLOW_NUL, &json_error);
    json_t *commands = json_object_get(script, "commands");
    if (!json_is_array(commands)) {
        result_event(sink, 'F', "no script: %s", script ? "no commands" : json_error.text);
        return;
    }
    sink->shared->command_count = (uint32_t)json_array_size(commands);
    if (world_init(&s.world, options, &err) != ST_OK) {
        result_event(sink, 'F', "%s", err.message);
        return;
    }
    for (size_t i = 0; i < json_array_size(commands); i++) {
        s.command = json_array_get(commands, i);
        sink->shared->command = (uint32_t)i + 1;
        do_command(&s, &result);
    }
}
