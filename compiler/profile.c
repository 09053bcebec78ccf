/*
 * The bytes of a profile (docs/profile.md) to struct profile and back. Profiles come from other
 * machines: every count of things is compared with the bytes there are before anything is
 * allocated, every order that a search relies on is checked, and the digest at the end is
 * checked first, so that a file that was cut or overwritten is not taken for one that is wrong.
 */
#include "compiler/profile.h"

static const uint8_t *section(const uint8_t *bytes, uint64_t *at, uint64_t size) {
    const uint8_t *start = bytes + *at;
    *at += size;
    return start;
}

static enum status damaged(struct error *err, const char *what, uint32_t index) {
    return error_set(err, ST_DAMAGED, "damaged profile: %s %u", what, index);
}

static enum status read_functions(struct profile *p, const uint8_t *bytes, struct error *err) {
    struct reader r = reader_over(bytes, (size_t)p->function_count * ABI_PROFILE_FUNCTION_SIZE);
    uint32_t site = 0, call = 0;
    for (uint32_t i = 0; i < p->function_count; i++) {
        struct profile_function *f = &p->functions[i];
        memcpy(f->digest, reader_bytes(&r, PROFILE_DIGEST_SIZE), PROFILE_DIGEST_SIZE);
        f->first_site = site;
        f->first_call = call;
        f->site_count = reader_u32(&r);
        f->call_count = reader_u32(&r);
        if (f->site_count == 0 || f->site_count > p->site_count - site ||
            f->call_count > p->call_count - call)
            return damaged(err, "the sites of function", i);
        site += f->site_count;
        call += f->call_count;
    }
    if (site != p->site_count || call != p->call_count)
        return damaged(err, "sites without a function, from", site);
    return ST_OK;
}

/* PROFILE_ENTRY comes before all instructions. */
static uint64_t rank(struct profile_site site) {
    return ((uint64_t)(site.instruction + 1) << 32) | site.arm;
}

static enum status check_order(const struct profile *p, struct error *err) {
    for (uint32_t i = 0; i < p->function_count; i++) {
        const struct profile_function *f = &p->functions[i];
        const struct profile_site *sites = p->sites + f->first_site;
        const uint32_t *calls = p->calls + f->first_call;
        bool good = sites[0].instruction == PROFILE_ENTRY && sites[0].arm == 0;
        for (uint32_t k = 1; k < f->site_count; k++)
            good = good && rank(sites[k - 1]) < rank(sites[k]);
        for (uint32_t k = 1; k < f->call_count; k++) good = good && calls[k - 1] < calls[k];
        if (!good) return damaged(err, "the order of sites in function", i);
    }
    return ST_OK;
}

static enum status read_counts(struct profile *p, const uint8_t *counts, const uint8_t *values,
                               struct error *err) {
    struct reader r = reader_over(counts, 8 * (size_t)p->site_count);
    for (uint32_t i = 0; i < p->site_count; i++) p->counts[i] = reader_u64(&r);
    uint32_t target_count = p->call_count * ABI_PROFILE_TARGETS;
    r = reader_over(values, (size_t)target_count * ABI_PROFILE_VALUE_SIZE);
    for (uint32_t i = 0; i < target_count; i++) {
        p->targets[i].function = reader_u32(&r);
        p->targets[i].count = reader_u64(&r);
        if (p->targets[i].function != PROFILE_NO_FUNCTION &&
            p->targets[i].function >= p->function_count)
            return damaged(err, "the targets of call", i / ABI_PROFILE_TARGETS);
    }
    return ST_OK;
}

enum status profile_read(const uint8_t *bytes, size_t size, struct arena *arena,
                         struct profile *ret_profile, struct error *err) {
    struct abi_profile_shape shape;
    enum status status = abi_profile_shape(bytes, size, &shape, err);
    if (status != ST_OK) return status;
    if (shape.file_size != size)
        return error_set(err, ST_DAMAGED, "damaged profile: %zu bytes instead of %llu", size,
                         (unsigned long long)shape.file_size);
    size_t checked = size - ABI_PROFILE_CHECKSUM_SIZE;
    struct reader checksum = reader_over(bytes + checked, ABI_PROFILE_CHECKSUM_SIZE);
    if (reader_u32(&checksum) != ~crc32c(~UINT32_C(0), bytes, checked))
        return error_set(err, ST_DAMAGED, "damaged profile: its checksum does not hold");
    if (shape.site_count > PROFILE_MAX_SITES || shape.call_count > PROFILE_MAX_SITES)
        return error_set(err, ST_LIMIT, "the profile has %u sites, more than %u",
                         shape.site_count, PROFILE_MAX_SITES);
    struct profile p = {.module = shape.module,
                        .run_count = shape.run_count,
                        .function_count = shape.function_count,
                        .site_count = shape.site_count,
                        .call_count = shape.call_count};
    p.functions = arena_array(arena, p.function_count, sizeof *p.functions);
    p.sites = arena_array(arena, p.site_count, sizeof *p.sites);
    p.calls = arena_array(arena, p.call_count, sizeof *p.calls);
    p.counts = arena_array(arena, p.site_count, sizeof *p.counts);
    p.targets =
        arena_array(arena, (size_t)p.call_count * ABI_PROFILE_TARGETS, sizeof *p.targets);
    if (!p.functions || !p.sites || !p.calls || !p.counts || !p.targets)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    uint64_t at = ABI_PROFILE_HEADER_SIZE;
    const uint8_t *functions =
        section(bytes, &at, (uint64_t)p.function_count * ABI_PROFILE_FUNCTION_SIZE);
    const uint8_t *sites = section(bytes, &at, (uint64_t)p.site_count * ABI_PROFILE_SITE_SIZE);
    const uint8_t *calls = section(bytes, &at, (uint64_t)p.call_count * ABI_PROFILE_CALL_SIZE);
    const uint8_t *counts = section(bytes, &at, 8 * (uint64_t)p.site_count);
    status = read_functions(&p, functions, err);
    if (status != ST_OK) return status;
    struct reader r = reader_over(sites, (size_t)p.site_count * ABI_PROFILE_SITE_SIZE);
    for (uint32_t i = 0; i < p.site_count; i++) {
        p.sites[i].instruction = reader_u32(&r);
        p.sites[i].arm = reader_u32(&r);
    }
    r = reader_over(calls, (size_t)p.call_count * ABI_PROFILE_CALL_SIZE);
    for (uint32_t i = 0; i < p.call_count; i++) p.calls[i] = reader_u32(&r);
    if ((status = check_order(&p, err)) != ST_OK) return status;
    if ((status = read_counts(&p, counts, bytes + at, err)) != ST_OK) return status;
    *ret_profile = p;
    return ST_OK;
}

