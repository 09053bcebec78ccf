/*
 * Guests that are written out as a difference to their snapshot, and go on: from it, from a
 * difference of a difference, without a snapshot; and the file under damage: every length,
 * every byte, and fields that lie with a checksum that holds.
 */
#include "loader/loader.h"
#include "runtime/snapshot.h"
#include "tests/unit/guest.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG "argument guest\nrequest socket 3\n"
#define PAGE 4096
#define LIMIT (UINT64_C(1) << 30)

static struct guest guest;
static struct instance *instance;
static struct wasi *wasi;
static struct trap_report report;
static enum host_result (*host)(struct instance *caller, union abi_value *slots);

static enum host_result call_host(void *context, struct instance *caller,
                                  union abi_value *slots) {
    (void)context;
    return host(caller, slots);
}

static bool resolve(void *context, const struct abi_import *import,
                    const struct abi_type *function_type, struct extern_value *ret) {
    (void)import;
    *ret = (struct extern_value){.kind = ABI_EXTERN_FUNC,
                                 .function = call_host,
                                 .context = context,
                                 .function_type = function_type->func};
    return true;
}

static uint8_t *memory(void) { return (uint8_t *)ABI_MEMORY_BASE; }

static int memory_file(void) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

/* The same file, to be read from its beginning. */
static int again(int fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(copy >= 0);
    return copy;
}

static void make_wasi(void) {
    struct error err = {0};
    const char *argv[] = {"guest"};
    struct wasi_config config = {.argc = 1, .argv = argv, .stdio = {-1, -1, -1}};
    CHECK(wasi_create(&config, &wasi, &err) == ST_OK);
}

/* ---- the snapshot ------------------------------------------------------------------------ */

static int base_fd = -1, state_fd = -1;
static struct snapshot *base;
static struct error write_error;

static enum host_result freeze(struct instance *caller, union abi_value *slots) {
    EXPECT(snapshot_write(caller, wasi, CONFIG, base_fd, &write_error) == ST_OK);
    slots[0].i32 = 1;
    return HOST_OK;
}

static void start(void) {
    struct error err = {0};
    union abi_value slots[4] = {{.i32 = 2}};
    make_wasi();
    CHECK(instance_create(&guest.code, NULL, resolve, NULL, &instance, &err) == ST_OK);
    EXPECT(instance_initialise(instance, &report) == CALL_RETURNED);
    EXPECT(instance_call(instance, instance_func(instance, GUEST_GROW), slots, &report) ==
           CALL_RETURNED);
    memory()[100] = 1;
    memory()[PAGE * 20] = 2;
    memory()[PAGE * 25] = 3;
}

static void end(void) {
    instance_destroy(instance);
    wasi_destroy(wasi);
}

static void call(enum host_result (*function)(struct instance *, union abi_value *)) {
    union abi_value slots[4] = {{.i32 = 5}};
    host = function;
    EXPECT(instance_call(instance, instance_func(instance, GUEST_CALL_HOST), slots, &report) ==
           CALL_RETURNED);
}

static void make_base(void) {
    struct error err = {0};
    base_fd = memory_file();
    start();
    call(freeze);
    end();
    EXPECT(snapshot_seal(base_fd, &err) == ST_OK);
}

/* ---- written and resumed ----------------------------------------------------------------- */

/* From base, or from state over base (NULL: over nothing). */
static enum status resume(int fd, bool over_base, struct snapshot **ret_state,
                          struct error *err) {
    *ret_state = NULL;
    base = NULL;
    /* as in a process that has just begun */
    CHECK(mmap((void *)guest_stack.low, guest_stack.top - guest_stack.low,
               PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) != MAP_FAILED);
    make_wasi();
    enum status status = ST_OK;
    if (over_base) status = snapshot_open(again(base_fd), &base, err);
    if (status == ST_OK && fd < 0)
        return snapshot_resume(base, &guest.code, NULL, resolve, NULL, wasi, &instance, err);
    if (status == ST_OK) status = hibernate_open(again(fd), ret_state, err);
    if (status == ST_OK) status = snapshot_check(*ret_state, &guest.code, CONFIG, err);
    if (status == ST_OK)
        status = hibernate_resume(*ret_state, base, &guest.code, NULL, resolve, NULL, wasi,
                                  &instance, err);
    return status;
}

static void finish(struct snapshot *state) {
    end();
    snapshot_close(state);
    snapshot_close(base);
}

static int turn; /* how often it has been written out */
static bool depends;

