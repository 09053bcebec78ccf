/*
 * roots: what nobody could work out again from objects/ if the index were lost: names, pins and
 * manifests (whose references keep other entries). A text file, one line each, written anew
 * with every change to any of them, closed by the digest of what stands before. Lines:
 *
 *     hutch-roots 1
 *     name NAME:TAG DIGEST SEQUENCE CREATED SIGNER
 *     pin DIGEST CREATED WHO
 *     entry DIGEST SIZE KIND ORIGIN CREATED SIGNER MEDIA-TYPE KEY MODULE TARGET REFERENCES
 *         [DIGEST...]
 *     end DIGEST
 *
 * "-" stands for an empty word; blanks and '%' in a word are %XX. A file whose end does not
 * hold is read all the same, line by line, as far as lines make sense: better half of it than
 * nothing.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ROOTS_NEW "roots.new"
#define ROOTS_MAX_BYTES (UINT64_C(256) << 20)

/* ---- words ------------------------------------------------------------------------------- */

static void put_word(struct buffer *b, const char *word) {
    if (!*word)
        buffer_printf(b, " -");
    else
        buffer_put_u8(b, ' ');
    for (const unsigned char *p = (const unsigned char *)word; *p; p++) {
        bool plain = *p > ' ' && *p < 0x7f && *p != '%' && !(word[0] == '-' && !word[1]);
        if (plain)
            buffer_put_u8(b, *p);
        else
            buffer_printf(b, "%%%02x", *p);
    }
}

static void put_hex(struct buffer *b, const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    buffer_printf(b, " %s", hex);
}

static void put_optional(struct buffer *b, const struct digest *digest) {
    if (digest)
        put_hex(b, digest);
    else
        buffer_printf(b, " -");
}

static bool get_word(char **rest, char *ret, size_t size) {
    char *word = strsep(rest, " ");
    if (!word || !*word) return false;
    size_t n = 0;
    for (char *p = word; *p; p++) {
        if (n + 1 >= size) return false;
        char c = *p;
        if (c == '%') {
            unsigned value;
            if (!p[1] || !p[2] || sscanf(p + 1, "%2x", &value) != 1 || value == 0) return false;
            c = (char)value;
            p += 2;
        }
        ret[n++] = c;
    }
    ret[n] = '\0';
    if (strcmp(word, "-") == 0) ret[0] = '\0';
    return true;
}

static bool get_hex(char **rest, struct digest *ret) {
    char *word = strsep(rest, " ");
    return word && strlen(word) == 64 && digest_from_hex(word, ret);
}

static bool get_optional(char **rest, struct digest *ret, bool *ret_has) {
    char *word = strsep(rest, " ");
    *ret_has = word && strcmp(word, "-") != 0;
    return word && (!*ret_has || (strlen(word) == 64 && digest_from_hex(word, ret)));
}

