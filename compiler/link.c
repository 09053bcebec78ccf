/*
 * Relocatable objects of the partitions to the sections of one code object: which input
 * sections are kept and where they go, which symbol is where, and then every relocation
 * applied, so that nothing is left for a dynamic linker (gABI 4-20). Inputs come from LLVM in
 * this process; they are read through libelf with every index checked all the same, since a
 * wrong one would end as executable code.
 *
 * Left to others: what a relocation does to its bytes (relocate_ARCH.c), unwind tables
 * (eh_frame.c), metadata (object_encode.c) and the file (object_write.c).
 */
#include "compiler/link.h"

#include <elf.h>
#include <libelf.h>

/* Offsets in .text are u32, and code reaches constants by signed 32 bits. */
#define MAX_SECTION_BYTES (UINT64_C(1) << 30)

struct in_object {
    Elf *elf;
    uint32_t partition;
    size_t section_count, names; /* names: index of the section names' section */
    struct in_section *sections;
    const Elf64_Sym *symbols;
    size_t symbol_count, symbol_names;
    const Elf32_Word *wide_indices; /* SHT_SYMTAB_SHNDX, or NULL */
    size_t wide_count;
};

static enum status elf_failed(struct linker *l, uint32_t partition, const char *what) {
    const char *why = elf_errmsg(-1);
    return error_set(l->err, ST_INTERNAL, "partition %u: %s: %s", partition, what,
                     why ? why : "malformed");
}

static const char *section_name(const struct in_object *o, const Elf64_Shdr *header) {
    const char *name = elf_strptr(o->elf, o->names, header->sh_name);
    return name ? name : "";
}

