/*
 * The compiler as a process: a module in descriptor 3 to a code object in descriptor 4,
 * progress and errors on 5, options in argv (compile_report.h). Started by `hutch` alone; it
 * opens no file but where --dump-dir asks for it, and gives up the right to before it looks at
 * the module (compiler_seal.h). The only program of ours that links LLVM.
 */
#include "compiler/compiler.h"
#include "tools/compile_report.h"
#include "tools/compiler_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_EVERY_NS UINT64_C(50000000)

struct progress {
    char step[32];
    uint64_t sent_ns;
};

/* Passes on a new step at once, and counts 20 times a second. */
static void on_progress(void *context, const char *step, uint32_t done, uint32_t total) {
    struct progress *p = context;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
    if (strncmp(p->step, step, sizeof p->step - 1) == 0 && now - p->sent_ns < PROGRESS_EVERY_NS)
        return;
    snprintf(p->step, sizeof p->step, "%s", step);
    p->sent_ns = now;
    if (!report_progress(REPORT_FD_REPORT, step, done, total)) _exit(1);
}

static enum status write_object(const struct buffer *object, struct error *err) {
    for (size_t at = 0; at < object->size;) {
        ssize_t n = write(REPORT_FD_OBJECT, object->bytes + at, object->size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot hand over the object");
        at += (size_t)n;
    }
    return ST_OK;
}

static void on_note(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "hutch: note: %s\n", text);
}

static enum status map_input(int fd, const char *what, const uint8_t **ret_bytes,
                             size_t *ret_size, struct error *err) {
    off_t size = lseek(fd, 0, SEEK_END); /* libc's fstat has a path: sealed off */
    if (size < 0) return error_set_errno(err, ST_IO, "cannot read the %s", what);
    *ret_bytes = (const uint8_t *)"";
    *ret_size = (size_t)size;
    if (size == 0) return ST_OK;
    void *mapped = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED)
        return error_set_errno(err, ST_NO_MEMORY, "cannot map the %s", what);
    *ret_bytes = mapped;
    return ST_OK;
}

static enum status compile(struct compile_options *options, struct error *err) {
    const uint8_t *wasm;
    size_t size;
    enum status status = map_input(REPORT_FD_WASM, "module", &wasm, &size, err);
    if (status == ST_OK)
        status = map_input(REPORT_FD_PROFILE, "profile", &options->profile,
                           &options->profile_size, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer object = {0};
    status = compile_module(wasm, size, options, &object, err);
    if (status == ST_OK) status = buffer_status(&object, err);
    return status == ST_OK ? write_object(&object, err) : status;
}

int main(int argc, char **argv) {
    if (argc != 8 || fcntl(REPORT_FD_REPORT, F_GETFD) < 0) {
        fputs("hutch-compiler: a part of hutch; use `hutch compile`\n", stderr);
        return 2;
    }
    struct progress progress = {0};
    struct compile_options options = compile_defaults();
    options.placement = (enum abi_placement)atoi(argv[1]);
    options.level = (enum compile_level)atoi(argv[2]);
    options.target = argv[3];
    options.jobs = (unsigned)atoi(argv[4]);
    options.debug_lines = atoi(argv[5]) != 0;
    options.profile_generate = atoi(argv[6]) != 0;
    options.dump_dir = argv[7][0] ? argv[7] : NULL;
    options.note = on_note;
    options.progress = on_progress;
    options.progress_context = &progress;
    struct error err = {0};
    /* Who dumps is the person at the terminal, looking at our own code. */
    if (!options.dump_dir && !SANITIZED && compiler_seal(&err) != ST_OK) {
        char note[sizeof err.message + 64];
        snprintf(note, sizeof note, "the compiler runs unsealed: %s", err.message);
        on_note(NULL, note);
        err = (struct error){0};
    }
    if (compile(&options, &err) == ST_OK) return 0;
    report_error(REPORT_FD_REPORT, &err);
    return 1;
}
