/*
 * A module's functions to digests and sites, and a profile's counts to those.
 *
 * The digest of a function covers what the code does and not what a linker decided: opcodes,
 * structure, locals, types and small constants; of calls the callee's type and not its index,
 * of constants and offsets from FAR on (addresses, as a rule) only that they are far, and
 * nothing of how numbers are encoded. So a function keeps its counts when other functions come,
 * go or move. Sites are named by the number of the instruction in the body: the byte offset
 * would change with the width of an index.
 */
#include "compiler/profile.h"
#include "compiler/module.h"
#include "compiler/opcodes.h"

/* Below any address that wasm-ld gives to data: it leaves the first KiB free. */
#define FAR 1024

/* ---- one function ------------------------------------------------------------------------ */

static void put_types(struct buffer *b, const struct valtype *types, uint32_t count) {
    buffer_put_u32(b, count);
    for (uint32_t i = 0; i < count; i++) buffer_put_u8(b, types[i].code);
}

static void put_functype(struct buffer *b, const struct functype *type) {
    put_types(b, type->params, type->param_count);
    put_types(b, type->results, type->result_count);
}

static void put_block_type(struct buffer *b, const struct module *m,
                           const struct instruction *in) {
    buffer_put_u8(b, (uint8_t)in->block_kind);
    if (in->block_kind == BLOCK_VALUE) buffer_put_u8(b, in->block_value.code);
    if (in->block_kind == BLOCK_TYPE) put_functype(b, &m->types[in->index].func);
}

static void put_tag(struct buffer *b, const struct module *m, uint32_t tag) {
    put_functype(b, &m->types[m->tags[tag].type].func);
}

static void put_immediate(struct buffer *b, const struct module *m,
                          const struct instruction *in) {
    switch (in->info->immediate) {
    case IMM_BLOCK: put_block_type(b, m, in); break;
    case IMM_CATCHES: {
        struct reader clauses = in->labels;
        put_block_type(b, m, in);
        for (uint32_t i = 0; i < in->count; i++) {
            struct catch_clause clause;
            struct error ignored = {0};
            CHECK(catch_decode(&clauses, &clause, &ignored) == ST_OK); /* validated before */
            buffer_put_u8(b, (uint8_t)clause.kind);
            if (catch_has_tag(&clause)) put_tag(b, m, clause.tag);
            buffer_put_u32(b, clause.label);
        }
        break;
    }
    case IMM_TAG: put_tag(b, m, in->index); break;
    case IMM_LABELS: {
        struct reader labels = in->labels;
        buffer_put_u32(b, in->count);
        for (uint32_t i = 0; i <= in->count; i++) {
            uint32_t label = 0;
            CHECK(reader_leb_u32(&labels, &label) == LEB_OK); /* validated before */
            buffer_put_u32(b, label);
        }
        break;
    }
    case IMM_LABEL:
    case IMM_LOCAL: buffer_put_u32(b, in->index); break;
    case IMM_FUNC: put_functype(b, module_functype(m, in->index)); break;
    case IMM_INDIRECT: put_functype(b, &m->types[in->index].func); break;
    case IMM_TYPES:
    case IMM_HEAP_TYPE: buffer_put_u8(b, in->block_value.code); break;
    case IMM_I32:
    case IMM_I64: {
        int64_t value = (int64_t)in->bits;
        buffer_put_u64(b, value > -FAR && value < FAR ? (uint64_t)value : FAR);
        break;
    }
    case IMM_F32:
    case IMM_F64: buffer_put_u64(b, in->bits); break;
    case IMM_V128:
    case IMM_SHUFFLE: buffer_put(b, in->bytes, sizeof in->bytes); break;
    case IMM_MEMARG:
    case IMM_MEMARG_LANE:
        buffer_put_u32(b, in->align_log2);
        buffer_put_u64(b, in->memory_offset < FAR ? in->memory_offset : FAR);
        buffer_put_u8(b, in->lane);
        break;
    case IMM_LANE: buffer_put_u8(b, in->lane); break;
    case IMM_NONE:
    case IMM_GLOBAL:
    case IMM_TABLE:
    case IMM_MEMORY:
    case IMM_DATA_MEMORY:
    case IMM_DATA:
    case IMM_MEMORY_MEMORY:
    case IMM_ELEM_TABLE:
    case IMM_ELEM:
    case IMM_TABLE_TABLE: break;
    }
}

/* How many sites an instruction has. */
static uint32_t arms_of(const struct instruction *in) {
    switch (in->opcode) {
    case OP_IF:
    case OP_BR_IF:
    case OP_SELECT:
    case OP_SELECT_T: return 2;
    case OP_BR_TABLE: return in->count + 1;
    case OP_CALL_INDIRECT: return 1;
    default: return 0;
    }
}

