/*
 * Vectors of saturating conversions, i32 of floats, which LLVM's code generator takes apart
 * into one scalar conversion a lane. x86's instruction gives INT_MIN for whatever does not fit,
 * which is right below, the complement of what is wanted above, and to be cleared for a NaN:
 *
 *     i = cvttps2dq x;  i ^= x >= 2^31 ? -1 : 0;  i &= x == x ? -1 : 0
 *
 * Hardly ever does anything not fit. So where several vectors of a block are converted before
 * one of them is used, one question is asked for all, whether there is an INT_MIN, and the
 * corrections stand apart:
 *
 *     head:  what was in front, i = cvttps2dq x ..., any min(i ...) == INT_MIN ? slow : block
 *     slow:  the corrections
 *     block: phi of both; what was behind
 *
 * Runs after the optimiser, which makes such vectors of loops.
 */
#include "compiler/optimise.h"

#define PARTS_MAX 16u /* of a conversion */
#define LANES_MAX 8u  /* of a part */
#define WHOLE_MAX 64u /* lanes of a conversion */
#define GROUP_MAX 8u  /* conversions */
#define JUMPS_MAX 64u /* to a block that is divided */

static const char prefix[] = "llvm.fptosi.sat.v";

/* `lanes` lanes of a vector from lane `first` on. */
static LLVMValueRef slice(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef vector,
                          unsigned first, unsigned lanes) {
    LLVMValueRef mask[LANES_MAX];
    for (unsigned i = 0; i < lanes; i++) mask[i] = LLVMConstInt(m->i32, first + i, false);
    return LLVMBuildShuffleVector(builder, vector, LLVMGetPoison(LLVMTypeOf(vector)),
                                  LLVMConstVector(mask, lanes), "");
}

/* Joins count vectors of one type, a power of two of them. */
static LLVMValueRef join(struct lower_module *m, LLVMBuilderRef builder, LLVMValueRef *parts,
                         unsigned count) {
    for (; count > 1; count /= 2)
        for (unsigned i = 0; i < count / 2; i++) {
            unsigned lanes = 2 * LLVMGetVectorSize(LLVMTypeOf(parts[2 * i]));
            LLVMValueRef mask[WHOLE_MAX];
            for (unsigned k = 0; k < lanes; k++) mask[k] = LLVMConstInt(m->i32, k, false);
            parts[i] = LLVMBuildShuffleVector(builder, parts[2 * i], parts[2 * i + 1],
                                              LLVMConstVector(mask, lanes), "");
        }
    return parts[0];
}

/* One conversion: an i32 for each lane of x, by `count` instructions of `own` lanes each. */
struct conversion {
    LLVMValueRef call, x;
    const char *name;
    unsigned own, count;
    LLVMValueRef parts[PARTS_MAX]; /* as the instruction gives them */
};

/* false where there is no instruction for it. */
static bool plan(struct lower_module *m, LLVMValueRef call, struct conversion *ret) {
    LLVMValueRef x = LLVMGetOperand(call, 0);
    LLVMTypeRef type = LLVMTypeOf(x);
    unsigned lanes = LLVMGetVectorSize(type);
    bool wide = strcmp(m->options->target, "x86-64-v2") != 0;
    bool f32 = LLVMGetElementType(type) == m->f32;
    unsigned own = f32 && wide ? 8 : 4;
    if (!f32 && !wide) return false; /* cvttpd2dq of two leaves half a vector: not worth it */
    if (own > lanes) own = lanes;
    if (own < 4 || lanes > WHOLE_MAX || lanes % own != 0 || lanes / own > PARTS_MAX ||
        (lanes & (lanes - 1)) != 0)
        return false;
    *ret = (struct conversion){.call = call,
                               .x = x,
                               .name = !f32       ? "llvm.x86.avx.cvtt.pd2dq.256"
                                       : own == 8 ? "llvm.x86.avx.cvtt.ps2dq.256"
                                                  : "llvm.x86.sse2.cvttps2dq",
                               .own = own,
                               .count = lanes / own};
    return true;
}

static LLVMValueRef operand(struct lower_module *m, LLVMBuilderRef builder,
                            const struct conversion *c, unsigned part) {
    return c->count == 1 ? c->x : slice(m, builder, c->x, part * c->own, c->own);
}

static void convert(struct lower_module *m, LLVMBuilderRef builder, struct conversion *c) {
    for (unsigned i = 0; i < c->count; i++) {
        LLVMValueRef x = operand(m, builder, c, i);
        c->parts[i] = lower_intrinsic(m, builder, c->name, NULL, 0, &x, 1);
    }
}

static LLVMValueRef raw(struct lower_module *m, LLVMBuilderRef builder,
                        const struct conversion *c) {
    LLVMValueRef parts[PARTS_MAX];
    memcpy(parts, c->parts, sizeof parts);
    return join(m, builder, parts, c->count);
}

