/*
 * memfs: a writable file system in one region of memory. All it knows lies in the region, with
 * offsets for pointers and its own allocator, so that saving the region's pages saves the file
 * system, and putting them back, here or in another process, puts it back (docs/files.md).
 *
 *   memfs.c         the region: reserve, grow, give back; mounts and what they may take
 *   memfs_alloc.c   4 KiB blocks, small objects in them, hash maps
 *   memfs_data.c    sparse trees of blocks; read, write, truncate
 *   memfs_node.c    inodes, and the nodes of an image that lies beneath
 *   memfs_dir.c     directory entries: find, name, forget, list
 *   memfs_path.c    paths, confined to the directory they start from
 *   memfs_change.c  make, remove, link, rename, open
 *   memfs_check.c   a whole file system: does everything add up
 *
 * A mount is one directory tree. Beneath it may lie a file image, which is never written: what
 * differs from it is in the region. An inode of the image comes into the region when it is
 * opened or changed, and is found there by its number in the image (header.lowers), whatever
 * name leads to it; so a change is seen through every name and every open descriptor. A name
 * that is gone from a directory of the image is an entry without an inode, a whiteout. A file's
 * blocks come over from the image one by one, as they are written.
 *
 *     name -> entry -> inode -> tree of blocks            of the mount itself
 *     name -> (no entry) -> image_find -> number -> lowers -> inode, or the image's own
 *
 * Trust: the guest cannot reach the region. Every reference is still checked against the
 * region's bounds where it is followed. Errors are WASI's, and those that Linux gives for the
 * same call on a tmpfs, so that a program cannot tell the two apart.
 */
#ifndef HUTCH_RUNTIME_MEMFS_H
#define HUTCH_RUNTIME_MEMFS_H

#include "runtime/wasi.h"

#include <sys/stat.h>
#include <time.h>

#define MEMFS_MAGIC UINT64_C(0x31736663746e7568)
#define MEMFS_VERSION 1u
#define MEMFS_BLOCK 4096u
#define MEMFS_UNIT 64u /* references count these */
#define MEMFS_MAX_MOUNTS 32u
#define MEMFS_NAME_MAX 255u
#define MEMFS_MAX_SIZE ((uint64_t)INT64_MAX)
#define MEMFS_NO_MOUNT UINT32_MAX /* what is charged to nobody */

/* A reference is where something lies in the region, in units of 64 bytes; 0 is none. */

/* Blocks by number. height 0: none; 1: root is block 0; more: root holds 1024 references. */
struct memfs_tree {
    uint32_t root, height;
};
/* What is in a map begins with one of these. */
struct memfs_link {
    uint32_t next, hash;
};
struct memfs_map {
    struct memfs_tree buckets; /* references, 1 << bits of them */
    uint32_t bits, count;
};

struct memfs_quota {
    uint64_t limit_bytes, used_bytes;
    uint64_t limit_inodes, used_inodes;
    uint64_t image_id; /* 0: none */
    uint32_t root, reserved;
};

enum memfs_class {
    MEMFS_64,
    MEMFS_128,
    MEMFS_320,
    MEMFS_CLASSES
};

/* At the start of the region, a block of its own. */
struct memfs_header {
    uint64_t magic;
    uint32_t version, mount_count;
    uint64_t used_bytes; /* of the region; beyond lies nothing but zeros */
    uint64_t next_number;
    uint64_t key[2]; /* of the hash of names: a guest cannot make them collide */
    uint32_t free_block, free_count; /* a list through the first word of each */
    uint32_t partial[MEMFS_CLASSES]; /* blocks of small objects that have room */
    uint32_t reserved;
    struct memfs_map names;  /* entries, by directory and name */
    struct memfs_map lowers; /* inodes that come from an image, by mount and number */
    struct memfs_quota mounts[MEMFS_MAX_MOUNTS];
};
_Static_assert(sizeof(struct memfs_header) <= MEMFS_BLOCK, "the header is a block");

#define MEMFS_INODE_MARK 0x1f0du

