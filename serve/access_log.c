/*
 * What the front writes to its logs: a line for each request (the access log), and to the other
 * log what guests wrote, what went wrong with them, and what befell the server. docs/serve.md
 * lists the fields.
 */
#include "serve/exchange_state.h"
#include "serve/log.h"

static const char *const trouble_words[] = {
#define X(name, word) word,
    TROUBLE_LIST(X)
#undef X
};
const char *trouble_word(enum trouble trouble) { return trouble_words[trouble]; }

void front_log_exchange(struct front *front, const struct exchange *x) {
    struct log *log = front->access;
    if (!log_begin(log, x->began_unix_ns)) return;
    const struct http_request *r = &x->request;
    log_number(log, "request", x->id);
    log_text(log, "app", x->site ? x->site->app->name : NULL);
    log_text(log, "client", x->address);
    log_text(log, "protocol", x->client.protocol);
    log_text(log, "method", r->method);
    log_text(log, "host", r->host);
    log_text(log, "target", r->target);
    log_number(log, "status", (uint64_t)x->status);
    log_number(log, "received_bytes", x->received_bytes);
    log_number(log, "sent_bytes", x->sent_bytes);
    log_seconds(log, "duration_s", x->took_ns);
    if (x->submitted) {
        log_seconds(log, "queue_s", x->outcome.queue_ns);
        log_seconds(log, "cpu_s", x->outcome.cpu_ns);
        log_number(log, "memory_bytes", x->outcome.memory_peak_bytes);
        log_number(log, "tenant", x->outcome.tenant);
        log_flag(log, "cold", x->outcome.cold);
    }
    if (x->trouble != TROUBLE_NONE) log_text(log, "trouble", trouble_word(x->trouble));
    log_text(log, "user_agent", http_field_get(&r->fields, "user-agent"));
    log_text(log, "referer", http_field_get(&r->fields, "referer"));
    log_end(log);
    /* Why a request failed at the server's end is for the log that somebody reads. */
    if (x->reason && x->trouble != TROUBLE_CLIENT && x->trouble != TROUBLE_REQUEST &&
        !x->report && log_begin(front->log, clock_wall_ns())) {
        log_text(front->log, "level", "error");
        log_text(front->log, "app", x->site ? x->site->app->name : NULL);
        log_number(front->log, "request", x->id);
        log_text(front->log, "trouble", trouble_word(x->trouble));
        log_text(front->log, "message", x->reason);
        log_end(front->log);
    }
}

void front_log_trouble(struct front *front, const struct exchange *x, const char *report) {
    struct log *log = front->log;
    const struct pool_outcome *o = &x->outcome;
    if (!log_begin(log, clock_wall_ns())) return;
    log_text(log, "level", "error");
    log_text(log, "app", x->site->app->name);
    log_number(log, "request", x->id);
    log_number(log, "tenant", o->tenant);
    log_text(log, "trouble",
             o->end == POOL_TRAPPED ? "trap"
             : o->end == POOL_LIMIT ? "limit"
                                    : "died");
    if (o->end == POOL_LIMIT) log_text(log, "limit", pool_limit_name(o->limit));
    log_text(log, "target", x->request.target);
    log_text(log, "message", report);
    log_end(log);
}

void front_log_refused(struct front *front, const char *address, int status,
                       const char *reason) {
    struct log *log = front->access;
    if (!log_begin(log, clock_wall_ns())) return;
    log_text(log, "client", address);
    log_number(log, "status", (uint64_t)status);
    log_text(log, "trouble", trouble_word(TROUBLE_REQUEST));
    log_text(log, "message", reason);
    log_end(log);
}

/* Lines of a guest's FCGI_STDERR. */
void front_log_guest(struct front *front, const struct exchange *x, const char *text,
                     size_t size) {
    while (size) {
        const char *lf = memchr(text, '\n', size);
        size_t length = lf ? (size_t)(lf - text) : size;
        if (length && log_begin(front->log, clock_wall_ns())) {
            log_text(front->log, "level", "app");
            log_text(front->log, "app", x->site->app->name);
            log_number(front->log, "request", x->id);
            log_bytes(front->log, "message", text, length);
            log_end(front->log);
        }
        length += lf != NULL;
        text += length;
        size -= length;
    }
}

void front_log_line(void *context, const struct pool_log_line *line) {
    struct front *front = context;
    struct log *log = front->log;
    if (!log_begin(log, clock_wall_ns())) return;
    log_text(log, "level", line->remark ? "warning" : "app");
    log_text(log, "app", line->app ? pool_app_name(line->app) : NULL);
    log_number(log, "tenant", line->tenant);
    if (line->request) log_number(log, "request", line->request);
    log_bytes(log, "message", line->text, line->length);
    log_end(log);
}

void front_log_event(void *context, const char *text) {
    struct front *front = context;
    if (!log_begin(front->log, clock_wall_ns())) return;
    log_text(front->log, "level", "notice");
    log_text(front->log, "message", text);
    log_end(front->log);
}
