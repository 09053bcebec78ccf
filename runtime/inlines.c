/*
 * Code addresses to the calls that were inlined there: walks the entries of .debug_info (DWARF
 * 4, 7.5; what LLVM writes for line tables alone) once and notes each DW_TAG_inlined_subroutine
 * that covers an address asked for. Entries come in the order of the tree, so an outer call is
 * seen before the ones inside it. The call's "line" is the byte offset of the call in the
 * module.
 *
 * A unit that uses more of DWARF than this knows is left out. Read through bounds; every round
 * of a loop takes at least one byte, so hostile tables end.
 */
#include "runtime/trap.h"

#define MAX_ABBREVIATIONS 256u

enum {
    TAG_COMPILE_UNIT = 0x11,
    TAG_INLINED_SUBROUTINE = 0x1d,
    AT_LOW_PC = 0x11,
    AT_HIGH_PC = 0x12,
    AT_RANGES = 0x55,
    AT_CALL_LINE = 0x59,
    FORM_ADDR = 0x01,
    FORM_IMPLICIT_CONST = 0x21,
};

struct abbreviation {
    uint64_t tag;
    struct reader attributes;
};

struct walk {
    uint32_t count;
    struct debug_target *targets; /* ascending */
    struct reader abbrevs, ranges;
    struct abbreviation table[MAX_ABBREVIATIONS];
    bool wide;     /* 64-bit DWARF */
    uint64_t base; /* of the unit's ranges */
};

/* The attributes that matter, of one entry. */
struct entry {
    bool has_low, has_high, has_ranges, high_is_size;
    uint64_t low, high, ranges, call_line;
};

static uint64_t uleb(struct reader *r) {
    uint64_t v = 0;
    if (reader_leb_u64(r, &v) != LEB_OK) r->failed = true;
    return v;
}

/* Value of a constant, address or offset; 0 and skipped for others. False where unknown. */
static bool read_form(struct reader *r, uint64_t form, bool wide, uint64_t *ret) {
    int64_t skipped;
    *ret = 0;
    switch (form) {
    case FORM_ADDR:
    case 0x07: *ret = reader_u64(r); break; /* data8 */
    case 0x0b: *ret = reader_u8(r); break;  /* data1 */
    case 0x05: *ret = reader_u16(r); break;
    case 0x06: *ret = reader_u32(r); break;
    case 0x0f: *ret = uleb(r); break; /* udata */
    case 0x0d:
        if (reader_leb_s64(r, &skipped) != LEB_OK) r->failed = true;
        break;
    case 0x0e:                                                     /* strp */
    case 0x10:                                                     /* ref_addr */
    case 0x17: *ret = wide ? reader_u64(r) : reader_u32(r); break; /* sec_offset */
    case 0x08:                                                     /* string */
        while (reader_u8(r) != 0);
        break;
    case 0x0c:
    case 0x11: reader_u8(r); break; /* flag, ref1 */
    case 0x12: reader_u16(r); break;
    case 0x13: reader_u32(r); break;
    case 0x14:
    case 0x20: reader_u64(r); break;                 /* ref8, ref_sig8 */
    case 0x15: uleb(r); break;                       /* ref_udata */
    case 0x0a: reader_bytes(r, reader_u8(r)); break; /* block1, 2, 4 */
    case 0x03: reader_bytes(r, reader_u16(r)); break;
    case 0x04: reader_bytes(r, reader_u32(r)); break;
    case 0x09:
    case 0x18: reader_bytes(r, uleb(r)); break; /* block, exprloc */
    case 0x19: *ret = 1; break;                 /* flag_present */
    default: return false;
    }
    return !r->failed;
}

/* Fills the table of a unit's abbreviations. */
static bool read_abbreviations(struct walk *w, uint64_t offset) {
    memset(w->table, 0, sizeof w->table);
    struct reader r = w->abbrevs;
    reader_bytes(&r, offset);
    for (;;) {
        uint64_t code = uleb(&r);
        if (r.failed) return false;
        if (code == 0) return true;
        if (code >= MAX_ABBREVIATIONS) return false;
        struct abbreviation *a = &w->table[code];
        a->tag = uleb(&r);
        reader_u8(&r); /* whether it has children: the walk does not keep the tree */
        a->attributes = r;
        for (;;) {
            uint64_t name = uleb(&r), form = uleb(&r);
            if (r.failed || form == FORM_IMPLICIT_CONST) return false;
            if (name == 0 && form == 0) break;
        }
    }
}

