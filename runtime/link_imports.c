/*
 * Linking: each import gets what the resolver finds, if its type matches (spec
 * core 4.5.4, 3.4). Things of the host are made fresh inside the importing instance; things of
 * another instance are borrowed, which only relocatable code can do. Messages begin as the
 * official scripts have them: "unknown import", "incompatible import type".
 */
#include "runtime/instance.h"

#include <stdarg.h>

/* What an import asks for, or what was found for it. */
struct extern_type {
    enum abi_extern_kind kind;
    struct functype func; /* of a tag too */
    struct abi_table_type table;
    struct abi_limits memory;
    struct abi_global_type global;
};

/* A bounded text. */
struct text {
    char bytes[160];
    size_t length;
};

printf_like(2, 3) static void put(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->bytes + t->length, sizeof t->bytes - t->length, format, args);
    va_end(args);
    if (n > 0) t->length += (size_t)n;
    if (t->length > sizeof t->bytes - 1) t->length = sizeof t->bytes - 1;
}

static void put_name(struct text *t, const char *name, uint32_t length) {
    for (uint32_t i = 0; i < length && i < 64; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            put(t, "\\%02x", c);
        else
            put(t, "%c", c);
    }
    if (length > 64) put(t, "...");
}

static void put_limits(struct text *t, const struct abi_limits *l) {
    put(t, "{min %llu", (unsigned long long)l->min);
    if (l->has_max) put(t, ", max %llu", (unsigned long long)l->max);
    put(t, "%s%s}", l->is_64 ? ", 64-bit" : "", l->shared ? ", shared" : "");
}

static void put_type(struct text *t, const struct extern_type *type) {
    char func[96];
    switch (type->kind) {
    case ABI_EXTERN_FUNC:
        functype_print(&type->func, func, sizeof func);
        put(t, "func %s", func);
        break;
    case ABI_EXTERN_TABLE:
        put(t, "table ");
        put_limits(t, &type->table.limits);
        put(t, " %s", valtype_name(type->table.element));
        break;
    case ABI_EXTERN_MEMORY:
        put(t, "memory ");
        put_limits(t, &type->memory);
        break;
    case ABI_EXTERN_GLOBAL:
        put(t, type->global.mutable ? "global (mut %s)" : "global %s",
            valtype_name(type->global.type));
        break;
    case ABI_EXTERN_TAG:
        functype_print(&type->func, func, sizeof func);
        put(t, "tag %s", func);
        break;
    default: put(t, "?"); break;
    }
}

/* spec core 3.4, import matching: the limits found must lie within those asked for. */
static bool limits_match(const struct abi_limits *found, const struct abi_limits *expected) {
    if (found->is_64 != expected->is_64 || found->shared != expected->shared) return false;
    if (found->min < expected->min) return false;
    return !expected->has_max || (found->has_max && found->max <= expected->max);
}

static bool types_match(const struct extern_type *found, const struct extern_type *expected) {
    if (found->kind != expected->kind) return false;
    switch (expected->kind) {
    case ABI_EXTERN_FUNC:
    case ABI_EXTERN_TAG: return functype_equal(&found->func, &expected->func);
    case ABI_EXTERN_TABLE:
        return valtype_equal(found->table.element, expected->table.element) &&
               limits_match(&found->table.limits, &expected->table.limits);
    case ABI_EXTERN_MEMORY: return limits_match(&found->memory, &expected->memory);
    case ABI_EXTERN_GLOBAL:
        return found->global.mutable == expected->global.mutable &&
               valtype_equal(found->global.type, expected->global.type);
    default: return false;
    }
}

/* The type of what was found. Memories and tables of instances have the size they have now. */
static bool type_of(const struct extern_value *value, struct extern_type *ret) {
    *ret = (struct extern_type){.kind = value->kind};
    if (value->source == EXTERN_HOST) {
        ret->func = value->function_type;
        ret->table = value->table;
        ret->memory = value->memory;
        ret->global = value->global;
        if (value->kind == ABI_EXTERN_TAG) return false; /* the host throws nothing */
        return value->kind != ABI_EXTERN_FUNC || value->function;
    }
    const struct instance *from = value->instance;
    uint32_t index = value->index;
    switch (value->kind) {
    case ABI_EXTERN_FUNC:
        if (index >= from->object->function_count) return false;
        ret->func = *instance_functype(from, index);
        return true;
    case ABI_EXTERN_TABLE:
        if (index >= from->object->table_count) return false;
        ret->table = from->tables[index]->declared;
        ret->table.limits.min = from->tables[index]->abi->size;
        return true;
    case ABI_EXTERN_MEMORY:
        if (index >= from->object->memory_count) return false;
        ret->memory = from->memories[index]->declared;
        ret->memory.min = from->memories[index]->abi->size_pages;
        return true;
    case ABI_EXTERN_GLOBAL:
        if (index >= from->object->global_count) return false;
        ret->global = from->globals[index].type;
        return true;
    case ABI_EXTERN_TAG:
        if (index >= from->object->tag_count) return false;
        ret->func = from->object->types[from->object->tags[index]].func;
        return true;
    default: return false;
    }
}

