/*
 * Loops that the producer unrolled: k copies of a body in one block, the counters k steps a
 * turn. LLVM vectorises the single body well and the copies badly, and cannot roll a loop up.
 * Where the copies are alike, the first stays and the counters go one step:
 *
 *     loop:  x(p) ... x(p + s) ... x(p + 2s) ...        loop:  x(p)
 *            p = p + 3s;  if (p + c != end) loop   =>          p = p + s;  if (p + c != end)
 * loop
 *
 * Copies are found from what a turn leaves: stores, and sums that go round (r = r + x0 + x1 +
 * x2). An address of copy j is that of the first with j*s more, either in the 32-bit index,
 * which is the same number, or in the static offset: then the first copy's access bounds the
 * index as in nowrap.c, else it had trapped before. Accesses keep their order: with stores in
 * the loop, all of one copy come before the next. `!=` must not be met between two turns of
 * old: k*s is a power of two and end - start a multiple of it. docs/compiler.md has the
 * argument.
 */
#include "compiler/link.h"
#include "compiler/optimise.h"

#define PHIS_MAX 8u
#define ACCESSES_MAX 64u
#define COPIES_MAX 8u
#define DEPTH_MAX 16u
#define SPAN_MAX 65536u /* k*s, as far as a static offset may replace it */

struct counter {
    LLVMValueRef phi, next, start;
    int64_t step; /* of a turn */
};
struct sum {
    LLVMValueRef phi, next;
    LLVMValueRef links[COPIES_MAX]; /* r1 ... rk = next */
    unsigned through;               /* the operand that is the sum so far */
};
struct access {
    LLVMValueRef instruction, first; /* first: what it is in the first copy */
    unsigned copy;                   /* UINT32_MAX until found */
};

struct loop {
    struct lower_module *m;
    LLVMBasicBlockRef block, before;
    struct counter counters[PHIS_MAX];
    struct sum sums[PHIS_MAX];
    struct access accesses[ACCESSES_MAX]; /* in order */
    unsigned counter_count, sum_count, access_count, store_count;
    unsigned copies; /* tried now */
};

static bool is_op(LLVMValueRef v, LLVMOpcode opcode) {
    return LLVMIsAInstruction(v) && LLVMGetInstructionOpcode(v) == opcode;
}

static bool is_inside(const struct loop *l, LLVMValueRef v) {
    return LLVMIsAInstruction(v) && LLVMGetInstructionParent(v) == l->block;
}

/* ---- numbers that go with a counter ------------------------------------------------------ */

struct affine {
    const struct counter *counter;
    int64_t add;
    int64_t bits; /* of it by an `or` outermost: this much is added without a wrap */
};

static const struct counter *counter_of(const struct loop *l, LLVMValueRef phi) {
    for (unsigned i = 0; i < l->counter_count; i++)
        if (l->counters[i].phi == phi) return &l->counters[i];
    return NULL;
}

/* Whether v is a counter and a constant, modulo 2^32. */
static bool is_affine(const struct loop *l, LLVMValueRef v, struct affine *ret) {
    int64_t add = 0, bits = 0;
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        const struct counter *counter = counter_of(l, v);
        if (counter) {
            *ret = (struct affine){counter, (int32_t)(uint32_t)(uint64_t)add, bits};
            return true;
        }
        /* `or` only where it adds: LLVM makes it of an addition to what has those bits clear */
        bool adds = is_op(v, LLVMAdd) || (is_op(v, LLVMOr) && LLVMGetIsDisjoint(v));
        if (!adds || !LLVMIsAConstantInt(LLVMGetOperand(v, 1)) || LLVMTypeOf(v) != l->m->i32)
            return false;
        if (is_op(v, LLVMOr) && add == bits)
            bits += LLVMConstIntGetSExtValue(LLVMGetOperand(v, 1));
        add += LLVMConstIntGetSExtValue(LLVMGetOperand(v, 1));
        v = LLVMGetOperand(v, 0);
    }
    return false;
}

static int64_t one_step(const struct loop *l, const struct counter *c) {
    return c->step / (int64_t)l->copies;
}

