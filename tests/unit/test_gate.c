/*
 * The gate, traps, interrupts and host crashes, in both placements, with real signals.
 */
#include "runtime/gate.h"
#include "tests/unit/guest.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xmmintrin.h>

#define STACK_BYTES 262144u
#define SMALL_STACK_BYTES 16384u

static unsigned stack_bytes;
static struct guest guest;
static struct instance *instance;
static struct trap_report report;

/* ---- the import -------------------------------------------------------------------------- */

static enum host_result (*host)(struct instance *caller, union abi_value *slots);

static enum host_result call_host(void *context, struct instance *caller,
                                  union abi_value *slots) {
    if (context != &guest) test_failed++;
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

static enum call_result call(enum guest_function function, int32_t x, int32_t *ret) {
    union abi_value slots[4];
    memset(slots, 0xa5, sizeof slots);
    slots[0].i32 = x;
    enum call_result r =
        instance_call(instance, instance_func(instance, function), slots, &report);
    *ret = slots[0].i32;
    return r;
}

static enum host_result twice(struct instance *caller, union abi_value *slots) {
    (void)caller;
    slots[0].i32 *= 2;
    return HOST_OK;
}

/* ---- calls ------------------------------------------------------------------------------- */

static void test_calls(void) {
    int32_t v;
    host = twice;
    EXPECT(call(GUEST_ADD_ONE, 41, &v) == CALL_RETURNED && v == 42);
    EXPECT(call(GUEST_CALL_HOST, 5, &v) == CALL_RETURNED && v == 110);
    EXPECT(gate_current == NULL);
    union abi_value slots[4] = {{.i64 = -5}, {.f64 = 0.5}, {.i32 = 7}, {.f32 = 2.25f}};
    EXPECT(instance_call(instance, instance_func(instance, GUEST_MIXED), slots, &report) ==
           CALL_RETURNED);
    EXPECT(slots[0].f32 > 2.2f && slots[0].f32 < 2.3f && slots[1].i32 == 7);
    EXPECT(slots[2].f64 > 0.4 && slots[2].f64 < 0.6 && slots[3].i64 == -5);
    EXPECT(call(GUEST_GROW, 2, &v) == CALL_RETURNED && v == 1);
    EXPECT(call(GUEST_LOAD, 3 * 65536 - 1, &v) == CALL_RETURNED && v == 0);
    EXPECT(call(GUEST_GROW, 2, &v) == CALL_RETURNED && v == -1);
    EXPECT(call(GUEST_GROW, -1, &v) == CALL_RETURNED && v == -1);
    EXPECT(call(GUEST_GROW, 1, &v) == CALL_RETURNED && v == 3);
    EXPECT(instance_memory(instance, 0).size_bytes == 4 * 65536);
}

static unsigned depth_reached;
static enum host_result deeper(struct instance *caller, union abi_value *slots) {
    int32_t x = slots[0].i32;
    depth_reached++;
    if (x == 0) return HOST_OK;
    union abi_value inner[1];
    inner[0].i32 = x - 1;
    struct trap_report inner_report;
    enum call_result r =
        instance_call(caller, instance_func(caller, GUEST_CALL_HOST), inner, &inner_report);
    if (r != CALL_RETURNED) {
        instance_set_trap(caller, inner_report.trap, "inner");
        return HOST_TRAP;
    }
    slots[0].i32 = inner[0].i32 + 1;
    return HOST_OK;
}

static enum host_result swallow(struct instance *caller, union abi_value *slots) {
    union abi_value inner[1];
    inner[0].i32 = 0;
    EXPECT(instance_call(caller, instance_func(caller, GUEST_DIVIDE), inner, &report) ==
           CALL_TRAPPED);
    EXPECT(report.trap == TRAP_INTEGER_DIVIDE_BY_ZERO);
    /* the frames of the inner call, then those of the outer one */
    EXPECT(report.frame_count == 2 && report.frames[0].function == GUEST_DIVIDE &&
           report.frames[1].function == GUEST_CALL_HOST);
    slots[0].i32 = 1;
    return HOST_OK;
}

static void test_nested(void) {
    int32_t v;
    host = deeper;
    EXPECT(call(GUEST_CALL_HOST, 3, &v) == CALL_RETURNED && v == 100 * 4 + 3);
    host = swallow;
    EXPECT(call(GUEST_CALL_HOST, 0, &v) == CALL_RETURNED && v == 101);
    host = deeper;
    depth_reached = 0;
    EXPECT(call(GUEST_CALL_HOST, 1 << 20, &v) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_STACK_EXHAUSTED);
    /* by the limit on nesting, or by the guest's stack */
    EXPECT(stack_bytes == SMALL_STACK_BYTES ? depth_reached > 10 && depth_reached < 199
                                            : depth_reached == 200);
    EXPECT_STR(report.detail, "inner");
    EXPECT(gate_current == NULL);
    EXPECT(call(GUEST_CALL_HOST, 3, &v) == CALL_RETURNED && v == 100 * 4 + 3);
}

static enum host_result refuse(struct instance *caller, union abi_value *slots) {
    if (slots[0].i32 == 1) return HOST_TRAP;
    if (slots[0].i32 == 2) {
        instance_set_exit(caller, 7);
        return HOST_EXIT;
    }
    instance_set_trap(caller, TRAP_UNREACHABLE, "because");
    return HOST_TRAP;
}

static void test_host_leaves(void) {
    int32_t v;
    host = refuse;
    EXPECT(call(GUEST_CALL_HOST, 1, &v) == CALL_TRAPPED && report.trap == TRAP_HOST);
    EXPECT_STR(report.detail, "");
    EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_CALL_HOST);
    EXPECT(call(GUEST_CALL_HOST, 2, &v) == CALL_EXITED && report.exit_code == 7);
    EXPECT(call(GUEST_CALL_HOST, 3, &v) == CALL_TRAPPED && report.trap == TRAP_UNREACHABLE);
    EXPECT_STR(report.detail, "because");
}

