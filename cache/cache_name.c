/*
 * Names and pins: what keeps entries, and how people speak of them. Both live in the index and,
 * once more, in roots (cache_roots.c).
 */
#include "cache/store.h"

/* ---- the grammar of names ---------------------------------------------------------------- */

#define TAG_MAX 128u

static bool name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-' || c == '/';
}

static bool tag_byte(char c) { return name_byte(c) ? c != '/' : (c >= 'A' && c <= 'Z'); }

/* Words joined by single slashes, each beginning and ending with a letter or digit. */
static bool name_fits(const char *name, size_t length) {
    char before = '/';
    for (size_t i = 0; i < length; i++) {
        bool sign = !((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9'));
        bool edge = before == '/' || i + 1 == length || name[i + 1] == '/' || name[i] == '/';
        if (!name_byte(name[i])) return false;
        if (sign && edge && !(name[i] == '/' && before != '/' && i + 1 < length)) return false;
        before = name[i];
    }
    return length > 0;
}

static bool tag_fits(const char *tag, size_t length) {
    if (length == 0 || length > TAG_MAX || tag[0] == '.' || tag[0] == '-') return false;
    for (size_t i = 0; i < length; i++)
        if (!tag_byte(tag[i])) return false;
    return true;
}

enum status cache_name_parse(const char *text, char ret_name[CACHE_NAME_MAX],
                             bool *ret_is_digest, struct digest *ret_digest,
                             struct error *err) {
    static const char sha[] = "sha256:";
    const char *at = strchr(text, '@'), *colon = strchr(text, ':');
    bool bare = strncmp(text, sha, sizeof sha - 1) == 0;
    if (at || bare) {
        const char *hex = bare ? text + sizeof sha - 1 : at + sizeof sha;
        size_t length = bare ? 0 : (size_t)(at - text);
        if ((!bare &&
             (strncmp(at + 1, sha, sizeof sha - 1) != 0 || !name_fits(text, length))) ||
            strlen(hex) != 64 || !digest_from_hex(hex, ret_digest) || length >= CACHE_NAME_MAX)
            return error_set(err, ST_USAGE, "'%.200s' is no NAME@sha256:DIGEST", text);
        memcpy(ret_name, text, length);
        ret_name[length] = '\0';
        *ret_is_digest = true;
        return ST_OK;
    }
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    const char *tag = colon ? colon + 1 : "latest";
    if (!name_fits(text, length) || !tag_fits(tag, strlen(tag)) ||
        length + 1 + strlen(tag) >= CACHE_NAME_MAX)
        return error_set(err, ST_USAGE, "'%.200s' is no name like python:3.11", text);
    snprintf(ret_name, CACHE_NAME_MAX, "%.*s:%s", (int)length, text, tag);
    *ret_is_digest = false;
    return ST_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

enum status cache_name_set(struct cache *c, const struct cache_name *name, struct error *err) {
    struct cache_name n = *name;
    bool is_digest;
    struct digest ignored;
    enum status status = cache_name_parse(name->name, n.name, &is_digest, &ignored, err);
    if (status != ST_OK) return status;
    if (is_digest) return error_set(err, ST_USAGE, "a digest cannot be given another meaning");
    n.created_ns = cache_now_ns();
    struct change change = {.kind = CHANGE_NAME, .name = &n};
    return index_change(c, &change, 1, err);
}

static enum status read_name(struct cache *c, void *context) {
    struct cache_name *name = context;
    struct reader body;
    enum status status = index_get(c, DB_NAMES, name->name, strlen(name->name), &body);
    if (status != ST_OK) return status;
    return record_get_name(&body, name) ? ST_OK : ST_DAMAGED;
}

enum status cache_name_resolve(struct cache *c, const char *text, struct cache_name *ret_name,
                               struct error *err) {
    struct cache_name name = {0};
    bool is_digest;
    enum status status = cache_name_parse(text, name.name, &is_digest, &name.digest, err);
    if (status != ST_OK) return status;
    if (is_digest) {
        struct cache_entry entry;
        if ((status = cache_describe(c, &name.digest, &entry, err)) != ST_OK) return status;
        name.created_ns = entry.created_ns;
    } else {
        status = index_read(c, read_name, &name, err);
        if (status == ST_NOT_FOUND)
            return error_set(err, ST_NOT_FOUND, "there is no %s in %s", name.name, c->path);
        if (status != ST_OK) return status;
    }
    *ret_name = name;
    return ST_OK;
}

enum status cache_name_remove(struct cache *c, const char *text, struct error *err) {
    struct cache_name name = {0};
    bool is_digest;
    enum status status = cache_name_parse(text, name.name, &is_digest, &name.digest, err);
    if (status != ST_OK) return status;
    if (is_digest) return error_set(err, ST_USAGE, "'%.200s' is a digest, not a name", text);
    struct change change = {.kind = CHANGE_UNNAME, .name = &name};
    return index_change(c, &change, 1, err);
}

/* ---- pins -------------------------------------------------------------------------------- */

static enum status check_who(const char *who, struct error *err) {
    size_t length = strlen(who);
    bool fits = length > 0 && length < CACHE_WHO_MAX;
    for (size_t i = 0; i < length && fits; i++) fits = who[i] >= ' ' && who[i] < 0x7f;
    return fits ? ST_OK
                : error_set(err, ST_USAGE, "who pins is 1 to %u printable letters",
                            CACHE_WHO_MAX - 1);
}

static enum status change_pin(struct cache *c, enum change_kind kind,
                              const struct digest *digest, const char *who, struct error *err) {
    enum status status = check_who(who, err);
    if (status != ST_OK) return status;
    struct change change = {.kind = kind, .digest = *digest, .who = who};
    return index_change(c, &change, 1, err);
}

enum status cache_pin(struct cache *c, const struct digest *digest, const char *who,
                      struct error *err) {
    return change_pin(c, CHANGE_PIN, digest, who, err);
}

enum status cache_unpin(struct cache *c, const struct digest *digest, const char *who,
                        struct error *err) {
    return change_pin(c, CHANGE_UNPIN, digest, who, err);
}

/* ---- all of them ------------------------------------------------------------------------- */

struct each {
    cache_name_visitor name;
    cache_pin_visitor pin;
    void *context;
    uint8_t after[CACHE_NAME_MAX + 64]; /* a second pass goes on where the first one stopped */
    size_t after_size;
};

static bool is_new(struct each *each, const void *key, size_t key_size) {
    size_t both = key_size < each->after_size ? key_size : each->after_size;
    int order = memcmp(key, each->after, both);
    if (each->after_size && (order < 0 || (order == 0 && key_size <= each->after_size)))
        return false;
    memcpy(each->after, key, each->after_size = key_size);
    return true;
}

static enum status each_name(void *context, const void *key, size_t key_size,
                             struct reader body) {
    struct each *each = context;
    struct cache_name name = {0};
    if (key_size >= sizeof name.name || !record_get_name(&body, &name)) return ST_DAMAGED;
    if (!is_new(each, key, key_size)) return ST_OK;
    memcpy(name.name, key, key_size);
    return each->name(each->context, &name) ? ST_OK : ST_EXIT;
}

static enum status each_pin(void *context, const void *key, size_t key_size,
                            struct reader body) {
    struct each *each = context;
    struct digest digest;
    char who[CACHE_WHO_MAX] = "";
    if (key_size <= sizeof digest || key_size >= sizeof digest + sizeof who) return ST_DAMAGED;
    if (!is_new(each, key, key_size)) return ST_OK;
    memcpy(&digest, key, sizeof digest);
    memcpy(who, (const uint8_t *)key + sizeof digest, key_size - sizeof digest);
    return each->pin(each->context, &digest, who, (int64_t)reader_u64(&body)) ? ST_OK : ST_EXIT;
}

static enum status read_names(struct cache *c, void *context) {
    return index_each(c, DB_NAMES, NULL, 0, each_name, context);
}

static enum status read_pins(struct cache *c, void *context) {
    return index_each(c, DB_PINS, NULL, 0, each_pin, context);
}

enum status cache_each_name(struct cache *c, cache_name_visitor visit, void *context,
                            struct error *err) {
    struct each each = {.name = visit, .context = context};
    return index_read(c, read_names, &each, err);
}

enum status cache_each_pin(struct cache *c, cache_pin_visitor visit, void *context,
                           struct error *err) {
    struct each each = {.pin = visit, .context = context};
    return index_read(c, read_pins, &each, err);
}
