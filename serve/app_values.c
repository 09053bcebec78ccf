/*
 * One scalar of app.yaml -> a size, a time, a name, a path. What does not fit is refused with
 * the spelling that would have been right. Texts come from a file that may be hostile: messages
 * quote at most the beginning of one.
 */
#include "serve/app_reading.h"

#include "cache/cache.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>

enum status app_scalar(struct reading *r, const struct tree_node *node, const char **ret_text) {
    if (node->kind != TREE_SCALAR && !(node->kind == TREE_NULL && node->text && node->text[0]))
        return app_refuse(r, node, "%s, but a single value is expected",
                          node->kind == TREE_MAP    ? "this is a mapping"
                          : node->kind == TREE_LIST ? "this is a list"
                                                    : "nothing is given");
    *ret_text = node->text;
    return ST_OK;
}

enum status app_read_text(struct reading *r, const struct tree_node *node, void *to) {
    return app_scalar(r, node, (const char **)to);
}

enum status app_read_word(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (!text[0]) return app_refuse(r, node, "is empty");
    *(const char **)to = text;
    return ST_OK;
}

/* ---- numbers ----------------------------------------------------------------------------- */

enum status app_read_size(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    bool digits = isdigit((unsigned char)text[0]), unit = false;
    unsigned shift = 0;
    if (digits) {
        if (end[0] == ' ' && end[1]) end++;
        static const char units[] = "KMG";
        const char *found = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
        if (found) {
            unit = true;
            shift = 10 * (unsigned)(found - units + 1);
            end++;
        }
        /* 64MiB, 64MB and 64M are the same: powers of two, as memory is counted. */
        if (unit && (*end == 'i' || *end == 'I')) end++;
        if (*end == 'b' || *end == 'B') end++;
    }
    uint64_t bytes;
    if (!digits || *end || errno || mul_overflows((uint64_t)n, UINT64_C(1) << shift, &bytes) ||
        bytes > (UINT64_C(1) << 50))
        return app_refuse(
            r, node, "'%.40s' is no size: give bytes, or a number with K, M or G (of 1024)",
            text);
    *(uint64_t *)to = bytes;
    return ST_OK;
}

enum status app_read_time(struct reading *r, const struct tree_node *node, void *to) {
    static const struct {
        const char *suffix;
        uint64_t ns;
    } units[] = {
        {"", 1000000000},
        {"s", 1000000000},
        {"ms", 1000000},
        {"us", 1000},
        {"ns", 1},
        {"m", 60000000000},
        {"min", 60000000000},
        {"h", 3600000000000},
        {"d", 86400000000000},
    };
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    const char *at = text;
    uint64_t whole = 0, part = 0, scale = 1;
    bool fits = isdigit((unsigned char)*at);
    for (; isdigit((unsigned char)*at); at++)
        fits = fits && whole < UINT64_C(1000000000000) &&
               (whole = whole * 10 + (uint64_t)(*at - '0'), true);
    if (*at == '.' && isdigit((unsigned char)at[1]))
        for (at++; isdigit((unsigned char)*at); at++)
            if (scale < 100000) { /* further digits are below what is measured */
                scale *= 10;
                part = part * 10 + (uint64_t)(*at - '0');
            }
    for (size_t i = 0; fits && i < countof(units); i++) {
        uint64_t ns;
        if (strcmp(at, units[i].suffix) != 0) continue;
        if (mul_overflows(whole, units[i].ns, &ns) ||
            add_overflows(ns, part * units[i].ns / scale, &ns))
            break;
        if (ns > UINT64_C(366) * 86400000000000) break;
        *(uint64_t *)to = ns;
        return ST_OK;
    }
    return app_refuse(r, node,
                      "'%.40s' is no time: give a number with ns, us, ms, s, m, h or d, as in "
                      "100ms (a bare number is seconds; at most a year)",
                      text);
}

