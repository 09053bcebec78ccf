/*
 * What changes names: make, remove, link, rename, and open, which may make. The order in which
 * things are looked at is Linux's (namei.c of 6.x, as its manual pages tell it), so that the
 * error is the one a program gets on a tmpfs. All that can fail comes before the first change;
 * a rename is all or nothing.
 */
#include "runtime/memfs.h"

static bool is_directory(const struct memfs *fs, struct memfs_node node) {
    enum image_type type;
    return memfs_type(fs, node, &type) == WASI_OK && type == IMAGE_DIRECTORY;
}

/* A directory that was removed while open takes no names. */
static bool is_dead(const struct memfs *fs, struct memfs_node directory) {
    return directory.inode && memfs_inode(fs, directory.inode)->links == 0;
}

static void touch(struct memfs *fs, uint32_t directory, uint64_t now) {
    struct memfs_inode *inode = memfs_inode(fs, directory);
    inode->mtime_ns = inode->ctime_ns = now;
}

/* ---- make -------------------------------------------------------------------------------- */

/* Makes an inode under the name where a walk stopped. */
static enum wasi_errno make(struct memfs *fs, struct memfs_walk *w, enum image_type type,
                            const char *target, uint32_t *ret_inode) {
    uint32_t ref = 0;
    size_t written = 0, length = target ? strlen(target) : 0;
    if (is_dead(fs, w->parent)) return WASI_ENOENT;
    enum wasi_errno e = memfs_node_own(fs, &w->parent, false);
    if (e == WASI_OK) e = memfs_inode_make(fs, w->parent.mount, type, &ref);
    if (e != WASI_OK) return e;
    if (target) e = memfs_write(fs, ref, 0, target, length, &written);
    if (e == WASI_OK && written < length) e = WASI_ENOSPC;
    if (e == WASI_OK) e = memfs_name_set(fs, w->parent.inode, w->name, w->name_length, ref);
    if (e != WASI_OK) {
        memfs_inode_drop(fs, ref);
        return e;
    }
    struct memfs_inode *inode = memfs_inode(fs, ref);
    inode->links = 1;
    if (type == IMAGE_DIRECTORY) {
        inode->links = 2;
        inode->parent = w->parent.inode;
        memfs_inode(fs, w->parent.inode)->links++;
    }
    touch(fs, w->parent.inode, inode->mtime_ns);
    *ret_inode = ref;
    return WASI_OK;
}

enum wasi_errno memfs_mkdir(struct memfs *fs, struct memfs_node start, const char *path) {
    struct memfs_walk w;
    uint32_t inode;
    enum wasi_errno e = memfs_walk(fs, start, path, MEMFS_NAME, &w);
    if (e != WASI_OK) return e;
    if (w.exists) return WASI_EEXIST;
    return make(fs, &w, IMAGE_DIRECTORY, NULL, &inode);
}

enum wasi_errno memfs_symlink(struct memfs *fs, struct memfs_node start, const char *target,
                              const char *path) {
    struct memfs_walk w;
    uint32_t inode;
    enum wasi_errno e = memfs_walk(fs, start, path, MEMFS_NAME, &w);
    if (e != WASI_OK) return e;
    if (w.exists) return WASI_EEXIST;
    if (w.slash) return WASI_ENOENT;
    return make(fs, &w, IMAGE_SYMLINK, target, &inode);
}

/* ---- open -------------------------------------------------------------------------------- */

static enum wasi_errno open_existing(struct memfs *fs, struct memfs_node node,
                                     const struct memfs_open *how, uint32_t *ret_inode) {
    enum image_type type;
    bool creates = how->oflags & WASI_OFLAG_CREAT, truncates = how->oflags & WASI_OFLAG_TRUNC;
    enum wasi_errno e = memfs_type(fs, node, &type);
    if (e != WASI_OK) return e;
    if (creates && how->oflags & WASI_OFLAG_EXCL) return WASI_EEXIST;
    if (creates && type == IMAGE_DIRECTORY) return WASI_EISDIR;
    if (how->oflags & WASI_OFLAG_DIRECTORY && type != IMAGE_DIRECTORY) return WASI_ENOTDIR;
    if (type == IMAGE_SYMLINK) return WASI_ELOOP;
    if (type == IMAGE_DIRECTORY && (how->writes || truncates)) return WASI_EISDIR;
    if (type == IMAGE_SPECIAL) return WASI_ENXIO;
    e = memfs_node_bring(fs, &node);
    if (e != WASI_OK) return e;
    memfs_inode(fs, node.inode)->opens++;
    if (truncates) e = memfs_truncate(fs, node.inode, 0);
    if (e != WASI_OK) {
        memfs_close(fs, node.inode);
        return e;
    }
    *ret_inode = node.inode;
    return WASI_OK;
}