struct memfs_inode {
    struct memfs_link link; /* in header.lowers, where has_lower */
    uint16_t mark;
    uint8_t type; /* enum image_type */
    uint8_t mount;
    bool has_lower; /* lower is its number in the image */
    bool changed;   /* differs from the image, or is none of its */
    uint8_t reserved[2];
    uint32_t links, opens;
    uint64_t number, size_bytes;
    uint64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t lower,
        lower_bytes; /* the image's data shows up to there, where there is no block */
    struct memfs_tree data;
    /* Directories. parent: of `..`, where it is not as in the image. Entries in the order in
     * which they came, which is that of their sequence numbers. */
    uint32_t parent, first, last, names; /* names: entries that are no whiteouts */
    uint64_t sequence;                   /* the highest that was given */
    uint32_t named;                      /* entries that lead here */
};
_Static_assert(sizeof(struct memfs_inode) <= 128, "an inode is a small object");

struct memfs_entry {
    struct memfs_link link;    /* in header.names */
    uint32_t directory, inode; /* inode 0: a whiteout */
    uint32_t previous, next;
    uint64_t sequence;
    uint32_t name_length;
    uint8_t name[];
};
#define MEMFS_ENTRY_SIZE offsetof(struct memfs_entry, name)

struct memfs {
    uint8_t *base;
    uint64_t mapped_bytes, capacity_bytes; /* accessible; reserved */
    uint64_t present_bytes; /* nothing but speed hangs on it: memfs_touch_ahead */
    const struct image *images[MEMFS_MAX_MOUNTS];
    /* Where a listing has got to: nothing but speed hangs on it. */
    uint32_t hint_directory, hint_entry;
};

/* A file or directory of a mount: an inode of the region, or (inode 0) one of the image. */
struct memfs_node {
    uint32_t mount, inode;
    uint64_t lower;
};

/* ---- references -------------------------------------------------------------------------- */

static inline void *memfs_at(const struct memfs *fs, uint32_t ref, size_t size_bytes) {
    uint64_t at = (uint64_t)ref * MEMFS_UNIT;
    CHECK(at >= MEMFS_BLOCK && at + size_bytes <= fs->mapped_bytes);
    return fs->base + at;
}
static inline struct memfs_header *memfs_header(const struct memfs *fs) {
    return __builtin_assume_aligned(fs->base, MEMFS_BLOCK);
}
static inline struct memfs_inode *memfs_inode(const struct memfs *fs, uint32_t ref) {
    struct memfs_inode *inode = memfs_at(fs, ref, sizeof *inode);
    CHECK(inode->mark == MEMFS_INODE_MARK && inode->mount < MEMFS_MAX_MOUNTS);
    return inode;
}
static inline struct memfs_entry *memfs_entry(const struct memfs *fs, uint32_t ref) {
    return memfs_at(fs, ref, MEMFS_UNIT);
}
static inline bool memfs_same(struct memfs_node a, struct memfs_node b) {
    return a.mount == b.mount && a.inode == b.inode && (a.inode != 0 || a.lower == b.lower);
}

/* ---- memfs.c ----------------------------------------------------------------------------- */

/* Reserves room for mounts that may take limit_bytes together, at ABI_FILES_BASE where that is
 * free, and spare_bytes beyond their limits. */
enum status memfs_create(uint64_t limit_bytes, uint64_t spare_bytes, struct memfs **ret_fs,
                         struct error *err) must_check;
void memfs_destroy(struct memfs *fs);
/* A further mount, over an image (borrowed) or NULL. */
enum status memfs_mount(struct memfs *fs, uint64_t limit_bytes, uint64_t limit_inodes,
                        const struct image *image, uint32_t *ret_mount,
                        struct error *err) must_check;
struct memfs_node memfs_root(const struct memfs *fs, uint32_t mount);
/* As wasi_files_resize. */
enum status memfs_resize(struct memfs *fs, uint64_t used_bytes, struct error *err) must_check;
/* After pages were put in place: whether they are of a file system with these mounts. */
enum status memfs_adopt(struct memfs *fs, const struct memfs_quota *mounts,
                        uint32_t mount_count, struct error *err) must_check;
/* A block at used_bytes is about to be written: brings in some behind it, too. */
void memfs_touch_ahead(struct memfs *fs);
/* Makes at least this much accessible. false where there is no more. */
bool memfs_grow(struct memfs *fs, uint64_t used_bytes);
/* Counts bytes for a mount. ENOSPC over its limit, unless forced. */
enum wasi_errno memfs_charge(struct memfs *fs, uint32_t mount, uint64_t size_bytes, bool force);
void memfs_refund(struct memfs *fs, uint32_t mount, uint64_t size_bytes);

/* ---- memfs_alloc.c ----------------------------------------------------------------------- */

