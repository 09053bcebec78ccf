/*
 * A module to a code object by way of the child process `hutch-compiler`. The module goes out
 * and the object comes back in memory files; progress and errors come through a pipe in the
 * format of compile_report.h. A child that dies of a signal, of LLVM's abort or for lack of
 * memory is an error like any other, with the last words it wrote. The child never outlives us.
 */
#include "tools/cli.h"
#include "tools/compile_report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_AFTER_MS 500
#define PROGRESS_EVERY_MS 100

enum status cli_find_program(const char *name, char *ret_path, size_t size, struct error *err) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = '\0';
            int length = snprintf(ret_path, size, "%s/%s", self, name);
            if (length > 0 && (size_t)length < size && access(ret_path, X_OK) == 0)
                return ST_OK;
        }
    }
    int length = snprintf(ret_path, size, "%s/%s", HUTCH_LIBEXECDIR, name);
    if (length > 0 && (size_t)length < size && access(ret_path, X_OK) == 0) return ST_OK;
    return error_set(err, ST_NOT_FOUND, "%s is neither beside hutch nor in %s", name,
                     HUTCH_LIBEXECDIR);
}

enum status cli_memory_file(const char *name, int *ret_fd, struct error *err) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot make a memory file");
    *ret_fd = fd;
    return ST_OK;
}

enum status cli_map_file(int fd, const uint8_t **ret_bytes, size_t *ret_size,
                         struct error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot read the object");
    void *mapped = NULL;
    if (st.st_size > 0) {
        mapped = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped == MAP_FAILED)
            return error_set_errno(err, ST_NO_MEMORY, "cannot map the object");
    }
    *ret_bytes = mapped;
    *ret_size = (size_t)st.st_size;
    return ST_OK;
}

enum status cli_write_all(int fd, const void *bytes, size_t size, struct error *err) {
    const uint8_t *at = bytes;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write");
        at += n;
        size -= (size_t)n;
    }
    return ST_OK;
}

/* ---- the progress line ---- */

struct progress {
    const char *name;
    bool terminal, shown;
    uint64_t started_ms, drawn_ms;
    char step[32];
    uint32_t done, total;
};

static uint64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void progress_draw(struct progress *p) {
    uint64_t now = now_ms(), elapsed = now - p->started_ms;
    if (!p->terminal || elapsed < PROGRESS_AFTER_MS || now - p->drawn_ms < PROGRESS_EVERY_MS)
        return;
    p->drawn_ms = now;
    p->shown = true;
    fprintf(stderr, "\r\033[K%.40s: %s", p->name, p->step[0] ? p->step : "compiling");
    if (p->total) fprintf(stderr, " %u/%u functions", p->done, p->total);
    fprintf(stderr, ", %llu.%llu s", (unsigned long long)(elapsed / 1000),
            (unsigned long long)(elapsed % 1000 / 100));
}

static void progress_clear(const struct progress *p) {
    if (p->shown) fputs("\r\033[K", stderr);
}

/* ---- the child ---- */

struct child_files {
    int wasm, object, report, words, profile;
};

/* After fork: puts the descriptors where hutch-compiler expects them. Only calls that are safe
 * between fork and exec, though hutch has one thread only. */
static void child_exec(const char *path, char *const *argv, const struct child_files *files,
                       pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    const int wanted[] = {files->words, files->wasm, files->object, files->report,
                          files->profile};
    const int places[] = {STDERR_FILENO, REPORT_FD_WASM, REPORT_FD_OBJECT, REPORT_FD_REPORT,
                          REPORT_FD_PROFILE};
    /* Out of the way first, so that none is overwritten before its turn. */
    int moved[countof(wanted)];
    for (size_t i = 0; i < countof(wanted); i++) {
        moved[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, REPORT_FD_PROFILE + 1);
        if (moved[i] < 0) _exit(127);
    }
    for (size_t i = 0; i < countof(wanted); i++)
        if (dup2(moved[i], places[i]) < 0) _exit(127);
    execv(path, argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", path, strerror(errno));
    _exit(127);
}

/* Reads what the child reports until it closes the pipe. */
static void follow(int fd, struct progress *progress, struct buffer *report) {
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, progress->terminal ? PROGRESS_EVERY_MS : -1);
        if (ready < 0 && errno != EINTR) return;
        if (ready > 0) {
            uint8_t bytes[4096];
            ssize_t n = read(fd, bytes, sizeof bytes);
            if (n == 0 || (n < 0 && errno != EINTR)) return;
            if (n > 0) buffer_put(report, bytes, (size_t)n);
            if (report->failed || report->size > REPORT_MAX_BYTES) return;
            report_take_progress(report, progress->step, sizeof progress->step, &progress->done,
                                 &progress->total);
        }
        progress_draw(progress);
    }
}

