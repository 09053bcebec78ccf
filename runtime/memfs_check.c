/*
 * A whole file system in memory, to see whether all adds up. What is reachable is marked:
 * entries through the map of names, inodes through entries, mounts, the map of inodes from
 * images and the descriptors that are open; blocks through them. Then every block of the region
 * must have exactly one owner, and every count must be what was counted.
 */
#include "runtime/memfs.h"

struct check {
    const struct memfs *fs;
    uint8_t *objects; /* a byte for each unit of the region: seen, by kind */
    uint8_t *blocks;  /* a byte for each block */
    uint64_t units;
    uint64_t used_bytes[MEMFS_MAX_MOUNTS], used_inodes[MEMFS_MAX_MOUNTS];
    struct error *err;
};
enum {
    SEEN_ENTRY = 1,
    SEEN_INODE
};
enum {
    BLOCK_TREE = 1,
    BLOCK_FREE,
    BLOCK_SLAB,
    BLOCK_HEADER
};
/* As memfs_alloc.c has it. */
struct slab_start {
    uint16_t mark, class, taken, fresh;
};

static enum status wrong(struct check *c, uint64_t what, const char *how) {
    return error_set(c->err, ST_DAMAGED, "files in memory: %#llx: %s",
                     (unsigned long long)what * MEMFS_UNIT, how);
}

static enum status mark_block(struct check *c, uint32_t ref, uint8_t kind) {
    uint64_t at = (uint64_t)ref * MEMFS_UNIT;
    if (at % MEMFS_BLOCK || at >= memfs_header(c->fs)->used_bytes)
        return wrong(c, ref, "no block");
    uint8_t *seen = &c->blocks[at / MEMFS_BLOCK];
    if (*seen) return wrong(c, ref, "a block with two owners");
    *seen = kind;
    return ST_OK;
}

static enum status mark_object(struct check *c, uint32_t ref, enum memfs_class class,
                               uint8_t kind) {
    if (!memfs_object_is(c->fs, ref, class) && class == MEMFS_128 && kind == SEEN_INODE)
        return wrong(c, ref, "no inode");
    if (c->objects[ref]) return wrong(c, ref, "an object with two owners");
    c->objects[ref] = kind;
    uint8_t *seen = &c->blocks[(uint64_t)ref * MEMFS_UNIT / MEMFS_BLOCK];
    if (*seen && *seen != BLOCK_SLAB) return wrong(c, ref, "an object in a block of another");
    *seen = BLOCK_SLAB;
    return ST_OK;
}

static enum status mark_tree(struct check *c, uint32_t mount, uint32_t ref, uint32_t level) {
    enum status status = mark_block(c, ref, BLOCK_TREE);
    if (mount != MEMFS_NO_MOUNT) c->used_bytes[mount] += MEMFS_BLOCK;
    const uint32_t *slots = memfs_at(c->fs, ref, MEMFS_BLOCK);
    for (uint32_t i = 0; level > 0 && i < MEMFS_BLOCK / 4 && status == ST_OK; i++)
        if (slots[i]) status = mark_tree(c, mount, slots[i], level - 1);
    return status;
}

static enum status check_tree(struct check *c, uint32_t mount, const struct memfs_tree *tree) {
    return tree->root ? mark_tree(c, mount, tree->root, tree->height - 1) : ST_OK;
}

static enum status check_directory(struct check *c, uint32_t ref) {
    const struct memfs_inode *inode = memfs_inode(c->fs, ref);
    uint32_t previous = 0, names = 0, subdirectories = 0;
    uint64_t sequence = 0;
    for (uint32_t at = inode->first; at;) {
        const struct memfs_entry *entry = memfs_entry(c->fs, at);
        if (c->objects[at] != SEEN_ENTRY) return wrong(c, at, "an entry that no map has");
        if (entry->directory != ref || entry->previous != previous ||
            entry->sequence <= sequence || entry->sequence > inode->sequence)
            return wrong(c, at, "an entry out of order");
        if (entry->inode) {
            names++;
            subdirectories += memfs_inode(c->fs, entry->inode)->type == IMAGE_DIRECTORY;
        }
        sequence = entry->sequence;
        previous = at;
        at = entry->next;
    }
    if (inode->last != previous || inode->names != names)
        return wrong(c, ref, "a directory that has lost count");
    if (!inode->has_lower && inode->links && inode->links != 2 + subdirectories)
        return wrong(c, ref, "a directory with a wrong number of links");
    return ST_OK;
}

static enum status check_inode(struct check *c, uint32_t ref) {
    enum status status = mark_object(c, ref, MEMFS_128, SEEN_INODE);
    if (status != ST_OK) return status;
    const struct memfs_inode *inode = memfs_inode(c->fs, ref);
    if (!inode->opens && !inode->changed) return wrong(c, ref, "an inode that nothing needs");
    if (!inode->opens && !inode->links) return wrong(c, ref, "an inode that is gone");
    if (inode->lower_bytes > inode->size_bytes) return wrong(c, ref, "an inode's size");
    if (inode->changed) {
        c->used_bytes[inode->mount] += memfs_object_size(MEMFS_128);
        c->used_inodes[inode->mount]++;
    }
    if (inode->type != IMAGE_DIRECTORY) {
        if (!inode->has_lower && inode->links != inode->named)
            return wrong(c, ref, "a file with a wrong number of links");
        return check_tree(c, inode->mount, &inode->data);
    }
    return check_directory(c, ref);
}

