/*
 * Code addresses to Wasm offsets: runs the line number programs of .debug_line (DWARF 4 and 5,
 * 6.2) in one pass and notes the row that covers each address asked for. The "line" of a row is
 * the byte offset of the instruction in the module. Done when a trap is reported, so nothing is
 * kept; the bytes are read through bounds.
 */
#include "runtime/trap.h"

#define MAX_OPERANDS 256

struct header {
    uint8_t min_instruction, line_range, opcode_base;
    int8_t line_base;
    uint8_t operand_counts[MAX_OPERANDS];
};

struct search {
    uint32_t count;
    struct debug_target *targets; /* ascending */
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

/* A row holds from its address to the next row's. */
static void note(const struct search *s, uint64_t from, uint64_t to, uint64_t line) {
    if (to <= from || s->count == 0 || to <= s->targets[0].address ||
        from > s->targets[s->count - 1].address)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->targets[i].address >= from && s->targets[i].address < to)
            s->targets[i].line = line;
}

/* The state machine's registers that matter here. */
struct state {
    uint64_t address, line;
    bool has_row; /* of this sequence: the one below */
    uint64_t row_address, row_line;
};

static void emit(const struct search *s, struct state *m, bool end) {
    if (m->has_row) note(s, m->row_address, m->address, m->row_line);
    m->has_row = !end;
    m->row_address = m->address;
    m->row_line = m->line;
}

static void run(struct reader *r, const struct header *h, const struct search *s) {
    const struct state start = {.line = 1};
    struct state m = start;
    while (!r->failed && reader_left(r)) {
        uint8_t op = reader_u8(r);
        if (op >= h->opcode_base) { /* special */
            uint8_t adjusted = (uint8_t)(op - h->opcode_base);
            m.address += (uint64_t)(adjusted / h->line_range) * h->min_instruction;
            m.line += (uint64_t)(int64_t)(h->line_base + adjusted % h->line_range);
            emit(s, &m, false);
            continue;
        }
        switch (op) {
        case 0: { /* extended */
            uint64_t size = uleb(r);
            if (r->failed || size == 0 || size > reader_left(r)) return;
            struct reader x = reader_over(r->at, size);
            r->at += size;
            switch (reader_u8(&x)) {
            case 1: /* end_sequence */
                emit(s, &m, true);
                m = start;
                break;
            case 2: m.address = size == 9 ? reader_u64(&x) : reader_u32(&x); break;
            default: break;
            }
            break;
        }
        case 1: emit(s, &m, false); break;
        case 2: m.address += uleb(r) * h->min_instruction; break;
        case 3: m.line += (uint64_t)sleb(r); break;
        case 8: /* const_add_pc */
            m.address +=
                (uint64_t)((255 - h->opcode_base) / h->line_range) * h->min_instruction;
            break;
        case 9: m.address += reader_u16(r); break;
        default:
            for (unsigned i = 0; i < h->operand_counts[op]; i++) uleb(r);
            break;
        }
    }
}

/* One unit's contribution; r ends where it ends. */
static void unit(struct reader *r, bool wide, const struct search *s) {
    struct header h = {0};
    uint16_t version = reader_u16(r);
    if (version < 2 || version > 5) return;
    if (version >= 5) {
        if (reader_u8(r) != 8 || reader_u8(r) != 0) return; /* address, segment selector size */
    }
    uint64_t header_length = wide ? reader_u64(r) : reader_u32(r);
    if (r->failed || header_length > reader_left(r)) return;
    const uint8_t *program = r->at + header_length;
    h.min_instruction = reader_u8(r);
    if (version >= 4) reader_u8(r); /* operations in an instruction: 1 but for VLIW */
    reader_u8(r);                   /* default_is_stmt */
    h.line_base = (int8_t)reader_u8(r);
    h.line_range = reader_u8(r);
    h.opcode_base = reader_u8(r);
    for (unsigned i = 1; i < h.opcode_base; i++) h.operand_counts[i] = reader_u8(r);
    if (r->failed || r->at > program || h.line_range == 0 || h.opcode_base == 0) return;
    r->at = program; /* directories and files do not matter: there is one module */
    run(r, &h, s);
}

void lines_find(const struct code *code, uint32_t count, struct debug_target *targets) {
    const struct abi_object *o = code->object;
    if (o->lines_size > code->file_size || o->lines_offset > code->file_size - o->lines_size)
        return;
    const struct search s = {.count = count, .targets = targets};
    struct reader r = reader_over(code->file + o->lines_offset, o->lines_size);
    while (reader_left(&r) >= 4) {
        uint64_t length = reader_u32(&r);
        bool wide = length == UINT32_MAX;
        if (wide) length = reader_u64(&r);
        if (r.failed || length > reader_left(&r)) return;
        struct reader u = reader_over(r.at, length);
        r.at += length;
        unit(&u, wide, &s);
    }
}