/* Digest and number of sites. text is the caller's, for reuse. */
static enum status measure(const struct module *m, uint32_t index, struct buffer *text,
                           struct profile_function *ret, uint64_t *sites, uint64_t *calls,
                           struct error *err) {
    const struct module_function *f = &m->functions[index];
    uint64_t first_site = *sites, first_call = *calls;
    text->size = 0;
    put_functype(text, module_functype(m, index));
    for (uint32_t i = 0; i < f->local_run_count; i++) {
        buffer_put_u32(text, f->local_runs[i].count);
        buffer_put_u8(text, f->local_runs[i].type.code);
    }
    *sites += 1;
    for (struct code_walk w = code_walk_begin(m, f); code_walk_next(&w);) {
        buffer_put_u32(text, w.in.opcode);
        put_immediate(text, m, &w.in);
        *sites += arms_of(&w.in);
        *calls += w.in.opcode == OP_CALL_INDIRECT;
    }
    enum status status = buffer_status(text, err);
    if (status != ST_OK) return status;
    if (*sites > PROFILE_MAX_SITES || *calls > PROFILE_MAX_SITES)
        return error_set(err, ST_LIMIT, "the module has more than %u places to count",
                         PROFILE_MAX_SITES);
    struct digest digest = digest_of(text->bytes, text->size);
    memcpy(ret->digest, digest.bytes, sizeof ret->digest);
    ret->first_site = (uint32_t)first_site;
    ret->site_count = (uint32_t)(*sites - first_site);
    ret->first_call = (uint32_t)first_call;
    ret->call_count = (uint32_t)(*calls - first_call);
    return ST_OK;
}

static void list_sites(const struct module *m, uint32_t index, struct profile *p,
                       const struct profile_function *function) {
    struct profile_site *site = p->sites + function->first_site;
    uint32_t *call = p->calls + function->first_call;
    *site++ = (struct profile_site){PROFILE_ENTRY, 0};
    for (struct code_walk w = code_walk_begin(m, &m->functions[index]);
         code_walk_next(&w);) {
        for (uint32_t arm = 0, arms = arms_of(&w.in); arm < arms; arm++)
            *site++ = (struct profile_site){w.number, arm};
        if (w.in.opcode == OP_CALL_INDIRECT) *call++ = w.number;
    }
}

enum status profile_of_module(const struct module *m, struct arena *arena,
                              struct profile *ret_profile, struct error *err) {
    struct profile p = {.run_count = 1,
                        .function_count = m->function_count - m->imported_functions,
                        .module = digest_of(m->bytes, m->size)};
    p.functions = arena_array(arena, p.function_count, sizeof *p.functions);
    if (!p.functions) return error_set(err, ST_NO_MEMORY, "out of memory");
    auto_buffer struct buffer text = {0};
    uint64_t sites = 0, calls = 0;
    for (uint32_t i = 0; i < p.function_count; i++) {
        enum status status =
            measure(m, m->imported_functions + i, &text, &p.functions[i], &sites, &calls, err);
        if (status != ST_OK) return status;
    }
    p.site_count = (uint32_t)sites;
    p.call_count = (uint32_t)calls;
    size_t target_count = (size_t)p.call_count * ABI_PROFILE_TARGETS;
    p.sites = arena_array(arena, p.site_count, sizeof *p.sites);
    p.calls = arena_array(arena, p.call_count, sizeof *p.calls);
    p.counts = arena_array(arena, p.site_count, sizeof *p.counts);
    p.targets = arena_array(arena, target_count, sizeof *p.targets);
    if (!p.sites || !p.calls || !p.counts || !p.targets)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < target_count; i++) p.targets[i].function = PROFILE_NO_FUNCTION;
    for (uint32_t i = 0; i < p.function_count; i++)
        list_sites(m, m->imported_functions + i, &p, &p.functions[i]);
    *ret_profile = p;
    return ST_OK;
}

/* ---- counts ------------------------------------------------------------------------------ */

static void apply_function(struct profile *to, uint32_t index, const struct profile *from,
                           uint32_t from_index, const uint32_t *places) {
    const struct profile_function *f = &from->functions[from_index], *t = &to->functions[index];
    for (uint32_t k = f->first_site; k < f->first_site + f->site_count; k++) {
        uint32_t site =
            profile_find_site(to, t, from->sites[k].instruction, from->sites[k].arm);
        if (site != UINT32_MAX) to->counts[site] = from->counts[k];
    }
    for (uint32_t k = f->first_call; k < f->first_call + f->call_count; k++) {
        uint32_t call = profile_find_call(to, t, from->calls[k]), kept = 0;
        if (call == UINT32_MAX) continue;
        for (uint32_t i = 0; i < ABI_PROFILE_TARGETS; i++) {
            struct profile_target target = from->targets[k * ABI_PROFILE_TARGETS + i];
            if (target.function == PROFILE_NO_FUNCTION) continue;
            target.function = places[target.function];
            if (target.function != PROFILE_NO_FUNCTION)
                to->targets[call * ABI_PROFILE_TARGETS + kept++] = target;
        }
    }
}

