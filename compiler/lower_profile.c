/*
 * Profiles in the IR: counters where they are to be made, weights where they are there
 * (compiler/profile.h, docs/profile.md). The sites of both are the same, so a profile fits
 * whatever the compiler and the target were.
 *
 * A counter is an ordinary load, an add and a volatile store: counts are exact also where a
 * trap by a page fault ends a loop, of which LLVM knows nothing. They lie outside of linear
 * memory, and the alias scopes say so.
 *
 * What LLVM is told: entry counts of functions, weights of branches, switches and selects, the
 * summary that its thresholds of hot and cold come from, and "cold" or "inlinehint" for
 * functions on either side of them, as its own instrumentation does.
 */
#include "compiler/branch_hints.h"
#include "compiler/lower.h"
#include "compiler/profile.h"

/* How often a branch goes the way its hint says, for once that it does not (docs/profile.md).
 */
#define LIKELY 64

static const struct profile_plan *plan_of(const struct lower *f) {
    return f->m->module->profile;
}

/* ---- metadata ---------------------------------------------------------------------------- */

static LLVMMetadataRef text(struct lower_module *m, const char *string) {
    return LLVMMDStringInContext2(m->context, string, strlen(string));
}

static LLVMMetadataRef number(LLVMTypeRef type, uint64_t value) {
    return LLVMValueAsMetadata(LLVMConstInt(type, value, false));
}

static LLVMMetadataRef named(struct lower_module *m, const char *name, uint64_t value) {
    LLVMMetadataRef parts[] = {text(m, name), number(m->i64, value)};
    return LLVMMDNodeInContext2(m->context, parts, countof(parts));
}

/* The module flag that llvm::ProfileSummary::getFromMD reads. */
static void add_summary(struct lower_module *m, const struct profile_summary *s) {
    LLVMMetadataRef rows[PROFILE_CUTOFFS];
    for (size_t i = 0; i < PROFILE_CUTOFFS; i++) {
        LLVMMetadataRef row[] = {number(m->i32, s->cutoffs[i].cutoff),
                                 number(m->i64, s->cutoffs[i].min_count),
                                 number(m->i32, s->cutoffs[i].counts)};
        rows[i] = LLVMMDNodeInContext2(m->context, row, countof(row));
    }
    LLVMMetadataRef format[] = {text(m, "ProfileFormat"), text(m, "InstrProf")};
    LLVMMetadataRef detailed[] = {text(m, "DetailedSummary"),
                                  LLVMMDNodeInContext2(m->context, rows, countof(rows))};
    LLVMMetadataRef parts[] = {
        LLVMMDNodeInContext2(m->context, format, countof(format)),
        named(m, "TotalCount", s->total),
        named(m, "MaxCount", s->max),
        named(m, "MaxInternalCount", s->max_internal),
        named(m, "MaxFunctionCount", s->max_function),
        named(m, "NumCounts", s->count_count),
        named(m, "NumFunctions", s->function_count),
        LLVMMDNodeInContext2(m->context, detailed, countof(detailed)),
    };
    LLVMAddModuleFlag(m->llvm, LLVMModuleFlagBehaviorError, "ProfileSummary", 14,
                      LLVMMDNodeInContext2(m->context, parts, countof(parts)));
}

void lower_profile_module(struct lower_module *m) {
    m->branch_weights_kind = LLVMGetMDKindIDInContext(m->context, "prof", 4);
    if (m->module->profile && m->module->profile->known)
        add_summary(m, &m->module->profile->summary);
}

/* Weights are 32 bits; where all are 0 nothing is known. */
static void set_weights(struct lower *f, LLVMValueRef instruction, const uint64_t *counts,
                        uint32_t count) {
    struct lower_module *m = f->m;
    uint64_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        if (counts[i] > most) most = counts[i];
    if (most == 0) return;
    uint64_t scale = most / UINT32_MAX + 1;
    LLVMMetadataRef *parts = arena_array(f->scratch, (size_t)count + 1, sizeof *parts);
    if (!parts) return;
    parts[0] = text(m, "branch_weights");
    for (uint32_t i = 0; i < count; i++) parts[i + 1] = number(m->i32, counts[i] / scale);
    LLVMMetadataRef node = LLVMMDNodeInContext2(m->context, parts, (size_t)count + 1);
    LLVMSetMetadata(instruction, m->branch_weights_kind, LLVMMetadataAsValue(m->context, node));
}

