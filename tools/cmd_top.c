/*
 * hutch top: the server as a table, again and again. Rates are between two looks; the first one
 * shows averages since the server started.
 */
#include "tools/app_cli.h"
#include "tools/top_status.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

struct top_command {
    const char *admin;
    uint64_t interval_ns;
    bool once, json;
};

static volatile sig_atomic_t ended;
static void on_signal(int number) {
    (void)number;
    ended = 1;
}

/* ---- rates ------------------------------------------------------------------------------- */

struct rates {
    double requests_per_s, cpu_share; /* 1: one processor */
};

static struct rates rates_of(const struct top_app *app, const struct top_status *now,
                             const struct top_status *before) {
    uint64_t requests = app->requests, cpu_ns = app->cpu_ns + app->overhead_cpu_ns;
    uint64_t from_ns = now->started_ns;
    for (uint32_t i = 0; before && i < before->app_count; i++) {
        const struct top_app *old = &before->apps[i];
        /* A server that was started anew counts from nothing. */
        if (strcmp(old->name, app->name) != 0 || old->requests > requests ||
            before->started_ns != now->started_ns)
            continue;
        requests -= old->requests;
        uint64_t old_cpu = old->cpu_ns + old->overhead_cpu_ns;
        cpu_ns = cpu_ns > old_cpu ? cpu_ns - old_cpu : 0;
        from_ns = before->time_ns;
    }
    double took_ns = now->time_ns > from_ns ? (double)(now->time_ns - from_ns) : 1;
    return (struct rates){.requests_per_s = (double)requests * 1e9 / took_ns,
                          .cpu_share = (double)cpu_ns / took_ns};
}

/* ---- text -------------------------------------------------------------------------------- */

static const char *time_text(double s, char ret[24]) {
    if (s <= 0)
        snprintf(ret, 24, "-");
    else if (s < 1e-3)
        snprintf(ret, 24, "%.0fus", s * 1e6);
    else if (s < 1)
        snprintf(ret, 24, "%.1fms", s * 1e3);
    else if (s < 100)
        snprintf(ret, 24, "%.1fs", s);
    else
        snprintf(ret, 24, "%.0fs", s);
    return ret;
}

static const char *bytes_text(bool known, uint64_t bytes, char ret[24]) {
    if (!known)
        snprintf(ret, 24, "-");
    else if (bytes < 10u << 20)
        snprintf(ret, 24, "%" PRIu64 "K", bytes >> 10);
    else if (bytes < UINT64_C(10) << 30)
        snprintf(ret, 24, "%" PRIu64 "M", bytes >> 20);
    else
        snprintf(ret, 24, "%" PRIu64 "G", bytes >> 30);
    return ret;
}

