/*
 * Memory within the region: blocks of 4 KiB from a list of free ones or from beyond the used
 * part; small objects of three sizes in blocks of their own; and hash maps whose links lie in
 * what they hold. A block of small objects:
 *
 *     +0    struct slab        class, how many are taken, list of given back ones, neighbours
 *     +64   objects
 */
#include "runtime/memfs.h"

#define SLAB_MARK 0x51abu
#define SLAB_START MEMFS_UNIT

struct slab {
    uint16_t mark, class;
    uint16_t taken, fresh;   /* in use; ever taken: beyond lie zeros */
    uint32_t free;           /* those given back, a list through their first words */
    uint32_t previous, next; /* of the blocks that have room */
};

static const uint32_t object_sizes[MEMFS_CLASSES] = {64, 128, 320};

uint32_t memfs_object_size(enum memfs_class class) { return object_sizes[class]; }

/* ---- blocks ------------------------------------------------------------------------------ */

uint32_t memfs_block_take(struct memfs *fs) {
    struct memfs_header *h = memfs_header(fs);
    uint32_t ref = h->free_block;
    if (ref) {
        uint32_t *block = memfs_at(fs, ref, MEMFS_BLOCK);
        h->free_block = *block;
        h->free_count--;
        memset(block, 0, MEMFS_BLOCK);
        return ref;
    }
    if (!memfs_grow(fs, h->used_bytes + MEMFS_BLOCK)) return 0;
    memfs_touch_ahead(fs);
    ref = (uint32_t)(h->used_bytes / MEMFS_UNIT);
    h->used_bytes += MEMFS_BLOCK;
    return ref;
}

void memfs_block_give(struct memfs *fs, uint32_t ref) {
    struct memfs_header *h = memfs_header(fs);
    uint32_t *block = memfs_at(fs, ref, MEMFS_BLOCK);
    *block = h->free_block;
    h->free_block = ref;
    h->free_count++;
}

/* ---- small objects ----------------------------------------------------------------------- */

static struct slab *slab_of(const struct memfs *fs, uint32_t ref, uint32_t *ret_slab) {
    *ret_slab = ref / (MEMFS_BLOCK / MEMFS_UNIT) * (MEMFS_BLOCK / MEMFS_UNIT);
    struct slab *slab = memfs_at(fs, *ret_slab, MEMFS_BLOCK);
    CHECK(slab->mark == SLAB_MARK && slab->class < MEMFS_CLASSES);
    return slab;
}

static uint32_t slab_room(enum memfs_class class) {
    return (MEMFS_BLOCK - SLAB_START) / object_sizes[class];
}

static void slab_join(struct memfs *fs, uint32_t ref, struct slab *slab) {
    uint32_t *head = &memfs_header(fs)->partial[slab->class];
    slab->previous = 0;
    slab->next = *head;
    if (*head) {
        uint32_t unused;
        slab_of(fs, *head, &unused)->previous = ref;
    }
    *head = ref;
}

static void slab_leave(struct memfs *fs, struct slab *slab) {
    uint32_t unused;
    if (slab->previous)
        slab_of(fs, slab->previous, &unused)->next = slab->next;
    else
        memfs_header(fs)->partial[slab->class] = slab->next;
    if (slab->next) slab_of(fs, slab->next, &unused)->previous = slab->previous;
}

uint32_t memfs_object_take(struct memfs *fs, enum memfs_class class) {
    struct memfs_header *h = memfs_header(fs);
    uint32_t block = h->partial[class];
    if (!block) {
        block = memfs_block_take(fs);
        if (!block) return 0;
        struct slab *made = memfs_at(fs, block, MEMFS_BLOCK);
        made->mark = SLAB_MARK;
        made->class = (uint16_t)class;
        slab_join(fs, block, made);
    }
    uint32_t unused, ref;
    struct slab *slab = slab_of(fs, block, &unused);
    if (slab->free) {
        ref = slab->free;
        uint32_t *object = memfs_at(fs, ref, object_sizes[class]);
        slab->free = *object;
        memset(object, 0, object_sizes[class]);
    } else {
        ref = block + (SLAB_START + slab->fresh * object_sizes[class]) / MEMFS_UNIT;
        slab->fresh++;
    }
    if (++slab->taken == slab_room(class)) slab_leave(fs, slab);
    return ref;
}

void memfs_object_give(struct memfs *fs, uint32_t ref) {
    uint32_t block;
    struct slab *slab = slab_of(fs, ref, &block);
    uint32_t *object = memfs_at(fs, ref, object_sizes[slab->class]);
    CHECK(slab->taken > 0);
    if (slab->taken-- == slab_room((enum memfs_class)slab->class)) slab_join(fs, block, slab);
    if (slab->taken == 0) {
        slab_leave(fs, slab);
        memfs_block_give(fs, block);
        return;
    }
    memset(object, 0, MEMFS_UNIT); /* no mark of what it was */
    *object = slab->free;
    slab->free = ref;
}

