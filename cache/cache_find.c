/*
 * Key or digest to an open entry. The index says which file; the file says whether it is still
 * there and whole. Nothing here waits for anybody: an entry that gc is just removing is a miss.
 */
#include "cache/store.h"

#include <fcntl.h>
#include <unistd.h>

struct find {
    const struct cache_key *key;
    struct cache_entry *entry; /* digest is set */
};

static enum status read_entry(struct cache *c, struct cache_entry *entry) {
    struct reader body;
    enum status status = index_get(c, DB_OBJECTS, &entry->digest, sizeof entry->digest, &body);
    if (status != ST_OK) return status;
    return record_get_entry(&body, entry, NULL) ? ST_OK : ST_DAMAGED;
}

static enum status find_key(struct cache *c, void *context) {
    struct find *f = context;
    struct reader body;
    enum status status = index_get(c, DB_KEYS, f->key, sizeof *f->key, &body);
    if (status != ST_OK) return status;
    const uint8_t *digest = reader_bytes(&body, sizeof f->entry->digest);
    if (!digest) return ST_DAMAGED;
    memcpy(&f->entry->digest, digest, sizeof f->entry->digest);
    return read_entry(c, f->entry);
}

static enum status find_digest(struct cache *c, void *context) {
    return read_entry(c, context);
}

