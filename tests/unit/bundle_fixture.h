/*
 * A small signed bundle for the tests of bundles: the module that the fixture's code object
 * (object_seed.c) was made of, that object for three targets, a file image, and what passes for
 * a snapshot with the second of the objects. The object's path is the test program's argument.
 */
#ifndef HUTCH_TESTS_UNIT_BUNDLE_FIXTURE_H
#define HUTCH_TESTS_UNIT_BUNDLE_FIXTURE_H

#include "cache/bundle.h"
#include "loader/loader.h"
#include "loader/object.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t fixture_wasm[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
static const uint8_t fixture_snapshot[] = "frozen";
static const uint8_t fixture_image[] = "not an image, but nobody here reads it";

/* The seed with another target, features and compiler, and a content digest that fits. */
static inline enum status fixture_object(const struct buffer *seed, const char *target,
                                         uint64_t features, uint8_t compiler,
                                         struct buffer *ret_object, struct error *err) {
    buffer_put(ret_object, seed->bytes, seed->size);
    if (buffer_status(ret_object, err) != ST_OK) return ST_NO_MEMORY;
    uint8_t *compat = ret_object->bytes + OBJECT_COMPAT_OFFSET;
    for (int i = 0; i < 8; i++) compat[24 + i] = (uint8_t)(features >> 8 * i);
    memset(compat + 64, compiler, 32);
    memset(compat + 100, 0, 32);
    memcpy(compat + 100, target, strlen(target));
    memset(compat + OBJECT_COMPAT_DIGEST, 0, 32);
    struct digest digest = digest_of(ret_object->bytes, ret_object->size);
    memcpy(compat + OBJECT_COMPAT_DIGEST, digest.bytes, 32);
    return object_verify_digest(ret_object->bytes, ret_object->size, err);
}

/* What an import asks about an object: as the tool does, but that "fits" is the test's to say.
 */
struct fixture_judge {
    uint64_t features; /* of the processor that we pretend to have */
    unsigned asked, snapshots_asked, notes;
    struct digest object; /* of the last snapshot that was asked about */
    char note[600];
};

static inline enum status fixture_check(void *context, const uint8_t *bytes,
                                        uint64_t size_bytes,
                                        const struct bundle_target *claimed, bool *ret_fits,
                                        struct error *reason, struct error *err) {
    struct fixture_judge *judge = context;
    auto_arena struct arena arena = {0};
    struct abi_object object;
    judge->asked++;
    enum status status = object_read(bytes, size_bytes, false, &arena, &object, err);
    if (status == ST_OK) status = object_verify_digest(bytes, size_bytes, err);
    if (status != ST_OK) return status;
    if (!digest_equal(&object.compat.module, &claimed->module))
        return error_set(err, ST_DAMAGED, "the object was compiled from another module");
    if (strcmp(object.compat.target, claimed->target) != 0)
        return error_set(err, ST_DAMAGED, "the object has another target");
    *ret_fits = (object.compat.cpu_features & ~judge->features) == 0;
    if (!*ret_fits) error_set(reason, ST_INCOMPATIBLE, "this processor has no avx512f");
    return ST_OK;
}

static inline enum status fixture_check_snapshot(void *context, int snapshot_fd,
                                                 const uint8_t *object, uint64_t object_size,
                                                 const struct bundle_target *claimed,
                                                 bool *ret_fits, struct error *reason,
                                                 struct error *err) {
    struct fixture_judge *judge = context;
    char bytes[sizeof fixture_snapshot] = "";
    struct digest is = digest_of(object, object_size);
    (void)claimed, (void)reason;
    judge->snapshots_asked++;
    judge->object = is;
    if (pread(snapshot_fd, bytes, sizeof bytes, 0) != sizeof bytes ||
        memcmp(bytes, fixture_snapshot, sizeof bytes) != 0)
        return error_set(err, ST_DAMAGED, "not a snapshot");
    *ret_fits = true;
    return ST_OK;
}

