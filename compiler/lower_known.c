/*
 * The way around a known routine's body: native code first (known.ll), the original where that
 * says so. Not at level 0, which compiles what is there, and not where counters are wanted,
 * since what is counted must not depend on this.
 */
#include "compiler/known.h"
#include "compiler/lower.h"
#include "compiler/routines.h"

#define NAME_SIZE 32

static LLVMValueRef declare(struct lower_module *m, const char *prefix,
                            enum known_routine routine) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", prefix, known_name(routine));
    LLVMValueRef function = LLVMGetNamedFunction(m->llvm, name);
    if (function) return function;
    LLVMTypeRef params[5] = {m->ptr, m->i64, m->i32, m->i32, m->i32};
    uint32_t count = 2 + known_param_count(routine);
    CHECK(count <= countof(params));
    return LLVMAddFunction(m->llvm, name, LLVMFunctionType(m->i64, params, count, false));
}

static LLVMValueRef call(struct lower *f, const char *prefix, enum known_routine routine,
                         LLVMValueRef *args) {
    LLVMValueRef native = declare(f->m, prefix, routine);
    return LLVMBuildCall2(f->builder, LLVMGlobalGetValueType(native), native, args,
                          2 + known_param_count(routine), "");
}

/* Whether twice as many bytes at a time are worth a question and a call that nothing is inlined
 * through: a program for x86-64-v2 mostly runs on a processor that has them. */
static bool gains_by_width(const struct lower_module *m, enum known_routine routine) {
    if (strcmp(m->options->target, "x86-64-v2") != 0) return false; /* it has them anyway */
    return routine == KNOWN_strlen || routine == KNOWN_strchrnul || routine == KNOWN_memchr ||
           routine == KNOWN_strstr;
}

/* The routine for x86-64-v3 where the processor is one, which the instance block says. */
static LLVMValueRef call_by_width(struct lower *f, enum known_routine routine,
                                  LLVMValueRef *args) {
    struct lower_module *m = f->m;
    m->has_wide = true;
    LLVMValueRef level =
        LLVMBuildLoad2(f->builder, m->i64,
                       place_instance_field(f, offsetof(struct abi_instance, cpu_level)), "");
    LLVMValueRef has =
        LLVMBuildICmp(f->builder, LLVMIntUGE, level, LLVMConstInt(m->i64, 3, false), "");
    LLVMBasicBlockRef blocks[2];
    for (int i = 0; i < 2; i++)
        blocks[i] = LLVMAppendBasicBlockInContext(m->context, f->llvm, i ? "target" : "wide");
    LLVMBasicBlockRef joined = LLVMAppendBasicBlockInContext(m->context, f->llvm, "joined");
    LLVMBuildCondBr(f->builder, has, blocks[0], blocks[1]);
    LLVMValueRef results[2];
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(f->builder, blocks[i]);
        results[i] = call(f, i ? KNOWN_PREFIX : KNOWN_WIDE_PREFIX, routine, args);
        LLVMBuildBr(f->builder, joined);
    }
    LLVMPositionBuilderAtEnd(f->builder, joined);
    LLVMValueRef result = LLVMBuildPhi(f->builder, m->i64, "");
    LLVMAddIncoming(result, results, blocks, 2);
    return result;
}

void lower_known(struct lower *f) {
    struct lower_module *m = f->m;
    if (m->options->level < COMPILE_O1 || f->counting) return;
    enum known_routine routine = known_find(m->module, f->function_index);
    if (routine == KNOWN_COUNT) return;
    m->has_known = true;
    LLVMValueRef args[5] = {place_memory_base(f, 0), lower_memory_bytes(f, 0)};
    uint32_t extra = f->instance_argument ? 1 : 0, count = known_param_count(routine);
    for (uint32_t i = 0; i < count; i++)
        args[2 + i] =
            lower_received(m, f->builder, f->type->params[i], LLVMGetParam(f->llvm, extra + i));
    LLVMValueRef result = gains_by_width(m, routine) ? call_by_width(f, routine, args)
                                                     : call(f, KNOWN_PREFIX, routine, args);
    LLVMValueRef refused = LLVMBuildICmp(f->builder, LLVMIntEQ, result,
                                         LLVMConstInt(m->i64, UINT64_MAX, false), "");
    LLVMValueRef expect[] = {refused, LLVMConstInt(m->i1, 0, false)};
    refused = lower_intrinsic(m, f->builder, "llvm.expect", &m->i1, 1, expect, 2);
    LLVMBasicBlockRef original = LLVMAppendBasicBlockInContext(m->context, f->llvm, "original");
    LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(m->context, f->llvm, "native");
    LLVMBuildCondBr(f->builder, refused, original, done);
    LLVMPositionBuilderAtEnd(f->builder, done);
    LLVMBuildRet(f->builder, lower_passed(m, f->builder, f->type->results[0],
                                          LLVMBuildTrunc(f->builder, result, m->i32, "")));
    LLVMPositionBuilderAtEnd(f->builder, original);
}
