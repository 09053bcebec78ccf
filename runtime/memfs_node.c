/*
 * Nodes: inodes of the region, and those of the image beneath a mount. One of the image is
 * brought into the region when it is opened or changed; while it is there it is found by its
 * number, so every way to it leads to the same inode. One that was only opened goes again when
 * it is closed, and was charged to nobody.
 */
#include "runtime/memfs.h"

#include <sys/stat.h>
#include <time.h>

/* The one piece of state that is not a file system's: the process has one clock. */
static uint64_t tame_ns;

void memfs_tame(uint64_t now_ns) { tame_ns = now_ns; }
bool memfs_is_tame(void) { return tame_ns != 0; }

uint64_t memfs_now_ns(void) {
    if (tame_ns) return tame_ns;
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    return wasi_ns_of_timespec(&ts);
}

uint8_t memfs_filetype(enum image_type type) {
    switch (type) {
    case IMAGE_FILE: return WASI_FILETYPE_REGULAR_FILE;
    case IMAGE_DIRECTORY: return WASI_FILETYPE_DIRECTORY;
    case IMAGE_SYMLINK: return WASI_FILETYPE_SYMBOLIC_LINK;
    case IMAGE_SPECIAL: break;
    }
    return WASI_FILETYPE_UNKNOWN;
}

/* ---- inodes ------------------------------------------------------------------------------ */

static enum wasi_errno charge_inode(struct memfs *fs, uint32_t mount, bool force) {
    struct memfs_quota *quota = &memfs_header(fs)->mounts[mount];
    if (!force && quota->limit_inodes && quota->used_inodes >= quota->limit_inodes)
        return WASI_ENOSPC;
    enum wasi_errno e = memfs_charge(fs, mount, memfs_object_size(MEMFS_128), force);
    if (e == WASI_OK) quota->used_inodes++;
    return e;
}

static uint32_t take_inode(struct memfs *fs, uint32_t mount, enum image_type type) {
    uint32_t ref = memfs_object_take(fs, MEMFS_128);
    if (!ref) return 0;
    struct memfs_inode *inode = memfs_at(fs, ref, sizeof *inode);
    inode->mark = MEMFS_INODE_MARK;
    inode->type = (uint8_t)type;
    inode->mount = (uint8_t)mount;
    return ref;
}

enum wasi_errno memfs_inode_make(struct memfs *fs, uint32_t mount, enum image_type type,
                                 uint32_t *ret_inode) {
    enum wasi_errno e = charge_inode(fs, mount, false);
    if (e != WASI_OK) return e;
    uint32_t ref = take_inode(fs, mount, type);
    if (!ref) {
        memfs_refund(fs, mount, memfs_object_size(MEMFS_128));
        memfs_header(fs)->mounts[mount].used_inodes--;
        return WASI_ENOSPC;
    }
    struct memfs_inode *inode = memfs_inode(fs, ref);
    inode->changed = true;
    inode->number = memfs_header(fs)->next_number++;
    inode->atime_ns = inode->mtime_ns = inode->ctime_ns = memfs_now_ns();
    *ret_inode = ref;
    return WASI_OK;
}

enum wasi_errno memfs_inode_own(struct memfs *fs, uint32_t ref, bool force) {
    struct memfs_inode *inode = memfs_inode(fs, ref);
    if (inode->changed) return WASI_OK;
    enum wasi_errno e = charge_inode(fs, inode->mount, force);
    if (e == WASI_OK) inode->changed = true;
    return e;
}

void memfs_inode_drop(struct memfs *fs, uint32_t ref) {
    struct memfs_inode *inode = memfs_inode(fs, ref);
    uint32_t mount = inode->mount;
    if (inode->opens || inode->named || (inode->links && inode->changed)) return;
    if (inode->has_lower) memfs_map_remove(fs, &memfs_header(fs)->lowers, ref);
    if (inode->changed) {
        memfs_refund(fs, mount, memfs_object_size(MEMFS_128));
        memfs_header(fs)->mounts[mount].used_inodes--;
    }
    memfs_tree_cut(fs, mount, &inode->data, 0);
    if (inode->type == IMAGE_DIRECTORY) memfs_names_finish(fs, ref);
    memfs_object_give(fs, ref);
}

void memfs_close(struct memfs *fs, uint32_t ref) {
    struct memfs_inode *inode = memfs_inode(fs, ref);
    CHECK(inode->opens > 0);
    inode->opens--;
    memfs_inode_drop(fs, ref);
}

/* ---- nodes of an image ------------------------------------------------------------------- */

static uint32_t lower_hash(uint32_t mount, uint64_t lower) {
    /* An image's numbers are no secret, and no guest makes them: any mixing will do. */
    uint64_t h = (lower * MEMFS_MAX_MOUNTS + mount) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}

struct memfs_node memfs_lower_node(const struct memfs *fs, uint32_t mount, uint64_t lower) {
    struct memfs_node node = {.mount = mount, .lower = lower};
    uint32_t hash = lower_hash(mount, lower);
    for (uint32_t ref = memfs_map_first(fs, &memfs_header(fs)->lowers, hash); ref;) {
        const struct memfs_inode *inode = memfs_inode(fs, ref);
        if (inode->lower == lower && inode->mount == mount) {
            node.inode = ref;
            break;
        }
        ref = inode->link.next;
    }
    return node;
}

static enum wasi_errno load_lower(const struct memfs *fs, struct memfs_node node,
                                  struct image_node *ret) {
    const struct image *image = fs->images[node.mount];
    return image && image_node(image, node.lower, ret) == IMAGE_OK ? WASI_OK : WASI_EIO;
}

