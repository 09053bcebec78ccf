/*
 * A sealed process to the answers of one app: waits for the app's descriptors (ASSIGN), maps,
 * links, runs; gives the guest its requests and tells the pool how each ended. The protocol is
 * in tenant_protocol.h.
 *
 * The guest is hostile and so is, in the pool's eyes, this process: nothing here protects
 * anyone but the guest from its own mistakes. No path is opened; the system calls are those of
 * seccomp.def.
 */
#include "loader/loader.h"
#include "loader/sandbox.h"
#include "loader/tenant_config.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* After so long without a request memory is given back. */
#define IDLE_SECONDS 1

static near_data struct tenant {
    struct tenant_config config;
    struct loaded *loaded;
    struct wasi *wasi;
    struct instance *instance;
    struct snapshot *snapshot; /* to go on from; or NULL */
    struct snapshot *state;    /* the hibernated guest that goes on, over snapshot; or NULL */
    int log_fd;
    bool ready; /* READY was sent, or need not be */
    bool asked; /* a request is there, or right behind */
    uint64_t began_ns;
    uint64_t request; /* under way; 0: none */
    bool changed;     /* since memory was given back */
    struct arena arena;
} tenant;
static far_zeros struct trap_report report;
/* A request's message with its environment. Touched as far as messages reach. */
static far_zeros _Alignas(4096) union {
    struct tenant_header header;
    struct tenant_request request;
    struct tenant_hibernate hibernate;
    uint8_t bytes[TENANT_MAX_REQUEST_BYTES];
} message;

/* ---- to the pool ------------------------------------------------------------------------- */

static void tell(const void *head, size_t head_bytes, const void *text, size_t text_bytes) {
    /* Who does not hear it does not want it: the pool has gone. */
    if (tenant_send(TENANT_CONTROL_FD, head, head_bytes, text, text_bytes, NULL, 0) != 0)
        _exit(0);
}

static uint64_t memory_bytes(void) {
    return tenant.instance ? instance_memory(tenant.instance, 0).size_bytes : 0;
}

/* Whether the request under way is all that this process is for. */
static bool is_last(void) {
    enum tenant_reuse reuse = tenant.config.reuse;
    return reuse == TENANT_ENDS || (reuse == TENANT_RESETS && !tenant.snapshot);
}

