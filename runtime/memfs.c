/*
 * The region: reserved whole, accessible as far as it was ever needed, filled from its start.
 * Mounts and what each of them may take. Everything that a mount holds is counted for it: whole
 * blocks of data and of the trees above them, inodes, entries. The region has room for a bit
 * more than all limits together: blocks of small objects that are not full, the maps.
 *
 * Invariant: beyond header.used_bytes the region is zero.
 */
#include "runtime/memfs.h"

#include <sys/mman.h>
#include <sys/random.h>

#define GROW_BYTES (UINT64_C(256) << 10)
#define SPARE_BYTES (UINT64_C(2) << 20)

static enum status map_region(struct memfs *fs, struct error *err) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *want = (void *)(uintptr_t)ABI_FILES_BASE;
    /* Elsewhere, where a process has several (tests) or that address is taken (sanitizers): all
     * works but for being saved. */
    void *at = mmap(want, fs->capacity_bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED) at = mmap(NULL, fs->capacity_bytes, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY, "no room for files in memory");
    fs->base = at;
    return ST_OK;
}

enum status memfs_create(uint64_t limit_bytes, uint64_t spare_bytes, struct memfs **ret_fs,
                         struct error *err) {
    uint64_t capacity = 0;
    if (add_overflows(limit_bytes, limit_bytes / 8, &capacity) ||
        add_overflows(capacity, spare_bytes, &capacity) ||
        add_overflows(capacity, SPARE_BYTES, &capacity) || capacity > ABI_FILES_RESERVE)
        return error_set(err, ST_LIMIT,
                         "files in memory may take %llu MiB at most, all together",
                         (unsigned long long)(ABI_FILES_RESERVE >> 20) / 9 * 8);
    struct memfs *fs = calloc(1, sizeof *fs);
    if (!fs) return error_set(err, ST_NO_MEMORY, "files in memory");
    fs->capacity_bytes = align_up(capacity, ABI_HOST_PAGE);
    enum status status = map_region(fs, err);
    if (status == ST_OK && !memfs_grow(fs, MEMFS_BLOCK))
        status = error_set_errno(err, ST_NO_MEMORY, "no room for files in memory");
    if (status != ST_OK) {
        memfs_destroy(fs);
        return status;
    }
    struct memfs_header *h = memfs_header(fs);
    *h = (struct memfs_header){.magic = MEMFS_MAGIC,
                               .version = MEMFS_VERSION,
                               .used_bytes = MEMFS_BLOCK,
                               .next_number = UINT64_C(1) << 40}; /* above those of images */
    /* Where there is no randomness, a guest could make its own names slow. */
    if (!memfs_is_tame()) (void)!getrandom(h->key, sizeof h->key, GRND_NONBLOCK);
    *ret_fs = fs;
    return ST_OK;
}

void memfs_destroy(struct memfs *fs) {
    if (fs && fs->base) munmap(fs->base, fs->capacity_bytes);
    free(fs);
}

bool memfs_grow(struct memfs *fs, uint64_t used_bytes) {
    if (used_bytes <= fs->mapped_bytes) return true;
    if (used_bytes > fs->capacity_bytes) return false;
    /* In steps that grow, so that a large file is not a system call for each block. */
    uint64_t want = used_bytes + fs->mapped_bytes / 4;
    want = align_up(want, GROW_BYTES);
    if (want > fs->capacity_bytes) want = fs->capacity_bytes;
    if (mprotect(fs->base + fs->mapped_bytes, want - fs->mapped_bytes,
                 PROT_READ | PROT_WRITE) != 0)
        return false;
    fs->mapped_bytes = want;
    return true;
}

/* A page fault costs many times what a page does in bulk, but memory that is never written is
 * waste: an eighth of what is in use is brought in ahead, and nothing of little. */
#define AHEAD_FROM_BYTES (UINT64_C(256) << 10)
#define AHEAD_MOST_BYTES (UINT64_C(1) << 20)

void memfs_touch_ahead(struct memfs *fs) {
    uint64_t used = memfs_header(fs)->used_bytes;
    if (used < AHEAD_FROM_BYTES || used < fs->present_bytes) return;
    uint64_t ahead = align_up(used / 8, MEMFS_BLOCK);
    if (ahead > AHEAD_MOST_BYTES) ahead = AHEAD_MOST_BYTES;
    if (ahead > fs->mapped_bytes - used) ahead = fs->mapped_bytes - used;
    fs->present_bytes = used + ahead;
    (void)madvise(fs->base + used, ahead, MADV_POPULATE_WRITE); /* Linux 5.14 */
}