static uint64_t time_of(const struct image_node *node) {
    uint64_t ns = 0;
    if (mul_overflows(node->mtime_s, UINT64_C(1000000000), &ns) ||
        add_overflows(ns, node->mtime_ns < 1000000000 ? node->mtime_ns : 0, &ns))
        return UINT64_MAX;
    return ns;
}

static uint64_t size_of(const struct image_node *node) {
    return node->size_bytes < MEMFS_MAX_SIZE ? node->size_bytes : MEMFS_MAX_SIZE;
}

enum wasi_errno memfs_node_bring(struct memfs *fs, struct memfs_node *node) {
    struct image_node lower;
    if (node->inode) return WASI_OK;
    enum wasi_errno e = load_lower(fs, *node, &lower);
    if (e != WASI_OK) return e;
    uint32_t ref = take_inode(fs, node->mount, lower.type);
    if (!ref) return WASI_ENOSPC;
    struct memfs_inode *inode = memfs_inode(fs, ref);
    inode->has_lower = true;
    inode->lower = node->lower;
    inode->link.hash = lower_hash(node->mount, node->lower);
    inode->number = node->lower;
    inode->links = lower.links ? lower.links : 1;
    inode->size_bytes = inode->lower_bytes = size_of(&lower);
    inode->atime_ns = inode->mtime_ns = inode->ctime_ns = time_of(&lower);
    if (!memfs_map_add(fs, &memfs_header(fs)->lowers, ref)) {
        memfs_object_give(fs, ref);
        return WASI_ENOSPC;
    }
    node->inode = ref;
    return WASI_OK;
}

enum wasi_errno memfs_node_own(struct memfs *fs, struct memfs_node *node, bool force) {
    enum wasi_errno e = memfs_node_bring(fs, node);
    if (e != WASI_OK) return e;
    e = memfs_inode_own(fs, node->inode, force);
    if (e != WASI_OK) memfs_inode_drop(fs, node->inode);
    return e;
}

/* ---- attributes -------------------------------------------------------------------------- */

enum wasi_errno memfs_type(const struct memfs *fs, struct memfs_node node,
                           enum image_type *ret_type) {
    if (node.inode) {
        *ret_type = (enum image_type)memfs_inode(fs, node.inode)->type;
        return WASI_OK;
    }
    struct image_node lower;
    enum wasi_errno e = load_lower(fs, node, &lower);
    if (e == WASI_OK) *ret_type = lower.type;
    return e;
}

/* Directories have a size on Linux too; any will do. */
#define DIRECTORY_BYTES 4096

enum wasi_errno memfs_stat(const struct memfs *fs, struct memfs_node node, struct stat *ret_st,
                           uint8_t *ret_filetype) {
    struct stat st = {.st_dev = (UINT64_C(1) << 62) + node.mount};
    enum image_type type;
    uint64_t size;
    if (node.inode) {
        const struct memfs_inode *inode = memfs_inode(fs, node.inode);
        type = (enum image_type)inode->type;
        size = inode->size_bytes;
        st.st_ino = inode->number;
        st.st_nlink = inode->links;
        st.st_atim = wasi_timespec_of_ns(inode->atime_ns);
        st.st_mtim = wasi_timespec_of_ns(inode->mtime_ns);
        st.st_ctim = wasi_timespec_of_ns(inode->ctime_ns);
    } else {
        struct image_node lower;
        enum wasi_errno e = load_lower(fs, node, &lower);
        if (e != WASI_OK) return e;
        type = lower.type;
        size = size_of(&lower);
        st.st_ino = node.lower;
        st.st_nlink = lower.links ? lower.links : 1;
        st.st_atim = st.st_mtim = st.st_ctim = wasi_timespec_of_ns(time_of(&lower));
    }
    st.st_size = type == IMAGE_DIRECTORY ? DIRECTORY_BYTES : (off_t)size;
    *ret_st = st;
    *ret_filetype = memfs_filetype(type);
    return WASI_OK;
}

enum wasi_errno memfs_readlink(const struct memfs *fs, struct memfs_node node, char *to,
                               size_t size, size_t *ret_n) {
    enum image_type type;
    enum wasi_errno e = memfs_type(fs, node, &type);
    if (e != WASI_OK) return e;
    if (type != IMAGE_SYMLINK) return WASI_EINVAL;
    if (node.inode) {
        *ret_n = memfs_read(fs, node.inode, 0, to, size);
        return WASI_OK;
    }
    struct image_node lower;
    uint64_t length = 0;
    e = load_lower(fs, node, &lower);
    if (e != WASI_OK) return e;
    const uint8_t *target = image_data(&lower, 0, &length);
    if (!target || length != lower.size_bytes) return WASI_EIO;
    if (length > size) length = size;
    memcpy(to, target, length);
    *ret_n = (size_t)length;
    return WASI_OK;
}

static void set_time(uint64_t *to, const struct timespec *ts, uint64_t now) {
    if (ts->tv_nsec == UTIME_OMIT) return;
    *to = ts->tv_nsec == UTIME_NOW ? now : wasi_ns_of_timespec(ts);
}

enum wasi_errno memfs_set_times(struct memfs *fs, struct memfs_node *node,
                                const struct timespec times[2]) {
    enum wasi_errno e = memfs_node_own(fs, node, false);
    if (e != WASI_OK) return e;
    struct memfs_inode *inode = memfs_inode(fs, node->inode);
    uint64_t now = memfs_now_ns();
    set_time(&inode->atime_ns, &times[0], now);
    set_time(&inode->mtime_ns, &times[1], now);
    if (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) inode->ctime_ns = now;
    return WASI_OK;
}