static bool whole_number(const char *text, uint32_t most, uint32_t *ret) {
    uint32_t n = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text)) return false;
        n = n * 10 + (uint32_t)(*text - '0');
        if (n > most) return false;
    }
    *ret = n;
    return true;
}

enum status app_read_count(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (!whole_number(text, 1000000, to))
        return app_refuse(r, node, "'%.40s' is no whole number from 0 to 1000000", text);
    return ST_OK;
}

enum status app_read_instaboot_mode(struct reading *r, const struct tree_node *node, void *to) {
    (void)to;
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK || strcmp(text, "bootstrap") == 0) return status;
    return app_refuse(r, node,
                      "'%.40s' is not known here: the snapshot is taken once the requests are "
                      "answered (bootstrap)",
                      text);
}

enum status app_read_regex(struct reading *r, const struct tree_node *node, void *to) {
    char why[80];
    regex_t regex;
    const char *text;
    enum status status = app_read_text(r, node, to);
    if (status != ST_OK || app_scalar(r, node, &text) != ST_OK) return status;
    int error = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);
    if (!error) {
        regfree(&regex);
        return ST_OK;
    }
    regerror(error, &regex, why, sizeof why);
    return app_refuse(r, node, "'%.40s' is no regular expression: %s", text, why);
}

enum status app_read_statuses(struct reading *r, const struct tree_node *node, void *to) {
    struct app_expect *expect = (struct app_expect *)to; /* statuses is its first member */
    if (node->kind == TREE_NULL) return ST_OK;
    if (node->kind != TREE_LIST || node->count > countof(expect->statuses))
        return app_refuse(r, node, "give a list of at most %zu statuses",
                          countof(expect->statuses));
    for (const struct tree_node *item = node->first; item; item = item->next) {
        uint32_t n = 0;
        const char *text;
        enum status status = app_scalar(r, item, &text);
        if (status != ST_OK) return status;
        if (!whole_number(text, 599, &n) || n < 100)
            return app_refuse(r, item, "'%.40s' is no HTTP status", text);
        expect->statuses[expect->count++] = (uint16_t)n;
    }
    return ST_OK;
}

enum status app_read_boolean(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return app_refuse(r, node, "'%.40s' is neither true nor false", text);
    *(bool *)to = text[0] == 't';
    return ST_OK;
}

/* ---- words of a list --------------------------------------------------------------------- */

static enum status choose(struct reading *r, const struct tree_node *node,
                          const char *const *words, size_t count, size_t *ret) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    char all[120] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return ST_OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s",
                 i == 0          ? ""
                 : i + 1 < count ? ", "
                                 : " or ",
                 words[i]);
    }
    return app_refuse(r, node, "'%.40s' is none of %s", text, all);
}

#define WORD(name, word) word,
#define CHOICE(type, enumeration, LIST)                                                        \
    static const char *const type##_words[] = {LIST(WORD)};                                    \
    enum status app_read_##type(struct reading *r, const struct tree_node *node, void *to) {   \
        size_t at;                                                                             \
        enum status status = choose(r, node, type##_words, countof(type##_words), &at);        \
        if (status == ST_OK) *(enumeration *)to = (enumeration)at;                             \
        return status;                                                                         \
    }
CHOICE(interface, enum app_interface, APP_INTERFACES)
CHOICE(reuse, enum app_reuse, APP_REUSES)
CHOICE(share, enum app_share, APP_SHARES)
CHOICE(volume_kind, enum app_volume_kind, APP_VOLUME_KINDS)
CHOICE(survives, enum app_survives, APP_SURVIVES)
#undef CHOICE
#undef WORD

const char *app_interface_word(enum app_interface value) { return interface_words[value]; }
const char *app_reuse_word(enum app_reuse value) { return reuse_words[value]; }

enum status app_read_kind(struct reading *r, const struct tree_node *node, void *to) {
    static const char *const kinds[] = {"hutch.app/v1", "wasmer.io/App.v0"};
    size_t at;
    (void)to;
    return choose(r, node, kinds, countof(kinds), &at);
}

