/*
 * The store's counters in the text format of Prometheus (exposition format 0.0.4), for its
 * node_exporter's textfile collector or a scrape by way of CGI; and the same as JSON.
 */
#include "tools/cache_view.h"

#include <jansson.h>

/* METRIC(member of cache_stats, name, type, help) */
/* clang-format off */
#define METRICS(METRIC)                                                                                       \
    METRIC(names,          "hutch_cache_names",                 "gauge",   "Names that mean an entry.")       \
    METRIC(pins,           "hutch_cache_pins",                  "gauge",   "Pins on entries.")                \
    METRIC(index_bytes,    "hutch_cache_index_bytes",           "gauge",   "Size of the index on the disk.")  \
    METRIC(max_bytes,      "hutch_cache_max_bytes",             "gauge",   "Size beyond which a put collects garbage.") \
    METRIC(free_bytes,     "hutch_cache_disk_free_bytes",       "gauge",   "Free space of the file system.")  \
    METRIC(min_free_bytes, "hutch_cache_disk_min_free_bytes",   "gauge",   "Free space below which a put collects garbage.") \
    METRIC(hits,           "hutch_cache_hits_total",            "counter", "Look-ups that found their entry.") \
    METRIC(misses,         "hutch_cache_misses_total",          "counter", "Look-ups that did not.")          \
    METRIC(waits,          "hutch_cache_waits_total",           "counter", "Waits for another process's compilation.") \
    METRIC(puts,           "hutch_cache_puts_total",            "counter", "Entries put.")                    \
    METRIC(put_bytes,      "hutch_cache_put_bytes_total",       "counter", "Bytes written for them.")         \
    METRIC(evicted,        "hutch_cache_evicted_total",         "counter", "Entries that garbage collection removed.") \
    METRIC(evicted_bytes,  "hutch_cache_evicted_bytes_total",   "counter", "Their bytes.")                    \
    METRIC(quarantined,    "hutch_cache_quarantined_total",     "counter", "Damaged entries moved away.")     \
    METRIC(rebuilds,       "hutch_cache_index_rebuilds_total",  "counter", "Times the index was rebuilt.")
/* clang-format on */

struct by_kind {
    const char *kind;
    uint64_t entries, bytes;
};

static void print_metric(const char *name, const char *type, const char *help, uint64_t value) {
    printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    if (value == UINT64_MAX)
        printf("%s +Inf\n", name);
    else
        printf("%s %llu\n", name, (unsigned long long)value);
}

static void print_kinds(const char *name, const char *help, const struct by_kind *kinds,
                        size_t count, bool bytes) {
    printf("# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    for (size_t i = 0; i < count; i++)
        printf("%s{kind=\"%s\"} %llu\n", name, kinds[i].kind,
               (unsigned long long)(bytes ? kinds[i].bytes : kinds[i].entries));
}

static enum status print_json(const struct cache_view *v, const struct by_kind *kinds,
                              size_t count, struct error *err) {
    json_t *o = json_object(), *all = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(all, kinds[i].kind,
                            json_pack("{s:I, s:I}", "entries", (json_int_t)kinds[i].entries,
                                      "bytes", (json_int_t)kinds[i].bytes));
    json_object_set_new(o, "path", json_string(v->path ? v->path : ""));
    json_object_set_new(o, "kinds", all);
#define METRIC(member, name, type, help)                                                       \
    json_object_set_new(o, #member,                                                            \
                        v->stats.member == UINT64_MAX                                          \
                            ? json_null()                                                      \
                            : json_integer((json_int_t)v->stats.member));
    METRICS(METRIC)
#undef METRIC
    bool done = json_dumpf(o, stdout, JSON_INDENT(2)) == 0 && putchar('\n') == '\n';
    json_decref(o);
    return done ? ST_OK : error_set(err, ST_NO_MEMORY, "cannot print JSON");
}

enum status cache_export(const struct cache_view *v, bool json, struct error *err) {
    struct by_kind kinds[] = {
#define X(id, number, word) {word, 0, 0},
        CACHE_KIND_LIST(X)
#undef X
    };
    for (size_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < countof(kinds); k++) {
            if (strcmp(kinds[k].kind, cache_kind_name(v->items[i].entry.kind)) != 0) continue;
            kinds[k].entries++;
            kinds[k].bytes += v->items[i].entry.size_bytes;
        }
    if (json) return print_json(v, kinds, countof(kinds), err);
    print_kinds("hutch_cache_entries", "Entries of the store.", kinds, countof(kinds), false);
    print_kinds("hutch_cache_bytes", "Bytes of the entries.", kinds, countof(kinds), true);
#define METRIC(member, name, type, help) print_metric(name, type, help, v->stats.member);
    METRICS(METRIC)
#undef METRIC
    return ST_OK;
}
