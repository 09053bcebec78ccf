/*
 * The memory routines of code objects: compiled for each target and code generation level as
 * the compiler does it, mapped, and compared with byte loops for every small size, every
 * overlap and sizes around the large ones; buffers end where a page does, so that a byte too
 * much is a fault.
 */
#include "compiler/routines.h"
#include "tests/unit/test.h"

#include <elf.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <sys/mman.h>

typedef void *(*copy_function)(void *destination, const void *source, size_t size);
typedef void *(*fill_function)(void *destination, int byte, size_t size);

struct routines {
    copy_function memcpy, memmove;
    fill_function memset;
};

#define AREA ((size_t)1 << 19)
static uint8_t *area, *expected; /* AREA bytes each, the page behind is a guard */

static uint8_t *make_area(void) {
    uint8_t *base =
        mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(base != MAP_FAILED && mprotect(base + AREA, 4096, PROT_NONE) == 0);
    return base;
}

/* ---- the code ---- */

static LLVMMemoryBufferRef emit(const char *cpu, LLVMCodeGenOptLevel level) {
    struct error err = {0};
    struct lower_module m = {.context = LLVMContextCreate()};
    m.llvm = LLVMModuleCreateWithNameInContext("test", m.context);
    LLVMContextSetDiscardValueNames(m.context, true);
    enum status status = routines_add(&m, &err);
    if (status != ST_OK) printf("%s\n", err.message);
    CHECK(status == ST_OK);
    EXPECT(LLVMContextShouldDiscardValueNames(m.context));
    char *triple = LLVMGetDefaultTargetTriple(), *message = NULL;
    LLVMTargetRef target;
    CHECK(!LLVMGetTargetFromTriple(triple, &target, &message));
    LLVMTargetMachineRef machine = LLVMCreateTargetMachine(target, triple, cpu, "", level,
                                                           LLVMRelocPIC, LLVMCodeModelSmall);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(m.llvm, layout);
    LLVMSetTarget(m.llvm, triple);
    LLVMMemoryBufferRef object = NULL;
    CHECK(!LLVMTargetMachineEmitToMemoryBuffer(machine, m.llvm, LLVMObjectFile, &message,
                                               &object));
    LLVMDisposeTargetData(layout);
    LLVMDisposeTargetMachine(machine);
    LLVMDisposeMessage(triple);
    LLVMDisposeModule(m.llvm);
    LLVMContextDispose(m.context);
    return object;
}

/* Maps .text, which must stand alone: no relocations, no undefined symbols, all hidden. */
static struct routines map_object(LLVMMemoryBufferRef object) {
    const uint8_t *bytes = (const uint8_t *)LLVMGetBufferStart(object);
    Elf64_Ehdr header;
    Elf64_Shdr sections[64], text = {0}, symbols = {0};
    memcpy(&header, bytes, sizeof header);
    CHECK(header.e_shnum <= countof(sections));
    memcpy(sections, bytes + header.e_shoff, header.e_shnum * sizeof *sections);
    uint16_t text_index = 0;
    for (uint16_t i = 1; i < header.e_shnum; i++) {
        if (sections[i].sh_type == SHT_SYMTAB) symbols = sections[i];
        if (sections[i].sh_type == SHT_PROGBITS && sections[i].sh_flags & SHF_EXECINSTR) {
            text = sections[i];
            text_index = i;
        }
    }
    for (uint16_t i = 1; i < header.e_shnum; i++)
        EXPECT(sections[i].sh_type != SHT_RELA || sections[i].sh_info != text_index);
    uint8_t *code =
        mmap(NULL, text.sh_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    memcpy(code, bytes + text.sh_offset, text.sh_size);
    CHECK(mprotect(code, text.sh_size, PROT_READ | PROT_EXEC) == 0);
    struct routines r = {0};
    for (uint64_t i = 1; i < symbols.sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, bytes + symbols.sh_offset + i * sizeof symbol, sizeof symbol);
        const char *name =
            (const char *)bytes + sections[symbols.sh_link].sh_offset + symbol.st_name;
        unsigned type = ELF64_ST_TYPE(symbol.st_info);
        EXPECT(symbol.st_shndx != SHN_UNDEF);
        if (type != STT_FUNC) continue;
        EXPECT(symbol.st_other == STV_HIDDEN || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL);
        void *at = code + symbol.st_value;
        if (strcmp(name, "memcpy") == 0) memcpy(&r.memcpy, &at, sizeof at);
        if (strcmp(name, "memmove") == 0) memcpy(&r.memmove, &at, sizeof at);
        if (strcmp(name, "memset") == 0) memcpy(&r.memset, &at, sizeof at);
    }
    CHECK(r.memcpy && r.memmove && r.memset);
    return r;
}

