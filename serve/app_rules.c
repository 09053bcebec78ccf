/*
 * What no key of app.yaml can say alone: keys that contradict each other, paths and names given
 * twice, defaults that depend on other keys. Messages point at the line of the later key.
 */
#include "serve/app_reading.h"

#define MEMORY_LEAST (UINT64_C(64) << 10)
#define MEMORY_MOST (UINT64_C(4) << 30)
#define VOLUME_PRIVATE_DEFAULT (UINT64_C(64) << 20)
#define VOLUME_PERSISTENT_DEFAULT (UINT64_C(1) << 30)

/* The node under keys, or the nearest above it that is there. keys: "limits", "memory", NULL.
 */
static const struct tree_node *place(const struct tree_node *root, const char *first,
                                     const char *second) {
    const struct tree_node *node = tree_get(root, first);
    const struct tree_node *inner = node && second ? tree_get(node, second) : NULL;
    return inner ? inner : node ? node : root;
}

static const struct tree_node *element(const struct tree_node *list, uint32_t index) {
    const struct tree_node *node = list->first;
    while (node && index--) node = node->next;
    return node ? node : list;
}

static enum status limits(struct reading *r, const struct tree_node *root) {
    struct app_limits *l = &r->app->limits;
    const struct tree_node *capabilities = tree_get(root, "capabilities");
    const struct tree_node *memory = capabilities ? tree_get(capabilities, "memory") : NULL;
    const struct tree_node *limit = memory ? tree_get(memory, "limit") : NULL;
    const struct tree_node *own = tree_get(root, "limits");
    if (limit && own && tree_get(own, "memory"))
        return app_refuse(r, limit, "capabilities.memory.limit: limits.memory says the same");
    if (limit) {
        enum status status = app_read_size(r, limit, &l->memory_bytes);
        if (status != ST_OK) return status;
    }
    const struct tree_node *at = limit ? limit : place(root, "limits", "memory");
    if (l->memory_bytes < MEMORY_LEAST || l->memory_bytes > MEMORY_MOST)
        return app_refuse(r, at, "limits.memory: from 64K to 4G");
    at = place(root, "limits", "stack");
    if (l->stack_bytes < MEMORY_LEAST || l->stack_bytes > (UINT64_C(1) << 30))
        return app_refuse(r, at, "limits.stack: from 64K to 1G");
    const struct {
        const char *key;
        uint64_t value;
    } positive[] = {
        {"cpu", l->cpu_ns},          {"wall", l->wall_ns}, {"start", l->start_ns},
        {"instances", l->instances}, {"files", l->files},
    };
    for (size_t i = 0; i < countof(positive); i++)
        if (positive[i].value == 0)
            return app_refuse(r, place(root, "limits", positive[i].key),
                              "limits.%s: 0 leaves nothing to run with", positive[i].key);
    return ST_OK;
}

static enum status variables(struct reading *r, const struct tree_node *root) {
    const struct app *app = r->app;
    for (uint32_t i = 1; i < app->env_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(app->env[i].name, app->env[j].name) == 0)
                return app_refuse(r, element(place(root, "env", NULL), i),
                                  "env: %.60s is given twice", app->env[i].name);
    for (uint32_t i = 0; i < app->secret_count; i++) {
        const char *name = app->secrets[i].name;
        bool twice = false;
        for (uint32_t j = 0; j < i; j++) twice |= strcmp(name, app->secrets[j].name) == 0;
        for (uint32_t j = 0; j < app->env_count; j++)
            twice |= strcmp(name, app->env[j].name) == 0;
        if (twice)
            return app_refuse(r, element(place(root, "secrets", NULL), i),
                              "secrets: %.60s is given twice", name);
    }
    return ST_OK;
}

static enum status directories(struct reading *r, const struct tree_node *root) {
    struct app *app = r->app;
    uint64_t private_bytes = 0;
    for (uint32_t i = 0; i < app->mount_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(app->mounts[i].path, app->mounts[j].path) == 0)
                return app_refuse(r, element(place(root, "mounts", NULL), i),
                                  "mounts[%u]: %.80s is given twice", i, app->mounts[i].path);
    struct app_volume *volumes = arena_array(&app->arena, app->volume_count, sizeof *volumes);
    if (!volumes) return app_no_memory(r);
    if (app->volume_count) memcpy(volumes, app->volumes, app->volume_count * sizeof *volumes);
    app->volumes = volumes;
    for (uint32_t i = 0; i < app->volume_count; i++) {
        struct app_volume *volume = &volumes[i];
        const struct tree_node *at = element(place(root, "volumes", NULL), i);
        bool is_private = volume->kind == APP_PRIVATE;
        if (is_private) volume->name = "";
        if (!is_private && !volume->name[0]) volume->name = volume->path + 1;
        if (strcmp(volume->path, "/") == 0)
            return app_refuse(r, at, "volumes[%u]: a volume cannot be all of /", i);
        for (uint32_t j = 0; j < app->mount_count; j++)
            if (!is_private && strcmp(volume->path, app->mounts[j].path) == 0)
                return app_refuse(r, at,
                                  "volumes[%u]: %.80s is also a mount; a private volume would "
                                  "be a writable layer over it",
                                  i, volume->path);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(volume->path, volumes[j].path) == 0)
                return app_refuse(r, at, "volumes[%u]: %.80s is given twice", i, volume->path);
            if (!is_private && strcmp(volume->name, volumes[j].name) == 0)
                return app_refuse(r, at, "volumes[%u]: two volumes are called '%.60s'", i,
                                  volume->name);
        }
        if (!volume->size_bytes)
            volume->size_bytes =
                is_private ? VOLUME_PRIVATE_DEFAULT : VOLUME_PERSISTENT_DEFAULT;
        if (is_private) private_bytes += volume->size_bytes;
        if (is_private && private_bytes > app->limits.memory_bytes)
            return app_refuse(r, at,
                              "volumes[%u]: private volumes are larger than limits.memory "
                              "(%llu MiB), of which they are a part",
                              i, (unsigned long long)(app->limits.memory_bytes >> 20));
    }
    return ST_OK;
}

