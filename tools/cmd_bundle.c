/*
 * hutch bundle: modules, their code objects for one or more targets and file images to one
 * signed file. Objects come from the cache where it has them, else they are compiled and kept
 * there. The statement's sequence is the time, or SOURCE_DATE_EPOCH, or --sequence: with either
 * of these the same input gives the same bytes.
 */
#include "compiler/profile.h"
#include "tools/bundle_parts.h"
#include "tools/object_describe.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define LEVEL_DEFAULT 9
#define PROFILE_MAX_BYTES ((size_t)1 << 30)

struct bundle_options {
    const char *output, *target, *sign, *name, *level, *optimize, *sequence, *expires;
    const char *cache_dir, *jobs, *profile;
    struct buffer profile_bytes; /* what compile.profile borrows */
    const char **images, **args, **env, **snapshots;
    uint32_t image_count, arg_count, env_count, snapshot_count;
    bool no_objects, instaboot, json, help;
    const char *targets[BUNDLE_TARGETS_MAX];
    uint32_t target_count;
    struct compile_options compile;
};

/* ---- options ----------------------------------------------------------------------------- */

/* "v2,x86-64-v3,native": levels, each once. */
static enum status parse_targets(struct bundle_options *o, const char *text,
                                 struct error *err) {
    static const char *const known[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
    auto_free char *copy = strdup(text);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ","));) {
        const char *target = NULL;
        uint64_t features;
        if (strcmp(word, "native") == 0) {
            enum status status = compile_resolve_target(word, &target, &features, err);
            if (status != ST_OK) return status;
        }
        for (size_t i = 0; i < countof(known) && !target; i++)
            if (strcmp(word, known[i]) == 0 || strcmp(word, known[i] + 7) == 0)
                target = known[i];
        if (!target)
            return error_set(err, ST_USAGE,
                             "--target %s: give v2, v3, v4 or native, or several "
                             "with commas",
                             text);
        bool there = false;
        for (uint32_t i = 0; i < o->target_count; i++)
            there = there || strcmp(o->targets[i], target) == 0;
        if (!there) o->targets[o->target_count++] = target;
    }
    return ST_OK;
}

static enum status parse(int argc, char **argv, struct bundle_options *o, const char **files,
                         uint32_t *ret_count, struct error *err) {
    const struct argument table[] = {
        {.letter = 'o', .name = "output", .value = &o->output},
        {.name = "target", .value = &o->target},
        {.name = "sign", .value = &o->sign},
        {.name = "name", .value = &o->name},
        {.name = "image", .values = o->images, .value_count = &o->image_count},
        {.name = "arg", .values = o->args, .value_count = &o->arg_count},
        {.name = "env", .values = o->env, .value_count = &o->env_count},
        {.name = "snapshot", .values = o->snapshots, .value_count = &o->snapshot_count},
        {.name = "instaboot", .flag = &o->instaboot},
        {.name = "level", .value = &o->level},
        {.letter = 'O', .name = "optimize", .value = &o->optimize},
        {.letter = 'j', .name = "jobs", .value = &o->jobs},
        {.name = "profile", .value = &o->profile},
        {.name = "sequence", .value = &o->sequence},
        {.name = "expires", .value = &o->expires},
        {.name = "cache-dir", .value = &o->cache_dir},
        {.name = "no-objects", .flag = &o->no_objects},
        {.name = "json", .flag = &o->json},
        {.letter = 'h', .name = "help", .flag = &o->help},
    };
    o->compile = compile_defaults();
    enum status status =
        arguments_parse(argc, argv, table, countof(table), files, ret_count, err);
    if (status != ST_OK || o->help) return status;
    if (*ret_count == 0) return error_set(err, ST_USAGE, "which module? [NAME=]FILE.wasm");
    if (!o->output) return error_set(err, ST_USAGE, "where to? -o FILE.tar");
    if (!o->no_objects) status = parse_targets(o, o->target ? o->target : "v3", err);
    if (status == ST_OK && o->optimize)
        status = cli_parse_level(o->optimize, &o->compile.level, err);
    uint64_t jobs = 0;
    if (status == ST_OK && o->jobs)
        status = arguments_number("jobs", o->jobs, 1, 1024, &jobs, err);
    o->compile.jobs = (unsigned)jobs;
    return status;
}