static void tell_done(enum tenant_end end, int status, const char *text, size_t text_bytes) {
    if (text_bytes > TENANT_MAX_TEXT_BYTES) text_bytes = TENANT_MAX_TEXT_BYTES;
    struct tenant_done done = {
        .header = tenant_header(TENANT_DONE, sizeof done + text_bytes, tenant.request),
        .end = (uint32_t)end,
        .status = status,
        .memory_bytes = memory_bytes(),
        .last = end != TENANT_RETURNED || is_last(),
        .memory_refused = tenant.instance && instance_memory_refused(tenant.instance),
        .text_bytes = (uint32_t)text_bytes,
    };
    tell(&done, sizeof done, text, text_bytes);
    tenant.request = 0;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell_ready(void) {
    if (tenant.ready) return;
    tenant.ready = true;
    if (tenant.asked && now_ns() - tenant.began_ns < TENANT_QUIET_NS) return;
    struct tenant_ready ready = {.header = tenant_header(TENANT_READY, sizeof ready, 0),
                                 .memory_bytes = memory_bytes()};
    tell(&ready, sizeof ready, NULL, 0);
    tenant.changed = true;
}

/* Said its last word; the pool reads the CPU clock of the process before it lets it go. */
static _Noreturn void wait_for_the_end(void) {
    char byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    while (recvmsg(TENANT_CONTROL_FD, &m, 0) > 0 || errno == EINTR) continue;
    _exit(0);
}

static _Noreturn void give_up(const struct error *err) {
    size_t text_bytes = strlen(err->message);
    struct tenant_failed failed = {
        .header = tenant_header(TENANT_FAILED, sizeof failed + text_bytes, 0),
        .status = (uint32_t)err->status,
        .text_bytes = (uint32_t)text_bytes,
    };
    tell(&failed, sizeof failed, err->message, text_bytes);
    wait_for_the_end();
}

/* ---- from the pool ----------------------------------------------------------------------- */

/* The guest waits, and nothing of its call has happened yet: the place to write it out. */
static void hibernate(const struct tenant_hibernate *wanted, int fd) {
    struct error err = {0};
    auto_buffer struct buffer text = {0};
    tenant_config_text(&tenant.config, &text);
    enum status status = buffer_status(&text, &err);
    if (status == ST_OK)
        status = hibernate_write(tenant.instance, tenant.wasi,
                                 wanted->whole ? NULL : tenant.snapshot, (char *)text.bytes,
                                 wanted->max_bytes, fd, &err);
    close(fd);
    size_t text_bytes = status == ST_OK ? 0 : strlen(err.message);
    struct tenant_hibernated answer = {
        .header = tenant_header(TENANT_HIBERNATED, sizeof answer + text_bytes, 0),
        .status = (uint32_t)status,
        .text_bytes = (uint32_t)text_bytes,
    };
    tell(&answer, sizeof answer, err.message, text_bytes);
}

/* Pages that a start or a request wrote to and nobody reads any more: of the guest, those that
 * are as in its snapshot; of this process, the last message, what calls lay aside, and
 * the stack below. Apart, so that its frames are gone while it waits. */
static __attribute__((noinline)) void give_back(void) {
    struct error err = {0};
    if (tenant.snapshot &&
        snapshot_give_back(tenant.instance, tenant.snapshot, &err) != ST_OK &&
        err.status != ST_UNSUPPORTED)
        give_up(&err);
    tenant.changed = false;
    wasi_give_back(tenant.wasi);
    spare_drop(&message, sizeof message);
}

/* Waits a while for a message, and then gives memory back. Whether it was not interrupted. */
static bool wait_a_while(void) {
    struct pollfd control = {.fd = TENANT_CONTROL_FD, .events = POLLIN};
    const struct timespec idle = {.tv_sec = IDLE_SECONDS};
    int ready = ppoll(&control, 1, &idle, NULL);
    if (ready != 0) return ready > 0 || !runtime_interrupt_pending();
    give_back();
    spare_drop_stack();
    return true;
}

/* Waits for a request. 0, EAGAIN where nonblock and there is none, EINTR where the guest is to
 * end. */
static int receive_request(bool nonblock, int *ret_fd) {
    struct pollfd control = {.fd = TENANT_CONTROL_FD, .events = POLLIN};
    const struct timespec now = {0};
    for (;;) {
        if (nonblock && ppoll(&control, 1, &now, NULL) == 0)
            return EAGAIN; /* poll is not allowed */
        uint32_t count = 0;
        int stream = -1;
        ssize_t got =
            tenant_receive(TENANT_CONTROL_FD, &message, sizeof message, &stream, 1, &count);
        if (got == -EINTR) {
            if (runtime_interrupt_pending()) return EINTR;
            continue;
        }
        if (got <= 0) _exit(0); /* the pool has no more */
        if (message.header.type == TENANT_HIBERNATE) {
            CHECK((size_t)got == sizeof message.hibernate && count == 1);
            hibernate(&message.hibernate, stream);
            continue;
        }
        const struct tenant_request *r = &message.request;
        CHECK((size_t)got >= sizeof *r && r->header.type == TENANT_REQUEST && count == 1 &&
              r->env_bytes == (size_t)got - sizeof *r);
        tenant.request = r->header.id;
        tenant.changed = true;
        *ret_fd = stream;
        return 0;
    }
}

/* The request socket (runtime.h). */
static int next_request(void *context, bool nonblock, int *ret_fd) {
    (void)context;
    if (tenant.request) {
        tell_done(TENANT_RETURNED, 0, NULL, 0);
        if (is_last()) wait_for_the_end();
        if (tenant.config.reuse == TENANT_RESETS) {
            /* The guest is put back, and asks again. */
            instance_restart(tenant.instance);
            return EINTR;
        }
    }
    tell_ready();
    if (!nonblock && tenant.changed && !wait_a_while()) return EINTR;
    return receive_request(nonblock, ret_fd);
}

/* ---- an app ------------------------------------------------------------------------------ */

/* Descriptors are places in ASSIGN's list: which one it became. */
static int placed(const int *fds, uint32_t count, int place) {
    CHECK(place >= 0 && (uint32_t)place < count);
    return fds[place];
}

static enum status link_app(const int *fds, uint32_t fd_count, struct error *err) {
    const struct tenant_config *c = &tenant.config;
    struct wasi_preopen *preopens =
        arena_array(&tenant.arena, (size_t)c->dir_count + 1, sizeof *preopens);
    if (!preopens) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < c->dir_count; i++)
        preopens[i] = (struct wasi_preopen){
            .fd = c->dirs[i].fd < 0 ? -1 : placed(fds, fd_count, c->dirs[i].fd),
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
        .stdio = {-1, c->interface == TENANT_CGI ? -1 : tenant.log_fd, tenant.log_fd},
        .next_request = c->interface == TENANT_CGI ? NULL : next_request,
        .request_socket = c->requests.socket,
        .request_ready_fd = TENANT_CONTROL_FD,
    };
    enum status status = wasi_create(&wasi, &tenant.wasi, err);
    if (status != ST_OK) return status;
    struct instance_limits limits = {.max_memory_bytes = c->max_memory_bytes};
    if (tenant.state)
        return hibernate_resume(tenant.state, tenant.snapshot, &tenant.loaded->code, &limits,
                                wasi_resolve, tenant.wasi, tenant.wasi, &tenant.instance, err);
    if (tenant.snapshot)
        return snapshot_resume(tenant.snapshot, &tenant.loaded->code, &limits, wasi_resolve,
                               tenant.wasi, tenant.wasi, &tenant.instance, err);
    status = instance_create(&tenant.loaded->code, &limits, wasi_resolve, tenant.wasi,
                             &tenant.instance, err);
    if (status == ST_OK && c->profile_fd >= 0)
        status =
            instance_share_counters(tenant.instance, placed(fds, fd_count, c->profile_fd), err);
    return status;
}

