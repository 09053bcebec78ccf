/*
 * hutch import: a bundle into the store, from a file or standard input. Prints what was taken
 * and, on standard error, what was left out and why.
 */
#include "tools/bundle_parts.h"
#include "tools/object_describe.h"

#include <fcntl.h>
#include <unistd.h>

struct import_options {
    const char *cache_dir, *trust_dir, *max_size;
    bool allow_unsigned, allow_older, dry_run, json, help;
    const char *file;
};

static void note(void *context, const char *text) {
    const struct import_options *o = context;
    struct error err = {0};
    error_set(&err, ST_INCOMPATIBLE, "%s", text);
    cli_note("import", o->file, &err);
}

static const char *trust_word(const struct bundle_signer *signer) {
    switch (signer->trust) {
    case BUNDLE_UNSIGNED: return "unsigned";
    case BUNDLE_UNKNOWN_KEY: return "unknown key";
    case BUNDLE_TRUSTED: return "trusted";
    }
    return "?";
}

static void print(const struct import_options *o, const struct bundle *bundle,
                  const struct bundle_report *r) {
    const struct bundle_statement *s = bundle_statement_of(bundle);
    const struct bundle_signer *signer = bundle_signer_of(bundle);
    char digest[DIGEST_HEX_SIZE], key[DIGEST_HEX_SIZE] = "";
    digest_hex(&r->statement, digest);
    if (signer->trust != BUNDLE_UNSIGNED) digest_hex(&signer->key, key);
    if (o->json) {
        json_t *v = json_pack(
            "{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
            "name", s->name, "sequence", (json_int_t)s->sequence, "signature",
            trust_word(signer), "key", key, "signer", signer->name, "modules",
            (json_int_t)r->modules, "objects", (json_int_t)r->objects, "images",
            (json_int_t)r->images, "snapshots", (json_int_t)r->snapshots, "objects_unsigned",
            (json_int_t)r->objects_unsigned, "objects_unfit", (json_int_t)r->objects_unfit,
            "snapshots_unsigned", (json_int_t)r->snapshots_unsigned, "snapshots_unfit",
            (json_int_t)r->snapshots_unfit, "content_bytes", (json_int_t)r->content_bytes,
            "statement", o->dry_run ? "" : digest);
        if (v) json_dumpf(v, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(v);
        return;
    }
    if (o->dry_run) {
        printf("%s: sound, %s%s%s\n", s->name, trust_word(signer),
               signer->name[0] ? ": signed by " : "", signer->name);
        return;
    }
    printf("%s: %u module%s, %u object%s, %u image%s, ", s->name, r->modules,
           r->modules == 1 ? "" : "s", r->objects, r->objects == 1 ? "" : "s", r->images,
           r->images == 1 ? "" : "s");
    if (r->snapshots) printf("%u snapshot%s, ", r->snapshots, r->snapshots == 1 ? "" : "s");
    printf("%.1f MB, %s%s\n", (double)r->content_bytes / 1e6,
           signer->name[0] ? "signed by " : trust_word(signer), signer->name);
}

static enum status import_into(const struct import_options *o, struct cache *cache,
                               struct bundle *bundle, struct error *err) {
    struct bundle_import_options options = {
        .callbacks = {.check_object = bundle_object_check,
                      .check_snapshot = bundle_snapshot_check,
                      .note = note,
                      .context = (void *)(uintptr_t)o},
        .allow_unsigned = o->allow_unsigned,
        .allow_older = o->allow_older,
        .verify_only = o->dry_run,
    };
    if (o->max_size) {
        enum status status = cli_parse_size(o->max_size, &options.max_bytes, err);
        if (status != ST_OK) return error_wrap(err, "--max-size");
    }
    struct bundle_report report;
    enum status status = bundle_import(cache, bundle, &options, &report, err);
    if (status == ST_OK) print(o, bundle, &report);
    return status;
}

static enum status open_and_import(const struct import_options *o, const struct trust *trust,
                                   struct error *err) {
    bool standard_input = strcmp(o->file, "-") == 0;
    auto_fd int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                    : open(o->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open");
    struct bundle *bundle = NULL;
    struct cache *cache = NULL;
    struct cache_options where = {.path = o->cache_dir, .describe_object = object_describe};
    enum status status = bundle_open(fd, trust, &bundle, err);
    if (status == ST_OK) status = bundle_check_app(bundle_statement_of(bundle), err);
    if (status == ST_OK && !o->dry_run) status = cache_open(&where, &cache, err);
    if (status == ST_OK) status = import_into(o, cache, bundle, err);
    cache_close(cache);
    bundle_close(bundle);
    return status;
}

static enum status import(int argc, char **argv, struct import_options *o, struct error *err) {
    const struct argument table[] = {
        {.name = "allow-unsigned", .flag = &o->allow_unsigned},
        {.name = "allow-older", .flag = &o->allow_older},
        {.name = "cache-dir", .value = &o->cache_dir},
        {.name = "trust-dir", .value = &o->trust_dir},
        {.name = "max-size", .value = &o->max_size},
        {.name = "dry-run", .flag = &o->dry_run},
        {.name = "json", .flag = &o->json},
        {.letter = 'h', .name = "help", .flag = &o->help},
    };
    auto_free const char **files = calloc((size_t)argc + 1, sizeof *files);
    if (!files) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint32_t count = 0;
    enum status status = arguments_parse(argc, argv, table, countof(table), files, &count, err);
    if (status != ST_OK || o->help) return status;
    if (count != 1)
        return error_set(err, ST_USAGE, count ? "one bundle at a time" : "which bundle?");
    o->file = files[0];
    struct trust_places places;
    struct trust trust = {0};
    if ((status = trust_places_find(o->trust_dir, &places, err)) == ST_OK)
        status = trust_places_load(&places, &trust, err);
    if (status == ST_OK) status = open_and_import(o, &trust, err);
    trust_finish(&trust);
    return status;
}

int cmd_import(int argc, char **argv) {
    struct import_options options = {0};
    struct error err = {0};
    enum status status = import(argc, argv, &options, &err);
    if (status == ST_OK && options.help) help_print("import");
    return status == ST_OK ? EXIT_DONE : cli_report("import", options.file, &err);
}
