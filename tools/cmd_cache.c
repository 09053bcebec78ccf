/*
 * hutch cache: what the store holds, what keeps it, and its upkeep.
 *
 *   list, show      entries, and all that is known of some
 *   name, remove    a module under a name; a name or an entry taken out
 *   pin, unpin      kept until nobody pins it
 *   verify, gc      every byte hashed again; the least recently used removed
 *   export-stats    counters for Prometheus
 *
 * A store that is not there yet is an empty one to those that only look, and only `name` makes
 * one.
 */
#include "tools/arguments.h"
#include "tools/cache_view.h"
#include "tools/object_describe.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#define PINNED_BY "manual"

struct options {
    bool json, full, dry_run, help;
    const char *cache_dir, *max_size, *min_free, *as, *kind, *sort;
    const char **words;
    uint32_t word_count;
};

struct verb {
    const char *name;
    uint32_t least, most; /* words it takes */
    bool empty;           /* works on a store that is not there */
    enum status (*run)(struct cache *cache, const struct options *o, struct error *err);
};

/* ---- list, show, export-stats ------------------------------------------------------------ */

static enum status pick(const char *option, const char *word, const char *const *names,
                        unsigned *ret_index, struct error *err) {
    for (unsigned i = 0; names[i]; i++)
        if (strcmp(names[i], word) == 0) {
            *ret_index = i;
            return ST_OK;
        }
    auto_buffer struct buffer all = {0};
    for (unsigned i = 0; names[i]; i++) buffer_printf(&all, "%s%s", i ? ", " : "", names[i]);
    buffer_put_u8(&all, 0);
    return error_set(err, ST_USAGE, "--%s %s: there are %s", option, word,
                     all.failed ? "others" : (const char *)all.bytes);
}

static enum status list(struct cache *cache, const struct options *o, struct error *err) {
    static const char *const orders[] = {"used", "size", "hits", NULL};
    static const char *const kinds[] = {
#define X(id, number, word) word,
        CACHE_KIND_LIST(X)
#undef X
            NULL};
    static const enum cache_kind kind_of[] = {
#define X(id, number, word) id,
        CACHE_KIND_LIST(X)
#undef X
    };
    struct cache_list_options list = {.json = o->json, .full = o->full};
    unsigned index = 0;
    enum status status = ST_OK;
    if (o->sort && (status = pick("sort", o->sort, orders, &index, err)) != ST_OK)
        return status;
    list.order = (enum cache_order)index;
    if (o->kind && (status = pick("kind", o->kind, kinds, &index, err)) != ST_OK) return status;
    if (o->kind) list.kind = kind_of[index];
    struct cache_view view;
    if ((status = cache_view_read(cache, &view, err)) != ST_OK) return status;
    status = cache_print_list(&view, &list, err);
    cache_view_finish(&view);
    return status;
}

static enum status show(struct cache *cache, const struct options *o, struct error *err) {
    struct cache_view view;
    enum status status = cache_view_read(cache, &view, err);
    if (status != ST_OK) return status;
    for (uint32_t i = 0; i < o->word_count && status == ST_OK; i++) {
        struct digest digest;
        struct cache_item *item;
        status = cache_view_resolve(&view, cache, o->words[i], &digest, &item, err);
        if (status != ST_OK)
            error_wrap(err, "%s", o->words[i]);
        else
            status = cache_print_entry(&view, &digest, item, o->json, err);
    }
    cache_view_finish(&view);
    return status;
}

static enum status export_stats(struct cache *cache, const struct options *o,
                                struct error *err) {
    struct cache_view view;
    enum status status = cache_view_read(cache, &view, err);
    if (status != ST_OK) return status;
    status = cache_export(&view, o->json, err);
    cache_view_finish(&view);
    return status;
}

/* ---- name, remove ------------------------------------------------------------------------ */

