/*
 * Harness: any bytes as what clients, web servers and apps send to the server. The first byte
 * picks the reader. What is accepted keeps the promises that the rest of the server builds on;
 * a chunked body means the same however it is cut up.
 */
#include "serve/cgi.h"
#include "serve/fastcgi.h"
#include "serve/fcgi_server.h"
#include "serve/http_chunked.h"
#include "serve/usage.h"
#include "tests/fuzz/fuzz.h"

#include <strings.h>

static void check_path(const char *path) {
    size_t length = strlen(path);
    CHECK(path[0] == '/');
    CHECK(!strstr(path, "/../") && !strstr(path, "/./"));
    CHECK(length < 3 || strcmp(path + length - 3, "/..") != 0);
}

static void check_fields(const struct http_fields *fields) {
    CHECK(fields->count <= HTTP_MAX_FIELDS && !fields->failed);
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        CHECK(http_is_token(f->name, strlen(f->name)));
        CHECK(http_is_value(f->value, strlen(f->value)));
    }
}

static void check_request(const struct http_request *r) {
    uint32_t lengths = 0, codings = 0, hosts = 0;
    CHECK(r->method[0] && (r->minor == 0 || r->minor == 1));
    if (strcmp(r->path, "*") != 0) check_path(r->path);
    check_fields(&r->fields);
    for (uint32_t i = 0; i < r->fields.count; i++) {
        lengths += strcasecmp(r->fields.at[i].name, "content-length") == 0;
        codings += strcasecmp(r->fields.at[i].name, "transfer-encoding") == 0;
        hosts += strcasecmp(r->fields.at[i].name, "host") == 0;
    }
    CHECK(lengths + codings <= 1 && hosts <= 1 && (hosts == 1 || r->minor == 0));
    CHECK(r->chunked == (codings == 1));
    CHECK(r->chunked ? r->content_length == -1 : r->content_length >= 0);
}

static void request(const char *bytes, size_t size) {
    const struct http_limits limits = {4096, 8192};
    const char *reason;
    size_t head = 0;
    struct http_request r = {0};
    if (http_head_find(bytes, size, &limits, &head) != 0 || !head) return;
    CHECK(head <= size && head <= limits.head_bytes);
    int status = http_request_read(bytes, head, &r, &reason);
    CHECK(status == 0 || (status >= 400 && status <= 599 && reason));
    if (status == 0) {
        check_request(&r);
        struct exchange_client client = {
            .address = "a", .port = "1", .server_address = "b", .server_port = "2"};
        struct cgi_request cgi = {
            .request = &r, .client = &client, .script_name = "", .path_info = r.path};
        struct cgi_env env = {0};
        cgi_env_request(&env, &cgi);
        const char *const *strings = cgi_env_strings(&env);
        for (uint32_t i = 0; strings && i < env.count; i++) {
            CHECK(strchr(strings[i], '='));
            CHECK(strncmp(strings[i], "HTTP_PROXY=", 11) != 0);
        }
        cgi_env_finish(&env);
    }
    http_request_finish(&r);
}

/* Data of a whole body, read in pieces of at most step bytes. */
static bool unchunk(const char *bytes, size_t size, size_t step, struct buffer *out,
                    size_t *ret_used) {
    struct http_chunked k = {0};
    size_t at = 0;
    while (at < size && k.state != CHUNKED_DONE) {
        const char *data;
        size_t n, piece = size - at < step ? size - at : step;
        ptrdiff_t used = http_chunked_read(&k, bytes + at, piece, &data, &n);
        if (used < 0) return false;
        CHECK((size_t)used <= piece && n <= (size_t)used && used > 0);
        CHECK(!n || data + n == bytes + at + used);
        buffer_put(out, data, n);
        at += (size_t)used;
    }
    *ret_used = at;
    return true;
}

static void chunks(const char *bytes, size_t size) {
    auto_buffer struct buffer whole = {0};
    auto_buffer struct buffer cut = {0};
    size_t used = 0, used_cut = 0;
    bool good = unchunk(bytes, size, size + 1, &whole, &used);
    CHECK(unchunk(bytes, size, 1, &cut, &used_cut) == good);
    if (!good) return;
    CHECK(used == used_cut && whole.size == cut.size);
    CHECK(!whole.size || memcmp(whole.bytes, cut.bytes, whole.size) == 0);
}

static void answer(const char *bytes, size_t size, bool http) {
    size_t head_size = answer_head_find(bytes, size);
    CHECK(head_size <= size);
    if (!head_size) return;
    char *copy = malloc(head_size);
    if (!copy) return;
    memcpy(copy, bytes, head_size);
    struct answer_head head;
    if (!answer_head_read(copy, head_size, http, &head)) {
        CHECK(head.response.status >= (http ? 100 : 200) && head.response.status <= 599);
        check_fields(&head.response.fields);
        CHECK(!http_field_get(&head.response.fields, "transfer-encoding"));
        CHECK(!http_field_get(&head.response.fields, "content-length"));
        CHECK(!http_field_get(&head.response.fields, "connection"));
    }
    http_fields_finish(&head.response.fields);
    free(copy);
}

static void params(const uint8_t *bytes, size_t size) {
    struct fcgi_params p;
    const char *reason;
    if (fcgi_params_read(bytes, size, &p, &reason) == 0) {
        check_request(&p.request);
        CHECK(p.remote_address && p.remote_port && p.server_address && p.server_port);
    } else {
        CHECK(reason);
    }
    fcgi_params_finish(&p);
}

static void record(const uint8_t *bytes, size_t size) {
    uint8_t copy[USAGE_RECORD_BYTES] = {0}, again[USAGE_RECORD_BYTES];
    struct usage_record r;
    struct error err = {0};
    memcpy(copy, bytes, size < sizeof copy ? size : sizeof copy);
    uint32_t sum = crc32c(~0u, copy + 4, sizeof copy - 4);
    memcpy(copy, &sum, sizeof sum);
    if (usage_record_decode(copy, &r, &err) != ST_OK) return;
    CHECK(r.type != USAGE_APP || r.name_length <= USAGE_NAME_MAX);
    usage_record_encode(&r, again);
    CHECK(usage_record_decode(again, &r, &err) == ST_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!size) return 0;
    const char *text = (const char *)bytes + 1;
    switch (bytes[0] - '0') {
    case 0: request(text, size - 1); break;
    case 1: chunks(text, size - 1); break;
    case 2: answer(text, size - 1, true); break;
    case 3: answer(text, size - 1, false); break;
    case 4: params(bytes + 1, size - 1); break;
    case 5: record(bytes + 1, size - 1); break;
    default: break;
    }
    return 0;
}
