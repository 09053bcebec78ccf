/*
 * Private to the files that read a code object: object_read.c reads the ELF frame and the
 * compatibility record, object_decode.c the metadata sections, object_verify.c checks the
 * content digest. docs/object-format.md is what they hold a file to.
 */
#ifndef HUTCH_LOADER_OBJECT_H
#define HUTCH_LOADER_OBJECT_H

#include "abi/abi.h"

#define OBJECT_COMPAT_OFFSET 0x200u /* of .hutch.compat in every object */
#define OBJECT_COMPAT_DIGEST 136u   /* of the content digest in it */
#define OBJECT_COMPAT_SIZE 168u
#define OBJECT_NO_ENTRY UINT32_MAX /* entry_offset of a type that has no thunk */

/* A section in the file. bytes is NULL where there is none. */
struct object_section {
    const uint8_t *bytes;
    uint64_t offset, size;
};

/* Decodes all metadata sections (by enum abi_section) into object, whose text_size,
 * image_offset and compat are set. image: the section of that name. brief: of those that grow
 * with the program only the counts. ST_DAMAGED names the section and what is wrong in it. */
enum status object_decode(const struct object_section sections[ABI_SECTION_COUNT], bool brief,
                          struct arena *arena, struct abi_object *object,
                          struct error *err) must_check;
/* object_read, and the same briefly (loader.h, loader_open_brief). */
enum status object_read_parts(const uint8_t *bytes, uint64_t size_bytes, bool check_host,
                              bool brief, struct arena *arena, struct abi_object *ret_object,
                              struct error *err) must_check;

#endif
