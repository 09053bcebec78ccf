/*
 * A directory to a file image: EROFS as docs/images.md describes it, the same bytes for the
 * same files. In order:
 *
 *     block 0         1024 bytes of nothing, the superblock, then inodes
 *     blocks          inodes, each with the last piece of its data behind it where that fits
 *     blocks          the rest of directories, then of files
 *
 * Inodes stand by directory: the entries of one next to each other, then those of its first
 * subdirectory. A block that still has room waits for a piece that fills it best, 16 of them at
 * a time. Metadata is made in memory; files are copied straight to their place. The uuid is the
 * beginning of the digest of everything else, so that equal images have equal ones.
 */
#include "cache/erofs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_BLOCKS 16
#define COPY_BYTES ((size_t)1 << 20)

struct writer {
    int out_fd;
    const struct erofs_options *options;
    struct erofs_summary summary;
    uint32_t serials;
    /* blocks of metadata with room left: where the room begins */
    uint64_t open[OPEN_BLOCKS];
    unsigned open_count;
    uint64_t meta_bytes; /* whole blocks of metadata so far */
    uint64_t blocks;     /* of the image so far, once the metadata is placed */
    uint8_t *meta;       /* meta_bytes of it */
    uint8_t *copy;       /* COPY_BYTES */
};

static void put16(uint8_t *to, uint32_t v) {
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}
static void put32(uint8_t *to, uint32_t v) {
    put16(to, v);
    put16(to + 2, v >> 16);
}
static void put64(uint8_t *to, uint64_t v) {
    put32(to, (uint32_t)v);
    put32(to + 4, (uint32_t)(v >> 32));
}

/* ---- layout ------------------------------------------------------------------------------ */

/* How large a directory's data is: entries and names fill blocks one after the other. */
static uint64_t directory_size(const struct erofs_node *node) {
    uint64_t blocks = 0, used = 0;
    for (uint32_t i = 0; i < node->entry_count; i++) {
        uint64_t need = EROFS_ENTRY_SIZE + node->entries[i].length;
        if (used + need > EROFS_BLOCK_SIZE) {
            blocks++;
            used = 0;
        }
        used += need;
    }
    return blocks * EROFS_BLOCK_SIZE + used;
}

/* Room for size bytes within one block of metadata. */
static uint64_t place(struct writer *w, uint64_t size) {
    unsigned best = w->open_count;
    uint64_t best_room = EROFS_BLOCK_SIZE + 1;
    for (unsigned i = 0; i < w->open_count; i++) {
        uint64_t room = EROFS_BLOCK_SIZE - w->open[i] % EROFS_BLOCK_SIZE;
        if (room < size || room >= best_room) continue;
        best = i;
        best_room = room;
    }
    if (best == w->open_count) {
        /* A new block; the fullest of the others gives way. */
        if (w->open_count == OPEN_BLOCKS) {
            best = 0;
            for (unsigned i = 1; i < OPEN_BLOCKS; i++)
                if (w->open[i] % EROFS_BLOCK_SIZE > w->open[best] % EROFS_BLOCK_SIZE) best = i;
        } else {
            w->open_count++;
        }
        w->open[best] = w->meta_bytes;
        w->meta_bytes += EROFS_BLOCK_SIZE;
    }
    uint64_t at = w->open[best];
    uint64_t next = align_up(at + size, EROFS_SLOT_SIZE);
    w->open[best] = next;
    if (next % EROFS_BLOCK_SIZE == 0) w->open[best] = w->open[--w->open_count]; /* full */
    return at;
}

