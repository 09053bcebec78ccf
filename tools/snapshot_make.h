/*
 * Making a snapshot: a program is run until it waits for a request, is sent the warm-up
 * requests, and written out; then the file is resumed once and sent one request more, to see
 * what that touches. A CGI program does not wait: snapshot_cgi.c finds where its start-up ends.
 */
#ifndef HUTCH_TOOLS_SNAPSHOT_MAKE_H
#define HUTCH_TOOLS_SNAPSHOT_MAKE_H

#include "loader/tenant_config.h"

struct snapshot_request {
    const uint8_t *bytes; /* of a CGI program's: the body */
    size_t size_bytes;
    const char *const *env; /* the request's variables, for a CGI program */
    uint32_t envc;
};
struct snapshot_make {
    const struct tenant_config *config; /* its descriptors stay the caller's; without the
                                         * variables of requests */
    struct arena *arena;
    const struct snapshot_request *warm_ups;
    uint32_t warm_up_count;
    const struct snapshot_request *trial; /* for the working set; NULL: none is recorded */
    uint64_t timeout_ms;                  /* for each step */
    /* Whether what came in answer to a warm-up request is right; NULL: anything is. */
    enum status (*check)(void *context, uint32_t warm_up, const uint8_t *bytes, size_t size,
                         struct error *err);
    void *context;
    void (*note)(const char *text); /* a line for a person; may be NULL */
};

/* ret_fd: a memory file, its digest made. ST_GUEST-like failures say what the program did. */
enum status snapshot_make(const struct snapshot_make *make, int *ret_fd,
                          struct error *err) must_check;

#endif
