/*
 * Layers to an OCI image layout in one tar file. Everything in it follows from the statement,
 * the compression level and the key: no clock, no names of this machine, sorted entries.
 *
 * Every layer is zstd-compressed, the signature too: stock tools compress layers that are not
 * as they push them, and would have to write another manifest then.
 */
#include "cache/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The blobs of a layout being made. */
struct making {
    struct buffer packed[BUNDLE_LAYERS_MAX + 4]; /* owned */
    struct oci_blob blobs[BUNDLE_LAYERS_MAX + 4];
    size_t count;
};

static const struct oci_blob *add_blob(struct making *m) {
    struct buffer *b = &m->packed[m->count];
    struct oci_blob *blob = &m->blobs[m->count++];
    *blob = (struct oci_blob){digest_of(b->bytes, b->size), b->bytes, b->size};
    return blob;
}

static enum status pack_layers(struct making *m, struct bundle_statement *s, int level,
                               struct error *err) {
    for (uint32_t i = 0; i < s->layer_count; i++) {
        struct bundle_layer *layer = &s->layers[i];
        layer->content = digest_of(layer->bytes, layer->content_size);
        enum status status =
            oci_blob_pack(layer->bytes, layer->content_size, level, &m->packed[m->count], err);
        if (status != ST_OK) return status;
        const struct oci_blob *blob = add_blob(m);
        layer->blob = blob->digest;
        layer->blob_size = blob->size;
    }
    return ST_OK;
}

/* For people and their tools; the statement is what counts. */
static json_t *layer_annotations(const struct bundle_layer *layer) {
    char content[OCI_DIGEST_SIZE], module[OCI_DIGEST_SIZE], compiler[OCI_DIGEST_SIZE];
    char key_text[OCI_DIGEST_SIZE], size[24], title[CACHE_NAME_MAX + 48];
    oci_digest_text(&layer->content, content);
    snprintf(size, sizeof size, "%llu", (unsigned long long)layer->content_size);
    const struct bundle_target *t = &layer->target;
    if (layer->kind == BUNDLE_SNAPSHOT) {
        oci_digest_text(&layer->object, key_text);
        snprintf(title, sizeof title, "%.12s.snap.zst", key_text + 7);
        return json_pack("{s:s, s:s, s:s, s:s}", "vnd.hutch.content.digest", content,
                         "vnd.hutch.content.size", size, "vnd.hutch.object.digest", key_text,
                         "org.opencontainers.image.title", title);
    }
    if (layer->kind != BUNDLE_OBJECT) {
        const char *suffix = layer->kind == BUNDLE_MODULE ? "wasm" : "erofs";
        snprintf(title, sizeof title, "%s.%s.zst", layer->name, suffix);
        for (char *c = title; *c; c++)
            if (*c == '/' || *c == ':') *c = '-'; /* some tools make a file of it */
        return json_pack("{s:s, s:s, s:s, s:s}", "vnd.hutch.content.digest", content,
                         "vnd.hutch.content.size", size, "vnd.hutch.name", layer->name,
                         "org.opencontainers.image.title", title);
    }
    struct cache_key key = cache_key_of(&t->module, &t->compiler);
    oci_digest_text(&t->module, module);
    oci_digest_text(&t->compiler, compiler);
    oci_digest_text(&key.digest, key_text);
    snprintf(title, sizeof title, "%.12s.%s.hutch.zst", module + 7, t->target);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
                     "vnd.hutch.content.digest", content, "vnd.hutch.content.size", size,
                     "vnd.hutch.module.digest", module, "vnd.hutch.compiler.fingerprint",
                     compiler, "vnd.hutch.abi.fingerprint", t->abi, "vnd.hutch.cache.key",
                     key_text, "vnd.hutch.target", t->target, "vnd.hutch.cpu.features",
                     t->cpu_features, "vnd.hutch.opt.level", t->opt_level, "vnd.hutch.arch",
                     t->arch, "org.opencontainers.image.title", title);
}

static json_t *manifest_annotations(const struct bundle_statement *s) {
    char when[32] = "", sequence[24];
    time_t seconds = (time_t)s->sequence;
    struct tm tm;
    if (gmtime_r(&seconds, &tm)) strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(sequence, sizeof sequence, "%llu", (unsigned long long)s->sequence);
    return json_pack("{s:s, s:s, s:s}", "org.opencontainers.image.created", when,
                     "org.opencontainers.image.title", s->name, "vnd.hutch.sequence", sequence);
}

