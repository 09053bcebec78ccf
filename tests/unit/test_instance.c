/*
 * Linking and instances: import types and messages, limits, tables and segments and their
 * partial effects, constant expressions, the initial image, and what relocatable instances
 * share.
 */
#include "runtime/instance.h"
#include "runtime/table.h"
#include "tests/unit/guest.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct guest guest;
static struct trap_report report;
static struct error err;

static const struct valtype i32_type[] = {{.code = ABI_I32}};
static const struct functype i32_to_i32 = {1, 1, i32_type, i32_type};
static const struct functype i32_to_none = {1, 0, i32_type, NULL};

static enum host_result host(void *context, struct instance *caller, union abi_value *slots) {
    (void)context;
    (void)caller;
    slots[0].i32++;
    return HOST_OK;
}

/* The context is what to answer for "env"; NULL gives nothing. */
static bool resolve(void *context, const struct abi_import *import,
                    const struct abi_type *function_type, struct extern_value *ret) {
    (void)function_type;
    if (!context || import->module_length != 3 || memcmp(import->module, "env", 3) != 0)
        return false;
    *ret = *(const struct extern_value *)context;
    return true;
}

static struct extern_value host_func(void) {
    return (struct extern_value){
        .kind = ABI_EXTERN_FUNC, .function = host, .function_type = i32_to_i32};
}

static enum status make(struct extern_value *value, struct instance **ret) {
    *ret = NULL;
    err = (struct error){0};
    return instance_create(&guest.code, NULL, resolve, value, ret, &err);
}

/* Makes and destroys; the message is left in err. */
static enum status try_make(struct extern_value *value) {
    struct instance *i;
    enum status st = make(value, &i);
    if (st == ST_OK) instance_destroy(i);
    return st;
}

/* ---- imports ----------------------------------------------------------------------------- */

static void test_imports(void) {
    struct extern_value value = host_func();
    EXPECT(try_make(&value) == ST_OK);
    EXPECT(try_make(NULL) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "unknown import env.host: func (i32) -> (i32)");
    value.function_type = i32_to_none;
    EXPECT(try_make(&value) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "incompatible import type for env.host: expected func (i32) -> "
                            "(i32), found func (i32) -> ()");
    value = (struct extern_value){.kind = ABI_EXTERN_MEMORY, .memory = {.min = 1}};
    EXPECT(try_make(&value) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "incompatible import type for env.host: expected func (i32) -> "
                            "(i32), found memory {min 1}");
    guest.imports[0].name = "h\0\x1b";
    guest.imports[0].name_length = 3;
    EXPECT(try_make(NULL) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "unknown import env.h\\00\\1b: func (i32) -> (i32)");
    guest.imports[0].name = "host";
    guest.imports[0].name_length = 4;
}

/* Lets the object import a thing of another kind instead of its function's second import. */
static struct abi_import two[2];
static void import_also(enum abi_extern_kind kind) {
    two[0] = guest.imports[0];
    two[1] = (struct abi_import){
        .module = "other", .name = "x", .module_length = 5, .name_length = 1, .kind = kind};
    guest.object.imports = two;
    guest.object.import_count = 2;
}

static bool resolve_both(void *context, const struct abi_import *import,
                         const struct abi_type *function_type, struct extern_value *ret) {
    struct extern_value func = host_func();
    if (import->kind == ABI_EXTERN_FUNC && import->module[0] == 'e')
        return resolve(&func, import, function_type, ret);
    *ret = *(const struct extern_value *)context;
    return true;
}

static enum status try_both(const struct extern_value *value, struct instance **ret) {
    struct extern_value copy = *value;
    struct instance *i = NULL;
    err = (struct error){0};
    enum status st = instance_create(&guest.code, NULL, resolve_both, &copy, &i, &err);
    if (ret)
        *ret = i;
    else
        instance_destroy(i);
    return st;
}

