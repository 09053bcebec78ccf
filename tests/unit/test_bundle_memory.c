/*
 * Out of memory: a bundle written, opened and checked with every allocation of ours and of the
 * JSON library in turn made to fail. Each ends in ST_NO_MEMORY, or in success where the memory
 * was not needed, and a bundle is written whole or not at all. Argument: the code object of
 * object_seed.c.
 */
#include "tests/unit/bundle_fixture.h"
#include "tests/unit/test.h"

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

static char directory[] = "/tmp/hutch-test-bundle-XXXXXX";
static char path[200];
static struct fixture f;

static enum status write_one(struct error *err) {
    return bundle_write(&f.statement, &f.secret, 3, path, err);
}

static enum status read_one(struct error *err) {
    struct fixture_judge judge = {.features = ABI_X86_64_V4};
    struct bundle_import_options options = {
        .callbacks = {fixture_check, fixture_check_snapshot, fixture_note, &judge},
        .verify_only = true,
        .now = 2000};
    struct bundle_report report;
    struct bundle *bundle = NULL;
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status status = bundle_open(fd, &f.trust, &bundle, err);
    if (status == ST_OK) status = bundle_import(NULL, bundle, &options, &report, err);
    bundle_close(bundle);
    return status;
}

static void each(const char *what, enum status (*function)(struct error *err), bool writes) {
    unsigned refused = 0;
    for (long n = 0; n < 100000; n++) {
        struct error err = {0};
        if (writes && access(path, F_OK) == 0) EXPECT(unlink(path) == 0);
        left = n;
        enum status status = function(&err);
        bool reached = left < 0;
        left = -1;
        if (!reached) {
            EXPECT(status == ST_OK);
            break;
        }
        refused += status != ST_OK;
        EXPECT(status == ST_OK || status == ST_NO_MEMORY);
        if (status != ST_OK && status != ST_NO_MEMORY)
            printf("%s, allocation %ld: %s\n", what, n, err.message);
        if (writes) EXPECT((access(path, F_OK) == 0) == (status == ST_OK));
    }
    EXPECT(refused > 20);
    printf("%s: %u allocations refused\n", what, refused);
}

int main(int argc, char **argv) {
    struct error err = {0};
    umask(022);
    if (argc != 2 || !mkdtemp(directory) || fixture_make(&f, argv[1], &err) != ST_OK) {
        printf("usage: test_bundle_memory seed.hutch: %s\n", err.message);
        return 1;
    }
    snprintf(path, sizeof path, "%s/a.tar", directory);
    EXPECT(bundle_words_add(&f.statement.args, "one", &err) == ST_OK);
    EXPECT(bundle_words_add(&f.statement.env, "A=1", &err) == ST_OK);
    f.statement.app = strdup("{\"name\":\"tiny\"}");
    each("writing", write_one, true);
    each("reading", read_one, false);
    f.statement.layers = NULL; /* the fixture's own */
    bundle_statement_finish(&f.statement);
    fixture_finish(&f);
    EXPECT(unlink(path) == 0 && rmdir(directory) == 0);
    return test_end();
}
