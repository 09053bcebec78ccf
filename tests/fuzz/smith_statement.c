/*
 * Statements of the smith: code that leaves the operand stack as it was, and writes something.
 * Loops count down a local of their own, at most three rounds each and SMITH_LOOPS deep, and
 * nothing else branches backward, so that everything ends.
 */
#include "tests/fuzz/smith.h"

static void masked(struct smith *s, int32_t mask) {
    smith_expression(s, 'i');
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, mask);
    smith_opcode(s->code, OP_I32_AND);
}

static void store(struct smith *s) {
    static const struct {
        uint32_t opcode;
        char letter;
        unsigned natural;
    } stores[] = {{OP_I32_STORE, 'i', 2},         {OP_I64_STORE, 'I', 3},
                  {OP_F32_STORE, 'f', 2},         {OP_F64_STORE, 'F', 3},
                  {OP_I32_STORE8, 'i', 0},        {OP_I32_STORE16, 'i', 1},
                  {OP_I64_STORE8, 'I', 0},        {OP_I64_STORE16, 'I', 1},
                  {OP_I64_STORE32, 'I', 2},       {OP_V128_STORE, 'V', 4},
                  {OP_V128_STORE8_LANE, 'V', 0},  {OP_V128_STORE16_LANE, 'V', 1},
                  {OP_V128_STORE32_LANE, 'V', 2}, {OP_V128_STORE64_LANE, 'V', 3}};
    unsigned which = smith_choose(s, countof(stores));
    masked(s, smith_choose(s, 64) == 63 ? -1 : 0xffff);
    smith_expression(s, stores[which].letter);
    smith_opcode(s->code, stores[which].opcode);
    smith_leb(s->code, smith_choose(s, stores[which].natural + 1));
    smith_leb(s->code, smith_choose(s, 256));
    if (stores[which].opcode >= OP_V128_STORE8_LANE)
        buffer_put_u8(s->code, (uint8_t)smith_choose(s, 16u >> stores[which].natural));
}

/* memory.fill, copy, init; table.fill, copy, init, set; the drops. */
static void bulk(struct smith *s) {
    static const uint32_t opcodes[] = {OP_MEMORY_FILL, OP_MEMORY_COPY, OP_MEMORY_INIT,
                                       OP_TABLE_COPY,  OP_TABLE_INIT,  OP_TABLE_SET,
                                       OP_TABLE_FILL,  OP_DATA_DROP,   OP_ELEM_DROP,
                                       OP_MEMORY_GROW, OP_TABLE_GROW};
    uint32_t opcode = opcodes[smith_choose(s, countof(opcodes))];
    switch (opcode) {
    case OP_MEMORY_FILL:
    case OP_MEMORY_COPY:
        masked(s, 0xffff);
        masked(s, 0xffff);
        masked(s, 0x3ff);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 0);
        if (opcode == OP_MEMORY_COPY) smith_leb(s->code, 0);
        return;
    case OP_MEMORY_INIT: /* segment 1, 16 bytes: traps once it is dropped */
        masked(s, 0xffff);
        masked(s, 7);
        masked(s, 7);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 1);
        smith_leb(s->code, 0);
        return;
    case OP_TABLE_COPY:
    case OP_TABLE_INIT: /* table 0, entries 4 to 7: entry 0 stays function 0 */
        smith_opcode(s->code, OP_I32_CONST);
        smith_sleb(s->code, 4);
        masked(s, 3);
        masked(s, 1);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, opcode == OP_TABLE_INIT ? 1 : 0);
        smith_leb(s->code, 0);
        return;
    case OP_TABLE_SET:
        masked(s, 7);
        smith_expression(s, 'x');
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 1);
        return;
    case OP_TABLE_FILL:
        masked(s, 3);
        smith_expression(s, 'x');
        masked(s, 3);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 1);
        return;
    case OP_MEMORY_GROW: /* by nothing: whether more can be had is the machine's affair */
        smith_opcode(s->code, OP_I32_CONST);
        smith_sleb(s->code, 0);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 0);
        smith_opcode(s->code, OP_DROP);
        return;
    case OP_TABLE_GROW: /* to at most 16 */
        smith_expression(s, 'x');
        masked(s, 1);
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 1);
        smith_opcode(s->code, OP_DROP);
        return;
    default:
        if (smith_choose(s, 8)) return;
        smith_opcode(s->code, opcode);
        smith_leb(s->code, 1);
        return;
    }
}

