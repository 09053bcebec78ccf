/*
 * hutch usage: the server's records, summed by app and period. Times are UTC. A request belongs
 * to the period it began in.
 */
#include "serve/usage.h"
#include "tools/app_cli.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

enum period {
    PERIOD_HOUR,
    PERIOD_DAY,
    PERIOD_MONTH,
    PERIOD_TOTAL
};

struct row {
    const char *app;
    int64_t began_s; /* of the period */
    uint64_t requests, errors, cold, cpu_ns, overhead_ns, wall_ns, queue_ns;
    uint64_t received_bytes, sent_bytes, memory_peak_bytes;
};

struct usage_command {
    enum period period;
    uint64_t since_ns, until_ns;
    const char **apps; /* only these; none: all */
    uint32_t app_count;
    struct arena names;
    const char *known[4096]; /* names seen, each once */
    uint32_t known_count;
    struct row *rows;
    size_t row_count, row_room, last;
    bool failed; /* out of memory, or too many apps */
};

/* ---- periods ----------------------------------------------------------------------------- */

static int64_t period_begin(enum period period, uint64_t unix_ns) {
    time_t s = (time_t)(unix_ns / 1000000000);
    struct tm t;
    if (period == PERIOD_TOTAL || !gmtime_r(&s, &t)) return 0;
    t.tm_min = t.tm_sec = 0;
    if (period != PERIOD_HOUR) t.tm_hour = 0;
    if (period == PERIOD_MONTH) t.tm_mday = 1;
    return (int64_t)timegm(&t);
}

static void period_text(enum period period, int64_t began_s, char ret[32]) {
    static const char *const formats[] = {"%Y-%m-%dT%H:00Z", "%Y-%m-%d", "%Y-%m", ""};
    time_t s = (time_t)began_s;
    struct tm t;
    if (period == PERIOD_TOTAL || !gmtime_r(&s, &t)) {
        snprintf(ret, 32, "total");
        return;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    strftime(ret, 32, formats[period], &t);
#pragma GCC diagnostic pop
}

/* "2026-11-25", "2026-11-25T10:30", "2026-11-25T10:30:00Z", or "7d", "24h": so long ago. */
static enum status parse_time(const char *option, const char *text, uint64_t *ret_ns,
                              struct error *err) {
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ",
                                          "%Y-%m-%dT%H:%M:%S",  "%Y-%m-%dT%H:%M",
                                          "%Y-%m-%d",           "%Y-%m"};
    for (size_t i = 0; i < countof(formats); i++) {
        struct tm t = {.tm_mday = 1};
        const char *end = strptime(text, formats[i], &t);
        if (!end || *end) continue;
        time_t s = timegm(&t);
        if (s < 0) break;
        *ret_ns = (uint64_t)s * 1000000000;
        return ST_OK;
    }
    uint64_t ago = 0;
    char *end = NULL;
    unsigned long long days = strtoull(text, &end, 10);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    bool known = false;
    if (text[0] >= '0' && text[0] <= '9' && strcmp(end, "d") == 0 && days < 36500) {
        ago = days * 86400 * UINT64_C(1000000000);
        known = true;
    } else if (*text && !strchr("0123456789.", text[strlen(text) - 1])) {
        known = cli_parse_duration(text, &ago, NULL) == ST_OK;
    }
    if (!known)
        return error_set(
            err, ST_USAGE,
            "--%s %s: give a date (2026-11-25), a time (2026-11-25T10:30, UTC), or "
            "how long ago (12h, 7d)",
            option, text);
    *ret_ns = ago < now_ns ? now_ns - ago : 0;
    return ST_OK;
}

/* ---- sums -------------------------------------------------------------------------------- */

static const char *intern(struct usage_command *c, const char *name) {
    for (uint32_t i = 0; i < c->known_count; i++)
        if (strcmp(c->known[i], name) == 0) return c->known[i];
    char *copy =
        c->known_count < countof(c->known) ? arena_string(&c->names, name, strlen(name)) : NULL;
    if (!copy) {
        c->failed = true;
        return NULL;
    }
    return c->known[c->known_count++] = copy;
}

static struct row *row_of(struct usage_command *c, const char *name, int64_t began_s) {
    /* Records come in order: nearly always it is one of the last. */
    for (size_t i = c->row_count; i-- > 0;)
        if (c->rows[i].began_s == began_s && strcmp(c->rows[i].app, name) == 0)
            return &c->rows[i];
    if (c->row_count == c->row_room) {
        size_t room = c->row_room ? c->row_room * 2 : 64;
        struct row *rows = realloc(c->rows, room * sizeof *rows);
        if (!rows) {
            c->failed = true;
            return NULL;
        }
        c->rows = rows;
        c->row_room = room;
    }
    const char *app = intern(c, name);
    if (!app) return NULL;
    c->rows[c->row_count] = (struct row){.app = app, .began_s = began_s};
    return &c->rows[c->row_count++];
}

