/*
 * Throwing and catching (spec core 3.0 4.6.4.1, 4.6.8.9 on) to LLVM's invoke and landingpad,
 * which cost nothing where nothing is thrown. A call in a try_table is an invoke; what it
 * throws arrives in the block's landing pad with the exception's address (abi_exception) in the
 * first register of results, and is compared with the clauses; what none of them takes goes to
 * the next try_table around it in the function, or is thrown again. `throw` is a helper: the
 * runtime finds the landing pad (runtime/exception.c).
 *
 * On the operand stack an exnref is that address. A clause without a reference to the exception
 * gives the record back, unless some other clause has made a reference to it before.
 */
#include "compiler/link.h"
#include "compiler/lower.h"

static LLVMBasicBlockRef new_block(struct lower *f, const char *name) {
    return LLVMAppendBasicBlockInContext(f->m->context, f->llvm, name);
}

static LLVMValueRef personality(struct lower_module *m) {
    if (!m->personality)
        m->personality = LLVMAddFunction(m->llvm, LOWER_PERSONALITY,
                                         LLVMFunctionType(m->i32, NULL, 0, true));
    return m->personality;
}

/* The block that catches innermost, or NULL. */
static struct lower_block *open_try(struct lower *f) {
    return f->open_try ? &f->blocks[f->open_try - 1] : NULL;
}

static void make_dispatch(struct lower *f, struct lower_block *b) {
    if (b->dispatch) return;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    b->dispatch = new_block(f, "dispatch");
    LLVMPositionBuilderAtEnd(f->builder, b->dispatch);
    b->exception = LLVMBuildPhi(f->builder, f->m->i64, "exception");
    LLVMPositionBuilderAtEnd(f->builder, here);
}

/* From the current block, which ends, to the clauses of a block around it. */
static void go_to_dispatch(struct lower *f, struct lower_block *b, LLVMValueRef exception) {
    make_dispatch(f, b);
    LLVMBasicBlockRef from = LLVMGetInsertBlock(f->builder);
    LLVMAddIncoming(b->exception, &exception, &from, 1);
    LLVMBuildBr(f->builder, b->dispatch);
}

static LLVMBasicBlockRef landing_pad(struct lower *f, struct lower_block *b) {
    if (b->pad) return b->pad;
    struct lower_module *m = f->m;
    LLVMSetPersonalityFn(f->llvm, personality(m));
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    b->pad = new_block(f, "landing");
    LLVMPositionBuilderAtEnd(f->builder, b->pad);
    LLVMTypeRef parts[] = {m->ptr, m->i32};
    LLVMTypeRef type = LLVMStructTypeInContext(m->context, parts, countof(parts), false);
    LLVMValueRef landed = LLVMBuildLandingPad(f->builder, type, NULL, 1, "");
    LLVMAddClause(landed, LLVMConstNull(m->ptr)); /* every exception */
    LLVMValueRef address = LLVMBuildExtractValue(f->builder, landed, 0, "");
    go_to_dispatch(f, b, LLVMBuildPtrToInt(f->builder, address, m->i64, ""));
    LLVMPositionBuilderAtEnd(f->builder, here);
    return b->pad;
}

/* A result that nothing needs must not take the call away: keep_traps.c does this for calls,
 * and cannot for invokes, which end their block. */
static void use_result(struct lower *f, LLVMValueRef call) {
    LLVMTypeKind kind = LLVMGetTypeKind(LLVMTypeOf(call));
    if (kind == LLVMVoidTypeKind) return;
    LLVMValueRef value = call;
    if (kind == LLVMStructTypeKind) value = LLVMBuildExtractValue(f->builder, call, 0, "");
    lower_intrinsic(f->m, f->builder, "llvm.fake.use", NULL, 0, &value, 1);
}

LLVMValueRef lower_throwing_call(struct lower *f, LLVMTypeRef type, LLVMValueRef callee,
                                 LLVMValueRef *args, uint32_t count) {
    struct lower_block *b = open_try(f);
    if (!b) {
        LLVMValueRef call = LLVMBuildCall2(f->builder, type, callee, args, count, "");
        LLVMSetTailCallKind(call, LLVMTailCallKindNoTail);
        return call;
    }
    LLVMBasicBlockRef pad = landing_pad(f, b), next = new_block(f, "");
    LLVMValueRef call = LLVMBuildInvoke2(f->builder, type, callee, args, count, next, pad, "");
    LLVMPositionBuilderAtEnd(f->builder, next);
    use_result(f, call);
    return call;
}

