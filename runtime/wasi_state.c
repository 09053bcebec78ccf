/*
 * A WASI program's state to bytes and back (docs/files.md), for snapshots: descriptors,
 * arguments, environment. What they refer to is not in the bytes: standard streams, preopened
 * directories and images are those of the program that is restored, and files in memory lie in
 * their region.
 *
 * The reader trusts nothing but the region's pages: a record of any bytes is refused, or gives
 * descriptors that the program could have had.
 */
#include "runtime/memfs.h"
#include "runtime/volume.h"

#include <unistd.h>

#define STATE_MAGIC 0x32545357u /* "WST2" */

enum state_kind {
    STATE_STANDARD = 1,
    STATE_REQUESTS,
    STATE_DIRECTORY, /* a preopened directory of the host */
    STATE_IMAGE,
    STATE_MEMORY,
    STATE_VOLUME, /* the directory of a volume */
    STATE_ACCEPTS,
};
enum {
    MOUNT_READ_ONLY = 1,
    MOUNT_IMAGE = 2,
    MOUNT_MEMORY = 4,
    MOUNT_VOLUME = 8,
    MOUNT_ACCEPTS = 16,
};

struct wasi_region wasi_files_region(const struct wasi *w) {
    if (!w->files) return (struct wasi_region){0};
    return (struct wasi_region){.base = w->files->base,
                                .used_bytes = memfs_header(w->files)->used_bytes};
}

enum status wasi_files_resize(struct wasi *w, uint64_t used_bytes, struct error *err) {
    if (w->files) return memfs_resize(w->files, used_bytes, err);
    if (used_bytes == 0) return ST_OK;
    return error_set(err, ST_INCOMPATIBLE, "this program has no files in memory");
}

/* ---- saving ------------------------------------------------------------------------------ */

static uint32_t mount_flags(const struct wasi_mount *mount) {
    return (mount->read_only ? MOUNT_READ_ONLY : 0u) | (mount->image.bytes ? MOUNT_IMAGE : 0u) |
           (mount->in_memory ? MOUNT_MEMORY : 0u) | (mount->volume ? MOUNT_VOLUME : 0u) |
           (mount->accepts ? MOUNT_ACCEPTS : 0u);
}

static void put_mounts(struct buffer *b, const struct wasi *w) {
    buffer_put_u32(b, w->mount_count);
    for (uint32_t i = 0; i < w->mount_count; i++) {
        const struct wasi_mount *mount = &w->mounts[i];
        buffer_put_u32(b, mount_flags(mount));
        buffer_put_u64(b, mount->image.id);
        buffer_put_u64(b, mount->image.size_bytes);
        buffer_put_str(b, mount->guest_path, mount->guest_path_length);
    }
}

static void put_strings(struct buffer *b, const struct wasi_strings *s) {
    buffer_put_u32(b, s->count);
    buffer_put_str(b, s->bytes, s->size_bytes);
}

/* What a descriptor is to be saved as; 0 where it cannot be. */
static enum state_kind kind_of(const struct wasi_descriptor *d) {
    if (d->requests) return STATE_REQUESTS;
    if (d->standard) return STATE_STANDARD;
    if (d->image) return STATE_IMAGE;
    if (d->files) return STATE_MEMORY;
    if (wasi_accepts(d)) return STATE_ACCEPTS;
    if (!d->preopen) return (enum state_kind)0;
    return d->volume ? STATE_VOLUME : STATE_DIRECTORY;
}

static enum status put_descriptor(struct buffer *b, const struct wasi *w, uint32_t number,
                                  struct error *err) {
    const struct wasi_descriptor *d = &w->descriptors[number];
    enum state_kind kind = kind_of(d);
    if (!kind)
        return error_set(err, ST_UNSUPPORTED, "descriptor %u is %s", number,
                         d->request || !d->mount ? "an open connection"
                         : d->volume             ? "an open file of a persistent volume"
                                                 : "an open file of a host directory");
    buffer_put_u32(b, number);
    buffer_put_u8(b, (uint8_t)kind);
    buffer_put_u8(b, d->filetype);
    buffer_put_u16(b, d->flags);
    buffer_put_u32(b, d->preopen);
    buffer_put_u32(b, d->standard ? d->standard - 1u
                      : d->mount  ? (uint32_t)(d->mount - w->mounts)
                                  : 0);
    buffer_put_u64(b, d->rights_base);
    buffer_put_u64(b, d->rights_inheriting);
    buffer_put_u64(b, d->node);
    buffer_put_u64(b, d->position);
    return ST_OK;
}

