/*
 * One step from a frame to its caller, by the object's .eh_frame (LSB 5.0 core, 10.6; DWARF 5,
 * 6.4), and from a frame to its handler of exceptions, by .gcc_except_table. It knows the rules
 * that the compiler emits for functions: a CFA from a register and an offset, registers saved
 * at offsets from it. An expression ends the walk.
 *
 * The section lies in a file that the loader has checked only as a whole, and the stack may
 * hold anything a guest made it hold: both are read through bounds.
 */
#include "runtime/trap.h"

#define RULE_REGISTERS 17 /* 16 general ones and the return address */
#define RETURN_ADDRESS 16
#define MAX_REMEMBERED 8
/* rbx, rbp, r12 to r15: where no rule says otherwise, the caller's value is still in them */
#define CALLEE_SAVED 0xf048u

enum rule_kind {
    RULE_SAME,
    RULE_UNDEFINED,
    RULE_OFFSET,
    RULE_VAL_OFFSET
};
struct rule {
    enum rule_kind kind;
    int64_t offset;
};
struct row {
    uint64_t args_bytes; /* pushed for the call: a handler begins without them */
    uint64_t cfa_register;
    int64_t cfa_offset;
    bool cfa_known;
    struct rule rules[RULE_REGISTERS];
};

/* What an FDE and its CIE say about one range of addresses. */
struct entry {
    uint64_t start, size; /* object addresses */
    uint64_t handlers;    /* of the table of its handlers, 0 where it has none */
    uint64_t code_align;
    int64_t data_align;
    struct reader initial, program;
};

static uint64_t uleb(struct reader *r) {
    uint64_t v = 0;
    if (reader_leb_u64(r, &v) != LEB_OK) r->failed = true;
    return v;
}
static int64_t sleb(struct reader *r) {
    int64_t v = 0;
    if (reader_leb_s64(r, &v) != LEB_OK) r->failed = true;
    return v;
}

/* A pointer in encoding (LSB 10.5.1); address is that of the section's first byte. */
static uint64_t pointer(struct reader *r, uint8_t encoding, uint64_t address) {
    uint64_t at = address + reader_offset(r), v;
    switch (encoding & 0x0f) {
    case 0x00: /* absptr */
    case 0x04: /* udata8 */
    case 0x0c: v = reader_u64(r); break;
    case 0x03: v = reader_u32(r); break;
    case 0x0b: v = (uint64_t)(int64_t)(int32_t)reader_u32(r); break;
    default: r->failed = true; return 0;
    }
    switch (encoding & 0x70) {
    case 0x00: return v;
    case 0x10: return v + at;
    default: r->failed = true; return 0;
    }
}

struct cie {
    uint64_t offset;
    uint8_t encoding, handlers_encoding; /* the latter 0xff: none */
    bool augmented;                      /* FDEs have augmentation data */
    uint64_t code_align;
    int64_t data_align;
    struct reader initial;
};

/* Parses the CIE at offset of the section. */
static bool parse_cie(const struct reader *section, uint64_t offset, uint64_t address,
                      struct cie *ret) {
    struct reader r = *section;
    r.at = r.start;
    r.failed = false;
    reader_bytes(&r, offset);
    uint32_t length = reader_u32(&r);
    if (r.failed || length == UINT32_MAX || length > reader_left(&r)) return false;
    r.end = r.at + length;
    if (reader_u32(&r) != 0) return false;
    uint8_t version = reader_u8(&r);
    if (version != 1 && version != 3) return false;
    const char *augmentation = (const char *)r.at;
    while (reader_u8(&r) != 0);
    if (r.failed) return false;
    *ret = (struct cie){.offset = offset, .handlers_encoding = 0xff};
    ret->code_align = uleb(&r);
    ret->data_align = sleb(&r);
    uint64_t return_register = version == 1 ? reader_u8(&r) : uleb(&r);
    if (r.failed || return_register != RETURN_ADDRESS) return false;
    if (augmentation[0] == 'z') {
        ret->augmented = true;
        uint64_t size = uleb(&r);
        if (r.failed || size > reader_left(&r)) return false;
        const uint8_t *after = r.at + size;
        for (const char *a = augmentation + 1; *a; a++) {
            if (*a == 'R') {
                ret->encoding = reader_u8(&r);
            } else if (*a == 'P') {
                uint8_t encoding = reader_u8(&r);
                pointer(&r, encoding & 0x7f, address);
            } else if (*a == 'L') {
                ret->handlers_encoding = reader_u8(&r);
            } else if (*a != 'S' && *a != 'B') {
                return false;
            }
        }
        if (r.failed || r.at > after) return false;
        r.at = after;
    } else if (augmentation[0]) {
        return false;
    }
    ret->initial = r;
    return true;
}

