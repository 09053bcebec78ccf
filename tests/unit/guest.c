#include "tests/unit/guest.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __clang__
#define NOCLONE
#define FRAME_POINTER __attribute__((disable_tail_calls))
#else
#define NOCLONE __attribute__((noclone))
#define FRAME_POINTER __attribute__((optimize("no-omit-frame-pointer")))
#endif
#define GUEST                                                                                  \
    NOCLONE __attribute__((section("guest_text"), noinline, used,                              \
                           no_sanitize("address", "undefined")))

typedef void (*gate_function)(uint64_t index, union abi_value *slots, struct abi_instance *);

extern const char __start_guest_text[], __stop_guest_text[];
void guest_trap_divide(void);
void guest_trap_unreachable(void);
int32_t guest_registers(struct abi_instance *, int32_t);
int32_t guest_after_registers(uint64_t gate, union abi_value *slots, struct abi_instance *);

/* Stubs and what must see registers as they are. The latter return in eax whether any of them
 * is not 0. */
__asm__(".pushsection guest_text, \"ax\"\n"
        "guest_trap_divide: ud2\n"
        ".balign 16\n"
        "guest_trap_unreachable: ud2\n"
        ".balign 16\n"
        ".type guest_registers, @function\n"
        "guest_registers:\n" /* the entry thunk has used rbx, rax and the arguments' */
        "  mov %rbp, %rax\n"
        "  or %r12, %rax\n or %r13, %rax\n or %r14, %rax\n or %r15, %rax\n"
        "  or %r8, %rax\n or %r9, %rax\n or %r10, %rax\n or %r11, %rax\n"
        "guest_vectors:\n"
        ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "  por %xmm\\n, %xmm0\n"
        ".endr\n"
        "  movq %xmm0, %rcx\n  psrldq $8, %xmm0\n  movq %xmm0, %rdx\n"
        "  or %rcx, %rax\n or %rdx, %rax\n"
        "  setne %al\n  movzbl %al, %eax\n  ret\n"
        ".size guest_registers, . - guest_registers\n"
        ".balign 16\n"
        /* (gate rdi, slots rsi, instance rdx) calls import 0 and looks at what came back */
        "guest_after_registers:\n"
        "  .cfi_startproc\n"
        "  sub $8, %rsp\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  mov %rdi, %rax\n  xor %edi, %edi\n  call *%rax\n"
        "  add $8, %rsp\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  or %rcx, %rax\n or %rdx, %rax\n or %rsi, %rax\n or %rdi, %rax\n"
        "  or %r8, %rax\n or %r9, %rax\n or %r10, %rax\n or %r11, %rax\n"
        "  jmp guest_vectors\n"
        "  .cfi_endproc\n"
        ".size guest_after_registers, . - guest_after_registers\n"
        ".popsection\n");

static inline __attribute__((always_inline)) struct abi_instance *
block(struct abi_instance *instance) {
    return instance ? instance : (struct abi_instance *)ABI_INSTANCE_BASE; /* pinned */
}

/* The tests' layout: memory 0 lies right behind the header. */
static inline __attribute__((always_inline)) uint8_t *memory(struct abi_instance *instance) {
    return (uint8_t *)((struct abi_memory *)(block(instance) + 1))->base;
}

GUEST static int32_t import_host(struct abi_instance *instance, int32_t x) {
    union abi_value slots[1];
    slots[0].i64 = 0;
    slots[0].i32 = x;
    ((gate_function)block(instance)->gate)(0, slots, instance);
    return slots[0].i32;
}

GUEST static int32_t add_one(struct abi_instance *instance, int32_t x) {
    (void)instance;
    return x + 1;
}

GUEST static int32_t call_host(struct abi_instance *instance, int32_t x) {
    return import_host(instance, x) + 100;
}

GUEST static int32_t recurse(struct abi_instance *instance, int32_t x) {
    volatile int32_t frame[16];
    frame[0] = x;
    int32_t v = x == INT32_MIN ? 0 : recurse(instance, x + 1);
    return v + frame[0];
}

const unsigned guest_line_load = __LINE__ + 2;
GUEST static int32_t load(struct abi_instance *instance, int32_t x) {
    return *(volatile uint8_t *)(memory(instance) + (uint32_t)x);
}

