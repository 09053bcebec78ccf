/*
 * The apps that the front serves: kits from the broker to sites and the pool's apps. A new set
 * replaces the old one all at once; an app that is the same in both is not touched, one that is
 * gone or changed finishes what it has begun.
 */
#include "serve/front.h"

#include "serve/pool.h"
#include "serve/site_files.h"

#include <search.h>

void front_take_kit(struct front *front, struct link_message *message) {
    struct error err = {0};
    struct serve_kit kit;
    if (kit_receive(message, &kit, &err) != ST_OK) {
        front_log_event(front, err.message);
        return;
    }
    struct serve_kit *more =
        realloc(front->kits, (front->kit_count + (size_t)1) * sizeof *more);
    if (!more) {
        serve_kit_finish(&kit);
        front_log_event(front, "out of memory: an app is missing");
        return;
    }
    front->kits = more;
    front->kits[front->kit_count++] = kit;
}

void front_drop_kits(struct front *front) {
    for (uint32_t i = 0; i < front->kit_count; i++) serve_kit_finish(&front->kits[i]);
    free(steal(front->kits));
    front->kit_count = 0;
}

static int counts_by_name(const void *left, const void *right) {
    const struct site_counts *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static struct site_counts *counts_of(struct front *front, const char *name) {
    struct site_counts key = {.name = (char *)(uintptr_t)name};
    struct site_counts **found = tfind(&key, &front->counts_by_name, counts_by_name);
    if (found) return *found;
    struct site_counts *c = calloc(1, sizeof *c);
    if (!c || !(c->name = strdup(name)) ||
        !tsearch(c, &front->counts_by_name, counts_by_name)) {
        if (c) free(c->name);
        free(c);
        return NULL;
    }
    c->next = front->counts;
    front->counts = c;
    return c;
}

static void free_if_over(struct site *site) {
    if (!site->removed || !site->drained || site->exchanges) return;
    *site->link = site->next;
    if (site->next) site->next->link = site->link;
    site_files_close(site->files);
    serve_kit_finish(&site->kit);
    free(site);
}

void site_release(struct front *front, struct site *site) {
    (void)front;
    site->exchanges--;
    free_if_over(site);
}

static void on_drained(void *context) {
    struct site *site = context;
    site->drained = true;
    free_if_over(site);
}

static void take_count(uint64_t now, uint64_t *seen, uint64_t *sum) {
    *sum += now - *seen;
    *seen = now;
}

/* What the pool has used for tenants of the app beyond their requests, and done with them. */
static void take_overhead(struct site *site) {
    struct pool_app_numbers numbers;
    if (!site->pool) return;
    pool_app_numbers(site->pool, &numbers);
    struct site_counts *c = site->counts;
    struct site_seen *seen = &site->seen;
    take_count(numbers.overhead_cpu_ns, &seen->overhead_ns, &c->overhead_ns);
    take_count(numbers.hibernations, &seen->hibernations, &c->hibernations);
    take_count(numbers.resumes, &seen->resumes, &c->resumes);
    take_count(numbers.hibernate_failures, &seen->hibernate_failures, &c->hibernate_failures);
    take_count(numbers.hibernated_refused, &seen->hibernated_refused, &c->hibernated_refused);
}

static void remove_site(struct site *site) {
    struct pool_app *pool = site->pool;
    take_overhead(site);
    site->removed = true;
    site->pool = NULL;
    pool_app_remove(pool, on_drained, site); /* may call back at once */
}

static enum status add_site(struct front *front, struct serve_kit *kit, struct pool_app *before,
                            struct error *err) {
    static const enum pool_interface interfaces[] = {
        [APP_CGI] = POOL_CGI, [APP_FASTCGI] = POOL_FASTCGI, [APP_HTTP] = POOL_HTTP};
    static const enum pool_reuse reuses[] = {
        [APP_FRESH] = POOL_FRESH, [APP_RESET] = POOL_RESET, [APP_KEEP] = POOL_KEEP};
    const struct app *app = kit->app;
    const struct app_limits *l = &app->limits;
    struct site *site = calloc(1, sizeof *site);
    struct site_counts *counts = site ? counts_of(front, app->name) : NULL;
    if (!counts) {
        free(site);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    struct pool_app_config config = {
        .name = app->name,
        .interface = interfaces[app->interface],
        .reuse = reuses[app->reuse],
        .object_fd = kit->object_fd,
        .object = kit->object,
        .snapshot_fd = kit->snapshot_fd,
        .counters_fd = kit->counters_fd,
        .argc = kit->argc,
        .argv = kit->argv,
        .envc = kit->envc,
        .env = kit->env,
        .dir_count = kit->dir_count,
        .dirs = kit->dirs,
        .limits = {.memory_bytes = l->memory_bytes,
                   .stack_bytes = l->stack_bytes,
                   .cpu_ns = l->cpu_ns,
                   .wall_ns = l->wall_ns,
                   .start_ns = l->start_ns,
                   .queue_ns = l->queue_ns,
                   .log_bytes = l->output_bytes,
                   .files = l->files},
        .max_instances = l->instances,
        .max_queue = l->queue,
        .reuse_requests = app->reuse_requests,
        .environment_at_resume = app->instaboot.secrets_at_resume,
        .idle_ns = app->hibernate.idle_ns ? app->hibernate.idle_ns : POOL_NEVER,
        .hibernates = app->reuse == APP_KEEP,
        .survives_reboot = app->hibernate.survives == APP_SURVIVE_REBOOT,
        .follows = before,
        .context = site,
    };
    enum status status = ST_OK;
    if (app->site.root[0]) status = site_files_open(kit, &site->files, err);
    if (status == ST_OK) status = pool_app_add(front->pool, &config, &site->pool, err);
    if (status != ST_OK) {
        site_files_close(site->files);
        free(site);
        return status;
    }
    site->front = front;
    site->kit = *kit;
    site->app = site->kit.app;
    site->counts = counts;
    site->next = front->sites;
    site->link = &front->sites;
    if (site->next) site->next->link = &site->next;
    front->sites = site;
    *kit = (struct serve_kit){.object_fd = -1, .snapshot_fd = -1, .counters_fd = -1};
    return ST_OK;
}

/* ---- a new set -------------------------------------------------------------------------- */

struct wanted {
    struct serve_kit *kit;
    bool stays;              /* it is served already */
    struct pool_app *before; /* of the site that it takes the place of; NULL */
};

static int wanted_by_name(const void *left, const void *right) {
    const struct wanted *a = left, *b = right;
    int order = strcmp(a->kit->app->name, b->kit->app->name);
    return order ? order : (a->kit > b->kit) - (a->kit < b->kit);
}

static int wanted_by_place(const void *left, const void *right) {
    const struct wanted *a = left, *b = right;
    return (a->kit > b->kit) - (a->kit < b->kit);
}

static int by_site(const void *left, const void *right) {
    const struct site *site = left;
    const struct wanted *w = right;
    return strcmp(site->app->name, w->kit->app->name);
}

/* In order of names; of two kits with one name only the first. */
static struct wanted *order(struct serve_kit *kits, uint32_t *count) {
    struct wanted *all = calloc((size_t)*count + 1, sizeof *all);
    uint32_t kept = 0;
    for (uint32_t i = 0; all && i < *count; i++) all[i].kit = &kits[i];
    if (all) qsort(all, *count, sizeof *all, wanted_by_name);
    for (uint32_t i = 0; all && i < *count; i++)
        if (!kept || strcmp(all[kept - 1].kit->app->name, all[i].kit->app->name) != 0)
            all[kept++] = all[i];
    *count = kept;
    return all;
}

/* Which of the sites there are now stay; the others end. */
static void keep_or_remove(struct front *front, struct wanted *all, uint32_t count) {
    for (struct site *s = front->sites, *next; s; s = next) {
        next = s->next;
        if (s->removed) continue;
        struct wanted *w = bsearch(s, all, count, sizeof *all, by_site);
        if (w && kit_equal(&s->kit, w->kit)) {
            w->stays = true;
            continue;
        }
        if (w) w->before = s->pool;
        remove_site(s);
    }
}

void front_apply_kits(struct front *front) {
    struct serve_kit *kits = front->kits;
    uint32_t count = front->kit_count;
    struct wanted *all = order(kits, &count);
    if (!all) {
        front_log_event(front, "out of memory: the apps stay as they were");
        front_drop_kits(front);
        return;
    }
    keep_or_remove(front, all, count);
    qsort(all, count, sizeof *all, wanted_by_place);
    for (uint32_t i = 0; i < count; i++) {
        struct error err = {0};
        const char *name = all[i].kit->app->name;
        if (all[i].stays || add_site(front, all[i].kit, all[i].before, &err) == ST_OK) continue;
        error_wrap(&err, "%s: cannot be served", name);
        front_log_event(front, err.message);
    }
    free(all);
    front_drop_kits(front);
    struct error err = {0};
    if (route_index(front, &err) != ST_OK) front_log_event(front, err.message);
    front->generations++;
    front->ready = true;
}

void front_count_overhead(struct front *front) {
    for (struct site *s = front->sites; s; s = s->next) take_overhead(s);
    for (struct site_counts *c = front->counts; c; c = c->next) {
        uint64_t more = c->overhead_ns - c->overhead_recorded_ns;
        if (!more) continue;
        c->overhead_recorded_ns = c->overhead_ns;
        struct usage_record r = {
            .type = USAGE_OVERHEAD, .began_unix_ns = clock_wall_ns(), .cpu_ns = more};
        usage_append(front->usage, c->name, &c->usage, &r);
    }
}

void front_free_apps(struct front *front) {
    route_index_free(front);
    for (struct site *s = front->sites, *next; s; s = next) {
        next = s->next;
        site_files_close(s->files);
        serve_kit_finish(&s->kit);
        free(s);
    }
    for (struct site_counts *c = front->counts, *next; c; c = next) {
        next = c->next;
        tdelete(c, &front->counts_by_name, counts_by_name);
        free(c->name);
        free(c);
    }
    front_drop_kits(front);
}
