/*
 * Harness: any bytes as a part of a bundle; the first byte says which, since digests keep
 * chance from getting beyond the first. s statement, m manifest, i index, g signature, z small
 * blob, t a whole tar file. They are refused with one line, or read: a statement then prints to
 * a text that is read to the same text.
 */
#include "cache/bundle.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void refused(enum status status, const struct error *err) {
    CHECK(status == ST_MALFORMED || status == ST_UNSUPPORTED || status == ST_LIMIT ||
          status == ST_DAMAGED || status == ST_INCOMPATIBLE);
    CHECK(err->status == status && err->message[0]);
    for (const char *c = err->message; *c; c++) CHECK(*c != '\n');
}

static void try_statement(const struct buffer *b) {
    struct error err = {0};
    struct bundle_statement statement = {0}, again = {0};
    enum status status = bundle_statement_parse(b->bytes, b->size, &statement, &err);
    if (status != ST_OK) {
        refused(status, &err);
        return;
    }
    auto_buffer struct buffer first = {0}, second = {0};
    CHECK(bundle_statement_print(&statement, &first, &err) == ST_OK);
    CHECK(bundle_statement_parse(first.bytes, first.size, &again, &err) == ST_OK);
    CHECK(bundle_statement_print(&again, &second, &err) == ST_OK);
    CHECK(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    bundle_statement_finish(&statement);
    bundle_statement_finish(&again);
}

static void try_signature(const struct buffer *b) {
    struct error err = {0};
    struct trust_key key = {.has_key = true, .name = "k"};
    key.id = sign_key_id(&key.key);
    const struct trust trust = {&key, 1};
    struct bundle_signer signer = {0};
    struct digest statement = {0};
    enum status status = bundle_signature_judge(b, &statement, &trust, &signer, &err);
    if (status != ST_OK) refused(status, &err);
    CHECK(signer.trust != BUNDLE_TRUSTED);
}

static enum status any_object(void *context, const uint8_t *bytes, uint64_t size_bytes,
                              const struct bundle_target *claimed, bool *ret_fits,
                              struct error *reason, struct error *err) {
    (void)context, (void)bytes, (void)size_bytes, (void)claimed, (void)reason;
    *ret_fits = true;
    (void)err;
    return ST_OK;
}

static enum status any_snapshot(void *context, int snapshot_fd, const uint8_t *object,
                                uint64_t object_size, const struct bundle_target *claimed,
                                bool *ret_fits, struct error *reason, struct error *err) {
    (void)context, (void)claimed, (void)reason, (void)err;
    CHECK(fcntl(snapshot_fd, F_GETFD) >= 0);
    digest_of(object, object_size);
    *ret_fits = true;
    return ST_OK;
}

static void try_tar(const struct buffer *b) {
    struct error err = {0};
    struct bundle *bundle = NULL;
    struct bundle_report report;
    const struct trust nobody = {0};
    const struct bundle_import_options options = {
        .callbacks = {.check_object = any_object, .check_snapshot = any_snapshot},
        .verify_only = true,
        .max_bytes = 1u << 24,
        .now = 1};
    auto_fd int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, b->bytes, b->size) == (ssize_t)b->size);
    enum status status = bundle_open(fd, &nobody, &bundle, &err);
    if (status == ST_OK) status = bundle_import(NULL, bundle, &options, &report, &err);
    if (status != ST_OK) refused(status, &err);
    bundle_close(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size == 0) return 0;
    struct error err = {0};
    struct oci_manifest manifest = {0};
    struct oci_descriptor descriptor;
    auto_buffer struct buffer b = {0}, small = {0};
    buffer_put(&b, bytes + 1, size - 1);
    enum status status = ST_OK;
    switch (bytes[0]) {
    case 's': try_statement(&b); break;
    case 'g': try_signature(&b); break;
    case 't': try_tar(&b); break;
    case 'm':
        status = oci_manifest_parse(&b, &manifest, &err);
        oci_manifest_finish(&manifest);
        break;
    case 'i': status = oci_index_parse(&b, &descriptor, &err); break;
    case 'z': status = oci_blob_unpack_small(&b, 4096, &small, &err); break;
    default: break;
    }
    if (status != ST_OK) refused(status, &err);
    return 0;
}
