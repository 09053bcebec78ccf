/*
 * Calls (spec core 4.4.8.11 on) and the thunks between guest and host (abi.h, docs/abi.md).
 *
 * All functions of an object share the C calling convention of the target; relocatable code has
 * the instance as an extra first argument. Several results are a struct, which LLVM returns in
 * registers or, beyond those, through memory, alike on both sides. A call is never a tail call
 * here: Wasm's own recursion must exhaust the stack, not loop.
 */
#include "compiler/lower.h"

static bool relocatable(const struct lower_module *m) {
    return m->options->placement == ABI_RELOCATABLE;
}

LLVMTypeRef lower_type(struct lower_module *m, struct valtype type) {
    switch (type.code) {
    case ABI_I32: return m->i32;
    case ABI_I64: return m->i64;
    case ABI_F32: return m->f32;
    case ABI_F64: return m->f64;
    case ABI_V128: return m->v2i64;
    default: return m->i64; /* references */
    }
}

/* As a parameter or the only result: pinned code passes an i32 in 64 bits, extended by whoever
 * passes it on, so that nobody extends a pointer again before each use. */
static bool is_wide(const struct lower_module *m, struct valtype type) {
    return type.code == ABI_I32 && !relocatable(m);
}

static LLVMTypeRef passed_type(struct lower_module *m, struct valtype type) {
    return is_wide(m, type) ? m->i64 : lower_type(m, type);
}

LLVMValueRef lower_passed(struct lower_module *m, LLVMBuilderRef builder, struct valtype type,
                          LLVMValueRef value) {
    return is_wide(m, type) ? LLVMBuildZExt(builder, value, m->i64, "") : value;
}

LLVMValueRef lower_received(struct lower_module *m, LLVMBuilderRef builder, struct valtype type,
                            LLVMValueRef value) {
    return is_wide(m, type) ? LLVMBuildTrunc(builder, value, m->i32, "") : value;
}

/* That a wide i32 is one. */
static LLVMAttributeRef wide_range(struct lower_module *m) {
    const uint64_t lower = 0, upper = UINT64_C(1) << 32;
    return LLVMCreateConstantRangeAttribute(
        m->context, LLVMGetEnumAttributeKindForName("range", 5), 64, &lower, &upper);
}

static LLVMTypeRef result_type(struct lower_module *m, const struct functype *type) {
    if (type->result_count == 0) return m->void_type;
    if (type->result_count == 1) return passed_type(m, type->results[0]);
    LLVMTypeRef elements[MODULE_MAX_RESULTS];
    for (uint32_t i = 0; i < type->result_count; i++)
        elements[i] = lower_type(m, type->results[i]);
    return LLVMStructTypeInContext(m->context, elements, type->result_count, false);
}

LLVMTypeRef lower_function_type(struct lower_module *m, const struct functype *type) {
    LLVMTypeRef params[MODULE_MAX_PARAMS + 1];
    unsigned count = 0;
    if (relocatable(m)) params[count++] = m->ptr;
    for (uint32_t i = 0; i < type->param_count; i++)
        params[count++] = passed_type(m, type->params[i]);
    return LLVMFunctionType(result_type(m, type), params, count, false);
}

static void add_enum(struct lower_module *m, LLVMValueRef function, const char *name,
                     uint64_t value) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    CHECK(kind != 0);
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(m->context, kind, value));
}

static void add_string(struct lower_module *m, LLVMValueRef function, const char *name,
                       const char *value) {
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(m->context, name, (unsigned)strlen(name),
                                                      value, (unsigned)strlen(value)));
}

void lower_function_attributes(struct lower_module *m, LLVMValueRef function) {
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    if (!m->module->has_exceptions) add_enum(m, function, "nounwind", 0);
    add_enum(m, function, "uwtable", 2); /* asynchronous: exact at every instruction */
    /* LLVM probes frames larger than a page, so that a guard page is never jumped over */
    add_string(m, function, "probe-stack", "inline-asm");
    /* Calls that LLVM may make of loops and comparisons, and that an object has no function
     * for; those it does have are in routines.ll. */
    static const char *const missing[] = {"no-builtin-strlen", "no-builtin-wcslen",
                                          "no-builtin-memcmp", "no-builtin-bcmp"};
    for (size_t i = 0; i < countof(missing); i++) add_string(m, function, missing[i], "");
}