/* ---- throwing ---- */

static uint32_t most_values(const struct module *m) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < m->tag_count; i++) {
        uint32_t count = m->types[m->tags[i].type].func.param_count;
        if (count > most) most = count;
    }
    return most;
}

/* One set of slots in a function, with room for every tag. */
static LLVMValueRef throw_slots(struct lower *f) {
    if (!f->throw_slots) f->throw_slots = lower_slots(f, 1 + most_values(f->m->module));
    return f->throw_slots;
}

void lower_throw(struct lower *f, uint32_t tag) {
    struct lower_module *m = f->m;
    const struct functype *type = &m->module->types[m->module->tags[tag].type].func;
    LLVMValueRef slots = throw_slots(f);
    LLVMBuildStore(f->builder, LLVMConstInt(m->i32, tag, false), lower_slot(f, slots, 0));
    for (uint32_t i = type->param_count; i-- > 0;)
        LLVMBuildStore(f->builder, lower_pop(f), lower_slot(f, slots, 1 + i));
    lower_throwing_helper(f, ABI_HELPER_THROW, slots);
}

static void throw_again(struct lower *f, LLVMValueRef exception) {
    LLVMValueRef slots = throw_slots(f);
    LLVMBuildStore(f->builder, exception, lower_slot(f, slots, 0));
    lower_throwing_helper(f, ABI_HELPER_THROW_REF, slots);
}

void lower_throw_ref(struct lower *f) {
    LLVMValueRef exception = lower_pop(f);
    lower_trap_if(
        f,
        LLVMBuildICmp(f->builder, LLVMIntEQ, exception, LLVMConstInt(f->m->i64, 0, false), ""),
        TRAP_NULL_REFERENCE);
    throw_again(f, exception);
}

/* ---- catching ---- */

static LLVMValueRef field(struct lower *f, LLVMValueRef exception, uint64_t offset) {
    LLVMValueRef base = LLVMBuildIntToPtr(f->builder, exception, f->m->ptr, "");
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    return LLVMBuildGEP2(f->builder, f->m->i8, base, &index, 1, "");
}

/* The word that says which tag it is: the address of its place for one of the module's own. */
static LLVMValueRef tag_identity(struct lower *f, uint32_t tag) {
    struct lower_module *m = f->m;
    uint64_t offset = m->layout.tags + sizeof(uint64_t) * (uint64_t)tag;
    LLVMValueRef place = place_instance_field(f, offset);
    if (m->module->tags[tag].imported) return lower_load_instance(f, m->i64, place);
    if (m->options->placement == ABI_PINNED)
        return LLVMConstInt(m->i64, ABI_INSTANCE_BASE + offset, false);
    return LLVMBuildPtrToInt(f->builder, place, m->i64, "");
}

static void push_values(struct lower *f, uint32_t tag, LLVMValueRef exception) {
    const struct module *module = f->m->module;
    const struct functype *type = &module->types[module->tags[tag].type].func;
    for (uint32_t i = 0; i < type->param_count; i++) {
        uint64_t offset = ABI_EXCEPTION_HEADER + ABI_SLOT_SIZE * (uint64_t)i;
        lower_push(f, lower_load_instance(f, lower_type(f->m, type->params[i]),
                                          field(f, exception, offset)));
    }
}

static void take(struct lower *f, const struct catch_clause *clause, LLVMValueRef exception) {
    struct lower_module *m = f->m;
    uint32_t height = f->stack_size;
    if (catch_has_tag(clause)) push_values(f, clause->tag, exception);
    LLVMValueRef state = field(f, exception, offsetof(struct abi_exception, state));
    LLVMValueRef held = LLVMConstInt(m->i32, ABI_EXCEPTION_HELD, false);
    if (catch_has_ref(clause)) {
        lower_push(f, exception);
        lower_store_instance(f, held, state);
    } else { /* THROWN becomes FREE, HELD stays */
        LLVMValueRef old = lower_load_instance(f, m->i32, state);
        lower_store_instance(f, LLVMBuildAnd(f->builder, old, held, ""), state);
    }
    lower_branch(f, clause->label);
    f->stack_size = height;
}