static bool wanted(const struct usage_command *c, const char *app) {
    for (uint32_t i = 0; i < c->app_count; i++)
        if (strcmp(c->apps[i], app) == 0) return true;
    return c->app_count == 0;
}

static bool visit(void *context, const char *app, const struct usage_record *r) {
    struct usage_command *c = context;
    if (r->began_unix_ns < c->since_ns || r->began_unix_ns >= c->until_ns || !wanted(c, app))
        return true;
    struct row *row = row_of(c, app, period_begin(c->period, r->began_unix_ns));
    if (!row) return false;
    if (r->type == USAGE_OVERHEAD) {
        row->overhead_ns += r->cpu_ns;
        return true;
    }
    row->requests++;
    row->errors += r->status >= 500;
    row->cold += (r->flags & USAGE_COLD) != 0;
    row->cpu_ns += r->cpu_ns;
    row->wall_ns += r->wall_ns;
    row->queue_ns += r->queue_ns;
    row->received_bytes += r->received_bytes;
    row->sent_bytes += r->sent_bytes;
    if (r->memory_peak_bytes > row->memory_peak_bytes)
        row->memory_peak_bytes = r->memory_peak_bytes;
    return true;
}

static int compare(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->began_s != y->began_s) return x->began_s < y->began_s ? -1 : 1;
    return strcmp(x->app, y->app);
}

/* ---- output ------------------------------------------------------------------------------ */

/* The columns of CSV and members of JSON, in this order. */
#define COLUMNS(X)                                                                             \
    X(requests)                                                                                \
    X(errors)                                                                                  \
    X(cold)                                                                                    \
    X(cpu_ns)                                                                                  \
    X(overhead_ns)                                                                             \
    X(wall_ns)                                                                                 \
    X(queue_ns)                                                                                \
    X(received_bytes)                                                                          \
    X(sent_bytes)                                                                              \
    X(memory_peak_bytes)

static void print_csv(const struct usage_command *c) {
    char period[32];
    printf("period,app");
#define X(name) printf("," #name);
    COLUMNS(X)
#undef X
    printf("\n");
    for (size_t i = 0; i < c->row_count; i++) {
        const struct row *row = &c->rows[i];
        period_text(c->period, row->began_s, period);
        printf("%s,%s", period, row->app); /* an app's name has no comma or quote */
#define X(name) printf(",%" PRIu64, row->name);
        COLUMNS(X)
#undef X
        printf("\n");
    }
}

static enum status print_json(const struct usage_command *c, const struct usage_read *read,
                              struct error *err) {
    json_t *root = json_object(), *list = json_array();
    char period[32];
    int wrong = !root || !list;
    for (size_t i = 0; i < c->row_count && !wrong; i++) {
        const struct row *row = &c->rows[i];
        json_t *item = json_object();
        period_text(c->period, row->began_s, period);
        wrong |= json_object_set_new(item, "period", json_string(period));
        wrong |= json_object_set_new(item, "app", json_string(row->app));
#define X(name) wrong |= json_object_set_new(item, #name, json_integer((json_int_t)row->name));
        COLUMNS(X)
#undef X
        wrong |= json_array_append_new(list, item);
    }
    wrong |= json_object_set_new(root, "usage", list);
    wrong |=
        json_object_set_new(root, "damaged_records", json_integer((json_int_t)read->damaged));
    if (!wrong) wrong = json_dumpf(root, stdout, JSON_INDENT(2));
    json_decref(root);
    if (wrong) return error_set(err, ST_NO_MEMORY, "out of memory");
    printf("\n");
    return ST_OK;
}

static const char *text_time(uint64_t ns, char ret[32]) {
    if (ns < 1000000)
        snprintf(ret, 32, "%.1f us", (double)ns / 1e3);
    else if (ns < 1000000000)
        snprintf(ret, 32, "%.1f ms", (double)ns / 1e6);
    else
        snprintf(ret, 32, "%.2f s", (double)ns / 1e9);
    return ret;
}

