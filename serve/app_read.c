/*
 * A tree -> struct app, by the table of app.def: each key of a mapping is looked up in its
 * section, read by its type's reader and stored in its member. Keys that are not given get
 * their default first, read by the same readers; keys that nobody knows are refused with the
 * one that was probably meant.
 *
 * Lists are stored as two members beside each other, `const T *things; uint32_t thing_count`:
 * struct items here.
 */
#include "serve/app_reading.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/stat.h>

struct items {
    const void *items;
    uint32_t count;
};
_Static_assert(offsetof(struct app_strings, count) == offsetof(struct items, count), "");
_Static_assert(offsetof(struct app, env_count) ==
                   offsetof(struct app, env) + offsetof(struct items, count),
               "");

/* ---- messages ---------------------------------------------------------------------------- */

enum status app_refuse(const struct reading *r, const struct tree_node *node,
                       const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(r->err, ST_INVALID, "%s:%u: %s%s%s", r->app->file, node->line, r->path,
                     r->path[0] ? ": " : "", text);
}

enum status app_no_memory(const struct reading *r) {
    return error_set(r->err, ST_NO_MEMORY, "out of memory");
}

enum status app_add_note(struct reading *r, uint32_t line, const char *key, const char *text) {
    struct app *app = r->app;
    struct app_note *notes =
        arena_array(&app->arena, (size_t)app->note_count + 1, sizeof *notes);
    size_t size = (key ? strlen(key) + 2 : 0) + strlen(text) + 1;
    char *all = arena_alloc(&app->arena, size);
    if (!notes || !all) return app_no_memory(r);
    snprintf(all, size, "%s%s%s", key ? key : "", key ? ": " : "", text);
    if (app->note_count) memcpy(notes, app->notes, app->note_count * sizeof *notes);
    notes[app->note_count++] = (struct app_note){.line = line, .text = all};
    app->notes = notes;
    return ST_OK;
}

/* Steps from a to b: letters put in, taken out, changed (Levenshtein). */
static size_t edit_distance(const char *a, const char *b) {
    size_t m = strlen(a), n = strlen(b), row[48];
    if (n >= countof(row) || m >= countof(row)) return 48;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const char *app_near(const char *word, const char *const *words, size_t count) {
    const char *best = NULL;
    size_t length = strlen(word), least = length < 4 ? 1 : length / 3 + 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, words[i]);
        if (distance > least || distance >= length) continue;
        if (best && distance == least) continue; /* the first of equals */
        best = words[i];
        least = distance;
    }
    return best;
}

/* ---- sections ---------------------------------------------------------------------------- */

static const struct app_key *key_find(enum app_section_id section, const char *word) {
    for (const struct app_alias *alias = app_aliases; alias->key; alias++)
        if (alias->section == section && strcmp(alias->key, word) == 0) word = alias->means;
    for (const struct app_key *key = app_keys; key->key; key++)
        if (key->section == section && strcmp(key->key, word) == 0) return key;
    return NULL;
}

static enum status unknown_key(struct reading *r, enum app_section_id section,
                               const struct tree_node *node) {
    const char *words[64];
    size_t count = 0;
    for (const struct app_key *key = app_keys; key->key; key++)
        if (key->section == section && count < countof(words)) words[count++] = key->key;
    for (const struct app_alias *alias = app_aliases; alias->key; alias++)
        if (alias->section == section && count < countof(words)) words[count++] = alias->key;
    const char *near = app_near(node->key, words, count);
    if (near)
        return app_refuse(r, node, "unknown key '%.60s', did you mean '%s'?", node->key, near);
    /* Perhaps it stands in the wrong place. */
    for (const struct app_key *key = app_keys; key->key; key++)
        if (strcmp(key->key, node->key) == 0 && key->section == APP_LIMITS)
            return app_refuse(r, node, "unknown key '%.60s' (there is limits.%s)", node->key,
                              key->key);
    return app_refuse(r, node, "unknown key '%.60s'", node->key);
}

/* Two words for one key, both given. */
static enum status given_once(struct reading *r, enum app_section_id section,
                              const struct tree_node *map, const struct tree_node *node,
                              const struct app_key *key) {
    for (const struct tree_node *other = map->first; other != node; other = other->next)
        if (key_find(section, other->key) == key)
            return app_refuse(r, node, "'%.60s' means the same as '%.60s' on line %u",
                              node->key, other->key, other->line);
    return ST_OK;
}

static enum status read_default(struct reading *r, const struct app_key *key, uint32_t line,
                                void *to) {
    char file[64];
    snprintf(file, sizeof file, "default of %s", key->key);
    struct tree_node *node;
    enum status status =
        tree_parse(key->fallback, strlen(key->fallback), file, &r->app->arena, &node, r->err);
    if (status != ST_OK) return status;
    node->line = line;
    return key->read(r, node, (char *)to + key->offset);
}

