/*
 * hutch-tenant --zygote, wherever the kernel put it, to the same program close to what a guest
 * has: below the code object, in one piece.
 *
 *     0x0020_0000 ...  vdso | a gap | stack | program: constants, code, data | heap
 *     0x0100_0000      the code object (abi.h)
 *
 * Each range of 2 MiB that a process touches takes a page of page tables, each of 1 GiB and of
 * 512 GiB another, and every tenant has its own. The kernel puts a static PIE, its break, its
 * stack and the vdso into three corners of the address space; here they share one page.
 *
 * The program is mapped a second time, as the kernel maps it (a static PIE relocates itself),
 * with a stack and a break of its own, and begins anew there; what is left of the first start
 * is unmapped then. Below the stack is a gap; below the data are constants. Where in the
 * range all of it lies is random, as far as one page of page tables goes.
 *
 * Where something of it cannot be had, the program goes on where it is: tenants then cost some
 * pages more.
 */
#include "abi/abi.h"
#include "loader/sandbox.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif

#define PAGE ((uint64_t)4096)
#define TABLE_SPAN ((uint64_t)2 << 20) /* of addresses, in one page of page tables */
#define LOWEST TABLE_SPAN
#define VDSO_ROOM ((uint64_t)64 << 10)
#define STACK_GAP ((uint64_t)64 << 10)
#define STACK_BYTES ((uint64_t)256 << 10)
#define HEAP_NEAR ((uint64_t)64 << 10) /* what a small app needs of it */
/* The heap's first size: a tenant cannot move the break, and what libc notes at the heap's end
 * whenever that moves would take another page of page tables. */
#define HEAP_BYTES 1048576
#define TEXT(value) #value
#define HEAP_OPTION(bytes) "GLIBC_TUNABLES=glibc.malloc.top_pad=" TEXT(bytes)
#define ARGUMENTS_MAX 16u

/* Where this program's file begins in memory: from the linker. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

struct range {
    uint64_t from, to;
};
/* Written by the first start into the second's data, which no start-up code clears. */
static struct {
    bool moved;
    uint32_t count;
    struct range ranges[32];
} first;

struct vdso {
    uint32_t count;
    struct range parts[8];
};
struct place {
    uint64_t start;   /* the vdso's */
    uint64_t program; /* ... and the stack's upper end */
    uint64_t end;     /* the heap's start */
    uint64_t bias;    /* of the second start's addresses to those of the first */
    const Elf64_Phdr *headers;
    uint32_t count;
};

static uint64_t down(uint64_t value) { return value & ~(PAGE - 1); }
static uint64_t up(uint64_t value) { return (value + PAGE - 1) & ~(PAGE - 1); }

static bool map_fixed(uint64_t at, uint64_t size, int access, int flags, int fd,
                      uint64_t offset) {
    return mmap((void *)at, size, access, MAP_PRIVATE | MAP_FIXED | flags, fd, (off_t)offset) !=
           MAP_FAILED;
}

