/*
 * hutch inspect of a bundle: name, sequence, who signed, every layer with its sizes and, for an
 * object, whether this node can run it. All digests are checked, as import does, and nothing is
 * changed.
 */
#include "tools/bundle_parts.h"

#include <fcntl.h>
#include <time.h>

/* Notes of a check are lines of the answer here. */
static void keep_note(void *context, const char *text) {
    json_t *notes = context;
    json_array_append_new(notes, json_string(text));
}

static json_t *layer_value(const struct bundle_layer *layer) {
    char blob[DIGEST_HEX_SIZE], content[DIGEST_HEX_SIZE], module[DIGEST_HEX_SIZE];
    char compiler[DIGEST_HEX_SIZE];
    digest_hex(&layer->blob, blob);
    digest_hex(&layer->content, content);
    json_t *v = json_pack("{s:s, s:s, s:I, s:s, s:I}", "kind", bundle_kind_word(layer->kind),
                          "blob", blob, "blob_bytes", (json_int_t)layer->blob_size, "sha256",
                          content, "size_bytes", (json_int_t)layer->content_size);
    if (!v) return NULL;
    digest_hex(&layer->target.module, module);
    if (layer->kind == BUNDLE_SNAPSHOT) {
        char object[DIGEST_HEX_SIZE];
        digest_hex(&layer->object, object);
        json_object_update_new(v, json_pack("{s:s, s:s, s:s}", "module", module, "object",
                                            object, "abi", layer->target.abi));
        return v;
    }
    if (layer->kind != BUNDLE_OBJECT) {
        json_object_set_new(v, "name", json_string(layer->name));
        return v;
    }
    const struct bundle_target *t = &layer->target;
    digest_hex(&t->compiler, compiler);
    json_object_update_new(v, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "module",
                                        module, "compiler", compiler, "target", t->target,
                                        "arch", t->arch, "placement", t->placement, "abi",
                                        t->abi, "cpu_features", t->cpu_features, "opt_level",
                                        t->opt_level));
    return v;
}

static json_t *word_list(const struct bundle_words *words) {
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < words->count; i++)
        json_array_append_new(list, json_string(words->words[i]));
    return list;
}

static json_t *describe(const struct bundle *bundle, json_t *notes) {
    const struct bundle_statement *s = bundle_statement_of(bundle);
    const struct bundle_signer *signer = bundle_signer_of(bundle);
    static const char *const words[] = {[BUNDLE_UNSIGNED] = "none",
                                        [BUNDLE_UNKNOWN_KEY] = "by a key not trusted here",
                                        [BUNDLE_TRUSTED] = "trusted"};
    struct digest manifest = bundle_digest(bundle);
    char digest[DIGEST_HEX_SIZE], key[DIGEST_HEX_SIZE] = "";
    digest_hex(&manifest, digest);
    if (signer->trust != BUNDLE_UNSIGNED) digest_hex(&signer->key, key);
    json_t *layers = json_array();
    for (uint32_t i = 0; layers && i < s->layer_count; i++)
        json_array_append_new(layers, layer_value(&s->layers[i]));
    json_t *value = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:o, s:o, s:o, s:O}", "kind", "bundle",
        "name", s->name, "creator", s->creator, "manifest", digest, "sequence",
        (json_int_t)s->sequence, "expires", (json_int_t)s->expires, "signature",
        words[signer->trust], "key", key, "signer", signer->name, "args", word_list(&s->args),
        "env", word_list(&s->env), "layers", layers, "notes", notes);
    if (value && s->app)
        json_object_set_new(value, "app", json_loads(s->app, JSON_REJECT_DUPLICATES, NULL));
    return value;
}

static void print_time(const char *label, uint64_t seconds) {
    time_t t = (time_t)seconds;
    struct tm tm;
    char when[40] = "?";
    if (gmtime_r(&t, &tm)) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    printf("%-11s %llu (%s)\n", label, (unsigned long long)seconds, when);
}

static const char *target_of(const struct bundle_statement *s,
                             const struct bundle_layer *snapshot) {
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (s->layers[i].kind == BUNDLE_OBJECT &&
            digest_equal(&s->layers[i].content, &snapshot->object))
            return s->layers[i].target.target;
    return "?";
}

