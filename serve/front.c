/*
 * The front's process: one event loop over listening sockets, clients, the pool and the links
 * to the supervisor and the broker. It opens no app's files: kits come from the broker.
 */
#include "serve/front.h"

#include "serve/exchange_state.h"
#include "serve/fcgi_server.h"
#include "serve/fd_room.h"
#include "serve/log.h"
#include "serve/pool.h"

#include <errno.h>
#include <event2/listener.h>
#include <signal.h>
#include <unistd.h>

#define TICK_MS 100
#define LOOK_ACCEPTS 8u
#define SAY_AGAIN_NS UINT64_C(10000000000)
#define OVERHEAD_TICKS 100u /* between records of what tenants use beyond requests */

static void tell(struct front *front, enum link_type type) {
    struct error err = {0};
    if (link_send(front->control_fd, type, NULL, 0, &err) != ST_OK)
        front_log_event(front, err.message);
}

/* ---- clients come and go ----------------------------------------------------------------- */

static void set_accepting(struct front *front, bool accepting) {
    if (front->accepting == accepting) return;
    front->accepting = accepting;
    for (uint32_t i = 0; i < front->listener_count; i++) {
        if (accepting)
            event_add(&front->listeners[i].event, NULL);
        else
            event_del(&front->listeners[i].event);
    }
}

void front_connection_closed(struct front *front) { front->connection_count--; }

static void say_short(struct front *front) {
    char text[160];
    uint64_t now = clock_steady_ns();
    if (front->short_said_ns && now - front->short_said_ns < SAY_AGAIN_NS) return;
    front->short_said_ns = now;
    front_log_event(front, fd_room_text(text));
}

/* Looked at now and then: more are kept than come between. */
static void count_accept(struct front *front) {
    bool is_short = ++front->accepts % LOOK_ACCEPTS == 0 && fd_room_is_short(FD_FOR_CLIENT, 0);
    if (is_short) say_short(front);
    if (is_short || front->connection_count >= front->options->max_connections)
        set_accepting(front, false);
}

/* No descriptors, most often: the tick accepts again. */
static void accept_failed(struct front *front) {
    if (errno == EMFILE || errno == ENFILE)
        say_short(front);
    else if (front->accepting)
        front_log_event(front, "cannot accept a connection");
    set_accepting(front, false);
}

/* One connection a turn: to ask for another in vain would stand between a request and its
 * answer. */
static void on_connection(evutil_socket_t listening, short events, void *context) {
    (void)events;
    struct front_listener *l = context;
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int fd = accept4(listening, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) accept_failed(l->front);
        return;
    }
    if (l->fastcgi)
        fcgi_server_accept(l->front, fd);
    else
        http_server_accept(l->front, fd, (struct sockaddr *)&peer, size);
    count_accept(l->front);
}

