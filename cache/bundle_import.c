/*
 * struct bundle to entries and names of the store: all that the bundle promises is checked
 * before anything of it can be found, and names come last.
 *
 *     may we?        expiry, sequences, whose names they are, who signed
 *     stream         each blob once: hashed, decompressed, hashed, into a writer of the store
 *                    that publishes nothing yet; whoever can judge an object reads it there.
 *                    Memory holds pieces only. Then snapshots are held against their objects
 *     publish        under one lock: sequences again, entries, the statement with references to
 *                    them, names
 *
 * Native code, and snapshots, which hold addresses of it, are taken only where a trusted key
 * signed the statement (or allow_unsigned), and a bundle that nobody vouches for takes no name
 * away from one that somebody did. What cannot run here is left out, not refused.
 */
#include "cache/bundle.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A layer on its way. */
struct arriving {
    bool wanted, checked, fits;
    struct cache_writer *writer; /* NULL in a mere check and for a blob taken already */
    int temporary;               /* in a mere check: what native code lies in until the end */
    int entry; /* once published: open, so that no collection takes it before it has a name */
};

struct importing {
    struct cache *cache; /* NULL in a mere check */
    struct bundle *bundle;
    const struct bundle_import_options *options;
    struct bundle_report report;
    bool has_snapshots;
    struct arriving layers[BUNDLE_LAYERS_MAX];
};

static const enum cache_kind cache_kinds[] = {[BUNDLE_MODULE] = CACHE_MODULE,
                                              [BUNDLE_OBJECT] = CACHE_OBJECT,
                                              [BUNDLE_IMAGE] = CACHE_IMAGE,
                                              [BUNDLE_SNAPSHOT] = CACHE_SNAPSHOT};

static void note(const struct importing *im, const char *format, ...) printf_like(2, 3);
static void note(const struct importing *im, const char *format, ...) {
    if (!im->options->callbacks.note) return;
    char text[600];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    im->options->callbacks.note(im->options->callbacks.context, text);
}

static const struct bundle_statement *statement_of(const struct importing *im) {
    return &im->bundle->statement;
}

/* The digest of a key that vouches, as the index keeps it; "" for nobody. */
static void signer_text(const struct importing *im, char ret_text[DIGEST_HEX_SIZE]) {
    ret_text[0] = '\0';
    if (im->bundle->signer.trust == BUNDLE_TRUSTED)
        digest_hex(&im->bundle->signer.key, ret_text);
}

/* ---- may we? ----------------------------------------------------------------------------- */

static enum status check_name(const struct importing *im, const char *name, struct error *err) {
    struct cache_name known;
    struct error lookup = {0};
    enum status status = cache_name_resolve(im->cache, name, &known, &lookup);
    if (status == ST_NOT_FOUND) return ST_OK;
    if (status != ST_OK) {
        *err = lookup;
        return status;
    }
    if (!known.signer[0]) return ST_OK;
    if (im->bundle->signer.trust != BUNDLE_TRUSTED && !im->options->allow_unsigned)
        return error_set(err, ST_INCOMPATIBLE,
                         "%s was imported under the key %.16s...; a bundle that no trusted key "
                         "signed does not replace it (--allow-unsigned does)",
                         name, known.signer);
    if (known.sequence > statement_of(im)->sequence && !im->options->allow_older)
        return error_set(err, ST_INCOMPATIBLE,
                         "the bundle is older (sequence %llu) than what was imported as %s "
                         "before (%llu): a replay, or a step back (--allow-older)",
                         (unsigned long long)statement_of(im)->sequence, name,
                         (unsigned long long)known.sequence);
    return ST_OK;
}

static enum status check_names(const struct importing *im, struct error *err) {
    if (!im->cache) return ST_OK;
    const struct bundle_statement *s = statement_of(im);
    enum status status = check_name(im, s->name, err);
    for (uint32_t i = 0; i < s->layer_count && status == ST_OK; i++)
        if (s->layers[i].kind == BUNDLE_MODULE) status = check_name(im, s->layers[i].name, err);
    return status;
}

static enum status check_limits(struct importing *im, struct error *err) {
    const struct bundle_statement *s = statement_of(im);
    uint64_t now = im->options->now ? im->options->now : (uint64_t)time(NULL);
    if (s->expires && s->expires < now)
        return error_set(err, ST_INCOMPATIBLE, "the bundle expired %llu seconds ago",
                         (unsigned long long)(now - s->expires));
    uint64_t limit = im->options->max_bytes ? im->options->max_bytes : BUNDLE_MAX_BYTES_DEFAULT;
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (add_overflows(total, s->layers[i].content_size, &total) || total > limit)
            return error_set(err, ST_LIMIT,
                             "the bundle holds more than %llu bytes (uncompressed)",
                             (unsigned long long)limit);
    return ST_OK;
}