enum wasi_errno memfs_open(struct memfs *fs, struct memfs_node start, const char *path,
                           const struct memfs_open *how, uint32_t *ret_inode) {
    struct memfs_walk w;
    bool creates = how->oflags & WASI_OFLAG_CREAT;
    bool exclusive = creates && how->oflags & WASI_OFLAG_EXCL;
    /* Linux 6.4 and later; older ones make a file. */
    if (creates && how->oflags & WASI_OFLAG_DIRECTORY) return WASI_EINVAL;
    enum memfs_walk_mode mode = how->follow ? MEMFS_FOLLOW : MEMFS_LOOK;
    if (creates) mode = how->follow && !exclusive ? MEMFS_MAKE : MEMFS_MAKE_HERE;
    enum wasi_errno e = memfs_walk(fs, start, path, mode, &w);
    if (e != WASI_OK) return e;
    if (w.exists) return open_existing(fs, w.node, how, ret_inode);
    e = make(fs, &w, IMAGE_FILE, NULL, ret_inode);
    if (e == WASI_OK) memfs_inode(fs, *ret_inode)->opens++;
    return e;
}

/* ---- remove ------------------------------------------------------------------------------ */

/* Takes the name where a walk stopped from its node: both are owned then, nothing is freed. */
static enum wasi_errno take_name(struct memfs *fs, struct memfs_walk *w) {
    enum wasi_errno e = memfs_node_own(fs, &w->parent, true);
    if (e == WASI_OK) e = memfs_node_own(fs, &w->node, true);
    if (e == WASI_OK)
        e = memfs_name_prepare(fs, w->parent.inode, w->name, w->name_length, w->node.inode);
    return e;
}

enum wasi_errno memfs_unlink(struct memfs *fs, struct memfs_node start, const char *path) {
    struct memfs_walk w;
    enum wasi_errno e = memfs_walk(fs, start, path, MEMFS_NAME, &w);
    if (e != WASI_OK) return e;
    if (w.dots) return WASI_EISDIR;
    if (!w.exists) return WASI_ENOENT;
    if (is_directory(fs, w.node)) return WASI_EISDIR;
    if (w.slash) return WASI_ENOTDIR;
    e = take_name(fs, &w);
    if (e != WASI_OK) return e;
    uint64_t now = memfs_now_ns();
    memfs_name_forget(fs, w.parent.inode, w.name, w.name_length);
    touch(fs, w.parent.inode, now);
    struct memfs_inode *inode = memfs_inode(fs, w.node.inode);
    if (inode->links) inode->links--;
    inode->ctime_ns = now;
    memfs_inode_drop(fs, w.node.inode);
    return WASI_OK;
}

/* A directory that has lost its name. */
static void retire_directory(struct memfs *fs, uint32_t parent, uint32_t ref, uint64_t now) {
    struct memfs_inode *inode = memfs_inode(fs, ref), *above = memfs_inode(fs, parent);
    inode->links = 0;
    inode->ctime_ns = now;
    if (above->links > 2) above->links--;
    memfs_inode_drop(fs, ref);
}

enum wasi_errno memfs_rmdir(struct memfs *fs, struct memfs_node start, const char *path) {
    struct memfs_walk w;
    bool empty = false;
    enum wasi_errno e = memfs_walk(fs, start, path, MEMFS_NAME, &w);
    if (e != WASI_OK) return e;
    if (w.dots) return w.name_length == 2 ? WASI_ENOTEMPTY : WASI_EINVAL;
    if (!w.exists) return WASI_ENOENT;
    if (!is_directory(fs, w.node)) return WASI_ENOTDIR;
    e = memfs_is_empty(fs, w.node, &empty);
    if (e != WASI_OK) return e;
    if (!empty) return WASI_ENOTEMPTY;
    e = take_name(fs, &w);
    if (e != WASI_OK) return e;
    uint64_t now = memfs_now_ns();
    memfs_name_forget(fs, w.parent.inode, w.name, w.name_length);
    touch(fs, w.parent.inode, now);
    retire_directory(fs, w.parent.inode, w.node.inode, now);
    return WASI_OK;
}

/* ---- link and rename --------------------------------------------------------------------- */

enum wasi_errno memfs_link(struct memfs *fs, struct memfs_node from_start, const char *from,
                           struct memfs_node to_start, const char *to) {
    struct memfs_walk old, new;
    /* A slash at the end asks for a directory, which cannot be linked. */
    bool slash = from[0] && from[strlen(from) - 1] == '/';
    enum wasi_errno e =
        memfs_walk(fs, from_start, from, slash ? MEMFS_FOLLOW : MEMFS_PLACE, &old);
    if (e != WASI_OK) return e;
    if (slash) return WASI_EPERM;
    e = memfs_walk(fs, to_start, to, MEMFS_PLACE, &new);
    if (e != WASI_OK) return e;
    if (old.dots) return WASI_EPERM;
    if (new.dots) return WASI_EEXIST;
    if (old.late || !old.exists) return old.late ? old.late : WASI_ENOENT;
    if (new.late) return new.late;
    if (new.exists) return WASI_EEXIST;
    if (new.slash) return WASI_ENOENT;
    if (old.node.mount != new.parent.mount) return WASI_EXDEV;
    if (is_directory(fs, old.node)) return WASI_EPERM;
    if (is_dead(fs, new.parent)) return WASI_ENOENT;
    e = memfs_node_own(fs, &new.parent, false);
    if (e == WASI_OK) e = memfs_node_own(fs, &old.node, false);
    if (e == WASI_OK)
        e = memfs_name_set(fs, new.parent.inode, new.name, new.name_length, old.node.inode);
    if (e != WASI_OK) return e;
    struct memfs_inode *inode = memfs_inode(fs, old.node.inode);
    inode->links++;
    inode->ctime_ns = memfs_now_ns();
    touch(fs, new.parent.inode, inode->ctime_ns);
    return WASI_OK;
}

