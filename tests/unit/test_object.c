/*
 * Code objects there and back: linked from the objects of three partitions, read, compared with
 * what went in, mapped and run. Arguments: the three relocatable objects.
 */
#include "tests/unit/object_fixture.h"

#include <sys/mman.h>
#include <unistd.h>

/* Names of bytes that are not terminated. */
#define EXPECT_BYTES(bytes, length, text)                                                      \
    EXPECT((length) == sizeof(text) - 1 && memcmp(bytes, text, sizeof(text) - 1) == 0)

static void check_metadata(const struct abi_object *o) {
    EXPECT(o->type_count == 3);
    EXPECT(functype_equal(&o->types[1].func, &fixture_types[1].func));
    EXPECT(o->types[2].entry_offset == o->types[0].entry_offset);
    EXPECT(o->import_count == 2 && o->imported_functions == 1 && o->imported_globals == 1);
    EXPECT_BYTES(o->imports[0].module, o->imports[0].module_length, "env");
    EXPECT_BYTES(o->imports[0].name, o->imports[0].name_length, "log\n");
    EXPECT(o->imports[0].type == 1);
    EXPECT(o->imports[1].kind == ABI_EXTERN_GLOBAL && !o->imports[1].global.mutable);
    EXPECT(o->export_count == 3);
    EXPECT_BYTES(o->exports[1].name, o->exports[1].name_length, "memory");
    EXPECT(o->exports[1].kind == ABI_EXTERN_MEMORY && o->exports[2].index == 1);
    EXPECT(o->function_count == 5);
    EXPECT(o->functions[4].type == 0); /* the canonical one */
    EXPECT(o->functions[1].wasm_offset == 100 && o->functions[0].wasm_offset == 0);
    EXPECT(o->functions[3].code_size > 0);
    EXPECT(o->table_count == 1 && o->tables[0].limits.min == 3 && o->table_fixed[0]);
    EXPECT(o->table_capacities[0] == 3 && o->counts.table_entries == 3);
    EXPECT(o->memory_count == 1 && o->memories[0].min == 2 && o->memories[0].max == 10);
    EXPECT(o->global_count == 2 && o->globals[1].type.mutable);
    EXPECT(o->globals[1].init.count == 1 &&
           o->globals[1].init.steps[0].op == ABI_CONST_GLOBAL_GET);
    EXPECT(!o->has_start);
    EXPECT(o->elem_count == 2 && o->elems[0].funcs[0] == 1 && o->elems[0].funcs[1] == 0);
    EXPECT(o->elems[0].offset.steps[0].value.u32 == 1);
    EXPECT(o->elems[1].mode == ABI_SEGMENT_PASSIVE && o->elems[1].exprs[0].steps[0].index == 3);
    EXPECT(o->trap_stub_count == 3);
    EXPECT(o->trap_stubs[0].trap == TRAP_INTEGER_DIVIDE_BY_ZERO); /* as they lie in part0.c */
    EXPECT(o->trap_stubs[1].trap == TRAP_UNREACHABLE);
    EXPECT(o->trap_stubs[2].trap == TRAP_MEMORY_OUT_OF_BOUNDS);
    EXPECT(o->counts.funcs == 5 && o->counts.types == 3);
    EXPECT(o->lines_size > 0 && o->eh_frame_size > 0 && o->eh_frame_hdr_size > 12);
}

static void check_image(const struct abi_object *o, const uint8_t *file) {
    EXPECT(o->data_count == 4);
    EXPECT(o->datas[0].in_image && o->datas[0].size == 0);
    EXPECT(!o->datas[1].in_image);
    EXPECT_BYTES((const char *)o->datas[1].bytes, o->datas[1].size, "later");
    EXPECT(o->datas[2].in_image);
    EXPECT(!o->datas[3].in_image); /* its offset is an imported global */
    EXPECT(o->page_run_count == 2);
    EXPECT(o->page_runs[0].guest_page == 0 && o->page_runs[0].count == 2);
    EXPECT(o->page_runs[1].guest_page == 31 && o->page_runs[1].image_page == 2);
    EXPECT(o->image_offset % ABI_HOST_PAGE == 0);
    EXPECT(memcmp(file + o->image_offset + 4090, "across the page", 15) == 0);
    EXPECT(memcmp(file + o->image_offset + 3 * ABI_HOST_PAGE - 2, "en", 2) == 0);
}

static void check_names(const struct abi_object *o, const uint8_t *file) {
    struct reader r = reader_over(file + o->names_offset, o->names_size);
    EXPECT(o->names_offset % 4 == 0);
    EXPECT(reader_u32(&r) == 5);
    const uint32_t expected[] = {0, 0, 5, 5, 10, 10 + 13};
    for (size_t i = 0; i < countof(expected); i++) EXPECT(reader_u32(&r) == expected[i]);
    EXPECT(memcmp(r.at, "alphaalpha", 10) == 0);
}

/* The search table is sorted and finds every function. */
static void check_search_table(const struct abi_object *o, const uint8_t *file) {
    struct reader r = reader_over(file + o->eh_frame_hdr_offset, o->eh_frame_hdr_size);
    reader_u64(&r);
    uint32_t count = reader_u32(&r), found = 0;
    int64_t before = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int32_t start = (int32_t)reader_u32(&r), fde = (int32_t)reader_u32(&r);
        EXPECT(start > before);
        before = start;
        for (uint32_t f = 0; f < o->function_count; f++)
            found += o->text_address + o->functions[f].code_offset ==
                     o->eh_frame_hdr_address + (uint64_t)(int64_t)start;
        uint64_t at = o->eh_frame_hdr_address + (uint64_t)(int64_t)fde;
        EXPECT(at >= o->eh_frame_address && at < o->eh_frame_address + o->eh_frame_size);
    }
    EXPECT(found == o->function_count);
}

