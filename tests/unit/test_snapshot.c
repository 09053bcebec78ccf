/*
 * Snapshots in one process: what is written, what comes back, reset; and the file under damage:
 * every length, every byte, and fields that lie with a checksum that holds.
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

#define STACK_BYTES 262144u
#define CONFIG "argument guest\nrequest socket 3\n"

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

static int memory_file(void) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static uint8_t *memory(void) { return (uint8_t *)ABI_MEMORY_BASE; }

/* ---- writing ----------------------------------------------------------------------------- */

static int written_fd = -1;
static enum status written;
static struct error write_error;

static enum host_result freeze(struct instance *caller, union abi_value *slots) {
    written = snapshot_write(caller, wasi, CONFIG, written_fd, &write_error);
    slots[0].i32 = 1;
    return HOST_OK;
}

static void make_wasi(void) {
    struct error err = {0};
    const char *argv[] = {"guest"};
    struct wasi_config config = {.argc = 1, .argv = argv, .stdio = {-1, -1, -1}};
    CHECK(wasi_create(&config, &wasi, &err) == ST_OK);
}

static void test_write(void) {
    struct error err = {0};
    union abi_value slots[4] = {{.i32 = 5}};
    make_wasi();
    CHECK(instance_create(&guest.code, NULL, resolve, NULL, &instance, &err) == ST_OK);
    EXPECT(instance_initialise(instance, &report) == CALL_RETURNED);
    EXPECT(snapshot_write(instance, wasi, CONFIG, 0, &err) == ST_USAGE); /* no host call */
    slots[0].i32 = 2;
    EXPECT(instance_call(instance, instance_func(instance, GUEST_GROW), slots, &report) ==
               CALL_RETURNED &&
           slots[0].i32 == 1);
    memory()[100] = 1;
    memory()[4096 * 20] = 2;
    memory()[4096 * 47 + 4095] = 3; /* the last byte there is */
    host = freeze;
    written_fd = memory_file();
    slots[0].i32 = 5;
    EXPECT(instance_call(instance, instance_func(instance, GUEST_CALL_HOST), slots, &report) ==
               CALL_RETURNED &&
           slots[0].i32 == 101);
    EXPECT(written == ST_OK);
    if (written != ST_OK) printf("%s\n", write_error.message);
    /* no room */
    int good = written_fd;
    written_fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    EXPECT(instance_call(instance, instance_func(instance, GUEST_CALL_HOST), slots, &report) ==
               CALL_RETURNED &&
           written == ST_IO);
    close(written_fd);
    written_fd = good;
    instance_destroy(instance);
    wasi_destroy(wasi);
}

/* ---- resuming ---------------------------------------------------------------------------- */

static int asked;
static enum host_result answer(struct instance *caller, union abi_value *slots) {
    (void)caller;
    EXPECT(slots[0].i32 == 5); /* the argument, of the call that was pending */
    EXPECT(memory()[100] == 1 && memory()[4096 * 20] == 2 && memory()[4096 * 47 + 4095] == 3);
    EXPECT(memory()[101] == 0 && memory()[4096 * 10] == 0 && memory()[4096 * 30] == 0);
    asked++;
    slots[0].i32 = 9;
    return HOST_OK;
}

/* Changes all it can reach, then begins again; the fourth time it answers. */
static enum host_result again(struct instance *caller, union abi_value *slots) {
    if (asked == 3) return answer(caller, slots);
    EXPECT(memory()[100] == 1 && memory()[4096 * 30] == 0);
    EXPECT(instance_memory(caller, 0).size_bytes == 3 * ABI_WASM_PAGE);
    memset(memory(), 0x77, 3 * ABI_WASM_PAGE);
    memset((void *)guest_stack.low, 0x77, 4096);
    /* at most 4 pages, one of which is beyond the snapshot */
    EXPECT(memory_grow(caller->memories[0], 1) == 3 &&
           memory_grow(caller->memories[0], 1) == -1);
    memory()[3 * ABI_WASM_PAGE + 5] = 0x77;
    slots[0].i32 = 123456;
    asked++;
    instance_restart(caller);
    return HOST_EXIT; /* does not count */
}

/* For one request: copied, and not mapped. */
static bool once;

/* The instance of a snapshot; what it gives is the first slot where the guest was entered. */
static enum status resume(int fd, const char *config, struct snapshot **ret,
                          struct error *err) {
    enum status status =
        once ? snapshot_open_once(dup(fd), ret, err) : snapshot_open(dup(fd), ret, err);
    if (status != ST_OK) {
        *ret = NULL;
        return status;
    }
    status = snapshot_check(*ret, &guest.code, config, err);
    if (status == ST_OK)
        status = snapshot_resume(*ret, &guest.code, NULL, resolve, NULL, wasi, &instance, err);
    return status;
}