/* A block of zeros; 0 where the region is full. */
uint32_t memfs_block_take(struct memfs *fs);
void memfs_block_give(struct memfs *fs, uint32_t ref);
/* A zeroed object; 0 where the region is full. */
uint32_t memfs_object_take(struct memfs *fs, enum memfs_class class);
void memfs_object_give(struct memfs *fs, uint32_t ref);
uint32_t memfs_object_size(enum memfs_class class);
/* Whether a reference is that of an object of this class that could be in use. Any is safe. */
bool memfs_object_is(const struct memfs *fs, uint32_t ref, enum memfs_class class);
/* SipHash-1-3 under the region's key. */
uint32_t memfs_hash(const struct memfs *fs, uint64_t first, const void *bytes, size_t size);
/* The first of the chain that holds this hash; 0 where it is empty. */
uint32_t memfs_map_first(const struct memfs *fs, const struct memfs_map *map, uint32_t hash);
/* false where the region is full. ref's link holds its hash. */
bool memfs_map_add(struct memfs *fs, struct memfs_map *map, uint32_t ref);
void memfs_map_remove(struct memfs *fs, struct memfs_map *map, uint32_t ref);

/* ---- memfs_data.c ------------------------------------------------------------------------ */

/* Block `index` of a tree; NULL where it has none. */
uint8_t *memfs_tree_get(const struct memfs *fs, const struct memfs_tree *tree, uint64_t index);
/* The same; made of zeros where it has none. */
enum wasi_errno memfs_tree_make(struct memfs *fs, uint32_t mount, struct memfs_tree *tree,
                                uint64_t index, uint8_t **ret_block);
/* Gives back blocks from number `from` on. */
void memfs_tree_cut(struct memfs *fs, uint32_t mount, struct memfs_tree *tree, uint64_t from);
/* How much there is from offset on, up to size. */
size_t memfs_read(const struct memfs *fs, uint32_t inode, uint64_t offset, void *to,
                  size_t size);
/* ENOSPC and EFBIG where nothing could be written; *ret_n may be less than size. */
enum wasi_errno memfs_write(struct memfs *fs, uint32_t inode, uint64_t offset, const void *from,
                            size_t size, size_t *ret_n);
enum wasi_errno memfs_truncate(struct memfs *fs, uint32_t inode, uint64_t size_bytes);
/* Makes room, all or nothing. */
enum wasi_errno memfs_allocate(struct memfs *fs, uint32_t inode, uint64_t offset,
                               uint64_t size_bytes);

/* ---- memfs_node.c ------------------------------------------------------------------------ */

uint64_t memfs_now_ns(void);
/* Before any is made: it is always this time, and nothing is random (runtime.h, wasi_config).
 */
void memfs_tame(uint64_t now_ns);
bool memfs_is_tame(void);
/* A fresh inode of its mount: no links yet. */
enum wasi_errno memfs_inode_make(struct memfs *fs, uint32_t mount, enum image_type type,
                                 uint32_t *ret_inode);
/* The node of an inode number of the image. */
struct memfs_node memfs_lower_node(const struct memfs *fs, uint32_t mount, uint64_t lower);
/* Brings a node into the region; it may go again unless it is opened or changed. */
enum wasi_errno memfs_node_bring(struct memfs *fs, struct memfs_node *node);
/* The same, to be changed. force: limits do not count, for what makes things less. */
enum wasi_errno memfs_node_own(struct memfs *fs, struct memfs_node *node, bool force);
/* Marks an inode of the region as changed. */
enum wasi_errno memfs_inode_own(struct memfs *fs, uint32_t inode, bool force);
/* Frees an inode that nothing needs any more. */
void memfs_inode_drop(struct memfs *fs, uint32_t inode);
void memfs_close(struct memfs *fs, uint32_t inode);
enum wasi_errno memfs_type(const struct memfs *fs, struct memfs_node node,
                           enum image_type *ret_type);
enum wasi_errno memfs_stat(const struct memfs *fs, struct memfs_node node, struct stat *ret_st,
                           uint8_t *ret_filetype);
/* A symbolic link's target, not terminated; at most size bytes of it. EINVAL for others. */
enum wasi_errno memfs_readlink(const struct memfs *fs, struct memfs_node node, char *to,
                               size_t size, size_t *ret_n);
/* times: as for utimensat(2). */
enum wasi_errno memfs_set_times(struct memfs *fs, struct memfs_node *node,
                                const struct timespec times[2]);
