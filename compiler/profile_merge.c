/*
 * Sums of profiles. Functions are the same where their digests are (and their number among
 * equal ones); sites where instruction and arm are. The sum has all functions of the first
 * profile in their order, then those that only the second has. Counts saturate.
 */
#include "compiler/profile.h"

/* Where the functions of b go in the sum. */
static enum status place_functions(const struct profile *a, const struct profile *b,
                                   struct arena *arena, uint32_t *ret_places,
                                   struct profile *sum, struct error *err) {
    struct profile_index in_a, in_b;
    enum status status = profile_index_make(a, arena, &in_a, err);
    if (status == ST_OK) status = profile_index_make(b, arena, &in_b, err);
    if (status != ST_OK) return status;
    uint64_t functions = a->function_count, sites = a->site_count, calls = a->call_count;
    for (uint32_t i = 0; i < b->function_count; i++) {
        const struct profile_function *f = &b->functions[i];
        ret_places[i] = profile_index_find(&in_a, f->digest, in_b.nth[i]);
        if (ret_places[i] != PROFILE_NO_FUNCTION) continue;
        ret_places[i] = (uint32_t)functions++;
        sites += f->site_count;
        calls += f->call_count;
    }
    if (sites > PROFILE_MAX_SITES || calls > PROFILE_MAX_SITES)
        return error_set(err, ST_LIMIT, "the sum has %llu sites, more than %u",
                         (unsigned long long)sites, PROFILE_MAX_SITES);
    sum->function_count = (uint32_t)functions;
    sum->site_count = (uint32_t)sites;
    sum->call_count = (uint32_t)calls;
    return ST_OK;
}

static void copy_function(struct profile *sum, uint32_t to, const struct profile *from,
                          uint32_t index, uint32_t first_site, uint32_t first_call) {
    const struct profile_function *f = &from->functions[index];
    sum->functions[to] = *f;
    sum->functions[to].first_site = first_site;
    sum->functions[to].first_call = first_call;
    memcpy(sum->sites + first_site, from->sites + f->first_site,
           f->site_count * sizeof *sum->sites);
    if (f->call_count)
        memcpy(sum->calls + first_call, from->calls + f->first_call,
               f->call_count * sizeof *sum->calls);
}

/* Adds one target to the few of an indirect call; the largest stay, most first. */
static void add_target(struct profile_target *targets, struct profile_target more) {
    if (more.function == PROFILE_NO_FUNCTION || more.count == 0) return;
    uint32_t at = 0;
    while (at < ABI_PROFILE_TARGETS && targets[at].function != more.function &&
           targets[at].function != PROFILE_NO_FUNCTION)
        at++;
    if (at == ABI_PROFILE_TARGETS) {
        at--; /* the least: lost, if the new one is more */
        if (targets[at].count >= more.count) return;
        targets[at] = more;
    } else if (targets[at].function == more.function) {
        targets[at].count = profile_sum(targets[at].count, more.count);
    } else {
        targets[at] = more;
    }
    for (; at && targets[at - 1].count < targets[at].count; at--) {
        struct profile_target swapped = targets[at - 1];
        targets[at - 1] = targets[at];
        targets[at] = swapped;
    }
}

static void add_counts(struct profile *sum, const struct profile *from,
                       const uint32_t *places) {
    for (uint32_t i = 0; i < from->function_count; i++) {
        const struct profile_function *f = &from->functions[i];
        const struct profile_function *to = &sum->functions[places ? places[i] : i];
        for (uint32_t k = f->first_site; k < f->first_site + f->site_count; k++) {
            uint32_t site =
                profile_find_site(sum, to, from->sites[k].instruction, from->sites[k].arm);
            if (site != UINT32_MAX)
                sum->counts[site] = profile_sum(sum->counts[site], from->counts[k]);
        }
        for (uint32_t k = f->first_call; k < f->first_call + f->call_count; k++) {
            uint32_t call = profile_find_call(sum, to, from->calls[k]);
            if (call == UINT32_MAX) continue;
            for (uint32_t t = 0; t < ABI_PROFILE_TARGETS; t++) {
                struct profile_target target = from->targets[k * ABI_PROFILE_TARGETS + t];
                if (target.function != PROFILE_NO_FUNCTION && places)
                    target.function = places[target.function];
                add_target(sum->targets + call * ABI_PROFILE_TARGETS, target);
            }
        }
    }
}

enum status profile_merge(const struct profile *a, const struct profile *b, struct arena *arena,
                          struct profile *ret_sum, struct error *err) {
    struct profile sum = {0};
    uint32_t *places = arena_array(arena, b->function_count, sizeof *places);
    if (!places) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = place_functions(a, b, arena, places, &sum, err);
    if (status != ST_OK) return status;
    size_t target_count = (size_t)sum.call_count * ABI_PROFILE_TARGETS;
    sum.functions = arena_array(arena, sum.function_count, sizeof *sum.functions);
    sum.sites = arena_array(arena, sum.site_count, sizeof *sum.sites);
    sum.calls = arena_array(arena, sum.call_count, sizeof *sum.calls);
    sum.counts = arena_array(arena, sum.site_count, sizeof *sum.counts);
    sum.targets = arena_array(arena, target_count, sizeof *sum.targets);
    if (!sum.functions || !sum.sites || !sum.calls || !sum.counts || !sum.targets)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < target_count; i++) sum.targets[i].function = PROFILE_NO_FUNCTION;
    uint32_t site = 0, call = 0;
    for (uint32_t i = 0; i < a->function_count; i++) {
        copy_function(&sum, i, a, i, site, call);
        site += a->functions[i].site_count;
        call += a->functions[i].call_count;
    }
    for (uint32_t i = 0; i < b->function_count; i++) {
        if (places[i] < a->function_count) continue;
        copy_function(&sum, places[i], b, i, site, call);
        site += b->functions[i].site_count;
        call += b->functions[i].call_count;
    }
    add_counts(&sum, a, NULL);
    add_counts(&sum, b, places);
    if (digest_equal(&a->module, &b->module)) sum.module = a->module;
    if (add_overflows(a->run_count, b->run_count, &sum.run_count)) sum.run_count = UINT32_MAX;
    *ret_sum = sum;
    return ST_OK;
}
