/*
 * One function's body (spec core 3.4.13 and appendix A.3): the loop over its instructions,
 * structured control and branches. Nesting lies on a stack of our own, never on the C stack;
 * the time is linear in the size of the body times the arity of its types, whatever br_table
 * says (each frame is checked once for each br_table).
 */
#include "compiler/validate.h"

#define I32 ((struct valtype){.code = ABI_I32})
#define EXNREF ((struct valtype){.code = ABI_EXNREF})

static enum status block_frame(struct validator *v, const struct instruction *in,
                               struct frame *ret) {
    *ret = (struct frame){.opcode = in->opcode,
                          .kind = in->block_kind,
                          .value = in->block_value,
                          .offset = in->offset};
    if (in->block_kind == BLOCK_TYPE) {
        if (in->index >= v->module->type_count)
            return invalid(v, "unknown type %u: the module has %u", in->index,
                           v->module->type_count);
        ret->type = &v->module->types[in->index].func;
    }
    return ST_OK;
}

static enum status validate_block(struct validator *v, const struct instruction *in) {
    struct frame frame;
    TRY(block_frame(v, in, &frame));
    if (in->opcode == OP_IF) TRY(pop_operand(v, I32));
    TRY(pop_operands(v, frame_params(&frame)));
    TRY(push_frame(v, &frame));
    return push_operands(v, frame_params(&frame));
}

static enum status validate_else(struct validator *v) {
    struct frame frame;
    if (v->frames[v->frame_count - 1].opcode != OP_IF)
        return error_set_at(v->err, ST_MALFORMED, v->in->offset,
                            "END opcode expected: else without an if");
    TRY(pop_frame(v, &frame));
    frame.opcode = OP_ELSE;
    frame.unreachable = false;
    TRY(push_frame(v, &frame));
    return push_operands(v, frame_params(&frame));
}

/* An if without an else passes its parameters on: they must be its results. */
static enum status check_no_else(struct validator *v, const struct frame *frame) {
    struct types params = frame_params(frame), results = frame_results(frame);
    bool same = params.count == results.count;
    for (uint32_t i = 0; same && i < params.count; i++)
        same = valtype_equal(params.at[i], results.at[i]);
    if (same) return ST_OK;
    return invalid(v,
                   "type mismatch: the if at 0x%llx has no else, so its %u results must be "
                   "its %u parameters",
                   (unsigned long long)frame->offset, results.count, params.count);
}

static enum status validate_end(struct validator *v) {
    struct frame frame;
    TRY(pop_frame(v, &frame));
    if (frame.opcode == OP_IF) TRY(check_no_else(v, &frame));
    if (v->frame_count == 0) return ST_OK; /* the end of the body */
    return push_operands(v, frame_results(&frame));
}

static enum status find_label(struct validator *v, uint32_t label, struct frame **ret) {
    if (label >= v->frame_count) {
        invalid(v, "unknown label %u: %u blocks are open", label, v->frame_count);
        return ST_INVALID; /* said here so that the compiler knows *ret is set otherwise */
    }
    *ret = &v->frames[v->frame_count - 1 - label];
    return ST_OK;
}

static enum status validate_br(struct validator *v, const struct instruction *in) {
    struct frame *frame;
    TRY(find_label(v, in->index, &frame));
    TRY(pop_operands(v, frame_label(frame)));
    set_unreachable(v);
    return ST_OK;
}

static enum status validate_br_if(struct validator *v, const struct instruction *in) {
    struct frame *frame;
    TRY(pop_operand(v, I32));
    TRY(find_label(v, in->index, &frame));
    TRY(pop_operands(v, frame_label(frame)));
    return push_operands(v, frame_label(frame));
}

