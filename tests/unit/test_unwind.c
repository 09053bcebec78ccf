/*
 * Backtraces: .eh_frame rules with and without frame pointers, .debug_line, the report as text,
 * and damaged tables, which may cut a backtrace short but nothing else.
 */
#include "runtime/trap.h"
#include "tests/unit/guest.h"
#include "tests/unit/test.h"

static struct guest guest;
static struct instance *instance;
static struct trap_report report;

static enum host_result host(void *context, struct instance *caller, union abi_value *slots) {
    (void)context;
    (void)slots;
    instance_set_trap(caller, TRAP_HOST, "no");
    return HOST_TRAP;
}

static bool resolve(void *context, const struct abi_import *import,
                    const struct abi_type *function_type, struct extern_value *ret) {
    (void)context;
    (void)import;
    *ret = (struct extern_value){
        .kind = ABI_EXTERN_FUNC, .function = host, .function_type = function_type->func};
    return true;
}

static void call_trapping(enum guest_function function, int32_t x) {
    union abi_value slots[1] = {{.i32 = x}};
    EXPECT(instance_call(instance, instance_func(instance, function), slots, &report) ==
           CALL_TRAPPED);
}

static void test_frames(void) {
    static const uint32_t functions[] = {GUEST_LOAD, GUEST_CHAIN_B, GUEST_CHAIN_A};
    const uint64_t lines[] = {guest_line_load, guest_line_chain_b, guest_line_chain_a};
    for (int32_t x = 0; x < 16; x++) {
        call_trapping(GUEST_CHAIN_A, 0x10000 + x);
        EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS && report.frame_count == 3);
        EXPECT(!report.frames_cut);
        for (unsigned i = 0; i < report.frame_count && i < 3; i++) {
            EXPECT(report.frames[i].function == functions[i]);
            EXPECT(report.frames[i].code == &guest.code);
            EXPECT(report.frames[i].wasm_offset == lines[i]);
        }
    }
    /* the return address lies beyond the function */
    call_trapping(GUEST_NO_RETURN, 0);
    EXPECT(report.trap == TRAP_UNREACHABLE && report.frame_count == 2);
    EXPECT(report.frames[0].function == GUEST_STOP);
    EXPECT(report.frames[1].function == GUEST_NO_RETURN);
    /* inlined calls are frames too */
    static const uint32_t inlined[] = {GUEST_INNER, GUEST_MIDDLE, GUEST_OUTER};
    const uint64_t inlined_lines[] = {guest_line_inner, guest_line_middle, guest_line_outer};
    call_trapping(GUEST_OUTER, 0x10000);
    EXPECT(report.frame_count == 3);
    for (unsigned i = 0; i < report.frame_count && i < 3; i++) {
        EXPECT(report.frames[i].function == inlined[i]);
        EXPECT(report.frames[i].wasm_offset == inlined_lines[i]);
    }
    call_trapping(GUEST_DIVIDE, 0);
    EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_DIVIDE);
    EXPECT(report.frames[0].wasm_offset == guest_line_divide);
    call_trapping(GUEST_CALL_HOST, 0);
    EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_CALL_HOST);
}

static void test_text(void) {
    /* names as .hutch.names has them: two functions, of which the second is called "l\1d" */
    struct buffer names = {0};
    buffer_put_u32(&names, 5);
    for (unsigned i = 0; i < 5; i++) buffer_put_u32(&names, 0);
    buffer_put_u32(&names, 3);
    buffer_put(&names, "l\1d", 3);
    struct code code = guest.code;
    struct abi_object object = guest.object;
    object.names_size = names.size;
    code.object = &object;
    code.file = names.bytes;
    code.file_size = names.size;
    char name[8];
    code_function_name(&code, GUEST_LOAD, name, sizeof name);
    EXPECT_STR(name, "l?d");
    code_function_name(&code, GUEST_LOAD, name, 3);
    EXPECT_STR(name, "l?");
    code_function_name(&code, GUEST_ADD_ONE, name, sizeof name);
    EXPECT_STR(name, "");
    code_function_name(&code, 5, name, sizeof name);
    EXPECT_STR(name, "");
    for (code.file_size = 0; code.file_size < names.size; code.file_size++) {
        object.names_size = code.file_size;
        code_function_name(&code, GUEST_LOAD, name, sizeof name);
        EXPECT_STR(name, "");
    }
    object.names_size = code.file_size = names.size;

    struct trap_report r = {.trap = TRAP_MEMORY_OUT_OF_BOUNDS, .frame_count = 2};
    strcpy(r.detail, "address 0x10000 beyond memory of 65536 bytes");
    r.frames[0] = (struct trap_frame){&code, GUEST_LOAD, 0x2f3};
    r.frames[1] = (struct trap_frame){&code, GUEST_ADD_ONE, 0};
    r.frames_cut = true;
    struct buffer text = {0};
    trap_report_print(&r, &text);
    buffer_put_u8(&text, 0);
    EXPECT_STR(
        (const char *)text.bytes,
        "error: wasm trap: out of bounds memory access: address 0x10000 beyond memory of "
        "65536 bytes\n"
        "    0:    0x2f3 - function 4 <l?d>\n"
        "    1:        ? - function 1\n"
        "  ... more frames\n");
    buffer_finish(&text);
    buffer_finish(&names);
}

static uint64_t random_state = 1;
static uint32_t random_next(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* Damages a copy of the file in one table, in a few bytes, again and again. */
static void test_damaged(uint64_t offset, uint64_t size, bool frames) {
    uint8_t *copy = malloc(guest.code.file_size);
    if (!copy || !size) return;
    const uint8_t *file = guest.code.file;
    memcpy(copy, file, guest.code.file_size);
    guest.code.file = copy;
    unsigned shorter = 0;
    for (unsigned round = 0; round < 1500; round++) {
        unsigned changes = 1 + random_next() % 200;
        for (unsigned i = 0; i < changes; i++) {
            static const uint8_t nasty[] = {0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x0b, 0x0e};
            uint32_t r = random_next();
            copy[offset + random_next() % size] = r & 8 ? nasty[r % 8] : (uint8_t)(r >> 8);
        }
        call_trapping(frames ? GUEST_CHAIN_A : GUEST_OUTER, 0x10000);
        if (report.frame_count < 3) shorter++;
        memcpy(copy + offset, file + offset, size);
    }
    EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS);
    /* the test would say nothing if the damage went unseen */
    EXPECT(!frames || shorter > 100);
    guest.code.file = file;
    free(copy);
}

int main(void) {
    struct error err = {0};
    EXPECT(runtime_init(ABI_RELOCATABLE, 1 << 18, &err) == ST_OK);
    guest_open(&guest, ABI_RELOCATABLE);
    EXPECT(instance_create(&guest.code, NULL, resolve, NULL, &instance, &err) == ST_OK);
    test_frames();
    test_text();
    test_damaged(guest.object.eh_frame_offset, guest.object.eh_frame_size, true);
    test_damaged(guest.object.lines_offset, guest.object.lines_size, false);
    test_damaged(guest.object.info_offset, guest.object.info_size, false);
    test_damaged(guest.object.abbrev_offset, guest.object.abbrev_size, false);
    test_frames();
    instance_destroy(instance);
    guest_close(&guest);
    runtime_finish();
    return test_end();
}