/* ---- modules and objects ----------------------------------------------------------------- */

/* Where "python:3.11=build/python.wasm" ends its name; NULL where it is all a path. */
static const char *name_end(const char *word, char ret_name[CACHE_NAME_MAX]) {
    const char *equals = strchr(word, '=');
    if (!equals || (size_t)(equals - word) >= CACHE_NAME_MAX || access(word, F_OK) == 0)
        return NULL;
    char text[CACHE_NAME_MAX];
    memcpy(text, word, (size_t)(equals - word));
    text[equals - word] = '\0';
    bool is_digest = false;
    struct digest unused;
    struct error ignored = {0};
    return cache_name_parse(text, ret_name, &is_digest, &unused, &ignored) == ST_OK &&
                   !is_digest
               ? equals
               : NULL;
}

/* "dir/My App.wasm" -> "my-app:latest" */
static enum status name_of_path(const char *path, char ret_name[CACHE_NAME_MAX],
                                struct error *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char text[100];
    size_t at = 0;
    for (const char *c = base; *c && strcmp(c, ".wasm") != 0 && at < sizeof text - 1; c++) {
        char small = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        bool plain = (small >= 'a' && small <= 'z') || (small >= '0' && small <= '9');
        if (plain)
            text[at++] = small;
        else if (at && text[at - 1] != '-')
            text[at++] = '-';
    }
    while (at && text[at - 1] == '-') at--;
    text[at] = '\0';
    if (bundle_full_name(text, ret_name, err) == ST_OK) return ST_OK;
    return error_set(err, ST_USAGE, "'%s' gives no name: say NAME=%s", base, path);
}

static enum status add_module(const struct bundle_options *o, struct bundle_parts *parts,
                              const char *word, struct error *err) {
    char name[CACHE_NAME_MAX];
    const char *equals = name_end(word, name), *file = equals ? equals + 1 : word;
    enum status status = ST_OK;
    if (!equals && o->name && parts->statement.layer_count == 0)
        status = bundle_full_name(o->name, name, err);
    else if (!equals)
        status = name_of_path(file, name, err);
    auto_buffer struct buffer wasm = {0};
    if (status == ST_OK) status = module_file_read(file, &wasm, NULL, err);
    if (status == ST_OK) status = bundle_add_module(parts, name, &wasm, file, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "%s", file);
}

/* GUEST=FILE, GUEST=DIRECTORY */
static enum status add_image(struct bundle_parts *parts, const char *word, struct error *err) {
    const char *equals = strchr(word, '=');
    if (!equals || equals == word)
        return error_set(err, ST_USAGE, "--image %s: give GUEST=FILE or GUEST=DIR", word);
    auto_free char *guest = strndup(word, (size_t)(equals - word));
    if (!guest) return error_set(err, ST_NO_MEMORY, "out of memory");
    auto_fd int fd = -1;
    enum status status = bundle_image_open(equals + 1, &fd, err);
    if (status == ST_OK) status = bundle_add_image(parts, guest, fd, NULL, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "--image %s", word);
}

/* A file, or a name of the store. */
static enum status add_snapshot(struct bundle_parts *parts, const char *word,
                                struct error *err) {
    auto_fd int fd = -1;
    enum status status = ST_OK;
    struct cache_name name;
    if (strchr(word, '/') || access(word, F_OK) == 0 || !parts->cache) {
        fd = open(word, O_RDONLY | O_CLOEXEC);
        if (fd < 0) status = error_set_errno(err, ST_IO, "cannot open it");
    } else {
        status = cache_name_resolve(parts->cache, word, &name, err);
        if (status == ST_OK) status = cache_get(parts->cache, &name.digest, &fd, NULL, err);
    }
    if (status == ST_OK) status = bundle_add_snapshot(parts, fd, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "--snapshot %s", word);
}

