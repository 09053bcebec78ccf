/*
 * hutch profile merge, show, hints; and the profiles that `hutch compile` and `hutch run` take.
 * What a profile holds is profile_text.c's to say.
 */
#include "tools/cli.h"
#include "tools/profile_text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#define PROFILE_MAX_BYTES ((size_t)1 << 30)

static enum status read_profile(const char *path, struct arena *arena, struct profile *ret,
                                struct error *err) {
    auto_buffer struct buffer bytes = {0};
    enum status status = file_read(AT_FDCWD, path, PROFILE_MAX_BYTES, &bytes, err);
    if (status == ST_OK) status = profile_read(bytes.bytes, bytes.size, arena, ret, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "%s", path);
}

enum status cli_profile_load(struct cli_options *o, struct error *err) {
    if (!o->profile) return ST_OK;
    auto_arena struct arena arena = {0};
    struct profile checked;
    enum status status =
        file_read(AT_FDCWD, o->profile, PROFILE_MAX_BYTES, &o->profile_bytes, err);
    if (status == ST_OK)
        status =
            profile_read(o->profile_bytes.bytes, o->profile_bytes.size, &arena, &checked, err);
    if (status != ST_OK) return error_wrap(err, "--profile %s", o->profile);
    o->compile.profile = o->profile_bytes.bytes;
    o->compile.profile_size = o->profile_bytes.size;
    return ST_OK;
}

enum status cli_profile_open_output(const char *path, int *ret_fd, struct error *err) {
    auto_arena struct arena arena = {0};
    auto_buffer struct buffer there = {0};
    struct profile checked;
    auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return error_set_errno(err, ST_IO, "--profile-out: cannot open %s", path);
    enum status status = file_read(AT_FDCWD, path, PROFILE_MAX_BYTES, &there, err);
    if (status == ST_OK && there.size)
        status = profile_read(there.bytes, there.size, &arena, &checked, err);
    if (status != ST_OK) return error_wrap(err, "--profile-out %s: not overwritten", path);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

/* ---- the command ------------------------------------------------------------------------- */

struct profile_options {
    const char *output;
    bool json;
    uint32_t top;
    const char **files;
    int file_count;
};

static enum status parse_top(const char *text, uint32_t *ret, struct error *err) {
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > UINT32_MAX)
        return error_set(err, ST_USAGE, "--top %s: give a number", text);
    *ret = (uint32_t)n;
    return ST_OK;
}

/* Words after the verb. Only `show` prints, the others leave a file. */
static enum status parse(int argc, char **argv, struct profile_options *o, struct error *err) {
    bool writes = strcmp(argv[0], "show") != 0, options_end = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = NULL;
        if (options_end || word[0] != '-' || !word[1]) {
            o->files[o->file_count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            options_end = true;
            continue;
        }
        if (!writes && strcmp(word, "--json") == 0) {
            o->json = true;
            continue;
        }
        size_t length = strcspn(word, "=");
        bool output = writes && (strcmp(word, "-o") == 0 ||
                                 (length == 8 && strncmp(word, "--output", 8) == 0));
        bool top = !writes && length == 5 && strncmp(word, "--top", 5) == 0;
        if (!output && !top) return error_set(err, ST_USAGE, "unknown option %s", word);
        if (word[length] == '=') value = word + length + 1;
        if (!value && i + 1 < argc) value = argv[++i];
        if (!value) return error_set(err, ST_USAGE, "%s needs a value", word);
        if (output) o->output = value;
        if (top && parse_top(value, &o->top, err) != ST_OK) return ST_USAGE;
    }
    return ST_OK;
}

