/*
 * The admin listener's /status -> struct top_status. One request, HTTP/1.0, read to its end.
 */
#include "tools/top_status.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define SAMPLES 256u

/* ---- the request ------------------------------------------------------------------------- */

static enum status connect_unix(const char *path, int *ret_fd, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, ST_USAGE, "%s: the path is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return error_set_errno(err, ST_IO, "%s: no server answers", path);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status connect_tcp(const char *address, int *ret_fd, struct error *err) {
    char host[256] = "localhost";
    const char *colon = strrchr(address, ':'), *port = colon ? colon + 1 : address;
    size_t length = colon ? (size_t)(colon - address) : 0;
    if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
        address++;
        length -= 2;
    }
    if (length >= sizeof host) return error_set(err, ST_USAGE, "%s: no address", address);
    if (length) {
        memcpy(host, address, length);
        host[length] = '\0';
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int why = getaddrinfo(host, port, &hints, &list);
    if (why) return error_set(err, ST_IO, "%s port %s: %s", host, port, gai_strerror(why));
    auto_fd int fd = -1;
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) < 0) {
            int saved = errno;
            close(fd);
            fd = -1;
            errno = saved;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) return error_set_errno(err, ST_IO, "%s port %s: no server answers", host, port);
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

static enum status ask(const char *address, struct buffer *b, struct error *err) {
    static const char request[] = "GET /status HTTP/1.0\r\nHost: hutch\r\n\r\n";
    const struct timeval patience = {.tv_sec = 10};
    auto_fd int fd = -1;
    enum status status = ST_OK;
    if (strncmp(address, "unix:", 5) == 0)
        status = connect_unix(address + 5, &fd, err);
    else if (strchr(address, '/'))
        status = connect_unix(address, &fd, err);
    else
        status = connect_tcp(address, &fd, err);
    if (status != ST_OK) return status;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1)
        return error_set_errno(err, ST_IO, "%s", address);
    uint8_t piece[16384];
    ssize_t n;
    while ((n = recv(fd, piece, sizeof piece, 0)) > 0 && b->size < ANSWER_MAX)
        buffer_put(b, piece, (size_t)n);
    if (n < 0) return error_set_errno(err, ST_IO, "%s", address);
    return buffer_status(b, err);
}

/* ---- the answer -------------------------------------------------------------------------- */

static uint64_t number(const json_t *object, const char *key) {
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}
static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void take_app(const json_t *item, struct top_app *ret) {
    *ret = (struct top_app){
        .name = text(item, "name"),
        .interface = text(item, "interface"),
        .reuse = text(item, "reuse"),
        .requests = number(item, "requests"),
        .errors = number(item, "errors"),
        .in_flight = number(item, "in_flight"),
        .queued = number(item, "queued"),
        .starting = number(item, "tenants_starting"),
        .idle = number(item, "tenants_idle"),
        .busy = number(item, "tenants_busy"),
        .hibernated = number(item, "hibernated"),
        .cold_starts = number(item, "cold_starts"),
        .cpu_ns = number(item, "cpu_ns"),
        .overhead_cpu_ns = number(item, "overhead_cpu_ns"),
        .p50_s = json_number_value(json_object_get(item, "p50_s")),
        .p99_s = json_number_value(json_object_get(item, "p99_s")),
    };
}

enum status top_status_get(const char *address, struct top_status *ret, struct error *err) {
    auto_buffer struct buffer b = {0};
    enum status status = ask(address, &b, err);
    if (status != ST_OK) return status;
    buffer_put_u8(&b, 0);
    if (b.failed) return error_set(err, ST_NO_MEMORY, "out of memory");
    const char *head = (const char *)b.bytes, *body = strstr(head, "\r\n\r\n");
    if (strncmp(head, "HTTP/1.", 7) != 0 || !body || strncmp(head + 8, " 200", 4) != 0)
        return error_set(err, ST_MALFORMED,
                         "%s: this is not the admin listener of a hutch server", address);
    json_error_t why;
    json_t *root = json_loads(body + 4, 0, &why);
    const json_t *apps = json_object_get(root, "apps");
    if (!root || !json_is_array(apps)) {
        json_decref(root);
        return error_set(err, ST_MALFORMED, "%s: /status is not what it should be", address);
    }
    size_t count = json_array_size(apps);
    struct top_app *list = calloc(count ? count : 1, sizeof *list);
    if (!list) {
        json_decref(root);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count; i++) take_app(json_array_get(apps, i), &list[i]);
    *ret = (struct top_status){
        .root = root,
        .version = text(root, "version"),
        .time_ns = number(root, "time_unix_ns"),
        .started_ns = number(root, "started_unix_ns"),
        .connections = number(root, "connections"),
        .tenants = number(root, "tenants"),
        .spares = number(root, "spares"),
        .draining = json_is_true(json_object_get(root, "draining")),
        .apps = list,
        .app_count = (uint32_t)count,
    };
    return ST_OK;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* Own is what no file gives: a page of a file that happens to be mapped by this process alone
 * is "private" to the kernel, and yet the next tenant of the app takes no other. */
static bool read_rollup(uint64_t pid, struct top_app *app) {
    char path[64], line[160];
    snprintf(path, sizeof path, "/proc/%llu/smaps_rollup", (unsigned long long)pid);
    auto_file FILE *file = fopen(path, "re");
    if (!file) return false;
    bool any = false;
    uint64_t resident = 0, own = 0;
    while (fgets(line, sizeof line, file)) {
        char name[32];
        unsigned long long kib;
        if (sscanf(line, "%31[^:]: %llu kB", name, &kib) != 2) continue;
        any = true;
        if (strcmp(name, "Rss") == 0)
            resident = kib << 10;
        else if (strcmp(name, "Anonymous") == 0)
            own = kib << 10;
        else if (strcmp(name, "Pss") == 0)
            app->pss_bytes += kib << 10;
    }
    app->private_bytes += own;
    app->shared_bytes += resident > own ? resident - own : 0;
    return any;
}

void top_status_memory(struct top_status *s) {
    const json_t *list = json_object_get(s->root, "tenant_list");
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        const char *name = text(item, "app");
        for (uint32_t j = 0; j < s->app_count; j++) {
            struct top_app *app = &s->apps[j];
            if (strcmp(app->name, name) != 0) continue;
            app->tenants++;
            uint64_t pid = number(item, "pid");
            if (pid && app->sampled < SAMPLES && read_rollup(pid, app)) app->sampled++;
        }
    }
    for (uint32_t j = 0; j < s->app_count; j++) {
        struct top_app *app = &s->apps[j];
        app->memory_known = app->sampled > 0 || app->tenants == 0;
        if (!app->sampled) continue;
        app->private_bytes = app->private_bytes / app->sampled * app->tenants;
        app->pss_bytes = app->pss_bytes / app->sampled * app->tenants;
        app->shared_bytes = app->shared_bytes / app->sampled; /* the same pages for each */
    }
}

void top_status_finish(struct top_status *s) {
    json_decref(s->root);
    free(s->apps);
    *s = (struct top_status){0};
}