static bool starts_with(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* ".text" or ".text.something", but not ".textual". */
static bool is_or_under(const char *name, const char *stem) {
    size_t length = strlen(stem);
    return strncmp(name, stem, length) == 0 && (name[length] == 0 || name[length] == '.');
}

/* The output section for debug information of this name. */
static enum status debug_section(struct linker *l, const char *name, uint32_t *ret_out) {
    for (uint32_t i = 0; i < l->debug_count; i++)
        if (strcmp(l->out[OUT_DEBUG + i].name, name) == 0) {
            *ret_out = OUT_DEBUG + i;
            return ST_OK;
        }
    if (l->debug_count == OUT_DEBUG_MAX)
        return error_set(l->err, ST_INTERNAL, "too many kinds of debug section: %s", name);
    char *copy = arena_string(&l->arena, name, strlen(name));
    if (!copy) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    *ret_out = OUT_DEBUG + l->debug_count++;
    l->out[*ret_out] = (struct out_section){.name = copy, .type = SHT_PROGBITS, .align = 1};
    return ST_OK;
}

/*
 * LLVM wants a routine that reads a function's table of handlers, and unwind tables to point at
 * it through a word of data. The runtime reads all of them, so there is neither: the field
 * stays null.
 */
#define PERSONALITY_WORD "DW.ref." LOWER_PERSONALITY
static bool is_personality_section(const char *name) {
    size_t length = strlen(name), tail = strlen(PERSONALITY_WORD);
    return starts_with(name, ".data") && length > tail &&
           strcmp(name + length - tail, PERSONALITY_WORD) == 0;
}

/* Which output section an input section goes to: OUT_NONE drops it. */
static enum status classify(struct linker *l, const struct in_object *o,
                            const Elf64_Shdr *header, uint32_t *ret_out) {
    const char *name = section_name(o, header);
    *ret_out = OUT_NONE;
    if (header->sh_size == 0) return ST_OK;
    if (!(header->sh_flags & SHF_ALLOC)) {
        if (header->sh_type != SHT_PROGBITS || !starts_with(name, ".debug_")) return ST_OK;
        if (header->sh_flags & SHF_COMPRESSED)
            return error_set(l->err, ST_INTERNAL, "partition %u: section %s is compressed",
                             o->partition, name);
        return debug_section(l, name, ret_out);
    }
    if (header->sh_type == SHT_NOTE || is_personality_section(name)) return ST_OK;
    bool constant =
        !(header->sh_flags & (SHF_WRITE | SHF_TLS)) && header->sh_type != SHT_NOBITS;
    bool code = header->sh_flags & SHF_EXECINSTR;
    if (constant && code && is_or_under(name, ".text"))
        *ret_out = OUT_TEXT;
    else if (constant && !code &&
             (is_or_under(name, ".rodata") || is_or_under(name, ".gcc_except_table")))
        *ret_out = OUT_RODATA;
    else if (constant && !code && strcmp(name, ".eh_frame") == 0)
        *ret_out = OUT_EH_FRAME;
    else
        return error_set(l->err, ST_INTERNAL,
                         "partition %u: section %s (%llu bytes) has no place in a code object",
                         o->partition, name, (unsigned long long)header->sh_size);
    return ST_OK;
}

/* Appends the section's contents to its output section. */
static enum status place_section(struct linker *l, struct in_object *o, size_t index,
                                 Elf_Scn *scn, const Elf64_Shdr *header) {
    struct in_section *in = &o->sections[index];
    enum status status = classify(l, o, header, &in->out);
    if (status != ST_OK || in->out == OUT_NONE) return status;
    struct out_section *out = &l->out[in->out];
    uint64_t align = header->sh_addralign ? header->sh_addralign : 1;
    Elf_Data *data = elf_rawdata(scn, NULL);
    if (!data || data->d_size != header->sh_size || (align & (align - 1)) != 0 ||
        align > ABI_HOST_PAGE)
        return elf_failed(l, o->partition, section_name(o, header));
    if (header->sh_size > MAX_SECTION_BYTES || out->bytes.size > MAX_SECTION_BYTES)
        return error_set(l->err, ST_LIMIT, "the module compiles to more than 1 GiB of %s",
                         out->name);
    if (align > out->align) out->align = align;
    if (in->out == OUT_TEXT) /* between functions nothing may be run: int3 */
        while (out->bytes.size & (align - 1)) buffer_put_u8(&out->bytes, 0xcc);
    buffer_align(&out->bytes, align);
    in->offset = out->bytes.size;
    buffer_put(&out->bytes, data->d_buf, data->d_size);
    return buffer_status(&out->bytes, l->err);
}

static enum status load_object(struct linker *l, const struct link_object *bytes,
                               struct in_object *o) {
    /* elf_memory takes a char *, but a handle opened for reading writes nothing. */
    o->elf = elf_memory((char *)(uintptr_t)bytes->bytes, bytes->size);
    if (!o->elf) return elf_failed(l, o->partition, "not an ELF object");
    const Elf64_Ehdr *header = elf64_getehdr(o->elf);
    if (!header || header->e_type != ET_REL || header->e_machine != relocate_machine ||
        elf_getshdrnum(o->elf, &o->section_count) != 0 ||
        elf_getshdrstrndx(o->elf, &o->names) != 0)
        return elf_failed(l, o->partition, "not a relocatable object of this architecture");
    o->sections = arena_array(&l->arena, o->section_count, sizeof *o->sections);
    if (!o->sections) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < o->section_count; i++) o->sections[i].out = OUT_NONE;
    for (size_t i = 1; i < o->section_count; i++) {
        Elf_Scn *scn = elf_getscn(o->elf, i);
        const Elf64_Shdr *section = scn ? elf64_getshdr(scn) : NULL;
        if (!section) return elf_failed(l, o->partition, "a section header");
        if (section->sh_type == SHT_SYMTAB) {
            Elf_Data *data = elf_getdata(scn, NULL);
            if (!data || o->symbols) return elf_failed(l, o->partition, "the symbol table");
            o->symbols = data->d_buf;
            o->symbol_count = data->d_size / sizeof(Elf64_Sym);
            o->symbol_names = section->sh_link;
        } else if (section->sh_type == SHT_SYMTAB_SHNDX) {
            Elf_Data *data = elf_getdata(scn, NULL);
            if (!data) return elf_failed(l, o->partition, "the section index table");
            o->wide_indices = data->d_buf;
            o->wide_count = data->d_size / sizeof(Elf32_Word);
        }
    }
    if (!o->symbols) return elf_failed(l, o->partition, "no symbol table");
    return ST_OK;
}

/*
 * What a profile says is hot lies together, whatever partition it is of, and what is cold is
 * out of the way: fewer pages and cache lines hold what runs. Everything else keeps its order.
 */
enum heat {
    HEAT_HOT,
    HEAT_NONE,
    HEAT_COLD
};

static enum heat heat_of(const char *section) {
    if (is_or_under(section, ".text.hot")) return HEAT_HOT;
    if (is_or_under(section, ".text.unlikely")) return HEAT_COLD;
    return HEAT_NONE;
}

