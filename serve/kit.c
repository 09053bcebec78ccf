/*
 * An app's kit, from the broker to the front: a sealed memory file with the app as JSON and the
 * strings, then the descriptors: object, snapshot and counters (where there are), directories.
 *
 *     u32 parts: 1 snapshot, 2 counters; the object's content digest; str JSON; u32 argc,
 * str...; u32 envc, str...; u32 dirs, { str guest path, u32 flags, u64 size, u64 inodes }...
 *
 * flags: 1 read-only, 2 image, 4 in memory, 8 there is a descriptor, 16 a volume's control
 * connection
 *
 * Environment variables may hold secrets: they are nowhere but in that memory.
 */
#include "serve/link.h"
#include "serve/shared_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIT_MAX_BYTES ((off_t)8 << 20)
#define HAS_SNAPSHOT 1u
#define HAS_COUNTERS 2u

void serve_kit_finish(struct serve_kit *kit) {
    shared_fd_release(kit->object_fd);
    shared_fd_release(kit->snapshot_fd);
    if (kit->counters_fd >= 0) close(kit->counters_fd);
    for (uint32_t i = 0; i < kit->dir_count; i++) shared_fd_release(kit->dirs[i].fd);
    app_free(kit->app);
    arena_finish(&kit->arena);
    arena_finish(&kit->room);
    *kit = (struct serve_kit){.object_fd = -1, .snapshot_fd = -1, .counters_fd = -1};
}

void serve_kit_share(struct serve_kit *kit) {
    kit->object_fd = shared_fd_take(kit->object_fd);
    kit->snapshot_fd = shared_fd_take(kit->snapshot_fd);
    for (uint32_t i = 0; i < kit->dir_count; i++)
        kit->dirs[i].fd = shared_fd_take(kit->dirs[i].fd);
}

static void put_strings(struct buffer *b, uint32_t count, const char *const *strings) {
    buffer_put_u32(b, count);
    for (uint32_t i = 0; i < count; i++) buffer_put_str(b, strings[i], strlen(strings[i]));
}

/* Everything but the descriptors. */
static enum status encode(const struct serve_kit *kit, struct buffer *b, struct error *err) {
    auto_buffer struct buffer json = {0};
    enum status status = app_json(kit->app, &json, err);
    if (status != ST_OK) return status;
    buffer_put_u32(b, (kit->snapshot_fd >= 0 ? HAS_SNAPSHOT : 0) |
                          (kit->counters_fd >= 0 ? HAS_COUNTERS : 0));
    buffer_put(b, kit->object.bytes, sizeof kit->object.bytes);
    buffer_put_str(b, json.bytes, json.size);
    put_strings(b, kit->argc, kit->argv);
    put_strings(b, kit->envc, kit->env);
    buffer_put_u32(b, kit->dir_count);
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        const struct tenant_dir *d = &kit->dirs[i];
        buffer_put_str(b, d->guest, strlen(d->guest));
        buffer_put_u32(b, (d->read_only ? 1u : 0) | (d->image ? 2u : 0) | (d->memory ? 4u : 0) |
                              (d->fd >= 0 ? 8u : 0) | (d->volume ? 16u : 0));
        buffer_put_u64(b, d->size_bytes);
        buffer_put_u64(b, d->inodes);
    }
    return buffer_status(b, err);
}

enum status kit_send(int fd, const struct serve_kit *kit, struct error *err) {
    auto_buffer struct buffer b = {0};
    enum status status = encode(kit, &b, err);
    if (status != ST_OK) return status;
    auto_fd int memory = memfd_create("hutch-kit", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || write(memory, b.bytes, b.size) != (ssize_t)b.size)
        return error_set_errno(err, ST_IO, "cannot write a memory file");
    int fds[LINK_MAX_FDS];
    uint32_t count = 0;
    fds[count++] = memory;
    fds[count++] = kit->object_fd;
    if (kit->snapshot_fd >= 0) fds[count++] = kit->snapshot_fd;
    if (kit->counters_fd >= 0) fds[count++] = kit->counters_fd;
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        if (kit->dirs[i].fd < 0) continue;
        if (count == LINK_MAX_FDS)
            return error_set(err, ST_LIMIT, "more than %u directories", LINK_MAX_FDS - 4);
        fds[count++] = kit->dirs[i].fd;
    }
    return link_send(fd, LINK_KIT, fds, count, err);
}

static const char *read_string(struct reader *r, struct arena *arena) {
    uint32_t size = reader_u32(r);
    const uint8_t *bytes = reader_bytes(r, size);
    const char *copy = bytes ? arena_string(arena, bytes, size) : NULL;
    if (!copy) r->failed = true;
    return copy;
}

