/*
 * A code object's bytes to struct abi_object: the ELF frame and the compatibility record, every
 * field checked, so that what is mapped executable later is exactly .text (gABI 4, 5;
 * docs/object-format.md). Written without libelf: a tenant reads objects too.
 *
 * The order of the checks is the order of the messages a person wants: is it an object at all,
 * of a format we know, for this ABI and machine, and only then whether its structure holds.
 */
#include "loader/loader.h"
#include "loader/object.h"

#include <elf.h>

#define MAX_SECTIONS 64u
#define MAX_SEGMENTS 8u

struct section_header {
    uint32_t name_offset, type;
    uint64_t flags, address, offset, size;
    const char *name;
};
struct segment {
    uint32_t type, flags;
    uint64_t offset, address, file_size, memory_size;
};

/* The file being read. */
struct file {
    const uint8_t *bytes;
    uint64_t size;
    struct abi_object *object;
    struct error *err;
    uint64_t program_offset, section_offset;
    uint32_t segment_count, section_count, name_section;
    struct section_header sections[MAX_SECTIONS];
    uint64_t constants_size; /* of the r-- segment, which begins the file */
    const struct section_header *ours[ABI_SECTION_COUNT];
};

#define damaged(f, ...) error_set((f)->err, ST_DAMAGED, __VA_ARGS__)
#define llu(value) ((unsigned long long)(value))

static bool within(uint64_t offset, uint64_t size, uint64_t limit) {
    return offset <= limit && size <= limit - offset;
}

/* true where text ends within size and can be shown to anyone. */
static bool plain(const char *text, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        if (text[i] == 0) return true;
        if (text[i] < 0x20 || text[i] > 0x7e) return false;
    }
    return false;
}

/* ---- who may run this -------------------------------------------------------------------- */

static enum status check_header(struct file *f) {
    if (f->size < SELFMAG || memcmp(f->bytes, ELFMAG, SELFMAG) != 0)
        return damaged(f, "not a code object: wrong magic");
    if (f->size < OBJECT_COMPAT_OFFSET + OBJECT_COMPAT_SIZE)
        return damaged(f, "truncated code object: %llu bytes", llu(f->size));
    struct reader r = reader_over(f->bytes, sizeof(Elf64_Ehdr));
    const uint8_t *ident = reader_bytes(&r, EI_NIDENT);
    if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB ||
        ident[EI_VERSION] != EV_CURRENT)
        return damaged(f, "not a code object: not a 64-bit little-endian ELF file");
    if (memcmp(f->bytes + OBJECT_COMPAT_OFFSET, ABI_OBJECT_MAGIC, 8) != 0)
        return damaged(f, "not a code object: an ELF file of another kind (wrong magic)");
    uint16_t type = reader_u16(&r);
    uint16_t machine = reader_u16(&r);
    uint32_t version = reader_u32(&r);
    uint64_t entry = reader_u64(&r);
    f->program_offset = reader_u64(&r);
    f->section_offset = reader_u64(&r);
    uint32_t flags = reader_u32(&r);
    uint16_t header_size = reader_u16(&r);
    uint16_t segment_size = reader_u16(&r);
    f->segment_count = reader_u16(&r);
    uint16_t section_size = reader_u16(&r);
    f->section_count = reader_u16(&r);
    f->name_section = reader_u16(&r);
    (void)machine; /* compared with the record's in read_compat */
    if (type != ET_DYN || version != EV_CURRENT || entry != 0 || flags != 0 ||
        header_size != sizeof(Elf64_Ehdr))
        return damaged(f, "damaged ELF header");
    if (segment_size != sizeof(Elf64_Phdr) || f->segment_count > MAX_SEGMENTS ||
        section_size != sizeof(Elf64_Shdr) || f->section_count > MAX_SECTIONS ||
        f->name_section >= f->section_count)
        return damaged(f, "damaged ELF header: %u program headers, %u sections",
                       f->segment_count, f->section_count);
    if (!within(f->program_offset, f->segment_count * sizeof(Elf64_Phdr), f->size) ||
        !within(f->section_offset, f->section_count * sizeof(Elf64_Shdr), f->size))
        return damaged(f, "truncated code object: %llu bytes do not hold its headers",
                       llu(f->size));
    return ST_OK;
}