/* ---- the statement ----------------------------------------------------------------------- */

static enum status set_times(const struct bundle_options *o, struct bundle_statement *s,
                             struct error *err) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    const uint64_t most = UINT64_C(1) << 40;
    s->sequence = (uint64_t)time(NULL);
    enum status status = ST_OK;
    if (o->sequence)
        status = arguments_number("sequence", o->sequence, 0, most, &s->sequence, err);
    else if (epoch && *epoch)
        status =
            arguments_number("sequence (SOURCE_DATE_EPOCH)", epoch, 0, most, &s->sequence, err);
    if (status != ST_OK || !o->expires) return status;
    size_t length = strlen(o->expires);
    if (length > 1 && o->expires[length - 1] == 'd') {
        auto_free char *days = strndup(o->expires, length - 1);
        uint64_t n = 0;
        if (!days) return error_set(err, ST_NO_MEMORY, "out of memory");
        status = arguments_number("expires", days, 1, 36500, &n, err);
        s->expires = s->sequence + n * 86400;
        return status;
    }
    int64_t ns = 0;
    uint64_t unsigned_ns = 0;
    if ((status = cli_parse_duration(o->expires, &unsigned_ns, err)) != ST_OK)
        return error_wrap(err, "--expires");
    ns = (int64_t)unsigned_ns;
    s->expires = s->sequence + (uint64_t)ns / 1000000000u;
    return ST_OK;
}

static enum status load_profile(struct bundle_options *o, struct error *err) {
    if (!o->profile) return ST_OK;
    auto_arena struct arena arena = {0};
    struct profile checked;
    struct buffer *b = &o->profile_bytes;
    enum status status = file_read(AT_FDCWD, o->profile, PROFILE_MAX_BYTES, b, err);
    if (status == ST_OK) status = profile_read(b->bytes, b->size, &arena, &checked, err);
    if (status != ST_OK) return error_wrap(err, "--profile %s", o->profile);
    o->compile.profile = b->bytes;
    o->compile.profile_size = b->size;
    return ST_OK;
}

/* What the program is started with. */
static enum status add_words(const struct bundle_options *o, struct bundle_statement *s,
                             struct error *err) {
    enum status status = ST_OK;
    for (uint32_t i = 0; i < o->arg_count && status == ST_OK; i++)
        status = bundle_words_add(&s->args, o->args[i], err);
    if (status != ST_OK) return error_wrap(err, "--arg");
    for (uint32_t i = 0; i < o->env_count; i++) {
        if (o->env[i][0] == '=' || !strchr(o->env[i], '='))
            return error_set(err, ST_USAGE, "--env %s: give NAME=VALUE", o->env[i]);
        if (bundle_words_add(&s->env, o->env[i], err) != ST_OK) return error_wrap(err, "--env");
    }
    return ST_OK;
}

static void report(const struct bundle_options *o, const struct bundle_statement *s,
                   const struct sign_secret *secret) {
    uint64_t raw = 0, packed = 0;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        raw += s->layers[i].content_size;
        packed += s->layers[i].blob_size;
    }
    if (o->json) {
        json_t *v = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "file", o->output, "name",
                              s->name, "sequence", (json_int_t)s->sequence, "layers",
                              (json_int_t)s->layer_count, "content_bytes", (json_int_t)raw,
                              "blob_bytes", (json_int_t)packed, "signed", secret != NULL);
        if (v) json_dumpf(v, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(v);
        return;
    }
    printf("%s: %s, %u layer%s, %.1f MB as %.1f MB, %s\n", o->output, s->name, s->layer_count,
           s->layer_count == 1 ? "" : "s", (double)raw / 1e6, (double)packed / 1e6,
           secret ? "signed" : "not signed: nodes leave its native code out");
}

