/*
 * hutch image: file images (docs/images.md). `create` makes one of a directory, reads it again
 * and checks all of it before it appears under its name; `list` shows what one holds; `check`
 * says whether it is sound. What is read may be anybody's: names are printed with control
 * characters shown, and a walk ends on every input.
 */
#include "cache/cache.h"
#include "runtime/runtime.h"
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct image_command {
    const char *verb, *file, *output;
    struct erofs_options options;
};

/* ---- the command line -------------------------------------------------------------------- */

static enum status parse_time(const char *what, const char *text, uint64_t *ret_seconds,
                              struct error *err) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > INT64_MAX / 1000000000)
        return error_set(err, ST_USAGE, "%s %s: give seconds since 1970", what, text);
    *ret_seconds = n;
    return ST_OK;
}

static enum status set_time(struct image_command *c, const char *text, struct error *err) {
    c->options.keep_times = strcmp(text, "keep") == 0;
    if (c->options.keep_times) return ST_OK;
    return parse_time("--mtime", text, &c->options.time_s, err);
}

static enum status parse(int argc, char **argv, struct image_command *ret, struct error *err) {
    static const char *const verbs[] = {"create", "list", "check", NULL};
    struct image_command c = {.options = {.time_s = EROFS_TIME_DEFAULT}};
    if (argc < 2) return error_set(err, ST_USAGE, "say create, list or check");
    c.verb = argv[1];
    bool known = false, options_end = false;
    for (size_t i = 0; verbs[i]; i++) known = known || strcmp(verbs[i], c.verb) == 0;
    if (!known) {
        const char *near = cli_near(c.verb, verbs);
        return error_set(err, ST_USAGE, "there is no 'image %s'%s%s%s", c.verb,
                         near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    bool creates = strcmp(c.verb, "create") == 0;
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    enum status status = ST_OK;
    if (creates && epoch && *epoch)
        status = parse_time("SOURCE_DATE_EPOCH", epoch, &c.options.time_s, err);
    for (int i = 2; status == ST_OK && i < argc; i++) {
        const char *word = argv[i], *value = NULL;
        bool is_output = false;
        if (options_end || word[0] != '-' || !word[1]) {
            if (c.file) return error_set(err, ST_USAGE, "'%s' is one too many", word);
            c.file = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            options_end = true;
            continue;
        }
        if (strncmp(word, "--output=", 9) == 0 || strncmp(word, "--mtime=", 8) == 0) {
            value = strchr(word, '=') + 1;
        } else if (word[1] == 'o' && word[2]) {
            value = word + 2 + (word[2] == '=');
        } else if (strcmp(word, "-o") == 0 || strcmp(word, "--output") == 0 ||
                   strcmp(word, "--mtime") == 0) {
            if (i + 1 >= argc) return error_set(err, ST_USAGE, "%s needs a value", word);
            value = argv[++i];
        }
        is_output = word[1] == 'o' || word[2] == 'o';
        if (!value || !creates) return error_set(err, ST_USAGE, "unknown option %s", word);
        if (is_output)
            c.output = value;
        else
            status = set_time(&c, value, err);
    }
    if (status != ST_OK) return status;
    if (!c.file)
        return error_set(err, ST_USAGE, creates ? "no directory given" : "no image given");
    if (creates && !c.output) return error_set(err, ST_USAGE, "say where: -o FILE");
    *ret = c;
    return ST_OK;
}

/* ---- a mapped image ---------------------------------------------------------------------- */

struct mapped {
    const uint8_t *bytes;
    size_t size;
    struct image image;
};

static void unmap(struct mapped *m) {
    if (m->bytes) munmap((void *)(uintptr_t)m->bytes, m->size);
}

static enum status map_image(int fd, struct mapped *ret, struct error *err) {
    enum status status = cli_map_file(fd, &ret->bytes, &ret->size, err);
    if (status != ST_OK) return status;
    if (!ret->bytes) return error_set(err, ST_MALFORMED, "the file is empty");
    return image_open(ret->bytes, ret->size, &ret->image, err);
}

/* ---- create ------------------------------------------------------------------------------ */

/* Splits the output into its directory, opened, and its name there. */
static enum status open_place(const char *output, int *ret_dir_fd, const char **ret_name,
                              struct error *err) {
    const char *slash = strrchr(output, '/');
    auto_free char *directory =
        slash ? strndup(output, slash == output ? 1 : (size_t)(slash - output)) : strdup(".");
    if (!directory) return error_set(err, ST_NO_MEMORY, "out of memory");
    *ret_name = slash ? slash + 1 : output;
    if (!**ret_name) return error_set(err, ST_USAGE, "-o %s: that is a directory", output);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open the directory %s", directory);
    *ret_dir_fd = fd;
    return ST_OK;
}

/* An image in the directory it is made of would hold itself the next time. */
static enum status check_place(int tree_fd, int dir_fd, const char *name, struct error *err) {
    struct stat tree, at, out;
    if (fstat(tree_fd, &tree) < 0) return error_set_errno(err, ST_IO, "cannot be looked at");
    auto_fd int up = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int depth = 0; up >= 0 && depth < 4096 && fstat(up, &at) == 0; depth++) {
        if (at.st_dev == tree.st_dev && at.st_ino == tree.st_ino)
            return error_set(err, ST_USAGE, "-o: the image would lie in the directory itself");
        struct stat parent;
        int next = openat(up, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(up);
        up = next;
        if (up >= 0 && fstat(up, &parent) == 0 && parent.st_dev == at.st_dev &&
            parent.st_ino == at.st_ino)
            break; /* the top */
    }
    if (fstatat(dir_fd, name, &out, 0) == 0 && !S_ISREG(out.st_mode))
        return error_set(err, ST_IO, "cannot write %s: it is no regular file", name);
    return ST_OK;
}

/* Gives a file without a name its name, over whatever has it: a link of another name, renamed.
 */
static enum status publish(int fd, int dir_fd, const char *name, struct error *err) {
    char from[40], temporary[NAME_MAX + 1];
    if (fchmod(fd, 0444) != 0 || fsync(fd) != 0)
        return error_set_errno(err, ST_IO, "cannot write the image");
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    for (unsigned attempt = 0;; attempt++) {
        snprintf(temporary, sizeof temporary, ".hutch-%ld-%u", (long)getpid(), attempt);
        if (linkat(AT_FDCWD, from, dir_fd, temporary, AT_SYMLINK_FOLLOW) == 0) break;
        if (errno != EEXIST || attempt == 100)
            return error_set_errno(err, ST_IO, "cannot write %s", name);
    }
    if (renameat(dir_fd, temporary, dir_fd, name) != 0) {
        error_set_errno(err, ST_IO, "cannot write %s", name);
        unlinkat(dir_fd, temporary, 0);
        return err->status;
    }
    if (fsync(dir_fd) != 0) return error_set_errno(err, ST_IO, "cannot write %s", name);
    return ST_OK;
}

static void print_summary(const char *output, const struct erofs_summary *s,
                          const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    printf("%s: %llu files, %llu directories, %llu symbolic links; %llu bytes of %llu\n"
           "sha256:%s\n",
           output, (unsigned long long)s->files, (unsigned long long)s->directories,
           (unsigned long long)s->symlinks, (unsigned long long)s->image_bytes,
           (unsigned long long)s->file_bytes, hex);
}

static enum status create(const struct image_command *c, struct error *err) {
    auto_fd int tree_fd = open(c->file, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree_fd < 0) return error_set_errno(err, ST_IO, "cannot open the directory");
    auto_fd int dir_fd = -1;
    const char *name = NULL;
    enum status status = open_place(c->output, &dir_fd, &name, err);
    if (status == ST_OK) status = check_place(tree_fd, dir_fd, name, err);
    if (status != ST_OK) return status;
    /* Without a name until it is whole: nothing is left behind, whatever happens. Where a file
     * system has no such files, it is made in memory. */
    auto_fd int fd = openat(dir_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    bool in_memory = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL);
    if (fd < 0 && !in_memory) return error_set_errno(err, ST_IO, "cannot write %s", c->output);
    if (in_memory && (status = cli_memory_file("hutch-image", &fd, err)) != ST_OK)
        return status;
    struct erofs_summary summary;
    status = erofs_write(tree_fd, &c->options, fd, &summary, err);
    if (status != ST_OK) return status;
    struct mapped m = {0};
    status = map_image(fd, &m, err);
    if (status == ST_OK) status = image_check(&m.image, err);
    struct digest digest = {0};
    if (status == ST_OK)
        digest = digest_of(m.bytes, m.size);
    else
        error_wrap(err, "the image that was written");
    if (status == ST_OK)
        status = in_memory ? file_publish(dir_fd, name, m.bytes, m.size, 0444, err)
                           : publish(fd, dir_fd, name, err);
    unmap(&m);
    if (status != ST_OK) return status;
    print_summary(c->output, &summary, &digest);
    return ST_OK;
}

/* ---- list -------------------------------------------------------------------------------- */

static void print_bytes(const uint8_t *bytes, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7f || bytes[i] == '\\')
            printf("\\x%02x", bytes[i]);
        else
            putchar(bytes[i]);
    }
}

