/*
 * The modules of one script: definitions compiled, instances made of them, names they are
 * registered under.
 *
 * Relocatable: everything lives until the process ends, also instances whose start trapped,
 * since their functions may stand in a table of another. Pinned: one instance at a time; a new
 * one ends the old. A module that imports from another instance cannot be had then; it is
 * skipped, and so is the instance it would have changed.
 */
#include "runtime/instance.h"
#include "tests/spec/spec.h"

#include <sys/mman.h>
#include <unistd.h>

/* Adds a zeroed struct of size to an array of pointers. Tests may end when memory does. */
static void *add(void *array_pointer, size_t *count, size_t size) {
    void ***array = array_pointer;
    void **grown = realloc(*array, (*count + 1) * sizeof *grown);
    void *item = calloc(1, size);
    CHECK(grown && item);
    *array = grown;
    grown[(*count)++] = item;
    return item;
}

static char *copy_name(const char *name) {
    char *copy = name ? strdup(name) : NULL;
    CHECK(copy || !name);
    return copy;
}

static void set_reason(char reason[200], const char *text) {
    snprintf(reason, 200, "%.199s", text);
}

void feature_of(const char *message, char ret_reason[200]) {
    const char *at = strstr(message, "needs "), *plural = strstr(message, "need ");
    if (at || plural)
        snprintf(ret_reason, 200, "needs %.180s", at ? at + 6 : plural + 5);
    else
        set_reason(ret_reason, message);
}

enum status world_init(struct world *world, const struct script_options *options,
                       struct error *err) {
    *world = (struct world){.options = compile_defaults()};
    world->options.placement = options->placement;
    world->options.level = options->level;
    if (options->target) world->options.target = options->target;
    world->options.jobs = 1;
    world->cpu_level = options->cpu_level;
    /* small, for the scripts that exhaust it */
    enum status status = runtime_init(options->placement, UINT64_C(1) << 20, err);
    if (status != ST_OK || options->placement == ABI_PINNED) return status;
    struct definition *spectest =
        world_define(world, "$spectest", spectest_module, spectest_module_size, err);
    if (spectest->state != THING_LIVE) return error_wrap(err, "the module spectest");
    struct live_instance *instance;
    struct trap_report report;
    if (world_instantiate(world, spectest, "$spectest", &instance, &report, err) !=
        INSTANTIATE_OK)
        return error_wrap(err, "the module spectest");
    world_register(world, "spectest", 8, instance);
    world->last_definition = NULL;
    world->last_instance = NULL;
    return ST_OK;
}

/* Keeps the import section of a module that was not compiled. */
static void keep_imports(struct definition *d, const uint8_t *bytes, size_t size) {
    struct reader r = reader_over(bytes, size);
    reader_bytes(&r, 8);
    while (!r.failed && reader_left(&r)) {
        uint8_t id = reader_u8(&r);
        uint32_t length;
        if (reader_leb_u32(&r, &length) != LEB_OK) return;
        const uint8_t *content = reader_bytes(&r, length);
        if (content && id == 2) buffer_put(&d->imports, content, length);
    }
}

static enum status compile(struct world *world, struct definition *d, const uint8_t *bytes,
                           size_t size, struct error *err) {
    auto_buffer struct buffer object = {0};
    enum status status = compile_module(bytes, size, &world->options, &object, err);
    if (status != ST_OK) return status;
    d->object_fd = memfd_create("spec-object", MFD_CLOEXEC);
    if (d->object_fd < 0 ||
        write(d->object_fd, object.bytes, object.size) != (ssize_t)object.size)
        return error_set_errno(err, ST_IO, "cannot write the object");
    return ST_OK;
}

static enum status load(struct definition *d, bool map, struct error *err) {
    int fd = dup(d->object_fd);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open the object");
    enum status status = loader_open(fd, &d->loaded, err);
    if (status != ST_OK || !map) return status;
    if ((status = loader_map(d->loaded, err)) != ST_OK) return status;
    return runtime_add_code(&d->loaded->code, err);
}

