/*
 * Directories: names to inodes through one map of the whole region, and a list of entries in
 * the order in which they came. Beneath it may lie a directory of the image: its names count
 * where there is no entry. An entry without an inode hides one, a whiteout.
 *
 * A cookie of a listing says where it goes on:
 *
 *     0, 1             `.`, `..`
 *     2 + n            entries with a sequence number above n, oldest first
 *     LOWER + p        position p of the image's directory, without what an entry replaces
 *
 * Numbers are never given twice and positions never change, so that names that come and go
 * move no others.
 */
#include "runtime/memfs.h"

#define COOKIE_FIRST UINT64_C(2)
#define COOKIE_LOWER (UINT64_C(1) << 62)

/* ---- entries ----------------------------------------------------------------------------- */

/* Lets an entry lead to another inode, or (0) to none. */
static void lead_to(struct memfs *fs, struct memfs_entry *entry, uint32_t inode) {
    struct memfs_inode *directory = memfs_inode(fs, entry->directory);
    if (entry->inode) {
        memfs_inode(fs, entry->inode)->named--;
        directory->names--;
    }
    entry->inode = inode;
    if (inode) {
        memfs_inode(fs, inode)->named++;
        directory->names++;
    }
}

static enum memfs_class class_of(size_t name_length) {
    size_t size = MEMFS_ENTRY_SIZE + name_length;
    return size <= 64 ? MEMFS_64 : size <= 128 ? MEMFS_128 : MEMFS_320;
}
_Static_assert(MEMFS_ENTRY_SIZE + MEMFS_NAME_MAX <= 320, "any entry is a small object");

static const struct memfs_entry *entry_with_name(const struct memfs *fs, uint32_t ref) {
    const struct memfs_entry *entry = memfs_entry(fs, ref);
    CHECK(entry->name_length <= MEMFS_NAME_MAX);
    return memfs_at(fs, ref, MEMFS_ENTRY_SIZE + entry->name_length);
}

static uint32_t find_entry(const struct memfs *fs, uint32_t directory, const void *name,
                           size_t length) {
    uint32_t hash = memfs_hash(fs, directory, name, length);
    uint32_t ref = memfs_map_first(fs, &memfs_header(fs)->names, hash);
    while (ref) {
        const struct memfs_entry *entry = entry_with_name(fs, ref);
        if (entry->link.hash == hash && entry->directory == directory &&
            entry->name_length == length && memcmp(entry->name, name, length) == 0)
            break;
        ref = entry->link.next;
    }
    return ref;
}

static enum wasi_errno add_entry(struct memfs *fs, uint32_t ref_directory, const void *name,
                                 size_t length, uint32_t inode, bool force) {
    struct memfs_header *h = memfs_header(fs);
    struct memfs_inode *directory = memfs_inode(fs, ref_directory);
    enum memfs_class class = class_of(length);
    uint32_t size = memfs_object_size(class);
    enum wasi_errno e = memfs_charge(fs, directory->mount, size, force);
    if (e != WASI_OK) return e;
    uint32_t ref = memfs_object_take(fs, class);
    struct memfs_entry *entry = ref ? memfs_at(fs, ref, size) : NULL;
    if (entry) entry->link.hash = memfs_hash(fs, ref_directory, name, length);
    if (!entry || !memfs_map_add(fs, &h->names, ref)) {
        if (entry) memfs_object_give(fs, ref);
        memfs_refund(fs, directory->mount, size);
        return WASI_ENOSPC;
    }
    entry->directory = ref_directory;
    entry->sequence = ++directory->sequence;
    entry->name_length = (uint32_t)length;
    memcpy(entry->name, name, length);
    entry->previous = directory->last;
    if (directory->last)
        memfs_entry(fs, directory->last)->next = ref;
    else
        directory->first = ref;
    directory->last = ref;
    lead_to(fs, entry, inode);
    return WASI_OK;
}

static void remove_entry(struct memfs *fs, uint32_t ref) {
    struct memfs_entry *entry = memfs_entry(fs, ref);
    struct memfs_inode *directory = memfs_inode(fs, entry->directory);
    if (fs->hint_entry == ref) fs->hint_entry = entry->previous;
    if (entry->previous)
        memfs_entry(fs, entry->previous)->next = entry->next;
    else
        directory->first = entry->next;
    if (entry->next)
        memfs_entry(fs, entry->next)->previous = entry->previous;
    else
        directory->last = entry->previous;
    lead_to(fs, entry, 0);
    memfs_map_remove(fs, &memfs_header(fs)->names, ref);
    memfs_refund(fs, directory->mount, memfs_object_size(class_of(entry->name_length)));
    memfs_object_give(fs, ref);
}