enum status wasi_state_save(const struct wasi *w, struct buffer *b, struct error *err) {
    struct wasi_region region = wasi_files_region(w);
    uint32_t count = 0;
    for (uint32_t fd = 0; fd < w->capacity; fd++) count += w->descriptors[fd].used;
    buffer_put_u32(b, STATE_MAGIC);
    buffer_put_u64(b, region.used_bytes);
    put_mounts(b, w);
    put_strings(b, &w->args);
    put_strings(b, &w->env);
    buffer_put_u32(b, w->room.reserved);
    buffer_put_u32(b, w->room.fixed_count);
    buffer_put_u32(b, w->room.fixed_bytes);
    buffer_put_u32(b, w->room.asked);
    buffer_put_u32(b, w->room.vector);
    buffer_put_u32(b, w->room.buffer);
    buffer_put_u32(b, count);
    for (uint32_t fd = 0; fd < w->capacity; fd++) {
        if (!w->descriptors[fd].used) continue;
        enum status status = put_descriptor(b, w, fd, err);
        if (status != ST_OK) return status;
    }
    return buffer_status(b, err);
}

/* ---- restoring --------------------------------------------------------------------------- */

/* What a record says, before any of it counts. */
struct restored {
    struct wasi_strings args, env;
    struct wasi_environ_room room;
    struct wasi_descriptor *descriptors;
    uint32_t capacity;
};

static enum status damaged(struct error *err, const char *what) {
    return error_set(err, ST_DAMAGED, "the WASI state: %s", what);
}

static enum status check_mounts(struct reader *r, const struct wasi *w, struct error *err) {
    uint32_t count = reader_u32(r);
    /* Of which one was not the user's, as long as this program has that one too. */
    uint32_t own = w->mount_count > 0 && w->mounts[w->mount_count - 1].accepts;
    if (!r->failed && count != w->mount_count)
        return error_set(err, ST_INCOMPATIBLE, "%u preopened directories, not %u",
                         w->mount_count - own, count - (count > 0 ? own : 0));
    for (uint32_t i = 0; i < w->mount_count && !r->failed; i++) {
        const struct wasi_mount *mount = &w->mounts[i];
        uint32_t flags = reader_u32(r);
        uint64_t id = reader_u64(r), size = reader_u64(r);
        uint32_t length = reader_u32(r);
        const uint8_t *path = reader_bytes(r, length);
        if (!path) break;
        if (length != mount->guest_path_length ||
            memcmp(path, mount->guest_path, length) != 0 || flags != mount_flags(mount))
            return error_set(err, ST_INCOMPATIBLE, "preopened directory %s: it is another",
                             mount->guest_path);
        if (id != mount->image.id || size != mount->image.size_bytes)
            return error_set(err, ST_INCOMPATIBLE, "preopened directory %s: another image",
                             mount->guest_path);
    }
    return r->failed ? damaged(err, "it is cut off") : ST_OK;
}

static enum status take_strings(struct reader *r, struct wasi_strings *ret, struct error *err) {
    uint32_t count = reader_u32(r), size = reader_u32(r), nuls = 0;
    const uint8_t *bytes = reader_bytes(r, size);
    if (!bytes) return damaged(err, "it is cut off");
    for (uint32_t i = 0; i < size; i++) nuls += bytes[i] == 0;
    if (nuls != count || (size > 0 && bytes[size - 1] != 0))
        return damaged(err, "a list of strings does not add up");
    char *copy = malloc((size_t)size + 1);
    if (!copy) return error_set(err, ST_NO_MEMORY, "WASI state");
    memcpy(copy, bytes, size);
    *ret = (struct wasi_strings){.count = count, .size_bytes = size, .bytes = copy};
    return ST_OK;
}

/* Addresses are checked where they are used: the guest could give others. */
static enum status take_room(struct reader *r, const struct wasi_strings *env,
                             struct wasi_environ_room *ret, struct error *err) {
    uint32_t reserved = reader_u32(r), bytes = 0;
    struct wasi_environ_room room = {.reserved = reserved};
    room.fixed_count = reader_u32(r);
    room.fixed_bytes = reader_u32(r);
    room.asked = reader_u32(r);
    room.vector = reader_u32(r);
    room.buffer = reader_u32(r);
    if (r->failed) return damaged(err, "it is cut off");
    if (reserved > 1 || room.asked > 1 || room.fixed_count > env->count)
        return damaged(err, "an environment that cannot be");
    for (uint32_t i = 0; i < room.fixed_count; i++)
        bytes += (uint32_t)strlen(env->bytes + bytes) + 1;
    if (bytes != room.fixed_bytes || (!reserved && room.fixed_count))
        return damaged(err, "an environment that does not add up");
    *ret = room;
    return ST_OK;
}

