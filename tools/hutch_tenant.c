/*
 * hutch-tenant: the process a guest runs in. Maps the code object it was given, links it to
 * WASI, runs it, and ends with its exit code. Everything it may touch comes as a descriptor
 * (tenant_config.h); it opens no path. With --zygote it is what the server's tenants are forked
 * from, with --volume the process that holds a directory for them. Links base, abi, runtime and
 * the loader's reader alone: no compiler, no cache, no network (a test reads its symbols).
 */
#include "loader/loader.h"
#include "loader/tenant_config.h"
#include "loader/tenant_protocol.h"
#include "tools/cgi_order.h"
#include "tools/invoke.h"
#include "tools/report.h"
#include "tools/tenant_requests.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

struct tenant {
    struct tenant_config config;
    struct loaded *loaded;
    struct wasi *wasi;
    struct instance *instance;
    struct requests requests;
    struct cgi_program cgi;    /* under a maker of snapshots */
    struct snapshot *snapshot; /* to go on from; or NULL */
    bool counts;               /* there is a profile to be written at the end */
};

/* "a, b, c" of the functions an object exports, as many as fit. */
static void list_functions(const struct abi_object *object, char *ret_list, size_t size) {
    size_t at = 0;
    ret_list[0] = '\0';
    for (uint32_t i = 0; i < object->export_count; i++) {
        const struct abi_export *e = &object->exports[i];
        if (e->kind != ABI_EXTERN_FUNC) continue;
        int n = snprintf(ret_list + at, size - at, "%s%.*s", at ? ", " : "",
                         (int)(e->name_length < 60 ? e->name_length : 60), e->name);
        if (n < 0 || (size_t)n >= size - at) {
            snprintf(ret_list + at, size - at, "%s", at ? ", ..." : "");
            return;
        }
        at += (size_t)n;
    }
}

static const struct abi_export *find_function(const struct tenant *t, const char *name) {
    const struct abi_export *e = instance_export(t->instance, name, strlen(name));
    return e && e->kind == ABI_EXTERN_FUNC ? e : NULL;
}

static enum status load(struct tenant *t, struct error *err) {
    const struct tenant_config *c = &t->config;
    enum status status = c->requests.snapshot_fd >= 0
                             ? loader_open_brief(c->object_fd, &t->loaded, err)
                             : loader_open(c->object_fd, &t->loaded, err);
    if (status != ST_OK) return status;
    const struct abi_object *object = &t->loaded->object;
    if ((status = loader_map(t->loaded, err)) != ST_OK) return status;
    status =
        runtime_init((enum abi_placement)object->compat.placement, c->max_stack_bytes, err);
    if (status != ST_OK) return status;
    return runtime_add_code(&t->loaded->code, err);
}

/* A snapshot that does not fit costs time and nothing else where the program can be started
 * instead: where it was given with its arguments, and nothing of the snapshot is in place yet.
 */
static bool may_start_instead(const struct tenant *t) {
    struct snapshot_facts facts = {0};
    if (t->snapshot) snapshot_describe(t->snapshot, &facts);
    return t->config.argc > 0 && facts.files_bytes == 0;
}

static void refuse_snapshot(struct tenant *t, struct error *err) {
    error_wrap(err, "the snapshot is not used");
    cli_note("run", t->config.name, err);
    snapshot_close(t->snapshot);
    t->snapshot = NULL;
}