static void expect_state(void) {
    EXPECT(memory()[100] == 1 && memory()[PAGE * 20] == (turn ? 7 : 2));
    EXPECT(memory()[PAGE * 25] ==
           (turn ? 0 : 3)); /* what the snapshot has and the guest took */
    EXPECT(memory()[PAGE * 30 + 1] == turn && memory()[PAGE * 31] == 0);
    EXPECT(instance_memory(instance, 0).size_bytes == (turn ? 4u : 3u) * ABI_WASM_PAGE);
    if (turn) EXPECT(memory()[3 * ABI_WASM_PAGE + 9] == 9);
    /* all of a page, and as much of one as is kept in words, or a word more */
    for (int i = 0; turn && i < PAGE; i++)
        if (memory()[PAGE * 27 + i] != (uint8_t)(i % 251 + turn) ||
            memory()[PAGE * 28 + i] != (i / 8 < 256 ? turn : 0) ||
            memory()[PAGE * 29 + i] != (i / 8 < 257 ? turn : 0)) {
            EXPECT(!"a page that has changed");
            break;
        }
}

/* Changes what is checked above, and some pages back to what they were. */
static enum host_result hibernate(struct instance *caller, union abi_value *slots) {
    expect_state();
    memory()[PAGE * 20] = 7;
    memory()[PAGE * 25] = 0;
    memory()[PAGE * 30 + 1] = (uint8_t)(turn + 1);
    memory()[PAGE * 31] = 1;
    memory()[PAGE * 31] = 0;
    if (!turn) EXPECT(memory_grow(caller->memories[0], 1) == 3);
    memory()[3 * ABI_WASM_PAGE + 9] = 9;
    memset((void *)(guest_stack.top - 3 * PAGE), 0x66, PAGE); /* below its stack pointer */
    turn++;
    for (int i = 0; i < PAGE; i++) memory()[PAGE * 27 + i] = (uint8_t)(i % 251 + turn);
    memset(memory() + PAGE * 28, turn, 256 * 8);
    memset(memory() + PAGE * 29, turn, 257 * 8);
    state_fd = memory_file();
    enum status status = hibernate_write(caller, wasi, depends ? base : NULL, CONFIG, LIMIT,
                                         state_fd, &write_error);
    EXPECT(status == ST_OK);
    if (status != ST_OK) printf("%s\n", write_error.message);
    slots[0].i32 = 1;
    return HOST_OK;
}

static enum host_result answer(struct instance *caller, union abi_value *slots) {
    (void)caller;
    EXPECT(slots[0].i32 == 5);
    expect_state();
    EXPECT(*(const uint8_t *)(guest_stack.top - 3 * PAGE) == 0); /* nobody's */
    slots[0].i32 = 9;
    return HOST_OK;
}

static void go_on(struct snapshot *state,
                  enum host_result (*function)(struct instance *, union abi_value *)) {
    host = function;
    EXPECT(instance_continue(instance, &report) == CALL_RETURNED);
    if (function == answer) EXPECT(*(const int32_t *)state->header.enter_sp == 109);
}

static uint64_t size_of(int fd) {
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    return (uint64_t)st.st_size;
}

/* Twice out and back. */
static void test_there_and_back(bool from_base, bool on_base) {
    struct error err = {0};
    struct snapshot *state;
    depends = on_base;
    turn = 0;
    if (from_base) {
        EXPECT(resume(-1, true, &state, &err) == ST_OK);
        go_on(NULL, hibernate);
        finish(NULL);
    } else {
        start();
        base = NULL;
        call(hibernate);
        end();
    }
    for (int i = 0; i < 2; i++) {
        int fd = state_fd;
        struct digest digest;
        enum status status = resume(fd, on_base, &state, &err);
        EXPECT(status == ST_OK);
        if (status != ST_OK) printf("%s\n", err.message);
        EXPECT(hibernate_base(state, &digest) == on_base);
        go_on(state, i ? answer : hibernate);
        finish(state);
        /* the difference is small: tables, block, two pages, and words of others */
        if (on_base) EXPECT(size_of(fd) > 4 * PAGE && size_of(fd) < 5 * PAGE);
        if (i == 0) close(fd);
    }
}