/* The module in a file becomes an entry. */
static enum status add_file(struct cache *cache, const char *path, struct digest *ret_digest,
                            struct error *err) {
    auto_buffer struct buffer wasm = {0};
    enum status status = module_file_read(path, &wasm, NULL, err);
    if (status != ST_OK) return error_wrap(err, "%s", path);
    if (wasm.size < 8 || memcmp(wasm.bytes, "\0asm\1\0\0\0", 8) != 0)
        return error_set(err, ST_MALFORMED, "%s: this is no WebAssembly module", path);
    struct cache_entry entry = {.kind = CACHE_MODULE, .origin = CACHE_ADDED};
    snprintf(entry.media_type, sizeof entry.media_type, "application/wasm");
    /* What is there keeps its description: an imported module stays imported. */
    struct digest digest = digest_of(wasm.bytes, wasm.size);
    struct cache_entry there;
    struct error ignored = {0};
    if (cache_describe(cache, &digest, &there, &ignored) == ST_OK &&
        there.kind == CACHE_MODULE) {
        *ret_digest = digest;
        return ST_OK;
    }
    return cache_put(cache, wasm.bytes, wasm.size, &entry, NULL, ret_digest, NULL, err);
}

static enum status parse_name(const char *word, char ret_name[CACHE_NAME_MAX],
                              struct error *err) {
    bool is_digest;
    struct digest ignored;
    enum status status = cache_name_parse(word, ret_name, &is_digest, &ignored, err);
    if (status == ST_OK && is_digest)
        return error_set(err, ST_USAGE, "'%.200s' is a digest, not a name", word);
    return status;
}

static enum status name(struct cache *cache, const struct options *o, struct error *err) {
    struct cache_name wanted = {0};
    enum status status = parse_name(o->words[0], wanted.name, err);
    if (status != ST_OK) return status;
    const char *what = o->words[1];
    if (access(what, F_OK) == 0) {
        status = add_file(cache, what, &wanted.digest, err);
    } else {
        struct cache_view view;
        struct cache_item *item;
        if ((status = cache_view_read(cache, &view, err)) != ST_OK) return status;
        status = cache_view_resolve(&view, cache, what, &wanted.digest, &item, err);
        if (status == ST_OK && item->entry.kind != CACHE_MODULE &&
            item->entry.kind != CACHE_MANIFEST)
            status = error_set(err, ST_USAGE, "a name means a module or an app; this is: %s",
                               cache_kind_name(item->entry.kind));
        if (status != ST_OK) error_wrap(err, "%s", what);
        cache_view_finish(&view);
    }
    if (status == ST_OK) status = cache_name_set(cache, &wanted, err);
    if (status != ST_OK) return status;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&wanted.digest, hex);
    if (o->json)
        printf("{\"name\": \"%s\", \"digest\": \"sha256:%s\"}\n", wanted.name, hex);
    else
        printf("%s is sha256:%s\n", wanted.name, hex);
    return ST_OK;
}

/* A name loses its meaning; anything else is an entry, which goes. */
static enum status remove_one(struct cache *cache, const char *word, struct error *err) {
    struct cache_name named;
    struct error why = {0};
    char text[CACHE_NAME_MAX];
    bool is_digest = true;
    struct digest digest;
    if (cache_name_parse(word, text, &is_digest, &digest, &why) == ST_OK && !is_digest &&
        cache_name_resolve(cache, word, &named, &why) == ST_OK) {
        enum status status = cache_name_remove(cache, word, err);
        if (status == ST_OK) printf("removed the name %s\n", text);
        return status;
    }
    struct cache_view view;
    struct cache_item *item = NULL;
    enum status status = cache_view_read(cache, &view, err);
    if (status != ST_OK) return status;
    status = cache_view_resolve(&view, cache, word, &digest, &item, err);
    cache_view_finish(&view);
    if (status == ST_OK && !item)
        status = error_set(err, ST_NOT_FOUND, "this module is not in the cache, objects are");
    if (status == ST_OK) status = cache_remove(cache, &digest, err);
    char hex[DIGEST_HEX_SIZE];
    if (status != ST_OK) return status;
    digest_hex(&digest, hex);
    printf("removed sha256:%s\n", hex);
    return ST_OK;
}

static enum status remove_words(struct cache *cache, const struct options *o,
                                struct error *err) {
    for (uint32_t i = 0; i < o->word_count; i++)
        if (remove_one(cache, o->words[i], err) != ST_OK)
            return error_wrap(err, "%s", o->words[i]);
    return ST_OK;
}

/* ---- pin, unpin -------------------------------------------------------------------------- */

struct pinning {
    struct cache *cache;
    const char *who;
    bool pin;
    uint64_t done;
};