/* b is what a is j copies on. */
static bool is_later(const struct loop *l, const struct affine *a, const struct affine *b,
                     unsigned j) {
    return a->counter == b->counter &&
           (uint32_t)(uint64_t)(a->add + (int64_t)j * one_step(l, a->counter)) ==
               (uint32_t)(uint64_t)b->add;
}

/* ---- copies ------------------------------------------------------------------------------ */

struct address {
    LLVMValueRef base;
    struct affine index;
    uint64_t offset;
};

/* base + zext(counter + constant) + offset. */
static bool is_address(const struct loop *l, LLVMValueRef v, struct address *ret) {
    uint64_t offset = 0;
    for (unsigned i = 0; i < DEPTH_MAX && LLVMIsAGetElementPtrInst(v); i++) {
        LLVMValueRef index = LLVMGetOperand(v, 1);
        if (LLVMGetNumOperands(v) != 2 || LLVMGetGEPSourceElementType(v) != l->m->i8)
            return false;
        if (LLVMIsAConstantInt(index)) {
            offset += LLVMConstIntGetZExtValue(index);
            v = LLVMGetOperand(v, 0);
            continue;
        }
        if (is_op(index, LLVMAdd) && LLVMGetNUW(index) &&
            LLVMIsAConstantInt(LLVMGetOperand(index, 1))) {
            offset += LLVMConstIntGetZExtValue(LLVMGetOperand(index, 1));
            index = LLVMGetOperand(index, 0);
        }
        if (!LLVMIsAZExtInst(index) || LLVMTypeOf(index) != l->m->i64 ||
            !is_affine(l, LLVMGetOperand(index, 0), &ret->index))
            return false;
        ret->base = LLVMGetOperand(v, 0);
        ret->offset = offset;
        return !is_inside(l, ret->base);
    }
    return false;
}

static bool alike(struct loop *l, LLVMValueRef a, LLVMValueRef b, unsigned j, unsigned depth);

static bool addresses_alike(const struct loop *l, LLVMValueRef a, LLVMValueRef b, unsigned j) {
    struct address first, later;
    if (!is_address(l, a, &first) || !is_address(l, b, &later) || first.base != later.base)
        return false;
    if (first.offset == later.offset && is_later(l, &first.index, &later.index, j)) return true;
    /* what is added behind the index, or to it without a wrap */
    int64_t span = first.index.counter->step, step = one_step(l, first.index.counter);
    uint64_t first_behind = first.offset + (uint64_t)first.index.bits,
             later_behind = later.offset + (uint64_t)later.index.bits;
    return first.index.counter == later.index.counter &&
           first.index.add - first.index.bits == later.index.add - later.index.bits &&
           module_memory_below_4g(l->m->module) && span > 0 && span <= SPAN_MAX &&
           later_behind == first_behind + (uint64_t)((int64_t)j * step);
}

/* Notes which copy an access belongs to; an access of two copies is none. */
static bool claim(struct loop *l, LLVMValueRef instruction, LLVMValueRef first, unsigned copy) {
    for (unsigned i = 0; i < l->access_count; i++) {
        if (l->accesses[i].instruction != instruction) continue;
        struct access *a = &l->accesses[i];
        if (a->copy != UINT32_MAX && (a->copy != copy || a->first != first)) return false;
        a->copy = copy;
        a->first = first;
        return true;
    }
    return false;
}

static bool accesses_alike(struct loop *l, LLVMValueRef a, LLVMValueRef b, unsigned j) {
    unsigned at = LLVMIsALoadInst(a) ? 0 : 1;
    return LLVMGetVolatile(a) == LLVMGetVolatile(b) &&
           addresses_alike(l, LLVMGetOperand(a, at), LLVMGetOperand(b, at), j) &&
           claim(l, a, a, 0) && claim(l, b, a, j);
}

/* Calls of intrinsics that only compute. */
static bool is_pure_call(const struct loop *l, LLVMValueRef call) {
    size_t length;
    const char *name = LLVMGetValueName2(LLVMGetCalledValue(call), &length);
    static const char *const pure[] = {"llvm.fpto", "llvm.fabs", "llvm.sqrt", "llvm.umin",
                                       "llvm.umax", "llvm.smin", "llvm.smax", "llvm.ctpop",
                                       "llvm.fsh",  "llvm.abs"};
    (void)l;
    for (size_t i = 0; i < countof(pure); i++)
        if (length >= strlen(pure[i]) && memcmp(name, pure[i], strlen(pure[i])) == 0)
            return true;
    return false;
}

