/*
 * Guest code for the runtime's tests without a compiler: C functions of this program (guest.c)
 * that keep to the contract of generated code, copied to where an object would be mapped. The
 * "file" of the object is this program's own, for its .eh_frame and .debug_line.
 */
#ifndef HUTCH_TESTS_UNIT_GUEST_H
#define HUTCH_TESTS_UNIT_GUEST_H

#include "runtime/runtime.h"

/* Functions by index; all have type (i32) -> (i32) but for the last. */
enum guest_function {
    GUEST_IMPORT,     /* env.host */
    GUEST_ADD_ONE,    /* x + 1 */
    GUEST_CALL_HOST,  /* env.host(x) + 100 */
    GUEST_RECURSE,    /* without end */
    GUEST_LOAD,       /* the byte at index x of memory 0 */
    GUEST_LOAD_BELOW, /* the byte x below memory 0, as a folded address would be */
    GUEST_DIVIDE,     /* 100 / x, or trap */
    GUEST_SPIN,       /* forever */
    GUEST_CHAIN_A,    /* calls B, with a frame pointer, which */
    GUEST_CHAIN_B,    /* calls LOAD, with large frame */
    GUEST_REGISTERS,  /* all registers ORed, as found on entry */
    GUEST_AFTER_HOST, /* caller-saved registers ORed, as found after a host call */
    GUEST_MXCSR,
    GUEST_WILD,      /* reads address x << 12 */
    GUEST_GROW,      /* memory.grow(x) */
    GUEST_GATE_DEEP, /* like RECURSE, calling a helper in each frame; x moves the stack */
    GUEST_SPIN_HOST, /* calls env.host(x) forever */
    GUEST_NO_RETURN, /* calls STOP, which ends with the call of a trap stub */
    GUEST_STOP,
    GUEST_OUTER,  /* has MIDDLE inlined, which has INNER, which is like LOAD */
    GUEST_MIDDLE, /* these two have no code of their own */
    GUEST_INNER,
    GUEST_MIXED, /* type 1: (i64, f64, i32, f32) -> (f32, i32, f64, i64), reversed */
    GUEST_FUNCTION_COUNT
};

/* Lines of guest.c where things happen. */
extern const unsigned guest_line_load, guest_line_divide, guest_line_chain_a,
    guest_line_chain_b, guest_line_inner, guest_line_middle, guest_line_outer;

struct guest {
    struct abi_object object;
    struct code code;
    struct abi_function functions[GUEST_FUNCTION_COUNT];
    struct abi_type types[2];
    struct abi_trap_stub stubs[2];
    struct abi_limits memories[1];
    struct abi_import imports[1];
    void *mapping;
    uint64_t mapping_bytes;
};

/* AddressSanitizer keeps its shadow where a pinned memory would lie. */
#ifdef __SANITIZE_ADDRESS__
#define GUEST_FIRST_PLACEMENT ABI_RELOCATABLE
#else
#define GUEST_FIRST_PLACEMENT ABI_PINNED
#endif

/* An object with the functions above, one import and one memory of 1 page, at most 4. Tests may
 * change object before they make an instance. Ends the process where it fails. */
void guest_open(struct guest *guest, enum abi_placement placement);
void guest_close(struct guest *guest);

#endif
