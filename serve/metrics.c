/*
 * The numbers in Prometheus's text format 0.0.4. Units are seconds and bytes, names end as
 * Prometheus's own guidelines have it; promtool checks them in the tests.
 */
#include "serve/front.h"
#include "serve/pool.h"

#include <event2/buffer.h>
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

const double histogram_bounds_s[HISTOGRAM_BUCKETS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

void histogram_add(struct histogram *h, uint64_t ns) {
    uint32_t i = 0;
    while (i < HISTOGRAM_BUCKETS && (double)ns > histogram_bounds_s[i] * 1e9) i++;
    h->counts[i]++;
    h->sum_ns += ns;
}

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

static void head(struct evbuffer *out, const char *name, const char *type, const char *help) {
    evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(struct evbuffer *out, const char *name, const char *type, const char *help,
                   double value) {
    head(out, name, type, help);
    evbuffer_add_printf(out, "%s %.17g\n", name, value);
}

/* ---- by app: a column of the table is a metric ------------------------------------------- */

static double of_received(const struct site_counts *c) { return (double)c->received_bytes; }
static double of_sent(const struct site_counts *c) { return (double)c->sent_bytes; }
static double of_cpu(const struct site_counts *c) { return seconds(c->cpu_ns); }
static double of_overhead(const struct site_counts *c) { return seconds(c->overhead_ns); }
static double of_cold(const struct site_counts *c) { return (double)c->cold_starts; }
static double of_memory(const struct site_counts *c) { return (double)c->memory_peak_bytes; }
static double of_written(const struct site_counts *c) { return (double)c->hibernations; }
static double of_resumes(const struct site_counts *c) { return (double)c->resumes; }
static double of_unwritten(const struct site_counts *c) {
    return (double)c->hibernate_failures;
}
static double of_refused(const struct site_counts *c) { return (double)c->hibernated_refused; }

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct site_counts *counts);
} by_app[] = {
    {"hutch_http_request_body_bytes_total", "counter", "Bytes of request bodies received.",
     of_received},
    {"hutch_http_response_body_bytes_total", "counter", "Bytes of response bodies sent.",
     of_sent},
    {"hutch_app_cpu_seconds_total", "counter", "CPU time of tenants in requests, as billed.",
     of_cpu},
    {"hutch_app_overhead_cpu_seconds_total", "counter",
     "CPU time of tenants outside of requests: starting, hibernating, ending.", of_overhead},
    {"hutch_app_cold_starts_total", "counter", "Requests that a tenant was started for.",
     of_cold},
    {"hutch_app_memory_peak_bytes", "gauge", "Most linear memory that a request has had.",
     of_memory},
    {"hutch_app_hibernations_total", "counter", "Idle instances that were written out.",
     of_written},
    {"hutch_app_resumes_total", "counter", "Hibernated instances that went on.", of_resumes},
    {"hutch_app_hibernation_failures_total", "counter",
     "Idle instances that could not be written out and stayed in memory.", of_unwritten},
    {"hutch_app_hibernated_refused_total", "counter",
     "Hibernated instances that were damaged, or of another version of the app.", of_refused},
};

static void histogram(struct evbuffer *out, const char *name, const char *help,
                      const struct front *front, size_t offset) {
    head(out, name, "histogram", help);
    for (const struct site_counts *c = front->counts; c; c = c->next) {
        const struct histogram *h = (const void *)((const char *)c + offset);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            sum += h->counts[i];
            evbuffer_add_printf(out, "%s_bucket{app=\"%s\",le=\"%g\"} %llu\n", name, c->name,
                                histogram_bounds_s[i], (unsigned long long)sum);
        }
        sum += h->counts[HISTOGRAM_BUCKETS];
        evbuffer_add_printf(out, "%s_bucket{app=\"%s\",le=\"+Inf\"} %llu\n", name, c->name,
                            (unsigned long long)sum);
        evbuffer_add_printf(out, "%s_sum{app=\"%s\"} %.9f\n", name, c->name,
                            seconds(h->sum_ns));
        evbuffer_add_printf(out, "%s_count{app=\"%s\"} %llu\n", name, c->name,
                            (unsigned long long)sum);
    }
}

