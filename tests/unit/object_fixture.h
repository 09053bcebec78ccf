/*
 * A module made by hand and the code of its functions from the compiled C files in object/, for
 * the tests of linking and of reading objects. The paths of the relocatable objects come as
 * arguments of the test program.
 *
 *     types      0: () -> i32     1: (i32, i32) -> i32     2: the same as 0
 *     functions  0: env.log, imported     1 to 4: own
 *     table 0, memory 0 (2 pages, at most 10), globals 0 (imported) and 1
 */
#ifndef HUTCH_TESTS_UNIT_OBJECT_FIXTURE_H
#define HUTCH_TESTS_UNIT_OBJECT_FIXTURE_H

#include "compiler/link.h"
#include "loader/loader.h"
#include "tests/unit/test.h"

#include <fcntl.h>

static struct valtype fixture_i32s[2] = {{ABI_I32, 0}, {ABI_I32, 0}};
static struct module_type fixture_types[] = {
    {.func = {.result_count = 1, .results = fixture_i32s}, .canonical = 0},
    {.func = {2, 1, fixture_i32s, fixture_i32s}, .canonical = 1},
    {.func = {.result_count = 1, .results = fixture_i32s}, .canonical = 0},
};
static struct module_import fixture_imports[] = {
    {(const uint8_t *)"env", (const uint8_t *)"log\n", 3, 4, ABI_EXTERN_FUNC, 0, 20},
    {(const uint8_t *)"env", (const uint8_t *)"base", 3, 4, ABI_EXTERN_GLOBAL, 0, 30},
};
static struct module_export fixture_exports[] = {
    {(const uint8_t *)"run", 3, ABI_EXTERN_FUNC, 1, 40},
    {(const uint8_t *)"memory", 6, ABI_EXTERN_MEMORY, 0, 45},
    {(const uint8_t *)"", 0, ABI_EXTERN_GLOBAL, 1, 50},
};
static struct module_function fixture_functions[] = {
    {.type = 1, .imported = true},
    {.type = 1, .body_offset = 100, .name = "alpha"},
    {.type = 0, .body_offset = 120},
    {.type = 1, .body_offset = 140, .name = "alpha"},
    {.type = 2, .body_offset = 160, .name = "w\xc3\xa9ird \"name\""},
};
static struct module_table fixture_tables[] = {
    {.type = {{ABI_FUNCREF, 0}, {.min = 3}}},
};
static struct module_memory fixture_memories[] = {
    {.limits = {.min = 2, .max = 10, .has_max = true}, .exported = true},
};
static struct abi_const_step fixture_steps[] = {
    {ABI_CONST_VALUE, 0, {.u64 = 5}},      {ABI_CONST_GLOBAL_GET, 0, {.u64 = 0}},
    {ABI_CONST_VALUE, 0, {.u64 = 4090}},   {ABI_CONST_REF_FUNC, 3, {.u64 = 0}},
    {ABI_CONST_VALUE, 0, {.u64 = 131070}}, {ABI_CONST_VALUE, 0, {.u64 = 0}},
    {ABI_CONST_VALUE, 0, {.u64 = 1}},
};
#define FIXTURE_EXPR(step)                                                                     \
    {                                                                                          \
        .program = { 1, &fixture_steps[step] }                                                 \
    }
static struct module_global fixture_globals[] = {
    {.type = {{ABI_I32, 0}, false}, .imported = true},
    {.type = {{ABI_I32, 0}, true}, .exported = true, .init = FIXTURE_EXPR(1)},
};
static uint32_t fixture_funcs[] = {1, 0};
static struct module_expr fixture_exprs[] = {FIXTURE_EXPR(3), FIXTURE_EXPR(5)};
static struct module_elem fixture_elems[] = {
    {.mode = ABI_SEGMENT_ACTIVE,
     .offset = FIXTURE_EXPR(6),
     .type = {ABI_FUNCREF, 0},
     .count = 2,
     .funcs = fixture_funcs},
    {.mode = ABI_SEGMENT_PASSIVE, .type = {ABI_FUNCREF, 0}, .count = 2, .exprs = fixture_exprs},
};
static struct module_data fixture_datas[] = {
    {.mode = ABI_SEGMENT_ACTIVE,
     .offset = FIXTURE_EXPR(2),
     .bytes = (const uint8_t *)"across the page",
     .size = 15},
    {.mode = ABI_SEGMENT_PASSIVE, .bytes = (const uint8_t *)"later", .size = 5},
    {.mode = ABI_SEGMENT_ACTIVE,
     .offset = FIXTURE_EXPR(4),
     .bytes = (const uint8_t *)"en",
     .size = 2},
    {.mode = ABI_SEGMENT_ACTIVE,
     .offset = FIXTURE_EXPR(1),
     .bytes = (const uint8_t *)"x",
     .size = 1},
};

static inline struct module fixture_module(void) {
    return (struct module){
        .bytes = (const uint8_t *)"\0asm\1\0\0\0",
        .size = 8,
        .types = fixture_types,
        .type_count = countof(fixture_types),
        .imports = fixture_imports,
        .import_count = countof(fixture_imports),
        .exports = fixture_exports,
        .export_count = countof(fixture_exports),
        .functions = fixture_functions,
        .function_count = countof(fixture_functions),
        .tables = fixture_tables,
        .table_count = countof(fixture_tables),
        .memories = fixture_memories,
        .memory_count = countof(fixture_memories),
        .globals = fixture_globals,
        .global_count = countof(fixture_globals),
        .elems = fixture_elems,
        .elem_count = countof(fixture_elems),
        .datas = fixture_datas,
        .data_count = countof(fixture_datas),
        .has_data_count = true,
        .imported_functions = 1,
        .imported_globals = 1,
    };
}

/* Links the objects at these paths. */
static inline enum status fixture_link(const struct module *module,
                                       enum abi_placement placement, char *const *paths,
                                       int count, struct buffer *ret_object,
                                       struct error *err) {
    struct compile_options options = compile_defaults();
    options.placement = placement;
    struct buffer files[8] = {{0}};
    struct link_object objects[8];
    enum status status = count <= 8 ? ST_OK : ST_USAGE;
    for (int i = 0; i < count && status == ST_OK; i++) {
        status = file_read(AT_FDCWD, paths[i], 1u << 24, &files[i], err);
        objects[i] = (struct link_object){files[i].bytes, files[i].size};
    }
    struct link_input input = {.module = module,
                               .options = &options,
                               .objects = objects,
                               .object_count = (uint32_t)count};
    if (status == ST_OK) status = link_objects(&input, ret_object, err);
    for (int i = 0; i < 8; i++) buffer_finish(&files[i]);
    return status;
}

#endif
