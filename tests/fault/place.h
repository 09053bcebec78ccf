/*
 * Stores for fault tests: a directory of our own, a tree copied with its times, entries with
 * contents that follow from a number.
 */
#ifndef HUTCH_TESTS_FAULT_PLACE_H
#define HUTCH_TESTS_FAULT_PLACE_H

#include "cache/cache.h"

extern char place_root[128];
/* Where nothing is slow to sync: /dev/shm, else $TMPDIR or /tmp. */
void place_begin(void);
void place_end(void);
void place_path(const char *name, char ret_path[256]);
void place_wipe(const char *name);
/* Replaces to by a copy of from: modes, times, contents. */
void place_copy(const char *from, const char *to);

#define PLACE_ENTRY_BYTES 6000u
/* The contents, key and digest of entry number N. */
const uint8_t *place_bytes(unsigned number);
struct digest place_digest(unsigned number);
struct cache_key place_key(unsigned number);
struct cache *place_open(const char *name);
/* ST_OK where it is put; its status otherwise. */
enum status place_put(struct cache *cache, unsigned number, const unsigned *refs,
                      unsigned ref_count);
/* Found under its key, with its bytes. */
bool place_has(struct cache *cache, unsigned number);
/* The same by its digest: where the index is lost, so are keys that no code object tells. */
bool place_keeps(struct cache *cache, unsigned number);

/* Counting, as in tests/unit/test.h, for one program of several files. */
extern unsigned place_passed, place_failed;
#define PLACE_EXPECT(cond, ...)                                                                \
    do {                                                                                       \
        if (cond) {                                                                            \
            place_passed++;                                                                    \
        } else if (place_failed++ < 40) {                                                      \
            printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #cond);                          \
            printf(__VA_ARGS__);                                                               \
            printf("\n");                                                                      \
        }                                                                                      \
    } while (0)

#endif