static bool same_kind(const struct loop *l, LLVMValueRef a, LLVMValueRef b) {
    if (LLVMGetInstructionOpcode(a) != LLVMGetInstructionOpcode(b) ||
        LLVMTypeOf(a) != LLVMTypeOf(b) || LLVMGetNumOperands(a) != LLVMGetNumOperands(b))
        return false;
    switch ((int)LLVMGetInstructionOpcode(a)) {
    case LLVMICmp: return LLVMGetICmpPredicate(a) == LLVMGetICmpPredicate(b);
    case LLVMFCmp: return LLVMGetFCmpPredicate(a) == LLVMGetFCmpPredicate(b);
    case LLVMCall: return LLVMGetCalledValue(a) == LLVMGetCalledValue(b) && is_pure_call(l, a);
    case LLVMAdd:
    case LLVMSub:
    case LLVMMul:
    case LLVMShl:
    case LLVMLShr:
    case LLVMAShr:
    case LLVMAnd:
    case LLVMOr:
    case LLVMXor:
    case LLVMFAdd:
    case LLVMFSub:
    case LLVMFMul:
    case LLVMFDiv:
    case LLVMFNeg:
    case LLVMSelect:
    case LLVMZExt:
    case LLVMSExt:
    case LLVMSIToFP:
    case LLVMUIToFP:
    case LLVMFPExt:
    case LLVMFPTrunc:
    case LLVMBitCast: return true;
    default: return false;
    }
}

/* Whether b computes in copy j what a does in the first. */
static bool alike(struct loop *l, LLVMValueRef a, LLVMValueRef b, unsigned j, unsigned depth) {
    if (depth == 0) return false;
    if (!is_inside(l, a) || !is_inside(l, b)) return a == b;
    if (LLVMTypeOf(a) != LLVMTypeOf(b)) return false;
    struct affine first, later;
    if (is_affine(l, a, &first))
        return is_affine(l, b, &later) && is_later(l, &first, &later, j);
    if (LLVMIsAPHINode(a) || LLVMIsAPHINode(b)) return false;
    if (LLVMIsALoadInst(a) && LLVMIsALoadInst(b)) return accesses_alike(l, a, b, j);
    if (!same_kind(l, a, b)) return false;
    for (int i = 0; i < LLVMGetNumOperands(a); i++)
        if (!alike(l, LLVMGetOperand(a, (unsigned)i), LLVMGetOperand(b, (unsigned)i), j,
                   depth - 1))
            return false;
    return true;
}

/* The first copy's values must be found to be its own: alike to themselves. */
static bool copies_alike(struct loop *l, LLVMValueRef *values) {
    for (unsigned j = 0; j < l->copies; j++)
        if (!alike(l, values[0], values[j], j, DEPTH_MAX)) return false;
    return true;
}

static bool only_user(LLVMValueRef v, LLVMValueRef user) {
    LLVMUseRef use = LLVMGetFirstUse(v);
    return use && LLVMGetUser(use) == user && !LLVMGetNextUse(use);
}

/* Splits r + x0 + x1 ... into its links. */
static bool split_sum(struct loop *l, struct sum *s) {
    for (s->through = 0; s->through < 2; s->through++) {
        LLVMValueRef at = s->next;
        unsigned k = l->copies;
        while (k > 0 && is_inside(l, at) && LLVMIsABinaryOperator(at) &&
               LLVMGetInstructionOpcode(at) == LLVMGetInstructionOpcode(s->next)) {
            s->links[--k] = at;
            LLVMValueRef so_far = LLVMGetOperand(at, s->through);
            if (!only_user(so_far, at)) break;
            at = so_far;
        }
        if (k == 0 && at == s->phi) return true;
    }
    return false;
}

