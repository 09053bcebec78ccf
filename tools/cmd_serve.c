/*
 * hutch serve: the command line of the server.
 */
#include "tools/serve_cli.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct serve_command {
    struct serve_options options;
    const char *head_time, *body_time, *write_time, *idle_time, *drain_time;
    const char *head_size, *line_size, *spares, *prepared, *tenants, *connections, *level;
    const char *keep_free, *max_hibernated;
    bool help;
};

static enum status take_duration(const char *option, const char *text, uint64_t *ret,
                                 struct error *err) {
    if (!text) return ST_OK;
    enum status status = cli_parse_duration(text, ret, err);
    return status == ST_OK ? ST_OK : error_wrap(err, "--%s %s", option, text);
}

static enum status take_size(const char *option, const char *text, uint64_t min, uint64_t max,
                             uint64_t *ret, struct error *err) {
    if (!text) return ST_OK;
    enum status status = cli_parse_size(text, ret, err);
    if (status == ST_OK && (*ret < min || *ret > max))
        status = error_set(err, ST_USAGE, "from %llu to %llu bytes", (unsigned long long)min,
                           (unsigned long long)max);
    return status == ST_OK ? ST_OK : error_wrap(err, "--%s %s", option, text);
}

static enum status take_number(const char *option, const char *text, uint64_t min, uint64_t max,
                               uint32_t *ret, struct error *err) {
    uint64_t number;
    if (!text) return ST_OK;
    enum status status = arguments_number(option, text, min, max, &number, err);
    if (status == ST_OK) *ret = (uint32_t)number;
    return status;
}

static enum status take_values(struct serve_command *c, struct kit_maker *maker,
                               struct error *err) {
    struct serve_options *o = &c->options;
    enum status status = ST_OK;
    if (c->level) status = cli_parse_level(c->level, &maker->compile.level, err);
    const struct {
        const char *option, *text;
        uint64_t *to;
    } times[] = {{"header-timeout", c->head_time, &o->head_ns},
                 {"body-timeout", c->body_time, &o->body_ns},
                 {"write-timeout", c->write_time, &o->write_ns},
                 {"idle-timeout", c->idle_time, &o->idle_ns},
                 {"drain-timeout", c->drain_time, &o->drain_ns}};
    for (size_t i = 0; i < countof(times) && status == ST_OK; i++)
        status = take_duration(times[i].option, times[i].text, times[i].to, err);
    if (status == ST_OK)
        status = take_size("max-header", c->head_size, 1024, 48 << 10, &o->head_bytes, err);
    if (status == ST_OK)
        status =
            take_size("max-request-line", c->line_size, 256, 32 << 10, &o->line_bytes, err);
    if (status == ST_OK)
        status = take_size("keep-free", c->keep_free, 0, UINT64_MAX, &o->keep_free_bytes, err);
    if (status == ST_OK)
        status = take_size("max-hibernated", c->max_hibernated, 0, UINT64_MAX,
                           &o->max_hibernated_bytes, err);
    if (status == ST_OK) status = take_number("spares", c->spares, 1, 1000, &o->spares, err);
    if (status == ST_OK)
        status = take_number("prepared", c->prepared, 0, 1000, &o->prepared, err);
    if (status == ST_OK)
        status = take_number("max-tenants", c->tenants, 1, 100000, &o->max_tenants, err);
    if (status == ST_OK)
        status = take_number("max-connections", c->connections, 1, 1000000, &o->max_connections,
                             err);
    if (status == ST_OK && o->line_bytes > o->head_bytes)
        status = error_set(err, ST_USAGE, "--max-request-line is more than --max-header");
    return status;
}

/* Where records lie: systemd's StateDirectory=, /var/lib/hutch for root, the user's own. */
static const char *default_state_dir(char *path, size_t size) {
    const char *systemd = getenv("STATE_DIRECTORY"), *state = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    if (systemd && *systemd) return systemd;
    if (geteuid() == 0)
        snprintf(path, size, "/var/lib/hutch");
    else if (state && *state)
        snprintf(path, size, "%s/hutch", state);
    else if (home && *home)
        snprintf(path, size, "%s/.local/state/hutch", home);
    else
        return NULL;
    return path;
}

