/*
 * argv to struct cli_options, driven by options.def. Options of `hutch run` end at the first
 * word that is none (the program's own follow); those of `hutch compile` may come after the
 * file too. `--` ends them in both. As in wasmtime and wasmer it may also stand right after the
 * program; only the first one is ours: `hutch run -- x.wasm -- a` gives the program two
 * arguments.
 */
#include "tools/cli.h"

#include <errno.h>
#include <limits.h>

enum option_id {
#define OPTION(id, letter, name, argument, commands, text) OPTION_##id,
#include "tools/options.def"
    OPTION_COUNT
};

static const struct option_row {
    enum option_id id;
    char letter;
    const char *name, *argument, *commands;
} rows[] = {
#define OPTION(id, letter, name, argument, commands, text)                                     \
    {OPTION_##id, letter, name, argument, commands},
#include "tools/options.def"
};

static bool row_fits(const struct option_row *row, enum cli_command command) {
    char hidden = (char)(command - 'A' + 'a');
    return strchr(row->commands, (char)command) || strchr(row->commands, hidden);
}

/* Edits (insert, delete, replace, swap neighbours) from a to b, for words up to 31 letters. */
static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > 31 || m > 31) return SIZE_MAX;
    size_t d[32][32];
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *cli_near(const char *word, const char *const *names) {
    const char *best = NULL, *begun = NULL; /* begun and not ended: --allow */
    size_t length = strlen(word), best_distance = length < 4 ? 1 : length / 3 + 1;
    for (; *names; names++) {
        size_t distance = edit_distance(word, *names);
        if (distance <= best_distance && distance < length) {
            best = *names;
            best_distance = distance;
        }
        if (length > 2 && !begun && strncmp(word, *names, length) == 0) begun = *names;
    }
    return best ? best : begun;
}

