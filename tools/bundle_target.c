/*
 * A code object's compatibility record to what a bundle says of it, and the other way round: is
 * this object the one that was signed, and can it run here? Likewise of a snapshot, which
 * belongs to one object.
 */
#include "loader/loader.h"
#include "tools/bundle_cli.h"

#include <unistd.h>

static void feature_words(uint64_t features, char *ret_text, size_t size) {
    size_t at = 0;
    ret_text[0] = '\0';
    for (unsigned bit = 0; bit < 64 && at < size; bit++) {
        if (!(features >> bit & 1)) continue;
        int n = snprintf(ret_text + at, size - at, "%s%s", at ? "," : "",
                         abi_cpu_feature_name(bit));
        at += n > 0 ? (size_t)n : 0;
    }
}

void bundle_target_of(const struct abi_compat *compat, struct bundle_target *ret_target) {
    struct bundle_target t = {.module = compat->module, .compiler = compat->compiler};
    snprintf(t.target, sizeof t.target, "%s", compat->target);
    snprintf(t.arch, sizeof t.arch, "%.15s", abi_arch_name(compat->arch));
    snprintf(t.placement, sizeof t.placement, "%.15s", abi_placement_name(compat->placement));
    snprintf(t.abi, sizeof t.abi, "%016llx", (unsigned long long)compat->abi_fingerprint);
    feature_words(compat->cpu_features, t.cpu_features, sizeof t.cpu_features);
    int32_t level = (int32_t)compat->opt_level;
    if (level == COMPILE_FAST)
        snprintf(t.opt_level, sizeof t.opt_level, "fast");
    else
        snprintf(t.opt_level, sizeof t.opt_level, "%u", compat->opt_level & 0xffffu);
    *ret_target = t;
}

static enum status compare(const struct bundle_target *claimed, const struct bundle_target *is,
                           struct error *err) {
    char a[DIGEST_HEX_SIZE], b[DIGEST_HEX_SIZE];
    if (!digest_equal(&claimed->module, &is->module)) {
        digest_hex(&is->module, a);
        digest_hex(&claimed->module, b);
        return error_set(err, ST_DAMAGED,
                         "the object was compiled from another module (%.16s...) than the one "
                         "it is listed with (%.16s...)",
                         a, b);
    }
    const char *what = NULL;
    if (!digest_equal(&claimed->compiler, &is->compiler)) what = "compiler";
    if (strcmp(claimed->target, is->target) != 0) what = "target";
    if (strcmp(claimed->arch, is->arch) != 0) what = "architecture";
    if (strcmp(claimed->placement, is->placement) != 0) what = "placement";
    if (strcmp(claimed->abi, is->abi) != 0) what = "ABI fingerprint";
    if (strcmp(claimed->cpu_features, is->cpu_features) != 0) what = "CPU features";
    if (strcmp(claimed->opt_level, is->opt_level) != 0) what = "optimisation level";
    if (!what) return ST_OK;
    return error_set(err, ST_DAMAGED, "the object has another %s than the bundle says", what);
}

enum status bundle_object_check(void *context, const uint8_t *bytes, uint64_t size_bytes,
                                const struct bundle_target *claimed, bool *ret_fits,
                                struct error *reason, struct error *err) {
    (void)context;
    if (size_bytes == 0) return error_set(err, ST_DAMAGED, "truncated code object: 0 bytes");
    auto_arena struct arena arena = {0};
    struct abi_object object;
    enum status status = object_verify_digest(bytes, size_bytes, err);
    if (status == ST_OK) status = object_read(bytes, size_bytes, false, &arena, &object, err);
    if (status == ST_INCOMPATIBLE) { /* of another format or build: nothing here can run it */
        *reason = *err;
        *ret_fits = false;
        *err = (struct error){0};
        return ST_OK;
    }
    if (status != ST_OK) return status;
    struct bundle_target is;
    bundle_target_of(&object.compat, &is);
    if ((status = compare(claimed, &is, err)) != ST_OK) return status;
    arena_reset(&arena);
    *ret_fits = object_read(bytes, size_bytes, true, &arena, &object, reason) == ST_OK;
    return ST_OK;
}

/* ---- snapshots --------------------------------------------------------------------------- */

/* Whether its header says what the bundle does. */
static enum status compare_snapshot(const struct snapshot_facts *facts,
                                    const struct bundle_target *claimed,
                                    const struct abi_compat *object, struct error *err) {
    char abi[sizeof claimed->abi];
    snprintf(abi, sizeof abi, "%016llx", (unsigned long long)facts->abi_fingerprint);
    const char *what = NULL;
    if (!digest_equal(&facts->object, &object->content)) what = "code object";
    if (!digest_equal(&facts->module, &claimed->module)) what = "module";
    if (strcmp(abi, claimed->abi) != 0) what = "ABI fingerprint";
    if (!what) return ST_OK;
    return error_set(err, ST_DAMAGED,
                     "the snapshot was made with another %s than the bundle says", what);
}

enum status bundle_snapshot_check(void *context, int snapshot_fd, const uint8_t *object,
                                  uint64_t object_size, const struct bundle_target *claimed,
                                  bool *ret_fits, struct error *reason, struct error *err) {
    (void)context;
    enum status status = snapshot_verify_digest(snapshot_fd, err);
    if (status != ST_OK) return status;
    int copy = dup(snapshot_fd);
    if (copy < 0) return error_set_errno(err, ST_IO, "cannot read the snapshot");
    struct snapshot *snapshot = NULL;
    status = snapshot_open(copy, &snapshot, err);
    if (status == ST_INCOMPATIBLE) { /* a format that nothing here can resume */
        *reason = *err;
        *ret_fits = false;
        return ST_OK;
    }
    if (status != ST_OK) return status;
    struct snapshot_facts facts;
    snapshot_describe(snapshot, &facts);
    auto_arena struct arena arena = {0};
    struct abi_object is;
    status = object_read(object, object_size, true, &arena, &is, err);
    if (status == ST_OK) status = compare_snapshot(&facts, claimed, &is.compat, err);
    snapshot_close(snapshot);
    *ret_fits = true; /* its object does, and their ABI is one */
    return status;
}
