/*
 * argv by a table: for commands that have a handful of options and files in any order. `hutch
 * run` and `hutch compile` read theirs in options.c.
 */
#include "tools/arguments.h"

#include <errno.h>

static enum status unknown(const struct argument *table, size_t count, const char *word,
                           struct error *err) {
    const char *names[32] = {0};
    for (size_t i = 0; i < count && i + 1 < countof(names); i++) names[i] = table[i].name;
    size_t length = strcspn(word, "=");
    auto_free char *name = strndup(word, length);
    const char *near = name && strncmp(name, "--", 2) == 0 ? cli_near(name + 2, names) : NULL;
    if (near)
        return error_set(err, ST_USAGE, "unknown option %s, did you mean --%s?", name, near);
    return error_set(err, ST_USAGE, "unknown option %s", name ? name : word);
}

static const struct argument *find(const struct argument *table, size_t count, const char *word,
                                   const char **ret_value) {
    *ret_value = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(table[i].name);
        if (word[1] != '-') {
            if (!table[i].letter || word[1] != table[i].letter) continue;
            if (word[2]) *ret_value = word + 2;
            return &table[i];
        }
        if (strncmp(word + 2, table[i].name, length) != 0) continue;
        if (word[2 + length] == '=') *ret_value = word + 3 + length;
        if (word[2 + length] == '=' || !word[2 + length]) return &table[i];
    }
    return NULL;
}

enum status arguments_parse(int argc, char **argv, const struct argument *table, size_t count,
                            const char **files, uint32_t *ret_file_count, struct error *err) {
    uint32_t file_count = 0;
    bool only_files = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value;
        if (only_files || word[0] != '-' || !word[1]) {
            files[file_count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_files = true;
            continue;
        }
        const struct argument *a = find(table, count, word, &value);
        if (!a) return unknown(table, count, word, err);
        if (a->flag) {
            if (value) return error_set(err, ST_USAGE, "--%s takes no value", a->name);
            *a->flag = true;
            continue;
        }
        if (!value && ++i < argc) value = argv[i];
        if (!value) return error_set(err, ST_USAGE, "--%s needs a value", a->name);
        if (a->values)
            a->values[(*a->value_count)++] = value;
        else
            *a->value = value;
    }
    *ret_file_count = file_count;
    return ST_OK;
}

enum status arguments_number(const char *option, const char *text, uint64_t min, uint64_t max,
                             uint64_t *ret_number, struct error *err) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max)
        return error_set(err, ST_USAGE, "--%s %s: give a number from %llu to %llu", option,
                         text, (unsigned long long)min, (unsigned long long)max);
    *ret_number = n;
    return ST_OK;
}