static void add_attribute(struct lower *f, const char *name) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    CHECK(kind != 0);
    LLVMAddAttributeAtIndex(f->llvm, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(f->m->context, kind, 0));
}

/* ---- counters ---------------------------------------------------------------------------- */

static void add_to_counter(struct lower *f, LLVMValueRef address, LLVMValueRef more) {
    LLVMValueRef old = lower_load_instance(f, f->m->i64, address);
    lower_store_instance(f, LLVMBuildAdd(f->builder, old, more, ""), address);
    LLVMSetVolatile(LLVMGetLastInstruction(LLVMGetInsertBlock(f->builder)), true);
}

static void count_site(struct lower *f, uint32_t site, LLVMValueRef more) {
    add_to_counter(f, place_profile(f, 8 * (uint64_t)site), more);
}

static LLVMValueRef one(struct lower *f) { return LLVMConstInt(f->m->i64, 1, false); }

/* The first site of the instruction being lowered, or UINT32_MAX where there are no sites. */
static uint32_t site_here(const struct lower *f) {
    if (!f->profile) return UINT32_MAX;
    uint32_t site = profile_find_site(&plan_of(f)->own, f->profile, f->instruction, 0);
    CHECK(site != UINT32_MAX);
    return site;
}

void lower_profile_begin(struct lower *f) {
    const struct profile_plan *plan = plan_of(f);
    if (!plan) return;
    uint32_t own = f->function_index - f->m->module->imported_functions;
    f->profile = &plan->own.functions[own];
    if (plan->generate) {
        count_site(f, f->profile->first_site, one(f));
        f->counting = true;
        return;
    }
    if (!profile_tells(plan, own)) {
        /* never run: out of the way (link.c), no more */
        if (plan->known[own]) LLVMSetSection(f->llvm, ".text.unlikely");
        f->profile = NULL;
        return;
    }
    uint64_t entries = plan->own.counts[f->profile->first_site];
    if (entries == 0) entries = 1; /* entered by nobody, yet run */
    LLVMMetadataRef parts[] = {text(f->m, "function_entry_count"), number(f->m->i64, entries)};
    LLVMGlobalSetMetadata(f->llvm, f->m->branch_weights_kind,
                          LLVMMDNodeInContext2(f->m->context, parts, countof(parts)));
    if (plan->max_counts[own] <= plan->summary.cold_count)
        add_attribute(f, "cold");
    else if (entries >= plan->summary.hot_count)
        add_attribute(f, "inlinehint");
}

void lower_profile_branch(struct lower *f, LLVMValueRef condition) {
    if (!f->counting) return;
    uint32_t site = site_here(f);
    count_site(f, site, one(f));
    count_site(f, site + 1, LLVMBuildZExt(f->builder, condition, f->m->i64, ""));
}

/* What the module itself says; where nothing was counted. */
static void weigh_by_hint(struct lower *f, LLVMValueRef branch) {
    const struct branch_hint *hint = branch_hint_at(f->function, f->at, &f->next_hint);
    if (!hint) return;
    uint64_t weights[] = {hint->taken ? LIKELY : 1, hint->taken ? 1 : LIKELY};
    set_weights(f, branch, weights, countof(weights));
}

void lower_profile_weigh(struct lower *f, LLVMValueRef branch) {
    if (f->counting || LLVMIsConstant(branch)) return;
    if (!f->profile) {
        if (LLVMGetInstructionOpcode(branch) == LLVMBr) weigh_by_hint(f, branch);
        return;
    }
    uint32_t site = site_here(f);
    uint64_t all = plan_of(f)->own.counts[site], taken = plan_of(f)->own.counts[site + 1];
    uint64_t counts[] = {taken, all > taken ? all - taken : 0};
    set_weights(f, branch, counts, countof(counts));
}

