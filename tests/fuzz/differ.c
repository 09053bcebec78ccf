/*
 * differ [--pinned] [--profiled] FILE LEVEL...: FILE has a line "seed outcome" for each module
 * of the smith's, as another engine ran it. Runs each at each level (-1 is the fast tier) and
 * compares. --profiled: with counters, and compiled by what those counted.
 */
#include "tests/fuzz/fuzz.h"

static unsigned passed, failed, skipped;
static bool profiled;

static void compare(uint64_t seed, const char *expected, enum abi_placement placement,
                    int level) {
    uint8_t chance[SMITH_CHANCE_BYTES];
    auto_buffer struct buffer module = {0};
    struct error err = {0};
    char outcome[OUTCOME_SIZE], counted[OUTCOME_SIZE];
    smith_chance(seed, chance);
    smith_module(chance, sizeof chance, &module);
    enum status status =
        profiled ? smith_run_profiled(module.bytes, module.size, placement,
                                      (enum compile_level)level, counted, outcome, &err)
                 : smith_run(module.bytes, module.size, placement, (enum compile_level)level,
                             outcome, &err);
    if (status == ST_OK && profiled && strcmp(counted, expected) != 0) {
        failed++;
        printf("smith %llu at level %d, counting: %s, expected %s\n", (unsigned long long)seed,
               level, counted, expected);
    }
    if (status == ST_OK && strcmp(outcome, expected) == 0) {
        passed++;
        return;
    }
    failed++;
    printf("smith %llu at level %d: %s, expected %s\n", (unsigned long long)seed, level,
           status == ST_OK ? outcome : err.message, expected);
}

int main(int argc, char **argv) {
    int at = 1;
    enum abi_placement placement = ABI_RELOCATABLE;
    if (at < argc && strcmp(argv[at], "--pinned") == 0) {
        placement = ABI_PINNED;
        at++;
    }
    if (at < argc && strcmp(argv[at], "--profiled") == 0) {
        profiled = true;
        at++;
    }
    if (argc - at < 2) {
        fprintf(stderr, "usage: differ [--pinned] [--profiled] FILE LEVEL...\n");
        return 2;
    }
    auto_file FILE *file = fopen(argv[at], "r");
    if (!file) {
        perror(argv[at]);
        return 1;
    }
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *expected;
        unsigned long long seed = strtoull(line, &expected, 10);
        if (*expected != ' ') continue; /* a comment */
        expected[strcspn(expected, "\n")] = 0;
        bool folds = expected[1] == '~';
        for (int i = at + 1; i < argc; i++) {
            if (folds && atoi(argv[i]) > COMPILE_O0)
                skipped++;
            else
                compare(seed, expected + 1 + folds, placement, atoi(argv[i]));
        }
    }
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed != 0 || passed == 0;
}
