/*
 * A mapped file image to its superblock and inodes (docs/images.md; the kernel's documentation
 * of EROFS). The subset: 4 KiB blocks, data uncompressed and in one run of blocks, its last
 * piece optionally behind the inode. Extended attributes are skipped.
 *
 * Invariant: a struct image_node is only handed out with all its data within the image, so what
 * reads data needs no checks of its own but the node's size.
 */
#include "runtime/image.h"

#include <sys/stat.h>

static enum status check_super(const struct image *image, const uint8_t *super,
                               struct error *err) {
    if (le32(super + EROFS_SUPER_MAGIC) != EROFS_MAGIC)
        return error_set(err, ST_MALFORMED, "this is no EROFS image");
    if (super[EROFS_SUPER_BLOCK_BITS] != EROFS_BLOCK_BITS)
        return error_set(err, ST_UNSUPPORTED, "its blocks are not of 4 KiB");
    uint32_t features = le32(super + EROFS_SUPER_INCOMPAT);
    if (features & ~(uint32_t)EROFS_INCOMPAT_READ)
        return error_set(err, ST_UNSUPPORTED,
                         "it has features that are not read here (0x%x): make it without "
                         "compression and chunks",
                         features);
    if (le16(super + EROFS_SUPER_EXTRA_DEVICES))
        return error_set(err, ST_UNSUPPORTED, "it spreads over several devices");
    if (super[EROFS_SUPER_DIR_BLOCK_BITS])
        return error_set(err, ST_UNSUPPORTED, "its directory blocks are not of 4 KiB");
    uint64_t said = (uint64_t)le32(super + EROFS_SUPER_BLOCKS) << EROFS_BLOCK_BITS;
    if (said > image->size_bytes)
        return error_set(err, ST_DAMAGED, "it is cut off: %llu bytes of %llu",
                         (unsigned long long)image->size_bytes, (unsigned long long)said);
    if (!(le32(super + EROFS_SUPER_COMPAT) & EROFS_COMPAT_CHECKSUM)) return ST_OK;
    if (image->size_bytes < EROFS_BLOCK_SIZE)
        return error_set(err, ST_DAMAGED, "it is cut off in its first block");
    /* The sum is taken with its own field as 0. */
    static const uint8_t zero[4];
    uint32_t sum = crc32c(~UINT32_C(0), super, EROFS_SUPER_CHECKSUM);
    sum = crc32c(sum, zero, sizeof zero);
    sum = crc32c(sum, super + EROFS_SUPER_CHECKSUM + sizeof zero,
                 EROFS_BLOCK_SIZE - EROFS_SUPER_AT - EROFS_SUPER_CHECKSUM - sizeof zero);
    if (sum != le32(super + EROFS_SUPER_CHECKSUM))
        return error_set(err, ST_DAMAGED, "the checksum of its superblock does not hold");
    return ST_OK;
}

enum status image_open(const void *bytes, uint64_t size_bytes, struct image *ret_image,
                       struct error *err) {
    if (size_bytes < EROFS_SUPER_AT + EROFS_SUPER_SIZE)
        return error_set(err, ST_MALFORMED, "this is no EROFS image: it is too small");
    struct image image = {.bytes = bytes, .size_bytes = size_bytes};
    const uint8_t *super = image.bytes + EROFS_SUPER_AT;
    enum status status = check_super(&image, super, err);
    if (status != ST_OK) return status;
    image.meta_at = (uint64_t)le32(super + EROFS_SUPER_META_BLOCK) << EROFS_BLOCK_BITS;
    image.root = le16(super + EROFS_SUPER_ROOT);
    image.inode_count = le64(super + EROFS_SUPER_INODES);
    image.time_s = le64(super + EROFS_SUPER_TIME);
    image.time_ns = le32(super + EROFS_SUPER_TIME_NS);
    /* No device of the host's has the highest bit set. */
    image.id = le64(super + EROFS_SUPER_UUID) | UINT64_C(1) << 63;
    struct image_node root;
    if (image_node(&image, image.root, &root) != IMAGE_OK || root.type != IMAGE_DIRECTORY)
        return error_set(err, ST_DAMAGED, "its root is no directory");
    *ret_image = image;
    return ST_OK;
}

/* ---- inodes ------------------------------------------------------------------------------ */