/* Everything that is named, to layers; o->name is the app's. */
static enum status add_parts(const struct bundle_options *o, const char **files, uint32_t count,
                             struct bundle_parts *parts, struct error *err) {
    struct bundle_statement *s = &parts->statement;
    enum status status = ST_OK;
    for (uint32_t i = 0; i < count && status == ST_OK; i++) {
        bool app = bundle_is_app(files[i]);
        if (app && i > 0)
            status = error_set(err, ST_USAGE,
                               "%s: a bundle is of one app, which is named first", files[i]);
        else if (app)
            status = bundle_add_app(parts, files[i], o->name, err);
        else
            status = add_module(o, parts, files[i], err);
    }
    for (uint32_t i = 0; i < o->image_count && status == ST_OK; i++)
        status = add_image(parts, o->images[i], err);
    if (status == ST_OK) status = add_words(o, s, err);
    if (status == ST_OK && !s->name[0] && o->name)
        status = bundle_full_name(o->name, s->name, err);
    else if (status == ST_OK && !s->name[0])
        memcpy(s->name, s->layers[0].name, sizeof s->name);
    for (uint32_t i = 0; i < o->snapshot_count && status == ST_OK; i++)
        status = add_snapshot(parts, o->snapshots[i], err);
    if (status == ST_OK && o->instaboot) status = bundle_make_snapshots(parts, err);
    return status;
}

static enum status make(const struct bundle_options *o, const char **files, uint32_t count,
                        struct bundle_parts *parts, struct error *err) {
    struct bundle_statement *s = &parts->statement;
    uint64_t level = LEVEL_DEFAULT;
    enum status status = set_times(o, s, err);
    if (status == ST_OK && o->level)
        status = arguments_number("level", o->level, 1, 19, &level, err);
    struct sign_secret secret = {0};
    if (status == ST_OK && o->sign) status = sign_secret_read(o->sign, &secret, err);
    if (status != ST_OK) return status;
    struct cache_options where = {.path = o->cache_dir, .describe_object = object_describe};
    struct error ignored = {0};
    if (cache_open(&where, &parts->cache, &ignored) != ST_OK) {
        error_wrap(&ignored, "compiling without the cache");
        cli_note("bundle", NULL, &ignored);
        parts->cache = NULL;
    }
    status = add_parts(o, files, count, parts, err);
    cache_close(steal(parts->cache));
    snprintf(s->creator, sizeof s->creator, "hutch %s", HUTCH_VERSION);
    if (status == ST_OK)
        status = bundle_write(s, o->sign ? &secret : NULL, (int)level, o->output, err);
    if (status == ST_OK) report(o, s, o->sign ? &secret : NULL);
    sign_secret_wipe(&secret);
    return status;
}

static enum status bundle(int argc, char **argv, struct bundle_options *o, struct error *err) {
    auto_free const char **files = calloc((size_t)argc + 1, sizeof *files);
    auto_free const char **images = calloc((size_t)argc + 1, sizeof *images);
    auto_free const char **args = calloc((size_t)argc + 1, sizeof *args);
    auto_free const char **env = calloc((size_t)argc + 1, sizeof *env);
    auto_free const char **snapshots = calloc((size_t)argc + 1, sizeof *snapshots);
    if (!files || !images || !args || !env || !snapshots)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    o->images = images;
    o->args = args;
    o->env = env;
    o->snapshots = snapshots;
    uint32_t count = 0;
    enum status status = parse(argc, argv, o, files, &count, err);
    if (status == ST_OK && !o->help) status = load_profile(o, err);
    if (status != ST_OK || o->help) return status;
    struct bundle_parts parts = {
        .compile = &o->compile, .targets = o->targets, .target_count = o->target_count};
    status = make(o, files, count, &parts, err);
    bundle_parts_finish(&parts);
    return status;
}

int cmd_bundle(int argc, char **argv) {
    struct bundle_options options = {0};
    struct error err = {0};
    enum status status = bundle(argc, argv, &options, &err);
    buffer_finish(&options.profile_bytes);
    if (status == ST_OK && options.help) help_print("bundle");
    return status == ST_OK ? EXIT_DONE : cli_report("bundle", NULL, &err);
}
