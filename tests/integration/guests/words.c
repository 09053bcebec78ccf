/* Counts the words of its standard input: what the demo runs where no guest can be fetched. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char word[32];
    unsigned count;
};

static struct entry entries[4096];
static size_t entry_count;

static void count_word(const char *word) {
    for (size_t i = 0; i < entry_count; i++)
        if (strcmp(entries[i].word, word) == 0) {
            entries[i].count++;
            return;
        }
    if (entry_count == sizeof entries / sizeof *entries) return;
    snprintf(entries[entry_count].word, sizeof entries->word, "%s", word);
    entries[entry_count++].count = 1;
}

static int by_count(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return strcmp(x->word, y->word);
}

int main(void) {
    char word[32];
    size_t length = 0;
    unsigned total = 0;
    for (int c = getchar();; c = getchar()) {
        if (c != EOF && isalpha(c)) {
            if (length < sizeof word - 1) word[length++] = (char)tolower(c);
            continue;
        }
        if (length > 0) {
            word[length] = 0;
            count_word(word);
            total++;
            length = 0;
        }
        if (c == EOF) break;
    }
    qsort(entries, entry_count, sizeof *entries, by_count);
    printf("%u words, %zu different\n", total, entry_count);
    for (size_t i = 0; i < entry_count && i < 5; i++)
        printf("%6u %s\n", entries[i].count, entries[i].word);
    return 0;
}