static const char *text_bytes(uint64_t bytes, char ret[32]) {
    if (bytes < 1024)
        snprintf(ret, 32, "%" PRIu64 " B", bytes);
    else if (bytes < 1u << 20)
        snprintf(ret, 32, "%.1f KiB", (double)bytes / 1024);
    else if (bytes < 1u << 30)
        snprintf(ret, 32, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(ret, 32, "%.2f GiB", (double)bytes / (1 << 30));
    return ret;
}

static void print_table(const struct usage_command *c) {
    char period[32], t[3][32], b[3][32];
    printf("%-18s%-20s%10s%8s%7s%12s%12s%12s%12s%12s%12s\n", "PERIOD", "APP", "REQUESTS",
           "ERRORS", "COLD", "CPU", "START CPU", "TIME", "IN", "OUT", "PEAK");
    for (size_t i = 0; i < c->row_count; i++) {
        const struct row *row = &c->rows[i];
        period_text(c->period, row->began_s, period);
        printf("%-18s%-20s%10" PRIu64 "%8" PRIu64 "%7" PRIu64 "%12s%12s%12s%12s%12s%12s\n",
               period, row->app, row->requests, row->errors, row->cold,
               text_time(row->cpu_ns, t[0]), text_time(row->overhead_ns, t[1]),
               text_time(row->wall_ns, t[2]), text_bytes(row->received_bytes, b[0]),
               text_bytes(row->sent_bytes, b[1]), text_bytes(row->memory_peak_bytes, b[2]));
    }
    if (c->row_count == 0) printf("no requests\n");
}

/* ---- the command ------------------------------------------------------------------------- */

static enum status choose_period(const char *text, enum period *ret, struct error *err) {
    static const char *const words[] = {"hour", "day", "month", "total", NULL};
    for (size_t i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = (enum period)i;
            return ST_OK;
        }
    return error_set(err, ST_USAGE, "--by %s: give hour, day, month or total", text);
}

/* Where `hutch serve` leaves them, unless it was told otherwise. */
static void default_directory(char *path, size_t size) {
    const char *systemd = getenv("STATE_DIRECTORY"), *state = getenv("XDG_STATE_HOME"),
               *home = getenv("HOME");
    if (systemd && *systemd)
        snprintf(path, size, "%s/usage", systemd);
    else if (geteuid() == 0)
        snprintf(path, size, "/var/lib/hutch/usage");
    else if (state && *state)
        snprintf(path, size, "%s/hutch/usage", state);
    else
        snprintf(path, size, "%s/.local/state/hutch/usage", home ? home : "");
}

static enum status print(struct usage_command *c, const char *state_dir, bool json, bool csv,
                         struct error *err) {
    char directory[4096];
    struct usage_read read;
    if (state_dir)
        snprintf(directory, sizeof directory, "%s/usage", state_dir);
    else
        default_directory(directory, sizeof directory);
    enum status status = usage_read(directory, visit, c, &read, err);
    if (status == ST_NOT_FOUND)
        return error_set(
            err, status,
            "%s: no records are there; --state-dir says where the server keeps its "
            "state",
            directory);
    if (status != ST_OK) return status;
    if (c->failed) return error_set(err, ST_NO_MEMORY, "out of memory, or over 4096 apps");
    if (c->row_count) qsort(c->rows, c->row_count, sizeof *c->rows, compare);
    if (json)
        status = print_json(c, &read, err);
    else if (csv)
        print_csv(c);
    else
        print_table(c);
    if (read.damaged) {
        struct error note = {0};
        error_set(&note, ST_DAMAGED, "%" PRIu64 " records are damaged or missing, first in %s",
                  read.damaged, read.first_damaged);
        cli_note("usage", NULL, &note);
    }
    return status;
}

int cmd_usage(int argc, char **argv) {
    struct error err = {0};
    const char *since = NULL, *until = NULL, *by = "total", *state_dir = NULL;
    bool json = false, csv = false, help = false;
    auto_free struct usage_command *c = calloc(1, sizeof *c);
    auto_free const char **words = calloc(2 * ((size_t)argc + 1), sizeof *words);
    if (!c || !words)
        return cli_report("usage", NULL,
                          (error_set(&err, ST_NO_MEMORY, "out of memory"), &err));
    c->until_ns = UINT64_MAX;
    c->apps = words + argc + 1;
    const struct argument table[] = {
        {.name = "app", .values = words + argc + 1, .value_count = &c->app_count},
        {.name = "since", .value = &since},
        {.name = "until", .value = &until},
        {.name = "by", .value = &by},
        {.name = "state-dir", .value = &state_dir},
        {.name = "json", .flag = &json},
        {.name = "csv", .flag = &csv},
        {.letter = 'h', .name = "help", .flag = &help},
    };
    uint32_t count = 0;
    enum status status =
        arguments_parse(argc, argv, table, countof(table), words, &count, &err);
    if (status == ST_OK && help) {
        help_print("usage");
        return EXIT_DONE;
    }
    if (status == ST_OK && count)
        status = error_set(&err, ST_USAGE, "unexpected argument '%.60s'", words[0]);
    if (status == ST_OK && json && csv)
        status = error_set(&err, ST_USAGE, "--json and --csv: give one");
    if (status == ST_OK) status = choose_period(by, &c->period, &err);
    if (status == ST_OK && since) status = parse_time("since", since, &c->since_ns, &err);
    if (status == ST_OK && until) status = parse_time("until", until, &c->until_ns, &err);
    if (status == ST_OK) status = print(c, state_dir, json, csv, &err);
    free(c->rows);
    arena_finish(&c->names);
    return status == ST_OK ? EXIT_DONE : cli_report("usage", NULL, &err);
}