/* ---- names ------------------------------------------------------------------------------- */

static bool label(const char *text, size_t length) {
    if (length == 0 || length > 63 || text[0] == '-' || text[length - 1] == '-') return false;
    for (size_t i = 0; i < length; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) &&
            text[i] != '-')
            return false;
    return true;
}

enum status app_read_name(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (!label(text, strlen(text)))
        return app_refuse(r, node,
                          "'%.70s' is no name of an app: lower-case letters, digits and '-' "
                          "between them, at most 63",
                          text);
    *(const char **)to = text;
    return ST_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a > b && strcmp(text + a - b, end) == 0;
}

/* A file of the machine, relative to app.yaml. */
static enum status host_path(struct reading *r, const struct tree_node *node, const char *text,
                             const char **ret_path) {
    if (!text[0]) return app_refuse(r, node, "is empty");
    bool here = !r->directory[0] || strcmp(r->directory, ".") == 0;
    while (strncmp(text, "./", 2) == 0 && text[2] && text[2] != '/') text += 2;
    if (text[0] == '/' || here) {
        *ret_path = text;
        return ST_OK;
    }
    size_t a = strlen(r->directory), b = strlen(text);
    bool slash = r->directory[a - 1] != '/';
    char *path = arena_alloc(&r->app->arena, a + slash + b + 1);
    if (!path) return app_no_memory(r);
    memcpy(path, r->directory, a);
    if (slash) path[a] = '/';
    memcpy(path + a + slash, text, b);
    *ret_path = path;
    return ST_OK;
}

enum status app_read_file(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    return status == ST_OK ? host_path(r, node, text, to) : status;
}

enum status app_read_module(struct reading *r, const struct tree_node *node, void *to) {
    struct app_module *module = to;
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    bool file = ends_with(text, ".wasm") || text[0] == '/' || strncmp(text, "./", 2) == 0 ||
                strncmp(text, "../", 3) == 0;
    if (file) {
        module->kind = APP_MODULE_FILE;
        return host_path(r, node, text, &module->text);
    }
    if (strcmp(text, ".") == 0)
        return app_refuse(r, node,
                          "'.' means a wasmer.toml, which is not read here: name a "
                          ".wasm file, or name:tag of the cache");
    char name[CACHE_NAME_MAX];
    bool is_digest;
    struct digest digest;
    struct error why = {0};
    const char *at = strncmp(text, "sha256:", 7) == 0 ? "sha256:" : "";
    if (*at) {
        size_t digits = strspn(text + 7, "0123456789abcdef");
        if (digits != 64 || text[7 + 64])
            return app_refuse(r, node, "'%.80s': sha256: has 64 lower-case hex digits", text);
    } else if (cache_name_parse(text, name, &is_digest, &digest, &why) != ST_OK) {
        const char *version = strrchr(text, '@');
        if (version && version > text && version[1] && !strchr(version, ':') &&
            strspn(version + 1, "0123456789abcdefghijklmnopqrstuvwxyz.-") ==
                strlen(version + 1))
            return app_refuse(r, node,
                              "'%.80s' is a version of a package registry, which is not asked "
                              "here: name the cache's copy, as %.60s:%.20s",
                              text,
                              arena_string(&r->app->arena, text, (size_t)(version - text)),
                              version + 1);
        return app_refuse(r, node,
                          "'%.80s' is neither a .wasm file nor a name in the cache: %s", text,
                          why.message);
    }
    module->kind = APP_MODULE_NAME;
    module->text = text;
    return ST_OK;
}

enum status app_read_source(struct reading *r, const struct tree_node *node, void *to) {
    struct app_mount *mount =
        (struct app_mount *)((char *)to - offsetof(struct app_mount, source));
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (strncmp(text, "sha256:", 7) == 0) {
        if (strspn(text + 7, "0123456789abcdef") != 64 || text[7 + 64])
            return app_refuse(r, node, "'%.80s': sha256: has 64 lower-case hex digits", text);
        mount->kind = APP_MOUNT_DIGEST;
        mount->source = text;
        return ST_OK;
    }
    mount->kind = APP_MOUNT_PATH;
    return host_path(r, node, text, &mount->source);
}