static enum status other_abi(struct file *f) {
    return error_set(f->err, ST_INCOMPATIBLE,
                     "compiled for ABI fingerprint %016llx, this program has %016llx: "
                     "compile the module again",
                     llu(f->object->compat.abi_fingerprint), llu(abi_fingerprint()));
}

static enum status read_compat(struct file *f, bool check_host) {
    struct abi_compat *c = &f->object->compat;
    struct reader r = reader_over(f->bytes + OBJECT_COMPAT_OFFSET, OBJECT_COMPAT_SIZE);
    reader_bytes(&r, 8);
    c->format_version = reader_u32(&r);
    if (c->format_version != ABI_OBJECT_VERSION)
        return error_set(f->err, ST_INCOMPATIBLE,
                         "object format version %u, this program reads version %u",
                         c->format_version, ABI_OBJECT_VERSION);
    c->arch = reader_u16(&r);
    c->placement = reader_u16(&r);
    c->abi_fingerprint = reader_u64(&r);
    c->cpu_features = reader_u64(&r);
    memcpy(c->module.bytes, reader_bytes(&r, 32), 32);
    memcpy(c->compiler.bytes, reader_bytes(&r, 32), 32);
    c->opt_level = reader_u32(&r);
    memcpy(c->target, reader_bytes(&r, sizeof c->target), sizeof c->target);
    uint32_t zero = reader_u32(&r);
    memcpy(c->content.bytes, f->bytes + OBJECT_COMPAT_OFFSET + OBJECT_COMPAT_DIGEST, 32);
    if (c->placement > ABI_RELOCATABLE || !plain(c->target, sizeof c->target) || zero != 0)
        return damaged(f, "damaged section %s", abi_section_name(ABI_SECTION_COMPAT));
    if (check_host) {
        uint16_t host = abi_host_arch();
        if (c->arch != host)
            return error_set(f->err, ST_INCOMPATIBLE,
                             "compiled for the architecture %s, this machine is %s",
                             abi_arch_name(c->arch), abi_arch_name(host));
        if (c->abi_fingerprint != abi_fingerprint()) return other_abi(f);
        uint64_t missing = c->cpu_features & ~abi_cpu_features();
        if (missing)
            return error_set(f->err, ST_INCOMPATIBLE,
                             "compiled for %s, but this processor has no %s", c->target,
                             abi_cpu_feature_name((unsigned)__builtin_ctzll(missing)));
    }
    struct reader elf = reader_over(f->bytes + offsetof(Elf64_Ehdr, e_machine), 2);
    if (reader_u16(&elf) != c->arch)
        return damaged(f, "damaged section %s: the ELF header names another architecture",
                       abi_section_name(ABI_SECTION_COMPAT));
    return ST_OK;
}

/* ---- the ELF frame ----------------------------------------------------------------------- */

static struct segment read_segment(struct reader *r) {
    struct segment s = {.type = reader_u32(r), .flags = reader_u32(r)};
    s.offset = reader_u64(r);
    s.address = reader_u64(r);
    reader_u64(r); /* physical address */
    s.file_size = reader_u64(r);
    s.memory_size = reader_u64(r);
    reader_u64(r); /* alignment: we map by pages, whatever it says */
    return s;
}

