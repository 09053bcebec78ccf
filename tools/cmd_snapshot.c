/*
 * hutch snapshot: programs frozen where they wait for a request (docs/snapshot.md). `create`
 * runs one until then and writes it out; `list`, `inspect` and `rm` are about what the store
 * has.
 */
#include "cache/cache.h"
#include "loader/loader.h"
#include "tools/arguments.h"
#include "tools/cgi_order.h"
#include "tools/cli.h"
#include "tools/snapshot_make.h"
#include "tools/stored_app.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX_BYTES (UINT64_C(64) << 20)
#define STEP_TIMEOUT_MS UINT64_C(60000)

/* What a program that speaks HTTP is tried with where nobody says anything better. */
static const char plain_request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
                                    "User-Agent: hutch\r\nX-Edge-Instaboot: 1\r\n"
                                    "Connection: close\r\n\r\n";

static void note(const char *text) { fprintf(stderr, "%s\n", text); }

/* ---- create ------------------------------------------------------------------------------ */

/* The entry's refs: what a resume by name alone needs. */
static enum status keep(const struct cli_options *o, int fd, int object_fd, struct error *err) {
    struct snapshot *s = NULL;
    struct snapshot_facts facts;
    int copy = dup(fd);
    enum status status = copy < 0 ? error_set_errno(err, ST_IO, "cannot read the snapshot")
                                  : snapshot_open(copy, &s, err);
    if (status != ST_OK) return status;
    snapshot_describe(s, &facts);
    struct cache_options options = {.path = o->cache_dir};
    struct cache *cache = NULL;
    const uint8_t *object = NULL;
    size_t object_size = 0;
    status = cache_open(&options, &cache, err);
    if (status == ST_OK) status = cli_map_file(object_fd, &object, &object_size, err);
    if (status == ST_OK) {
        struct digest refs[1] = {digest_of(object, object_size)}, digest;
        struct cache_entry known;
        struct error ignored = {0};
        bool has_object = cache_describe(cache, &refs[0], &known, &ignored) == ST_OK;
        struct cache_entry entry = {.kind = CACHE_SNAPSHOT,
                                    .origin = CACHE_COMPILED,
                                    .has_module = true,
                                    .module = facts.module,
                                    .refs = refs,
                                    .ref_count = has_object};
        struct cache_name name = {0};
        bool is_digest = false;
        lseek(fd, 0, SEEK_SET);
        status = cache_name_parse(o->name, name.name, &is_digest, &digest, err);
        if (status == ST_OK && is_digest)
            status = error_set(err, ST_USAGE, "--name %s: give a name", o->name);
        if (status == ST_OK)
            status = cache_put_fd(cache, fd, &entry, NULL, &name.digest, NULL, err);
        if (status == ST_OK) status = cache_name_set(cache, &name, err);
        munmap((void *)(uintptr_t)object, object_size);
    }
    cache_close(cache);
    snapshot_close(s);
    return status;
}

static enum status publish(const char *path, int fd, struct error *err) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_map_file(fd, &bytes, &size, err);
    if (status == ST_OK) status = file_publish(AT_FDCWD, path, bytes, size, 0644, err);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return status;
}

static enum status read_requests(const struct cli_options *o, struct buffer *bytes,
                                 struct snapshot_request *ret_requests, struct error *err) {
    for (uint32_t i = 0; i < o->request_count; i++) {
        enum status status =
            file_read(AT_FDCWD, o->requests[i], REQUEST_MAX_BYTES, &bytes[i], err);
        if (status != ST_OK) return error_wrap(err, "--request %s", o->requests[i]);
        ret_requests[i] =
            (struct snapshot_request){.bytes = bytes[i].bytes, .size_bytes = bytes[i].size};
    }
    return ST_OK;
}

static void print_made(const struct cli_options *o, int fd) {
    struct snapshot *s = NULL;
    struct snapshot_facts f;
    struct error ignored = {0};
    int copy = dup(fd);
    if (copy < 0 || snapshot_open(copy, &s, &ignored) != ST_OK) return;
    snapshot_describe(s, &f);
    fprintf(stderr, "%s: %.1f MiB of pages in %u runs, memory %.1f MiB, %s\n",
            o->name ? o->name : o->output, (double)f.stored_bytes / 1048576.0, f.run_count,
            (double)f.memory_bytes / 1048576.0,
            f.warm_ranges ? "working set known" : "no working set");
    snapshot_close(s);
}

