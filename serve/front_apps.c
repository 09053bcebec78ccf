/*
 * The apps that the front serves: kits from the broker to sites and the pool's apps. A new set
 * replaces the old one all at once; an app that is the same in both is not touched, one that is
 * gone or changed finishes what it has begun.
 */
#include "serve/front.h"

#include "serve/pool.h"
#include "serve/site_files.h"

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

static struct site_counts *counts_of(struct front *front, const char *name) {
    for (struct site_counts *c = front->counts; c; c = c->next)
        if (strcmp(c->name, name) == 0) return c;
    struct site_counts *c = calloc(1, sizeof *c);
    if (c && !(c->name = strdup(name))) {
        free(c);
        return NULL;
    }
    if (c) {
        c->next = front->counts;
        front->counts = c;
    }
    return c;
}

static struct site *find(struct front *front, const char *name) {
    for (struct site *s = front->sites; s; s = s->next)
        if (!s->removed && strcmp(s->app->name, name) == 0) return s;
    return NULL;
}

static void free_if_over(struct site *site) {
    if (!site->removed || !site->drained || site->exchanges) return;
    struct site **link = &site->front->sites;
    while (*link != site) link = &(*link)->next;
    *link = site->next;
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

static enum status add_site(struct front *front, struct serve_kit *kit, struct error *err) {
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
    front->sites = site;
    *kit = (struct serve_kit){.object_fd = -1, .snapshot_fd = -1, .counters_fd = -1};
    return ST_OK;
}

void front_apply_kits(struct front *front) {
    struct serve_kit *kits = steal(front->kits);
    uint32_t count = front->kit_count;
    front->kit_count = 0;
    /* Which of the sites there are now stay. */
    struct site *old = front->sites;
    for (struct site *s = old, *next; s; s = next) {
        next = s->next;
        if (s->removed) continue;
        bool stays = false;
        for (uint32_t i = 0; i < count && !stays; i++)
            stays = kits[i].app && kit_equal(&s->kit, &kits[i]);
        if (!stays) remove_site(s);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct error err = {0};
        if (!find(front, kits[i].app->name) && add_site(front, &kits[i], &err) != ST_OK) {
            error_wrap(&err, "%s: cannot be served", kits[i].app->name);
            front_log_event(front, err.message);
        }
        serve_kit_finish(&kits[i]);
    }
    free(kits);
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
    for (struct site *s = front->sites, *next; s; s = next) {
        next = s->next;
        site_files_close(s->files);
        serve_kit_finish(&s->kit);
        free(s);
    }
    for (struct site_counts *c = front->counts, *next; c; c = next) {
        next = c->next;
        free(c->name);
        free(c);
    }
    front_drop_kits(front);
}