enum status cache_get(struct cache *c, const struct digest *digest, int *ret_fd,
                      uint64_t *ret_size_bytes, struct error *err) {
    struct stat st;
    auto_fd int fd = -1;
    enum status status = entry_open(c, digest, UINT64_MAX, false, &fd, &st, err);
    if (status != ST_OK) return status;
    entry_touch(fd, &st);
    if (ret_size_bytes) *ret_size_bytes = (uint64_t)st.st_size;
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static void fill_use(const struct cache *c, const struct stat *st, struct cache_entry *entry) {
    entry->last_used_ns = (int64_t)st->st_atim.tv_sec * 1000000000 + st->st_atim.tv_nsec;
    entry->hits = hits_of(c, &entry->digest);
}

enum status cache_describe(struct cache *c, const struct digest *digest,
                           struct cache_entry *ret_entry, struct error *err) {
    struct cache_entry entry = {.digest = *digest};
    enum status status = index_read(c, find_digest, &entry, err);
    if (status != ST_OK) return status;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    struct stat st;
    if (fstatat(c->objects, hex, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(err, ST_NOT_FOUND, "sha256:%s is not in the cache", hex);
    fill_use(c, &st, &entry);
    *ret_entry = entry;
    return ST_OK;
}

struct refs {
    struct cache_entry entry;
    struct digest *list;
};

static enum status find_refs(struct cache *c, void *context) {
    struct refs *refs = context;
    struct reader body;
    const struct digest *digest = &refs->entry.digest;
    enum status status = index_get(c, DB_OBJECTS, digest, sizeof *digest, &body);
    if (status != ST_OK) return status;
    return record_get_entry(&body, &refs->entry, refs->list) ? ST_OK : ST_DAMAGED;
}

enum status cache_refs(struct cache *c, const struct digest *digest, struct digest *ret_refs,
                       uint32_t *ret_count, struct error *err) {
    struct refs refs = {.entry.digest = *digest, .list = ret_refs};
    enum status status = index_read(c, find_refs, &refs, err);
    if (status == ST_OK) *ret_count = refs.entry.ref_count;
    return status;
}

static enum status look_up(struct cache *c, const struct cache_key *key, int *ret_fd,
                           struct cache_entry *ret_entry, struct error *err) {
    struct cache_entry entry = {0};
    struct find find = {key, &entry};
    struct stat st;
    auto_fd int fd = -1;
    enum status status = index_read(c, find_key, &find, err);
    if (status == ST_OK)
        status = entry_open(c, &entry.digest, entry.size_bytes, false, &fd, &st, err);
    if (status != ST_OK) return status;
    entry_touch(fd, &st);
    count_hit(c, &entry.digest);
    if (ret_entry) {
        fill_use(c, &st, &entry);
        *ret_entry = entry;
    }
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status cache_find(struct cache *c, const struct cache_key *key, int *ret_fd,
                       struct cache_entry *ret_entry, struct error *err) {
    enum status status = look_up(c, key, ret_fd, ret_entry, err);
    if (status == ST_NOT_FOUND) count(c, COUNT_MISSES, 1);
    return status;
}

enum status cache_find_again(struct cache *c, const struct cache_key *key, int *ret_fd,
                             struct error *err) {
    return look_up(c, key, ret_fd, NULL, err);
}

/* ---- all of them ------------------------------------------------------------------------- */

struct each {
    struct cache *cache;
    cache_visitor visit;
    void *context;
    struct digest
        after; /* a second pass, after a rebuild, goes on where the first one stopped */
    bool begun;
};

static enum status each_entry(void *context, const void *key, size_t key_size,
                              struct reader body) {
    struct each *each = context;
    struct cache_entry entry = {0};
    struct digest refs[CACHE_REFS_MAX];
    if (key_size != sizeof entry.digest || !record_get_entry(&body, &entry, refs))
        return ST_DAMAGED;
    memcpy(&entry.digest, key, key_size);
    if (each->begun && memcmp(&entry.digest, &each->after, sizeof entry.digest) <= 0)
        return ST_OK;
    each->after = entry.digest;
    each->begun = true;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&entry.digest, hex);
    struct stat st;
    if (fstatat(each->cache->objects, hex, &st, AT_SYMLINK_NOFOLLOW) < 0) return ST_OK;
    fill_use(each->cache, &st, &entry);
    return each->visit(each->context, &entry) ? ST_OK : ST_EXIT;
}

static enum status read_all(struct cache *c, void *context) {
    return index_each(c, DB_OBJECTS, NULL, 0, each_entry, context);
}

enum status cache_each(struct cache *c, cache_visitor visit, void *context, struct error *err) {
    struct each each = {.cache = c, .visit = visit, .context = context};
    return index_read(c, read_all, &each, err);
}

struct each_object {
    struct cache *cache;
    const struct digest *module;
    struct digest found[256];
    uint32_t count;
};

static enum status each_object(void *context, const void *key, size_t key_size,
                               struct reader body) {
    struct each_object *each = context;
    (void)body;
    if (key_size != 2 * sizeof *each->found) return ST_DAMAGED;
    const uint8_t *digest = (const uint8_t *)key + sizeof *each->found;
    /* Snapshots of the module are listed too, and may be many. */
    struct reader record;
    enum status status =
        index_get(each->cache, DB_OBJECTS, digest, sizeof *each->found, &record);
    if (status != ST_OK) return status == ST_NOT_FOUND ? ST_DAMAGED : status;
    if (reader_u8(&record) != CACHE_OBJECT) return ST_OK;
    memcpy(&each->found[each->count++], digest, sizeof *each->found);
    return each->count < countof(each->found) ? ST_OK : ST_EXIT;
}

static enum status read_objects(struct cache *c, void *context) {
    struct each_object *each = context;
    each->count = 0;
    return index_each(c, DB_MODULES, each->module, sizeof *each->module, each_object, each);
}

enum status cache_each_object(struct cache *c, const struct digest *module, cache_visitor visit,
                              void *context, struct error *err) {
    auto_free struct each_object *each = calloc(1, sizeof *each);
    if (!each) return error_set(err, ST_NO_MEMORY, "out of memory");
    each->cache = c;
    each->module = module;
    enum status status = index_read(c, read_objects, each, err);
    for (uint32_t i = 0; i < each->count && status == ST_OK; i++) {
        struct cache_entry entry;
        struct error ignored = {0};
        if (cache_describe(c, &each->found[i], &entry, &ignored) != ST_OK) continue;
        if (entry.kind == CACHE_OBJECT && !visit(context, &entry)) break;
    }
    return status;
}

/* ---- taking out -------------------------------------------------------------------------- */

enum status cache_quarantine(struct cache *c, const struct digest *digest, struct error *err) {
    if (c->read_only) return error_set(err, ST_IO, "%s is open for reading only", c->path);
    enum status status = entry_quarantine(c, digest, err);
    if (status != ST_OK) return status;
    struct change change = {.kind = CHANGE_IF_MISSING, .digest = *digest};
    return index_change(c, &change, 1, err);
}