/* Which layers are taken at all. */
static void choose_layers(struct importing *im) {
    const struct bundle_statement *s = statement_of(im);
    bool native = im->bundle->signer.trust == BUNDLE_TRUSTED || im->options->allow_unsigned ||
                  im->options->verify_only;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        enum bundle_kind kind = s->layers[i].kind;
        im->layers[i].wanted = !bundle_kind_native(kind) || native;
        if (native) continue;
        im->report.objects_unsigned += kind == BUNDLE_OBJECT;
        im->report.snapshots_unsigned += kind == BUNDLE_SNAPSHOT;
    }
    if (im->report.objects_unsigned == 0) return; /* there is no snapshot without an object */
    char id[DIGEST_HEX_SIZE];
    digest_hex(&im->bundle->signer.key, id);
    if (im->bundle->signer.trust == BUNDLE_UNSIGNED)
        note(im, "native code left out: the bundle is unsigned (--allow-unsigned takes it)");
    else
        note(im,
             "native code left out: the bundle is signed with the key %s, which this node "
             "does not trust",
             id);
}

/* ---- stream ------------------------------------------------------------------------------ */

/* Where a blob's contents go: the store, or in a mere check an object's to a temporary file. */
struct landing {
    struct cache_writer *writer;
    int temporary;
};

static enum status land(void *context, const uint8_t *bytes, size_t size, struct error *err) {
    const struct landing *l = context;
    if (l->writer) return cache_writer_write(l->writer, bytes, size, err);
    return l->temporary >= 0 ? bundle_append(l->temporary, bytes, size, err) : ST_OK;
}

/* Asks about an object whose bytes lie in a file. */
static enum status judge_object(struct importing *im, uint32_t index, int fd,
                                struct error *err) {
    const struct bundle_layer *layer = &statement_of(im)->layers[index];
    struct arriving *a = &im->layers[index];
    void *bytes = NULL;
    if (layer->content_size) {
        bytes = mmap(NULL, layer->content_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY, "cannot map an object");
    }
    struct error reason = {0};
    const struct bundle_callbacks *c = &im->options->callbacks;
    enum status status = c->check_object(c->context, bytes, layer->content_size, &layer->target,
                                         &a->fits, &reason, err);
    if (bytes) munmap(bytes, layer->content_size);
    if (status != ST_OK)
        return error_wrap(err, "layer %u (object for %s)", index, layer->target.target);
    if (!a->fits) {
        note(im, "object for %s left out: %s", layer->target.target, reason.message);
        im->report.objects_unfit++;
    }
    return ST_OK;
}

/* The file that a layer's contents lie in, or -1: with the first layer that has its blob. */
static int landed(const struct importing *im, uint32_t index) {
    const struct bundle_statement *s = statement_of(im);
    for (uint32_t i = 0; i <= index; i++) {
        const struct arriving *a = &im->layers[i];
        if (!digest_equal(&s->layers[i].blob, &s->layers[index].blob)) continue;
        if (a->writer) return cache_writer_fd(a->writer);
        if (a->temporary >= 0) return a->temporary;
    }
    return -1;
}

/* One blob of the tar file, for layer `first` and others with the same contents. */
static enum status take_blob(struct importing *im, uint32_t first, struct archive *archive,
                             struct error *err) {
    const struct bundle_statement *s = statement_of(im);
    const struct bundle_layer *layer = &s->layers[first];
    bool object = false, native = bundle_kind_native(layer->kind);
    for (uint32_t i = first; i < s->layer_count; i++) {
        const struct bundle_layer *other = &s->layers[i];
        if (!im->layers[i].wanted || !digest_equal(&other->blob, &layer->blob)) continue;
        if (!digest_equal(&other->content, &layer->content) || other->kind != layer->kind ||
            other->content_size != layer->content_size)
            return error_set(err, ST_DAMAGED, "layers %u and %u contradict each other", first,
                             i);
        object = object || other->kind == BUNDLE_OBJECT;
    }
    struct oci_expected expected = {.blob = layer->blob,
                                    .content = layer->content,
                                    .blob_size = layer->blob_size,
                                    .content_size = layer->content_size};
    struct arriving *a = &im->layers[first];
    enum status status = ST_OK;
    if (im->cache)
        status = cache_writer_open(im->cache, layer->content_size, &a->writer, err);
    else if (native)
        status = bundle_temporary(&a->temporary, err);
    if (status != ST_OK) return status;
    struct landing landing = {a->writer, a->temporary};
    int bytes_fd = landed(im, first);
    struct oci_sink sink = {land, &landing};
    status = oci_blob_unpack(archive, &expected, &sink, err);
    if (status == ST_OK && a->writer && !native)
        status = cache_writer_judge(a->writer, cache_kinds[layer->kind], err);
    if (status != ST_OK)
        return error_wrap(err, "layer %u (%s)", first, bundle_kind_word(layer->kind));
    bool any_fits = false;
    for (uint32_t i = first; i < s->layer_count; i++) {
        if (!im->layers[i].wanted || !digest_equal(&s->layers[i].blob, &layer->blob)) continue;
        im->layers[i].checked = im->layers[i].fits = true;
        if (object && (status = judge_object(im, i, bytes_fd, err)) != ST_OK) return status;
        any_fits = any_fits || im->layers[i].fits;
    }
    if (!any_fits) cache_writer_abort(steal(a->writer));
    /* The files of a mere check are kept for snapshots alone. */
    if (a->temporary >= 0 && (!any_fits || !im->has_snapshots)) close(steal_fd(&a->temporary));
    return ST_OK;
}