/* The FDE at *r, which is left behind it: whether it covers pc. */
static bool read_fde(const struct reader *section, struct reader *r, uint64_t address,
                     uint64_t pc, struct cie *cie, struct entry *ret) {
    uint32_t length = reader_u32(r);
    if (length == 0 || length == UINT32_MAX || length > reader_left(r)) {
        r->failed = true;
        return false;
    }
    struct reader f = *r;
    f.end = f.at + length;
    r->at = f.end;
    uint64_t id_at = reader_offset(&f);
    uint32_t id = reader_u32(&f); /* the distance back to its CIE; 0: it is one itself */
    if (f.failed || id == 0) return false;
    if (id > id_at ||
        (cie->offset != id_at - id && !parse_cie(section, id_at - id, address, cie))) {
        r->failed = true;
        return false;
    }
    uint64_t start = pointer(&f, cie->encoding, address);
    uint64_t size = pointer(&f, cie->encoding & 0x0f, 0);
    if (f.failed || pc - start >= size) return false;
    *ret = (struct entry){.start = start,
                          .size = size,
                          .code_align = cie->code_align,
                          .data_align = cie->data_align,
                          .initial = cie->initial};
    if (cie->augmented) {
        uint64_t bytes = uleb(&f);
        const uint8_t *after = reader_bytes(&f, bytes);
        if (after && cie->handlers_encoding != 0xff) {
            struct reader augmentation = f;
            augmentation.at = after;
            augmentation.end = f.at;
            ret->handlers = pointer(&augmentation, cie->handlers_encoding, address);
            f.failed |= augmentation.failed;
        }
    }
    ret->program = f;
    return !f.failed;
}

/* Bytes of the file, none where they do not lie in it. */
static struct reader bytes_at(const struct code *code, uint64_t offset, uint64_t size) {
    if (size > code->file_size || offset > code->file_size - size)
        return reader_over(code->file, 0);
    return reader_over(code->file + offset, size);
}