static bool sums_alike(struct loop *l) {
    for (unsigned i = 0; i < l->sum_count; i++) {
        struct sum *s = &l->sums[i];
        LLVMValueRef values[COPIES_MAX];
        if (!split_sum(l, s)) return false;
        for (unsigned j = 0; j < l->copies; j++)
            values[j] = LLVMGetOperand(s->links[j], 1 - s->through);
        if (!copies_alike(l, values)) return false;
    }
    return true;
}

static bool stores_alike(struct loop *l) {
    if (l->store_count % l->copies != 0) return false;
    LLVMValueRef stores[ACCESSES_MAX];
    unsigned count = 0, each = l->store_count / l->copies;
    for (unsigned i = 0; i < l->access_count; i++)
        if (LLVMIsAStoreInst(l->accesses[i].instruction))
            stores[count++] = l->accesses[i].instruction;
    for (unsigned i = 0; i < each; i++)
        for (unsigned j = 0; j < l->copies; j++) {
            LLVMValueRef a = stores[i], b = stores[j * each + i];
            if (!accesses_alike(l, a, b, j) ||
                !alike(l, LLVMGetOperand(a, 0), LLVMGetOperand(b, 0), j, DEPTH_MAX))
                return false;
        }
    return true;
}

/* Every access belongs to a copy; with stores, each copy makes its own as the first does, and
 * all of them before the next copy does. */
static bool order_kept(const struct loop *l) {
    unsigned each = l->access_count / l->copies;
    for (unsigned i = 0; i < l->access_count; i++) {
        const struct access *a = &l->accesses[i];
        if (a->copy == UINT32_MAX) return false;
        if (l->store_count &&
            (a->copy != i / each || a->first != l->accesses[i % each].instruction))
            return false;
    }
    return l->access_count % l->copies == 0;
}

/* ---- the way out ------------------------------------------------------------------------- */

/* The low bits of v that are surely 0, as a mask. */
static uint64_t zeros_below(LLVMValueRef v) {
    if (LLVMIsAConstantInt(v)) {
        uint64_t value = LLVMConstIntGetZExtValue(v);
        return value ? (value & -value) - 1 : UINT64_MAX;
    }
    if (is_op(v, LLVMAnd) && LLVMIsAConstantInt(LLVMGetOperand(v, 1)))
        return zeros_below(LLVMGetOperand(v, 1));
    if (is_op(v, LLVMShl) && LLVMIsAConstantInt(LLVMGetOperand(v, 1)) &&
        LLVMConstIntGetZExtValue(LLVMGetOperand(v, 1)) < 32)
        return (UINT64_C(1) << LLVMConstIntGetZExtValue(LLVMGetOperand(v, 1))) - 1;
    return 0;
}

struct way_out {
    LLVMValueRef branch, compare, end;
    struct affine tested;
    unsigned at; /* the operand of compare that is tested */
};

