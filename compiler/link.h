/*
 * Linking: relocatable ELF64 objects from LLVM, one for each partition, to one code object.
 *
 *   link.c               what is kept of the inputs, where it goes, which symbol is where
 *   relocate_x86_64.c    relocations of one section (picked by meson for the host architecture)
 *   eh_frame.c           checks unwind tables and builds the sorted search table
 *   object_image.c       active data segments to pages of initial memory
 *   object_encode.c      the metadata sections (docs/object-format.md)
 *   object_symbols.c     .symtab, .hutch.names
 *   object_write.c       the ELF file, its layout and its digest
 *
 * Symbols of the inputs, global and each defined in one of them:
 *   f<N>        body of function N         import<N>  import thunk of imported function N
 *   entry<T>    entry thunk of type T      trap<K>    stub of trap kind K (enum abi_trap)
 * Other global symbols (memcpy, memmove, memset) are resolved by name. Broken promises of the
 * code generator end in ST_INTERNAL that names section and symbol: undefined or doubled
 * symbols, data that is not constant, absolute relocations in what may be mapped anywhere.
 */
#ifndef HUTCH_COMPILER_LINK_H
#define HUTCH_COMPILER_LINK_H

#include "compiler/module.h"

/* What functions with handlers name as their personality routine. LLVM knows the name, and with
 * it what such handlers may look like. */
#define LOWER_PERSONALITY "__gxx_personality_v0"

struct link_object {
    const uint8_t *bytes;
    size_t size;
};
struct link_input {
    const struct module *module; /* decoded and validated */
    const struct compile_options *options;
    const struct buffer *profile;      /* tables of an instrumented object, or NULL */
    uint64_t cpu_features;             /* what the code needs, bits of ABI_X86_FEATURES */
    const struct link_object *objects; /* borrowed for the call */
    uint32_t object_count;
};

/* Appends the code object to ret_object. Deterministic in its input. */
enum status link_objects(const struct link_input *input, struct buffer *ret_object,
                         struct error *err) must_check;

/*
 * What the instance block of this module holds, as the object will say it; for
 * abi_layout_compute, in the lowering and here alike.
 */
struct abi_counts module_counts(const struct module *module);
/* true where a table's size never changes and only this module can write to it. */
bool module_table_fixed(const struct module *module, uint32_t table);
/* true where memory 0 is the module's own and the 64 KiB below 4 GiB are never in it. */
bool module_memory_below_4g(const struct module *module);
/* Entries to reserve for each table; room for table_count of them. */
void module_table_capacities(const struct module *module, uint32_t *ret_capacities);

/* ---- private to the files above ---------------------------------------------------------- */

/* A section of the output. */
struct out_section {
    const char *name;
    struct buffer bytes;
    uint32_t type;  /* SHT_... */
    uint64_t flags; /* SHF_... */
    uint64_t align, entry_size;
    uint32_t link, info; /* section indices, for .symtab */
    bool loaded;
    uint64_t offset, address; /* by object_layout; address 0 where not loaded */
};

/* Output sections in the order of the file. Debug sections come after OUT_IMAGE by name. */
enum out_index {
    OUT_METADATA = 0, /* + enum abi_section, all but the image */
    OUT_RODATA = ABI_SECTION_COUNT,
    OUT_EH_FRAME_HDR,
    OUT_EH_FRAME,
    OUT_TEXT,
    OUT_IMAGE,
    OUT_SYMTAB,
    OUT_STRTAB,
    OUT_SHSTRTAB,
    OUT_DEBUG,
    OUT_DEBUG_MAX = 16,
    OUT_COUNT = OUT_DEBUG + OUT_DEBUG_MAX
};

/* Where an input section went. */
struct in_section {
    uint32_t out; /* enum out_index, or OUT_NONE */
    uint64_t offset;
};
#define OUT_NONE UINT32_MAX

/* A symbol of the inputs, defined in a kept section. */
struct link_symbol {
    const char *name; /* borrowed from the input */
    uint32_t out;     /* OUT_NONE: not defined, or in a section that was dropped */
    uint32_t partition;
    uint64_t offset, size; /* in the output section */
    bool function;
};

struct in_object; /* link.c */

struct linker {
    const struct link_input *input;
    struct error *err;
    struct arena arena;
    struct out_section out[OUT_COUNT];
    uint32_t debug_count;
    struct in_object *objects;
    struct link_symbol *globals; /* open-addressed by name; capacity is a power of two */
    uint32_t global_capacity;
    /* by index, found by name: NULL where missing */
    const struct link_symbol **functions; /* f<N>, or import<N> for an import */
    const struct link_symbol **entries;   /* entry<T> */
    const struct link_symbol *traps[TRAP_COUNT];
};

/* One relocation, resolved: patch `width` bytes of a section. */
struct relocation {
    uint32_t type;       /* R_..., of the architecture */
    const char *section; /* names for messages */
    const char *symbol;
    bool movable;   /* the section patched is loaded, and nobody knows where */
    uint8_t *bytes; /* the section's contents, and the place in them */
    uint64_t size, at;
    uint64_t place; /* address of the patched bytes, P */
    uint64_t value; /* address of the symbol, S (offset in the section where not loaded) */
    int64_t addend;
};
/* relocate_ARCH.c */
enum status relocate(const struct relocation *r, struct error *err) must_check;
/* The ELF machine number of what relocate() knows. */
extern const uint16_t relocate_machine;

const struct link_symbol *link_find(const struct linker *l, const char *name);

/* eh_frame.c: appends terminator, counts FDEs; then, with addresses known, the search table. */
enum status eh_frame_close(struct linker *l) must_check;
enum status eh_frame_search_table(struct linker *l) must_check;

/* object_image.c */
struct memory_image {
    struct buffer pages; /* whole host pages */
    struct abi_page_run *runs;
    uint32_t run_count;
    bool *in_image; /* for each data segment */
};
enum status memory_image_build(const struct module *module, struct arena *arena,
                               struct memory_image *ret_image, struct error *err) must_check;

/* object_encode.c: fills OUT_METADATA + everything, and OUT_IMAGE. */
enum status object_encode(struct linker *l) must_check;
/* object_symbols.c */
enum status object_symbols(struct linker *l) must_check;
void object_names(const struct module *module, struct buffer *b);
/* object_write.c */
enum status object_layout(struct linker *l) must_check; /* of what is loaded */
uint32_t object_section_index(const struct linker *l, uint32_t out);
enum status object_write(struct linker *l, struct buffer *ret_object) must_check;

#define OBJECT_COMPAT_OFFSET 0x200u /* of .hutch.compat in every object */
#define OBJECT_COMPAT_DIGEST 136u   /* of the content digest in it */
#define OBJECT_COMPAT_SIZE 168u

#endif
