/*
 * The server with native programs in the place of tenants: the front, FastCGI, limits of
 * clients, logs and records under test, with whatever a test wants to answer, however wrong.
 * What real tenants do is for test_serve.py with the real pool.
 *
 *     serve-native [--listen ADDRESS] [--fastcgi-listen ADDRESS] [--admin ADDRESS]
 *                  [--state-dir DIR] [--access-log FILE] [--log FILE] [--short] APP.yaml...
 *
 * An app's program is its args; its stdin and stdout are the stream, on every interface. How it
 * exits says how the request ended: 0 done, 70 trapped, 71 memory, 72 CPU, 73 wall, 74 died,
 * others exited. --short makes the clients' timeouts a second.
 */
#include "serve/pool.h"
#include "serve/serve.h"

#include <event2/event.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct pool {
    struct event_base *base;
    struct pool_options options;
    struct event *child_ended;
    struct pool_request *requests;
    uint64_t forks;
};
struct pool_app {
    struct pool *pool;
    struct pool_app_config config;
    char *name, **argv;
    uint32_t busy;
    bool removed;
    void (*drained)(void *context);
    void *drained_context;
};
struct pool_request {
    struct pool_request *next;
    struct pool_app *app;
    struct pool_submission submission;
    pid_t pid;
    bool cancelled;
    uint64_t started_ns;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t timeval_ns(struct timeval t) {
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static void app_over(struct pool_app *app) {
    if (!app->removed || app->busy) return;
    if (app->drained) app->drained(app->drained_context);
    for (char **a = app->argv; *a; a++) free(*a);
    free(app->argv);
    free(app->name);
    free(app);
}

static void end(struct pool *pool, struct pool_request *r, int status,
                const struct rusage *used) {
    static const struct {
        int code;
        enum pool_end end;
        enum pool_limit limit;
    } ends[] = {{70, POOL_TRAPPED, POOL_LIMIT_NONE},
                {71, POOL_LIMIT, POOL_LIMIT_MEMORY},
                {72, POOL_LIMIT, POOL_LIMIT_CPU},
                {73, POOL_LIMIT, POOL_LIMIT_WALL},
                {74, POOL_DIED, POOL_LIMIT_NONE}};
    struct pool_outcome o = {.end = POOL_EXITED, .report = "", .tenant = (uint64_t)r->pid};
    o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (o.status == 0) o.end = POOL_DONE;
    for (size_t i = 0; i < countof(ends); i++)
        if (ends[i].code == o.status) {
            o.end = ends[i].end;
            o.limit = ends[i].limit;
            o.report = "error: wasm trap: as the test wants it\n  0: 0x12 - app!main";
        }
    if (r->cancelled) o.end = POOL_CANCELLED;
    o.cpu_ns = timeval_ns(used->ru_utime) + timeval_ns(used->ru_stime);
    o.wall_ns = now_ns() - r->started_ns;
    o.memory_peak_bytes = 65536;
    o.cold = true;
    struct pool_request **link = &pool->requests;
    while (*link != r) link = &(*link)->next;
    *link = r->next;
    r->submission.done(r->submission.context, &o);
    r->app->busy--;
    app_over(r->app);
    free(r);
}

static void on_child(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    struct pool *pool = context;
    int status;
    struct rusage used;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;)
        for (struct pool_request *r = pool->requests, *next; r; r = next) {
            next = r->next;
            if (r->pid == pid) end(pool, r, status, &used);
        }
}

enum status pool_create(struct event_base *base, const struct pool_options *options,
                        struct pool **ret_pool, struct error *err) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return error_set(err, ST_NO_MEMORY, "out of memory");
    pool->base = base;
    pool->options = *options;
    pool->child_ended = evsignal_new(base, SIGCHLD, on_child, pool);
    event_add(pool->child_ended, NULL);
    *ret_pool = pool;
    return ST_OK;
}

void pool_destroy(struct pool *pool) {
    while (pool->requests) {
        struct rusage used;
        int status;
        struct pool_request *r = pool->requests;
        kill(r->pid, SIGKILL);
        wait4(r->pid, &status, 0, &used);
        end(pool, r, 74 << 8, &used);
    }
    event_free(pool->child_ended);
    free(pool);
}

enum status pool_app_add(struct pool *pool, const struct pool_app_config *config,
                         struct pool_app **ret_app, struct error *err) {
    struct pool_app *app = calloc(1, sizeof *app);
    if (!app) return error_set(err, ST_NO_MEMORY, "out of memory");
    app->pool = pool;
    app->config = *config;
    app->name = strdup(config->name);
    app->argv = calloc(config->argc + (size_t)1, sizeof *app->argv);
    for (uint32_t i = 1; i < config->argc; i++) app->argv[i - 1] = strdup(config->argv[i]);
    *ret_app = app;
    return ST_OK;
}

void pool_app_remove(struct pool_app *app, void (*drained)(void *context), void *context) {
    app->removed = true;
    app->drained = drained;
    app->drained_context = context;
    app_over(app);
}

