/*
 * differ_random SECONDS [FIRST-SEED]: the smith's modules, one seed after the other until the
 * time is up, each (every third throws exceptions) in both placements, at level 0 and the
 * others, without a profile, counting for one, and compiled by what was counted. What level 0
 * in the relocatable placement does is right (smith_expected.txt holds that against another
 * engine); every other way must do the same. Prints what differs, with the seed, and "N passed,
 * N failed, N skipped": skipped is an access out of bounds that went with its use above level
 * 0, the one difference that docs/compiler.md, Traps, leaves open.
 *
 * Each placement has a process of its own, that answers a seed with one record for each way.
 * One that dies or takes too long is a failure of its seed, and is started anew.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS                                                                              \
    (20 * 60 * 1000) /* one way of one seed, on a machine with much else to do                 \
                      */
#define REPORT_SECONDS 60

/* The ways: which seeds, level, by a profile. A profiled way gives two records. */
#define WAYS(X)                                                                                \
    X(true, COMPILE_O0, false)                                                                 \
    X(true, COMPILE_FAST, false)                                                               \
    X(seed % 2 == 0, COMPILE_O1, false)                                                        \
    X(seed % 2 == 1, COMPILE_O2, false)                                                        \
    X(true, COMPILE_O3, false)                                                                 \
    X(true, COMPILE_O3, true)

struct record {
    int level;
    char way[28]; /* "", "counting", "by a profile", "end" */
    char outcome[160];
};

/* ---- a placement's process ----------------------------------------------------------------
 */

static bool send_record(int fd, const struct record *record) {
    return write(fd, record, sizeof *record) ==
           (ssize_t)sizeof *record; /* less than PIPE_BUF */
}

static void set_outcome(struct record *r, enum status status, const char *outcome,
                        const struct error *err) {
    if (status == ST_OK)
        snprintf(r->outcome, sizeof r->outcome, "%s", outcome);
    else
        snprintf(r->outcome, sizeof r->outcome, "error: %.140s", err->message);
}

static bool run_way(const struct buffer *module, enum abi_placement placement,
                    enum compile_level level, bool profiled, int fd) {
    struct error err = {0};
    char outcome[OUTCOME_SIZE] = "", counted[OUTCOME_SIZE] = "";
    struct record record = {.level = (int)level};
    if (!profiled) {
        set_outcome(&record,
                    smith_run(module->bytes, module->size, placement, level, outcome, &err),
                    outcome, &err);
        return send_record(fd, &record);
    }
    enum status status = smith_run_profiled(module->bytes, module->size, placement, level,
                                            counted, outcome, &err);
    snprintf(record.way, sizeof record.way, "counting");
    set_outcome(&record, status, counted, &err);
    if (!send_record(fd, &record)) return false;
    snprintf(record.way, sizeof record.way, "by a profile");
    set_outcome(&record, status, outcome, &err);
    return send_record(fd, &record);
}

static void serve(enum abi_placement placement, int in, int out) {
    uint64_t seed;
    while (read(in, &seed, sizeof seed) == (ssize_t)sizeof seed) {
        uint8_t chance[SMITH_CHANCE_BYTES];
        auto_buffer struct buffer module = {0};
        smith_chance(seed, chance);
        (seed % 3 ? smith_module : smith_throwing_module)(chance, sizeof chance, &module);
#define X(wanted, level, profiled)                                                             \
    if ((wanted) && !run_way(&module, placement, level, profiled, out)) return;
        WAYS(X)
#undef X
        struct record end = {.way = "end"};
        if (!send_record(out, &end)) return;
    }
}

struct worker {
    enum abi_placement placement;
    pid_t pid;
    int to, from;
};

static bool start_worker(struct worker *w) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0) return false;
    fflush(NULL);
    w->pid = fork();
    if (w->pid < 0) return false;
    if (w->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to[1]);
        close(from[0]);
        serve(w->placement, to[0], from[1]);
        _exit(0);
    }
    close(to[0]);
    close(from[1]);
    w->to = to[1];
    w->from = from[0];
    return true;
}

