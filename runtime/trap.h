/*
 * trap: from a signal or a host call to a report. Private to runtime.
 *
 *   trap.c        SIGSEGV and SIGILL: guest trap, or host crash; which code is registered
 *   interrupt.c   SIGALRM: timeouts and interrupts
 *   unwind.c      one step from a frame to its caller, by .eh_frame
 *   lines.c       code addresses to Wasm offsets, by .debug_line
 *   inlines.c     code addresses to inlined calls, by .debug_info
 *   debugger.c    mapped objects as gdb wants to know them
 *   report.c      crossing -> trap_report -> text
 */
#ifndef HUTCH_RUNTIME_TRAP_H
#define HUTCH_RUNTIME_TRAP_H

#include "runtime/gate.h"

#include <ucontext.h>

/* ---- trap.c ---- */
/* Signal handlers and the alternate stack they run on. */
enum status trap_install(struct error *err) must_check;
void trap_uninstall(void);
/* The registered code that holds this address, or NULL. From signal handlers too. */
const struct code *trap_find_code(uint64_t address);
/* True where pc lies in a trap stub of code; *ret says of which kind. */
bool trap_find_stub(const struct code *code, uint64_t pc, enum abi_trap *ret);
/* Copies the registers of an interrupted context. */
void trap_context_registers(const ucontext_t *context, struct registers *ret);
/* Edits an interrupted context so that the signal returns to the host: the newest crossing
 * ends. */
void trap_leave(ucontext_t *context, const struct crossing *crossing);

/* ---- interrupt.c ---- */
enum status interrupt_install(struct error *err) must_check;
void interrupt_uninstall(void);
/* The interrupt has ended the outermost call: it is wanted no longer. */
void trap_interrupt_done(void);

/* ---- unwind.c ---- */
/* Turns registers of a frame of code into those of its caller; false where that cannot be
 * known: no rules for pc, rules beyond those that the compiler emits, a stack pointer off the
 * stack. */
bool unwind_step(const struct code *code, struct registers *registers);
/* Where the frame handles exceptions that the call it is in lets through, and how many bytes of
 * arguments on the stack the handler does not expect there. False where it has no handler. */
bool unwind_handler(const struct code *code, const struct registers *registers,
                    uint64_t *ret_pc, uint64_t *ret_args_bytes);

/* ---- lines.c, inlines.c ---- */
#define DEBUG_MAX_INLINED 16
/* An address in code and what the debug information says about it. */
struct debug_target {
    uint64_t address; /* as in the object's program headers */
    uint64_t
        line; /* of the row of .debug_line that covers it, or 0: a byte offset in the module */
    /* inlined calls that it lies in, outermost first: the offset of each call */
    uint32_t call_count;
    uint64_t calls[DEBUG_MAX_INLINED];
};
/* Fill line and calls of count targets, ascending by address. */
void lines_find(const struct code *code, uint32_t count, struct debug_target *targets);
void inlines_find(const struct code *code, uint32_t count, struct debug_target *targets);

/* ---- debugger.c ---- */
void debugger_add(const struct code *code);
void debugger_remove(const struct code *code);

/* ---- report.c ---- */
void trap_report_fill(const struct crossing *crossing, struct trap_report *ret_report);

#endif
