/*
 * Structured control (spec core 4.4.8) to basic blocks. Each block has a label, where branches
 * go: the header of a loop, the end of anything else; values that travel with a branch meet
 * there in phis. Code that cannot be reached (after br, return, unreachable) is not lowered at
 * all: only its nesting is followed, up to the end or else that revives it.
 */
#include "compiler/lower.h"

static LLVMBasicBlockRef new_block(struct lower *f, const char *name) {
    return LLVMAppendBasicBlockInContext(f->m->context, f->llvm, name);
}

static LLVMValueRef *make_phis(struct lower *f, LLVMBasicBlockRef block, uint32_t count,
                               const struct valtype *types) {
    LLVMValueRef *phis = arena_array(f->scratch, count, sizeof *phis);
    if (!phis) return NULL;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    LLVMPositionBuilderAtEnd(f->builder, block);
    for (uint32_t i = 0; i < count; i++)
        phis[i] = LLVMBuildPhi(f->builder, lower_type(f->m, types[i]), "");
    LLVMPositionBuilderAtEnd(f->builder, here);
    return phis;
}

/* Pushes a frame whose parameters are already on the stack. NULL: out of memory. */
static struct lower_block *push_frame(struct lower *f) {
    if (f->block_count == f->block_capacity) {
        uint32_t capacity = f->block_capacity ? f->block_capacity * 2 : 32;
        struct lower_block *blocks = arena_array(f->scratch, capacity, sizeof *blocks);
        if (!blocks) return NULL;
        if (f->block_count) memcpy(blocks, f->blocks, f->block_count * sizeof *blocks);
        /* `single` is pointed at: those pointers must follow */
        for (uint32_t i = 0; i < f->block_count; i++)
            if (f->blocks[i].results == &f->blocks[i].single)
                blocks[i].results = &blocks[i].single;
        f->blocks = blocks;
        f->block_capacity = capacity;
    }
    struct lower_block *b = &f->blocks[f->block_count++];
    memset(b, 0, sizeof *b);
    return b;
}

static void out_of_memory(struct lower *f) {
    if (f->err->status == ST_OK) error_set(f->err, ST_NO_MEMORY, "out of memory");
}

static void block_type(struct lower *f, const struct instruction *in, struct lower_block *b) {
    if (in->block_kind == BLOCK_VALUE) {
        b->single = in->block_value;
        b->results = &b->single;
        b->result_count = 1;
    } else if (in->block_kind == BLOCK_TYPE) {
        const struct functype *type = &f->m->module->types[in->index].func;
        b->params = type->params;
        b->param_count = type->param_count;
        b->results = type->results;
        b->result_count = type->result_count;
    }
}

/* Sends the top `count` values of the stack to phis, from the current block. */
static void send_values(struct lower *f, LLVMValueRef *phis, uint32_t count) {
    LLVMBasicBlockRef from = LLVMGetInsertBlock(f->builder);
    for (uint32_t i = 0; i < count; i++) {
        LLVMValueRef value = f->stack[f->stack_size - count + i];
        LLVMAddIncoming(phis[i], &value, &from, 1);
    }
}

static struct lower_block *target(struct lower *f, uint32_t label) {
    return &f->blocks[f->block_count - 1 - label];
}

static void note_branch(struct lower_block *b) {
    if (b->kind != FRAME_LOOP) b->end_reached = true;
}