static enum status make_directories(const char *path, struct error *err) {
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return error_set_errno(err, ST_IO, "cannot make the directory %s", part);
        *at = '/';
    }
    if (mkdir(part, 0750) < 0 && errno != EEXIST)
        return error_set_errno(err, ST_IO, "cannot make the directory %s", part);
    return ST_OK;
}

int cmd_serve(int argc, char **argv) {
    struct error err = {0};
    struct kit_maker maker = {.compile = compile_defaults(),
                              .secrets_dir = "/etc/hutch/secrets"};
    struct serve_command c = {.options = serve_defaults()};
    struct serve_options *o = &c.options;
    size_t room = (size_t)argc + 1;
    auto_free const char **lists = calloc(4 * room, sizeof *lists);
    if (!lists)
        return cli_report("serve", NULL,
                          (error_set(&err, ST_NO_MEMORY, "out of memory"), &err));
    o->sources = lists;
    o->listen = lists + room;
    o->fastcgi_listen = lists + 2 * room;
    o->admin_listen = lists + 3 * room;
    const struct argument table[] = {
        {.letter = 'l',
         .name = "listen",
         .values = lists + room,
         .value_count = &o->listen_count},
        {.name = "fastcgi-listen",
         .values = lists + 2 * room,
         .value_count = &o->fastcgi_count},
        {.name = "admin", .values = lists + 3 * room, .value_count = &o->admin_count},
        {.name = "state-dir", .value = &o->state_dir},
        {.name = "access-log", .value = &o->access_log},
        {.name = "log", .value = &o->log},
        {.name = "cache-dir", .value = &maker.cache_dir},
        {.name = "secrets-dir", .value = &maker.secrets_dir},
        {.name = "profile-dir", .value = &maker.profile_dir},
        {.letter = 'O', .name = "optimize", .value = &c.level},
        {.name = "header-timeout", .value = &c.head_time},
        {.name = "body-timeout", .value = &c.body_time},
        {.name = "write-timeout", .value = &c.write_time},
        {.name = "idle-timeout", .value = &c.idle_time},
        {.name = "drain-timeout", .value = &c.drain_time},
        {.name = "max-header", .value = &c.head_size},
        {.name = "max-request-line", .value = &c.line_size},
        {.name = "max-connections", .value = &c.connections},
        {.name = "max-tenants", .value = &c.tenants},
        {.name = "spares", .value = &c.spares},
        {.name = "prepared", .value = &c.prepared},
        {.name = "cgroup", .value = &o->cgroup},
        {.name = "keep-free", .value = &c.keep_free},
        {.name = "max-hibernated", .value = &c.max_hibernated},
        {.letter = 'h', .name = "help", .flag = &c.help},
    };
    enum status status =
        arguments_parse(argc, argv, table, countof(table), lists, &o->source_count, &err);
    if (status == ST_OK && c.help) {
        help_print("serve");
        return EXIT_DONE;
    }
    if (status == ST_OK) status = take_values(&c, &maker, &err);
    if (status == ST_OK && !o->source_count)
        status = error_set(&err, ST_USAGE,
                           "no app is given: an app.yaml, a directory of them, or a name");
    char tenant[4096], state[4096];
    if (status == ST_OK) status = cli_find_program("hutch-tenant", tenant, sizeof tenant, &err);
    if (!o->state_dir) o->state_dir = default_state_dir(state, sizeof state);
    if (status == ST_OK && o->state_dir) status = make_directories(o->state_dir, &err);
    if (status == ST_OK && maker.profile_dir)
        status = make_directories(maker.profile_dir, &err);
    if (status != ST_OK) return cli_report("serve", NULL, &err);
    o->tenant_program = tenant;
    maker.compile.profile_generate = maker.profile_dir != NULL;
    if (maker.profile_dir) {
        o->keep_counts = serve_counts_keep;
        o->take_counts = serve_counts_take;
    }
    o->make_kit = serve_kit_make;
    o->read_done = serve_seen_forget;
    o->mend_kit = serve_kit_mend;
    o->read_name = serve_kit_read_name;
    o->context = &maker;
    maker.state_dir = o->state_dir;
    status = serve_run(o, &err);
    if (status == ST_OK) return EXIT_DONE;
    return status == ST_EXIT ? EXIT_FAILED : cli_report("serve", NULL, &err);
}