void profile_write_tables(const struct profile *p, struct buffer *b) {
    buffer_put(b, ABI_PROFILE_MAGIC, 8);
    buffer_put_u32(b, ABI_PROFILE_VERSION);
    buffer_put_u32(b, p->run_count);
    buffer_put_u32(b, p->function_count);
    buffer_put_u32(b, p->site_count);
    buffer_put_u32(b, p->call_count);
    buffer_put_u32(b, 0);
    buffer_put(b, p->module.bytes, sizeof p->module.bytes);
    for (uint32_t i = 0; i < p->function_count; i++) {
        buffer_put(b, p->functions[i].digest, PROFILE_DIGEST_SIZE);
        buffer_put_u32(b, p->functions[i].site_count);
        buffer_put_u32(b, p->functions[i].call_count);
    }
    for (uint32_t i = 0; i < p->site_count; i++) {
        buffer_put_u32(b, p->sites[i].instruction);
        buffer_put_u32(b, p->sites[i].arm);
    }
    for (uint32_t i = 0; i < p->call_count; i++) buffer_put_u32(b, p->calls[i]);
}

void profile_write(const struct profile *p, struct buffer *b) {
    size_t start = b->size;
    profile_write_tables(p, b);
    for (uint32_t i = 0; i < p->site_count; i++) buffer_put_u64(b, p->counts[i]);
    for (uint32_t i = 0; i < p->call_count * ABI_PROFILE_TARGETS; i++) {
        buffer_put_u32(b, p->targets[i].function);
        buffer_put_u64(b, p->targets[i].count);
    }
    if (b->failed) return;
    buffer_put_u32(b, ~crc32c(~UINT32_C(0), b->bytes + start, b->size - start));
}

/* ---- finding ----------------------------------------------------------------------------- */

uint32_t profile_find_site(const struct profile *p, const struct profile_function *function,
                           uint32_t instruction, uint32_t arm) {
    const struct profile_site *sites = p->sites + function->first_site;
    uint64_t wanted = rank((struct profile_site){instruction, arm});
    uint32_t low = 0, high = function->site_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rank(sites[middle]) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low < function->site_count && rank(sites[low]) == wanted ? function->first_site + low
                                                                    : UINT32_MAX;
}

uint32_t profile_find_call(const struct profile *p, const struct profile_function *function,
                           uint32_t instruction) {
    const uint32_t *calls = p->calls + function->first_call;
    uint32_t low = 0, high = function->call_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (calls[middle] < instruction)
            low = middle + 1;
        else
            high = middle;
    }
    return low < function->call_count && calls[low] == instruction ? function->first_call + low
                                                                   : UINT32_MAX;
}

struct sort_row {
    uint8_t digest[PROFILE_DIGEST_SIZE];
    uint32_t index;
};

static int compare_rows(const void *a, const void *b) {
    const struct sort_row *x = a, *y = b;
    int order = memcmp(x->digest, y->digest, sizeof x->digest);
    if (order) return order;
    return x->index < y->index ? -1 : x->index > y->index;
}

enum status profile_index_make(const struct profile *p, struct arena *arena,
                               struct profile_index *ret_index, struct error *err) {
    struct profile_index index = {.profile = p};
    index.order = arena_array(arena, p->function_count, sizeof *index.order);
    index.nth = arena_array(arena, p->function_count, sizeof *index.nth);
    auto_free struct sort_row *rows = calloc((size_t)p->function_count + 1, sizeof *rows);
    if (!index.order || !index.nth || !rows)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < p->function_count; i++) {
        memcpy(rows[i].digest, p->functions[i].digest, PROFILE_DIGEST_SIZE);
        rows[i].index = i;
    }
    qsort(rows, p->function_count, sizeof *rows, compare_rows);
    for (uint32_t i = 0, nth = 0; i < p->function_count; i++) {
        bool same = i && memcmp(rows[i].digest, rows[i - 1].digest, PROFILE_DIGEST_SIZE) == 0;
        nth = same ? nth + 1 : 0;
        index.order[i] = rows[i].index;
        index.nth[rows[i].index] = nth;
    }
    *ret_index = index;
    return ST_OK;
}

uint32_t profile_index_find(const struct profile_index *index,
                            const uint8_t digest[PROFILE_DIGEST_SIZE], uint32_t nth) {
    const struct profile *p = index->profile;
    uint32_t low = 0, high = p->function_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (memcmp(p->functions[index->order[middle]].digest, digest, PROFILE_DIGEST_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (nth >= p->function_count - low) return PROFILE_NO_FUNCTION;
    uint32_t found = index->order[low + nth];
    return memcmp(p->functions[found].digest, digest, PROFILE_DIGEST_SIZE) == 0
               ? found
               : PROFILE_NO_FUNCTION;
}
