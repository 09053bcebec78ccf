/*
 * Where the trusted keys of this node and this user lie.
 */
#include "tools/bundle_cli.h"

#include <unistd.h>

static enum status add(struct trust_places *places, struct error *err, const char *directory,
                       const char *rest) {
    char *to = places->paths[places->count++];
    int n = snprintf(to, sizeof places->paths[0], "%s%s", directory, rest);
    if (n < 0 || (size_t)n >= sizeof places->paths[0])
        return error_set(err, ST_LIMIT, "the path is too long");
    return ST_OK;
}

enum status trust_places_find(const char *option, struct trust_places *ret_places,
                              struct error *err) {
    const char *own = getenv("HUTCH_TRUST_DIR"), *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    ret_places->count = 0;
    if (option) return add(ret_places, err, option, "");
    if (own && *own) return add(ret_places, err, own, "");
    enum status status = ST_OK;
    if (geteuid() != 0) {
        if (xdg && *xdg == '/')
            status = add(ret_places, err, xdg, "/hutch/trust.d");
        else if (home && *home)
            status = add(ret_places, err, home, "/.config/hutch/trust.d");
    }
    return status == ST_OK ? add(ret_places, err, "/etc/hutch/trust.d", "") : status;
}

enum status trust_places_load(const struct trust_places *places, struct trust *trust,
                              struct error *err) {
    for (uint32_t i = 0; i < places->count; i++) {
        enum status status = trust_load(places->paths[i], trust, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}