LLVMValueRef lower_function_value(struct lower_module *m, uint32_t index) {
    if (!m->functions[index]) {
        char name[24];
        bool imported = index < m->module->imported_functions;
        snprintf(name, sizeof name, imported ? "import%u" : "f%u", index);
        const struct functype *type = module_functype(m->module, index);
        LLVMValueRef function = LLVMAddFunction(m->llvm, name, lower_function_type(m, type));
        lower_function_attributes(m, function);
        for (uint32_t i = 0; i < type->param_count; i++)
            if (is_wide(m, type->params[i]))
                LLVMAddAttributeAtIndex(function, i + 1, wide_range(m));
        if (type->result_count == 1 && is_wide(m, type->results[0]))
            LLVMAddAttributeAtIndex(function, LLVMAttributeReturnIndex, wide_range(m));
        m->functions[index] = function;
    }
    return m->functions[index];
}

/* Calls callee with the operands on the stack and pushes what it returns. */
static void emit_call(struct lower *f, const struct functype *type, LLVMValueRef callee,
                      LLVMValueRef instance) {
    struct lower_module *m = f->m;
    uint32_t extra = relocatable(m) ? 1 : 0;
    LLVMValueRef args[MODULE_MAX_PARAMS + 1];
    if (extra) args[0] = instance;
    for (uint32_t i = type->param_count; i-- > 0;)
        args[extra + i] = lower_passed(m, f->builder, type->params[i], lower_pop(f));
    LLVMValueRef call = lower_throwing_call(f, lower_function_type(m, type), callee, args,
                                            type->param_count + extra);
    if (type->result_count == 1) {
        if (is_wide(m, type->results[0]))
            LLVMAddCallSiteAttribute(call, LLVMAttributeReturnIndex, wide_range(m));
        lower_push(f, lower_received(m, f->builder, type->results[0], call));
    } else {
        for (uint32_t i = 0; i < type->result_count; i++)
            lower_push(f, LLVMBuildExtractValue(f->builder, call, i, ""));
    }
}

static LLVMValueRef load_at(struct lower *f, LLVMTypeRef type, LLVMValueRef base,
                            uint64_t offset) {
    LLVMValueRef index = LLVMConstInt(f->m->i64, offset, false);
    return lower_load_instance(f, type,
                               LLVMBuildGEP2(f->builder, f->m->i8, base, &index, 1, ""));
}

static void emit_direct(struct lower *f, uint32_t index) {
    const struct functype *type = module_functype(f->m->module, index);
    if (relocatable(f->m) && index < f->m->module->imported_functions) {
        /* the exporter's code, with the exporter's instance */
        LLVMValueRef record = place_func(f, index);
        LLVMValueRef code = load_at(f, f->m->ptr, record, offsetof(struct abi_func, code));
        LLVMValueRef instance =
            load_at(f, f->m->ptr, record, offsetof(struct abi_func, instance));
        emit_call(f, type, code, instance);
    } else {
        emit_call(f, type, lower_function_value(f->m, index), f->instance_argument);
    }
}

/* The address of the abi_func that a table entry stands for, i64. */
static LLVMValueRef entry_record(struct lower *f, LLVMValueRef entry) {
    struct lower_module *m = f->m;
    if (relocatable(m))
        return lower_entry_field(f, entry, m->i64, offsetof(struct abi_table_entry, word));
    return LLVMBuildZExt(
        f->builder,
        lower_entry_field(f, entry, m->i32, offsetof(struct abi_table_entry, ref32)), m->i64,
        "");
}

/* Where direct and indirect calls of one site meet, with what they returned. */
struct meeting {
    LLVMBasicBlockRef from[LOWER_MAX_TARGETS + 1];
    LLVMValueRef results[LOWER_MAX_TARGETS + 1];
    uint32_t count;
    LLVMBasicBlockRef block; /* NULL where there are no direct calls */
};

#define PROMOTE_MAX_PARAMS 32u

static void meet(struct lower *f, struct meeting *meeting, const struct functype *type) {
    meeting->results[meeting->count] = type->result_count ? lower_pop(f) : NULL;
    meeting->from[meeting->count++] = LLVMGetInsertBlock(f->builder);
    LLVMBuildBr(f->builder, meeting->block);
}