/* The two loaded segments: constants from the start of the file on, then code. */
static enum status read_segments(struct file *f) {
    struct abi_object *o = f->object;
    struct reader r =
        reader_over(f->bytes + f->program_offset, f->segment_count * sizeof(Elf64_Phdr));
    unsigned loads = 0;
    for (uint32_t i = 0; i < f->segment_count; i++) {
        struct segment s = read_segment(&r);
        if (s.flags & PF_W && s.type != PT_GNU_STACK)
            return damaged(f, "program header %u is writable", i);
        if (s.flags & PF_X && s.type != PT_LOAD)
            return damaged(f, "program header %u is executable", i);
        if (s.file_size != s.memory_size || !within(s.offset, s.file_size, f->size))
            return damaged(f, "truncated code object: program header %u lies outside the file",
                           i);
        switch (s.type) {
        case PT_NULL:
        case PT_GNU_STACK:
        case PT_GNU_EH_FRAME: continue;
        case PT_LOAD: break;
        default: return damaged(f, "program header %u has the unknown type %u", i, s.type);
        }
        if (s.address != ABI_CODE_BASE + s.offset)
            return damaged(f, "program header %u is not at its address", i);
        if (loads == 0 && s.flags == PF_R && s.offset == 0) {
            f->constants_size = s.file_size;
        } else if (loads == 1 && s.flags == (PF_R | PF_X) && s.file_size > 0 &&
                   s.offset % ABI_HOST_PAGE == 0 && s.file_size % ABI_HOST_PAGE == 0 &&
                   s.offset >= f->constants_size) {
            o->text_offset = s.offset;
            o->text_address = s.address;
            o->text_size = s.file_size;
        } else {
            return damaged(f, "program header %u is not one of a code object", i);
        }
        loads++;
    }
    if (loads != 2) return damaged(f, "%u loaded segments where there must be two", loads);
    o->rodata_address = ABI_CODE_BASE;
    o->rodata_size = f->constants_size;
    o->span = o->text_offset + o->text_size;
    /* Code offsets are u32, and a pinned object ends before the instance block. */
    uint64_t limit = o->compat.placement == ABI_PINNED ? ABI_INSTANCE_BASE - ABI_CODE_BASE
                                                       : UINT64_C(1) << 31;
    if (o->span > limit) return damaged(f, "the code is too large for the address map");
    return ST_OK;
}

static struct section_header read_section_header(struct reader *r) {
    struct section_header s = {.name_offset = reader_u32(r), .type = reader_u32(r)};
    s.flags = reader_u64(r);
    s.address = reader_u64(r);
    s.offset = reader_u64(r);
    s.size = reader_u64(r);
    reader_bytes(r, sizeof(Elf64_Shdr) - offsetof(Elf64_Shdr, sh_link));
    return s;
}

/* Sections by offset do not overlap. Insertion sort: there are at most 64. */
static enum status check_overlaps(struct file *f) {
    const struct section_header *order[MAX_SECTIONS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->section_count; i++) {
        if (f->sections[i].size == 0) continue;
        uint32_t at = count++;
        for (; at && order[at - 1]->offset > f->sections[i].offset; at--)
            order[at] = order[at - 1];
        order[at] = &f->sections[i];
    }
    uint64_t end = sizeof(Elf64_Ehdr);
    for (uint32_t i = 0; i < count; i++) {
        if (order[i]->offset < end)
            return damaged(f, "section %.40s overlaps what comes before it", order[i]->name);
        end = order[i]->offset + order[i]->size;
    }
    return ST_OK;
}

/* Section `s` is loaded: it must be where and what its flags say. */
static enum status check_loaded(struct file *f, const struct section_header *s) {
    bool text = strcmp(s->name, ".text") == 0;
    uint64_t flags = SHF_ALLOC | (text ? (uint64_t)SHF_EXECINSTR : 0);
    if (s->flags != flags) return damaged(f, "section %.40s has the wrong flags", s->name);
    if (s->address != ABI_CODE_BASE + s->offset)
        return damaged(f, "section %.40s is not at its address", s->name);
    bool inside = text ? s->offset == f->object->text_offset && s->size == f->object->text_size
                       : within(s->offset, s->size, f->constants_size);
    return inside ? ST_OK : damaged(f, "section %.40s lies outside its segment", s->name);
}