/* A remark in the app's log. */
static void remark(const char *what, const struct error *err) {
    char text[sizeof err->message + 64];
    int n = snprintf(text, sizeof text, "hutch: %s: %s\n", what, err->message);
    struct iovec part = {.iov_base = text, .iov_len = n > 0 ? (size_t)n : 0};
    (void)!writev(tenant.log_fd, &part, 1);
}

/* One that does not fit costs time and nothing else: the program is started instead. */
static void open_snapshot(int fd) {
    struct error err = {0};
    auto_buffer struct buffer text = {0};
    tenant_config_text(&tenant.config, &text);
    enum status status = tenant.config.reuse == TENANT_ENDS
                             ? snapshot_open_once(fd, &tenant.snapshot, &err)
                             : snapshot_open(fd, &tenant.snapshot, &err);
    if (status != ST_OK) tenant.snapshot = NULL;
    if (status == ST_OK) status = buffer_status(&text, &err);
    if (status == ST_OK)
        status =
            snapshot_check(tenant.snapshot, &tenant.loaded->code, (char *)text.bytes, &err);
    if (status != ST_OK) {
        remark("the snapshot is not used", &err);
        snapshot_close(tenant.snapshot);
        tenant.snapshot = NULL;
    }
}

/* One that does not fit is an error: the pool gives it up, and has another process start. */
static enum status open_state(int fd, struct error *err) {
    auto_buffer struct buffer text = {0};
    struct digest base;
    tenant_config_text(&tenant.config, &text);
    enum status status = hibernate_open(fd, &tenant.state, err);
    if (status == ST_OK) status = buffer_status(&text, err);
    if (status == ST_OK)
        status = snapshot_check(tenant.state, &tenant.loaded->code, (char *)text.bytes, err);
    if (status != ST_OK || hibernate_base(tenant.state, &base)) return status;
    snapshot_close(tenant.snapshot); /* it is all there is to go on from */
    tenant.snapshot = NULL;
    return ST_OK;
}

