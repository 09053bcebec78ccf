/*
 * hutch compile: a module to a code object in a file. The file appears whole or not at all.
 */
#include "cache/cache.h"
#include "tools/cli.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* "dir/app.wasm" -> "app.hutch" */
static char *default_output(const char *file) {
    const char *slash = strrchr(file, '/');
    const char *base = slash ? slash + 1 : file;
    size_t length = strlen(base);
    if (length > 5 && strcmp(base + length - 5, ".wasm") == 0) length -= 5;
    char *name = malloc(length + sizeof ".hutch");
    if (name) {
        memcpy(name, base, length);
        memcpy(name + length, ".hutch", sizeof ".hutch");
    }
    return name;
}

/* Publishing renames over the output: never over a device, a directory, or the module itself.
 */
static enum status check_output(const char *output, const char *input, struct error *err) {
    struct stat out, in;
    if (strcmp(output, "-") == 0)
        return error_set(err, ST_USAGE, "-o -: an object goes to a file, whole or not at all");
    if (stat(output, &out) < 0) return ST_OK;
    if (S_ISDIR(out.st_mode))
        return error_set(err, ST_IO, "cannot write %s: it is a directory", output);
    if (!S_ISREG(out.st_mode))
        return error_set(err, ST_IO, "cannot write %s: it is no regular file", output);
    if (stat(input, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return error_set(err, ST_USAGE, "%s would replace the module", output);
    return ST_OK;
}

static enum status publish(int object_fd, const char *output, struct error *err) {
    const uint8_t *bytes;
    size_t size;
    enum status status = cli_map_file(object_fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    status = file_publish(AT_FDCWD, output, bytes, size, 0644, err);
    if (bytes) munmap((void *)(uintptr_t)bytes, size);
    return status;
}

static enum status compile(struct cli_options *o, struct error *err) {
    if (o->argument_count)
        return error_set(err, ST_USAGE, "one module at a time; '%s' is one too many",
                         o->arguments[0]);
    auto_free char *made = o->output ? NULL : default_output(o->file);
    const char *output = o->output ? o->output : made;
    if (!output) return error_set(err, ST_NO_MEMORY, "out of memory");
    enum status status = check_output(output, o->file, err);
    if (status != ST_OK) return status;
    auto_buffer struct buffer wasm = {0};
    auto_fd int object = -1;
    if ((status = module_file_read(o->file, &wasm, NULL, err)) != ST_OK) return status;
    if ((status = cli_profile_load(o, err)) != ST_OK) return status;
    struct object_wanted want = {
        .command = "compile", .file = o->file, .options = &o->compile, .wasm = &wasm};
    want.module = digest_of(wasm.bytes, wasm.size);
    struct cache *cache =
        o->no_cache ? NULL : object_cache_open(o->cache_dir, "compile", o->file);
    status = object_obtain(cache, &want, &object, err);
    cache_close(cache);
    return status == ST_OK ? publish(object, output, err) : status;
}

int cmd_compile(int argc, char **argv) {
    struct cli_options options;
    struct error err = {0};
    int result = EXIT_DONE;
    enum status status = cli_options_parse(CLI_COMPILE, argc, argv, &options, &err);
    if (status == ST_OK && options.help) {
        help_print("compile");
    } else {
        if (status == ST_OK) status = compile(&options, &err);
        if (status != ST_OK) result = cli_report("compile", options.file, &err);
    }
    cli_options_finish(&options);
    return result;
}
