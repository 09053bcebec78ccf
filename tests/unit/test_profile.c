/* Profiles: bytes and back, damage, sums, and which function of a module gets whose counts. */
#include "compiler/module.h"
#include "compiler/profile.h"
#include "tests/unit/module_builder.h"
#include "tests/unit/test.h"

/* Three functions; the first has a branch of two arms and an indirect call. */
static struct profile sample(uint64_t factor) {
    static struct profile_function functions[3] = {
        {.digest = "one", .site_count = 4, .call_count = 1},
        {.digest = "two", .first_site = 4, .site_count = 1, .first_call = 1},
        {.digest = "three", .first_site = 5, .site_count = 1, .first_call = 1}};
    static struct profile_site sites[6] = {
        {PROFILE_ENTRY, 0}, {5, 0}, {5, 1}, {9, 0}, {PROFILE_ENTRY, 0}, {PROFILE_ENTRY, 0}};
    static uint32_t calls[1] = {9};
    static uint64_t counts[2][6];
    static struct profile_target targets[2][ABI_PROFILE_TARGETS];
    static int at;
    at = !at;
    for (uint64_t i = 0; i < 6; i++) counts[at][i] = (i + 1) * factor;
    for (uint32_t i = 0; i < ABI_PROFILE_TARGETS; i++)
        targets[at][i] = (struct profile_target){PROFILE_NO_FUNCTION, 0};
    targets[at][0] = (struct profile_target){1, 3 * factor};
    targets[at][1] = (struct profile_target){2, factor};
    return (struct profile){.module = {{7}},
                            .run_count = 1,
                            .function_count = 3,
                            .site_count = 6,
                            .call_count = 1,
                            .functions = functions,
                            .sites = sites,
                            .calls = calls,
                            .counts = counts[at],
                            .targets = targets[at]};
}

static enum status reread(const struct buffer *b, size_t size, struct arena *arena,
                          struct profile *ret) {
    struct error err = {0};
    enum status status = profile_read(b->bytes, size, arena, ret, &err);
    if (status != ST_OK) EXPECT(err.status == status && err.message[0]);
    return status;
}

/* The checksum at the end made to fit. */
static void sign(struct buffer *b) {
    size_t checked = b->size - ABI_PROFILE_CHECKSUM_SIZE;
    uint32_t checksum = ~crc32c(~UINT32_C(0), b->bytes, checked);
    memcpy(b->bytes + checked, &checksum, sizeof checksum);
}

static void test_round_trip(void) {
    struct profile p = sample(10), q;
    auto_buffer struct buffer b = {0}, again = {0};
    auto_arena struct arena arena = {0};
    profile_write(&p, &b);
    EXPECT(reread(&b, b.size, &arena, &q) == ST_OK);
    EXPECT(q.function_count == 3 && q.site_count == 6 && q.call_count == 1 && q.run_count == 1);
    EXPECT(q.counts[2] == 30 && q.targets[1].function == 2 && q.targets[1].count == 10);
    EXPECT(profile_find_site(&q, &q.functions[0], 5, 1) == 2);
    EXPECT(profile_find_site(&q, &q.functions[0], 5, 2) == UINT32_MAX);
    EXPECT(profile_find_site(&q, &q.functions[2], PROFILE_ENTRY, 0) == 5);
    EXPECT(profile_find_call(&q, &q.functions[0], 9) == 0);
    EXPECT(profile_find_call(&q, &q.functions[1], 9) == UINT32_MAX);
    profile_write(&q, &again);
    EXPECT(again.size == b.size && memcmp(again.bytes, b.bytes, b.size) == 0);
}

/* Cut anywhere, or any byte changed: refused, or (signed) read as something that holds
 * together. */
static void test_damage(void) {
    struct profile p = sample(10), q;
    auto_buffer struct buffer b = {0};
    profile_write(&p, &b);
    for (size_t size = 0; size < b.size; size++) {
        auto_arena struct arena arena = {0};
        EXPECT(reread(&b, size, &arena, &q) == ST_DAMAGED);
    }
    for (size_t at = 0; at < b.size; at++) {
        auto_arena struct arena arena = {0};
        b.bytes[at] ^= 1;
        enum status status = reread(&b, b.size, &arena, &q);
        EXPECT(status == ST_DAMAGED || (at / 4 == 2 && status == ST_INCOMPATIBLE));
        b.bytes[at] ^= 1;
    }
    uint32_t refused = 0, taken = 0;
    for (size_t at = 8; at + ABI_PROFILE_CHECKSUM_SIZE < b.size; at++)
        for (unsigned value = 0; value < 256; value += 51) {
            auto_arena struct arena arena = {.limit_bytes = 1 << 20}, sum_arena = {0};
            struct profile sum;
            struct error err = {0};
            uint8_t was = b.bytes[at];
            b.bytes[at] = (uint8_t)value;
            sign(&b);
            if (reread(&b, b.size, &arena, &q) == ST_OK) {
                taken++;
                EXPECT(profile_merge(&p, &q, &sum_arena, &sum, &err) == ST_OK);
            } else {
                refused++;
            }
            b.bytes[at] = was;
        }
    EXPECT(refused > 100 && taken > 100);
}

