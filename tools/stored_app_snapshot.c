/*
 * Which of the snapshots in an app's bundle fits a program that is about to start: made with
 * its code object, under this ABI, with the same arguments, environment and request socket. The
 * tenant compares all of this again, and the images.
 */
#include "loader/loader.h"
#include "loader/tenant_config.h"
#include "tools/cli.h"
#include "tools/stored_app.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static enum status content_of(int object_fd, struct digest *ret_content, struct error *err) {
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum status status = cli_map_file(object_fd, &bytes, &size, err);
    if (status != ST_OK) return status;
    if (!bytes) return error_set(err, ST_DAMAGED, "truncated code object: 0 bytes");
    auto_arena struct arena arena = {0};
    struct abi_object object;
    status = object_read(bytes, size, true, &arena, &object, err);
    if (status == ST_OK) *ret_content = object.compat.content;
    munmap((void *)(uintptr_t)bytes, size);
    return status;
}

/* The first line that differs, for people. */
static void say_difference(const char *then, const char *now, struct error *err) {
    while (*then && strcspn(then, "\n") == strcspn(now, "\n") &&
           strncmp(then, now, strcspn(then, "\n")) == 0) {
        then += strcspn(then, "\n");
        now += strcspn(now, "\n");
        then += *then == '\n';
        now += *now == '\n';
    }
    error_set(err, ST_INCOMPATIBLE,
              "it was made with another configuration: '%.*s' then, '%.*s' now",
              (int)strcspn(then, "\n"), then, (int)strcspn(now, "\n"), now);
}

static bool fits(int fd, const struct digest *object, const char *config, struct error *err) {
    struct snapshot *s = NULL;
    struct snapshot_facts facts;
    int copy = dup(fd);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot read it") == ST_OK;
    if (snapshot_open(copy, &s, err) != ST_OK) return false;
    snapshot_describe(s, &facts);
    bool same = false;
    if (facts.abi_fingerprint != abi_fingerprint())
        error_set(err, ST_INCOMPATIBLE, "it was made under another ABI");
    else if (!digest_equal(&facts.object, object))
        error_set(err, ST_INCOMPATIBLE, "it was made with another code object");
    else if (strcmp(facts.config, config) != 0)
        say_difference(facts.config, config, err);
    else
        same = true;
    snapshot_close(s);
    return same;
}

enum status stored_app_snapshot(const struct stored_app *app,
                                const struct tenant_config *config, int *ret_fd,
                                struct error *err) {
    if (!app->snapshot_count) return error_set(err, ST_NOT_FOUND, "it brought none");
    struct digest object;
    auto_buffer struct buffer text = {0};
    tenant_config_text(config, &text);
    enum status status = buffer_status(&text, err);
    if (status == ST_OK) status = content_of(config->object_fd, &object, err);
    if (status != ST_OK) return status;
    /* Of several, the reason of one that was made with this object says most. */
    struct error reason = {0}, best = {0};
    for (uint32_t i = 0; i < app->snapshot_count; i++) {
        const struct stored_snapshot *s = &app->snapshots[i];
        if (fits(s->fd, &object, (const char *)text.bytes, &reason)) {
            int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
            if (fd < 0) return error_set_errno(err, ST_IO, "cannot read it");
            *ret_fd = fd;
            return ST_OK;
        }
        if (best.status == ST_OK || !strstr(reason.message, "code object")) best = reason;
    }
    *err = best;
    return best.status;
}
