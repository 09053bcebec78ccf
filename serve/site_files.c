/*
 * Guest paths to files in mapped images, and their content to a client without a copy.
 */
#include "serve/site_files.h"

#include "runtime/runtime.h"

#include <event2/buffer.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct mapping {
    void *bytes;
    size_t size;
    uint32_t users;
};
struct mounted {
    const char *guest; /* the kit's */
    struct image image;
    struct mapping *mapping;
};
struct site_files {
    uint32_t count;
    struct mounted mounts[];
};

static void release(struct mapping *m) {
    if (--m->users) return;
    munmap(m->bytes, m->size);
    free(m);
}

static enum status map(int fd, struct mounted *mounted, struct error *err) {
    struct stat st;
    struct mapping *m = malloc(sizeof *m);
    if (!m) return error_set(err, ST_NO_MEMORY, "out of memory");
    void *bytes = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        free(m);
        return error_set_errno(err, ST_IO, "cannot map the image for %s", mounted->guest);
    }
    *m = (struct mapping){bytes, (size_t)st.st_size, 1};
    enum status status = image_open(bytes, m->size, &mounted->image, err);
    if (status != ST_OK) {
        release(m);
        return error_wrap(err, "the image for %s", mounted->guest);
    }
    mounted->mapping = m;
    return ST_OK;
}

enum status site_files_open(const struct serve_kit *kit, struct site_files **ret_files,
                            struct error *err) {
    struct site_files *files =
        calloc(1, sizeof *files + kit->dir_count * sizeof files->mounts[0]);
    if (!files) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < kit->dir_count; i++) {
        /* What an instance has written over a mount is its own: the front sends what was
         * deployed. */
        if (!kit->dirs[i].image) continue;
        struct mounted *mounted = &files->mounts[files->count];
        mounted->guest = kit->dirs[i].guest;
        enum status status = map(kit->dirs[i].fd, mounted, err);
        if (status != ST_OK) {
            site_files_close(files);
            return status;
        }
        files->count++;
    }
    *ret_files = files;
    return ST_OK;
}

void site_files_close(struct site_files *files) {
    if (!files) return;
    for (uint32_t i = 0; i < files->count; i++) release(files->mounts[i].mapping);
    free(files);
}

/* The longest mount that holds the path, the last of equal ones. */
static bool find(struct site_files *files, const char *path, struct mounted **ret_mounted,
                 struct image_node *ret_node) {
    struct mounted *best = NULL;
    size_t best_length = 0;
    for (uint32_t i = 0; i < files->count; i++) {
        const char *guest = files->mounts[i].guest;
        size_t length = strlen(guest);
        while (length && guest[length - 1] == '/') length--;
        if (strncmp(guest, path, length) != 0 || (path[length] && path[length] != '/'))
            continue;
        if (best && length < best_length) continue;
        best = &files->mounts[i];
        best_length = length;
    }
    if (!best) return false;
    const char *rest = path + best_length;
    rest += strspn(rest, "/");
    *ret_mounted = best;
    return image_walk(&best->image, best->image.root, *rest ? rest : ".", true, ret_node) ==
           IMAGE_OK;
}

enum app_file_kind site_files_look(void *context, const char *guest_path) {
    struct mounted *mounted;
    struct image_node node;
    if (!find(context, guest_path, &mounted, &node)) return APP_FILE_NONE;
    if (node.type == IMAGE_FILE) return APP_FILE_REGULAR;
    return node.type == IMAGE_DIRECTORY ? APP_FILE_DIRECTORY : APP_FILE_NONE;
}

static const char *type_of(const char *path) {
    /* clang-format off */
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"}, {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"}, {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"}, {"json", "application/json"},
        {"map", "application/json"}, {"xml", "application/xml"},
        {"txt", "text/plain; charset=utf-8"}, {"md", "text/plain; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"}, {"svg", "image/svg+xml"}, {"png", "image/png"},
        {"jpg", "image/jpeg"}, {"jpeg", "image/jpeg"}, {"gif", "image/gif"},
        {"webp", "image/webp"}, {"avif", "image/avif"}, {"ico", "image/x-icon"},
        {"woff", "font/woff"}, {"woff2", "font/woff2"}, {"ttf", "font/ttf"},
        {"pdf", "application/pdf"}, {"zip", "application/zip"}, {"gz", "application/gzip"},
        {"wasm", "application/wasm"}, {"mp3", "audio/mpeg"}, {"mp4", "video/mp4"},
        {"webm", "video/webm"}, {"webmanifest", "application/manifest+json"},
    };
    /* clang-format on */
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < countof(types); i++)
        if (strcasecmp(dot + 1, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

static void on_sent(const void *bytes, size_t size, void *context) {
    (void)bytes;
    (void)size;
    release(context);
}

bool site_files_read(struct site_files *files, const char *guest_path,
                     struct site_file *ret_file, struct evbuffer *out) {
    struct mounted *mounted;
    struct image_node node;
    if (!find(files, guest_path, &mounted, &node) || node.type != IMAGE_FILE) return false;
    *ret_file = (struct site_file){node.size_bytes, node.mtime_s, type_of(guest_path)};
    for (uint64_t at = 0, size; out && at < node.size_bytes; at += size) {
        const uint8_t *piece = image_data(&node, at, &size);
        if (!piece || !size) return false;
        if (evbuffer_add_reference(out, piece, (size_t)size, on_sent, mounted->mapping) < 0)
            return false;
        mounted->mapping->users++;
    }
    return true;
}