static enum status pin_entry(struct pinning *p, const struct digest *digest,
                             struct error *err) {
    enum status status = p->pin ? cache_pin(p->cache, digest, p->who, err)
                                : cache_unpin(p->cache, digest, p->who, err);
    if (status == ST_OK) p->done++;
    return status;
}

/* An entry, and the code objects of a module with it: what would otherwise be compiled again.
 * Of several, those that are not pinned do not keep the others from being unpinned. */
static enum status pin_word(struct pinning *p, const struct cache_view *view, const char *word,
                            struct error *err) {
    struct digest digest;
    struct cache_item *item;
    enum status status = cache_view_resolve(view, p->cache, word, &digest, &item, err);
    if (status != ST_OK) return status;
    enum status last = item ? pin_entry(p, &digest, err) : ST_NOT_FOUND;
    if (last != ST_OK && last != ST_NOT_FOUND) return last;
    for (size_t i = 0; i < view->count; i++) {
        if (!cache_view_is_object_of(&view->items[i], &digest)) continue;
        struct error why = {0};
        status = pin_entry(p, &view->items[i].entry.digest, &why);
        if (status == ST_OK) last = ST_OK;
        if (status == ST_OK || status == ST_NOT_FOUND) continue; /* gone, or not pinned */
        *err = why;
        return status;
    }
    return last;
}

static enum status pin_words(struct cache *cache, const struct options *o, bool pin,
                             struct error *err) {
    struct pinning p = {cache, o->as ? o->as : PINNED_BY, pin, 0};
    struct cache_view view;
    enum status status = cache_view_read(cache, &view, err);
    if (status != ST_OK) return status;
    for (uint32_t i = 0; i < o->word_count && status == ST_OK; i++)
        if ((status = pin_word(&p, &view, o->words[i], err)) != ST_OK)
            error_wrap(err, "%s", o->words[i]);
    cache_view_finish(&view);
    if (status != ST_OK) return status;
    const char *done = pin ? "pinned" : "unpinned";
    if (o->json)
        printf("{\"%s\": %llu}\n", done, (unsigned long long)p.done);
    else
        printf("%s %llu entr%s for %s\n", done, (unsigned long long)p.done,
               p.done == 1 ? "y" : "ies", p.who);
    return ST_OK;
}

static enum status pin(struct cache *cache, const struct options *o, struct error *err) {
    return pin_words(cache, o, true, err);
}

static enum status unpin(struct cache *cache, const struct options *o, struct error *err) {
    return pin_words(cache, o, false, err);
}

/* ---- verify ------------------------------------------------------------------------------ */

struct findings {
    json_t *list; /* NULL: print them */
};

static void found(void *context, const struct digest *digest, const char *what) {
    struct findings *f = context;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    if (!f->list)
        printf("sha256:%s: %s\n", hex, what);
    else
        json_array_append_new(f->list, json_pack("{s:o, s:s}", "digest",
                                                 json_sprintf("sha256:%s", hex), "what", what));
}

static void print_verified(const struct cache_verify_report *r) {
    char size[24];
    printf("%llu entr%s, %s: ", (unsigned long long)r->entries, r->entries == 1 ? "y" : "ies",
           cache_size_text(r->bytes, size));
    if (r->damaged + r->missing + r->dangling + r->adopted == 0 && !r->index_rebuilt) {
        printf("clean\n");
        return;
    }
    printf("%llu damaged (in quarantine now), %llu missing, %llu names or pins of what is not "
           "there, %llu recorded again%s\n",
           (unsigned long long)r->damaged, (unsigned long long)r->missing,
           (unsigned long long)r->dangling, (unsigned long long)r->adopted,
           r->index_rebuilt ? "; the index was rebuilt" : "");
}

static enum status verify(struct cache *cache, const struct options *o, struct error *err) {
    struct cache_verify_report r = {0};
    struct findings f = {o->json ? json_array() : NULL};
    enum status status = cache ? cache_verify(cache, found, &f, &r, err) : ST_OK;
    if (status == ST_OK && f.list) {
        json_t *all = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:O}", "entries", (json_int_t)r.entries,
            "size_bytes", (json_int_t)r.bytes, "damaged", (json_int_t)r.damaged, "missing",
            (json_int_t)r.missing, "dangling", (json_int_t)r.dangling, "adopted",
            (json_int_t)r.adopted, "index_rebuilt", (int)r.index_rebuilt, "findings", f.list);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else if (status == ST_OK) {
        print_verified(&r);
    }
    json_decref(f.list);
    if (status == ST_OK && r.damaged + r.missing + r.dangling > 0)
        return error_set(err, ST_DAMAGED, "the cache was not as it should be");
    return status;
}