static void read_back(const struct buffer *object) {
    struct error err = {0};
    auto_arena struct arena arena = {0};
    struct abi_object o;
    EXPECT(object_read(object->bytes, object->size, true, &arena, &o, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    if (err.status != ST_OK) return;
    EXPECT(object_verify_digest(object->bytes, object->size, &err) == ST_OK);
    struct digest module = digest_of("\0asm\1\0\0\0", 8);
    EXPECT(digest_equal(&o.compat.module, &module));
    EXPECT(o.compat.abi_fingerprint == abi_fingerprint());
    EXPECT_STR(o.compat.target, "native");
    check_metadata(&o);
    check_image(&o, object->bytes);
    check_names(&o, object->bytes);
    check_search_table(&o, object->bytes);
}

typedef int (*function2)(int, int);
typedef int (*function0)(void);
union entry_point {
    const uint8_t *bytes;
    function2 two;
    function0 none;
    function2 (*getter)(void);
};

static int object_file(const struct buffer *object) {
    int fd = memfd_create("object", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, object->bytes, object->size) != (ssize_t)object->size) return -1;
    return fd;
}

static void run(const struct buffer *object, enum abi_placement placement) {
    struct error err = {0};
    struct loaded *loaded = NULL;
    EXPECT(loader_open(object_file(object), &loaded, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    if (!loaded) return;
    EXPECT(loader_map(loaded, &err) == ST_OK);
    EXPECT_STR(err.message, "");
    if (err.status != ST_OK) {
        loader_close(loaded);
        return;
    }
    const struct abi_object *o = loaded->code.object;
    if (placement == ABI_PINNED)
        EXPECT((uintptr_t)loaded->code.text == o->text_address && loaded->code.bias == 0);
    union entry_point f1 = {loaded->code.text + o->functions[1].code_offset};
    union entry_point f2 = {loaded->code.text + o->functions[2].code_offset};
    union entry_point f4 = {loaded->code.text + o->functions[4].code_offset};
    EXPECT(f2.none() == 7);
    EXPECT(f1.two(3, 4) == 7 + 304 + 7);
    /* f3 by its address; it fills with memset and goes through the jump table and constants */
    function2 f3 = f4.getter();
    EXPECT(f3(5, 0) == 5 + 10);
    EXPECT(f3(5, 1) == 5 + 27);
    EXPECT(f3(5, 2) == 5 + 4);
    EXPECT(f3(250, 4) == 250 + 74);

    struct loaded *second = NULL;
    EXPECT(loader_open(object_file(object), &second, &err) == ST_OK);
    if (second && placement == ABI_PINNED) {
        EXPECT(loader_map(second, &err) == ST_NO_MEMORY);
        EXPECT(strstr(err.message, "in use") != NULL);
    } else if (second) {
        EXPECT(loader_map(second, &err) == ST_OK);
    }
    loader_close(second);
    loader_close(loaded);
}

static void deterministic(char *const *paths, const struct buffer *object) {
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer again = {0};
    EXPECT(fixture_link(&m, ABI_PINNED, paths, 3, &again, &err) == ST_OK);
    EXPECT(again.size == object->size && memcmp(again.bytes, object->bytes, again.size) == 0);
}

/* Without a data count section, segments in the image leave no trace but the image. */
static void without_data_count(char *const *paths) {
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    auto_arena struct arena arena = {0};
    struct abi_object o = {0};
    m.has_data_count = false;
    EXPECT(fixture_link(&m, ABI_PINNED, paths, 3, &object, &err) == ST_OK);
    EXPECT(object_read(object.bytes, object.size, true, &arena, &o, &err) == ST_OK);
    EXPECT(o.data_count == 2 && o.page_run_count == 2);
    EXPECT(o.datas && o.datas[0].mode == ABI_SEGMENT_PASSIVE && !o.datas[1].in_image);
}

static void descriptors_that_are_no_objects(void) {
    struct error err = {0};
    struct loaded *loaded = NULL;
    int fds[2];
    EXPECT(pipe(fds) == 0);
    close(fds[1]);
    EXPECT(loader_open(fds[0], &loaded, &err) == ST_DAMAGED);
    EXPECT_STR(err.message, "not a code object: not a regular file");
    EXPECT(loader_open(memfd_create("empty", 0), &loaded, &err) == ST_DAMAGED);
    EXPECT_STR(err.message, "not a code object: an empty file");
    EXPECT(loaded == NULL);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct module m = fixture_module();
    for (int placement = ABI_PINNED; placement <= ABI_RELOCATABLE; placement++) {
        struct error err = {0};
        auto_buffer struct buffer object = {0};
        EXPECT(fixture_link(&m, (enum abi_placement)placement, argv + 1, 3, &object, &err) ==
               ST_OK);
        EXPECT_STR(err.message, "");
        if (err.status != ST_OK) break;
        read_back(&object);
        run(&object, (enum abi_placement)placement);
        if (placement == ABI_PINNED) deterministic(argv + 1, &object);
        if (getenv("KEEP_OBJECT")) { /* to look at with other tools */
            EXPECT(file_publish(AT_FDCWD, getenv("KEEP_OBJECT"), object.bytes, object.size,
                                0644, &err) == ST_OK);
        }
    }
    without_data_count(argv + 1);
    descriptors_that_are_no_objects();
    return test_end();
}