static enum status see_blob(void *context, const struct oci_entry *entry,
                            struct archive *archive, bool *ret_stop, struct error *err) {
    struct importing *im = context;
    const struct bundle_statement *s = statement_of(im);
    *ret_stop = false;
    if (entry->kind != OCI_BLOB) return ST_OK;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        if (!im->layers[i].wanted || !digest_equal(&s->layers[i].blob, &entry->digest))
            continue;
        if (entry->size_bytes != s->layers[i].blob_size)
            return error_set(err, ST_DAMAGED,
                             "layer %u: the tar file holds %llu bytes of it, %llu were signed",
                             i, (unsigned long long)entry->size_bytes,
                             (unsigned long long)s->layers[i].blob_size);
        return take_blob(im, i, archive, err);
    }
    return ST_OK;
}

static enum status stream(struct importing *im, struct error *err) {
    enum status status = oci_tar_read(im->bundle->fd, see_blob, im, err);
    if (status != ST_OK) return status;
    const struct bundle_statement *s = statement_of(im);
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (im->layers[i].wanted && !im->layers[i].checked)
            return error_set(err, ST_DAMAGED, "layer %u (%s) is not in the tar file", i,
                             bundle_kind_word(s->layers[i].kind));
    return ST_OK;
}

/* A snapshot against its object, both of which have come in. */
static enum status judge_snapshot(struct importing *im, uint32_t index, uint32_t object,
                                  struct error *err) {
    const struct bundle_layer *layer = &statement_of(im)->layers[index];
    const struct bundle_layer *of = &statement_of(im)->layers[object];
    struct arriving *a = &im->layers[index];
    struct error reason = {0};
    a->fits = im->layers[object].fits;
    if (!a->fits) {
        error_set(&reason, ST_INCOMPATIBLE, "its object is");
    } else {
        void *bytes =
            mmap(NULL, of->content_size, PROT_READ, MAP_PRIVATE, landed(im, object), 0);
        if (bytes == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY, "cannot map an object");
        const struct bundle_callbacks *c = &im->options->callbacks;
        enum status status =
            c->check_snapshot(c->context, landed(im, index), bytes, of->content_size,
                              &layer->target, &a->fits, &reason, err);
        munmap(bytes, of->content_size);
        if (status != ST_OK)
            return error_wrap(err, "layer %u (snapshot for %s)", index, of->target.target);
    }
    if (a->fits) return ST_OK;
    cache_writer_abort(steal(a->writer));
    note(im, "snapshot for %s left out: %s", of->target.target, reason.message);
    im->report.snapshots_unfit++;
    return ST_OK;
}

static enum status judge_snapshots(struct importing *im, struct error *err) {
    const struct bundle_statement *s = statement_of(im);
    enum status status = ST_OK;
    for (uint32_t i = 0; i < s->layer_count && status == ST_OK; i++) {
        if (s->layers[i].kind != BUNDLE_SNAPSHOT || !im->layers[i].wanted) continue;
        uint32_t object = 0; /* there is one: bundle_statement_parse has looked */
        while (s->layers[object].kind != BUNDLE_OBJECT ||
               !digest_equal(&s->layers[object].content, &s->layers[i].object))
            object++;
        status = judge_snapshot(im, i, object, err);
    }
    return status;
}

/* ---- publish ----------------------------------------------------------------------------- */

static void count_layer(struct importing *im, const struct bundle_layer *layer) {
    im->report.content_bytes += layer->content_size;
    switch (layer->kind) {
    case BUNDLE_MODULE: im->report.modules++; break;
    case BUNDLE_OBJECT: im->report.objects++; break;
    case BUNDLE_IMAGE: im->report.images++; break;
    case BUNDLE_SNAPSHOT: im->report.snapshots++; break;
    case BUNDLE_KIND_COUNT: break;
    }
}

