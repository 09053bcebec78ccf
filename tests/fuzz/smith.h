/* Private to the smith: the state while one module is made. */
#ifndef HUTCH_TESTS_FUZZ_SMITH_H
#define HUTCH_TESTS_FUZZ_SMITH_H

#include "base/base.h"
#include "compiler/opcodes.h"

/* Function types by letter: i I f F V as in opcodes.def, r = funcref, x = externref. */
#define SMITH_TYPES(X)                                                                         \
    X("", "i")                                                                                 \
    X("iI", "I")                                                                               \
    X("fFV", "V")                                                                              \
    X("i", "iF")                                                                               \
    X("Ixr", "")                                                                               \
    X("Ff", "f")                                                                               \
    X("VV", "F")                                                                               \
    X("", "I") /* of "run" */
#define SMITH_TYPE_COUNT 8u
#define SMITH_RUN_TYPE 7u
#define SMITH_FUNCTIONS 7u /* and "run" behind them; function i has type i */
#define SMITH_TABLE_SIZE 8u
#define SMITH_MEMORY_BYTES 0x20000u
#define SMITH_LETTERS "iIfFVrx"

/* Modules that throw have, behind those types, one of each tag, and of each what a handler gets
 * without and with the exception. Their functions have one more local, of type exnref. */
#define SMITH_TAGS(X) X("") X("i") X("IFV") X("rxf")
#define SMITH_TAG_COUNT 4u
#define SMITH_TAG_TYPE(tag) (SMITH_TYPE_COUNT + (tag))
#define SMITH_HANDLER_TYPE(tag, ref) (SMITH_TYPE_COUNT + SMITH_TAG_COUNT + 2 * (tag) + (ref))
extern const char *const smith_tags[SMITH_TAG_COUNT];

/* Locals behind the parameters: two of each letter, loop counters, one scratch of each letter.
 */
#define SMITH_LOOPS 3u

struct smith_type {
    const char *params, *results;
};
extern const struct smith_type smith_types[SMITH_TYPE_COUNT];

struct smith {
    const uint8_t *at, *end; /* chance; 0 when used up */
    struct buffer *code;
    unsigned function;
    bool throwing;
    int budget; /* of instructions; below 0 only constants are made */
    unsigned depth, loops, calls;
    char labels[64]; /* the label type of each open block, '.' for none, '!' for a loop */
    unsigned label_count;
};

/* A number below n out of the bytes of chance. */
unsigned smith_choose(struct smith *s, unsigned n);
void smith_opcode(struct buffer *code, uint32_t opcode);
void smith_leb(struct buffer *b, uint64_t value);
void smith_sleb(struct buffer *b, int64_t value);
uint8_t smith_valtype(char letter);
/* Index of the nth local of a letter: 0, 1, and 2 for the scratch one. */
uint32_t smith_local(const struct smith *s, char letter, unsigned nth);
uint32_t smith_counter(const struct smith *s);
/* Index of the local of type exnref. */
uint32_t smith_exnref(const struct smith *s);
/* The local declarations that smith_local counts on. */
void smith_declare_locals(const struct smith *s);

/* Code that leaves one value of this letter. */
void smith_expression(struct smith *s, char letter);
void smith_constant(struct smith *s, char letter);
/* Code that leaves the stack as it was. */
void smith_statements(struct smith *s, unsigned count);

#endif