/* Whether the function is called, as i1: by its index, which is the only one in a table that
 * nobody changes, or by what the entry stands for. An entry whose abi_func is that of a
 * function of the right type needs no check of its type: nothing else has the function's
 * abi_func. */
static LLVMValueRef is_target(struct lower *f, uint32_t function, LLVMValueRef index,
                              uint32_t only, LLVMValueRef record) {
    struct lower_module *m = f->m;
    if (!record)
        return LLVMBuildICmp(f->builder, LLVMIntEQ, index, LLVMConstInt(m->i32, only, false),
                             "");
    uint64_t offset = m->layout.funcs + ABI_FUNC_SIZE * (uint64_t)function;
    LLVMValueRef wanted = LLVMConstInt(m->i64, ABI_INSTANCE_BASE + offset, false);
    if (relocatable(m))
        wanted = LLVMBuildPtrToInt(f->builder, place_instance_field(f, offset), m->i64, "");
    return LLVMBuildICmp(f->builder, LLVMIntEQ, record, wanted, "");
}

/*
 * Compares with the functions that the profile says are called from here, and calls those
 * directly: the entry, or where there is none yet the index. The builder is left where it was
 * none of them.
 */
static void emit_promoted(struct lower *f, const struct module_type *type, uint32_t table,
                          LLVMValueRef index, LLVMValueRef entry, struct meeting *meeting) {
    struct lower_module *m = f->m;
    struct lower_target targets[LOWER_MAX_TARGETS];
    uint32_t only[LOWER_MAX_TARGETS] = {0};
    LLVMValueRef args[PROMOTE_MAX_PARAMS];
    uint32_t params = type->func.param_count;
    if (params > PROMOTE_MAX_PARAMS || type->func.result_count > 1) return;
    uint32_t count = lower_profile_targets(f, type->canonical, targets);
    for (uint32_t k = 0; k < count && !entry; k++)
        if (!lower_only_index(f, table, targets[k].function, &only[k])) return;
    if (count == 0) return;
    meeting->block = LLVMAppendBasicBlockInContext(m->context, f->llvm, "called");
    for (uint32_t i = 0; i < params; i++) args[i] = f->stack[f->stack_size - params + i];
    LLVMValueRef record = entry ? entry_record(f, entry) : NULL;
    for (uint32_t k = 0; k < count; k++) {
        LLVMBasicBlockRef direct = LLVMAppendBasicBlockInContext(m->context, f->llvm, "direct");
        LLVMBasicBlockRef other = LLVMAppendBasicBlockInContext(m->context, f->llvm, "");
        LLVMValueRef same = is_target(f, targets[k].function, index, only[k], record);
        lower_profile_weigh_target(f, LLVMBuildCondBr(f->builder, same, direct, other),
                                   &targets[k]);
        LLVMPositionBuilderAtEnd(f->builder, direct);
        emit_call(f, &type->func, lower_function_value(m, targets[k].function),
                  f->instance_argument);
        meet(f, meeting, &type->func);
        for (uint32_t i = 0; i < params; i++) lower_push(f, args[i]); /* for the next one */
        LLVMPositionBuilderAtEnd(f->builder, other);
    }
}

/* The last call has been made; its results are on the stack. */
static void end_promoted(struct lower *f, const struct functype *type,
                         struct meeting *meeting) {
    if (!meeting->block) return;
    meet(f, meeting, type);
    LLVMMoveBasicBlockAfter(meeting->block, LLVMGetInsertBlock(f->builder));
    LLVMPositionBuilderAtEnd(f->builder, meeting->block);
    if (type->result_count == 0) return;
    LLVMValueRef phi = LLVMBuildPhi(f->builder, lower_type(f->m, type->results[0]), "");
    LLVMAddIncoming(phi, meeting->results, meeting->from, meeting->count);
    lower_push(f, phi);
}

/* The one function that can be called here, directly; the builder is left where it is not that.
 */
