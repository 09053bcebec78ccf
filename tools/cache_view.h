/*
 * hutch cache, private to its files:
 *
 *   cmd_cache.c     the command: its options, and what changes the store
 *   cache_view.c    the store at one moment: entries, and what keeps each
 *   cache_print.c   that as tables, as details, as JSON
 *   cache_export.c  the counters for Prometheus and as JSON
 */
#ifndef HUTCH_TOOLS_CACHE_VIEW_H
#define HUTCH_TOOLS_CACHE_VIEW_H

#include "cache/cache.h"
#include "tools/cli.h"

/* Something that keeps an entry: a name, a pin, or one of these on something that needs it. */
struct cache_label {
    struct cache_label *next;
    const char *text; /* the name with its tag, or who pins */
    int64_t created_ns;
    bool pin;
    bool direct; /* on the entry itself */
};

struct cache_item {
    struct cache_entry entry; /* refs are the view's */
    struct cache_label *labels;
    size_t mark; /* while labels are put on */
};

/* Zero-initialised is an empty store. */
struct cache_view {
    struct arena arena;
    const char *path;         /* the store's directory; borrowed */
    struct cache_item *items; /* by digest */
    size_t count, capacity;
    struct cache_stats stats;
};

/* cache NULL: an empty one. */
enum status cache_view_read(struct cache *cache, struct cache_view *ret_view,
                            struct error *err) must_check;
void cache_view_finish(struct cache_view *view);
struct cache_item *cache_view_find(const struct cache_view *view, const struct digest *digest);
/*
 * What a person means: a name, NAME@sha256:DIGEST, a digest or its first digits (four at least,
 * with or without sha256:), or a module's file, which need not be in the store: then ret_item
 * is NULL and there are objects of it. ST_NOT_FOUND; ST_USAGE where digits fit several.
 */
enum status cache_view_resolve(const struct cache_view *view, struct cache *cache,
                               const char *text, struct digest *ret_digest,
                               struct cache_item **ret_item, struct error *err) must_check;
bool cache_view_is_object_of(const struct cache_item *item, const struct digest *module);

/* ---- cache_print.c ---- */
enum cache_order {
    CACHE_BY_USE, /* the last used first */
    CACHE_BY_SIZE,
    CACHE_BY_HITS,
};
struct cache_list_options {
    enum cache_order order;
    enum cache_kind kind; /* 0: all */
    bool json, full;      /* full: whole digests */
};
/* To standard output. */
enum status cache_print_list(struct cache_view *view, const struct cache_list_options *options,
                             struct error *err) must_check;
/* item NULL: a module that is not in the store itself. */
enum status cache_print_entry(const struct cache_view *view, const struct digest *digest,
                              const struct cache_item *item, bool json,
                              struct error *err) must_check;
/* "27.3 KiB" */
const char *cache_size_text(uint64_t bytes, char ret_text[24]);

/* ---- cache_export.c ---- */
enum status cache_export(const struct cache_view *view, bool json,
                         struct error *err) must_check;

#endif
