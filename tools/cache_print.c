/*
 * Entries as a table, as details, and as JSON. What comes from elsewhere (media types, signers,
 * who pins) is printable ASCII by the store's own rules or shown as '?'.
 */
#include "tools/cache_view.h"

#include <jansson.h>
#include <time.h>
#include <unistd.h>

/* ---- words ------------------------------------------------------------------------------- */

const char *cache_size_text(uint64_t bytes, char ret_text[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < countof(units); unit++) value /= 1024;
    snprintf(ret_text, 24, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return ret_text;
}

static const char *ago(int64_t then_ns, int64_t now_ns, char ret_text[40]) {
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400 * 365, "year"}, {86400, "day"}, {3600, "hour"}, {60, "minute"}};
    int64_t age = (now_ns - then_ns) / 1000000000;
    for (size_t i = 0; i < countof(units); i++) {
        long long n = age / units[i].seconds;
        if (n < 1) continue;
        snprintf(ret_text, 40, "%lld %s%s ago", n, units[i].name, n > 1 ? "s" : "");
        return ret_text;
    }
    snprintf(ret_text, 40, "%s", age < -60 ? "in the future" : "just now");
    return ret_text;
}

/* "2026-03-01T12:00:00Z" */
static const char *date(int64_t ns, char ret_text[40]) {
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(ret_text, 40, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(ret_text, 40, "-");
    return ret_text;
}

static int64_t now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void put_clean(struct buffer *b, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        buffer_put_u8(b, *p >= 0x20 && *p < 0x7f ? *p : '?');
}

static const char *short_hex(const struct digest *digest, bool full,
                             char ret_hex[DIGEST_HEX_SIZE]) {
    digest_hex(digest, ret_hex);
    if (!full) ret_hex[12] = '\0';
    return ret_hex;
}

/* "python:3.11, ops (pin), needed by app:latest"; "-" where nothing keeps it. */
static void put_keepers(struct buffer *b, const struct cache_item *item) {
    if (!item->labels) buffer_printf(b, "-");
    for (const struct cache_label *l = item->labels; l; l = l->next) {
        if (l != item->labels) buffer_printf(b, ", ");
        if (!l->direct) buffer_printf(b, "needed by ");
        put_clean(b, l->text);
        if (l->pin) buffer_printf(b, " (pin)");
    }
}

/* ---- JSON -------------------------------------------------------------------------------- */

static json_t *hex_json(const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return json_sprintf("sha256:%s", hex);
}

static json_t *time_json(int64_t ns) {
    char text[40];
    return json_string(date(ns, text));
}

static json_t *text_json(const char *text) {
    auto_buffer struct buffer b = {0};
    put_clean(&b, text);
    return json_stringn((const char *)b.bytes, b.size);
}

/* A value where there is one. */
static void set(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value);
}

static json_t *entry_json(const struct cache_item *item) {
    const struct cache_entry *e = &item->entry;
    json_t *o = json_object(), *names = json_array(), *pins = json_array(),
           *needed = json_array(), *refs = json_array();
    set(o, "digest", hex_json(&e->digest));
    set(o, "kind", json_string(cache_kind_name(e->kind)));
    set(o, "origin", json_string(cache_origin_name(e->origin)));
    set(o, "size_bytes", json_integer((json_int_t)e->size_bytes));
    set(o, "created", time_json(e->created_ns));
    set(o, "last_used", time_json(e->last_used_ns));
    set(o, "hits", json_integer((json_int_t)e->hits));
    if (e->has_key) set(o, "key", hex_json(&e->key.digest));
    if (e->has_module) set(o, "module", hex_json(&e->module));
    if (e->target[0]) set(o, "target", text_json(e->target));
    if (e->signer[0]) set(o, "signer", text_json(e->signer));
    if (e->media_type[0]) set(o, "media_type", text_json(e->media_type));
    for (uint32_t i = 0; i < e->ref_count; i++)
        json_array_append_new(refs, hex_json(&e->refs[i]));
    for (const struct cache_label *l = item->labels; l; l = l->next) {
        if (!l->direct) {
            json_array_append_new(needed, text_json(l->text));
        } else if (l->pin) {
            json_t *pin = json_object();
            set(pin, "who", text_json(l->text));
            set(pin, "since", time_json(l->created_ns));
            json_array_append_new(pins, pin);
        } else {
            json_array_append_new(names, text_json(l->text));
        }
    }
    set(o, "names", names);
    set(o, "pins", pins);
    set(o, "needed_by", needed);
    set(o, "refs", refs);
    return o;
}

