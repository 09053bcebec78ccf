/*
 * Profiles: what a program did while it ran, for the compiler (docs/profile.md). Private to
 * compiler/ and to `hutch profile`; needs no LLVM.
 *
 *   profile.c          bytes to struct profile and back, every field checked
 *   profile_merge.c    sums of profiles
 *   profile_plan.c     a module's functions to digests and sites; a profile's counts to them
 *   hint_write.c       a profile's branches to a section of hints in the module itself
 *   lower_profile.c    counters and weights in the IR
 */
#ifndef HUTCH_COMPILER_PROFILE_H
#define HUTCH_COMPILER_PROFILE_H

#include "compiler/compiler.h"

struct module;

#define PROFILE_DIGEST_SIZE 16
#define PROFILE_NO_FUNCTION UINT32_MAX
/* Counters of one module, and the sites a profile may have. */
#define PROFILE_MAX_SITES (UINT32_C(1) << 24)

/*
 * One counter: arm `arm` of instruction number `instruction` of the body, counted from 0.
 *   instruction PROFILE_ENTRY   arm 0: calls of the function
 *   if, br_if, select           arm 0: how often it ran, arm 1: with a condition that was not 0
 *   br_table                    arm i: with the index i; the last arm: with a larger one
 *   call_indirect               arm 0: how often it got as far as calling
 */
struct profile_site {
    uint32_t instruction, arm;
};
#define PROFILE_ENTRY UINT32_MAX

/* Who an indirect call called: function is an index in the same profile. */
struct profile_target {
    uint32_t function; /* PROFILE_NO_FUNCTION: none */
    uint64_t count;
};

/* A function's sites and indirect calls lie one after the other, in order of instruction, arm;
 * the entry comes first. */
struct profile_function {
    uint8_t digest[PROFILE_DIGEST_SIZE];
    uint32_t first_site, site_count, first_call, call_count;
};

struct profile {
    struct digest module; /* zeros where profiles of several modules were added up */
    uint32_t run_count, function_count, site_count, call_count;
    struct profile_function *functions;
    struct profile_site *sites;
    uint32_t *calls;                /* instruction of each indirect call */
    uint64_t *counts;               /* of each site */
    struct profile_target *targets; /* ABI_PROFILE_TARGETS of each indirect call, most first */
};

/* ---- profile.c ---- */
/* Into the arena; bytes need not stay. ST_DAMAGED, ST_INCOMPATIBLE, ST_LIMIT, ST_NO_MEMORY. */
enum status profile_read(const uint8_t *bytes, size_t size, struct arena *arena,
                         struct profile *ret_profile, struct error *err) must_check;
/* The tables: what an instrumented object carries, and how a file begins. */
void profile_write_tables(const struct profile *profile, struct buffer *b);
/* A whole file. */
void profile_write(const struct profile *profile, struct buffer *b);
/* The site of this function with this instruction and arm, or UINT32_MAX. */
uint32_t profile_find_site(const struct profile *profile,
                           const struct profile_function *function, uint32_t instruction,
                           uint32_t arm);
uint32_t profile_find_call(const struct profile *profile,
                           const struct profile_function *function, uint32_t instruction);

/*
 * Functions by digest. Of several with the same digest the n-th of one profile stands for the
 * n-th of another: order[] is sorted by digest, then by index.
 */
struct profile_index {
    const struct profile *profile;
    uint32_t *order; /* function_count */
    uint32_t *nth;   /* of each function among those with its digest */
};
enum status profile_index_make(const struct profile *profile, struct arena *arena,
                               struct profile_index *ret_index, struct error *err) must_check;
/* The function, or PROFILE_NO_FUNCTION. */
uint32_t profile_index_find(const struct profile_index *index,
                            const uint8_t digest[PROFILE_DIGEST_SIZE], uint32_t nth);

/* ---- profile_merge.c ---- */
static inline uint64_t profile_sum(uint64_t a, uint64_t b) {
    uint64_t sum;
    return add_overflows(a, b, &sum) ? UINT64_MAX : sum;
}
/* The sum of two, into the arena; it borrows nothing. */
enum status profile_merge(const struct profile *a, const struct profile *b, struct arena *arena,
                          struct profile *ret_sum, struct error *err) must_check;

/* ---- profile_plan.c ---- */
/* How many counts it takes to make up a share of all counts; of what LLVM calls a summary. */
#define PROFILE_CUTOFFS 16
struct profile_summary {
    uint64_t total, max, max_internal, max_function;
    uint32_t count_count, function_count;
    struct {
        uint32_t cutoff; /* in millionths of total */
        uint64_t min_count;
        uint32_t counts;
    } cutoffs[PROFILE_CUTOFFS];
    uint64_t hot_count, cold_count; /* at least, at most */
};

/* What the lowering of a module knows: the tables of its own profile, with counts where it got
 * a profile. functions[i] is the module's own function i, not counting imports. */
struct profile_plan {
    struct profile own;
    bool generate;        /* put counters into the code */
    bool *known;          /* with a profile: that it had the function; else NULL */
    uint64_t *max_counts; /* likewise: the largest count of the function */
    struct profile_summary summary;
    uint32_t known_count, stale_count; /* functions that the profile has, has not */
};
/* Whether a profile says something of the module's own function. Of one that never ran is known
 * as little as of one that the profile does not have: it may be what another use of the program
 * is about. */
static inline bool profile_tells(const struct profile_plan *plan, uint32_t own) {
    return plan->known && plan->known[own] && plan->max_counts[own] > 0;
}
enum status profile_plan(const struct module *module, const struct compile_options *options,
                         struct arena *arena, struct profile_plan *ret_plan,
                         struct error *err) must_check;
/* The tables of a module's profile, counts all 0. */
enum status profile_of_module(const struct module *module, struct arena *arena,
                              struct profile *ret_profile, struct error *err) must_check;
/* Puts the counts of `from` into `to` where functions agree; known (of to's functions) may not
 * be NULL. Gives how many agreed. */
enum status profile_apply(struct profile *to, const struct profile *from, bool *known,
                          struct arena *arena, uint32_t *ret_known,
                          struct error *err) must_check;

/* ---- hint_write.c ---- */
/* The module (validated) with branch hints made from the profile, in the place of those it
 * has; *ret_count is how many. ST_INCOMPATIBLE where the profile knows none of its functions.
 */
enum status profile_write_hints(const struct module *module, const struct profile *profile,
                                struct buffer *ret, uint64_t *ret_count,
                                struct error *err) must_check;

#endif