static LLVMValueRef corrected(struct lower_module *m, LLVMBuilderRef builder,
                              const struct conversion *c) {
    LLVMValueRef parts[PARTS_MAX], limit[LANES_MAX];
    LLVMTypeRef result = LLVMVectorType(m->i32, c->own);
    LLVMTypeRef element = LLVMGetElementType(LLVMTypeOf(c->x));
    for (unsigned i = 0; i < c->own; i++) limit[i] = LLVMConstReal(element, 0x1p31);
    for (unsigned i = 0; i < c->count; i++) {
        LLVMValueRef x = operand(m, builder, c, i);
        LLVMValueRef above =
            LLVMBuildFCmp(builder, LLVMRealOGE, x, LLVMConstVector(limit, c->own), "");
        LLVMValueRef number = LLVMBuildFCmp(builder, LLVMRealORD, x, x, "");
        LLVMValueRef value =
            LLVMBuildXor(builder, c->parts[i], LLVMBuildSExt(builder, above, result, ""), "");
        parts[i] = LLVMBuildAnd(builder, value, LLVMBuildSExt(builder, number, result, ""), "");
    }
    return join(m, builder, parts, c->count);
}

static void replace(LLVMValueRef call, LLVMValueRef by) {
    LLVMReplaceAllUsesWith(call, by);
    LLVMInstructionEraseFromParent(call);
}

/* ---- several at once --------------------------------------------------------------------- */

struct group {
    struct conversion at[GROUP_MAX];
    unsigned count;
};

/* Jumps to a block lead to another. false, and nothing done, where some cannot. */
static bool redirect(LLVMBasicBlockRef block, LLVMBasicBlockRef to) {
    LLVMValueRef jumps[JUMPS_MAX];
    unsigned count = 0;
    for (LLVMUseRef use = LLVMGetFirstUse(LLVMBasicBlockAsValue(block)); use;
         use = LLVMGetNextUse(use)) {
        LLVMValueRef user = LLVMGetUser(use);
        if (count == JUMPS_MAX || (!LLVMIsABranchInst(user) && !LLVMIsASwitchInst(user)))
            return false;
        jumps[count++] = user;
    }
    for (unsigned k = 0; k < count; k++)
        for (unsigned i = 0; i < LLVMGetNumSuccessors(jumps[k]); i++)
            if (LLVMGetSuccessor(jumps[k], i) == block) LLVMSetSuccessor(jumps[k], i, to);
    return true;
}

/* Whether any lane of any part is INT_MIN. */
static LLVMValueRef any_unfit(struct lower_module *m, LLVMBuilderRef builder,
                              const struct group *g) {
    unsigned own = g->at[0].own;
    LLVMTypeRef type = LLVMVectorType(m->i32, own);
    LLVMValueRef least = NULL, limit[LANES_MAX];
    for (unsigned k = 0; k < g->count; k++)
        for (unsigned i = 0; i < g->at[k].count; i++) {
            LLVMValueRef both[] = {least, g->at[k].parts[i]};
            least = least ? lower_intrinsic(m, builder, "llvm.smin", &type, 1, both, 2)
                          : g->at[k].parts[i];
        }
    for (unsigned i = 0; i < own; i++) limit[i] = LLVMConstInt(m->i32, 0x80000000u, false);
    LLVMValueRef unfit =
        LLVMBuildICmp(builder, LLVMIntEQ, least, LLVMConstVector(limit, own), "");
    LLVMTypeRef bits = LLVMIntTypeInContext(m->context, own);
    return LLVMBuildICmp(builder, LLVMIntNE, LLVMBuildBitCast(builder, unfit, bits, ""),
                         LLVMConstNull(bits), "");
}

/* A branch whose first way is hardly ever taken. */
static void seldom(struct lower_module *m, LLVMValueRef branch) {
    LLVMMetadataRef parts[] = {
        LLVMMDStringInContext2(m->context, "branch_weights", 14),
        LLVMValueAsMetadata(LLVMConstInt(m->i32, 1, false)),
        LLVMValueAsMetadata(LLVMConstInt(m->i32, 1u << 20, false)),
    };
    LLVMMetadataRef node = LLVMMDNodeInContext2(m->context, parts, countof(parts));
    LLVMSetMetadata(branch, m->branch_weights_kind, LLVMMetadataAsValue(m->context, node));
}

