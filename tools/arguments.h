/*
 * argv by a table of options, for commands with a handful of them and files in any order.
 */
#ifndef HUTCH_TOOLS_ARGUMENTS_H
#define HUTCH_TOOLS_ARGUMENTS_H

#include "tools/cli.h"

/* One option: a flag, a value (the last one counts) or a list of values. */
struct argument {
    char letter; /* 0: none */
    const char *name;
    bool *flag;
    const char **value;
    const char **values; /* room for argc */
    uint32_t *value_count;
};
/* Options and files may stand in any order; `--` ends options. "-" is a file. files has room
 * for argc. ST_USAGE. */
enum status arguments_parse(int argc, char **argv, const struct argument *table, size_t count,
                            const char **files, uint32_t *ret_file_count,
                            struct error *err) must_check;
enum status arguments_number(const char *option, const char *text, uint64_t min, uint64_t max,
                             uint64_t *ret_number, struct error *err) must_check;

#endif