static bool find_way_out(const struct loop *l, struct way_out *ret) {
    LLVMValueRef branch = LLVMGetBasicBlockTerminator(l->block);
    LLVMValueRef compare = LLVMGetCondition(branch);
    if (!is_inside(l, compare) || !LLVMIsAICmpInst(compare)) return false;
    LLVMIntPredicate predicate = LLVMGetICmpPredicate(compare);
    if (predicate != LLVMIntEQ && predicate != LLVMIntNE) return false;
    for (unsigned at = 0; at < 2; at++) {
        *ret = (struct way_out){branch, compare, LLVMGetOperand(compare, 1 - at), {0}, at};
        if (!is_inside(l, ret->end) &&
            is_affine(l, LLVMGetOperand(compare, at), &ret->tested)) {
            uint64_t turn =
                (uint64_t)(ret->tested.counter->step < 0 ? -ret->tested.counter->step
                                                         : ret->tested.counter->step);
            if ((turn & (turn - 1)) != 0) return false;
            LLVMValueRef start = ret->tested.counter->start;
            uint64_t add = (uint64_t)ret->tested.add, low = turn - 1;
            if (LLVMIsAConstantInt(start) && LLVMIsAConstantInt(ret->end))
                return ((LLVMConstIntGetZExtValue(ret->end) - LLVMConstIntGetZExtValue(start) -
                         add) &
                        low) == 0;
            return (zeros_below(start) & low) == low && (zeros_below(ret->end) & low) == low &&
                   (add & low) == 0;
        }
    }
    return false;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static bool sort_phi(struct loop *l, LLVMValueRef phi) {
    if (LLVMCountIncoming(phi) != 2) return false;
    unsigned around = LLVMGetIncomingBlock(phi, 0) == l->block ? 0 : 1;
    LLVMValueRef next = LLVMGetIncomingValue(phi, around);
    LLVMValueRef start = LLVMGetIncomingValue(phi, 1 - around);
    l->before = LLVMGetIncomingBlock(phi, 1 - around);
    if (LLVMGetIncomingBlock(phi, around) != l->block || l->before == l->block ||
        !is_inside(l, next) || LLVMIsAPHINode(next))
        return false;
    if (LLVMTypeOf(phi) == l->m->i32 && is_op(next, LLVMAdd) &&
        LLVMGetOperand(next, 0) == phi && LLVMIsAConstantInt(LLVMGetOperand(next, 1)) &&
        l->counter_count < PHIS_MAX) {
        l->counters[l->counter_count++] = (struct counter){
            phi, next, start, LLVMConstIntGetSExtValue(LLVMGetOperand(next, 1))};
        return true;
    }
    if (l->sum_count == PHIS_MAX) return false;
    l->sums[l->sum_count++] = (struct sum){.phi = phi, .next = next};
    return true;
}

/* Whether nothing behind the loop uses v; what goes round may be used there. */
static bool stays_inside(const struct loop *l, LLVMValueRef v) {
    for (unsigned i = 0; i < l->counter_count; i++)
        if (v == l->counters[i].next) return true;
    for (unsigned i = 0; i < l->sum_count; i++)
        if (v == l->sums[i].next) return true;
    for (LLVMUseRef use = LLVMGetFirstUse(v); use; use = LLVMGetNextUse(use))
        if (!is_inside(l, LLVMGetUser(use))) return false;
    return true;
}

static bool read_loop(struct loop *l) {
    LLVMValueRef branch = LLVMGetBasicBlockTerminator(l->block);
    if (!branch || !LLVMIsABranchInst(branch) || !LLVMIsConditional(branch)) return false;
    if (LLVMGetSuccessor(branch, 0) != l->block && LLVMGetSuccessor(branch, 1) != l->block)
        return false;
    LLVMValueRef i = LLVMGetFirstInstruction(l->block);
    for (; LLVMIsAPHINode(i); i = LLVMGetNextInstruction(i))
        if (!sort_phi(l, i)) return false;
    if (l->counter_count == 0) return false;
    for (i = LLVMGetFirstInstruction(l->block); i; i = LLVMGetNextInstruction(i)) {
        if (!stays_inside(l, i)) return false;
        bool store = LLVMIsAStoreInst(i);
        if (store || LLVMIsALoadInst(i)) {
            if (l->access_count == ACCESSES_MAX) return false;
            l->accesses[l->access_count++] = (struct access){i, NULL, UINT32_MAX};
            l->store_count += store;
        } else if (LLVMIsACallInst(i) && !is_pure_call(l, i)) {
            return false;
        }
    }
    return true;
}

static bool try_copies(struct loop *l, unsigned copies) {
    l->copies = copies;
    for (unsigned i = 0; i < l->counter_count; i++)
        if (l->counters[i].step % (int64_t)copies != 0) return false;
    for (unsigned i = 0; i < l->access_count; i++) l->accesses[i].copy = UINT32_MAX;
    return sums_alike(l) && stores_alike(l) && order_kept(l);
}

static void replace_outside(const struct loop *l, LLVMValueRef old, LLVMValueRef new) {
    for (LLVMUseRef use = LLVMGetFirstUse(old), following; use; use = following) {
        following = LLVMGetNextUse(use);
        LLVMValueRef user = LLVMGetUser(use);
        if (is_inside(l, user)) continue;
        for (int i = 0; i < LLVMGetNumOperands(user); i++)
            if (LLVMGetOperand(user, (unsigned)i) == old)
                LLVMSetOperand(user, (unsigned)i, new);
    }
}

static void set_around(const struct loop *l, LLVMValueRef phi, LLVMValueRef next) {
    for (unsigned k = 0; k < 2; k++)
        if (LLVMGetIncomingBlock(phi, k) == l->block) LLVMSetOperand(phi, k, next);
}

/* What is known of the first copy's numbers alone does not hold for those of the others. */
static void forget_flags(LLVMValueRef i) {
    switch ((int)LLVMGetInstructionOpcode(i)) {
    case LLVMAdd:
        if (LLVMIsAZExtInst(LLVMGetOperand(i, 0))) return; /* an address: never wraps */
        /* fall through */
    case LLVMSub:
    case LLVMMul:
    case LLVMShl:
        LLVMSetNUW(i, false);
        LLVMSetNSW(i, false);
        return;
    case LLVMLShr:
    case LLVMAShr: LLVMSetExact(i, false); return;
    case LLVMOr: LLVMSetIsDisjoint(i, false); return;
    case LLVMZExt:
    case LLVMUIToFP: LLVMSetNNeg(i, false); return;
    case LLVMICmp: LLVMSetICmpSameSign(i, false); return;
    default: return;
    }
}

static void roll_up(struct loop *l, LLVMBuilderRef builder, const struct way_out *out) {
    LLVMPositionBuilderBefore(builder, out->compare);
    const struct counter *c = out->tested.counter;
    int64_t add = out->tested.add - (int64_t)(l->copies - 1) * one_step(l, c);
    LLVMValueRef tested =
        LLVMBuildAdd(builder, c->phi, LLVMConstInt(l->m->i32, (uint64_t)add, true), "");
    LLVMSetOperand(out->compare, out->at, tested);
    LLVMPositionBuilderBefore(builder, out->branch);
    for (unsigned i = 0; i < l->counter_count; i++) {
        c = &l->counters[i];
        LLVMValueRef step = LLVMConstInt(l->m->i32, (uint64_t)one_step(l, c), true);
        LLVMValueRef next = LLVMBuildAdd(builder, c->phi, step, "");
        replace_outside(l, c->next, next);
        set_around(l, c->phi, next);
    }
    for (unsigned i = 0; i < l->sum_count; i++) {
        replace_outside(l, l->sums[i].next, l->sums[i].links[0]);
        set_around(l, l->sums[i].phi, l->sums[i].links[0]);
    }
    for (unsigned i = 0; i < l->access_count; i++)
        if (l->accesses[i].copy != 0 && LLVMIsAStoreInst(l->accesses[i].instruction))
            LLVMInstructionEraseFromParent(l->accesses[i].instruction);
    for (LLVMValueRef i = LLVMGetFirstInstruction(l->block), following; i; i = following) {
        following = LLVMGetNextInstruction(i);
        struct affine ignored;
        if (is_op(i, LLVMOr) && is_affine(l, i, &ignored)) { /* it added for the first copy */
            LLVMPositionBuilderBefore(builder, i);
            LLVMReplaceAllUsesWith(
                i, LLVMBuildAdd(builder, LLVMGetOperand(i, 0), LLVMGetOperand(i, 1), ""));
            LLVMInstructionEraseFromParent(i);
        } else {
            forget_flags(i);
        }
    }
}

static void roll_block(struct lower_module *m, LLVMBuilderRef builder,
                       LLVMBasicBlockRef block) {
    struct loop l = {.m = m, .block = block};
    struct way_out out;
    if (!read_loop(&l) || l.store_count + l.sum_count == 0 || !find_way_out(&l, &out)) return;
    for (unsigned copies = COPIES_MAX; copies > 1; copies--)
        if (try_copies(&l, copies)) {
            roll_up(&l, builder, &out);
            return;
        }
}

void roll_loops(struct lower_module *m) {
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(m->context);
    for (LLVMValueRef function = LLVMGetFirstFunction(m->llvm); function;
         function = LLVMGetNextFunction(function))
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function); block;
             block = LLVMGetNextBasicBlock(block))
            roll_block(m, builder, block);
    LLVMDisposeBuilder(builder);
}