static void test_refusals(void) {
    struct error err = {0};
    struct snapshot *state;
    int good = base_fd, other = memory_file();
    EXPECT(resume(state_fd, true, &state, &err) == ST_OK);
    finish(state);
    EXPECT(resume(state_fd, false, &state, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "a difference to a snapshot"));
    snapshot_close(state);
    wasi_destroy(wasi);
    /* a snapshot of the same program that is another one */
    base_fd = other;
    start();
    memory()[5000] = 1;
    call(freeze);
    end();
    EXPECT(snapshot_seal(base_fd, &err) == ST_OK);
    EXPECT(resume(state_fd, true, &state, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "another snapshot"));
    snapshot_close(state);
    snapshot_close(base);
    wasi_destroy(wasi);
    base_fd = good;
    close(other);
    /* neither is the other kind of file */
    EXPECT(hibernate_open(again(base_fd), &state, &err) == ST_DAMAGED &&
           strstr(err.message, "not a hibernated"));
    EXPECT(snapshot_open(again(state_fd), &state, &err) == ST_DAMAGED &&
           strstr(err.message, "not a snapshot"));
}

/* ---- no room ----------------------------------------------------------------------------- */

static uint64_t max_bytes = LIMIT;
static int failing_fd;

static enum host_result try_to(struct instance *caller, union abi_value *slots) {
    uint64_t before = memory()[PAGE * 20];
    enum status status =
        hibernate_write(caller, wasi, base, CONFIG, max_bytes, failing_fd, &write_error);
    EXPECT(status == (max_bytes == LIMIT ? ST_IO : ST_LIMIT));
    EXPECT(memory()[PAGE * 20] == before);
    slots[0].i32 = 4;
    return HOST_OK;
}

static void test_no_room(void) {
    struct error err = {0};
    struct snapshot *state;
    failing_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    EXPECT(resume(-1, true, &state, &err) == ST_OK);
    go_on(NULL, try_to);
    finish(NULL);
    EXPECT(strstr(write_error.message, "No space left"));
    max_bytes = PAGE - 1;
    EXPECT(resume(-1, true, &state, &err) == ST_OK);
    go_on(NULL, try_to);
    finish(NULL);
    EXPECT(strstr(write_error.message, "more than the limit of 4095"));
    close(failing_fd);
}

/* ---- damage ------------------------------------------------------------------------------ */

static uint8_t *file_bytes;
static size_t file_size;

static int file_of(const uint8_t *bytes, size_t size) {
    int fd = memory_file();
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    return fd;
}

/* The way of a process that gets this file. */
static enum status try_resume(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    struct snapshot *state;
    int fd = file_of(bytes, size);
    enum status status = resume(fd, true, &state, &err);
    if (status == ST_OK) {
        volatile uint8_t sum = 0;
        struct guest_memory m = instance_memory(instance, 0);
        for (uint64_t at = 0; at < m.size_bytes; at += PAGE) sum += m.base[at]++;
        instance_destroy(instance);
    } else {
        EXPECT(err.message[0]);
    }
    wasi_destroy(wasi);
    snapshot_close(state);
    snapshot_close(base);
    close(fd);
    return status;
}

static void test_damage(void) {
    file_size = size_of(state_fd);
    file_bytes = malloc(file_size);
    CHECK(file_bytes && pread(state_fd, file_bytes, file_size, 0) == (ssize_t)file_size);
    EXPECT(try_resume(file_bytes, file_size) == ST_OK);
    uint32_t tables = 0;
    memcpy(&tables, file_bytes + 12, 4);
    for (size_t size = 0; size < file_size; size += size < tables + 64u ? 1 : 509)
        EXPECT(try_resume(file_bytes, size) == ST_DAMAGED);
    size_t missed = 0;
    for (size_t at = 0; at < file_size; at++) {
        file_bytes[at] ^= 0x10;
        enum status status = try_resume(file_bytes, file_size);
        if (status != ST_DAMAGED && status != ST_INCOMPATIBLE) missed++;
        file_bytes[at] ^= 0x10;
    }
    EXPECT(missed == 0);
}

static bool opens(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    struct snapshot *s = NULL;
    if (hibernate_open(file_of(bytes, size), &s, &err) != ST_OK) return false;
    snapshot_close(s);
    return true;
}

static uint32_t field(const uint8_t *bytes, size_t at) {
    uint32_t value;
    memcpy(&value, bytes + at, 4);
    return value;
}

static void fix_crc(uint8_t *bytes, size_t size) {
    uint32_t tables;
    memcpy(&tables, bytes + 12, 4);
    if (tables < SNAPSHOT_HEADER_BYTES || tables > size) return;
    memset(bytes + SNAPSHOT_CRC_OFFSET, 0, 4);
    uint32_t crc = ~crc32c(~UINT32_C(0), bytes, tables);
    memcpy(bytes + SNAPSHOT_CRC_OFFSET, &crc, 4);
}

#define CRC_OF_PAGES 228
#define PATCH_BYTES 232
#define PATCH_HEAD 72 /* address and bits */