/* The line of the child's stderr that says most: LLVM's own, or the last one. */
static void last_words(int fd, char *ret_line, size_t size) {
    char text[4096];
    struct stat st;
    ret_line[0] = '\0';
    if (fstat(fd, &st) < 0) return;
    off_t from = st.st_size > (off_t)sizeof text - 1 ? st.st_size - (off_t)sizeof text + 1 : 0;
    ssize_t n = pread(fd, text, sizeof text - 1, from);
    if (n <= 0) return;
    text[n] = '\0';
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (!*line) continue;
        snprintf(ret_line, size, "%s", line);
        if (strncmp(line, "LLVM ERROR", 10) == 0) return;
    }
}

static enum status child_failure(int wait_status, int words_fd, struct error *err) {
    char words[200];
    last_words(words_fd, words, sizeof words);
    bool memory = strstr(words, "bad_alloc") || strstr(words, "out of memory") ||
                  strstr(words, "Cannot allocate memory") ||
                  strstr(words, "cannot map zero-fill") ||
                  strstr(words, "failed to map segment");
    enum status status = memory ? ST_NO_MEMORY : ST_INTERNAL;
    const char *what = memory ? "the compiler ran out of memory" : "the compiler failed";
    const char *colon = words[0] ? ": " : "";
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL && !words[0])
        return error_set(err, ST_NO_MEMORY, "the compiler was killed (out of memory?)");
    if (WIFSIGNALED(wait_status) && !memory)
        return error_set(err, status, "%s: %s%s%s", what, strsignal(WTERMSIG(wait_status)),
                         colon, words);
    return error_set(err, status, "%s%s%s", what, colon, words);
}

/* Passes on what the compiler wrote to stderr without failing: notes of a debugging build. */
static void copy_words(int fd) {
    char bytes[4096];
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
        fwrite(bytes, 1, (size_t)n, stderr);
}

enum status compile_in_child(const struct buffer *wasm, const char *name,
                             const struct compile_options *options, int *ret_object_fd,
                             struct error *err) {
    char path[4096];
    enum status status = cli_find_program("hutch-compiler", path, sizeof path, err);
    if (status != ST_OK) return status;
    auto_fd int wasm_fd = -1;
    auto_fd int object_fd = -1;
    auto_fd int words_fd = -1;
    auto_fd int profile_fd = -1;
    if ((status = cli_memory_file("hutch-profile", &profile_fd, err)) != ST_OK ||
        (status = cli_write_all(profile_fd, options->profile, options->profile_size, err)) !=
            ST_OK)
        return status;
    if ((status = cli_memory_file("hutch-module", &wasm_fd, err)) != ST_OK ||
        (status = cli_memory_file("hutch-object", &object_fd, err)) != ST_OK ||
        (status = cli_memory_file("hutch-words", &words_fd, err)) != ST_OK ||
        (status = cli_write_all(wasm_fd, wasm->bytes, wasm->size, err)) != ST_OK)
        return status;

    char placement[12], level[12], jobs[16];
    snprintf(placement, sizeof placement, "%d", (int)options->placement);
    snprintf(level, sizeof level, "%d", (int)options->level);
    snprintf(jobs, sizeof jobs, "%u", options->jobs);
    char program[] = "hutch-compiler", lines[] = {options->debug_lines ? '1' : '0', 0};
    char counters[] = {options->profile_generate ? '1' : '0', 0};
    auto_free char *target = strdup(options->target);
    auto_free char *dump = strdup(options->dump_dir ? options->dump_dir : "");
    if (!target || !dump) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *argv[] = {program, placement, level, target, jobs, lines, counters, dump, NULL};

    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return error_set_errno(err, ST_IO, "cannot make a pipe");
    auto_fd int read_end = ends[0];
    auto_fd int write_end = ends[1];
    struct child_files files = {wasm_fd, object_fd, write_end, words_fd, profile_fd};
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child < 0) return error_set_errno(err, ST_IO, "cannot start the compiler");
    if (child == 0) child_exec(path, argv, &files, parent);
    close(steal_fd(&write_end));

    const char *slash = strrchr(name, '/');
    struct progress progress = {.name = slash ? slash + 1 : name,
                                .terminal = isatty(STDERR_FILENO) == 1,
                                .started_ms = now_ms()};
    auto_buffer struct buffer report = {0};
    follow(read_end, &progress, &report);
    progress_clear(&progress);
    close(steal_fd(&read_end)); /* a child that still writes must not wait for us */
    int wait_status;
    while (waitpid(child, &wait_status, 0) < 0)
        if (errno != EINTR) return error_set_errno(err, ST_IO, "cannot wait for the compiler");

    if (report_take_error(&report, err)) {
        copy_words(words_fd);
        return err->status;
    }
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0)
        return child_failure(wait_status, words_fd, err);
    copy_words(words_fd);
    struct abi_compat compat; /* nothing is kept that would be refused later */
    if (object_file_check(object_fd, false, &compat, err) != ST_OK)
        return error_wrap(err, "what the compiler made is not sound");
    *ret_object_fd = steal_fd(&object_fd);
    return ST_OK;
}
