/*
 * What CGI and FastCGI share: a request as variables (RFC 3875 4.1), and the head of a script's
 * answer (6.3), which with a status line in front is also the head of an HTTP/1.1 answer.
 */
#ifndef HUTCH_SERVE_CGI_H
#define HUTCH_SERVE_CGI_H

#include "serve/exchange.h"

/* Variables: strings "NAME=VALUE", owned. */
struct cgi_env {
    struct buffer bytes;
    uint32_t *offsets;
    const char **strings; /* made by cgi_env_strings */
    uint32_t count, capacity;
    bool failed;
};
void cgi_env_add(struct cgi_env *env, const char *name, const char *value);
/* The array for pool_submission; NULL where memory ran out. Valid until the next add. */
const char *const *cgi_env_strings(struct cgi_env *env);
void cgi_env_finish(struct cgi_env *env);

/* Everything about the request. script: the part of the path that the app's route took;
 * path_info: what follows. content_length as text, or NULL where it is not known. */
struct cgi_request {
    const struct http_request *request;
    const struct exchange_client *client;
    const char *script_name, *path_info;
    const char *script_filename, *document_root; /* NULL: none */
};
void cgi_env_request(struct cgi_env *env, const struct cgi_request *request);

/* ---- answers ---- */

/*
 * The head of an app's answer: terminated by an empty line, lines end with LF or CR LF. http:
 * it begins with a status line. Hop-by-hop fields are dropped, Status and Location handled as
 * RFC 3875 6.3 has it. The strings lie in bytes, which are changed.
 * Returns NULL, or what is wrong with it.
 */
struct answer_head {
    struct http_response response;
    bool chunked, minor0;
};
const char *answer_head_read(char *bytes, size_t size, bool http, struct answer_head *ret_head);
/* How many bytes the head at the start of bytes takes; 0 where its end is not there yet. */
size_t answer_head_find(const char *bytes, size_t size);
#define ANSWER_HEAD_MAX ((size_t)64 << 10)

#endif