/* Whether a directory is `below` or one above it. */
static enum wasi_errno is_above(const struct memfs *fs, struct memfs_node directory,
                                struct memfs_node below, bool *ret_above) {
    struct memfs_node root = memfs_root(fs, below.mount);
    /* An image may lie about `..`, but not for ever. */
    for (uint32_t depth = 0; depth < 1u << 20; depth++) {
        *ret_above = memfs_same(directory, below);
        if (*ret_above || memfs_same(below, root)) return WASI_OK;
        enum wasi_errno e = memfs_parent(fs, below, &below);
        if (e != WASI_OK) return e;
    }
    return WASI_EIO;
}

/* What Linux looks at before it asks the file system. */
static enum wasi_errno may_rename(const struct memfs *fs, const struct memfs_walk *old,
                                  const struct memfs_walk *new) {
    bool above = false, empty = false;
    if (old->dots || new->dots) return WASI_EBUSY;
    if (old->late || !old->exists) return old->late ? old->late : WASI_ENOENT;
    if (new->late) return new->late;
    bool directory = is_directory(fs, old->node);
    if (!directory && (old->slash || new->slash)) return WASI_ENOTDIR;
    if (directory) {
        enum wasi_errno e = is_above(fs, old->node, new->parent, &above);
        if (e != WASI_OK) return e;
        if (above) return WASI_EINVAL;
    }
    if (new->exists && is_directory(fs, new->node)) {
        enum wasi_errno e = is_above(fs, new->node, old->parent, &above);
        if (e != WASI_OK) return e;
        if (above) return WASI_ENOTEMPTY;
    }
    if (!new->exists) return is_dead(fs, new->parent) ? WASI_ENOENT : WASI_OK;
    if (memfs_same(old->node, new->node)) return WASI_OK;
    if (directory && !is_directory(fs, new->node)) return WASI_ENOTDIR;
    if (!directory && is_directory(fs, new->node)) return WASI_EISDIR;
    if (!directory) return WASI_OK;
    enum wasi_errno e = memfs_is_empty(fs, new->node, &empty);
    if (e != WASI_OK) return e;
    return empty ? WASI_OK : WASI_ENOTEMPTY;
}

/* After the new name leads to it and before the old one goes. */
static void move_directory(struct memfs *fs, uint32_t from, uint32_t to, uint32_t ref) {
    struct memfs_inode *above = memfs_inode(fs, from);
    memfs_inode(fs, ref)->parent = to;
    if (from == to) return;
    if (above->links > 2) above->links--;
    memfs_inode(fs, to)->links++;
}

enum wasi_errno memfs_rename(struct memfs *fs, struct memfs_node from_start, const char *from,
                             struct memfs_node to_start, const char *to) {
    struct memfs_walk old, new;
    enum wasi_errno e = memfs_walk(fs, from_start, from, MEMFS_PLACE, &old);
    if (e == WASI_OK) e = memfs_walk(fs, to_start, to, MEMFS_PLACE, &new);
    if (e != WASI_OK) return e;
    if (from_start.mount != to_start.mount) return WASI_EXDEV;
    e = may_rename(fs, &old, &new);
    if (e != WASI_OK) return e;
    if (new.exists && memfs_same(old.node, new.node)) return WASI_OK;
    e = take_name(fs, &old);
    if (e != WASI_OK) return e;
    /* What was brought in just now may be where the other walk ended, too. */
    if (memfs_walk(fs, to_start, to, MEMFS_NAME, &new) != WASI_OK) return WASI_EIO;
    e = memfs_node_own(fs, &new.parent, false);
    if (e == WASI_OK && new.exists) e = memfs_node_own(fs, &new.node, true);
    if (e == WASI_OK)
        e = memfs_name_set(fs, new.parent.inode, new.name, new.name_length, old.node.inode);
    if (e != WASI_OK) return e;
    /* From here on nothing fails. */
    uint64_t now = memfs_now_ns();
    bool directory = is_directory(fs, old.node);
    if (directory) move_directory(fs, old.parent.inode, new.parent.inode, old.node.inode);
    memfs_name_forget(fs, old.parent.inode, old.name, old.name_length);
    touch(fs, old.parent.inode, now);
    touch(fs, new.parent.inode, now);
    memfs_inode(fs, old.node.inode)->ctime_ns = now;
    if (!new.exists) return WASI_OK;
    if (directory) {
        retire_directory(fs, new.parent.inode, new.node.inode, now);
        return WASI_OK;
    }
    struct memfs_inode *replaced = memfs_inode(fs, new.node.inode);
    if (replaced->links) replaced->links--;
    replaced->ctime_ns = now;
    memfs_inode_drop(fs, new.node.inode);
    return WASI_OK;
}