static enum status unknown_option(enum cli_command command, const char *word, size_t length,
                                  struct error *err) {
    const char *names[countof(rows) + 1] = {0};
    size_t count = 0;
    for (size_t i = 0; i < countof(rows); i++)
        if (strchr(rows[i].commands, (char)command)) names[count++] = rows[i].name;
    auto_free char *name = strndup(word, length);
    if (!name) return error_set(err, ST_NO_MEMORY, "out of memory");
    const char *near = cli_near(name, names);
    if (near)
        return error_set(err, ST_USAGE, "unknown option --%s, did you mean --%s?", name, near);
    for (size_t i = 0; i < countof(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return error_set(err, ST_USAGE, "--%s is no option of this command", name);
    return error_set(err, ST_USAGE, "unknown option --%s", name);
}

/* HOST[::GUEST[:ro]] */
static enum status add_dir(struct cli_options *o, const char *text, struct error *err) {
    struct cli_dir *dir = &o->dirs[o->dir_count++];
    const char *split = strstr(text, "::");
    if (split) {
        dir->host = dir->owned = strndup(text, (size_t)(split - text));
        if (!dir->owned) return error_set(err, ST_NO_MEMORY, "out of memory");
        dir->guest = split + 2;
        size_t length = strlen(dir->guest);
        if (length >= 3 && strcmp(dir->guest + length - 3, ":ro") == 0) {
            dir->guest = dir->owned_guest = strndup(split + 2, length - 3);
            if (!dir->owned_guest) return error_set(err, ST_NO_MEMORY, "out of memory");
            dir->read_only = true;
        }
    } else {
        dir->host = dir->guest = text;
    }
    if (!*dir->host || !*dir->guest)
        return error_set(err, ST_USAGE, "--dir %s: HOST or GUEST is empty", text);
    return ST_OK;
}

/* Of "rw", "size=SIZE", "nr_inodes=N", one item, as mount(8) and docker spell them. */
static enum status set_memory_item(struct cli_dir *dir, const char *item, struct error *err) {
    if (strcmp(item, "rw") == 0) {
        dir->memory = true;
        return ST_OK;
    }
    if (strncmp(item, "size=", 5) == 0) {
        enum status status = cli_parse_size(item + 5, &dir->size_bytes, err);
        if (status == ST_OK &&
            (dir->size_bytes < CLI_FILES_MIN || dir->size_bytes > CLI_FILES_MAX))
            return error_set(err, ST_USAGE, "%s: give 16K to 32G", item);
        return status;
    }
    if (strncmp(item, "nr_inodes=", 10) == 0) {
        char *end = NULL;
        errno = 0;
        dir->inodes = strtoull(item + 10, &end, 10);
        if (item[10] < '0' || item[10] > '9' || *end || errno || dir->inodes == 0)
            return error_set(err, ST_USAGE, "%s: give a number above 0", item);
        return ST_OK;
    }
    return error_set(err, ST_USAGE, "unknown option '%s'; there are rw, size=SIZE, nr_inodes=N",
                     item);
}

/* GUEST, and behind its last colon options, if they look like some: dir->guest is a copy. */
static enum status set_memory(struct cli_dir *dir, const char *text, struct error *err) {
    const char *colon = strrchr(text, ':');
    dir->guest = dir->owned_guest = strdup(text);
    if (!dir->owned_guest) return error_set(err, ST_NO_MEMORY, "out of memory");
    if (!colon || strchr(colon, '/')) return ST_OK;
    dir->owned_guest[colon - text] = '\0';
    char *rest = dir->owned_guest + (colon - text) + 1;
    for (char *item; (item = strsep(&rest, ","));) {
        enum status status = set_memory_item(dir, item, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

/* FILE::GUEST[:rw[,size=SIZE]] */
static enum status add_image(struct cli_options *o, const char *text, struct error *err) {
    struct cli_dir *dir = &o->dirs[o->dir_count++];
    const char *split = strstr(text, "::");
    if (!split || split == text || !split[2])
        return error_set(err, ST_USAGE, "--image %s: give FILE::GUEST[:rw[,size=SIZE]]", text);
    dir->host = dir->owned = strndup(text, (size_t)(split - text));
    if (!dir->owned) return error_set(err, ST_NO_MEMORY, "out of memory");
    dir->image = true;
    enum status status = set_memory(dir, split + 2, err);
    if (status != ST_OK) return error_wrap(err, "--image %s", text);
    if (!*dir->guest) return error_set(err, ST_USAGE, "--image %s: GUEST is empty", text);
    if (!dir->memory && (dir->size_bytes || dir->inodes))
        return error_set(err, ST_USAGE, "--image %s: a size is for an image that is rw", text);
    dir->read_only = !dir->memory;
    return ST_OK;
}

/* GUEST[:size=SIZE] */
static enum status add_tmpfs(struct cli_options *o, const char *text, struct error *err) {
    struct cli_dir *dir = &o->dirs[o->dir_count++];
    enum status status = set_memory(dir, text, err);
    if (status != ST_OK) return error_wrap(err, "--tmpfs %s", text);
    if (!*dir->guest) return error_set(err, ST_USAGE, "--tmpfs %s: GUEST is empty", text);
    dir->memory = true;
    return ST_OK;
}

/* HOST::GUEST[:size=SIZE] */
static enum status add_volume(struct cli_options *o, const char *text, struct error *err) {
    struct cli_dir *dir = &o->dirs[o->dir_count++];
    const char *split = strstr(text, "::");
    if (!split || split == text || !split[2])
        return error_set(err, ST_USAGE, "--volume %s: give HOST::GUEST[:size=SIZE]", text);
    dir->host = dir->owned = strndup(text, (size_t)(split - text));
    if (!dir->owned) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = set_memory(dir, split + 2, err);
    if (status != ST_OK) return error_wrap(err, "--volume %s", text);
    if (!*dir->guest || dir->memory)
        return error_set(err, ST_USAGE, "--volume %s: give HOST::GUEST[:size=SIZE]", text);
    if (!dir->size_bytes) dir->size_bytes = CLI_VOLUME_DEFAULT;
    dir->volume = true;
    return ST_OK;
}

/* GUEST:HOST, or GUEST::HOST as it was once spelled */
static enum status add_mapdir(struct cli_options *o, const char *text, struct error *err) {
    struct cli_dir *dir = &o->dirs[o->dir_count];
    const char *split = strstr(text, "::");
    size_t width = split ? 2 : 1;
    if (!split) split = strchr(text, ':');
    if (!split || split == text || !split[width])
        return error_set(err, ST_USAGE, "--mapdir %s: give GUEST:HOST", text);
    dir->guest = dir->owned = strndup(text, (size_t)(split - text));
    if (!dir->owned) return error_set(err, ST_NO_MEMORY, "out of memory");
    dir->host = split + width;
    o->dir_count++;
    return ST_OK;
}

static enum status set_limit(struct cli_options *o, const char *key, const char *value,
                             struct error *err) {
    static const char *const keys[] = {"max-memory-size", "max-wasm-stack", "timeout", NULL};
    enum status status;
    if (strcmp(key, "max-memory-size") == 0) {
        status = cli_parse_size(value, &o->max_memory_bytes, err);
        if (o->max_memory_bytes == 0) o->max_memory_bytes = 1; /* 0 is "no limit" elsewhere */
    } else if (strcmp(key, "max-wasm-stack") == 0) {
        status = cli_parse_size(value, &o->max_stack_bytes, err);
        if (status == ST_OK &&
            (o->max_stack_bytes < CLI_STACK_MIN || o->max_stack_bytes > CLI_STACK_MAX))
            return error_set(err, ST_USAGE, "-W max-wasm-stack=%s: give 64K to 1G", value);
    } else if (strcmp(key, "timeout") == 0) {
        status = cli_parse_duration(value, &o->timeout_ns, err);
    } else {
        const char *near = cli_near(key, keys);
        return error_set(err, ST_USAGE, "-W: unknown key '%s'%s%s%s", key,
                         near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
    }
    return status == ST_OK ? ST_OK : error_wrap(err, "-W %s", key);
}

static enum status set_limits(struct cli_options *o, const char *text, struct error *err) {
    auto_free char *copy = strdup(text);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *rest = copy;
    for (char *item; (item = strsep(&rest, ","));) {
        char *equals = strchr(item, '=');
        if (!equals || equals == item)
            return error_set(err, ST_USAGE, "-W %s: give KEY=VALUE", text);
        *equals = '\0';
        enum status status = set_limit(o, item, equals + 1, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static enum status set_target(struct cli_options *o, const char *text, struct error *err) {
    static const char *const targets[] = {"native", "x86-64-v2", "x86-64-v3", "x86-64-v4",
                                          NULL};
    for (const char *const *t = targets; *t; t++)
        if (strcmp(text, *t) == 0) {
            o->compile.target = *t;
            return ST_OK;
        }
    return error_set(err, ST_USAGE,
                     "--target %s: give native, x86-64-v2, x86-64-v3 or x86-64-v4", text);
}

static enum status set_jobs(struct cli_options *o, const char *text, struct error *err) {
    char *end = NULL;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n == 0 || n > 1024)
        return error_set(err, ST_USAGE, "--jobs %s: give a number from 1 to 1024", text);
    o->compile.jobs = (unsigned)n;
    return ST_OK;
}

static enum status set_option(struct cli_options *o, enum option_id id, const char *argument,
                              struct error *err) {
    enum status status = ST_OK;
    switch (id) {
    case OPTION_DIR: return add_dir(o, argument, err);
    case OPTION_IMAGE: return add_image(o, argument, err);
    case OPTION_TMPFS: return add_tmpfs(o, argument, err);
    case OPTION_VOLUME: return add_volume(o, argument, err);
    case OPTION_MAPDIR: return add_mapdir(o, argument, err);
    case OPTION_ENV:
        if (!*argument || *argument == '=')
            return error_set(err, ST_USAGE, "--env %s: the name is empty", argument);
        o->env[o->env_count++] = argument;
        return ST_OK;
    case OPTION_INVOKE: o->invoke = argument; return ST_OK;
    case OPTION_ARGV0: o->argv0 = argument; return ST_OK;
    case OPTION_WASM: return set_limits(o, argument, err);
    case OPTION_TIMEOUT:
        status = cli_parse_duration(argument, &o->timeout_ns, err);
        return status == ST_OK ? ST_OK : error_wrap(err, "--timeout");
    case OPTION_PRECOMP: o->allow_precompiled = true; return ST_OK;
    case OPTION_LISTEN: o->listen = argument; return ST_OK;
    case OPTION_FASTCGI: o->fastcgi = true; return ST_OK;
    case OPTION_CGI: o->cgi = true; return ST_OK;
    case OPTION_SNAPSHOT: o->snapshot = argument; return ST_OK;
    case OPTION_RESET: o->reset = true; return ST_OK;
    case OPTION_NOPREFAULT: o->no_prefault = true; return ST_OK;
    case OPTION_NAME: o->name = argument; return ST_OK;
    case OPTION_REQUEST: o->requests[o->request_count++] = argument; return ST_OK;
    case OPTION_OUTPUT: o->output = argument; return ST_OK;
    case OPTION_OPTIMIZE: return cli_parse_level(argument, &o->compile.level, err);
    case OPTION_TARGET: return set_target(o, argument, err);
    case OPTION_JOBS: return set_jobs(o, argument, err);
    case OPTION_PROFILE: o->profile = argument; return ST_OK;
    case OPTION_PROFGEN: o->compile.profile_generate = true; return ST_OK;
    case OPTION_PROFOUT:
        o->profile_out = argument;
        o->compile.profile_generate = true;
        return ST_OK;
    case OPTION_PLACEMENT:
        if (strcmp(argument, "pinned") == 0) {
            o->compile.placement = ABI_PINNED;
        } else if (strcmp(argument, "relocatable") == 0) {
            o->compile.placement = ABI_RELOCATABLE;
        } else {
            return error_set(err, ST_USAGE, "--placement %s: give pinned or relocatable",
                             argument);
        }
        return ST_OK;
    case OPTION_DUMP_DIR: o->compile.dump_dir = argument; return ST_OK;
    case OPTION_CACHE_DIR:
        if (!*argument) return error_set(err, ST_USAGE, "--cache-dir: the path is empty");
        o->cache_dir = argument;
        return ST_OK;
    case OPTION_NO_CACHE: o->no_cache = true; return ST_OK;
    case OPTION_HELP: o->help = true; return ST_OK;
    case OPTION_COUNT: break;
    }
    return error_set(err, ST_INTERNAL, "option %d is in no case", (int)id);
}

/* One word that begins with '-'; *at is its index, moved where an argument follows. */
static enum status parse_word(struct cli_options *o, enum cli_command command, int argc,
                              char **argv, int *at, struct error *err) {
    const char *word = argv[*at];
    const struct option_row *row = NULL;
    const char *argument = NULL;
    char shown[40];
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        for (size_t i = 0; i < countof(rows) && !row; i++)
            if (strlen(rows[i].name) == length && memcmp(rows[i].name, word + 2, length) == 0 &&
                row_fits(&rows[i], command))
                row = &rows[i];
        if (!row) return unknown_option(command, word + 2, length, err);
        if (word[2 + length] == '=') argument = word + 3 + length;
        snprintf(shown, sizeof shown, "--%s", row->name);
        if (argument && !row->argument)
            return error_set(err, ST_USAGE, "%s takes no value", shown);
    } else {
        for (size_t i = 0; i < countof(rows) && !row; i++)
            if (rows[i].letter == word[1] && row_fits(&rows[i], command)) row = &rows[i];
        if (!row) return error_set(err, ST_USAGE, "unknown option %s", word);
        if (word[2]) argument = word + 2 + (word[2] == '='); /* -O2, -O=2 */
        snprintf(shown, sizeof shown, "-%c", row->letter);
        if (argument && !row->argument)
            return error_set(err, ST_USAGE, "unknown option %s", word);
    }
    if (row->argument && !argument) {
        if (*at + 1 >= argc)
            return error_set(err, ST_USAGE, "%s needs a value: %s", shown, row->argument);
        argument = argv[++*at];
    }
    return set_option(o, row->id, argument ? argument : "", err);
}

enum status cli_options_parse(enum cli_command command, int argc, char **argv,
                              struct cli_options *ret_options, struct error *err) {
    struct cli_options *o = ret_options;
    *o = (struct cli_options){.compile = compile_defaults(),
                              .max_stack_bytes = CLI_STACK_DEFAULT};
    o->dirs = calloc((size_t)argc, sizeof *o->dirs);
    o->env = calloc((size_t)argc, sizeof *o->env);
    o->arguments = calloc((size_t)argc, sizeof *o->arguments);
    o->requests = calloc((size_t)argc, sizeof *o->requests);
    if (!o->dirs || !o->env || !o->requests || !o->arguments)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    bool options_end = false, dashes_seen = false;
    for (int i = 1; i < argc; i++) {
        if (!dashes_seen && o->argument_count == 0 && strcmp(argv[i], "--") == 0) {
            options_end = dashes_seen = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1]) {
            enum status status = parse_word(o, command, argc, argv, &i, err);
            if (status != ST_OK) return status;
        } else if (!o->file) {
            o->file = argv[i];
            if (command != CLI_COMPILE) options_end = true;
        } else {
            o->arguments[o->argument_count++] = argv[i];
        }
    }
    if (!o->file && !o->help && !o->snapshot)
        return error_set(err, ST_USAGE, "no module given");
    if (o->profile && o->compile.profile_generate)
        return error_set(err, ST_USAGE, "--profile and %s: one at a time",
                         o->profile_out ? "--profile-out" : "--profile-generate");
    if (o->cgi && (o->fastcgi || o->request_count > 1))
        return error_set(err, ST_USAGE,
                         o->fastcgi ? "--cgi and --fastcgi: one at a time"
                                    : "--cgi: one --request, the body");
    if (o->reset && !o->snapshot)
        return error_set(err, ST_USAGE, "--reset: to what? Give --snapshot too");
    if (o->invoke && o->listen)
        return error_set(err, ST_USAGE, "--invoke and --listen: one at a time");
    return ST_OK;
}

void cli_options_finish(struct cli_options *options) {
    for (uint32_t i = 0; i < options->dir_count; i++) {
        free(options->dirs[i].owned);
        free(options->dirs[i].owned_guest);
    }
    buffer_finish(&options->profile_bytes);
    free(options->dirs);
    free(options->env);
    free(options->requests);
    free(options->arguments);
    *options = (struct cli_options){0};
}