/* The request of a CGI program: what --env says of it, and GET / where that says less. */
static enum status cgi_request(struct arena *arena, struct tenant_config *config,
                               struct snapshot_request *ret, struct error *err) {
    static const char *const plain[] = {"GATEWAY_INTERFACE=CGI/1.1",
                                        "SERVER_SOFTWARE=hutch/" HUTCH_VERSION,
                                        "SERVER_PROTOCOL=HTTP/1.1",
                                        "REQUEST_METHOD=GET",
                                        "REQUEST_URI=/",
                                        "SCRIPT_NAME=",
                                        "PATH_INFO=/",
                                        "QUERY_STRING=",
                                        "SERVER_NAME=localhost",
                                        "SERVER_PORT=80",
                                        "REMOTE_ADDR=127.0.0.1",
                                        "HTTP_HOST=localhost",
                                        "HTTP_X_EDGE_INSTABOOT=1"};
    const char **env =
        arena_array(arena, config->requests.env_count + countof(plain) + 1, sizeof *env);
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint32_t fixed = config->envc - config->requests.env_count, count = 0;
    for (uint32_t i = fixed; i < config->envc; i++) env[count++] = config->env[i];
    uint32_t given = count;
    for (size_t k = 0; k < countof(plain); k++) {
        size_t name = strcspn(plain[k], "=") + 1;
        bool has = false;
        for (uint32_t i = 0; i < given; i++) has |= strncmp(env[i], plain[k], name) == 0;
        if (!has) env[count++] = plain[k];
    }
    config->envc = fixed;
    config->requests.env_count = 0;
    ret->env = env;
    ret->envc = count;
    return ST_OK;
}

static enum status create_with(struct cli_options *o, struct arena *arena,
                               struct tenant_config *config, struct error *err) {
    struct buffer *bytes = arena_array(arena, o->request_count, sizeof *bytes);
    struct snapshot_request *requests = arena_array(arena, o->request_count, sizeof *requests);
    if (!bytes || !requests) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = read_requests(o, bytes, requests, err);
    auto_fd int fd = -1;
    const struct snapshot_request plain = {.bytes = (const uint8_t *)plain_request,
                                           .size_bytes = sizeof plain_request - 1};
    struct snapshot_make make = {.config = config,
                                 .arena = arena,
                                 .warm_ups = requests,
                                 .warm_up_count = o->request_count,
                                 .timeout_ms = STEP_TIMEOUT_MS,
                                 .note = note};
    struct snapshot_request cgi = {0};
    if (o->cgi) {
        if (o->request_count && status == ST_OK) cgi = requests[0];
        if (status == ST_OK) status = cli_cgi_config(config, arena, err);
        if (status == ST_OK) status = cgi_request(arena, config, &cgi, err);
        make.warm_up_count = 0;
        make.trial = &cgi;
    } else if (o->request_count)
        make.trial = &requests[o->request_count - 1];
    else if (!o->fastcgi)
        make.trial = &plain;
    if (status == ST_OK) status = snapshot_make(&make, &fd, err);
    if (status == ST_OK && o->output) status = publish(o->output, fd, err);
    if (status == ST_OK && o->name) status = keep(o, fd, config->object_fd, err);
    if (status == ST_OK) print_made(o, fd);
    for (uint32_t i = 0; i < o->request_count; i++) buffer_finish(&bytes[i]);
    return status;
}

static int create(int argc, char **argv) {
    struct cli_options o;
    struct error err = {0};
    auto_arena struct arena arena = {0};
    struct stored_app app = {0};
    struct tenant_config config;
    enum status status = cli_options_parse(CLI_SNAPSHOT, argc, argv, &o, &err);
    int result = EXIT_DONE;
    if (status == ST_OK && o.help) {
        help_print("snapshot");
    } else {
        if (status == ST_OK && !o.output && !o.name)
            status = error_set(&err, ST_USAGE, "where to: give --name NAME or -o FILE");
        if (status == ST_OK) status = cli_tenant_config(&o, &arena, &app, &config, &err);
        if (status == ST_OK) status = create_with(&o, &arena, &config, &err);
        if (status != ST_OK) result = cli_report("snapshot create", o.file, &err);
    }
    stored_app_close(&app);
    cli_options_finish(&o);
    return result;
}