static void emit_only_callee(struct lower *f, const struct module_type *type, uint32_t table,
                             LLVMValueRef index, struct meeting *meeting) {
    struct lower_module *m = f->m;
    uint32_t only, function, params = type->func.param_count;
    LLVMValueRef args[PROMOTE_MAX_PARAMS];
    if (f->counting || params > PROMOTE_MAX_PARAMS || type->func.result_count > 1 ||
        !lower_only_callee(f, table, type->canonical, &only, &function))
        return;
    for (uint32_t i = 0; i < params; i++) args[i] = f->stack[f->stack_size - params + i];
    meeting->block = LLVMAppendBasicBlockInContext(m->context, f->llvm, "called");
    LLVMBasicBlockRef direct = LLVMAppendBasicBlockInContext(m->context, f->llvm, "direct");
    LLVMBasicBlockRef other = LLVMAppendBasicBlockInContext(m->context, f->llvm, "");
    LLVMBuildCondBr(
        f->builder,
        LLVMBuildICmp(f->builder, LLVMIntEQ, index, LLVMConstInt(m->i32, only, false), ""),
        direct, other);
    LLVMPositionBuilderAtEnd(f->builder, direct);
    emit_call(f, &type->func, lower_function_value(m, function), f->instance_argument);
    meet(f, meeting, &type->func);
    for (uint32_t i = 0; i < params; i++) lower_push(f, args[i]); /* for the other way */
    LLVMPositionBuilderAtEnd(f->builder, other);
}

/* One compare for type and null; which of the two it was is found on the way out. None where
 * nobody changes the table: constant_table.c. */
static void emit_indirect(struct lower *f, const struct instruction *in) {
    struct lower_module *m = f->m;
    uint32_t table = in->index2;
    const struct module_type *type = &m->module->types[in->index];
    LLVMValueRef index = lower_pop(f);
    struct meeting meeting = {0};
    emit_only_callee(f, type, table, index, &meeting);
    if (!meeting.block) emit_promoted(f, type, table, index, NULL, &meeting);
    lower_trap_if(f,
                  LLVMBuildICmp(f->builder, LLVMIntUGE, index, lower_table_size(f, table), ""),
                  TRAP_UNDEFINED_ELEMENT);
    LLVMValueRef entry = lower_table_entry(f, table, index);
    if (!meeting.block) emit_promoted(f, type, table, index, entry, &meeting);
    LLVMValueRef callee = f->counting ? NULL : lower_callee(f, table, type->canonical, index);
    if (callee) {
        emit_call(f, &type->func, callee, NULL);
        end_promoted(f, &type->func, &meeting);
        return;
    }
    LLVMValueRef id =
        lower_entry_field(f, entry, m->i32, offsetof(struct abi_table_entry, type_id));
    LLVMValueRef expected = place_type_id(f, type->canonical);
    LLVMBasicBlockRef wrong = LLVMAppendBasicBlockInContext(m->context, f->llvm, "trap");
    LLVMBasicBlockRef right = LLVMAppendBasicBlockInContext(m->context, f->llvm, "");
    LLVMBuildCondBr(f->builder, LLVMBuildICmp(f->builder, LLVMIntEQ, id, expected, ""), right,
                    wrong);
    LLVMPositionBuilderAtEnd(f->builder, wrong);
    lower_trap_if(f,
                  LLVMBuildICmp(f->builder, LLVMIntEQ, id, LLVMConstInt(m->i32, 0, false), ""),
                  TRAP_UNINITIALIZED_ELEMENT);
    lower_trap(f, TRAP_INDIRECT_CALL_MISMATCH);
    LLVMPositionBuilderAtEnd(f->builder, right);
    if (f->counting) lower_profile_call(f, entry_record(f, entry));
    LLVMValueRef word =
        lower_entry_field(f, entry, m->ptr, offsetof(struct abi_table_entry, word));
    if (relocatable(m)) {
        LLVMValueRef code = load_at(f, m->ptr, word, offsetof(struct abi_func, code));
        LLVMValueRef instance = load_at(f, m->ptr, word, offsetof(struct abi_func, instance));
        emit_call(f, &type->func, code, instance);
    } else {
        emit_call(f, &type->func, word, NULL);
    }
    end_promoted(f, &type->func, &meeting);
}

bool lower_call(struct lower *f, const struct instruction *in) {
    switch (in->opcode) {
    case OP_CALL: emit_direct(f, in->index); return true;
    case OP_CALL_INDIRECT: emit_indirect(f, in); return true;
    default: return false;
    }
}

/* ---- to the host ------------------------------------------------------------------------- */