static void test_orders(void) {
    struct profile p = sample(1), q;
    auto_arena struct arena arena = {0};
    auto_buffer struct buffer b = {0};
    struct profile_site swapped[6];
    memcpy(swapped, p.sites, sizeof swapped);
    swapped[1] = p.sites[2];
    swapped[2] = p.sites[1];
    p.sites = swapped;
    profile_write(&p, &b);
    EXPECT(reread(&b, b.size, &arena, &q) == ST_DAMAGED); /* searches would fail */
    p = sample(1);
    p.targets[0].function = 3;
    b.size = 0;
    profile_write(&p, &b);
    EXPECT(reread(&b, b.size, &arena, &q) == ST_DAMAGED); /* there is no function 3 */
}

static void test_merge(void) {
    struct profile a = sample(10), b = sample(1000), sum;
    struct error err = {0};
    auto_arena struct arena arena = {0};
    EXPECT(profile_merge(&a, &b, &arena, &sum, &err) == ST_OK);
    EXPECT(sum.function_count == 3 && sum.run_count == 2 && sum.counts[0] == 1010);
    EXPECT(sum.counts[5] == 6060 && sum.targets[0].count == 3030 &&
           sum.targets[1].count == 1010);
    EXPECT(digest_equal(&sum.module, &a.module));

    /* another order of functions, one that a has not, another module */
    struct profile_function functions[2] = {
        {.digest = "new", .site_count = 1},
        {.digest = "one", .first_site = 1, .site_count = 4, .call_count = 1}};
    struct profile_site sites[5] = {
        {PROFILE_ENTRY, 0}, {PROFILE_ENTRY, 0}, {5, 0}, {5, 1}, {9, 0}};
    uint64_t counts[5] = {1, 2, 3, UINT64_MAX, 5};
    struct profile_target targets[ABI_PROFILE_TARGETS] = {
        {0, 7000}, {1, 8}, {PROFILE_NO_FUNCTION, 0}, {PROFILE_NO_FUNCTION, 0}};
    struct profile c = {.run_count = UINT32_MAX,
                        .function_count = 2,
                        .site_count = 5,
                        .call_count = 1,
                        .functions = functions,
                        .sites = sites,
                        .calls = a.calls,
                        .counts = counts,
                        .targets = targets};
    EXPECT(profile_merge(&b, &c, &arena, &sum, &err) == ST_OK);
    EXPECT(sum.function_count == 4 && sum.site_count == 7 && sum.run_count == UINT32_MAX);
    EXPECT(memcmp(sum.functions[3].digest, "new", 4) == 0 && sum.counts[6] == 1);
    EXPECT(sum.counts[0] == 1002 && sum.counts[2] == UINT64_MAX); /* saturated */
    EXPECT(sum.targets[0].function == 3 &&
           sum.targets[0].count == 7000); /* by its new number */
    EXPECT(sum.targets[1].function == 1 && sum.targets[1].count == 3000);
    EXPECT(sum.targets[2].function == 2 && sum.targets[3].function == 0);
    auto_buffer struct buffer bytes = {0};
    profile_write(&sum, &bytes);
    EXPECT(reread(&bytes, bytes.size, &arena, &sum) == ST_OK);
}

/* ---- modules ----------------------------------------------------------------------------- */

/* A module of functions [i32] -> [i32] with these bodies (without their sizes). */
static void build(struct buffer *m, const char *const *bodies, uint32_t count) {
    auto_buffer struct buffer types = {0}, functions = {0}, code = {0};
    build_header(m);
    build_hex(&types, "01 60 01 7f 01 7f");
    build_leb(&functions, count);
    build_leb(&code, count);
    for (uint32_t i = 0; i < count; i++) {
        auto_buffer struct buffer body = {0};
        build_hex(&body, bodies[i]);
        build_leb(&functions, 0);
        build_leb(&code, body.size);
        buffer_put(&code, body.bytes, body.size);
    }
    build_section(m, 1, &types);
    build_section(m, 3, &functions);
    build_section(m, 10, &code);
}

#define ADD_ONE "00 20 00 41 01 6a 0b"
#define ADD_TWO "00 20 00 41 02 6a 0b"
#define BRANCH "00 20 00 04 7f 41 05 05 20 00 0b 0b" /* if: instruction 1 */

static enum status plan_of(const char *const *bodies, uint32_t count, struct buffer *bytes,
                           struct module *module, struct arena *arena, struct profile *ret) {
    struct error err = {0};
    build(bytes, bodies, count);
    enum status status = module_decode(bytes->bytes, bytes->size, module, &err);
    if (status == ST_OK) status = module_validate(module, &err);
    if (status == ST_OK) status = profile_of_module(module, arena, ret, &err);
    if (status != ST_OK) printf("%s\n", err.message);
    return status;
}