static inline void fixture_note(void *context, const char *text) {
    struct fixture_judge *judge = context;
    judge->notes++;
    snprintf(judge->note, sizeof judge->note, "%s", text);
}

/* The parts of a bundle; borrowed by its layers. */
struct fixture {
    struct buffer seed, objects[3];
    struct bundle_layer layers[8];
    struct bundle_statement statement;
    struct sign_secret secret;
    struct trust_key key;
    struct trust trust; /* believes the key */
};

static inline void fixture_layer(struct fixture *f, enum bundle_kind kind, const char *name,
                                 const void *bytes, size_t size) {
    struct bundle_layer *layer = &f->layers[f->statement.layer_count++];
    *layer = (struct bundle_layer){.kind = kind, .bytes = bytes, .content_size = size};
    if (kind == BUNDLE_SNAPSHOT) {
        layer->object = digest_of(f->objects[1].bytes, f->objects[1].size);
        layer->target.module = digest_of(fixture_wasm, sizeof fixture_wasm);
        snprintf(layer->target.abi, sizeof layer->target.abi, "0");
        return;
    }
    if (kind != BUNDLE_OBJECT) {
        snprintf(layer->name, sizeof layer->name, "%s", name);
        return;
    }
    struct bundle_target *t = &layer->target;
    t->module = digest_of(fixture_wasm, sizeof fixture_wasm);
    memcpy(t->compiler.bytes, (const uint8_t *)bytes + OBJECT_COMPAT_OFFSET + 64, 32);
    snprintf(t->target, sizeof t->target, "%s", name);
    snprintf(t->arch, sizeof t->arch, "x86-64");
    snprintf(t->placement, sizeof t->placement, "pinned");
    snprintf(t->abi, sizeof t->abi, "0");
    snprintf(t->opt_level, sizeof t->opt_level, "2");
}

static inline enum status fixture_make(struct fixture *f, const char *seed, struct error *err) {
    *f = (struct fixture){0};
    static const struct {
        const char *target;
        uint64_t features;
    } targets[] = {{"x86-64-v2", ABI_X86_64_V2},
                   {"x86-64-v3", ABI_X86_64_V3},
                   {"x86-64-v4", ABI_X86_64_V4}};
    enum status status = file_read(AT_FDCWD, seed, 1u << 24, &f->seed, err);
    fixture_layer(f, BUNDLE_MODULE, "tiny:1", fixture_wasm, sizeof fixture_wasm);
    for (size_t i = 0; i < countof(targets) && status == ST_OK; i++) {
        status = fixture_object(&f->seed, targets[i].target, targets[i].features, (uint8_t)i,
                                &f->objects[i], err);
        fixture_layer(f, BUNDLE_OBJECT, targets[i].target, f->objects[i].bytes,
                      f->objects[i].size);
    }
    fixture_layer(f, BUNDLE_IMAGE, "/app", fixture_image, sizeof fixture_image);
    fixture_layer(f, BUNDLE_SNAPSHOT, NULL, fixture_snapshot, sizeof fixture_snapshot);
    snprintf(f->statement.name, sizeof f->statement.name, "tiny:1");
    snprintf(f->statement.creator, sizeof f->statement.creator, "a test");
    f->statement.sequence = 1000;
    f->statement.layers = f->layers;
    memset(f->secret.bytes, 7, sizeof f->secret.bytes);
    if (status == ST_OK) status = sign_public_of(&f->secret, &f->key.key, err);
    f->key.has_key = true;
    f->key.id = sign_key_id(&f->key.key);
    snprintf(f->key.name, sizeof f->key.name, "tester");
    f->trust = (struct trust){&f->key, 1};
    return status;
}

static inline void fixture_finish(struct fixture *f) {
    buffer_finish(&f->seed);
    for (size_t i = 0; i < countof(f->objects); i++) buffer_finish(&f->objects[i]);
}

/* Bytes in a file without a name. */
static inline int fixture_file(const void *bytes, size_t size) {
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, bytes, size) != (ssize_t)size) return -1;
    return fd;
}

#endif
