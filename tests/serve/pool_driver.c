/*
 * The pool by itself, for the tests: commands on stdin, what happened on stdout, one JSON
 * object a line. Not part of the product.
 *
 *     pool_driver HUTCH-TENANT SPARES [MAX-TENANTS [HIBERNATE-DIR]]
 *
 *     app NAME OBJECT INTERFACE REUSE [KEY=NUMBER...]   cpu_ms wall_ms start_ms queue_ms memory
 *                                                      stack log instances warm queue idle_ms
 *                                                      hibernates
 *     env NAME=VALUE                       of the apps that follow
 *     image GUEST-PATH FILE                of the apps that follow
 *     snapshot FILE                        of the apps that follow
 *     request APP ID [TEXT]                TEXT (backslash n for a newline) is written to the
 *                                          stream, which is then shut for writing
 *     open APP ID [TEXT]                   the same, but the stream stays open
 *     close ID | cancel ID | break ID      of a request under way
 *     remove APP
 *     tenants | numbers | app-numbers APP
 *     wait N                               until N more requests have ended
 *     sleep MS
 *
 * Ends at the end of stdin, when nothing is under way.
 */
#include "loader/tenant_protocol.h"
#include "serve/pool.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>

struct call {
    uint64_t id;
    struct pool_request *request;
    int stream;
    struct event *event;
    char *answer;
    size_t answer_size;
    bool ended, closed;
    json_t *outcome;
    struct call *next;
};

static struct event_base *base;
static struct pool *pool;
static struct call *calls;
static const char *env[64];
static uint32_t env_count;
static struct tenant_dir dirs[16];
static uint32_t dir_count;
static int snapshot_fd = -1;
static unsigned waiting_for, under_way;
static bool held, at_end; /* commands wait; there are no more */
static struct event *commands, *sleeper;

