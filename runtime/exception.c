/*
 * Exceptions (spec core 3.0 4.6.4): throw makes a record in the instance's block, walks the
 * guest's frames by the object's unwind tables up to the first call that has a handler, and
 * sends the guest there with the callee-saved registers that this frame had. Frames without a
 * handler are dropped; nothing of them needs to run. Handlers are code of the object: they
 * compare the tag, and throw again what is not theirs.
 *
 * The walk ends at the frame that the host called: an exception does not cross the host, it is
 * a trap there (docs/traps.md).
 *
 * Records are a fixed number. One that was caught without a reference is free at once. One with
 * references is free when none is left: where all records are taken, those are looked for on
 * the guest's stack (any word that is the address of a record keeps it), in tables and globals
 * of type exnref, and among the values of exceptions that are kept.
 */
#include "runtime/instance.h"
#include "runtime/trap.h"

/* ---- records ----------------------------------------------------------------------------- */

static void *block_at(const struct instance *i, uint64_t offset) {
    return (char *)i->block + offset;
}

uint64_t *exception_tag(const struct instance *instance, uint32_t index) {
    CHECK(index < instance->object->tag_count);
    return (uint64_t *)block_at(instance, instance->layout.tags) + index;
}

static struct abi_exception *record(const struct instance *i, uint32_t index) {
    return block_at(i, i->layout.exceptions + index * i->layout.exception_bytes);
}

/* The record at this address, or NULL. */
static struct abi_exception *record_at(const struct instance *i, uint64_t address) {
    uint64_t first = (uint64_t)block_at(i, i->layout.exceptions);
    uint64_t bytes = i->layout.exception_bytes, offset = address - first;
    if (offset >= i->object->counts.exceptions * bytes || offset % bytes) return NULL;
    return (struct abi_exception *)address;
}

/* While references are looked for, a record that has one is marked. */
#define MARK UINT32_C(0x80000000)

/* Whether a record was found by this word for the first time. */
static bool mark(uint64_t word) {
    if (word == 0) return false;
    for (struct instance *i = instances; i; i = i->next) {
        struct abi_exception *e = record_at(i, word);
        if (!e) continue;
        if (e->state != ABI_EXCEPTION_HELD) return false; /* marked, or free */
        e->state |= MARK;
        return true;
    }
    return false;
}

static void mark_roots(const struct instance *i) {
    const struct abi_object *o = i->object;
    for (uint32_t k = 0; k < o->global_count; k++)
        if (i->globals[k].type.type.code == ABI_EXNREF) mark(i->globals[k].cell->ref);
    for (uint32_t k = 0; k < o->table_count; k++) {
        const struct abi_table *t = i->tables[k]->abi;
        const struct abi_table_entry *entries = (const struct abi_table_entry *)t->entries;
        for (uint32_t n = 0; t->type_code == ABI_EXNREF && n < t->size; n++)
            mark(entries[n].word);
    }
}

/* What the values of marked exceptions refer to; until nothing new is found. */
static void mark_values(void) {
    for (bool found = true; found;) {
        found = false;
        for (struct instance *i = instances; i; i = i->next) {
            for (uint32_t k = 0; k < i->object->counts.exceptions; k++) {
                const struct abi_exception *e = record(i, k);
                if (!(e->state & MARK)) continue;
                const union abi_value *values = (const union abi_value *)(e + 1);
                for (uint32_t n = 0; n < i->object->counts.exception_values; n++)
                    found |= mark(values[n].ref);
            }
        }
    }
}

/* Frees every record that nothing refers to. from: the lowest word of the guest's stack in use.
 * values: of the exception about to be thrown. */
static void collect(uint64_t from, const union abi_value *values, uint32_t count) {
    for (uint64_t at = align_up(from, 8); at < guest_stack.top; at += 8)
        mark(*(const uint64_t *)at);
    for (uint32_t n = 0; n < count; n++) mark(values[n].ref);
    for (struct instance *i = instances; i; i = i->next) mark_roots(i);
    mark_values();
    for (struct instance *i = instances; i; i = i->next)
        for (uint32_t k = 0; k < i->object->counts.exceptions; k++) {
            struct abi_exception *e = record(i, k);
            e->state = e->state & MARK ? ABI_EXCEPTION_HELD : ABI_EXCEPTION_FREE;
        }
}

static struct abi_exception *find_free(struct instance *i) {
    uint32_t count = i->object->counts.exceptions;
    for (uint32_t n = 0; n < count; n++) {
        uint32_t index = (i->next_exception + n) % count;
        struct abi_exception *e = record(i, index);
        if (e->state != ABI_EXCEPTION_FREE) continue;
        i->next_exception = index;
        return e;
    }
    return NULL;
}

/* ---- throwing ---------------------------------------------------------------------------- */

/* Frames of calls that an exception has left, for the report if nobody wants it. */
static enum abi_trap deliver(struct abi_exception *exception) {
    struct crossing *c = gate_current;
    struct registers regs;
    gate_saved_registers(c, &regs);
    for (;;) {
        uint64_t pad, args_bytes;
        const struct code *code = trap_find_code(regs.pc - (regs.pc_is_return ? 1 : 0));
        if (!code) break;
        if (unwind_handler(code, &regs, &pad, &args_bytes)) {
            regs.r[REG_DWARF_RSP] += args_bytes;
            gate_redirect(c, &regs, pad, (uint64_t)exception);
            return TRAP_NONE;
        }
        if (!unwind_step(code, &regs)) break;
    }
    /* A broken table would end the walk early: that must not look like an uncaught exception.
     */
    CHECK(regs.pc == 0 && regs.r[REG_DWARF_RSP] == c->enter_sp);
    if (exception->state == ABI_EXCEPTION_THROWN) exception->state = ABI_EXCEPTION_FREE;
    return TRAP_UNCAUGHT_EXCEPTION;
}

/* Slots have bytes that are unspecified: none of them into the record. */
static void copy_value(union abi_value *to, const union abi_value *from, struct valtype type) {
    *to = (union abi_value){0};
    if (type.code == ABI_I32 || type.code == ABI_F32)
        to->u32 = from->u32;
    else if (type.code == ABI_V128)
        *to = *from;
    else
        to->u64 = from->u64;
}

enum abi_trap exception_throw(struct instance *instance, uint32_t tag,
                              const union abi_value *values) {
    const struct abi_object *o = instance->object;
    uint64_t identity = *exception_tag(instance, tag);
    const struct functype *type = &o->types[o->tags[tag]].func;
    struct abi_exception *e = find_free(instance);
    if (!e) {
        collect(gate_current->guest_sp, values, type->param_count);
        e = find_free(instance);
        if (!e) return TRAP_EXCEPTIONS_EXHAUSTED;
    }
    union abi_value *to = (union abi_value *)(e + 1);
    e->tag = identity;
    e->state = ABI_EXCEPTION_THROWN;
    for (uint32_t i = 0; i < type->param_count; i++)
        copy_value(&to[i], &values[i], type->params[i]);
    /* stale values of a record must not keep other records */
    for (uint32_t i = type->param_count; i < o->counts.exception_values; i++)
        to[i] = (union abi_value){0};
    return deliver(e);
}

enum abi_trap exception_throw_ref(uint64_t exception) {
    for (struct instance *i = instances; i; i = i->next) {
        struct abi_exception *e = record_at(i, exception);
        if (!e) continue;
        CHECK(e->state != ABI_EXCEPTION_FREE);
        return deliver(e);
    }
    CHECK(false && "an exception that is none");
    return TRAP_HOST;
}
