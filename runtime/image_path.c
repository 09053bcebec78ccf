/*
 * A path in a file image to its inode, confined to the directory it starts from: what
 * openat2(2) with RESOLVE_BENEATH is for a directory of the host. `..` above the start,
 * absolute paths and absolute symbolic links are refused; `..` elsewhere is the entry of that
 * name, and how deep the walk stands is counted, not read from the image. An image whose `..`
 * lies can therefore lead to another of its own directories, and nowhere else.
 *
 * A symbolic link is followed by putting its target before the rest of the path, in one of two
 * buffers that take turns.
 */
#include "runtime/image.h"

#define MAX_LINKS 40 /* as Linux has it */

struct walk {
    const struct image *image;
    struct image_node at;
    uint64_t depth; /* of at beneath the start */
    unsigned links;
    const char *rest;
    char buffers[2][IMAGE_PATH_SIZE];
};

/* The rest of the path becomes the target of link, then what stood behind its name. */
static enum image_result follow_link(struct walk *w, const struct image_node *link,
                                     const char *behind) {
    if (++w->links > MAX_LINKS) return IMAGE_LOOPS;
    uint64_t size = 0;
    const uint8_t *target = image_data(link, 0, &size);
    if (!target || size != link->size_bytes || size > EROFS_TARGET_MAX) return IMAGE_DAMAGED;
    if (memchr(target, 0, size)) return IMAGE_DAMAGED;
    if (target[0] == '/') return IMAGE_ESCAPES;
    size_t behind_length = strlen(behind);
    if (size + behind_length >= IMAGE_PATH_SIZE) return IMAGE_TOO_LONG;
    char *to = w->buffers[w->links % 2];
    memcpy(to, target, size);
    memcpy(to + size, behind, behind_length + 1);
    w->rest = to;
    return IMAGE_OK;
}

/* One component. *ret_ends where the walk has ended. */
static enum image_result step(struct walk *w, bool follow) {
    const char *name = w->rest;
    size_t length = strcspn(name, "/");
    const char *behind = name + length;
    bool last = behind[strspn(behind, "/")] == 0;
    w->rest = behind;
    if (w->at.type != IMAGE_DIRECTORY) return IMAGE_NOT_DIRECTORY;
    if (length == 1 && name[0] == '.') return IMAGE_OK;
    bool up = length == 2 && name[0] == '.' && name[1] == '.';
    if (up && w->depth == 0) return IMAGE_ESCAPES;
    uint64_t number = 0;
    struct image_node child;
    enum image_result result = image_find(w->image, &w->at, name, length, &number);
    if (result == IMAGE_OK) result = image_node(w->image, number, &child);
    if (result != IMAGE_OK) return result;
    if (child.type == IMAGE_SYMLINK && (!last || *behind || follow))
        return follow_link(w, &child, behind);
    if (up) {
        if (child.type != IMAGE_DIRECTORY) return IMAGE_DAMAGED;
        w->depth--;
    } else {
        w->depth++;
    }
    w->at = child;
    return *behind && child.type != IMAGE_DIRECTORY ? IMAGE_NOT_DIRECTORY : IMAGE_OK;
}

enum image_result image_walk(const struct image *image, uint64_t start, const char *path,
                             bool follow, struct image_node *ret_node) {
    struct walk w;
    if (path[0] == '/') return IMAGE_ESCAPES;
    if (path[0] == 0) return IMAGE_ABSENT;
    w.image = image;
    w.depth = 0;
    w.links = 0;
    w.rest = path;
    enum image_result result = image_node(image, start, &w.at);
    while (result == IMAGE_OK) {
        w.rest += strspn(w.rest, "/");
        if (*w.rest == 0) {
            *ret_node = w.at;
            return IMAGE_OK;
        }
        result = step(&w, follow);
    }
    return result;
}