static enum status print_json(json_t *value, struct error *err) {
    bool done =
        value && json_dumpf(value, stdout, JSON_INDENT(2)) == 0 && putchar('\n') == '\n';
    json_decref(value);
    return done ? ST_OK : error_set(err, ST_NO_MEMORY, "cannot print JSON");
}

/* ---- the list ---------------------------------------------------------------------------- */

static int by_use(const void *a, const void *b) {
    const struct cache_entry *x = &((const struct cache_item *)a)->entry,
                             *y = &((const struct cache_item *)b)->entry;
    if (x->last_used_ns != y->last_used_ns) return x->last_used_ns > y->last_used_ns ? -1 : 1;
    return memcmp(&x->digest, &y->digest, sizeof x->digest);
}

static int by_size(const void *a, const void *b) {
    const struct cache_entry *x = &((const struct cache_item *)a)->entry,
                             *y = &((const struct cache_item *)b)->entry;
    if (x->size_bytes != y->size_bytes) return x->size_bytes > y->size_bytes ? -1 : 1;
    return by_use(a, b);
}

static int by_hits(const void *a, const void *b) {
    const struct cache_entry *x = &((const struct cache_item *)a)->entry,
                             *y = &((const struct cache_item *)b)->entry;
    if (x->hits != y->hits) return x->hits > y->hits ? -1 : 1;
    return by_use(a, b);
}

static void print_row(const struct cache_item *item, bool full, int64_t now_ns) {
    const struct cache_entry *e = &item->entry;
    char hex[DIGEST_HEX_SIZE], module[DIGEST_HEX_SIZE] = "-", size[24], used[40];
    if (e->has_module) short_hex(&e->module, full, module);
    auto_buffer struct buffer keepers = {0};
    put_keepers(&keepers, item);
    int width = full ? 64 : 12;
    printf("%-*s  %-8s  %10s  %-9s  %-*s  %-9s  %6llu  %-15s  %.*s\n", width,
           short_hex(&e->digest, full, hex), cache_kind_name(e->kind),
           cache_size_text(e->size_bytes, size), e->target[0] ? e->target : "-", width, module,
           cache_origin_name(e->origin), (unsigned long long)e->hits,
           ago(e->last_used_ns, now_ns, used), (int)keepers.size, (const char *)keepers.bytes);
}

enum status cache_print_list(struct cache_view *v, const struct cache_list_options *o,
                             struct error *err) {
    static int (*const orders[])(const void *, const void *) = {by_use, by_size, by_hits};
    if (v->count) qsort(v->items, v->count, sizeof *v->items, orders[o->order]);
    json_t *list = o->json ? json_array() : NULL;
    uint64_t entries = 0, bytes = 0;
    int64_t now_ns = now();
    int width = o->full ? 64 : 12;
    if (!list)
        printf("%-*s  %-8s  %10s  %-9s  %-*s  %-9s  %6s  %-15s  %s\n", width, "DIGEST", "KIND",
               "SIZE", "TARGET", width, "MODULE", "ORIGIN", "HITS", "LAST USED", "KEPT BY");
    for (size_t i = 0; i < v->count; i++) {
        const struct cache_entry *e = &v->items[i].entry;
        if (o->kind && e->kind != o->kind) continue;
        entries++;
        bytes += e->size_bytes;
        if (list)
            json_array_append_new(list, entry_json(&v->items[i]));
        else
            print_row(&v->items[i], o->full, now_ns);
    }
    if (list) {
        json_t *all = json_object();
        set(all, "path", json_string(v->path ? v->path : ""));
        set(all, "entries", list);
        set(all, "size_bytes", json_integer((json_int_t)bytes));
        set(all, "max_bytes",
            v->stats.max_bytes == UINT64_MAX ? json_null()
                                             : json_integer((json_int_t)v->stats.max_bytes));
        return print_json(all, err);
    }
    char size[24], most[24];
    printf("%llu entr%s, %s", (unsigned long long)entries, entries == 1 ? "y" : "ies",
           cache_size_text(bytes, size));
    if (v->path && v->stats.max_bytes != UINT64_MAX)
        printf(" of at most %s", cache_size_text(v->stats.max_bytes, most));
    printf("%s%s\n", v->path ? " in " : "", v->path ? v->path : "");
    return ST_OK;
}

