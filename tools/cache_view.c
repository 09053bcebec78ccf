/*
 * The store as it is at one moment, for people: every entry with its names, its pins, and the
 * names and pins that keep it because something needs it. Read in a few transactions, so what
 * changes meanwhile may show in one part and not in another.
 */
#include "tools/cache_view.h"

#include <errno.h>
#include <unistd.h>

#define PREFIX_MIN 4u /* digits that may stand for a digest */

struct reading {
    struct cache_view *view;
    bool failed;
    size_t mark;
};

/* ---- entries ----------------------------------------------------------------------------- */

static bool take_entry(void *context, const struct cache_entry *entry) {
    struct reading *r = context;
    struct cache_view *v = r->view;
    if (v->count == v->capacity) {
        size_t capacity = v->capacity ? v->capacity * 2 : 256;
        struct cache_item *larger = reallocarray(v->items, capacity, sizeof *larger);
        r->failed = r->failed || !larger;
        if (!larger) return false;
        v->items = larger;
        v->capacity = capacity;
    }
    struct cache_item *item = &v->items[v->count++];
    *item = (struct cache_item){.entry = *entry};
    item->entry.refs = NULL;
    if (entry->ref_count == 0) return true;
    struct digest *refs = arena_array(&v->arena, entry->ref_count, sizeof *refs);
    r->failed = r->failed || !refs;
    if (!refs) return false;
    memcpy(refs, entry->refs, entry->ref_count * sizeof *refs);
    item->entry.refs = refs;
    return true;
}

static int by_digest(const void *a, const void *b) {
    return memcmp(&((const struct cache_item *)a)->entry.digest,
                  &((const struct cache_item *)b)->entry.digest, sizeof(struct digest));
}

struct cache_item *cache_view_find(const struct cache_view *view, const struct digest *digest) {
    struct cache_item wanted = {.entry.digest = *digest};
    return view->count ? bsearch(&wanted, view->items, view->count, sizeof wanted, by_digest)
                       : NULL;
}

/* ---- what keeps them --------------------------------------------------------------------- */

static void put_label(struct reading *r, struct cache_item *item, struct cache_label label) {
    struct cache_label *l = arena_alloc(&r->view->arena, sizeof *l);
    r->failed = r->failed || !l;
    if (!l) return;
    *l = label;
    /* What is on the entry itself comes first. */
    struct cache_label **at = &item->labels;
    while (*at && ((*at)->direct || !label.direct)) at = &(*at)->next;
    l->next = *at;
    *at = l;
}

/* On an entry and all that it needs, each once. The list of what is still to do is as long as
 * there are entries at most, since marks are set when one is put there. */
static void put_labels(struct reading *r, const struct digest *digest, const char *text,
                       bool pin, int64_t created_ns) {
    struct cache_view *v = r->view;
    struct cache_item *root = cache_view_find(v, digest);
    const char *copy = root ? arena_string(&v->arena, text, strlen(text)) : NULL;
    if (!root) return; /* the entry is lost; verify speaks of it */
    auto_free struct cache_item **todo = calloc(v->count, sizeof *todo);
    r->failed = r->failed || !copy || !todo;
    if (!copy || !todo) return;
    size_t count = 0;
    todo[count++] = root;
    root->mark = ++r->mark;
    while (count) {
        struct cache_item *item = todo[--count];
        put_label(r, item, (struct cache_label){NULL, copy, created_ns, pin, item == root});
        for (uint32_t i = 0; i < item->entry.ref_count; i++) {
            struct cache_item *needed = cache_view_find(v, &item->entry.refs[i]);
            if (!needed || needed->mark == r->mark) continue;
            needed->mark = r->mark;
            todo[count++] = needed;
        }
    }
}

static bool take_name(void *context, const struct cache_name *name) {
    struct reading *r = context;
    put_labels(r, &name->digest, name->name, false, name->created_ns);
    return !r->failed;
}