static void place_node(struct writer *w, struct erofs_node *node) {
    if (S_ISDIR(node->mode)) {
        node->size_bytes = directory_size(node);
        w->summary.directories++;
    } else if (S_ISREG(node->mode)) {
        w->summary.files++;
        w->summary.file_bytes += node->size_bytes;
    } else {
        w->summary.symlinks++;
    }
    node->serial = w->serials++;
    bool own_time = node->mtime_s != w->options->time_s || node->mtime_ns != 0;
    node->extended = own_time || node->size_bytes > UINT32_MAX || node->links > UINT16_MAX;
    uint64_t inode = node->extended ? EROFS_EXTENDED_SIZE : EROFS_COMPACT_SIZE;
    uint64_t tail = node->size_bytes % EROFS_BLOCK_SIZE;
    if (inode + tail > EROFS_BLOCK_SIZE) tail = 0; /* in a block of its own */
    node->tail_bytes = (uint32_t)tail;
    node->at = place(w, inode + tail);
}

static void place_children(struct writer *w, struct erofs_node *node) {
    for (uint32_t i = 0; i < node->entry_count; i++)
        if (!node->entries[i].dots) place_node(w, node->entries[i].to);
    for (uint32_t i = 0; i < node->entry_count; i++)
        if (!node->entries[i].dots && S_ISDIR(node->entries[i].to->mode))
            place_children(w, node->entries[i].to);
}