uint8_t memfs_filetype(enum image_type type);

/* ---- memfs_dir.c ------------------------------------------------------------------------- */

/* ENOENT, ENAMETOOLONG; ENOTDIR is the caller's. */
enum wasi_errno memfs_find(const struct memfs *fs, struct memfs_node directory,
                           const char *name, size_t length, struct memfs_node *ret_node);
/* The directory of `..`. */
enum wasi_errno memfs_parent(const struct memfs *fs, struct memfs_node directory,
                             struct memfs_node *ret_node);
/* Makes a name of a directory lead to an inode, whatever it led to. */
enum wasi_errno memfs_name_set(struct memfs *fs, uint32_t directory, const char *name,
                               size_t length, uint32_t inode);
/* Makes sure that memfs_name_forget cannot fail: the name leads to inode. */
enum wasi_errno memfs_name_prepare(struct memfs *fs, uint32_t directory, const char *name,
                                   size_t length, uint32_t inode);
void memfs_name_forget(struct memfs *fs, uint32_t directory, const char *name, size_t length);
enum wasi_errno memfs_is_empty(const struct memfs *fs, struct memfs_node directory,
                               bool *ret_empty);
/* Gives back all entries of a directory that goes. */
void memfs_names_finish(struct memfs *fs, uint32_t directory);
struct memfs_listed {
    uint64_t next, number;
    uint8_t filetype;
    uint32_t name_length;
    const void *name; /* borrowed until something changes */
};
/* The entry at a cookie (0: the first). ENOENT behind the last. */
enum wasi_errno memfs_list(struct memfs *fs, struct memfs_node directory, uint64_t cookie,
                           struct memfs_listed *ret);

/* ---- memfs_path.c ------------------------------------------------------------------------ */

enum memfs_walk_mode {
    MEMFS_LOOK,   /* what is there; a link at the end is followed where a slash stands behind */
    MEMFS_FOLLOW, /* a link at the end is followed */
    MEMFS_NAME,   /* the last name itself, which may be missing */
    MEMFS_PLACE,  /* the same, but what is wrong with that name is in late, not an error */
    MEMFS_MAKE,   /* as MEMFS_FOLLOW, but the last name may be missing */
    MEMFS_MAKE_HERE /* and a link there is not followed */
};
struct memfs_walk {
    struct memfs_node node; /* where it led; holds where exists */
    bool exists;
    enum wasi_errno late;
    /* For the modes that stop at a name: the directory that holds it. */
    struct memfs_node parent;
    const char *name;
    size_t name_length;
    bool slash; /* behind the name */
    bool dots;  /* the name is `.` or `..`: node is where that leads, parent does not hold */
    char buffers[2][WASI_PATH_SIZE];
};
enum wasi_errno memfs_walk(const struct memfs *fs, struct memfs_node start, const char *path,
                           enum memfs_walk_mode mode, struct memfs_walk *ret);

/* ---- memfs_change.c ---------------------------------------------------------------------- */

struct memfs_open {
    uint32_t oflags; /* WASI_OFLAG_ */
    bool follow, writes;
};
/* Opens an inode, to be given back with memfs_close. */
enum wasi_errno memfs_open(struct memfs *fs, struct memfs_node start, const char *path,
                           const struct memfs_open *how, uint32_t *ret_inode);
enum wasi_errno memfs_mkdir(struct memfs *fs, struct memfs_node start, const char *path);
enum wasi_errno memfs_rmdir(struct memfs *fs, struct memfs_node start, const char *path);
enum wasi_errno memfs_unlink(struct memfs *fs, struct memfs_node start, const char *path);
enum wasi_errno memfs_symlink(struct memfs *fs, struct memfs_node start, const char *target,
                              const char *path);
enum wasi_errno memfs_link(struct memfs *fs, struct memfs_node from_start, const char *from,
                           struct memfs_node to_start, const char *to);
enum wasi_errno memfs_rename(struct memfs *fs, struct memfs_node from_start, const char *from,
                             struct memfs_node to_start, const char *to);

/* ---- memfs_check.c ----------------------------------------------------------------------- */

/* Whether all adds up: every block has one owner, lists and counts agree. open: inodes that
 * descriptors hold. For tests. */
enum status memfs_check(const struct memfs *fs, const uint32_t *open, uint32_t open_count,
                        struct error *err) must_check;

#endif
