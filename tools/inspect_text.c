/*
 * What inspect found out, as lines for people. Names come from a hostile file: quoted, with
 * everything that is not printable ASCII or plain UTF-8 text escaped.
 */
#include "tools/inspect.h"

/* Long lists are cut here: a person reads the beginning, a program takes --json. */
#define LIST_MAX 200u

static const char *text_of(const json_t *v, const char *key) {
    const char *text = json_string_value(json_object_get(v, key));
    return text ? text : "";
}

static unsigned long long number_of(const json_t *v, const char *key) {
    return (unsigned long long)json_integer_value(json_object_get(v, key));
}

static void put_quoted(struct buffer *b, const json_t *string) {
    const unsigned char *p = (const unsigned char *)json_string_value(string);
    size_t length = json_string_length(string);
    buffer_put_u8(b, '"');
    for (size_t i = 0; p && i < length; i++) {
        bool c1 = p[i] == 0xc2 && i + 1 < length && p[i + 1] < 0xa0;
        /* bidirectional overrides and other invisible marks: U+2000 to U+206F */
        bool mark = p[i] == 0xe2 && i + 1 < length && (p[i + 1] == 0x80 || p[i + 1] == 0x81);
        if (p[i] == '"' || p[i] == '\\') {
            buffer_put_u8(b, '\\');
            buffer_put_u8(b, p[i]);
        } else if (p[i] < 0x20 || p[i] == 0x7f || c1 || mark) {
            size_t bytes = c1 ? 2 : mark ? 3 : 1;
            for (size_t k = 0; k < bytes && i + k < length; k++)
                buffer_printf(b, "\\%02x", p[i + k]);
            i += bytes - 1;
        } else {
            buffer_put_u8(b, p[i]);
        }
    }
    buffer_put_u8(b, '"');
}

static void put_limits(struct buffer *b, const json_t *limits, const char *unit) {
    buffer_printf(b, "%llu", number_of(limits, "min"));
    if (json_object_get(limits, "max"))
        buffer_printf(b, " to %llu", number_of(limits, "max"));
    else
        buffer_printf(b, " or more");
    buffer_printf(b, " %s", unit);
    if (json_is_true(json_object_get(limits, "shared"))) buffer_printf(b, ", shared");
    if (json_is_true(json_object_get(limits, "is_64"))) buffer_printf(b, ", 64-bit");
}

static void put_table(struct buffer *b, const json_t *table) {
    buffer_printf(b, "%s, ", text_of(table, "element"));
    put_limits(b, table, "entries");
}

static void put_global(struct buffer *b, const json_t *global) {
    buffer_printf(b, "%s%s", json_is_true(json_object_get(global, "mutable")) ? "mutable " : "",
                  text_of(global, "type"));
}

/* The type of an import or export. */
static void put_extern(struct buffer *b, const json_t *v) {
    const json_t *part;
    buffer_printf(b, "%s %llu: ", text_of(v, "kind"), number_of(v, "index"));
    if ((part = json_object_get(v, "table")))
        put_table(b, part);
    else if ((part = json_object_get(v, "memory")))
        put_limits(b, part, "pages");
    else if ((part = json_object_get(v, "global")))
        put_global(b, part);
    else
        buffer_printf(b, "%s", text_of(v, "type"));
}

typedef void (*put_row)(struct buffer *b, const json_t *row, size_t index);

/* A heading with the count, then a line for each. */
static void put_list(struct buffer *b, const json_t *v, const char *key, const char *heading,
                     put_row put) {
    const json_t *list = json_object_get(v, key);
    size_t count = json_array_size(list);
    if (count == 0) return;
    buffer_printf(b, "\n%s (%zu)\n", heading, count);
    for (size_t i = 0; i < count; i++) {
        if (i == LIST_MAX && count > LIST_MAX + 1 && strcmp(key, "functions") != 0) {
            buffer_printf(b, "  ... and %zu more (--json lists them all)\n", count - i);
            return;
        }
        buffer_printf(b, "  ");
        put(b, json_array_get(list, i), i);
        buffer_put_u8(b, '\n');
    }
}

static void put_section(struct buffer *b, const json_t *row, size_t index) {
    (void)index;
    buffer_printf(b, "%-18s %10llu bytes at 0x%llx%s", text_of(row, "name"),
                  number_of(row, "size_bytes"), number_of(row, "offset"),
                  json_is_true(json_object_get(row, "loaded")) ? "  loaded" : "");
}

static void put_type(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: %s", index, json_string_value(row));
}

static void put_import(struct buffer *b, const json_t *row, size_t index) {
    (void)index;
    put_quoted(b, json_object_get(row, "module"));
    buffer_put_u8(b, ' ');
    put_quoted(b, json_object_get(row, "name"));
    buffer_printf(b, "  ");
    put_extern(b, row);
}

static void put_export(struct buffer *b, const json_t *row, size_t index) {
    (void)index;
    put_quoted(b, json_object_get(row, "name"));
    buffer_printf(b, "  ");
    put_extern(b, row);
}

static void put_memory_row(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: ", index);
    put_limits(b, row, "pages");
}

static void put_table_row(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: ", index);
    put_table(b, row);
    buffer_printf(b, ", room for %llu%s", number_of(row, "capacity"),
                  json_is_true(json_object_get(row, "fixed")) ? ", fixed" : "");
}

