/*
 * Calls between host and guest: the guest's stack, the record of a crossing, and the dispatch
 * of what generated code asks of the host. gate_x86_64.S switches the stacks, trap.c sends the
 * guest back here from a signal.
 *
 * Invariant: nothing of the host lies where the guest's frames are. Parameters are copied value
 * by value, for the unused bytes of a caller's slot may hold anything.
 */
#include "runtime/gate.h"
#include "runtime/instance.h"
#include "runtime/reserve.h"
#include "runtime/trap.h"
#include "runtime/wasi.h"

#include <sys/mman.h>

/* Host calls that call the guest that calls the host: each takes room on the host's stack. */
#define MAX_NESTING 200u
#define STACK_GUARD_BYTES UINT64_C(0x10000)
#define STACK_MIN_BYTES UINT64_C(0x4000)
#define STACK_MAX_BYTES UINT64_C(0x40000000)
/* What must be left for a call to begin at all. */
#define STACK_MARGIN_BYTES UINT64_C(512)

near_data struct crossing *gate_current;
volatile int32_t gate_interrupt;
int32_t gate_has_avx;
struct guest_stack guest_stack;

enum status gate_stack_create(enum abi_placement placement, uint64_t stack_bytes,
                              struct error *err) {
    if (stack_bytes < STACK_MIN_BYTES || stack_bytes > STACK_MAX_BYTES)
        return error_set(err, ST_LIMIT,
                         "a guest stack of %llu bytes is not between %llu and %llu",
                         (unsigned long long)stack_bytes, (unsigned long long)STACK_MIN_BYTES,
                         (unsigned long long)STACK_MAX_BYTES);
    stack_bytes = align_up(stack_bytes, ABI_HOST_PAGE);
    uint64_t total = stack_bytes + STACK_GUARD_BYTES;
    void *want = placement == ABI_PINNED ? (void *)(ABI_STACK_TOP - total) : NULL;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
    if (want) flags |= MAP_FIXED_NOREPLACE;
    char *at = mmap(want, total, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED || (want && at != want)) {
        if (at != MAP_FAILED) munmap(at, total);
        return error_set_errno(err, ST_NO_MEMORY, "cannot map a guest stack of %llu bytes",
                               (unsigned long long)stack_bytes);
    }
    if (mprotect(at + STACK_GUARD_BYTES, stack_bytes, PROT_READ | PROT_WRITE) != 0) {
        enum status st = error_set_errno(err, ST_NO_MEMORY, "cannot map the guest stack");
        munmap(at, total);
        return st;
    }
    guest_stack = (struct guest_stack){.mapping = (uint64_t)at,
                                       .guard = (uint64_t)at,
                                       .low = (uint64_t)at + STACK_GUARD_BYTES,
                                       .top = (uint64_t)at + total};
    gate_has_avx = __builtin_cpu_supports("avx") ? 1 : 0;
    return ST_OK;
}

enum status runtime_limit_stack(uint64_t stack_bytes, struct error *err) {
    stack_bytes = align_up(stack_bytes, ABI_HOST_PAGE);
    uint64_t most = guest_stack.top - guest_stack.mapping - STACK_GUARD_BYTES;
    if (stack_bytes < STACK_MIN_BYTES || stack_bytes > most)
        return error_set(err, ST_LIMIT,
                         "a guest stack of %llu bytes is not between %llu and %llu",
                         (unsigned long long)stack_bytes, (unsigned long long)STACK_MIN_BYTES,
                         (unsigned long long)most);
    uint64_t low = guest_stack.top - stack_bytes, was = guest_stack.low;
    /* The page tables of what is below were never filled: nothing is given back. */
    if ((low > was && mprotect((void *)was, low - was, PROT_NONE) != 0) ||
        (low < was && mprotect((void *)low, was - low, PROT_READ | PROT_WRITE) != 0))
        return error_set_errno(err, ST_NO_MEMORY, "cannot limit the guest stack");
    guest_stack.guard = low - STACK_GUARD_BYTES;
    guest_stack.low = low;
    return ST_OK;
}

void runtime_touch(void) {
    uint64_t state = (uint64_t)&gate_current & ~(ABI_HOST_PAGE - 1);
    (void)madvise((void *)state, ABI_HOST_PAGE, MADV_POPULATE_WRITE);
    (void)madvise((void *)(guest_stack.top - ABI_HOST_PAGE), ABI_HOST_PAGE,
                  MADV_POPULATE_WRITE);
    (void)madvise(wasi_scratch_room(), ABI_HOST_PAGE, MADV_POPULATE_WRITE);
    reserve_touch();
}

void gate_stack_destroy(void) {
    if (guest_stack.top)
        munmap((void *)guest_stack.mapping, guest_stack.top - guest_stack.mapping);
    guest_stack = (struct guest_stack){0};
}

/* ---- host to guest ----------------------------------------------------------------------- */

static size_t type_bytes(struct valtype type) {
    switch (type.code) {
    case ABI_I32:
    case ABI_F32: return 4;
    case ABI_V128: return 16;
    default: return 8;
    }
}

