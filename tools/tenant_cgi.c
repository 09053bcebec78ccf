/*
 * A CGI program that is made to a snapshot, as its process has it: run for the request of an
 * order, looked at where the order says (cgi_order.h).
 */
#include "tools/cgi_order.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *env_strings;

static void reply(const struct cgi_program *p, struct cgi_reply *r) {
    r->begin = p->begin;
    r->drawn = p->drawn;
    if (send(p->requests->config->requests.control_fd, r, sizeof *r, MSG_NOSIGNAL) < 0)
        _exit(0);
}

static void on_call(void *context, uint64_t number, const char *name,
                    const union abi_value *slots) {
    struct cgi_program *p = context;
    const struct cgi_order *o = &p->order;
    struct cgi_reply r = {.number = number};
    if (!p->requests->running) return;
    if (!p->begin) p->begin = number;
    snprintf(r.call, sizeof r.call, "%s", name);
    if (!p->drawn && (strcmp(name, "random_get") == 0 || strcmp(name, "clock_time_get") == 0))
        p->drawn = number;
    while (p->probe < o->probe_count && o->probes[p->probe] == number) {
        struct error ignored = {0};
        r.type = 'P';
        /* What cannot be written out is no place to freeze: it is like nothing else. */
        r.asked = wasi_environment_asked(p->requests->wasi);
        if (snapshot_state(p->requests->instance, p->requests->wasi, o->without_dead, &r.crc,
                           &ignored) != ST_OK)
            r.asked = 2;
        reply(p, &r);
        if (++p->probe == o->probe_count && o->stops) _exit(0);
    }
    if (number == o->freeze_at) {
        struct snapshot_point point = snapshot_point(p->requests->instance);
        r.type = 'F';
        r.import = point.import;
        r.guest_sp = point.guest_sp;
        r.slots = point.slots;
        reply(p, &r);
        /* What is written out has no request in it. */
        struct error ignored = {0};
        struct guest_memory memory = instance_memory(p->requests->instance, 0);
        (void)!wasi_request_environment(p->requests->wasi, memory, 0, NULL, &ignored);
        requests_obey(p->requests);
    }
    if (!p->told && wasi_call_is_request(name, slots)) {
        p->told = true;
        r.type = 'X';
        reply(p, &r);
        if (o->stops && !o->probe_count) _exit(0);
    }
}

/* ---- the order --------------------------------------------------------------------------- */

enum status cgi_program_order(struct cgi_program *p, int socket, struct error *err) {
    static far_zeros union {
        struct cgi_order order;
        char bytes[sizeof(struct cgi_order) + CGI_ENV_MAX_BYTES];
    } message;
    ssize_t n;
    *p = (struct cgi_program){.stream = -1};
    do n = requests_receive(socket, &message, sizeof message, &p->stream);
    while (n < 0 && errno == EINTR);
    if (n == 0) _exit(0);
    const struct cgi_order *o = &message.order;
    if (n < (ssize_t)sizeof *o || o->type != 'C' || p->stream < 0 ||
        o->env_bytes != (size_t)n - sizeof *o)
        return error_set(err, ST_DAMAGED, "no order from the maker of the snapshot");
    p->order = *o;
    env_strings = message.bytes + sizeof *o;
    return ST_OK;
}

/* The request's variables behind those of the configuration. */
static enum status set_environment(const struct cgi_program *p, struct error *err) {
    const struct requests *r = p->requests;
    const struct tenant_config *c = r->config;
    uint32_t count = p->order.env_count;
    const char **env = calloc((size_t)c->envc + count + 1, sizeof *env);
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    const char *at = env_strings;
    for (uint32_t i = 0; i < c->envc; i++) env[i] = c->env[i];
    for (uint32_t i = 0; i < count; i++, at += strlen(at) + 1) env[c->envc + i] = at;
    enum status status;
    if (r->snapshot) {
        status = wasi_request_environment(r->wasi, instance_memory(r->instance, 0), (int)count,
                                          env + c->envc, err);
    } else {
        status = wasi_set_environment(r->wasi, (int)(c->envc + count), env, err);
        if (status == ST_OK && !p->order.plain)
            status = wasi_reserve_environment(r->wasi, c->envc, err);
    }
    free(env);
    return status;
}

enum status cgi_program_begin(struct cgi_program *p, const struct requests *requests,
                              struct error *err) {
    enum status status = ST_OK;
    p->requests = requests;
    if (requests->snapshot && !wasi_environment_reserved(requests->wasi))
        status = error_set(err, ST_INCOMPATIBLE, "the snapshot is of no CGI program");
    if (status == ST_OK) status = set_environment(p, err);
    const int stdio[3] = {p->stream, p->stream, STDERR_FILENO};
    if (status == ST_OK) status = wasi_set_stdio(requests->wasi, stdio, err);
    if (status != ST_OK) return status;
    p->watch = (struct wasi_watch){.call = on_call,
                                   .context = p,
                                   .number = p->order.first,
                                   .tame = p->order.tame,
                                   .seed = p->order.seed};
    wasi_watch(requests->wasi, &p->watch);
    return ST_OK;
}

void cgi_program_ended(struct cgi_program *p, int status) {
    struct cgi_reply r = {.type = 'D', .status = status, .number = p->watch.number};
    reply(p, &r);
    requests_obey(p->requests);
}

enum status cgi_program_request(const struct requests *r, struct error *err) {
    const struct tenant_config *c = r->config;
    uint32_t fixed = c->envc - c->requests.env_count;
    if (!wasi_environment_reserved(r->wasi))
        return error_set(err, ST_DAMAGED, "damaged snapshot: it is of no CGI program");
    return wasi_request_environment(r->wasi, instance_memory(r->instance, 0),
                                    (int)(c->envc - fixed), c->env + fixed, err);
}