/* Changed pages that lie, under checksums that hold. */
static void test_patches(void) {
    static const uint64_t addresses[] = {0,
                                         1,
                                         4096,
                                         ABI_CODE_BASE,
                                         ABI_INSTANCE_BASE,
                                         0x40000008,
                                         0x40040000,
                                         ABI_STACK_TOP,
                                         ABI_STACK_TOP - 4096,
                                         ABI_TABLES_BASE,
                                         UINT64_MAX,
                                         0x3ffff000,
                                         ABI_FILES_BASE,
                                         UINT64_MAX & ~4095ull,
                                         ABI_MEMORY_BASE + 27 * PAGE};
    uint8_t *bytes = malloc(file_size);
    CHECK(bytes);
    uint32_t tables = field(file_bytes, 12), size = field(file_bytes, PATCH_BYTES);
    size_t pages = (tables + PAGE - 1) / PAGE * PAGE, first = file_size - size;
    EXPECT(size > 2 * PATCH_HEAD && first > pages && first % PAGE == 0);
    uint64_t bits[8], count = 0;
    memcpy(bits, file_bytes + first + 8, sizeof bits);
    for (int i = 0; i < 8; i++) count += (uint64_t)__builtin_popcountll(bits[i]);
    size_t second = first + PATCH_HEAD + count * 8;
    const struct {
        size_t at;
        uint64_t value;
    } lies[] = {
        {second, 0},
        {first + 8, bits[0] ^ 1},
        {first + 8, UINT64_MAX},
        {first + 64, UINT64_MAX},
        {first + 8, 0},
        {second + 8, 0},
        {second, ABI_MEMORY_BASE},
    };
    for (size_t k = 0; k < countof(addresses) + countof(lies); k++) {
        memcpy(bytes, file_bytes, file_size);
        if (k < countof(addresses))
            memcpy(bytes + first, &addresses[k], 8);
        else
            memcpy(bytes + lies[k - countof(addresses)].at, &lies[k - countof(addresses)].value,
                   8);
        uint32_t crc = ~crc32c(~UINT32_C(0), bytes + pages, file_size - pages);
        memcpy(bytes + CRC_OF_PAGES, &crc, 4);
        fix_crc(bytes, file_size);
        EXPECT(try_resume(bytes, file_size) == ST_DAMAGED);
    }
    /* none without a snapshot to change */
    memcpy(bytes, file_bytes, file_size);
    memset(bytes + SNAPSHOT_DIGEST_OFFSET, 0, 32);
    fix_crc(bytes, file_size);
    EXPECT(!opens(bytes, file_size));
    free(bytes);
}

/* In a process of its own, which must come to an end by itself. */
static bool survives(const uint8_t *bytes, size_t size) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)!try_resume(bytes, size);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status)) printf("status %x\n", (unsigned)status);
    return WIFEXITED(status);
}

/* Fields that lie, under a checksum that holds. */
static void test_lies(void) {
    static const uint64_t values[] = {0,          1,          8,           4095,
                                      4096,       0x7fffffff, 0x80000000,  0xffffffff,
                                      0x3f000000, 0x40000000, 0x3fffff000, UINT64_MAX};
    uint8_t *bytes = malloc(file_size);
    CHECK(bytes);
    uint32_t tables;
    memcpy(&tables, file_bytes + 12, 4);
    for (size_t at = 12; at + 8 <= tables && at < 512; at += 4) {
        for (size_t v = 0; v < countof(values); v++) {
            for (size_t width = 4; width <= 8; width += 4) {
                memcpy(bytes, file_bytes, file_size);
                memcpy(bytes + at, &values[v], width);
                fix_crc(bytes, file_size);
                if (!opens(bytes, file_size)) continue; /* a process is dear */
                bool survived = survives(bytes, file_size);
                EXPECT(survived);
                if (!survived) printf("field at %zu\n", at);
            }
        }
    }
    free(bytes);
}

int main(void) {
#ifdef __SANITIZE_ADDRESS__
    return 77; /* it needs the addresses of a pinned guest */
#endif
    struct error err = {0};
    CHECK(runtime_init(ABI_PINNED, 262144, &err) == ST_OK);
    guest_open(&guest, ABI_PINNED);
    make_base();
    test_there_and_back(true, true); /* without the kernel's word on pages */
    if (snapshot_prepare(-1, &err) != ST_OK) printf("%s\n", err.message);
    test_there_and_back(false, false);
    test_there_and_back(true, false);
    test_there_and_back(true, true);
    test_refusals();
    test_no_room();
    test_damage();
    test_patches();
    test_lies();
    guest_close(&guest);
    runtime_finish();
    return test_end();
}