static void open_block(struct smith *s, uint32_t opcode) {
    smith_opcode(s->code, opcode);
    buffer_put_u8(s->code, 0x40);
    s->labels[s->label_count++] = opcode == OP_LOOP ? '!' : '.';
}

static void close_block(struct smith *s) {
    smith_opcode(s->code, OP_END);
    s->label_count--;
}

static void loop(struct smith *s) {
    if (s->loops == SMITH_LOOPS) return;
    uint32_t counter = smith_counter(s);
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, 1 + (int)smith_choose(s, 3));
    smith_opcode(s->code, OP_LOCAL_SET);
    smith_leb(s->code, counter);
    open_block(s, OP_LOOP);
    s->loops++;
    smith_statements(s, 1 + smith_choose(s, 3));
    s->loops--;
    smith_opcode(s->code, OP_LOCAL_GET);
    smith_leb(s->code, counter);
    smith_opcode(s->code, OP_I32_CONST);
    smith_sleb(s->code, 1);
    smith_opcode(s->code, OP_I32_SUB);
    smith_opcode(s->code, OP_LOCAL_TEE);
    smith_leb(s->code, counter);
    smith_opcode(s->code, OP_BR_IF);
    smith_leb(s->code, 0);
    close_block(s);
}

/* A branch out of some open block: br_if; or br or br_table with dead code behind it. */
static void branch(struct smith *s) {
    unsigned kind = smith_choose(s, 4),
             target = smith_choose(s, s->label_count ? s->label_count : 1);
    char label = s->label_count ? s->labels[s->label_count - 1 - target] : '!';
    if (label == '!') return;
    open_block(s, OP_BLOCK); /* a block, so that dead code ends with it */
    if (label != '.') smith_expression(s, label);
    if (kind == 0) {
        smith_opcode(s->code, OP_BR);
        smith_leb(s->code, target + 1);
    } else if (kind == 1) {
        smith_expression(s, 'i');
        smith_opcode(s->code, OP_BR_TABLE);
        smith_leb(s->code, 2);
        for (unsigned i = 0; i < 3; i++) smith_leb(s->code, target + 1);
    } else {
        smith_expression(s, 'i');
        smith_opcode(s->code, OP_BR_IF);
        smith_leb(s->code, target + 1);
        if (label != '.') smith_opcode(s->code, OP_DROP);
    }
    close_block(s);
}

/* Three nested blocks and a br_table among them: a switch. */
static void switch_(struct smith *s) {
    if (s->label_count > 50) return;
    for (unsigned i = 0; i < 3; i++) open_block(s, OP_BLOCK);
    smith_expression(s, 'i');
    smith_opcode(s->code, OP_BR_TABLE);
    unsigned count = smith_choose(s, 8);
    smith_leb(s->code, count);
    for (unsigned i = 0; i <= count; i++) smith_leb(s->code, smith_choose(s, 3));
    for (unsigned i = 0; i < 3; i++) {
        close_block(s);
        smith_statements(s, smith_choose(s, 2));
    }
}

static void conditional(struct smith *s) {
    if (s->label_count > 50) return;
    smith_expression(s, 'i');
    open_block(s, OP_IF);
    smith_statements(s, 1 + smith_choose(s, 2));
    if (smith_choose(s, 2)) {
        smith_opcode(s->code, OP_ELSE);
        smith_statements(s, 1);
    }
    if (smith_choose(s, 16) == 15) smith_opcode(s->code, OP_UNREACHABLE);
    close_block(s);
}