static enum status routes(struct reading *r, const struct tree_node *root) {
    static const struct app_route all = {.host = "", .path = "/"};
    struct app *app = r->app;
    if (app->route_count == 0) {
        app->routes = &all;
        app->route_count = 1;
    }
    for (uint32_t i = 1; i < app->route_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(app->routes[i].host, app->routes[j].host) == 0 &&
                strcmp(app->routes[i].path, app->routes[j].path) == 0)
                return app_refuse(r, place(root, "routes", NULL),
                                  "routes: %.80s%.80s is given twice", app->routes[i].host,
                                  app->routes[i].path);
    return ST_OK;
}

static enum status reuse(struct reading *r, const struct tree_node *root) {
    struct app *app = r->app;
    bool cgi = app->interface == APP_CGI;
    if (!tree_get(root, "reuse")) app->reuse = cgi ? APP_FRESH : APP_KEEP;
    if (cgi && app->reuse == APP_KEEP)
        return app_refuse(r, place(root, "reuse", NULL),
                          "reuse: keep needs an interface that takes more than one request "
                          "(fastcgi or http)");
    const struct tree_node *instaboot = tree_get(root, "instaboot");
    const struct tree_node *capabilities = tree_get(root, "capabilities");
    const struct tree_node *other = capabilities ? tree_get(capabilities, "instaboot") : NULL;
    if (instaboot && other)
        return app_refuse(r, other, "capabilities.instaboot: the key instaboot says the same");
    if (other) instaboot = other;
    if (app->reuse == APP_RESET && instaboot && !app->instaboot.enabled)
        return app_refuse(r, instaboot,
                          "instaboot: false, but reuse: reset goes back to a "
                          "snapshot");
    if (app->reuse == APP_RESET) app->instaboot.enabled = true;
    if (cgi && app->instaboot.secrets_at_resume)
        return app_refuse(r, instaboot,
                          "instaboot.secrets_at_resume: a CGI program has read its environment "
                          "when it is frozen");
    const struct tree_node *hibernate = tree_get(root, "hibernate");
    if (hibernate && app->reuse != APP_KEEP)
        return app_add_note(r, hibernate->line, "hibernate",
                            "has no effect without reuse: keep");
    return ST_OK;
}

static enum status site(struct reading *r, const struct tree_node *root) {
    struct app *app = r->app;
    if (!app->site.root) {
        app->site.root = app->site.fallback = "";
        return ST_OK;
    }
    const struct tree_node *at = place(root, "site", NULL);
    if (!app->site.fallback) app->site.fallback = "";
    if (app->interface == APP_HTTP)
        return app_refuse(r, at, "site: scripts are run by interface cgi or fastcgi");
    for (uint32_t i = 0; i < app->site.scripts.count; i++)
        if (app->site.scripts.items[i][0] != '.' || !app->site.scripts.items[i][1])
            return app_refuse(r, place(root, "site", "scripts"),
                              "site.scripts: '%.40s' is no ending such as .php",
                              app->site.scripts.items[i]);
    for (uint32_t i = 0; i < app->site.index.count; i++)
        if (strchr(app->site.index.items[i], '/') || !app->site.index.items[i][0])
            return app_refuse(r, place(root, "site", "index"),
                              "site.index: '%.40s' is no name of a file",
                              app->site.index.items[i]);
    bool mounted = app->module.kind == APP_MODULE_NAME; /* its bundle may bring the files */
    for (uint32_t i = 0; i < app->mount_count; i++) {
        size_t length = strlen(app->mounts[i].path);
        const char *root_path = app->site.root;
        mounted |= strcmp(app->mounts[i].path, "/") == 0 ||
                   (strncmp(root_path, app->mounts[i].path, length) == 0 &&
                    (!root_path[length] || root_path[length] == '/'));
    }
    if (!mounted)
        return app_refuse(r, at, "site.root: %.80s is in none of the mounts", app->site.root);
    return ST_OK;
}

/* The program's name: a file's, or the last word of a name in the cache without its tag. */
static enum status program_name(struct reading *r) {
    struct app *app = r->app;
    if (app->argv0) return ST_OK;
    const char *text = app->module.text, *slash = strrchr(text, '/');
    if (slash) text = slash + 1;
    size_t length = strlen(text);
    if (app->module.kind == APP_MODULE_NAME) length = strcspn(text, ":@");
    if (strncmp(text, "sha256:", 7) == 0) {
        text = app->name;
        length = strlen(text);
    }
    app->argv0 = arena_string(&app->arena, text, length);
    return app->argv0 ? ST_OK : app_no_memory(r);
}

enum status app_rules(struct reading *r, const struct tree_node *root) {
    enum status status = limits(r, root);
    if (status == ST_OK) status = variables(r, root);
    if (status == ST_OK) status = directories(r, root);
    if (status == ST_OK) status = routes(r, root);
    if (status == ST_OK) status = reuse(r, root);
    if (status == ST_OK) status = site(r, root);
    return status == ST_OK ? program_name(r) : status;
}