static enum status place_object(struct linker *l, struct in_object *o, enum heat heat) {
    for (size_t i = 1; i < o->section_count; i++) {
        Elf_Scn *scn = elf_getscn(o->elf, i);
        const Elf64_Shdr *header = elf64_getshdr(scn);
        if (!header) return elf_failed(l, o->partition, "a section header");
        if (header->sh_type == SHT_SYMTAB || header->sh_type == SHT_SYMTAB_SHNDX ||
            heat_of(section_name(o, header)) != heat)
            continue;
        enum status status = place_section(l, o, i, scn, header);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

/* ---- symbols ----------------------------------------------------------------------------- */

static const char *symbol_name(const struct in_object *o, const Elf64_Sym *symbol) {
    const char *name = elf_strptr(o->elf, o->symbol_names, symbol->st_name);
    return name ? name : "";
}

/* The section a symbol is defined in: 0 where it is in none. */
static size_t symbol_section(const struct in_object *o, size_t index) {
    uint16_t section = o->symbols[index].st_shndx;
    if (section == SHN_XINDEX) {
        if (index >= o->wide_count || o->wide_indices[index] >= o->section_count) return 0;
        return o->wide_indices[index];
    }
    return section < SHN_LORESERVE && section < o->section_count ? section : 0;
}

static uint64_t name_hash(const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash ^ (hash >> 32);
}

/* The slot where this name is or would be. There is always a free one. */
static struct link_symbol *global_slot(const struct linker *l, const char *name) {
    uint64_t mask = l->global_capacity - 1;
    uint64_t at = name_hash(name) & mask;
    while (l->globals[at].name && strcmp(l->globals[at].name, name) != 0) at = (at + 1) & mask;
    return &l->globals[at];
}

const struct link_symbol *link_find(const struct linker *l, const char *name) {
    const struct link_symbol *symbol = global_slot(l, name);
    return symbol->name ? symbol : NULL;
}

static enum status define_globals(struct linker *l) {
    size_t total = 0;
    for (uint32_t i = 0; i < l->input->object_count; i++) total += l->objects[i].symbol_count;
    if (total > UINT32_C(1) << 28)
        return error_set(l->err, ST_LIMIT, "the module compiles to too many symbols");
    l->global_capacity = 16;
    while (l->global_capacity < 2 * total) l->global_capacity *= 2;
    l->globals = arena_array(&l->arena, l->global_capacity, sizeof *l->globals);
    if (!l->globals) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < l->input->object_count; i++) {
        const struct in_object *o = &l->objects[i];
        for (size_t s = 1; s < o->symbol_count; s++) {
            const Elf64_Sym *symbol = &o->symbols[s];
            if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL || symbol->st_shndx == SHN_UNDEF)
                continue;
            const char *name = symbol_name(o, symbol);
            if (strcmp(name, PERSONALITY_WORD) == 0) continue;
            size_t section = symbol_section(o, s);
            const struct in_section *in = &o->sections[section];
            if (section == 0 || in->out == OUT_NONE)
                return error_set(l->err, ST_INTERNAL,
                                 "partition %u: symbol %s is not code or constant data",
                                 o->partition, name);
            struct link_symbol *slot = global_slot(l, name);
            if (slot->name)
                return error_set(l->err, ST_INTERNAL,
                                 "symbol %s is defined in partitions %u and %u", name,
                                 slot->partition, o->partition);
            *slot = (struct link_symbol){
                .name = name,
                .out = in->out,
                .partition = o->partition,
                .offset = in->offset + symbol->st_value,
                .size = symbol->st_size,
                .function = ELF64_ST_TYPE(symbol->st_info) == STT_FUNC,
            };
            uint64_t end;
            if (add_overflows(slot->offset, slot->size, &end) ||
                end > l->out[in->out].bytes.size)
                return error_set(l->err, ST_INTERNAL,
                                 "partition %u: symbol %s lies outside its section",
                                 o->partition, name);
        }
    }
    return ST_OK;
}