/* Ends it and gives its wait status. A later worker holds the pipe too, so closing does not. */
static int stop_worker(struct worker *w) {
    int status = 0;
    close(w->to);
    close(w->from);
    kill(w->pid, SIGKILL); /* of no effect on one that has died of something else */
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {}
    w->pid = 0;
    return status;
}

/* ---- comparing ----------------------------------------------------------------------------
 */

static const char *placement_name(enum abi_placement placement) {
    return placement == ABI_PINNED ? "pinned" : "relocatable";
}

static unsigned long long passed, failed, skipped;

static bool read_record(const struct worker *w, struct record *ret, bool *ret_late) {
    struct pollfd p = {.fd = w->from, .events = POLLIN};
    int ready;
    while ((ready = poll(&p, 1, ANSWER_MS)) < 0 && errno == EINTR) {}
    *ret_late = ready == 0;
    return ready > 0 && read(w->from, ret, sizeof *ret) == (ssize_t)sizeof *ret;
}

/* Has a worker do a seed. expected is empty at first and then what every record must say. */
static bool ask(struct worker *w, uint64_t seed, char expected[sizeof(struct record)]) {
    if (w->pid == 0 && !start_worker(w)) return false;
    bool late = false, sent = write(w->to, &seed, sizeof seed) == (ssize_t)sizeof seed;
    struct record r, last = {.level = COMPILE_O0, .way = "before it"};
    while (sent && read_record(w, &r, &late)) {
        if (strcmp(r.way, "end") == 0) return true;
        last = r;
        if (!expected[0]) snprintf(expected, sizeof(struct record), "%s", r.outcome);
        if (strcmp(r.outcome, expected) == 0 && strncmp(r.outcome, "error", 5) != 0) {
            passed++;
            continue;
        }
        if (r.level > COMPILE_O0 && strncmp(r.outcome, "error", 5) != 0 &&
            strcmp(expected, "trap: out of bounds memory access") == 0) {
            skipped++;
            continue;
        }
        failed++;
        printf("smith %llu, %s, level %d %s: %s, expected %s\n", (unsigned long long)seed,
               placement_name(w->placement), r.level, r.way, r.outcome, expected);
    }
    int status = stop_worker(w);
    failed++;
    printf("smith %llu, %s, after level %d %s: %s\n", (unsigned long long)seed,
           placement_name(w->placement), last.level, last.way,
           late                  ? "took too long"
           : WIFSIGNALED(status) ? strsignal(WTERMSIG(status))
                                 : "ended");
    return true;
}

static uint64_t now_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: differ_random SECONDS [FIRST-SEED]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    uint64_t seconds = strtoull(argv[1], NULL, 10), began = now_seconds(), reported = began;
    uint64_t first = argc == 3 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) << 20;
    uint64_t seed = first;
    struct worker workers[] = {{.placement = ABI_RELOCATABLE}, {.placement = ABI_PINNED}};
    bool running = true;
    while (running && now_seconds() - began < seconds) {
        char expected[sizeof(struct record)] = "";
        for (size_t i = 0; i < countof(workers); i++)
            running &= ask(&workers[i], seed, expected);
        seed++;
        if (now_seconds() - reported >= REPORT_SECONDS) {
            reported = now_seconds();
            fprintf(stderr, "%llu modules, %llu passed, %llu failed, %llu skipped\n",
                    (unsigned long long)(seed - first), passed, failed, skipped);
        }
        fflush(stdout);
    }
    for (size_t i = 0; i < countof(workers); i++)
        if (workers[i].pid) stop_worker(&workers[i]);
    if (!running) perror("differ_random");
    printf("seeds %llu to %llu\n%llu passed, %llu failed, %llu skipped\n",
           (unsigned long long)first, (unsigned long long)seed - 1, passed, failed, skipped);
    return failed != 0 || passed == 0 || !running;
}
