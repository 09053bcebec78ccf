/*
 * Bundles: written, opened, imported; who may import what; and every byte of a small one
 * damaged. Argument: the code object of object_seed.c.
 */
#include "tests/unit/bundle_fixture.h"
#include "tests/unit/test.h"
#include "tools/object_describe.h"

static char directory[] = "/tmp/hutch-test-bundle-XXXXXX";
static struct fixture f;
static struct fixture_judge judge;

static char *at(const char *name) {
    static char paths[4][200];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static struct cache *new_cache(const char *name) {
    struct error err = {0};
    struct cache *cache = NULL;
    struct cache_options options = {.path = at(name), .describe_object = object_describe};
    if (cache_open(&options, &cache, &err) != ST_OK) {
        printf("%s: %s\n", name, err.message);
        exit(1);
    }
    return cache;
}

static void write_bundle(const char *name, bool sign) {
    struct error err = {0};
    enum status status = bundle_write(&f.statement, sign ? &f.secret : NULL, 3, at(name), &err);
    EXPECT(status == ST_OK);
    if (status != ST_OK) printf("%s: %s\n", name, err.message);
}

static struct bundle_import_options import_options(void) {
    judge = (struct fixture_judge){.features = ABI_X86_64_V3};
    return (struct bundle_import_options){
        .callbacks = {fixture_check, fixture_check_snapshot, fixture_note, &judge},
        .now = 2000};
}

/* Opens and imports; the message is in err. */
static enum status import(struct cache *cache, const char *name, const struct trust *trust,
                          const struct bundle_import_options *options,
                          struct bundle_report *ret_report, struct error *err) {
    auto_fd int fd = open(at(name), O_RDONLY | O_CLOEXEC);
    struct bundle *bundle = NULL;
    enum status status = bundle_open(fd, trust, &bundle, err);
    if (status == ST_OK) status = bundle_import(cache, bundle, options, ret_report, err);
    bundle_close(bundle);
    return status;
}

static bool says(const struct error *err, const char *words) {
    if (strstr(err->message, words)) return true;
    printf("not in the message: \"%s\": %s\n", words, err->message);
    return false;
}

static bool count_entry(void *context, const struct cache_entry *entry) {
    (void)entry;
    ++*(unsigned *)context;
    return true;
}

static unsigned objects_of(struct cache *cache) {
    struct error err = {0};
    unsigned count = 0;
    struct digest module = digest_of(fixture_wasm, sizeof fixture_wasm);
    EXPECT(cache_each_object(cache, &module, count_entry, &count, &err) == ST_OK);
    return count;
}

static unsigned entries_of(struct cache *cache) {
    struct error err = {0};
    unsigned count = 0;
    EXPECT(cache_each(cache, count_entry, &count, &err) == ST_OK);
    return count;
}

static void test_round_trip(void) {
    struct error err = {0};
    write_bundle("signed.tar", true);
    auto_fd int fd = open(at("signed.tar"), O_RDONLY | O_CLOEXEC);
    struct bundle *bundle = NULL;
    EXPECT(bundle_open(fd, &f.trust, &bundle, &err) == ST_OK);
    if (!bundle) {
        printf("%s\n", err.message);
        return;
    }
    const struct bundle_statement *s = bundle_statement_of(bundle);
    EXPECT_STR(s->name, "tiny:1");
    EXPECT_STR(s->creator, "a test");
    EXPECT(s->sequence == 1000 && s->expires == 0 && s->layer_count == 6);
    EXPECT(s->layers[0].kind == BUNDLE_MODULE && s->layers[1].kind == BUNDLE_OBJECT &&
           s->layers[4].kind == BUNDLE_IMAGE && s->layers[5].kind == BUNDLE_SNAPSHOT);
    EXPECT(digest_equal(&s->layers[5].object, &s->layers[2].content));
    EXPECT_STR(s->layers[2].target.target, "x86-64-v3");
    EXPECT(bundle_signer_of(bundle)->trust == BUNDLE_TRUSTED);
    EXPECT_STR(bundle_signer_of(bundle)->name, "tester");

    struct cache *cache = new_cache("round");
    struct bundle_import_options options = import_options();
    struct bundle_report report = {0};
    for (int i = 0; i < 2; i++) { /* repeating it changes nothing */
        EXPECT(bundle_import(cache, bundle, &options, &report, &err) == ST_OK);
        EXPECT(report.modules == 1 && report.objects == 2 && report.images == 1);
        EXPECT(report.objects_unfit == 1 && report.objects_unsigned == 0);
        EXPECT(report.snapshots == 1 && report.snapshots_unfit == 0);
        EXPECT(digest_equal(&judge.object, &s->layers[2].content));
        EXPECT(strstr(judge.note, "x86-64-v4") && strstr(judge.note, "avx512f"));
        EXPECT(objects_of(cache) == 2);
        EXPECT(entries_of(cache) == 6);
    }
    struct cache_name name;
    EXPECT(cache_name_resolve(cache, "tiny:1", &name, &err) == ST_OK);
    EXPECT(digest_equal(&name.digest, &report.statement) && name.sequence == 1000);
    char id[DIGEST_HEX_SIZE];
    digest_hex(&f.key.id, id);
    EXPECT_STR(name.signer, id);
    auto_fd int stored = -1;
    uint64_t size = 0;
    struct cache_entry entry;
    EXPECT(cache_get(cache, &report.statement, &stored, &size, &err) == ST_OK && size > 100);
    EXPECT(cache_describe(cache, &report.statement, &entry, &err) == ST_OK);
    EXPECT(entry.kind == CACHE_MANIFEST && entry.origin == CACHE_IMPORTED);
    auto_buffer struct buffer text = {0};
    buffer_put_zero(&text, size);
    EXPECT(pread(stored, text.bytes, size, 0) == (ssize_t)size);
    struct bundle_statement again = {0};
    EXPECT(bundle_statement_parse(text.bytes, size, &again, &err) == ST_OK);
    EXPECT(again.layer_count == 6);
    bundle_statement_finish(&again);
    /* The snapshot is kept as one, with what it goes on with. */
    struct digest refs[CACHE_REFS_MAX];
    uint32_t ref_count = 0;
    EXPECT(cache_describe(cache, &s->layers[5].content, &entry, &err) == ST_OK);
    EXPECT(entry.kind == CACHE_SNAPSHOT && entry.origin == CACHE_IMPORTED && entry.signer[0]);
    EXPECT(cache_refs(cache, &s->layers[5].content, refs, &ref_count, &err) == ST_OK);
    EXPECT(ref_count == 1 && digest_equal(&refs[0], &s->layers[2].content));
    bundle_close(bundle);
    cache_close(cache);
}

/* A snapshot goes where its object goes. */
static void test_snapshots(void) {
    struct error err = {0};
    struct bundle_report report = {0};
    struct bundle_import_options options = import_options();
    struct cache *cache = new_cache("snapshots");
    judge.features = ABI_X86_64_V2;
    EXPECT(import(cache, "signed.tar", &f.trust, &options, &report, &err) == ST_OK);
    EXPECT(report.objects == 1 && report.snapshots == 0 && report.snapshots_unfit == 1);
    EXPECT(judge.snapshots_asked == 0);
    EXPECT(strstr(judge.note, "snapshot for x86-64-v3 left out: its object is") != NULL);
    EXPECT(cache_describe(cache, &f.layers[5].content, &(struct cache_entry){0}, &err) ==
           ST_NOT_FOUND);
    cache_close(cache);

    static const uint8_t other[sizeof fixture_snapshot] = "frozer";
    const struct bundle_layer kept = f.layers[5];
    f.layers[5].bytes = other;
    write_bundle("other-snapshot.tar", true);
    options = import_options();
    options.verify_only = true;
    EXPECT(import(NULL, "other-snapshot.tar", &f.trust, &options, &report, &err) ==
               ST_DAMAGED &&
           says(&err, "layer 5 (snapshot for x86-64-v3): not a snapshot"));
    f.layers[5] = kept;
    f.layers[5].object.bytes[0] ^= 1;
    EXPECT(bundle_write(&f.statement, &f.secret, 3, at("stray.tar"), &err) == ST_MALFORMED &&
           says(&err, "layer 5 is a snapshot of an object that is not in the bundle"));
    f.layers[5] = kept;
    f.layers[5].target.abi[0] ^= 1;
    EXPECT(bundle_write(&f.statement, &f.secret, 3, at("stray.tar"), &err) == ST_MALFORMED);
    f.layers[5] = kept;
    fixture_layer(&f, BUNDLE_SNAPSHOT, NULL, fixture_snapshot, sizeof fixture_snapshot);
    EXPECT(bundle_write(&f.statement, &f.secret, 3, at("stray.tar"), &err) == ST_MALFORMED &&
           says(&err, "one snapshot"));
    f.statement.layer_count--;
}

static bool same_files(const char *a, const char *b) {
    struct error err = {0};
    auto_buffer struct buffer x = {0}, y = {0};
    char *pa = at(a), *pb = at(b);
    return file_read(AT_FDCWD, pa, 1u << 24, &x, &err) == ST_OK &&
           file_read(AT_FDCWD, pb, 1u << 24, &y, &err) == ST_OK && x.size == y.size &&
           memcmp(x.bytes, y.bytes, x.size) == 0;
}

static void test_same_bytes(void) {
    write_bundle("a.tar", true);
    write_bundle("b.tar", true);
    EXPECT(same_files("a.tar", "b.tar"));
    f.statement.sequence++;
    write_bundle("b.tar", true);
    f.statement.sequence--;
    EXPECT(!same_files("a.tar", "b.tar"));
}

static void test_who_signed(void) {
    struct error err = {0};
    struct bundle_report report = {0};
    const struct trust nobody = {0};
    struct bundle_import_options options = import_options();
    struct cache *cache = new_cache("who");
    write_bundle("unsigned.tar", false);

    EXPECT(import(cache, "unsigned.tar", &f.trust, &options, &report, &err) == ST_OK);
    EXPECT(report.objects == 0 && report.objects_unsigned == 3 && report.modules == 1);
    EXPECT(report.snapshots == 0 && report.snapshots_unsigned == 1);
    EXPECT(judge.asked == 0 && judge.snapshots_asked == 0 &&
           strstr(judge.note, "native code left out: the bundle is unsigned"));
    EXPECT(objects_of(cache) == 0);

    options = import_options();
    EXPECT(import(cache, "signed.tar", &nobody, &options, &report, &err) == ST_OK);
    EXPECT(report.objects == 0 && objects_of(cache) == 0);
    EXPECT(strstr(judge.note, "does not trust") != NULL);

    struct trust_key revoked = f.key;
    revoked.revoked = true;
    struct trust gone = {&revoked, 1};
    EXPECT(import(cache, "signed.tar", &gone, &options, &report, &err) == ST_INCOMPATIBLE &&
           says(&err, "revoked"));

    /* A key that goes by the signer's id but has not made the signature. */
    struct trust_key other = f.key;
    other.key.bytes[3] ^= 1;
    struct trust wrong = {&other, 1};
    EXPECT(import(cache, "signed.tar", &wrong, &options, &report, &err) == ST_DAMAGED &&
           says(&err, "signature is not one of the key"));
    EXPECT(objects_of(cache) == 0);

    options = import_options();
    options.allow_unsigned = true;
    EXPECT(import(cache, "unsigned.tar", &f.trust, &options, &report, &err) == ST_OK);
    EXPECT(report.objects == 2 && objects_of(cache) == 2 && report.snapshots == 1);
    cache_close(cache);
}

static void test_sequence(void) {
    struct error err = {0};
    struct bundle_report report = {0};
    struct bundle_import_options options = import_options();
    struct cache *cache = new_cache("sequence");
    EXPECT(import(cache, "signed.tar", &f.trust, &options, &report, &err) == ST_OK);
    unsigned before = entries_of(cache);

    f.statement.sequence = 999;
    write_bundle("older.tar", true);
    EXPECT(import(cache, "older.tar", &f.trust, &options, &report, &err) == ST_INCOMPATIBLE &&
           says(&err, "older"));
    EXPECT(entries_of(cache) == before);
    struct cache_name name;
    EXPECT(cache_name_resolve(cache, "tiny:1", &name, &err) == ST_OK && name.sequence == 1000);

    /* A name that somebody vouched for does not go to a bundle of nobody's, however new. */
    f.statement.sequence = 5000;
    write_bundle("newer-unsigned.tar", false);
    EXPECT(import(cache, "newer-unsigned.tar", &f.trust, &options, &report, &err) ==
               ST_INCOMPATIBLE &&
           says(&err, "no trusted key signed"));
    EXPECT(entries_of(cache) == before);

    f.statement.sequence = 1001;
    write_bundle("newer.tar", true);
    EXPECT(import(cache, "newer.tar", &f.trust, &options, &report, &err) == ST_OK);
    EXPECT(import(cache, "signed.tar", &f.trust, &options, &report, &err) == ST_INCOMPATIBLE);
    options.allow_older = true;
    EXPECT(import(cache, "signed.tar", &f.trust, &options, &report, &err) == ST_OK);
    options.allow_older = false;

    f.statement.sequence = 3000;
    f.statement.expires = 1999;
    write_bundle("expired.tar", true);
    EXPECT(import(cache, "expired.tar", &f.trust, &options, &report, &err) == ST_INCOMPATIBLE &&
           says(&err, "expired"));
    options.now = 1999;
    EXPECT(import(cache, "expired.tar", &f.trust, &options, &report, &err) == ST_OK);
    f.statement.sequence = 1000;
    f.statement.expires = 0;
    options.max_bytes = 100;
    EXPECT(import(cache, "signed.tar", &f.trust, &options, &report, &err) != ST_OK);
    cache_close(cache);
    options.verify_only = true;
    EXPECT(import(NULL, "signed.tar", &f.trust, &options, &report, &err) == ST_LIMIT);
}

static void test_swapped(void) {
    struct error err = {0};
    struct bundle_report report = {0};
    struct bundle_import_options options = import_options();
    options.verify_only = true;
    /* Two modules, and the object of the first listed as the second's. */
    static const uint8_t other[] = "another module";
    struct bundle_layer kept = f.layers[2], snapshot = f.layers[5];
    f.statement.layer_count--;
    fixture_layer(&f, BUNDLE_MODULE, "other:1", other, sizeof other);
    f.layers[2].target.module = digest_of(other, sizeof other);
    write_bundle("swapped.tar", true);
    EXPECT(import(NULL, "swapped.tar", &f.trust, &options, &report, &err) == ST_DAMAGED &&
           says(&err, "another module"));
    /* An object of a module that is not there at all is not even written. */
    f.statement.layer_count--;
    EXPECT(bundle_write(&f.statement, &f.secret, 3, at("stray.tar"), &err) == ST_MALFORMED &&
           says(&err, "not in the bundle"));
    EXPECT(access(at("stray.tar"), F_OK) != 0);
    f.layers[2] = kept;
    /* An object that says it is for another target than it is. */
    snprintf(f.layers[2].target.target, sizeof kept.target.target, "x86-64-v2");
    write_bundle("target.tar", true);
    EXPECT(import(NULL, "target.tar", &f.trust, &options, &report, &err) == ST_DAMAGED &&
           says(&err, "another target"));
    f.layers[2] = kept;
    f.layers[f.statement.layer_count++] = snapshot;
}

/* ---- damage ------------------------------------------------------------------------------ */

/* Imports damaged bytes: refused with a message, or nothing that counts was hit. */
static bool harmless(const uint8_t *bytes, size_t size, const struct digest *statement,
                     struct cache *cache, unsigned *tolerated) {
    struct error err = {0};
    struct bundle_report report = {0};
    struct bundle_import_options options = import_options();
    options.verify_only = cache == NULL;
    auto_fd int fd = fixture_file(bytes, size);
    struct bundle *bundle = NULL;
    enum status status = bundle_open(fd, &f.trust, &bundle, &err);
    if (status == ST_OK) status = bundle_import(cache, bundle, &options, &report, &err);
    bool good;
    if (status != ST_OK) {
        good = err.message[0] && !strchr(err.message, '\n') && err.status == status;
    } else {
        const struct bundle_statement *s = bundle_statement_of(bundle);
        ++*tolerated;
        auto_buffer struct buffer again = {0};
        good = bundle_signer_of(bundle)->trust == BUNDLE_TRUSTED && s->sequence == 1000 &&
               bundle_statement_print(s, &again, &err) == ST_OK;
        struct digest digest = digest_of(again.bytes, again.size);
        good = good && digest_equal(&digest, statement);
    }
    bundle_close(bundle);
    return good;
}

static void test_damage(void) {
    struct error err = {0};
    auto_buffer struct buffer whole = {0}, text = {0};
    /* the smallest of them: one object and its snapshot */
    struct bundle_layer *all = f.statement.layers;
    struct bundle_layer few[] = {all[0], all[2], all[5]};
    uint32_t count = f.statement.layer_count;
    f.statement.layer_count = countof(few);
    f.statement.layers = few;
    write_bundle("small.tar", true);
    EXPECT(bundle_statement_print(&f.statement, &text, &err) == ST_OK);
    f.statement.layer_count = count;
    f.statement.layers = all;
    EXPECT(file_read(AT_FDCWD, at("small.tar"), 1u << 24, &whole, &err) == ST_OK);
    struct digest statement = digest_of(text.bytes, text.size);
    unsigned flips = 0, cuts = 0, bad = 0;
    EXPECT(harmless(whole.bytes, whole.size, &statement, NULL, &flips) && flips == 1);
    for (size_t i = 0; i < whole.size; i++) {
        uint8_t kept = whole.bytes[i];
        whole.bytes[i] ^= (uint8_t)(1u << i % 8);
        if (!harmless(whole.bytes, whole.size, &statement, NULL, &flips) && bad++ < 5)
            printf("byte %zu: not harmless\n", i);
        whole.bytes[i] = kept;
    }
    for (size_t i = 0; i < whole.size; i++)
        if (!harmless(whole.bytes, i, &statement, NULL, &cuts) && bad++ < 5)
            printf("%zu bytes: not harmless\n", i);
    EXPECT(bad == 0);
    /* What may be hit: the fill of tar blocks (RFC-less, but 512 bytes an entry) and header
     * fields that say nothing. Cut off may be the end marker, two blocks of zeros. */
    printf("%zu bytes: %u flips and %u cuts did not matter\n", whole.size, flips - 1, cuts);
    EXPECT(flips < whole.size && cuts <= 1024);

    /* A part of it with a store, which stays as it was. */
    struct cache *cache = new_cache("damage");
    unsigned tolerated = 0;
    for (size_t i = 5; i < whole.size; i += 509) {
        whole.bytes[i] ^= 0x40;
        bool good = harmless(whole.bytes, whole.size, &statement, cache, &tolerated);
        whole.bytes[i] ^= 0x40;
        if (!good || (tolerated == 0 && entries_of(cache) != 0)) bad++;
        if (tolerated) { /* imported after all: begin again */
            cache_close(cache);
            char command[300];
            snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", at("damage"),
                     at("damage"));
            if (system(command) != 0) bad++;
            cache = new_cache("damage");
            tolerated = 0;
        }
    }
    EXPECT(bad == 0);
    cache_close(cache);
}

int main(int argc, char **argv) {
    struct error err = {0};
    umask(022);
    if (argc != 2 || !mkdtemp(directory) || fixture_make(&f, argv[1], &err) != ST_OK) {
        fprintf(stderr, "usage: test_bundle seed.hutch: %s\n", err.message);
        return 2;
    }
    test_round_trip();
    test_snapshots();
    test_same_bytes();
    test_who_signed();
    test_sequence();
    test_swapped();
    test_damage();
    fixture_finish(&f);
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0) return 1;
    return test_end();
}