static void test_import_memory(void) {
    const struct abi_object saved = guest.object;
    import_also(ABI_EXTERN_MEMORY);
    guest.object.imported_memories = 1;
    two[1].memory = guest.memories[0] =
        (struct abi_limits){.min = 2, .max = 4, .has_max = true};
    struct extern_value v = {.kind = ABI_EXTERN_MEMORY,
                             .memory = {.min = 2, .max = 4, .has_max = true}};
    struct instance *i;
    EXPECT(try_both(&v, &i) == ST_OK);
    EXPECT(i && instance_memory(i, 0).size_bytes == 2 * ABI_WASM_PAGE);
    instance_destroy(i);
    v.memory.min = 3;
    v.memory.max = 3;
    EXPECT(try_both(&v, NULL) == ST_OK);
    v.memory.min = 1;
    EXPECT(try_both(&v, NULL) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "incompatible import type for other.x: expected memory {min 2, max "
                            "4}, found memory {min 1, max 3}");
    v.memory = (struct abi_limits){.min = 2, .max = 5, .has_max = true};
    EXPECT(try_both(&v, NULL) == ST_UNLINKABLE);
    v.memory.has_max = false;
    EXPECT(try_both(&v, NULL) == ST_UNLINKABLE);
    guest.object = saved;
    guest.memories[0] = (struct abi_limits){.min = 1, .max = 4, .has_max = true};
}

static void test_import_global(void) {
    const struct abi_object saved = guest.object;
    import_also(ABI_EXTERN_GLOBAL);
    const struct abi_global_type i64 = {.type = {.code = ABI_I64}};
    two[1].global = i64;
    /* imported: i64; own: global.get 0, and (7 - 3) * 2 + 2^31 in i32 */
    static const struct abi_const_step get[] = {{.op = ABI_CONST_GLOBAL_GET}};
    static const struct abi_const_step sum[] = {
        {.op = ABI_CONST_VALUE, .value = {.u32 = 0x80000000}},
        {.op = ABI_CONST_VALUE, .value = {.i32 = 7}},
        {.op = ABI_CONST_VALUE, .value = {.i32 = 3}},
        {.op = ABI_CONST_I32_SUB},
        {.op = ABI_CONST_VALUE, .value = {.i32 = 2}},
        {.op = ABI_CONST_I32_MUL},
        {.op = ABI_CONST_I32_ADD}};
    static const struct abi_const_step func[] = {{.op = ABI_CONST_REF_FUNC, .index = 3}};
    struct abi_global globals[4] = {
        {.type = i64},
        {.type = i64, .init = {1, get}},
        {.type = {.type = {.code = ABI_I32}}, .init = {countof(sum), sum}},
        {.type = {.type = {.code = ABI_FUNCREF}}, .init = {1, func}}};
    guest.object.globals = globals;
    guest.object.global_count = guest.object.counts.globals = 4;
    guest.object.imported_globals = 1;
    struct extern_value v = {
        .kind = ABI_EXTERN_GLOBAL, .global = i64, .global_value = {.i64 = -9}};
    struct instance *i;
    EXPECT(try_both(&v, &i) == ST_OK);
    if (i) {
        EXPECT(instance_global(i, 0).i64 == -9 && instance_global(i, 1).i64 == -9);
        EXPECT(instance_global(i, 2).u32 == 0x80000008);
        EXPECT(instance_global(i, 3).ref == (uint64_t)instance_func(i, 3));
        instance_destroy(i);
    }
    v.global.mutable = true;
    EXPECT(try_both(&v, NULL) == ST_UNLINKABLE);
    EXPECT_STR(err.message, "incompatible import type for other.x: expected global i64, found "
                            "global (mut i64)");
    v.global = (struct abi_global_type){.type = {.code = ABI_F64}};
    EXPECT(try_both(&v, NULL) == ST_UNLINKABLE);
    /* programs that break their stack */
    v.global = i64;
    globals[2].init.count = 4;
    EXPECT(try_both(&v, NULL) == ST_DAMAGED);
    globals[2].init.count = 0;
    EXPECT(try_both(&v, NULL) == ST_DAMAGED);
    globals[2].init = (struct abi_const_expr){1, &sum[3]};
    EXPECT(try_both(&v, NULL) == ST_DAMAGED);
    struct abi_const_step deep[1000];
    for (size_t k = 0; k < countof(deep); k++) deep[k] = sum[k < 500 ? 0 : 6];
    globals[2].init = (struct abi_const_expr){999, deep};
    EXPECT(try_both(&v, NULL) == ST_LIMIT);
    guest.object = saved;
}

