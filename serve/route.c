/*
 * Host and path of a request -> the site. The most particular host wins (the name itself, then
 * the longest wildcard, then any), among its routes the longest prefix.
 */
#include "serve/front.h"

#include <strings.h>

/* How well a route's host fits: 0 not at all, more is better. host has no port. */
static size_t fit_host(const char *route, const char *host, size_t length) {
    size_t size = strlen(route);
    if (!size) return 1;
    if (route[0] == '*') { /* "*.example.com": at least one label in its place */
        if (length <= size - 1 || strncasecmp(host + length - (size - 1), route + 1, size - 1))
            return 0;
        return 1 + size;
    }
    if (size != length || strncasecmp(route, host, length) != 0) return 0;
    return 4096;
}

/* Length of the prefix without a final slash, or -1. */
static ptrdiff_t fit_path(const char *prefix, const char *path) {
    size_t size = strlen(prefix);
    while (size && prefix[size - 1] == '/') size--;
    if (strncmp(prefix, path, size) != 0 || (path[size] && path[size] != '/')) return -1;
    return (ptrdiff_t)size;
}

struct site *route_find(const struct front *front, const char *host, const char *path,
                        size_t *ret_prefix_length) {
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    size_t length =
        colon && (!bracket || colon > bracket) ? (size_t)(colon - host) : strlen(host);
    if (length && host[length - 1] == '.') length--; /* a name's own root */
    struct site *best = NULL;
    size_t best_host = 0;
    ptrdiff_t best_path = -1;
    for (struct site *site = front->sites; site; site = site->next) {
        if (site->removed) continue;
        for (uint32_t i = 0; i < site->app->route_count; i++) {
            const struct app_route *route = &site->app->routes[i];
            size_t fit = fit_host(route->host, host, length);
            ptrdiff_t prefix = fit ? fit_path(route->path, path) : -1;
            if (prefix < 0 || fit < best_host || (fit == best_host && prefix <= best_path))
                continue;
            best = site;
            best_host = fit;
            best_path = prefix;
        }
    }
    if (best) *ret_prefix_length = (size_t)best_path;
    return best;
}