static bool same_digest(const struct profile *p, uint32_t a, const struct profile *q,
                        uint32_t b) {
    return memcmp(p->functions[a].digest, q->functions[b].digest, PROFILE_DIGEST_SIZE) == 0;
}

static void test_plan(void) {
    static const char *const first[] = {
        ADD_ONE, BRANCH, "00 20 00 10 00 0b" /* calls 0 */, "00 41 80 20 0b" /* an address */,
        ADD_TWO, ADD_TWO};
    static const char *const second[] = {
        ADD_TWO,
        "00 20 00 10 83 80 00 0b" /* calls 3, spelled long */,
        "00 41 80 80 c0 00 0b" /* another address */,
        ADD_ONE,
        "00 20 00 04 7f 41 06 05 20 00 0b 0b" /* another constant: a new body */,
        ADD_TWO};
    auto_buffer struct buffer first_bytes = {0}, second_bytes = {0};
    struct module modules[2];
    struct profile p, q;
    struct error err = {0};
    auto_arena struct arena arena = {0};
    EXPECT(plan_of(first, 6, &first_bytes, &modules[0], &arena, &p) == ST_OK);
    EXPECT(plan_of(second, 6, &second_bytes, &modules[1], &arena, &q) == ST_OK);
    EXPECT(p.function_count == 6 && p.site_count == 8 && p.functions[1].site_count == 3);
    EXPECT(profile_find_site(&p, &p.functions[1], 1, 1) != UINT32_MAX);
    EXPECT(same_digest(&p, 0, &q, 3) && !same_digest(&p, 0, &p, 4));
    EXPECT(same_digest(&p, 2, &q, 1)); /* which function is called does not count */
    EXPECT(same_digest(&p, 3, &q, 2)); /* nor where a linker puts data */
    EXPECT(!same_digest(&p, 1, &q, 4));

    for (uint32_t i = 0; i < p.site_count; i++) p.counts[i] = 100 + i;
    bool known[6] = {false};
    uint32_t count = 0;
    EXPECT(profile_apply(&q, &p, known, &arena, &count, &err) == ST_OK);
    EXPECT(count == 5 && known[0] && known[1] && known[2] && known[3] && !known[4] && known[5]);
    EXPECT(q.counts[q.functions[3].first_site] == p.counts[p.functions[0].first_site]);
    EXPECT(q.counts[q.functions[4].first_site] == 0); /* stale */
    /* the first of equal ones is the first, the second the second */
    EXPECT(q.counts[q.functions[0].first_site] == p.counts[p.functions[4].first_site]);
    EXPECT(q.counts[q.functions[5].first_site] == p.counts[p.functions[5].first_site]);
    module_finish(&modules[0]);
    module_finish(&modules[1]);
}

static void test_summary(void) {
    static const char *const bodies[] = {ADD_ONE, BRANCH, ADD_TWO};
    auto_buffer struct buffer bytes = {0}, file = {0};
    struct module module;
    struct profile p;
    struct profile_plan plan;
    struct error err = {0};
    auto_arena struct arena arena = {0};
    EXPECT(plan_of(bodies, 3, &bytes, &module, &arena, &p) == ST_OK);
    static const uint64_t counts[] = {1000000, 10, 10, 5, 0};
    memcpy(p.counts, counts, sizeof counts);
    profile_write(&p, &file);
    struct compile_options options = {.profile = file.bytes, .profile_size = file.size};
    EXPECT(profile_plan(&module, &options, &arena, &plan, &err) == ST_OK);
    EXPECT(plan.known_count == 3 && plan.stale_count == 0 && !plan.generate);
    EXPECT(plan.summary.total == 1000025 && plan.summary.max == 1000000);
    EXPECT(plan.summary.max_internal == 10 && plan.summary.max_function == 1000000);
    EXPECT(plan.summary.count_count == 5 && plan.summary.hot_count == 1000000);
    EXPECT(plan.summary.cold_count == 5 && plan.max_counts[2] == 0);
    EXPECT(plan.summary.cutoffs[0].cutoff == 10000 && plan.summary.cutoffs[0].counts == 1);

    p.counts[1] = UINT64_MAX; /* nothing overflows */
    p.counts[2] = UINT64_MAX;
    file.size = 0;
    profile_write(&p, &file);
    options.profile = file.bytes;
    EXPECT(profile_plan(&module, &options, &arena, &plan, &err) == ST_OK);
    EXPECT(plan.summary.total == UINT64_MAX && plan.summary.hot_count == UINT64_MAX);
    options.profile_size--;
    EXPECT(profile_plan(&module, &options, &arena, &plan, &err) == ST_DAMAGED);
    module_finish(&module);
}

int main(void) {
    test_round_trip();
    test_damage();
    test_orders();
    test_merge();
    test_plan();
    test_summary();
    return test_end();
}
