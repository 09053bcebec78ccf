/*
 * A path of a mount to its node, confined to the directory it starts from: openat2(2) with
 * RESOLVE_BENEATH for files in memory. `..` above the start, absolute paths and absolute
 * symbolic links are refused. Nothing moves during a walk, so how deep it stands is all there
 * is to watch.
 *
 * A symbolic link is followed by putting its target before the rest of the path, in one of two
 * buffers that take turns.
 */
#include "runtime/memfs.h"

#define MAX_LINKS 40u /* as Linux has it */

struct state {
    const struct memfs *fs;
    struct memfs_walk *w;
    enum memfs_walk_mode mode;
    struct memfs_node at;
    uint64_t depth; /* of at beneath the start */
    uint32_t links;
    const char *rest;
    bool ended;
};

static enum wasi_errno follow_link(struct state *s, struct memfs_node link,
                                   const char *behind) {
    if (++s->links > MAX_LINKS) return WASI_ELOOP;
    char *to = s->w->buffers[s->links % 2];
    size_t length = 0, behind_length = strlen(behind);
    char target[WASI_PATH_SIZE];
    enum wasi_errno e = memfs_readlink(s->fs, link, target, sizeof target, &length);
    if (e != WASI_OK) return e;
    if (length == 0 || memchr(target, 0, length)) return WASI_EIO; /* of a damaged image */
    if (target[0] == '/') return WASI_EPERM;
    if (length + behind_length >= WASI_PATH_SIZE) return WASI_ENAMETOOLONG;
    memcpy(to, target, length);
    memcpy(to + length, behind, behind_length + 1);
    s->rest = to;
    return WASI_OK;
}

/* The last name, where the mode stops at it. *ret_goes_on: it is to be followed. */
static enum wasi_errno last_name(struct state *s, const char *name, size_t length, bool slash,
                                 bool *ret_goes_on) {
    struct memfs_walk *w = s->w;
    struct memfs_node child;
    enum image_type type = IMAGE_SPECIAL;
    bool makes = s->mode == MEMFS_MAKE || s->mode == MEMFS_MAKE_HERE;
    if (makes && slash) return WASI_EISDIR; /* a file would be made */
    enum wasi_errno e = memfs_find(s->fs, s->at, name, length, &child);
    if (e == WASI_OK) e = memfs_type(s->fs, child, &type);
    if (e == WASI_OK && type == IMAGE_SYMLINK && s->mode == MEMFS_MAKE) {
        *ret_goes_on = true;
        return WASI_OK;
    }
    if (e != WASI_OK && e != WASI_ENOENT) {
        if (s->mode != MEMFS_PLACE) return e;
        w->late = e;
    }
    w->parent = s->at;
    w->name = name;
    w->name_length = length;
    w->slash = slash;
    w->exists = e == WASI_OK;
    if (w->exists) w->node = child;
    s->ended = true;
    return WASI_OK;
}

static enum wasi_errno go_up(struct state *s) {
    if (s->depth == 0) return WASI_EPERM;
    s->depth--;
    return memfs_parent(s->fs, s->at, &s->at);
}

/* One component. */
static enum wasi_errno step(struct state *s) {
    const char *name = s->rest;
    size_t length = strcspn(name, "/");
    const char *behind = name + length;
    bool slash = *behind, last = behind[strspn(behind, "/")] == 0;
    bool stops = s->mode != MEMFS_LOOK && s->mode != MEMFS_FOLLOW;
    struct memfs_node child;
    enum image_type type;
    enum wasi_errno e = memfs_type(s->fs, s->at, &type);
    if (e != WASI_OK) return e;
    if (type != IMAGE_DIRECTORY) return WASI_ENOTDIR;
    bool dot = length == 1 && name[0] == '.';
    bool up = length == 2 && name[0] == '.' && name[1] == '.';
    s->rest = behind;
    if (dot || up) {
        if (up && (e = go_up(s)) != WASI_OK) return e;
        if (last && stops) {
            s->w->dots = true;
            s->w->name = name;
            s->w->name_length = length;
        }
        return WASI_OK;
    }
    if (last && stops) {
        bool goes_on = false;
        e = last_name(s, name, length, slash, &goes_on);
        if (e != WASI_OK || !goes_on) return e;
    }
    e = memfs_find(s->fs, s->at, name, length, &child);
    if (e == WASI_OK) e = memfs_type(s->fs, child, &type);
    if (e != WASI_OK) return e;
    if (type == IMAGE_SYMLINK && (!last || slash || s->mode != MEMFS_LOOK))
        return follow_link(s, child, behind);
    s->depth++;
    s->at = child;
    return slash && type != IMAGE_DIRECTORY ? WASI_ENOTDIR : WASI_OK;
}

enum wasi_errno memfs_walk(const struct memfs *fs, struct memfs_node start, const char *path,
                           enum memfs_walk_mode mode, struct memfs_walk *ret) {
    struct state s = {.fs = fs, .w = ret, .mode = mode, .at = start, .rest = path};
    ret->exists = ret->slash = ret->dots = false;
    ret->late = WASI_OK;
    if (path[0] == '/') return WASI_EPERM;
    if (path[0] == 0) return WASI_ENOENT;
    while (!s.ended) {
        s.rest += strspn(s.rest, "/");
        if (*s.rest == 0) {
            ret->node = s.at;
            ret->exists = true;
            return WASI_OK;
        }
        enum wasi_errno e = step(&s);
        if (e != WASI_OK) return e;
    }
    return WASI_OK;
}