static LLVMValueRef slot_at(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef slots,
                            uint32_t index) {
    LLVMValueRef offset = LLVMConstInt(m->i64, (uint64_t)index * ABI_SLOT_SIZE, false);
    return LLVMBuildGEP2(builder, m->i8, slots, &offset, 1, "");
}

static LLVMValueRef make_slots(struct lower_module *m, LLVMBuilderRef builder, uint32_t count) {
    LLVMTypeRef type = LLVMArrayType2(m->v2i64, count ? count : 1);
    LLVMValueRef slots = LLVMBuildAlloca(builder, type, "slots");
    LLVMSetAlignment(slots, ABI_SLOT_SIZE);
    return slots;
}

/* Says of a call, in a module with exceptions, that it lets none through. */
static void cannot_throw(struct lower_module *m, LLVMValueRef call) {
    if (!m->module->has_exceptions) return; /* no function does */
    unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(m->context, kind, 0));
}

#define GATE_ARGS 3u
static LLVMTypeRef gate_type(struct lower_module *m) {
    LLVMTypeRef params[GATE_ARGS] = {m->i64, m->ptr, m->ptr};
    return LLVMFunctionType(m->void_type, params, GATE_ARGS, false);
}

/* gate(index, slots, instance): see abi.h. gate_address is where its address is kept. */
static void call_gate(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef gate_address,
                      uint32_t index, LLVMValueRef slots, LLVMValueRef instance) {
    LLVMValueRef gate = LLVMBuildLoad2(builder, m->ptr, gate_address, "gate");
    LLVMValueRef args[GATE_ARGS] = {LLVMConstInt(m->i64, index, false), slots,
                                    instance ? instance : LLVMGetUndef(m->ptr)};
    LLVMValueRef call = LLVMBuildCall2(builder, gate_type(m), gate, args, GATE_ARGS, "");
    LLVMSetTailCallKind(call, LLVMTailCallKindNoTail);
    cannot_throw(m, call);
}

LLVMValueRef lower_slots(struct lower *f, uint32_t count) {
    return make_slots(f->m, f->entry_builder, count);
}

LLVMValueRef lower_slot(struct lower *f, LLVMValueRef slots, uint32_t index) {
    return slot_at(f->m, f->builder, slots, index);
}

void lower_throwing_helper(struct lower *f, enum abi_helper helper, LLVMValueRef slots) {
    struct lower_module *m = f->m;
    LLVMValueRef address = place_instance_field(f, offsetof(struct abi_instance, gate));
    LLVMValueRef gate = LLVMBuildLoad2(f->builder, m->ptr, address, "gate");
    LLVMValueRef args[GATE_ARGS] = {
        LLVMConstInt(m->i64, ABI_GATE_HELPER | (uint32_t)helper, false), slots,
        f->instance_argument ? f->instance_argument : LLVMGetUndef(m->ptr)};
    lower_throwing_call(f, gate_type(m), gate, args, GATE_ARGS);
    LLVMBuildUnreachable(f->builder);
}

static const char *helper_params(enum abi_helper helper, const char **ret_results) {
    static const struct {
        const char *params, *results;
    } rows[] = {
#define HELPER(name, params, results) {params, results},
#include "abi/helpers.def"
    };
    *ret_results = rows[helper].results;
    return rows[helper].params;
}

LLVMValueRef lower_helper(struct lower *f, enum abi_helper helper, LLVMValueRef *args,
                          uint32_t count) {
    struct lower_module *m = f->m;
    const char *results, *params = helper_params(helper, &results);
    CHECK(strlen(params) == count && count <= 8);
    if (!f->helper_slots) f->helper_slots = make_slots(m, f->entry_builder, 8);
    for (uint32_t i = 0; i < count; i++)
        LLVMBuildStore(f->builder, args[i], slot_at(m, f->builder, f->helper_slots, i));
    call_gate(m, f->builder, place_instance_field(f, offsetof(struct abi_instance, gate)),
              ABI_GATE_HELPER | (uint32_t)helper, f->helper_slots, f->instance_argument);
    if (!*results) return NULL;
    return LLVMBuildLoad2(f->builder, *results == 'i' ? m->i32 : m->i64,
                          slot_at(m, f->builder, f->helper_slots, 0), "");
}