/* Offset in .eh_frame of the FDE that may cover pc, by .eh_frame_hdr; the linker sorts it. */
#define SEARCH_HEADER_BYTES 12u
static bool search(const struct code *code, uint64_t pc, uint64_t *ret_offset) {
    const struct abi_object *o = code->object;
    struct reader r = bytes_at(code, o->eh_frame_hdr_offset, o->eh_frame_hdr_size);
    const uint8_t *header = reader_bytes(&r, 8);
    uint32_t count = reader_u32(&r);
    static const uint8_t form[4] = {1, 0x1b, 0x03, 0x3b};
    if (!header || r.failed || memcmp(header, form, sizeof form) != 0 ||
        count > reader_left(&r) / 8)
        return false;
    const uint8_t *rows = r.at;
    uint32_t low = 0, high = count;
    while (low < high) { /* the last one that begins at or before pc */
        uint32_t middle = low + (high - low) / 2;
        struct reader row = reader_over(rows + 8 * (uint64_t)middle, 8);
        uint64_t start = o->eh_frame_hdr_address + (uint64_t)(int64_t)(int32_t)reader_u32(&row);
        if (start <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return false;
    struct reader row = reader_over(rows + 8 * (uint64_t)(low - 1) + 4, 4);
    uint64_t fde = o->eh_frame_hdr_address + (uint64_t)(int64_t)(int32_t)reader_u32(&row);
    *ret_offset = fde - o->eh_frame_address;
    return *ret_offset < o->eh_frame_size;
}

/* Finds the FDE that covers the object address pc. */
static bool find_entry(const struct code *code, uint64_t pc, struct entry *ret) {
    const struct abi_object *o = code->object;
    const struct reader section = bytes_at(code, o->eh_frame_offset, o->eh_frame_size);
    struct reader r = section;
    struct cie cie = {.offset = UINT64_MAX};
    uint64_t offset;
    if (o->eh_frame_hdr_size)
        return search(code, pc, &offset) && reader_bytes(&r, offset) &&
               read_fde(&section, &r, o->eh_frame_address, pc, &cie, ret);
    while (!r.failed && reader_left(&r) >= 8)
        if (read_fde(&section, &r, o->eh_frame_address, pc, &cie, ret)) return true;
    return false;
}

static void set_rule(struct row *row, uint64_t number, enum rule_kind kind, int64_t offset) {
    if (number < RULE_REGISTERS)
        row->rules[number] = (struct rule){.kind = kind, .offset = offset};
}

static int64_t scaled(uint64_t factored, int64_t align) {
    return (int64_t)(factored * (uint64_t)align);
}

/* Runs call frame instructions up to the row that covers pc. initial is the row of the CIE
 * (NULL while that is being made). */
static bool run(struct reader *r, const struct entry *e, uint64_t pc, const struct row *initial,
                struct row *row) {
    struct row remembered[MAX_REMEMBERED];
    unsigned depth = 0;
    uint64_t at = e->start;
    while (!r->failed && reader_left(r)) {
        uint8_t op = reader_u8(r);
        uint64_t low = op & 0x3f, number, advance = 0;
        switch (op & 0xc0) {
        case 0x40: advance = low; break; /* advance_loc */
        case 0x80:                       /* offset */
            set_rule(row, low, RULE_OFFSET, scaled(uleb(r), e->data_align));
            continue;
        case 0xc0: /* restore */
            if (!initial) return false;
            if (low < RULE_REGISTERS) row->rules[low] = initial->rules[low];
            continue;
        default: break;
        }
        if ((op & 0xc0) == 0) switch (op) {
            case 0x00: continue; /* nop */
            case 0x02: advance = reader_u8(r); break;
            case 0x03: advance = reader_u16(r); break;
            case 0x04: advance = reader_u32(r); break;
            case 0x05: /* offset_extended */
                number = uleb(r);
                set_rule(row, number, RULE_OFFSET, scaled(uleb(r), e->data_align));
                continue;
            case 0x11: /* offset_extended_sf */
                number = uleb(r);
                set_rule(row, number, RULE_OFFSET, scaled((uint64_t)sleb(r), e->data_align));
                continue;
            case 0x14: /* val_offset */
                number = uleb(r);
                set_rule(row, number, RULE_VAL_OFFSET, scaled(uleb(r), e->data_align));
                continue;
            case 0x06: /* restore_extended */
                number = uleb(r);
                if (!initial) return false;
                if (number < RULE_REGISTERS) row->rules[number] = initial->rules[number];
                continue;
            case 0x07: set_rule(row, uleb(r), RULE_UNDEFINED, 0); continue;
            case 0x08: set_rule(row, uleb(r), RULE_SAME, 0); continue;
            case 0x09: /* register: held in another one */
                set_rule(row, uleb(r), RULE_UNDEFINED, 0);
                uleb(r);
                continue;
            case 0x0a: /* remember_state */
                if (depth == MAX_REMEMBERED) return false;
                remembered[depth++] = *row;
                continue;
            case 0x0b: /* restore_state */
                if (depth == 0) return false;
                *row = remembered[--depth];
                continue;
            case 0x0c: /* def_cfa */
                row->cfa_register = uleb(r);
                row->cfa_offset = (int64_t)uleb(r);
                row->cfa_known = true;
                continue;
            case 0x12: /* def_cfa_sf */
                row->cfa_register = uleb(r);
                row->cfa_offset = scaled((uint64_t)sleb(r), e->data_align);
                row->cfa_known = true;
                continue;
            case 0x0d: row->cfa_register = uleb(r); continue;
            case 0x0e: row->cfa_offset = (int64_t)uleb(r); continue;
            case 0x13: row->cfa_offset = scaled((uint64_t)sleb(r), e->data_align); continue;
            case 0x0f: /* def_cfa_expression */
                row->cfa_known = false;
                reader_bytes(r, uleb(r));
                continue;
            case 0x10: /* expression */
            case 0x16: /* val_expression */
                set_rule(row, uleb(r), RULE_UNDEFINED, 0);
                reader_bytes(r, uleb(r));
                continue;
            case 0x2e: row->args_bytes = uleb(r); continue; /* GNU_args_size */
            default: return false;
            }
        at += advance * e->code_align;
        if (at > pc) return !r->failed;
    }
    return !r->failed;
}

/* A word of the guest's stack. */
static bool stack_word(uint64_t address, uint64_t *ret) {
    if (address < guest_stack.low || address > guest_stack.top - 8 || address % 8) return false;
    *ret = *(const uint64_t *)address;
    return true;
}

/* The rules at a frame's place in its function. */
static bool find_row(const struct code *code, const struct registers *regs, struct entry *ret,
                     struct row *ret_row) {
    uint64_t pc = regs->pc - (regs->pc_is_return ? 1 : 0) - code->bias;
    if (!find_entry(code, pc, ret)) return false;
    struct row row = {0}, initial;
    if (!run(&ret->initial, ret, UINT64_MAX, NULL, &row)) return false;
    initial = row;
    if (!run(&ret->program, ret, pc, &initial, &row)) return false;
    *ret_row = row;
    return true;
}

/*
 * The table of handlers (what LLVM writes into .gcc_except_table): how landing pads and types
 * are given, then call sites, each its start, size, landing pad and action, relative to the
 * function's start. All landing pads of ours take every exception.
 */
static bool find_landing_pad(const struct code *code, const struct entry *e, uint64_t pc,
                             uint64_t *ret_pad) {
    const struct abi_object *o = code->object;
    struct reader r = bytes_at(code, o->rodata_offset, o->rodata_size);
    if (e->handlers < o->rodata_address || !reader_bytes(&r, e->handlers - o->rodata_address))
        return false;
    if (reader_u8(&r) != 0xff) return false;   /* pads are relative to the function */
    if (reader_u8(&r) != 0xff) (void)uleb(&r); /* where the types end: there are none */
    if (reader_u8(&r) != 0x01) return false;   /* numbers are ULEB128 */
    uint64_t size = uleb(&r), at = pc - e->start;
    if (r.failed || size > reader_left(&r)) return false;
    r.end = r.at + size;
    while (reader_left(&r)) {
        uint64_t start = uleb(&r), length = uleb(&r), pad = uleb(&r);
        (void)uleb(&r);
        if (r.failed || start > at) return false; /* they are sorted */
        if (at - start >= length) continue;
        *ret_pad = e->start + pad;
        return pad != 0 && pad < e->size;
    }
    return false;
}

bool unwind_handler(const struct code *code, const struct registers *regs, uint64_t *ret_pc,
                    uint64_t *ret_args_bytes) {
    struct entry e;
    struct row row;
    uint64_t pc = regs->pc - (regs->pc_is_return ? 1 : 0) - code->bias, pad;
    if (!find_entry(code, pc, &e) || !e.handlers || !find_landing_pad(code, &e, pc, &pad) ||
        !find_row(code, regs, &e, &row))
        return false;
    *ret_pc = pad + code->bias;
    *ret_args_bytes = row.args_bytes;
    return true;
}

bool unwind_step(const struct code *code, struct registers *regs) {
    enum abi_trap trap;
    if (!regs->pc_is_return && trap_find_stub(code, regs->pc, &trap)) {
        /* a stub pushes nothing */
        uint64_t sp = regs->r[REG_DWARF_RSP];
        if (!stack_word(sp, &regs->pc)) return false;
        regs->r[REG_DWARF_RSP] = sp + 8;
        regs->pc_is_return = true;
        return true;
    }
    struct entry e;
    struct row row;
    if (!find_row(code, regs, &e, &row)) return false;
    if (!row.cfa_known || row.cfa_register >= REG_DWARF_COUNT ||
        !(regs->known >> row.cfa_register & 1))
        return false;
    uint64_t cfa = regs->r[row.cfa_register] + (uint64_t)row.cfa_offset;
    /* the walk goes up, so it ends */
    if (cfa <= regs->r[REG_DWARF_RSP] || cfa > guest_stack.top) return false;

    struct registers caller = {.pc_is_return = true};
    for (unsigned i = 0; i < RULE_REGISTERS; i++) {
        const struct rule *rule = &row.rules[i];
        uint64_t value = 0;
        bool known = false;
        switch (rule->kind) {
        case RULE_SAME:
            /* the return address never stays where it was; of the rest the callee-saved do */
            if (i == RETURN_ADDRESS) return false;
            known = (regs->known & CALLEE_SAVED) >> i & 1;
            value = regs->r[i];
            break;
        case RULE_UNDEFINED: break;
        case RULE_OFFSET: known = stack_word(cfa + (uint64_t)rule->offset, &value); break;
        case RULE_VAL_OFFSET:
            value = cfa + (uint64_t)rule->offset;
            known = true;
            break;
        default: break;
        }
        if (i == RETURN_ADDRESS) {
            if (!known) return false;
            caller.pc = value;
        } else if (known) {
            caller.r[i] = value;
            caller.known |= 1u << i;
        }
    }
    caller.r[REG_DWARF_RSP] = cfa;
    caller.known |= 1u << REG_DWARF_RSP;
    *regs = caller;
    return true;
}
