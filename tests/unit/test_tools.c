/*
 * The command's parsers that read what another process wrote or a person typed: sizes,
 * durations, values of --invoke, the compiler's reports, the tenant's configuration.
 */
#include "tests/unit/test.h"
#include "tools/cli.h"
#include "tools/compile_report.h"
#include "tools/invoke.h"
#include "loader/tenant_config.h"

#include <sys/mman.h>
#include <unistd.h>

static uint64_t size_of(const char *text) {
    uint64_t bytes = 1;
    struct error err;
    return cli_parse_size(text, &bytes, &err) == ST_OK ? bytes : UINT64_MAX;
}

static uint64_t duration_of(const char *text) {
    uint64_t ns = 0;
    struct error err;
    return cli_parse_duration(text, &ns, &err) == ST_OK ? ns : 0;
}

static void test_numbers(void) {
    EXPECT(size_of("0") == 0);
    EXPECT(size_of("4096") == 4096);
    EXPECT(size_of("64K") == 65536 && size_of("64k") == 65536 && size_of("64KiB") == 65536);
    EXPECT(size_of("16M") == UINT64_C(16) << 20 && size_of("2G") == UINT64_C(2) << 30);
    EXPECT(size_of("17179869183G") == UINT64_C(17179869183) << 30);
    static const char *const bad_sizes[] = {
        "",    " 1",  "-1",  "+1",  "K",   "1KK",          "1T",
        "1 K", "0x1", "1.5", "1iB", "1KB", "17179869184G", "18446744073709551616"};
    for (size_t i = 0; i < countof(bad_sizes); i++) EXPECT(size_of(bad_sizes[i]) == UINT64_MAX);

    EXPECT(duration_of("1") == 1000000000 && duration_of("1s") == 1000000000);
    EXPECT(duration_of("100ms") == 100000000 && duration_of("7us") == 7000);
    EXPECT(duration_of("9ns") == 9 && duration_of("2m") == UINT64_C(120000000000));
    EXPECT(duration_of("2min") == duration_of("2m") && duration_of("1h") == duration_of("60m"));
    EXPECT(duration_of("1.5s") == 1500000000 && duration_of("0.25") == 250000000);
    EXPECT(duration_of("1.5h") == duration_of("90m") && duration_of("0.000001h") == 3600000);
    EXPECT(duration_of("1.9999999999999999999s") == 1999999000);
    EXPECT(duration_of("2562047h") == UINT64_C(2562047) * UINT64_C(3600000000000));
    static const char *const bad_durations[] = {
        "",    "s",   "0",   "0.0s",     "0.1ns",
        "-1s", "1x",  "1 s", ".5s",      "1..5",
        "1s1", "inf", "1e3", "9999999h", "99999999999999999999s"};
    for (size_t i = 0; i < countof(bad_durations); i++)
        EXPECT(duration_of(bad_durations[i]) == 0);
}

/* A value read and printed again. */
static const char *again(uint8_t code, const char *text) {
    static char shown[400];
    struct error err;
    union abi_value value;
    struct valtype type = {.code = code};
    if (value_parse(text, type, &value, &err) != ST_OK) return "refused";
    auto_buffer struct buffer b = {0};
    value_print(&value, type, &b);
    snprintf(shown, sizeof shown, "%.*s", (int)b.size, (const char *)b.bytes);
    return shown;
}

