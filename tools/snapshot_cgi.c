/*
 * A snapshot of a CGI program. It is started for a request and never waits for one, so it is
 * frozen in the last call of its start-up: the last one before which nothing in it depends on
 * the request. A resume puts another request's variables in the place of the first one's and
 * makes that call.
 *
 *     the place   two runs, for two requests with other values, under the same clock and random
 *                 numbers. Before a call of the start-up both are in the same state, to the
 * byte; after it never again. A search for the last equal state, in a few runs with some probes
 * each. Where the program reads its standard input or writes its answer the start-up is over in
 * any case. the check   a snapshot at that place answers the warm-up requests and some more as
 * a run from the beginning does: the same bytes, the same exit status; and that though the
 * start-up in the snapshot had another time and other random numbers, so that no token drawn in
 * it gets into an answer. Where it does not, another search, for an earlier place, with
 * requests that differ in which variables they have as well; at last before the first call for
 * time or random numbers the file    made once more, with real clocks and random numbers, at
 * the same place
 */
#include "loader/loader.h"
#include "tools/cgi_order.h"
#include "tools/cli.h"
#include "tools/snapshot_maker.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX_BYTES ((size_t)64 << 20)

struct run {
    struct maker_tenant tenant;
    int stream;
    struct cgi_reply last; /* F or D; of a run that stops, X */
    struct cgi_reply probes[CGI_PROBES];
    uint32_t probe_count;
    struct buffer answer;
};