enum call_result gate_call_guest(struct instance *instance, const struct abi_func *func,
                                 const struct functype *type, union abi_value *slots,
                                 struct trap_report *ret_report) {
    struct crossing *previous = gate_current;
    struct crossing c = {.previous = previous,
                         .instance = instance,
                         .depth = previous ? previous->depth + 1 : 1,
                         .result = CALL_RETURNED,
                         .fault_address = UINT64_MAX};
    uint64_t count =
        type->param_count > type->result_count ? type->param_count : type->result_count;
    uint64_t need = count * ABI_SLOT_SIZE + STACK_MARGIN_BYTES;
    uint64_t top = (previous ? previous->guest_sp : guest_stack.top) & ~UINT64_C(15);
    CHECK(guest_stack.top && top > guest_stack.low && top <= guest_stack.top);
    if (c.depth > MAX_NESTING || need > top - guest_stack.low) {
        c.result = CALL_TRAPPED;
        c.trap = TRAP_STACK_EXHAUSTED;
        trap_report_fill(&c, ret_report);
        return c.result;
    }
    union abi_value *inside = (union abi_value *)(top - count * ABI_SLOT_SIZE);
    memset(inside, 0, count * ABI_SLOT_SIZE);
    for (uint32_t i = 0; i < type->param_count; i++)
        memcpy(&inside[i], &slots[i], type_bytes(type->params[i]));

    c.enter_sp = (uint64_t)inside;
    int left =
        gate_enter(&c, c.enter_sp, func->entry, (uint64_t)inside, func->code, func->instance);
    gate_current = previous;
    if (!left) {
        for (uint32_t i = 0; i < type->result_count; i++) slots[i] = inside[i];
        return CALL_RETURNED;
    }
    CHECK(c.result != CALL_RETURNED);
    if (c.trap == TRAP_INTERRUPT && !previous) trap_interrupt_done();
    trap_report_fill(&c, ret_report);
    return c.result;
}

/* ---- guest to host ----------------------------------------------------------------------- */

/* pushed in this order: rbp rbx r12 r13 r14 r15 */
static const uint8_t saved_numbers[] = {15, 14, 13, 12, REG_DWARF_RBX, REG_DWARF_RBP};
_Static_assert(sizeof saved_numbers * 8 == GATE_SAVED_BYTES, "saved registers");

void gate_saved_registers(const struct crossing *crossing, struct registers *ret) {
    const uint64_t *saved = (const uint64_t *)crossing->guest_sp;
    *ret = (struct registers){.pc_is_return = true};
    for (size_t i = 0; i < countof(saved_numbers); i++) {
        ret->r[saved_numbers[i]] = saved[i];
        ret->known |= 1u << saved_numbers[i];
    }
    ret->pc = saved[countof(saved_numbers)];
    if (crossing->guest_rax) ret->pc_is_return = false; /* a handler's first instruction */
    ret->r[REG_DWARF_RSP] = crossing->guest_sp + GATE_SAVED_BYTES + 8;
    ret->known |= 1u << REG_DWARF_RSP;
}

void gate_redirect(struct crossing *crossing, const struct registers *registers, uint64_t pc,
                   uint64_t rax) {
    uint64_t sp = registers->r[REG_DWARF_RSP] - GATE_SAVED_BYTES - 8;
    CHECK(sp >= guest_stack.low && sp % 8 == 0 && sp >= crossing->guest_sp);
    uint64_t *frame = (uint64_t *)sp;
    for (size_t i = 0; i < countof(saved_numbers); i++)
        CHECK(registers->known >> saved_numbers[i] & 1);
    for (size_t i = 0; i < countof(saved_numbers); i++)
        frame[i] = registers->r[saved_numbers[i]];
    frame[countof(saved_numbers)] = pc;
    crossing->guest_sp = sp;
    crossing->guest_rax = rax;
}

/* The guest is to be left from within a host call. */
static int leave(struct crossing *c, enum call_result result, enum abi_trap trap) {
    c->result = result;
    c->trap = trap;
    c->has_registers = true;
    gate_saved_registers(c, &c->registers);
    return 1;
}

void gate_interrupted(void) {
    struct crossing *c = gate_current;
    c->result = CALL_TRAPPED;
    c->trap = TRAP_INTERRUPT;
    /* on the way into the guest there is no frame yet */
    c->has_registers = c->guest_sp != 0;
    if (c->has_registers) gate_saved_registers(c, &c->registers);
}

int gate_dispatch(uint64_t index, union abi_value *slots, struct abi_instance *block) {
    struct crossing *c = gate_current;
    /* pinned code does not say which instance it is: there is but one */
    struct instance *instance =
        c->instance->placement == ABI_PINNED ? c->instance : instance_of_block(block);
    instance->block->guest_sp = c->guest_sp;
    c->guest_rax = 0;
    index = (uint32_t)index;
    c->pending_index = (uint32_t)index;
    c->pending_slots = (uint64_t)slots;
    if (index >= ABI_GATE_HELPER) {
        enum abi_trap trap = helper_run(instance, (uint32_t)(index - ABI_GATE_HELPER), slots);
        return trap == TRAP_NONE ? 0 : leave(c, CALL_TRAPPED, trap);
    }
    CHECK(index < instance->object->imported_functions);
    const struct import_binding *import = &instance->imports[index];
    CHECK(import->function);
    instance->trap = TRAP_HOST;
    instance->detail[0] = 0;
    instance->exit_code = 0;
    enum host_result result = import->function(import->context, instance, slots);
    CHECK(gate_current == c);
    if (instance->restarting) return leave(c, CALL_RETURNED, TRAP_NONE); /* it begins again */
    switch (result) {
    case HOST_OK: return 0;
    case HOST_TRAP:
        memcpy(c->detail, instance->detail, sizeof c->detail);
        return leave(c, CALL_TRAPPED, instance->trap);
    case HOST_EXIT: c->exit_code = instance->exit_code; return leave(c, CALL_EXITED, TRAP_NONE);
    default: CHECK(false && "a host function gave no result"); return 1;
    }
}