/* Finds f<N>, import<N>, entry<T> and trap<K>. */
static enum status find_functions(struct linker *l) {
    const struct module *m = l->input->module;
    l->functions = arena_array(&l->arena, m->function_count, sizeof *l->functions);
    l->entries = arena_array(&l->arena, m->type_count, sizeof *l->entries);
    if (!l->functions || !l->entries) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    char name[32];
    for (uint32_t i = 0; i < m->function_count; i++) {
        snprintf(name, sizeof name, "%s%u", i < m->imported_functions ? "import" : "f", i);
        l->functions[i] = link_find(l, name);
        if (!l->functions[i] || l->functions[i]->out != OUT_TEXT)
            return error_set(l->err, ST_INTERNAL, "no partition defines %s", name);
        /* Every function can be called from outside, through the entry thunk of its type. */
        uint32_t type = m->types[m->functions[i].type].canonical;
        if (!l->entries[type]) {
            snprintf(name, sizeof name, "entry%u", type);
            l->entries[type] = link_find(l, name);
            if (!l->entries[type] || l->entries[type]->out != OUT_TEXT)
                return error_set(l->err, ST_INTERNAL, "no partition defines %s", name);
        }
    }
    for (uint32_t i = 0; i < TRAP_COUNT; i++) {
        snprintf(name, sizeof name, "trap%u", i);
        l->traps[i] = link_find(l, name);
        if (l->traps[i] && l->traps[i]->out != OUT_TEXT)
            return error_set(l->err, ST_INTERNAL, "%s is not code", name);
    }
    return ST_OK;
}

/* ---- relocations ------------------------------------------------------------------------- */

/* Address of a symbol of an object (its offset in the section, where that is not loaded). */
static enum status symbol_address(struct linker *l, const struct in_object *o, size_t index,
                                  const char *used_in, const char **ret_name,
                                  uint64_t *ret_address) {
    if (index == 0 || index >= o->symbol_count)
        return error_set(l->err, ST_INTERNAL, "partition %u: %s: relocation without a symbol",
                         o->partition, used_in);
    const Elf64_Sym *symbol = &o->symbols[index];
    const char *name = symbol_name(o, symbol);
    uint32_t out;
    uint64_t offset;
    if (symbol->st_shndx == SHN_UNDEF) {
        const struct link_symbol *global = link_find(l, name);
        if (!global)
            return error_set(l->err, ST_INTERNAL, "partition %u: %s: undefined symbol %s",
                             o->partition, used_in, name);
        out = global->out;
        offset = global->offset;
    } else {
        const struct in_section *in = &o->sections[symbol_section(o, index)];
        out = in->out;
        offset = in->offset + symbol->st_value;
    }
    if (out == OUT_NONE)
        return error_set(l->err, ST_INTERNAL,
                         "partition %u: %s: symbol %s is not code or constant data",
                         o->partition, used_in, name);
    if (*name == 0) name = l->out[out].name; /* a section symbol */
    *ret_name = name;
    *ret_address = l->out[out].address + offset;
    return ST_OK;
}

/* Through the word of data in code that is mapped anywhere, else the routine itself. */
static bool is_personality(const struct in_object *o, size_t index) {
    if (index >= o->symbol_count) return false;
    const char *name = symbol_name(o, &o->symbols[index]);
    return strcmp(name, PERSONALITY_WORD) == 0 || strcmp(name, LOWER_PERSONALITY) == 0;
}

