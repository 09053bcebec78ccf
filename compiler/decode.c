/*
 * The bytes of a module to struct module (spec core 5.5): the header, the order and sizes of
 * the sections, and what must agree between them. Entities are decode_sections.c's, segments
 * and bodies decode_segments.c's. Code is not looked into here but for constant expressions,
 * whose end has to be found; validation reads the bodies.
 *
 * Memory taken is bounded by the input: a vector's length is checked against the bytes left
 * before anything is allocated for it.
 */
#include "compiler/branch_hints.h"
#include "compiler/decode.h"

/* Of a module's decoded form: a bound for inputs that are made to blow up in memory. */
#define ARENA_LIMIT_BYTES ((size_t)2 << 30)

/* In the order in which they must appear (spec core 5.5.2); the id is not the order. */
/* clang-format off */
#define SECTIONS(X)                                                                            \
    X(1,  "type",       decode_types)                                                          \
    X(2,  "import",     decode_imports)                                                        \
    X(3,  "function",   decode_functions)                                                      \
    X(4,  "table",      decode_tables)                                                         \
    X(5,  "memory",     decode_memories)                                                       \
    X(13, "tag",        decode_tags)                                                           \
    X(6,  "global",     decode_globals)                                                        \
    X(7,  "export",     decode_exports)                                                        \
    X(8,  "start",      decode_start)                                                          \
    X(9,  "elem",       decode_elems)                                                          \
    X(12, "data count", decode_data_count)                                                     \
    X(10, "code",       decode_code)                                                           \
    X(11, "data",       decode_datas)
/* clang-format on */

struct section {
    uint8_t id;
    const char *name;
    enum status (*decode)(struct decoder *d, struct reader *r);
};
static const struct section sections[] = {
#define X(id, name, function) {id, name, function},
    SECTIONS(X)
#undef X
};

/* Custom sections that are read when all else is known. */
struct customs {
    struct reader names, hints;
};

/* A custom section has a name, and nothing else that we must understand (spec core 5.5.3). */
static enum status decode_custom(struct decoder *d, struct reader *r, struct customs *ret) {
    const uint8_t *name;
    uint32_t length;
    TRY(read_name(r, "custom section's name", &name, &length, d->err));
    struct reader *known = NULL;
    if (length == 4 && memcmp(name, "name", 4) == 0) known = &ret->names;
    /* it is for those who compile while they read: behind the code it comes too late */
    if (is_branch_hints(name, length) && !d->has_code) known = &ret->hints;
    if (known && !known->start) *known = reader_over(r->at, reader_left(r));
    return ST_OK;
}

static enum status decode_header(struct reader *r, struct error *err) {
    static const uint8_t magic[4] = {0, 'a', 's', 'm'};
    static const uint8_t version[4] = {1, 0, 0, 0}, component[4] = {13, 0, 1, 0};
    size_t left = reader_left(r);
    if (left < 4)
        return error_set_at(err, ST_MALFORMED, left,
                            "unexpected end: %zu bytes, a module begins with 8", left);
    if (memcmp(r->at, magic, 4) != 0)
        return error_set_at(err, ST_MALFORMED, 0,
                            "magic header not detected: this is not a WebAssembly binary");
    if (left < 8)
        return error_set_at(err, ST_MALFORMED, left,
                            "unexpected end: %zu bytes, a module begins with 8", left);
    r->at += 8;
    if (memcmp(r->at - 4, component, 4) == 0)
        return error_set_at(err, ST_UNSUPPORTED, 4,
                            "unknown binary version: this is a component, not a core module");
    if (memcmp(r->at - 4, version, 4) != 0)
        return error_set_at(err, ST_MALFORMED, 4,
                            "unknown binary version: %02x %02x %02x %02x, known is 1",
                            r->at[-4], r->at[-3], r->at[-2], r->at[-1]);
    return ST_OK;
}

/* One section, r at its id. *next is where in the order the next one may be. */
static enum status decode_section(struct decoder *d, struct reader *r, size_t *next,
                                  struct customs *customs) {
    uint64_t at = reader_offset(r);
    uint8_t id;
    uint32_t size;
    TRY(read_byte(r, "section id", &id, d->err));
    const struct section *section = NULL;
    for (size_t i = 0; i < countof(sections); i++)
        if (sections[i].id == id) section = &sections[i];
    if (id != 0 && !section)
        return error_set_at(d->err, ST_MALFORMED, at, "malformed section id %u", id);
    const char *name = section ? section->name : "custom";
    TRY(read_u32(r, "section's size", &size, d->err));
    if (size > reader_left(r))
        return error_set_at(
            d->err, ST_MALFORMED, at, "%s: the %s section has %u bytes, but %zu are left",
            section ? "length out of bounds" : "unexpected end", name, size, reader_left(r));
    if (section) {
        size_t place = (size_t)(section - sections);
        if (place < *next)
            return error_set_at(d->err, ST_MALFORMED, at,
                                "unexpected content after last section: the %s section is %s",
                                name, place + 1 == *next ? "there twice" : "out of order");
        *next = place + 1;
    }
    struct reader content = *r;
    content.end = content.at + size;
    r->at = content.end;
    if (!section) {
        TRY(decode_custom(d, &content, customs));
        return ST_OK;
    }
    if (section->decode(d, &content) != ST_OK)
        return error_wrap(d->err, "%s section", section->name);
    if (content.at != content.end)
        return error_set_at(d->err, ST_MALFORMED, reader_offset(&content),
                            "section size mismatch: the %s section's content ends %zu bytes "
                            "before the section",
                            name, reader_left(&content));
    return ST_OK;
}

/* What must agree between sections (spec core 5.5.16). */
static enum status check_counts(const struct decoder *d) {
    const struct module *m = d->module;
    uint32_t own = m->function_count - m->imported_functions;
    if (own != d->code_count)
        return error_set_at(d->err, ST_MALFORMED, m->size,
                            "function and code section have inconsistent lengths: %u and %u",
                            own, d->code_count);
    if (m->has_data_count && m->data_count_declared != m->data_count)
        return error_set_at(d->err, ST_MALFORMED, m->size,
                            "data count and data section have inconsistent lengths: %u and %u",
                            m->data_count_declared, m->data_count);
    return ST_OK;
}

enum status module_decode(const uint8_t *bytes, size_t size, struct module *ret_module,
                          struct error *err) {
    *ret_module = (struct module){.bytes = bytes, .size = size};
    ret_module->arena.limit_bytes = ARENA_LIMIT_BYTES;
    if (size > MODULE_MAX_BYTES)
        return error_set(err, ST_LIMIT, "the module has %zu bytes, at most %u are supported",
                         size, MODULE_MAX_BYTES);
    struct decoder d = {.module = ret_module, .err = err};
    struct reader r = reader_over(bytes, size);
    struct customs customs = {0};
    size_t next = 0;
    TRY(decode_header(&r, err));
    while (r.at != r.end) TRY(decode_section(&d, &r, &next, &customs));
    TRY(check_counts(&d));
    if (customs.names.start)
        module_decode_names(ret_module, customs.names.start, reader_left(&customs.names));
    if (customs.hints.start)
        module_decode_hints(ret_module, customs.hints.start, reader_left(&customs.hints));
    return ST_OK;
}

void module_finish(struct module *module) {
    arena_finish(&module->arena);
    *module = (struct module){0};
}
