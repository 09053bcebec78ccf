/*
 * Appends records. Each start of the front begins a file of its own, so that nothing is ever
 * appended to the torn end of another, and one of 64 MiB is followed by the next. A process
 * that is killed loses the records of the loop's current turn and no other; write(2) that is
 * cut short by a kill ends at a page, which is the end of a record.
 */
#include "serve/usage.h"

#include "serve/exchange_state.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_RECORDS (((uint64_t)64 << 20) / USAGE_RECORD_BYTES)
#define FLUSH_BYTES ((size_t)64 << 10)

struct usage_writer {
    int dir_fd, fd;
    uint32_t file; /* how many there were */
    uint32_t apps; /* numbered in the current one */
    uint64_t sequence, errors, synced;
    struct buffer records; /* not written yet */
    struct event *flush, *sync;
};

static void flush(struct usage_writer *w) {
    size_t at = 0;
    while (at < w->records.size) {
        ssize_t n = write(w->fd, w->records.bytes + at, w->records.size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            /* A full disk: what does not fit is lost and counted. Half a record must not stay.
             */
            w->errors += (w->records.size - at + USAGE_RECORD_BYTES - 1) / USAGE_RECORD_BYTES;
            off_t end = lseek(w->fd, 0, SEEK_END);
            if (end > 0 && end % USAGE_RECORD_BYTES)
                if (ftruncate(w->fd, end - end % USAGE_RECORD_BYTES) < 0) w->errors++;
            break;
        }
        at += (size_t)n;
    }
    w->records.size = 0;
    w->records.failed = false;
}

static void append(struct usage_writer *w, struct usage_record *record) {
    uint8_t bytes[USAGE_RECORD_BYTES];
    record->sequence = w->sequence++;
    usage_record_encode(record, bytes);
    buffer_put(&w->records, bytes, sizeof bytes);
    if (w->records.failed) w->errors++;
    if (w->records.size >= FLUSH_BYTES) flush(w);
}

static enum status open_file(struct usage_writer *w, struct error *err) {
    uint64_t id = 0, now = clock_wall_ns();
    char name[80];
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        return error_set_errno(err, ST_IO, "no random numbers");
    snprintf(name, sizeof name, "%015llu-%016llx" USAGE_SUFFIX,
             (unsigned long long)(now / 1000000), (unsigned long long)id);
    int fd = openat(w->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot create the usage file %s", name);
    if (w->fd >= 0) {
        flush(w);
        close(w->fd);
    }
    w->fd = fd;
    w->file++;
    w->apps = 0;
    w->sequence = 0;
    struct usage_record first = {.type = USAGE_FILE, .file_id = id, .began_unix_ns = now};
    append(w, &first);
    flush(w);
    return ST_OK;
}

static void on_flush(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    flush(context);
}

/* Starts writing to the disk without waiting for it: the loop must not. */
static void on_sync(evutil_socket_t fd, short events, void *context) {
    (void)fd;
    (void)events;
    struct usage_writer *w = context;
    if (w->synced == w->sequence) return;
    w->synced = w->sequence;
    sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

enum status usage_open(struct event_base *base, const char *directory,
                       struct usage_writer **ret_writer, struct error *err) {
    static const struct timeval second = {1, 0};
    struct usage_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, ST_NO_MEMORY, "out of memory");
    w->fd = -1;
    enum status status = ST_OK;
    if (mkdir(directory, 0750) < 0 && errno != EEXIST)
        status = error_set_errno(err, ST_IO, "cannot make the directory %s", directory);
    w->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (status == ST_OK && w->dir_fd < 0)
        status = error_set_errno(err, ST_IO, "cannot open the directory %s", directory);
    w->flush = event_new(base, -1, 0, on_flush, w);
    w->sync = event_new(base, -1, EV_PERSIST, on_sync, w);
    if (status == ST_OK && (!w->flush || !w->sync || event_add(w->sync, &second) < 0))
        status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK) status = open_file(w, err);
    if (status != ST_OK) {
        usage_close(w);
        return status;
    }
    *ret_writer = w;
    return ST_OK;
}

void usage_append(struct usage_writer *w, const char *name, struct usage_app *app,
                  struct usage_record *record) {
    if (!w) return;
    struct error err = {0};
    if (w->sequence >= FILE_MAX_RECORDS && open_file(w, &err) != ST_OK) w->errors++;
    if (app->file != w->file) {
        *app = (struct usage_app){.number = ++w->apps, .file = w->file};
        struct usage_record r = {.type = USAGE_APP,
                                 .app = app->number,
                                 .name = name,
                                 .name_length = (uint32_t)strlen(name)};
        append(w, &r);
    }
    record->app = app->number;
    append(w, record);
    event_active(w->flush, EV_TIMEOUT, 0);
}

void usage_write(struct usage_writer *w, const struct exchange *x) {
    struct usage_record r = {.type = USAGE_REQUEST,
                             .status = (uint16_t)x->status,
                             .trouble = (uint8_t)x->trouble,
                             .flags = x->outcome.cold ? USAGE_COLD : 0,
                             .request = x->id,
                             .began_unix_ns = x->began_unix_ns,
                             .wall_ns = x->took_ns,
                             .queue_ns = x->outcome.queue_ns,
                             .cpu_ns = x->outcome.cpu_ns,
                             .received_bytes = x->received_bytes,
                             .sent_bytes = x->sent_bytes,
                             .memory_peak_bytes = x->outcome.memory_peak_bytes,
                             .tenant = x->outcome.tenant};
    usage_append(w, x->site->app->name, &x->site->counts->usage, &r);
}

uint64_t usage_errors(const struct usage_writer *w) { return w ? w->errors : 0; }

void usage_close(struct usage_writer *w) {
    if (!w) return;
    if (w->fd >= 0) {
        flush(w);
        fdatasync(w->fd);
        close(w->fd);
    }
    if (w->dir_fd >= 0) close(w->dir_fd);
    if (w->flush) event_free(w->flush);
    if (w->sync) event_free(w->sync);
    buffer_finish(&w->records);
    free(w);
}