static enum status merge(const struct profile_options *o, struct error *err) {
    if (!o->output) return error_set(err, ST_USAGE, "-o FILE: where to leave the sum");
    if (o->file_count == 0) return error_set(err, ST_USAGE, "no profile given");
    /* two arenas, so that a long list of profiles holds two sums at a time */
    struct arena arenas[2] = {{0}, {0}};
    struct profile total, next, result;
    unsigned current = 0;
    enum status status = read_profile(o->files[0], &arenas[current], &total, err);
    for (int i = 1; i < o->file_count && status == ST_OK; i++) {
        struct arena *other = &arenas[1 - current];
        status = read_profile(o->files[i], &arenas[current], &next, err);
        if (status == ST_OK) status = profile_merge(&total, &next, other, &result, err);
        if (status != ST_OK) break;
        total = result;
        arena_finish(&arenas[current]);
        current = 1 - current;
    }
    auto_buffer struct buffer bytes = {0};
    if (status == ST_OK) {
        profile_write(&total, &bytes);
        status = buffer_status(&bytes, err);
    }
    arena_finish(&arenas[0]);
    arena_finish(&arenas[1]);
    if (status != ST_OK) return status;
    return file_publish(AT_FDCWD, o->output, bytes.bytes, bytes.size, 0644, err);
}

/* The module of a file, valid; bytes holds what it borrows. */
static enum status read_module(const char *path, struct buffer *bytes, struct module *ret,
                               struct error *err) {
    enum status status = module_file_read(path, bytes, NULL, err);
    if (status == ST_OK) status = module_decode(bytes->bytes, bytes->size, ret, err);
    if (status == ST_OK) status = module_validate(ret, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "%s", path);
}

static enum status hints(const struct profile_options *o, struct error *err) {
    if (!o->output) return error_set(err, ST_USAGE, "-o FILE: where to leave the module");
    if (o->file_count != 2) return error_set(err, ST_USAGE, "give a profile and a module");
    auto_arena struct arena arena = {0};
    auto_buffer struct buffer wasm = {0};
    auto_buffer struct buffer with_hints = {0};
    struct profile profile;
    struct module module = {0};
    uint64_t count = 0;
    enum status status = read_profile(o->files[0], &arena, &profile, err);
    if (status == ST_OK) status = read_module(o->files[1], &wasm, &module, err);
    if (status == ST_OK)
        status = profile_write_hints(&module, &profile, &with_hints, &count, err);
    module_finish(&module);
    if (status == ST_OK)
        status =
            file_publish(AT_FDCWD, o->output, with_hints.bytes, with_hints.size, 0644, err);
    if (status == ST_OK)
        fprintf(stderr, "hutch: profile: %llu branch%s a hint\n", (unsigned long long)count,
                count == 1 ? " has" : "es have");
    return status;
}

static enum status show(const struct profile_options *o, struct error *err) {
    if (o->file_count < 1 || o->file_count > 2)
        return error_set(err, ST_USAGE, "give a profile, and a module or none");
    auto_arena struct arena arena = {0};
    struct profile profile;
    enum status status = read_profile(o->files[0], &arena, &profile, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer wasm = {0};
    struct module module = {0};
    if (o->file_count == 2) status = read_module(o->files[1], &wasm, &module, err);
    if (status == ST_OK)
        status =
            profile_print(&profile, o->file_count == 2 ? &module : NULL, o->top, o->json, err);
    module_finish(&module);
    return status;
}

static const struct {
    const char *name;
    enum status (*run)(const struct profile_options *o, struct error *err);
} verbs[] = {{"merge", merge}, {"show", show}, {"hints", hints}};

int cmd_profile(int argc, char **argv) {
    struct error err = {0};
    struct profile_options options = {.top = 20};
    enum status status = error_set(&err, ST_USAGE, "give merge, show or hints");
    options.files = calloc((size_t)argc + 1, sizeof *options.files);
    if (!options.files) status = error_set(&err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; options.files && argc > 1 && i < countof(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) != 0) continue;
        err = (struct error){0};
        status = parse(argc - 1, argv + 1, &options, &err);
        if (status == ST_OK) status = verbs[i].run(&options, &err);
    }
    free(options.files);
    return status == ST_OK ? EXIT_DONE : cli_report("profile", NULL, &err);
}