void lower_profile_switch(struct lower *f, LLVMValueRef index, uint32_t count) {
    if (!f->counting) return;
    struct lower_module *m = f->m;
    uint32_t site = site_here(f);
    LLVMValueRef last = LLVMConstInt(m->i32, count, false);
    LLVMValueRef arm = LLVMBuildSelect(
        f->builder, LLVMBuildICmp(f->builder, LLVMIntULT, index, last, ""), index, last, "");
    LLVMValueRef offset = LLVMBuildMul(f->builder, LLVMBuildZExt(f->builder, arm, m->i64, ""),
                                       LLVMConstInt(m->i64, 8, false), "");
    LLVMValueRef base = place_profile(f, 8 * (uint64_t)site);
    add_to_counter(f, LLVMBuildGEP2(f->builder, m->i8, base, &offset, 1, ""), one(f));
}

void lower_profile_weigh_switch(struct lower *f, LLVMValueRef choice, uint32_t count) {
    if (!f->profile || f->counting) return;
    const uint64_t *arms = plan_of(f)->own.counts + site_here(f);
    unsigned successors = LLVMGetNumSuccessors(choice);
    uint64_t *counts = arena_array(f->scratch, successors, sizeof *counts);
    if (!counts) return;
    /* the default also stands for the cases that go where it goes */
    for (uint32_t i = 0; i <= count; i++) counts[0] = profile_sum(counts[0], arms[i]);
    for (unsigned i = 1; i < successors; i++) {
        uint64_t value = LLVMConstIntGetZExtValue(LLVMGetSwitchCaseValue(choice, i));
        CHECK(value < count);
        counts[i] = arms[value];
        counts[0] = counts[0] > counts[i] ? counts[0] - counts[i] : 0;
    }
    set_weights(f, choice, counts, successors);
}

/* ---- indirect calls ---------------------------------------------------------------------- */

/*
 * void hutch.profile(struct abi_profile_target *slots, i64 value): counts value in the slot
 * that has it or in a free one. Where all are taken, the one with the least count loses one,
 * and goes to value when it has none left, so that a target that comes late and often gets in.
 */
static LLVMValueRef define_record(struct lower_module *m) {
    static const char name[] = "hutch.profile";
    LLVMValueRef function = LLVMGetNamedFunction(m->llvm, name);
    if (function) return function;
    LLVMTypeRef params[] = {m->ptr, m->i64};
    LLVMTypeRef type = LLVMFunctionType(m->void_type, params, countof(params), false);
    function = LLVMAddFunction(m->llvm, name, type);
    LLVMSetLinkage(function, LLVMInternalLinkage);
    lower_function_attributes(m, function);
    LLVMSetVisibility(function, LLVMDefaultVisibility); /* internal ones have no other */
    LLVMValueRef slots = LLVMGetParam(function, 0), value = LLVMGetParam(function, 1);
    LLVMBuilderRef b = LLVMCreateBuilderInContext(m->context);
    LLVMBasicBlockRef block = LLVMAppendBasicBlockInContext(m->context, function, "entry");
    LLVMValueRef least = NULL, least_count = NULL, one64 = LLVMConstInt(m->i64, 1, false);
    for (unsigned i = 0; i < ABI_PROFILE_TARGETS; i++) {
        LLVMBasicBlockRef hit = LLVMAppendBasicBlockInContext(m->context, function, "hit");
        LLVMBasicBlockRef next = LLVMAppendBasicBlockInContext(m->context, function, "next");
        LLVMPositionBuilderAtEnd(b, block);
        LLVMValueRef at = LLVMConstInt(m->i64, i * sizeof(struct abi_profile_target), false);
        LLVMValueRef eight =
            LLVMConstInt(m->i64, offsetof(struct abi_profile_target, count), false);
        LLVMValueRef slot = LLVMBuildGEP2(b, m->i8, slots, &at, 1, "");
        LLVMValueRef count_at = LLVMBuildGEP2(b, m->i8, slot, &eight, 1, "");
        LLVMValueRef held = LLVMBuildLoad2(b, m->i64, slot, "");
        LLVMValueRef count = LLVMBuildLoad2(b, m->i64, count_at, "");
        LLVMValueRef zero = LLVMConstInt(m->i64, 0, false);
        LLVMValueRef mine = LLVMBuildOr(b, LLVMBuildICmp(b, LLVMIntEQ, held, value, ""),
                                        LLVMBuildICmp(b, LLVMIntEQ, count, zero, ""), "");
        LLVMValueRef less = least ? LLVMBuildICmp(b, LLVMIntULT, count, least_count, "") : NULL;
        least = least ? LLVMBuildSelect(b, less, slot, least, "") : slot;
        least_count = least_count ? LLVMBuildSelect(b, less, count, least_count, "") : count;
        LLVMBuildCondBr(b, mine, hit, next);
        LLVMPositionBuilderAtEnd(b, hit);
        LLVMBuildStore(b, value, slot);
        LLVMBuildStore(b, LLVMBuildAdd(b, count, one64, ""), count_at);
        LLVMBuildRetVoid(b);
        block = next;
    }
    LLVMPositionBuilderAtEnd(b, block);
    LLVMValueRef eight =
        LLVMConstInt(m->i64, offsetof(struct abi_profile_target, count), false);
    LLVMValueRef last = LLVMBuildICmp(b, LLVMIntEQ, least_count, one64, "");
    LLVMValueRef held = LLVMBuildLoad2(b, m->i64, least, "");
    LLVMBuildStore(b, LLVMBuildSelect(b, last, value, held, ""), least);
    LLVMBuildStore(b,
                   LLVMBuildSelect(b, last, one64, LLVMBuildSub(b, least_count, one64, ""), ""),
                   LLVMBuildGEP2(b, m->i8, least, &eight, 1, ""));
    LLVMBuildRetVoid(b);
    LLVMDisposeBuilder(b);
    return function;
}

