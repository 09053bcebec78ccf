/*
 * The object of a module: from the store, or compiled and kept there. The key covers the
 * module's bytes, the compiler and its options, so what is found under it is what would be
 * compiled. Where nobody asked for anything special, an imported object will do too: what CI
 * has compiled and signed, in the best variant that this processor can run.
 *
 * While one process compiles a module, the others that want the same object wait for it. A
 * store that cannot be used costs time, not the run.
 */
#include "tools/cli.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/cache.h"
#include "loader/loader.h"
#include "tools/object_describe.h"

#define WAIT_SHOWN_AFTER_MS 500u

enum status object_file_check(int fd, bool check_host, struct abi_compat *ret_compat,
                              struct error *err) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_map_file(fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    if (!bytes) return error_set(err, ST_DAMAGED, "truncated code object: 0 bytes");
    auto_arena struct arena arena = {0};
    struct abi_object object;
    status = object_read(bytes, size, check_host, &arena, &object, err);
    if (status == ST_OK) status = object_verify_digest(bytes, size, err);
    if (status == ST_OK) *ret_compat = object.compat;
    munmap((void *)(uintptr_t)bytes, size);
    return status;
}

/* ---- imported objects -------------------------------------------------------------------- */

struct choice {
    struct cache *cache;
    int fd;
    uint64_t features;
    int32_t level;
    struct error unfit; /* of one that cannot run here: why */
};

static unsigned bits(uint64_t value) { return (unsigned)__builtin_popcountll(value); }

/* Takes a variant that can run here and uses more of the processor than the one before, or is
 * optimised more. */
static bool consider(void *context, const struct cache_entry *entry) {
    struct choice *best = context;
    if (entry->origin != CACHE_IMPORTED) return true;
    struct error ignored = {0};
    auto_fd int fd = -1;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    if (cache_get(best->cache, &entry->digest, &fd, NULL, &ignored) != ST_OK ||
        cli_map_file(fd, &bytes, &size, &ignored) != ST_OK || !bytes)
        return true;
    auto_arena struct arena arena = {0};
    struct abi_object object;
    bool sound = object_read(bytes, size, true, &arena, &object, &best->unfit) == ST_OK;
    bool fits = sound && object.compat.placement == ABI_PINNED;
    unsigned uses = fits ? bits(object.compat.cpu_features) : 0, used = bits(best->features);
    int32_t level = fits ? (int32_t)object.compat.opt_level : 0;
    if (fits && (best->fd < 0 || uses > used || (uses == used && level > best->level))) {
        if (best->fd >= 0) close(best->fd);
        best->features = object.compat.cpu_features;
        best->level = level;
        best->fd = steal_fd(&fd);
    }
    munmap((void *)(uintptr_t)bytes, size);
    return true;
}

static bool as_by_default(const struct compile_options *o) {
    struct compile_options plain = compile_defaults();
    return o->placement == plain.placement && o->level == plain.level &&
           strcmp(o->target, plain.target) == 0 && o->debug_lines == plain.debug_lines &&
           !o->dump_dir && !o->profile && !o->profile_generate;
}

/* Where there are some and none can run here, says why: compiling takes its time. */
static enum status find_imported(struct cache *cache, const struct object_wanted *want,
                                 int *ret_fd, struct error *err) {
    struct choice best = {.cache = cache, .fd = -1};
    enum status status = cache_each_object(cache, &want->module, consider, &best, err);
    if (best.fd >= 0) {
        *ret_fd = best.fd;
        return ST_OK;
    }
    if (best.unfit.status != ST_OK) {
        error_wrap(&best.unfit,
                   "the imported object cannot run here, so the module is compiled");
        cli_note(want->command, want->file, &best.unfit);
    }
    return status != ST_OK ? status : error_set(err, ST_NOT_FOUND, "no imported object fits");
}

/* ---- compiling --------------------------------------------------------------------------- */

struct waiting {
    const char *file;
    bool shown;
};

static bool show_waiting(void *context, uint64_t waited_ms) {
    struct waiting *w = context;
    if (waited_ms < WAIT_SHOWN_AFTER_MS || isatty(STDERR_FILENO) != 1) return true;
    const char *slash = strrchr(w->file, '/');
    fprintf(stderr, "\r\033[K%.40s: another process is compiling it, %llu.%llu s",
            slash ? slash + 1 : w->file, (unsigned long long)(waited_ms / 1000),
            (unsigned long long)(waited_ms % 1000 / 100));
    w->shown = true;
    return true;
}

