/*
 * seccomp.def, volume_seccomp.def to BPF programs (seccomp(2), bpf in linux/filter.h), built
 * here because it is small: no library, no allocation, 4 instructions a condition.
 *
 *     arch is x86-64, or kill
 *     number == first row's ?  -> its conditions, each row's in turn; allow, or kill
 *     number == second row's ? -> ...
 *     kill                        (x32 numbers have bit 30 set and match none)
 */
#include "loader/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* PAGEMAP_SCAN of linux/fs.h (6.7): its argument is 12 words */
#define PAGEMAP_SCAN_REQUEST _IOWR('f', 16, uint64_t[12])
#ifndef __x86_64__
#error "another architecture: its audit number, and a look at every row of seccomp.def"
#endif

#define MAX_CONDITIONS 3u /* and an unused one that ends them */
struct condition {
    uint64_t mask, value;
    uint8_t argument, used;
};
struct rule {
    int number;
    int answer; /* -1: allowed; else the errno */
    struct condition conditions[MAX_CONDITIONS + 1];
};

#define NONE
#define MASKED(argument_, mask_, value_)                                                       \
    {.argument = (argument_), .mask = (mask_), .value = (value_), .used = 1},
#define ALLOW(call, conditions_)                                                               \
    {.number = SYS_##call, .answer = -1, .conditions = {conditions_{.used = 0}}},
#define ANSWER(call, error) {.number = SYS_##call, .answer = (error)},
static const struct rule rules[] = {
#include "loader/seccomp.def"
};
static const struct rule volume_rules[] = {
#include "loader/volume_seccomp.def"
};
#undef ALLOW
#undef ANSWER
#undef MASKED
#undef NONE

#define MAX_INSTRUCTIONS 512u
struct program {
    struct sock_filter code[MAX_INSTRUCTIONS];
    uint16_t size;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t if_true,
                 uint8_t if_false) {
    CHECK(p->size < MAX_INSTRUCTIONS);
    p->code[p->size++] = (struct sock_filter){code, if_true, if_false, k};
}

static void emit_load(struct program *p, size_t offset) {
    emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Half an argument against half of mask and value: on to the next instruction, or over `rest`
 * more. Nothing where the mask has no bit in this half. */
static uint16_t half_size(uint32_t mask) { return mask == 0 ? 0 : mask == UINT32_MAX ? 2 : 3; }

static void emit_half(struct program *p, size_t offset, uint32_t mask, uint32_t value,
                      uint16_t rest) {
    if (mask == 0) return;
    CHECK(rest < 256);
    emit_load(p, offset);
    if (mask != UINT32_MAX) emit(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, (uint8_t)rest);
}

static uint16_t rule_size(const struct rule *rule) {
    uint16_t size = 1; /* the answer */
    for (uint32_t i = 0; rule->conditions[i].used; i++)
        size = (uint16_t)(size + half_size((uint32_t)rule->conditions[i].mask) +
                          half_size((uint32_t)(rule->conditions[i].mask >> 32)));
    return size;
}

/* The conditions of one row and its answer; behind it where one does not hold. */
static void emit_rule(struct program *p, const struct rule *rule) {
    uint16_t rest = rule_size(rule);
    for (uint32_t i = 0; rule->conditions[i].used; i++) {
        const struct condition *c = &rule->conditions[i];
        size_t offset = offsetof(struct seccomp_data, args) + c->argument * sizeof(uint64_t);
        uint32_t low = (uint32_t)c->mask, high = (uint32_t)(c->mask >> 32);
        rest = (uint16_t)(rest - half_size(low));
        emit_half(p, offset, low, (uint32_t)c->value, rest);
        rest = (uint16_t)(rest - half_size(high));
        emit_half(p, offset + 4, high, (uint32_t)(c->value >> 32), rest);
    }
    uint32_t answer =
        rule->answer < 0 ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | (uint32_t)rule->answer;
    emit(p, BPF_RET | BPF_K, answer, 0, 0);
}

static void build(struct program *p, const struct rule *list, size_t count) {
    emit_load(p, offsetof(struct seccomp_data, arch));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    emit_load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count;) {
        size_t end = i;
        uint16_t size = 1; /* the kill at the end */
        while (end < count && list[end].number == list[i].number)
            size = (uint16_t)(size + rule_size(&list[end++]));
        CHECK(size < 256);
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)list[i].number, 0, (uint8_t)size);
        for (; i < end; i++) emit_rule(p, &list[i]);
        emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    }
    emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
}

static int install(struct program *p) {
    struct sock_fprog filter = {.len = p->size, .filter = p->code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0 ? 0 : errno;
}

/* Built before the first fork, its pages are shared by all tenants. */
static far_zeros struct program tenant_program;
void seccomp_prepare(void) {
    if (tenant_program.size == 0) build(&tenant_program, rules, countof(rules));
}

int seccomp_enter(void) {
    seccomp_prepare();
    return install(&tenant_program);
}

int seccomp_enter_volume(void) {
    static far_zeros struct program program;
    build(&program, volume_rules, countof(volume_rules));
    return install(&program);
}

/* In place of libc's, which asks newfstatat with an empty path: a filter cannot look at a path,
 * so that call is not allowed at all. */
int fstat(int fd, struct stat *ret_stat) { return (int)syscall(SYS_fstat, fd, ret_stat); }

uint32_t seccomp_allowed(int *ret_numbers) {
    uint32_t count = 0;
    for (size_t i = 0; i < countof(rules); i++) {
        if (rules[i].answer >= 0) continue;
        if (i && rules[i - 1].number == rules[i].number) continue;
        ret_numbers[count++] = rules[i].number;
    }
    return count;
}