static void emit_open(struct lower *f, const struct instruction *in) {
    LLVMValueRef condition = NULL;
    if (in->opcode == OP_IF)
        condition = LLVMBuildICmp(f->builder, LLVMIntNE, lower_pop(f),
                                  LLVMConstInt(f->m->i32, 0, false), "");
    struct lower_block *b = push_frame(f);
    if (!b) {
        out_of_memory(f);
        return;
    }
    block_type(f, in, b);
    b->height = f->stack_size - b->param_count;
    b->end = new_block(f, "end");
    b->end_phis = make_phis(f, b->end, b->result_count, b->results);
    if (!b->end_phis) {
        out_of_memory(f);
        return;
    }
    b->label = b->end;
    b->label_phis = b->end_phis;
    b->label_count = b->result_count;
    if (in->opcode == OP_TRY || (in->opcode == OP_TRY_TABLE && in->count)) {
        b->kind = in->opcode == OP_TRY ? FRAME_TRY : FRAME_TRY_TABLE;
        b->clauses = in->labels;
        b->clause_count = in->count;
        b->outer_try = f->open_try;
        f->open_try = f->block_count;
    } else if (in->opcode == OP_BLOCK || in->opcode == OP_TRY_TABLE) {
        b->kind = FRAME_BLOCK;
    } else if (in->opcode == OP_LOOP) {
        b->kind = FRAME_LOOP;
        b->label = new_block(f, "loop");
        b->label_phis = make_phis(f, b->label, b->param_count, b->params);
        b->label_count = b->param_count;
        if (!b->label_phis) {
            out_of_memory(f);
            return;
        }
        send_values(f, b->label_phis, b->param_count);
        LLVMBuildBr(f->builder, b->label);
        LLVMPositionBuilderAtEnd(f->builder, b->label);
        for (uint32_t i = 0; i < b->param_count; i++)
            f->stack[b->height + i] = b->label_phis[i];
    } else {
        b->kind = FRAME_IF;
        b->otherwise = new_block(f, "else");
        b->else_values = arena_array(f->scratch, b->param_count, sizeof *b->else_values);
        if (!b->else_values) {
            out_of_memory(f);
            return;
        }
        if (b->param_count)
            memcpy(b->else_values, f->stack + b->height, b->param_count * sizeof(LLVMValueRef));
        LLVMBasicBlockRef then = new_block(f, "then");
        lower_profile_branch(f, condition);
        lower_profile_weigh(f, LLVMBuildCondBr(f->builder, condition, then, b->otherwise));
        LLVMPositionBuilderAtEnd(f->builder, then);
    }
}

/* The end of one arm: falls through to the end with its results. */
static void fall_through(struct lower *f, struct lower_block *b) {
    if (f->unreachable) return;
    send_values(f, b->end_phis, b->result_count);
    LLVMBuildBr(f->builder, b->end);
    b->end_reached = true;
}

static void begin_else(struct lower *f, struct lower_block *b) {
    LLVMPositionBuilderAtEnd(f->builder, b->otherwise);
    b->otherwise = NULL;
    f->stack_size = b->height;
    for (uint32_t i = 0; i < b->param_count; i++) lower_push(f, b->else_values[i]);
    f->unreachable = false;
}

static void emit_return(struct lower *f, const struct lower_block *b) {
    if (b->result_count == 0) {
        LLVMBuildRetVoid(f->builder);
    } else if (b->result_count == 1) {
        LLVMBuildRet(f->builder,
                     lower_passed(f->m, f->builder, f->type->results[0], b->end_phis[0]));
    } else {
        LLVMBuildAggregateRet(f->builder, b->end_phis, b->result_count);
    }
}

/* The end of a block, by `end` or, in, by `delegate`. */
static void emit_end(struct lower *f, const struct instruction *in) {
    struct lower_block *b = &f->blocks[f->block_count - 1];
    fall_through(f, b);
    if (b->otherwise) { /* an if without else: parameters are the results */
        begin_else(f, b);
        fall_through(f, b);
    }
    f->block_count--;
    if (b->kind == FRAME_TRY_TABLE || b->kind == FRAME_TRY) f->open_try = b->outer_try;
    if (b->kind == FRAME_TRY_TABLE) lower_catches(f, b);
    if (b->kind == FRAME_TRY && in->opcode == OP_DELEGATE) lower_delegate(f, b, in->index);
    if (b->kind == FRAME_TRY && in->opcode == OP_END) lower_untaken(f, b);
    if (!b->end_reached) {
        LLVMDeleteBasicBlock(b->end);
        f->unreachable = true;
        f->stack_size = b->height;
        return;
    }
    LLVMMoveBasicBlockAfter(b->end, LLVMGetInsertBlock(f->builder));
    LLVMPositionBuilderAtEnd(f->builder, b->end);
    f->unreachable = false;
    if (b->kind == FRAME_FUNCTION) {
        emit_return(f, b);
        return;
    }
    f->stack_size = b->height;
    for (uint32_t i = 0; i < b->result_count; i++) lower_push(f, b->end_phis[i]);
}

static void emit_br_if(struct lower *f, uint32_t label) {
    LLVMValueRef condition = LLVMBuildICmp(f->builder, LLVMIntNE, lower_pop(f),
                                           LLVMConstInt(f->m->i32, 0, false), "");
    struct lower_block *b = target(f, label);
    LLVMBasicBlockRef next = new_block(f, "");
    send_values(f, b->label_phis, b->label_count);
    note_branch(b);
    lower_profile_branch(f, condition);
    lower_profile_weigh(f, LLVMBuildCondBr(f->builder, condition, b->label, next));
    LLVMPositionBuilderAtEnd(f->builder, next);
}