/* To the handlers around, in the function or in its caller. */
static void pass_on(struct lower *f, LLVMValueRef exception) {
    struct lower_block *outer = open_try(f);
    if (outer)
        go_to_dispatch(f, outer, exception);
    else
        throw_again(f, exception);
}

void lower_catches(struct lower *f, struct lower_block *b) {
    if (!b->dispatch) return; /* nothing in it throws */
    struct lower_module *m = f->m;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    LLVMPositionBuilderAtEnd(f->builder, b->dispatch);
    LLVMValueRef tag = NULL;
    struct reader clauses = b->clauses;
    bool all = false;
    for (uint32_t i = 0; i < b->clause_count && !all; i++) {
        struct catch_clause clause;
        struct error ignored = {0};
        CHECK(catch_decode(&clauses, &clause, &ignored) == ST_OK); /* validated before */
        all = !catch_has_tag(&clause);
        LLVMBasicBlockRef other = NULL;
        if (!all) {
            if (!tag)
                tag = lower_load_instance(
                    f, m->i64, field(f, b->exception, offsetof(struct abi_exception, tag)));
            LLVMBasicBlockRef match = new_block(f, "catch");
            other = new_block(f, "");
            LLVMBuildCondBr(
                f->builder,
                LLVMBuildICmp(f->builder, LLVMIntEQ, tag, tag_identity(f, clause.tag), ""),
                match, other);
            LLVMPositionBuilderAtEnd(f->builder, match);
        }
        take(f, &clause, b->exception);
        if (other) LLVMPositionBuilderAtEnd(f->builder, other);
    }
    if (!all) pass_on(f, b->exception);
    LLVMPositionBuilderAtEnd(f->builder, here);
}

/* ---- the older form -----------------------------------------------------------------------
 */

/*
 * The handlers of a try are code of the block itself. Where the body has no call that throws,
 * they are dead. An exception that one of them has is held, for a `rethrow` may be in it.
 */
void lower_handler(struct lower *f, uint32_t tag, bool all) {
    struct lower_module *m = f->m;
    struct lower_block *b = &f->blocks[f->block_count - 1];
    if (!b->has_handlers) { /* the first: the body ends here */
        b->has_handlers = true;
        f->open_try = b->outer_try;
        b->untaken = b->dispatch;
    }
    f->stack_size = b->height;
    f->unreachable = !b->untaken;
    if (!b->untaken) return;
    LLVMPositionBuilderAtEnd(f->builder, b->untaken);
    b->untaken = NULL;
    if (!all) {
        LLVMValueRef thrown = lower_load_instance(
            f, m->i64, field(f, b->exception, offsetof(struct abi_exception, tag)));
        LLVMBasicBlockRef match = new_block(f, "catch");
        b->untaken = new_block(f, "");
        LLVMBuildCondBr(f->builder,
                        LLVMBuildICmp(f->builder, LLVMIntEQ, thrown, tag_identity(f, tag), ""),
                        match, b->untaken);
        LLVMPositionBuilderAtEnd(f->builder, match);
    }
    lower_store_instance(f, LLVMConstInt(m->i32, ABI_EXCEPTION_HELD, false),
                         field(f, b->exception, offsetof(struct abi_exception, state)));
    if (!all) push_values(f, tag, b->exception);
}

void lower_untaken(struct lower *f, struct lower_block *b) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    /* without any handler the body ends with the block */
    LLVMBasicBlockRef from = b->has_handlers ? b->untaken : b->dispatch;
    if (!from) return;
    LLVMPositionBuilderAtEnd(f->builder, from);
    pass_on(f, b->exception);
    LLVMPositionBuilderAtEnd(f->builder, here);
}

void lower_delegate(struct lower *f, struct lower_block *b, uint32_t label) {
    if (!b->dispatch) return;
    uint32_t open = f->open_try, target = f->block_count - label;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(f->builder);
    while (f->open_try > target) f->open_try = f->blocks[f->open_try - 1].outer_try;
    LLVMPositionBuilderAtEnd(f->builder, b->dispatch);
    pass_on(f, b->exception);
    f->open_try = open;
    LLVMPositionBuilderAtEnd(f->builder, here);
}

void lower_rethrow(struct lower *f, uint32_t label) {
    throw_again(f, f->blocks[f->block_count - 1 - label].exception);
}