struct list {
    const struct image *image;
    uint64_t entries_left;
    struct image_entry path[IMAGE_MAX_DEPTH + 1];
};

static void print_node(const struct list *l, const struct image_node *node, unsigned depth) {
    static const char letters[] = {'-', 'd', 'l', '?'};
    char when[40] = "-";
    time_t at = (time_t)node->mtime_s;
    struct tm tm;
    if (node->mtime_s < UINT64_C(253402300800) && gmtime_r(&at, &tm)) /* before year 10000 */
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    printf("%c%c%c%c %12llu %s ", letters[node->type], node->mode & 0400 ? 'r' : '-',
           node->mode & 0200 ? 'w' : '-', node->mode & 0100 ? 'x' : '-',
           (unsigned long long)node->size_bytes, when);
    for (unsigned i = 0; i <= depth; i++) {
        if (i) putchar('/');
        print_bytes(l->path[i].name, l->path[i].name_length);
    }
    uint64_t size = 0;
    const uint8_t *target = node->type == IMAGE_SYMLINK ? image_data(node, 0, &size) : NULL;
    if (target) {
        printf(" -> ");
        print_bytes(target, size);
    }
    putchar('\n');
}

static enum status list_directory(struct list *l, const struct image_node *directory,
                                  unsigned depth, struct error *err) {
    struct image_entry entry;
    struct image_node node;
    if (depth > IMAGE_MAX_DEPTH)
        return error_set(err, ST_LIMIT, "more than %u directories deep", IMAGE_MAX_DEPTH);
    for (uint64_t at = 0;; at = entry.next) {
        enum image_result result = image_entry_at(l->image, directory, at, &entry);
        if (result == IMAGE_ABSENT) return ST_OK;
        if (result == IMAGE_OK) result = image_node(l->image, entry.number, &node);
        if (result != IMAGE_OK || l->entries_left-- == 0)
            return error_set(err, ST_DAMAGED, "inode %llu: a directory that is damaged",
                             (unsigned long long)directory->number);
        bool dots = entry.name[0] == '.' && (entry.name_length == 1 ||
                                             (entry.name_length == 2 && entry.name[1] == '.'));
        if (dots) continue;
        l->path[depth] = entry;
        print_node(l, &node, depth);
        if (node.type != IMAGE_DIRECTORY) continue;
        enum status status = list_directory(l, &node, depth + 1, err);
        if (status != ST_OK) return status;
    }
}