/* Now and then, an exception with some tag, or the one that was kept. */
static void throw_(struct smith *s) {
    unsigned tag = smith_choose(s, SMITH_TAG_COUNT + 1);
    smith_expression(s, 'i');
    open_block(s, OP_IF);
    if (tag == SMITH_TAG_COUNT) {
        smith_opcode(s->code, OP_LOCAL_GET);
        smith_leb(s->code, smith_exnref(s));
        smith_opcode(s->code, OP_THROW_REF); /* a trap where there is none */
    } else {
        for (const char *p = smith_tags[tag]; *p; p++) smith_expression(s, *p);
        smith_opcode(s->code, OP_THROW);
        smith_leb(s->code, tag);
    }
    close_block(s);
}

/*
 * block                      where it goes on
 *   block (result ...)       what the handler gets
 *     try_table              a clause for the handler, and perhaps one for everything
 *       statements
 *     end
 *     br 1
 *   end
 *   values and reference to locals, statements
 * end
 */
static void try_(struct smith *s) {
    if (s->label_count > 45) return;
    unsigned tag = smith_choose(s, SMITH_TAG_COUNT), ref = smith_choose(s, 2);
    bool all = smith_choose(s, 4) == 0;
    open_block(s, OP_BLOCK);
    smith_opcode(s->code, OP_BLOCK);
    smith_leb(s->code, SMITH_HANDLER_TYPE(tag, ref));
    s->labels[s->label_count++] = '!';
    smith_opcode(s->code, OP_TRY_TABLE);
    buffer_put_u8(s->code, 0x40);
    smith_leb(s->code, all ? 2 : 1);
    buffer_put_u8(s->code, ref ? CATCH_REF : CATCH);
    smith_leb(s->code, tag);
    smith_leb(s->code, 0);
    if (all) {
        buffer_put_u8(s->code, CATCH_ALL);
        smith_leb(s->code, 1);
    }
    s->labels[s->label_count++] = '.';
    smith_statements(s, 1 + smith_choose(s, 3));
    throw_(s);
    close_block(s);
    smith_opcode(s->code, OP_BR);
    smith_leb(s->code, 1);
    close_block(s);
    if (ref) {
        smith_opcode(s->code, OP_LOCAL_SET);
        smith_leb(s->code, smith_exnref(s));
    }
    for (size_t i = strlen(smith_tags[tag]); i-- > 0;) {
        smith_opcode(s->code, OP_LOCAL_SET);
        smith_leb(s->code, smith_local(s, smith_tags[tag][i], smith_choose(s, 2)));
    }
    smith_statements(s, smith_choose(s, 2));
    close_block(s);
}

static void statement(struct smith *s) {
    char letter = SMITH_LETTERS[smith_choose(s, sizeof SMITH_LETTERS - 1)];
    switch (smith_choose(s, s->throwing ? 16 : 12)) {
    case 0:
    case 1:
        smith_expression(s, letter);
        smith_opcode(s->code, OP_LOCAL_SET);
        smith_leb(s->code, smith_local(s, letter, smith_choose(s, 2)));
        break;
    case 2:
        smith_expression(s, letter);
        smith_opcode(s->code, OP_GLOBAL_SET);
        smith_leb(s->code, (uint64_t)(strchr(SMITH_LETTERS, letter) - SMITH_LETTERS));
        break;
    case 3:
    case 4:
    case 5: store(s); break;
    case 6: bulk(s); break;
    case 7: loop(s); break;
    case 8: branch(s); break;
    case 9: switch_(s); break;
    case 10: conditional(s); break;
    case 11:
        smith_expression(s, letter);
        smith_opcode(s->code, OP_DROP);
        break;
    case 12: throw_(s); break;
    default: try_(s); break;
    }
}

void smith_statements(struct smith *s, unsigned count) {
    for (unsigned i = 0; i < count && s->budget > 0 && s->label_count < 50; i++) statement(s);
}