static void put_global_row(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: ", index);
    put_global(b, row);
    if (json_object_get(row, "init")) buffer_printf(b, " = %s", text_of(row, "init"));
}

static void put_elem(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: %s, %llu of %s", index, text_of(row, "mode"),
                  number_of(row, "count"), text_of(row, "type"));
    if (json_object_get(row, "offset"))
        buffer_printf(b, ", table %llu at %s", number_of(row, "table"), text_of(row, "offset"));
}

static void put_data(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: %s", index, text_of(row, "mode"));
    if (json_object_get(row, "offset"))
        buffer_printf(b, ", memory %llu at %s", number_of(row, "memory"),
                      text_of(row, "offset"));
    if (json_is_true(json_object_get(row, "in_image")))
        buffer_printf(b, ", in the image");
    else
        buffer_printf(b, ", %llu bytes", number_of(row, "size_bytes"));
}

static void put_run(struct buffer *b, const json_t *row, size_t index) {
    (void)index;
    unsigned long long first = number_of(row, "guest_page"), count = number_of(row, "count");
    buffer_printf(b, "0x%08llx to 0x%08llx  %llu pages", first * ABI_HOST_PAGE,
                  (first + count) * ABI_HOST_PAGE, count);
}

static void put_trap(struct buffer *b, const json_t *row, size_t index) {
    (void)index;
    buffer_printf(b, "0x%llx  %s", number_of(row, "address"), text_of(row, "message"));
}

static void put_function(struct buffer *b, const json_t *row, size_t index) {
    buffer_printf(b, "%zu: 0x%llx  %llu bytes, type %llu", index, number_of(row, "address"),
                  number_of(row, "code_bytes"), number_of(row, "type"));
    if (json_is_true(json_object_get(row, "imported")))
        buffer_printf(b, ", imported");
    else
        buffer_printf(b, ", from 0x%llx", number_of(row, "wasm_offset"));
    const json_t *name = json_object_get(row, "name");
    if (json_is_string(name)) {
        buffer_put_u8(b, ' ');
        put_quoted(b, name);
    }
}

static void put_compatibility(struct buffer *b, const json_t *v) {
    const json_t *c = json_object_get(v, "compatibility");
    const json_t *features = json_object_get(c, "cpu_features");
    buffer_printf(b, "  format      version %llu\n", number_of(c, "format_version"));
    buffer_printf(b, "  target      %s %s, level %s, %s\n", text_of(c, "architecture"),
                  text_of(c, "target"), text_of(c, "level"), text_of(c, "placement"));
    buffer_printf(b, "  needs       ");
    for (size_t i = 0; i < json_array_size(features); i++)
        buffer_printf(b, "%s%s", i ? " " : "", json_string_value(json_array_get(features, i)));
    if (json_array_size(features) == 0) buffer_printf(b, "no CPU feature beyond the first");
    buffer_printf(
        b, "\n  runs here   %s%s\n",
        json_is_true(json_object_get(v, "runs_here")) ? "yes" : "no: ", text_of(v, "why_not"));
    buffer_printf(b, "  ABI         %s\n", text_of(c, "abi_fingerprint"));
    buffer_printf(b, "  module      sha256:%s\n", text_of(c, "module_sha256"));
    buffer_printf(b, "  compiler    sha256:%s\n", text_of(c, "compiler_sha256"));
    buffer_printf(b, "  contents    %s\n",
                  json_is_true(json_object_get(v, "digest_matches"))
                      ? "as written (digest verified)"
                      : "DAMAGED: not what was written");
}

static void put_head(struct buffer *b, const json_t *v) {
    put_quoted(b, json_object_get(v, "file"));
    buffer_printf(b, ": %s, %llu bytes\n", text_of(v, "kind"), number_of(v, "size_bytes"));
    buffer_printf(b, "  file        sha256:%s\n", text_of(v, "sha256"));
}

enum status inspect_text_object(const json_t *v, struct buffer *b, struct error *err) {
    put_head(b, v);
    put_compatibility(b, v);
    buffer_printf(b, "  functions   %llu, of which %llu imported\n",
                  number_of(v, "function_count"), number_of(v, "imported_function_count"));
    if (json_object_get(v, "start"))
        buffer_printf(b, "  start       function %llu\n", number_of(v, "start"));
    put_list(b, v, "sections", "sections", put_section);
    put_list(b, v, "types", "types", put_type);
    put_list(b, v, "imports", "imports", put_import);
    put_list(b, v, "exports", "exports", put_export);
    put_list(b, v, "memories", "memories", put_memory_row);
    put_list(b, v, "tables", "tables", put_table_row);
    put_list(b, v, "globals", "globals", put_global_row);
    put_list(b, v, "element_segments", "element segments", put_elem);
    put_list(b, v, "data_segments", "data segments", put_data);
    put_list(b, v, "image_runs", "image of memory 0", put_run);
    put_list(b, v, "trap_stubs", "trap stubs", put_trap);
    put_list(b, v, "functions", "functions", put_function);
    return buffer_status(b, err);
}

enum status inspect_text_module(const json_t *v, struct buffer *b, struct error *err) {
    put_head(b, v);
    buffer_printf(b, "  valid       %s",
                  json_is_true(json_object_get(v, "valid")) ? "yes" : "no: ");
    buffer_printf(b, "%s\n", text_of(v, "error"));
    put_list(b, v, "sections", "sections", put_section);
    return buffer_status(b, err);
}
