/*
 * A directory of the host to a tree in memory: what an image will hold. All that could differ
 * between two copies of the same files is settled here: order (names as bytes), owners (root),
 * permissions (0755 where the owner may execute, 0644 otherwise), times (one for all, unless
 * they are to be kept). A file with several names becomes several files. What is neither file,
 * directory nor symbolic link is refused by name.
 *
 * Nothing outside of the directory is read: names are opened one by one, and symbolic links are
 * taken as they are.
 */
#include "cache/erofs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void erofs_node_path(const struct erofs_node *node, char *ret_path, size_t size) {
    /* From the end to the front; the front is what is cut. */
    size_t at = size - 1;
    ret_path[at] = 0;
    for (; node && node->parent; node = node->parent) {
        size_t length = strlen(node->name);
        if (length + 1 > at) break;
        if (ret_path[at]) ret_path[--at] = '/';
        at -= length;
        memcpy(ret_path + at, node->name, length);
    }
    if (!ret_path[at] && at > 0) ret_path[--at] = '.';
    memmove(ret_path, ret_path + at, size - at);
}

static enum status failed(struct error *err, const struct erofs_node *node, const char *what) {
    int saved = errno;
    char path[300];
    erofs_node_path(node, path, sizeof path);
    errno = saved;
    return error_set_errno(err, ST_IO, "%s: %s", path, what);
}

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

static int compare_entries(const void *a, const void *b) {
    const struct erofs_entry *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->length < y->length ? x->length : y->length);
    if (order != 0) return order;
    return x->length < y->length ? -1 : x->length > y->length;
}

struct scan {
    const struct erofs_options *options;
    struct arena *arena;
};

static enum status read_target(const struct scan *s, int dir_fd, struct erofs_node *node,
                               struct error *err) {
    char target[EROFS_TARGET_MAX + 2];
    ssize_t length = readlinkat(dir_fd, node->name, target, sizeof target);
    if (length < 0) return failed(err, node, "cannot read the symbolic link");
    if (length == 0 || length > EROFS_TARGET_MAX) {
        errno = ENAMETOOLONG;
        return failed(err, node, "a symbolic link whose target is too long");
    }
    node->target = arena_string(s->arena, target, (size_t)length);
    node->size_bytes = (uint64_t)length;
    return node->target ? ST_OK : no_memory(err);
}

static enum status read_node(const struct scan *s, int dir_fd, struct erofs_node *node,
                             struct error *err) {
    struct stat st;
    if (fstatat(dir_fd, node->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return failed(err, node, "cannot be looked at");
    bool keep = s->options->keep_times && st.st_mtim.tv_sec >= 0;
    node->mtime_s = keep ? (uint64_t)st.st_mtim.tv_sec : s->options->time_s;
    node->mtime_ns = keep ? (uint32_t)st.st_mtim.tv_nsec : 0;
    node->links = 1;
    if (S_ISREG(st.st_mode)) {
        node->mode = S_IFREG | (st.st_mode & S_IXUSR ? 0755 : 0644);
        node->size_bytes = (uint64_t)st.st_size;
    } else if (S_ISDIR(st.st_mode)) {
        node->mode = S_IFDIR | 0755;
        node->links = 2;
    } else if (S_ISLNK(st.st_mode)) {
        node->mode = S_IFLNK | 0777;
        return read_target(s, dir_fd, node, err);
    } else {
        char path[300];
        erofs_node_path(node, path, sizeof path);
        return error_set(err, ST_UNSUPPORTED,
                         "%s: an image holds files, directories and symbolic links, not %s",
                         path,
                         S_ISFIFO(st.st_mode)   ? "pipes"
                         : S_ISSOCK(st.st_mode) ? "sockets"
                                                : "devices");
    }
    return ST_OK;
}

/* The names of a directory: a list that grows in malloc's memory, the names in the arena. */
static enum status read_names(const struct scan *s, DIR *dir, struct erofs_node *parent,
                              struct error *err) {
    uint32_t capacity = 0, count = 0;
    auto_free struct erofs_entry *list = NULL;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno) return failed(err, parent, "cannot be listed");
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            struct erofs_entry *grown = realloc(list, capacity * sizeof *grown);
            if (!grown) return no_memory(err);
            list = grown;
        }
        if (!entry) break;
        if (count > UINT32_MAX / 4) return error_set(err, ST_LIMIT, "too many names");
        size_t length = strlen(entry->d_name);
        bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (dots) continue;
        const char *name = arena_string(s->arena, entry->d_name, length);
        struct erofs_node *node = arena_alloc(s->arena, sizeof *node);
        if (!name || !node) return no_memory(err);
        *node = (struct erofs_node){.parent = parent, .name = name};
        list[count++] = (struct erofs_entry){name, (uint32_t)length, false, node};
    }
    parent->entry_count = count + 2;
    parent->entries = arena_array(s->arena, (size_t)count + 2, sizeof *parent->entries);
    if (!parent->entries) return no_memory(err);
    if (count) memcpy(parent->entries, list, count * sizeof *list);
    parent->entries[count] = (struct erofs_entry){".", 1, true, parent};
    parent->entries[count + 1] =
        (struct erofs_entry){"..", 2, true, parent->parent ? parent->parent : parent};
    qsort(parent->entries, parent->entry_count, sizeof *parent->entries, compare_entries);
    return ST_OK;
}

static enum status read_directory(const struct scan *s, int dir_fd, struct erofs_node *node,
                                  unsigned depth, struct error *err);

static enum status read_children(const struct scan *s, int dir_fd, struct erofs_node *node,
                                 unsigned depth, struct error *err) {
    for (uint32_t i = 0; i < node->entry_count; i++) {
        struct erofs_node *child = node->entries[i].to;
        if (node->entries[i].dots) continue;
        enum status status = read_node(s, dir_fd, child, err);
        if (status != ST_OK) return status;
        if (!S_ISDIR(child->mode)) continue;
        node->links++;
        auto_fd int fd =
            openat(dir_fd, child->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) return failed(err, child, "cannot be opened");
        if ((status = read_directory(s, fd, child, depth + 1, err)) != ST_OK) return status;
    }
    return ST_OK;
}

static enum status read_directory(const struct scan *s, int dir_fd, struct erofs_node *node,
                                  unsigned depth, struct error *err) {
    if (depth > EROFS_MAX_DEPTH)
        return error_set(err, ST_LIMIT, "more than %u directories deep", EROFS_MAX_DEPTH);
    /* fdopendir takes the descriptor, and with another one the position is its own. */
    int list_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (!dir) {
        enum status status = failed(err, node, "cannot be opened");
        if (list_fd >= 0) close(list_fd);
        return status;
    }
    enum status status = read_names(s, dir, node, err);
    closedir(dir);
    return status == ST_OK ? read_children(s, dir_fd, node, depth, err) : status;
}

enum status erofs_tree_read(int dir_fd, const struct erofs_options *options,
                            struct arena *arena, struct erofs_node **ret_root,
                            struct error *err) {
    struct scan s = {.options = options, .arena = arena};
    struct erofs_node *root = arena_alloc(arena, sizeof *root);
    if (!root) return no_memory(err);
    *root = (struct erofs_node){.name = "."};
    enum status status = read_node(&s, dir_fd, root, err);
    if (status == ST_OK) status = read_directory(&s, dir_fd, root, 0, err);
    if (status == ST_OK) *ret_root = root;
    return status;
}
