/*
 * The inside of the image writer: the tree that erofs_tree.c reads from a directory and
 * erofs_write.c lays out and writes. The interface is in cache.h.
 */
#ifndef HUTCH_CACHE_EROFS_H
#define HUTCH_CACHE_EROFS_H

#include "cache/cache.h"

enum {
#define EROFS_FIELD(record, name, offset, size) EROFS_##record##_##name = (offset),
#define EROFS_VALUE(name, value) EROFS_##name = (value),
#include "base/erofs.def"
};
#define EROFS_WORD(name, value) static const uint32_t EROFS_##name = (value);
#include "base/erofs.def"

#define EROFS_MAX_DEPTH 128u /* of directories; what the reader checks too */

struct erofs_node;
struct erofs_entry {
    const char *name;
    uint32_t length;
    bool dots; /* "." or "..": to lies elsewhere in the tree */
    struct erofs_node *to;
};
struct erofs_node {
    struct erofs_node *parent; /* NULL: the root */
    const char *name;
    unsigned mode; /* type and permissions, as they are written */
    uint32_t links;
    uint64_t size_bytes, mtime_s;
    uint32_t mtime_ns;
    const char *target; /* of a symbolic link */
    /* of a directory: sorted, "." and ".." among them */
    struct erofs_entry *entries;
    uint32_t entry_count;
    /* the layout */
    uint64_t at; /* byte position of the inode */
    uint32_t extended, serial, start_block;
    uint32_t tail_bytes; /* behind the inode; 0: all is in blocks */
};

/* The path of a node beneath the root, for messages. Cut where it is long. */
void erofs_node_path(const struct erofs_node *node, char *ret_path, size_t size);

/* Reads names and attributes of everything beneath dir_fd. */
enum status erofs_tree_read(int dir_fd, const struct erofs_options *options,
                            struct arena *arena, struct erofs_node **ret_root,
                            struct error *err) must_check;

#endif