struct definition *world_define(struct world *world, const char *name, const uint8_t *bytes,
                                size_t size, struct error *err) {
    struct definition *d = add(&world->definitions, &world->definition_count, sizeof *d);
    *d = (struct definition){.name = copy_name(name), .object_fd = -1};
    world->last_definition = d;
    enum status status = compile(world, d, bytes, size, err);
    if (status == ST_OK && world->options.placement == ABI_RELOCATABLE)
        status = load(d, true, err);
    bool beyond = status == ST_LIMIT && world->options.placement == ABI_PINNED;
    if (status == ST_UNSUPPORTED || beyond) {
        d->state = THING_SKIPPED;
        if (beyond)
            set_reason(d->reason, "more than the pinned layout has room for");
        else
            feature_of(err->message, d->reason);
        keep_imports(d, bytes, size);
    } else if (status != ST_OK) {
        d->state = THING_FAILED;
    }
    return d;
}

struct definition *world_find_definition(struct world *world, const char *name) {
    if (!name) return world->last_definition;
    for (size_t i = world->definition_count; i > 0; i--)
        if (world->definitions[i - 1]->name &&
            strcmp(world->definitions[i - 1]->name, name) == 0)
            return world->definitions[i - 1];
    return NULL;
}

struct live_instance *world_find_instance(struct world *world, const char *name) {
    if (!name) return world->last_instance;
    for (size_t i = world->instance_count; i > 0; i--)
        if (world->instances[i - 1]->name && strcmp(world->instances[i - 1]->name, name) == 0)
            return world->instances[i - 1];
    return NULL;
}

struct registered *world_find_registered(struct world *world, const char *name, size_t length) {
    for (size_t i = world->registered_count; i > 0; i--) {
        struct registered *r = &world->registered[i - 1];
        if (r->name_length == length && memcmp(r->name, name, length) == 0) return r;
    }
    return NULL;
}

bool world_register(struct world *world, const char *as, size_t length,
                    struct live_instance *of) {
    if (!of) return false;
    size_t count = world->registered_count++;
    struct registered *grown = realloc(world->registered, (count + 1) * sizeof *grown);
    char *name = malloc(length + 1);
    CHECK(grown && name);
    memcpy(name, as, length);
    name[length] = '\0';
    world->registered = grown;
    grown[count] = (struct registered){name, length, of};
    return true;
}

/* ---- instances ---- */

static bool is_spectest(const struct abi_import *import) {
    return import->module_length == 8 && memcmp(import->module, "spectest", 8) == 0;
}

/* Pinned: the host gives spectest, and there is nothing else. */
static bool resolve(void *context, const struct abi_import *import,
                    const struct abi_type *function_type, struct extern_value *ret) {
    struct world *world = context;
    (void)function_type;
    if (world->options.placement == ABI_PINNED)
        return is_spectest(import) && spectest_resolve(import->name, import->name_length, ret);
    const struct registered *r =
        world_find_registered(world, import->module, import->module_length);
    if (!r || r->of->state != THING_LIVE) return false;
    const struct abi_export *export =
        instance_export(r->of->instance, import->name, import->name_length);
    if (!export) return false;
    *ret = (struct extern_value){.kind = export->kind,
                                 .source = EXTERN_INSTANCE,
                                 .instance = r->of->instance,
                                 .index = export->index};
    return true;
}

/* Pinned: makes room for the next instance. */
static void retire(struct world *world) {
    struct live_instance *old = world->pinned;
    if (!old) return;
    struct definition *d = old->definition;
    if (old->instance) instance_destroy(old->instance);
    old->instance = NULL;
    if (old->state == THING_LIVE) old->state = THING_DEAD;
    if (d->loaded) {
        runtime_remove_code(&d->loaded->code);
        loader_close(d->loaded);
        d->loaded = NULL;
    }
    world->pinned = NULL;
}