/* state_fd: a hibernated guest, or -1. */
static enum status take_app(const int *fds, uint32_t fd_count, int state_fd,
                            struct error *err) {
    enum status status;
    status =
        tenant_config_read(fds[TENANT_ASSIGNED_CONFIG], &tenant.arena, &tenant.config, err);
    if (status != ST_OK) return status;
    tenant.log_fd = fds[TENANT_ASSIGNED_LOG];
    if (tenant.config.max_stack_bytes &&
        (status = runtime_limit_stack(tenant.config.max_stack_bytes, err)) != ST_OK)
        return status;
    int object_fd = fds[TENANT_ASSIGNED_OBJECT];
    bool brief = tenant.config.requests.snapshot_fd >= 0 || state_fd >= 0;
    status = brief ? loader_open_brief(object_fd, &tenant.loaded, err)
                   : loader_open(object_fd, &tenant.loaded, err);
    if (status != ST_OK) return status;
    if (tenant.loaded->object.compat.placement != ABI_PINNED)
        return error_set(err, ST_INCOMPATIBLE,
                         "the object was compiled with --relocatable; "
                         "only pinned ones can be served");
    if ((status = loader_map(tenant.loaded, err)) != ST_OK ||
        (status = runtime_add_code(&tenant.loaded->code, err)) != ST_OK)
        return status;
    if (tenant.config.requests.snapshot_fd >= 0)
        open_snapshot(placed(fds, fd_count, tenant.config.requests.snapshot_fd));
    if (state_fd >= 0 && (status = open_state(state_fd, err)) != ST_OK) return status;
    return link_app(fds, fd_count, err);
}

/* Environment of the config and the request's behind it; where the program goes on from a
 * snapshot, its own has the former already. */
static enum status set_environment(struct error *err) {
    const struct tenant_request *r = &message.request;
    const struct tenant_config *c = &tenant.config;
    uint32_t total = c->envc + r->env_count;
    CHECK(r->env_count <= r->env_bytes);
    auto_free const char **env = calloc((size_t)total + 1, sizeof *env);
    if (!env) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < c->envc; i++) env[i] = c->env[i];
    const char *at = (const char *)message.bytes + sizeof *r, *end = at + r->env_bytes;
    for (uint32_t i = c->envc; i < total; i++) {
        const char *stop = memchr(at, 0, (size_t)(end - at));
        CHECK(stop);
        env[i] = at;
        at = stop + 1;
    }
    if (tenant.snapshot)
        return wasi_request_environment(tenant.wasi, instance_memory(tenant.instance, 0),
                                        (int)r->env_count, env + c->envc, err);
    return wasi_set_environment(tenant.wasi, (int)total, env, err);
}

/* A program's end: what it came to. */
static _Noreturn void finish(enum call_result result) {
    if (result == CALL_TRAPPED) {
        auto_buffer struct buffer text = {0};
        trap_report_print(&report, &text);
        tell_done(TENANT_TRAPPED, (int)report.trap, (char *)text.bytes,
                  text.failed ? 0 : text.size);
    } else {
        tell_done(TENANT_EXITED, result == CALL_EXITED ? report.exit_code & 0xff : 0, NULL, 0);
    }
    wait_for_the_end();
}

/* Apart, as join_app: the guest runs below its caller's frame, for as long as it lives. */
static _Noreturn __attribute__((noinline)) void refuse_export(const char *name, bool found) {
    struct error err = {0};
    if (found)
        error_set(&err, ST_UNLINKABLE, "%s takes parameters or has results", name);
    else
        error_set(&err, ST_NOT_FOUND, "this is no program: it exports no %s", name);
    give_up(&err);
}

static enum status call_export(const char *name, bool wanted) {
    const struct abi_export *e = instance_export(tenant.instance, name, strlen(name));
    if (!e || e->kind != ABI_EXTERN_FUNC) {
        if (!wanted) return ST_OK;
        refuse_export(name, false);
    }
    const struct functype *type = instance_functype(tenant.instance, e->index);
    if (type->param_count || type->result_count) refuse_export(name, true);
    union abi_value slot = {0};
    enum call_result result = instance_call(
        tenant.instance, instance_func(tenant.instance, e->index), &slot, &report);
    if (result != CALL_RETURNED) finish(result);
    return ST_OK;
}