static bool covers(uint64_t from, uint64_t to, uint64_t address) {
    return address >= from && address < to;
}

/* Whether one of an entry's ranges (DWARF 4, 2.17.3) holds the address. */
static bool in_ranges(const struct walk *w, uint64_t offset, uint64_t address) {
    struct reader r = w->ranges;
    uint64_t base = w->base;
    reader_bytes(&r, offset);
    for (;;) {
        uint64_t from = reader_u64(&r), to = reader_u64(&r);
        if (r.failed || (from == 0 && to == 0)) return false;
        if (from == UINT64_MAX)
            base = to;
        else if (covers(base + from, base + to, address))
            return true;
    }
}

static void note(const struct walk *w, const struct entry *e) {
    uint64_t high = e->high_is_size ? e->low + e->high : e->high;
    for (uint32_t i = 0; i < w->count; i++) {
        struct debug_target *t = &w->targets[i];
        bool inside = e->has_ranges
                          ? in_ranges(w, e->ranges, t->address)
                          : e->has_low && e->has_high && covers(e->low, high, t->address);
        if (inside && t->call_count < DEBUG_MAX_INLINED)
            t->calls[t->call_count++] = e->call_line;
    }
}

static bool read_entry(const struct walk *w, struct reader *r, const struct abbreviation *a,
                       struct entry *ret) {
    struct reader attributes = a->attributes;
    *ret = (struct entry){0};
    for (;;) {
        uint64_t name = uleb(&attributes), form = uleb(&attributes), value;
        if (name == 0 && form == 0) return !attributes.failed;
        if (!read_form(r, form, w->wide, &value)) return false;
        switch (name) {
        case AT_LOW_PC:
            ret->has_low = true;
            ret->low = value;
            break;
        case AT_HIGH_PC:
            ret->has_high = true;
            ret->high = value;
            ret->high_is_size = form != FORM_ADDR;
            break;
        case AT_RANGES:
            ret->has_ranges = true;
            ret->ranges = value;
            break;
        case AT_CALL_LINE: ret->call_line = value; break;
        default: break;
        }
    }
}

static void unit(struct walk *w, struct reader *r) {
    uint16_t version = reader_u16(r);
    uint64_t abbreviations = w->wide ? reader_u64(r) : reader_u32(r);
    uint8_t address_size = reader_u8(r);
    if (r->failed || version < 2 || version > 4 || address_size != 8) return;
    if (!read_abbreviations(w, abbreviations)) return;
    w->base = 0;
    while (!r->failed && reader_left(r)) {
        uint64_t code = uleb(r);
        if (r->failed) return;
        if (code == 0) continue; /* the end of some entry's children */
        if (code >= MAX_ABBREVIATIONS || !w->table[code].attributes.start) return;
        struct entry e;
        if (!read_entry(w, r, &w->table[code], &e)) return;
        if (w->table[code].tag == TAG_COMPILE_UNIT) w->base = e.low;
        if (w->table[code].tag == TAG_INLINED_SUBROUTINE) note(w, &e);
    }
}

/* Bytes of the file, none where they do not lie in it. */
static struct reader bytes_at(const struct code *code, uint64_t offset, uint64_t size) {
    if (size > code->file_size || offset > code->file_size - size)
        return reader_over(code->file, 0);
    return reader_over(code->file + offset, size);
}

void inlines_find(const struct code *code, uint32_t count, struct debug_target *targets) {
    const struct abi_object *o = code->object;
    struct walk w = {.count = count,
                     .targets = targets,
                     .abbrevs = bytes_at(code, o->abbrev_offset, o->abbrev_size),
                     .ranges = bytes_at(code, o->ranges_offset, o->ranges_size)};
    struct reader r = bytes_at(code, o->info_offset, o->info_size);
    while (reader_left(&r) >= 4) {
        uint64_t length = reader_u32(&r);
        w.wide = length == UINT32_MAX;
        if (w.wide) length = reader_u64(&r);
        if (r.failed || length > reader_left(&r)) return;
        struct reader u = reader_over(r.at, length);
        r.at += length;
        unit(&w, &u);
    }
}
