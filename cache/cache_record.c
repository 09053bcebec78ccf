/*
 * Records of the index as bytes, and back. Every record begins with eight bytes of SHA-256 over
 * its database, key and body: a page of the index that went bad is noticed in whatever was read
 * from it, and a record that LMDB finds under a wrong key is no record. docs/cache.md has the
 * bodies field by field.
 */
#include "cache/store.h"

#define CHECK_SIZE 8u
#define FLAG_KEY 1u
#define FLAG_MODULE 2u

void text_copy(char *to, size_t size, const char *from) {
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool digest_from_hex(const char *hex, struct digest *ret_digest) {
    struct digest digest;
    for (size_t i = 0; i < sizeof digest.bytes; i++) {
        int high = hex_value(hex[2 * i]);
        int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);
        if (low < 0) return false;
        digest.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret_digest = digest;
    return true;
}

/* ---- checksums --------------------------------------------------------------------------- */

static uint64_t record_check(enum index_db db, const void *key, size_t key_size,
                             const void *body, size_t body_size) {
    /* One flat run of bytes: records are small, and libcrypto's one call is cheaper than three.
     */
    uint8_t small[1024];
    size_t size = 2 + key_size + body_size;
    auto_free uint8_t *large = size > sizeof small ? malloc(size) : NULL;
    uint8_t *flat = size > sizeof small ? large : small;
    if (!flat) return 0; /* reads as damaged: the caller has no memory to go on with either */
    flat[0] = (uint8_t)db;
    flat[1] = (uint8_t)key_size; /* LMDB's keys have at most 511 bytes, ours 288 */
    memcpy(flat + 2, key, key_size);
    if (body_size) memcpy(flat + 2 + key_size, body, body_size);
    struct digest digest = digest_of(flat, size);
    struct reader r = reader_over(digest.bytes, CHECK_SIZE);
    return reader_u64(&r);
}

void record_begin(struct buffer *b) {
    b->size = 0;
    buffer_put_u64(b, 0);
}

void record_end(struct buffer *b, enum index_db db, const void *key, size_t key_size) {
    if (b->failed) return;
    uint64_t check =
        record_check(db, key, key_size, b->bytes + CHECK_SIZE, b->size - CHECK_SIZE);
    for (size_t i = 0; i < CHECK_SIZE; i++) b->bytes[i] = (uint8_t)(check >> (8 * i));
}

bool record_open(const void *bytes, size_t size, enum index_db db, const void *key,
                 size_t key_size, struct reader *ret_body) {
    struct reader r = reader_over(bytes, size);
    uint64_t check = reader_u64(&r);
    if (r.failed || size > (UINT64_C(1) << 20) || key_size > 511 ||
        check != record_check(db, key, key_size, r.at, reader_left(&r)))
        return false;
    *ret_body = reader_over(r.at, reader_left(&r));
    return true;
}

/* ---- entries ----------------------------------------------------------------------------- */

static void put_digest(struct buffer *b, const struct digest *digest) {
    buffer_put(b, digest->bytes, sizeof digest->bytes);
}

static void put_text(struct buffer *b, const char *text, size_t size) {
    buffer_put_str(b, text, strnlen(text, size - 1));
}

static void get_digest(struct reader *r, struct digest *ret) {
    const uint8_t *bytes = reader_bytes(r, sizeof ret->bytes);
    if (bytes) memcpy(ret->bytes, bytes, sizeof ret->bytes);
}

static void get_text(struct reader *r, char *ret, size_t size) {
    uint32_t length = reader_u32(r);
    const uint8_t *bytes = length < size ? reader_bytes(r, length) : NULL;
    if (!bytes || memchr(bytes, 0, length)) {
        r->failed = true;
        length = 0;
    }
    if (bytes) memcpy(ret, bytes, length);
    ret[length] = '\0';
}

void record_put_entry(struct buffer *b, const struct cache_entry *e) {
    buffer_put_u8(b, (uint8_t)e->kind);
    buffer_put_u8(b, (uint8_t)e->origin);
    buffer_put_u8(b,
                  (uint8_t)((e->has_key ? FLAG_KEY : 0) | (e->has_module ? FLAG_MODULE : 0)));
    buffer_put_u8(b, 0);
    buffer_put_u64(b, e->size_bytes);
    buffer_put_u64(b, (uint64_t)e->created_ns);
    struct digest none = {0};
    put_digest(b, e->has_key ? &e->key.digest : &none);
    put_digest(b, e->has_module ? &e->module : &none);
    put_text(b, e->target, sizeof e->target);
    put_text(b, e->signer, sizeof e->signer);
    put_text(b, e->media_type, sizeof e->media_type);
    buffer_put_u32(b, e->ref_count);
    for (uint32_t i = 0; i < e->ref_count; i++) put_digest(b, &e->refs[i]);
}

bool record_get_entry(struct reader *r, struct cache_entry *ret_entry, struct digest *refs) {
    struct cache_entry e = {0};
    e.kind = reader_u8(r);
    e.origin = reader_u8(r);
    uint8_t flags = reader_u8(r);
    reader_u8(r);
    e.has_key = flags & FLAG_KEY;
    e.has_module = flags & FLAG_MODULE;
    e.size_bytes = reader_u64(r);
    e.created_ns = (int64_t)reader_u64(r);
    get_digest(r, &e.key.digest);
    get_digest(r, &e.module);
    get_text(r, e.target, sizeof e.target);
    get_text(r, e.signer, sizeof e.signer);
    get_text(r, e.media_type, sizeof e.media_type);
    uint32_t refs_stored = reader_u32(r);
    if (r->failed || refs_stored > CACHE_REFS_MAX) return false;
    for (uint32_t i = 0; i < refs_stored; i++) {
        struct digest ref;
        get_digest(r, &ref);
        if (r->failed) return false;
        if (refs) refs[i] = ref;
    }
    if (refs) {
        e.refs = refs;
        e.ref_count = refs_stored;
    }
    e.digest = ret_entry->digest;
    *ret_entry = e;
    return true;
}

void record_put_name(struct buffer *b, const struct cache_name *name) {
    put_digest(b, &name->digest);
    buffer_put_u64(b, name->sequence);
    buffer_put_u64(b, (uint64_t)name->created_ns);
    put_text(b, name->signer, sizeof name->signer);
}

bool record_get_name(struct reader *r, struct cache_name *n) {
    get_digest(r, &n->digest);
    n->sequence = reader_u64(r);
    n->created_ns = (int64_t)reader_u64(r);
    get_text(r, n->signer, sizeof n->signer);
    return !r->failed;
}
