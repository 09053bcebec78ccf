/*
 * The bytes of a file: a tree of blocks, where what was never written has no block and reads as
 * the image beneath, as far as that still shows, and as zeros beyond. Growth moves nothing, and
 * a write brings over from the image no more than the blocks it touches.
 *
 * Invariants: the bytes of a block beyond the file's size are zero; lower_bytes is at most the
 * size.
 */
#include "runtime/memfs.h"

#define SLOTS 1024u /* references in a block of them */
#define SLOT_BITS 10u
#define MAX_HEIGHT 7u /* more than 2^63 bytes */

/* ---- trees ------------------------------------------------------------------------------- */

static uint32_t *slots_of(const struct memfs *fs, uint32_t ref) {
    return memfs_at(fs, ref, MEMFS_BLOCK);
}

static bool covers(uint32_t height, uint64_t index) {
    return height > 0 && index >> ((height - 1) * SLOT_BITS) == 0;
}

uint8_t *memfs_tree_get(const struct memfs *fs, const struct memfs_tree *tree, uint64_t index) {
    CHECK(tree->height <= MAX_HEIGHT);
    if (!covers(tree->height, index)) return NULL;
    uint32_t ref = tree->root;
    for (uint32_t level = tree->height - 1; ref && level > 0; level--)
        ref = slots_of(fs, ref)[index >> ((level - 1) * SLOT_BITS) & (SLOTS - 1)];
    return ref ? memfs_at(fs, ref, MEMFS_BLOCK) : NULL;
}

static enum wasi_errno take_charged(struct memfs *fs, uint32_t mount, uint32_t *ret_ref) {
    enum wasi_errno e = memfs_charge(fs, mount, MEMFS_BLOCK, false);
    if (e != WASI_OK) return e;
    uint32_t ref = memfs_block_take(fs);
    if (!ref) {
        memfs_refund(fs, mount, MEMFS_BLOCK);
        return WASI_ENOSPC;
    }
    *ret_ref = ref;
    return WASI_OK;
}

enum wasi_errno memfs_tree_make(struct memfs *fs, uint32_t mount, struct memfs_tree *tree,
                                uint64_t index, uint8_t **ret_block) {
    CHECK(index >> ((MAX_HEIGHT - 1) * SLOT_BITS) == 0);
    enum wasi_errno e;
    while (!covers(tree->height, index)) {
        if (tree->root) {
            uint32_t above = 0;
            e = take_charged(fs, mount, &above);
            if (e != WASI_OK) return e;
            slots_of(fs, above)[0] = tree->root;
            tree->root = above;
        }
        tree->height++;
    }
    uint32_t *at = &tree->root;
    for (uint32_t level = tree->height - 1;; level--) {
        if (!*at) {
            e = take_charged(fs, mount, at);
            if (e != WASI_OK) return e;
        }
        if (level == 0) break;
        at = &slots_of(fs, *at)[index >> ((level - 1) * SLOT_BITS) & (SLOTS - 1)];
    }
    *ret_block = memfs_at(fs, *at, MEMFS_BLOCK);
    return WASI_OK;
}

/* true where nothing is left of a subtree, which is then given back. */
static bool cut(struct memfs *fs, uint32_t mount, uint32_t ref, uint32_t level, uint64_t from) {
    if (level > 0) {
        uint32_t shift = (level - 1) * SLOT_BITS;
        uint32_t *slots = slots_of(fs, ref);
        uint64_t first = from >> shift;
        for (uint64_t i = first; i < SLOTS; i++) {
            uint64_t rest = i == first ? from - (first << shift) : 0;
            if (slots[i] && cut(fs, mount, slots[i], level - 1, rest)) slots[i] = 0;
        }
    }
    if (from > 0) return false;
    memfs_block_give(fs, ref);
    memfs_refund(fs, mount, MEMFS_BLOCK);
    return true;
}

void memfs_tree_cut(struct memfs *fs, uint32_t mount, struct memfs_tree *tree, uint64_t from) {
    CHECK(tree->height <= MAX_HEIGHT);
    if (tree->root && (from == 0 || covers(tree->height, from)) &&
        cut(fs, mount, tree->root, tree->height - 1, from))
        tree->root = 0;
    if (!tree->root) tree->height = 0;
}

/* ---- what lies beneath ------------------------------------------------------------------- */

/* Fills `to` with what shows of the image from offset on, and zeros. */
static void read_lower(const struct memfs *fs, const struct memfs_inode *inode, uint64_t offset,
                       uint8_t *to, size_t size) {
    struct image_node node;
    size_t at = 0;
    const struct image *image = fs->images[inode->mount];
    if (inode->has_lower && image && offset < inode->lower_bytes &&
        image_node(image, inode->lower, &node) == IMAGE_OK) {
        uint64_t shows = inode->lower_bytes - offset;
        size_t want = shows < size ? (size_t)shows : size;
        while (at < want) {
            uint64_t piece = 0;
            const uint8_t *from = image_data(&node, offset + at, &piece);
            if (!from) break;
            if (piece > want - at) piece = want - at;
            memcpy(to + at, from, piece);
            at += piece;
        }
    }
    memset(to + at, 0, size - at);
}

