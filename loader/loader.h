/*
 * loader: code objects from files into this process. Everything about a file is checked before
 * a byte of it is mapped executable; each reason to refuse has its own message.
 *
 *   object_read.c   bytes -> struct abi_object, every field checked (docs/object-format.md)
 *   object_decode.c its metadata sections; object_verify.c its content digest
 *   snapshot_seal.c the digest of a snapshot file
 *   object_map.c    struct abi_object -> shared read-only mappings at a fixed or any address
 *
 * Ownership: a struct loaded owns its descriptor, its mappings and the decoded object.
 * Threads: none of it is shared. Errors: ST_DAMAGED (structure, digest), ST_INCOMPATIBLE
 * (format version, ABI fingerprint, architecture, a CPU feature by name), ST_IO, ST_NO_MEMORY.
 *
 *     struct loaded *loaded;
 *     if (loader_open(steal_fd(&fd), &loaded, &err) != ST_OK) ...
 *     if (loader_map(loaded, &err) != ST_OK) ...
 *     runtime_add_code(&loaded->code, &err);
 */
#ifndef HUTCH_LOADER_H
#define HUTCH_LOADER_H

#include "abi/abi.h"
#include "runtime/runtime.h"

/*
 * Decodes and checks an object's bytes into ret_object; arrays lie in the arena, strings are
 * borrowed from bytes. check_host: also refuse what this machine and ABI cannot run (inspect
 * leaves it out). ST_DAMAGED or ST_INCOMPATIBLE says why.
 */
enum status object_read(const uint8_t *bytes, uint64_t size_bytes, bool check_host,
                        struct arena *arena, struct abi_object *ret_object,
                        struct error *err) must_check;

/* Calls visit for each section of the file, ours and others, in the order of the file's
 * headers. The name is borrowed from bytes. */
typedef void (*object_section_visitor)(void *context, const char *name, uint64_t offset,
                                       uint64_t size_bytes, bool loaded);
enum status object_sections(const uint8_t *bytes, uint64_t size_bytes,
                            object_section_visitor visit, void *context,
                            struct error *err) must_check;

/*
 * Checks the content digest: that no bit of the file changed since it was written. Takes time
 * in proportion to the file, so it is for objects from outside the cache. ST_DAMAGED.
 */
enum status object_verify_digest(const uint8_t *bytes, uint64_t size_bytes,
                                 struct error *err) must_check;

/* Fills in, and checks, the digest of a snapshot file. Take time in proportion to the file.
 * ST_DAMAGED. */
enum status snapshot_seal(int fd, struct error *err) must_check;
enum status snapshot_verify_digest(int fd, struct error *err) must_check;

struct loaded {
    struct code code; /* text and bias hold after loader_map */
    struct abi_object object;
    struct arena arena;
    void *mapping;         /* of code and read-only data */
    uint64_t mapping_size; /* 0: it is the file's */
};

/* Takes over fd, maps the file read-only, decodes and checks it. */
enum status loader_open(int fd, struct loaded **ret_loaded, struct error *err) must_check;
/* The same, for a program that goes on from a snapshot: functions, exports, segments and names
 * are left in the file until someone asks (runtime.h, code_complete), so that the time this
 * takes does not grow with the program. */
enum status loader_open_brief(int fd, struct loaded **ret_loaded, struct error *err) must_check;
/* Maps text r-x and data r--, shared: at ABI_CODE_BASE (pinned) or anywhere (relocatable). */
enum status loader_map(struct loaded *loaded, struct error *err) must_check;
void loader_close(struct loaded *loaded);

#endif
