/*
 * A file descriptor to a checked object, and that to mappings: the whole span is reserved once,
 * then constants and code are mapped over it, shared with every other process that runs
 * them (docs/object-format.md). Nothing is ever writable. A pinned object's file is mapped
 * where the object is to lie, so that only the code is left to be mapped.
 *
 * The descriptor must be of a file that nobody changes: an entry of the cache, or a sealed
 * memfd. A file cut short under its mappings ends the process with SIGBUS.
 */
#include "loader/loader.h"
#include "loader/object.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define llu(value) ((unsigned long long)(value))

static enum status open_parts(int fd, bool brief, struct loaded **ret_loaded,
                              struct error *err) {
    struct loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded) {
        close(fd);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    loaded->code.fd = fd;
    struct stat st;
    enum status status = ST_OK;
    if (fstat(fd, &st) < 0)
        status = error_set_errno(err, ST_IO, "cannot read the code object");
    else if (!S_ISREG(st.st_mode))
        status = error_set(err, ST_DAMAGED, "not a code object: not a regular file");
    else if (st.st_size == 0)
        status = error_set(err, ST_DAMAGED, "not a code object: an empty file");
    if (status == ST_OK) {
        /* Where a pinned one is wanted, if that is free: then it is mapped only once. */
        bool fits = (uint64_t)st.st_size <= ABI_PROFILE_BASE - ABI_CODE_BASE;
        void *wanted = fits ? (void *)(uintptr_t)ABI_CODE_BASE : NULL;
        void *file = mmap(wanted, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (file == MAP_FAILED) {
            status =
                error_set_errno(err, errno == ENOMEM ? ST_NO_MEMORY : ST_IO,
                                "cannot map %llu bytes of the code object", llu(st.st_size));
        } else {
            loaded->code.file = file;
            loaded->code.file_size = (uint64_t)st.st_size;
            status = object_read_parts(loaded->code.file, loaded->code.file_size, true, brief,
                                       &loaded->arena, &loaded->object, err);
        }
    }
    if (status != ST_OK) {
        loader_close(loaded);
        return status;
    }
    loaded->code.object = &loaded->object;
    *ret_loaded = loaded;
    return ST_OK;
}

enum status loader_open(int fd, struct loaded **ret_loaded, struct error *err) {
    return open_parts(fd, false, ret_loaded, err);
}

/* struct code.complete. What was decoded before keeps its place: others may hold it. */
static enum status complete(struct code *code, struct error *err) {
    struct loaded *loaded =
        (struct loaded *)(void *)((char *)code - offsetof(struct loaded, code));
    struct abi_object whole, *o = &loaded->object;
    enum status status =
        object_read(code->file, code->file_size, true, &loaded->arena, &whole, err);
    if (status != ST_OK) return status;
    o->functions = whole.functions;
    o->exports = whole.exports;
    o->export_count = whole.export_count;
    o->elems = whole.elems;
    o->datas = whole.datas;
    code->complete = NULL;
    return ST_OK;
}

enum status loader_open_brief(int fd, struct loaded **ret_loaded, struct error *err) {
    enum status status = open_parts(fd, true, ret_loaded, err);
    if (status == ST_OK) (*ret_loaded)->code.complete = complete;
    return status;
}

/* Address space for the span: at ABI_CODE_BASE where pinned. */
static enum status reserve(const struct abi_object *o, uint64_t size, void **ret_base,
                           struct error *err) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (o->compat.placement == ABI_RELOCATABLE) {
        void *base = mmap(NULL, size, PROT_NONE, flags, -1, 0);
        if (base == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY,
                                   "cannot reserve %llu bytes of address space for code",
                                   llu(size));
        *ret_base = base;
        return ST_OK;
    }
    /* An address from the map of abi.h, not one that points into anything of ours. */
    void *wanted = (void *)(uintptr_t)ABI_CODE_BASE;
    void *base = mmap(wanted, size, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (base == MAP_FAILED && errno == EEXIST)
        return error_set(err, ST_NO_MEMORY,
                         "the addresses 0x%llx to 0x%llx for code are in use in this process",
                         llu(ABI_CODE_BASE), llu(ABI_CODE_BASE + size));
    if (base == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY,
                               "cannot reserve %llu bytes of address space for code at 0x%llx",
                               llu(size), llu(ABI_CODE_BASE));
    if (base != wanted) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(base, size);
        return error_set(err, ST_NO_MEMORY, "the addresses from 0x%llx on are not free",
                         llu(ABI_CODE_BASE));
    }
    *ret_base = base;
    return ST_OK;
}

static enum status map_part(struct loaded *loaded, uint64_t offset, uint64_t size, int access,
                            const char *what, struct error *err) {
    if (size == 0) return ST_OK;
    uint8_t *at = (uint8_t *)loaded->mapping + offset;
    void *part = mmap(at, align_up(size, ABI_HOST_PAGE), access, MAP_SHARED | MAP_FIXED,
                      loaded->code.fd, (off_t)offset);
    if (part != MAP_FAILED) return ST_OK;
    if (errno == EPERM && (access & PROT_EXEC))
        return error_set(err, ST_IO,
                         "the file system of the code object does not allow it to be run "
                         "(mounted noexec?)");
    return error_set_errno(err, errno == ENOMEM ? ST_NO_MEMORY : ST_IO,
                           "cannot map %llu bytes of %s", llu(size), what);
}

/* The whole file, where its constants and code are to be. */
static bool lies_at_base(const struct loaded *loaded) {
    return loaded->object.compat.placement == ABI_PINNED &&
           (uint64_t)loaded->code.file == ABI_CODE_BASE;
}

enum status loader_map(struct loaded *loaded, struct error *err) {
    const struct abi_object *o = &loaded->object;
    CHECK(!loaded->mapping);
    uint64_t size = align_up(o->span, ABI_HOST_PAGE);
    enum status status = ST_OK;
    if (lies_at_base(loaded) && size <= align_up(loaded->code.file_size, ABI_HOST_PAGE)) {
        loaded->mapping = (void *)(uintptr_t)loaded->code.file;
    } else {
        status = reserve(o, size, &loaded->mapping, err);
        if (status != ST_OK) return status;
        loaded->mapping_size = size;
        status =
            map_part(loaded, o->rodata_offset, o->rodata_size, PROT_READ, "constants", err);
    }
    if (status == ST_OK)
        status =
            map_part(loaded, o->text_offset, o->text_size, PROT_READ | PROT_EXEC, "code", err);
    if (status != ST_OK) {
        if (loaded->mapping_size) munmap(loaded->mapping, loaded->mapping_size);
        loaded->mapping = NULL;
        loaded->mapping_size = 0;
        return status;
    }
    loaded->code.text = (uint8_t *)loaded->mapping + o->text_offset;
    loaded->code.bias = (uint64_t)(uintptr_t)loaded->mapping - ABI_CODE_BASE;
    return ST_OK;
}

void loader_close(struct loaded *loaded) {
    if (!loaded) return;
    if (loaded->mapping_size) munmap(loaded->mapping, loaded->mapping_size);
    if (loaded->code.file) {
        /* munmap takes a pointer to what may be changed; nothing here is. */
        munmap((void *)(uintptr_t)loaded->code.file, loaded->code.file_size);
    }
    if (loaded->code.fd >= 0) close(loaded->code.fd);
    arena_finish(&loaded->arena);
    free(loaded);
}