static size_t path_push(struct reading *r, const char *separator, const char *word) {
    size_t length = strlen(r->path);
    snprintf(r->path + length, sizeof r->path - length, "%s%.60s", length ? separator : "",
             word);
    return length;
}

enum status app_read_section(struct reading *r, enum app_section_id section,
                             const struct tree_node *node, void *to) {
    if (node->kind != TREE_MAP && node->kind != TREE_NULL)
        return app_refuse(r, node, "must be a mapping (key: value)");
    enum status status = ST_OK;
    for (const struct app_key *key = app_keys; key->key && status == ST_OK; key++) {
        if (key->section != section || !key->fallback) continue;
        bool given = false;
        for (const struct tree_node *child = node->first; child; child = child->next)
            given = given || key_find(section, child->key) == key;
        if (given) continue;
        size_t length = path_push(r, ".", key->key);
        if (strcmp(key->fallback, "!") == 0)
            status = app_refuse(r, node, "is missing: %s", key->text);
        else
            status = read_default(r, key, node->line, to);
        r->path[length] = 0;
    }
    for (const struct tree_node *child = node->first; child && status == ST_OK;
         child = child->next) {
        const struct app_key *key = key_find(section, child->key);
        if (!key) return unknown_key(r, section, child);
        status = given_once(r, section, node, child, key);
        size_t length = path_push(r, ".", child->key);
        if (status == ST_OK && key->read == app_read_ignored) {
            if (strncmp(key->text, "no effect", 9) == 0)
                status = app_add_note(r, child->line, r->path, key->text);
        } else if (status == ST_OK) {
            status = key->read(r, child, (char *)to + key->offset);
        }
        r->path[length] = 0;
    }
    return status;
}

/* ---- lists ------------------------------------------------------------------------------- */

/* Room for all children of node behind what the list holds. */
static enum status grow(struct reading *r, const struct tree_node *node, size_t item_bytes,
                        void *to, char **ret_first) {
    struct items list;
    memcpy(&list, to, sizeof list);
    char *all = arena_array(&r->app->arena, (size_t)list.count + node->count, item_bytes);
    if (!all) return app_no_memory(r);
    if (list.count) memcpy(all, list.items, list.count * item_bytes);
    *ret_first = all + list.count * item_bytes;
    list.items = all;
    list.count += node->count;
    memcpy(to, &list, offsetof(struct items, count) + sizeof list.count);
    return ST_OK;
}

/* One element of a list; map_key: the text before ':' where it is a mapping, else NULL. */
typedef enum status (*item_reader)(struct reading *r, const struct tree_node *node,
                                   const char *map_key, void *to);

enum list_forms {
    LIST_ONLY = 1,
    LIST_OR_MAP = 2
};

static enum status read_items(struct reading *r, const struct tree_node *node,
                              enum list_forms forms, size_t item_bytes, item_reader read,
                              void *to) {
    if (node->kind == TREE_NULL) return ST_OK;
    bool map = node->kind == TREE_MAP && forms == LIST_OR_MAP;
    if (node->kind != TREE_LIST && !map)
        return app_refuse(r, node, "must be a list (- ...)%s",
                          forms == LIST_OR_MAP ? " or a mapping (key: value)" : "");
    char *item = NULL;
    enum status status = grow(r, node, item_bytes, to, &item);
    unsigned at = 0;
    for (const struct tree_node *child = node->first; child && status == ST_OK;
         child = child->next, item += item_bytes, at++) {
        char number[16];
        snprintf(number, sizeof number, "[%u]", at);
        size_t length = map ? path_push(r, ".", child->key) : strlen(r->path);
        if (!map) snprintf(r->path + length, sizeof r->path - length, "%s", number);
        status = read(r, child, map ? child->key : NULL, item);
        r->path[length] = 0;
    }
    return status;
}

static enum status item_string(struct reading *r, const struct tree_node *node, const char *key,
                               void *to) {
    (void)key;
    return app_scalar(r, node, to);
}
enum status app_read_strings(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_ONLY, sizeof(char *), item_string, to);
}

static enum status variable_name(struct reading *r, const struct tree_node *node,
                                 const char *name) {
    if (!name[0] || strchr(name, '='))
        return app_refuse(r, node, "'%.60s' is no name of a variable", name);
    if (strncasecmp(name, "HTTP_", 5) == 0)
        return app_refuse(r, node, "names that begin with HTTP_ are for request headers");
    return ST_OK;
}

