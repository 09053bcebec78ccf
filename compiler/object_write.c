/*
 * Linked sections to the bytes of an ELF file: where each lies, program headers, section
 * headers, and the digest of it all. docs/object-format.md has the picture.
 *
 * A loaded byte's address is ABI_CODE_BASE plus its offset in the file, so that one number
 * relates file, process and debugger. libelf writes to descriptors only: the file is made in a
 * memfd and read back.
 */
#include "compiler/link.h"

#include <elf.h>
#include <libelf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* A pinned object ends before the instance block; any object stays in reach of rip. */
#define SPAN_PINNED (ABI_INSTANCE_BASE - ABI_CODE_BASE)
#define SPAN_RELOCATABLE (UINT64_C(1) << 31)

enum {
    HEADER_COUNT = 4
};
_Static_assert(sizeof(Elf64_Ehdr) + HEADER_COUNT * sizeof(Elf64_Phdr) <= OBJECT_COMPAT_OFFSET,
               "headers come before the compatibility record");

/* Sections that made it into the file; the metadata is there even where it is empty. */
static bool present(const struct linker *l, uint32_t out) {
    return l->out[out].name &&
           (l->out[out].bytes.size > 0 || out == OUT_SYMTAB || out == OUT_STRTAB);
}

uint32_t object_section_index(const struct linker *l, uint32_t out) {
    uint32_t index = 1;
    for (uint32_t i = 0; i < out; i++) index += present(l, i);
    return index;
}

static void place(struct out_section *section, uint64_t *at) {
    section->offset = align_up(*at, section->align);
    *at = section->offset + section->bytes.size;
}

enum status object_layout(struct linker *l) {
    uint64_t at = OBJECT_COMPAT_OFFSET;
    for (uint32_t i = 0; i <= OUT_TEXT; i++) {
        if (!present(l, i)) continue;
        place(&l->out[i], &at);
        l->out[i].address = ABI_CODE_BASE + l->out[i].offset;
    }
    CHECK(l->out[OUT_METADATA + (uint32_t)ABI_SECTION_COMPAT].offset == OBJECT_COMPAT_OFFSET);
    bool pinned = l->input->options->placement == ABI_PINNED;
    uint64_t limit = pinned ? SPAN_PINNED : SPAN_RELOCATABLE;
    if (at > limit)
        return error_set(l->err, ST_LIMIT,
                         "the module compiles to %llu bytes of code and constants, more than "
                         "the %llu that fit",
                         (unsigned long long)at, (unsigned long long)limit);
    return ST_OK;
}

/* Section names, then places for all that is not loaded. Returns the size of the file so far.
 */
static uint64_t layout_rest(struct linker *l, uint32_t *name_offsets) {
    struct out_section *names = &l->out[OUT_SHSTRTAB];
    *names = (struct out_section){.name = ".shstrtab", .type = SHT_STRTAB, .align = 1};
    buffer_put_u8(&names->bytes, 0);
    for (uint32_t i = 0; i < OUT_COUNT; i++) {
        if (!present(l, i) && i != OUT_SHSTRTAB) continue;
        name_offsets[i] = (uint32_t)names->bytes.size;
        buffer_put(&names->bytes, l->out[i].name, strlen(l->out[i].name) + 1);
    }
    l->out[OUT_SYMTAB].link = object_section_index(l, OUT_STRTAB);
    uint64_t at = l->out[OUT_TEXT].offset + l->out[OUT_TEXT].bytes.size;
    for (uint32_t i = OUT_TEXT + 1; i < OUT_COUNT; i++)
        if (present(l, i)) place(&l->out[i], &at);
    return at;
}

static void program_headers(const struct linker *l, Elf64_Phdr *headers) {
    const struct out_section *text = &l->out[OUT_TEXT], *last = NULL;
    for (uint32_t i = 0; i < OUT_TEXT; i++)
        if (present(l, i)) last = &l->out[i];
    uint64_t constants = last ? last->offset + last->bytes.size : 0;
    const struct out_section *search = &l->out[OUT_EH_FRAME_HDR];
    headers[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                              .p_flags = PF_R,
                              .p_vaddr = ABI_CODE_BASE,
                              .p_filesz = constants,
                              .p_align = ABI_HOST_PAGE};
    headers[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                              .p_flags = PF_R | PF_X,
                              .p_offset = text->offset,
                              .p_vaddr = text->address,
                              .p_filesz = text->bytes.size,
                              .p_align = ABI_HOST_PAGE};
    headers[2] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_align = 16};
    headers[3] = (Elf64_Phdr){.p_type = PT_NULL};
    if (search->bytes.size)
        headers[3] = (Elf64_Phdr){.p_type = PT_GNU_EH_FRAME,
                                  .p_flags = PF_R,
                                  .p_offset = search->offset,
                                  .p_vaddr = search->address,
                                  .p_filesz = search->bytes.size,
                                  .p_align = 4};
    for (int i = 0; i < HEADER_COUNT; i++) {
        headers[i].p_memsz = headers[i].p_filesz;
        headers[i].p_paddr = headers[i].p_vaddr;
    }
}