enum status profile_apply(struct profile *to, const struct profile *from, bool *known,
                          struct arena *arena, uint32_t *ret_known, struct error *err) {
    struct profile_index in_to, in_from;
    enum status status = profile_index_make(to, arena, &in_to, err);
    if (status == ST_OK) status = profile_index_make(from, arena, &in_from, err);
    if (status != ST_OK) return status;
    /* from's function numbers to to's */
    uint32_t *places = arena_array(arena, from->function_count, sizeof *places);
    if (!places) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < from->function_count; i++)
        places[i] = profile_index_find(&in_to, from->functions[i].digest, in_from.nth[i]);
    uint32_t count = 0;
    for (uint32_t i = 0; i < from->function_count; i++) {
        if (places[i] == PROFILE_NO_FUNCTION) continue;
        apply_function(to, places[i], from, i, places);
        known[places[i]] = true;
        count++;
    }
    *ret_known = count;
    return ST_OK;
}

/* ---- the summary ------------------------------------------------------------------------- */

/* The shares that LLVM asks for (ProfileSummaryBuilder::DefaultCutoffs). */
static const uint32_t cutoffs[PROFILE_CUTOFFS] = {
    10000,  100000, 200000, 300000, 400000, 500000, 600000, 700000,
    800000, 900000, 950000, 990000, 999000, 999900, 999990, 999999,
};
#define CUTOFF_HOT 990000
#define CUTOFF_COLD 999999

static int descending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* Only functions the profile knows count; `taken` arms of two count for both ways. */
static enum status summarise(struct profile_plan *plan, struct error *err) {
    const struct profile *p = &plan->own;
    struct profile_summary *s = &plan->summary;
    auto_free uint64_t *counts = calloc((size_t)p->site_count + 1, sizeof *counts);
    if (!counts) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < p->function_count; i++) {
        if (!plan->known[i]) continue;
        const struct profile_function *f = &p->functions[i];
        s->function_count++;
        uint64_t most = 0;
        for (uint32_t k = f->first_site; k < f->first_site + f->site_count; k++) {
            uint64_t count = p->counts[k];
            counts[s->count_count++] = count;
            s->total = profile_sum(s->total, count);
            if (count > most) most = count;
            if (k != f->first_site && count > s->max_internal) s->max_internal = count;
        }
        plan->max_counts[i] = most;
        if (most > s->max) s->max = most;
        if (p->counts[f->first_site] > s->max_function)
            s->max_function = p->counts[f->first_site];
    }
    qsort(counts, s->count_count, sizeof *counts, descending);
    uint64_t sum = 0, least = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < PROFILE_CUTOFFS; i++) {
        uint64_t wanted =
            s->total / 1000000 * cutoffs[i] + s->total % 1000000 * cutoffs[i] / 1000000;
        while (sum < wanted && at < s->count_count) {
            least = counts[at++];
            sum = profile_sum(sum, least);
        }
        s->cutoffs[i].cutoff = cutoffs[i];
        s->cutoffs[i].min_count = least;
        s->cutoffs[i].counts = at;
        if (cutoffs[i] == CUTOFF_HOT) s->hot_count = least;
        if (cutoffs[i] == CUTOFF_COLD) s->cold_count = least;
    }
    return ST_OK;
}

enum status profile_plan(const struct module *module, const struct compile_options *options,
                         struct arena *arena, struct profile_plan *ret_plan,
                         struct error *err) {
    struct profile_plan plan = {.generate = options->profile_generate};
    enum status status = profile_of_module(module, arena, &plan.own, err);
    if (status != ST_OK) return status;
    if (options->profile_size) {
        struct arena scratch = {0};
        struct profile profile;
        plan.known = arena_array(arena, plan.own.function_count, sizeof *plan.known);
        plan.max_counts = arena_array(arena, plan.own.function_count, sizeof *plan.max_counts);
        status = plan.known && plan.max_counts ? ST_OK
                                               : error_set(err, ST_NO_MEMORY, "out of memory");
        if (status == ST_OK)
            status =
                profile_read(options->profile, options->profile_size, &scratch, &profile, err);
        if (status == ST_OK)
            status = profile_apply(&plan.own, &profile, plan.known, &scratch, &plan.known_count,
                                   err);
        if (status == ST_OK) plan.stale_count = plan.own.function_count - plan.known_count;
        arena_finish(&scratch);
        if (status == ST_OK) status = summarise(&plan, err);
        if (status != ST_OK) return status;
    }
    *ret_plan = plan;
    return ST_OK;
}