static enum status link_program(struct tenant *t, struct error *err) {
    const struct tenant_config *c = &t->config;
    struct wasi_preopen *preopens = calloc((size_t)c->dir_count + 1, sizeof *preopens);
    if (!preopens) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < c->dir_count; i++)
        preopens[i] = (struct wasi_preopen){.fd = c->dirs[i].fd,
                                            .guest_path = c->dirs[i].guest,
                                            .read_only = c->dirs[i].read_only,
                                            .image = c->dirs[i].image,
                                            .memory = c->dirs[i].memory,
                                            .volume = c->dirs[i].volume,
                                            .size_bytes = c->dirs[i].size_bytes,
                                            .inodes = c->dirs[i].inodes};
    struct wasi_config wasi = {
        .argc = (int)c->argc,
        .argv = c->argv,
        .envc = (int)c->envc,
        .env = c->env,
        .keep_environment = c->requests.environment_at_resume,
        .preopen_count = c->dir_count,
        .preopens = preopens,
        .max_files = c->max_files,
        .stdio = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO},
        .request_ready_fd = c->requests.listen_fd,
        .tame = t->cgi.order.tame,
    };
    if (c->requests.socket != TENANT_NO_REQUESTS) {
        wasi.next_request = requests_next;
        wasi.next_request_context = &t->requests;
        wasi.request_socket = c->requests.socket;
    }
    enum status status = wasi_create(&wasi, &t->wasi, err);
    free(preopens);
    if (status != ST_OK) return status;
    struct instance_limits limits = {.max_memory_bytes = c->max_memory_bytes};
    if (t->snapshot) {
        status = snapshot_resume(t->snapshot, &t->loaded->code, &limits, wasi_resolve, t->wasi,
                                 t->wasi, &t->instance, err);
        if (status != ST_OK && !may_start_instead(t)) return status;
        if (status != ST_OK) refuse_snapshot(t, err);
    }
    if (!t->snapshot)
        status = instance_create(&t->loaded->code, &limits, wasi_resolve, t->wasi, &t->instance,
                                 err);
    t->requests = (struct requests){
        .config = c, .instance = t->instance, .wasi = t->wasi, .snapshot = t->snapshot};
    return status;
}

/* Opens the snapshot, and checks that it is of this object and configuration. */
static enum status open_snapshot(struct tenant *t, struct error *err) {
    const struct tenant_config *c = &t->config;
    auto_buffer struct buffer text = {0};
    tenant_config_text(c, &text);
    enum status status = snapshot_open(c->requests.snapshot_fd, &t->snapshot, err);
    if (status != ST_OK) t->snapshot = NULL;
    if (status == ST_OK && c->interface == TENANT_CGI) {
        struct snapshot_facts facts;
        snapshot_describe(t->snapshot, &facts);
        if (!strstr(facts.config, TENANT_CGI_REQUESTS))
            return error_set(
                err, ST_USAGE,
                "--snapshot: the program waits for a request: say where from, with "
                "--listen");
    }
    if (status == ST_OK) status = buffer_status(&text, err);
    if (status == ST_OK)
        status = snapshot_check(t->snapshot, &t->loaded->code,
                                c->argc ? (const char *)text.bytes : NULL, err);
    if (status == ST_OK || !c->argc) return status;
    refuse_snapshot(t, err);
    return ST_OK;
}

/* What a call came to, as an exit status; -1 where it returned and things go on. */
static int outcome(const struct tenant *t, enum call_result result,
                   const struct trap_report *report) {
    if (result == CALL_RETURNED) return -1;
    if (result == CALL_EXITED) return report->exit_code & 0xff;
    auto_buffer struct buffer text = {0};
    trap_report_print(report, &text);
    buffer_put_u8(&text, 0);
    cli_report_trap(t->config.name, text.failed ? "the program trapped" : (char *)text.bytes);
    return EXIT_TRAPPED;
}

/* Fills slots from the arguments after argv[0]. */
static enum status parse_arguments(const struct tenant *t, const struct functype *type,
                                   union abi_value *slots, struct error *err) {
    const struct tenant_config *c = &t->config;
    if (c->argc - 1 != type->param_count) {
        char text[200];
        functype_print(type, text, sizeof text);
        return error_set(
            err, ST_USAGE, "--invoke %s: its type is %s: %u argument%s wanted, %u given",
            c->invoke, text, type->param_count, type->param_count == 1 ? "" : "s", c->argc - 1);
    }
    for (uint32_t i = 0; i < type->param_count; i++) {
        enum status status = value_parse(c->argv[i + 1], type->params[i], &slots[i], err);
        if (status != ST_OK)
            return error_wrap(err, "--invoke %s: argument %u", c->invoke, i + 1);
    }
    return ST_OK;
}

static enum status print_results(const struct functype *type, const union abi_value *slots,
                                 struct error *err) {
    auto_buffer struct buffer text = {0};
    for (uint32_t i = 0; i < type->result_count; i++) {
        value_print(&slots[i], type->results[i], &text);
        buffer_put_u8(&text, '\n');
    }
    enum status status = buffer_status(&text, err);
    if (status != ST_OK) return status;
    if (fwrite(text.bytes, 1, text.size, stdout) != text.size || fflush(stdout) != 0)
        return error_set_errno(err, ST_IO, "cannot write the results");
    return ST_OK;
}

