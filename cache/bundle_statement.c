/*
 * The statement of a bundle <-> JSON: what is signed, the OCI config blob of the manifest. It
 * names every layer by two digests and sizes (compressed, uncompressed) and says what it is; an
 * importer believes nothing else about a bundle.
 *
 * Reading: every member is bounded, and required but for expires, args, env, app and unknown
 * ones, which a later version may add where an older reader can do without them; a version that
 * must be understood is a new number. Text is printable ASCII. Modules come with their names,
 * images with the path where the app sees them, every object belongs to one of the modules,
 * every snapshot to one of the objects, and no two modules or images have one name.
 */
#include "cache/bundle.h"

static const struct {
    const char *word, *media_type;
} kinds[] = {
#define KIND(id, word, media_type) [BUNDLE_##id] = {word, media_type},
    BUNDLE_KINDS(KIND)
#undef KIND
};

const char *bundle_kind_word(enum bundle_kind kind) {
    return (size_t)kind < countof(kinds) ? kinds[kind].word : "?";
}

const char *bundle_media_type(enum bundle_kind kind) {
    return (size_t)kind < countof(kinds) ? kinds[kind].media_type : "?";
}

/* ---- words ------------------------------------------------------------------------------- */

enum status bundle_words_add(struct bundle_words *words, const char *word, struct error *err) {
    if (words->count == BUNDLE_WORDS_MAX)
        return error_set(err, ST_LIMIT, "more than %u arguments or variables",
                         BUNDLE_WORDS_MAX);
    if (strlen(word) >= BUNDLE_WORD_SIZE)
        return error_set(err, ST_LIMIT, "an argument or variable of more than %u bytes",
                         BUNDLE_WORD_SIZE - 1);
    bool plain = utf8_valid((const uint8_t *)word, strlen(word));
    for (const uint8_t *c = (const uint8_t *)word; *c && plain; c++)
        plain = *c >= 0x20 && *c != 0x7f && !(c[0] == 0xc2 && c[1] < 0xa0); /* U+0080 on */
    if (!plain)
        return error_set(
            err, ST_UNSUPPORTED,
            "an argument or variable that is not UTF-8 without control characters");
    char **grown = realloc(words->words, (words->count + 1) * sizeof *grown);
    if (!grown) return error_set(err, ST_NO_MEMORY, "out of memory");
    words->words = grown;
    if (!(grown[words->count] = strdup(word)))
        return error_set(err, ST_NO_MEMORY, "out of memory");
    words->count++;
    return ST_OK;
}

static void finish_words(struct bundle_words *words) {
    for (uint32_t i = 0; i < words->count; i++) free(words->words[i]);
    free(words->words);
}

