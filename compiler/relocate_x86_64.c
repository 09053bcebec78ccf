/*
 * One x86-64 relocation: the bytes it patches (psABI x86-64 4.4). What is loaded of a
 * relocatable object takes relocations relative to the place alone, since it is mapped
 * anywhere; a pinned one lies at ABI_CODE_BASE and takes absolute ones too, like debug
 * information. Loads through a global offset table, which we have none of, become the address
 * itself (psABI B.2). Every result is checked to fit its field.
 */
#include "compiler/link.h"

#include <elf.h>

const uint16_t relocate_machine = EM_X86_64;

static const char *type_name(uint32_t type) {
    /* clang-format off */
    static const char *const names[] = {
        [R_X86_64_64] = "64", [R_X86_64_PC32] = "PC32", [R_X86_64_GOT32] = "GOT32",
        [R_X86_64_PLT32] = "PLT32", [R_X86_64_GOTPCREL] = "GOTPCREL", [R_X86_64_32] = "32",
        [R_X86_64_32S] = "32S", [R_X86_64_PC64] = "PC64", [R_X86_64_GOTOFF64] = "GOTOFF64",
        [R_X86_64_GOTPC32] = "GOTPC32", [R_X86_64_GOTPCRELX] = "GOTPCRELX",
        [R_X86_64_REX_GOTPCRELX] = "REX_GOTPCRELX", [R_X86_64_TLSGD] = "TLSGD",
    };
    /* clang-format on */
    return type < countof(names) && names[type] ? names[type] : "of an unknown kind";
}

static enum status refuse(const struct relocation *r, const char *why, struct error *err) {
    return error_set(err, ST_INTERNAL, "%s+0x%llx: relocation %s (%u) against %s %s",
                     r->section, (unsigned long long)r->at, type_name(r->type), r->type,
                     r->symbol, why);
}

static enum status patch(const struct relocation *r, unsigned width, uint64_t value,
                         struct error *err) {
    if (r->at > r->size || r->size - r->at < width)
        return refuse(r, "lies outside its section", err);
    for (unsigned i = 0; i < width; i++) r->bytes[r->at + i] = (uint8_t)(value >> (8 * i));
    return ST_OK;
}

/* S + A - P in 32 signed bits. */
static enum status patch_relative(const struct relocation *r, int64_t addend,
                                  struct error *err) {
    int64_t value = (int64_t)(r->value + (uint64_t)addend - r->place);
    if (value != (int32_t)value) return refuse(r, "is out of reach", err);
    return patch(r, 4, (uint64_t)value, err);
}

/*
 * mov foo@GOTPCREL(%rip), %reg -> lea foo(%rip), %reg
 * call *foo@GOTPCREL(%rip)     -> addr32 call foo
 * jmp *foo@GOTPCREL(%rip)      -> jmp foo; nop
 * The field that is patched is the last of the instruction in all three.
 */
static enum status relax_got(const struct relocation *r, struct error *err) {
    if (r->at < 2 || r->at > r->size || r->size - r->at < 4)
        return refuse(r, "lies outside its section", err);
    uint8_t *opcode = &r->bytes[r->at - 2], *modrm = &r->bytes[r->at - 1];
    if (r->addend != -4) return refuse(r, "has an unusual addend", err);
    if (*opcode == 0x8b && (*modrm & 0xc7) == 0x05) {
        *opcode = 0x8d;
        return patch_relative(r, r->addend, err);
    }
    if (*opcode == 0xff && *modrm == 0x15) {
        *opcode = 0x67;
        *modrm = 0xe8;
        return patch_relative(r, r->addend, err);
    }
    if (*opcode == 0xff && *modrm == 0x25) {
        *opcode = 0xe9; /* its field begins a byte earlier */
        r->bytes[r->at + 3] = 0x90;
        struct relocation jump = *r;
        jump.at--;
        jump.place--;
        return patch_relative(&jump, r->addend, err);
    }
    return refuse(r, "needs a global offset table", err);
}

enum status relocate(const struct relocation *r, struct error *err) {
    uint64_t absolute = r->value + (uint64_t)r->addend;
    switch (r->type) {
    case R_X86_64_PC32:
    case R_X86_64_PLT32: return patch_relative(r, r->addend, err);
    case R_X86_64_PC64: return patch(r, 8, absolute - r->place, err);
    case R_X86_64_GOTPCREL:
    case R_X86_64_GOTPCRELX:
    case R_X86_64_REX_GOTPCRELX: return relax_got(r, err);
    case R_X86_64_64:
        if (r->movable) break;
        return patch(r, 8, absolute, err);
    case R_X86_64_32:
        if (r->movable) break;
        if (absolute > UINT32_MAX) return refuse(r, "is out of reach", err);
        return patch(r, 4, absolute, err);
    case R_X86_64_32S:
        if (r->movable) break;
        if ((int64_t)absolute != (int32_t)absolute) return refuse(r, "is out of reach", err);
        return patch(r, 4, absolute, err);
    default: return refuse(r, "is not supported", err);
    }
    return refuse(r, "is absolute in code that is mapped anywhere", err);
}