/* Once, however many names lead there. */
static enum status reach_inode(struct check *c, uint32_t ref) {
    if (ref >= c->units) return wrong(c, ref, "no inode");
    return c->objects[ref] == SEEN_INODE ? ST_OK : check_inode(c, ref);
}

static enum status check_map(struct check *c, const struct memfs_map *map, bool entries) {
    uint32_t count = 0;
    enum status status = check_tree(c, MEMFS_NO_MOUNT, &map->buckets);
    for (uint32_t i = 0; map->bits && i < UINT32_C(1) << map->bits; i++) {
        for (uint32_t ref = memfs_map_first(c->fs, map, i); ref && status == ST_OK;) {
            const struct memfs_entry *entry = memfs_entry(c->fs, ref);
            const struct memfs_link *link = &entry->link;
            count++;
            if (entries) {
                uint32_t size = (uint32_t)MEMFS_ENTRY_SIZE + entry->name_length;
                enum memfs_class class = size <= 64    ? MEMFS_64
                                         : size <= 128 ? MEMFS_128
                                                       : MEMFS_320;
                c->used_bytes[memfs_inode(c->fs, entry->directory)->mount] +=
                    memfs_object_size(class);
                status = mark_object(c, ref, class, SEEN_ENTRY);
            }
            ref = link->next;
        }
    }
    if (status == ST_OK && count != map->count) return wrong(c, count, "a map's count");
    return status;
}

static enum status check_inodes(struct check *c, const uint32_t *open, uint32_t open_count) {
    const struct memfs_header *h = memfs_header(c->fs);
    enum status status = ST_OK;
    for (uint32_t i = 0; i < h->mount_count && status == ST_OK; i++)
        status = reach_inode(c, h->mounts[i].root);
    for (uint32_t i = 0; i < open_count && status == ST_OK; i++)
        status = reach_inode(c, open[i]);
    for (uint32_t i = 0; h->lowers.bits && i < UINT32_C(1) << h->lowers.bits; i++)
        for (uint32_t ref = memfs_map_first(c->fs, &h->lowers, i); ref && status == ST_OK;
             ref = memfs_inode(c->fs, ref)->link.next)
            status = reach_inode(c, ref);
    for (uint64_t ref = 0; ref < c->units && status == ST_OK; ref++) {
        if (c->objects[ref] != SEEN_ENTRY) continue;
        const struct memfs_entry *entry = memfs_entry(c->fs, (uint32_t)ref);
        if (entry->inode) status = reach_inode(c, entry->inode);
    }
    return status;
}

static enum status check_blocks(struct check *c) {
    const struct memfs_header *h = memfs_header(c->fs);
    const uint32_t units_in_block = MEMFS_BLOCK / MEMFS_UNIT;
    for (uint64_t block = 0; block < h->used_bytes / MEMFS_BLOCK; block++) {
        uint32_t ref = (uint32_t)(block * units_in_block), seen = 0;
        if (!c->blocks[block]) return wrong(c, ref, "a block without an owner");
        if (c->blocks[block] != BLOCK_SLAB) continue;
        const struct slab_start *slab = memfs_at(c->fs, ref, MEMFS_BLOCK);
        for (uint32_t i = 0; i < units_in_block; i++) seen += c->objects[ref + i] != 0;
        if (slab->taken != seen) return wrong(c, ref, "objects that nothing leads to");
    }
    for (uint32_t i = 0; i < h->mount_count; i++)
        if (h->mounts[i].used_bytes != c->used_bytes[i] ||
            h->mounts[i].used_inodes != c->used_inodes[i])
            return wrong(c, i, "a mount's use is counted wrongly");
    return ST_OK;
}

static enum status check_all(struct check *c, const uint32_t *open, uint32_t open_count) {
    const struct memfs_header *h = memfs_header(c->fs);
    uint32_t free = 0;
    enum status status = ST_OK;
    c->blocks[0] = BLOCK_HEADER;
    for (uint32_t ref = h->free_block; ref && status == ST_OK; free++) {
        status = mark_block(c, ref, BLOCK_FREE);
        ref = *(const uint32_t *)memfs_at(c->fs, ref, MEMFS_BLOCK);
    }
    if (status == ST_OK && free != h->free_count) status = wrong(c, free, "free blocks");
    if (status == ST_OK) status = check_map(c, &h->names, true);
    if (status == ST_OK) status = check_map(c, &h->lowers, false);
    if (status == ST_OK) status = check_inodes(c, open, open_count);
    return status == ST_OK ? check_blocks(c) : status;
}

enum status memfs_check(const struct memfs *fs, const uint32_t *open, uint32_t open_count,
                        struct error *err) {
    struct check c = {.fs = fs, .err = err};
    c.units = memfs_header(fs)->used_bytes / MEMFS_UNIT;
    c.objects = calloc(c.units, 1);
    c.blocks = calloc(c.units / (MEMFS_BLOCK / MEMFS_UNIT), 1);
    enum status status = c.objects && c.blocks ? check_all(&c, open, open_count)
                                               : error_set(err, ST_NO_MEMORY, "out of memory");
    free(c.objects);
    free(c.blocks);
    return status;
}