enum status memfs_resize(struct memfs *fs, uint64_t used_bytes, struct error *err) {
    fs->hint_directory = fs->hint_entry = 0;
    if (used_bytes < MEMFS_BLOCK || used_bytes % MEMFS_BLOCK)
        return error_set(err, ST_INCOMPATIBLE, "no files in memory have that size");
    if (used_bytes > fs->capacity_bytes)
        return error_set(err, ST_LIMIT, "the files in memory are larger than their limit");
    if (!memfs_grow(fs, used_bytes))
        return error_set_errno(err, ST_NO_MEMORY, "files in memory");
    uint64_t was = memfs_header(fs)->used_bytes;
    if (was > fs->mapped_bytes) was = fs->mapped_bytes;
    if (was > used_bytes &&
        madvise(fs->base + used_bytes, was - used_bytes, MADV_DONTNEED) != 0)
        return error_set_errno(err, ST_IO, "files in memory");
    memfs_header(fs)->used_bytes = used_bytes;
    fs->present_bytes = used_bytes;
    return ST_OK;
}

enum status memfs_adopt(struct memfs *fs, const struct memfs_quota *mounts,
                        uint32_t mount_count, struct error *err) {
    const struct memfs_header *h = memfs_header(fs);
    fs->hint_directory = fs->hint_entry = 0;
    if (h->magic != MEMFS_MAGIC || h->version != MEMFS_VERSION)
        return error_set(err, ST_INCOMPATIBLE, "the files in memory are of another version");
    if (h->used_bytes > fs->mapped_bytes || h->used_bytes % MEMFS_BLOCK)
        return error_set(err, ST_DAMAGED, "the files in memory are cut off");
    if (h->mount_count != mount_count)
        return error_set(err, ST_INCOMPATIBLE, "the directories in memory are others");
    for (uint32_t i = 0; i < mount_count; i++) {
        const struct memfs_quota *a = &h->mounts[i], *b = &mounts[i];
        if (a->limit_bytes != b->limit_bytes || a->limit_inodes != b->limit_inodes ||
            a->image_id != b->image_id)
            return error_set(err, ST_INCOMPATIBLE,
                             "the directories in memory have other limits");
        if (!memfs_object_is(fs, a->root, MEMFS_128) ||
            memfs_inode(fs, a->root)->type != IMAGE_DIRECTORY)
            return error_set(err, ST_DAMAGED, "the files in memory are damaged");
    }
    return ST_OK;
}

/* ---- mounts ------------------------------------------------------------------------------ */

enum status memfs_mount(struct memfs *fs, uint64_t limit_bytes, uint64_t limit_inodes,
                        const struct image *image, uint32_t *ret_mount, struct error *err) {
    struct memfs_header *h = memfs_header(fs);
    if (h->mount_count == MEMFS_MAX_MOUNTS)
        return error_set(err, ST_LIMIT, "more than %u directories in memory", MEMFS_MAX_MOUNTS);
    uint32_t mount = h->mount_count++;
    struct memfs_quota *quota = &h->mounts[mount];
    *quota = (struct memfs_quota){.limit_bytes = limit_bytes, .limit_inodes = limit_inodes};
    fs->images[mount] = image;
    struct memfs_node root = {.mount = mount};
    enum wasi_errno e;
    if (image) {
        quota->image_id = image->id;
        root.lower = image->root;
        e = memfs_node_own(fs, &root, true);
    } else {
        e = memfs_inode_make(fs, mount, IMAGE_DIRECTORY, &root.inode);
        if (e == WASI_OK) memfs_inode(fs, root.inode)->links = 2;
    }
    if (e != WASI_OK) return error_set(err, ST_LIMIT, "too small for a directory in memory");
    quota->root = root.inode;
    *ret_mount = mount;
    return ST_OK;
}

struct memfs_node memfs_root(const struct memfs *fs, uint32_t mount) {
    return (struct memfs_node){.mount = mount, .inode = memfs_header(fs)->mounts[mount].root};
}

enum wasi_errno memfs_charge(struct memfs *fs, uint32_t mount, uint64_t size_bytes,
                             bool force) {
    if (mount == MEMFS_NO_MOUNT) return WASI_OK;
    struct memfs_quota *quota = &memfs_header(fs)->mounts[mount];
    uint64_t used = 0;
    if (add_overflows(quota->used_bytes, size_bytes, &used)) return WASI_ENOSPC;
    if (!force && used > quota->limit_bytes) return WASI_ENOSPC;
    quota->used_bytes = used;
    return WASI_OK;
}

void memfs_refund(struct memfs *fs, uint32_t mount, uint64_t size_bytes) {
    if (mount == MEMFS_NO_MOUNT) return;
    struct memfs_quota *quota = &memfs_header(fs)->mounts[mount];
    CHECK(quota->used_bytes >= size_bytes);
    quota->used_bytes -= size_bytes;
}