static void test_resume(enum host_result (*function)(struct instance *, union abi_value *)) {
    struct error err = {0};
    struct snapshot *s = NULL;
    make_wasi();
    asked = 0;
    host = function;
    enum status status = resume(written_fd, CONFIG, &s, &err);
    EXPECT(status == ST_OK);
    if (status != ST_OK) printf("%s\n", err.message);
    if (status == ST_OK) {
        EXPECT(s->copied == once);
        EXPECT(instance->block->cpu_level == abi_cpu_level());
        EXPECT(instance_continue(instance, &report) == CALL_RETURNED);
        EXPECT(*(const int32_t *)s->header.enter_sp == 109);
        for (const uint8_t *p = (uint8_t *)guest_stack.low;
             p < (uint8_t *)guest_stack.low + 4096; p++)
            if (*p) {
                EXPECT(!"something is left on the stack");
                break;
            }
        EXPECT(memory()[4096 * 30] == 0);
        instance_destroy(instance);
    }
    snapshot_close(s);
    wasi_destroy(wasi);
}

static void test_refusals(void) {
    struct error err = {0};
    struct snapshot *s = NULL;
    make_wasi();
    EXPECT(resume(written_fd, "argument other\n", &s, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "argument guest") && strstr(err.message, "argument other"));
    snapshot_close(s);
    EXPECT(resume(written_fd, CONFIG "more\n", &s, &err) == ST_INCOMPATIBLE);
    snapshot_close(s);
    guest.object.compat.content.bytes[0] ^= 1;
    EXPECT(resume(written_fd, CONFIG, &s, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "another code object"));
    snapshot_close(s);
    guest.object.compat.content.bytes[0] ^= 1;
    guest.object.compat.module.bytes[31] ^= 1;
    EXPECT(resume(written_fd, CONFIG, &s, &err) == ST_INCOMPATIBLE &&
           strstr(err.message, "another module"));
    snapshot_close(s);
    guest.object.compat.module.bytes[31] ^= 1;
    const struct instance_limits limits = {.max_memory_bytes = 2 * ABI_WASM_PAGE};
    EXPECT(snapshot_open(dup(written_fd), &s, &err) == ST_OK);
    EXPECT(snapshot_resume(s, &guest.code, &limits, resolve, NULL, wasi, &instance, &err) ==
           ST_LIMIT);
    snapshot_close(s);
    wasi_destroy(wasi);
}

/* ---- damage ------------------------------------------------------------------------------ */

static uint8_t *file_bytes;
static size_t file_size;

static int file_of(const uint8_t *bytes, size_t size) {
    int fd = memory_file();
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    return fd;
}

/* Whether the file can be opened; it is read only as far as snapshot_open does. */
static bool opens(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    struct snapshot *s = NULL;
    enum status first = snapshot_open_once(file_of(bytes, size), &s, &err);
    if (first == ST_OK) snapshot_close(s);
    enum status second = snapshot_open(file_of(bytes, size), &s, &err);
    EXPECT(first == second);
    if (second == ST_OK) snapshot_close(s);
    if (second != ST_OK) EXPECT(second == ST_DAMAGED || second == ST_INCOMPATIBLE);
    return second == ST_OK;
}

static void test_damage(void) {
    struct stat st;
    CHECK(fstat(written_fd, &st) == 0);
    file_size = (size_t)st.st_size;
    file_bytes = malloc(file_size);
    CHECK(file_bytes && pread(written_fd, file_bytes, file_size, 0) == (ssize_t)file_size);
    EXPECT(opens(file_bytes, file_size));
    uint32_t tables = 0;
    memcpy(&tables, file_bytes + 12, 4);
    for (size_t size = 0; size < file_size; size += size < tables + 64u ? 1 : 509)
        EXPECT(!opens(file_bytes, size));
    for (size_t at = 0; at < tables; at++) {
        bool digest = at >= SNAPSHOT_DIGEST_OFFSET && at < SNAPSHOT_DIGEST_OFFSET + 32;
        file_bytes[at] ^= 0x10;
        EXPECT(opens(file_bytes, file_size) == digest); /* which others check */
        file_bytes[at] ^= 0x10;
    }
}

/* Every byte of the file, by its digest. */
static void test_digest(void) {
    struct error err = {0};
    EXPECT(snapshot_verify_digest(written_fd, &err) == ST_DAMAGED); /* there is none yet */
    EXPECT(snapshot_seal(written_fd, &err) == ST_OK);
    EXPECT(snapshot_verify_digest(written_fd, &err) == ST_OK);
    size_t missed = 0;
    for (size_t at = 0; at < file_size; at++) {
        uint8_t byte, other;
        CHECK(pread(written_fd, &byte, 1, (off_t)at) == 1);
        other = byte ^ 1;
        CHECK(pwrite(written_fd, &other, 1, (off_t)at) == 1);
        if (snapshot_verify_digest(written_fd, &err) != ST_DAMAGED) missed++;
        CHECK(pwrite(written_fd, &byte, 1, (off_t)at) == 1);
    }
    EXPECT(missed == 0);
    EXPECT(snapshot_verify_digest(written_fd, &err) == ST_OK);
}