/* Runs what the command line asked for: *ret_exit is its exit status. */
static enum status call(struct tenant *t, const struct abi_export *export, int *ret_exit,
                        struct error *err) {
    const struct functype *type = instance_functype(t->instance, export->index);
    uint32_t count =
        type->param_count > type->result_count ? type->param_count : type->result_count;
    union abi_value *slots = calloc((size_t)count + 1, sizeof *slots);
    if (!slots) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = ST_OK;
    if (t->config.invoke) {
        status = parse_arguments(t, type, slots, err);
    } else if (type->param_count) {
        status = error_set(err, ST_UNLINKABLE, "_start takes parameters; a program's has none");
    }
    if (status == ST_OK) {
        static far_zeros struct trap_report report;
        enum call_result result = instance_call(
            t->instance, instance_func(t->instance, export->index), slots, &report);
        *ret_exit = outcome(t, result, &report);
        if (*ret_exit < 0) {
            *ret_exit = EXIT_DONE;
            /* the results are printed in any case */
            if (t->config.timeout_ns) status = runtime_set_timeout(0, err);
            if (status == ST_OK) status = print_results(type, slots, err);
        }
    }
    free(slots);
    return status;
}

/* Adds what was counted to the file; another process that does so at the same time waits. With
 * try_only the file stays as it is: a run whose counts cannot be kept had better not begin. */