static void print(json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

static void fail(const char *what, const struct error *err) {
    print(json_pack("{ssssss}", "event", "error", "what", what, "message",
                    err ? err->message : ""));
}

static json_t *text_json(const char *text, size_t length) {
    json_t *string = json_stringn(text, length);
    return string ? string : json_string("(not UTF-8)");
}

/* Both have come: the outcome, and the end of the stream. */
static void settle(struct call *c) {
    if (!c->ended || !c->closed) return;
    json_object_set_new(c->outcome, "answer", text_json(c->answer, c->answer_size));
    print(c->outcome);
    for (struct call **at = &calls; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    event_free(c->event);
    close(c->stream);
    free(c->answer);
    free(c);
    under_way--;
    if (waiting_for && --waiting_for == 0) held = false;
}

static void on_stream(evutil_socket_t fd, short events, void *context) {
    (void)events;
    struct call *c = context;
    char bytes[65536];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        event_del(c->event);
        c->closed = true;
        settle(c);
        return;
    }
    if (c->answer_size > 1 << 20) return; /* enough of it */
    char *grown = realloc(c->answer, c->answer_size + (size_t)n);
    if (!grown) abort();
    memcpy(grown + c->answer_size, bytes, (size_t)n);
    c->answer = grown;
    c->answer_size += (size_t)n;
}

static void on_done(void *context, const struct pool_outcome *o) {
    static const char *const ends[] = {
        [POOL_DONE] = "done",   [POOL_EXITED] = "exited", [POOL_TRAPPED] = "trapped",
        [POOL_LIMIT] = "limit", [POOL_DIED] = "died",     [POOL_CANCELLED] = "cancelled"};
    struct call *c = context;
    c->request = NULL;
    c->ended = true;
    c->outcome = json_pack(
        "{ss sI ss ss si ss sI sI sI sI sb sI}", "event", "done", "id", (json_int_t)c->id,
        "end", ends[o->end], "limit", pool_limit_name(o->limit), "status", o->status, "report",
        o->report, "cpu_ns", (json_int_t)o->cpu_ns, "wall_ns", (json_int_t)o->wall_ns,
        "queue_ns", (json_int_t)o->queue_ns, "memory", (json_int_t)o->memory_peak_bytes, "cold",
        o->cold, "tenant", (json_int_t)o->tenant);
    settle(c);
}

static void on_log(void *context, const struct pool_log_line *line) {
    (void)context;
    print(json_pack("{ss ss sI so sb}", "event", "log", "app", pool_app_name(line->app),
                    "request", (json_int_t)line->request, "text",
                    text_json(line->text, line->length), "remark", line->remark));
}

static void on_event(void *context, const char *text) {
    (void)context;
    print(json_pack("{ssss}", "event", "pool", "text", text));
}

static void find(void *context, struct pool_app *app) {
    struct {
        const char *name;
        struct pool_app *found;
    } *wanted = context;
    if (strcmp(wanted->name, pool_app_name(app)) == 0) wanted->found = app;
}

static struct pool_app *app_named(const char *name) {
    struct {
        const char *name;
        struct pool_app *found;
    } wanted = {name, NULL};
    pool_each_app(pool, find, &wanted);
    return wanted.found;
}

static struct call *call_of(uint64_t id) {
    struct call *c = calls;
    while (c && c->id != id) c = c->next;
    return c;
}

static void add_app(char *rest) {
    char *name = strsep(&rest, " "), *object = strsep(&rest, " "),
         *interface = strsep(&rest, " ");
    char *reuse = strsep(&rest, " ");
    if (!reuse) {
        fail("app", NULL);
        return;
    }
    auto_fd int fd = open(object, O_RDONLY | O_CLOEXEC);
    const char *argv[] = {name};
    struct pool_app_config config = {
        .name = name,
        .interface = strcmp(interface, "cgi") == 0    ? POOL_CGI
                     : strcmp(interface, "http") == 0 ? POOL_HTTP
                                                      : POOL_FASTCGI,
        .reuse = strcmp(reuse, "keep") == 0    ? POOL_KEEP
                 : strcmp(reuse, "reset") == 0 ? POOL_RESET
                                               : POOL_FRESH,
        .object_fd = fd,
        .snapshot_fd = snapshot_fd,
        .counters_fd = -1,
        .argc = 1,
        .argv = argv,
        .envc = env_count,
        .env = env,
        .dir_count = dir_count,
        .dirs = dirs,
    };
    for (char *word; (word = strsep(&rest, " "));) {
        char *key = strsep(&word, "=");
        uint64_t value = word ? strtoull(word, NULL, 10) : 0;
        struct pool_limits *l = &config.limits;
        if (strcmp(key, "cpu_ms") == 0) l->cpu_ns = value * 1000000;
        if (strcmp(key, "wall_ms") == 0) l->wall_ns = value * 1000000;
        if (strcmp(key, "start_ms") == 0) l->start_ns = value * 1000000;
        if (strcmp(key, "queue_ms") == 0) l->queue_ns = value * 1000000;
        if (strcmp(key, "memory") == 0) l->memory_bytes = value;
        if (strcmp(key, "stack") == 0) l->stack_bytes = value;
        if (strcmp(key, "log") == 0) l->log_bytes = value;
        if (strcmp(key, "instances") == 0) config.max_instances = (uint32_t)value;
        if (strcmp(key, "warm") == 0) config.warm = (uint32_t)value;
        if (strcmp(key, "queue") == 0) config.max_queue = (uint32_t)value;
        if (strcmp(key, "requests") == 0) config.reuse_requests = (uint32_t)value;
        if (strcmp(key, "hibernates") == 0) config.hibernates = value;
        if (strcmp(key, "idle_ms") == 0) config.idle_ns = value * 1000000;
    }
    struct error err = {0};
    struct pool_app *app;
    if (pool_app_add(pool, &config, &app, &err) != ST_OK) fail(name, &err);
}

static void request(char *rest, bool keep_open) {
    char *name = strsep(&rest, " "), *id = strsep(&rest, " ");
    struct pool_app *app = app_named(name);
    int ends[2];
    if (!app || !id || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        fail("request", NULL);
        return;
    }
    struct call *c = calloc(1, sizeof *c);
    if (!c) abort();
    c->id = strtoull(id, NULL, 10);
    c->stream = ends[0];
    (void)fcntl(c->stream, F_SETFL, O_NONBLOCK);
    c->event = event_new(base, c->stream, EV_READ | EV_PERSIST, on_stream, c);
    char number[64];
    snprintf(number, sizeof number, "REQUEST_ID=%s", id);
    const char *request_env[] = {number, "GATEWAY_INTERFACE=CGI/1.1"};
    struct error err = {0};
    struct pool_submission submission = {.stream_fd = ends[1],
                                         .id = c->id,
                                         .envc = 2,
                                         .env = request_env,
                                         .done = on_done,
                                         .context = c};
    if (pool_submit(app, &submission, &c->request, &err) != ST_OK) {
        print(json_pack("{sssIssss}", "event", "refused", "id", (json_int_t)c->id, "kind",
                        status_text(err.status), "message", err.message));
        event_free(c->event);
        close(c->stream);
        free(c);
        return;
    }
    event_add(c->event, NULL);
    c->next = calls;
    calls = c;
    under_way++;
    for (char *at = rest; at && *at; at++) {
        char byte = *at;
        if (byte == '\\' && at[1] == 'n') {
            byte = '\n';
            at++;
        }
        if (write(c->stream, &byte, 1) != 1) break;
    }
    if (!keep_open) shutdown(c->stream, SHUT_WR);
}

static void show_tenant(void *context, const struct pool_tenant_numbers *n) {
    static const char *const states[] = {"starting", "spare", "prepared", "warming",
                                         "idle",     "busy",  "ending"};
    json_array_append_new(context,
                          json_pack("{sI si ss ss sI sI sI}", "tenant", (json_int_t)n->tenant,
                                    "pid", n->pid, "state", states[n->state], "app",
                                    n->app ? pool_app_name(n->app) : "", "requests",
                                    (json_int_t)n->requests, "cpu_ns", (json_int_t)n->cpu_ns,
                                    "memory", (json_int_t)n->memory_bytes));
}

static void show_numbers(void) {
    struct pool_numbers n;
    pool_numbers(pool, &n);
    json_t *layers = json_array();
    for (unsigned i = 0; i < SANDBOX_LAYER_COUNT; i++)
        if (n.layers >> i & 1)
            json_array_append_new(layers,
                                  json_string(sandbox_layer_name((enum sandbox_layer)i)));
    print(json_pack("{ss si si si sI sI sb so}", "event", "numbers", "spares", (int)n.spares,
                    "prepared", (int)n.prepared, "tenants", (int)n.tenants, "forks",
                    (json_int_t)n.forks, "restarts", (json_int_t)n.zygote_restarts, "up", n.up,
                    "layers", layers));
}

static void show_app(const char *name) {
    struct pool_app *app = app_named(name);
    struct pool_app_numbers n;
    if (!app) {
        fail("app-numbers", NULL);
        return;
    }
    pool_app_numbers(app, &n);
    print(json_pack(
        "{ss si sI sI sI sI si si si si sI sI sI sI sI}", "event", "app", "hibernated",
        (int)n.hibernated, "hibernations", (json_int_t)n.hibernations, "resumes",
        (json_int_t)n.resumes, "failures", (json_int_t)n.hibernate_failures, "given_up",
        (json_int_t)n.hibernated_refused, "starting", (int)n.starting, "idle", (int)n.idle,
        "busy", (int)n.busy, "queued", (int)n.queued, "requests", (json_int_t)n.requests,
        "cold", (json_int_t)n.cold_starts, "cpu_ns", (json_int_t)n.cpu_ns, "overhead_cpu_ns",
        (json_int_t)n.overhead_cpu_ns, "log_bytes", (json_int_t)n.log_bytes));
}

static void drained(void *context) {
    print(json_pack("{ssss}", "event", "drained", "app", (const char *)context));
    free(context);
}

static void on_sleep(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events, (void)context;
    held = false;
}

static void command(char *line) {
    char *rest = line, *word = strsep(&rest, " ");
    if (strcmp(word, "app") == 0 && rest) add_app(rest);
    if (strcmp(word, "env") == 0 && rest && env_count < countof(env))
        env[env_count++] = strdup(rest);
    if (strcmp(word, "image") == 0 && rest && dir_count < countof(dirs)) {
        char *guest = strdup(strsep(&rest, " "));
        dirs[dir_count++] = (struct tenant_dir){.fd = open(rest, O_RDONLY | O_CLOEXEC),
                                                .guest = guest,
                                                .read_only = true,
                                                .image = true};
    }
    if (strcmp(word, "snapshot") == 0 && rest) snapshot_fd = open(rest, O_RDONLY | O_CLOEXEC);
    if (strcmp(word, "request") == 0 && rest) request(rest, false);
    if (strcmp(word, "open") == 0 && rest) request(rest, true);
    struct call *c = rest ? call_of(strtoull(rest, NULL, 10)) : NULL;
    if (strcmp(word, "close") == 0 && c) shutdown(c->stream, SHUT_WR);
    if (strcmp(word, "cancel") == 0 && c && c->request) pool_cancel(c->request);
    if (strcmp(word, "break") == 0 && c && c->request)
        pool_break(c->request, POOL_LIMIT_OUTPUT);
    if (strcmp(word, "remove") == 0 && rest && app_named(rest))
        pool_app_remove(app_named(rest), drained, strdup(rest));
    if (strcmp(word, "numbers") == 0) show_numbers();
    if (strcmp(word, "app-numbers") == 0 && rest) show_app(rest);
    if (strcmp(word, "tenants") == 0) {
        json_t *list = json_array();
        pool_each_tenant(pool, show_tenant, list);
        print(json_pack("{ssso}", "event", "tenants", "list", list));
    }
    if (strcmp(word, "wait") == 0 && rest && under_way) {
        waiting_for = (unsigned)strtoul(rest, NULL, 10);
        if (waiting_for > under_way) waiting_for = under_way;
        if (waiting_for) held = true;
    }
    if (strcmp(word, "sleep") == 0 && rest) {
        long ms = strtol(rest, NULL, 10);
        held = true;
        event_add(sleeper, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    }
}

static char input[1 << 20];
static size_t input_size;

/* Runs whole lines, as long as commands are listened to. */
static void run_lines(void) {
    char *newline;
    while (!held && (newline = memchr(input, '\n', input_size))) {
        size_t length = (size_t)(newline - input) + 1;
        static char line[1 << 20];
        memcpy(line, input, length - 1);
        line[length - 1] = '\0';
        memmove(input, input + length, input_size - length);
        input_size -= length;
        command(line);
    }
}

static void on_commands(evutil_socket_t fd, short events, void *context) {
    (void)events, (void)context;
    ssize_t n = read(fd, input + input_size, sizeof input - input_size);
    if (n <= 0) {
        at_end = true;
        event_del(commands);
        return;
    }
    input_size += (size_t)n;
    run_lines();
}

static void on_turn(evutil_socket_t fd, short events, void *context) {
    (void)fd, (void)events, (void)context;
    run_lines(); /* lines that waited */
    if (at_end && !held && under_way == 0) event_base_loopbreak(base);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    base = event_base_new();
    struct pool_options options = {
        .tenant_program = argv[1],
        .spares = (uint32_t)atoi(argv[2]),
        .max_tenants = argc > 3 ? (uint32_t)atoi(argv[3]) : 0,
        .hibernate_dir = argc > 4 ? argv[4] : NULL,
        .prepared = getenv("POOL_PREPARED") ? (uint32_t)atoi(getenv("POOL_PREPARED")) : 0,
        .log = on_log,
        .event = on_event,
    };
    struct error err = {0};
    if (!base || pool_create(base, &options, &pool, &err) != ST_OK) {
        fail("pool", &err);
        return 1;
    }
    commands = event_new(base, 0, EV_READ | EV_PERSIST, on_commands, NULL);
    sleeper = event_new(base, -1, 0, on_sleep, NULL);
    struct event *turn = event_new(base, -1, EV_PERSIST, on_turn, NULL);
    event_add(commands, NULL);
    event_add(turn, &(struct timeval){.tv_usec = 1000});
    event_base_dispatch(base);
    pool_destroy(pool);
    event_free(commands);
    event_free(sleeper);
    event_free(turn);
    event_base_free(base);
    return 0;
}