/* Why this module's imports cannot be had, into the instance: true where that is so. Providers
 * that the module would have changed count as lost too. */
static bool imports_lost(struct world *world, const struct abi_object *object,
                         struct live_instance *instance) {
    bool lost = false;
    for (uint32_t i = 0; i < object->import_count; i++) {
        const struct abi_import *import = &object->imports[i];
        struct registered *r =
            world_find_registered(world, import->module, import->module_length);
        if (!r || is_spectest(import)) continue;
        if (r->of->state == THING_SKIPPED || r->of->state == THING_FAILED) {
            instance->state = r->of->state;
            set_reason(instance->reason, r->of->reason);
            lost = true;
        } else if (world->options.placement == ABI_PINNED) {
            instance->state = THING_SKIPPED;
            set_reason(instance->reason, REASON_SEVERAL);
            if (r->of->state == THING_LIVE) {
                r->of->state = THING_SKIPPED;
                set_reason(r->of->reason, REASON_SEVERAL);
            }
            lost = true;
        }
    }
    return lost;
}

/* The instances that a skipped module imports from are skipped from then on too: it would have
 * written to their memories and tables. Its imports need Wasm 3.0 to be read, so what is
 * looked for is the name, with its length before it, anywhere in the import section. */
static void lose_providers(struct world *world, const struct definition *d) {
    for (size_t i = 0; i < world->registered_count; i++) {
        const struct registered *r = &world->registered[i];
        if (r->name_length > 127 || r->of->state != THING_LIVE) continue;
        if (r->name_length == 8 && memcmp(r->name, "spectest", 8) == 0) continue;
        uint8_t pattern[128] = {(uint8_t)r->name_length};
        memcpy(pattern + 1, r->name, r->name_length);
        if (!d->imports.size ||
            !memmem(d->imports.bytes, d->imports.size, pattern, r->name_length + 1))
            continue;
        r->of->state = THING_SKIPPED;
        set_reason(r->of->reason, d->reason);
    }
}

static enum instantiate_outcome refuse(struct live_instance *i, struct error *err) {
    (void)err;
    i->state = THING_FAILED;
    return INSTANTIATE_ERROR;
}

enum instantiate_outcome world_instantiate(struct world *world, struct definition *definition,
                                           const char *name, struct live_instance **ret,
                                           struct trap_report *report, struct error *err) {
    struct live_instance *i = add(&world->instances, &world->instance_count, sizeof *i);
    bool pinned = world->options.placement == ABI_PINNED;
    i->name = copy_name(name);
    i->definition = definition;
    *ret = world->last_instance = i;
    if (definition->state != THING_LIVE) {
        i->state = definition->state;
        set_reason(i->reason, definition->reason);
        if (i->state == THING_SKIPPED) lose_providers(world, definition);
        return INSTANTIATE_SKIPPED;
    }
    if (pinned) { /* look at the imports before the old instance has to go */
        if (world->pinned && world->pinned->definition == definition) retire(world);
        if (load(definition, false, err) != ST_OK) return refuse(i, err);
    }
    if (imports_lost(world, &definition->loaded->object, i)) {
        if (pinned) {
            loader_close(definition->loaded);
            definition->loaded = NULL;
        }
        return INSTANTIATE_SKIPPED;
    }
    if (pinned) {
        loader_close(definition->loaded);
        definition->loaded = NULL;
        retire(world);
        if (load(definition, true, err) != ST_OK) return refuse(i, err);
        world->pinned = i;
    }
    struct instance_limits limits = {0};
    if (instance_create(&definition->loaded->code, &limits, resolve, world, &i->instance,
                        err) != ST_OK)
        return refuse(i, err);
    if (world->cpu_level) i->instance->block->cpu_level = world->cpu_level;
    if (instance_initialise(i->instance, report) != CALL_RETURNED) {
        i->state = THING_FAILED;
        return INSTANTIATE_TRAPPED;
    }
    return INSTANTIATE_OK;
}