/* Makes d, read from a record, what it can be in this program. */
static enum status bind_image(const struct wasi_mount *mount, struct wasi_descriptor *d,
                              struct error *err) {
    struct image_node node;
    if (!mount->image.bytes || image_node(&mount->image, d->node, &node) != IMAGE_OK)
        return damaged(err, "a file that is not in the image");
    bool directory = node.type == IMAGE_DIRECTORY;
    if (directory ? d->filetype != WASI_FILETYPE_DIRECTORY
                  : node.type != IMAGE_FILE || d->filetype != WASI_FILETYPE_REGULAR_FILE)
        return damaged(err, "a file of another type");
    if (d->preopen && (!directory || d->node != mount->image.root))
        return damaged(err, "a preopened directory that is none");
    d->image = &mount->image;
    return ST_OK;
}

/* A file in memory, which more descriptors must not hold than its inode says. */
static enum status bind_memory(const struct wasi *w, const struct restored *to,
                               const struct wasi_mount *mount, struct wasi_descriptor *d,
                               struct error *err) {
    uint32_t ref = (uint32_t)d->node, held = 1;
    if (!mount || !mount->in_memory || ref != d->node ||
        !memfs_object_is(w->files, ref, MEMFS_128))
        return damaged(err, "a file that is not in memory");
    const struct memfs_inode *inode = memfs_inode(w->files, ref);
    for (uint32_t fd = 0; fd < to->capacity; fd++)
        held += to->descriptors[fd].files && to->descriptors[fd].node == ref;
    bool root = memfs_root(w->files, mount->memfs).inode == ref;
    if (inode->mount != mount->memfs || held > inode->opens ||
        d->filetype != memfs_filetype((enum image_type)inode->type) ||
        (inode->type != IMAGE_FILE && inode->type != IMAGE_DIRECTORY) || (d->preopen && !root))
        return damaged(err, "a file in memory that is another");
    d->files = w->files;
    return ST_OK;
}

static enum status bind(const struct wasi *w, const struct restored *to, uint8_t kind,
                        uint32_t index, struct wasi_descriptor *d, struct error *err) {
    const struct wasi_mount *mount = index < w->mount_count ? &w->mounts[index] : NULL;
    enum status status;
    switch (kind) {
    case STATE_STANDARD:
        if (index >= countof(w->streams)) return damaged(err, "an unknown standard stream");
        *d = w->streams[index]; /* also its type and rights, which may be others now */
        return ST_OK;
    case STATE_REQUESTS:
        if (!w->next_request)
            return error_set(err, ST_INCOMPATIBLE, "this program has no request socket");
        if (d->filetype != WASI_FILETYPE_SOCKET_STREAM || d->preopen)
            return damaged(err, "a request socket that is none");
        d->requests = true;
        return ST_OK;
    case STATE_DIRECTORY:
        if (!mount || mount->host_fd < 0 || mount->volume || !d->preopen ||
            d->filetype != WASI_FILETYPE_DIRECTORY)
            return damaged(err, "a preopened directory that is none");
        break;
    case STATE_IMAGE:
        if (!mount) return damaged(err, "a file of no image");
        if ((status = bind_image(mount, d, err)) != ST_OK) return status;
        break;
    case STATE_MEMORY:
        if ((status = bind_memory(w, to, mount, d, err)) != ST_OK) return status;
        break;
    case STATE_VOLUME:
        if (!mount || !mount->volume || !d->preopen || d->node != VOLUME_ROOT ||
            d->filetype != WASI_FILETYPE_DIRECTORY)
            return damaged(err, "a volume that is none");
        d->volume = true;
        break;
    case STATE_ACCEPTS:
        if (!mount || !mount->accepts || d->filetype != WASI_FILETYPE_DIRECTORY ||
            d->rights_base & ~WASI_ACCEPTS_RIGHTS)
            return damaged(err, "a directory that accepts and is none");
        break;
    default: return damaged(err, "a descriptor of an unknown kind");
    }
    d->mount = mount;
    d->host_fd = mount->volume ? -1 : mount->host_fd;
    d->read_only = mount->read_only;
    return ST_OK;
}

static enum status take_descriptor(struct reader *r, const struct wasi *w, struct restored *to,
                                   struct error *err) {
    uint32_t number = reader_u32(r);
    uint8_t kind = reader_u8(r);
    struct wasi_descriptor d = {.used = true, .host_fd = -1};
    d.filetype = reader_u8(r);
    d.flags = reader_u16(r);
    uint32_t preopen = reader_u32(r), index = reader_u32(r);
    d.rights_base = reader_u64(r);
    d.rights_inheriting = reader_u64(r);
    d.node = reader_u64(r);
    d.position = reader_u64(r);
    if (r->failed) return damaged(err, "it is cut off");
    if (number >= to->capacity || to->descriptors[number].used)
        return damaged(err, "a descriptor number that cannot be");
    if (preopen > 1 || d.flags > 31 || d.position > INT64_MAX ||
        (d.rights_base | d.rights_inheriting) & ~WASI_RIGHTS_ALL)
        return damaged(err, "a descriptor that cannot be");
    d.preopen = preopen;
    enum status status = bind(w, to, kind, index, &d, err);
    if (status == ST_OK) to->descriptors[number] = d;
    return status;
}

