/*
 * A process that waits for its app: the stack's limit moves both ways, the regions of an
 * instance are reserved before there is one and taken by the first, and what is not of the
 * instance is not accessible.
 */
#include "runtime/gate.h"
#include "runtime/instance.h"
#include "runtime/reserve.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <unistd.h>

#define STACK_BYTES UINT64_C(1048576)

static int ends[2];

/* The kernel is asked to read a byte there. */
static bool accessible(uint64_t address) {
    char byte;
    if (write(ends[1], (const void *)(uintptr_t)address, 1) != 1) return false;
    return read(ends[0], &byte, 1) == 1;
}

static void test_stack(void) {
    struct error err = {0};
    EXPECT(runtime_limit_stack(STACK_BYTES / 2, &err) == ST_OK);
    EXPECT(guest_stack.low == ABI_STACK_TOP - STACK_BYTES / 2);
    EXPECT(accessible(guest_stack.low) && !accessible(guest_stack.low - 1));
    EXPECT(!accessible(ABI_STACK_TOP - STACK_BYTES));
    EXPECT(guest_stack.guard < guest_stack.low && guest_stack.guard >= guest_stack.mapping);
    EXPECT(runtime_limit_stack(STACK_BYTES, &err) == ST_OK);
    EXPECT(accessible(guest_stack.low) && !accessible(guest_stack.low - 1));
    EXPECT(guest_stack.low == ABI_STACK_TOP - STACK_BYTES);
    EXPECT(runtime_limit_stack(STACK_BYTES + ABI_HOST_PAGE, &err) == ST_LIMIT);
    EXPECT(runtime_limit_stack(STACK_BYTES / 4, &err) == ST_OK);
    EXPECT(accessible(guest_stack.low) && !accessible(guest_stack.low - 1));
}

static void test_regions(void) {
    struct error err = {0};
    struct memory memory = {0};
    struct abi_memory abi;
    struct abi_limits one = {.min = 1}, none = {.min = 0};
    EXPECT(runtime_reserve(&err) == ST_OK);
    EXPECT(!accessible(ABI_INSTANCE_BASE) && !accessible(ABI_MEMORY_BASE));
    EXPECT(runtime_reserve(&err) == ST_NO_MEMORY); /* the addresses are in use */
    runtime_touch();
    EXPECT(accessible(ABI_INSTANCE_BASE) && !accessible(ABI_INSTANCE_BASE + ABI_HOST_PAGE));
    EXPECT(reserve_take(RESERVED_BLOCK) && !reserve_take(RESERVED_BLOCK));

    /* a memory of no pages has none, whatever was accessible before */
    EXPECT(memory_create(&memory, &abi, ABI_PINNED, 0, &none, 0, &err) == ST_OK);
    EXPECT(abi.base == ABI_MEMORY_BASE && !accessible(ABI_MEMORY_BASE));
    EXPECT(memory_grow(&memory, 1) == 0 && accessible(ABI_MEMORY_BASE));
    memory_destroy(&memory);
    EXPECT(!reserve_take(RESERVED_MEMORY));

    /* the next one is mapped anew */
    EXPECT(memory_create(&memory, &abi, ABI_PINNED, 0, &one, 0, &err) == ST_OK);
    EXPECT(accessible(ABI_MEMORY_BASE + ABI_WASM_PAGE - 1));
    EXPECT(!accessible(ABI_MEMORY_BASE + ABI_WASM_PAGE));
    memory_destroy(&memory);
}

int main(void) {
    struct error err = {0};
    if (pipe(ends) != 0 || runtime_init(ABI_PINNED, STACK_BYTES, &err) != ST_OK) return 1;
    test_stack();
    test_regions();
    runtime_finish();
    EXPECT(!accessible(ABI_STACK_TOP - ABI_HOST_PAGE));
    return test_end();
}
