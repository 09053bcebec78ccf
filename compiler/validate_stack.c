/*
 * The two stacks of the validation algorithm (spec core appendix A.3): operand types and
 * control frames. A value popped below the height of a frame whose rest is unreachable is of
 * unknown type, which fits everything; elsewhere that is a type mismatch.
 */
#include "compiler/validate.h"

#include <stdarg.h>

const char *type_text(struct valtype type) {
    return type_is_unknown(type) ? "any type" : valtype_name(type);
}

enum status invalid(const struct validator *v, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) text[0] = 0;
    uint64_t at = v->in ? v->in->offset : v->function->code_offset;
    return error_set_at(v->err, ST_INVALID, at, "%s", text);
}

static const char *here(const struct validator *v) {
    return v->in ? v->in->info->text : "the body";
}

enum status stack_room(struct validator *v, void **array, uint32_t count, uint32_t *capacity,
                       size_t item_bytes) {
    if (count < *capacity) return ST_OK;
    uint32_t room = *capacity ? *capacity * 2 : 64; /* counts have limits far below 2^31 */
    void *grown = arena_array(v->scratch, room, item_bytes);
    if (!grown) return error_set(v->err, ST_NO_MEMORY, "out of memory for validation");
    if (count) memcpy(grown, *array, count * item_bytes);
    *array = grown;
    *capacity = room;
    return ST_OK;
}

enum status push_operand(struct validator *v, struct valtype type) {
    if (v->operand_count == v->operand_capacity) {
        if (v->operand_count >= MODULE_MAX_OPERANDS)
            return error_set_at(v->err, ST_LIMIT, v->in ? v->in->offset : 0,
                                "more than %u values on the operand stack",
                                MODULE_MAX_OPERANDS);
        void *array = v->operands;
        TRY(stack_room(v, &array, v->operand_count, &v->operand_capacity, sizeof *v->operands));
        v->operands = array;
    }
    v->operands[v->operand_count++] = type;
    return ST_OK;
}

/* Counts values moved by one instruction as many as its types say. */
static enum status charge(struct validator *v, uint32_t count) {
    if (count > v->moves_left)
        return error_set_at(v->err, ST_LIMIT, v->in ? v->in->offset : 0,
                            "calls, blocks and branches of the body move more than %u values "
                            "and %u a byte",
                            MODULE_FREE_MOVES, MODULE_MOVES_PER_BYTE);
    v->moves_left -= count;
    return ST_OK;
}

enum status push_operands(struct validator *v, struct types types) {
    TRY(charge(v, types.count));
    for (uint32_t i = 0; i < types.count; i++) TRY(push_operand(v, types.at[i]));
    return ST_OK;
}

static struct frame *top_frame(struct validator *v) { return &v->frames[v->frame_count - 1]; }

enum status pop_any(struct validator *v, struct valtype *ret) {
    const struct frame *frame = top_frame(v);
    if (v->operand_count == frame->height) {
        if (!frame->unreachable)
            return invalid(v,
                           "type mismatch: %s needs an operand, but the block's stack is "
                           "empty",
                           here(v));
        *ret = TYPE_UNKNOWN;
        return ST_OK;
    }
    *ret = v->operands[--v->operand_count];
    return ST_OK;
}

static enum status mismatch(const struct validator *v, struct valtype expected,
                            struct valtype actual) {
    return invalid(v, "type mismatch: %s needs %s, found %s", here(v), type_text(expected),
                   type_text(actual));
}

static bool type_fits(struct valtype actual, struct valtype expected) {
    return valtype_equal(actual, expected) || type_is_unknown(actual) ||
           type_is_unknown(expected);
}

enum status pop_operand(struct validator *v, struct valtype expected) {
    const struct frame *frame = top_frame(v);
    if (v->operand_count == frame->height) {
        if (frame->unreachable) return ST_OK;
        return invalid(v, "type mismatch: %s needs %s, but the block's stack is empty", here(v),
                       type_text(expected));
    }
    struct valtype actual = v->operands[--v->operand_count];
    return type_fits(actual, expected) ? ST_OK : mismatch(v, expected, actual);
}

enum status pop_operands(struct validator *v, struct types types) {
    TRY(charge(v, types.count));
    for (uint32_t i = types.count; i-- > 0;) TRY(pop_operand(v, types.at[i]));
    return ST_OK;
}

enum status peek_operands(struct validator *v, struct types types) {
    TRY(charge(v, types.count));
    const struct frame *frame = top_frame(v);
    uint32_t at = v->operand_count;
    for (uint32_t i = types.count; i-- > 0;) {
        if (at == frame->height) {
            if (frame->unreachable) return ST_OK;
            return invalid(v, "type mismatch: %s needs %s, but the block's stack is empty",
                           here(v), type_text(types.at[i]));
        }
        struct valtype actual = v->operands[--at];
        if (!type_fits(actual, types.at[i])) return mismatch(v, types.at[i], actual);
    }
    return ST_OK;
}

struct types frame_params(const struct frame *frame) {
    if (frame->kind != BLOCK_TYPE) return (struct types){0};
    return (struct types){frame->type->param_count, frame->type->params};
}

struct types frame_results(const struct frame *frame) {
    switch (frame->kind) {
    case BLOCK_EMPTY: break;
    case BLOCK_VALUE: return (struct types){1, &frame->value};
    case BLOCK_TYPE: return (struct types){frame->type->result_count, frame->type->results};
    }
    return (struct types){0};
}

struct types frame_label(const struct frame *frame) {
    return frame->opcode == OP_LOOP ? frame_params(frame) : frame_results(frame);
}

enum status push_frame(struct validator *v, const struct frame *frame) {
    if (v->frame_count == v->frame_capacity) {
        void *array = v->frames;
        TRY(stack_room(v, &array, v->frame_count, &v->frame_capacity, sizeof *v->frames));
        v->frames = array;
    }
    if (v->frame_count > MODULE_MAX_NESTING)
        return error_set_at(v->err, ST_LIMIT, v->in ? v->in->offset : 0,
                            "blocks are nested more than %u deep", MODULE_MAX_NESTING);
    struct frame *top = &v->frames[v->frame_count++];
    *top = *frame;
    top->height = v->operand_count;
    return ST_OK;
}

enum status pop_frame(struct validator *v, struct frame *ret) {
    const struct frame *frame = top_frame(v);
    TRY(pop_operands(v, frame_results(frame)));
    if (v->operand_count != frame->height)
        return invalid(v,
                       "type mismatch: %u more values than results are on the stack at the "
                       "end of the block at 0x%llx",
                       v->operand_count - frame->height, (unsigned long long)frame->offset);
    *ret = *frame;
    v->frame_count--;
    return ST_OK;
}

void set_unreachable(struct validator *v) {
    struct frame *frame = top_frame(v);
    v->operand_count = frame->height;
    frame->unreachable = true;
}
