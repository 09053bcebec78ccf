/*
 * Private to validation: the state of one function's check (spec core appendix A.3) and the
 * functions that share it. One validator serves all functions of a module, so that its stacks
 * are allocated once.
 */
#ifndef HUTCH_COMPILER_VALIDATE_H
#define HUTCH_COMPILER_VALIDATE_H

#include "compiler/decode.h"

/* The type of a value that unreachable code makes up: fits everything. */
#define TYPE_UNKNOWN ((struct valtype){0})
static inline bool type_is_unknown(struct valtype t) { return t.code == 0; }

/* A control frame: a block that is open. */
struct frame {
    uint32_t opcode;  /* OP_BLOCK also for the function's body; OP_ELSE once past an else */
    uint32_t height;  /* of the operand stack when it was opened, below its parameters */
    bool unreachable; /* the rest of the block */
    enum block_kind kind;
    struct valtype value;        /* BLOCK_VALUE */
    const struct functype *type; /* BLOCK_TYPE */
    uint64_t offset;             /* of its opcode */
    uint64_t stamp;              /* of the br_table that checked it last */
};

/* Types in a row. */
struct types {
    uint32_t count;
    const struct valtype *at;
};

struct validator {
    struct module *module;
    struct error *err;
    struct arena *scratch;
    const struct module_function *function;
    const struct functype *type;
    const struct instruction *in; /* the one being checked; NULL before the first */

    struct valtype *operands;
    uint32_t operand_count, operand_capacity;
    struct frame *frames;
    uint32_t frame_count, frame_capacity;
    /* The index of the first local behind each run, for binary search. */
    uint32_t *run_ends;
    uint32_t run_capacity;
    uint64_t br_tables;  /* seen so far: the stamp */
    uint64_t moves_left; /* see MODULE_MOVES_PER_BYTE */
};

/* ---- validate_stack.c ---- */
/* Room for one more item of an array that doubles in the scratch arena. */
enum status stack_room(struct validator *v, void **array, uint32_t count, uint32_t *capacity,
                       size_t item_bytes) must_check;
enum status push_operand(struct validator *v, struct valtype type) must_check;
enum status push_operands(struct validator *v, struct types types) must_check;
/* Any value; unknown out of an empty stack in unreachable code. */
enum status pop_any(struct validator *v, struct valtype *ret) must_check;
enum status pop_operand(struct validator *v, struct valtype expected) must_check;
enum status pop_operands(struct validator *v, struct types types) must_check;
/* As popping them and pushing back what was there. */
enum status peek_operands(struct validator *v, struct types types) must_check;
enum status push_frame(struct validator *v, const struct frame *frame) must_check;
/* Checks the results and closes the innermost frame. */
enum status pop_frame(struct validator *v, struct frame *ret) must_check;
/* The rest of the block is dead code. */
void set_unreachable(struct validator *v);
struct types frame_params(const struct frame *frame);
struct types frame_results(const struct frame *frame);
/* What a branch to the frame takes. */
struct types frame_label(const struct frame *frame);
/* "type mismatch" and so on, at the instruction being checked: "message: i32.add ..." */
enum status invalid(const struct validator *v, const char *format, ...) printf_like(2, 3);
const char *type_text(struct valtype type);

/* ---- validate_function.c: the body of function `index` ---- */
enum status validate_function(struct validator *v, uint32_t index) must_check;
/* ---- validate_instruction.c: all instructions but structured control and branches ---- */
enum status validate_instruction(struct validator *v, const struct instruction *in) must_check;

/* ---- validate_const.c: a constant expression of this type to its program ---- */
/* visible_globals: how many of the globals it may name. */
enum status validate_expr(struct module *m, struct module_expr *expr, struct valtype type,
                          uint32_t visible_globals, struct error *err) must_check;

/* ---- validate_types.c: the canonical index of every type ---- */
enum status canonicalise_types(struct module *m, struct arena *scratch,
                               struct error *err) must_check;

#endif
