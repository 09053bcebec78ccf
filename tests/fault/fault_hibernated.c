/*
 * The directory of hibernated guests through every system call of what changes it: killed
 * there, or told that the disk is full or broken. Afterwards a file that was acknowledged is
 * there, one that was being written is there whole or not at all, one that went on is gone once
 * that was acknowledged, and nothing else has changed. Also: whose file it is, other boots,
 * cleaning.
 *
 *     fault_hibernated
 *
 * Closes with "N passed, N failed".
 */
#include "serve/hibernated.h"
#include "tests/fault/place.h"
#include "tests/fault/tracer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE 3000u
#define PIECES 3u

static const struct hibernated_key key = {1, 2, 3};
static char path[256];

static uint8_t byte_of(unsigned piece) { return (uint8_t)('a' + piece); }

/* As a tenant and the pool do it, one after the other. */
static enum status put(struct hibernated_dir *dir, const char *app, bool reboot,
                       struct error *err) {
    int fd = -1;
    uint64_t number = 0;
    struct hibernated *h;
    enum status status = hibernated_create(dir, reboot, &fd, &number, err);
    if (status != ST_OK) return status;
    for (unsigned i = 0; i < PIECES && status == ST_OK; i++) {
        uint8_t bytes[PIECE];
        memset(bytes, byte_of(i), PIECE);
        if (write(fd, bytes, PIECE) != (ssize_t)PIECE)
            status = error_set_errno(err, ST_IO, "write");
    }
    close(fd);
    if (status == ST_OK)
        status = hibernated_publish(dir, number, app, &key, reboot, PIECE * PIECES, &h, err);
    if (status != ST_OK) hibernated_abandon(dir, number);
    return status;
}

static bool is_whole(const struct hibernated_dir *dir, const struct hibernated *h) {
    struct error err = {0};
    int fd = -1;
    uint8_t bytes[PIECE * PIECES + 1];
    if (h->bytes != PIECE * PIECES || hibernated_read(dir, h, &fd, &err) != ST_OK) return false;
    ssize_t n = read(fd, bytes, sizeof bytes);
    close(fd);
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] != byte_of((unsigned)i / PIECE)) return false;
    return n == (ssize_t)(PIECE * PIECES);
}

/* ---- what is done under faults ----------------------------------------------------------- */

struct operation {
    const char *name;
    bool puts, reboot;
};

static int run(void *context) {
    const struct operation *o = context;
    struct hibernated_dir *dir;
    struct error err = {0};
    if (hibernated_open(path, &dir, &err) != ST_OK) return 1;
    enum status status = ST_OK;
    if (o->puts) {
        status = put(dir, "new", o->reboot, &err);
    } else {
        struct hibernated *h = hibernated_find(dir, "old", &key);
        int fd = -1;
        if (!h) return 1;
        status = hibernated_read(dir, h, &fd, &err);
        if (status == ST_OK) {
            close(fd);
            status = hibernated_remove(dir, h, &err);
        }
    }
    return status == ST_OK ? 0 : 1;
}

/* The directory before: one to go on, one to stay, half a file of a server that was killed. */
static void make(bool reboot) {
    struct hibernated_dir *dir;
    struct error err = {0};
    place_wipe("dir");
    place_path("dir", path);
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    CHECK(put(dir, "old", reboot, &err) == ST_OK && put(dir, "stays", reboot, &err) == ST_OK);
    int fd = -1;
    uint64_t number;
    CHECK(hibernated_create(dir, reboot, &fd, &number, &err) == ST_OK);
    CHECK(write(fd, "half", 4) == 4);
    close(fd);
    hibernated_close(dir);
}

static unsigned count_files(void) {
    unsigned count = 0;
    DIR *list = opendir(path);
    CHECK(list);
    for (struct dirent *e; (e = readdir(list));)
        count += e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0;
    closedir(list);
    return count;
}

static void check(const struct operation *o, bool acknowledged, const char *what, unsigned at) {
    struct hibernated_dir *dir = NULL;
    struct error err = {0};
    PLACE_EXPECT(hibernated_open(path, &dir, &err) == ST_OK, "%s %s %u: %s", o->name, what, at,
                 err.message);
    if (!dir) return;
    struct hibernated *old = hibernated_find(dir, "old", &key);
    struct hibernated *stays = hibernated_find(dir, "stays", &key);
    struct hibernated *new = hibernated_find(dir, "new", &key);
    PLACE_EXPECT(stays && is_whole(dir, stays), "%s %s %u", o->name, what, at);
    PLACE_EXPECT(!old || is_whole(dir, old), "%s %s %u", o->name, what, at);
    PLACE_EXPECT(!new || is_whole(dir, new), "%s %s %u", o->name, what, at);
    if (o->puts) {
        PLACE_EXPECT(old, "%s %s %u", o->name, what, at);
        PLACE_EXPECT(new || !acknowledged, "%s %s %u: acknowledged, and lost", o->name, what,
                     at);
    } else {
        PLACE_EXPECT(!old || !acknowledged, "%s %s %u: it would go on twice", o->name, what,
                     at);
    }
    PLACE_EXPECT(count_files() == dir->count, "%s %s %u: something is left", o->name, what, at);
    hibernated_close(dir);
}

