/*
 * Directories of a file image. A directory is a sequence of blocks, each
 *
 *     entry 0 | entry 1 | ... | name 0 | name 1 | ... | zeros
 *
 * with the names sorted as bytes over the whole directory, so that a name is found by searching
 * first the blocks (by their first names), then the entries of one. Names are not terminated:
 * one ends where the next begins, the last at the block's end or the first NUL.
 *
 * A position is the offset of an entry in the directory's data, block and all: entries keep it,
 * and any number a guest makes up either is one or is refused.
 */
#include "runtime/image.h"

struct block {
    const uint8_t *bytes;
    uint32_t size, count;
};

static uint64_t block_count(const struct image_node *directory) {
    return directory->size_bytes / EROFS_BLOCK_SIZE +
           (directory->size_bytes % EROFS_BLOCK_SIZE != 0);
}

static bool load_block(const struct image_node *directory, uint64_t number, struct block *ret) {
    uint64_t size = 0;
    const uint8_t *bytes = image_data(directory, number * EROFS_BLOCK_SIZE, &size);
    if (size > EROFS_BLOCK_SIZE) size = EROFS_BLOCK_SIZE;
    if (size < EROFS_ENTRY_SIZE) return false;
    uint32_t names = le16(bytes + EROFS_ENTRY_NAME);
    if (names == 0 || names % EROFS_ENTRY_SIZE || names > size) return false;
    *ret = (struct block){bytes, (uint32_t)size, names / EROFS_ENTRY_SIZE};
    return true;
}

/* The name of an entry below block->count. */
static bool load_name(const struct block *block, uint32_t index, const uint8_t **ret_name,
                      uint32_t *ret_length) {
    const uint8_t *entry = block->bytes + (size_t)index * EROFS_ENTRY_SIZE;
    uint32_t start = le16(entry + EROFS_ENTRY_NAME), end = block->size;
    bool last = index + 1 == block->count;
    if (!last) end = le16(entry + EROFS_ENTRY_SIZE + EROFS_ENTRY_NAME);
    if (start < block->count * EROFS_ENTRY_SIZE || start >= end || end > block->size)
        return false;
    uint32_t length = end - start;
    if (last) length = (uint32_t)strnlen((const char *)block->bytes + start, length);
    if (length == 0 || length > EROFS_NAME_MAX) return false;
    *ret_name = block->bytes + start;
    *ret_length = length;
    return true;
}

static enum image_type type_of(uint8_t type) {
    switch (type) {
    case EROFS_TYPE_FILE: return IMAGE_FILE;
    case EROFS_TYPE_DIRECTORY: return IMAGE_DIRECTORY;
    case EROFS_TYPE_SYMLINK: return IMAGE_SYMLINK;
    default: return IMAGE_SPECIAL;
    }
}

enum image_result image_entry_at(const struct image *image, const struct image_node *directory,
                                 uint64_t position, struct image_entry *ret_entry) {
    (void)image;
    struct block block;
    if (position >= directory->size_bytes) return IMAGE_ABSENT;
    uint64_t number = position / EROFS_BLOCK_SIZE, offset = position % EROFS_BLOCK_SIZE;
    if (!load_block(directory, number, &block)) return IMAGE_DAMAGED;
    uint32_t index = (uint32_t)(offset / EROFS_ENTRY_SIZE);
    if (offset % EROFS_ENTRY_SIZE || index >= block.count) return IMAGE_INVALID;
    const uint8_t *entry = block.bytes + offset;
    struct image_entry found = {.number = le64(entry + EROFS_ENTRY_INODE),
                                .type = type_of(entry[EROFS_ENTRY_TYPE])};
    if (!load_name(&block, index, &found.name, &found.name_length)) return IMAGE_DAMAGED;
    found.next =
        index + 1 < block.count ? position + EROFS_ENTRY_SIZE : (number + 1) * EROFS_BLOCK_SIZE;
    *ret_entry = found;
    return IMAGE_OK;
}

/* As memcmp of the two names, the shorter first. */
static int compare(const char *name, size_t length, const uint8_t *other,
                   uint32_t other_length) {
    int order = memcmp(name, other, length < other_length ? length : other_length);
    if (order != 0 || length == other_length) return order;
    return length < other_length ? -1 : 1;
}

enum image_result image_find(const struct image *image, const struct image_node *directory,
                             const char *name, size_t name_length, uint64_t *ret_number) {
    (void)image;
    if (name_length > EROFS_NAME_MAX) return IMAGE_TOO_LONG;
    struct block block;
    const uint8_t *other = NULL;
    uint32_t other_length = 0;
    /* The last block whose first name is not behind the name. */
    uint64_t low = 0, high = block_count(directory);
    if (high == 0) return IMAGE_ABSENT;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (!load_block(directory, middle, &block) ||
            !load_name(&block, 0, &other, &other_length))
            return IMAGE_DAMAGED;
        if (compare(name, name_length, other, other_length) < 0)
            high = middle;
        else
            low = middle;
    }
    if (!load_block(directory, low, &block)) return IMAGE_DAMAGED;
    for (uint32_t first = 0, last = block.count; first < last;) {
        uint32_t middle = first + (last - first) / 2;
        if (!load_name(&block, middle, &other, &other_length)) return IMAGE_DAMAGED;
        int order = compare(name, name_length, other, other_length);
        if (order == 0) {
            *ret_number = le64(block.bytes + (size_t)middle * EROFS_ENTRY_SIZE);
            return IMAGE_OK;
        }
        if (order < 0)
            last = middle;
        else
            first = middle + 1;
    }
    return IMAGE_ABSENT;
}