/* Binds number `index` of its kind. */
static enum status bind(struct instance *instance, const struct extern_value *value,
                        uint32_t index, struct error *err) {
    struct instance *from = value->source == EXTERN_INSTANCE ? value->instance : NULL;
    union abi_value *cell;
    switch (value->kind) {
    case ABI_EXTERN_FUNC:
        if (from) {
            *instance_func(instance, index) = *instance_func(from, value->index);
        } else {
            *instance_func(instance, index) = instance_own_func(instance, index);
            instance->imports[index] =
                (struct import_binding){.function = value->function, .context = value->context};
        }
        return ST_OK;
    case ABI_EXTERN_TABLE:
        if (!from) return instance_make_table(instance, index, &value->table, err);
        instance->tables[index] = from->tables[value->index];
        return ST_OK;
    case ABI_EXTERN_MEMORY:
        if (!from) return instance_make_memory(instance, index, &value->memory, err);
        instance->memories[index] = from->memories[value->index];
        return ST_OK;
    case ABI_EXTERN_GLOBAL:
        if (from) {
            instance->globals[index] = from->globals[value->index];
            return ST_OK;
        }
        cell = instance->globals[index].cell;
        *cell = value->global_value;
        instance->globals[index].type = value->global;
        return ST_OK;
    case ABI_EXTERN_TAG:
        *exception_tag(instance, index) = *exception_tag(from, value->index);
        return ST_OK;
    default: return error_set(err, ST_INTERNAL, "an import of no kind");
    }
}

enum status link_host_functions(struct instance *instance, import_resolver resolve,
                                void *context, struct error *err) {
    const struct abi_object *o = instance->object;
    uint32_t next = 0;
    for (uint32_t i = 0; i < o->import_count; i++) {
        const struct abi_import *import = &o->imports[i];
        struct extern_value value = {0};
        if (import->kind != ABI_EXTERN_FUNC)
            return error_set(
                err, ST_UNSUPPORTED, "the module imports more than functions: %.*s",
                import->name_length < 100 ? (int)import->name_length : 100, import->name);
        const struct abi_type *type = &o->types[import->type];
        if (!resolve(context, import, type, &value) || value.kind != ABI_EXTERN_FUNC ||
            value.source != EXTERN_HOST || !value.function ||
            !functype_equal(&value.function_type, &type->func))
            return error_set(err, ST_UNLINKABLE, "unknown import %.*s",
                             import->name_length < 100 ? (int)import->name_length : 100,
                             import->name);
        instance->imports[next++] =
            (struct import_binding){.function = value.function, .context = value.context};
    }
    return ST_OK;
}

enum status link_imports(struct instance *instance, import_resolver resolve, void *context,
                         struct error *err) {
    const struct abi_object *o = instance->object;
    uint32_t next[ABI_EXTERN_TAG + 1] = {0};
    for (uint32_t i = 0; i < o->import_count; i++) {
        const struct abi_import *import = &o->imports[i];
        const struct abi_type *function_type = NULL;
        struct extern_type expected = {.kind = import->kind,
                                       .table = import->table,
                                       .memory = import->memory,
                                       .global = import->global};
        if (import->kind == ABI_EXTERN_FUNC) {
            function_type = &o->types[import->type];
            expected.func = function_type->func;
        }
        if (import->kind == ABI_EXTERN_TAG) expected.func = o->types[import->type].func;
        struct text name = {0}, want = {0}, have = {0};
        put_name(&name, import->module, import->module_length);
        put(&name, ".");
        put_name(&name, import->name, import->name_length);
        put_type(&want, &expected);

        struct extern_value value = {0};
        if (!resolve || !resolve(context, import, function_type, &value))
            return error_set(err, ST_UNLINKABLE, "unknown import %s: %s", name.bytes,
                             want.bytes);
        struct extern_type found;
        if (!type_of(&value, &found))
            return error_set(err, ST_UNLINKABLE, "unknown import %s: %s", name.bytes,
                             want.bytes);
        if (!types_match(&found, &expected)) {
            put_type(&have, &found);
            return error_set(err, ST_UNLINKABLE,
                             "incompatible import type for %s: expected %s, found %s",
                             name.bytes, want.bytes, have.bytes);
        }
        if (value.source == EXTERN_INSTANCE && instance->placement == ABI_PINNED)
            return error_set(
                err, ST_UNLINKABLE,
                "import %s: an instance in pinned placement cannot share with others",
                name.bytes);
        enum status st = bind(instance, &value, next[import->kind]++, err);
        if (st != ST_OK) return error_wrap(err, "import %s", name.bytes);
    }
    return ST_OK;
}