static enum status take_descriptors(struct reader *r, const struct wasi *w, struct restored *to,
                                    struct error *err) {
    struct reader ahead = *r;
    uint32_t count = reader_u32(&ahead), highest = 15;
    if (count > WASI_MAX_DESCRIPTORS) return damaged(err, "too many descriptors");
    /* They are in order, so the last is the highest; its number comes first in it. */
    for (uint32_t i = 0; i < count; i++) {
        highest = reader_u32(&ahead);
        (void)reader_bytes(&ahead, 1 + 1 + 2 + 4 + 4 + 8 * 4);
    }
    if (ahead.failed) return damaged(err, "it is cut off");
    uint32_t capacity = 16;
    while (capacity <= highest && capacity < WASI_MAX_DESCRIPTORS) capacity *= 2;
    to->descriptors = calloc(capacity, sizeof *to->descriptors);
    if (!to->descriptors) return error_set(err, ST_NO_MEMORY, "WASI state");
    to->capacity = capacity;
    (void)reader_u32(r);
    for (uint32_t i = 0; i < count; i++) {
        enum status status = take_descriptor(r, w, to, err);
        if (status != ST_OK) return status;
    }
    return reader_left(r) ? damaged(err, "there is more than it should hold") : ST_OK;
}

/* The pages that are in place, where there are files in memory. */
static enum status adopt_files(const struct wasi *w, struct error *err) {
    struct memfs_quota mounts[MEMFS_MAX_MOUNTS] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->mount_count; i++) {
        const struct wasi_mount *mount = &w->mounts[i];
        if (!mount->in_memory) continue;
        mounts[count++] = (struct memfs_quota){.limit_bytes = mount->limit_bytes,
                                               .limit_inodes = mount->limit_inodes,
                                               .image_id = mount->image.id};
    }
    return w->files ? memfs_adopt(w->files, mounts, count, err) : ST_OK;
}

static enum status take_all(struct reader *r, const struct wasi *w, struct restored *to,
                            struct error *err) {
    if (reader_u32(r) != STATE_MAGIC) return damaged(err, "it is none");
    uint64_t used_bytes = reader_u64(r);
    if (!r->failed && used_bytes != wasi_files_region(w).used_bytes)
        return error_set(err, ST_INCOMPATIBLE, "the files in memory are others");
    enum status status = check_mounts(r, w, err);
    if (status == ST_OK) status = adopt_files(w, err);
    if (status == ST_OK) status = take_strings(r, &to->args, err);
    if (status == ST_OK) status = take_strings(r, &to->env, err);
    if (status == ST_OK) status = take_room(r, &to->env, &to->room, err);
    return status == ST_OK ? take_descriptors(r, w, to, err) : status;
}

/* Sessions of volumes as they were at first, with the rights that the guest had kept. */
static enum status restart_volumes(const struct wasi *w, struct restored *to,
                                   struct error *err) {
    for (uint32_t i = 0; i < w->mount_count; i++)
        if (w->mounts[i].volume && wasi_volume_restart(&w->mounts[i]) != WASI_OK)
            return error_set(err, ST_IO, "volume %s: it is gone", w->mounts[i].guest_path);
    for (uint32_t fd = 0; fd < to->capacity; fd++) {
        struct wasi_descriptor *d = &to->descriptors[fd];
        if (d->used && d->volume &&
            wasi_volume_set_rights(d, d->rights_base, d->rights_inheriting) != WASI_OK)
            return damaged(err, "rights of a volume");
    }
    return ST_OK;
}

enum status wasi_state_restore(struct wasi *w, const void *record, size_t size_bytes,
                               bool keep_strings, struct error *err) {
    struct reader r = reader_over(record, size_bytes);
    struct restored now = {0};
    enum status status = take_all(&r, w, &now, err);
    if (status == ST_OK) status = restart_volumes(w, &now, err);
    if (status == ST_OK) {
        for (uint32_t fd = 0; fd < w->capacity; fd++)
            if (w->descriptors[fd].used && w->descriptors[fd].owned)
                close(w->descriptors[fd].host_fd);
        struct restored was = {.args = w->args,
                               .env = w->env,
                               .descriptors = w->descriptors,
                               .capacity = w->capacity};
        w->room = now.room;
        w->descriptors = now.descriptors;
        w->capacity = now.capacity;
        if (keep_strings) {
            was.args = now.args;
            was.env = now.env;
        } else {
            w->args = now.args;
            if (w->keep_environment)
                was.env = now.env;
            else
                w->env = now.env;
        }
        now = was;
    }
    free(now.args.bytes);
    free(now.env.bytes);
    free(now.descriptors);
    return status;
}