/* A block to be written: made, with what showed there. */
static enum wasi_errno own_block(struct memfs *fs, struct memfs_inode *inode, uint64_t index,
                                 uint8_t **ret_block) {
    *ret_block = memfs_tree_get(fs, &inode->data, index);
    if (*ret_block) return WASI_OK;
    enum wasi_errno e = memfs_tree_make(fs, inode->mount, &inode->data, index, ret_block);
    if (e == WASI_OK && inode->lower_bytes > index * MEMFS_BLOCK)
        read_lower(fs, inode, index * MEMFS_BLOCK, *ret_block, MEMFS_BLOCK);
    return e;
}

/* ---- files ------------------------------------------------------------------------------- */

size_t memfs_read(const struct memfs *fs, uint32_t ref, uint64_t offset, void *to,
                  size_t size) {
    const struct memfs_inode *inode = memfs_inode(fs, ref);
    uint8_t *out = to;
    if (offset >= inode->size_bytes) return 0;
    if (size > inode->size_bytes - offset) size = (size_t)(inode->size_bytes - offset);
    for (size_t at = 0, piece; at < size; at += piece) {
        uint64_t place = offset + at;
        size_t within = (size_t)(place % MEMFS_BLOCK);
        piece = MEMFS_BLOCK - within;
        if (piece > size - at) piece = size - at;
        const uint8_t *block = memfs_tree_get(fs, &inode->data, place / MEMFS_BLOCK);
        if (block)
            memcpy(out + at, block + within, piece);
        else
            read_lower(fs, inode, place, out + at, piece);
    }
    return size;
}

enum wasi_errno memfs_write(struct memfs *fs, uint32_t ref, uint64_t offset, const void *from,
                            size_t size, size_t *ret_n) {
    *ret_n = 0;
    if (size == 0) return WASI_OK;
    if (offset >= MEMFS_MAX_SIZE) return WASI_EFBIG;
    if (size > MEMFS_MAX_SIZE - offset) size = (size_t)(MEMFS_MAX_SIZE - offset);
    enum wasi_errno e = memfs_inode_own(fs, ref, false);
    struct memfs_inode *inode = memfs_inode(fs, ref);
    const uint8_t *in = from;
    size_t at = 0;
    for (size_t piece; e == WASI_OK && at < size; at += piece) {
        uint64_t place = offset + at;
        size_t within = (size_t)(place % MEMFS_BLOCK);
        uint8_t *block;
        piece = MEMFS_BLOCK - within;
        if (piece > size - at) piece = size - at;
        e = own_block(fs, inode, place / MEMFS_BLOCK, &block);
        if (e != WASI_OK) break;
        memcpy(block + within, in + at, piece);
    }
    if (at == 0) return e;
    if (offset + at > inode->size_bytes) inode->size_bytes = offset + at;
    inode->mtime_ns = inode->ctime_ns = memfs_now_ns();
    *ret_n = at;
    return WASI_OK;
}

enum wasi_errno memfs_truncate(struct memfs *fs, uint32_t ref, uint64_t size_bytes) {
    if (size_bytes > MEMFS_MAX_SIZE) return WASI_EFBIG;
    enum wasi_errno e = memfs_inode_own(fs, ref, true);
    if (e != WASI_OK) return e;
    struct memfs_inode *inode = memfs_inode(fs, ref);
    if (size_bytes < inode->size_bytes) {
        uint64_t whole = size_bytes / MEMFS_BLOCK, within = size_bytes % MEMFS_BLOCK;
        memfs_tree_cut(fs, inode->mount, &inode->data, whole + (within > 0));
        uint8_t *last = within ? memfs_tree_get(fs, &inode->data, whole) : NULL;
        if (last) memset(last + within, 0, MEMFS_BLOCK - within);
    }
    if (inode->lower_bytes > size_bytes) inode->lower_bytes = size_bytes;
    inode->size_bytes = size_bytes;
    inode->mtime_ns = inode->ctime_ns = memfs_now_ns();
    return WASI_OK;
}

enum wasi_errno memfs_allocate(struct memfs *fs, uint32_t ref, uint64_t offset,
                               uint64_t size_bytes) {
    uint64_t end = offset + size_bytes; /* at most MEMFS_MAX_SIZE: the caller has looked */
    const struct memfs_quota *quota = &memfs_header(fs)->mounts[memfs_inode(fs, ref)->mount];
    uint64_t free =
        quota->limit_bytes > quota->used_bytes ? quota->limit_bytes - quota->used_bytes : 0;
    enum wasi_errno e = memfs_inode_own(fs, ref, false);
    if (e != WASI_OK) return e;
    struct memfs_inode *inode = memfs_inode(fs, ref);
    uint64_t first = offset / MEMFS_BLOCK, behind = (end + MEMFS_BLOCK - 1) / MEMFS_BLOCK;
    uint64_t missing = 0, most = free / MEMFS_BLOCK;
    if (behind - first > most + quota->used_bytes / MEMFS_BLOCK + 1) return WASI_ENOSPC;
    for (uint64_t i = first; i < behind; i++)
        missing += memfs_tree_get(fs, &inode->data, i) == NULL;
    if (missing + missing / SLOTS > most) return WASI_ENOSPC;
    for (uint64_t i = first; i < behind && e == WASI_OK; i++) {
        uint8_t *block;
        e = own_block(fs, inode, i, &block);
    }
    if (e != WASI_OK) return e; /* what was made reads as what was there */
    if (end > inode->size_bytes) inode->size_bytes = end;
    inode->mtime_ns = inode->ctime_ns = memfs_now_ns();
    return WASI_OK;
}