/* ---- traps ------------------------------------------------------------------------------- */

static void test_traps(void) {
    int32_t v;
    host = twice;
    EXPECT(call(GUEST_DIVIDE, 5, &v) == CALL_RETURNED && v == 20);
    for (int i = 0; i < 3; i++) {
        EXPECT(call(GUEST_DIVIDE, 0, &v) == CALL_TRAPPED);
        EXPECT(report.trap == TRAP_INTEGER_DIVIDE_BY_ZERO);
        EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_DIVIDE);
        EXPECT(report.fault_address == UINT64_MAX);
    }
    uint64_t size = instance_memory(instance, 0).size_bytes;
    EXPECT(call(GUEST_LOAD, (int32_t)size - 1, &v) == CALL_RETURNED);
    static const uint32_t beyond[] = {0, 1, 4095, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < countof(beyond); i++) {
        uint32_t index = beyond[i] < 4096 ? (uint32_t)size + beyond[i] : beyond[i];
        EXPECT(call(GUEST_LOAD, (int32_t)index, &v) == CALL_TRAPPED);
        EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS && report.fault_address == index);
        EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_LOAD);
    }
    EXPECT(call(GUEST_LOAD_BELOW, 1, &v) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS && report.fault_address == 0xffffffff);
    EXPECT(call(GUEST_LOAD_BELOW, 65536, &v) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_MEMORY_OUT_OF_BOUNDS && report.fault_address == 0xffff0000);
    EXPECT(call(GUEST_ADD_ONE, 41, &v) == CALL_RETURNED && v == 42);
    /* what a handler blocks must not stay blocked */
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    EXPECT(!sigismember(&mask, SIGALRM) && !sigismember(&mask, SIGSEGV) &&
           !sigismember(&mask, SIGILL));
}