/* before: what comes behind the group's head, in the same block. */
static bool split(struct lower_module *m, LLVMBuilderRef builder, struct group *g,
                  LLVMValueRef before) {
    LLVMBasicBlockRef block = LLVMGetInstructionParent(before);
    LLVMBasicBlockRef head = LLVMInsertBasicBlockInContext(m->context, block, "head");
    if (!redirect(block, head)) {
        LLVMDeleteBasicBlock(head);
        return false;
    }
    LLVMBuilderRef mover =
        LLVMCreateBuilderInContext(m->context); /* keeps where they are from */
    LLVMPositionBuilderAtEnd(mover, head);
    for (LLVMValueRef i = LLVMGetFirstInstruction(block), next; i != before; i = next) {
        next = LLVMGetNextInstruction(i);
        LLVMInstructionRemoveFromParent(i);
        LLVMInsertIntoBuilder(mover, i);
    }
    LLVMDisposeBuilder(mover);
    LLVMBasicBlockRef slow =
        LLVMAppendBasicBlockInContext(m->context, LLVMGetBasicBlockParent(block), "slow");
    LLVMValueRef values[GROUP_MAX][2];
    LLVMBasicBlockRef from[] = {head, slow};
    LLVMPositionBuilderAtEnd(builder, head);
    for (unsigned k = 0; k < g->count; k++) {
        convert(m, builder, &g->at[k]);
        values[k][0] = raw(m, builder, &g->at[k]);
    }
    seldom(m, LLVMBuildCondBr(builder, any_unfit(m, builder, g), slow, block));
    LLVMPositionBuilderAtEnd(builder, slow);
    for (unsigned k = 0; k < g->count; k++) values[k][1] = corrected(m, builder, &g->at[k]);
    LLVMBuildBr(builder, block);
    LLVMPositionBuilderBefore(builder, before);
    for (unsigned k = 0; k < g->count; k++) {
        LLVMValueRef phi = LLVMBuildPhi(builder, LLVMTypeOf(values[k][0]), "");
        LLVMAddIncoming(phi, values[k], from, 2);
        replace(g->at[k].call, phi);
    }
    return true;
}

/* Ends the group. */
static void expand(struct lower_module *m, LLVMBuilderRef builder, struct group *g,
                   LLVMValueRef before) {
    unsigned parts = 0;
    for (unsigned k = 0; k < g->count; k++) parts += g->at[k].count;
    if (parts < 2 || !split(m, builder, g, before))
        for (unsigned k = 0; k < g->count; k++) {
            LLVMPositionBuilderBefore(builder, g->at[k].call);
            convert(m, builder, &g->at[k]);
            replace(g->at[k].call, corrected(m, builder, &g->at[k]));
        }
    g->count = 0;
}

/* ---- finding them ------------------------------------------------------------------------ */

static bool is_conversion(struct lower_module *m, LLVMValueRef i) {
    if (!LLVMIsACallInst(i)) return false;
    LLVMValueRef callee = LLVMGetCalledValue(i);
    size_t length;
    const char *name = LLVMGetValueName2(callee, &length);
    return LLVMIsAFunction(callee) && length >= sizeof prefix &&
           memcmp(name, prefix, sizeof prefix - 1) == 0 &&
           LLVMGetElementType(LLVMTypeOf(i)) == m->i32;
}

static bool uses(LLVMValueRef i, const struct group *g) {
    for (int n = LLVMGetNumOperands(i), at = 0; at < n; at++)
        for (unsigned k = 0; k < g->count; k++)
            if (LLVMGetOperand(i, (unsigned)at) == g->at[k].call) return true;
    return false;
}

static void expand_in(struct lower_module *m, LLVMBuilderRef builder, LLVMBasicBlockRef block) {
    static const struct group none;
    struct group g = none;
    for (LLVMValueRef i = LLVMGetFirstInstruction(block), next; i; i = next) {
        next = LLVMGetNextInstruction(i);
        struct conversion c;
        bool is = is_conversion(m, i) && plan(m, i, &c);
        if (g.count && (LLVMIsATerminatorInst(i) || uses(i, &g) ||
                        (is && (g.count == GROUP_MAX || c.own != g.at[0].own))))
            expand(m, builder, &g, i);
        if (is) g.at[g.count++] = c;
    }
}

void saturate_vectors(struct lower_module *m) {
    if (strncmp(m->options->target, "x86-64", 6) != 0) return;
    bool any = false;
    for (LLVMValueRef f = LLVMGetFirstFunction(m->llvm); f; f = LLVMGetNextFunction(f)) {
        size_t length;
        const char *name = LLVMGetValueName2(f, &length);
        any |= length >= sizeof prefix && memcmp(name, prefix, sizeof prefix - 1) == 0;
    }
    if (!any) return;
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef f = LLVMGetFirstFunction(m->llvm); f; f = LLVMGetNextFunction(f))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(f), next; block; block = next) {
            next = LLVMGetNextBasicBlock(block); /* what is made lies before it, or corrects */
            expand_in(m, builder, block);
        }
    LLVMDisposeBuilder(builder);
}