void memfs_names_finish(struct memfs *fs, uint32_t directory) {
    struct memfs_inode *inode = memfs_inode(fs, directory);
    while (inode->first) remove_entry(fs, inode->first);
}

/* ---- the directory beneath --------------------------------------------------------------- */

/* The image's directory, if one lies beneath this. */
static bool load_lower(const struct memfs *fs, struct memfs_node directory,
                       struct image_node *ret) {
    const struct image *image = fs->images[directory.mount];
    if (directory.inode) {
        const struct memfs_inode *inode = memfs_inode(fs, directory.inode);
        if (!inode->has_lower || inode->links == 0) return false;
        directory.lower = inode->lower;
    }
    return image && image_node(image, directory.lower, ret) == IMAGE_OK &&
           ret->type == IMAGE_DIRECTORY;
}

static enum wasi_errno find_lower(const struct memfs *fs, struct memfs_node directory,
                                  const char *name, size_t length,
                                  struct memfs_node *ret_node) {
    struct image_node lower;
    uint64_t number = 0;
    if (!load_lower(fs, directory, &lower)) return WASI_ENOENT;
    enum image_result result =
        image_find(fs->images[directory.mount], &lower, name, length, &number);
    if (result == IMAGE_ABSENT) return WASI_ENOENT;
    if (result != IMAGE_OK) return WASI_EIO;
    *ret_node = memfs_lower_node(fs, directory.mount, number);
    return WASI_OK;
}

enum wasi_errno memfs_find(const struct memfs *fs, struct memfs_node directory,
                           const char *name, size_t length, struct memfs_node *ret_node) {
    if (length > MEMFS_NAME_MAX) return WASI_ENAMETOOLONG;
    uint32_t ref = directory.inode ? find_entry(fs, directory.inode, name, length) : 0;
    if (!ref) return find_lower(fs, directory, name, length, ret_node);
    const struct memfs_entry *entry = memfs_entry(fs, ref);
    if (!entry->inode) return WASI_ENOENT;
    *ret_node = (struct memfs_node){.mount = directory.mount, .inode = entry->inode};
    return WASI_OK;
}