/* Entries; ret_refs gets the digests of all that were taken. */
static enum status publish_layers(struct importing *im, struct digest *ret_refs,
                                  uint32_t *ret_count, struct error *err) {
    const struct bundle_statement *s = statement_of(im);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const struct bundle_layer *layer = &s->layers[i];
        if (!im->layers[i].fits) continue;
        count_layer(im, layer);
        ret_refs[count++] = layer->content;
        if (!im->layers[i].writer) continue; /* the same blob as an earlier layer's */
        struct cache_entry entry = {.kind = cache_kinds[layer->kind], .origin = CACHE_IMPORTED};
        if (layer->kind == BUNDLE_SNAPSHOT) {
            entry.has_module = true;
            entry.module = layer->target.module;
            entry.refs = &layer->object;
            entry.ref_count = 1;
        }
        signer_text(im, entry.signer);
        snprintf(entry.media_type, sizeof entry.media_type, "%s",
                 bundle_media_type(layer->kind));
        enum status status =
            cache_writer_finish(steal(im->layers[i].writer), &entry, &layer->content, NULL,
                                &im->layers[i].entry, err);
        if (status != ST_OK) return error_wrap(err, "layer %u", i);
    }
    *ret_count = count;
    return ST_OK;
}

static enum status set_name(struct importing *im, const char *name, const struct digest *digest,
                            struct error *err) {
    struct cache_name value = {.digest = *digest, .sequence = statement_of(im)->sequence};
    snprintf(value.name, sizeof value.name, "%s", name);
    signer_text(im, value.signer);
    return cache_name_set(im->cache, &value, err);
}

static enum status publish_names(struct importing *im, struct error *err) {
    const struct bundle_statement *s = statement_of(im);
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const struct bundle_layer *layer = &s->layers[i];
        if (layer->kind != BUNDLE_MODULE || strcmp(layer->name, s->name) == 0) continue;
        enum status status = set_name(im, layer->name, &layer->content, err);
        if (status != ST_OK) return status;
    }
    return set_name(im, s->name, &im->report.statement, err);
}

static enum status publish(struct importing *im, struct error *err) {
    /* Of two imports at once the second must see the first one's sequences. */
    struct cache_key key = {digest_of("hutch import", 12)};
    auto_fd int lock = -1;
    enum status status = cache_lock_key(im->cache, &key, NULL, NULL, &lock, err);
    if (status == ST_OK) status = check_names(im, err);
    if (status != ST_OK) return status;
    struct digest refs[BUNDLE_LAYERS_MAX];
    uint32_t count = 0;
    if ((status = publish_layers(im, refs, &count, err)) != ST_OK) return status;
    struct cache_entry entry = {.kind = CACHE_MANIFEST,
                                .origin = CACHE_IMPORTED,
                                .media_type = BUNDLE_MEDIA_STATEMENT,
                                .refs = refs,
                                .ref_count = count};
    signer_text(im, entry.signer);
    const struct buffer *bytes = &im->bundle->statement_bytes;
    status = cache_put(im->cache, bytes->bytes, bytes->size, &entry,
                       &im->bundle->statement_digest, &im->report.statement, NULL, err);
    return status == ST_OK ? publish_names(im, err) : status;
}

enum status bundle_import(struct cache *cache, struct bundle *bundle,
                          const struct bundle_import_options *options,
                          struct bundle_report *ret_report, struct error *err) {
    struct importing *im = calloc(1, sizeof *im);
    if (!im) return error_set(err, ST_NO_MEMORY, "out of memory");
    im->cache = options->verify_only ? NULL : cache;
    im->bundle = bundle;
    im->options = options;
    for (size_t i = 0; i < countof(im->layers); i++)
        im->layers[i].entry = im->layers[i].temporary = -1;
    for (uint32_t i = 0; i < bundle->statement.layer_count; i++)
        im->has_snapshots =
            im->has_snapshots || bundle->statement.layers[i].kind == BUNDLE_SNAPSHOT;
    enum status status = check_limits(im, err);
    if (status == ST_OK) status = check_names(im, err);
    if (status == ST_OK) {
        choose_layers(im);
        status = stream(im, err);
        if (status == ST_OK) status = judge_snapshots(im, err);
    }
    if (status == ST_OK && im->cache) status = publish(im, err);
    for (size_t i = 0; i < countof(im->layers); i++) {
        cache_writer_abort(im->layers[i].writer);
        if (im->layers[i].entry >= 0) close(im->layers[i].entry);
        if (im->layers[i].temporary >= 0) close(im->layers[i].temporary);
    }
    if (status == ST_OK) *ret_report = im->report;
    free(im);
    return status;
}