static const char **read_strings(struct reader *r, struct arena *arena, uint32_t *ret_count) {
    uint32_t count = reader_u32(r);
    if (r->failed || count > reader_left(r) / 4) {
        r->failed = true;
        return NULL;
    }
    const char **strings = arena_array(arena, (size_t)count + 1, sizeof *strings);
    if (!strings) r->failed = true;
    for (uint32_t i = 0; i < count && !r->failed; i++) strings[i] = read_string(r, arena);
    *ret_count = count;
    return strings;
}

static enum status decode(struct reader *r, struct link_message *m, struct serve_kit *kit,
                          struct error *err) {
    uint32_t parts = reader_u32(r);
    const uint8_t *object = reader_bytes(r, sizeof kit->object.bytes);
    if (object) memcpy(kit->object.bytes, object, sizeof kit->object.bytes);
    uint32_t json_size = reader_u32(r);
    const uint8_t *json = reader_bytes(r, json_size);
    if (!json) return error_set(err, ST_INTERNAL, "a kit is malformed");
    enum status status = app_parse(json, json_size, "app.yaml", "/", &kit->app, err);
    if (status != ST_OK) return status;
    kit->argv = read_strings(r, &kit->arena, &kit->argc);
    kit->env = read_strings(r, &kit->arena, &kit->envc);
    uint32_t dirs = reader_u32(r);
    bool has_snapshot = parts & HAS_SNAPSHOT, has_counters = parts & HAS_COUNTERS;
    if (r->failed || dirs > reader_left(r) ||
        m->fd_count < 2u + (has_snapshot ? 1 : 0) + (has_counters ? 1 : 0))
        return error_set(err, ST_INTERNAL, "a kit is malformed");
    kit->dirs = arena_array(&kit->arena, (size_t)dirs + 1, sizeof *kit->dirs);
    if (!kit->dirs) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint32_t next = 1;
    kit->object_fd = steal_fd(&m->fds[next++]);
    if (has_snapshot) kit->snapshot_fd = steal_fd(&m->fds[next++]);
    if (has_counters) kit->counters_fd = steal_fd(&m->fds[next++]);
    for (uint32_t i = 0; i < dirs; i++) {
        struct tenant_dir *d = &kit->dirs[i];
        d->guest = read_string(r, &kit->arena);
        uint32_t flags = reader_u32(r);
        d->read_only = flags & 1;
        d->image = flags & 2;
        d->memory = flags & 4;
        d->volume = flags & 16;
        d->size_bytes = reader_u64(r);
        d->inodes = reader_u64(r);
        d->fd = -1;
        if (r->failed || ((flags & 8) && next >= m->fd_count))
            return error_set(err, ST_INTERNAL, "a kit is malformed");
        if (flags & 8) d->fd = steal_fd(&m->fds[next++]);
        kit->dir_count++;
    }
    return ST_OK;
}

enum status kit_receive(struct link_message *m, struct serve_kit *ret_kit, struct error *err) {
    struct serve_kit kit = {.object_fd = -1, .snapshot_fd = -1, .counters_fd = -1};
    struct stat st;
    enum status status = ST_OK;
    auto_buffer struct buffer b = {0};
    if (m->fd_count < 2 || fstat(m->fds[0], &st) < 0 || st.st_size > KIT_MAX_BYTES)
        status = error_set(err, ST_INTERNAL, "a kit is malformed");
    if (status == ST_OK) {
        buffer_put_zero(&b, (size_t)st.st_size);
        status = buffer_status(&b, err);
    }
    if (status == ST_OK && pread(m->fds[0], b.bytes, b.size, 0) != (ssize_t)b.size)
        status = error_set_errno(err, ST_IO, "cannot read a memory file");
    struct reader r = reader_over(b.bytes, b.size);
    if (status == ST_OK) status = decode(&r, m, &kit, err);
    link_close_fds(m);
    if (status != ST_OK) {
        serve_kit_finish(&kit);
        return status;
    }
    serve_kit_share(&kit);
    *ret_kit = kit;
    return ST_OK;
}

static bool same_file(int a, int b) {
    struct stat x, y;
    if (a < 0 || b < 0) return a < 0 && b < 0;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino && x.st_mtime == y.st_mtime && x.st_size == y.st_size;
}

bool kit_equal(const struct serve_kit *a, const struct serve_kit *b) {
    auto_buffer struct buffer x = {0};
    auto_buffer struct buffer y = {0};
    if (encode(a, &x, NULL) != ST_OK || encode(b, &y, NULL) != ST_OK || x.size != y.size ||
        memcmp(x.bytes, y.bytes, x.size) != 0 || !same_file(a->object_fd, b->object_fd) ||
        !same_file(a->snapshot_fd, b->snapshot_fd) ||
        !same_file(a->counters_fd, b->counters_fd))
        return false;
    for (uint32_t i = 0; i < a->dir_count; i++)
        if (!same_file(a->dirs[i].fd, b->dirs[i].fd)) return false;
    return true;
}