/* A range for everything, held by one mapping that gives no access. */
static bool choose(struct place *p) {
    const Elf64_Ehdr *file = &__ehdr_start;
    uint64_t image = 0, random;
    p->headers = (const Elf64_Phdr *)((uint64_t)file + file->e_phoff);
    p->count = file->e_phnum;
    for (uint32_t i = 0; i < p->count; i++) {
        const Elf64_Phdr *h = &p->headers[i];
        if (h->p_type == PT_INTERP) return false; /* others would have to move with it */
        if (h->p_type == PT_LOAD) image = up(h->p_vaddr + h->p_memsz);
    }
    uint64_t before = VDSO_ROOM + STACK_GAP + STACK_BYTES, size = before + image;
    if (getrandom(&random, sizeof random, 0) != sizeof random) return false;
    uint64_t spans = (size + HEAP_NEAR + TABLE_SPAN - 1) / TABLE_SPAN;
    uint64_t places = (ABI_CODE_BASE - LOWEST - HEAP_BYTES) / TABLE_SPAN;
    if (spans > places) return false;
    uint64_t shifts = (spans * TABLE_SPAN - size - HEAP_NEAR) / PAGE + 1;
    uint64_t start =
        LOWEST + random % (places - spans + 1) * TABLE_SPAN + (random >> 32) % shifts * PAGE;
    void *held = mmap((void *)start, size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (held == MAP_FAILED) return false;
    p->start = start;
    p->program = start + before;
    p->end = start + size;
    p->bias = p->program - (uint64_t)file;
    return (uint64_t)held == start;
}

static bool map_program(const struct place *p, int file) {
    for (uint32_t i = 0; i < p->count; i++) {
        const Elf64_Phdr *h = &p->headers[i];
        if (h->p_type != PT_LOAD) continue;
        uint64_t at = p->program + h->p_vaddr, from = down(at);
        int access = PROT_READ | (h->p_flags & PF_X ? PROT_EXEC : 0);
        if (!(h->p_flags & PF_W)) {
            if (!map_fixed(from, at + h->p_filesz - from, access, 0, file, down(h->p_offset)))
                return false;
            continue;
        }
        /* One mapping, not one of the file and one of nothing: the heap goes on from it. */
        if (!map_fixed(from, up(at + h->p_memsz) - from, PROT_READ | PROT_WRITE, MAP_ANONYMOUS,
                       -1, 0) ||
            pread(file, (void *)at, h->p_filesz, (off_t)h->p_offset) != (ssize_t)h->p_filesz)
            return false;
    }
    return map_fixed(p->program - STACK_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_ANONYMOUS, -1, 0);
}

/* What the kernel and libc made for the first start, for the second to unmap; the parts of the
 * vdso by themselves. */
static bool list_ranges(struct vdso *ret_vdso) {
    static far_zeros char text[1 << 14];
    auto_fd int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    for (ssize_t n; maps >= 0 && size < sizeof text - 1 &&
                    (n = read(maps, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n;
    *ret_vdso = (struct vdso){0};
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        char *dash;
        struct range r = {.from = strtoul(line, &dash, 16)};
        r.to = strtoul(dash + 1, NULL, 16);
        if (r.from < ABI_CODE_BASE || strstr(line, "[vsyscall]")) continue;
        struct range *last = first.count ? &first.ranges[first.count - 1] : NULL;
        if (strstr(line, "[vvar") || strstr(line, "[vdso]")) {
            if (ret_vdso->count == countof(ret_vdso->parts)) return false;
            ret_vdso->parts[ret_vdso->count++] = r;
        } else if (last && last->to == r.from) {
            last->to = r.to;
        } else {
            if (first.count == countof(first.ranges) - 1) return false; /* one is for the gap */
            first.ranges[first.count++] = r;
        }
    }
    return first.count > 0;
}

/* Returns how much of the room it takes: nothing where the kernel leaves it where it is. */
static uint64_t move_vdso(const struct place *p, const struct vdso *v) {
    if (!v->count) return 0;
    uint64_t from = v->parts[0].from, size = v->parts[v->count - 1].to - from;
    if (size > VDSO_ROOM) return 0;
    for (uint32_t i = 0; i < v->count; i++) {
        uint64_t at = v->parts[i].from, part = v->parts[i].to - at;
        void *to = (void *)(p->start + (at - from));
        if (mremap((void *)at, part, part, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED)
            continue;
        CHECK(i == 0); /* half of it is of no use to anyone */
        return 0;
    }
    return size;
}

/* libc registers its thread's area with the kernel once, and cannot again while it is. */
static bool leave_rseq(void) {
    if (__rseq_size == 0) return true;
    uint64_t size = (getauxval(AT_RSEQ_FEATURE_SIZE) + 31) & ~UINT64_C(31);
    return syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
                   size > 32 ? size : 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0;
}

/* What a program finds on its stack (ABI for x86-64, 3.4.1), and where the kernel is to look
 * for it. Returns the stack pointer. */
static uint64_t write_stack(const struct place *p, char **argv, uint64_t vdso,
                            struct prctl_mm_map *ret_map) {
    static far_zeros uint64_t words[ARGUMENTS_MAX + 128];
    const uint64_t *auxv = (const uint64_t *)environ;
    while (*auxv++) continue; /* behind the environment */
    static const char option[] = HEAP_OPTION(HEAP_BYTES);
    uint64_t random = p->program - 16, environment = random - sizeof option;
    uint64_t at = environment, count = 1;
    if (getrandom((void *)random, 16, 0) != 16) _exit(1);
    memcpy((void *)environment, option, sizeof option);
    for (uint64_t i = 0; argv[i]; i++) at -= strlen(argv[i]) + 1;
    ret_map->arg_start = at;
    ret_map->arg_end = ret_map->env_start = environment;
    ret_map->env_end = random;
    for (char *text = (char *)at; argv[words[0]]; text = stpcpy(text, argv[words[0]++]) + 1)
        words[count++] = (uint64_t)text;
    words[count++] = 0;
    words[count++] = environment;
    words[count++] = 0;
    uint64_t auxv_at = count;
    for (; *auxv; auxv += 2) {
        uint64_t value = auxv[1];
        if (auxv[0] == AT_EXECFN || auxv[0] == AT_PLATFORM) continue; /* on the old stack */
        if (auxv[0] == AT_RANDOM) value = random;
        if (auxv[0] == AT_SYSINFO_EHDR) value = vdso;
        if (auxv[0] == AT_PHDR || auxv[0] == AT_ENTRY) value += p->bias;
        CHECK(count + 4 <= countof(words));
        words[count++] = auxv[0];
        words[count++] = value;
    }
    words[count++] = AT_NULL;
    words[count++] = 0;
    at = (at - count * sizeof *words) & ~UINT64_C(15);
    memcpy((void *)at, words, count * sizeof *words);
    ret_map->start_stack = at;
    ret_map->auxv = (void *)(at + auxv_at * sizeof *words);
    ret_map->auxv_size = (uint32_t)((count - auxv_at) * sizeof *words);
    return at;
}

static _Noreturn void begin_anew(const struct place *p, char **argv, uint64_t vdso) {
    /* prctl(2), PR_SET_MM_MAP: what /proc shows, and the break, which is to follow the data. A
     * kernel that cannot (CONFIG_CHECKPOINT_RESTORE) leaves it where it was. */
    struct prctl_mm_map map = {.start_brk = p->end, .brk = p->end, .exe_fd = (uint32_t)-1};
    uint64_t stack = write_stack(p, argv, vdso, &map);
    for (uint32_t i = 0; i < p->count; i++) {
        const Elf64_Phdr *h = &p->headers[i];
        if (h->p_type != PT_LOAD || !(h->p_flags & (PF_X | PF_W))) continue;
        uint64_t from = p->program + h->p_vaddr, to = from + h->p_filesz;
        if (h->p_flags & PF_X) map.start_code = from, map.end_code = to;
        if (h->p_flags & PF_W) map.start_data = from, map.end_data = to;
    }
    (void)prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
    begin_at(stack, p->program + __ehdr_start.e_entry, 0);
}

/* In the second start: what is left of the first is of no more use. */
static void settle(void) {
    for (uint32_t i = 0; i < first.count; i++)
        (void)munmap((void *)first.ranges[i].from, first.ranges[i].to - first.ranges[i].from);
}

void zygote_place(char **argv) {
    if (first.moved) {
        settle();
        return;
    }
    struct place p;
    struct vdso vdso;
    auto_fd int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0 || !choose(&p)) return;
    if (!map_program(&p, file) || !list_ranges(&vdso) || !leave_rseq()) {
        (void)munmap((void *)p.start, p.end - p.start);
        return;
    }
    close(steal_fd(&file));
    uint64_t header = getauxval(AT_SYSINFO_EHDR), used = move_vdso(&p, &vdso);
    if (used) header += p.start - vdso.parts[0].from;
    first.ranges[first.count++] =
        (struct range){.from = p.start + used, .to = p.program - STACK_BYTES};
    first.moved = true;
    memcpy((void *)((uint64_t)&first + p.bias), &first, sizeof first);
    begin_anew(&p, argv, header);
}
