/*
 * Reads everything of an image that can be reached, however it is damaged: every entry, inode
 * and byte of data, and paths through it. Gives a sum, so that nothing is optimised away, and a
 * sanitizer or a guard page sees every access. Bounded: a damaged image may be a maze.
 */
#ifndef HUTCH_TESTS_UNIT_IMAGE_TOUCH_H
#define HUTCH_TESTS_UNIT_IMAGE_TOUCH_H

#include "runtime/runtime.h"

struct image_toucher {
    const struct image *image;
    uint64_t steps_left, sum;
    char path[IMAGE_PATH_SIZE];
};

static inline void image_touch_path(struct image_toucher *t, const char *path) {
    struct image_node node;
    for (int follow = 0; follow < 2; follow++) {
        enum image_result result = image_walk(t->image, t->image->root, path, follow, &node);
        t->sum += (uint64_t)result;
        if (result == IMAGE_OK) t->sum += node.size_bytes;
    }
}

static inline void image_touch_data(struct image_toucher *t, const struct image_node *node) {
    uint64_t size = 0;
    for (uint64_t at = 0; at < node->size_bytes; at += size) {
        const uint8_t *bytes = image_data(node, at, &size);
        CHECK(bytes && size > 0 && size <= node->size_bytes - at);
        CHECK(bytes >= t->image->bytes && bytes <= t->image->bytes + t->image->size_bytes);
        CHECK(size <= (uint64_t)(t->image->bytes + t->image->size_bytes - bytes));
        /* Both ends: large files would take long. */
        t->sum += bytes[0] + bytes[size - 1];
    }
    CHECK(!image_data(node, node->size_bytes, &size) && size == 0);
}

static inline void image_touch_node(struct image_toucher *t, uint64_t number, size_t length) {
    struct image_node node;
    struct image_entry entry;
    if (t->steps_left == 0) return;
    t->steps_left--;
    if (image_node(t->image, number, &node) != IMAGE_OK) return;
    t->sum += node.mtime_s + node.links + node.mode;
    image_touch_data(t, &node);
    if (node.type != IMAGE_DIRECTORY || length + 260 > sizeof t->path) return;
    for (uint64_t at = 0; image_entry_at(t->image, &node, at, &entry) == IMAGE_OK;
         at = entry.next) {
        CHECK(entry.next > at && entry.name_length > 0 && entry.name_length <= 255);
        CHECK(entry.name >= t->image->bytes &&
              entry.name + entry.name_length <= t->image->bytes + t->image->size_bytes);
        uint64_t found = 0;
        t->sum += (uint64_t)image_find(t->image, &node, (const char *)entry.name,
                                       entry.name_length, &found);
        size_t next = length;
        if (length) t->path[next++] = '/';
        memcpy(t->path + next, entry.name, entry.name_length);
        next += entry.name_length;
        t->path[next] = 0;
        image_touch_path(t, t->path);
        bool dots = entry.name[0] == '.' && entry.name_length <= 2;
        if (!dots) image_touch_node(t, entry.number, next);
        t->path[length] = 0;
        if (t->steps_left == 0) return;
    }
}

static inline uint64_t image_touch(const struct image *image, uint64_t steps) {
    struct image_toucher t = {.image = image, .steps_left = steps};
    image_touch_node(&t, image->root, 0);
    image_touch_path(&t, "a/../b/./c//");
    image_touch_path(&t, "..");
    return t.sum;
}

#endif
