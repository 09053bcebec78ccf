/*
 * gate: crossing between the host's stack and the guest's, and what a crossing left behind.
 * Private to runtime. The offsets at the top are shared with gate_x86_64.S.
 *
 * The guest stack, outermost call:
 *
 *     top      slots: parameters, then results      16 bytes each
 *              0, where a return address would be   at struct crossing.enter_sp - 8
 *              guest frames
 *              return address of the call of the gate
 *              rbp rbx r12 r13 r14 r15              saved by the gate; guest_sp points at r15
 *
 * A call from a host function back into the guest goes on below guest_sp in the same way.
 */
#ifndef HUTCH_RUNTIME_GATE_H
#define HUTCH_RUNTIME_GATE_H

#define CROSSING_HOST_SP 0
#define CROSSING_GUEST_SP 8
#define CROSSING_GUEST_RAX 16
#define GATE_SAVED_BYTES 48
#define GATE_RETURN (-1) /* ABI_GATE_RETURN as a signed immediate */
#define GATE_MXCSR                                                                             \
    0x1f80 /* what the ABI gives every function: all masked, round to nearest                  \
            */

#ifndef __ASSEMBLER__

#include "runtime/runtime.h"

#define hidden __attribute__((visibility("hidden")))

/* General registers by their DWARF numbers (x86-64 psABI, figure 3.36). */
enum {
    REG_DWARF_RBX = 3,
    REG_DWARF_RBP = 6,
    REG_DWARF_RSP = 7,
    REG_DWARF_COUNT = 16
};
struct registers {
    uint64_t r[REG_DWARF_COUNT];
    uint32_t known; /* bit i: r[i] holds */
    uint64_t pc;
    bool pc_is_return; /* the instruction of interest lies before pc */
};

/* Calls from the host into the guest that have not come back, the newest first. */
struct crossing {
    uint64_t host_sp;  /* where gate_enter left the host's stack */
    uint64_t guest_sp; /* where the guest's stack was when it last called the host */
    /* What the guest gets in rax: 0, or the exception for a handler, where guest_sp has been
     * moved to a frame that the gate returns into as into any other (exception.c). */
    uint64_t guest_rax;
    struct crossing *previous;
    struct instance *instance;
    uint32_t depth;
    uint64_t enter_sp; /* guest stack pointer at the call of the entry thunk */
    /* what the guest last called of the host: as it says to the gate */
    uint32_t pending_index;
    uint64_t pending_slots;

    /* Why the guest was left, where it did not return. */
    enum call_result result;
    enum abi_trap trap;
    char detail[160];
    uint64_t fault_address; /* as in trap_report */
    int exit_code;
    bool has_registers;
    struct registers registers;
};
_Static_assert(offsetof(struct crossing, host_sp) == CROSSING_HOST_SP, "crossing");
_Static_assert((uint32_t)GATE_RETURN == ABI_GATE_RETURN, "gate");
_Static_assert(offsetof(struct crossing, guest_sp) == CROSSING_GUEST_SP, "crossing");
_Static_assert(offsetof(struct crossing, guest_rax) == CROSSING_GUEST_RAX, "crossing");

/* The newest crossing, or NULL outside of any call. */
extern hidden struct crossing *gate_current;
/* Not 0: an interrupt is wanted. Read by the gate before it goes to guest code. */
extern hidden volatile int32_t gate_interrupt;
/* The processor has AVX: its registers are cleared too. */
extern hidden int32_t gate_has_avx;

struct guest_stack {
    uint64_t mapping; /* [mapping, low) is PROT_NONE */
    uint64_t guard;   /* the part of it below the stack where a fault is the stack's */
    uint64_t low, top;
};
extern struct guest_stack guest_stack;

/* ---- gate_x86_64.S ---- */

/* Runs entry(slots, code, instance) with the stack pointer at guest_sp (16-byte aligned).
 * Returns 0 when it returned, 1 when the guest was left: crossing then says why. */
hidden int gate_enter(struct crossing *crossing, uint64_t guest_sp, uint64_t entry,
                      uint64_t slots, uint64_t code, uint64_t instance);
/* Goes on with a guest that was written out in a host call: makes that call again, on the
 * guest's behalf, and returns into the guest, whose stack is as it was. Returns as gate_enter.
 */
hidden int gate_resume(struct crossing *crossing, uint64_t guest_sp, uint64_t index,
                       uint64_t slots, uint64_t instance);
/* What generated code calls; its address is abi_instance.gate. */
hidden void gate_call_host(void);
/* Where a signal handler sends a guest that is to be left, with rsp at crossing.host_sp. */
hidden void gate_leave(void);
/* Code bounds for signal handlers. In the windows an interrupt is delivered as in guest code:
 * the check of gate_interrupt has begun and the guest not yet. In gate_push the guest's stack
 * may overflow; r11 holds the stack pointer at the call. */
extern hidden const char gate_enter_window[], gate_enter_window_end[];
extern hidden const char gate_return_window[], gate_return_window_end[];
extern hidden const char gate_push[], gate_push_end[];

/* ---- gate.c ---- */

enum status gate_stack_create(enum abi_placement placement, uint64_t stack_bytes,
                              struct error *err) must_check;
void gate_stack_destroy(void);
/* The guest's registers when it called the host, from what the gate saved. */
void gate_saved_registers(const struct crossing *crossing, struct registers *ret);
/* Makes the guest go on at pc with these registers, of which the callee-saved ones and the
 * stack pointer count, and a value in rax, when the gate returns. The words below the stack
 * pointer are overwritten. */
void gate_redirect(struct crossing *crossing, const struct registers *registers, uint64_t pc,
                   uint64_t rax);
/* Calls func; slots holds the parameters of type and has room for the results. */
enum call_result gate_call_guest(struct instance *instance, const struct abi_func *func,
                                 const struct functype *type, union abi_value *slots,
                                 struct trap_report *ret_report) must_check;
/* Called by the gate on the host's stack. 0: back to the guest; 1: leave it. */
hidden int gate_dispatch(uint64_t index, union abi_value *slots, struct abi_instance *block);
/* Leaves with an interrupt: the crossing's outcome is set; the gate calls it on its way back.
 */
hidden void gate_interrupted(void);

#endif
#endif
