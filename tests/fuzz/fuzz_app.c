/*
 * Harness: any bytes as app.yaml. They are refused with one line that begins with the file's
 * name, or give an app whose JSON is read again to the same JSON.
 */
#include "serve/app.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    struct app *app = NULL, *again = NULL;
    if (app_parse(bytes, size, "f", "d", &app, &err) != ST_OK) {
        CHECK(err.status == ST_INVALID && strncmp(err.message, "f:", 2) == 0);
        return 0;
    }
    auto_buffer struct buffer first = {0}, second = {0};
    CHECK(app_json(app, &first, &err) == ST_OK);
    CHECK(app_parse(first.bytes, first.size, "f", "", &again, &err) == ST_OK);
    CHECK(app_json(again, &second, &err) == ST_OK);
    CHECK(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    app_free(app);
    app_free(again);
    return 0;
}
