/*
 * A response's head to bytes (RFC 9112 4, 6), and the pages of errors that are the server's
 * own.
 */
#include "serve/http.h"

#include <event2/buffer.h>
#include <http_parser.h>
#include <strings.h>
#include <time.h>

const char *http_reason(int status) {
    switch (status) {
#define X(number, name, text)                                                                  \
    case number: return #text;
        HTTP_STATUS_MAP(X)
#undef X
    default: return "";
    }
}

bool http_has_body(bool head, int status) {
    return !head && status >= 200 && status != 204 && status != 304;
}

const char *http_date(void) {
    static char text[40];
    static time_t then = -1;
    time_t now = time(NULL);
    if (now != then) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm tm;
        gmtime_r(&now, &tm);
        snprintf(text, sizeof text, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT",
                 days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        then = now;
    }
    return text;
}

void http_response_write(const struct http_response *response, int request_minor,
                         enum http_framing framing, bool keep_alive, struct evbuffer *out) {
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", response->status,
                        http_reason(response->status));
    bool date = false;
    for (uint32_t i = 0; i < response->fields.count; i++) {
        const struct http_field *f = &response->fields.at[i];
        if (strcasecmp(f->name, "date") == 0) date = true;
        evbuffer_add(out, f->name, strlen(f->name));
        evbuffer_add(out, ": ", 2);
        evbuffer_add(out, f->value, strlen(f->value));
        evbuffer_add(out, "\r\n", 2);
    }
    if (!date && response->status >= 200) evbuffer_add_printf(out, "Date: %s\r\n", http_date());
    if (framing == HTTP_CHUNKED) evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    /* A response to HEAD tells the length that one to GET would have (RFC 9110 8.6). */
    if (response->content_length >= 0 && response->status >= 200 && response->status != 204 &&
        framing != HTTP_CHUNKED)
        evbuffer_add_printf(out, "Content-Length: %lld\r\n",
                            (long long)response->content_length);
    if (!keep_alive)
        evbuffer_add_printf(out, "Connection: close\r\n");
    else if (request_minor == 0)
        evbuffer_add_printf(out, "Connection: keep-alive\r\n");
    evbuffer_add(out, "\r\n", 2);
}

void http_error_page(int status, struct evbuffer *out) {
    evbuffer_add_printf(out, "%d %s\n", status, http_reason(status));
}
