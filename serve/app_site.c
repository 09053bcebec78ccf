/*
 * A request's path -> the script or file that answers it, as nginx in front of php-fpm finds it
 * (try_files, fastcgi_split_path_info). A script is found as a file that is there, so that
 * /photo.jpg/x.php never runs photo.jpg. What is no script is a file or nothing: a script's
 * text is never sent.
 *
 * The path is walked from the left, one name at a time: the first file ends the walk, the rest
 * is PATH_INFO. Each step is one lookup, so a request costs at most as many as it has names.
 */
#include "serve/app.h"

struct walk {
    const struct app_site *site;
    app_file_lookup lookup;
    void *context;
    struct app_target *target;
};

static bool is_script(const struct app_site *site, const char *path) {
    if (site->scripts.count == 0) return true;
    size_t length = strlen(path);
    for (uint32_t i = 0; i < site->scripts.count; i++) {
        size_t size = strlen(site->scripts.items[i]);
        if (length > size && strcmp(path + length - size, site->scripts.items[i]) == 0)
            return true;
    }
    return false;
}

/* root + name into guest_path; false where it does not fit. */
static bool set_path(struct walk *w, const char *name, size_t length) {
    size_t root = strlen(w->site->root);
    if (strcmp(w->site->root, "/") == 0) root = 0;
    if (root + length >= sizeof w->target->guest_path) return false;
    memcpy(w->target->guest_path, w->site->root, root);
    memcpy(w->target->guest_path + root, name, length);
    w->target->guest_path[root + length] = 0;
    if (root + length == 0) memcpy(w->target->guest_path, "/", 2);
    return true;
}

static enum app_file_kind look(struct walk *w, const char *name, size_t length) {
    if (!set_path(w, name, length)) return APP_FILE_NONE;
    return w->lookup(w->context, w->target->guest_path);
}

/* The file at guest_path answers; info: what follows it. */
static bool take(struct walk *w, const char *name, size_t length, const char *info) {
    struct app_target *t = w->target;
    if (!is_script(w->site, t->guest_path)) {
        if (*info || !w->site->serve_files) return false;
        t->kind = APP_TARGET_FILE;
        return true;
    }
    if (length >= sizeof t->script_name || strlen(info) >= sizeof t->path_info) return false;
    t->kind = APP_TARGET_SCRIPT;
    memcpy(t->script_name, name, length);
    t->script_name[length] = 0;
    memcpy(t->path_info, info, strlen(info) + 1);
    return true;
}

static bool take_index(struct walk *w, const char *path) {
    size_t length = strlen(path);
    char name[4096];
    for (uint32_t i = 0; i < w->site->index.count; i++) {
        size_t size = strlen(w->site->index.items[i]);
        if (length + size >= sizeof name) continue;
        memcpy(name, path, length);
        memcpy(name + length, w->site->index.items[i], size + 1);
        if (look(w, name, length + size) == APP_FILE_REGULAR &&
            take(w, name, length + size, ""))
            return true;
    }
    return false;
}

/* .git, .htaccess, .env: never meant for clients. */
static bool hidden(const char *path) {
    static const char well_known[] = "/.well-known";
    size_t skip = strncmp(path, well_known, strlen(well_known)) == 0 ? 1 : 0;
    for (const char *at = path; (at = strstr(at, "/.")); at++)
        if (skip-- == 0) return true;
    return false;
}

static bool find(struct walk *w, const char *path) {
    if (path[0] != '/' || strlen(path) >= 4000 || hidden(path) || strstr(path, "//"))
        return false;
    for (size_t length = 1;;) {
        length += strcspn(path + length, "/");
        bool last = !path[length];
        if (path[length - 1] == '/') return take_index(w, path); /* the end of "/dir/" */
        switch (look(w, path, length)) {
        case APP_FILE_REGULAR: return take(w, path, length, path + length);
        case APP_FILE_NONE: return false;
        case APP_FILE_DIRECTORY: break;
        default: return false;
        }
        if (last) {
            w->target->kind = APP_TARGET_DIRECTORY;
            return true;
        }
        length++;
    }
}

void app_site_find(const struct app_site *site, const char *path, app_file_lookup lookup,
                   void *context, struct app_target *ret_target) {
    struct walk w = {.site = site, .lookup = lookup, .context = context, .target = ret_target};
    *ret_target = (struct app_target){.kind = APP_TARGET_NONE};
    if (find(&w, path)) return;
    *ret_target = (struct app_target){.kind = APP_TARGET_NONE};
    size_t length = strlen(site->fallback);
    if (!length || strlen(path) >= sizeof ret_target->path_info || hidden(path)) return;
    /* The front controller: a script whatever its name, once it is there. */
    if (look(&w, site->fallback, length) != APP_FILE_REGULAR ||
        length >= sizeof ret_target->script_name)
        return;
    ret_target->kind = APP_TARGET_SCRIPT;
    memcpy(ret_target->script_name, site->fallback, length + 1);
    memcpy(ret_target->path_info, path, strlen(path) + 1);
}