/* The listeners own the sockets from here on: this process's copies of them. */
static enum status listen_on(struct front *front, const struct listen_sockets *sockets,
                             struct error *err) {
    for (uint32_t i = 0; i < sockets->count; i++) {
        const struct listen_socket *s = &sockets->at[i];
        if (s->kind == LISTEN_ADMIN) {
            struct evconnlistener *l =
                evconnlistener_new(front->base, NULL, NULL,
                                   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, s->fd);
            if (!l) return error_set(err, ST_NO_MEMORY, "cannot listen on %s", s->name);
            enum status status = admin_open(front, l, err);
            if (status != ST_OK) return status;
            continue;
        }
        /* not in the loop until there are apps */
        struct front_listener *l = &front->listeners[front->listener_count++];
        *l = (struct front_listener){.front = front, .fastcgi = s->kind == LISTEN_FASTCGI};
        event_assign(&l->event, front->base, s->fd, EV_READ | EV_PERSIST, on_connection, l);
    }
    return ST_OK;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void drain(struct front *front) {
    if (front->draining) return;
    front->draining = true;
    front->drain_until_ns = clock_steady_ns() + front->options->drain_ns;
    set_accepting(front, false);
    for (uint32_t i = 0; i < front->listener_count; i++)
        close(event_get_fd(&front->listeners[i].event));
    front->listener_count = 0;
    http_server_drain(front);
    fcgi_server_drain(front);
}

static void on_tick(evutil_socket_t fd, short events, void *context) {
    static uint32_t ticks;
    (void)fd;
    (void)events;
    struct front *front = context;
    if (++ticks % OVERHEAD_TICKS == 0) front_count_overhead(front);
    if (front->draining) {
        http_server_drain(front);
        fcgi_server_drain(front);
        uint32_t awake = pool_hibernate_all(front->pool);
        if ((!front->connection_count && !front->exchanges && !awake) ||
            clock_steady_ns() > front->drain_until_ns)
            event_base_loopbreak(front->base);
        return;
    }
    if (front->ready && !front->accepting &&
        front->connection_count < front->options->max_connections) {
        if (fd_room_is_short(FD_FOR_CLIENT, 0))
            pool_make_room(front->pool);
        else
            set_accepting(front, true);
    }
}

static void on_reaper(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    exchange_reap(context);
}

/* ---- links ------------------------------------------------------------------------------- */

static void close_broker(struct front *front) {
    if (front->broker) event_free(front->broker);
    if (front->broker_fd >= 0) close(front->broker_fd);
    front->broker = NULL;
    front->broker_fd = -1;
    for (uint32_t i = 0; i < front->kit_count; i++) serve_kit_finish(&front->kits[i]);
    front->kit_count = 0;
}

/* A broker that is being started again makes new kits anyway. */
static void ask_to_mend(void *context) {
    struct front *front = context;
    struct error ignored = {0};
    if (front->broker_fd >= 0) (void)!link_send(front->broker_fd, LINK_MEND, NULL, 0, &ignored);
}

static void on_broker(evutil_socket_t fd, short events, void *context) {
    (void)events;
    struct front *front = context;
    struct link_message message;
    struct error err = {0};
    enum status status = link_receive(fd, &message, &err);
    if (status == ST_LIMIT) return;
    if (status == ST_NO_MEMORY) {
        front->kits_lost++;
        front_log_event(front, err.message);
        return;
    }
    if (status != ST_OK) { /* the supervisor starts another and sends the link to it */
        close_broker(front);
        return;
    }
    if (message.type == LINK_KIT) {
        front_take_kit(front, &message);
        return;
    }
    link_close_fds(&message);
    if (message.type != LINK_KITS_END) return;
    bool first = !front->ready;
    /* At first the apps that there is room for are served. Later on those that would be missing
     * are not taken away for that. */
    if (front->kits_lost && !first) {
        front_drop_kits(front);
        front_log_event(front, "the apps stay as they were");
    } else {
        front_apply_kits(front);
    }
    front->kits_lost = 0;
    if (first && !front->draining) set_accepting(front, true);
    tell(front, first ? LINK_READY : LINK_RELOADED);
}

static void take_peer(struct front *front, struct link_message *message) {
    close_broker(front);
    if (!message->fd_count) return;
    front->broker_fd = steal_fd(&message->fds[0]);
    evutil_make_socket_nonblocking(front->broker_fd);
    front->broker =
        event_new(front->base, front->broker_fd, EV_READ | EV_PERSIST, on_broker, front);
    if (!front->broker || event_add(front->broker, NULL) < 0) event_base_loopbreak(front->base);
}

static void on_control(evutil_socket_t fd, short events, void *context) {
    (void)events;
    struct front *front = context;
    struct link_message message;
    struct error err = {0};
    enum status status = link_receive(fd, &message, &err);
    if (status == ST_LIMIT) return;
    if (status != ST_OK) { /* without a supervisor there is no server */
        event_base_loopbreak(front->base);
        return;
    }
    if (message.type == LINK_PEER) take_peer(front, &message);
    if (message.type == LINK_DRAIN) drain(front);
    if (message.type == LINK_REOPEN) {
        log_reopen(front->access);
        log_reopen(front->log);
    }
    link_close_fds(&message);
}

/* ---- putting it together ----------------------------------------------------------------- */

static struct timeval timeval_of(uint64_t ns) {
    return (struct timeval){(time_t)(ns / 1000000000u), (suseconds_t)(ns / 1000 % 1000000)};
}

static enum status open_all(struct front *front, const struct listen_sockets *sockets,
                            struct error *err) {
    static const struct timeval tick = {0, TICK_MS * 1000};
    const struct serve_options *o = front->options;
    enum status status = log_open(front->base, o->log, STDERR_FILENO, &front->log, err);
    if (status == ST_OK)
        status = log_open(front->base, o->access_log, STDOUT_FILENO, &front->access, err);
    if (status == ST_OK && o->state_dir) {
        char path[4096];
        snprintf(path, sizeof path, "%s/usage", o->state_dir);
        status = usage_open(front->base, path, &front->usage, err);
    }
    if (status != ST_OK) return status;
    front->reaper = event_new(front->base, -1, 0, on_reaper, front);
    front->tick = event_new(front->base, -1, EV_PERSIST, on_tick, front);
    front->control =
        event_new(front->base, front->control_fd, EV_READ | EV_PERSIST, on_control, front);
    if (!front->reaper || !front->tick || !front->control ||
        event_add(front->tick, &tick) < 0 || event_add(front->control, NULL) < 0)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    char hibernated[4096];
    snprintf(hibernated, sizeof hibernated, "%s/hibernated", o->state_dir ? o->state_dir : "");
    struct pool_options pool = {.tenant_program = o->tenant_program,
                                .group_fd = o->tenants_group_fd,
                                .spares = o->spares,
                                .prepared = o->prepared,
                                .max_tenants = o->max_tenants,
                                .hibernate_dir = o->state_dir ? hibernated : NULL,
                                .max_hibernated_bytes = o->max_hibernated_bytes,
                                .keep_free_bytes = o->keep_free_bytes,
                                .log = front_log_line,
                                .event = front_log_event,
                                .lost_volume = ask_to_mend,
                                .context = front};
    status = pool_create(front->base, &pool, &front->pool, err);
    return status == ST_OK ? listen_on(front, sockets, err) : status;
}

/* What is added to epoll and taken out again within a turn is never told the kernel: a stream
 * lives for a few turns, and is waited for in other ways in each. The flag asks that no
 * descriptor in the loop has a copy in this process, and none has. */
static struct event_base *new_loop(void) {
    struct event_config *config = event_config_new();
    if (!config) return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

enum status front_run(const struct serve_options *options, const struct listen_sockets *sockets,
                      int control_fd, struct error *err) {
    struct front front = {.options = options,
                          .limits = {options->line_bytes, options->head_bytes},
                          .timeouts = {.head = timeval_of(options->head_ns),
                                       .body = timeval_of(options->body_ns),
                                       .write = timeval_of(options->write_ns),
                                       .idle = timeval_of(options->idle_ns)},
                          .control_fd = control_fd,
                          .broker_fd = -1,
                          .spare_stream = {-1, -1},
                          .started_ns = clock_wall_ns()};
    /* Unique over restarts, as long as there are fewer than a million requests a second, and
     * below 2^53, so that every reader of JSON gets it right. */
    front.next_id = front.started_ns / 1000000u << 10;
    evutil_make_socket_nonblocking(control_fd);
    front.base = new_loop();
    if (!front.base) return error_set(err, ST_NO_MEMORY, "cannot make an event loop");
    enum status status = open_all(&front, sockets, err);
    if (status == ST_OK && event_base_dispatch(front.base) < 0)
        status = error_set(err, ST_INTERNAL, "the event loop failed");
    if (status != ST_OK) return status;
    /* What is under way now is over its time; its records are written all the same. */
    front_count_overhead(&front);
    pool_destroy(front.pool);
    event_base_loop(front.base, EVLOOP_NONBLOCK);
    admin_close(&front);
    usage_close(front.usage);
    log_close(front.access);
    log_close(front.log);
    return ST_OK;
}
