/*
 * Signals to traps. Generated code raises SIGILL in a trap stub where it checked a condition,
 * and SIGSEGV where it left a memory to the guard pages. A signal is the guest's only where the
 * program counter lies in registered code and the cause is one that such code can have;
 * anything else is a crash of the host, gets its former handler back and happens again.
 *
 * A trap leaves the guest by editing the interrupted context, so that the kernel restores the
 * signal mask and no frame of a handler is abandoned. docs/traps.md has the picture.
 */
#include "runtime/trap.h"
#include "runtime/instance.h"

#include <signal.h>
#include <sys/mman.h>

#define SIGNAL_STACK_BYTES ((size_t)65536)

/* Flags of the interrupted guest that the host must not inherit: direction, alignment check. */
#define FLAGS_CLEARED INT64_C(0x40400)

/* ---- registered code --------------------------------------------------------------------- */

struct code_node {
    const struct code *code;
    struct code_node *next;
};
/* Handlers walk the list, so a node is complete before it is linked. */
static near_data struct code_node *volatile codes;

enum status runtime_add_code(const struct code *code, struct error *err) {
    struct code_node *node = malloc(sizeof *node);
    if (!node) return error_set(err, ST_NO_MEMORY, "out of memory");
    *node = (struct code_node){.code = code, .next = codes};
    codes = node;
    debugger_add(code);
    return ST_OK;
}

void runtime_remove_code(const struct code *code) {
    debugger_remove(code);
    struct code_node *before = NULL;
    for (struct code_node *node = codes; node; before = node, node = node->next) {
        if (node->code != code) continue;
        if (before)
            before->next = node->next;
        else
            codes = node->next;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        free(node);
        return;
    }
}

const struct code *trap_find_code(uint64_t address) {
    for (const struct code_node *node = codes; node; node = node->next) {
        uint64_t start = (uint64_t)node->code->text;
        if (address >= start && address - start < node->code->object->text_size)
            return node->code;
    }
    return NULL;
}

/* A stub is one instruction, two bytes of ud2, and whatever leads up to it. */
#define STUB_MAX_BYTES 16u

bool trap_find_stub(const struct code *code, uint64_t pc, enum abi_trap *ret) {
    uint64_t offset = pc - (uint64_t)code->text;
    const struct abi_trap_stub *stubs = code->object->trap_stubs;
    uint32_t low = 0, high = code->object->trap_stub_count;
    while (low < high) { /* the last one that begins at or before offset */
        uint32_t middle = low + (high - low) / 2;
        if (stubs[middle].code_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || offset - stubs[low - 1].code_offset >= STUB_MAX_BYTES) return false;
    *ret = stubs[low - 1].trap;
    return true;
}

/* ---- signals ----------------------------------------------------------------------------- */

static struct sigaction old_segv, old_ill;
static stack_t old_stack;
static far_zeros _Alignas(64) uint8_t signal_stack[SIGNAL_STACK_BYTES];
static bool installed;

void trap_context_registers(const ucontext_t *context, struct registers *ret) {
    /* by DWARF number */
    static const uint8_t places[REG_DWARF_COUNT] = {
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    *ret = (struct registers){.known = (1u << REG_DWARF_COUNT) - 1};
    for (unsigned i = 0; i < REG_DWARF_COUNT; i++)
        ret->r[i] = (uint64_t)context->uc_mcontext.gregs[places[i]];
    ret->pc = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
}

void trap_leave(ucontext_t *context, const struct crossing *crossing) {
    greg_t *gregs = context->uc_mcontext.gregs;
    gregs[REG_RIP] = (greg_t)gate_leave;
    gregs[REG_RSP] = (greg_t)crossing->host_sp;
    gregs[REG_EFL] &= ~FLAGS_CLEARED;
}

/* Which trap a fault is, or TRAP_NONE for a crash of the host. registers are those of the fault
 * and become those of the guest frame to report. */
static enum abi_trap classify(int signal, const siginfo_t *info, struct crossing *c,
                              struct registers *registers) {
    uint64_t pc = registers->pc;
    const struct code *code = trap_find_code(pc);
    if (signal == SIGILL) {
        enum abi_trap trap;
        if (!code || info->si_code <= 0 || !trap_find_stub(code, pc, &trap)) return TRAP_NONE;
        return trap;
    }
    if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR) return TRAP_NONE;
    uint64_t address = (uint64_t)info->si_addr;
    bool in_guard = address >= guest_stack.guard && address < guest_stack.low;
    if (pc >= (uint64_t)gate_push && pc < (uint64_t)gate_push_end && in_guard) {
        /* the gate's own pushes: report the call of the gate */
        registers->r[REG_DWARF_RSP] = registers->r[11] + 8;
        registers->pc = *(const uint64_t *)registers->r[11];
        registers->pc_is_return = true;
        return TRAP_STACK_EXHAUSTED;
    }
    if (!code) return TRAP_NONE;
    if (in_guard) return TRAP_STACK_EXHAUSTED;
    const struct memory *memory = memory_find(address);
    if (!memory) return TRAP_NONE;
    uint64_t offset = address - memory->abi->base;
    if (address < memory->abi->base)
        offset = (uint32_t)offset; /* a folded address: x - c without the 32-bit wrap */
    else if (offset < memory->abi->size_bytes)
        return TRAP_NONE; /* the guest may go there: something is wrong with the mapping */
    c->fault_address = offset;
    snprintf(c->detail, sizeof c->detail, "address 0x%llx beyond memory of %llu bytes",
             (unsigned long long)offset, (unsigned long long)memory->abi->size_bytes);
    return TRAP_MEMORY_OUT_OF_BOUNDS;
}

static void on_fault(int signal, siginfo_t *info, void *context_pointer) {
    ucontext_t *context = context_pointer;
    struct crossing *c = gate_current;
    if (c) {
        struct registers registers;
        trap_context_registers(context, &registers);
        enum abi_trap trap = classify(signal, info, c, &registers);
        if (trap != TRAP_NONE) {
            c->result = CALL_TRAPPED;
            c->trap = trap;
            c->registers = registers;
            c->has_registers = true;
            trap_leave(context, c);
            return;
        }
    }
    /* The host's: as if we had never been here. The instruction is run again; a signal that was
     * sent by someone is sent again. */
    const struct sigaction *old = signal == SIGILL ? &old_ill : &old_segv;
    if (info->si_code > 0 && old->sa_handler == SIG_DFL) {
        /* A fault whose signal is blocked ends the process as the default does (the kernel's
         * force_sig), and a sealed tenant needs no system call for it. */
        sigaddset(&context->uc_sigmask, signal);
        return;
    }
    sigaction(signal, old, NULL);
    if (info->si_code <= 0) raise(signal);
}

enum status trap_install(struct error *err) {
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    if (sigaltstack(&stack, &old_stack) != 0)
        return error_set_errno(err, ST_IO, "cannot set the stack for signals");
    installed = true;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGALRM);
    if (sigaction(SIGSEGV, &action, &old_segv) != 0 ||
        sigaction(SIGILL, &action, &old_ill) != 0)
        return error_set_errno(err, ST_IO, "cannot install signal handlers");
    return ST_OK;
}

void trap_uninstall(void) {
    if (!installed) return;
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGILL, &old_ill, NULL);
    sigaltstack(&old_stack, NULL);
    installed = false;
}
