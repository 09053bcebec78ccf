/*
 * hutch inspect, private to its files:
 *
 *   cmd_inspect.c       the command: which kind of file, and what of it was asked for
 *   inspect_object.c    a code object to a JSON value
 *   inspect_text.c      that value to lines for people
 *
 * Text and --json are made from one value, so that neither shows what the other does not.
 */
#ifndef HUTCH_TOOLS_INSPECT_H
#define HUTCH_TOOLS_INSPECT_H

#include "loader/loader.h"

#include <jansson.h>

struct inspect_file {
    const char *path;
    const uint8_t *bytes;
    uint64_t size;
    bool functions; /* list every function */
};

/* A new reference; NULL where out of memory. verify: why the digest does not match, or NULL.
 * host: why it cannot run here, or NULL. */
json_t *inspect_object(const struct inspect_file *file, const struct abi_object *object,
                       const char *verify, const char *host);
/* ST_NO_MEMORY */
enum status inspect_text_object(const json_t *value, struct buffer *b,
                                struct error *err) must_check;
enum status inspect_text_module(const json_t *value, struct buffer *b,
                                struct error *err) must_check;

#endif