static const uint8_t *range(const struct image *image, uint64_t at, uint64_t size) {
    if (at > image->size_bytes || size > image->size_bytes - at) return NULL;
    return image->bytes + at;
}

static enum image_type type_of(unsigned mode) {
    switch (mode & S_IFMT) {
    case S_IFREG: return IMAGE_FILE;
    case S_IFDIR: return IMAGE_DIRECTORY;
    case S_IFLNK: return IMAGE_SYMLINK;
    default: return IMAGE_SPECIAL;
    }
}

/* Finds the data of a node; end is where its inode ends, attributes included. */
static bool locate(const struct image *image, uint32_t layout, uint32_t block, uint64_t end,
                   struct image_node *node) {
    if (node->size_bytes == 0) return true;
    uint64_t plain = node->size_bytes;
    if (layout == EROFS_LAYOUT_INLINE) {
        plain = (node->size_bytes - 1) & ~(uint64_t)(EROFS_BLOCK_SIZE - 1);
        uint64_t tail = node->size_bytes - plain;
        if (end % EROFS_BLOCK_SIZE + tail > EROFS_BLOCK_SIZE) return false;
        node->tail = range(image, end, tail);
        if (!node->tail) return false;
    }
    node->plain_bytes = plain;
    if (plain == 0) return true;
    node->plain = range(image, (uint64_t)block << EROFS_BLOCK_BITS, plain);
    return node->plain != NULL;
}

enum image_result image_node(const struct image *image, uint64_t number,
                             struct image_node *ret_node) {
    uint64_t at = 0;
    if (mul_overflows(number, (uint64_t)EROFS_SLOT_SIZE, &at) ||
        add_overflows(at, image->meta_at, &at))
        return IMAGE_DAMAGED;
    const uint8_t *p = range(image, at, EROFS_COMPACT_SIZE);
    if (!p) return IMAGE_DAMAGED;
    uint32_t format = le16(p + EROFS_COMPACT_FORMAT);
    uint32_t layout = format >> 1;
    if (layout != EROFS_LAYOUT_PLAIN && layout != EROFS_LAYOUT_INLINE) return IMAGE_DAMAGED;
    uint32_t size = EROFS_COMPACT_SIZE, mode = le16(p + EROFS_COMPACT_MODE);
    uint32_t xattrs = le16(p + EROFS_COMPACT_XATTRS);
    struct image_node node = {.number = number, .type = type_of(mode)};
    node.mode = (uint16_t)(mode & 07777);
    if (format & EROFS_FORMAT_EXTENDED) {
        size = EROFS_EXTENDED_SIZE;
        p = range(image, at, size);
        if (!p) return IMAGE_DAMAGED;
        node.size_bytes = le64(p + EROFS_EXTENDED_LENGTH);
        node.links = le32(p + EROFS_EXTENDED_LINKS);
        node.mtime_s = le64(p + EROFS_EXTENDED_TIME);
        node.mtime_ns = le32(p + EROFS_EXTENDED_TIME_NS);
    } else {
        node.size_bytes = le32(p + EROFS_COMPACT_LENGTH);
        node.links = le16(p + EROFS_COMPACT_LINKS);
        node.mtime_s = image->time_s;
        node.mtime_ns = image->time_ns;
    }
    _Static_assert((int)EROFS_COMPACT_BLOCK == (int)EROFS_EXTENDED_BLOCK,
                   "the start block lies at the same place in both forms");
    uint64_t end = at + size;
    if (xattrs) end += EROFS_XATTR_HEADER + (uint64_t)(xattrs - 1) * EROFS_XATTR_SLOT;
    if (node.type == IMAGE_SPECIAL)
        node.size_bytes = 0; /* its block field is a device number */
    else if (!locate(image, layout, le32(p + EROFS_COMPACT_BLOCK), end, &node))
        return IMAGE_DAMAGED;
    *ret_node = node;
    return IMAGE_OK;
}

const uint8_t *image_data(const struct image_node *node, uint64_t offset, uint64_t *ret_size) {
    *ret_size = 0;
    if (offset >= node->size_bytes) return NULL;
    bool in_tail = offset >= node->plain_bytes;
    *ret_size = (in_tail ? node->size_bytes : node->plain_bytes) - offset;
    return in_tail ? node->tail + (offset - node->plain_bytes) : node->plain + offset;
}