static void test_values(void) {
    EXPECT_STR(again(ABI_I32, "4294967295"), "-1");
    EXPECT_STR(again(ABI_I32, "-2147483648"), "-2147483648");
    EXPECT_STR(again(ABI_I32, "0x80000000"), "-2147483648");
    EXPECT_STR(again(ABI_I32, "-2147483649"), "refused");
    EXPECT_STR(again(ABI_I32, "4294967296"), "refused");
    EXPECT_STR(again(ABI_I32, "0x"), "refused");
    EXPECT_STR(again(ABI_I32, "-"), "refused");
    EXPECT_STR(again(ABI_I64, "0xffffffffffffffff"), "-1");
    EXPECT_STR(again(ABI_I64, "18446744073709551616"), "refused");
    EXPECT_STR(again(ABI_V128, "340282366920938463463374607431768211455"),
               "340282366920938463463374607431768211455");
    EXPECT_STR(again(ABI_V128, "340282366920938463463374607431768211456"), "refused");
    EXPECT_STR(again(ABI_V128, "-1"), "340282366920938463463374607431768211455");
    EXPECT_STR(again(ABI_F32, "0.1"), "0.1");
    EXPECT_STR(again(ABI_F32, "3.4028235e38"), "340282350000000000000000000000000000000");
    EXPECT_STR(again(ABI_F64, "0.1"), "0.1");
    EXPECT_STR(again(ABI_F64, "-1234.5"), "-1234.5");
    EXPECT_STR(again(ABI_F64, "9007199254740993"), "9007199254740992");
    EXPECT_STR(again(ABI_F64, "nan"), "NaN");
    EXPECT_STR(again(ABI_F64, "-inf"), "-inf");
    EXPECT_STR(again(ABI_F64, " 1"), "refused");
    EXPECT_STR(again(ABI_FUNCREF, "null"), "<null funcref>");
    EXPECT_STR(again(ABI_FUNCREF, "0"), "refused");
}

static void put(struct buffer *b, const char *text) { buffer_put(b, text, strlen(text)); }

static void test_reports(void) {
    char step[8] = "none";
    uint32_t done = 7, total = 7;
    struct error err = {0};
    auto_buffer struct buffer report = {0};
    put(&report, "P one\t1 2\nP optimise\t3 4\nP cut");
    report_take_progress(&report, step, sizeof step, &done, &total);
    EXPECT_STR(step, "optimis");
    EXPECT(done == 3 && total == 4 && report.size == 5);
    EXPECT(!report_take_error(&report, &err));
    put(&report, " here\nrubbish\nP never\t5 6\n");
    report_take_progress(&report, step, sizeof step, &done, &total);
    EXPECT(done == 3);

    /* What one side writes the other reads, also where the message is as long as can be. */
    int ends[2];
    EXPECT(pipe(ends) == 0);
    struct error sent = {0};
    error_set_at(&sent, ST_INVALID, 0x3f2, "function 3: bad\nline \t and tab");
    EXPECT(report_progress(ends[1], "step", 5, 6) && report_error(ends[1], &sent));
    memset(sent.message, 'x', sizeof sent.message - 1);
    uint8_t bytes[2000];
    ssize_t n = read(ends[0], bytes, sizeof bytes);
    buffer_finish(&report);
    buffer_put(&report, bytes, n > 0 ? (size_t)n : 0);
    report_take_progress(&report, step, sizeof step, &done, &total);
    EXPECT(done == 5 && total == 6);
    EXPECT(report_take_error(&report, &err));
    EXPECT(err.status == ST_INVALID && err.has_offset && err.wasm_offset == 0x3f2);
    EXPECT_STR(err.message, "function 3: bad\nline \t and tab");
    EXPECT(report_error(ends[1], &sent));
    n = read(ends[0], bytes, sizeof bytes);
    buffer_finish(&report);
    buffer_put(&report, bytes, n > 0 ? (size_t)n : 0);
    EXPECT(report_take_error(&report, &err) && strlen(err.message) == sizeof err.message - 1);
    close(ends[0]);
    close(ends[1]);

    static const char *const bad[] = {"",           "E",        "E\n",       "E 1 2 3",
                                      "E x y z\tm", "E 1 2\tm", "F 1 2 3\tm"};
    for (size_t i = 0; i < countof(bad); i++) {
        buffer_finish(&report);
        put(&report, bad[i]);
        EXPECT(!report_take_error(&report, &err));
    }
    buffer_finish(&report);
    put(&report, "E 99999 0 -\tm");
    EXPECT(report_take_error(&report, &err) && err.status == ST_INTERNAL && !err.has_offset);
}

