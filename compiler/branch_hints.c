/*
 * Which way branches usually go, as a module itself says: the section metadata.code.branch_hint
 * (the Branch Hinting proposal, github.com/WebAssembly/branch-hinting). As with every custom
 * section, a damaged one is ignored, and nothing here can make a module fail: what is wrong in
 * one hint is taken to be wrong in all.
 */
#include "compiler/branch_hints.h"

/* The hints of one function. */
static bool read_function(struct module *m, struct reader *r, uint32_t index) {
    uint32_t count, before = 0;
    if (reader_leb_u32(r, &count) != LEB_OK || count > reader_left(r) / 3) return false;
    struct branch_hint *hints = arena_array(&m->arena, count, sizeof *hints);
    if (!hints) return false;
    const struct module_function *f = &m->functions[index];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t offset, size;
        if (reader_leb_u32(r, &offset) != LEB_OK || reader_leb_u32(r, &size) != LEB_OK)
            return false;
        uint8_t value = reader_u8(r);
        if (r->failed || size != 1 || value > 1) return false;
        if (offset >= f->body_size || (i && offset <= before)) return false;
        hints[i] = (struct branch_hint){.offset = before = offset, .taken = value == 1};
    }
    m->functions[index].hints = hints;
    m->functions[index].hint_count = count;
    return true;
}

static bool read_all(struct module *m, struct reader *r) {
    uint32_t count, index, next = m->imported_functions;
    if (reader_leb_u32(r, &count) != LEB_OK) return false;
    for (; count > 0; count--) {
        if (reader_leb_u32(r, &index) != LEB_OK) return false;
        if (index < next || index >= m->function_count || !read_function(m, r, index))
            return false;
        next = index + 1;
    }
    return reader_left(r) == 0;
}

void module_decode_hints(struct module *m, const uint8_t *bytes, size_t size) {
    struct reader r = reader_over(bytes, size);
    if (read_all(m, &r)) return;
    for (uint32_t i = 0; i < m->function_count; i++) m->functions[i].hint_count = 0;
}

const struct branch_hint *branch_hint_at(const struct module_function *f, uint64_t offset,
                                         uint32_t *next) {
    uint64_t place = offset - f->body_offset;
    while (*next < f->hint_count && f->hints[*next].offset < place) ++*next;
    if (*next == f->hint_count || f->hints[*next].offset != place) return NULL;
    return &f->hints[*next];
}