static enum status relocate_section(struct linker *l, const struct in_object *o,
                                    const Elf64_Shdr *header, Elf_Scn *scn) {
    if (header->sh_info >= o->section_count) return elf_failed(l, o->partition, "relocations");
    const struct in_section *in = &o->sections[header->sh_info];
    if (in->out == OUT_NONE) return ST_OK;
    const Elf64_Shdr *target = elf64_getshdr(elf_getscn(o->elf, header->sh_info));
    Elf_Data *data = elf_getdata(scn, NULL);
    if (!target || !data || data->d_type != ELF_T_RELA)
        return elf_failed(l, o->partition, "relocations");
    struct out_section *out = &l->out[in->out];
    const Elf64_Rela *all = data->d_buf;
    for (size_t i = 0; i < data->d_size / sizeof *all; i++) {
        uint64_t type = ELF64_R_TYPE(all[i].r_info);
        if (type == 0) continue; /* R_*_NONE */
        if (in->out == OUT_EH_FRAME && is_personality(o, ELF64_R_SYM(all[i].r_info))) continue;
        struct relocation r = {
            .type = (uint32_t)type,
            .section = section_name(o, target),
            .movable = out->loaded && l->input->options->placement == ABI_RELOCATABLE,
            .bytes = out->bytes.bytes + in->offset,
            .size = target->sh_size,
            .at = all[i].r_offset,
            .place = out->address + in->offset + all[i].r_offset,
            .addend = all[i].r_addend,
        };
        enum status status =
            symbol_address(l, o, ELF64_R_SYM(all[i].r_info), r.section, &r.symbol, &r.value);
        if (status == ST_OK) {
            status = relocate(&r, l->err);
            if (status != ST_OK) error_wrap(l->err, "partition %u", o->partition);
        }
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static enum status relocate_all(struct linker *l) {
    for (uint32_t p = 0; p < l->input->object_count; p++) {
        const struct in_object *o = &l->objects[p];
        for (size_t i = 1; i < o->section_count; i++) {
            Elf_Scn *scn = elf_getscn(o->elf, i);
            const Elf64_Shdr *header = elf64_getshdr(scn);
            if (!header) return elf_failed(l, p, "a section header");
            if (header->sh_type != SHT_RELA && header->sh_type != SHT_REL) continue;
            enum status status = relocate_section(l, o, header, scn);
            if (status != ST_OK) return status;
        }
    }
    return ST_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

static enum status load_objects(struct linker *l) {
    l->objects = arena_array(&l->arena, l->input->object_count, sizeof *l->objects);
    if (!l->objects) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < l->input->object_count; i++) {
        l->objects[i].partition = i;
        enum status status = load_object(l, &l->input->objects[i], &l->objects[i]);
        if (status != ST_OK) return status;
    }
    for (enum heat heat = HEAT_HOT; heat <= HEAT_COLD; heat++)
        for (uint32_t i = 0; i < l->input->object_count; i++) {
            enum status status = place_object(l, &l->objects[i], heat);
            if (status != ST_OK) return status;
        }
    /* Nothing but code on an executable page. */
    struct buffer *text = &l->out[OUT_TEXT].bytes;
    while (text->size == 0 || text->size % ABI_HOST_PAGE != 0) {
        buffer_put_u8(text, 0xcc);
        if (text->failed) break;
    }
    return buffer_status(text, l->err);
}

static enum status link_steps(struct linker *l, struct buffer *ret_object) {
    enum status status = load_objects(l);
    if (status == ST_OK) status = define_globals(l);
    if (status == ST_OK) status = find_functions(l);
    if (status == ST_OK) status = eh_frame_close(l);
    if (status == ST_OK) status = object_encode(l);
    if (status == ST_OK) status = object_layout(l);
    if (status == ST_OK) status = relocate_all(l);
    if (status == ST_OK) status = eh_frame_search_table(l);
    if (status == ST_OK) status = object_symbols(l);
    if (status == ST_OK) status = object_write(l, ret_object);
    return status;
}

enum status link_objects(const struct link_input *input, struct buffer *ret_object,
                         struct error *err) {
    if (elf_version(EV_CURRENT) == EV_NONE)
        return error_set(err, ST_INTERNAL, "libelf is of another version");
    struct linker l = {.input = input, .err = err};
    const uint64_t code = SHF_ALLOC | SHF_EXECINSTR;
    l.out[OUT_TEXT] = (struct out_section){.name = ".text", .flags = code};
    l.out[OUT_TEXT].align = ABI_HOST_PAGE;
    l.out[OUT_RODATA] = (struct out_section){.name = ".rodata", .flags = SHF_ALLOC};
    l.out[OUT_EH_FRAME] = (struct out_section){.name = ".eh_frame", .flags = SHF_ALLOC};
    l.out[OUT_EH_FRAME_HDR] = (struct out_section){.name = ".eh_frame_hdr", .flags = SHF_ALLOC};
    for (uint32_t i = OUT_RODATA; i <= OUT_TEXT; i++) {
        l.out[i].type = SHT_PROGBITS;
        l.out[i].loaded = true;
        if (!l.out[i].align) l.out[i].align = 8;
    }
    enum status status = link_steps(&l, ret_object);
    for (uint32_t i = 0; l.objects && i < input->object_count; i++)
        elf_end(l.objects[i].elf); /* NULL is fine */
    for (uint32_t i = 0; i < OUT_COUNT; i++) buffer_finish(&l.out[i].bytes);
    arena_finish(&l.arena);
    return status;
}