static void under_faults(const struct operation *o) {
    static const struct {
        const char *what;
        enum fault_kind kind;
        int error;
    } faults[] = {{"kill", FAULT_KILL_ALL, 0},
                  {"ENOSPC", FAULT_ERROR, ENOSPC},
                  {"EIO", FAULT_ERROR, EIO}};
    for (size_t f = 0; f < countof(faults); f++) {
        unsigned at = 0;
        for (bool hit = true; hit; at++) {
            struct fault fault = {
                .kind = faults[f].kind, .at = at, .error = faults[f].error, .quiet = true};
            make(o->reboot);
            struct fault_result r = fault_run(run, (void *)(uintptr_t)o, &fault);
            hit = r.hit;
            PLACE_EXPECT(!r.hung && (fault.kind == FAULT_KILL_ALL || WIFEXITED(r.status)),
                         "%s %s %u: status %x", o->name, faults[f].what, at,
                         (unsigned)r.status);
            check(o, WIFEXITED(r.status) && WEXITSTATUS(r.status) == 0, faults[f].what, at);
        }
        printf("%s: %s at %u calls\n", o->name, faults[f].what, at);
        PLACE_EXPECT(at > 1, "%s", faults[f].what);
    }
}

/* ---- whose it is, and how long ----------------------------------------------------------- */

static bool is_old(void *context, const struct hibernated *h) {
    (void)context;
    return strcmp(h->of->name, "old") == 0;
}

static void rename_in(const char *from, const char *to) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && renameat(fd, from, fd, to) == 0);
    close(fd);
}

static void whose(void) {
    struct hibernated_dir *dir, *second;
    struct error err = {0};
    make(false);
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    PLACE_EXPECT(hibernated_open(path, &second, &err) == ST_LIMIT &&
                     strstr(err.message, "another server"),
                 "%s", err.message);
    struct hibernated_key other = key;
    struct hibernated *h = hibernated_find(dir, "old", &key);
    PLACE_EXPECT(h && strcmp(h->of->name, "old") == 0, "found");
    PLACE_EXPECT(!hibernated_find(dir, "ol", &key) && !hibernated_find(dir, "olds", &key),
                 "another app");
    for (int i = 0; i < 3; i++) {
        other = key;
        (i == 0 ? &other.object : i == 1 ? &other.snapshot : &other.config)[0]++;
        PLACE_EXPECT(!hibernated_find(dir, "old", &other), "another key %d", i);
    }
    /* the newest first, and each once */
    CHECK(put(dir, "old", false, &err) == ST_OK);
    struct hibernated *newer = hibernated_find(dir, "old", &key);
    PLACE_EXPECT(newer != h && newer->serial > h->serial, "the newest");
    newer->taken = true;
    PLACE_EXPECT(hibernated_find(dir, "old", &key) == h, "the other one");
    newer->taken = false;
    /* cleaning: old enough, and nobody serves the app */
    hibernated_clean(dir, UINT64_C(3600000000000), is_old, NULL);
    PLACE_EXPECT(dir->count == 3, "none is old");
    hibernated_set_aside(dir, newer);
    PLACE_EXPECT(dir->count == 2 && count_files() == 3, "set aside");
    hibernated_clean(dir, 0, is_old, NULL);
    PLACE_EXPECT(dir->count == 1 && hibernated_find(dir, "old", &key), "of apps gone");
    /* another boot, and names that are none of ours */
    char name[256], changed[300];
    snprintf(name, sizeof name, "%s", hibernated_find(dir, "old", &key)->name);
    hibernated_close(dir);
    snprintf(changed, sizeof changed, "x%s", name);
    rename_in(name, changed);
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    PLACE_EXPECT(hibernated_find(dir, "xold", &key), "as it is called");
    hibernated_close(dir);
    snprintf(name, sizeof name, "%.250s", changed);
    snprintf(changed + strlen(changed) - 8, 9, "00000000");
    rename_in(name, changed);
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    PLACE_EXPECT(dir->count == 0 && count_files() == 0, "of another boot");
    hibernated_close(dir);
    make(false);
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    snprintf(name, sizeof name, "%s", hibernated_find(dir, "old", &key)->name);
    hibernated_close(dir);
    rename_in(name, "old.1.2.3");
    CHECK(hibernated_open(path, &dir, &err) == ST_OK);
    PLACE_EXPECT(dir->count == 1 && count_files() == 2, "no name of ours is let be");
    hibernated_close(dir);
}

int main(void) {
    static const struct operation operations[] = {{"written out", true, false},
                                                  {"written out for a reboot", true, true},
                                                  {"gone on", false, false},
                                                  {"gone on after a reboot", false, true}};
    place_begin();
    for (size_t i = 0; i < countof(operations); i++) under_faults(&operations[i]);
    whose();
    place_end();
    printf("%u passed, %u failed\n", place_passed, place_failed);
    return place_failed != 0;
}
