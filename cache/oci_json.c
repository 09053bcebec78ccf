/*
 * OCI descriptors, index and manifest to structs and back (image-spec 1.1: descriptor.md,
 * image-index.md, manifest.md). Everything read is an attacker's: types, lengths and counts are
 * checked, numbers are never negative. What is written has one text (sorted keys, no blanks),
 * so that equal bundles are equal bytes.
 */
#include "cache/oci.h"

void oci_digest_text(const struct digest *digest, char ret_text[OCI_DIGEST_SIZE]) {
    memcpy(ret_text, "sha256:", 7);
    digest_hex(digest, ret_text + 7);
}

bool oci_digest_parse(const char *text, struct digest *ret_digest) {
    if (strncmp(text, "sha256:", 7) != 0) return false;
    text += 7;
    struct digest digest = {0};
    for (size_t i = 0; i < 64; i++) {
        const char *digits = "0123456789abcdef";
        const char *found = text[i] ? strchr(digits, text[i]) : NULL;
        if (!found) return false;
        uint8_t *byte = &digest.bytes[i / 2];
        *byte = (uint8_t)(*byte << 4 | (found - digits));
    }
    if (text[64]) return false;
    *ret_digest = digest;
    return true;
}

/* Text from outside, made fit for a message: one line, bounded. */
static const char *shown(const char *text, char ret_text[80]) {
    size_t i = 0;
    for (; text[i] && i < 76; i++) ret_text[i] = text[i];
    snprintf(ret_text + i, 80 - i, "%s", text[i] ? "..." : "");
    for (char *c = ret_text; *c; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
    return ret_text;
}

/* Out of memory, jansson may call a text malformed, or give a value or text that lacks a part:
 * so it is not asked. */
static _Thread_local bool refused_memory;
static void *noting_malloc(size_t size) {
    void *memory = malloc(size);
    if (!memory) refused_memory = true;
    return memory;
}
static void note_memory(void) {
    json_set_alloc_funcs(noting_malloc, free);
    refused_memory = false;
}

enum status oci_json_parse(const void *bytes, size_t size, const char *what,
                           json_t **ret_object, struct error *err) {
    json_error_t problem;
    note_memory();
    json_t *value = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
    if (refused_memory) {
        json_decref(value);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    if (!value) {
        char text[80];
        return error_set(err, ST_MALFORMED, "%s is not JSON: %s", what,
                         shown(problem.text, text));
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return error_set(err, ST_MALFORMED, "%s is not a JSON object", what);
    }
    *ret_object = value;
    return ST_OK;
}

enum status oci_json_print(json_t *value, struct buffer *b, struct error *err) {
    note_memory();
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(value);
    if (!text || refused_memory) {
        free(text);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    buffer_put(b, text, strlen(text));
    free(text);
    return buffer_status(b, err);
}

bool oci_json_string(const json_t *object, const char *key, char *ret_text, size_t size) {
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    if (!text || length >= size || strlen(text) != length) return false;
    for (const char *c = text; *c; c++)
        if (*c < 0x20 || *c > 0x7e) return false; /* may be shown to anyone */
    memcpy(ret_text, text, length + 1);
    return true;
}

bool oci_json_digest(const json_t *object, const char *key, struct digest *ret_digest) {
    char text[OCI_DIGEST_SIZE];
    return oci_json_string(object, key, text, sizeof text) &&
           oci_digest_parse(text, ret_digest);
}

bool oci_json_number(const json_t *object, const char *key, uint64_t *ret_number) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *ret_number = (uint64_t)json_integer_value(value);
    return true;
}

json_t *oci_descriptor_json(const char *media_type, const struct digest *digest,
                            uint64_t size_bytes, json_t *annotations) {
    char text[OCI_DIGEST_SIZE];
    oci_digest_text(digest, text);
    json_t *value = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", text,
                              "size", (json_int_t)size_bytes);
    if (annotations && (!value || json_object_set(value, "annotations", annotations) != 0)) {
        json_decref(value);
        value = NULL;
    }
    json_decref(annotations);
    return value;
}

static bool read_descriptor(const json_t *value, struct oci_descriptor *ret_descriptor) {
    return json_is_object(value) &&
           oci_json_string(value, "mediaType", ret_descriptor->media_type,
                           sizeof ret_descriptor->media_type) &&
           oci_json_digest(value, "digest", &ret_descriptor->digest) &&
           oci_json_number(value, "size", &ret_descriptor->size_bytes);
}

static bool is_schema_2(const json_t *value) {
    uint64_t version = 0;
    return oci_json_number(value, "schemaVersion", &version) && version == 2;
}

enum status oci_index_parse(const struct buffer *b, struct oci_descriptor *ret_manifest,
                            struct error *err) {
    json_t *index = NULL;
    enum status status = oci_json_parse(b->bytes, b->size, "index.json", &index, err);
    if (status != ST_OK) return status;
    const json_t *list = json_object_get(index, "manifests");
    if (!is_schema_2(index) || !json_is_array(list))
        status = error_set(err, ST_MALFORMED, "index.json is no OCI image index");
    else if (json_array_size(list) != 1)
        status = error_set(err, ST_UNSUPPORTED,
                           "index.json lists %zu images, a bundle is exactly one",
                           json_array_size(list));
    else if (!read_descriptor(json_array_get(list, 0), ret_manifest))
        status = error_set(err, ST_MALFORMED, "index.json has a damaged descriptor");
    else if (strcmp(ret_manifest->media_type, OCI_MEDIA_MANIFEST) != 0)
        status = error_set(err, ST_UNSUPPORTED, "index.json lists a %s, not an image manifest",
                           ret_manifest->media_type);
    json_decref(index);
    return status;
}

static enum status read_manifest(const json_t *value, struct oci_manifest *m,
                                 struct error *err) {
    char media_type[128];
    const json_t *list = json_object_get(value, "layers");
    if (!is_schema_2(value) || !json_is_array(list) ||
        (json_object_get(value, "mediaType") &&
         (!oci_json_string(value, "mediaType", media_type, sizeof media_type) ||
          strcmp(media_type, OCI_MEDIA_MANIFEST) != 0)))
        return error_set(err, ST_MALFORMED, "the manifest is no OCI image manifest");
    if (!read_descriptor(json_object_get(value, "config"), &m->config))
        return error_set(err, ST_MALFORMED, "the manifest's config has a damaged descriptor");
    size_t count = json_array_size(list);
    if (count > OCI_LAYERS_MAX)
        return error_set(err, ST_LIMIT, "the manifest has %zu layers, more than %u", count,
                         OCI_LAYERS_MAX);
    m->layers = calloc(count ? count : 1, sizeof *m->layers);
    if (!m->layers) return error_set(err, ST_NO_MEMORY, "out of memory");
    m->layer_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        if (!read_descriptor(json_array_get(list, i), &m->layers[i]))
            return error_set(err, ST_MALFORMED, "layer %zu has a damaged descriptor", i);
    return ST_OK;
}

enum status oci_manifest_parse(const struct buffer *b, struct oci_manifest *ret_manifest,
                               struct error *err) {
    json_t *value = NULL;
    enum status status = oci_json_parse(b->bytes, b->size, "the manifest", &value, err);
    if (status != ST_OK) return status;
    struct oci_manifest manifest = {0};
    status = read_manifest(value, &manifest, err);
    json_decref(value);
    if (status == ST_OK)
        *ret_manifest = manifest;
    else
        oci_manifest_finish(&manifest);
    return status;
}

void oci_manifest_finish(struct oci_manifest *manifest) {
    free(manifest->layers);
    *manifest = (struct oci_manifest){0};
}