/* ---- gc ---------------------------------------------------------------------------------- */

static void victim(void *context, const struct digest *digest, uint64_t size_bytes) {
    (void)context;
    char hex[DIGEST_HEX_SIZE], size[24];
    digest_hex(digest, hex);
    printf("would remove sha256:%s  %s\n", hex, cache_size_text(size_bytes, size));
}

static void print_collected(const struct cache_gc_report *r, bool dry_run) {
    char removed[24], left[24];
    printf("%s %llu entr%s, %s; %llu left, %s", dry_run ? "would remove" : "removed",
           (unsigned long long)r->removed_entries, r->removed_entries == 1 ? "y" : "ies",
           cache_size_text(r->removed_bytes, removed),
           (unsigned long long)(r->entries_before - r->removed_entries),
           cache_size_text(r->bytes_before - r->removed_bytes, left));
    if (r->kept_pinned)
        printf("; %llu kept by names or pins", (unsigned long long)r->kept_pinned);
    if (r->kept_in_use) printf("; %llu in use", (unsigned long long)r->kept_in_use);
    const uint64_t leftovers = r->leftovers + r->removed_quarantined;
    if (leftovers)
        printf("; %llu leftover file%s", (unsigned long long)leftovers,
               leftovers == 1 ? "" : "s");
    printf("\n");
}

static enum status gc(struct cache *cache, const struct options *o, struct error *err) {
    struct cache_gc_options options = {.dry_run = o->dry_run};
    struct cache_stats stats = {0};
    enum status status = cache ? cache_statistics(cache, &stats, err) : ST_OK;
    options.max_bytes = stats.max_bytes;
    options.min_free_bytes = stats.min_free_bytes;
    if (status == ST_OK && o->max_size)
        status = cli_parse_size(o->max_size, &options.max_bytes, err);
    if (status == ST_OK && o->min_free)
        status = cli_parse_size(o->min_free, &options.min_free_bytes, err);
    if (o->dry_run && !o->json) options.visit = victim;
    struct cache_gc_report r = {0};
    if (status == ST_OK && cache) status = cache_gc(cache, &options, &r, err);
    if (status != ST_OK) return status;
    if (o->json)
        printf("{\"dry_run\": %s, \"removed_entries\": %llu, \"removed_bytes\": %llu, "
               "\"entries\": %llu, \"size_bytes\": %llu, \"kept\": %llu, \"in_use\": %llu, "
               "\"leftovers\": %llu}\n",
               o->dry_run ? "true" : "false", (unsigned long long)r.removed_entries,
               (unsigned long long)r.removed_bytes,
               (unsigned long long)(r.entries_before - r.removed_entries),
               (unsigned long long)(r.bytes_before - r.removed_bytes),
               (unsigned long long)r.kept_pinned, (unsigned long long)r.kept_in_use,
               (unsigned long long)(r.leftovers + r.removed_quarantined));
    else
        print_collected(&r, o->dry_run);
    return ST_OK;
}

/* ---- the command line -------------------------------------------------------------------- */

static const struct verb verbs[] = {
    {"list", 0, 0, true, list},
    {"show", 1, UINT32_MAX, false, show},
    {"name", 2, 2, false, name},
    {"remove", 1, UINT32_MAX, false, remove_words},
    {"pin", 1, UINT32_MAX, false, pin},
    {"unpin", 1, UINT32_MAX, false, unpin},
    {"verify", 0, 0, true, verify},
    {"gc", 0, 0, true, gc},
    {"export-stats", 0, 0, true, export_stats},
};