static bool take_pin(void *context, const struct digest *digest, const char *who,
                     int64_t created_ns) {
    struct reading *r = context;
    put_labels(r, digest, who, true, created_ns);
    return !r->failed;
}

enum status cache_view_read(struct cache *cache, struct cache_view *ret_view,
                            struct error *err) {
    struct cache_view view = {0};
    if (!cache) {
        *ret_view = view;
        return ST_OK;
    }
    view.path = cache_path(cache);
    struct reading r = {.view = &view};
    enum status status = cache_each(cache, take_entry, &r, err);
    if (view.count) qsort(view.items, view.count, sizeof *view.items, by_digest);
    if (status == ST_OK) status = cache_each_name(cache, take_name, &r, err);
    if (status == ST_OK) status = cache_each_pin(cache, take_pin, &r, err);
    if (status == ST_OK) status = cache_statistics(cache, &view.stats, err);
    if (status == ST_OK && r.failed) status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) {
        cache_view_finish(&view);
        return status;
    }
    *ret_view = view;
    return ST_OK;
}

void cache_view_finish(struct cache_view *view) {
    free(view->items);
    arena_finish(&view->arena);
    *view = (struct cache_view){0};
}

bool cache_view_is_object_of(const struct cache_item *item, const struct digest *module) {
    return item->entry.has_module && digest_equal(&item->entry.module, module);
}

/* ---- what a person means ----------------------------------------------------------------- */

/* The entries whose digest begins with those digits: how many, and the first. */
static size_t with_prefix(const struct cache_view *v, const char *digits,
                          struct cache_item **ret_first) {
    size_t length = strlen(digits), found = 0;
    if (length < PREFIX_MIN || length > 64 || digits[strspn(digits, "0123456789abcdef")])
        return 0;
    for (size_t i = 0; i < v->count; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&v->items[i].entry.digest, hex);
        if (strncmp(hex, digits, length) == 0 && found++ == 0) *ret_first = &v->items[i];
    }
    return found;
}

static enum status resolve_file(const struct cache_view *v, const char *path,
                                struct digest *ret_digest, struct cache_item **ret_item,
                                struct error *err) {
    auto_buffer struct buffer wasm = {0};
    enum status status = module_file_read(path, &wasm, NULL, err);
    if (status != ST_OK) return status;
    struct digest digest = digest_of(wasm.bytes, wasm.size);
    *ret_item = cache_view_find(v, &digest);
    bool found = *ret_item != NULL;
    for (size_t i = 0; i < v->count && !found; i++)
        found = cache_view_is_object_of(&v->items[i], &digest);
    if (!found)
        return error_set(err, ST_NOT_FOUND, "neither this module nor an object of it is in %s",
                         v->path ? v->path : "the cache");
    *ret_digest = digest;
    return ST_OK;
}

enum status cache_view_resolve(const struct cache_view *v, struct cache *cache,
                               const char *text, struct digest *ret_digest,
                               struct cache_item **ret_item, struct error *err) {
    struct cache_name name;
    struct cache_item *item = NULL;
    struct error why = {0};
    enum status status = cache ? cache_name_resolve(cache, text, &name, &why) : ST_NOT_FOUND;
    if (status == ST_OK) {
        *ret_digest = name.digest;
        *ret_item = cache_view_find(v, &name.digest);
        return *ret_item ? ST_OK
                         : error_set(err, ST_NOT_FOUND,
                                     "the entry that this names is not there any more");
    }
    size_t found = with_prefix(v, strncmp(text, "sha256:", 7) == 0 ? text + 7 : text, &item);
    if (found > 1)
        return error_set(err, ST_USAGE, "%zu entries begin with these digits; give more",
                         found);
    if (found == 1) {
        *ret_digest = item->entry.digest;
        *ret_item = item;
        return ST_OK;
    }
    if (access(text, F_OK) == 0) return resolve_file(v, text, ret_digest, ret_item, err);
    return error_set(err, ST_NOT_FOUND, "there is no such name, entry or file");
}
