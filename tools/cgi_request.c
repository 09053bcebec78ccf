/*
 * A CGI program's request as variables: which those are, and one that differs from another
 * wherever two requests may differ. What the server says of itself and of the app stays: the
 * program may have looked at it.
 */
#include "tools/cgi_order.h"

#include <string.h>

bool cgi_is_request_variable(const char *text) {
    static const char *const names[] = {
        "AUTH_TYPE",       "CONTENT_LENGTH",    "CONTENT_TYPE",   "DOCUMENT_ROOT",
        "DOCUMENT_URI",    "GATEWAY_INTERFACE", "HTTPS",          "ORIG_PATH_INFO",
        "PATH_INFO",       "PATH_TRANSLATED",   "QUERY_STRING",   "REDIRECT_STATUS",
        "REMOTE_ADDR",     "REMOTE_HOST",       "REMOTE_IDENT",   "REMOTE_PORT",
        "REMOTE_USER",     "REQUEST_METHOD",    "REQUEST_SCHEME", "REQUEST_URI",
        "SCRIPT_FILENAME", "SCRIPT_NAME",       "SERVER_ADDR",    "SERVER_NAME",
        "SERVER_PORT",     "SERVER_PROTOCOL",   "SERVER_SOFTWARE"};
    size_t length = strcspn(text, "=");
    if (strncmp(text, "HTTP_", 5) == 0) return true;
    for (size_t i = 0; i < countof(names); i++)
        if (strlen(names[i]) == length && memcmp(text, names[i], length) == 0) return true;
    return false;
}

static bool is(const char *text, const char *name) {
    size_t length = strlen(name);
    return strncmp(text, name, length) == 0 && text[length] == '=';
}

/* "SCRIPT_FILENAME=/srv/index.php": another file there, of the same kind. */
static void other_script(const char *text, const char *word, char *ret, size_t size) {
    const char *slash = strrchr(text, '/'), *dot = strrchr(text, '.');
    if (!slash || (dot && dot < slash)) dot = NULL;
    snprintf(ret, size, "%.*s/hutch-%s%s", slash ? (int)(slash - text) : 0, text, word,
             dot ? dot : "");
    if (!slash) snprintf(ret, size, "%s-%s", text, word);
}

static const char *other(struct arena *arena, enum cgi_variant variant, const char *text) {
    static const char *const stay[] = {"GATEWAY_INTERFACE", "SERVER_SOFTWARE", "DOCUMENT_ROOT",
                                       "REDIRECT_STATUS"};
    static const char *const given[][4] = {
        /* ONE, TWO, (PLAIN), OTHER */
        {"SERVER_PROTOCOL=HTTP/1.1", "SERVER_PROTOCOL=HTTP/1.0", "",
         "SERVER_PROTOCOL=HTTP/1.0"},
        {"REQUEST_METHOD=GET", "REQUEST_METHOD=POST", "", "REQUEST_METHOD=POST"},
        {"REQUEST_SCHEME=http", "REQUEST_SCHEME=https", "", "REQUEST_SCHEME=https"},
        {"REMOTE_ADDR=203.0.113.7", "REMOTE_ADDR=203.0.113.178", "",
         "REMOTE_ADDR=203.0.113.77"},
        {"SERVER_ADDR=203.0.113.8", "SERVER_ADDR=203.0.113.188", "",
         "SERVER_ADDR=203.0.113.78"},
        {"REMOTE_PORT=777", "REMOTE_PORT=8888", "", "REMOTE_PORT=7777"},
        {"SERVER_PORT=80", "SERVER_PORT=8080", "", "SERVER_PORT=8888"},
        {"HTTP_HOST=one.example", "HTTP_HOST=the.second.example", "",
         "HTTP_HOST=other.example:8888"},
        {"SERVER_NAME=one.example", "SERVER_NAME=the.second.example", "",
         "SERVER_NAME=other.example"},
        {"QUERY_STRING=a=1", "QUERY_STRING=hutch=other&body=two", "",
         "QUERY_STRING=hutch=other&request=1"},
        {"REQUEST_URI=/one?a=1", "REQUEST_URI=/hutch/second?hutch=other&body=two", "",
         "REQUEST_URI=/hutch/other?hutch=other&request=1"},
        {"CONTENT_LENGTH=0", "CONTENT_LENGTH=18", "", "CONTENT_LENGTH=18"},
        {"CONTENT_TYPE=text/plain", "CONTENT_TYPE=application/x-www-form-urlencoded", "",
         "CONTENT_TYPE=application/x-www-form-urlencoded"}};
    static const char *const words[] = {"one", "the-second", "plain", "other-request"};
    _Static_assert(sizeof CGI_OTHER_BODY - 1 == 18, "CONTENT_LENGTH");
    char room[4200];
    for (size_t i = 0; i < countof(stay); i++)
        if (is(text, stay[i])) return text;
    if (variant == CGI_PLAIN) return is(text, "QUERY_STRING") ? "QUERY_STRING=word" : text;
    for (size_t i = 0; i < countof(given); i++)
        if (strncmp(text, given[i][0], strcspn(given[i][0], "=") + 1) == 0)
            return given[i][variant];
    snprintf(room, sizeof room, "%.4000s-%s", text, words[variant]);
    if (is(text, "SCRIPT_FILENAME") || is(text, "SCRIPT_NAME"))
        other_script(text, words[variant], room, sizeof room);
    return arena_string(arena, room, strlen(room));
}

static bool has(const char *const *list, size_t count, const char *text) {
    size_t length = strcspn(text, "=") + 1;
    for (size_t i = 0; i < count; i++)
        if (strncmp(list[i], text, length) == 0) return true;
    return false;
}

enum status cgi_other_request(struct arena *arena, enum cgi_variant variant,
                              const char *const *env, uint32_t envc,
                              const char *const **ret_env, uint32_t *ret_envc,
                              struct error *err) {
    /* ONE and TWO have some that a request without a body, a session and a browser has not. */
    static const char *const more[] = {"CONTENT_LENGTH=0", "CONTENT_TYPE=text/plain",
                                       "HTTP_COOKIE=a=b", "HTTP_ACCEPT_LANGUAGE=xx"};
    /* The first ones also move the places of all others. */
    static const char *const first[] = {"HTTP_X_HUTCH_OTHER=1", "HTTP_AUTHORIZATION=Basic aDpo",
                                        "HTTPS=on"};
    uint32_t count = 0;
    const char **list =
        arena_array(arena, (size_t)envc + countof(more) + countof(first), sizeof *list);
    if (!list) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (size_t k = 0; variant == CGI_OTHER && k < countof(first); k++)
        list[count++] = first[k];
    for (uint32_t i = 0; i < envc; i++) {
        if (variant == CGI_OTHER && has(first, countof(first), env[i])) continue;
        list[count] = other(arena, variant, env[i]);
        if (!list[count++]) return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    for (size_t k = 0; variant != CGI_PLAIN && k < countof(more); k++) {
        if (has(env, envc, more[k])) continue;
        list[count] = other(arena, variant, more[k]);
        if (!list[count++]) return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    *ret_env = list;
    *ret_envc = count;
    return ST_OK;
}
