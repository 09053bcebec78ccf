/*
 * hutch inspect: what a code object holds, and a short answer for a module (a bundle:
 * inspect_bundle.c). Everything about
 * the file is checked as when it is loaded, its content digest too, but what only keeps it
 * from running here (another ABI, a missing CPU feature) is shown, not refused.
 */
#include "tools/cli.h"
#include "tools/cli.h"
#include "tools/inspect.h"

#include <fcntl.h>
#include <unistd.h>

#define FILE_MAX_BYTES (UINT64_C(4) << 30)

struct inspect_options {
    const char *path;
    bool json, functions;
};

static enum status parse(int argc, char **argv, struct inspect_options *o, struct error *err) {
    bool only_files = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!only_files && strcmp(word, "--") == 0)
            only_files = true;
        else if (!only_files && strcmp(word, "--json") == 0)
            o->json = true;
        else if (!only_files && strcmp(word, "--functions") == 0)
            o->functions = true;
        else if (!only_files && strncmp(word, "--trust-dir=", 12) == 0)
            continue; /* for bundles */
        else if (!only_files && strcmp(word, "--trust-dir") == 0 && i + 1 < argc)
            i++;
        else if (!only_files && word[0] == '-' && word[1])
            return error_set(err, ST_USAGE, "unknown option %s", word);
        else if (o->path)
            return error_set(err, ST_USAGE, "one file at a time; '%s' is one too many", word);
        else
            o->path = word;
    }
    return o->path ? ST_OK : error_set(err, ST_USAGE, "which file?");
}

/* ---- modules ----------------------------------------------------------------------------- */

/* Spec core 5.5.2. */
static const char *const section_names[] = {
    "custom", "type",  "import",  "function", "table", "memory",     "global",
    "export", "start", "element", "code",     "data",  "data count", "tag",
};