static enum status list(const struct image *image, struct error *err) {
    struct list l = {.image = image, .entries_left = image->size_bytes / 8};
    struct image_node root;
    if (image_node(image, image->root, &root) != IMAGE_OK)
        return error_set(err, ST_DAMAGED, "the root is damaged");
    return list_directory(&l, &root, 0, err);
}

/* ---- the command ------------------------------------------------------------------------- */

static enum status read_image(const struct image_command *c, struct error *err) {
    auto_fd int fd = open(c->file, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open");
    struct mapped m = {0};
    enum status status = map_image(fd, &m, err);
    if (status == ST_OK && strcmp(c->verb, "list") == 0) {
        status = list(&m.image, err);
    } else if (status == ST_OK) {
        status = image_check(&m.image, err);
        if (status == ST_OK)
            printf("%s: sound, %llu inodes, %zu bytes\n", c->file,
                   (unsigned long long)m.image.inode_count, m.size);
    }
    unmap(&m);
    return status;
}

int cmd_image(int argc, char **argv) {
    struct image_command c = {0};
    struct error err = {0};
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help_print("image");
            return EXIT_DONE;
        }
    enum status status = parse(argc, argv, &c, &err);
    if (status == ST_OK)
        status = strcmp(c.verb, "create") == 0 ? create(&c, &err) : read_image(&c, &err);
    return status == ST_OK ? EXIT_DONE : cli_report("image", c.file, &err);
}