static enum status item_variable(struct reading *r, const struct tree_node *node,
                                 const char *key, void *to) {
    struct app_variable *variable = to;
    const char *text = "";
    enum status status = ST_OK;
    if (!key || node->kind != TREE_NULL) status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (key) {
        *variable = (struct app_variable){.name = key, .value = text};
    } else {
        const char *equals = strchr(text, '=');
        if (!equals || equals == text)
            return app_refuse(r, node, "'%.60s': give NAME=VALUE", text);
        variable->name = arena_string(&r->app->arena, text, (size_t)(equals - text));
        variable->value = equals + 1;
        if (!variable->name) return app_no_memory(r);
    }
    return variable_name(r, node, variable->name);
}
enum status app_read_env(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_OR_MAP, sizeof(struct app_variable), item_variable, to);
}

static enum status item_secret(struct reading *r, const struct tree_node *node, const char *key,
                               void *to) {
    struct app_secret *secret = to;
    enum status status;
    if (key) {
        secret->name = key;
        status = app_read_file(r, node, &secret->file);
    } else {
        status = app_read_section(r, APP_SECRET, node, secret);
    }
    return status == ST_OK ? variable_name(r, node, secret->name) : status;
}
enum status app_read_secrets(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_OR_MAP, sizeof(struct app_secret), item_secret, to);
}

static enum status item_mount(struct reading *r, const struct tree_node *node, const char *key,
                              void *to) {
    struct app_mount *mount = to;
    if (!key) return app_read_section(r, APP_MOUNT, node, mount);
    struct tree_node path = *node;
    path.kind = TREE_SCALAR;
    path.text = key;
    enum status status = app_read_guest_path(r, &path, &mount->path);
    return status == ST_OK ? app_read_source(r, node, &mount->source) : status;
}
enum status app_read_mounts(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_OR_MAP, sizeof(struct app_mount), item_mount, to);
}

static enum status item_volume(struct reading *r, const struct tree_node *node, const char *key,
                               void *to) {
    (void)key;
    return app_read_section(r, APP_VOLUME, node, to);
}
enum status app_read_volumes(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_ONLY, sizeof(struct app_volume), item_volume, to);
}

/* Prefixes are compared as they stand: one way to write each. */
static enum status route_path(struct reading *r, const struct tree_node *node,
                              struct app_route *route) {
    struct tree_node part = *node;
    part.kind = TREE_SCALAR;
    part.text = route->path;
    if (strpbrk(route->path, "?%"))
        return app_refuse(r, node, "'%.80s' may not hold ? or %%", route->path);
    return app_read_guest_path(r, &part, &route->path);
}
static enum status item_route(struct reading *r, const struct tree_node *node, const char *key,
                              void *to) {
    (void)key;
    struct app_route *route = to;
    const char *text;
    enum status status;
    if (node->kind == TREE_SCALAR) {
        status = app_scalar(r, node, &text);
        if (status == ST_OK) status = app_parse_route(r, node, text, route);
    } else {
        status = app_read_section(r, APP_ROUTE, node, route);
    }
    return status == ST_OK ? route_path(r, node, route) : status;
}
enum status app_read_routes(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_ONLY, sizeof(struct app_route), item_route, to);
}
static enum status item_domain(struct reading *r, const struct tree_node *node, const char *key,
                               void *to) {
    (void)key;
    struct app_route *route = to;
    route->path = "/";
    return app_read_host(r, node, &route->host);
}
enum status app_read_domains(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_ONLY, sizeof(struct app_route), item_domain, to);
}

static bool is_token(const char *text) {
    if (!*text) return false;
    for (; *text; text++)
        if (!strchr("!#$%&'*+-.^_`|~", *text) && !(*text >= '0' && *text <= '9') &&
            !((*text | 0x20) >= 'a' && (*text | 0x20) <= 'z'))
            return false;
    return true;
}
static enum status item_header(struct reading *r, const struct tree_node *node, const char *key,
                               void *to) {
    struct app_header *header = to;
    enum status status;
    if (key) {
        header->name = key;
        status = app_scalar(r, node, &header->value);
    } else {
        status = app_read_section(r, APP_HEADER, node, header);
    }
    if (status != ST_OK) return status;
    if (!is_token(header->name))
        return app_refuse(r, node, "'%.60s' is no name of a header", header->name);
    if (strpbrk(header->value, "\r\n"))
        return app_refuse(r, node, "a header's value is one line");
    return ST_OK;
}
enum status app_read_headers(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_OR_MAP, sizeof(struct app_header), item_header, to);
}

static enum status item_request(struct reading *r, const struct tree_node *node,
                                const char *key, void *to) {
    (void)key;
    struct app_request *request = to;
    enum status status = app_read_section(r, APP_REQUEST, node, request);
    if (status != ST_OK) return status;
    request->body_size = strlen(request->body);
    if (!is_token(request->method))
        return app_refuse(r, node, "'%.40s' is no method", request->method);
    return ST_OK;
}
enum status app_read_requests(struct reading *r, const struct tree_node *node, void *to) {
    return read_items(r, node, LIST_ONLY, sizeof(struct app_request), item_request, to);
}

