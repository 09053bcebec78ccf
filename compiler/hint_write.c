/*
 * What a profile knows of a module's branches, in the module itself: a section of branch hints
 * (branch_hints.h), which goes wherever the module goes and which other engines read too. A
 * hint is one bit, so only branches that nearly always go one way have one.
 */
#include "compiler/branch_hints.h"
#include "compiler/opcodes.h"
#include "compiler/profile.h"

#define CODE_SECTION 10
/* One way at least so many times as often as the other. */
#define HINT_RATIO 10
/* Less often counted says nothing. */
#define HINT_LEAST 16

static void put_leb(struct buffer *b, uint64_t value) {
    for (; value >= 0x80; value >>= 7) buffer_put_u8(b, (uint8_t)(value | 0x80));
    buffer_put_u8(b, (uint8_t)value);
}

static void put_sized(struct buffer *b, const struct buffer *content) {
    put_leb(b, content->size);
    buffer_put(b, content->bytes, content->size);
}

/* The hints of one function into `ret`, and how many they are. */
static uint32_t hints_of(const struct module *m, const struct module_function *f,
                         const struct profile *p, const struct profile_function *counted,
                         struct buffer *ret) {
    uint32_t count = 0;
    for (struct code_walk w = code_walk_begin(m, f); code_walk_next(&w);) {
        if (w.in.opcode != OP_IF && w.in.opcode != OP_BR_IF) continue;
        uint32_t site = profile_find_site(p, counted, w.number, 0);
        uint64_t all = p->counts[site], taken = p->counts[site + 1];
        uint64_t passed = all > taken ? all - taken : 0;
        if (all < HINT_LEAST || (taken / HINT_RATIO < passed && passed / HINT_RATIO < taken))
            continue;
        put_leb(ret, w.in.offset - f->body_offset);
        put_leb(ret, 1);
        buffer_put_u8(ret, taken > passed);
        count++;
    }
    return count;
}

static void put_section(const struct module *m, const struct profile *p, const bool *known,
                        struct buffer *out, uint64_t *ret_count) {
    auto_buffer struct buffer functions = {0};
    auto_buffer struct buffer hints = {0};
    auto_buffer struct buffer content = {0};
    uint32_t function_count = 0;
    for (uint32_t i = 0; i < p->function_count; i++) {
        uint32_t index = m->imported_functions + i;
        hints.size = 0;
        uint32_t count =
            known[i] ? hints_of(m, &m->functions[index], p, &p->functions[i], &hints) : 0;
        if (!count) continue;
        put_leb(&functions, index);
        put_leb(&functions, count);
        buffer_put(&functions, hints.bytes, hints.size);
        function_count++;
        *ret_count += count;
    }
    put_leb(&content, strlen(BRANCH_HINTS_SECTION));
    buffer_put(&content, BRANCH_HINTS_SECTION, strlen(BRANCH_HINTS_SECTION));
    put_leb(&content, function_count);
    buffer_put(&content, functions.bytes, functions.size);
    if (hints.failed || functions.failed || content.failed) out->failed = true;
    buffer_put_u8(out, 0);
    put_sized(out, &content);
}

/* Whether this custom section's content holds hints. */
static bool is_hints(struct reader content) {
    uint32_t length = 0;
    if (reader_leb_u32(&content, &length) != LEB_OK) return false;
    const uint8_t *name = reader_bytes(&content, length);
    return name && is_branch_hints(name, length);
}

enum status profile_write_hints(const struct module *module, const struct profile *profile,
                                struct buffer *ret, uint64_t *ret_count, struct error *err) {
    auto_arena struct arena arena = {0};
    struct profile own;
    uint32_t known_count = 0;
    *ret_count = 0;
    enum status status = profile_of_module(module, &arena, &own, err);
    if (status != ST_OK) return status;
    bool *known = arena_array(&arena, own.function_count, sizeof *known);
    if (!known) return error_set(err, ST_NO_MEMORY, "out of memory");
    status = profile_apply(&own, profile, known, &arena, &known_count, err);
    if (status != ST_OK) return status;
    if (known_count == 0)
        return error_set(err, ST_INCOMPATIBLE, "the profile is of another program");
    struct reader r = reader_over(module->bytes, module->size);
    buffer_put(ret, reader_bytes(&r, 8), 8);
    while (reader_left(&r) > 0) { /* decoded before: every section is whole */
        const uint8_t *start = r.at;
        uint8_t id = reader_u8(&r);
        uint32_t size = 0;
        CHECK(reader_leb_u32(&r, &size) == LEB_OK);
        struct reader content = reader_over(reader_bytes(&r, size), size);
        if (id == CODE_SECTION) put_section(module, &own, known, ret, ret_count);
        if (id == 0 && is_hints(content)) continue;
        buffer_put(ret, start, (size_t)(r.at - start));
    }
    return buffer_status(ret, err);
}