/* Gives blocks to the directories, or to all others. */
static enum status place_blocks(struct writer *w, struct erofs_node *node, bool directories,
                                struct error *err) {
    if ((S_ISDIR(node->mode) != 0) == directories) {
        uint64_t bytes = node->size_bytes - node->tail_bytes;
        uint64_t blocks = bytes / EROFS_BLOCK_SIZE + (bytes % EROFS_BLOCK_SIZE != 0);
        if (blocks >= UINT32_MAX - w->blocks)
            return error_set(err, ST_LIMIT, "an image may have at most 16 TiB");
        node->start_block = blocks ? (uint32_t)w->blocks : UINT32_MAX;
        w->blocks += blocks;
    }
    for (uint32_t i = 0; i < node->entry_count; i++) {
        if (node->entries[i].dots) continue;
        enum status status = place_blocks(w, node->entries[i].to, directories, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

/* ---- contents ---------------------------------------------------------------------------- */

static enum status write_at(int fd, const uint8_t *bytes, uint64_t size, uint64_t at,
                            struct error *err) {
    while (size > 0) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write the image");
        bytes += n;
        size -= (uint64_t)n;
        at += (uint64_t)n;
    }
    return ST_OK;
}

static uint8_t *tail_of(const struct writer *w, const struct erofs_node *node) {
    return w->meta + node->at + (node->extended ? EROFS_EXTENDED_SIZE : EROFS_COMPACT_SIZE);
}

/* Puts a piece of a node's data where it belongs: in its blocks, or behind the inode. A piece
 * does not cross from one to the other. */
static enum status write_data(struct writer *w, const struct erofs_node *node, uint64_t offset,
                              const uint8_t *bytes, uint64_t size, struct error *err) {
    uint64_t in_blocks = node->size_bytes - node->tail_bytes;
    if (offset < in_blocks)
        return write_at(w->out_fd, bytes, size,
                        (uint64_t)node->start_block * EROFS_BLOCK_SIZE + offset, err);
    memcpy(tail_of(w, node) + (offset - in_blocks), bytes, size);
    return ST_OK;
}

static uint8_t entry_type(unsigned mode) {
    if (S_ISDIR(mode)) return EROFS_TYPE_DIRECTORY;
    return S_ISLNK(mode) ? EROFS_TYPE_SYMLINK : EROFS_TYPE_FILE;
}

static enum status write_directory(struct writer *w, const struct erofs_node *node,
                                   struct error *err) {
    uint64_t offset = 0;
    for (uint32_t first = 0; first < node->entry_count;) {
        uint8_t block[EROFS_BLOCK_SIZE] = {0};
        uint32_t last = first;
        uint64_t used = 0;
        while (last < node->entry_count &&
               used + EROFS_ENTRY_SIZE + node->entries[last].length <= EROFS_BLOCK_SIZE)
            used += EROFS_ENTRY_SIZE + node->entries[last++].length;
        uint32_t name = (last - first) * EROFS_ENTRY_SIZE;
        for (uint32_t i = first; i < last; i++) {
            const struct erofs_entry *entry = &node->entries[i];
            uint8_t *to = block + (size_t)(i - first) * EROFS_ENTRY_SIZE;
            put64(to + EROFS_ENTRY_INODE, entry->to->at / EROFS_SLOT_SIZE);
            put16(to + EROFS_ENTRY_NAME, name);
            to[EROFS_ENTRY_TYPE] = entry_type(entry->to->mode);
            memcpy(block + name, entry->name, entry->length);
            name += entry->length;
        }
        uint64_t size = last < node->entry_count ? EROFS_BLOCK_SIZE : used;
        enum status status = write_data(w, node, offset, block, size, err);
        if (status != ST_OK) return status;
        offset += size;
        first = last;
    }
    return ST_OK;
}

static void write_inode(struct writer *w, const struct erofs_node *node) {
    uint8_t *to = w->meta + node->at;
    uint32_t layout = node->tail_bytes ? EROFS_LAYOUT_INLINE : EROFS_LAYOUT_PLAIN;
    put16(to + EROFS_COMPACT_FORMAT, layout << 1 | node->extended);
    put16(to + EROFS_COMPACT_MODE, node->mode);
    put32(to + EROFS_COMPACT_BLOCK, node->start_block);
    put32(to + EROFS_COMPACT_SERIAL, node->serial);
    if (node->extended) {
        put64(to + EROFS_EXTENDED_LENGTH, node->size_bytes);
        put64(to + EROFS_EXTENDED_TIME, node->mtime_s);
        put32(to + EROFS_EXTENDED_TIME_NS, node->mtime_ns);
        put32(to + EROFS_EXTENDED_LINKS, node->links);
    } else {
        put32(to + EROFS_COMPACT_LENGTH, (uint32_t)node->size_bytes);
        put16(to + EROFS_COMPACT_LINKS, node->links);
    }
}

static enum status changed(const struct erofs_node *node, struct error *err) {
    char path[300];
    erofs_node_path(node, path, sizeof path);
    return error_set(err, ST_IO, "%s: it changed while it was being read", path);
}

static enum status copy_file(struct writer *w, int dir_fd, const struct erofs_node *node,
                             struct error *err) {
    auto_fd int fd = openat(dir_fd, node->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        enum status status = error_set_errno(err, ST_IO, "cannot be read");
        char path[300];
        erofs_node_path(node, path, sizeof path);
        return status == ST_OK ? status : error_wrap(err, "%s", path);
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != node->size_bytes)
        return changed(node, err);
    uint64_t in_blocks = node->size_bytes - node->tail_bytes;
    for (uint64_t at = 0; at < node->size_bytes;) {
        uint64_t size = (at < in_blocks ? in_blocks : node->size_bytes) - at;
        if (size > COPY_BYTES) size = COPY_BYTES;
        ssize_t n = pread(fd, w->copy, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot read '%s'", node->name);
        if (n == 0) return changed(node, err);
        enum status status = write_data(w, node, at, w->copy, (uint64_t)n, err);
        if (status != ST_OK) return status;
        at += (uint64_t)n;
    }
    return ST_OK;
}

/* A directory and everything beneath it; dir_fd is the host's. */
static enum status write_node(struct writer *w, int dir_fd, const struct erofs_node *node,
                              struct error *err) {
    write_inode(w, node);
    enum status status = write_directory(w, node, err);
    for (uint32_t i = 0; status == ST_OK && i < node->entry_count; i++) {
        const struct erofs_node *child = node->entries[i].to;
        if (node->entries[i].dots) continue;
        if (S_ISDIR(child->mode)) {
            auto_fd int fd =
                openat(dir_fd, child->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            status = fd < 0 ? changed(child, err) : write_node(w, fd, child, err);
            continue;
        }
        write_inode(w, child);
        if (S_ISREG(child->mode))
            status = copy_file(w, dir_fd, child, err);
        else
            status =
                write_data(w, child, 0, (const uint8_t *)child->target, child->size_bytes, err);
    }
    return status;
}

/* ---- the superblock ---------------------------------------------------------------------- */

static void fill_super(struct writer *w, const struct erofs_node *root) {
    uint8_t *super = w->meta + EROFS_SUPER_AT;
    put32(super + EROFS_SUPER_MAGIC, EROFS_MAGIC);
    put32(super + EROFS_SUPER_COMPAT, EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME);
    super[EROFS_SUPER_BLOCK_BITS] = EROFS_BLOCK_BITS;
    put16(super + EROFS_SUPER_ROOT, (uint32_t)(root->at / EROFS_SLOT_SIZE));
    put64(super + EROFS_SUPER_INODES, w->serials);
    put64(super + EROFS_SUPER_TIME, w->options->time_s);
    put32(super + EROFS_SUPER_BLOCKS, (uint32_t)w->blocks);
}

/* Once all else is written: the uuid from its digest, then the checksum over block 0. */
static enum status seal(struct writer *w, struct error *err) {
    uint64_t size = w->blocks * EROFS_BLOCK_SIZE;
    void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, w->out_fd, 0);
    if (mapped == MAP_FAILED) return error_set_errno(err, ST_IO, "cannot read the image back");
    struct digest digest = digest_of(mapped, size);
    munmap(mapped, size);
    uint8_t *super = w->meta + EROFS_SUPER_AT;
    memcpy(super + EROFS_SUPER_UUID, digest.bytes, 16);
    /* RFC 9562: version 8, whose bits mean what its maker says. */
    super[EROFS_SUPER_UUID + 6] = (uint8_t)(0x80 | (digest.bytes[6] & 0x0f));
    super[EROFS_SUPER_UUID + 8] = (uint8_t)(0x80 | (digest.bytes[8] & 0x3f));
    put32(super + EROFS_SUPER_CHECKSUM,
          crc32c(~UINT32_C(0), super, EROFS_BLOCK_SIZE - EROFS_SUPER_AT));
    return write_at(w->out_fd, w->meta, EROFS_BLOCK_SIZE, 0, err);
}

static enum status write_tree(struct writer *w, int dir_fd, struct erofs_node *root,
                              struct error *err) {
    /* The root first: its number has only 16 bits in the superblock. */
    w->open[w->open_count++] = EROFS_SUPER_AT + EROFS_SUPER_SIZE;
    w->meta_bytes = EROFS_BLOCK_SIZE;
    place_node(w, root);
    place_children(w, root);
    w->blocks = w->meta_bytes / EROFS_BLOCK_SIZE;
    enum status status = place_blocks(w, root, true, err);
    if (status == ST_OK) status = place_blocks(w, root, false, err);
    if (status != ST_OK) return status;
    w->summary.image_bytes = w->blocks * EROFS_BLOCK_SIZE;
    if (ftruncate(w->out_fd, (off_t)w->summary.image_bytes) != 0)
        return error_set_errno(err, ST_IO, "cannot write the image");
    w->meta = calloc(1, w->meta_bytes);
    w->copy = malloc(COPY_BYTES);
    if (!w->meta || !w->copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    if ((status = write_node(w, dir_fd, root, err)) != ST_OK) return status;
    fill_super(w, root);
    status = write_at(w->out_fd, w->meta, w->meta_bytes, 0, err);
    return status == ST_OK ? seal(w, err) : status;
}

enum status erofs_write(int dir_fd, const struct erofs_options *options, int out_fd,
                        struct erofs_summary *ret_summary, struct error *err) {
    auto_arena struct arena arena = {0};
    struct erofs_node *root = NULL;
    enum status status = erofs_tree_read(dir_fd, options, &arena, &root, err);
    if (status != ST_OK) return status;
    struct writer w = {.out_fd = out_fd, .options = options};
    status = write_tree(&w, dir_fd, root, err);
    free(w.meta);
    free(w.copy);
    if (status == ST_OK) *ret_summary = w.summary;
    return status;
}