void lower_branch(struct lower *f, uint32_t label) {
    struct lower_block *b = target(f, label);
    send_values(f, b->label_phis, b->label_count);
    note_branch(b);
    LLVMBuildBr(f->builder, b->label);
}

static void emit_br(struct lower *f, uint32_t label) {
    lower_branch(f, label);
    f->unreachable = true;
}

/* A phi wants one incoming value for each edge, so each case that is kept sends its own. */
static void emit_br_table(struct lower *f, const struct instruction *in) {
    LLVMValueRef index = lower_pop(f);
    struct reader labels = in->labels;
    uint32_t label = 0;
    for (uint32_t i = 0; i <= in->count; i++)
        CHECK(reader_leb_u32(&labels, &label) == LEB_OK); /* validated before */
    uint32_t default_label = label;
    struct lower_block *d = target(f, default_label);
    lower_profile_switch(f, index, in->count);
    LLVMValueRef choice = LLVMBuildSwitch(f->builder, index, d->label, in->count);
    send_values(f, d->label_phis, d->label_count);
    note_branch(d);
    labels = in->labels;
    for (uint32_t i = 0; i < in->count; i++) {
        CHECK(reader_leb_u32(&labels, &label) == LEB_OK);
        if (label == default_label) continue;
        struct lower_block *b = target(f, label);
        LLVMAddCase(choice, LLVMConstInt(f->m->i32, i, false), b->label);
        send_values(f, b->label_phis, b->label_count);
        note_branch(b);
    }
    lower_profile_weigh_switch(f, choice, in->count);
    f->unreachable = true;
}

enum status lower_control_begin(struct lower *f) {
    struct lower_block *b = push_frame(f);
    if (!b) return error_set(f->err, ST_NO_MEMORY, "out of memory");
    b->kind = FRAME_FUNCTION;
    b->results = f->type->results;
    b->result_count = b->label_count = f->type->result_count;
    b->end = b->label = new_block(f, "return");
    b->end_phis = b->label_phis = make_phis(f, b->end, b->result_count, b->results);
    return b->end_phis ? ST_OK : error_set(f->err, ST_NO_MEMORY, "out of memory");
}

/* In dead code: follow the nesting only. true where the instruction was dealt with. */
static bool skip_dead(struct lower *f, const struct instruction *in) {
    if (opcode_opens(in->opcode)) {
        f->dead_depth++;
        return true;
    }
    bool arm = in->opcode == OP_ELSE || in->opcode == OP_CATCH || in->opcode == OP_CATCH_ALL;
    if (f->dead_depth == 0 && (arm || opcode_closes(in->opcode))) return false;
    if (opcode_closes(in->opcode)) f->dead_depth--;
    return true;
}

bool lower_control(struct lower *f, const struct instruction *in) {
    if (f->unreachable && skip_dead(f, in)) return true;
    switch (in->opcode) {
    case OP_NOP: break;
    case OP_UNREACHABLE:
        lower_trap(f, TRAP_UNREACHABLE);
        f->unreachable = true;
        break;
    case OP_BLOCK:
    case OP_LOOP:
    case OP_TRY:
    case OP_TRY_TABLE:
    case OP_IF: emit_open(f, in); break;
    case OP_CATCH:
    case OP_CATCH_ALL:
        fall_through(f, &f->blocks[f->block_count - 1]);
        lower_handler(f, in->index, in->opcode == OP_CATCH_ALL);
        break;
    case OP_RETHROW:
        lower_rethrow(f, in->index);
        f->unreachable = true;
        break;
    case OP_THROW:
        lower_throw(f, in->index);
        f->unreachable = true;
        break;
    case OP_THROW_REF:
        lower_throw_ref(f);
        f->unreachable = true;
        break;
    case OP_ELSE: {
        struct lower_block *b = &f->blocks[f->block_count - 1];
        fall_through(f, b);
        begin_else(f, b);
        break;
    }
    case OP_END:
    case OP_DELEGATE: emit_end(f, in); break;
    case OP_BR: emit_br(f, in->index); break;
    case OP_BR_IF: emit_br_if(f, in->index); break;
    case OP_BR_TABLE: emit_br_table(f, in); break;
    case OP_RETURN: emit_br(f, f->block_count - 1); break;
    default: return false;
    }
    return true;
}
