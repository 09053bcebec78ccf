/*
 * hutch app: what the server would make of app.yaml.
 *
 *   check [FILE|DIR...]   reads, says what is wrong and where
 *   schema                the JSON schema
 *
 * Every file is looked at, so that one run shows one mistake of each.
 */
#include "serve/app.h"
#include "tools/app_cli.h"

#include <unistd.h>

struct check_options {
    bool no_files, json, help;
};

static void cleanup_apps(struct app ***apps) { /* ends with NULL */
    for (struct app **at = *apps; at && *at; at++) app_free(*at);
    free(*apps);
}

static int report(const struct error *err) { return cli_report("app", NULL, err); }

static enum status print_json(struct app *const *apps, struct error *err) {
    auto_buffer struct buffer b = {0};
    for (; *apps; apps++) {
        enum status status = app_json(*apps, &b, err);
        if (status != ST_OK) return status;
    }
    fwrite(b.bytes, 1, b.size, stdout);
    return ST_OK;
}

static void print_one(const struct app *app) {
    for (uint32_t i = 0; i < app->note_count; i++) {
        struct error note = {0};
        error_set(&note, ST_INVALID, "%s:%u: %s", app->file, app->notes[i].line,
                  app->notes[i].text);
        cli_note("app", NULL, &note);
    }
}

static int check_files(const struct app_strings *files, const struct check_options *o) {
    struct error err = {0};
    __attribute__((cleanup(cleanup_apps))) struct app **apps =
        calloc((size_t)files->count + 1, sizeof *apps);
    if (!apps) return report((error_set(&err, ST_NO_MEMORY, "out of memory"), &err));
    uint32_t count = 0;
    int result = EXIT_DONE;
    for (uint32_t i = 0; i < files->count; i++) {
        err = (struct error){0};
        struct app *app;
        if (app_read(files->items[i], &app, &err) != ST_OK) {
            result = report(&err);
            continue;
        }
        apps[count++] = app;
        print_one(app);
        if (!o->no_files && app_check_files(app, &err) != ST_OK) result = report(&err);
    }
    err = (struct error){0};
    if (app_conflicts(apps, count, &err) != ST_OK) result = report(&err);
    if (result != EXIT_DONE) return result;
    if (o->json) return print_json(apps, &err) == ST_OK ? EXIT_DONE : report(&err);
    for (uint32_t i = 0; i < count; i++)
        printf("%s: app %s is in order\n", apps[i]->file, apps[i]->name);
    return EXIT_DONE;
}

static int check(const struct check_options *o, const char **paths, uint32_t count) {
    struct error err = {0};
    auto_arena struct arena arena = {0};
    struct app_strings files = {0};
    static const char *here[] = {"."};
    if (count == 0) {
        paths = here;
        count = 1;
    }
    for (uint32_t i = 0; i < count; i++)
        if (app_find_files(paths[i], &arena, &files, &err) != ST_OK) return report(&err);
    return check_files(&files, o);
}

static int schema(void) {
    struct error err = {0};
    auto_buffer struct buffer b = {0};
    if (app_schema(&b, &err) != ST_OK) return report(&err);
    fwrite(b.bytes, 1, b.size, stdout);
    return EXIT_DONE;
}

int cmd_app(int argc, char **argv) {
    struct check_options o = {0};
    const struct argument table[] = {
        {.name = "no-files", .flag = &o.no_files},
        {.name = "json", .flag = &o.json},
        {.letter = 'h', .name = "help", .flag = &o.help},
    };
    struct error err = {0};
    auto_free const char **words = calloc((size_t)argc + 1, sizeof *words);
    uint32_t count = 0;
    enum status status =
        words ? arguments_parse(argc, argv, table, countof(table), words, &count, &err)
              : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status != ST_OK) return report(&err);
    if (o.help) {
        help_print("app");
        return EXIT_DONE;
    }
    if (count && strcmp(words[0], "check") == 0) return check(&o, words + 1, count - 1);
    if (count == 1 && strcmp(words[0], "schema") == 0) return schema();
    static const char *const verbs[] = {"check", "schema", NULL};
    const char *near = count ? cli_near(words[0], verbs) : NULL;
    error_set(&err, ST_USAGE, count ? "unknown: %.60s%s%s%s" : "give check or schema%s%s%s%s",
              count ? words[0] : "", near ? ", did you mean " : "", near ? near : "",
              near ? "?" : "");
    return report(&err);
}
