/*
 * Modules, their objects and images to layers of a statement. Objects come from the cache where
 * it has them, whoever compiled them, else they are compiled and kept there. They are for any
 * machine, so not checked for this one.
 */
#include "tools/bundle_parts.h"

#include "tools/object_describe.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

void bundle_parts_finish(struct bundle_parts *p) {
    for (uint32_t i = 0; i < p->module_count; i++) buffer_finish(&p->modules[i]);
    for (uint32_t i = 0; i < p->map_count; i++) {
        if (p->maps[i].bytes) munmap((void *)(uintptr_t)p->maps[i].bytes, p->maps[i].size);
        close(p->maps[i].fd);
    }
    free(p->modules);
    free(p->maps);
    bundle_statement_finish(&p->statement);
}

enum status bundle_full_name(const char *text, char ret_name[CACHE_NAME_MAX],
                             struct error *err) {
    bool is_digest = false;
    struct digest unused;
    enum status status = cache_name_parse(text, ret_name, &is_digest, &unused, err);
    if (status == ST_OK && is_digest)
        return error_set(err, ST_USAGE, "'%s': give NAME or NAME:TAG", text);
    return status;
}

struct bundle_layer *bundle_add_layer(struct bundle_parts *p, struct error *err) {
    struct bundle_statement *s = &p->statement;
    struct bundle_layer *grown = realloc(s->layers, (s->layer_count + 1) * sizeof *grown);
    if (!grown) {
        error_set(err, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    s->layers = grown;
    grown[s->layer_count] = (struct bundle_layer){0};
    return &grown[s->layer_count++];
}

enum status bundle_keep_map(struct bundle_parts *p, int fd, const uint8_t **ret_bytes,
                            size_t *ret_size, struct error *err) {
    struct bundle_map *grown = realloc(p->maps, (p->map_count + 1) * sizeof *grown);
    if (!grown) return error_set(err, ST_NO_MEMORY, "out of memory");
    p->maps = grown;
    auto_fd int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot keep a file open");
    enum status status = cli_map_file(fd, ret_bytes, ret_size, err);
    if (status == ST_OK)
        grown[p->map_count++] = (struct bundle_map){*ret_bytes, *ret_size, steal_fd(&copy)};
    return status;
}

/* ---- modules and objects ----------------------------------------------------------------- */

/* The descriptor of an object that was compiled from wasm with these options, or none. */
static bool find_object(struct cache *cache, const struct digest *module,
                        const struct digest *compiler, int *ret_fd,
                        struct abi_compat *ret_compat) {
    struct cache_key key = cache_key_of(module, compiler);
    struct error ignored = {0};
    auto_fd int fd = -1;
    if (!cache || cache_find(cache, &key, &fd, NULL, &ignored) != ST_OK ||
        object_file_check(fd, false, ret_compat, &ignored) != ST_OK ||
        !digest_equal(&ret_compat->module, module) ||
        !digest_equal(&ret_compat->compiler, compiler))
        return false;
    *ret_fd = steal_fd(&fd);
    return true;
}

static enum status get_object(const struct bundle_parts *p, const struct buffer *wasm,
                              const char *file, const char *target, int *ret_fd,
                              struct abi_compat *ret_compat, struct error *err) {
    struct compile_options options = *p->compile;
    options.target = target;
    struct digest compiler, module = digest_of(wasm->bytes, wasm->size);
    enum status status = compile_fingerprint(&options, &compiler, err);
    if (status != ST_OK) return status;
    if (find_object(p->cache, &module, &compiler, ret_fd, ret_compat)) return ST_OK;
    auto_fd int fd = -1;
    if ((status = compile_in_child(wasm, file, &options, &fd, err)) != ST_OK) return status;
    if ((status = object_file_check(fd, false, ret_compat, err)) != ST_OK) return status;
    struct cache_entry entry = {.kind = CACHE_OBJECT, .origin = CACHE_COMPILED};
    struct error ignored = {0};
    if (p->cache && lseek(fd, 0, SEEK_SET) == 0 &&
        cache_put_fd(p->cache, fd, &entry, NULL, NULL, NULL, &ignored) != ST_OK) {
        error_wrap(&ignored, "the object is not kept for the next time");
        cli_note("bundle", file, &ignored);
    }
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status add_object(struct bundle_parts *p, const struct buffer *wasm,
                              const char *file, const char *target, struct error *err) {
    auto_fd int fd = -1;
    struct abi_compat compat;
    const uint8_t *bytes;
    size_t size;
    enum status status = get_object(p, wasm, file, target, &fd, &compat, err);
    if (status == ST_OK) status = bundle_keep_map(p, fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    struct bundle_layer *layer = bundle_add_layer(p, err);
    if (!layer) return ST_NO_MEMORY;
    layer->kind = BUNDLE_OBJECT;
    layer->bytes = bytes;
    layer->content_size = size;
    bundle_target_of(&compat, &layer->target);
    return ST_OK;
}

enum status bundle_add_module(struct bundle_parts *p, const char *name, struct buffer *wasm,
                              const char *file, struct error *err) {
    enum status status = compile_check(wasm->bytes, wasm->size, err);
    if (status != ST_OK) return status;
    struct buffer *grown = realloc(p->modules, (p->module_count + 1) * sizeof *grown);
    if (!grown) return error_set(err, ST_NO_MEMORY, "out of memory");
    p->modules = grown;
    struct buffer *kept = &grown[p->module_count++];
    *kept = *wasm;
    *wasm = (struct buffer){0};
    struct bundle_layer *layer = bundle_add_layer(p, err);
    if (!layer) return ST_NO_MEMORY;
    layer->kind = BUNDLE_MODULE;
    layer->bytes = kept->bytes;
    layer->content_size = kept->size;
    snprintf(layer->name, sizeof layer->name, "%s", name);
    for (uint32_t i = 0; i < p->target_count && status == ST_OK; i++)
        status = add_object(p, kept, file, p->targets[i], err);
    return status;
}

/* ---- images ------------------------------------------------------------------------------ */

enum status bundle_add_image(struct bundle_parts *p, const char *guest, int fd,
                             struct digest *ret_digest, struct error *err) {
    const uint8_t *bytes;
    size_t size;
    struct bundle_layer *layer = bundle_add_layer(p, err);
    if (!layer) return ST_NO_MEMORY;
    if (!guest[0] || strlen(guest) >= sizeof layer->name)
        return error_set(err, ST_USAGE, "no path in the guest, or one of over %zu bytes",
                         sizeof layer->name - 1);
    enum status status = bundle_keep_map(p, fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    layer->kind = BUNDLE_IMAGE;
    layer->bytes = bytes;
    layer->content_size = size;
    snprintf(layer->name, sizeof layer->name, "%s", guest);
    if (ret_digest) *ret_digest = digest_of(bytes, size);
    return ST_OK;
}
