/*
 * The `hutch` command: argv to a command's function. Finds compiled code and hands it to the
 * process that runs it; contains neither compiler nor guest.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *program; /* where function is NULL: it has the command */
} commands[] = {
    {"run", cmd_run, NULL},           {"compile", cmd_compile, NULL},
    {"inspect", cmd_inspect, NULL},   {"profile", cmd_profile, NULL},
    {"image", cmd_image, NULL},       {"snapshot", cmd_snapshot, NULL},
    {"cache", cmd_cache, NULL},       {"bundle", NULL, "hutch-bundle"},
    {"import", NULL, "hutch-bundle"}, {"key", NULL, "hutch-bundle"},
    {"app", NULL, "hutch-app"},       {"serve", NULL, "hutch-serve"},
    {"usage", NULL, "hutch-app"},     {"top", NULL, "hutch-app"},
};

/* Descriptors 0 to 2 are open from here on, so that no file of ours becomes the guest's output.
 */
static void open_standard_files(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0) _exit(EXIT_FAILED);
}

static int print_version(void) {
    printf("hutch %s (LLVM %s, ABI %016llx)\n", HUTCH_VERSION, HUTCH_LLVM_VERSION,
           (unsigned long long)abi_fingerprint());
    return EXIT_DONE;
}

/* "before word after" */
static int usage(const char *before, const char *word, const char *after) {
    struct error err = {0};
    error_set(&err, ST_USAGE, "%s%s%s", before, word, after);
    int result = cli_report(NULL, NULL, &err);
    fputs("Try 'hutch help'.\n", stderr);
    return result;
}

static int help(int argc, char **argv) {
    if (argc > 1 && !help_has(argv[1]))
        return usage("help: there is no command '", argv[1], "'");
    help_print(argc > 1 ? argv[1] : NULL);
    return EXIT_DONE;
}

static int unknown_command(const char *word) {
    if (word[0] == '-') return usage("unknown option ", word, "");
    size_t length = strlen(word);
    if (length > 5 && strcmp(word + length - 5, ".wasm") == 0)
        return usage("to run a module: hutch run ", word, "");
    const char *names[countof(commands) + 2] = {"help"};
    for (size_t i = 0; i < countof(commands); i++) names[i + 1] = commands[i].name;
    const char *near = cli_near(word, names);
    if (near) return usage("unknown command, did you mean '", near, "'?");
    return usage("unknown command '", word, "'");
}

int cli_become(const char *program, int argc, char **argv) {
    struct error err = {0};
    char path[4096], name[] = "hutch";
    auto_free char **all = calloc((size_t)argc + 2, sizeof *all);
    enum status status = all ? cli_find_program(program, path, sizeof path, &err)
                             : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK) {
        all[0] = name;
        memcpy(all + 1, argv, (size_t)argc * sizeof *all);
        execv(path, all);
        error_set_errno(&err, ST_IO, "cannot run %s", path);
    }
    return cli_report(argv[0], NULL, &err);
}

/* inspect reads its own options; help is the same everywhere. */
static bool asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        help_print(NULL);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) return print_version();
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return help(0, NULL);
    if (strcmp(word, "help") == 0) return help(argc - 1, argv + 1);
    for (size_t i = 0; i < countof(commands); i++) {
        if (strcmp(word, commands[i].name) != 0) continue;
        bool own_options =
            commands[i].function == cmd_inspect || commands[i].function == cmd_profile;
        if (own_options && asks_for_help(argc - 1, argv + 1)) {
            help_print(commands[i].name);
            return EXIT_DONE;
        }
        if (!commands[i].function) return cli_become(commands[i].program, argc - 1, argv + 1);
        return commands[i].function(argc - 1, argv + 1);
    }
    return unknown_command(word);
}

int main(int argc, char **argv) {
    open_standard_files();
    /* A limit on file sizes is an error like a full disk, for us and for the guest. */
    signal(SIGXFSZ, SIG_IGN);
    int result = dispatch(argc, argv);
    if (fflush(stdout) != 0 && result == EXIT_DONE) {
        struct error err = {0};
        error_set_errno(&err, ST_IO, "cannot write to standard output");
        result = cli_report(NULL, NULL, &err);
    }
    return result;
}