/* Puts an object into the store; ret_fd is then the store's, which all that run it share. */
static enum status keep(struct cache *cache, int object, int *ret_fd, struct error *err) {
    struct cache_entry entry = {.kind = CACHE_OBJECT, .origin = CACHE_COMPILED};
    if (lseek(object, 0, SEEK_SET) < 0) return error_set_errno(err, ST_IO, "cannot rewind");
    return cache_put_fd(cache, object, &entry, NULL, NULL, ret_fd, err);
}

static enum status read_module(struct cache *cache, const struct digest *digest,
                               struct buffer *wasm, struct error *err) {
    auto_fd int fd = -1;
    enum status status = cache_get(cache, digest, &fd, NULL, err);
    if (status != ST_OK) return error_wrap(err, "the module itself");
    const uint8_t *bytes = NULL;
    size_t size = 0;
    if ((status = cli_map_file(fd, &bytes, &size, err)) != ST_OK) return status;
    buffer_put(wasm, bytes, size);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return buffer_status(wasm, err);
}

static enum status compile(struct cache *cache, const struct object_wanted *want,
                           const struct cache_key *key, int *ret_fd, struct error *err) {
    auto_fd int lock = -1;
    auto_fd int object = -1;
    struct error ignored = {0};
    struct waiting waiting = {.file = want->file};
    if (cache && !want->options->dump_dir &&
        cache_lock_key(cache, key, show_waiting, &waiting, &lock, &ignored) == ST_OK) {
        if (waiting.shown) fputs("\r\033[K", stderr);
        if (cache_find_again(cache, key, ret_fd, &ignored) == ST_OK) return ST_OK;
    }
    auto_buffer struct buffer read = {0};
    const struct buffer *wasm = want->wasm;
    enum status status = ST_OK;
    if (!wasm) {
        status = read_module(cache, &want->module, &read, err);
        wasm = &read;
    }
    if (status == ST_OK)
        status = compile_in_child(wasm, want->file, want->options, &object, err);
    if (status != ST_OK) return status;
    struct error kept = {0};
    if (cache && keep(cache, object, ret_fd, &kept) == ST_OK) return ST_OK;
    if (cache) {
        error_wrap(&kept, "the object is not kept for the next run");
        cli_note(want->command, want->file, &kept);
    }
    *ret_fd = steal_fd(&object);
    return ST_OK;
}

static enum status key_of(const struct object_wanted *want, struct cache_key *ret_key,
                          struct error *err) {
    struct digest compiler;
    enum status status = compile_fingerprint(want->options, &compiler, err);
    if (status == ST_OK) *ret_key = cache_key_of(&want->module, &compiler);
    return status;
}

static enum status find(struct cache *cache, const struct object_wanted *want,
                        const struct cache_key *key, int *ret_fd, struct error *err) {
    if (want->options->dump_dir) return error_set(err, ST_NOT_FOUND, "compiling is wanted");
    enum status status = cache_find(cache, key, ret_fd, NULL, err);
    if (status == ST_OK || !want->imported || !as_by_default(want->options)) return status;
    return find_imported(cache, want, ret_fd, err);
}

enum status object_find(struct cache *cache, const struct object_wanted *want, int *ret_fd,
                        struct error *err) {
    struct cache_key key;
    enum status status = key_of(want, &key, err);
    return status != ST_OK ? status : find(cache, want, &key, ret_fd, err);
}

enum status object_obtain(struct cache *cache, const struct object_wanted *want, int *ret_fd,
                          struct error *err) {
    struct cache_key key;
    struct error ignored = {0};
    enum status status = key_of(want, &key, err);
    if (status != ST_OK) return status;
    if (cache && !want->looked && find(cache, want, &key, ret_fd, &ignored) == ST_OK)
        return ST_OK;
    return compile(cache, want, &key, ret_fd, err);
}

/* ---- the store as the commands open it --------------------------------------------------- */

struct cache *object_cache_open(const char *path, const char *command, const char *file) {
    struct cache *cache = NULL;
    struct error err = {0};
    struct cache_options options = {.path = path, .describe_object = object_describe};
    if (cache_open(&options, &cache, &err) == ST_OK) return cache;
    error_wrap(&err, "the object is not kept for the next run");
    cli_note(command, file, &err);
    return NULL;
}