/* The sections of a module by their headers; stops where they make no sense. */
static json_t *module_sections(const struct buffer *wasm) {
    json_t *all = json_array();
    struct reader r = reader_over(wasm->bytes, wasm->size);
    reader_bytes(&r, 8);
    while (all && !r.failed && reader_left(&r) > 0) {
        uint8_t id = reader_u8(&r);
        uint32_t size;
        if (reader_leb_u32(&r, &size) != LEB_OK) break;
        size_t offset = reader_offset(&r);
        const uint8_t *body = reader_bytes(&r, size);
        if (!body) break;
        char name[80];
        snprintf(name, sizeof name, "%s",
                 id < countof(section_names) ? section_names[id] : "unknown");
        struct reader custom = reader_over(body, size);
        uint32_t length;
        if (id == 0 && reader_leb_u32(&custom, &length) == LEB_OK && length < 64) {
            const uint8_t *bytes = reader_bytes(&custom, length);
            bool plain = bytes != NULL;
            for (uint32_t i = 0; plain && i < length; i++)
                plain = bytes[i] >= 0x20 && bytes[i] < 0x7f;
            if (plain)
                snprintf(name, sizeof name, "custom %.*s", (int)length, (const char *)bytes);
        }
        json_t *section = json_pack("{s:s, s:I, s:I}", "name", name, "offset",
                                    (json_int_t)offset, "size_bytes", (json_int_t)size);
        if (json_array_append_new(all, section) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *inspect_module(const struct buffer *wasm, struct error *verdict) {
    bool valid = compile_check(wasm->bytes, wasm->size, verdict) == ST_OK;
    struct digest digest = digest_of(wasm->bytes, wasm->size);
    char hex[DIGEST_HEX_SIZE], message[sizeof verdict->message + 32] = "";
    digest_hex(&digest, hex);
    if (!valid && verdict->has_offset)
        snprintf(message, sizeof message, "%s at 0x%llx", verdict->message,
                 (unsigned long long)verdict->wasm_offset);
    else if (!valid)
        snprintf(message, sizeof message, "%s", verdict->message);
    json_t *v = json_pack("{s:s, s:I, s:s, s:b, s:o}", "kind", "WebAssembly module",
                          "size_bytes", (json_int_t)wasm->size, "sha256", hex, "valid", valid,
                          "sections", module_sections(wasm));
    json_t *text = valid ? NULL : json_string(message); /* NULL where it is not UTF-8 */
    if (v && !valid)
        json_object_set_new(v, "error", text ? text : json_string("not a valid module"));
    return v;
}

/* ---- the command ------------------------------------------------------------------------- */

static enum status print(const struct inspect_options *o, json_t *value, bool object,
                         struct error *err) {
    json_t *path = json_string(o->path);
    if (json_object_set_new(value, "file", path ? path : json_string("?")) != 0)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    if (o->json) {
        if (json_dumpf(value, stdout, JSON_INDENT(2)) != 0)
            return error_set_errno(err, ST_IO, "cannot write");
        putchar('\n');
    } else {
        auto_buffer struct buffer text = {0};
        enum status status = object ? inspect_text_object(value, &text, err)
                                    : inspect_text_module(value, &text, err);
        if (status != ST_OK) return status;
        fwrite(text.bytes, 1, text.size, stdout);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return error_set_errno(err, ST_IO, "cannot write");
    return ST_OK;
}

/* Prints what a code object holds. A damaged one with a sound structure is shown, and then
 * reported. */
static enum status inspect_code(const struct inspect_options *o, const struct buffer *bytes,
                                struct error *err) {
    auto_arena struct arena arena = {0}, scratch = {0};
    struct abi_object object, unused;
    enum status status = object_read(bytes->bytes, bytes->size, false, &arena, &object, err);
    if (status != ST_OK) return status;
    struct error host = {0}, digest = {0}, print_error = {0};
    bool runs = object_read(bytes->bytes, bytes->size, true, &scratch, &unused, &host) == ST_OK;
    bool verified = object_verify_digest(bytes->bytes, bytes->size, &digest) == ST_OK;
    struct inspect_file file = {
        .path = o->path, .bytes = bytes->bytes, .size = bytes->size, .functions = o->functions};
    json_t *value = inspect_object(&file, &object, verified ? NULL : digest.message,
                                   runs ? NULL : host.message);
    if (!value) return error_set(err, ST_NO_MEMORY, "out of memory");
    status = print(o, value, true, &print_error);
    json_decref(value);
    if (status != ST_OK)
        *err = print_error;
    else if (!verified)
        *err = digest;
    return status != ST_OK ? status : verified ? ST_OK : ST_DAMAGED;
}

/* A bundle may be larger than memory, and is told apart before it is read. */
static bool is_bundle(const char *path) {
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    uint8_t start[512];
    return fd >= 0 && pread(fd, start, sizeof start, 0) == (ssize_t)sizeof start &&
           memcmp(start + 257, "ustar", 5) == 0; /* pax(1) and GNU tar */
}

static enum status inspect(const struct inspect_options *o, struct error *err) {
    auto_buffer struct buffer bytes = {0};
    enum status status = file_read(AT_FDCWD, o->path, FILE_MAX_BYTES, &bytes, err);
    if (status != ST_OK) return status;
    if (bytes.size < 4 || memcmp(bytes.bytes, "\0asm", 4) != 0)
        return inspect_code(o, &bytes, err);
    struct error verdict = {0};
    json_t *value = inspect_module(&bytes, &verdict);
    if (!value) return error_set(err, ST_NO_MEMORY, "out of memory");
    status = print(o, value, false, err);
    json_decref(value);
    if (status == ST_OK && verdict.status != ST_OK) {
        *err = verdict;
        return verdict.status;
    }
    return status;
}

int cmd_inspect(int argc, char **argv) {
    struct inspect_options options = {0};
    struct error err = {0};
    enum status status = parse(argc, argv, &options, &err);
    if (status == ST_OK && is_bundle(options.path))
        return cli_become("hutch-bundle", argc, argv);
    if (status == ST_OK) status = inspect(&options, &err);
    return status == ST_OK ? EXIT_DONE : cli_report("inspect", options.path, &err);
}