static void print_text(const char *path, const struct bundle *bundle, const json_t *notes) {
    const struct bundle_statement *s = bundle_statement_of(bundle);
    const struct bundle_signer *signer = bundle_signer_of(bundle);
    struct digest manifest = bundle_digest(bundle);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&manifest, hex);
    printf("%s: bundle of %s, made by %s\n", path, s->name, s->creator);
    printf("manifest    sha256:%s\n", hex);
    print_time("sequence", s->sequence);
    if (s->expires) print_time("expires", s->expires);
    digest_hex(&signer->key, hex);
    if (signer->trust == BUNDLE_UNSIGNED)
        printf("signature   none\n");
    else
        printf("signature   by %s %s\n", hex,
               signer->name[0] ? signer->name : "(not trusted here)");
    for (uint32_t i = 0; i < s->args.count; i++)
        printf("%-11s %s\n", i ? "" : "arguments", s->args.words[i]);
    for (uint32_t i = 0; i < s->env.count; i++)
        printf("%-11s %s\n", i ? "" : "variables", s->env.words[i]);
    if (s->app) printf("app         can be served (--json shows how)\n");
    printf("\n%-8s %12s %12s  %s\n", "layer", "bytes", "in bundle", "what");
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const struct bundle_layer *l = &s->layers[i];
        digest_hex(&l->target.module, hex);
        printf("%-8s %12llu %12llu  ", bundle_kind_word(l->kind),
               (unsigned long long)l->content_size, (unsigned long long)l->blob_size);
        if (l->kind == BUNDLE_OBJECT)
            printf("%s -O%s of module %.12s\n", l->target.target, l->target.opt_level, hex);
        else if (l->kind == BUNDLE_SNAPSHOT)
            printf("with the object for %s\n", target_of(s, l));
        else
            printf("%s\n", l->name);
    }
    for (size_t i = 0; i < json_array_size(notes); i++)
        printf("note: %s\n", json_string_value(json_array_get(notes, i)));
}

static enum status show(const char *path, struct bundle *bundle, bool json, struct error *err) {
    json_t *notes = json_array();
    if (!notes) return error_set(err, ST_NO_MEMORY, "out of memory");
    struct bundle_import_options options = {
        .callbacks = {.check_object = bundle_object_check,
                      .check_snapshot = bundle_snapshot_check,
                      .note = keep_note,
                      .context = notes},
        .verify_only = true,
        .now = 1, /* an expired one is shown too */
    };
    struct bundle_report report;
    struct error problem = {0};
    enum status status = bundle_import(NULL, bundle, &options, &report, &problem);
    if (status == ST_OK) status = bundle_check_app(bundle_statement_of(bundle), &problem);
    if (json) {
        json_t *value = describe(bundle, notes);
        if (value) {
            json_object_set_new(value, "file", json_string(path));
            json_object_set_new(value, "sound", json_boolean(status == ST_OK));
            json_dumpf(value, stdout, JSON_INDENT(2));
            putchar('\n');
        }
        json_decref(value);
    } else {
        print_text(path, bundle, notes);
    }
    json_decref(notes);
    if (status != ST_OK) *err = problem;
    return status;
}

static enum status inspect_bundle(const char *path, const char *trust_directory, bool json,
                                  struct error *err) {
    struct trust_places places;
    struct trust trust = {0};
    enum status status = trust_places_find(trust_directory, &places, err);
    if (status == ST_OK) status = trust_places_load(&places, &trust, err);
    struct bundle *bundle = NULL;
    auto_fd int fd = -1;
    if (status == ST_OK && (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        status = error_set_errno(err, ST_IO, "cannot open");
    if (status == ST_OK) status = bundle_open(fd, &trust, &bundle, err);
    if (status == ST_OK) status = show(path, bundle, json, err);
    bundle_close(bundle);
    trust_finish(&trust);
    return status;
}

int cmd_inspect_bundle(int argc, char **argv) {
    const char *trust_directory = NULL, *path = NULL;
    bool json = false, functions = false;
    const struct argument table[] = {
        {.name = "json", .flag = &json},
        {.name = "functions", .flag = &functions}, /* of objects */
        {.name = "trust-dir", .value = &trust_directory},
    };
    struct error err = {0};
    auto_free const char **files = calloc((size_t)argc + 1, sizeof *files);
    uint32_t count = 0;
    enum status status =
        files ? arguments_parse(argc, argv, table, countof(table), files, &count, &err)
              : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK && count != 1) status = error_set(&err, ST_USAGE, "one file at a time");
    if (status == ST_OK) status = inspect_bundle(path = files[0], trust_directory, json, &err);
    return status == ST_OK ? EXIT_DONE : cli_report("inspect", path, &err);
}
