/* `hutch-app`: main. Its arguments are hutch's own: argv[1] is the command. */
#include "tools/app_cli.h"

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
} commands[] = {
    {"app", cmd_app},
    {"usage", cmd_usage},
    {"top", cmd_top},
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
    fputs("hutch-app is run by hutch.\n", stderr);
    return EXIT_USAGE;
}
