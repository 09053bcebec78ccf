/*
 * Names for people: .hutch.names, from which a trap's backtrace is printed, and .symtab, from
 * which perf, gdb and objdump print theirs. Names come from the module's name section and are
 * hostile: object_symbols keeps them apart, and the decoder has refused control bytes.
 */
#include "compiler/link.h"

#include <elf.h>

void object_names(const struct module *module, struct buffer *b) {
    bool any = false;
    for (uint32_t i = 0; i < module->function_count; i++)
        any = any || module->functions[i].name;
    buffer_put_u32(b, any ? module->function_count : 0);
    if (!any) return;
    uint64_t total = 0;
    for (uint32_t i = 0; i < module->function_count; i++) {
        buffer_put_u32(b, (uint32_t)total);
        if (module->functions[i].name) total += strlen(module->functions[i].name);
    }
    buffer_put_u32(b, (uint32_t)total);
    if (total > UINT32_MAX) b->failed = true; /* a module is at most 1 GiB */
    for (uint32_t i = 0; i < module->function_count; i++)
        if (module->functions[i].name)
            buffer_put(b, module->functions[i].name, strlen(module->functions[i].name));
}

/* A set of offsets into the string table, by the string there. */
struct name_set {
    uint32_t *slots; /* 0 is free: no symbol has the empty name at offset 0 */
    uint32_t mask;
};

struct symbol_writer {
    struct linker *l;
    struct buffer *symbols, *strings;
    struct name_set set;
    uint16_t text_index; /* of .text among the sections */
};

/*
 * Adds the string at this offset (terminated): false where an equal one is there, or where so
 * many hash alike that someone must have made them so: those count as equal, or a module's
 * names could make this take forever.
 */
#define MAX_PROBES 64u
static bool set_add(struct symbol_writer *w, uint32_t offset) {
    const char *name = (const char *)w->strings->bytes + offset;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = name; *c; c++) hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    uint32_t at = (uint32_t)(hash ^ (hash >> 32)) & w->set.mask;
    for (unsigned probes = 0; w->set.slots[at]; at = (at + 1) & w->set.mask) {
        if (strcmp((const char *)w->strings->bytes + w->set.slots[at], name) == 0) return false;
        if (++probes == MAX_PROBES) return false;
    }
    w->set.slots[at] = offset;
    return true;
}

/* Writes a symbol whose name is what was appended to the strings from `name` on. */
static void put_symbol(struct symbol_writer *w, size_t name, const struct link_symbol *symbol) {
    struct buffer *b = w->symbols;
    buffer_put_u32(b, (uint32_t)name);
    buffer_put_u8(b, ELF64_ST_INFO(STB_LOCAL, STT_FUNC));
    buffer_put_u8(b, STV_DEFAULT);
    buffer_put_u16(b, w->text_index);
    buffer_put_u64(b, w->l->out[OUT_TEXT].address + symbol->offset);
    buffer_put_u64(b, symbol->size);
}

/* Bytes as text: what would disturb a terminal or end the string becomes '?'. */
static void put_text(struct buffer *b, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++)
        buffer_put_u8(b, p[i] < 0x20 || p[i] == 0x7f ? '?' : p[i]);
}

static void put_functions(struct symbol_writer *w) {
    const struct module *m = w->l->input->module;
    for (uint32_t i = m->imported_functions; i < m->function_count && !w->strings->failed;
         i++) {
        size_t name = w->strings->size;
        const char *given = m->functions[i].name;
        if (given && *given) {
            buffer_put(w->strings, given, strlen(given) + 1);
            if (!w->strings->failed && !set_add(w, (uint32_t)name)) {
                w->strings->size--;
                buffer_printf(w->strings, "[%u]", i);
                buffer_put_u8(w->strings, 0);
            }
        } else {
            buffer_printf(w->strings, "wasm-function[%u]", i);
            buffer_put_u8(w->strings, 0);
        }
        put_symbol(w, name, w->l->functions[i]);
    }
}

static void put_thunks(struct symbol_writer *w) {
    const struct linker *l = w->l;
    const struct module *m = l->input->module;
    for (uint32_t i = 0; i < m->import_count; i++) {
        const struct module_import *import = &m->imports[i];
        if (import->kind != ABI_EXTERN_FUNC) continue;
        size_t name = w->strings->size;
        buffer_put(w->strings, "import.", 7);
        put_text(w->strings, import->module, import->module_length);
        buffer_put_u8(w->strings, '.');
        put_text(w->strings, import->name, import->name_length);
        buffer_put_u8(w->strings, 0);
        put_symbol(w, name, l->functions[import->index]);
    }
    for (uint32_t i = 0; i < m->type_count; i++) {
        if (!l->entries[i]) continue;
        size_t name = w->strings->size;
        buffer_printf(w->strings, "entry[%u]", i);
        buffer_put_u8(w->strings, 0);
        put_symbol(w, name, l->entries[i]);
    }
    static const char *const traps[] = {
#define TRAP(name, message) "trap." #name,
#include "abi/traps.def"
    };
    for (uint32_t i = 0; i < TRAP_COUNT; i++) {
        if (!l->traps[i]) continue;
        size_t name = w->strings->size;
        buffer_put(w->strings, traps[i], strlen(traps[i]) + 1);
        put_symbol(w, name, l->traps[i]);
    }
    static const char *const routines[] = {"memcpy", "memmove", "memset", "memcmp"};
    for (uint32_t i = 0; i < countof(routines); i++) {
        const struct link_symbol *symbol = link_find(l, routines[i]);
        if (!symbol || symbol->out != OUT_TEXT) continue;
        size_t name = w->strings->size;
        buffer_put(w->strings, routines[i], strlen(routines[i]) + 1);
        put_symbol(w, name, symbol);
    }
}

enum status object_symbols(struct linker *l) {
    const struct module *m = l->input->module;
    struct out_section *symbols = &l->out[OUT_SYMTAB], *strings = &l->out[OUT_STRTAB];
    *symbols = (struct out_section){
        .name = ".symtab", .type = SHT_SYMTAB, .align = 8, .entry_size = sizeof(Elf64_Sym)};
    *strings = (struct out_section){.name = ".strtab", .type = SHT_STRTAB, .align = 1};
    struct symbol_writer w = {.l = l, .symbols = &symbols->bytes, .strings = &strings->bytes};
    w.text_index = (uint16_t)object_section_index(l, OUT_TEXT);
    uint32_t slots = 16;
    while (slots < 2 * (uint64_t)m->function_count) slots *= 2;
    w.set.mask = slots - 1;
    w.set.slots = arena_array(&l->arena, slots, sizeof *w.set.slots);
    if (!w.set.slots) return error_set(l->err, ST_NO_MEMORY, "out of memory");

    buffer_put_zero(w.symbols, sizeof(Elf64_Sym));
    buffer_put_u8(w.strings, 0);
    put_functions(&w);
    put_thunks(&w);
    if (w.strings->size > UINT32_MAX)
        return error_set(l->err, ST_LIMIT, "the names of functions take more than 4 GiB");
    symbols->info = (uint32_t)(w.symbols->size / sizeof(Elf64_Sym)); /* all are local */
    enum status status = buffer_status(w.symbols, l->err);
    return status == ST_OK ? buffer_status(w.strings, l->err) : status;
}