static int set_words(json_t *value, const char *key, const struct bundle_words *words) {
    if (words->count == 0) return 0;
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < words->count; i++)
        if (json_array_append_new(list, json_string(words->words[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return json_object_set_new(value, key, list);
}

static enum status read_words(const json_t *value, const char *key, bool variables,
                              struct bundle_words *words, struct error *err) {
    const json_t *list = json_object_get(value, key);
    if (!list) return ST_OK;
    if (!json_is_array(list))
        return error_set(err, ST_MALFORMED, "the statement's %s is no list", key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *word = json_array_get(list, i);
        const char *text = json_string_value(word);
        if (!text || strlen(text) != json_string_length(word) ||
            (variables && (text[0] == '=' || !strchr(text, '='))))
            return error_set(err, ST_MALFORMED, "the statement's %s: item %zu is damaged", key,
                             i);
        enum status status = bundle_words_add(words, text, err);
        if (status != ST_OK) return error_wrap(err, "the statement's %s", key);
    }
    return ST_OK;
}

/* ---- writing ----------------------------------------------------------------------------- */

static int set_target(json_t *value, const struct bundle_target *t) {
    char module[OCI_DIGEST_SIZE], compiler[OCI_DIGEST_SIZE];
    oci_digest_text(&t->module, module);
    oci_digest_text(&t->compiler, compiler);
    json_t *more =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "module", module, "compiler",
                  compiler, "target", t->target, "arch", t->arch, "placement", t->placement,
                  "abi", t->abi, "cpuFeatures", t->cpu_features, "optLevel", t->opt_level);
    int result = more ? json_object_update(value, more) : -1;
    json_decref(more);
    return result;
}

static int set_frozen(json_t *value, const struct bundle_layer *layer) {
    char module[OCI_DIGEST_SIZE], object[OCI_DIGEST_SIZE];
    oci_digest_text(&layer->target.module, module);
    oci_digest_text(&layer->object, object);
    json_t *more = json_pack("{s:s, s:s, s:s}", "module", module, "object", object, "abi",
                             layer->target.abi);
    int result = more ? json_object_update(value, more) : -1;
    json_decref(more);
    return result;
}

static json_t *layer_json(const struct bundle_layer *layer) {
    char blob[OCI_DIGEST_SIZE], content[OCI_DIGEST_SIZE];
    oci_digest_text(&layer->blob, blob);
    oci_digest_text(&layer->content, content);
    json_t *value =
        json_pack("{s:s, s:s, s:I, s:s, s:I}", "kind", bundle_kind_word(layer->kind), "blob",
                  blob, "blobSize", (json_int_t)layer->blob_size, "content", content,
                  "contentSize", (json_int_t)layer->content_size);
    int failed = value == NULL;
    if (!failed && layer->kind == BUNDLE_OBJECT)
        failed = set_target(value, &layer->target);
    else if (!failed && layer->kind == BUNDLE_SNAPSHOT)
        failed = set_frozen(value, layer);
    else if (!failed)
        failed = json_object_set_new(value, "name", json_string(layer->name));
    if (!failed) return value;
    json_decref(value);
    return NULL;
}

enum status bundle_statement_print(const struct bundle_statement *statement, struct buffer *b,
                                   struct error *err) {
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < statement->layer_count; i++)
        if (json_array_append_new(list, layer_json(&statement->layers[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    json_t *value = json_pack("{s:I, s:s, s:s, s:I, s:s, s:s, s:o}", "hutchBundle",
                              (json_int_t)BUNDLE_VERSION, "name", statement->name, "creator",
                              statement->creator, "sequence", (json_int_t)statement->sequence,
                              "architecture", "wasm", "os", "wasi", "layers", list);
    json_t *app = NULL;
    if (value && statement->app) {
        enum status status = oci_json_parse(statement->app, strlen(statement->app),
                                            "the app's description", &app, err);
        if (status != ST_OK) {
            json_decref(value);
            return status;
        }
    }
    if (value && ((statement->expires &&
                   json_object_set_new(value, "expires",
                                       json_integer((json_int_t)statement->expires)) != 0) ||
                  set_words(value, "args", &statement->args) != 0 ||
                  set_words(value, "env", &statement->env) != 0 ||
                  (app && json_object_set(value, "app", app) != 0))) {
        json_decref(value);
        value = NULL;
    }
    json_decref(app);
    return oci_json_print(value, b, err);
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool read_target(const json_t *value, struct bundle_target *t) {
    return oci_json_digest(value, "module", &t->module) &&
           oci_json_digest(value, "compiler", &t->compiler) &&
           oci_json_string(value, "target", t->target, sizeof t->target) &&
           oci_json_string(value, "arch", t->arch, sizeof t->arch) &&
           oci_json_string(value, "placement", t->placement, sizeof t->placement) &&
           oci_json_string(value, "abi", t->abi, sizeof t->abi) &&
           oci_json_string(value, "cpuFeatures", t->cpu_features, sizeof t->cpu_features) &&
           oci_json_string(value, "optLevel", t->opt_level, sizeof t->opt_level);
}

static bool read_frozen(const json_t *value, struct bundle_layer *layer) {
    return oci_json_digest(value, "module", &layer->target.module) &&
           oci_json_digest(value, "object", &layer->object) &&
           oci_json_string(value, "abi", layer->target.abi, sizeof layer->target.abi);
}

/* A name that is complete, as cache_name_parse would give it back. */
static bool is_name(const char *text) {
    char name[CACHE_NAME_MAX];
    bool is_digest = false;
    struct digest unused;
    struct error ignored = {0};
    return cache_name_parse(text, name, &is_digest, &unused, &ignored) == ST_OK && !is_digest &&
           strcmp(name, text) == 0;
}

static enum status read_layer(const json_t *value, size_t index, struct bundle_layer *layer,
                              struct error *err) {
    char word[16];
    if (!oci_json_string(value, "kind", word, sizeof word) ||
        !oci_json_digest(value, "blob", &layer->blob) ||
        !oci_json_digest(value, "content", &layer->content) ||
        !oci_json_number(value, "blobSize", &layer->blob_size) ||
        !oci_json_number(value, "contentSize", &layer->content_size))
        return error_set(err, ST_MALFORMED, "the statement's layer %zu is damaged", index);
    size_t kind = 0;
    while (kind < countof(kinds) && strcmp(kinds[kind].word, word) != 0) kind++;
    if (kind == countof(kinds))
        return error_set(err, ST_UNSUPPORTED, "layer %zu is of the unknown kind '%s'", index,
                         word);
    layer->kind = (enum bundle_kind)kind;
    bool good = layer->kind == BUNDLE_OBJECT ? read_target(value, &layer->target)
                : layer->kind == BUNDLE_SNAPSHOT
                    ? read_frozen(value, layer)
                    : oci_json_string(value, "name", layer->name, sizeof layer->name);
    if (!good || (layer->kind == BUNDLE_MODULE && !is_name(layer->name)) ||
        (layer->kind == BUNDLE_IMAGE && !layer->name[0]))
        return error_set(err, ST_MALFORMED, "the statement's layer %zu (%s) is damaged", index,
                         word);
    return ST_OK;
}

/* Whether a snapshot, as the statement has it, belongs to this layer. */
static bool is_object_of(const struct bundle_layer *layer,
                         const struct bundle_layer *snapshot) {
    return layer->kind == BUNDLE_OBJECT && digest_equal(&layer->content, &snapshot->object) &&
           digest_equal(&layer->target.module, &snapshot->target.module) &&
           strcmp(layer->target.abi, snapshot->target.abi) == 0;
}

/* What holds between layers. */
static enum status check_layers(const struct bundle_statement *s, struct error *err) {
    bool any_module = false;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const struct bundle_layer *a = &s->layers[i];
        any_module = any_module || a->kind == BUNDLE_MODULE;
        bool at_home = !bundle_kind_native(a->kind);
        for (uint32_t k = 0; k < s->layer_count; k++) {
            const struct bundle_layer *b = &s->layers[k];
            if (a->kind == BUNDLE_SNAPSHOT)
                at_home = at_home || is_object_of(b, a);
            else if (b->kind == BUNDLE_MODULE && digest_equal(&b->content, &a->target.module))
                at_home = true;
            if (k < i && a->kind == b->kind && !bundle_kind_native(a->kind) &&
                strcmp(a->name, b->name) == 0)
                return error_set(err, ST_MALFORMED, "two layers have the name %s", a->name);
            if (k < i && a->kind == BUNDLE_SNAPSHOT && b->kind == BUNDLE_SNAPSHOT &&
                digest_equal(&a->content, &b->content))
                return error_set(err, ST_MALFORMED, "two layers are one snapshot");
        }
        if (!at_home)
            return error_set(err, ST_MALFORMED, "layer %u is %s that is not in the bundle", i,
                             a->kind == BUNDLE_OBJECT ? "an object of a module"
                                                      : "a snapshot of an object");
    }
    return any_module ? ST_OK : error_set(err, ST_MALFORMED, "the bundle holds no module");
}

static enum status read_statement(const json_t *value, struct bundle_statement *s,
                                  struct error *err) {
    uint64_t version = 0;
    if (!oci_json_number(value, "hutchBundle", &version))
        return error_set(err, ST_MALFORMED, "the statement is not a bundle's");
    if (version != BUNDLE_VERSION)
        return error_set(err, ST_UNSUPPORTED,
                         "bundle version %llu, this program reads version %u",
                         (unsigned long long)version, BUNDLE_VERSION);
    const json_t *list = json_object_get(value, "layers");
    if (!oci_json_string(value, "name", s->name, sizeof s->name) || !is_name(s->name) ||
        !oci_json_string(value, "creator", s->creator, sizeof s->creator) ||
        !oci_json_number(value, "sequence", &s->sequence) ||
        (json_object_get(value, "expires") &&
         !oci_json_number(value, "expires", &s->expires)) ||
        !json_is_array(list))
        return error_set(err, ST_MALFORMED, "the statement is damaged");
    enum status words = read_words(value, "args", false, &s->args, err);
    if (words == ST_OK) words = read_words(value, "env", true, &s->env, err);
    if (words != ST_OK) return words;
    json_t *app = json_object_get(value, "app");
    if (app && !json_is_object(app))
        return error_set(err, ST_MALFORMED, "the statement's app is damaged");
    auto_buffer struct buffer text = {0};
    if (app && (words = oci_json_print(json_incref(app), &text, err)) != ST_OK) return words;
    if (app && !(s->app = strndup((char *)text.bytes, text.size)))
        return error_set(err, ST_NO_MEMORY, "out of memory");
    size_t count = json_array_size(list);
    if (count > BUNDLE_LAYERS_MAX)
        return error_set(err, ST_LIMIT, "%zu layers are more than %u", count,
                         BUNDLE_LAYERS_MAX);
    s->layers = calloc(count ? count : 1, sizeof *s->layers);
    if (!s->layers) return error_set(err, ST_NO_MEMORY, "out of memory");
    s->layer_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        enum status status = read_layer(json_array_get(list, i), i, &s->layers[i], err);
        if (status != ST_OK) return status;
    }
    return check_layers(s, err);
}

enum status bundle_statement_parse(const void *bytes, size_t size_bytes,
                                   struct bundle_statement *ret_statement, struct error *err) {
    json_t *value = NULL;
    enum status status = oci_json_parse(bytes, size_bytes, "the statement", &value, err);
    if (status != ST_OK) return status;
    struct bundle_statement statement = {0};
    status = read_statement(value, &statement, err);
    json_decref(value);
    if (status == ST_OK)
        *ret_statement = statement;
    else
        bundle_statement_finish(&statement);
    return status;
}

void bundle_statement_finish(struct bundle_statement *statement) {
    finish_words(&statement->args);
    finish_words(&statement->env);
    free(statement->app);
    free(statement->layers);
    *statement = (struct bundle_statement){0};
}