static bool get_number(char **rest, uint64_t *ret) {
    char *word = strsep(rest, " "), *end;
    if (!word || *word < '0' || *word > '9') return false;
    errno = 0;
    *ret = strtoull(word, &end, 10);
    return !*end && errno == 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

static enum status name_line(void *context, const void *key, size_t key_size,
                             struct reader body) {
    struct buffer *b = context;
    struct cache_name n = {0};
    if (key_size >= sizeof n.name || !record_get_name(&body, &n)) return ST_OK;
    memcpy(n.name, key, key_size);
    buffer_printf(b, "name");
    put_word(b, n.name);
    put_hex(b, &n.digest);
    buffer_printf(b, " %llu %llu", (unsigned long long)n.sequence,
                  (unsigned long long)n.created_ns);
    put_word(b, n.signer);
    buffer_put_u8(b, '\n');
    return ST_OK;
}

static enum status pin_line(void *context, const void *key, size_t key_size,
                            struct reader body) {
    struct buffer *b = context;
    struct digest digest;
    char who[CACHE_WHO_MAX] = "";
    if (key_size <= sizeof digest || key_size >= sizeof digest + sizeof who) return ST_OK;
    memcpy(&digest, key, sizeof digest);
    memcpy(who, (const uint8_t *)key + sizeof digest, key_size - sizeof digest);
    buffer_printf(b, "pin");
    put_hex(b, &digest);
    buffer_printf(b, " %llu", (unsigned long long)reader_u64(&body));
    put_word(b, who);
    buffer_put_u8(b, '\n');
    return ST_OK;
}

static enum status entry_line(void *context, const void *key, size_t key_size,
                              struct reader body) {
    struct buffer *b = context;
    struct cache_entry e = {0};
    struct digest refs[CACHE_REFS_MAX];
    if (key_size != sizeof e.digest || !record_get_entry(&body, &e, refs) ||
        (e.kind != CACHE_MANIFEST && e.ref_count == 0))
        return ST_OK;
    memcpy(&e.digest, key, key_size);
    buffer_printf(b, "entry");
    put_hex(b, &e.digest);
    buffer_printf(b, " %llu %d %d %llu", (unsigned long long)e.size_bytes, (int)e.kind,
                  (int)e.origin, (unsigned long long)e.created_ns);
    put_word(b, e.signer);
    put_word(b, e.media_type);
    put_optional(b, e.has_key ? &e.key.digest : NULL);
    put_optional(b, e.has_module ? &e.module : NULL);
    put_word(b, e.target);
    buffer_printf(b, " %u", e.ref_count);
    for (uint32_t i = 0; i < e.ref_count; i++) put_hex(b, &e.refs[i]);
    buffer_put_u8(b, '\n');
    return ST_OK;
}

enum status roots_write(struct index_writer *w, struct error *err) {
    auto_buffer struct buffer b = {0};
    buffer_printf(&b, "hutch-roots 1\n");
    enum status status = writer_each(w, DB_NAMES, name_line, &b, err);
    if (status == ST_OK) status = writer_each(w, DB_PINS, pin_line, &b, err);
    if (status == ST_OK) status = writer_each(w, DB_OBJECTS, entry_line, &b, err);
    if (status == ST_OK) status = buffer_status(&b, err);
    if (status != ST_OK) return status;
    struct digest digest = digest_of(b.bytes, b.size);
    buffer_printf(&b, "end");
    put_hex(&b, &digest);
    buffer_put_u8(&b, '\n');
    if ((status = buffer_status(&b, err)) != ST_OK) return status;
    status = file_publish(w->cache->dir, ROOTS_NEW, b.bytes, b.size, 0600, err);
    if (status != ST_IO || !err) return status;
    errno = err->saved_errno;
    return err->status = cache_io_status();
}

enum status roots_publish(struct cache *c, struct error *err) {
    if (renameat(c->dir, ROOTS_NEW, c->dir, CACHE_ROOTS) < 0)
        return error_set_errno(err, cache_io_status(), "cannot replace %s/" CACHE_ROOTS,
                               c->path);
    auto_fd int dir = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return error_set_errno(err, cache_io_status(), "cannot sync %s", c->path);
    return ST_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

static enum status apply_name(struct index_writer *w, char *rest, struct error *err) {
    struct cache_name n = {0};
    uint64_t created;
    bool is_digest;
    struct digest ignored;
    char checked[CACHE_NAME_MAX];
    if (!get_word(&rest, n.name, sizeof n.name) || !get_hex(&rest, &n.digest) ||
        !get_number(&rest, &n.sequence) || !get_number(&rest, &created) ||
        !get_word(&rest, n.signer, sizeof n.signer) ||
        cache_name_parse(n.name, checked, &is_digest, &ignored, NULL) != ST_OK || is_digest)
        return ST_OK;
    n.created_ns = (int64_t)created;
    return writer_apply(w, &(struct change){.kind = CHANGE_NAME, .name = &n}, err);
}

static enum status apply_pin(struct index_writer *w, char *rest, struct error *err) {
    struct digest digest;
    uint64_t created;
    char who[CACHE_WHO_MAX];
    if (!get_hex(&rest, &digest) || !get_number(&rest, &created) ||
        !get_word(&rest, who, sizeof who) || !who[0])
        return ST_OK;
    return writer_apply(w, &(struct change){.kind = CHANGE_PIN, .digest = digest, .who = who},
                        err);
}

/* ST_NOT_FOUND: there is no such file of that size. */
static enum status look_for(struct index_writer *w, const struct digest *digest, uint64_t size,
                            struct error *err) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    struct stat st;
    if (fstatat(w->cache->objects, hex, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return (uint64_t)st.st_size == size ? ST_OK : ST_NOT_FOUND;
    if (errno == ENOENT) return ST_NOT_FOUND;
    return error_set_errno(err, ST_IO, "cannot look at sha256:%s", hex);
}

/* Describes an entry of which only the file was left, like the one that needs it. */
static enum status adopt_need(struct index_writer *w, const struct cache_entry *by,
                              const struct digest *digest, struct error *err) {
    struct cache_entry e = {0};
    enum status status = writer_entry(w, digest, &e, err);
    if (status == ST_NOT_FOUND) return ST_OK;
    if (status != ST_OK || e.origin != CACHE_RECOVERED || e.ref_count) return status;
    e.origin = by->origin;
    memcpy(e.signer, by->signer, sizeof e.signer);
    return writer_apply(w, &(struct change){.kind = CHANGE_PUT, .digest = *digest, .entry = &e},
                        err);
}

static enum status apply_entry(struct index_writer *w, char *rest, struct error *err) {
    struct cache_entry e = {0}, known = {0};
    struct digest refs[CACHE_REFS_MAX];
    uint64_t kind, origin, created, ref_count;
    if (!get_hex(&rest, &e.digest) || !get_number(&rest, &e.size_bytes) ||
        !get_number(&rest, &kind) || !get_number(&rest, &origin) ||
        !get_number(&rest, &created) || !get_word(&rest, e.signer, sizeof e.signer) ||
        !get_word(&rest, e.media_type, sizeof e.media_type) ||
        !get_optional(&rest, &e.key.digest, &e.has_key) ||
        !get_optional(&rest, &e.module, &e.has_module) ||
        !get_word(&rest, e.target, sizeof e.target) || !get_number(&rest, &ref_count) ||
        ref_count > CACHE_REFS_MAX || kind > UINT8_MAX || origin > UINT8_MAX)
        return ST_OK;
    for (uint32_t i = 0; i < ref_count; i++)
        if (!get_hex(&rest, &refs[i])) return ST_OK;
    enum status status = look_for(w, &e.digest, e.size_bytes, err);
    if (status != ST_OK) return status == ST_NOT_FOUND ? ST_OK : status;
    e.kind = (enum cache_kind)kind;
    e.origin = (enum cache_origin)origin;
    e.created_ns = (int64_t)created;
    e.refs = refs;
    e.ref_count = (uint32_t)ref_count;
    /* What could be saved of the old index says as much and may be newer. */
    status = writer_entry(w, &e.digest, &known, err);
    if (status == ST_NOT_FOUND || (status == ST_OK && known.origin == CACHE_RECOVERED))
        status = writer_apply(
            w, &(struct change){.kind = CHANGE_PUT, .digest = e.digest, .entry = &e}, err);
    for (uint32_t i = 0; i < e.ref_count && status == ST_OK; i++)
        status = adopt_need(w, &e, &refs[i], err);
    return status;
}

/* Entries first: names and pins are of entries that are there. */
static enum status apply_lines(struct index_writer *w, const char *text, bool entries,
                               struct error *err) {
    auto_free char *copy = strdup(text);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *lines = copy;
    for (char *line; (line = strsep(&lines, "\n"));) {
        char *rest = line, *word = strsep(&rest, " ");
        struct error why = {0};
        enum status status = ST_OK;
        if (!rest) continue;
        if (entries && strcmp(word, "entry") == 0) status = apply_entry(w, rest, &why);
        if (!entries && strcmp(word, "name") == 0) status = apply_name(w, rest, &why);
        if (!entries && strcmp(word, "pin") == 0) status = apply_pin(w, rest, &why);
        if (status != ST_OK && status != ST_NOT_FOUND) {
            if (err) *err = why;
            return status;
        }
    }
    return ST_OK;
}

enum status roots_apply(struct index_writer *w, struct error *err) {
    auto_buffer struct buffer b = {0};
    struct error why = {0};
    enum status status = file_read(w->cache->dir, CACHE_ROOTS, ROOTS_MAX_BYTES, &b, &why);
    if (status == ST_IO && why.saved_errno == ENOENT) return ST_OK;
    /* Without it names would be lost, and the next change would write that down. */
    if (status != ST_OK)
        return error_set(err, status,
                         "cannot make an index of %s without its names (remove " CACHE_ROOTS
                         " there to do so): %.200s",
                         w->cache->path, why.message);
    buffer_put_u8(&b, 0);
    status = buffer_status(&b, err);
    if (status != ST_OK) return status;
    static const char first[] = "hutch-roots 1\n";
    if (b.size < sizeof first || memcmp(b.bytes, first, sizeof first - 1) != 0) return ST_OK;
    status = apply_lines(w, (const char *)b.bytes, true, err);
    return status != ST_OK ? status : apply_lines(w, (const char *)b.bytes, false, err);
}
