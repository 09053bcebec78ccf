/*
 * The name section (spec core 7.4.1) to names for people, best effort: what is damaged is left
 * out, and nothing here can make a module fail. Names go to terminals, into symbol tables and
 * error messages, so control characters become '?'.
 */
#include "compiler/module.h"

/* A copy of a name that is safe to print, or NULL where it is not UTF-8 (or memory is out). */
static const char *printable(struct arena *arena, const uint8_t *bytes, size_t length) {
    if (length == 0 || !utf8_valid(bytes, length)) return NULL;
    char *name = arena_string(arena, bytes, length);
    for (size_t i = 0; name && i < length; i++) {
        uint8_t byte = bytes[i];
        if (byte < 0x20 || byte == 0x7f) name[i] = '?';
        if (byte == 0xc2 && bytes[i + 1] < 0xa0) name[i] = name[i + 1] = '?', i++; /* C1 */
    }
    return name;
}

static const char *take_name(struct arena *arena, struct reader *r) {
    uint32_t length;
    if (reader_leb_u32(r, &length) != LEB_OK) return NULL;
    const uint8_t *bytes = reader_bytes(r, length);
    return bytes ? printable(arena, bytes, length) : NULL;
}

static void function_names(struct module *m, struct reader *r) {
    uint32_t count, index;
    if (reader_leb_u32(r, &count) != LEB_OK) return;
    while (count-- > 0 && reader_leb_u32(r, &index) == LEB_OK) {
        const char *name = take_name(&m->arena, r);
        if (r->failed) return;
        if (index < m->function_count && !m->functions[index].name)
            m->functions[index].name = name;
    }
}

void module_decode_names(struct module *module, const uint8_t *bytes, size_t size) {
    struct reader r = reader_over(bytes, size);
    while (reader_left(&r) > 0) {
        uint8_t id = reader_u8(&r);
        uint32_t length;
        if (reader_leb_u32(&r, &length) != LEB_OK) return;
        const uint8_t *content = reader_bytes(&r, length);
        if (!content) return;
        struct reader sub = reader_over(content, length);
        if (id == 0 && !module->name) module->name = take_name(&module->arena, &sub);
        if (id == 1) function_names(module, &sub);
    }
}