void lower_profile_call(struct lower *f, LLVMValueRef record) {
    if (!f->counting) return;
    struct lower_module *m = f->m;
    const struct profile *own = &plan_of(f)->own;
    count_site(f, site_here(f), one(f));
    uint32_t call = profile_find_call(own, f->profile, f->instruction);
    CHECK(call != UINT32_MAX);
    uint64_t offset = 8 * (uint64_t)own->site_count +
                      sizeof(struct abi_profile_target) * ABI_PROFILE_TARGETS * (uint64_t)call;
    LLVMValueRef args[] = {place_profile(f, offset), record};
    LLVMValueRef function = define_record(m);
    LLVMBuildCall2(f->builder, LLVMGlobalGetValueType(function), function, args, countof(args),
                   "");
}

/* As LLVM's own promotion: at most 3, each at least 30 % of what is left and 5 % of all. */
#define PROMOTE_MAX 3u
#define PROMOTE_OF_REST 30u
#define PROMOTE_OF_ALL 5u

uint32_t lower_profile_targets(struct lower *f, uint32_t canonical,
                               struct lower_target ret_targets[LOWER_MAX_TARGETS]) {
    _Static_assert(PROMOTE_MAX <= LOWER_MAX_TARGETS, "room for all");
    if (!f->profile || f->counting) return 0;
    const struct profile_plan *plan = plan_of(f);
    const struct module *module = f->m->module;
    uint64_t all = plan->own.counts[site_here(f)], rest = all;
    uint32_t call = profile_find_call(&plan->own, f->profile, f->instruction), count = 0;
    if (call == UINT32_MAX || all <= plan->summary.cold_count) return 0;
    for (uint32_t i = 0; i < PROMOTE_MAX; i++) {
        struct profile_target t = plan->own.targets[call * ABI_PROFILE_TARGETS + i];
        if (t.function == PROFILE_NO_FUNCTION || t.count > rest) break;
        uint32_t index = module->imported_functions + t.function;
        if (t.count < rest / 100 * PROMOTE_OF_REST || t.count < all / 100 * PROMOTE_OF_ALL ||
            t.count == 0 || module->types[module->functions[index].type].canonical != canonical)
            break;
        rest -= t.count;
        ret_targets[count++] =
            (struct lower_target){.function = index, .count = t.count, .rest = rest};
    }
    return count;
}

void lower_profile_weigh_target(struct lower *f, LLVMValueRef branch,
                                const struct lower_target *target) {
    uint64_t counts[] = {target->count, target->rest};
    set_weights(f, branch, counts, countof(counts));
}