static enum status validate_br_table(struct validator *v, const struct instruction *in) {
    struct reader labels = in->labels;
    uint64_t stamp = ++v->br_tables;
    uint32_t arity = 0;
    TRY(pop_operand(v, I32));
    for (uint32_t i = 0; i <= in->count; i++) {
        uint32_t label;
        struct frame *frame;
        TRY(read_u32(&labels, "label", &label, v->err));
        TRY(find_label(v, label, &frame));
        if (frame->stamp == stamp) continue;
        frame->stamp = stamp;
        struct types types = frame_label(frame);
        if (i > 0 && types.count != arity)
            return invalid(v, "type mismatch: br_table's label %u takes %u values, others %u",
                           label, types.count, arity);
        arity = types.count;
        TRY(peek_operands(v, types));
    }
    set_unreachable(v);
    return ST_OK;
}

static enum status validate_return(struct validator *v) {
    TRY(pop_operands(v, frame_results(&v->frames[0])));
    set_unreachable(v);
    return ST_OK;
}

static enum status find_tag(struct validator *v, uint32_t tag, struct types *ret) {
    const struct module *m = v->module;
    if (tag >= m->tag_count)
        return invalid(v, "unknown tag %u: the module has %u", tag, m->tag_count);
    const struct functype *type = &m->types[m->tags[tag].type].func;
    *ret = (struct types){type->param_count, type->params};
    return ST_OK;
}

/* What a clause gives must be what its label takes. */
static enum status check_catch(struct validator *v, const struct catch_clause *clause) {
    struct types values = {0};
    struct frame *frame;
    if (catch_has_tag(clause)) TRY(find_tag(v, clause->tag, &values));
    TRY(find_label(v, clause->label, &frame));
    struct types label = frame_label(frame);
    uint32_t count = values.count + (catch_has_ref(clause) ? 1 : 0);
    if (label.count != count)
        return invalid(v, "type mismatch: a catch clause gives %u values, its label takes %u",
                       count, label.count);
    TRY(push_operands(v, values));
    if (catch_has_ref(clause)) TRY(push_operand(v, EXNREF));
    return pop_operands(v, label);
}

/* Labels are those around the try_table (spec core 3.0 3.4.8.8). */
static enum status validate_try_table(struct validator *v, const struct instruction *in) {
    struct frame frame;
    struct reader clauses = in->labels;
    v->module->has_exceptions = true;
    TRY(block_frame(v, in, &frame));
    TRY(pop_operands(v, frame_params(&frame)));
    for (uint32_t i = 0; i < in->count; i++) {
        struct catch_clause clause;
        TRY(catch_decode(&clauses, &clause, v->err));
        TRY(check_catch(v, &clause));
    }
    TRY(push_frame(v, &frame));
    return push_operands(v, frame_params(&frame));
}

static enum status validate_throw(struct validator *v, const struct instruction *in) {
    struct types values;
    TRY(find_tag(v, in->index, &values));
    TRY(pop_operands(v, values));
    set_unreachable(v);
    return ST_OK;
}

static enum status validate_throw_ref(struct validator *v) {
    v->module->has_exceptions = true;
    TRY(pop_operand(v, EXNREF));
    set_unreachable(v);
    return ST_OK;
}

/* ---- the older form: try, catch, catch_all, delegate, rethrow ---- */

static enum status validate_try(struct validator *v, const struct instruction *in) {
    v->module->has_exceptions = true;
    return validate_block(v, in);
}

/* From the body, or a handler before, to a handler: with the values of the tag alone. */
static enum status validate_handler(struct validator *v, const struct instruction *in) {
    struct types values = {0};
    struct frame frame;
    uint32_t opcode = v->frames[v->frame_count - 1].opcode;
    if (opcode != OP_TRY && opcode != OP_CATCH)
        return error_set_at(v->err, ST_MALFORMED, in->offset,
                            "END opcode expected: %s without a try", in->info->text);
    if (in->opcode == OP_CATCH) TRY(find_tag(v, in->index, &values));
    TRY(pop_frame(v, &frame));
    frame.opcode = in->opcode;
    frame.unreachable = false;
    TRY(push_frame(v, &frame));
    return push_operands(v, values);
}