/* ---- what it does ---- */

static void scribble(size_t from, size_t to) {
    for (size_t i = from; i < to; i++) area[i] = expected[i] = (uint8_t)(i * 7 + (i >> 8));
}

/* Moves size bytes within the area; what lies around must stay. */
static bool move_is_right(copy_function copy, size_t to, size_t from, size_t size) {
    size_t low = to < from ? to : from, high = (to < from ? from : to) + size;
    low = low > 64 ? low - 64 : 0;
    high = high + 64 < AREA ? high + 64 : AREA;
    scribble(low, high);
    for (size_t i = 0; i < size; i++) {
        size_t at = to < from ? i : size - 1 - i;
        expected[to + at] = expected[from + at];
    }
    bool same = copy(area + to, area + from, size) == area + to &&
                memcmp(area + low, expected + low, high - low) == 0;
    if (!same) printf("move of %zu bytes from %zu to %zu\n", size, from, to);
    return same;
}

static bool fill_is_right(fill_function fill, size_t to, size_t size) {
    size_t low = to > 64 ? to - 64 : 0, high = to + size + 64 < AREA ? to + size + 64 : AREA;
    scribble(low, high);
    for (size_t i = 0; i < size; i++) expected[to + i] = 0xa5;
    bool same = fill(area + to, -0x5b, size) == area + to && /* only the low byte counts */
                memcmp(area + low, expected + low, high - low) == 0;
    if (!same) printf("fill of %zu bytes at %zu\n", size, to);
    return same;
}

static const size_t large[] = {511,  1000, 2047,  2048,  4095,  4096,  4097,
                               4159, 8192, 16383, 16384, 16385, 65537, 100000};

static void test_moves(const struct routines *r) {
    bool right = true;
    for (size_t size = 0; size <= 300; size++) {
        for (size_t distance = 0; distance <= size + 40; distance += distance < 70 ? 1 : 13) {
            right &= move_is_right(r->memmove, 1000 + distance, 1000, size);
            right &= move_is_right(r->memmove, 1000, 1000 + distance, size);
        }
        for (size_t to = 0; to < 33; to++)
            right &= move_is_right(r->memcpy, to, 1000 + 5 * to, size);
        right &= move_is_right(r->memcpy, AREA - size, 0, size);
        right &= move_is_right(r->memcpy, 0, AREA - size, size);
    }
    EXPECT(right);
    for (size_t i = 0; i < countof(large); i++) {
        static const size_t distances[] = {0, 1, 31, 32, 63, 64, 65, 500, 2048, 120001};
        for (size_t j = 0; j < countof(distances); j++) {
            EXPECT(move_is_right(r->memmove, 99 + distances[j], 99, large[i]));
            EXPECT(move_is_right(r->memmove, 99, 99 + distances[j], large[i]));
        }
        EXPECT(move_is_right(r->memcpy, AREA - large[i], 3, large[i]));
        EXPECT(move_is_right(r->memcpy, 3, AREA - large[i], large[i]));
    }
}

static void test_fills(const struct routines *r) {
    bool right = true;
    for (size_t size = 0; size <= 300; size++) {
        for (size_t to = 0; to < 65; to++) right &= fill_is_right(r->memset, to, size);
        right &= fill_is_right(r->memset, AREA - size, size);
    }
    EXPECT(right);
    for (size_t i = 0; i < countof(large); i++) {
        EXPECT(fill_is_right(r->memset, 7, large[i]));
        EXPECT(fill_is_right(r->memset, AREA - large[i], large[i]));
    }
}

int main(void) {
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    area = make_area();
    expected = make_area();
    static const struct {
        const char *cpu;
        uint64_t features;
    } targets[] = {{"x86-64-v2", ABI_X86_64_V2},
                   {"x86-64-v3", ABI_X86_64_V3},
                   {"x86-64-v4", ABI_X86_64_V4}};
    for (size_t i = 0; i < countof(targets); i++) {
        if (targets[i].features & ~abi_cpu_features()) continue;
        static const LLVMCodeGenOptLevel levels[] = {LLVMCodeGenLevelNone,
                                                     LLVMCodeGenLevelDefault};
        for (size_t j = 0; j < countof(levels); j++) {
            LLVMMemoryBufferRef object = emit(targets[i].cpu, levels[j]);
            struct routines r = map_object(object);
            LLVMDisposeMemoryBuffer(object);
            test_moves(&r);
            test_fills(&r);
        }
    }
    return test_end();
}