/* ---- list -------------------------------------------------------------------------------- */

static bool list_name(void *context, const struct cache_name *name) {
    struct cache *cache = context;
    struct cache_entry entry;
    struct error ignored = {0};
    if (cache_describe(cache, &name->digest, &entry, &ignored) != ST_OK ||
        entry.kind != CACHE_SNAPSHOT)
        return true;
    char hex[DIGEST_HEX_SIZE], module[DIGEST_HEX_SIZE], when[32] = "";
    time_t seconds = (time_t)(entry.created_ns / 1000000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm)) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    digest_hex(&name->digest, hex);
    digest_hex(&entry.module, module);
    if (!entry.has_module) snprintf(module, sizeof module, "-");
    printf("%-24s %.12s  %9.1f MiB  %.12s  %s\n", name->name, hex,
           (double)entry.size_bytes / 1048576.0, module, when);
    return true;
}

static enum status list(struct cache *cache, struct error *err) {
    printf("%-24s %-12s  %13s  %-12s  %s\n", "NAME", "DIGEST", "SIZE", "MODULE", "CREATED");
    return cache_each_name(cache, list_name, cache, err);
}

/* ---- inspect ----------------------------------------------------------------------------- */

static void print_text(const char *text) {
    for (; *text; text++) putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void print_facts(const struct snapshot_facts *f) {
    char module[DIGEST_HEX_SIZE], object[DIGEST_HEX_SIZE], when[32] = "";
    time_t seconds = (time_t)(f->created_ns / UINT64_C(1000000000));
    struct tm tm;
    if (gmtime_r(&seconds, &tm)) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    digest_hex(&f->module, module);
    digest_hex(&f->object, object);
    printf("module        sha256:%s\n", module);
    printf("object        content sha256:%s\n", object);
    printf("ABI           %016llx%s\n", (unsigned long long)f->abi_fingerprint,
           f->abi_fingerprint == abi_fingerprint() ? "" : " (not this program's)");
    printf("created       %s UTC\n", when);
    printf("file          %llu bytes\n", (unsigned long long)f->file_bytes);
    printf("pages         %llu bytes in %u runs\n", (unsigned long long)f->stored_bytes,
           f->run_count);
    printf("memory        %llu bytes\n", (unsigned long long)f->memory_bytes);
    printf("files         %llu bytes in memory\n", (unsigned long long)f->files_bytes);
    printf("stack         %llu bytes\n", (unsigned long long)f->stack_bytes);
    printf("working set   %u ranges\n", f->warm_ranges);
    for (const char *line = f->config; *line;) {
        auto_free char *copy = strndup(line, strcspn(line, "\n"));
        line += strcspn(line, "\n");
        if (*line) line++;
        if (copy) print_text(copy);
        putchar('\n');
    }
}

static void print_json(const struct snapshot_facts *f) {
    char module[DIGEST_HEX_SIZE], object[DIGEST_HEX_SIZE], abi[17];
    digest_hex(&f->module, module);
    digest_hex(&f->object, object);
    snprintf(abi, sizeof abi, "%016llx", (unsigned long long)f->abi_fingerprint);
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "module", module, "object",
        object, "abi", abi, "created_ns", (json_int_t)f->created_ns, "file_bytes",
        (json_int_t)f->file_bytes, "stored_bytes", (json_int_t)f->stored_bytes, "runs",
        (json_int_t)f->run_count, "memory_bytes", (json_int_t)f->memory_bytes, "files_bytes",
        (json_int_t)f->files_bytes, "stack_bytes", (json_int_t)f->stack_bytes, "warm_ranges",
        (json_int_t)f->warm_ranges);
    json_t *config = json_stringn(f->config, strlen(f->config));
    if (o) json_object_set_new(o, "config", config ? config : json_null());
    auto_free char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    if (text) puts(text);
    json_decref(o);
}

