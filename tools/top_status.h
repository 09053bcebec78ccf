/*
 * What `hutch top` shows: the server's /status, and what the kernel says of its tenants'
 * memory.
 */
#ifndef HUTCH_TOOLS_TOP_STATUS_H
#define HUTCH_TOOLS_TOP_STATUS_H

#include "base/base.h"

#include <jansson.h>

#define TOP_ADMIN_DEFAULT "unix:/run/hutch/admin.sock"

struct top_app {
    const char *name, *interface, *reuse; /* borrowed from the JSON */
    uint64_t requests, errors, in_flight, queued, starting, idle, busy, hibernated, cold_starts;
    uint64_t cpu_ns, overhead_cpu_ns;
    double p50_s, p99_s;
    /* Of its tenants' processes; memory_known: at least one could be read. */
    bool memory_known;
    uint64_t private_bytes, shared_bytes, pss_bytes;
    uint32_t sampled, tenants;
};
struct top_status {
    json_t *root;
    const char *version;
    uint64_t time_ns, started_ns, connections, tenants, spares;
    bool draining;
    struct top_app *apps;
    uint32_t app_count;
};

/* Asks the admin listener at address ("unix:PATH", "/PATH", "HOST:PORT", "PORT"). ST_IO,
 * ST_MALFORMED: no answer of a server of ours. */
enum status top_status_get(const char *address, struct top_status *ret_status,
                           struct error *err) must_check;
/* Reads smaps_rollup of the tenants (at most 256 of an app, the rest by proportion). Needs the
 * rights to see them: root or the server's user. */
void top_status_memory(struct top_status *status);
void top_status_finish(struct top_status *status);

#endif
