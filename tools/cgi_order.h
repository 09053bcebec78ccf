/*
 * What the maker of a CGI program's snapshot says to the program's process, over the control
 * socket of tools/tenant_requests.h, and what that says back. Both ends are of the same build.
 *
 *     maker:  struct cgi_order + strings + fd   run for this request; fd: its stream
 *     tenant: struct cgi_reply 'X'   the first call that has to do with a request or an answer
 *             'P'                    a probe: the state before this call
 *             'F'                    here it was to freeze; obeys S until the socket ends
 *             'D'                    it has ended; obeys W until the socket ends
 */
#ifndef HUTCH_TOOLS_CGI_ORDER_H
#define HUTCH_TOOLS_CGI_ORDER_H

#include "tools/tenant_requests.h"

#define CGI_PROBES 16u
#define CGI_ENV_MAX_BYTES (UINT32_C(96) << 10)

struct cgi_order {
    char type;         /* 'C' */
    bool tame;         /* runtime.h, wasi_watch */
    bool without_dead; /* runtime.h, snapshot_state */
    bool plain;        /* its environment gets no room: as it is when nothing is frozen */
    bool stops;        /* ends after X, or after the last probe where there are any */
    uint32_t seed, probe_count, env_count, env_bytes;
    uint64_t first;     /* the number of the call before the first */
    uint64_t freeze_at; /* 0: nowhere */
    uint64_t probes[CGI_PROBES];
};
struct cgi_reply {
    char type;
    char call[32]; /* its name */
    uint32_t crc, asked;
    int32_t status;
    uint32_t import;
    uint64_t number, begin; /* begin: of the first call of the main function */
    uint64_t drawn;         /* the first call for the time or random numbers; 0: none so far */
    uint64_t guest_sp, slots;
};

/* The tenant's end (tenant_cgi.c). */
struct cgi_program {
    const struct requests *requests;
    struct cgi_order order;
    struct wasi_watch watch;
    int stream;
    uint64_t begin, drawn;
    uint32_t probe;
    bool told;
};
/* Takes the order; before the program is linked, which depends on it. */
enum status cgi_program_order(struct cgi_program *program, int socket,
                              struct error *err) must_check;
/* Makes the program ready for its request. */
enum status cgi_program_begin(struct cgi_program *program, const struct requests *requests,
                              struct error *err) must_check;
/* The program has ended with this exit status. Does not return. */
_Noreturn void cgi_program_ended(struct cgi_program *program, int status);
/* `hutch run` of a CGI program's snapshot: the last variables of its configuration are the
 * request's. */
enum status cgi_program_request(const struct requests *requests, struct error *err) must_check;

/* ---- requests (cgi_request.c) ---- */

/* Whether a variable is one of the request's (RFC 3875 4.1, and what servers add). */
bool cgi_is_request_variable(const char *text);
/*
 * Other requests than the one in env. Strings are the arena's.
 *     ONE, TWO    have the same variables in the same order, with other values
 *     PLAIN       env with a query that is a word
 *     OTHER       differs wherever a request may, also in which variables it has
 */
enum cgi_variant {
    CGI_ONE,
    CGI_TWO,
    CGI_PLAIN,
    CGI_OTHER,
    CGI_VARIANTS
};
enum status cgi_other_request(struct arena *arena, enum cgi_variant variant,
                              const char *const *env, uint32_t envc,
                              const char *const **ret_env, uint32_t *ret_envc,
                              struct error *err) must_check;
/* The body that goes with TWO and OTHER. */
#define CGI_OTHER_BODY "hutch=other&body=1"

#endif