/* Remembers where unwind and line tables lie. */
static enum status note_section(struct file *f, const struct section_header *s) {
    struct abi_object *o = f->object;
    if (strncmp(s->name, ".eh_frame", 9) == 0 && !(s->flags & SHF_ALLOC))
        return damaged(f, "section %.40s has the wrong flags", s->name);
    if (strcmp(s->name, ".eh_frame") == 0) {
        o->eh_frame_offset = s->offset;
        o->eh_frame_size = s->size;
        o->eh_frame_address = s->address;
    } else if (strcmp(s->name, ".eh_frame_hdr") == 0) {
        o->eh_frame_hdr_offset = s->offset;
        o->eh_frame_hdr_size = s->size;
        o->eh_frame_hdr_address = s->address;
    } else if (strcmp(s->name, ".debug_line") == 0) {
        o->lines_offset = s->offset;
        o->lines_size = s->size;
    } else if (strcmp(s->name, ".debug_info") == 0) {
        o->info_offset = s->offset;
        o->info_size = s->size;
    } else if (strcmp(s->name, ".debug_abbrev") == 0) {
        o->abbrev_offset = s->offset;
        o->abbrev_size = s->size;
    } else if (strcmp(s->name, ".debug_ranges") == 0) {
        o->ranges_offset = s->offset;
        o->ranges_size = s->size;
    }
    return ST_OK;
}

/* The search table's header (LSB 5.0 core 10.6.2); its rows are checked when they are used. */
static enum status check_search_table(struct file *f) {
    const struct abi_object *o = f->object;
    if (o->eh_frame_hdr_size == 0) return ST_OK;
    struct reader r = reader_over(f->bytes + o->eh_frame_hdr_offset, o->eh_frame_hdr_size);
    uint32_t encodings = reader_u32(&r);
    uint32_t distance = reader_u32(&r);
    uint32_t count = reader_u32(&r);
    if (r.failed || encodings != UINT32_C(0x3b031b01) || o->eh_frame_size == 0 ||
        o->eh_frame_hdr_address + 4 + (uint64_t)(int64_t)(int32_t)distance !=
            o->eh_frame_address ||
        reader_left(&r) != (uint64_t)count * 8)
        return damaged(f, "damaged section .eh_frame_hdr");
    return ST_OK;
}

static enum status read_sections(struct file *f) {
    struct reader r =
        reader_over(f->bytes + f->section_offset, f->section_count * sizeof(Elf64_Shdr));
    for (uint32_t i = 0; i < f->section_count; i++) {
        f->sections[i] = read_section_header(&r);
        f->sections[i].name = "";
        if (!within(f->sections[i].offset, f->sections[i].size, f->size))
            return damaged(f, "truncated code object: section %u lies outside the file", i);
    }
    const struct section_header *names = &f->sections[f->name_section];
    const char *strings = (const char *)f->bytes + names->offset;
    bool has_text = false;
    for (uint32_t i = 0; i < f->section_count; i++) {
        struct section_header *s = &f->sections[i];
        if (i == 0) { /* the null section (gABI 4-14) */
            if (s->type != SHT_NULL || s->size) return damaged(f, "damaged section headers");
            continue;
        }
        if (s->name_offset >= names->size ||
            !plain(strings + s->name_offset, names->size - s->name_offset))
            return damaged(f, "section %u has a damaged name", i);
        s->name = strings + s->name_offset;
        if (s->type != SHT_PROGBITS && s->type != SHT_SYMTAB && s->type != SHT_STRTAB)
            return damaged(f, "section %.40s has the wrong type", s->name);
        if (s->flags & SHF_ALLOC) {
            enum status status = check_loaded(f, s);
            if (status != ST_OK) return status;
            has_text = has_text || strcmp(s->name, ".text") == 0;
        } else if (s->flags != 0 || s->address != 0) {
            return damaged(f, "section %.40s has the wrong flags", s->name);
        }
        enum status noted = note_section(f, s);
        if (noted != ST_OK) return noted;
        for (uint32_t k = 0; k < ABI_SECTION_COUNT; k++) {
            if (strcmp(s->name, abi_section_name(k)) != 0) continue;
            if (f->ours[k]) return damaged(f, "there are two sections %s", s->name);
            f->ours[k] = s;
        }
    }
    if (!has_text) return damaged(f, "there is no section .text");
    enum status status = check_overlaps(f);
    return status == ST_OK ? check_search_table(f) : status;
}

