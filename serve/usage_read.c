/*
 * A directory of usage files -> its records. Files are read by themselves: each says its own
 * identity and gives its own numbers to apps. The server may be writing to the newest
 * meanwhile.
 */
#include "serve/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct reading {
    usage_visit visit;
    void *context;
    struct usage_read *summary;
    bool ended;
    uint64_t *ids; /* of the files read */
    size_t id_count;
    /* of the current file */
    struct arena names;
    const char **apps; /* by number - 1 */
    uint32_t app_count;
    uint64_t sequence; /* the next */
    struct error *err;
};

static enum status no_memory(struct error *err) {
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

static void damaged(struct reading *r, const char *file, uint64_t count) {
    if (!r->summary->damaged)
        snprintf(r->summary->first_damaged, sizeof r->summary->first_damaged, "%s", file);
    r->summary->damaged += count;
}

/* Apps are numbered from 1, in order; a number that a damaged record has left out has no name.
 */
static enum status name_app(struct reading *r, const struct usage_record *record) {
    if (record->app == 0 || record->app > 1000000) return ST_OK;
    if (record->app > r->app_count) {
        const char **apps = realloc(r->apps, record->app * sizeof *apps);
        if (!apps) return no_memory(r->err);
        for (uint32_t i = r->app_count; i < record->app; i++) apps[i] = NULL;
        r->apps = apps;
        r->app_count = record->app;
    }
    char *name = arena_string(&r->names, record->name, record->name_length);
    if (!name) return no_memory(r->err);
    r->apps[record->app - 1] = name;
    return ST_OK;
}

static enum status begin_file(struct reading *r, uint64_t id) {
    for (size_t i = 0; i < r->id_count; i++)
        if (r->ids[i] == id) {
            r->summary->copies++;
            return error_set(NULL, ST_NOT_FOUND, "a copy");
        }
    uint64_t *ids = realloc(r->ids, (r->id_count + 1) * sizeof *ids);
    if (!ids) return no_memory(r->err);
    r->ids = ids;
    r->ids[r->id_count++] = id;
    return ST_OK;
}

static enum status take(struct reading *r, const char *file, const uint8_t *bytes) {
    struct usage_record record;
    if (usage_record_decode(bytes, &record, NULL) != ST_OK) {
        damaged(r, file, 1);
        r->sequence++;
        return ST_OK;
    }
    if (record.sequence > r->sequence) damaged(r, file, record.sequence - r->sequence);
    if (record.sequence < r->sequence) { /* seen before: never billed twice */
        damaged(r, file, 1);
        return ST_OK;
    }
    r->sequence = record.sequence + 1;
    switch (record.type) {
    case USAGE_FILE: return record.sequence == 0 ? begin_file(r, record.file_id) : ST_OK;
    case USAGE_APP: return name_app(r, &record);
    case USAGE_REQUEST:
    case USAGE_OVERHEAD: {
        const char *app =
            record.app && record.app <= r->app_count ? r->apps[record.app - 1] : NULL;
        r->summary->records++;
        r->ended = !r->visit(r->context, app ? app : "(unknown)", &record);
        return ST_OK;
    }
    default: return ST_OK;
    }
}

static enum status read_file(struct reading *r, int dir_fd, const char *name) {
    auto_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set_errno(r->err, ST_IO, "%s", name);
    uint8_t bytes[USAGE_RECORD_BYTES * 512];
    size_t have = 0;
    r->app_count = 0;
    r->sequence = 0;
    arena_reset(&r->names);
    r->summary->files++;
    while (!r->ended) {
        ssize_t n = read(fd, bytes + have, sizeof bytes - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(r->err, ST_IO, "%s", name);
        if (n == 0) break; /* what is left is less than a record */
        have += (size_t)n;
        size_t at = 0;
        for (; have - at >= USAGE_RECORD_BYTES && !r->ended; at += USAGE_RECORD_BYTES) {
            enum status status = take(r, name, bytes + at);
            if (status == ST_NOT_FOUND) return ST_OK; /* a copy */
            if (status != ST_OK) return status;
        }
        memmove(bytes, bytes + at, have - at);
        have -= at;
    }
    return ST_OK;
}

static int usage_file(const struct dirent *entry) {
    size_t length = strlen(entry->d_name), suffix = strlen(USAGE_SUFFIX);
    return length > suffix && strcmp(entry->d_name + length - suffix, USAGE_SUFFIX) == 0;
}

enum status usage_read(const char *directory, usage_visit visit, void *context,
                       struct usage_read *ret_summary, struct error *err) {
    *ret_summary = (struct usage_read){0};
    struct reading r = {.visit = visit, .context = context, .summary = ret_summary, .err = err};
    auto_fd int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return error_set_errno(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO, "%s", directory);
    struct dirent **entries = NULL;
    int count = scandirat(dir_fd, ".", &entries, usage_file, alphasort); /* the time leads */
    if (count < 0) return error_set_errno(err, ST_IO, "%s", directory);
    enum status status = ST_OK;
    for (int i = 0; i < count; i++) {
        if (status == ST_OK && !r.ended) status = read_file(&r, dir_fd, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    free(r.apps);
    free(r.ids);
    arena_finish(&r.names);
    return status;
}