static void test_stack(void) {
    int32_t v;
    /* more parameters than the stack has room for */
    enum {
        MANY = STACK_BYTES / ABI_SLOT_SIZE
    };
    static struct valtype params[MANY];
    static union abi_value slots[MANY];
    for (unsigned i = 0; i < MANY; i++) params[i].code = ABI_I32;
    const struct functype many = {stack_bytes / ABI_SLOT_SIZE, 1, params, params};
    EXPECT(gate_call_guest(instance, instance_func(instance, GUEST_ADD_ONE), &many, slots,
                           &report) == CALL_TRAPPED);
    EXPECT(report.trap == TRAP_STACK_EXHAUSTED && report.frame_count == 0);
    for (int i = 0; i < 3; i++) {
        EXPECT(call(GUEST_RECURSE, 0, &v) == CALL_TRAPPED);
        EXPECT(report.trap == TRAP_STACK_EXHAUSTED && report.frames_cut);
        EXPECT(report.frame_count == REPORT_MAX_FRAMES &&
               report.frames[REPORT_MAX_FRAMES - 1].function == GUEST_RECURSE);
    }
    /* wherever the stack ends: in a frame, in a call, in the gate */
    for (int32_t x = 16; x < 16 + 256; x += 8) {
        EXPECT(call(GUEST_GATE_DEEP, x, &v) == CALL_TRAPPED);
        EXPECT(report.trap == TRAP_STACK_EXHAUSTED && report.frame_count > 0);
    }
    EXPECT(call(GUEST_ADD_ONE, 41, &v) == CALL_RETURNED && v == 42);
}

/* ---- what the guest can see -------------------------------------------------------------- */

static unsigned host_words, crossings;
static enum host_result scan(struct instance *caller, union abi_value *slots) {
    (void)caller;
    slots[0].i32 *= 2;
    host_words = crossings = 0;
    for (const uint64_t *p = (const uint64_t *)guest_stack.low;
         p < (const uint64_t *)guest_stack.top; p++)
        if (*p >> 40 == 0x7f || *p >> 40 == 0x55 || *p >> 40 == 0x56 ||
            *p >> 32 == 0xa5a5a5a5) /* call() fills its slots with that */
            host_words++;
    for (const struct crossing *c = gate_current; c; c = c->previous) {
        EXPECT(*(const uint64_t *)(c->enter_sp - 8) == 0);
        crossings++;
    }
    return HOST_OK;
}

static enum host_result dirty(struct instance *caller, union abi_value *slots) {
    (void)caller;
    (void)slots;
    __asm__ volatile("mov $-1, %%rax; movq %%rax, %%xmm5; movq %%rax, %%xmm15; mov %%rax, %%r10"
                     :
                     :
                     : "rax", "r10", "xmm5", "xmm15");
    return HOST_OK;
}

