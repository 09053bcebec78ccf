/*
 * `hutch-serve`: the server, as a program of its own that `hutch` becomes. Only it links the
 * event loop and the HTTP parser.
 *
 * Its arguments are hutch's own: argv[1] is the command.
 */
#include "tools/serve_cli.h"

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve") == 0) return cmd_serve(argc - 1, argv + 1);
    fputs("hutch-serve is run by hutch.\n", stderr);
    return EXIT_USAGE;
}