/* ---- sections that are values ------------------------------------------------------------ */

#define SECTION_READER(type, id)                                                               \
    enum status app_read_##type(struct reading *r, const struct tree_node *node, void *to) {   \
        return app_read_section(r, id, node, to);                                              \
    }
SECTION_READER(limits, APP_LIMITS)
SECTION_READER(site, APP_SITE)
SECTION_READER(hibernate, APP_HIBERNATE)
SECTION_READER(expect, APP_EXPECT)
#undef SECTION_READER

enum status app_read_instaboot(struct reading *r, const struct tree_node *node, void *to) {
    struct app_instaboot *instaboot = to;
    if (node->kind == TREE_SCALAR) return app_read_boolean(r, node, &instaboot->enabled);
    enum status status = app_read_section(r, APP_INSTABOOT, node, instaboot);
    instaboot->enabled = true;
    return status;
}

/* These two have their members in other sections. */
enum status app_read_capabilities(struct reading *r, const struct tree_node *node, void *to) {
    (void)to;
    return app_read_section(r, APP_CAPABILITIES, node, r->app);
}
enum status app_read_capability_memory(struct reading *r, const struct tree_node *node,
                                       void *to) {
    (void)to;
    return app_read_section(r, APP_CAPABILITY_MEMORY, node, r->app);
}

/* Never called: app_read_section asks who it is. */
enum status app_read_ignored(struct reading *r, const struct tree_node *node, void *to) {
    (void)r, (void)node, (void)to;
    return ST_OK;
}

/* ---- the whole file ---------------------------------------------------------------------- */

static enum status parse(struct reading *r, const void *bytes, size_t size) {
    struct tree_node *root;
    enum status status = tree_parse(bytes, size, r->app->file, &r->app->arena, &root, r->err);
    if (status != ST_OK) return status;
    if (root->kind != TREE_MAP)
        return app_refuse(r, root,
                          root->kind == TREE_NULL
                              ? "the file is empty: an app needs a name and a module"
                              : "must be a mapping (key: value)");
    status = app_read_section(r, APP_TOP, root, r->app);
    return status == ST_OK ? app_rules(r, root) : status;
}

enum status app_parse(const void *bytes, size_t size, const char *file, const char *directory,
                      struct app **ret_app, struct error *err) {
    if (size > APP_FILE_MAX_BYTES)
        return error_set(err, ST_INVALID, "%s: is larger than %u KiB", file,
                         APP_FILE_MAX_BYTES >> 10);
    struct app *app = calloc(1, sizeof *app);
    if (!app) return error_set(err, ST_NO_MEMORY, "out of memory");
    struct reading r = {.app = app, .err = err};
    app->file = arena_string(&app->arena, file, strlen(file));
    r.directory = arena_string(&app->arena, directory, strlen(directory));
    enum status status = app->file && r.directory ? parse(&r, bytes, size) : app_no_memory(&r);
    if (status != ST_OK) {
        app_free(app);
        return status;
    }
    *ret_app = app;
    return ST_OK;
}

enum status app_read(const char *path, struct app **ret_app, struct error *err) {
    struct stat about;
    char file[4096], directory[4096];
    if (stat(path, &about) != 0)
        return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "%s", path);
    bool is_directory = S_ISDIR(about.st_mode);
    const char *slash = strrchr(path, '/');
    int length = is_directory ? snprintf(file, sizeof file, "%s%sapp.yaml", path,
                                         slash && !slash[1] ? "" : "/")
                              : snprintf(file, sizeof file, "%s", path);
    if (length < 0 || (size_t)length >= sizeof file)
        return error_set(err, ST_IO, "%.80s...: the path is too long", path);
    slash = strrchr(file, '/');
    size_t before = slash ? (size_t)(slash - file) : 0;
    memcpy(directory, file, before);
    directory[before] = 0;
    if (slash == file) memcpy(directory, "/", 2);
    auto_buffer struct buffer b = {0};
    enum status status = file_read(AT_FDCWD, file, APP_FILE_MAX_BYTES, &b, err);
    if (status == ST_LIMIT)
        return error_set(err, ST_INVALID, "%s: is larger than %u KiB", file,
                         APP_FILE_MAX_BYTES >> 10);
    if (status != ST_OK) return error_wrap(err, "%s", file);
    return app_parse(b.bytes, b.size, file, directory, ret_app, err);
}

void app_free(struct app *app) {
    if (!app) return;
    arena_finish(&app->arena);
    free(app);
}
