/*
 * `hutch-bundle`: the commands that read and write bundles, as a program of its own that
 * `hutch` becomes. libarchive brings many libraries with it, which `hutch run` must not wait
 * for.
 *
 * Its arguments are hutch's own: argv[1] is the command.
 */
#include "tools/bundle_cli.h"

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
} commands[] = {
    {"bundle", cmd_bundle},
    {"import", cmd_import},
    {"key", cmd_key},
    {"inspect", cmd_inspect_bundle},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < countof(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        int result = commands[i].function(argc - 1, argv + 1);
        struct error err = {0};
        if (fflush(stdout) == 0 || result != EXIT_DONE) return result;
        error_set_errno(&err, ST_IO, "cannot write to standard output");
        return cli_report(NULL, NULL, &err);
    }
    fputs("hutch-bundle is run by hutch.\n", stderr);
    return EXIT_USAGE;
}