/* gate_enter with all callee-saved registers set, as a host function may have them. */
int poisoned_enter(struct crossing *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
__asm__(".text\n"
        "poisoned_enter:\n"
        "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "  mov $-1, %rbx\n mov %rbx, %rbp\n mov %rbx, %r12\n mov %rbx, %r13\n"
        "  mov %rbx, %r14\n mov %rbx, %r15\n mov %rbx, %r10\n mov %rbx, %r11\n"
        "  sub $8, %rsp\n call gate_enter\n add $8, %rsp\n"
        "  and %rbx, %rbp\n and %r12, %rbp\n and %r13, %rbp\n and %r14, %rbp\n"
        "  and %r15, %rbp\n inc %rbp\n or %ebp, %eax\n" /* all of them back: adds nothing */
        "  pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static void test_registers(enum abi_placement placement) {
    int32_t v;
    const struct abi_func *func = instance_func(instance, GUEST_REGISTERS);
    union abi_value *slots = (union abi_value *)(guest_stack.top - 16);
    struct crossing c = {.instance = instance, .depth = 1, .enter_sp = guest_stack.top - 16};
    slots->u64 = 99;
    EXPECT(poisoned_enter(&c, c.enter_sp, func->entry, (uint64_t)slots, func->code,
                          func->instance) == 0);
    gate_current = NULL;
    EXPECT(slots->i32 == 0);
    __asm__ volatile("mov $-1, %%rax; movq %%rax, %%xmm5; movq %%rax, %%xmm15" ::
                         : "rax", "xmm5", "xmm15");
    EXPECT(call(GUEST_REGISTERS, 1, &v) == CALL_RETURNED && v == 0);
    host = dirty;
    EXPECT(call(GUEST_AFTER_HOST, 1, &v) == CALL_RETURNED && v == 0);
    host = scan;
    EXPECT(call(GUEST_CALL_HOST, 1, &v) == CALL_RETURNED && v == 102);
    /* relocatable code lies among the host's addresses itself */
    EXPECT(crossings == 1 && (placement == ABI_RELOCATABLE || host_words == 0));

    unsigned before = _mm_getcsr();
    _mm_setcsr(0x9fc0 | 0x6000); /* flush to zero, denormals are zero, round to zero */
    host = twice;
    EXPECT(call(GUEST_MXCSR, 1, &v) == CALL_RETURNED && v == 0x1f80);
    EXPECT(call(GUEST_CALL_HOST, 1, &v) == CALL_RETURNED && v == 102);
    EXPECT(call(GUEST_DIVIDE, 0, &v) == CALL_TRAPPED);
    EXPECT(_mm_getcsr() == (0x9fc0 | 0x6000));
    _mm_setcsr(before);
}

/* ---- interrupts -------------------------------------------------------------------------- */

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static unsigned interrupted_calls;
static enum host_result block(struct instance *caller, union abi_value *slots) {
    (void)caller;
    (void)slots;
    struct timespec long_time = {.tv_sec = 10};
    if (nanosleep(&long_time, NULL) != 0 && errno == EINTR) interrupted_calls++;
    EXPECT(runtime_interrupt_pending());
    return HOST_OK;
}

static enum host_result alarm_and_block(struct instance *caller, union abi_value *slots) {
    raise(SIGALRM);
    return block(caller, slots);
}

static enum host_result inner_spin(struct instance *caller, union abi_value *slots) {
    union abi_value inner[1] = {{.i32 = slots[0].i32}};
    struct trap_report inner_report;
    EXPECT(instance_call(caller, instance_func(caller, GUEST_SPIN), inner, &inner_report) ==
           CALL_TRAPPED);
    EXPECT(inner_report.trap == TRAP_INTERRUPT);
    return HOST_OK; /* as if nothing had happened */
}

static enum host_result ask_interrupt(struct instance *caller, union abi_value *slots) {
    (void)caller;
    if (--slots[0].i32 <= 0) runtime_interrupt();
    return HOST_OK;
}

static enum host_result quick(struct instance *caller, union abi_value *slots) {
    (void)caller;
    (void)slots;
    return HOST_OK;
}

static void test_interrupts(void) {
    struct error err = {0};
    int32_t v;
    uint64_t start = now_ms();
    for (int i = 0; i < 3; i++) {
        EXPECT(runtime_set_timeout(10000000, &err) == ST_OK);
        EXPECT(call(GUEST_SPIN, 0, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);
        EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_SPIN);
        EXPECT(!runtime_interrupt_pending());
    }
    EXPECT(now_ms() - start >= 29 && now_ms() - start < 5000);
    EXPECT(call(GUEST_ADD_ONE, 1, &v) == CALL_RETURNED && v == 2);

    host = block;
    interrupted_calls = 0;
    EXPECT(runtime_set_timeout(10000000, &err) == ST_OK);
    EXPECT(call(GUEST_CALL_HOST, 0, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);
    EXPECT(interrupted_calls == 1);
    EXPECT(report.frame_count == 1 && report.frames[0].function == GUEST_CALL_HOST);

    /* an alarm that someone else sent, just before the call blocks */
    host = alarm_and_block;
    EXPECT(call(GUEST_CALL_HOST, 0, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);
    EXPECT(interrupted_calls == 2);

    host = inner_spin;
    EXPECT(runtime_set_timeout(10000000, &err) == ST_OK);
    EXPECT(call(GUEST_CALL_HOST, 0, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);

    runtime_interrupt();
    EXPECT(call(GUEST_ADD_ONE, 1, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);
    EXPECT(report.frame_count == 0);
    EXPECT(call(GUEST_ADD_ONE, 1, &v) == CALL_RETURNED);
    host = ask_interrupt;
    EXPECT(call(GUEST_CALL_HOST, 1, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);

    /* at every point of the way between guest and host */
    unsigned framed = 0;
    host = quick;
    for (unsigned i = 0; i < 300; i++) {
        EXPECT(runtime_set_timeout(100000 + i * 977, &err) == ST_OK);
        EXPECT(call(GUEST_SPIN_HOST, 0, &v) == CALL_TRAPPED && report.trap == TRAP_INTERRUPT);
        /* no frame where it came before the call */
        EXPECT(report.frame_count == 0 || report.frames[0].function == GUEST_SPIN_HOST);
        framed += report.frame_count == 1;
    }
    EXPECT(framed > 200);
    /* taken back */
    EXPECT(runtime_set_timeout(1000000, &err) == ST_OK);
    EXPECT(runtime_set_timeout(0, &err) == ST_OK);
    struct timespec t = {.tv_nsec = 5000000};
    EXPECT(nanosleep(&t, NULL) == 0);
    EXPECT(call(GUEST_ADD_ONE, 1, &v) == CALL_RETURNED);
}

/* ---- crashes of the host ----------------------------------------------------------------- */

static volatile uint8_t *volatile bad_pointer;
static enum host_result crash(struct instance *caller, union abi_value *slots) {
    switch (slots[0].i32) {
    case 0: bad_pointer = NULL; break;
    case 1: bad_pointer = instance_memory(caller, 0).base + (1u << 30); break;
    case 2: bad_pointer = (uint8_t *)guest_stack.low - 64; break;
    case 3: raise(SIGSEGV); return HOST_OK;
    case 4: __builtin_trap();
    default: kill(getpid(), SIGSEGV); return HOST_OK;
    }
    slots[0].i32 = *bad_pointer;
    return HOST_OK;
}

static int signal_of_child(enum guest_function function, int32_t x) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int32_t v;
        (void)!call(function, x, &v);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_host_crashes(void) {
    host = crash;
    EXPECT(signal_of_child(GUEST_CALL_HOST, 0) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_CALL_HOST, 1) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_CALL_HOST, 2) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_CALL_HOST, 3) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_CALL_HOST, 4) == SIGILL);
    EXPECT(signal_of_child(GUEST_CALL_HOST, 5) == SIGSEGV);
    /* generated code that goes where no guest may is a bug of ours too */
    EXPECT(signal_of_child(GUEST_WILD, 0) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_WILD, (int32_t)0xfffffff0) == SIGSEGV);
    EXPECT(signal_of_child(GUEST_ADD_ONE, 0) == 0);
}

static void run(enum abi_placement placement, unsigned stack) {
    stack_bytes = stack;
    struct error err = {0};
    EXPECT(runtime_init(placement, stack, &err) == ST_OK);
    EXPECT(runtime_init(placement, stack, &err) == ST_USAGE);
    guest_open(&guest, placement);
    if (instance_create(&guest.code, NULL, resolve, &guest, &instance, &err) != ST_OK) {
        printf("%s\n", err.message);
        test_failed++;
        return;
    }
    EXPECT(instance_initialise(instance, &report) == CALL_RETURNED);
    test_calls();
    test_nested();
    test_host_leaves();
    test_traps();
    test_stack();
    test_registers(placement);
    test_interrupts();
#ifndef __SANITIZE_ADDRESS__ /* it reports a crash and exits */
    test_host_crashes();
#endif
    instance_destroy(instance);
    guest_close(&guest);
    runtime_finish();
}

int main(void) {
    run(GUEST_FIRST_PLACEMENT, STACK_BYTES);
    run(ABI_RELOCATABLE, STACK_BYTES);
    run(GUEST_FIRST_PLACEMENT, SMALL_STACK_BYTES);
    return test_end();
}
