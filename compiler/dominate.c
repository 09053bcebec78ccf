/*
 * Dominators of a function's blocks, which LLVM's C interface does not offer: blocks numbered
 * in reverse postorder from the entry, then each one's nearest dominator found by meeting those
 * of its predecessors until nothing changes (Cooper, Harvey, Kennedy 2001). Blocks that cannot
 * be reached have no number; nothing dominates them and they dominate nothing.
 */
#include "compiler/dominate.h"

#define NONE UINT32_MAX

struct dominator_slot {
    LLVMBasicBlockRef block;
    uint32_t number; /* postorder while blocks are visited, then reversed */
};

static struct dominator_slot *slot_of(const struct dominators *d, LLVMBasicBlockRef block) {
    uint64_t hash = (uint64_t)(uintptr_t)block * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(hash >> 32) & (d->slot_count - 1);
    while (d->slots[at].block && d->slots[at].block != block)
        at = (at + 1) & (d->slot_count - 1);
    return &d->slots[at];
}

struct visit {
    LLVMBasicBlockRef block;
    unsigned next; /* successor */
};

/* Numbers blocks in postorder; visits is a stack with room for all, order gets the blocks. */
static void number_blocks(struct dominators *d, LLVMBasicBlockRef entry, struct visit *visits,
                          LLVMBasicBlockRef *order) {
    uint32_t depth = 1;
    visits[0] = (struct visit){entry, 0};
    *slot_of(d, entry) = (struct dominator_slot){entry, NONE};
    while (depth) {
        struct visit *v = &visits[depth - 1];
        LLVMValueRef last = LLVMGetBasicBlockTerminator(v->block);
        if (last && v->next < LLVMGetNumSuccessors(last)) {
            LLVMBasicBlockRef to = LLVMGetSuccessor(last, v->next++);
            struct dominator_slot *slot = slot_of(d, to);
            if (slot->block) continue;
            *slot = (struct dominator_slot){to, NONE};
            visits[depth++] = (struct visit){to, 0};
        } else {
            order[d->count] = v->block;
            slot_of(d, v->block)->number = d->count++;
            depth--;
        }
    }
    /* reversed: the entry is 0, and what is nearer to it has the lower number */
    for (uint32_t i = 0; i < d->count / 2; i++) {
        LLVMBasicBlockRef block = order[i];
        order[i] = order[d->count - 1 - i];
        order[d->count - 1 - i] = block;
    }
    for (uint32_t i = 0; i < d->count; i++) slot_of(d, order[i])->number = i;
}

static uint32_t meet(const struct dominators *d, uint32_t a, uint32_t b) {
    while (a != b)
        if (a > b)
            a = d->above[a];
        else
            b = d->above[b];
    return a;
}

static uint32_t meet_predecessors(const struct dominators *d, LLVMBasicBlockRef block) {
    uint32_t above = NONE;
    for (LLVMUseRef use = LLVMGetFirstUse(LLVMBasicBlockAsValue(block)); use;
         use = LLVMGetNextUse(use)) {
        LLVMValueRef user = LLVMGetUser(use);
        if (!LLVMIsATerminatorInst(user)) continue;
        const struct dominator_slot *from = slot_of(d, LLVMGetInstructionParent(user));
        if (!from->block || d->above[from->number] == NONE) continue;
        above = above == NONE ? from->number : meet(d, above, from->number);
    }
    return above;
}

bool dominators_find(LLVMValueRef function, struct dominators *ret) {
    uint32_t blocks = LLVMCountBasicBlocks(function);
    struct dominators d = {.slot_count = 16};
    while (d.slot_count < 2 * blocks) d.slot_count *= 2;
    d.slots = calloc(d.slot_count, sizeof *d.slots);
    d.above = calloc(blocks, sizeof *d.above);
    auto_free struct visit *visits = calloc(blocks, sizeof *visits);
    auto_free LLVMBasicBlockRef *order = calloc(blocks, sizeof *order);
    if (!d.slots || !d.above || !visits || !order) {
        dominators_finish(&d);
        return false;
    }
    number_blocks(&d, LLVMGetEntryBasicBlock(function), visits, order);
    for (uint32_t i = 1; i < d.count; i++) d.above[i] = NONE;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 1; i < d.count; i++) {
            uint32_t above = meet_predecessors(&d, order[i]);
            if (above == d.above[i]) continue;
            d.above[i] = above;
            changed = true;
        }
    }
    *ret = d;
    return true;
}

bool dominators_hold(const struct dominators *d, LLVMBasicBlockRef above,
                     LLVMBasicBlockRef below) {
    const struct dominator_slot *a = slot_of(d, above), *b = slot_of(d, below);
    if (!a->block || !b->block) return false;
    uint32_t at = b->number;
    while (at > a->number) at = d->above[at];
    return at == a->number;
}

void dominators_finish(struct dominators *d) {
    free(d->slots);
    free(d->above);
    *d = (struct dominators){0};
}