const unsigned guest_line_inner = __LINE__ + 3;
static inline __attribute__((always_inline)) int32_t inner(struct abi_instance *instance,
                                                           int32_t x) {
    return *(volatile uint8_t *)(memory(instance) + (uint32_t)x);
}
const unsigned guest_line_middle = __LINE__ + 3;
static inline __attribute__((always_inline)) int32_t middle(struct abi_instance *instance,
                                                            int32_t x) {
    return inner(instance, x) + 1;
}
const unsigned guest_line_outer = __LINE__ + 2;
GUEST static int32_t outer(struct abi_instance *instance, int32_t x) {
    return middle(instance, x) * 3;
}

GUEST static int32_t load_below(struct abi_instance *instance, int32_t x) {
    return *(volatile uint8_t *)(memory(instance) - (uint32_t)x);
}

const unsigned guest_line_divide = __LINE__ + 4;
GUEST static int32_t divide(struct abi_instance *instance, int32_t x) {
    (void)instance;
    if (x == 0) {
        guest_trap_divide();
        __asm__ volatile("");
    }
    return 100 / x;
}

GUEST static int32_t spin(struct abi_instance *instance, int32_t x) {
    (void)instance;
    for (;;) __asm__ volatile("" ::"r"(x));
    return x;
}

GUEST static int32_t chain_b(struct abi_instance *instance, int32_t x);
const unsigned guest_line_chain_a = __LINE__ + 4;
GUEST FRAME_POINTER static int32_t chain_a(struct abi_instance *instance, int32_t x) {
    volatile uint8_t *room = __builtin_alloca((size_t)(x & 15) + 16);
    room[0] = 1;
    int32_t v = chain_b(instance, x);
    return v + room[0];
}

const unsigned guest_line_chain_b = __LINE__ + 4;
GUEST static int32_t chain_b(struct abi_instance *instance, int32_t x) {
    volatile uint8_t room[3000];
    room[x & 7] = 1;
    int32_t v = load(instance, x);
    return v + room[x & 7];
}

GUEST static int32_t after_host(struct abi_instance *instance, int32_t x) {
    union abi_value slots[1];
    slots[0].i32 = x;
    struct abi_instance *b = block(instance);
    return guest_after_registers(b->gate, slots, instance);
}

GUEST static int32_t stop(struct abi_instance *instance, int32_t x) {
    int32_t frame[6] = {x};
    (void)instance;
    __asm__ volatile("" ::"r"(frame) : "memory");
    guest_trap_unreachable();
    __builtin_unreachable();
}

GUEST static int32_t no_return(struct abi_instance *instance, int32_t x) {
    volatile int32_t frame = stop(instance, x);
    return frame;
}

GUEST static int32_t read_mxcsr(struct abi_instance *instance, int32_t x) {
    (void)instance;
    (void)x;
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return (int32_t)v;
}

GUEST static int32_t wild(struct abi_instance *instance, int32_t x) {
    (void)instance;
    return *(volatile uint8_t *)((uint64_t)(uint32_t)x << 12);
}

GUEST static int32_t grow(struct abi_instance *instance, int32_t x) {
    union abi_value slots[2];
    slots[0].i32 = 0;
    slots[1].i32 = x;
    ((gate_function)block(instance)->gate)(ABI_GATE_HELPER | ABI_HELPER_MEMORY_GROW, slots,
                                           instance);
    return slots[0].i32;
}

GUEST static int32_t gate_deep_step(struct abi_instance *instance, int32_t x) {
    volatile int32_t frame = grow(instance, 0);
    int32_t v = x == INT32_MIN ? 0 : gate_deep_step(instance, x + 1);
    return v + frame;
}

GUEST static int32_t gate_deep(struct abi_instance *instance, int32_t x) {
    volatile uint8_t *room = __builtin_alloca((size_t)x);
    room[0] = 1;
    return gate_deep_step(instance, x) + room[0];
}

GUEST static int32_t spin_host(struct abi_instance *instance, int32_t x) {
    for (;;) import_host(instance, x);
    return x;
}

struct mixed_results {
    float a;
    int32_t b;
    double c;
    int64_t d;
};
GUEST static void mixed(struct abi_instance *instance, struct mixed_results *ret, int64_t a,
                        double b, int32_t c, float d) {
    (void)instance;
    *ret = (struct mixed_results){d, c, b, a};
}

/* How an entry thunk ends. */
static inline __attribute__((always_inline, noreturn)) void
entry_leave(struct abi_instance *instance) {
    ((gate_function)block(instance)->gate)(ABI_GATE_RETURN, NULL, instance);
    __builtin_unreachable();
}