static enum status print_manifest(const struct bundle_statement *s,
                                  const struct oci_blob *statement,
                                  const struct oci_blob *signature, struct buffer *b,
                                  struct error *err) {
    json_t *layers = json_array();
    int failed = layers == NULL;
    for (uint32_t i = 0; i < s->layer_count && !failed; i++) {
        const struct bundle_layer *layer = &s->layers[i];
        failed = json_array_append_new(
            layers, oci_descriptor_json(bundle_media_type(layer->kind), &layer->blob,
                                        layer->blob_size, layer_annotations(layer)));
    }
    if (!failed && signature)
        failed = json_array_append_new(layers, oci_descriptor_json(BUNDLE_MEDIA_SIGNATURE,
                                                                   &signature->digest,
                                                                   signature->size, NULL));
    if (failed) {
        json_decref(layers);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    json_t *value = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:o}", "schemaVersion", 2, "mediaType", OCI_MEDIA_MANIFEST,
        "artifactType", BUNDLE_ARTIFACT, "config",
        oci_descriptor_json(BUNDLE_MEDIA_STATEMENT, &statement->digest, statement->size, NULL),
        "layers", layers, "annotations", manifest_annotations(s));
    return oci_json_print(value, b, err);
}

static enum status print_index(const struct oci_blob *manifest, const char *name,
                               struct buffer *b, struct error *err) {
    json_t *annotations = json_pack("{s:s}", "org.opencontainers.image.ref.name", name);
    json_t *descriptor =
        oci_descriptor_json(OCI_MEDIA_MANIFEST, &manifest->digest, manifest->size, annotations);
    json_t *value = json_pack("{s:i, s:s, s:[o]}", "schemaVersion", 2, "mediaType",
                              OCI_MEDIA_INDEX, "manifests", descriptor);
    return oci_json_print(value, b, err);
}

/* Temporary name in the same directory, write, fsync, rename, fsync the directory. */
static enum status publish(const struct making *m, const struct buffer *index, const char *path,
                           struct error *err) {
    const char *slash = strrchr(path, '/');
    auto_free char *parent =
        slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!parent) return error_set(err, ST_NO_MEMORY, "out of memory");
    auto_fd int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".hutch-bundle-%ld.tmp", (long)getpid());
    auto_fd int fd =
        openat(dir, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    enum status status = oci_tar_write(fd, index, m->blobs, m->count, err);
    if (status == ST_OK &&
        (fsync(fd) < 0 || renameat(dir, temporary, dir, slash ? slash + 1 : path) < 0))
        status = error_set_errno(err, ST_IO, "cannot write %s", path);
    if (status != ST_OK) {
        unlinkat(dir, temporary, 0);
        return status;
    }
    if (fsync(dir) < 0) return error_set_errno(err, ST_IO, "cannot write %s", path);
    return ST_OK;
}

static enum status make(struct making *m, struct bundle_statement *s,
                        const struct sign_secret *secret, int level, const char *path,
                        struct error *err) {
    enum status status = pack_layers(m, s, level, err);
    if (status != ST_OK) return status;
    if ((status = bundle_statement_print(s, &m->packed[m->count], err)) != ST_OK) return status;
    /* What a reader would refuse is not written. */
    struct bundle_statement again = {0};
    const struct buffer *text = &m->packed[m->count];
    if ((status = bundle_statement_parse(text->bytes, text->size, &again, err)) != ST_OK)
        return status;
    bundle_statement_finish(&again);
    const struct oci_blob *statement = add_blob(m), *signature = NULL;
    if (secret) {
        auto_buffer struct buffer plain = {0};
        status = bundle_signature_print(&statement->digest, secret, &plain, err);
        if (status == ST_OK)
            status = oci_blob_pack(plain.bytes, plain.size, level, &m->packed[m->count], err);
        if (status != ST_OK) return status;
        signature = add_blob(m);
    }
    status = print_manifest(s, statement, signature, &m->packed[m->count], err);
    if (status != ST_OK) return status;
    const struct oci_blob *manifest = add_blob(m);
    auto_buffer struct buffer index = {0};
    if ((status = print_index(manifest, s->name, &index, err)) != ST_OK) return status;
    return publish(m, &index, path, err);
}

enum status bundle_write(struct bundle_statement *statement, const struct sign_secret *secret,
                         int level, const char *path, struct error *err) {
    if (statement->layer_count > BUNDLE_LAYERS_MAX)
        return error_set(err, ST_LIMIT, "%u layers are more than %u", statement->layer_count,
                         BUNDLE_LAYERS_MAX);
    struct making *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = make(m, statement, secret, level, path, err);
    for (size_t i = 0; i < countof(m->packed); i++) buffer_finish(&m->packed[i]);
    free(m);
    return status;
}