/* import<N>: the ordinary convention outside, slots and the gate inside. */
static void define_import_thunk(struct lower_module *m, uint32_t index) {
    const struct functype *type = module_functype(m->module, index);
    LLVMValueRef function = lower_function_value(m, index);
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    LLVMPositionBuilderAtEnd(builder,
                             LLVMAppendBasicBlockInContext(m->context, function, "entry"));
    uint32_t extra = relocatable(m) ? 1 : 0;
    uint32_t slot_count =
        type->param_count > type->result_count ? type->param_count : type->result_count;
    LLVMValueRef slots = make_slots(m, builder, slot_count);
    for (uint32_t i = 0; i < type->param_count; i++)
        LLVMBuildStore(
            builder,
            lower_received(m, builder, type->params[i], LLVMGetParam(function, extra + i)),
            slot_at(m, builder, slots, i));
    LLVMValueRef instance =
        extra ? LLVMGetParam(function, 0)
              : LLVMConstIntToPtr(LLVMConstInt(m->i64, ABI_INSTANCE_BASE, false), m->ptr);
    _Static_assert(offsetof(struct abi_instance, gate) == 0, "gate comes first");
    call_gate(m, builder, instance, index, slots, instance);
    if (type->result_count == 0) {
        LLVMBuildRetVoid(builder);
    } else {
        LLVMValueRef results[MODULE_MAX_RESULTS];
        for (uint32_t i = 0; i < type->result_count; i++)
            results[i] = LLVMBuildLoad2(builder, lower_type(m, type->results[i]),
                                        slot_at(m, builder, slots, i), "");
        if (type->result_count == 1)
            LLVMBuildRet(builder, lower_passed(m, builder, type->results[0], results[0]));
        else
            LLVMBuildAggregateRet(builder, results, type->result_count);
    }
    LLVMDisposeBuilder(builder);
}

/* entry<T>(slots, code, instance): parameters from the slots, results into them. Leaves by the
 * gate: there is no return address that would be right in the process a snapshot resumes in. */
static void define_entry_thunk(struct lower_module *m, uint32_t canonical) {
    const struct functype *type = &m->module->types[canonical].func;
    LLVMTypeRef params[] = {m->ptr, m->ptr, m->ptr};
    char name[24];
    snprintf(name, sizeof name, "entry%u", canonical);
    LLVMValueRef function = LLVMAddFunction(
        m->llvm, name, LLVMFunctionType(m->void_type, params, countof(params), false));
    lower_function_attributes(m, function);
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    LLVMPositionBuilderAtEnd(builder,
                             LLVMAppendBasicBlockInContext(m->context, function, "entry"));
    LLVMValueRef slots = LLVMGetParam(function, 0), args[MODULE_MAX_PARAMS + 1];
    uint32_t extra = relocatable(m) ? 1 : 0;
    if (extra) args[0] = LLVMGetParam(function, 2);
    for (uint32_t i = 0; i < type->param_count; i++)
        args[extra + i] = lower_passed(m, builder, type->params[i],
                                       LLVMBuildLoad2(builder, lower_type(m, type->params[i]),
                                                      slot_at(m, builder, slots, i), ""));
    LLVMValueRef call =
        LLVMBuildCall2(builder, lower_function_type(m, type), LLVMGetParam(function, 1), args,
                       type->param_count + extra, "");
    LLVMSetTailCallKind(call, LLVMTailCallKindNoTail);
    for (uint32_t i = 0; i < type->result_count; i++)
        LLVMBuildStore(builder,
                       type->result_count == 1
                           ? lower_received(m, builder, type->results[0], call)
                           : LLVMBuildExtractValue(builder, call, i, ""),
                       slot_at(m, builder, slots, i));
    LLVMValueRef instance =
        extra ? LLVMGetParam(function, 2)
              : LLVMConstIntToPtr(LLVMConstInt(m->i64, ABI_INSTANCE_BASE, false), m->ptr);
    call_gate(m, builder, instance, ABI_GATE_RETURN, slots, instance);
    LLVMBuildUnreachable(builder);
    LLVMDisposeBuilder(builder);
}

void lower_thunks(struct lower_module *m) {
    for (uint32_t i = 0; i < m->module->imported_functions; i++) define_import_thunk(m, i);
    for (uint32_t i = 0; i < m->module->type_count; i++)
        if (m->module->types[i].kind == COMPOSITE_FUNC && m->module->types[i].canonical == i)
            define_entry_thunk(m, i);
}