enum wasi_errno memfs_parent(const struct memfs *fs, struct memfs_node directory,
                             struct memfs_node *ret_node) {
    uint32_t parent = directory.inode ? memfs_inode(fs, directory.inode)->parent : 0;
    if (parent) {
        *ret_node = (struct memfs_node){.mount = directory.mount, .inode = parent};
        return WASI_OK;
    }
    enum wasi_errno e = find_lower(fs, directory, "..", 2, ret_node);
    if (e != WASI_ENOENT) return e;
    *ret_node = memfs_root(fs, directory.mount); /* whose parent it is, too */
    return WASI_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

enum wasi_errno memfs_name_set(struct memfs *fs, uint32_t directory, const char *name,
                               size_t length, uint32_t inode) {
    if (length > MEMFS_NAME_MAX) return WASI_ENAMETOOLONG;
    uint32_t ref = find_entry(fs, directory, name, length);
    if (!ref) return add_entry(fs, directory, name, length, inode, false);
    lead_to(fs, memfs_entry(fs, ref), inode);
    return WASI_OK;
}

enum wasi_errno memfs_name_prepare(struct memfs *fs, uint32_t directory, const char *name,
                                   size_t length, uint32_t inode) {
    if (find_entry(fs, directory, name, length)) return WASI_OK;
    return add_entry(fs, directory, name, length, inode, true);
}

void memfs_name_forget(struct memfs *fs, uint32_t directory, const char *name, size_t length) {
    struct memfs_node node = {.mount = memfs_inode(fs, directory)->mount, .inode = directory};
    uint32_t ref = find_entry(fs, directory, name, length);
    CHECK(ref);
    if (find_lower(fs, node, name, length, &node) == WASI_ENOENT) {
        remove_entry(fs, ref);
        return;
    }
    lead_to(fs, memfs_entry(fs, ref), 0);
}

/* ---- listing ----------------------------------------------------------------------------- */

static bool is_dots(const struct image_entry *entry) {
    return entry->name[0] == '.' &&
           (entry->name_length == 1 || (entry->name_length == 2 && entry->name[1] == '.'));
}

/* The next name of the image's directory that counts, from a position on. */
static enum wasi_errno list_lower(const struct memfs *fs, struct memfs_node directory,
                                  uint64_t position, struct image_entry *ret) {
    struct image_node lower;
    if (!load_lower(fs, directory, &lower)) return WASI_ENOENT;
    for (;; position = ret->next) {
        enum image_result result =
            image_entry_at(fs->images[directory.mount], &lower, position, ret);
        if (result == IMAGE_ABSENT) return WASI_ENOENT;
        if (result == IMAGE_INVALID) return WASI_EINVAL;
        if (result != IMAGE_OK) return WASI_EIO;
        if (is_dots(ret)) continue;
        if (!directory.inode || !find_entry(fs, directory.inode, ret->name, ret->name_length))
            return WASI_OK;
    }
}

enum wasi_errno memfs_is_empty(const struct memfs *fs, struct memfs_node directory,
                               bool *ret_empty) {
    struct image_entry entry;
    *ret_empty = false;
    if (directory.inode && memfs_inode(fs, directory.inode)->names) return WASI_OK;
    enum wasi_errno e = list_lower(fs, directory, 0, &entry);
    *ret_empty = e == WASI_ENOENT;
    return e == WASI_ENOENT ? WASI_OK : e;
}

/* The first entry that is no whiteout with a sequence number above this; 0 behind the last. */
static uint32_t entry_after(struct memfs *fs, uint32_t directory, uint64_t sequence) {
    uint32_t ref = 0;
    if (fs->hint_directory == directory && fs->hint_entry) {
        const struct memfs_entry *hint = memfs_entry(fs, fs->hint_entry);
        if (hint->directory == directory && hint->sequence <= sequence) ref = fs->hint_entry;
    }
    if (!ref) ref = memfs_inode(fs, directory)->first;
    while (ref) {
        const struct memfs_entry *entry = memfs_entry(fs, ref);
        if (entry->sequence > sequence && entry->inode) break;
        ref = entry->next;
    }
    if (ref) {
        fs->hint_directory = directory;
        fs->hint_entry = ref;
    }
    return ref;
}

enum wasi_errno memfs_list(struct memfs *fs, struct memfs_node directory, uint64_t cookie,
                           struct memfs_listed *ret) {
    struct memfs_node self = directory;
    struct image_entry lower;
    if (cookie < COOKIE_FIRST) {
        /* `..` as the directory itself: the parent may be outside of what the guest may see. */
        uint64_t number =
            directory.inode ? memfs_inode(fs, directory.inode)->number : directory.lower;
        *ret = (struct memfs_listed){.next = cookie + 1,
                                     .number = number,
                                     .filetype = WASI_FILETYPE_DIRECTORY,
                                     .name_length = (uint32_t)cookie + 1,
                                     .name = ".."};
        return WASI_OK;
    }
    uint32_t ref = cookie < COOKIE_LOWER && directory.inode
                       ? entry_after(fs, directory.inode, cookie - COOKIE_FIRST)
                       : 0;
    if (ref) {
        const struct memfs_entry *entry = entry_with_name(fs, ref);
        const struct memfs_inode *inode = memfs_inode(fs, entry->inode);
        *ret = (struct memfs_listed){.next = COOKIE_FIRST + entry->sequence,
                                     .number = inode->number,
                                     .filetype = memfs_filetype((enum image_type)inode->type),
                                     .name_length = entry->name_length,
                                     .name = entry->name};
        return WASI_OK;
    }
    enum wasi_errno e =
        list_lower(fs, self, cookie < COOKIE_LOWER ? 0 : cookie - COOKIE_LOWER, &lower);
    if (e != WASI_OK) return e;
    *ret = (struct memfs_listed){.next = COOKIE_LOWER + lower.next,
                                 .number = lower.number,
                                 .filetype = memfs_filetype(lower.type),
                                 .name_length = lower.name_length,
                                 .name = lower.name};
    return WASI_OK;
}