static void fix_crc(uint8_t *bytes, size_t size) {
    uint32_t tables;
    memcpy(&tables, bytes + 12, 4);
    if (tables < SNAPSHOT_HEADER_BYTES || tables > size) return;
    memset(bytes + SNAPSHOT_DIGEST_OFFSET, 0, 36);
    uint32_t crc = ~crc32c(~UINT32_C(0), bytes, tables);
    memcpy(bytes + SNAPSHOT_CRC_OFFSET, &crc, 4);
}

/* Opens and resumes in a process of its own, which must come to an end by itself. */
static bool survives(const uint8_t *bytes, size_t size) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct error err = {0};
        struct snapshot *s = NULL;
        make_wasi();
        enum status status = resume(file_of(bytes, size), CONFIG, &s, &err);
        if (status == ST_OK) {
            snapshot_prefault(s);
            struct guest_memory m = instance_memory(instance, 0);
            for (uint64_t at = 0; at < m.size_bytes; at += 4096) m.base[at]++;
            if (!once) status = snapshot_reset(instance, wasi, &err);
        }
        _exit(status == ST_OK || err.message[0] ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    printf("status %x\n", (unsigned)status);
    return false;
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
        if (at >= SNAPSHOT_DIGEST_OFFSET && at < 68) continue;
        for (size_t v = 0; v < countof(values); v++) {
            for (size_t width = 4; width <= 8; width += 4) {
                memcpy(bytes, file_bytes, file_size);
                memcpy(bytes + at, &values[v], width);
                fix_crc(bytes, file_size);
                /* a process is dear: only where opening it does not refuse */
                if (!opens(bytes, file_size)) continue;
                bool survived = survives(bytes, file_size);
                once = true;
                survived = survives(bytes, file_size) && survived;
                once = false;
                EXPECT(survived);
                if (!survived) printf("field at %zu\n", at);
            }
        }
    }
    free(bytes);
}

/* ---- the working set --------------------------------------------------------------------- */

static void test_working_set(void) {
    struct error err = {0};
    struct snapshot *s = NULL;
    auto_buffer struct buffer record = {0};
    make_wasi();
    int fd = file_of(file_bytes, file_size);
    if (snapshot_prepare(-1, &err) != ST_OK) {
        printf("no record here: %s\n", err.message);
        close(fd);
        wasi_destroy(wasi);
        return;
    }
    EXPECT(resume(fd, CONFIG, &s, &err) == ST_OK);
    memory()[4096 * 20]++;
    (void)*(volatile uint8_t *)(memory() + 100);
    EXPECT(snapshot_record(s, instance, &record, &err) == ST_OK && record.size >= 32);
    instance_destroy(instance);
    snapshot_close(s);
    EXPECT(snapshot_add_ranges(fd, record.bytes, record.size - 1, &err) == ST_USAGE);
    EXPECT(snapshot_add_ranges(fd, record.bytes, record.size, &err) == ST_OK);
    EXPECT(snapshot_add_ranges(fd, record.bytes, record.size, &err) == ST_USAGE); /* once */
    EXPECT(resume(fd, CONFIG, &s, &err) == ST_OK);
    EXPECT(snapshot_read_ranges(s, &err) == ST_OK);
    bool written_page = false;
    for (uint32_t i = 0; i < s->header.warm_count; i++)
        if (s->ranges[i].written && s->ranges[i].address <= ABI_MEMORY_BASE + 4096 * 20 &&
            s->ranges[i].address + s->ranges[i].pages * 4096 > ABI_MEMORY_BASE + 4096 * 20)
            written_page = true;
    EXPECT(written_page);
    snapshot_prefault(s);
    unsigned char present = 0;
    EXPECT(mincore(memory() + 4096 * 20, 4096, &present) == 0 && (present & 1));
    uint64_t at = s->header.warm_offset;
    instance_destroy(instance);
    snapshot_close(s);
    /* a damaged list is not followed */
    uint8_t byte = 0xff;
    CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
    CHECK(snapshot_open(fd, &s, &err) == ST_OK);
    EXPECT(snapshot_read_ranges(s, &err) == ST_DAMAGED);
    snapshot_close(s);
    wasi_destroy(wasi);
}

int main(void) {
#ifdef __SANITIZE_ADDRESS__
    return 77; /* it needs the addresses of a pinned guest */
#endif
    struct error err = {0};
    CHECK(runtime_init(ABI_PINNED, STACK_BYTES, &err) == ST_OK);
    guest_open(&guest, ABI_PINNED);
    test_write();
    test_resume(answer);
    once = true;
    test_resume(answer);
    once = false;
    test_resume(again); /* without the kernel's word on pages: all are dropped */
    if (snapshot_prepare(-1, &err) == ST_OK) test_resume(again);
    test_refusals();
    test_damage();
    test_lies();
    test_working_set();
    test_digest();
    guest_close(&guest);
    runtime_finish();
    return test_end();
}