/* ---- one entry --------------------------------------------------------------------------- */

static void put_line(struct buffer *b, const char *what) { buffer_printf(b, "  %-12s", what); }

static void put_digest_line(struct buffer *b, const char *what, const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    put_line(b, what);
    buffer_printf(b, "sha256:%s\n", hex);
}

static void put_time_line(struct buffer *b, const char *what, int64_t ns) {
    char when[40], since[40];
    put_line(b, what);
    buffer_printf(b, "%s, %s\n", date(ns, when), ago(ns, now(), since));
}

static void put_labels(struct buffer *b, const struct cache_item *item) {
    char when[40];
    for (const struct cache_label *l = item->labels; l; l = l->next) {
        put_line(b, !l->direct ? "needed by" : l->pin ? "pinned by" : "name");
        put_clean(b, l->text);
        if (l->direct) buffer_printf(b, ", since %s", date(l->created_ns, when));
        buffer_put_u8(b, '\n');
    }
}

static void put_details(struct buffer *b, const struct cache_view *v,
                        const struct cache_item *item) {
    const struct cache_entry *e = &item->entry;
    char hex[DIGEST_HEX_SIZE], size[24];
    put_line(b, "kind");
    buffer_printf(b, "%s%s", cache_kind_name(e->kind), e->target[0] ? ", " : "");
    put_clean(b, e->target);
    buffer_put_u8(b, '\n');
    put_line(b, "size");
    buffer_printf(b, "%s (%llu bytes)\n", cache_size_text(e->size_bytes, size),
                  (unsigned long long)e->size_bytes);
    put_time_line(b, cache_origin_name(e->origin), e->created_ns);
    put_time_line(b, "last used", e->last_used_ns);
    put_line(b, "hits");
    buffer_printf(b, "%llu\n", (unsigned long long)e->hits);
    if (e->has_module) put_digest_line(b, "module", &e->module);
    if (e->has_key) put_digest_line(b, "key", &e->key.digest);
    if (e->signer[0]) {
        put_line(b, "signed by");
        put_clean(b, e->signer);
        buffer_put_u8(b, '\n');
    }
    if (e->media_type[0]) {
        put_line(b, "media type");
        put_clean(b, e->media_type);
        buffer_put_u8(b, '\n');
    }
    put_labels(b, item);
    for (uint32_t i = 0; i < e->ref_count; i++) put_digest_line(b, "needs", &e->refs[i]);
    digest_hex(&e->digest, hex);
    put_line(b, "file");
    buffer_printf(b, "%s/objects/%s\n", v->path, hex);
}

enum status cache_print_entry(const struct cache_view *v, const struct digest *digest,
                              const struct cache_item *item, bool json, struct error *err) {
    if (json) {
        json_t *o = item ? entry_json(item) : json_object();
        json_t *objects = json_array();
        if (!item) set(o, "digest", hex_json(digest));
        set(o, "stored", json_boolean(item != NULL));
        for (size_t i = 0; i < v->count; i++)
            if (cache_view_is_object_of(&v->items[i], digest))
                json_array_append_new(objects, entry_json(&v->items[i]));
        set(o, "objects", objects);
        return print_json(o, err);
    }
    char hex[DIGEST_HEX_SIZE], size[24];
    digest_hex(digest, hex);
    auto_buffer struct buffer b = {0};
    buffer_printf(&b, "sha256:%s\n", hex);
    if (item)
        put_details(&b, v, item);
    else
        buffer_printf(&b, "  %-12smodule, not in the cache itself\n", "kind");
    for (size_t i = 0; i < v->count; i++) {
        const struct cache_entry *e = &v->items[i].entry;
        if (!cache_view_is_object_of(&v->items[i], digest)) continue;
        put_line(&b, "object");
        buffer_printf(&b, "%s  ", short_hex(&e->digest, false, hex));
        put_clean(&b, e->target);
        buffer_printf(&b, "  %s  %s  %llu hit%s\n", cache_size_text(e->size_bytes, size),
                      cache_origin_name(e->origin), (unsigned long long)e->hits,
                      e->hits == 1 ? "" : "s");
    }
    enum status status = buffer_status(&b, err);
    if (status == ST_OK) fwrite(b.bytes, 1, b.size, stdout);
    return status;
}
