/*
 * A YAML document as a tree whose nodes know their line. Only what a configuration file needs:
 * mappings with plain keys, sequences, scalars as text. Aliases, anchors, tags and second
 * documents are refused, and so are duplicate keys; size, depth and number of nodes are
 * bounded.
 */
#ifndef HUTCH_SERVE_YAML_TREE_H
#define HUTCH_SERVE_YAML_TREE_H

#include "base/base.h"

#define TREE_DEPTH_MAX 16u
#define TREE_NODES_MAX 20000u
#define TREE_KEYS_MAX 1000u /* of one mapping */

enum tree_kind {
    TREE_NULL, /* nothing, ~ or null */
    TREE_SCALAR,
    TREE_LIST,
    TREE_MAP
};

struct tree_node {
    enum tree_kind kind;
    uint32_t line;    /* from 1: where it stands; in a mapping, where its key does */
    const char *key;  /* in a mapping */
    const char *text; /* of a scalar: as written, quotes and escapes resolved; has no 0 byte */
    bool quoted;
    struct tree_node *first, *next; /* children; brothers */
    uint32_t count;                 /* of children */
};

/* file: for messages. The tree lies in the arena and borrows nothing. ret_root is a TREE_NULL
 * for an empty file. ST_INVALID with "FILE:LINE: ..."; ST_LIMIT; ST_NO_MEMORY. */
enum status tree_parse(const void *bytes, size_t size, const char *file, struct arena *arena,
                       struct tree_node **ret_root, struct error *err) must_check;
/* The child of a mapping with that key, or NULL. */
const struct tree_node *tree_get(const struct tree_node *map, const char *key);

#endif