static enum status write_profile(const struct tenant *t, bool try_only, struct error *err) {
    int fd = t->config.profile_fd;
    auto_buffer struct buffer before = {0};
    auto_buffer struct buffer after = {0};
    if (flock(fd, LOCK_EX) < 0) return error_set_errno(err, ST_IO, "cannot lock the profile");
    uint8_t bytes[65536];
    for (ssize_t n; (n = pread(fd, bytes, sizeof bytes, (off_t)before.size)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot read the profile");
        buffer_put(&before, bytes, (size_t)n);
        if (before.failed) break;
    }
    enum status status = buffer_status(&before, err);
    if (status == ST_OK)
        status = instance_profile(t->instance, before.bytes, before.size, &after, err);
    if (try_only && flock(fd, LOCK_UN) < 0)
        return error_set_errno(err, ST_IO, "cannot unlock the profile");
    if (status != ST_OK || try_only) return status;
    for (size_t at = 0; at < after.size;) {
        ssize_t n = pwrite(fd, after.bytes + at, after.size - at, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write the profile");
        at += (size_t)n;
    }
    return ST_OK;
}

static enum status go_on(struct tenant *t, int *ret_exit, struct error *err) {
    const struct tenant_config *c = &t->config;
    static far_zeros struct trap_report report;
    enum status status = ST_OK;
    if (c->timeout_ns) status = runtime_set_timeout(c->timeout_ns, err);
    if (status != ST_OK) return status;
    if (c->requests.prefault) snapshot_prefault(t->snapshot);
    if (c->interface == TENANT_CGI && c->requests.control_fd < 0)
        status = cgi_program_request(&t->requests, err);
    if (status != ST_OK) return status;
    t->requests.running = true;
    *ret_exit = outcome(t, instance_continue(t->instance, &report), &report);
    if (*ret_exit < 0) *ret_exit = EXIT_DONE;
    return ST_OK;
}

static enum status run(struct tenant *t, int *ret_exit, struct error *err) {
    const struct tenant_config *c = &t->config;
    enum status status;
    if ((status = load(t, err)) != ST_OK) return status;
    if (c->requests.control_fd >= 0 || c->requests.reset) {
        struct error ignored = {0};
        (void)!snapshot_prepare(-1, &ignored); /* where it cannot: runtime.h */
    }
    if (c->requests.snapshot_fd >= 0 && (status = open_snapshot(t, err)) != ST_OK)
        return status;
    if (c->interface == TENANT_CGI && c->requests.control_fd >= 0 &&
        (status = cgi_program_order(&t->cgi, c->requests.control_fd, err)) != ST_OK)
        return status;
    if ((status = link_program(t, err)) != ST_OK) return status;
    if (c->interface == TENANT_CGI && c->requests.control_fd >= 0 &&
        (status = cgi_program_begin(&t->cgi, &t->requests, err)) != ST_OK)
        return status;
    if (t->snapshot) return go_on(t, ret_exit, err);

    if (c->profile_fd >= 0 && (status = write_profile(t, true, err)) != ST_OK)
        return error_wrap(err, "--profile-out");
    t->counts = c->profile_fd >= 0;

    /* What to call is settled before anything of the guest runs. */
    const struct abi_export *entry = NULL, *initialise = find_function(t, "_initialize");
    if (c->invoke) {
        entry = find_function(t, c->invoke);
    } else {
        entry = find_function(t, "");
        if (!entry) entry = find_function(t, "_start");
    }
    const struct abi_object *object = &t->loaded->object;
    if (!entry && (c->invoke || (!initialise && !object->has_start))) {
        char names[300];
        list_functions(object, names, sizeof names);
        if (c->invoke)
            return error_set(err, ST_NOT_FOUND, "there is no exported function '%s'%s%s",
                             c->invoke, names[0] ? "; there is: " : "", names);
        return error_set(err, ST_NOT_FOUND, "this is no program: it exports no _start%s%s",
                         names[0] ? "; --invoke NAME calls one of: " : "", names);
    }

    if (c->timeout_ns && (status = runtime_set_timeout(c->timeout_ns, err)) != ST_OK)
        return status;
    static far_zeros struct trap_report report;
    *ret_exit = outcome(t, instance_initialise(t->instance, &report), &report);
    if (*ret_exit >= 0) return ST_OK;
    if (initialise && initialise != entry) {
        const struct functype *type = instance_functype(t->instance, initialise->index);
        if (type->param_count == 0 && type->result_count == 0) {
            union abi_value slot = {0};
            *ret_exit = outcome(t,
                                instance_call(t->instance,
                                              instance_func(t->instance, initialise->index),
                                              &slot, &report),
                                &report);
            if (*ret_exit >= 0) return ST_OK;
        }
    }
    *ret_exit = EXIT_DONE;
    t->requests.running = !c->invoke;
    return entry ? call(t, entry, ret_exit, err) : ST_OK;
}

/* --zygote FD UID-BASE UID-COUNT MAX-MEMORY [GROUP-FD] (loader/tenant_protocol.h). */
static int be_zygote(char **argv) {
    zygote_place(argv);
    return zygote_main(&(struct zygote_options){
        .socket_fd = atoi(argv[2]),
        .uid_base = (uint32_t)strtoul(argv[3], NULL, 10),
        .uid_count = (uint32_t)strtoul(argv[4], NULL, 10),
        .max_memory_bytes = strtoull(argv[5], NULL, 10),
        .group_fd = argv[6] ? atoi(argv[6]) : -1,
    });
}

/* --volume DIR-FD CONTROL-FD LISTEN-FD NAME. */
static int hold_volume(char **argv) {
    return volume_holder_main(&(struct holder_options){.dir_fd = atoi(argv[2]),
                                                       .control_fd = atoi(argv[3]),
                                                       .listen_fd = atoi(argv[4]),
                                                       .name = argv[5]});
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "--volume") == 0) return hold_volume(argv);
    if ((argc == 6 || argc == 7) && strcmp(argv[1], "--zygote") == 0) return be_zygote(argv);
    if (argc < 2 || !isdigit((unsigned char)argv[1][0])) {
        fputs("hutch-tenant: a part of hutch; use `hutch run`\n", stderr);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); /* the guest sees EPIPE */
    static struct arena arena;
    static struct tenant tenant;
    struct error err = {0};
    int result = EXIT_FAILED;
    if (tenant_config_read(atoi(argv[1]), &arena, &tenant.config, &err) != ST_OK)
        return cli_report("tenant", NULL, &err);
    if (run(&tenant, &result, &err) != ST_OK)
        result = cli_report("run", tenant.config.name, &err);
    else if (tenant.cgi.requests)
        cgi_program_ended(&tenant.cgi, result);
    if (tenant.counts && write_profile(&tenant, false, &err) != ST_OK) {
        int failed = cli_report("run", tenant.config.name, &err);
        if (result == EXIT_DONE) result = failed;
    }
    /* The process ends here and everything with it; nothing is taken apart first. */
    fflush(NULL);
    _exit(result);
}
