/*
 * One validated function body to one LLVM function: the prologue with its locals, the loop over
 * instructions that asks each family in turn, and the operand stack. The body is known to be
 * valid, so a decoding failure here is a broken promise of the validator.
 */
#include "compiler/lower.h"

LLVMValueRef lower_pop(struct lower *f) {
    CHECK(f->stack_size > 0);
    return f->stack[--f->stack_size];
}

void lower_push(struct lower *f, LLVMValueRef value) {
    if (f->stack_size == f->stack_capacity) {
        uint32_t capacity = f->stack_capacity ? f->stack_capacity * 2 : 64;
        LLVMValueRef *stack = arena_array(f->scratch, capacity, sizeof *stack);
        CHECK(stack !=
              NULL); /* the scratch arena has no limit; malloc failing ends the child */
        if (f->stack_size) memcpy(stack, f->stack, f->stack_size * sizeof *stack);
        f->stack = stack;
        f->stack_capacity = capacity;
    }
    f->stack[f->stack_size++] = value;
}

static enum status make_locals(struct lower *f) {
    uint32_t count = f->function->local_count;
    f->locals = arena_array(f->scratch, count, sizeof *f->locals);
    f->local_types = arena_array(f->scratch, count, sizeof *f->local_types);
    if (!f->locals || !f->local_types) return error_set(f->err, ST_NO_MEMORY, "out of memory");
    uint32_t next = 0;
    for (uint32_t i = 0; i < f->type->param_count; i++)
        f->local_types[next++] = f->type->params[i];
    for (uint32_t r = 0; r < f->function->local_run_count; r++)
        for (uint32_t i = 0; i < f->function->local_runs[r].count; i++)
            f->local_types[next++] = f->function->local_runs[r].type;
    CHECK(next == count);
    return ST_OK;
}

/* Made at the first use: a module may declare far more locals than it uses. */
LLVMValueRef lower_local(struct lower *f, uint32_t index) {
    if (!f->locals[index]) {
        uint32_t extra = f->instance_argument ? 1 : 0;
        LLVMTypeRef type = lower_type(f->m, f->local_types[index]);
        f->locals[index] = LLVMBuildAlloca(f->entry_builder, type, "");
        LLVMBuildStore(f->entry_builder,
                       index < f->type->param_count
                           ? lower_received(f->m, f->entry_builder, f->local_types[index],
                                            LLVMGetParam(f->llvm, extra + index))
                           : LLVMConstNull(type),
                       f->locals[index]);
    }
    return f->locals[index];
}

/* Lines are offsets in the module (docs/object-format.md); the scope is the function. */
static void begin_debug(struct lower *f) {
    struct lower_module *m = f->m;
    if (!m->di) return;
    char symbol[24];
    snprintf(symbol, sizeof symbol, "f%u", f->function_index);
    const char *name = f->function->name ? f->function->name : symbol;
    unsigned line = (unsigned)f->function->body_offset;
    f->di_subprogram = LLVMDIBuilderCreateFunction(
        m->di, m->di_file, name, strlen(name), symbol, strlen(symbol), m->di_file, line,
        m->di_function_type, false, true, line, LLVMDIFlagZero, true);
    LLVMSetSubprogram(f->llvm, f->di_subprogram);
}

static void set_location(struct lower *f, uint64_t offset) {
    if (!f->di_subprogram) return;
    LLVMMetadataRef location = LLVMDIBuilderCreateDebugLocation(f->m->context, (unsigned)offset,
                                                                0, f->di_subprogram, NULL);
    LLVMSetCurrentDebugLocation2(f->builder, location);
}

static enum status lower_body(struct lower *f) {
    const struct module *module = f->m->module;
    struct reader r =
        reader_over(module->bytes, f->function->body_offset + (uint64_t)f->function->body_size);
    r.at = module->bytes + f->function->code_offset;
    while (f->block_count > 0) {
        struct instruction in;
        enum status status = instruction_decode(&r, &in, f->err);
        if (status != ST_OK) return status;
        f->instruction++;
        f->at = in.offset;
        if (!f->unreachable) set_location(f, in.offset);
        if (!lower_control(f, &in) && !lower_variable(f, &in) && !lower_memory(f, &in) &&
            !lower_numeric(f, &in) && !lower_call(f, &in) && !lower_simd(f, &in))
            return error_set_at(f->err, ST_INTERNAL, in.offset, "cannot lower %s",
                                in.info->text);
        if (f->err->status != ST_OK) return f->err->status;
    }
    return ST_OK;
}

enum status lower_function(struct lower_module *m, uint32_t index, struct arena *scratch,
                           struct error *err) {
    struct lower f = {
        .m = m,
        .function = &m->module->functions[index],
        .function_index = index,
        .type = module_functype(m->module, index),
        .llvm = lower_function_value(m, index),
        .scratch = scratch,
        .err = err,
        .instruction = UINT32_MAX, /* before the first */
    };
    f.entry = LLVMAppendBasicBlockInContext(m->context, f.llvm, "entry");
    LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(m->context, f.llvm, "body");
    f.entry_builder = LLVMCreateBuilderInContext(m->context);
    f.builder = LLVMCreateBuilderInContext(m->context);
    LLVMPositionBuilderAtEnd(f.entry_builder, f.entry);
    LLVMPositionBuilderAtEnd(f.builder, body);
    if (m->options->placement == ABI_RELOCATABLE) f.instance_argument = LLVMGetParam(f.llvm, 0);
    begin_debug(&f);
    if (f.di_subprogram) {
        set_location(&f, f.function->code_offset);
        LLVMSetCurrentDebugLocation2(f.entry_builder, LLVMGetCurrentDebugLocation2(f.builder));
    }
    enum status status = make_locals(&f);
    if (status == ST_OK) status = lower_control_begin(&f);
    if (status == ST_OK) lower_profile_begin(&f);
    if (status == ST_OK) lower_known(&f);
    if (status == ST_OK) status = lower_body(&f);
    if (status == ST_OK) LLVMBuildBr(f.entry_builder, body);
    LLVMDisposeBuilder(f.entry_builder);
    LLVMDisposeBuilder(f.builder);
    arena_reset(scratch);
    return status;
}
