/*
 * Out of memory: linking and reading with every allocation in turn made to fail. Each ends in
 * ST_NO_MEMORY, or in success where the memory was not needed. Arguments: the three relocatable
 * objects.
 */
#include "tests/unit/object_fixture.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

/* Allocations until one fails; -1: none does. */
static long left = -1;

static bool refuse(void) {
    if (left < 0) return false;
    return left-- == 0;
}
void *__wrap_malloc(size_t size) { return refuse() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
    return refuse() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *pointer, size_t size) {
    return refuse() ? NULL : __real_realloc(pointer, size);
}

static void link_without(char *const *paths) {
    struct module m = fixture_module();
    unsigned refused = 0;
    for (long n = 0; n < 100000; n++) {
        struct error err = {0};
        auto_buffer struct buffer object = {0};
        left = n;
        enum status status = fixture_link(&m, ABI_PINNED, paths, 3, &object, &err);
        bool reached = left < 0;
        left = -1;
        if (!reached) {
            EXPECT(status == ST_OK);
            break;
        }
        refused += status == ST_NO_MEMORY;
        if (status != ST_NO_MEMORY) EXPECT_STR(err.message, "out of memory");
    }
    EXPECT(refused > 20);
}

static void read_without(char *const *paths) {
    struct module m = fixture_module();
    struct error err = {0};
    auto_buffer struct buffer object = {0};
    EXPECT(fixture_link(&m, ABI_PINNED, paths, 3, &object, &err) == ST_OK);
    /* The arena takes its memory in large blocks: a limit makes each allocation count. */
    unsigned refused = 0;
    for (size_t limit = 16;; limit += 16) {
        auto_arena struct arena arena = {.limit_bytes = limit};
        struct abi_object o;
        enum status status = object_read(object.bytes, object.size, true, &arena, &o, &err);
        if (status == ST_OK) break;
        EXPECT(status == ST_NO_MEMORY);
        refused++;
        if (limit > 1u << 20) break;
    }
    EXPECT(refused > 20);
    for (long n = 0; n < 5; n++) {
        auto_arena struct arena arena = {0};
        struct abi_object o;
        left = n;
        enum status status = object_read(object.bytes, object.size, true, &arena, &o, &err);
        bool reached = left < 0;
        left = -1;
        EXPECT(status == (reached ? ST_NO_MEMORY : ST_OK));
        if (!reached) break;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    link_without(argv + 1);
    read_without(argv + 1);
    return test_end();
}