bool memfs_object_is(const struct memfs *fs, uint32_t ref, enum memfs_class class) {
    uint64_t at = (uint64_t)ref * MEMFS_UNIT, start = at / MEMFS_BLOCK * MEMFS_BLOCK;
    if (start < MEMFS_BLOCK || start >= memfs_header(fs)->used_bytes ||
        start >= fs->mapped_bytes)
        return false;
    const struct slab *slab = (const void *)(fs->base + start);
    uint64_t place = at - start;
    return slab->mark == SLAB_MARK && slab->class == class && place >= SLAB_START &&
           (place - SLAB_START) % object_sizes[class] == 0 &&
           (place - SLAB_START) / object_sizes[class] < slab->fresh &&
           (class != MEMFS_128 ||
            ((const struct memfs_inode *)(const void *)(fs->base + at))->mark ==
                MEMFS_INODE_MARK);
}

/* ---- SipHash-1-3 (Aumasson, Bernstein: SipHash, 2012) ------------------------------------ */

static uint64_t rotate(uint64_t v, unsigned by) { return v << by | v >> (64 - by); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint32_t memfs_hash(const struct memfs *fs, uint64_t first, const void *bytes, size_t size) {
    const uint64_t *key = memfs_header(fs)->key;
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const uint8_t *from = bytes;
    sip_word(v, first);
    size_t left = size;
    for (; left >= 8; left -= 8, from += 8) sip_word(v, load_u64(from));
    uint64_t last = (uint64_t)(size + 8) << 56;
    for (size_t i = 0; i < left; i++) last |= (uint64_t)from[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* ---- maps -------------------------------------------------------------------------------- */

#define MAP_FIRST_BITS 10u /* one block of buckets */
#define MAP_STEP_BITS 2u
#define MAP_MAX_BITS 28u
#define BUCKETS_IN_BLOCK (MEMFS_BLOCK / 4)

static uint32_t *bucket_get(const struct memfs *fs, const struct memfs_tree *tree,
                            uint32_t number) {
    uint8_t *block = memfs_tree_get(fs, tree, number / BUCKETS_IN_BLOCK);
    CHECK(block);
    return (uint32_t *)__builtin_assume_aligned(block, MEMFS_BLOCK) + number % BUCKETS_IN_BLOCK;
}

static struct memfs_link *link_at(const struct memfs *fs, uint32_t ref) {
    return memfs_at(fs, ref, sizeof(struct memfs_link));
}

static uint32_t bucket_number(uint32_t bits, uint32_t hash) {
    return hash & ((UINT32_C(1) << bits) - 1);
}

/* All blocks of 1 << bits buckets, or nothing. */
static bool make_buckets(struct memfs *fs, uint32_t bits, struct memfs_tree *ret_tree) {
    struct memfs_tree tree = {0};
    for (uint32_t i = 0; i < (UINT32_C(1) << bits) / BUCKETS_IN_BLOCK; i++) {
        uint8_t *block;
        if (memfs_tree_make(fs, MEMFS_NO_MOUNT, &tree, i, &block) == WASI_OK) continue;
        memfs_tree_cut(fs, MEMFS_NO_MOUNT, &tree, 0);
        return false;
    }
    *ret_tree = tree;
    return true;
}

/* Where there is no room for more buckets, the chains become longer. */
static void map_widen(struct memfs *fs, struct memfs_map *map) {
    struct memfs_tree wide;
    uint32_t bits = map->bits + MAP_STEP_BITS;
    if (bits > MAP_MAX_BITS || !make_buckets(fs, bits, &wide)) return;
    for (uint32_t i = 0; i < UINT32_C(1) << map->bits; i++) {
        uint32_t ref = *bucket_get(fs, &map->buckets, i);
        while (ref) {
            struct memfs_link *link = link_at(fs, ref);
            uint32_t next = link->next;
            uint32_t *to = bucket_get(fs, &wide, bucket_number(bits, link->hash));
            link->next = *to;
            *to = ref;
            ref = next;
        }
    }
    memfs_tree_cut(fs, MEMFS_NO_MOUNT, &map->buckets, 0);
    map->buckets = wide;
    map->bits = bits;
}

uint32_t memfs_map_first(const struct memfs *fs, const struct memfs_map *map, uint32_t hash) {
    if (!map->bits) return 0;
    return *bucket_get(fs, &map->buckets, bucket_number(map->bits, hash));
}

bool memfs_map_add(struct memfs *fs, struct memfs_map *map, uint32_t ref) {
    if (!map->bits) {
        if (!make_buckets(fs, MAP_FIRST_BITS, &map->buckets)) return false;
        map->bits = MAP_FIRST_BITS;
    }
    if (map->count / 2 >= UINT32_C(1) << map->bits) map_widen(fs, map);
    struct memfs_link *link = link_at(fs, ref);
    uint32_t *bucket = bucket_get(fs, &map->buckets, bucket_number(map->bits, link->hash));
    link->next = *bucket;
    *bucket = ref;
    map->count++;
    return true;
}

void memfs_map_remove(struct memfs *fs, struct memfs_map *map, uint32_t ref) {
    struct memfs_link *link = link_at(fs, ref);
    uint32_t *at = bucket_get(fs, &map->buckets, bucket_number(map->bits, link->hash));
    while (*at != ref) {
        CHECK(*at);
        at = &link_at(fs, *at)->next;
    }
    *at = link->next;
    link->next = 0;
    map->count--;
}