/* The request that a CGI program is there for. */
static int take_cgi_request(void) {
    struct error err = {0};
    tell_ready();
    int stream = -1;
    while (receive_request(false, &stream) != 0) continue;
    const int stdio[3] = {stream, stream, tenant.log_fd};
    if (set_environment(&err) != ST_OK || wasi_set_stdio(tenant.wasi, stdio, &err) != ST_OK)
        give_up(&err);
    return stream;
}

/* A CGI program goes on from the end of its start-up, again and again where it is put back. */
static _Noreturn void run_frozen_cgi(void) {
    struct error err = {0};
    for (;;) {
        int stream = take_cgi_request();
        enum call_result result = instance_continue(tenant.instance, &report);
        bool well = result == CALL_RETURNED ||
                    (result == CALL_EXITED && (report.exit_code & 0xff) == 0);
        if (is_last() || !well) finish(result);
        close(stream); /* the end of the answer; the guest's descriptors only borrow it */
        tell_done(TENANT_RETURNED, 0, NULL, 0);
        if (snapshot_reset(tenant.instance, tenant.wasi, &err) != ST_OK) give_up(&err);
    }
}

/* Until there is a message, which is left where it is. Where the pool has gone instead, nobody
 * asked for what the guest would do. */
static void wait_for_a_request(void) {
    struct pollfd control = {.fd = TENANT_CONTROL_FD, .events = POLLIN};
    while (ppoll(&control, 1, NULL, NULL) < 0)
        if (errno != EINTR) _exit(0);
    if (control.revents != POLLIN) _exit(0);
}

static _Noreturn void run(bool prepared) {
    if (tenant.snapshot && tenant.config.requests.prefault) snapshot_prefault(tenant.snapshot);
    if (prepared) wait_for_a_request();
    if (prepared) tenant.began_ns = now_ns();
    if (tenant.snapshot || tenant.state) {
        if (tenant.config.interface == TENANT_CGI) run_frozen_cgi();
        finish(instance_continue(tenant.instance, &report));
    }
    if (tenant.config.interface == TENANT_CGI) (void)take_cgi_request();
    enum call_result result = instance_initialise(tenant.instance, &report);
    if (result != CALL_RETURNED) finish(result);
    (void)call_export("_initialize", false);
    (void)call_export("_start", true);
    finish(CALL_RETURNED);
}

/* Says that it is there, and becomes a tenant of the app it is told; whether it is to wait for
 * a request before the guest runs. */
static __attribute__((noinline)) bool join_app(uint32_t layers) {
    struct tenant_up up = {.header = tenant_header(TENANT_UP, sizeof up, 0), .layers = layers};
    tell(&up, sizeof up, NULL, 0);
    int fds[TENANT_MAX_FDS];
    uint32_t count = 0;
    struct tenant_assign assign;
    ssize_t got;
    do
        got = tenant_receive(TENANT_CONTROL_FD, &assign, sizeof assign, fds, TENANT_MAX_FDS,
                             &count);
    while (got == -EINTR);
    if (got <= 0) _exit(0); /* not wanted */
    CHECK((size_t)got == sizeof assign && assign.header.type == TENANT_ASSIGN &&
          count >= TENANT_ASSIGNED_REST);
    CHECK(fds[TENANT_ASSIGNED_CONFIG] == TENANT_CONFIG_FD &&
          fds[TENANT_ASSIGNED_OBJECT] == TENANT_OBJECT_FD);
    struct error err = {0};
    int state_fd = assign.hibernated ? fds[--count] : -1;
    CHECK(count >= TENANT_ASSIGNED_REST);
    tenant.asked = assign.asked;
    tenant.began_ns = now_ns();
    if (take_app(fds, count, state_fd, &err) != ST_OK) give_up(&err);
    return assign.prepared;
}

_Noreturn void tenant_main(uint32_t layers) {
    memset(&tenant, 0, sizeof tenant); /* as it is; its page is there then */
    memset(&message, 0, sizeof message.header);
    tenant.began_ns = now_ns(); /* so is the clock's */
    run(join_app(layers));
}