/* ---- paths and hosts --------------------------------------------------------------------- */

/* Absolute and plain: what two ways of writing it could hide, is refused. A final '/' goes. */
static enum status plain_path(struct reading *r, const struct tree_node *node, const char *text,
                              const char **ret_path) {
    size_t length = strlen(text);
    if (text[0] != '/')
        return app_refuse(r, node, "'%.80s' must be absolute: /%.80s", text, text);
    if (length > 1024) return app_refuse(r, node, "is longer than 1024 bytes");
    for (const char *at = text; *at;) {
        const char *word = at + 1;
        size_t size = strcspn(word, "/");
        if ((size == 1 && word[0] == '.') || (size == 2 && word[0] == '.' && word[1] == '.'))
            return app_refuse(r, node, "'%.80s' may not hold . or ..", text);
        if (size == 0 && word[0]) return app_refuse(r, node, "'%.80s' holds //", text);
        at = word + size;
    }
    if (length > 1 && text[length - 1] == '/') length--;
    *ret_path = arena_string(&r->app->arena, text, length);
    return *ret_path ? ST_OK : app_no_memory(r);
}

enum status app_read_guest_path(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    return status == ST_OK ? plain_path(r, node, text, to) : status;
}

static bool printable(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f) return false;
    return true;
}

enum status app_read_url_path(struct reading *r, const struct tree_node *node, void *to) {
    const char *text;
    enum status status = app_scalar(r, node, &text);
    if (status != ST_OK) return status;
    if (text[0] != '/') return app_refuse(r, node, "'%.80s' must begin with /", text);
    if (strlen(text) > 8000) return app_refuse(r, node, "is longer than 8000 bytes");
    if (!printable(text) || strchr(text, '#'))
        return app_refuse(r, node, "'%.80s' holds a blank, # or a control character", text);
    *(const char **)to = text;
    return ST_OK;
}

static bool host_valid(const char *text) {
    if (text[0] == '[') { /* an IPv6 address */
        size_t digits = strspn(text + 1, "0123456789abcdef:.");
        return digits > 1 && strcmp(text + 1 + digits, "]") == 0;
    }
    if (strncmp(text, "*.", 2) == 0) text += 2;
    if (strlen(text) > 253) return false;
    for (;;) {
        size_t size = strcspn(text, ".");
        if (!label(text, size)) return false;
        if (!text[size]) return true;
        text += size + 1;
    }
}

enum status app_read_host(struct reading *r, const struct tree_node *node, void *to) {
    const char *text = "";
    if (node->kind != TREE_NULL) {
        enum status status = app_scalar(r, node, &text);
        if (status != ST_OK) return status;
    }
    if (strcmp(text, "*") == 0) text = "";
    char *host = arena_string(&r->app->arena, text, strlen(text));
    if (!host) return app_no_memory(r);
    for (char *at = host; *at; at++) *at = (char)tolower((unsigned char)*at);
    if (*host && !host_valid(host))
        return app_refuse(r, node,
                          "'%.80s' is no host: give a name such as shop.example or *.example, "
                          "without scheme and port",
                          text);
    *(const char **)to = host;
    return ST_OK;
}

enum status app_parse_route(struct reading *r, const struct tree_node *node, const char *text,
                            struct app_route *ret_route) {
    size_t host = strcspn(text, "/");
    struct tree_node part = *node;
    part.kind = TREE_SCALAR;
    char *name = arena_string(&r->app->arena, text, host);
    if (!name) return app_no_memory(r);
    part.text = name;
    enum status status = app_read_host(r, &part, &ret_route->host);
    if (status != ST_OK) return status;
    part.text = text[host] ? text + host : "/";
    return app_read_url_path(r, &part, &ret_route->path);
}