/* A file or a name; checked to the last byte. */
static enum status open_any(struct cache *cache, const char *what, struct snapshot **ret,
                            struct error *err) {
    auto_fd int fd = -1;
    enum status status = ST_OK;
    struct cache_name name;
    if (strchr(what, '/') || access(what, F_OK) == 0) {
        fd = open(what, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return error_set_errno(err, ST_IO, "cannot open it");
    } else {
        status = cache_name_resolve(cache, what, &name, err);
        if (status == ST_OK) status = cache_get(cache, &name.digest, &fd, NULL, err);
    }
    if (status == ST_OK) status = snapshot_verify_digest(fd, err);
    return status == ST_OK ? snapshot_open(steal_fd(&fd), ret, err) : status;
}

static enum status inspect(struct cache *cache, const char *what, bool json,
                           struct error *err) {
    struct snapshot *s = NULL;
    struct snapshot_facts facts;
    enum status status = open_any(cache, what, &s, err);
    if (status != ST_OK) return status;
    snapshot_describe(s, &facts);
    if (json)
        print_json(&facts);
    else
        print_facts(&facts);
    snapshot_close(s);
    return ST_OK;
}

/* ---- rm ---------------------------------------------------------------------------------- */

/* Takes the name away; the bytes go with the next collection that wants the room. */
static enum status take_away(struct cache *cache, const char *what, struct error *err) {
    struct cache_name name;
    struct cache_entry entry;
    enum status status = cache_name_resolve(cache, what, &name, err);
    if (status == ST_OK) status = cache_describe(cache, &name.digest, &entry, err);
    if (status == ST_OK && entry.kind != CACHE_SNAPSHOT)
        status = error_set(err, ST_INCOMPATIBLE, "this names no snapshot, but: %s",
                           cache_kind_name(entry.kind));
    return status == ST_OK ? cache_name_remove(cache, name.name, err) : status;
}

/* ---- the command ------------------------------------------------------------------------- */

static int about_store(int argc, char **argv) {
    bool json = false;
    const char *cache_dir = NULL;
    const struct argument table[] = {{.name = "json", .flag = &json},
                                     {.name = "cache-dir", .value = &cache_dir}};
    struct error err = {0};
    struct cache *cache = NULL;
    uint32_t count = 0;
    const char *verb = argv[0];
    char what[40];
    snprintf(what, sizeof what, "snapshot %s", verb);
    auto_free const char **files = calloc((size_t)argc + 1, sizeof *files);
    enum status status =
        files ? arguments_parse(argc, argv, table, countof(table), files, &count, &err)
              : error_set(&err, ST_NO_MEMORY, "out of memory");
    bool lists = strcmp(verb, "list") == 0;
    if (status == ST_OK && lists && count > 0)
        status = error_set(&err, ST_USAGE, "it takes no names");
    if (status == ST_OK && !lists && count == 0)
        status = error_set(&err, ST_USAGE, "say which snapshot");
    struct cache_options options = {.path = cache_dir};
    if (status == ST_OK) status = cache_open(&options, &cache, &err);
    if (status == ST_OK && lists) status = list(cache, &err);
    uint32_t at = 0;
    for (; !lists && status == ST_OK && at < count; at++)
        status = strcmp(verb, "rm") == 0 ? take_away(cache, files[at], &err)
                                         : inspect(cache, files[at], json, &err);
    cache_close(cache);
    if (status == ST_OK) return EXIT_DONE;
    return cli_report(what, at > 0 && files ? files[at - 1] : NULL, &err);
}

int cmd_snapshot(int argc, char **argv) {
    static const char *const verbs[] = {"create", "list", "inspect", "rm", NULL};
    struct error err = {0};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help_print("snapshot");
        return EXIT_DONE;
    }
    if (argc < 2) {
        error_set(&err, ST_USAGE, "say create, list, inspect or rm");
        return cli_report("snapshot", NULL, &err);
    }
    for (size_t i = 0; verbs[i]; i++)
        if (strcmp(verbs[i], argv[1]) == 0)
            return i == 0 ? create(argc - 1, argv + 1) : about_store(argc - 1, argv + 1);
    const char *near = cli_near(argv[1], verbs);
    error_set(&err, ST_USAGE, "there is no 'snapshot %s'%s%s%s", argv[1],
              near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    return cli_report("snapshot", NULL, &err);
}