GUEST static void entry_i_i(union abi_value *slots,
                            int32_t (*code)(struct abi_instance *, int32_t),
                            struct abi_instance *instance) {
    /* kept in memory: guest_registers looks at the registers */
    struct abi_instance *volatile kept = instance;
    slots[0].i32 = code(instance, slots[0].i32);
    entry_leave(kept);
}

GUEST static void entry_mixed(union abi_value *slots,
                              void (*code)(struct abi_instance *, struct mixed_results *,
                                           int64_t, double, int32_t, float),
                              struct abi_instance *instance) {
    struct mixed_results r;
    code(instance, &r, slots[0].i64, slots[1].f64, slots[2].i32, slots[3].f32);
    slots[0].f32 = r.a;
    slots[1].i32 = r.b;
    slots[2].f64 = r.c;
    slots[3].i64 = r.d;
    entry_leave(instance);
}

/* ---- the object -------------------------------------------------------------------------- */

static void die(const char *what) {
    perror(what);
    exit(2);
}

static const Elf64_Shdr *section(const uint8_t *file, const char *name) {
    const Elf64_Ehdr *e = (const void *)file;
    const Elf64_Shdr *s = (const void *)(file + e->e_shoff);
    const char *names = (const char *)file + s[e->e_shstrndx].sh_offset;
    for (unsigned i = 0; i < e->e_shnum; i++)
        if (strcmp(names + s[i].sh_name, name) == 0) return &s[i];
    return NULL;
}

static uint64_t symbol_size(const uint8_t *file, uint64_t address) {
    const Elf64_Shdr *s = section(file, ".symtab");
    if (!s) die("no .symtab");
    const Elf64_Sym *symbols = (const void *)(file + s->sh_offset);
    for (uint64_t i = 0; i < s->sh_size / sizeof *symbols; i++)
        if (symbols[i].st_value == address && symbols[i].st_size) return symbols[i].st_size;
    return 0;
}

static const struct valtype i32_type[] = {{.code = ABI_I32}};
static const struct valtype mixed_params[] = {
    {.code = ABI_I64}, {.code = ABI_F64}, {.code = ABI_I32}, {.code = ABI_F32}};
static const struct valtype mixed_result_types[] = {
    {.code = ABI_F32}, {.code = ABI_I32}, {.code = ABI_F64}, {.code = ABI_I64}};

