/*
 * trap: from a signal or a host call to a report. Private to runtime.
 *
 *   trap.c        SIGSEGV and SIGILL: guest trap, or host crash; which code is registered
 *   interrupt.c   SIGALRM: timeouts and interrupts
 *   unwind.c      one step from a frame to its caller, by .eh_frame
 *   lines.c       code addresses to Wasm offsets, by .debug_line
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

/* ---- lines.c ---- */
/* For each of count addresses (as in the object's program headers, ascending) the line of the
 * row of .debug_line that covers it, or 0. */
void lines_find(const struct code *code, uint32_t count, const uint64_t *addresses,
                uint64_t *ret_lines);

/* ---- report.c ---- */
void trap_report_fill(const struct crossing *crossing, struct trap_report *ret_report);

#endif