/* What sections.def says of each of ours. */
static enum status check_ours(struct file *f, struct object_section *ret_sections) {
    static const char *const flags[] = {
#define SECTION(name, elf_name, flags) flags,
#include "abi/sections.def"
    };
    for (uint32_t i = 0; i < ABI_SECTION_COUNT; i++) {
        const struct section_header *s = f->ours[i];
        const char *name = abi_section_name(i);
        if (!s) {
            /* nothing in memory, no counters */
            if (i == ABI_SECTION_IMAGE || i == ABI_SECTION_PROFILE) continue;
            return damaged(f, "there is no section %s", name);
        }
        bool loaded = strchr(flags[i], 'A') != NULL;
        if (((s->flags & SHF_ALLOC) != 0) != loaded)
            return damaged(f, "section %s has the wrong flags", name);
        if (strchr(flags[i], 'P') && (s->offset % ABI_HOST_PAGE || s->size % ABI_HOST_PAGE))
            return damaged(f, "section %s is not made of pages", name);
        ret_sections[i] = (struct object_section){
            .bytes = f->bytes + s->offset, .offset = s->offset, .size = s->size};
    }
    const struct object_section *compat = &ret_sections[ABI_SECTION_COMPAT];
    if (compat->offset != OBJECT_COMPAT_OFFSET || compat->size != OBJECT_COMPAT_SIZE)
        return damaged(f, "section %s is not in its place",
                       abi_section_name(ABI_SECTION_COMPAT));
    f->object->image_offset = ret_sections[ABI_SECTION_IMAGE].offset;
    f->object->names_offset = ret_sections[ABI_SECTION_NAMES].offset;
    f->object->names_size = ret_sections[ABI_SECTION_NAMES].size;
    f->object->profile_offset = ret_sections[ABI_SECTION_PROFILE].offset;
    f->object->profile_size = ret_sections[ABI_SECTION_PROFILE].size;
    return ST_OK;
}

enum status object_read_parts(const uint8_t *bytes, uint64_t size_bytes, bool check_host,
                              bool brief, struct arena *arena, struct abi_object *ret_object,
                              struct error *err) {
    struct abi_object object = {0};
    struct file f = {.bytes = bytes, .size = size_bytes, .object = &object, .err = err};
    struct object_section sections[ABI_SECTION_COUNT] = {0};
    enum status status = check_header(&f);
    if (status == ST_OK) status = read_compat(&f, check_host);
    if (status == ST_OK) status = read_segments(&f);
    if (status == ST_OK) status = read_sections(&f);
    if (status == ST_OK) status = check_ours(&f, sections);
    if (status == ST_OK) status = object_decode(sections, brief, arena, &object, err);
    if (status == ST_OK) *ret_object = object;
    /* Another build may lay out its sections otherwise: that is no damage. */
    if (status == ST_DAMAGED && object.compat.abi_fingerprint &&
        object.compat.abi_fingerprint != abi_fingerprint())
        return other_abi(&f);
    return status;
}

enum status object_read(const uint8_t *bytes, uint64_t size_bytes, bool check_host,
                        struct arena *arena, struct abi_object *ret_object, struct error *err) {
    return object_read_parts(bytes, size_bytes, check_host, false, arena, ret_object, err);
}

enum status object_sections(const uint8_t *bytes, uint64_t size_bytes,
                            object_section_visitor visit, void *context, struct error *err) {
    struct abi_object object = {0};
    struct file f = {.bytes = bytes, .size = size_bytes, .object = &object, .err = err};
    enum status status = check_header(&f);
    if (status == ST_OK) status = read_compat(&f, false);
    if (status == ST_OK) status = read_segments(&f);
    if (status == ST_OK) status = read_sections(&f);
    for (uint32_t i = 1; status == ST_OK && i < f.section_count; i++)
        visit(context, f.sections[i].name, f.sections[i].offset, f.sections[i].size,
              (f.sections[i].flags & SHF_ALLOC) != 0);
    return status;
}
