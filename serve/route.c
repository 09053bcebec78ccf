/*
 * Host and path of a request -> the site. The most particular host wins (the name itself, then
 * the longest wildcard, then any), among its routes the longest prefix. Names are found by
 * halves, for there may be tens of thousands.
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

/* ---- the index --------------------------------------------------------------------------- */

static bool is_named(const struct app_route *route) {
    return route->host[0] && route->host[0] != '*';
}

static int by_host(const void *left, const void *right) {
    const struct route *a = left, *b = right;
    int order = (int)is_named(b->route) - (int)is_named(a->route);
    if (!order && is_named(a->route)) order = strcasecmp(a->route->host, b->route->host);
    return order ? order : (a->place > b->place) - (a->place < b->place);
}

static void forget_removed(struct routes *routes) {
    uint32_t kept = 0, named = 0;
    for (uint32_t i = 0; i < routes->count; i++) {
        if (routes->all[i].site->removed) continue;
        named += i < routes->named;
        routes->all[kept++] = routes->all[i];
    }
    routes->count = kept;
    routes->named = named;
}

enum status route_index(struct front *front, struct error *err) {
    size_t count = 0;
    forget_removed(&front->routes);
    for (const struct site *s = front->sites; s; s = s->next)
        if (!s->removed) count += s->app->route_count;
    struct routes routes = {.all = calloc(count + 1, sizeof *routes.all)};
    if (!routes.all) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (struct site *s = front->sites; s; s = s->next)
        for (uint32_t i = 0; i < s->app->route_count && !s->removed; i++) {
            const struct app_route *route = &s->app->routes[i];
            routes.all[routes.count] = (struct route){s, route, routes.count};
            routes.count++;
            routes.named += is_named(route);
        }
    qsort(routes.all, routes.count, sizeof *routes.all, by_host);
    route_index_free(front);
    front->routes = routes;
    return ST_OK;
}

void route_index_free(struct front *front) {
    free(front->routes.all);
    front->routes = (struct routes){0};
}

/* ---- finding ----------------------------------------------------------------------------- */

/* The first of the named routes whose host is not before this one. */
static uint32_t first_of(const struct routes *routes, const char *host, size_t length) {
    uint32_t low = 0, high = routes->named;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *name = routes->all[middle].route->host;
        int order = strncasecmp(name, host, length);
        if (order < 0) /* as long as host and equal: not before it */
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct site *route_find(const struct front *front, const char *host, const char *path,
                        size_t *ret_prefix_length) {
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    size_t length =
        colon && (!bracket || colon > bracket) ? (size_t)(colon - host) : strlen(host);
    if (length && host[length - 1] == '.') length--; /* a name's own root */
    const struct routes *routes = &front->routes;
    struct site *best = NULL;
    size_t best_host = 0;
    ptrdiff_t best_path = -1;
    for (uint32_t i = first_of(routes, host, length); i < routes->count; i++) {
        const struct route *r = &routes->all[i];
        size_t fit = fit_host(r->route->host, host, length);
        if (!fit && i < routes->named) {
            i = (best ? routes->count : routes->named) - 1; /* no more of this name */
            continue;
        }
        ptrdiff_t prefix = fit ? fit_path(r->route->path, path) : -1;
        if (prefix < 0 || fit < best_host || (fit == best_host && prefix <= best_path))
            continue;
        best = r->site;
        best_host = fit;
        best_path = prefix;
    }
    if (best) *ret_prefix_length = (size_t)best_path;
    return best;
}