/* ---- memories ---------------------------------------------------------------------------- */

static void test_memory_limits(void) {
    struct extern_value value = host_func();
    struct instance *i = NULL;
    const struct instance_limits two_pages = {.max_memory_bytes = 2 * ABI_WASM_PAGE + 5};
    EXPECT(instance_create(&guest.code, &two_pages, resolve, &value, &i, &err) == ST_OK);
    struct memory *m = i->memories[0];
    EXPECT(memory_grow(m, 2) == -1 && memory_grow(m, 1) == 1 && memory_grow(m, 1) == -1);
    EXPECT(memory_grow(m, 0) == 2 && memory_grow(m, UINT32_MAX) == -1);
    instance_memory(i, 0).base[2 * ABI_WASM_PAGE - 1] = 1;
    EXPECT(memory_find(m->abi->base) == m && memory_find(m->abi->base - 1) == m);
    EXPECT(memory_find(m->abi->base - MEMORY_GUARD_BELOW - 1) == NULL);
    EXPECT(memory_find(m->abi->base + ABI_MEMORY_RESERVE) == NULL);
    instance_destroy(i);
    const struct instance_limits small = {.max_memory_bytes = 100};
    EXPECT(instance_create(&guest.code, &small, resolve, &value, &i, &err) == ST_LIMIT);

    guest.memories[0] = (struct abi_limits){.min = 65536};
    EXPECT(make(&value, &i) == ST_OK);
    if (i) {
        struct guest_memory all = instance_memory(i, 0);
        EXPECT(all.size_bytes == UINT64_C(1) << 32);
        all.base[all.size_bytes - 1] = 3;
        EXPECT(memory_grow(i->memories[0], 1) == -1 && memory_grow(i->memories[0], 0) == 65536);
        instance_destroy(i);
    }
    guest.memories[0] = (struct abi_limits){.min = 65537};
    EXPECT(try_make(&value) == ST_LIMIT);
    guest.memories[0] = (struct abi_limits){.min = 1, .is_64 = true};
    EXPECT(try_make(&value) == ST_UNSUPPORTED);
    guest.memories[0] = (struct abi_limits){.min = 1, .max = 4, .has_max = true};

#ifndef __SANITIZE_ADDRESS__
    /* no address space: a message, and nothing left behind */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {1u << 30, 1u << 30};
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(3);
        enum status st = try_make(&value);
        _exit(st == ST_NO_MEMORY && strstr(err.message, "ulimit -v") ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

/* The image comes from the file: here a memory file of 16 pages, page p filled with p + 1. */
static void test_image(void) {
    const struct code saved_code = guest.code;
    const struct abi_object saved = guest.object;
    int fd = memfd_create("image", MFD_CLOEXEC);
    uint8_t page[4096];
    for (unsigned p = 0; p < 16; p++) {
        memset(page, (int)p + 1, sizeof page);
        EXPECT(write(fd, page, sizeof page) == sizeof page);
    }
    uint8_t *file = mmap(NULL, 16 * 4096, PROT_READ, MAP_SHARED, fd, 0);
    guest.code.fd = fd;
    guest.code.file = file;
    guest.code.file_size = 16 * 4096;
    struct abi_page_run runs[] = {{0, 0, 5}, {7, 5, 1}, {11, 6, 5}};
    guest.object.page_runs = runs;
    guest.object.page_run_count = 3;
    guest.object.image_offset = 4096;
    struct extern_value value = host_func();
    struct instance *i;
    EXPECT(make(&value, &i) == ST_OK);
    if (i) {
        uint8_t *base = instance_memory(i, 0).base;
        EXPECT(base[0] == 2 && base[4 * 4096 + 9] == 6 && base[5 * 4096] == 0);
        EXPECT(base[7 * 4096] == 7 && base[8 * 4096] == 0);
        EXPECT(base[11 * 4096] == 8 && base[15 * 4096 + 4095] == 12);
        base[0] = 99; /* private */
        EXPECT(file[4096] == 2);
        instance_destroy(i);
    }
    runs[2].guest_page = 12;
    EXPECT(try_make(&value) == ST_DAMAGED);
    runs[2] = (struct abi_page_run){11, 11, 5};
    EXPECT(try_make(&value) == ST_DAMAGED);
    runs[2] = (struct abi_page_run){UINT32_MAX, UINT32_MAX, UINT32_MAX};
    EXPECT(try_make(&value) == ST_DAMAGED);
    munmap(file, 16 * 4096);
    close(fd);
    guest.code = saved_code;
    guest.object = saved;
}

/* ---- nothing left ------------------------------------------------------------------------ */

/* The linker sends these here (-Wl,--wrap; mmap is mmap64 with 64-bit file offsets); call
 * number `countdown` and all later ones fail. */
static long countdown = -1;
static bool fails(void) {
    if (countdown < 0) return false;
    if (countdown > 0) countdown--;
    errno = ENOMEM;
    return countdown == 0;
}
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_mprotect(void *at, size_t size, int protection);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_mprotect(void *at, size_t size, int protection);
void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}
int __wrap_mprotect(void *at, size_t size, int protection) {
    return fails() ? -1 : __real_mprotect(at, size, protection);
}

/* Every call of the runtime for memory fails once; each time nothing may be left in the way. */
static void test_no_memory(enum abi_placement placement) {
    const struct abi_object saved = guest.object;
    static const struct abi_table_type types[] = {
        {.element = {.code = ABI_FUNCREF}, .limits = {.min = 10, .max = 20, .has_max = true}}};
    static const uint32_t capacities[] = {20};
    guest.object.tables = types;
    guest.object.table_count = guest.object.counts.tables = 1;
    guest.object.counts.table_entries = placement == ABI_PINNED ? 20 : 0;
    guest.object.table_capacities = capacities;
    struct extern_value value = host_func();
    long failed = 0;
    for (long n = 1; n < 100; n++) {
        struct instance *i = NULL;
        /* type ids last until the runtime ends, and what it allocates is in play only then */
        runtime_finish();
        countdown = n;
        enum status st = runtime_init(placement, 1 << 18, &err);
        if (st == ST_OK) st = make(&value, &i);
        countdown = -1;
        if (st == ST_OK) {
            instance_destroy(i);
            break;
        }
        failed++;
        EXPECT(st == ST_NO_MEMORY && err.message[0]);
        struct error ignored;
        if (runtime_init(placement, 1 << 18, &ignored) != ST_OK)
            EXPECT(ignored.status == ST_USAGE); /* it is there already */
        EXPECT(try_make(&value) == ST_OK);
    }
    EXPECT(failed >= 8 && failed < 90);
    /* growing */
    struct instance *i;
    EXPECT(make(&value, &i) == ST_OK);
    countdown = 1;
    EXPECT(memory_grow(i->memories[0], 1) == -1);
    countdown = -1;
    EXPECT(memory_grow(i->memories[0], 1) == 1);
    instance_destroy(i);
    guest.object = saved;
}

/* ---- tables and segments ----------------------------------------------------------------- */

static const struct abi_table_entry *entry(struct instance *i, uint32_t table, uint32_t index) {
    return (const struct abi_table_entry *)i->tables[table]->abi->entries + index;
}

static void test_tables(enum abi_placement placement) {
    const struct abi_object saved = guest.object;
    static const struct abi_table_type types[] = {
        {.element = {.code = ABI_FUNCREF}, .limits = {.min = 10, .max = 20, .has_max = true}},
        {.element = {.code = ABI_EXTERNREF}, .limits = {.min = 3}}};
    static const uint32_t capacities[] = {20, 100};
    static const bool fixed[] = {false, false};
    static const uint32_t funcs[] = {GUEST_ADD_ONE, GUEST_IMPORT, GUEST_MIXED};
    static const struct abi_const_step null[] = {{.op = ABI_CONST_VALUE}},
                                       spin[] = {{.op = ABI_CONST_REF_FUNC,
                                                  .index = GUEST_SPIN}},
                                       two_[] = {{.op = ABI_CONST_VALUE, .value = {.i32 = 2}}},
                                       eight[] = {{.op = ABI_CONST_VALUE, .value = {.i32 = 8}}};
    static const struct abi_const_expr exprs[] = {{1, null}, {1, spin}};
    struct abi_elem elems[] = {
        {.mode = ABI_SEGMENT_ACTIVE, .offset = {1, two_}, .count = 3, .funcs = funcs},
        {.mode = ABI_SEGMENT_PASSIVE, .count = 2, .exprs = exprs},
        {.mode = ABI_SEGMENT_DECLARED, .count = 3, .funcs = funcs},
        {.mode = ABI_SEGMENT_ACTIVE, .offset = {1, eight}, .count = 3, .funcs = funcs}};
    struct abi_data datas[] = {
        {.mode = ABI_SEGMENT_ACTIVE,
         .offset = {1, two_},
         .bytes = (const uint8_t *)"abc",
         .size = 3},
        {.mode = ABI_SEGMENT_PASSIVE, .bytes = (const uint8_t *)"xyz", .size = 3},
        {.mode = ABI_SEGMENT_ACTIVE, .in_image = true}};
    guest.object.tables = types;
    guest.object.table_count = guest.object.counts.tables = 2;
    guest.object.counts.table_entries = placement == ABI_PINNED ? 120 : 0;
    guest.object.table_capacities = capacities;
    guest.object.table_fixed = fixed;
    guest.object.elems = elems;
    guest.object.elem_count = 3;
    guest.object.datas = datas;
    guest.object.data_count = 3;
    struct extern_value value = host_func();
    struct instance *i;
    EXPECT(make(&value, &i) == ST_OK);
    if (!i) return;
    EXPECT(instance_initialise(i, &report) == CALL_RETURNED);
    EXPECT(memcmp(instance_memory(i, 0).base, "\0\0abc", 6) == 0);
    struct abi_func *add = instance_func(i, GUEST_ADD_ONE);
    EXPECT(add->type_id != 0 && add->type_id == instance_func(i, GUEST_IMPORT)->type_id);
    EXPECT(add->type_id != instance_func(i, GUEST_MIXED)->type_id);
    EXPECT(entry(i, 0, 1)->word == 0 && entry(i, 0, 1)->type_id == 0);
    if (placement == ABI_PINNED) {
        EXPECT(entry(i, 0, 2)->word == add->code && entry(i, 0, 2)->type_id == 1);
        EXPECT(entry(i, 0, 2)->ref32 == (uint64_t)add && entry(i, 0, 4)->type_id == 2);
        EXPECT((uint64_t)entry(i, 1, 0) == (uint64_t)(entry(i, 0, 0) + 20));
    } else {
        EXPECT(entry(i, 0, 2)->word == (uint64_t)add && entry(i, 0, 2)->ref32 == 0);
        EXPECT(entry(i, 0, 2)->type_id == add->type_id);
    }
    /* segments that were used or declared are dropped; the passive one is there */
    EXPECT(table_init(i, 0, 0, 0, 0, 0) == TRAP_NONE);
    EXPECT(table_init(i, 0, 0, 0, 0, 1) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_init(i, 0, 2, 0, 0, 1) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_init(i, 0, 1, 8, 0, 2) == TRAP_NONE && entry(i, 0, 8)->word == 0);
    EXPECT(entry(i, 0, 9)->type_id == add->type_id);
    EXPECT(table_init(i, 0, 1, 9, 0, 2) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_init(i, 0, 1, 0, 1, 2) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_init(i, 0, 1, 10, 2, 0) == TRAP_NONE);
    EXPECT(table_init(i, 0, 1, 11, 0, 0) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_init(i, 0, 1, UINT32_MAX, 1, 1) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(memory_init(i, 0, 0, 0, 0, 1) == TRAP_MEMORY_OUT_OF_BOUNDS);
    EXPECT(memory_init(i, 0, 2, 0, 0, 0) == TRAP_NONE);
    EXPECT(memory_init(i, 0, 1, 65533, 0, 3) == TRAP_NONE);
    EXPECT(memory_init(i, 0, 1, 65534, 0, 3) == TRAP_MEMORY_OUT_OF_BOUNDS);
    EXPECT(memory_init(i, 0, 1, 65536, 3, 0) == TRAP_NONE);
    EXPECT(memory_init(i, 0, 1, 65537, 0, 0) == TRAP_MEMORY_OUT_OF_BOUNDS);
    union abi_value slots[5] = {{.i32 = 1}};
    EXPECT(helper_run(i, ABI_HELPER_DATA_DROP, slots) == TRAP_NONE);
    EXPECT(memory_init(i, 0, 1, 0, 0, 1) == TRAP_MEMORY_OUT_OF_BOUNDS);
    slots[0].i32 = 1;
    EXPECT(helper_run(i, ABI_HELPER_ELEM_DROP, slots) == TRAP_NONE);
    EXPECT(table_init(i, 0, 1, 0, 0, 1) == TRAP_TABLE_OUT_OF_BOUNDS);

    EXPECT(table_set(i, 1, 2, 77) == TRAP_NONE && entry(i, 1, 2)->word == 77);
    EXPECT(table_set(i, 1, 3, 77) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_grow(i, 1, 88, 4) == 3 && entry(i, 1, 6)->word == 88);
    EXPECT(table_grow(i, 1, 0, UINT32_MAX) == -1 && i->tables[1]->abi->size == 7);
    EXPECT(table_grow(i, 0, (uint64_t)add, 10) == 10 && table_grow(i, 0, 0, 1) == -1);
    EXPECT(table_grow(i, 0, 0, 0) == 20 && entry(i, 0, 19)->type_id == add->type_id);
    EXPECT(table_fill(i, 1, 5, 9, 2) == TRAP_NONE && entry(i, 1, 4)->word == 88);
    EXPECT(table_fill(i, 1, 6, 9, 2) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_fill(i, 1, 7, 9, 0) == TRAP_NONE);
    EXPECT(table_copy(i, 0, 0, 3, 2, 3) == TRAP_NONE); /* overlapping */
    EXPECT(entry(i, 0, 3)->type_id == add->type_id &&
           entry(i, 0, 5)->type_id == instance_func(i, GUEST_MIXED)->type_id);
    EXPECT(table_copy(i, 0, 0, 18, 0, 3) == TRAP_TABLE_OUT_OF_BOUNDS);
    EXPECT(table_copy(i, 0, 0, 0, 18, 3) == TRAP_TABLE_OUT_OF_BOUNDS);

    /* a reference called from the host */
    slots[0].i32 = 4;
    EXPECT(instance_call(i, instance_func(i, GUEST_IMPORT), slots, &report) == CALL_RETURNED);
    EXPECT(slots[0].i32 == 5);
    EXPECT(instance_call(i, NULL, slots, &report) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_NULL_REFERENCE);
    instance_destroy(i);

    /* an active segment that does not fit: nothing of it, all of those before, none after */
    guest.object.elem_count = 4;
    EXPECT(make(&value, &i) == ST_OK);
    EXPECT(instance_initialise(i, &report) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_TABLE_OUT_OF_BOUNDS && report.frame_count == 0);
    EXPECT_STR(report.detail, "element segment 3 does not fit");
    EXPECT(entry(i, 0, 2)->word != 0 && entry(i, 0, 8)->word == 0 && entry(i, 0, 9)->word == 0);
    EXPECT(instance_memory(i, 0).base[2] == 0);
    instance_destroy(i);
    guest.object.elem_count = 3;
    static const struct abi_const_step end[] = {
        {.op = ABI_CONST_VALUE, .value = {.i32 = 65535}}};
    datas[1] = datas[0];
    datas[1].offset.steps = end;
    EXPECT(make(&value, &i) == ST_OK);
    EXPECT(instance_initialise(i, &report) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS);
    EXPECT_STR(report.detail, "data segment 1 does not fit");
    EXPECT(instance_memory(i, 0).base[2] == 'a' && instance_memory(i, 0).base[65535] == 0);
    instance_destroy(i);
    guest.object = saved;
}

/* ---- several instances ------------------------------------------------------------------- */

static void test_sharing(void) {
    struct extern_value value = host_func();
    struct instance *a, *b;
    EXPECT(make(&value, &a) == ST_OK);
    /* a function of a, seen through b */
    value = (struct extern_value){
        .kind = ABI_EXTERN_FUNC, .source = EXTERN_INSTANCE, .instance = a, .index = GUEST_GROW};
    EXPECT(make(&value, &b) == ST_OK);
    union abi_value slots[1] = {{.i32 = 1}};
    EXPECT(instance_call(b, instance_func(b, GUEST_IMPORT), slots, &report) == CALL_RETURNED);
    EXPECT(slots[0].i32 == 1 && instance_memory(a, 0).size_bytes == 2 * ABI_WASM_PAGE);
    EXPECT(instance_memory(b, 0).size_bytes == ABI_WASM_PAGE);
    EXPECT(instance_func(a, GUEST_ADD_ONE)->type_id ==
           instance_func(b, GUEST_ADD_ONE)->type_id);
    instance_destroy(b);
    value.index = GUEST_MIXED;
    EXPECT(make(&value, &b) == ST_UNLINKABLE);
    value.index = GUEST_FUNCTION_COUNT;
    EXPECT(make(&value, &b) == ST_UNLINKABLE);

    /* the memory of a, whose size now is 2 pages: matched by what it is, not by what it was */
    const struct abi_object saved = guest.object;
    import_also(ABI_EXTERN_MEMORY);
    guest.object.imported_memories = 1;
    two[1].memory = (struct abi_limits){.min = 2, .max = 4, .has_max = true};
    value = (struct extern_value){
        .kind = ABI_EXTERN_MEMORY, .source = EXTERN_INSTANCE, .instance = a};
    EXPECT(try_both(&value, &b) == ST_OK);
    if (b) {
        EXPECT(instance_memory(b, 0).base == instance_memory(a, 0).base);
        EXPECT(memory_grow(b->memories[0], 1) == 2);
        EXPECT(instance_memory(a, 0).size_bytes == 3 * ABI_WASM_PAGE);
        const uint64_t *refs = (const uint64_t *)((uint64_t)b->block + b->layout.memory_refs);
        EXPECT(refs[0] == (uint64_t)a->memories[0]->abi);
        instance_destroy(b);
    }
    EXPECT(instance_memory(a, 0).base[0] == 0);
    two[1].memory.min = 4;
    EXPECT(try_both(&value, NULL) == ST_UNLINKABLE);
    guest.object = saved;
    instance_destroy(a);
}

static void test_start(void) {
    struct extern_value value = host_func();
    struct instance *i, *j;
    guest.object.has_start = true;
    guest.object.start_function = GUEST_DIVIDE; /* with whatever: a test type, called with 0 */
    EXPECT(make(&value, &i) == ST_OK);
    if (guest.object.compat.placement == ABI_PINNED) EXPECT(make(&value, &j) == ST_USAGE);
    enum call_result r = instance_initialise(i, &report);
    EXPECT(r == CALL_RETURNED || report.trap == TRAP_INTEGER_DIVIDE_BY_ZERO);
    instance_destroy(i);
    guest.object.has_start = false;
}

int main(void) {
    for (int p = GUEST_FIRST_PLACEMENT; p <= ABI_RELOCATABLE; p++) {
        struct extern_value value = host_func();
        guest_open(&guest, (enum abi_placement)p);
        EXPECT(try_make(&value) == ST_USAGE); /* not initialised */
        EXPECT(runtime_init((enum abi_placement)p, 1000, &err) == ST_LIMIT);
        EXPECT(runtime_init((enum abi_placement)p, 1 << 18, &err) == ST_OK);
        test_imports();
        test_import_memory();
        test_import_global();
        test_memory_limits();
        test_image();
        test_tables((enum abi_placement)p);
        test_start();
        test_no_memory((enum abi_placement)p);
        if (p == ABI_RELOCATABLE) test_sharing();
        runtime_finish();
        guest_close(&guest);
    }
    return test_end();
}