void guest_open(struct guest *g, enum abi_placement placement) {
    *g = (struct guest){0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) die("/proc/self/exe");
    const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED) die("mmap");

    const Elf64_Shdr *text = section(file, "guest_text"), *frames = section(file, ".eh_frame"),
                     *lines = section(file, ".debug_line"),
                     *info = section(file, ".debug_info"),
                     *abbrevs = section(file, ".debug_abbrev"),
                     *ranges = section(file, ".debug_ranges");
    if (!text || !frames) die("sections");
    uint64_t start = (uint64_t)__start_guest_text;
    uint64_t size = (uint64_t)(__stop_guest_text - __start_guest_text);
    g->mapping_bytes = align_up(size, ABI_HOST_PAGE);
    bool pinned = placement == ABI_PINNED;
    g->mapping =
        mmap(pinned ? (void *)ABI_CODE_BASE : NULL, g->mapping_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | (pinned ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (g->mapping == MAP_FAILED) die("mmap code");
    memcpy(g->mapping, __start_guest_text, size);
    if (mprotect(g->mapping, g->mapping_bytes, PROT_READ | PROT_EXEC) != 0) die("mprotect");

    const uint64_t functions[GUEST_FUNCTION_COUNT] = {
        [GUEST_IMPORT] = (uint64_t)import_host,
        [GUEST_ADD_ONE] = (uint64_t)add_one,
        [GUEST_CALL_HOST] = (uint64_t)call_host,
        [GUEST_RECURSE] = (uint64_t)recurse,
        [GUEST_LOAD] = (uint64_t)load,
        [GUEST_LOAD_BELOW] = (uint64_t)load_below,
        [GUEST_DIVIDE] = (uint64_t)divide,
        [GUEST_SPIN] = (uint64_t)spin,
        [GUEST_CHAIN_A] = (uint64_t)chain_a,
        [GUEST_CHAIN_B] = (uint64_t)chain_b,
        [GUEST_REGISTERS] = (uint64_t)guest_registers,
        [GUEST_AFTER_HOST] = (uint64_t)after_host,
        [GUEST_MXCSR] = (uint64_t)read_mxcsr,
        [GUEST_WILD] = (uint64_t)wild,
        [GUEST_GROW] = (uint64_t)grow,
        [GUEST_GATE_DEEP] = (uint64_t)gate_deep,
        [GUEST_SPIN_HOST] = (uint64_t)spin_host,
        [GUEST_NO_RETURN] = (uint64_t)no_return,
        [GUEST_STOP] = (uint64_t)stop,
        [GUEST_OUTER] = (uint64_t)outer,
        [GUEST_MIDDLE] = start,
        [GUEST_INNER] = start,
        [GUEST_MIXED] = (uint64_t)mixed,
    };
    uint64_t load_bias = start - text->sh_addr;
    for (unsigned i = 0; i < GUEST_FUNCTION_COUNT; i++)
        g->functions[i] = (struct abi_function){
            .type = i == GUEST_MIXED,
            .code_offset = (uint32_t)(functions[i] - start),
            .code_size = (uint32_t)symbol_size(file, functions[i] - load_bias)};
    g->functions[GUEST_MIDDLE].code_size = g->functions[GUEST_INNER].code_size = 0;
    g->functions[GUEST_INNER].wasm_offset = guest_line_inner - 2;
    g->functions[GUEST_MIDDLE].wasm_offset = guest_line_middle - 2;
    g->functions[GUEST_OUTER].wasm_offset = guest_line_outer - 1;
    g->types[0] = (struct abi_type){.func = {1, 1, i32_type, i32_type},
                                    .entry_offset = (uint32_t)((uint64_t)entry_i_i - start)};
    g->types[1] = (struct abi_type){.func = {4, 4, mixed_params, mixed_result_types},
                                    .entry_offset = (uint32_t)((uint64_t)entry_mixed - start)};
    g->stubs[0] = (struct abi_trap_stub){(uint32_t)((uint64_t)guest_trap_divide - start),
                                         TRAP_INTEGER_DIVIDE_BY_ZERO};
    g->stubs[1] = (struct abi_trap_stub){(uint32_t)((uint64_t)guest_trap_unreachable - start),
                                         TRAP_UNREACHABLE};
    if (g->stubs[0].code_offset > g->stubs[1].code_offset) die("stub order");
    g->memories[0] = (struct abi_limits){.min = 1, .max = 4, .has_max = true};
    g->imports[0] = (struct abi_import){.module = "env",
                                        .name = "host",
                                        .module_length = 3,
                                        .name_length = 4,
                                        .kind = ABI_EXTERN_FUNC};
    g->object = (struct abi_object){
        .compat = {.arch = ABI_ARCH_X86_64, .placement = (uint16_t)placement},
        .type_count = 2,
        .import_count = 1,
        .imported_functions = 1,
        .function_count = GUEST_FUNCTION_COUNT,
        .memory_count = 1,
        .trap_stub_count = 2,
        .types = g->types,
        .imports = g->imports,
        .functions = g->functions,
        .memories = g->memories,
        .trap_stubs = g->stubs,
        .counts = {.memories = 1, .funcs = GUEST_FUNCTION_COUNT, .types = 2},
        .text_size = size,
        .text_address = text->sh_addr,
        .eh_frame_offset = frames->sh_offset,
        .eh_frame_size = frames->sh_size,
        .eh_frame_address = frames->sh_addr,
        .lines_offset = lines ? lines->sh_offset : 0,
        .lines_size = lines ? lines->sh_size : 0,
        .info_offset = info ? info->sh_offset : 0,
        .info_size = info ? info->sh_size : 0,
        .abbrev_offset = abbrevs ? abbrevs->sh_offset : 0,
        .abbrev_size = abbrevs ? abbrevs->sh_size : 0,
        .ranges_offset = ranges ? ranges->sh_offset : 0,
        .ranges_size = ranges ? ranges->sh_size : 0};
    g->code = (struct code){.object = &g->object,
                            .file = file,
                            .file_size = (uint64_t)st.st_size,
                            .fd = fd,
                            .text = g->mapping,
                            .bias = (uint64_t)g->mapping - text->sh_addr};
    struct error err = {0};
    if (runtime_add_code(&g->code, &err) != ST_OK) die(err.message);
}

void guest_close(struct guest *g) {
    runtime_remove_code(&g->code);
    munmap(g->mapping, g->mapping_bytes);
    void *file = (void *)(uintptr_t)g->code.file;
    munmap(file, g->code.file_size);
    close(g->code.fd);
}