static enum status find_verb(const char *word, const struct verb **ret_verb,
                             struct error *err) {
    const char *names[countof(verbs) + 1] = {NULL};
    for (size_t i = 0; i < countof(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, word) != 0) continue;
        *ret_verb = &verbs[i];
        return ST_OK;
    }
    const char *near = cli_near(word, names);
    return error_set(err, ST_USAGE, "there is no 'cache %s'%s%s%s", word,
                     near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Options that belong to one verb alone. */
static enum status check_options(const struct verb *verb, const struct options *o,
                                 struct error *err) {
    const struct {
        const char *option, *verb, *other;
        bool given;
    } rows[] = {
        {"max-size", "gc", "", o->max_size}, {"min-free", "gc", "", o->min_free},
        {"dry-run", "gc", "", o->dry_run},   {"as", "pin", "unpin", o->as},
        {"kind", "list", "", o->kind},       {"sort", "list", "", o->sort},
        {"full", "list", "", o->full},
    };
    for (size_t i = 0; i < countof(rows); i++)
        if (rows[i].given && strcmp(rows[i].verb, verb->name) != 0 &&
            strcmp(rows[i].other, verb->name) != 0)
            return error_set(err, ST_USAGE, "--%s is no option of 'cache %s'", rows[i].option,
                             verb->name);
    if (o->word_count < verb->least)
        return error_set(err, ST_USAGE,
                         verb->least == 2 ? "say NAME[:TAG] and a module's file or digest"
                                          : "say which: a name, a digest or a module's file");
    if (o->word_count > verb->most)
        return error_set(err, ST_USAGE, "'%s' is one too many", o->words[verb->most]);
    char ignored[CACHE_NAME_MAX];
    return verb->run == name ? parse_name(o->words[0], ignored, err) : ST_OK;
}

/* *ret_cache is NULL where the store is not there and that does not matter. */
static enum status open_store(const struct verb *verb, const struct options *o,
                              struct cache **ret_cache, struct error *err) {
    struct cache_options options = {.path = o->cache_dir, .describe_object = object_describe};
    char path[4096];
    enum status status = cache_default_path(&options, path, sizeof path, err);
    if (status != ST_OK) return status;
    *ret_cache = NULL;
    /* The directory alone is none: a server's records may lie there too. */
    auto_free char *objects = NULL;
    if (asprintf(&objects, "%s/objects", path) < 0) {
        objects = NULL;
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    if (strcmp(verb->name, "name") != 0 && access(objects, F_OK) < 0 && errno == ENOENT)
        return verb->empty ? ST_OK
                           : error_set(err, ST_NOT_FOUND, "there is no cache at %s", path);
    return cache_open(&options, ret_cache, err);
}

static enum status run_verb(const struct verb *verb, const struct options *o,
                            struct error *err) {
    struct cache *cache = NULL;
    enum status status = check_options(verb, o, err);
    if (status == ST_OK) status = open_store(verb, o, &cache, err);
    if (status == ST_OK) status = verb->run(cache, o, err);
    cache_close(cache);
    return status;
}

int cmd_cache(int argc, char **argv) {
    struct options o = {0};
    const struct argument table[] = {
        {0, "json", &o.json, NULL, NULL, NULL},
        {0, "full", &o.full, NULL, NULL, NULL},
        {0, "dry-run", &o.dry_run, NULL, NULL, NULL},
        {'h', "help", &o.help, NULL, NULL, NULL},
        {0, "cache-dir", NULL, &o.cache_dir, NULL, NULL},
        {0, "max-size", NULL, &o.max_size, NULL, NULL},
        {0, "min-free", NULL, &o.min_free, NULL, NULL},
        {0, "as", NULL, &o.as, NULL, NULL},
        {0, "kind", NULL, &o.kind, NULL, NULL},
        {0, "sort", NULL, &o.sort, NULL, NULL},
    };
    struct error err = {0};
    auto_free const char **words = calloc((size_t)argc + 1, sizeof *words);
    const struct verb *verb = NULL;
    enum status status = words ? ST_OK : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK)
        status = arguments_parse(argc, argv, table, countof(table), words, &o.word_count, &err);
    if (status == ST_OK && o.help) {
        help_print("cache");
        return EXIT_DONE;
    }
    if (status == ST_OK && o.word_count == 0)
        status = error_set(&err, ST_USAGE,
                           "say what: list, show, name, remove, pin, unpin, "
                           "verify, gc or export-stats");
    if (status == ST_OK) status = find_verb(words[0], &verb, &err);
    if (status == ST_OK) {
        o.words = words + 1;
        o.word_count--;
        status = run_verb(verb, &o, &err);
    }
    if (status == ST_OK) return EXIT_DONE;
    fflush(stdout);
    char what[32] = "cache";
    if (verb) snprintf(what, sizeof what, "cache %s", verb->name);
    return cli_report(what, NULL, &err);
}
