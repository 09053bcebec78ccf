/*
 * A whole file image, from the root down: every inode and entry can be read, entries are sorted
 * and have types that fit, `.` and `..` are where they must be, names and targets are such as a
 * path can hold. Ends on every input: the depth is bounded, a directory is entered only from
 * the parent its `..` names, and there may be no more entries than the image has room for
 * inodes.
 */
#include "runtime/image.h"

struct check {
    const struct image *image;
    uint64_t entries_left;
};

static bool is(const struct image_entry *entry, const char *name) {
    return entry->name_length == strlen(name) &&
           memcmp(entry->name, name, entry->name_length) == 0;
}

static enum status damaged(struct error *err, uint64_t number, const char *what) {
    return error_set(err, ST_DAMAGED, "inode %llu: %s", (unsigned long long)number, what);
}

static enum status check_symlink(const struct image_node *node, struct error *err) {
    uint64_t size = 0;
    const uint8_t *target = image_data(node, 0, &size);
    if (!target || size != node->size_bytes || size > EROFS_TARGET_MAX ||
        memchr(target, 0, size))
        return damaged(err, node->number, "a symbolic link without a proper target");
    return ST_OK;
}

static enum status check_name(const struct image_node *directory, const struct image_entry *e,
                              const struct image_entry *before, struct error *err) {
    if (memchr(e->name, 0, e->name_length) || memchr(e->name, '/', e->name_length))
        return damaged(err, directory->number, "a name with a slash or a NUL in it");
    if (!before) return ST_OK;
    uint32_t common =
        e->name_length < before->name_length ? e->name_length : before->name_length;
    int order = memcmp(before->name, e->name, common);
    if (order > 0 || (order == 0 && before->name_length >= e->name_length))
        return damaged(err, directory->number, "its names are not sorted");
    return ST_OK;
}

static enum status check_directory(struct check *c, const struct image_node *directory,
                                   uint64_t parent, unsigned depth, struct error *err) {
    struct image_entry entry, before = {0};
    bool self_seen = false, parent_seen = false;
    if (depth > IMAGE_MAX_DEPTH)
        return error_set(err, ST_LIMIT, "inode %llu: more than %u directories deep",
                         (unsigned long long)directory->number, IMAGE_MAX_DEPTH);
    for (uint64_t at = 0;; at = entry.next) {
        enum image_result result = image_entry_at(c->image, directory, at, &entry);
        if (result == IMAGE_ABSENT) break;
        if (result != IMAGE_OK)
            return damaged(err, directory->number, "a directory block is damaged");
        if (c->entries_left-- == 0)
            return error_set(err, ST_DAMAGED, "there are more entries than inodes have room");
        enum status status = check_name(directory, &entry, at ? &before : NULL, err);
        if (status != ST_OK) return status;
        before = entry;
        struct image_node node;
        if (image_node(c->image, entry.number, &node) != IMAGE_OK)
            return damaged(err, entry.number, "it is damaged, or its data lies outside");
        if (node.type != entry.type)
            return damaged(err, entry.number, "a directory entry has another type");
        if (is(&entry, ".")) {
            if (entry.number != directory->number)
                return damaged(err, directory->number, "its '.' is another directory");
            self_seen = true;
        } else if (is(&entry, "..")) {
            if (entry.number != parent)
                return damaged(err, directory->number, "its '..' is not where it lies");
            parent_seen = true;
        } else if (node.type == IMAGE_DIRECTORY) {
            status = check_directory(c, &node, directory->number, depth + 1, err);
            if (status != ST_OK) return status;
        } else if (node.type == IMAGE_SYMLINK) {
            if ((status = check_symlink(&node, err)) != ST_OK) return status;
        }
    }
    if (!self_seen || !parent_seen)
        return damaged(err, directory->number, "a directory without '.' or '..'");
    return ST_OK;
}

enum status image_check(const struct image *image, struct error *err) {
    struct image_node root;
    if (image_node(image, image->root, &root) != IMAGE_OK)
        return damaged(err, image->root, "the root is damaged");
    /* An entry has an inode of its own, or is a hard link: each takes 12 bytes and a name. */
    struct check c = {.image = image, .entries_left = image->size_bytes / EROFS_ENTRY_SIZE};
    return check_directory(&c, &root, image->root, 0, err);
}
