/*
 * What --help prints. The options come from options.def, so that none is forgotten; the rest is
 * written to be read once by someone who wants to run a program.
 */
#include "tools/cli.h"

static const char overview[] =
    "hutch compiles WebAssembly ahead of time and runs it, sandboxed, at native speed.\n"
    "\n"
    "Usage: hutch COMMAND [OPTIONS] FILE [ARGS...]\n"
    "\n"
    "Commands:\n"
    "  run       run a program; compiled on the way the first time, from the cache afterwards\n"
    "  compile   make a code object of a module\n"
    "  inspect   show what a code object holds\n"
    "  help      explain a command: hutch help run\n"
    "\n"
    "Options:\n"
    "  -h, --help      show this help\n"
    "  -V, --version   show the versions of hutch, LLVM and the ABI\n"
    "\n"
    "Examples:\n"
    "  hutch run hello.wasm                      run a WASI program\n"
    "  hutch run --dir . app.wasm in.txt         let it use this directory\n"
    "  hutch run --invoke add math.wasm 2 3      call an exported function\n"
    "  hutch compile app.wasm                    make app.hutch\n"
    "  hutch run --allow-precompiled app.hutch   run it without a compiler\n";

struct help {
    const char *command, *usage, *examples, *notes;
    char letter;
};

static const struct help helps[] = {
    {"run",
     "Usage: hutch run [OPTIONS] FILE [ARGS...]\n"
     "\n"
     "Runs a WASI program (preview1): calls its _start. FILE is a module in the binary format. "
     "Its\n"
     "code object is kept, so the next run starts at once. The guest gets nothing of this\n"
     "machine but standard input, output and error, and what the options give it.\n"
     "Options stand before FILE; everything after it belongs to the program.\n",
     "  hutch run hello.wasm one two              arguments for the program\n"
     "  hutch run --dir . app.wasm                this directory, as .\n"
     "  hutch run --dir /srv/d::/d app.wasm       /srv/d, which the program sees as /d\n"
     "  hutch run --env LANG --env DEBUG=1 app.wasm\n"
     "  hutch run --invoke add math.wasm 2 3      prints 5\n"
     "  hutch run -W max-memory-size=256M,timeout=5s app.wasm\n"
     "  hutch run --allow-precompiled app.hutch\n",
     "Sizes are bytes, or have K, M or G (of 1024). Durations have ns, us, ms, s, m or h; a "
     "bare\n"
     "number is seconds.\n"
     "\n"
     "Exit status: the program's own. 134 where it trapped or ran out of time, with a report "
     "on\n"
     "standard error; 1 where it could not be run; 2 for a mistake on the command line.\n"
     "\n"
     "Objects are kept in $HUTCH_CACHE_DIR, else $XDG_CACHE_HOME/hutch, else ~/.cache/hutch.\n",
     'R'},
    {"compile",
     "Usage: hutch compile [OPTIONS] FILE\n"
     "\n"
     "Compiles a module to a code object: NAME.wasm to NAME.hutch in this directory. The "
     "object\n"
     "is an ELF file: objdump, gdb and perf read it. The same module, options and hutch give\n"
     "the same bytes.\n",
     "  hutch compile app.wasm                    makes app.hutch\n"
     "  hutch compile -O3 -o fast.hutch app.wasm\n"
     "  hutch compile --target x86-64-v3 app.wasm     for processors from about 2015 on\n",
     "native uses all this processor has; the object may then not run on another. -O fast is\n"
     "for a first deployment: many times faster to compile, slower to run.\n"
     "\n"
     "Exit status: 0 done, 1 failed, 2 a mistake on the command line. A file appears whole or "
     "not\n"
     "at all.\n",
     'C'},
    {"inspect",
     "Usage: hutch inspect [--json] [--functions] FILE\n"
     "\n"
     "Shows what a code object holds: what it was made from, by which compiler and for which\n"
     "processor, its imports and exports with their types, functions, memories and sections.\n"
     "Of a module it says whether it is valid. Nothing is run.\n"
     "\n"
     "Options:\n"
     "      --json       everything, as one JSON value\n"
     "      --functions  every function: name, address, size, offset in the module\n",
     "  hutch inspect app.hutch\n"
     "  hutch inspect --functions app.hutch\n"
     "  hutch inspect --json app.hutch\n",
     "Exit status: 0 done, 1 where it is not sound, 2 a mistake on the command "
     "line.\n",
     'I'},
};

static const struct {
    char letter;
    const char *name, *argument, *commands, *text;
} rows[] = {
#define OPTION(id, letter, name, argument, commands, text)                                     \
    {letter, name, argument, commands, text},
#include "tools/options.def"
};

static void print_options(char command) {
    printf("\nOptions:\n");
    for (size_t i = 0; i < countof(rows); i++) {
        if (!strchr(rows[i].commands, command)) continue;
        char left[60], letter[8] = "    ";
        if (rows[i].letter) snprintf(letter, sizeof letter, "-%c, ", rows[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, rows[i].name,
                 rows[i].argument ? " " : "", rows[i].argument ? rows[i].argument : "");
        if (strlen(left) > 26)
            printf("  %s\n  %-26s  %s\n", left, "", rows[i].text);
        else
            printf("  %-26s  %s\n", left, rows[i].text);
    }
}

bool help_has(const char *command) {
    for (size_t i = 0; i < countof(helps); i++)
        if (strcmp(helps[i].command, command) == 0) return true;
    return false;
}

void help_print(const char *command) {
    const struct help *help = NULL;
    for (size_t i = 0; command && i < countof(helps); i++)
        if (strcmp(helps[i].command, command) == 0) help = &helps[i];
    if (!help) {
        fputs(overview, stdout);
        return;
    }
    fputs(help->usage, stdout);
    if (help->letter != 'I') print_options(help->letter); /* inspect has its own */
    printf("\nExamples:\n%s\n%s", help->examples, help->notes);
}