static void apps(struct front *front, struct evbuffer *out) {
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    head(out, "hutch_http_requests_total", "counter", "Requests answered, by class of status.");
    for (const struct site_counts *c = front->counts; c; c = c->next)
        for (size_t i = 0; i < countof(classes); i++)
            if (c->requests[i] || i == 2)
                evbuffer_add_printf(out,
                                    "hutch_http_requests_total{app=\"%s\",code=\"%s\"} %llu\n",
                                    c->name, classes[i], (unsigned long long)c->requests[i]);
    head(out, "hutch_app_troubles_total", "counter",
         "Requests that ended otherwise than with the app's answer.");
    for (const struct site_counts *c = front->counts; c; c = c->next)
        for (uint32_t i = TROUBLE_NONE + 1; i < TROUBLE_COUNT; i++)
            evbuffer_add_printf(
                out, "hutch_app_troubles_total{app=\"%s\",reason=\"%s\"} %llu\n", c->name,
                trouble_word((enum trouble)i), (unsigned long long)c->troubles[i]);
    for (size_t m = 0; m < countof(by_app); m++) {
        head(out, by_app[m].name, by_app[m].type, by_app[m].help);
        for (const struct site_counts *c = front->counts; c; c = c->next)
            evbuffer_add_printf(out, "%s{app=\"%s\"} %.17g\n", by_app[m].name, c->name,
                                by_app[m].value(c));
    }
    histogram(out, "hutch_http_request_duration_seconds",
              "Time from a request's head to the end of its answer and outcome.", front,
              offsetof(struct site_counts, duration));
    histogram(out, "hutch_http_request_queue_seconds", "Time a request waited for a tenant.",
              front, offsetof(struct site_counts, queue));

    head(out, "hutch_http_requests_in_flight", "gauge", "Requests under way.");
    for (const struct site *s = front->sites; s; s = s->next)
        if (!s->removed)
            evbuffer_add_printf(out, "hutch_http_requests_in_flight{app=\"%s\"} %u\n",
                                s->app->name, s->exchanges);
    head(out, "hutch_app_queue_length", "gauge", "Requests that wait for a tenant.");
    for (const struct site *s = front->sites; s; s = s->next) {
        struct pool_app_numbers n;
        if (s->removed) continue;
        pool_app_numbers(s->pool, &n);
        evbuffer_add_printf(out, "hutch_app_queue_length{app=\"%s\"} %u\n", s->app->name,
                            n.queued);
    }
    head(out, "hutch_app_hibernated", "gauge", "Hibernated instances.");
    for (const struct site *s = front->sites; s; s = s->next) {
        struct pool_app_numbers n;
        if (s->removed) continue;
        pool_app_numbers(s->pool, &n);
        evbuffer_add_printf(out, "hutch_app_hibernated{app=\"%s\"} %u\n", s->app->name,
                            n.hibernated);
    }
    head(out, "hutch_app_hibernated_bytes", "gauge", "Bytes of their files.");
    for (const struct site *s = front->sites; s; s = s->next) {
        struct pool_app_numbers n;
        if (s->removed) continue;
        pool_app_numbers(s->pool, &n);
        evbuffer_add_printf(out, "hutch_app_hibernated_bytes{app=\"%s\"} %llu\n", s->app->name,
                            (unsigned long long)n.hibernated_bytes);
    }
    head(out, "hutch_app_tenants", "gauge", "Tenants of the app, by state.");
    for (const struct site *s = front->sites; s; s = s->next) {
        struct pool_app_numbers n;
        if (s->removed) continue;
        pool_app_numbers(s->pool, &n);
        const struct {
            const char *state;
            uint32_t count;
        } states[] = {{"starting", n.starting}, {"idle", n.idle}, {"busy", n.busy}};
        for (size_t i = 0; i < countof(states); i++)
            evbuffer_add_printf(out, "hutch_app_tenants{app=\"%s\",state=\"%s\"} %u\n",
                                s->app->name, states[i].state, states[i].count);
    }
}

static uint64_t count_fds(void) {
    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir)) count++;
    if (dir) closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static uint64_t resident_bytes(void) {
    unsigned long long size = 0, resident = 0;
    auto_file FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%llu %llu", &size, &resident) != 2) return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void metrics_write(struct front *front, struct evbuffer *out) {
    struct pool_numbers pool;
    struct rusage usage;
    struct rlimit limit;
    front_count_overhead(front);
    pool_numbers(front->pool, &pool);
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &limit);
    head(out, "hutch_build_info", "gauge", "The version; always 1.");
    evbuffer_add_printf(out, "hutch_build_info{version=\"%s\"} 1\n", HUTCH_VERSION);
    apps(front, out);
    single(out, "hutch_bad_requests_total", "counter",
           "Requests refused before they had an app: malformed, too large, too slow.",
           (double)front->bad_requests);
    single(out, "hutch_connections", "gauge", "Client connections open.",
           (double)front->connection_count);
    single(out, "hutch_connections_accepted_total", "counter", "Client connections accepted.",
           (double)front->connections_accepted);
    single(out, "hutch_tenants", "gauge", "Tenant processes.", (double)pool.tenants);
    single(out, "hutch_spare_tenants", "gauge", "Tenant processes that wait for an app.",
           (double)pool.spares);
    single(out, "hutch_prepared_tenants", "gauge",
           "Tenant processes that are ready for the next cold start of their app.",
           (double)pool.prepared);
    single(out, "hutch_forks_total", "counter", "Tenant processes started.",
           (double)pool.forks);
    single(out, "hutch_zygote_restarts_total", "counter", "Times the zygote was started again.",
           (double)pool.zygote_restarts);
    single(out, "hutch_usage_errors_total", "counter",
           "Usage records that could not be written.", (double)usage_errors(front->usage));
    single(out, "process_start_time_seconds", "gauge", "Unix time of the front's start.",
           seconds(front->started_ns));
    single(out, "process_cpu_seconds_total", "counter", "CPU time of the front's process.",
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    single(out, "process_resident_memory_bytes", "gauge", "Resident memory of the front.",
           (double)resident_bytes());
    single(out, "process_open_fds", "gauge", "Open file descriptors of the front.",
           (double)count_fds());
    single(out, "process_max_fds", "gauge", "Limit on file descriptors.",
           (double)limit.rlim_cur);
}
