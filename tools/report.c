/*
 * An error to one line on stderr. Messages may quote names from a hostile module or file
 * system, so control bytes never reach the terminal (ASCII ones, and U+0080 to U+009F).
 */
#include "tools/report.h"

#include <unistd.h>

static void put_clean(struct buffer *line, const char *text, bool line_feeds) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '\n' && line_feeds) {
            buffer_put_u8(line, *p);
        } else if (*p < 0x20 || *p == 0x7f) {
            buffer_put_u8(line, '?');
        } else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
            buffer_put_u8(line, '?');
            p++;
        } else {
            buffer_put_u8(line, *p);
        }
    }
}

/* One write: stderr is not buffered. */
static void print(const struct buffer *text) {
    if (text->failed)
        fputs("hutch: out of memory\n", stderr);
    else
        fwrite(text->bytes, 1, text->size, stderr);
}

static void print_line(const char *what, const char *file, const char *prefix,
                       const struct error *err) {
    auto_buffer struct buffer line = {0};
    buffer_printf(&line, "hutch: %s", what ? what : "");
    if (file) {
        if (what) buffer_put_u8(&line, ' ');
        put_clean(&line, file, false);
    }
    if (what || file) buffer_printf(&line, ": ");
    buffer_printf(&line, "%s", prefix);
    put_clean(&line, err->message[0] ? err->message : status_text(err->status), false);
    if (err->has_offset && err->wasm_offset != ERROR_NO_OFFSET)
        buffer_printf(&line, " at 0x%llx", (unsigned long long)err->wasm_offset);
    buffer_put_u8(&line, '\n');
    print(&line);
}

int cli_report(const char *what, const char *file, const struct error *err) {
    print_line(what, file, "", err);
    if (err->status == ST_USAGE && what) fprintf(stderr, "Try 'hutch help %s'.\n", what);
    return err->status == ST_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

void cli_note(const char *what, const char *file, const struct error *err) {
    print_line(what, file, "note: ", err);
}

void cli_report_trap(const char *file, const char *report) {
    static const char prefix[] = "error: ";
    if (strncmp(report, prefix, strlen(prefix)) == 0) report += strlen(prefix);
    auto_buffer struct buffer text = {0};
    buffer_printf(&text, "hutch: run ");
    put_clean(&text, file, false);
    buffer_printf(&text, ": ");
    put_clean(&text, report, true);
    if (!report[0] || report[strlen(report) - 1] != '\n') buffer_put_u8(&text, '\n');
    print(&text);
}
