/*
 * spec_runner: runs official test scripts, each in a child process with a time limit, two at a
 * time, and sums up what the children found. A crash or a hang is one failure with a name, and
 * the commands behind it count as failed, so that the number of checks is the same in every
 * run.
 *
 *     spec_runner [--placement pinned|relocatable] [--level 0|1|2|3|fast] [--target NAME]
 *                 [--cpu-level N] [--timeout SECONDS]
 *                 [--jobs N] [--list-skips] [--json-summary] FILE.json...
 *
 * The last line is "N passed, N failed, N skipped"; the exit status is 1 where anything failed.
 */
#include "tests/spec/spec.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_JOBS 16
#define MAX_REASONS 256

struct options {
    struct script_options script;
    unsigned timeout_seconds, jobs;
    bool list_skips, json;
    int file_count;
    char **files;
};

struct child {
    pid_t pid; /* 0: none */
    const char *file;
    struct results *results;
    int events_fd;
    double deadline;
    bool timed_out;
};

struct summary {
    uint64_t passed, failed, skipped, followed;
    struct {
        char *reason;
        uint64_t count;
    } reasons[MAX_REASONS];
    size_t reason_count;
    bool list_skips;
};

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void count_skip(struct summary *sum, const char *reason) {
    sum->skipped++;
    for (size_t i = 0; i < sum->reason_count; i++)
        if (strcmp(sum->reasons[i].reason, reason) == 0) {
            sum->reasons[i].count++;
            return;
        }
    if (sum->reason_count == MAX_REASONS) return;
    sum->reasons[sum->reason_count].reason = strdup(reason);
    sum->reasons[sum->reason_count++].count = 1;
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- children ---- */

static bool start(struct child *child, const char *file, const struct options *options) {
    fflush(NULL);
    *child = (struct child){.file = file, .events_fd = memfd_create("events", MFD_CLOEXEC)};
    void *shared = mmap(NULL, sizeof *child->results, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child->events_fd < 0 || shared == MAP_FAILED) return false;
    child->results = shared;
    child->deadline = now() + options->timeout_seconds;
    child->pid = fork();
    if (child->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct result_sink sink = {.shared = child->results, .events_fd = child->events_fd};
        script_run(file, &options->script, &sink);
        fflush(NULL);
        _exit(0);
    }
    return child->pid > 0;
}

/* One line of a child's events, cut into its fields. */
static void take_event(struct summary *sum, const struct child *child, char *line) {
    char *name = strchr(line, '\t'), *text = name ? strchr(name + 1, '\t') : NULL;
    if (!text) return;
    *name++ = '\0';
    *text++ = '\0';
    if (line[0] == 'S') {
        count_skip(sum, text);
        if (sum->list_skips)
            printf("skip %s:%s: %s: %s\n", base_of(child->file), line + 1, name, text);
    } else if (line[0] == 'F') {
        sum->failed++;
        printf("FAIL %s:%s: %s: %s\n", base_of(child->file), line + 1, name, text);
    } else if (line[0] == 'f') {
        sum->failed++;
        sum->followed++;
    }
}

static void take_events(struct summary *sum, const struct child *child) {
    off_t size = lseek(child->events_fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    CHECK(text && pread(child->events_fd, text, (size_t)size, 0) == size);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line) take_event(sum, child, line);
    free(text);
}

static void finish(struct summary *sum, struct child *child, int status) {
    const struct results *r = child->results;
    sum->passed += r->passed;
    take_events(sum, child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        uint32_t behind = r->command_count > r->command ? r->command_count - r->command : 0;
        sum->failed += 1 + behind;
        sum->followed += behind;
        if (child->timed_out)
            printf("FAIL %s:%u: %s: ran out of time\n", base_of(child->file), r->command,
                   r->command_name);
        else if (WIFSIGNALED(status))
            printf("FAIL %s:%u: %s: crashed: %s\n", base_of(child->file), r->command,
                   r->command_name, strsignal(WTERMSIG(status)));
        else
            printf("FAIL %s:%u: %s: ended with status %d\n", base_of(child->file), r->command,
                   r->command_name, WEXITSTATUS(status));
    }
    munmap(child->results, sizeof *child->results);
    close(child->events_fd);
    child->pid = 0;
}

static void run_all(const struct options *options, struct summary *sum) {
    struct child children[MAX_JOBS] = {0};
    int next = 0, running = 0;
    while (next < options->file_count || running) {
        for (unsigned i = 0; i < options->jobs && next < options->file_count; i++) {
            if (children[i].pid) continue;
            const char *file = options->files[next++];
            if (start(&children[i], file, options)) {
                running++;
            } else {
                printf("FAIL %s: cannot start a child: %s\n", file, strerror(errno));
                sum->failed++;
                children[i].pid = 0;
            }
        }
        for (unsigned i = 0; i < options->jobs; i++) {
            struct child *child = &children[i];
            int status;
            if (!child->pid) continue;
            if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
                finish(sum, child, status);
                running--;
            } else if (now() > child->deadline) {
                child->timed_out = true;
                kill(child->pid, SIGKILL);
            }
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* ---- the summary ---- */

static void print_summary(const struct options *options, const struct summary *sum,
                          double seconds) {
    const char *placement = options->script.placement == ABI_PINNED ? "pinned" : "relocatable";
    if (options->json) {
        json_t *reasons = json_object();
        for (size_t i = 0; i < sum->reason_count; i++)
            json_object_set_new(reasons, sum->reasons[i].reason,
                                json_integer((json_int_t)sum->reasons[i].count));
        json_t *root = json_pack(
            "{s:s, s:i, s:i, s:I, s:I, s:I, s:f, s:o}", "placement", placement, "level",
            (int)options->script.level, "scripts", options->file_count, "passed",
            (json_int_t)sum->passed, "failed", (json_int_t)sum->failed, "skipped",
            (json_int_t)sum->skipped, "seconds", seconds, "skips", reasons);
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
        json_decref(root);
    }
    printf("%s, level %d: %d scripts in %.1f s\n", placement, (int)options->script.level,
           options->file_count, seconds);
    if (sum->followed)
        printf("%9llu of the failures follow from another\n",
               (unsigned long long)sum->followed);
    for (size_t i = 0; i < sum->reason_count; i++)
        printf("%9llu skipped: %s\n", (unsigned long long)sum->reasons[i].count,
               sum->reasons[i].reason);
    printf("%llu passed, %llu failed, %llu skipped\n", (unsigned long long)sum->passed,
           (unsigned long long)sum->failed, (unsigned long long)sum->skipped);
}

static int usage(void) {
    fputs("usage: spec_runner [--placement pinned|relocatable] [--level 0|1|2|3|fast]\n"
          "                   [--target NAME] [--cpu-level N] [--timeout SECONDS] [--jobs N]\n"
          "                   [--list-skips] [--json-summary]\n"
          "                   FILE.json...\n",
          stderr);
    return 2;
}

static bool parse(int argc, char **argv, struct options *o) {
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(word, "--list-skips") == 0) {
            o->list_skips = true;
            continue;
        } else if (strcmp(word, "--json-summary") == 0) {
            o->json = true;
            continue;
        }
        i++;
        if (strcmp(word, "--placement") == 0 && strcmp(value, "pinned") == 0)
            o->script.placement = ABI_PINNED;
        else if (strcmp(word, "--placement") == 0 && strcmp(value, "relocatable") == 0)
            o->script.placement = ABI_RELOCATABLE;
        else if (strcmp(word, "--level") == 0 && strcmp(value, "fast") == 0)
            o->script.level = COMPILE_FAST;
        else if (strcmp(word, "--level") == 0 && value[0] >= '0' && value[0] <= '3')
            o->script.level = (enum compile_level)(value[0] - '0');
        else if (strcmp(word, "--target") == 0 && value[0])
            o->script.target = value;
        else if (strcmp(word, "--cpu-level") == 0 && atoi(value) > 0)
            o->script.cpu_level = (unsigned)atoi(value);
        else if (strcmp(word, "--timeout") == 0 && atoi(value) > 0)
            o->timeout_seconds = (unsigned)atoi(value);
        else if (strcmp(word, "--jobs") == 0 && atoi(value) > 0 && atoi(value) <= MAX_JOBS)
            o->jobs = (unsigned)atoi(value);
        else
            return false;
    }
    o->files = argv + i;
    o->file_count = argc - i;
    return o->file_count > 0;
}

int main(int argc, char **argv) {
    struct options options = {
        .script = {ABI_RELOCATABLE, COMPILE_O2, NULL, 0}, .timeout_seconds = 120, .jobs = 2};
    if (!parse(argc, argv, &options)) return usage();
    static struct summary sum;
    sum.list_skips = options.list_skips;
    double started = now();
    run_all(&options, &sum);
    print_summary(&options, &sum, now() - started);
    for (size_t i = 0; i < sum.reason_count; i++) free(sum.reasons[i].reason);
    return sum.failed ? 1 : 0;
}