void *pool_app_context(const struct pool_app *app) { return app->config.context; }
const char *pool_app_name(const struct pool_app *app) { return app->name; }
const char *pool_limit_name(enum pool_limit limit) {
    static const char *const names[] = {"none",  "memory", "cpu",   "wall",
                                        "start", "queue",  "output"};
    return names[limit];
}

enum status pool_submit(struct pool_app *app, const struct pool_submission *s,
                        struct pool_request **ret_request, struct error *err) {
    struct pool_request *r = calloc(1, sizeof *r);
    if (!r || app->busy >= app->config.max_instances) {
        close(s->stream_fd);
        free(r);
        return error_set(err, ST_LIMIT, "the queue is full");
    }
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(s->stream_fd, 0);
        dup2(s->stream_fd, 1);
        if (s->env) {
            clearenv();
            for (uint32_t i = 0; i < s->envc; i++) putenv(strdup(s->env[i]));
        }
        execv(app->argv[0], app->argv);
        _exit(127);
    }
    close(s->stream_fd);
    *r = (struct pool_request){.next = app->pool->requests,
                               .app = app,
                               .submission = *s,
                               .pid = pid,
                               .started_ns = now_ns()};
    app->pool->requests = r;
    app->pool->forks++;
    app->busy++;
    if (ret_request) *ret_request = r;
    return ST_OK;
}

void pool_cancel(struct pool_request *r) {
    r->cancelled = true;
    kill(r->pid, SIGKILL);
}

void pool_answer_began(struct pool_request *r) { (void)r; }
void pool_answer_ended(struct pool_request *r) { (void)r; }

void pool_break(struct pool_request *r, enum pool_limit limit) {
    (void)limit;
    kill(r->pid, SIGKILL);
}

void pool_make_room(struct pool *pool) { (void)pool; }
uint32_t pool_hibernate_all(struct pool *pool) {
    (void)pool;
    return 0;
}

void pool_numbers(const struct pool *pool, struct pool_numbers *ret) {
    *ret = (struct pool_numbers){.up = true, .forks = pool->forks};
}
void pool_app_numbers(const struct pool_app *app, struct pool_app_numbers *ret) {
    *ret = (struct pool_app_numbers){.busy = app->busy};
}
void pool_each_app(struct pool *pool, void (*visit)(void *context, struct pool_app *app),
                   void *context) {
    (void)pool;
    (void)visit;
    (void)context;
}
void pool_each_tenant(struct pool *pool,
                      void (*visit)(void *context, const struct pool_tenant_numbers *tenant),
                      void *context) {
    for (struct pool_request *r = pool->requests; r; r = r->next)
        visit(context, &(struct pool_tenant_numbers){.tenant = (uint64_t)r->pid,
                                                     .pid = r->pid,
                                                     .state = POOL_TENANT_BUSY,
                                                     .app = r->app});
}

static enum status make_kit(void *context, struct serve_kit *kit, struct error *err) {
    (void)context;
    kit->object_fd = fileno(tmpfile());
    kit->argv = arena_array(&kit->arena, kit->app->args.count + (size_t)1, sizeof *kit->argv);
    if (!kit->argv) return error_set(err, ST_NO_MEMORY, "out of memory");
    kit->argv[kit->argc++] = "native";
    for (uint32_t i = 0; i < kit->app->args.count; i++)
        kit->argv[kit->argc++] = kit->app->args.items[i];
    return ST_OK;
}

int main(int argc, char **argv) {
    struct serve_options o = serve_defaults();
    const char **lists = calloc(4 * (size_t)argc, sizeof *lists);
    const char **sources = lists, **listens = lists + argc, **fastcgi = lists + 2 * argc,
               **admin = lists + 3 * argc;
    if (!lists) return 1;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(word, "--short") == 0) {
            o.head_ns = o.body_ns = o.write_ns = o.idle_ns = o.drain_ns = 1000000000;
            continue;
        }
        if (strncmp(word, "--", 2) != 0) {
            sources[o.source_count++] = word;
            continue;
        }
        i++;
        if (strcmp(word, "--listen") == 0) listens[o.listen_count++] = value;
        if (strcmp(word, "--fastcgi-listen") == 0) fastcgi[o.fastcgi_count++] = value;
        if (strcmp(word, "--admin") == 0) admin[o.admin_count++] = value;
        if (strcmp(word, "--state-dir") == 0) o.state_dir = value;
        if (strcmp(word, "--access-log") == 0) o.access_log = value;
        if (strcmp(word, "--log") == 0) o.log = value;
        if (strcmp(word, "--max-connections") == 0)
            o.max_connections = (uint32_t)strtoul(value, NULL, 10);
    }
    o.sources = sources;
    o.listen = listens;
    o.fastcgi_listen = fastcgi;
    o.admin_listen = admin;
    o.make_kit = make_kit;
    struct error err = {0};
    enum status status = serve_run(&o, &err);
    if (status != ST_OK) fprintf(stderr, "serve-native: %s\n", err.message);
    free(lists);
    return status == ST_OK ? 0 : 1;
}