static uint64_t now_ms(void) {
    struct timespec ts = {0};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- one run ----------------------------------------------------------------------------- */

static enum status give_order(struct run *run, const struct snapshot_request *request,
                              const struct cgi_order *order, int stream, struct error *err) {
    struct cgi_order head = *order;
    auto_buffer struct buffer strings = {0};
    auto_buffer struct buffer b = {0};
    for (uint32_t i = 0; i < request->envc; i++)
        buffer_put(&strings, request->env[i], strlen(request->env[i]) + 1);
    if (strings.size > CGI_ENV_MAX_BYTES)
        return error_set(err, ST_LIMIT, "the variables of a warm-up request take %zu bytes",
                         strings.size);
    head.type = 'C';
    head.env_count = request->envc;
    head.env_bytes = (uint32_t)strings.size;
    buffer_put(&b, &head, sizeof head);
    buffer_put(&b, strings.bytes, strings.size);
    enum status status = buffer_status(&b, err);
    if (status == ST_OK) status = buffer_status(&strings, err);
    return status == ST_OK ? maker_tell(&run->tenant, b.bytes, b.size, stream, err) : status;
}

/* The next reply; *ret_over: there will be no other. */
static enum status take_reply(struct run *run, bool stops, bool *ret_over, struct error *err) {
    struct cgi_reply r;
    ssize_t n = recv(run->tenant.control, &r, sizeof r, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
        *ret_over = true;
        if (stops && run->probe_count) return ST_OK; /* it ended before some of the probes */
        return maker_ended(&run->tenant, err);
    }
    if (n < 0) return error_set_errno(err, ST_IO, "no answer from the program's process");
    if (n != sizeof r)
        return error_set(err, ST_DAMAGED, "an odd answer of the program's process");
    r.call[sizeof r.call - 1] = '\0';
    if (r.type == 'P' && run->probe_count < CGI_PROBES) run->probes[run->probe_count++] = r;
    if (r.type == 'F' || r.type == 'D' || r.type == 'X') run->last = r;
    *ret_over = r.type == 'F' || r.type == 'D' || (stops && r.type == 'X' && !run->probe_count);
    return ST_OK;
}

static bool read_answer(struct run *run) {
    char bytes[65536];
    ssize_t n = recv(run->stream, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) buffer_put(&run->answer, bytes, (size_t)n);
    if (run->answer.size > ANSWER_MAX_BYTES) run->answer.failed = true;
    return n > 0;
}

/* Sends the body, takes the answer and the replies, until the one that ends the run. */
static enum status follow(struct run *run, const struct snapshot_request *request, bool stops,
                          uint64_t timeout_ms, struct error *err) {
    size_t sent = 0;
    bool over = false, shut = false;
    uint64_t end = now_ms() + timeout_ms;
    enum status status = ST_OK;
    while (!over && status == ST_OK) {
        if (!shut && sent == request->size_bytes) {
            shutdown(run->stream, SHUT_WR);
            shut = true;
        }
        uint64_t now = now_ms();
        struct pollfd fds[2] = {
            {.fd = run->stream, .events = (short)(POLLIN | (shut ? 0 : POLLOUT))},
            {.fd = run->tenant.control, .events = POLLIN}};
        if (now >= end || poll(fds, 2, (int)(end - now)) == 0)
            return error_set(err, ST_LIMIT, "a run of the program took too long");
        if (fds[0].revents & POLLOUT) {
            ssize_t n = send(run->stream, request->bytes + sent, request->size_bytes - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) sent += (size_t)n;
            if (n < 0 && errno != EAGAIN) sent = request->size_bytes; /* not wanted */
        }
        if (!(fds[0].revents & (POLLIN | POLLHUP | POLLERR)) || !read_answer(run)) {
            if (fds[1].revents)
                status = take_reply(run, stops, &over, err);
            else if (fds[0].revents & POLLHUP)
                poll(&fds[1], 1, (int)(end - now)); /* it has closed its side and goes on */
        }
    }
    while (read_answer(run)) continue;
    if (status == ST_OK && run->answer.failed)
        status =
            error_set(err, ST_LIMIT, "an answer larger than %zu MiB", ANSWER_MAX_BYTES >> 20);
    return status;
}

static void run_finish(struct run *run) {
    int ignored;
    if (run->tenant.pid > 0 || run->tenant.control >= 0) maker_stop(&run->tenant, &ignored);
    if (run->stream >= 0) close(run->stream);
    buffer_finish(&run->answer);
    *run = (struct run){.tenant = {.control = -1}, .stream = -1};
}

/* To be ended with run_finish, whatever it returns. */
static enum status run_begin(struct run *run, const struct snapshot_make *make,
                             const struct snapshot_request *request, int snapshot_fd,
                             const struct cgi_order *order, struct error *err) {
    int pair[2];
    *run = (struct run){.tenant = {.control = -1}, .stream = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    run->stream = pair[0];
    auto_fd int theirs = pair[1];
    enum status status =
        maker_start(make, snapshot_fd, order->tame && order->probe_count, &run->tenant, err);
    if (status == ST_OK) status = give_order(run, request, order, theirs, err);
    close(steal_fd(&theirs));
    return status == ST_OK ? follow(run, request, order->stops, make->timeout_ms, err) : status;
}

/* ---- the place --------------------------------------------------------------------------- */

struct search {
    const struct snapshot_make *make;
    struct snapshot_request variants[CGI_VARIANTS];
    const struct snapshot_request *requests[2]; /* that are compared */
    uint64_t low, high; /* the state before call low is known to be equal */
    bool without_dead;  /* dead frames may differ */
    bool undrawn;       /* no time, no random numbers */
};

/* From the first call of the main function to the first that is about the request. */
static enum status find_bounds(struct search *s, struct error *err) {
    struct run run;
    const struct cgi_order order = {.tame = true, .stops = true};
    for (size_t k = 0; k < 2; k++) {
        enum status status = run_begin(&run, s->make, s->requests[k], -1, &order, err);
        if (status == ST_OK) {
            uint64_t end = run.last.number;
            if (s->undrawn && run.last.drawn) end = run.last.drawn;
            if (k == 0 || end < s->high) s->high = end;
            if (k == 0) s->low = run.last.begin;
            if (run.last.begin != s->low)
                status = error_set(err, ST_UNSUPPORTED,
                                   "no two of its runs are the same from the start");
        }
        run_finish(&run);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static void place_probes(struct cgi_order *order, uint64_t low, uint64_t high) {
    uint64_t span = high - low;
    for (uint32_t k = 1; k <= CGI_PROBES; k++) {
        uint64_t at = low + (span * k + CGI_PROBES - 1) / CGI_PROBES;
        uint32_t n = order->probe_count;
        if (at > low && (n == 0 || order->probes[n - 1] < at))
            order->probes[order->probe_count++] = at;
    }
}

static enum status compare(struct search *s, const struct cgi_order *order, uint32_t *ret_equal,
                           struct error *err) {
    struct run runs[2] = {0};
    enum status status = ST_OK;
    for (size_t k = 0; k < 2; k++) {
        if (status == ST_OK)
            status = run_begin(&runs[k], s->make, s->requests[k], -1, order, err);
        else
            runs[k] = (struct run){.tenant = {.control = -1}, .stream = -1};
    }
    uint32_t equal = 0;
    while (status == ST_OK && equal < runs[0].probe_count && equal < runs[1].probe_count) {
        const struct cgi_reply *a = &runs[0].probes[equal], *b = &runs[1].probes[equal];
        if (a->number != b->number || a->crc != b->crc || a->asked > 1 || b->asked > 1) break;
        equal++;
    }
    run_finish(&runs[0]);
    run_finish(&runs[1]);
    *ret_equal = equal;
    return status;
}

static enum status find_place(struct search *s, struct error *err) {
    uint32_t equal = 0;
    struct cgi_order first = {
        .tame = true, .without_dead = s->without_dead, .stops = true, .probe_count = 1};
    enum status status = find_bounds(s, err);
    if (status != ST_OK) return status;
    first.probes[0] = s->low;
    if ((status = compare(s, &first, &equal, err)) != ST_OK) return status;
    if (!equal)
        return error_set(err, ST_UNSUPPORTED,
                         "its state depends on the request from the start");
    while (s->low < s->high) {
        struct cgi_order order = {.tame = true, .without_dead = s->without_dead, .stops = true};
        place_probes(&order, s->low, s->high);
        if ((status = compare(s, &order, &equal, err)) != ST_OK) return status;
        if (equal < order.probe_count) s->high = order.probes[equal] - 1;
        if (equal > 0) s->low = order.probes[equal - 1];
    }
    return ST_OK;
}

/* ---- the check --------------------------------------------------------------------------- */

static enum status freeze(const struct snapshot_make *make,
                          const struct snapshot_request *request, uint64_t number, bool tame,
                          int fd, struct cgi_reply *ret_point, struct error *err) {
    struct run run;
    const struct cgi_order order = {.tame = tame, .freeze_at = number};
    enum status status = run_begin(&run, make, request, -1, &order, err);
    if (status == ST_OK && run.last.type != 'F')
        status = error_set(err, ST_UNSUPPORTED, "the program ended before its call %llu",
                           (unsigned long long)number);
    if (status == ST_OK) status = maker_ask(&run.tenant, make, 'S', fd, "the snapshot", err);
    *ret_point = run.last;
    run_finish(&run);
    return status;
}

static enum status try(const struct snapshot_make *make, const struct snapshot_request *request,
                       int fd, uint64_t number, const char *what, struct error *err) {
    struct run cold, resumed = {.tenant = {.control = -1}, .stream = -1};
    const struct cgi_order from_start = {.tame = true, .plain = true, .seed = 1};
    const struct cgi_order from_there = {.tame = true, .seed = 1, .first = number - 1};
    enum status status = run_begin(&cold, make, request, -1, &from_start, err);
    if (status == ST_OK) status = run_begin(&resumed, make, request, fd, &from_there, err);
    if (status == ST_OK &&
        (cold.last.status != resumed.last.status || cold.answer.size != resumed.answer.size ||
         (cold.answer.size &&
          memcmp(cold.answer.bytes, resumed.answer.bytes, cold.answer.size) != 0)))
        status =
            error_set(err, ST_UNSUPPORTED,
                      "frozen after its start-up it does not answer %s as it does from the "
                      "beginning (%zu bytes, status %d; %zu bytes, status %d)",
                      what ? what : "a request", resumed.answer.size, resumed.last.status,
                      cold.answer.size, cold.last.status);
    if (status == ST_OK && make->note && what) {
        char text[200], line[80];
        size_t length = 0;
        while (length < cold.answer.size && length < sizeof line - 1 &&
               cold.answer.bytes[length] >= ' ' && cold.answer.bytes[length] < 127) {
            line[length] = (char)cold.answer.bytes[length];
            length++;
        }
        line[length] = '\0';
        snprintf(text, sizeof text, "%s: %s, %zu bytes", what, length ? line : "no answer",
                 cold.answer.size);
        make->note(text);
    }
    run_finish(&cold);
    run_finish(&resumed);
    return status;
}

static enum status check(const struct search *s, struct cgi_reply *ret_point,
                         struct error *err) {
    static const char *const names[] = {"a request", "a second request", "a plain request",
                                        "another request"};
    const struct snapshot_make *make = s->make;
    auto_fd int fd = -1;
    enum status status = cli_memory_file("hutch-trial", &fd, err);
    if (status == ST_OK)
        status = freeze(make, s->requests[0], s->low, true, fd, ret_point, err);
    for (uint32_t i = 0; status == ST_OK && i < make->warm_up_count; i++) {
        char what[40];
        snprintf(what, sizeof what, "warm-up request %u", i + 1);
        status = try(make, &make->warm_ups[i], fd, s->low, what, err);
    }
    if (status == ST_OK && !make->warm_up_count)
        status = try(make, make->trial, fd, s->low, "the trial request", err);
    for (size_t k = 0; status == ST_OK && k < CGI_VARIANTS; k++)
        status = try(make, &s->variants[k], fd, s->low, names[k], err);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------- */

static enum status record(const struct search *s, int fd, struct error *err) {
    struct run run;
    const struct cgi_order order = {.first = 0};
    auto_fd int touched = -1;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_memory_file("hutch-touched", &touched, err);
    if (status != ST_OK) return status;
    status =
        run_begin(&run, s->make, s->make->warm_up_count ? s->make->warm_ups : s->make->trial,
                  fd, &order, err);
    if (status == ST_OK)
        status = maker_ask(&run.tenant, s->make, 'W', touched, "the working set", err);
    run_finish(&run);
    if (status == ST_OK) status = cli_map_file(touched, &bytes, &size, err);
    return status == ST_OK ? snapshot_add_ranges(fd, bytes, size, err) : status;
}

static enum status freeze_for_good(const struct search *s, const struct cgi_reply *trial,
                                   int fd, struct error *err) {
    struct cgi_reply point;
    enum status status = freeze(s->make, s->requests[0], s->low, false, fd, &point, err);
    if (status == ST_OK && (point.import != trial->import ||
                            point.guest_sp != trial->guest_sp || point.slots != trial->slots))
        status = error_set(err, ST_UNSUPPORTED,
                           "it takes another way with another clock or other random numbers");
    if (status != ST_OK) return status;
    struct error failed = {0};
    if (record(s, fd, &failed) != ST_OK && s->make->note) {
        error_wrap(&failed, "the working set is not known");
        s->make->note(failed.message);
    }
    return ST_OK;
}

static enum status make_variants(struct search *s, const struct snapshot_request *first,
                                 struct error *err) {
    for (size_t k = 0; k < CGI_VARIANTS; k++) {
        struct snapshot_request *r = &s->variants[k];
        enum status status = cgi_other_request(s->make->arena, (enum cgi_variant)k, first->env,
                                               first->envc, &r->env, &r->envc, err);
        if (status != ST_OK) return status;
        if (k == CGI_PLAIN) {
            r->bytes = first->bytes;
            r->size_bytes = first->size_bytes;
        } else if (k != CGI_ONE) {
            r->bytes = (const uint8_t *)CGI_OTHER_BODY;
            r->size_bytes = strlen(CGI_OTHER_BODY);
        }
    }
    return ST_OK;
}

/* The latest place from low on, before high, from where ONE is answered as from the beginning.
 */
static enum status narrow(struct search *s, uint64_t high, struct error *err) {
    while (s->low + 1 < high) {
        uint64_t middle = s->low + (high - s->low) / 2;
        struct cgi_reply ignored;
        struct error differs = {0};
        auto_fd int fd = -1;
        enum status status = cli_memory_file("hutch-trial", &fd, err);
        if (status == ST_OK)
            status = freeze(s->make, s->requests[0], middle, true, fd, &ignored, err);
        if (status != ST_OK) return status;
        if (try(s->make, s->requests[0], fd, middle, NULL, &differs) == ST_OK)
            s->low = middle;
        else
            high = middle;
    }
    return ST_OK;
}

/* One place after the other, the earlier the harder it is. */
static enum status find_good_place(struct search *s, struct cgi_reply *ret_point,
                                   struct error *err) {
    uint64_t refused = 0;
    s->requests[0] = &s->variants[CGI_ONE];
    for (size_t k = 0; k < 2; k++) {
        s->requests[1] = &s->variants[k ? CGI_OTHER : CGI_TWO];
        s->without_dead = k == 0;
        enum status status = find_place(s, err);
        if (status == ST_OK) status = check(s, ret_point, err);
        if (status == ST_OK) return ST_OK;
        refused = s->low;
    }
    s->undrawn = true;
    enum status status = find_place(s, err);
    uint64_t early = s->low;
    if (status == ST_OK) status = narrow(s, refused, err);
    if (status == ST_OK) status = check(s, ret_point, err);
    if (status == ST_OK || s->low == early) return status;
    s->low = early;
    return check(s, ret_point, err);
}

/* Whether the warm-up requests are answered as they should be at all. */
static enum status check_answers(const struct snapshot_make *make, struct error *err) {
    const struct cgi_order from_start = {.tame = true, .plain = true, .seed = 1};
    enum status status = ST_OK;
    for (uint32_t i = 0; i < make->warm_up_count && make->check && status == ST_OK; i++) {
        struct run run;
        status = run_begin(&run, make, &make->warm_ups[i], -1, &from_start, err);
        if (status == ST_OK)
            status = make->check(make->context, i, run.answer.bytes, run.answer.size, err);
        run_finish(&run);
    }
    return status;
}

enum status snapshot_make_cgi(const struct snapshot_make *make, int *ret_fd,
                              struct error *err) {
    struct search s = {.make = make};
    struct cgi_reply point = {0};
    auto_fd int fd = -1;
    enum status status =
        make_variants(&s, make->warm_up_count ? make->warm_ups : make->trial, err);
    if (status == ST_OK) status = cli_memory_file("hutch-snapshot", &fd, err);
    if (status == ST_OK) status = check_answers(make, err);
    if (status == ST_OK) status = find_good_place(&s, &point, err);
    if (status == ST_OK) status = freeze_for_good(&s, &point, fd, err);
    if (status == ST_OK && make->note) {
        char text[200];
        snprintf(text, sizeof text, "frozen before call %llu of its start-up (%s)",
                 (unsigned long long)s.low, point.call);
        make->note(text);
    }
    if (status == ST_OK) status = snapshot_seal(fd, err);
    if (status == ST_OK) *ret_fd = steal_fd(&fd);
    return status;
}
