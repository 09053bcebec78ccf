/*
 * Profiles of what is served (hutch serve --profile-dir): each app's instances count in one
 * piece of shared memory, so that what they counted outlives them, however they end. The broker
 * keeps it as DIR/APP-MODULE.prof: now and then, before a reload, at the end. A profile of the
 * same module that lies there already is added to.
 *
 * What the instances write there is theirs: a number that makes no sense is at worst a wrong
 * profile of their own app (docs/profile.md).
 */
#include "tools/serve_cli.h"

#include "loader/loader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROFILE_MAX_BYTES ((size_t)1 << 30)

struct counting {
    char path[4096];
    const uint8_t *before; /* the profile that was there at first; in the kit's arena */
    size_t before_size, counters_size;
};

static enum status open_object(const struct serve_kit *kit, struct loaded **ret,
                               struct error *err) {
    int fd = fcntl(kit->object_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot duplicate a descriptor");
    return loader_open(fd, ret, err);
}

static enum status make_memory(uint64_t size, int *ret_fd, struct error *err) {
    auto_fd int fd = memfd_create("hutch-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)align_up(size, ABI_HOST_PAGE)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return error_set_errno(err, ST_IO, "cannot make a memory file");
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status read_before(struct serve_kit *kit, struct counting *c, struct error *err) {
    auto_buffer struct buffer b = {0};
    if (access(c->path, F_OK) < 0) return ST_OK;
    enum status status = file_read(AT_FDCWD, c->path, PROFILE_MAX_BYTES, &b, err);
    if (status != ST_OK || b.size == 0) return status;
    uint8_t *copy = arena_alloc(&kit->arena, b.size);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    memcpy(copy, b.bytes, b.size);
    c->before = copy;
    c->before_size = b.size;
    return ST_OK;
}

/* The profile of what has been counted until now, and of what was there before. */
static enum status gather(const struct serve_kit *kit, const struct loaded *loaded,
                          struct buffer *b, struct error *err) {
    const struct counting *c = kit->counting;
    void *counters = mmap(NULL, c->counters_size, PROT_READ, MAP_SHARED, kit->counters_fd, 0);
    if (counters == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot map the counters");
    const struct abi_object *object = &loaded->object;
    enum status status = counters_profile(object, loaded->code.file + object->profile_offset,
                                          counters, c->before, c->before_size, b, err);
    munmap(counters, c->counters_size);
    return status;
}

static enum status begin(struct kit_maker *m, struct serve_kit *kit, struct loaded *loaded,
                         struct error *err) {
    const struct abi_object *object = &loaded->object;
    struct abi_profile_shape shape;
    struct counting *c = arena_array(&kit->arena, 1, sizeof *c);
    if (!c) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = abi_profile_shape(loaded->code.file + object->profile_offset,
                                           object->profile_size, &shape, err);
    if (status != ST_OK) return status;
    char module[DIGEST_HEX_SIZE];
    digest_hex(&shape.module, module);
    int length = snprintf(c->path, sizeof c->path, "%s/%s-%.12s.prof", m->profile_dir,
                          kit->app->name, module);
    if (length < 0 || (size_t)length >= sizeof c->path)
        return error_set(err, ST_USAGE, "the path is too long");
    c->counters_size = align_up(shape.counters_size, ABI_HOST_PAGE);
    kit->counting = c;
    status = make_memory(shape.counters_size, &kit->counters_fd, err);
    if (status == ST_OK) status = read_before(kit, c, err);
    auto_buffer struct buffer tried = {0};
    if (status == ST_OK) status = gather(kit, loaded, &tried, err); /* fits what is there? */
    return status == ST_OK ? ST_OK : error_wrap(err, "--profile-dir: %s", c->path);
}

enum status serve_counts_begin(struct kit_maker *m, struct serve_kit *kit, struct error *err) {
    struct loaded *loaded = NULL;
    enum status status = open_object(kit, &loaded, err);
    if (status == ST_OK) status = begin(m, kit, loaded, err);
    loader_close(loaded);
    return status;
}

void serve_counts_take(void *context, struct serve_kit *kit, struct serve_kit *old) {
    (void)context;
    struct counting *c = kit->counting;
    const struct counting *o = old->counting;
    if (!c || !o || strcmp(c->path, o->path) != 0 || c->counters_size != o->counters_size ||
        !digest_equal(&kit->object, &old->object))
        return;
    uint8_t *before = arena_alloc(&kit->arena, o->before_size);
    if (!before && o->before_size) return; /* what old instances still count is lost */
    if (o->before_size) memcpy(before, o->before, o->before_size);
    c->before = before;
    c->before_size = o->before_size;
    close(kit->counters_fd);
    kit->counters_fd = steal_fd(&old->counters_fd);
    old->counting = NULL;
}

void serve_counts_keep(void *context, const struct serve_kit *kit) {
    (void)context;
    const struct counting *c = kit->counting;
    if (!c) return;
    struct error err = {0};
    struct loaded *loaded = NULL;
    auto_buffer struct buffer b = {0};
    enum status status = open_object(kit, &loaded, &err);
    if (status == ST_OK) status = gather(kit, loaded, &b, &err);
    if (status == ST_OK) status = file_publish(AT_FDCWD, c->path, b.bytes, b.size, 0644, &err);
    loader_close(loaded);
    if (status != ST_OK)
        fprintf(stderr, "hutch: serve: the profile %s is not kept: %s\n", c->path, err.message);
}
