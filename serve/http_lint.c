/*
 * The strict rules for a message's head, applied to its bytes before the parser sees them.
 * http-parser is lenient where RFC 9112 lets it be (bare LF, folded lines); a server behind a
 * proxy must not be, since the proxy may have read the same bytes otherwise.
 */
#include "serve/http.h"

static bool is_token_char(unsigned char c) {
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_is_token(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_token_char((unsigned char)text[i])) return false;
    return length > 0;
}

bool http_is_value(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

int64_t http_length(const char *text) {
    int64_t n = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 19; digits++)
        n = n * 10 + (text[digits] - '0');
    return digits && digits < 19 && !text[digits] ? n : -1;
}

static const char *lint_start_line(const char *line, size_t length) {
    size_t spaces = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c == ' ') {
            if (i == 0 || i + 1 == length || line[i + 1] == ' ')
                return "spaces in the request line";
            spaces++;
        } else if (c < 0x21 || c > 0x7e) {
            return "a byte in the request line that does not belong there";
        }
    }
    return spaces == 2 ? NULL : "a malformed request line";
}

static const char *lint_field(const char *line, size_t length) {
    if (line[0] == ' ' || line[0] == '\t') return "a folded field";
    const char *colon = memchr(line, ':', length);
    if (!colon) return "a field without a colon";
    if (!http_is_token(line, (size_t)(colon - line))) return "a field's name is malformed";
    if (!http_is_value(colon + 1, length - (size_t)(colon + 1 - line)))
        return "control bytes in a field";
    return NULL;
}

const char *http_lint_head(const char *bytes, size_t size) {
    const char *at = bytes, *end = bytes + size;
    for (bool first = true; at < end; first = false) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf || lf == at || lf[-1] != '\r') return "a line that does not end with CR LF";
        size_t length = (size_t)(lf - 1 - at);
        if (memchr(at, '\r', length)) return "a CR within a line";
        if (!length) return lf + 1 == end && !first ? NULL : "an empty line";
        const char *wrong = first ? lint_start_line(at, length) : lint_field(at, length);
        if (wrong) return wrong;
        at = lf + 1;
    }
    return "the head has no end";
}