static enum status describe(struct linker *l, Elf *elf, const uint32_t *name_offsets,
                            uint64_t end) {
    Elf64_Ehdr *header = elf64_newehdr(elf);
    Elf64_Phdr *program = elf64_newphdr(elf, HEADER_COUNT);
    if (!header || !program) return ST_INTERNAL;
    header->e_ident[EI_DATA] = ELFDATA2LSB;
    header->e_type = ET_DYN;
    header->e_machine = relocate_machine;
    header->e_version = EV_CURRENT;
    header->e_shstrndx = (uint16_t)object_section_index(l, OUT_SHSTRTAB);
    header->e_phoff = sizeof *header;
    header->e_shoff = align_up(end, 8);
    program_headers(l, program);
    for (uint32_t i = 0; i < OUT_COUNT; i++) {
        if (!present(l, i)) continue;
        struct out_section *out = &l->out[i];
        Elf_Scn *scn = elf_newscn(elf);
        Elf_Data *data = scn ? elf_newdata(scn) : NULL;
        Elf64_Shdr *section = data ? elf64_getshdr(scn) : NULL;
        if (!section) return ST_INTERNAL;
        data->d_buf = out->bytes.bytes;
        data->d_size = out->bytes.size;
        data->d_align = out->align;
        data->d_type = ELF_T_BYTE;
        data->d_version = EV_CURRENT;
        *section = (Elf64_Shdr){.sh_name = name_offsets[i],
                                .sh_type = out->type,
                                .sh_flags = out->flags,
                                .sh_addr = out->address,
                                .sh_offset = out->offset,
                                .sh_size = out->bytes.size,
                                .sh_link = out->link,
                                .sh_info = out->info,
                                .sh_addralign = out->align,
                                .sh_entsize = out->entry_size};
    }
    return ST_OK;
}

static enum status read_back(int fd, uint64_t size, struct buffer *b, struct error *err) {
    size_t start = b->size;
    buffer_put_zero(b, size);
    if (buffer_status(b, err) != ST_OK) return ST_NO_MEMORY;
    for (uint64_t at = 0; at < size;) {
        ssize_t n = pread(fd, b->bytes + start + at, size - at, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_set_errno(err, ST_IO, "cannot read the object back");
        at += (uint64_t)n;
    }
    return ST_OK;
}

enum status object_write(struct linker *l, struct buffer *ret_object) {
    uint32_t name_offsets[OUT_COUNT] = {0};
    uint64_t end = layout_rest(l, name_offsets);
    if (buffer_status(&l->out[OUT_SHSTRTAB].bytes, l->err) != ST_OK) return ST_NO_MEMORY;
    auto_fd int fd = memfd_create("hutch-object", MFD_CLOEXEC);
    if (fd < 0) return error_set_errno(l->err, ST_IO, "cannot make a file in memory");
    Elf *elf = elf_begin(fd, ELF_C_WRITE, NULL);
    if (!elf) return error_set(l->err, ST_INTERNAL, "libelf: %s", elf_errmsg(-1));
    elf_flagelf(elf, ELF_C_SET, ELF_F_LAYOUT);
    int64_t size = -1;
    if (describe(l, elf, name_offsets, end) == ST_OK) size = elf_update(elf, ELF_C_WRITE);
    if (size < 0) {
        error_set(l->err, ST_INTERNAL, "cannot write the object: %s", elf_errmsg(-1));
        elf_end(elf);
        return ST_INTERNAL;
    }
    elf_end(elf);

    size_t start = ret_object->size;
    enum status status = read_back(fd, (uint64_t)size, ret_object, l->err);
    if (status != ST_OK) return status;
    uint8_t *file = ret_object->bytes + start;
    struct digest content = digest_of(file, (size_t)size); /* its own bytes are zeros yet */
    memcpy(file + OBJECT_COMPAT_OFFSET + OBJECT_COMPAT_DIGEST, content.bytes,
           sizeof content.bytes);
    return ST_OK;
}