static void test_config(void) {
    const char *const argv[] = {"app", "", "a b\n"}, *const env[] = {"A=1"};
    const struct tenant_dir dirs[] = {
        {.fd = 5, .guest = "/data"},
        {.fd = 6, .guest = ".", .read_only = true, .image = true},
        {.fd = -1, .guest = "/tmp", .memory = true, .size_bytes = 123456789012, .inodes = 7}};
    struct tenant_config config = {.object_fd = 3,
                                   .max_memory_bytes = UINT64_C(1) << 40,
                                   .max_stack_bytes = 7,
                                   .timeout_ns = 8,
                                   .name = "dir/app.wasm",
                                   .argc = 3,
                                   .argv = argv,
                                   .envc = 1,
                                   .env = env,
                                   .dir_count = 3,
                                   .dirs = dirs};
    struct error err = {0};
    int fd = -1;
    auto_arena struct arena arena = {0};
    struct tenant_config read_back;
    EXPECT(tenant_config_write(&config, &fd, &err) == ST_OK);
    EXPECT(pwrite(fd, "x", 1, 0) < 0); /* sealed */
    uint8_t bytes[1000];
    ssize_t size = pread(fd, bytes, sizeof bytes, 0);
    EXPECT(tenant_config_read(fd, &arena, &read_back, &err) == ST_OK);
    EXPECT(read_back.object_fd == 3 && read_back.max_memory_bytes == UINT64_C(1) << 40);
    EXPECT(read_back.max_stack_bytes == 7 && read_back.timeout_ns == 8);
    EXPECT(read_back.invoke == NULL && read_back.argc == 3 && read_back.envc == 1);
    EXPECT_STR(read_back.name, "dir/app.wasm");
    EXPECT_STR(read_back.argv[1], "");
    EXPECT_STR(read_back.argv[2], "a b\n");
    EXPECT_STR(read_back.env[0], "A=1");
    EXPECT(read_back.dir_count == 3 && read_back.dirs[1].fd == 6);
    EXPECT_STR(read_back.dirs[0].guest, "/data");
    EXPECT(!read_back.dirs[0].read_only && !read_back.dirs[0].image);
    EXPECT(read_back.dirs[1].read_only && read_back.dirs[1].image);
    EXPECT(read_back.dirs[2].fd == -1 && read_back.dirs[2].memory && !read_back.dirs[2].image);
    EXPECT(read_back.dirs[2].size_bytes == 123456789012 && read_back.dirs[2].inodes == 7);
    config.invoke = "";
    EXPECT(tenant_config_write(&config, &fd, &err) == ST_OK);
    EXPECT(tenant_config_read(fd, &arena, &read_back, &err) == ST_OK && read_back.invoke);

    /* Every cut, and every byte changed: refused or read, nothing else. */
    for (ssize_t cut = 0; cut < size; cut++) {
        fd = memfd_create("cut", 0);
        EXPECT(write(fd, bytes, (size_t)cut) == cut);
        EXPECT(tenant_config_read(fd, &arena, &read_back, &err) == ST_DAMAGED);
    }
    for (ssize_t at = 0; at < size; at++) {
        fd = memfd_create("changed", 0);
        bytes[at] ^= 0xff;
        EXPECT(write(fd, bytes, (size_t)size) == size);
        bytes[at] ^= 0xff;
        enum status status = tenant_config_read(fd, &arena, &read_back, &err);
        EXPECT(status == ST_OK || status == ST_DAMAGED);
        EXPECT(at >= 8 || status == ST_DAMAGED);
    }
    EXPECT(tenant_config_read(-1, &arena, &read_back, &err) == ST_DAMAGED);
}

int main(void) {
    test_numbers();
    test_values();
    test_reports();
    test_config();
    return test_end();
}