static int compare(const void *a, const void *b) {
    const struct top_app *x = a, *y = b;
    uint64_t left = x->cpu_ns + x->overhead_cpu_ns, right = y->cpu_ns + y->overhead_cpu_ns;
    if (left != right) return left < right ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Columns: X(title, width, leaves). On a narrow terminal those with the least number that is
 * not 0 leave first. */
/* clang-format off */
#define COLUMNS(X)                                                                             \
    X("SPEAKS",   7, 1) X("REUSE",    5, 2) X("BUSY",     5, 0) X("IDLE",     5, 0)            \
    X("SLEEP",    5, 3) X("QUEUE",    5, 6) X("REQ/S",    8, 7) X("REQUESTS", 9, 0)            \
    X("ERRORS",   7, 4) X("P50",      7, 0) X("P99",      7, 0) X("%CPU",     6, 5)            \
    X("CPU",      8, 0) X("PRIVATE",  7, 0) X("SHARED",   7, 0)
/* clang-format on */
static const struct column {
    const char *title;
    int width, leaves;
} columns[] = {
#define X(title, width, leaves) {title, width, leaves},
    COLUMNS(X)
#undef X
};
#define LEAVES_MOST 7
#define NAME_WIDTH 20
#define NAME_WIDTH_NARROW 14

/* Which columns stay where a line has room for so many characters (0: for all of them). */
static int columns_that_fit(int room, int *ret_name_width) {
    int left = 0;
    *ret_name_width = room && room < 100 ? NAME_WIDTH_NARROW : NAME_WIDTH;
    for (; room && left < LEAVES_MOST; left++) {
        int width = *ret_name_width;
        for (size_t i = 0; i < countof(columns); i++)
            if (!columns[i].leaves || columns[i].leaves > left) width += 1 + columns[i].width;
        if (width <= room) break;
    }
    return left;
}

static void print_cells(int left, const char *const cells[countof(columns)]) {
    for (size_t i = 0; i < countof(columns); i++)
        if (!columns[i].leaves || columns[i].leaves > left)
            printf(i < 2 ? " %-*s" : " %*s", columns[i].width, cells[i]);
}

static void print_app(const struct top_app *app, const struct rates *r, int left) {
    char number[6][24], text[4][24], time[3][24];
    const uint64_t numbers[] = {app->busy,       app->idle + app->starting,
                                app->hibernated, app->queued,
                                app->requests,   app->errors};
    for (size_t i = 0; i < countof(numbers); i++)
        snprintf(number[i], sizeof number[i], "%" PRIu64, numbers[i]);
    snprintf(text[0], sizeof text[0], "%.1f", r->requests_per_s);
    snprintf(text[1], sizeof text[1], "%.1f", r->cpu_share * 100);
    print_cells(left, (const char *const[]){
                          app->interface, app->reuse, number[0], number[1], number[2],
                          number[3], text[0], number[4], number[5],
                          time_text(app->p50_s, time[0]), time_text(app->p99_s, time[1]),
                          text[1], time_text((double)app->cpu_ns / 1e9, time[2]),
                          bytes_text(app->memory_known, app->private_bytes, text[2]),
                          bytes_text(app->memory_known, app->shared_bytes, text[3])});
}

/* rows, width: of the terminal; 0: as many as it takes. */
static void print_table(const struct top_status *now, const struct top_status *before,
                        const char *end, int rows, int width) {
    char up[24];
    const char *titles[countof(columns)];
    int name_width, left = columns_that_fit(width, &name_width);
    double up_s =
        now->time_ns > now->started_ns ? (double)(now->time_ns - now->started_ns) / 1e9 : 0;
    printf("hutch %s, up %s, %" PRIu64 " connections, %" PRIu64 " tenants (%" PRIu64
           " spare)%s%s\n",
           now->version, time_text(up_s, up), now->connections, now->tenants, now->spares,
           now->draining ? ", draining" : "", end);
    for (size_t i = 0; i < countof(columns); i++) titles[i] = columns[i].title;
    printf("%-*s", name_width, "APP");
    print_cells(left, titles);
    printf("%s\n", end);
    qsort(now->apps, now->app_count, sizeof *now->apps, compare);
    for (uint32_t i = 0; i < now->app_count && (rows <= 0 || (int)i < rows - 3); i++) {
        struct rates r = rates_of(&now->apps[i], now, before);
        printf("%-*.*s", name_width, name_width, now->apps[i].name);
        print_app(&now->apps[i], &r, left);
        printf("%s\n", end);
    }
}

/* /status as it came, with each app's rates and memory. */
static enum status print_json(const struct top_status *now, const struct top_status *before,
                              struct error *err) {
    json_t *apps = json_object_get(now->root, "apps");
    int wrong = 0;
    for (uint32_t i = 0; i < now->app_count; i++) {
        const struct top_app *app = &now->apps[i];
        struct rates r = rates_of(app, now, before);
        json_t *item = json_array_get(apps, i);
        wrong |= json_object_set_new(item, "requests_per_s", json_real(r.requests_per_s));
        wrong |= json_object_set_new(item, "cpu_share", json_real(r.cpu_share));
        if (!app->memory_known) continue;
        const struct {
            const char *key;
            uint64_t bytes;
        } memory[] = {{"private_bytes", app->private_bytes},
                      {"shared_bytes", app->shared_bytes},
                      {"pss_bytes", app->pss_bytes}};
        for (size_t j = 0; j < countof(memory); j++)
            wrong |= json_object_set_new(item, memory[j].key,
                                         json_integer((json_int_t)memory[j].bytes));
    }
    if (!wrong) wrong = json_dumpf(now->root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (wrong) return error_set(err, ST_NO_MEMORY, "out of memory");
    printf("\n");
    return ST_OK;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static struct winsize window(void) {
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row <= 4) size.ws_row = 24;
    if (!size.ws_col) size.ws_col = 80;
    return size;
}

/* Waits; true where q was pressed or a signal came. */
static bool wait_or_quit(uint64_t ns, bool keys) {
    struct pollfd in = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};
    if (poll(&in, 1, (int)(ns / 1000000)) > 0) {
        char key = 0;
        if (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 3)
            return true;
    }
    return ended;
}

static enum status watch(const struct top_command *c, struct error *err) {
    struct top_status before = {0}, now = {0};
    enum status status = ST_OK;
    for (bool again = false; status == ST_OK; again = true) {
        status = top_status_get(c->admin, &now, err);
        if (status != ST_OK) break;
        top_status_memory(&now);
        printf("\033[H");
        struct winsize size = window();
        print_table(&now, again ? &before : NULL, "\033[K", size.ws_row, size.ws_col);
        printf("\033[J");
        fflush(stdout);
        top_status_finish(&before);
        before = now;
        now = (struct top_status){0};
        if (wait_or_quit(c->interval_ns, isatty(STDIN_FILENO))) break;
    }
    top_status_finish(&before);
    return status;
}

static enum status on_terminal(const struct top_command *c, struct error *err) {
    struct termios saved, raw;
    bool keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0;
    if (keys) {
        raw = saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("\033[?1049h\033[?25l"); /* a screen of its own, no cursor */
    enum status status = watch(c, err);
    printf("\033[?25h\033[?1049l");
    fflush(stdout);
    if (keys) tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    return status;
}

static enum status once(const struct top_command *c, struct error *err) {
    struct top_status now;
    enum status status = top_status_get(c->admin, &now, err);
    if (status != ST_OK) return status;
    top_status_memory(&now);
    if (c->json)
        status = print_json(&now, NULL, err);
    else
        print_table(&now, NULL, "", 0, 0);
    top_status_finish(&now);
    return status;
}

int cmd_top(int argc, char **argv) {
    struct error err = {0};
    struct top_command c = {.interval_ns = UINT64_C(2000000000)};
    const char *interval = NULL;
    bool help = false;
    auto_free const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!words)
        return cli_report("top", NULL, (error_set(&err, ST_NO_MEMORY, "out of memory"), &err));
    const struct argument table[] = {
        {.name = "admin", .value = &c.admin},
        {.letter = 'd', .name = "interval", .value = &interval},
        {.name = "once", .flag = &c.once},
        {.name = "json", .flag = &c.json},
        {.letter = 'h', .name = "help", .flag = &help},
    };
    uint32_t count = 0;
    enum status status =
        arguments_parse(argc, argv, table, countof(table), words, &count, &err);
    if (status == ST_OK && help) {
        help_print("top");
        return EXIT_DONE;
    }
    if (status == ST_OK && count)
        status = error_set(&err, ST_USAGE, "unexpected argument '%.60s'", words[0]);
    if (status == ST_OK && interval) {
        status = cli_parse_duration(interval, &c.interval_ns, &err);
        if (status == ST_OK &&
            (c.interval_ns < 100000000 || c.interval_ns > UINT64_C(3600000000000)))
            status = error_set(&err, ST_USAGE, "--interval: from 100ms to 1h");
    }
    if (!c.admin) c.admin = getenv("HUTCH_ADMIN");
    if (!c.admin || !*c.admin) c.admin = TOP_ADMIN_DEFAULT;
    if (status == ST_OK)
        status =
            c.once || c.json || !isatty(STDOUT_FILENO) ? once(&c, &err) : on_terminal(&c, &err);
    return status == ST_OK ? EXIT_DONE : cli_report("top", NULL, &err);
}