/* The end of a try without handlers, whose exceptions are for those of a block around it. */
static enum status validate_delegate(struct validator *v, const struct instruction *in) {
    struct frame frame, *target;
    if (v->frames[v->frame_count - 1].opcode != OP_TRY)
        return error_set_at(v->err, ST_MALFORMED, in->offset,
                            "END opcode expected: delegate without a try");
    TRY(pop_frame(v, &frame));
    TRY(find_label(v, in->index, &target));
    return push_operands(v, frame_results(&frame));
}

static enum status validate_rethrow(struct validator *v, const struct instruction *in) {
    struct frame *frame;
    TRY(find_label(v, in->index, &frame));
    if (frame->opcode != OP_CATCH && frame->opcode != OP_CATCH_ALL)
        return invalid(v, "invalid rethrow label %u: that is no handler", in->index);
    set_unreachable(v);
    return ST_OK;
}

static enum status validate_one(struct validator *v, const struct instruction *in) {
    switch (in->opcode) {
    case OP_BLOCK:
    case OP_LOOP:
    case OP_IF: return validate_block(v, in);
    case OP_TRY_TABLE: return validate_try_table(v, in);
    case OP_TRY: return validate_try(v, in);
    case OP_CATCH:
    case OP_CATCH_ALL: return validate_handler(v, in);
    case OP_DELEGATE: return validate_delegate(v, in);
    case OP_RETHROW: return validate_rethrow(v, in);
    case OP_THROW: return validate_throw(v, in);
    case OP_THROW_REF: return validate_throw_ref(v);
    case OP_ELSE: return validate_else(v);
    case OP_END: return validate_end(v);
    case OP_BR: return validate_br(v, in);
    case OP_BR_IF: return validate_br_if(v, in);
    case OP_BR_TABLE: return validate_br_table(v, in);
    case OP_RETURN: return validate_return(v);
    case OP_UNREACHABLE: set_unreachable(v); return ST_OK;
    default: return validate_instruction(v, in);
    }
}

/* Where each run of locals ends, counted from the first one behind the parameters. */
static enum status index_locals(struct validator *v) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < v->function->local_run_count; i++) {
        if (i == v->run_capacity) {
            void *array = v->run_ends;
            TRY(stack_room(v, &array, i, &v->run_capacity, sizeof *v->run_ends));
            v->run_ends = array;
        }
        sum += v->function->local_runs[i].count;
        v->run_ends[i] = sum;
    }
    return ST_OK;
}

enum status validate_function(struct validator *v, uint32_t index) {
    const struct module *m = v->module;
    v->function = &m->functions[index];
    v->type = module_functype(m, index);
    v->in = NULL;
    v->operand_count = v->frame_count = 0;
    v->moves_left =
        MODULE_FREE_MOVES + (uint64_t)MODULE_MOVES_PER_BYTE * v->function->body_size;
    TRY(index_locals(v));
    struct frame body = {.opcode = OP_BLOCK, .kind = BLOCK_TYPE, .type = v->type};
    body.offset = v->function->code_offset;
    TRY(push_frame(v, &body));

    struct reader r = reader_over(m->bytes, m->size);
    r.at = m->bytes + v->function->code_offset;
    r.end = m->bytes + v->function->body_offset + v->function->body_size;
    struct instruction in;
    while (v->frame_count > 0) {
        if (r.at == r.end)
            return error_set_at(v->err, ST_MALFORMED, reader_offset(&r),
                                "unexpected end of section or function: END opcode expected");
        TRY(instruction_decode(&r, &in, v->err));
        v->in = &in;
        TRY(validate_one(v, &in));
    }
    if (r.at != r.end)
        return error_set_at(v->err, ST_MALFORMED, reader_offset(&r),
                            "section size mismatch: END opcode expected, %zu bytes follow the "
                            "body's end",
                            reader_left(&r));
    return ST_OK;
}
